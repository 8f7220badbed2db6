import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { TlsaRecord } from "../../src/policy/facts.ts";
import { type DigestName, describeTlsa, findUnusableSet, judgeTlsa, tlsaKey } from "../../src/policy/tlsa.ts";
import { createTestCa } from "../support/certificates.ts";
import { tlsaFor } from "../support/tlsa.ts";

const record = (numbers: string, data: Buffer | number): TlsaRecord => {
  const [usage = 0, selector = 0, matchingType = 0] = numbers.split(" ").map(Number);
  return { usage, selector, matchingType, data: typeof data === "number" ? Buffer.alloc(data, usage + selector + matchingType) : data };
};
const numbersOf = ({ usage, selector, matchingType }: TlsaRecord): string => `${usage} ${selector} ${matchingType}`;
const both: readonly DigestName[] = ["sha512", "sha256"];
const usable = (records: readonly TlsaRecord[], digests = both): string[] => judgeTlsa(records, digests).usable.map(numbersOf);

const { certificate } = await (await createTestCa()).issue({ names: ["mx.example.test"] });
const whole = tlsaFor(certificate, "3 0 0").data;
const key = tlsaFor(certificate, "3 1 0").data;

describe("usable records (RFC 7672 §3.1, RFC 7671 §9)", () => {
  const cases: [what: string, records: TlsaRecord[], usable: string[]][] = [
    ["SHA-256 of 32 octets", [record("3 1 1", 32)], ["3 1 1"]],
    ["SHA-512 of 64 octets", [record("3 0 2", 64)], ["3 0 2"]],
    ...["2 0 1", "2 1 1", "3 0 1", "3 1 1"].map((n): [string, TlsaRecord[], string[]] => [n, [record(n, 32)], [n]]),
    ...["2 0 2", "2 1 2", "3 0 2", "3 1 2"].map((n): [string, TlsaRecord[], string[]] => [n, [record(n, 64)], [n]]),
    ...["2 0 0", "3 0 0"].map((n): [string, TlsaRecord[], string[]] => [`${n} of a certificate`, [record(n, whole)], [n]]),
    ...["2 1 0", "3 1 0"].map((n): [string, TlsaRecord[], string[]] => [`${n} of a key`, [record(n, key)], [n]]),
    ["usage 1 beside a good one", [record("3 1 1", 32), record("1 1 1", 32)], ["3 1 1"]],
    ["usage 4 beside a good one", [record("3 1 1", 32), record("4 1 1", 32)], ["3 1 1"]],
    ["usage 0 alone", [record("0 0 1", 32)], []],
    ["usage 1 alone", [record("1 1 1", 32)], []],
    ["usage 4 alone", [record("4 1 1", 32)], []],
    ["usage 255 alone", [record("255 1 1", 32)], []],
    ["an unknown selector", [record("3 2 1", 32)], []],
    ["selector 255", [record("3 255 1", 32)], []],
    ["an unknown matching type", [record("3 1 3", 32)], []],
    ["SHA-256 of 20 octets", [record("3 1 1", 20)], []],
    ["SHA-256 of 31 octets", [record("3 1 1", 31)], []],
    ["SHA-256 of 64 octets", [record("3 1 1", 64)], []],
    ["SHA-512 of 32 octets", [record("3 1 2", 32)], []],
    ["no data", [record("3 1 1", 0)], []],
    ["no data, in full", [record("3 0 0", 0), record("3 1 0", 0)], []],
    ["a certificate that is none", [record("3 0 0", 300)], []],
    ["rubbish for an anchor", [record("2 0 0", randomBytes(300))], []],
    ["a key where a certificate belongs", [record("2 0 0", key)], []],
    ["a certificate where a key belongs", [record("3 1 0", whole)], []],
    ["a certificate cut short", [record("3 0 0", whole.subarray(0, -1))], []],
    ["a certificate with an octet after it", [record("3 0 0", Buffer.concat([whole, Buffer.from([0])]))], []],
    ["a key with an octet after it", [record("3 1 0", Buffer.concat([key, Buffer.from([0])]))], []],
    ["a certificate as PEM", [record("3 0 0", Buffer.from(certificate))], []],
    ["an empty set", [], []],
  ];
  for (const [what, records, result] of cases)
    test(`${what}: ${result.join(", ") || "none"}`, () => {
      expect(usable(records)).toEqual(result);
      const { usable: kept, unusable } = judgeTlsa(records, both);
      expect(kept.length + unusable.length).toBe(records.length);
      for (const { why } of unusable) expect(why).toMatch(/^[a-z0-9].{8,80}$/);
    });
});

describe("a set that is wholly unusable is tlsa-invalid, told by its first record (RFC 8460 §4.3.2.1)", () => {
  const cases: [what: string, records: TlsaRecord[], code: string | undefined, digests?: DigestName[]][] = [
    ["usage 0", [record("0 0 1", 32)], "unsupported-usage"],
    ["usage 1", [record("1 1 1", 32), record("3 9 1", 32)], "unsupported-usage"],
    ["usage 4", [record("4 1 1", 32)], "unsupported-usage"],
    ["an unknown selector", [record("3 2 1", 32)], "unsupported-selector"],
    ["an unknown matching type", [record("3 1 3", 32)], "unsupported-matching-type"],
    ["a digest that the operator leaves out", [record("3 1 1", 32)], "unsupported-matching-type", ["sha512"]],
    ["a digest of another length", [record("3 1 1", 20)], "malformed-digest"],
    ["no data", [record("3 1 1", 0)], "no-data"],
    ["a certificate that is none", [record("2 0 0", 300)], "malformed-certificate"],
    ["a key that is none", [record("3 1 0", whole)], "malformed-key"],
    ["one that is usable", [record("1 1 1", 32), record("3 1 1", 32)], undefined],
    ["an empty set", [], undefined],
  ];
  for (const [what, records, code, digests = both] of cases)
    test(`${what}: ${code ?? "no failure"}`, () => {
      const failure = findUnusableSet(judgeTlsa(records, digests), "mx.test");
      expect([failure?.type, failure?.code]).toEqual(code === undefined ? [undefined, undefined] : ["tlsa-invalid", code]);
    });

  test("in words", () => {
    const told = (records: TlsaRecord[]) => findUnusableSet(judgeTlsa(records, both), "mx.test")?.detail;
    expect(told([record("1 1 1", 32)])).toBe("the TLSA record of mx.test is not usable: usage 1 is not for SMTP");
    expect(told([record("1 1 1", 32), record("0 1 1", 32)])).toBe(
      "none of the 2 TLSA records of mx.test is usable: usage 1 is not for SMTP",
    );
  });
});

describe("digest agility, for each pair of usage and selector (RFC 7671 §9)", () => {
  const cases: [what: string, records: TlsaRecord[], usable: string[], digests?: DigestName[]][] = [
    ["Full always counts", [record("3 1 1", 32), record("3 1 2", 64), record("3 1 0", key)], ["3 1 2", "3 1 0"]],
    ["the strongest digest alone counts", [record("3 1 1", 32), record("3 1 2", 64)], ["3 1 2"]],
    ["another selector is another pair", [record("3 1 1", 32), record("3 0 2", 64)], ["3 1 1", "3 0 2"]],
    ["another usage is another pair", [record("3 1 1", 32), record("2 1 2", 64)], ["3 1 1", "2 1 2"]],
    ["a malformed strong one shuts out nothing", [record("3 1 1", 32), record("3 1 2", 63)], ["3 1 1"]],
    ["an unknown one shuts out nothing", [record("3 1 1", 32), record("3 1 3", 64)], ["3 1 1"]],
    ["several of the strongest count", [record("3 1 2", 64), record("3 1 1", 32), record("3 1 2", 64)], ["3 1 2", "3 1 2"]],
    ["the order is the operator's", [record("3 1 1", 32), record("3 1 2", 64)], ["3 1 1"], ["sha256", "sha512"]],
    ["a digest that he leaves out is unusable", [record("3 1 1", 32)], [], ["sha512"]],
    ["and shuts out nothing", [record("3 1 1", 32), record("3 1 2", 64)], ["3 1 1"], ["sha256"]],
  ];
  for (const [what, records, result, digests] of cases)
    test(`${what}: ${result.join(", ") || "none"}`, () => expect(usable(records, digests)).toEqual(result));
});

test("one set is judged once for each order, and not for another set", () => {
  const records = [record("3 1 1", 32), record("3 1 2", 64)];
  expect(judgeTlsa(records, ["sha512", "sha256"])).toBe(judgeTlsa(records, ["sha512", "sha256"]));
  expect(usable(records, ["sha256", "sha512"])).toEqual(["3 1 1"]);
  expect(usable(records, ["sha512", "sha256"])).toEqual(["3 1 2"]);
});

test("a set as large as a DNS message can be is judged", () => {
  const records = Array.from({ length: 1_800 }, (_, index) => record("3 1 1", Buffer.alloc(32, index)));
  expect(usable(records)).toHaveLength(1_800);
});

test("the key is the same for the same set in any order, and another for another set or base domain", () => {
  const one = record("3 1 1", 32);
  const two = record("2 0 2", 64);
  expect(tlsaKey("mx.test", [one, two])).toBe(tlsaKey("mx.test", [two, one]));
  const set = [one];
  expect(tlsaKey("mx.test", set)).not.toBe(tlsaKey("mx.test", [one, two]));
  expect(tlsaKey("mx.test", set)).not.toBe(tlsaKey("other.test", set));
  expect(tlsaKey("mx.test", set)).toBe(tlsaKey("mx.test", set));
  expect(tlsaKey("mx.test", [record("3 1 1", 32)])).not.toBe(tlsaKey("mx.test", [record("3 0 1", one.data)]));
});

test("a record reads as in a zone file", () => {
  expect(describeTlsa({ usage: 3, selector: 1, matchingType: 1, data: Buffer.from("9f2c", "hex") })).toBe("3 1 1 9f2c");
});
