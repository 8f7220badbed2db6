import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { allowsHost, parseStsPolicy } from "../../src/policy/sts-policy.ts";

const good = ["version: STSv1", "mode: enforce", "mx: mail.example.test", "max_age: 604800"];
const lines = (...text: string[]): string => text.join("\n");
/** The policy without lines that begin with a name, and with others. */
const but = (without: string, ...more: string[]): string => lines(...good.filter((line) => !line.startsWith(without)), ...more);

const parse = (text: string | Buffer) => {
  const parsed = parseStsPolicy(text);
  return parsed.ok ? parsed.value : parsed.error;
};

describe("a policy that is valid, RFC 8461 §3.2", () => {
  const enforce = { mode: "enforce", maxAge: 604_800, mx: ["mail.example.test"] };
  const cases: [what: string, text: string, expected: object][] = [
    ["lines end in LF", lines(...good, ""), enforce],
    ["lines end in CRLF", `${good.join("\r\n")}\r\n`, enforce],
    ["line ends are mixed", "version: STSv1\r\nmode: enforce\nmx: mail.example.test\r\nmax_age: 604800\n", enforce],
    ["the last line lacks its end", lines(...good), enforce],
    ["no blank behind the colon", but("mode", "mode:enforce"), enforce],
    ["blanks and tabs around the value", but("mode", "mode: \t enforce \t "), enforce],
    ["version last", but("version", "version: STSv1"), enforce],
    ["testing", but("mode", "mode: testing"), { ...enforce, mode: "testing" }],
    ["none without mx", lines("version: STSv1", "mode: none", "max_age: 60"), { mode: "none", maxAge: 60, mx: [] }],
    ["none with mx", but("mode", "mode: none"), { ...enforce, mode: "none" }],
    ["leading zeros", but("max_age", "max_age: 0086400"), { ...enforce, maxAge: 86_400 }],
    ["max_age 0", but("max_age", "max_age: 0"), { ...enforce, maxAge: 0 }],
    ["the maximum", but("max_age", "max_age: 31557600"), { ...enforce, maxAge: 31_557_600 }],
    ["more than the maximum counts as that", but("max_age", "max_age: 9999999999"), { maxAge: 31_557_600, publishedMaxAge: 9_999_999_999 }],
    ["three mx", lines(...good, "mx: *.a.test", "mx: B.test"), { mx: ["mail.example.test", "*.a.test", "b.test"] }],
    ["A-labels", but("mx", "mx: mx.xn--bcher-kva.test"), { mx: ["mx.xn--bcher-kva.test"] }],
    ["an address, which is of the grammar and names no host", lines(...good, "mx: 192.0.2.1"), { mx: ["mail.example.test", "192.0.2.1"] }],
    ["unknown fields, UTF-8 in their values", lines(...good, "x-note: grüße an alle", "a.b_c-1: x:y"), enforce],
    ["a name in another case is another field", lines(...good, "Mode: whatever"), enforce],
    ["mode twice: the first counts", but("mode", "mode: testing", "mode: enforce"), { ...enforce, mode: "testing" }],
    ["max_age twice, the second garbage", lines(...good, "max_age: garbage"), enforce],
    ["empty lines", lines("", ...good, "", "", ""), enforce],
  ];
  for (const [what, text, expected] of cases) test(what, () => expect(parse(text)).toMatchObject(expected));

  test("is kept as it was served", () => {
    const text = "version: STSv1\r\nmode: none \nmax_age: 1\n\nx: y";
    expect(parse(Buffer.from(text))).toMatchObject({ text });
    expect(parse(text)).toEqual(parse(Buffer.from(text)));
  });
});

describe("a policy that is none, RFC 8461 §3.2", () => {
  const cases: [what: string, text: string | Buffer, why: RegExp][] = [
    ["empty", "", /version is missing/],
    ["version is missing", but("version"), /version is missing/],
    ["another version", but("version", "version: STSv2"), /version is not STSv1/],
    ["version in lower case", but("version", "version: stsv1"), /version is not STSv1/],
    ["mode is missing", but("mode"), /mode is missing/],
    ["another mode", but("mode", "mode: report"), /mode is none of/],
    ["mode in capitals", but("mode", "mode: Enforce"), /mode is none of/],
    ["the name mode in capitals", but("mode", "Mode: enforce"), /mode is missing/],
    ["a blank before the colon", but("mode", "mode : enforce"), /no field/],
    ["a blank at the start of a line", but("mode", " mode: enforce"), /no field/],
    ["mode twice, the first no mode", but("mode", "mode: maybe", "mode: enforce"), /mode is none of/],
    ["max_age is missing", but("max_age"), /max_age is missing/],
    ...["-1", "+1", "1e6", "604800s", "12345678901", "0x10", "1 2", "٣"].map((value): [string, string, RegExp] => [
      `max_age ${value}`,
      but("max_age", `max_age: ${value}`),
      /max_age is not/,
    ]),
    ["an empty max_age", but("max_age", "max_age: "), /no field/],
    ["enforce without mx", but("mx"), /no mx/],
    ["testing without mx", lines("version: STSv1", "mode: testing", "max_age: 1"), /no mx/],
    ...["a.test, b.test", "*", "*.", "mail.*.test", "m*.test", ".test", "192.0.2.1 x", "mail.example.test.", "*.*.test", "a..test"].map(
      (value): [string, string, RegExp] => [`mx ${value}`, lines(...good, `mx: ${value}`), /mx is no host name/],
    ),
    ...["mx_1.test", "-a.test", "a b.test", "mx.bücher.test", "ﬀ.test", `${"a".repeat(64)}.test`, "[192.0.2.1]", "a.test#c"].map(
      (value): [string, string, RegExp] => [`mx ${value.slice(0, 20)}`, lines(...good, `mx: ${value}`), /mx is no host name/],
    ),
    ["an HTML page", "<!DOCTYPE html>\n<html><body>Not found</body></html>", /line 1 is no field/],
    ["a byte-order mark", `\ufeff${lines(...good)}`, /byte-order mark/],
    ["a byte-order mark in octets", Buffer.from(`\ufeff${lines(...good)}`), /byte-order mark/],
    ["no UTF-8", Buffer.concat([Buffer.from(`${lines(...good)}\nx: `), Buffer.from([0xff])]), /not UTF-8/],
    ["NUL", lines(...good, "x: a\0b"), /no field/],
    ["a bare CR within a line", "version: STSv1\rmode: none\nmax_age: 1", /no field/],
    ["lines end in CR", good.join("\r"), /no field/],
    ["a field without value", lines(...good, "x:"), /no field/],
    ["a line without colon", lines(...good, "hello"), /no field/],
    ["a name of 33", lines(...good, `${"n".repeat(33)}: x`), /no field/],
    ["a name beyond ASCII", lines(...good, "é: x"), /no field/],
  ];
  for (const [what, text, why] of cases) test(what, () => expect(parse(text)).toMatch(why));
});

describe("MX host against patterns, RFC 8461 §4.1", () => {
  const cases: [patterns: string, host: string, allowed: boolean][] = [
    ["mail.example.test", "mail.example.test", true],
    ["mail.example.test", "MAIL.Example.TEST.", true],
    ["*.example.test", "mail.example.test", true],
    ["*.example.test", "example.test", false],
    ["*.example.test", "a.b.example.test", false],
    ["*.example.test", "mailexample.test", false],
    ["example.test", "mail.example.test", false],
    ["*.EXAMPLE.test", "mail.example.TEST", true],
    ["a.test; *.b.test", "x.b.test", true],
    ["*.xn--bcher-kva.test", "mx.xn--bcher-kva.test", true],
    ["*.test", "example.test", true],
    ["*.example.test", ".example.test", false],
    ["*.example.test", "*.example.test", false],
    ["mail.example.test", "mail.example.test..", false],
    ["192.0.2.1", "192.0.2.1", false],
    ["a.test", "", false],
  ];
  for (const [patterns, host, allowed] of cases)
    test(`${patterns} ${allowed ? "allows" : "does not allow"} ${JSON.stringify(host)}`, () => {
      const policy = parseStsPolicy(
        lines(...good.filter((line) => !line.startsWith("mx")), ...patterns.split("; ").map((mx) => `mx: ${mx}`)),
      );
      expect(policy.ok).toBe(true);
      expect(policy.ok && allowsHost(policy.value, host)).toBe(allowed);
    });
});

describe("the field at fault, as a report names it (RFC 8460 §4.4)", () => {
  const cases: [fault: string, text: string | Buffer][] = [
    ["version", but("version")],
    ["version", but("version", "version: STSv2")],
    ["mode", but("mode")],
    ["mode", but("mode", "mode: report")],
    ["max_age", but("max_age")],
    ["max_age", but("max_age", "max_age: 1 2")],
    ["mx", but("mx")],
    ["mx", but("mx", "mx: *.*.test")],
    ["syntax", lines(...good, "hello")],
    ["syntax", `\ufeff${lines(...good)}`],
    ["syntax", Buffer.from([0xff])],
  ];
  for (const [fault, text] of cases)
    test(`${fault}: ${JSON.stringify(String(text)).slice(0, 80)}`, () => expect(parseStsPolicy(text)).toMatchObject({ ok: false, fault }));
});

test("whatever a host serves, there is a policy that keeps its promises or a short reason, and never a throw", () => {
  const likely = fc
    .array(
      fc.constantFrom(
        ...["version: STSv1", "mode: enforce", "mode:none", "mx: *.a.test", "mx: a.test ", "max_age: 5", "max_age: 99999999999", "x: é"],
        ...["\r", "", " ", "\ufeff", ":", "mx:", "a".repeat(40), "max_age: 0"],
      ),
      { maxLength: 12 },
    )
    .map((some) => Buffer.from(some.join("\n")));
  const octets = fc.uint8Array({ maxLength: 400 }).map((array) => Buffer.from(array));
  fc.assert(
    fc.property(fc.oneof(likely, octets), (served) => {
      const parsed = parseStsPolicy(served);
      if (!parsed.ok) {
        expect(parsed.error.length).toBeLessThan(200);
        return;
      }
      const { mode, maxAge, mx, text } = parsed.value;
      expect(Number.isInteger(maxAge) && maxAge >= 0 && maxAge <= 31_557_600).toBe(true);
      expect(mx.length > 0 || mode === "none").toBe(true);
      // What is kept is read again after a restart, and says the same then.
      expect(parseStsPolicy(text)).toEqual(parsed);
    }),
    { numRuns: 3_000 },
  );
});

test("the largest policy there may be is read in a time that grows with its size only", () => {
  const blanks = `version: STSv1\nx: a${" ".repeat(65_000)}b\nmode: none\nmax_age: 1`;
  expect(parse(blanks)).toMatchObject({ mode: "none" });
  const many = lines("version: STSv1", "mode: enforce", "max_age: 1", ...Array.from({ length: 5_000 }, (_, index) => `mx: m${index}.test`));
  const policy = parseStsPolicy(many);
  expect(policy.ok && allowsHost(policy.value, "m4999.test") && !allowsHost(policy.value, "m5000.test")).toBe(true);
});
