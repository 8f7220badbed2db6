/**
 * TLSA records as a sender uses them (RFC 7672 §3.1, RFC 7671 §4, §9): a secure set in, the records that are usable and
 * that digest agility leaves, and why the others are not, out. Comparing them with a chain is policy/dane-match.ts.
 */
import { createHash, createPublicKey, X509Certificate } from "node:crypto";
import { isOneSequence } from "./der.ts";
import type { TlsaRecord } from "./facts.ts";
import type { TlsFailure } from "./outcome.ts";

export interface TlsaJudgement {
  /** Usable, after digest agility. Empty: TLS is required, authentication is not (RFC 7672 §2.2). */
  readonly usable: readonly TlsaRecord[];
  /** Why each other record does not count, in clean words and as a reason code (RFC 8460 §4.4). */
  readonly unusable: readonly ({ readonly record: TlsaRecord } & Unusable)[];
}

interface Unusable {
  readonly why: string;
  readonly code: string;
}

export type DigestName = "sha512" | "sha256";

/** RFC 6698 §7.4. */
const DIGESTS: Readonly<Record<number, { readonly name: DigestName; readonly octets: number }>> = {
  1: { name: "sha256", octets: 32 },
  2: { name: "sha512", octets: 64 },
};

// By the set itself: a finding is shared by all messages to a host, and goes when the last of them has gone.
const judged = new WeakMap<readonly TlsaRecord[], Map<string, TlsaJudgement>>();

/**
 * Judged once for each set. `digests`: those that count, strongest first; a record with another one is unusable (RFC 6698
 * §4.1). A set came in one DNS message, so neither its number nor its octets need a limit here.
 */
export function judgeTlsa(records: readonly TlsaRecord[], digests: readonly DigestName[]): TlsaJudgement {
  const key = digests.join();
  const known = judged.get(records);
  const before = known?.get(key);
  if (before !== undefined) return before;
  const judgement = judgeNew(records, digests);
  if (known === undefined) judged.set(records, new Map([[key, judgement]]));
  else known.set(key, judgement);
  return judgement;
}

function judgeNew(records: readonly TlsaRecord[], digests: readonly DigestName[]): TlsaJudgement {
  const unusable: ({ record: TlsaRecord } & Unusable)[] = [];
  // Usability goes first: a strong record that is malformed must not shut out a good weaker one (RFC 7671 §9).
  const candidates = records.filter((record) => {
    const flaw = findFlaw(record, digests);
    if (flaw !== undefined) unusable.push({ record, ...flaw });
    return flaw === undefined;
  });
  const strongest = new Map<string, number>();
  const rankOf = ({ matchingType }: TlsaRecord): number => digests.indexOf(DIGESTS[matchingType]?.name ?? "sha256");
  for (const record of candidates) {
    if (record.matchingType === 0) continue;
    const pair = pairOf(record);
    strongest.set(pair, Math.min(strongest.get(pair) ?? digests.length, rankOf(record)));
  }
  // RFC 7671 §9: Full records always count; of the digests, for each pair of usage and selector, the strongest one only.
  const usable = candidates.filter((record) => {
    if (record.matchingType === 0 || rankOf(record) === strongest.get(pairOf(record))) return true;
    const why = `a stronger digest is published for usage ${record.usage}, selector ${record.selector}`;
    unusable.push({ record, why, code: "weaker-digest" });
    return false;
  });
  return { usable, unusable };
}

function pairOf({ usage, selector }: TlsaRecord): string {
  return `${usage} ${selector}`;
}

/** A secure set of which no record can be used (RFC 8460 §4.3.2.1), told by its first; undefined where one can. */
export function findUnusableSet({ usable, unusable }: TlsaJudgement, baseDomain: string): TlsFailure | undefined {
  const [first] = unusable;
  if (usable.length > 0 || first === undefined) return undefined;
  const which = unusable.length === 1 ? "the TLSA record" : `none of the ${unusable.length} TLSA records`;
  const detail = `${which} of ${baseDomain} is ${unusable.length === 1 ? "not " : ""}usable: ${first.why}`;
  return { type: "tlsa-invalid", detail, whoActs: "receiver", code: first.code };
}

function findFlaw({ usage, selector, matchingType, data }: TlsaRecord, digests: readonly DigestName[]): Unusable | undefined {
  // RFC 7672 §3.1.3: usages 0 and 1 ask for public CAs, which SMTP has no list of; they are never taken for 2 or 3.
  if (usage === 0 || usage === 1) return { why: `usage ${usage} is not for SMTP`, code: "unsupported-usage" };
  if (usage !== 2 && usage !== 3) return { why: `usage ${usage} is not known`, code: "unsupported-usage" };
  if (selector !== 0 && selector !== 1) return { why: `selector ${selector} is not known`, code: "unsupported-selector" };
  if (data.length === 0) return { why: "it holds no data", code: "no-data" };
  if (matchingType === 0) {
    if (selector === 0)
      return isCertificate(data) ? undefined : { why: "its data is not a certificate in DER", code: "malformed-certificate" };
    return isKey(data) ? undefined : { why: "its data is not a public key in DER", code: "malformed-key" };
  }
  const digest = DIGESTS[matchingType];
  if (digest === undefined) return { why: `matching type ${matchingType} is not known`, code: "unsupported-matching-type" };
  if (data.length !== digest.octets)
    return { why: `its digest has ${data.length} octets instead of ${digest.octets}`, code: "malformed-digest" };
  return digests.includes(digest.name) ? undefined : { why: `${digest.name} does not count here`, code: "unsupported-matching-type" };
}

function isCertificate(data: Buffer): boolean {
  try {
    // OpenSSL takes PEM too, and ignores what follows the DER: neither is what would be sent.
    return new X509Certificate(data).raw.equals(data);
  } catch {
    return false;
  }
}

function isKey(data: Buffer): boolean {
  // Octets after the key would be ignored here as well.
  if (!isOneSequence(data)) return false;
  try {
    createPublicKey({ key: data, format: "der", type: "spki" });
    return true;
  } catch {
    return false;
  }
}

const keys = new WeakMap<readonly TlsaRecord[], { readonly baseDomain: string; readonly key: string }>();

/** The same for the same base domain and the same set, whatever its order. */
export function tlsaKey(baseDomain: string, records: readonly TlsaRecord[]): string {
  const known = keys.get(records);
  if (known?.baseDomain === baseDomain) return known.key;
  // A digest: sets of whole certificates are long, and connections are looked for by this.
  const key = `${baseDomain} ${createHash("sha256").update(records.map(describeTlsa).toSorted().join("\n")).digest("hex")}`;
  keys.set(records, { baseDomain, key });
  return key;
}

/** `3 1 1 9f2c…`: as zone files have it, the data in full. */
export function describeTlsa({ usage, selector, matchingType, data }: TlsaRecord): string {
  return `${usage} ${selector} ${matchingType} ${data.toString("hex")}`;
}
