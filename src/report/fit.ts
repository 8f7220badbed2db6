/**
 * A report that receivers take (RFC 8460 §5.2: "a commonly observed receiver limit is ten megabytes"): policies and their
 * failure-details in, the same in order out, with equal ones added up, and with less told of each where all would be too much.
 * No session is lost by that: what becomes equal adds up.
 */
import type { DocumentDetail, DocumentPolicy } from "./schema.ts";

/** Octets of the JSON text before compression, since that is what a receiver has to hold; the head fits into the rest. */
const LARGEST_POLICIES = 9_900_000;

type Optional = Exclude<keyof DocumentDetail, "result-type" | "failed-session-count">;

/** What goes, in this order: first what matters least to whoever looks for the fault. */
const EXPENDABLE: readonly Optional[] = [
  "receiving-mx-helo",
  "receiving-ip",
  "sending-mta-ip",
  "receiving-mx-hostname",
  "failure-reason-code",
];

export function fitPolicies(policies: readonly DocumentPolicy[]): DocumentPolicy[] {
  let fitting = addUp(policies, wholePolicy);
  for (let count = 1; count <= EXPENDABLE.length && !fits(fitting); count++) {
    const gone = EXPENDABLE.slice(0, count);
    fitting = fitting.map((one) => withDetails(one, addUpDetails(one["failure-details"] ?? [], gone)));
  }
  // Only a domain that changes its policy all day long gets here: it is told the one that most sessions met.
  if (!fits(fitting)) fitting = addUp([...fitting].sort(bySessions), ({ policy }) => `${policy["policy-type"]} ${policy["policy-domain"]}`);
  return fitting;
}

function fits(policies: readonly DocumentPolicy[]): boolean {
  let octets = 0;
  for (const policy of policies) {
    octets += Buffer.byteLength(JSON.stringify(policy)) + 1;
    if (octets > LARGEST_POLICIES) return false;
  }
  return true;
}

/** Policies of one key become one, the first of them; in order of type, domain and text (RFC 8460 §4.4, `policies`). */
function addUp(policies: readonly DocumentPolicy[], keyOf: (one: DocumentPolicy) => string): DocumentPolicy[] {
  const byKey = Map.groupBy(policies, keyOf);
  return [...byKey.values()]
    .flatMap((alike) => {
      const [first] = alike;
      if (first === undefined) return [];
      const sum = (member: keyof DocumentPolicy["summary"]): number => alike.reduce((total, { summary }) => total + summary[member], 0);
      const summary = {
        "total-successful-session-count": sum("total-successful-session-count"),
        "total-failure-session-count": sum("total-failure-session-count"),
      };
      const details = alike.flatMap((one) => one["failure-details"] ?? []);
      return [withDetails({ policy: first.policy, summary }, addUpDetails(details, []))];
    })
    .map((one) => ({ one, key: wholePolicy(one) }))
    .sort((a, b) => (a.key < b.key ? -1 : 1))
    .map(({ one }) => one);
}

function wholePolicy({ policy }: DocumentPolicy): string {
  return JSON.stringify([policy["policy-type"], policy["policy-domain"], policy["policy-string"] ?? [], policy["mx-host"] ?? []]);
}

function bySessions(a: DocumentPolicy, b: DocumentPolicy): number {
  return sessionsOf(b) - sessionsOf(a);
}

function sessionsOf({ summary }: DocumentPolicy): number {
  return summary["total-successful-session-count"] + summary["total-failure-session-count"];
}

/** RFC 8460 §4.4: details are told apart by all that identifies them. Most frequent first. */
function addUpDetails(details: readonly DocumentDetail[], gone: readonly Optional[]): DocumentDetail[] {
  const kept = EXPENDABLE.filter((member) => !gone.includes(member));
  const byKey = new Map<string, { readonly detail: DocumentDetail; sessions: number }>();
  for (const detail of details) {
    // None of these texts has a line end in it.
    const key = `${detail["result-type"]}\n${kept.map((member) => detail[member] ?? "").join("\n")}`;
    const known = byKey.get(key);
    if (known === undefined) byKey.set(key, { detail, sessions: detail["failed-session-count"] });
    else known.sessions += detail["failed-session-count"];
  }
  return [...byKey]
    .sort(([a, one], [b, other]) => other.sessions - one.sessions || (a < b ? -1 : 1))
    .map(([, { detail, sessions }]) => {
      const counted = { ...detail, "failed-session-count": sessions };
      return gone.length === 0 ? counted : withOnly(kept, counted);
    });
}

/** Made anew, since objects whose members are deleted are slow. */
function withOnly(kept: readonly Optional[], detail: DocumentDetail): DocumentDetail {
  const less: DocumentDetail = { "result-type": detail["result-type"], "failed-session-count": detail["failed-session-count"] };
  for (const member of kept) {
    const text = detail[member];
    if (text !== undefined) less[member] = text;
  }
  return less;
}

/** The member is left out where nothing failed: it may be (RFC 8460 §4.4), and a heartbeat is short. */
function withDetails({ policy, summary }: DocumentPolicy, details: readonly DocumentDetail[]): DocumentPolicy {
  return { policy, summary, ...(details.length > 0 && { "failure-details": [...details] }) };
}
