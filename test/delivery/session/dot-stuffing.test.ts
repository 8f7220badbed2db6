import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DotStuffer } from "../../../src/delivery/dot-stuffing.ts";

function inPieces(text: string, piece: number): string {
  const stuffer = new DotStuffer();
  const body = Buffer.from(text, "latin1");
  const out: Buffer[] = [];
  for (let at = 0; at < body.length; at += piece) out.push(stuffer.push(body.subarray(at, at + piece)));
  out.push(stuffer.end());
  return Buffer.concat(out).toString("latin1");
}

const whole = (text: string) => new DotStuffer().whole(Buffer.from(text, "latin1")).toString("latin1");

/** The receiving side (RFC 5321 §4.5.2): what it makes of the octets, and what it takes for the next command. */
function received(wire: string): { text: string; rest: string } {
  const end = wire.startsWith(".\r\n") ? 0 : wire.indexOf("\r\n.\r\n") + 2;
  const lines = wire.slice(0, end).split("\r\n");
  return { text: lines.map((line) => (line.startsWith(".") ? line.slice(1) : line)).join("\r\n"), rest: wire.slice(end + 3) };
}

describe("dots (RFC 5321 §4.5.2)", () => {
  const cases: [text: string, wire: string][] = [
    ["", ".\r\n"],
    ["a\r\n", "a\r\n.\r\n"],
    ["a", "a\r\n.\r\n"],
    [".", "..\r\n.\r\n"],
    [".\r\n", "..\r\n.\r\n"],
    ["..\r\n.a\r\n", "...\r\n..a\r\n.\r\n"],
    ["a.b\r\n.\r\n\r\n.", "a.b\r\n..\r\n\r\n..\r\n.\r\n"],
    [".\r\n".repeat(100), `${"..\r\n".repeat(100)}.\r\n`],
  ];
  for (const [text, wire] of cases)
    test.each([1, 2, 3, 1000])(`${JSON.stringify(text.slice(0, 20))} in pieces of %d`, (piece) => {
      expect(inPieces(text, piece)).toBe(wire);
      expect(whole(text)).toBe(wire);
    });

  test("whatever is sent arrives as it was, and nothing behind it is taken for a command", () => {
    const line = fc.string({ unit: fc.constantFrom(".", "a", "\u00e9", " ") });
    fc.assert(
      fc.property(fc.array(line), fc.integer({ min: 1, max: 9 }), (lines, piece) => {
        const text = lines.map((content) => `${content}\r\n`).join("");
        expect(received(inPieces(text, piece))).toEqual({ text, rest: "" });
        expect(received(whole(text))).toEqual({ text, rest: "" });
      }),
    );
  });

  test("a piece without dots is not copied", () => {
    const piece = Buffer.from("no dots here\r\n");
    expect(new DotStuffer().push(piece)).toBe(piece);
  });
});

describe("bare line ends are never sent (RFC 5321 §2.3.8)", () => {
  const smuggled = ["a\n.\nb\r\n", "a\n.\r\nb\r\n", "a\r\n.\nb\r\n", "a\r.\rb\r\n", "a\r.\r\nb\r\n", "\n", "a\r", "\r", "a\r\r\n"];
  for (const text of smuggled)
    test.each([1, 2, 1000])(`${JSON.stringify(text)} in pieces of %d`, (piece) => {
      expect(() => inPieces(text, piece)).toThrow(/bare (CR|LF) at octet \d/);
      expect(() => whole(text)).toThrow(/bare (CR|LF)/);
    });
});
