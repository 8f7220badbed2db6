/**
 * Certification paths to a trust anchor that DNS names (RFC 7672 §3.1.2, RFC 7671 §5.2, RFC 5280 §6.1): what the host sent
 * and what TLSA records hold in full in, the record that a valid path ends at, or why there is none, out. No root of this
 * system and nothing fetched takes part (RFC 7671 §5.2.2). Reading a certificate is policy/path-certificate.ts.
 *
 * The path is built and judged here, not by pkijs' CertificateChainValidationEngine. Of pkijs 4.0.0: it takes the last
 * certificate of its list for the leaf after dropping duplicates, so that a leaf sent twice has another one validated in
 * its place; it does not apply the anchor's own name constraints and path length where the anchor is no root; it has no
 * Ed25519; and certificates that all issue each other cost it every permutation.
 */
import type { KeyObject, X509Certificate } from "node:crypto";
import type { Parsed } from "../mail/parsed.ts";
import { day, oneLine } from "./certificate-text.ts";
import type { TlsaRecord } from "./facts.ts";
import { type Constraints, DNS, type GeneralName } from "./general-names.ts";
import { countComparisons, findForbiddenName } from "./name-constraints.ts";
import type { TlsFailureType } from "./outcome.ts";
import { NO_CERTIFICATE, verificationCode, WEAK_KEY, WEAK_SIGNATURE } from "./reason-code.ts";
import { type PathCertificate, readPathCertificate } from "./path-certificate.ts";
import { createPathWork, MOST_WORK, type PathWork, spend } from "./path-work.ts";

export interface PathQuestion {
  readonly leaf: X509Certificate;
  /** What else may stand on a path: sent by the host, or in full in a record. None equals the leaf or another. */
  readonly issuers: readonly X509Certificate[];
  /** The record that makes this issuer an anchor. */
  readonly findAnchor: (issuer: X509Certificate) => TlsaRecord | undefined;
  /** Anchors of which only the key is known (RFC 7671 §5.2.3). */
  readonly keys: readonly { readonly key: KeyObject; readonly record: TlsaRecord }[];
  readonly now: number;
}

export type PathVerdict =
  | { readonly kind: "valid"; readonly record: TlsaRecord; readonly leaf: PathCertificate }
  /** The best path found, and what is wrong with it. */
  | { readonly kind: "invalid"; readonly type: TlsFailureType; readonly detail: string; readonly code?: string }
  /** Nothing leads to an anchor; `top` is as far as it went. */
  | { readonly kind: "none"; readonly top: X509Certificate };

/** Built, judged or not: they hold open what is to be looked at next. */
const MOST_BUILT = 200;

type Trouble = Extract<PathVerdict, { kind: "invalid" }>;
type Read = (x509: X509Certificate) => Parsed<PathCertificate>;

/** Shortest first, each path at most once; what is tried is limited (policy/path-work.ts), so that a chain made to be slow only fails. */
export function findPath(question: PathQuestion, work: PathWork = createPathWork()): PathVerdict {
  const { leaf, issuers, keys, now } = question;
  const isIssuedBy = createIssuanceCheck(work);
  const readings = new Map<X509Certificate, Parsed<PathCertificate>>();
  const read: Read = (x509) => {
    const reading = readings.get(x509) ?? readPathCertificate(x509, work);
    readings.set(x509, reading);
    return reading;
  };
  let trouble: Trouble | undefined;
  const paths: (readonly X509Certificate[])[] = [[leaf]];
  for (let at = 0; at < paths.length; at++) {
    const path = paths[at] ?? [];
    const top = path.at(-1) ?? leaf;
    const signing = keys.find(({ key }) => isIssuedBy(top, key));
    if (signing !== undefined) {
      if (!spend(work, "paths")) break;
      const verdict = judgePath(path, false, signing.record, now, read, work);
      if (verdict.kind === "valid") return verdict;
      trouble ??= verdict;
    }
    for (const issuer of issuers) {
      if (path.includes(issuer) || !isIssuedBy(top, issuer)) continue;
      const longer = [...path, issuer];
      const record = question.findAnchor(issuer);
      if (record !== undefined) {
        if (!spend(work, "paths")) break;
        const verdict = judgePath(longer, true, record, now, read, work);
        if (verdict.kind === "valid") return verdict;
        trouble ??= verdict;
      }
      if (paths.length < MOST_BUILT) paths.push(longer);
    }
  }
  return trouble ?? { kind: "none", top: paths.at(-1)?.at(-1) ?? leaf };
}

/** Name, key identifier, and the signature itself; each pair once, and a limited number of them. */
function createIssuanceCheck(work: PathWork): (child: X509Certificate, issuer: X509Certificate | KeyObject) => boolean {
  const known = new Map<X509Certificate, Map<X509Certificate | KeyObject, boolean>>();
  const verify = (child: X509Certificate, issuer: X509Certificate | KeyObject): boolean => {
    try {
      if ("checkIssued" in issuer && !child.checkIssued(issuer)) return false;
      if (!spend(work, "signatures")) return false;
      return child.verify("checkIssued" in issuer ? issuer.publicKey : issuer);
    } catch {
      // A key of a kind that OpenSSL does not know.
      return false;
    }
  };
  return (child, issuer) => {
    const ofChild = known.get(child) ?? new Map<X509Certificate | KeyObject, boolean>();
    known.set(child, ofChild);
    const before = ofChild.get(issuer);
    if (before !== undefined) return before;
    const is = verify(child, issuer);
    ofChild.set(issuer, is);
    return is;
  };
}

/** RFC 5280 §6.1.3 to §6.1.5, signatures and names of issuers being checked already. `path` goes from the leaf to the anchor, or to what its key signed. */
function judgePath(
  path: readonly X509Certificate[],
  endsAtAnchor: boolean,
  record: TlsaRecord,
  now: number,
  read: Read,
  work: PathWork,
): Extract<PathVerdict, { kind: "valid" }> | Trouble {
  const certificates: PathCertificate[] = [];
  for (const [index, x509] of path.entries()) {
    const certificate = read(x509);
    if (!certificate.ok) return untrusted(`${whose(path, index)} ${certificate.error}`, "certificate-unreadable");
    certificates.push(certificate.value);
  }
  const anchorAt = endsAtAnchor ? path.length - 1 : path.length;
  // How many CA certificates stand between this one and the leaf; one that renews its own name does not count (§4.2.1.9).
  let between = 0;
  for (const [index, certificate] of certificates.entries()) {
    const it = whose(path, index);
    const { unknownCritical, weakKey, weakSignature, pathLength } = certificate;
    if (unknownCritical !== undefined)
      return untrusted(`${it} has a critical extension that is not understood here (${unknownCritical})`, "unknown-critical-extension");
    if (weakKey !== undefined) return untrusted(`${it} has ${weakKey}`, WEAK_KEY);
    // Nobody relies on the signature of an anchor.
    if (index < anchorAt && weakSignature !== undefined) return untrusted(`${it} is signed with ${weakSignature}`, WEAK_SIGNATURE);
    if (!certificate.forServers) return untrusted(`${it} is not for TLS servers (extendedKeyUsage)`, "invalid-purpose");
    if (index === 0) continue;
    if (!certificate.maySign) return untrusted(`${it} may not sign others: it is not marked as a CA`, "invalid-ca");
    if (pathLength !== undefined && between > pathLength)
      return untrusted(`${it} allows ${pathLength} CA certificates below it, and there are ${between}`, "path-length-exceeded");
    if (!certificate.selfIssued) between += 1;
    const below = namesBelow(certificates.slice(0, index));
    const { constraints = NO_CONSTRAINTS } = certificate;
    if (!spend(work, "comparisons", countComparisons(constraints, below)))
      return untrusted(
        `${it} has more name constraints than are compared with the names below it (${MOST_WORK.comparisons} comparisons for one chain)`,
        NAME_CONSTRAINTS,
      );
    const forbidden = findForbiddenName(constraints, below);
    if (forbidden !== undefined) return untrusted(`${it} does not allow ${forbidden} (name constraints)`, NAME_CONSTRAINTS);
  }
  const [leaf] = certificates;
  const old = certificates.findIndex(({ to }) => !(now <= to));
  if (old !== -1)
    return { kind: "invalid", type: "certificate-expired", detail: `${whose(path, old)} ended ${day(path[old]?.validTo ?? "")}` };
  const young = certificates.findIndex(({ from }) => !(now >= from));
  if (young !== -1) {
    const from = day(path[young]?.validFrom ?? "");
    const code = verificationCode("CERT_NOT_YET_VALID");
    const detail = `${whose(path, young)} is not valid before ${from} (${code})`;
    return { kind: "invalid", type: "validation-failure", detail, code };
  }
  return leaf === undefined ? untrusted("the host presented no certificate", NO_CERTIFICATE) : { kind: "valid", record, leaf };
}

const NAME_CONSTRAINTS = "name-constraints";
const NO_CONSTRAINTS: Constraints = { permitted: [], excluded: [] };

/** `below` begins with the leaf. A CA that renews its own name is not constrained by the one it renews (RFC 5280 §6.1.3 b). */
function namesBelow(below: readonly PathCertificate[]): GeneralName[] {
  return below.flatMap(({ constrained, selfIssued }, index) => (index > 0 && selfIssued ? [] : constrained));
}

function untrusted(detail: string, code: string): Trouble {
  return { kind: "invalid", type: "certificate-not-trusted", detail, code };
}

function whose(path: readonly X509Certificate[], index: number): string {
  return index === 0 ? "the certificate" : `the CA certificate ${oneLine(path[index]?.subject ?? "")}`;
}

/** The DNS-IDs of a certificate, and its common name only where there is none at all (RFC 7672 §3.2.3). */
export function presentedNames({ alternativeNames, commonName }: PathCertificate): string[] {
  const dnsIds = alternativeNames.flatMap((name) => (name.tag === DNS ? [name.text] : []));
  return dnsIds.length > 0 || commonName === undefined ? dnsIds : [commonName];
}
