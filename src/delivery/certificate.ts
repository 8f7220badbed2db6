/**
 * The certificate of a TLS session, judged in full every time (RFC 6125, RFC 9325 §4.5): the chain as sent and what
 * OpenSSL said of it in, evidence and a verdict out. Nothing here is believed because nobody asked for it: also where
 * any certificate would do, the verdict is kept. Names are policy/names.ts; reading the chain is delivery/handshake.ts.
 */
import type { AsymmetricKeyDetails, X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { cleanText } from "../mail/reply.ts";
import { parseDnsNames } from "../policy/alternative-names.ts";
import { findCoveredName } from "../policy/names.ts";
import type { CertificateEvidence, TlsFailure } from "../policy/outcome.ts";

export interface CertificateToJudge {
  /** As sent, leaf first. */
  readonly chain: readonly X509Certificate[];
  /** True if OpenSSL found a path to a trust anchor, in date, at security level 2. */
  readonly trusted: boolean;
  /** Its error code otherwise: `CERT_HAS_EXPIRED`. The last of several, so it names one trouble, not all. */
  readonly trustError?: string;
  readonly referenceIdentifiers: readonly string[];
  readonly now: number;
}

export type CertificateVerdict =
  | { readonly kind: "valid"; readonly referenceIdentifier: string }
  | { readonly kind: "invalid"; readonly failure: TlsFailure };

const LEAST_RSA_BITS = 2048;
const LEAST_EC_BITS = 224;

export function judgeCertificate(asked: CertificateToJudge): CertificateVerdict {
  const [leaf] = asked.chain;
  if (leaf === undefined) return invalid([{ type: "certificate-not-trusted", detail: "the host presented no certificate" }]);
  const covered = findIdentity(leaf, asked.referenceIdentifiers);
  const troubles: Trouble[] = [];
  const weakness = findWeakness(asked.chain);
  if (!asked.trusted) troubles.push(untrusted(asked, leaf, weakness));
  else if (weakness !== undefined) troubles.push({ type: "certificate-not-trusted", detail: weakness });
  if (covered === undefined) troubles.push(wrongName(leaf, asked.referenceIdentifiers));
  return troubles.length === 0 && covered !== undefined ? { kind: "valid", referenceIdentifier: covered } : invalid(troubles);
}

interface Trouble {
  readonly type: TlsFailure["type"];
  readonly detail: string;
}

function invalid(troubles: readonly Trouble[]): CertificateVerdict {
  const type = troubles[0]?.type ?? "certificate-not-trusted";
  return { kind: "invalid", failure: { type, detail: troubles.map((trouble) => trouble.detail).join("; also, "), whoActs: "receiver" } };
}

function untrusted(asked: CertificateToJudge, leaf: X509Certificate, weakness: string | undefined): Trouble {
  const code = asked.trustError ?? "UNSPECIFIED";
  if (code === "CERT_HAS_EXPIRED") {
    // Dates are looked at last, so this code hides a certificate that was never to be trusted.
    const alsoSelfSigned = isSelfSigned(leaf) ? "; it is self-signed, too" : "";
    const old = asked.chain.find((certificate) => Date.parse(certificate.validTo) <= asked.now) ?? leaf;
    return { type: "certificate-expired", detail: `${whose(old, leaf)} ended ${day(old.validTo)}${alsoSelfSigned}` };
  }
  if (code === "CERT_NOT_YET_VALID") {
    const young = asked.chain.find((certificate) => Date.parse(certificate.validFrom) > asked.now) ?? leaf;
    return {
      type: "validation-failure",
      detail: `${whose(young, leaf)} is not valid before ${day(young.validFrom)} (certificate-not-yet-valid)`,
    };
  }
  if (isSelfSigned(leaf)) return { type: "certificate-not-trusted", detail: `the certificate is self-signed (${code})` };
  // A weak key or digest is reported by OpenSSL as UNSPECIFIED only, so it is measured here.
  if (weakness !== undefined) return { type: "certificate-not-trusted", detail: weakness };
  const issuer = oneLine(asked.chain.at(-1)?.issuer ?? leaf.issuer);
  switch (code) {
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
    case "UNABLE_TO_GET_ISSUER_CERT":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
      return {
        type: "certificate-not-trusted",
        detail: `its issuer is not trusted here, or an intermediate certificate was not sent: ${issuer} (${code})`,
      };
    case "SELF_SIGNED_CERT_IN_CHAIN":
      return { type: "certificate-not-trusted", detail: `it leads to a root that is not trusted here: ${issuer} (${code})` };
    default:
      return { type: "certificate-not-trusted", detail: `the certificate's path is not valid: ${cleanText(code, 60)}` };
  }
}

function wrongName(leaf: X509Certificate, references: readonly string[]): Trouble {
  if (references.length === 0) return { type: "certificate-host-mismatch", detail: "there is no host name to look for in the certificate" };
  const names = certificateNames(leaf);
  const presented =
    names.length === 0 ? "no DNS name at all" : names.slice(0, 5).join(", ") + (names.length > 5 ? ` and ${names.length - 5} more` : "");
  return { type: "certificate-host-mismatch", detail: `the certificate is for ${presented}, not for ${references.join(" or ")}` };
}

function findIdentity(leaf: X509Certificate, references: readonly string[]): string | undefined {
  // An address is proven by an iPAddress entry alone, never by a DNS name that looks like it (RFC 9525 §6.5).
  return (
    findCoveredName(parseDnsNames(leaf.subjectAltName), references) ??
    references.find((reference) => isIP(reference) !== 0 && leaf.checkIP(reference) !== undefined)
  );
}

/** RSA under 2048 bits, tiny curves, SHA-1 and MD5 signatures on the sent path (RFC 9325 §4.5). Extra certificates are not on it. */
function findWeakness(chain: readonly X509Certificate[]): string | undefined {
  let certificate = chain[0];
  let what = "the certificate";
  for (let depth = 0; certificate !== undefined && depth < chain.length; depth += 1) {
    const { type, details } = keyOf(certificate);
    const bits = details?.modulusLength ?? 0;
    if ((type === "rsa" || type === "rsa-pss") && bits < LEAST_RSA_BITS)
      return `${what} has an RSA key of ${bits} bits, and ${LEAST_RSA_BITS} is the least`;
    if (type === "ec" && curveBits(details?.namedCurve) < LEAST_EC_BITS)
      return `${what} has a key on the curve ${details?.namedCurve ?? "unknown"}, which is too small`;
    if (type === "dsa") return `${what} has a DSA key`;
    // A root signs itself; nobody relies on that signature.
    if (isSelfSigned(certificate)) return undefined;
    const digest = weakDigest(certificate.raw);
    if (digest !== undefined) return `${what} is signed with ${digest}`;
    const child = certificate;
    certificate = chain.find((other) => other !== child && child.checkIssued(other));
    what = "a CA certificate above it";
  }
  return undefined;
}

function keyOf(certificate: X509Certificate): { type?: string | undefined; details?: AsymmetricKeyDetails | undefined } {
  try {
    return { type: certificate.publicKey.asymmetricKeyType, details: certificate.publicKey.asymmetricKeyDetails };
  } catch {
    // A key of a kind that OpenSSL does not know; a path through it is not trusted either.
    return {};
  }
}

function curveBits(curve: string | undefined): number {
  return Number(/(\d{3})/.exec(curve ?? "")?.[1] ?? 256);
}

// The algorithms' OIDs in DER (RFC 3279 §2.2): md2, md5 and sha1 with RSA; sha1 with DSA and ECDSA.
const WEAK_SIGNATURES: readonly (readonly [string, string])[] = [
  ["2a864886f70d010102", "MD2"],
  ["2a864886f70d010104", "MD5"],
  ["2a864886f70d010105", "SHA-1"],
  ["2a8648ce380403", "SHA-1"],
  ["2a8648ce3d0401", "SHA-1"],
];

/** The digest of the signature if it is a broken one: the second element of Certificate (RFC 5280 §4.1). */
function weakDigest(der: Buffer): string | undefined {
  const certificate = element(der, 0);
  const toBeSigned = element(der, certificate.start);
  const algorithm = element(der, toBeSigned.end);
  const oid = element(der, algorithm.start);
  const hex = der.toString("hex", oid.start, oid.end);
  return WEAK_SIGNATURES.find(([weak]) => weak === hex)?.[1];
}

/** Where the content of a DER element lies. OpenSSL has parsed these octets already, so they are well-formed. */
function element(der: Buffer, at: number): { start: number; end: number } {
  const first = der[at + 1] ?? 0;
  if (first < 0x80) return { start: at + 2, end: at + 2 + first };
  const size = first & 0x7f;
  const start = at + 2 + size;
  return { start, end: start + der.readUIntBE(at + 2, Math.min(size, 6)) };
}

/** Signed with its own key, whether or not it says that it may sign: leaves made by hand mostly do not. */
function isSelfSigned(certificate: X509Certificate): boolean {
  if (certificate.subject !== certificate.issuer) return false;
  try {
    return certificate.verify(certificate.publicKey);
  } catch {
    return false;
  }
}

function whose(certificate: X509Certificate, leaf: X509Certificate): string {
  return certificate === leaf ? "the certificate" : `the CA certificate ${oneLine(certificate.subject)}`;
}

function isoTime(text: string): string {
  const time = Date.parse(text);
  return Number.isNaN(time) ? cleanText(text, 40) : new Date(time).toISOString();
}

/** `2026-08-30 11:02 UTC`, for people. */
function day(text: string): string {
  return isoTime(text).replace(/^(\S{10})T(\d\d:\d\d):.*$/, "$1 $2 UTC");
}

function oneLine(name: string): string {
  return cleanText(name.split("\n").join(", "), 200);
}

/** Names as they are told and kept: each session keeps up to ten certificates, and a stranger chooses what is in them. */
const MOST_NAMES = 20;
const MOST_NAME_TEXT = 1000;

function certificateNames(certificate: X509Certificate): string[] {
  const kept: string[] = [];
  let room = MOST_NAME_TEXT;
  for (const name of parseDnsNames(certificate.subjectAltName).slice(0, MOST_NAMES)) {
    const text = cleanText(name, 253);
    room -= text.length;
    if (room < 0) break;
    kept.push(text);
  }
  return kept;
}

/** The certificate as evidence. Cheap for certificates met before, as nearly all are. */
export function createEvidence(limit = 2000): (certificate: X509Certificate) => CertificateEvidence {
  const known = new Map<string, CertificateEvidence>();
  return (certificate) => {
    const sha256 = certificate.fingerprint256.replaceAll(":", "").toLowerCase();
    const seen = known.get(sha256);
    if (seen !== undefined) return seen;
    const evidence: CertificateEvidence = {
      subject: oneLine(certificate.subject),
      issuer: oneLine(certificate.issuer),
      names: certificateNames(certificate),
      validFrom: isoTime(certificate.validFrom),
      validTo: isoTime(certificate.validTo),
      sha256,
      key: describeKey(certificate),
    };
    if (known.size >= limit) known.clear();
    known.set(sha256, evidence);
    return evidence;
  };
}

function describeKey(certificate: X509Certificate): string {
  const { type, details } = keyOf(certificate);
  switch (type) {
    case "rsa":
    case "rsa-pss":
      return `RSA ${details?.modulusLength ?? "?"}`;
    case "ec":
      return `EC ${details?.namedCurve ?? "?"}`;
    case "ed25519":
      return "Ed25519";
    case "ed448":
      return "Ed448";
    default:
      return type ?? "unknown";
  }
}
