/**
 * One certificate as path validation needs it (RFC 5280 §4.2, §6.1): node:crypto's object in, the extensions that it does
 * not tell of, and what is too weak about it (RFC 9325 §4.5), out. pkijs reads the ASN.1, policy/general-names.ts the names.
 * The rules of a path are policy/dane-path.ts.
 */
import type { X509Certificate } from "node:crypto";
import { BasicConstraints, Certificate, ExtKeyUsage, RSASSAPSSParams } from "pkijs";
import { bad, good, type Parsed } from "../mail/parsed.ts";
import { countElements } from "./der.ts";
import { type Constraints, type GeneralName, partsOf, readConstraints, readGeneralNames, TooManyNames } from "./general-names.ts";
import { constrainedNames } from "./name-constraints.ts";
import { type PathWork, spend } from "./path-work.ts";

export interface PathCertificate {
  readonly x509: X509Certificate;
  /** `policy/general-names.ts` partsOf. */
  readonly subject: readonly string[];
  readonly alternativeNames: readonly GeneralName[];
  /** The last common name of the subject: the most specific one (RFC 6125 §1.8). */
  readonly commonName?: string;
  readonly selfIssued: boolean;
  /** basicConstraints says so, and keyUsage, where present, allows signing certificates (RFC 5280 §6.1.4 k, n). */
  readonly maySign: boolean;
  readonly pathLength?: number;
  readonly constraints?: Constraints;
  /** What the constraints of a CA above apply to. */
  readonly constrained: readonly GeneralName[];
  /** extendedKeyUsage, where present, allows TLS servers. */
  readonly forServers: boolean;
  /** An extension that must be understood, and is not (RFC 5280 §4.2). */
  readonly unknownCritical?: string;
  /** ms since 1970. */
  readonly from: number;
  readonly to: number;
  readonly weakKey?: string;
  readonly weakSignature?: string;
}

/** What is looked at below, and what cannot make a path worse: policies are not asked for here (RFC 5280 §6.1.1). */
const UNDERSTOOD = new Set([
  ...["2.5.29.14", "2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.30", "2.5.29.35", "2.5.29.37"],
  ...["2.5.29.32", "2.5.29.33", "2.5.29.36", "2.5.29.54"],
]);
const COMMON_NAME = "2.5.4.3";
const SERVER_AUTH = ["1.3.6.1.5.5.7.3.1", "2.5.29.37.0"];
const KEY_CERT_SIGN = 0x04;

const LEAST_RSA_BITS = 2048;
const LEAST_EC_BITS = 224;
/** Signature algorithms over broken digests (RFC 3279 §2.2). */
const WEAK_SIGNATURES: Readonly<Record<string, string>> = {
  "1.2.840.113549.1.1.2": "MD2",
  "1.2.840.113549.1.1.3": "MD4",
  "1.2.840.113549.1.1.4": "MD5",
  "1.2.840.113549.1.1.5": "SHA-1",
  "1.3.14.3.2.29": "SHA-1",
  "1.2.840.10040.4.3": "SHA-1",
  "1.2.840.10045.4.1": "SHA-1",
  "1.3.36.3.3.1.2": "RIPEMD-160",
};
const RSA_PSS = "1.2.840.113549.1.1.10";
const SHA1 = "1.3.14.3.2.26";

/** A certificate has 1 to 4 KB; reading much more is work that only a hostile host asks for. */
const MOST_OCTETS = 16_384;

class TooMuchWork extends Error {}

/** What is wrong continues a sentence about the certificate; no path leads through one that cannot be read. */
export function readPathCertificate(x509: X509Certificate, work: PathWork): Parsed<PathCertificate> {
  if (x509.raw.length > MOST_OCTETS) return bad(`has ${x509.raw.length} octets, and at most ${MOST_OCTETS} are read`);
  try {
    spendElements(x509.raw, work);
    return good(read(x509, Certificate.fromBER(x509.raw), work));
  } catch (error) {
    if (error instanceof TooMuchWork) return bad("has more in it than is read for one chain");
    return bad(error instanceof TooManyNames ? `has ${error.message}` : "cannot be read");
  }
}

function spendElements(der: Uint8Array, work: PathWork): void {
  if (!spend(work, "elements", countElements(der))) throw new TooMuchWork();
}

function read(x509: X509Certificate, certificate: Certificate, work: PathWork): PathCertificate {
  const { extensions = [] } = certificate;
  // RFC 5280 §4.2 allows each once; with two of a kind, one reader takes the first and another the last.
  if (new Set(extensions.map(({ extnID }) => extnID)).size !== extensions.length) throw new Error("an extension stands there twice");
  const findOctets = (id: string): Uint8Array | undefined => {
    const octets = extensions.find(({ extnID }) => extnID === id)?.extnValue.valueBlock.valueHexView;
    if (octets !== undefined) spendElements(octets, work);
    return octets;
  };
  const find = (id: string): unknown => {
    if (findOctets(id) === undefined) return undefined;
    const value = extensions.find(({ extnID }) => extnID === id)?.parsedValue as { readonly parsingError?: string } | undefined;
    if (value === undefined || value.parsingError !== undefined) throw new Error(`the extension ${id} cannot be read`);
    return value;
  };
  const basic = ofClass(find("2.5.29.19"), BasicConstraints);
  const usage = find("2.5.29.15") as { readonly valueBlock: { readonly valueHexView: Uint8Array } } | undefined;
  const purposes = ofClass(find("2.5.29.37"), ExtKeyUsage)?.keyPurposes;
  const constraints = findOctets("2.5.29.30");
  const alternatives = findOctets("2.5.29.17");
  const unknownCritical = extensions.find(({ critical, extnID }) => critical && !UNDERSTOOD.has(extnID))?.extnID;
  const maySign = basic?.cA === true && (usage === undefined || ((usage.valueBlock.valueHexView[0] ?? 0) & KEY_CERT_SIGN) !== 0);
  const length = basic?.pathLenConstraint;
  const pathLength = length === undefined || typeof length === "number" ? length : Number(length.toBigInt());
  const subject = partsOf(certificate.subject);
  const issuer = partsOf(certificate.issuer);
  const commonName = certificate.subject.typesAndValues.findLast(({ type }) => type === COMMON_NAME)?.value.valueBlock.value;
  const key = weakKey(x509);
  const signature = weakSignature(certificate);
  const names = {
    subject,
    alternativeNames: alternatives === undefined ? [] : readGeneralNames(alternatives),
    ...(typeof commonName === "string" && { commonName }),
  };
  return {
    x509,
    ...names,
    constrained: constrainedNames(names),
    selfIssued: subject.length === issuer.length && subject.every((part, index) => part === issuer[index]),
    maySign,
    ...(pathLength !== undefined && { pathLength }),
    ...(constraints !== undefined && { constraints: readConstraints(constraints) }),
    forServers: purposes === undefined || purposes.some((purpose) => SERVER_AUTH.includes(purpose)),
    ...(unknownCritical !== undefined && { unknownCritical }),
    from: Date.parse(x509.validFrom),
    to: Date.parse(x509.validTo),
    ...(key !== undefined && { weakKey: key }),
    ...(signature !== undefined && { weakSignature: signature }),
  };
}

function ofClass<T>(value: unknown, type: new () => T): T | undefined {
  if (value === undefined || value instanceof type) return value;
  throw new Error("an extension is not what its number says");
}

function weakKey(x509: X509Certificate): string | undefined {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = x509.publicKey;
  if (type === "rsa" || type === "rsa-pss") {
    const bits = details?.modulusLength ?? 0;
    return bits < LEAST_RSA_BITS ? `an RSA key of ${bits} bits, and ${LEAST_RSA_BITS} is the least` : undefined;
  }
  if (type === "ec") {
    const bits = Number(/(\d{3})/.exec(details?.namedCurve ?? "")?.[1] ?? 0);
    return bits < LEAST_EC_BITS ? `a key on the curve ${details?.namedCurve ?? "unknown"}, which is too small` : undefined;
  }
  return type === "dsa" ? "a DSA key" : undefined;
}

function weakSignature({ signatureAlgorithm: { algorithmId, algorithmParams } }: Certificate): string | undefined {
  if (algorithmId !== RSA_PSS) return WEAK_SIGNATURES[algorithmId];
  // RFC 4055 §3.1: where its parameters name no digest, it is SHA-1.
  const { hashAlgorithm } = new RSASSAPSSParams({ schema: algorithmParams });
  return hashAlgorithm.algorithmId === SHA1 ? "SHA-1" : undefined;
}
