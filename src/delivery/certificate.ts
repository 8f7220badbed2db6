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
import { NO_CERTIFICATE, verificationCode, WEAK_KEY, WEAK_SIGNATURE } from "../policy/reason-code.ts";

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
  /** `failure` is what goes first and tells of all; `others` are the faults beside it that are known for themselves. */
  | { readonly kind: "invalid"; readonly failure: TlsFailure; readonly others: readonly TlsFailure[] };

const LEAST_RSA_BITS = 2048;
const LEAST_EC_BITS = 224;

export function judgeCertificate(asked: CertificateToJudge): CertificateVerdict {
  const [leaf] = asked.chain;
  if (leaf === undefined) return invalid([notTrusted("the host presented no certificate", NO_CERTIFICATE)], []);
  const covered = findIdentity(leaf, asked.referenceIdentifiers);
  const troubles: Trouble[] = [];
  const weakness = findWeakness(asked.chain);
  if (!asked.trusted) troubles.push(untrusted(asked, leaf, weakness));
  else if (weakness !== undefined) troubles.push(weakness);
  if (covered === undefined) troubles.push(wrongName(leaf, asked.referenceIdentifiers));
  if (troubles.length === 0 && covered !== undefined) return { kind: "valid", referenceIdentifier: covered };
  return invalid(troubles, asked.trusted ? [] : findHidden(asked, leaf, weakness));
}

interface Trouble {
  readonly type: TlsFailure["type"];
  readonly detail: string;
  readonly code?: string;
}

function notTrusted(detail: string, code: string): Trouble {
  return { type: "certificate-not-trusted", detail, code };
}

function invalid(told: readonly Trouble[], hidden: readonly Trouble[]): CertificateVerdict {
  const [first, ...rest] = told.map((trouble): TlsFailure => ({ ...trouble, whoActs: "receiver" }));
  if (first === undefined) throw new Error("a certificate is invalid, and nothing is wrong with it");
  const others = [...hidden.map((trouble): TlsFailure => ({ ...trouble, whoActs: "receiver" })), ...rest];
  return { kind: "invalid", failure: { ...first, detail: told.map(({ detail }) => detail).join("; also, ") }, others };
}

function untrusted(asked: CertificateToJudge, leaf: X509Certificate, weakness: Trouble | undefined): Trouble {
  const code = asked.trustError ?? "UNSPECIFIED";
  if (code === EXPIRED) {
    const old = asked.chain.find((certificate) => hasEnded(certificate, asked.now)) ?? leaf;
    const { detail, ...trouble } = ended(old, leaf);
    return { ...trouble, detail: isSelfSigned(leaf) ? `${detail}; it is self-signed, too` : detail };
  }
  if (code === NOT_YET_VALID) return notBegun(asked.chain.find((certificate) => isYoung(certificate, asked.now)) ?? leaf, leaf);
  if (isSelfSigned(leaf)) return selfSigned(code);
  // A weak key or digest is reported by OpenSSL as UNSPECIFIED only, so it is measured here.
  if (weakness !== undefined) return weakness;
  const issuer = oneLine(asked.chain.at(-1)?.issuer ?? leaf.issuer);
  switch (code) {
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
    case "UNABLE_TO_GET_ISSUER_CERT":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
      return notTrusted(
        `its issuer is not trusted here, or an intermediate certificate was not sent: ${issuer} (${code})`,
        verificationCode(code),
      );
    case "SELF_SIGNED_CERT_IN_CHAIN":
      return notTrusted(`it leads to a root that is not trusted here: ${issuer} (${code})`, verificationCode(code));
    default:
      return notTrusted(`the certificate's path is not valid: ${cleanText(code, 60)}`, verificationCode(code));
  }
}

const EXPIRED = "CERT_HAS_EXPIRED";
const NOT_YET_VALID = "CERT_NOT_YET_VALID";

/** OpenSSL names the last fault it met. What can be seen of the others without it is seen here. */
function findHidden({ trustError, now }: CertificateToJudge, leaf: X509Certificate, weakness: Trouble | undefined): Trouble[] {
  const hidden: Trouble[] = [];
  // Dates are looked at last, so such a code hides a certificate that was never to be trusted.
  if (trustError === EXPIRED || trustError === NOT_YET_VALID) {
    const trouble = isSelfSigned(leaf) ? selfSigned("DEPTH_ZERO_SELF_SIGNED_CERT") : weakness;
    if (trouble !== undefined) hidden.push(trouble);
  }
  if (trustError !== EXPIRED && hasEnded(leaf, now)) hidden.push(ended(leaf, leaf));
  if (trustError !== NOT_YET_VALID && isYoung(leaf, now)) hidden.push(notBegun(leaf, leaf));
  return hidden;
}

function hasEnded({ validTo }: X509Certificate, now: number): boolean {
  return Date.parse(validTo) <= now;
}

function isYoung({ validFrom }: X509Certificate, now: number): boolean {
  return Date.parse(validFrom) > now;
}

function ended(old: X509Certificate, leaf: X509Certificate): Trouble {
  return { type: "certificate-expired", detail: `${whose(old, leaf)} ended ${day(old.validTo)}` };
}

function notBegun(young: X509Certificate, leaf: X509Certificate): Trouble {
  const code = verificationCode(NOT_YET_VALID);
  return { type: "validation-failure", detail: `${whose(young, leaf)} is not valid before ${day(young.validFrom)} (${code})`, code };
}

function selfSigned(code: string): Trouble {
  return notTrusted(`the certificate is self-signed (${code})`, verificationCode("DEPTH_ZERO_SELF_SIGNED_CERT"));
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
function findWeakness(chain: readonly X509Certificate[]): Trouble | undefined {
  let certificate = chain[0];
  let what = "the certificate";
  for (let depth = 0; certificate !== undefined && depth < chain.length; depth += 1) {
    const { type, details } = keyOf(certificate);
    const bits = details?.modulusLength ?? 0;
    if ((type === "rsa" || type === "rsa-pss") && bits < LEAST_RSA_BITS)
      return notTrusted(`${what} has an RSA key of ${bits} bits, and ${LEAST_RSA_BITS} is the least`, WEAK_KEY);
    if (type === "ec" && curveBits(details?.namedCurve) < LEAST_EC_BITS)
      return notTrusted(`${what} has a key on the curve ${details?.namedCurve ?? "unknown"}, which is too small`, WEAK_KEY);
    if (type === "dsa") return notTrusted(`${what} has a DSA key`, WEAK_KEY);
    // A root signs itself; nobody relies on that signature.
    if (isSelfSigned(certificate)) return undefined;
    const digest = weakDigest(certificate.raw);
    if (digest !== undefined) return notTrusted(`${what} is signed with ${digest}`, WEAK_SIGNATURE);
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
