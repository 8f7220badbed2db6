import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseStsRecords } from "../../src/policy/sts-record.ts";

/** Records as zone files have them: one string each, or several. */
const parse = (...records: (string | readonly string[])[]) =>
  parseStsRecords(records.map((record) => (typeof record === "string" ? [record] : record).map((part) => Buffer.from(part, "latin1"))));

const id32 = "a1".repeat(16);

describe("one record, RFC 8461 §3.1", () => {
  const cases: [what: string, record: string | readonly string[], id: string | undefined][] = [
    ["the RFC's own", "v=STSv1; id=20160831085700Z;", "20160831085700Z"],
    ["in strings that are joined without blanks", ["v=STSv1; id=2016", "0831;"], "20160831"],
    ["cut within the version", ["v=S", "TSv1;id=1"], "1"],
    ["no blanks", "v=STSv1;id=1", "1"],
    ["blanks and tabs on both sides, and a delimiter at the end", "v=STSv1\t; \tid=1 ; ", "1"],
    ["a blank before the first delimiter", "v=STSv1 ; id=1", "1"],
    ["other fields, before and after", "v=STSv1; foo=bar; id=1; x.y-z_1=ok", "1"],
    ["a field that is there twice: the first counts", "v=STSv1; id=1; id=2", "1"],
    ["the same, the second being no id", "v=STSv1; id=1; id=a-b", "1"],
    ["the same, the first being no id", "v=STSv1; id=a-b; id=1", undefined],
    ["32 characters of id", `v=STSv1; id=${id32}`, id32],
    ["case of the id kept", "v=STSv1; id=aB", "aB"],
    ["33 characters of id", `v=STSv1; id=${id32}1`, undefined],
    ["an empty id", "v=STSv1; id=", undefined],
    ["an id with hyphens", "v=STSv1; id=2016-08-31", undefined],
    ["no id", "v=STSv1; x=1", undefined],
    ["ID in capitals, which is another field", "v=STSv1; ID=1", undefined],
    ["blanks around =", "v=STSv1; id = 1", undefined],
    ["nothing behind the version", "v=STSv1;", undefined],
    ["only a delimiter behind it", "v=STSv1; ;", undefined],
    ["no delimiter", "v=STSv1", undefined],
    ["two delimiters", "v=STSv1;; id=1", undefined],
    ["two delimiters at the end", "v=STSv1; id=1;;", undefined],
    ["a blank at the end without a delimiter", "v=STSv1; id=1 ", undefined],
    ["the version behind the id", "id=1; v=STSv1", undefined],
    ["the version in capitals", "V=STSv1; id=1", undefined],
    ["the version in lower case", "v=stsv1; id=1", undefined],
    ["a longer version", "v=STSv12; id=1", undefined],
    ["a blank before the version", " v=STSv1; id=1", undefined],
    ["an octet beyond ASCII", "v=STSv1; id=1; x=\xc3\xa9", undefined],
    ["a control", "v=STSv1; id=1; x=\x00", undefined],
    ["a line end", "v=STSv1; id=1\n", undefined],
    ["a value with =", "v=STSv1; id=1; x=a=b", undefined],
    ["a field without value", "v=STSv1; id=1; x=", undefined],
    ["a field without =", "v=STSv1; id=1; x", undefined],
    ["a name that begins with _", "v=STSv1; id=1; _x=1", undefined],
    ["a name of 32", `v=STSv1; id=1; ${"n".repeat(32)}=1`, "1"],
    ["a name of 33", `v=STSv1; id=1; ${"n".repeat(33)}=1`, undefined],
    ["empty", "", undefined],
    ["no string at all", [], undefined],
  ];
  for (const [what, record, id] of cases)
    test(`${what}: ${id === undefined ? "no record" : `id ${id}`}`, () => {
      const parsed = parse(record);
      expect(parsed.kind === "record" ? parsed.id : undefined).toBe(id);
    });
});

describe("of several records, RFC 8461 §3.1", () => {
  const cases: [what: string, records: string[], expected: object][] = [
    ["none", [], { kind: "none", reason: "absent" }],
    ["only strangers", ["google-site-verification=x", "v=spf1 -all"], { kind: "none", reason: "absent" }],
    ["one among strangers", ["google-site-verification=x", "v=STSv1; id=1", "v=STSv12; id=9"], { kind: "record", id: "1" }],
    ["two that differ", ["v=STSv1; id=1", "v=STSv1; id=2"], { kind: "none", reason: "several" }],
    ["two that are the same", ["v=STSv1; id=1", "v=STSv1; id=1"], { kind: "none", reason: "several" }],
    ["one good, one that only begins well", ["v=STSv1; id=1", "v=STSv1; id="], { kind: "none", reason: "several" }],
    ["one good, one with a blank before the delimiter", ["v=STSv1; id=1", "v=STSv1 ; id=2"], { kind: "none", reason: "several" }],
    ["one that is malformed", ["v=STSv1; id="], { kind: "none", reason: "malformed" }],
  ];
  for (const [what, records, expected] of cases) test(what, () => expect(parse(...records)).toMatchObject(expected));
});

test("why there is none is told in clean words", () => {
  expect(parse("v=STSv1; id=\x1b[31m").kind === "none" && parse("v=STSv1; id=\x1b[31m")).toEqual({
    kind: "none",
    reason: "malformed",
    detail: 'this is no field: "id=?[31m"',
  });
});

test("whatever octets DNS carries, there is an answer, an id is an id, and a detail is short", () => {
  const octets = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
  const likely = fc
    .array(fc.constantFrom("v=STSv1", ";", " ", "\t", "id=", "1", "=", "x=y", "é", "\0", "a".repeat(40)), { maxLength: 20 })
    .map((parts) => Buffer.from(parts.join("")));
  fc.assert(
    fc.property(fc.array(fc.array(fc.oneof(octets, likely), { maxLength: 4 }), { maxLength: 4 }), (records) => {
      const parsed = parseStsRecords(records);
      if (parsed.kind === "record") expect(parsed.id).toMatch(/^[A-Za-z0-9]{1,32}$/);
      else expect(parsed.detail.length).toBeLessThan(300);
    }),
    { numRuns: 2_000 },
  );
});
