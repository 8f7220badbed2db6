/**
 * Certificates of the lab: one that the relay's trusted CA issued for every host in every zone, one that is good for DANE
 * alone, and whatever a scenario asks for; and TLSA records made from them (RFC 6698 §2.1).
 */
import { createHash, X509Certificate } from "node:crypto";
import { type CertificateWishes, createTestCa, type IssuedCertificate, type TestCa } from "../../support/certificates.ts";

export interface LabCertificates {
  /** The CA that relays trust. */
  readonly ca: TestCa;
  /** Nobody trusts this one, unless DNS says so. */
  readonly stranger: TestCa;
  /** For every host of the lab's zones, by wildcards. */
  readonly good: IssuedCertificate;
  /** Self-signed, for another name, and out of date: only a TLSA record of usage 3 can make it good. */
  readonly dane: IssuedCertificate;
}

/** All that the WebPKI has against `dane`, as reports tell it: one session may fail in several ways (RFC 8460 §4). */
export const DANE_ONLY = "certificate-expired, certificate-host-mismatch, certificate-not-trusted/self-signed-certificate";

const DAY = 86_400_000;
/** Days from now, the same for all that ask within a day, so that certificates are made once. */
export const inDays = (days: number): Date => new Date(Math.floor(Date.now() / DAY) * DAY + days * DAY);

export async function makeCertificates(zones: readonly string[]): Promise<LabCertificates> {
  const [ca, stranger] = await Promise.all([createTestCa(), createTestCa({ name: "A root that nobody trusts" })]);
  const dane: CertificateWishes = { names: ["somebody.invalid"], selfSigned: true, from: inDays(-60), to: inDays(-2) };
  const [good, own] = await Promise.all([ca.issue({ names: zones.map((zone) => `*.${zone}`) }), ca.issue(dane)]);
  return { ca, stranger, good, dane: own };
}

/** The certificates of a chain, one PEM each. */
export function splitChain(pem: string): string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?/g) ?? [];
}

/** A certificate with another chain behind its leaf; the key stays. */
export function withChain(issued: IssuedCertificate, ...pems: readonly string[]): IssuedCertificate {
  return { ...issued, certificate: pems.join("") };
}

export type TlsaParameters = `${number} ${number} ${number}`;

/** `3 1 1 9f2c…` for the first certificate of the PEM text. */
export function tlsaFor(parameters: TlsaParameters, pem: string): string {
  const [, selector, matching] = parameters.split(" ").map(Number);
  const certificate = new X509Certificate(splitChain(pem)[0] ?? pem);
  const data = selector === 0 ? certificate.raw : certificate.publicKey.export({ type: "spki", format: "der" });
  const digest =
    matching === 0
      ? data
      : createHash(matching === 2 ? "sha512" : "sha256")
          .update(data)
          .digest();
  return `${parameters} ${digest.toString("hex")}`;
}
