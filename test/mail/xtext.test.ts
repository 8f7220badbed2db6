import { describe, expect, test } from "vitest";
import { decodeXtext, embedUnicode, isXtext, readEmbeddedUnicode } from "../../src/mail/xtext.ts";

describe("xtext (RFC 3461 §4)", () => {
  const cases: [text: string, decoded: string | undefined][] = [
    ["QQ314159", "QQ314159"],
    ["a+2Bb+3Dc", "a+b=c"],
    ["", ""],
    ["a+b", undefined],
    ["a+2bc", undefined], // hexadecimal digits are capital
    ["a=b", undefined],
    ["a b", undefined],
    ["jö", undefined],
  ];
  for (const [text, decoded] of cases)
    test(`${JSON.stringify(text)} ${decoded === undefined ? "is none" : `is ${JSON.stringify(decoded)}`}`, () => {
      expect(isXtext(text)).toBe(decoded !== undefined);
      if (decoded !== undefined) expect(decodeXtext(text)).toBe(decoded);
    });
});

describe("EmbeddedUnicodeChar (RFC 6533 §3)", () => {
  for (const [character, embedded] of [
    ["é", "\\x{E9}"],
    ["\t", "\\x{09}"],
    ["😀", "\\x{1F600}"],
  ] as const)
    test(`${JSON.stringify(character)} is ${embedded}`, () => {
      expect(embedUnicode(character)).toBe(embedded);
      expect(readEmbeddedUnicode(`j${embedded}b`)).toBe(`j${character}b`);
    });

  test("what names no character stays as it is written", () => {
    expect(readEmbeddedUnicode("\\x{D800} \\x{110000} \\x{}")).toBe("\\x{D800} \\x{110000} \\x{}");
  });
});
