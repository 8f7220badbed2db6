/**
 * Adding up what TLS-RPT counts (RFC 8460 §4.2), inside the settlement's transaction: observed sessions in, counts by day, report
 * domain and policy out. A million sessions are a few rows, and a hostile domain cannot make them many: what is of too many
 * kinds is told in fewer words, as §5.2 has it for what grows too large, and no session is left out.
 */
import type Database from "better-sqlite3";
import type { AppliedPolicy, FailureDetail } from "../../policy/observation.ts";
import { detailText, type ObservedSession, policyText } from "./observed.ts";

/** Policies of one domain on one day, and octets of all of them; what comes after counts as one policy of its type without text. */
const MOST_POLICIES = 200;
const POLICY_OCTETS = 512 * 1024;
/** A detail has names, addresses and a code in it: longer ones are told in fewer words at once. */
const DETAIL_OCTETS = 1500;
/** Kinds of failures of one domain on one day, over all policies. Result types alone always have room. */
const DETAILS_TOGETHER = 5000;

/**
 * How a detail is told while its policy has so many kinds at most. Result types are eleven, so the last always has room and there
 * are never more than 1000 for a policy and day.
 */
const WORDINGS: readonly { readonly upTo: number; readonly of: (detail: FailureDetail) => FailureDetail }[] = [
  { upTo: 900, of: (detail) => detail },
  { upTo: 950, of: withoutPeer },
  { upTo: 989, of: ({ resultType, reasonCode }) => ({ resultType, ...(reasonCode !== undefined && { reasonCode }) }) },
  { upTo: Infinity, of: ({ resultType }) => ({ resultType }) },
];

/** RFC 8460 §5.2: what the report is least about goes first. */
function withoutPeer({ receivingMxHelo: _helo, receivingIp: _ip, ...rest }: FailureDetail): FailureDetail {
  return rest;
}

interface Counted {
  readonly id: number;
  readonly details: number;
}

interface Spent {
  readonly policies: number;
  readonly octets: number;
  readonly details: number;
}

export class SessionCounts {
  readonly #addSession: Database.Statement<[number, number, string, string, string], Counted>;
  readonly #insertPolicy: Database.Statement<[string, string, string, number, number], Counted>;
  readonly #spent: Database.Statement<[string, string], Spent>;
  readonly #addFailure: Database.Statement<[number, string]>;
  readonly #insertFailure: Database.Statement<[number, string]>;
  readonly #countDetail: Database.Statement<[number]>;

  constructor(database: Database.Database) {
    this.#addSession = database.prepare(
      "UPDATE tls_count SET successes = successes + ?, failures = failures + ? WHERE day = ? AND domain = ? AND policy = ? RETURNING id, details",
    );
    this.#insertPolicy = database.prepare(
      "INSERT INTO tls_count (day, domain, policy, successes, failures, details) VALUES (?, ?, ?, ?, ?, 0) RETURNING id, details",
    );
    this.#spent = database.prepare(
      "SELECT count(*) AS policies, coalesce(sum(octet_length(policy)), 0) AS octets, coalesce(sum(details), 0) AS details " +
        "FROM tls_count WHERE day = ? AND domain = ?",
    );
    this.#addFailure = database.prepare("UPDATE tls_failure SET sessions = sessions + 1 WHERE count = ? AND detail = ?");
    this.#insertFailure = database.prepare("INSERT INTO tls_failure (count, detail, sessions) VALUES (?, ?, 1)");
    this.#countDetail = database.prepare("UPDATE tls_count SET details = details + 1 WHERE id = ?");
  }

  add([day, domain, policy, details]: ObservedSession): void {
    const failed = details.length > 0 ? 1 : 0;
    const counted =
      this.#addSession.get(1 - failed, failed, day, domain, policy) ?? this.#addToNewPolicy(day, domain, policy, 1 - failed, failed);
    if (failed === 0) return;
    let kinds = counted.details;
    // One session is one in each detail, however often it met the same (RFC 8460 §4); two may become the same in fewer words.
    const told = new Set<string>();
    for (const detail of details) if (this.#addDetail(counted.id, kinds, detail, told, day, domain)) kinds++;
  }

  #addToNewPolicy(day: string, domain: string, policy: string, successes: number, failures: number): Counted {
    const spent = this.#spentOn(day, domain);
    const text =
      spent.policies < MOST_POLICIES && spent.octets + Buffer.byteLength(policy) <= POLICY_OCTETS ? policy : withoutText(policy, domain);
    const counted =
      text === policy
        ? this.#insertPolicy.get(day, domain, policy, successes, failures)
        : (this.#addSession.get(successes, failures, day, domain, text) ?? this.#insertPolicy.get(day, domain, text, successes, failures));
    if (counted === undefined) throw new Error(`the counts of ${domain} on ${day} gave no row back`);
    return counted;
  }

  /** True if it is the first of its kind. */
  #addDetail(count: number, kinds: number, full: string, told: Set<string>, day: string, domain: string): boolean {
    let detail: FailureDetail | undefined;
    for (const { upTo, of } of WORDINGS) {
      let text = full;
      if (of !== WORDINGS[0]?.of) {
        detail ??= JSON.parse(full) as FailureDetail;
        text = detailText(of(detail));
      }
      if (told.has(text)) return false;
      const known = this.#addFailure.run(count, text).changes > 0;
      if (!known && !this.#hasRoom(upTo, kinds, text, day, domain)) continue;
      told.add(text);
      if (known) return false;
      this.#insertFailure.run(count, text);
      this.#countDetail.run(count);
      return true;
    }
    throw new Error(`a failure of ${domain} on ${day} has no wording`);
  }

  #hasRoom(upTo: number, kinds: number, text: string, day: string, domain: string): boolean {
    if (upTo === Infinity) return true;
    return kinds < upTo && text.length <= DETAIL_OCTETS && this.#spentOn(day, domain).details < DETAILS_TOGETHER;
  }

  #spentOn(day: string, domain: string): Spent {
    return this.#spent.get(day, domain) ?? { policies: 0, octets: 0, details: 0 };
  }
}

function withoutText(policy: string, domain: string): string {
  const { type } = JSON.parse(policy) as AppliedPolicy;
  return policyText({ type, domain, text: [] });
}
