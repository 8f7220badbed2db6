/**
 * Whether a resolver validates (RFC 7672 §2.1.1, RFC 4035 §4.9.3): what it answers about a signed name and about names
 * with broken signatures in, the conclusion out. Judging is pure; `runSelfTest` asks. When it is run is
 * lookup/resolver.ts's business.
 *
 * "Blind" is concluded from a positive sign only. An attacker can drop and garble what we ask, and must not switch DANE
 * off by that: silence and errors leave the state as it was, and are failed look-ups for mail as they are for the test.
 */
import type { DnssecState, LookupFailure } from "../policy/facts.ts";
import type { Answered } from "./dns.ts";
import type { RecordType } from "./rdata.ts";

/** What came of one question. */
export type Probe =
  | { readonly kind: "answered"; readonly authenticated: boolean; readonly hasRecords: boolean }
  | { readonly kind: "no-such-name"; readonly authenticated: boolean }
  /** The resolver spoke and would not answer: SERVFAIL is what a validating one says of a broken name. */
  | { readonly kind: "refused"; readonly detail: string }
  | { readonly kind: "silent"; readonly detail: string };

export interface SelfTestReading {
  readonly signed: { readonly name: string; readonly probe: Probe };
  readonly broken: readonly { readonly name: string; readonly probe: Probe }[];
}

/** What is known of one believed resolver. */
export type Belief = Exclude<DnssecState["kind"], "untrusted">;

export interface SelfTestConclusion {
  /** Absent: no conclusion, all stays as it was. */
  readonly belief?: "validating" | "blind";
  /** A clause about the resolver: `gives no AD for . although it is signed`. */
  readonly detail: string;
}

export function concludeSelfTest(before: Belief, { signed, broken }: SelfTestReading): SelfTestConclusion {
  const answered = broken.filter(({ probe }) => probe.kind === "answered" && probe.hasRecords).map(({ name }) => name);
  const refused = broken.filter(({ probe }) => probe.kind === "refused").map(({ name }) => name);
  const { name, probe } = signed;
  if (probe.kind === "answered" && !probe.authenticated)
    return { belief: "blind", detail: `does not validate: ${shown(name)} is signed, and its answer came without AD` };
  const named = answered.map(shown).join(", ");
  // Names may be repaired, or unsigned, by those they belong to, who must not switch DANE off either, with an attacker who drops
  // the rest of the test: one name proves nothing where there are several, nor do two where another is refused.
  const spoke = broken.filter(({ probe: { kind } }) => kind !== "silent").length;
  if (answered.length > 0 && answered.length === spoke && (answered.length > 1 || broken.length === 1))
    return { belief: "blind", detail: `does not validate: it answers ${named}, whose signatures are broken` };
  if (probe.kind !== "answered") return { detail: `${shown(name)} could not be asked for: ${describeProbe(probe)}` };
  if (answered.length > 0 && refused.length <= answered.length)
    return { detail: `${shown(name)} has AD, but it answers ${named}, and too few of the other broken names were refused` };
  // Once caught, silence about the broken names is no reason to believe it again.
  if (before === "blind" && broken.length > 0 && refused.length === 0)
    return { detail: `${shown(name)} has AD, but none of the names with broken signatures was refused` };
  const of = broken.length === 0 ? "" : `, ${refused.length} of ${broken.length} broken names refused`;
  const repaired = answered.length === 0 ? "" : `; ${named} seems to be repaired`;
  return { belief: "validating", detail: `validates (${shown(name)} has AD${of}${repaired})` };
}

function describeProbe(probe: Probe): string {
  return probe.kind === "answered" || probe.kind === "no-such-name" ? "there is no such name" : probe.detail;
}

function shown(name: string): string {
  return name === "." || name === "" ? "the root" : name;
}

export function readProbe(verdict: Answered | LookupFailure): Probe {
  if (verdict.kind === "failed") return { kind: verdict.reason === "servfail" ? "refused" : "silent", detail: verdict.detail };
  const { rcode, authenticData: authenticated, answers } = verdict.response;
  return rcode === 0 ? { kind: "answered", authenticated, hasRecords: answers.length > 0 } : { kind: "no-such-name", authenticated };
}

/** Asks one resolver all of it at once. */
export async function runSelfTest(
  names: { readonly signed: string; readonly broken: readonly string[] },
  ask: (name: string, type: RecordType) => Promise<Probe>,
): Promise<SelfTestReading> {
  const [signed, ...broken] = await Promise.all([ask(names.signed, "SOA"), ...names.broken.map((name) => ask(name, "A"))]);
  return {
    signed: { name: names.signed, probe: signed },
    broken: names.broken.map((name, at) => ({ name, probe: broken[at] ?? { kind: "silent", detail: "was not asked" } })),
  };
}
