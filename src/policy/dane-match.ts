/**
 * A certificate chain against usable TLSA records (RFC 7672 §3, RFC 6698 §2.1): the chain as it was sent and the demand
 * in, the record that matched or why none did out. Which records are usable is policy/tlsa.ts; whether a path leads to an
 * anchor, policy/dane-path.ts.
 *
 * The roots of this system grant nothing, and what OpenSSL said of the chain is not asked.
 */
import { createHash, createPublicKey, type KeyObject, X509Certificate } from "node:crypto";
import { LRUCache } from "lru-cache";
import { cleanText } from "../mail/reply.ts";
import { day, oneLine } from "./certificate-text.ts";
import type { PathQuestion } from "./dane-path.ts";
import { readPublicKeyInfo } from "./der.ts";
import type { TlsaRecord } from "./facts.ts";
import { findCoveredName } from "./names.ts";
import type { DaneVerdict, TlsFailure, TlsFailureType } from "./outcome.ts";
import { NO_CERTIFICATE } from "./reason-code.ts";
import type { DaneRequirement } from "./requirement.ts";
import { describeTlsa } from "./tlsa.ts";

/** Judges; asks nobody. `chain` is as sent, leaf first; `now` in ms since 1970. Never rejects. */
export type JudgeDane = (chain: readonly X509Certificate[], dane: DaneRequirement, now: number) => Promise<DaneVerdict>;

const NO_MATCH = "dane-no-match";

/** Of the chain and of the anchors in DNS: more is work that nobody needs. */
const MOST_CERTIFICATES = 10;
const KEPT_VERDICTS = 1_000;

interface Kept {
  readonly verdict: DaneVerdict;
  /** From one date of a certificate to the next: in between, time alone changes no verdict. */
  readonly from: number;
  readonly until: number;
}

export function createDaneJudge(): JudgeDane {
  const kept = new LRUCache<string, Kept>({ max: KEPT_VERDICTS });
  return async (chain, dane, now) => {
    const sent = chain.slice(0, MOST_CERTIFICATES);
    const key = createHash("sha256")
      .update(JSON.stringify([sent.map(({ fingerprint256 }) => fingerprint256), dane.key, dane.referenceIdentifiers]))
      .digest("base64");
    const known = kept.get(key);
    if (known !== undefined && known.from <= now && now < known.until) return known.verdict;
    const anchors = anchorsInDns(dane.records);
    const verdict = await judge(sent, dane, anchors, now);
    kept.set(key, { verdict, ...unchangedAround(now, [...sent, ...anchors.certificates]) });
    return verdict;
  };
}

async function judge(chain: readonly X509Certificate[], dane: DaneRequirement, anchors: AnchorsInDns, now: number): Promise<DaneVerdict> {
  const { baseDomain, records } = dane;
  const [leaf] = chain;
  if (leaf === undefined) return failed("certificate-not-trusted", "the host presented no certificate", NO_CERTIFICATE);
  // RFC 7672 §3.1.1: the key alone counts. No names, no dates, no issuer, and no least size either.
  const ofLeaf = createMatcher(leaf);
  const exact = records.find((record) => record.usage === 3 && ofLeaf(record));
  if (exact !== undefined) return { held: true, baseDomain, record: short(exact) };
  if (!records.some(({ usage }) => usage === 2)) return failed("validation-failure", noMatch(leaf, dane), NO_MATCH);
  // What reads certificates down to their extensions takes 13 MB of memory; most hosts with DANE (usage 3) never need it.
  const { findPath, presentedNames } = await import("./dane-path.ts");
  const path = findPath(pathQuestion(leaf, chain, dane, anchors, now));
  switch (path.kind) {
    case "invalid":
      return failed(path.type, path.detail, path.code);
    case "none": {
      const none = `no path leads from its certificate to an issuer that the TLSA records of ${baseDomain} name: the last one found is for ${oneLine(path.top.subject)}, issued by ${oneLine(path.top.issuer)}. The host has to send the issuer's certificate too`;
      if (records.some(({ usage }) => usage === 3)) return failed("validation-failure", `${noMatch(leaf, dane)}; and ${none}`, NO_MATCH);
      return failed("certificate-not-trusted", `${none}. ${hint(leaf)}`, "dane-ta-not-in-chain");
    }
    case "valid":
      return judgeNames(presentedNames(path.leaf), path.record, dane);
  }
}

/** RFC 7672 §3.2.3. */
function judgeNames(presented: readonly string[], record: TlsaRecord, { baseDomain, referenceIdentifiers }: DaneRequirement): DaneVerdict {
  const referenceIdentifier = findCoveredName(presented, referenceIdentifiers);
  if (referenceIdentifier !== undefined) return { held: true, baseDomain, record: short(record), referenceIdentifier };
  const told = presented.slice(0, 5).map((name) => cleanText(name, 253));
  const names =
    told.length === 0 ? "no DNS name at all" : told.join(", ") + (presented.length > 5 ? ` and ${presented.length - 5} more` : "");
  return failed("certificate-host-mismatch", `the certificate is for ${names}, not for ${referenceIdentifiers.join(" or ")}`);
}

interface AnchorsInDns {
  /** `2 0 0` (RFC 7671 §5.2.2). */
  readonly certificates: readonly X509Certificate[];
  /** `2 1 0` (RFC 7671 §5.2.3). */
  readonly keys: readonly { readonly key: KeyObject; readonly record: TlsaRecord }[];
}

function anchorsInDns(records: readonly TlsaRecord[]): AnchorsInDns {
  const full = records.filter(({ usage, matchingType }) => usage === 2 && matchingType === 0);
  const certificates: X509Certificate[] = [];
  const keys: { key: KeyObject; record: TlsaRecord }[] = [];
  for (const record of full) {
    try {
      if (record.selector === 0 && certificates.length < MOST_CERTIFICATES) certificates.push(new X509Certificate(record.data));
      if (record.selector === 1 && keys.length < MOST_CERTIFICATES)
        keys.push({ key: createPublicKey({ key: record.data, format: "der", type: "spki" }), record });
    } catch {
      // Usable records decode (policy/tlsa.ts); one that does not is the anchor of nothing.
    }
  }
  return { certificates, keys };
}

function pathQuestion(
  leaf: X509Certificate,
  chain: readonly X509Certificate[],
  { records }: DaneRequirement,
  anchors: AnchorsInDns,
  now: number,
): PathQuestion {
  const ofUsage2 = records.filter(({ usage }) => usage === 2);
  // A leaf is nobody's issuer, not even its own: usage 2 is for issuers only (RFC 6698 §2.1.1). A copy of it is the leaf, too.
  const issuers = unique([...chain, ...anchors.certificates]).filter(({ raw }) => !raw.equals(leaf.raw));
  const keyOfLeaf = readPublicKeyInfo(leaf.raw);
  const keys = anchors.keys.filter(({ record }) => keyOfLeaf?.equals(record.data) === false);
  // Once for each issuer, however many paths lead to it and however many records there are.
  const anchorOf = new Map(issuers.map((issuer) => [issuer, ofUsage2.find(createMatcher(issuer))]));
  return { leaf, issuers, findAnchor: (issuer) => anchorOf.get(issuer), keys, now };
}

function unique(certificates: readonly X509Certificate[]): X509Certificate[] {
  return [...new Map(certificates.map((certificate) => [certificate.fingerprint256, certificate])).values()];
}

/** Compares records with one certificate, each digest being made once (RFC 6698 §2.1.2, §2.1.3). */
function createMatcher(certificate: X509Certificate): (record: TlsaRecord) => boolean {
  const made = new Map<string, Buffer | undefined>();
  return ({ selector, matchingType, data }) => {
    const which = `${selector} ${matchingType}`;
    if (!made.has(which)) made.set(which, associationData(certificate, selector, matchingType));
    return made.get(which)?.equals(data) === true;
  };
}

function associationData(certificate: X509Certificate, selector: number, matchingType: number): Buffer | undefined {
  const selected = selector === 0 ? certificate.raw : selector === 1 ? readPublicKeyInfo(certificate.raw) : undefined;
  if (selected === undefined || matchingType === 0) return selected;
  if (matchingType === 1) return createHash("sha256").update(selected).digest();
  return matchingType === 2 ? createHash("sha512").update(selected).digest() : undefined;
}

/** The span of time around `now` in which none of these certificates begins or ends. */
function unchangedAround(now: number, certificates: readonly X509Certificate[]): { from: number; until: number } {
  let from = Number.NEGATIVE_INFINITY;
  let until = Number.POSITIVE_INFINITY;
  for (const { validFrom, validTo } of certificates) {
    // Valid through its last moment, so the change comes just after it.
    for (const date of [Date.parse(validFrom), Date.parse(validTo) + 1]) {
      if (date <= now) from = Math.max(from, date);
      else if (date > now) until = Math.min(until, date);
      // A date that cannot be read: not kept at all.
      else return { from: now, until: now };
    }
  }
  return { from, until };
}

function noMatch(leaf: X509Certificate, { baseDomain, records }: DaneRequirement): string {
  const count = records.length === 1 ? "the TLSA record" : `none of the ${records.length} TLSA records`;
  const verb = records.length === 1 ? "does not match" : "matches";
  return `${count} of ${baseDomain} ${verb} what the host presents (${NO_MATCH}), ${hint(leaf)}`;
}

/** What the receiver's DNS would have to say of the key on show. */
function hint(leaf: X509Certificate): string {
  const key = readPublicKeyInfo(leaf.raw);
  const digest = key === undefined ? "" : `its key would be 3 1 1 ${createHash("sha256").update(key).digest("hex")}, `;
  return `${digest}its certificate is valid from ${day(leaf.validFrom)}: perhaps the key was changed and DNS was not`;
}

function failed(type: TlsFailureType, detail: string, code?: string): DaneVerdict {
  const failure: TlsFailure = { type, detail, whoActs: "receiver", ...(code !== undefined && { code }) };
  return { held: false, failure };
}

/** With at most 64 hexadecimal digits: a SHA-256 digest in full. */
function short(record: TlsaRecord): string {
  return describeTlsa({ ...record, data: record.data.subarray(0, 32) });
}
