/**
 * What published policy is remembered by, in the queue's database: MTA-STS policies as they were served (RFC 8461 §3.3), and
 * the next hops that DANE protected. Rows are made and read here, for both threads; a stranger's text is bounded here too.
 */
import { cleanText } from "../../mail/reply.ts";
import type { Domain, NextHop } from "../../mail/domain.ts";
import type { TlsFailure } from "../../policy/outcome.ts";
import type { KeptStsPolicy, PolicyStore } from "../../queue/store.ts";
import type { ReaderLink } from "./reader-link.ts";
import type { Statements } from "./statements.ts";
import type { Row } from "./wire.ts";
import type { WriterLink } from "./writer-link.ts";

/** RFC 8461 §3.3 has senders take 64 KB of a policy at most. */
const LARGEST_TEXT = 64 * 1024;
/** An id has at most 32 characters (RFC 8461 §3.1). */
const LONGEST_ID = 32;
const LONGEST_DETAIL = 1000;
/** So many texts fit in memory whatever was asked for. */
const LONGEST_PAGE = 200;

export const STS_COLUMNS = "domain, policy_id, policy_text, fetched_at, expires_at, failed_id, failed_at, failures, failure, last_used";

type StsTuple = readonly [
  domain: Domain,
  policyId: string | null,
  policyText: string | null,
  fetchedAt: number | null,
  expiresAt: number | null,
  failedId: string | null,
  failedAt: number | null,
  failures: number | null,
  failure: string | null,
  lastUsed: number,
];

export class SqlitePolicies implements PolicyStore {
  readonly #reader: ReaderLink;
  readonly #writer: WriterLink;

  constructor(reader: ReaderLink, writer: WriterLink) {
    this.#reader = reader;
    this.#writer = writer;
  }

  findSts(policyDomain: Domain): Promise<KeptStsPolicy | undefined> {
    return this.#reader.ask("findSts", policyDomain);
  }

  async saveSts(kept: KeptStsPolicy): Promise<void> {
    await this.#writer.ask({ op: "save-sts", row: stsRow(kept) });
  }

  forgetSts(policyDomain: Domain): Promise<boolean> {
    return this.#writer.ask({ op: "forget-sts", domain: policyDomain });
  }

  async listSts(page: { readonly limit: number; readonly after?: string }): Promise<{ policies: KeptStsPolicy[]; next?: string }> {
    const limit = Math.max(1, Math.min(page.limit, LONGEST_PAGE));
    const policies = await this.#reader.ask("listSts", limit, page.after ?? "");
    const last = policies.length < limit ? undefined : policies.at(-1);
    return last === undefined ? { policies } : { policies, next: last.policyDomain };
  }

  async noteDane(nextHop: NextHop, at: number): Promise<void> {
    await this.#writer.ask({ op: "note-dane", nextHop, at });
  }

  findDane(nextHop: NextHop): Promise<number | undefined> {
    return this.#reader.ask("findDane", nextHop);
  }
}

/** Throws for what a fetch should never have let through. */
function stsRow({ policyDomain, policy, failure, lastUsed }: KeptStsPolicy): Row {
  if (policy !== undefined && policy.text.length > LARGEST_TEXT)
    throw new Error(`the policy of ${policyDomain} has more than ${LARGEST_TEXT} characters`);
  for (const id of [policy?.id, failure?.id])
    if (id !== undefined && id.length > LONGEST_ID)
      throw new Error(`a policy id of ${policyDomain} has more than ${LONGEST_ID} characters`);
  const words = failure === undefined ? null : boundedFailure(failure.failure);
  return [
    policyDomain,
    policy?.id ?? null,
    policy?.text ?? null,
    policy?.fetchedAt ?? null,
    policy?.expires ?? null,
    failure?.id ?? null,
    failure?.at ?? null,
    failure?.failures ?? null,
    words === null ? null : JSON.stringify(words),
    lastUsed,
  ];
}

function boundedFailure(failure: TlsFailure): TlsFailure {
  return { ...failure, detail: cleanText(failure.detail, LONGEST_DETAIL) };
}

function keptPolicy(row: Row): KeptStsPolicy {
  const [policyDomain, policyId, text, fetchedAt, expires, failedId, failedAt, failures, failure, lastUsed] = row as unknown as StsTuple;
  return {
    policyDomain,
    ...(policyId !== null &&
      text !== null &&
      fetchedAt !== null &&
      expires !== null && { policy: { id: policyId, text, fetchedAt, expires } }),
    ...(failedId !== null &&
      failedAt !== null &&
      failures !== null &&
      failure !== null && { failure: { id: failedId, at: failedAt, failures, failure: JSON.parse(failure) as TlsFailure } }),
    lastUsed,
  };
}

/** The reader thread's answers. */
export function findSts(sql: Statements, policyDomain: string): KeptStsPolicy | undefined {
  return sql.raw(`SELECT ${STS_COLUMNS} FROM sts_policy WHERE domain = ?`, policyDomain).map(keptPolicy)[0];
}

export function listSts(sql: Statements, limit: number, after: string): KeptStsPolicy[] {
  return sql.raw(`SELECT ${STS_COLUMNS} FROM sts_policy WHERE domain > ? ORDER BY domain LIMIT ?`, after, limit).map(keptPolicy);
}

export function findDane(sql: Statements, nextHop: string): number | undefined {
  return sql.pluck<number>("SELECT seen_at FROM dane_next_hop WHERE next_hop = ?", nextHop);
}
