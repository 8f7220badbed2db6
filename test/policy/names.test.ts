import { expect, test } from "vitest";
import { coversName, findCoveredName } from "../../src/policy/names.ts";

// RFC 6125 §6.4, RFC 5280 §4.2.1.6.
const cases: [presented: string, reference: string, covered: boolean][] = [
  ["mx.example.test", "mx.example.test", true],
  ["MX.example.TEST", "mx.Example.test", true],
  ["*.example.test", "mx.example.test", true],
  ["*.EXAMPLE.test", "mx.example.test", true],
  ["*.example.test", "a.mx.example.test", false],
  ["*.example.test", "example.test", false],
  ["*", "test", false],
  ["*.", "test", false],
  ["*.test", "example.test", true],
  ["m*.example.test", "mx.example.test", false],
  ["*x.example.test", "mx.example.test", false],
  ["mx.*.test", "mx.example.test", false],
  ["*.*.test", "mx.example.test", false],
  ["xn--*.example.test", "xn--bcher-kva.example.test", false],
  ["*.xn--bcher-kva.test", "mx.xn--bcher-kva.test", true],
  ["example.test", "mx.example.test", false],
  ["mx.example.test.", "mx.example.test", false],
  ["mx.example.test", "mx.example.test.", false],
  ["192.0.2.1", "192.0.2.1", false],
  ["*.0.2.1", "192.0.2.1", false],
  ["mx.example.test\0.evil.test", "mx.example.test", false],
  ['"mx.example.test\\u0000.evil.test"', "mx.example.test", false],
  ["mx.example.test ", "mx.example.test", false],
  [" mx.example.test", "mx.example.test", false],
  ["mx_1.example.test", "mx_1.example.test", false],
  ["", "", false],
  ["*.example.test", "*.example.test", false],
  [`${"a".repeat(64)}.test`, `${"a".repeat(64)}.test`, false],
];
for (const [presented, reference, covered] of cases)
  test(`${JSON.stringify(presented)} ${covered ? "covers" : "leaves out"} ${JSON.stringify(reference)}`, () =>
    expect(coversName(presented, reference)).toBe(covered));

test("any presented name may cover any reference identifier", () => {
  expect(findCoveredName(["a.test", "*.example.test"], ["b.test", "mx.example.test"])).toBe("mx.example.test");
  expect(findCoveredName([], ["mx.example.test"])).toBeUndefined();
  expect(findCoveredName(["mx.example.test"], [])).toBeUndefined();
});
