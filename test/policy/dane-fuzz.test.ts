/** Whatever a zone or a host sends: a verdict, never an exception, and nothing proven that was not. */
import { X509Certificate } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { createDaneJudge } from "../../src/policy/dane-match.ts";
import { isOneSequence, readPublicKeyInfo } from "../../src/policy/der.ts";
import type { TlsaRecord } from "../../src/policy/facts.ts";
import { judgeTlsa } from "../../src/policy/tlsa.ts";
import { createTestCa } from "../support/certificates.ts";
import { chainOf, daneRequirement, tlsaFor } from "../support/tlsa.ts";

const root = await createTestCa();
const between = await root.subordinate({ name: "Between" });
const leaf = await between.issue({ names: ["mx.example.test"] });
const parts = [...chainOf(leaf.certificate), ...chainOf(root.pem)].map(({ raw }) => raw);

const small = fc.integer({ min: 0, max: 4 });
const octets = fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes));

/** A real certificate with some octets changed, cut short, or grown. */
const damaged = fc
  .record({
    which: fc.nat(parts.length - 1),
    changes: fc.array(fc.record({ at: fc.nat(2_000), to: fc.integer({ min: 0, max: 255 }) }), { maxLength: 4 }),
    cut: fc.option(fc.nat(2_000), { freq: 3, nil: undefined }),
    grow: octets,
  })
  .map(({ which, changes, cut, grow }) => {
    const der = Buffer.from(parts[which] ?? Buffer.alloc(0));
    for (const { at, to } of changes) der[at % der.length] = to;
    return Buffer.concat([cut === undefined ? der : der.subarray(0, cut % der.length), grow.subarray(0, grow.length % 3)]);
  });

const anyRecord: fc.Arbitrary<TlsaRecord> = fc.record({
  usage: small,
  selector: small,
  matchingType: small,
  data: fc.oneof(octets, damaged, fc.constantFrom(...parts)),
});

test("any set of records is judged, and each record is either usable or told why not", () => {
  fc.assert(
    fc.property(fc.array(anyRecord, { maxLength: 20 }), (records) => {
      const { usable, unusable } = judgeTlsa(records, ["sha512", "sha256"]);
      expect(usable.length + unusable.length).toBe(records.length);
      for (const { usage, selector, matchingType, data } of usable) {
        expect([2, 3]).toContain(usage);
        expect([0, 1]).toContain(selector);
        expect(data.length).toBeGreaterThan(0);
        if (matchingType !== 0) expect(data.length).toBe(matchingType === 1 ? 32 : 64);
      }
    }),
    { numRuns: 300 },
  );
});

test("any octets are read, or not, as a key", () => {
  fc.assert(
    fc.property(fc.oneof(octets, damaged), (der) => {
      isOneSequence(der);
      const key = readPublicKeyInfo(der);
      expect(key === undefined || der.includes(key)).toBe(true);
    }),
    { numRuns: 1_000 },
  );
});

test("any certificates that OpenSSL reads are judged; a chain is proven only by a leaf that is exactly as it was issued", async () => {
  const judge = createDaneJudge();
  const records = [tlsaFor(root.pem, "2 0 1"), tlsaFor(between.own, "2 1 0"), tlsaFor(root.pem, "2 0 0")];
  const readable = damaged.map((der): X509Certificate | undefined => {
    try {
      return new X509Certificate(der);
    } catch {
      return undefined;
    }
  });
  await fc.assert(
    fc.asyncProperty(fc.array(readable, { maxLength: 12 }), fc.array(anyRecord, { maxLength: 5 }), async (found, more) => {
      const chain = found.filter((certificate) => certificate !== undefined);
      const verdict = await judge(chain, daneRequirement(records), Date.now());
      // OpenSSL ignores octets after the DER; what it keeps of them is the certificate.
      if (verdict.held) expect(chain[0]?.raw.equals(parts[0] ?? Buffer.alloc(0))).toBe(true);
      else expect(verdict.failure.detail.length).toBeLessThan(2_000);
      // Records that were never judged usable must not bring it down either.
      await judge(chain, daneRequirement(more), Date.now());
    }),
    { numRuns: 400 },
  );
});
