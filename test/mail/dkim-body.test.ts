/** The body hash, whatever the pieces. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createBodyHash } from "../../src/mail/dkim-body.ts";
import { naiveBodyHash } from "../dkim/verifier.ts";

function hashOf(pieces: readonly Buffer[]): string {
  const hash = createBodyHash();
  for (const piece of pieces) hash.update(piece);
  return hash.digest();
}

/** RFC 6376 §3.4.3. */
const CRLF_ONLY = "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=";

describe("simple canonicalization", () => {
  const same: [name: string, body: string, equal: string][] = [
    ["a missing line end is added", "a", "a\r\n"],
    ["empty lines at the end count for nothing", "a\r\n\r\n\r\n", "a\r\n"],
    ["nothing is an empty line", "", "\r\n"],
    ["many empty lines are one", "\r\n\r\n\r\n", "\r\n"],
  ];
  for (const [name, body, equal] of same) test(name, () => expect(hashOf([Buffer.from(body)])).toBe(hashOf([Buffer.from(equal)])));

  test("the empty body's hash is the RFC's", () => expect(hashOf([])).toBe(CRLF_ONLY));

  const different: [name: string, one: string, other: string][] = [
    ["blanks at a line's end", "a \r\n", "a\r\n"],
    ["an empty line within", "a\r\n\r\nb\r\n", "a\r\nb\r\n"],
    ["a line of blanks at the end", "a\r\n \r\n", "a\r\n"],
    ["a CR at the end", "a\r", "a"],
  ];
  for (const [name, one, other] of different)
    test(`${name} counts`, () => expect(hashOf([Buffer.from(one)])).not.toBe(hashOf([Buffer.from(other)])));

  test("a hundred thousand empty lines with text behind them", () => {
    const body = Buffer.from(`a${"\r\n".repeat(100_000)}b`);
    const pieces: Buffer[] = [];
    for (let at = 0; at < body.length; at += 4097) pieces.push(body.subarray(at, at + 4097));
    expect(hashOf(pieces)).toBe(naiveBodyHash(body));
  });
});

test("any body, cut anywhere, has the hash of the whole", () => {
  const body = fc.array(fc.constantFrom("\r\n", "\r\n\r\n", "\r", "\n", "a", " ", "ü", "xyz"), { maxLength: 30 });
  const sizes = fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(body, sizes, (words, lengths) => {
      const octets = Buffer.from(words.join(""));
      const pieces: Buffer[] = [];
      for (let at = 0, index = 0; at < octets.length; index++) {
        const length = lengths[index] ?? octets.length;
        pieces.push(octets.subarray(at, at + length));
        at += length;
      }
      expect(hashOf(pieces)).toBe(naiveBodyHash(octets));
    }),
    { numRuns: 3000 },
  );
});

test("a megabyte in odd pieces", () => {
  const body = Buffer.from(`${"0123456789\r\n".repeat(87_000)}\r\n\r\n`);
  const pieces: Buffer[] = [];
  for (let at = 0, length = 1; at < body.length; at += length, length = (length * 7) % 131_071) pieces.push(body.subarray(at, at + length));
  expect(hashOf(pieces)).toBe(naiveBodyHash(body));
});
