/** Certificates as the chain of a session, and the TLSA records that would speak for them. */
import { createHash, X509Certificate } from "node:crypto";
import type { Domain } from "../../src/mail/domain.ts";
import type { TlsaRecord } from "../../src/policy/facts.ts";
import type { DaneRequirement } from "../../src/policy/requirement.ts";
import { tlsaKey } from "../../src/policy/tlsa.ts";

/** Every certificate of these PEM texts, in order. */
export function chainOf(...pem: readonly string[]): X509Certificate[] {
  return (pem.join("\n").match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? []).map((one) => new X509Certificate(one));
}

/** `tlsaFor(pem, "3 1 1")`: made by OpenSSL's own encoder of keys, not by the code under test. */
export function tlsaFor(pem: string, numbers: string): TlsaRecord {
  const [usage = 0, selector = 0, matchingType = 0] = numbers.split(" ").map(Number);
  const certificate = new X509Certificate(pem);
  const selected = selector === 0 ? certificate.raw : certificate.publicKey.export({ format: "der", type: "spki" });
  const data =
    matchingType === 0
      ? selected
      : createHash(matchingType === 1 ? "sha256" : "sha512")
          .update(selected)
          .digest();
  return { usage, selector, matchingType, data: Buffer.from(data) };
}

export function daneRequirement(
  records: readonly TlsaRecord[],
  referenceIdentifiers: readonly string[] = ["mx.example.test"],
): DaneRequirement {
  const baseDomain = "mx.example.test" as Domain;
  const because = { source: "dane", text: `the TLSA records of ${baseDomain} (DANE)` } as const;
  return { baseDomain, records, referenceIdentifiers, demanded: true, because, key: tlsaKey(baseDomain, records) };
}
