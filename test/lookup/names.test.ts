import { describe, expect, test } from "vitest";
import * as fc from "fast-check";
import { isHostname } from "../../src/mail/domain.ts";
import { encodeName, readName } from "../../src/lookup/names.ts";

/** Labels of raw octets as a wire name. */
function wire(...labels: (string | readonly number[])[]): Buffer {
  const parts = labels.map((label) => Buffer.from(typeof label === "string" ? Buffer.from(label, "latin1") : label));
  return Buffer.concat([...parts.flatMap((part) => [Buffer.from([part.length]), part]), Buffer.from([0])]);
}

const read = (message: Buffer, at = 0): string => readName(message, { at });

describe("a name on the wire reads as one text only", () => {
  const cases: [labels: string[], text: string, usableHost: boolean][] = [
    [["mx", "example", "test"], "mx.example.test", true],
    [["MX", "Example", "TEST"], "mx.example.test", true],
    [["_25", "_tcp", "mx", "test"], "_25._tcp.mx.test", false],
    [["mx.example", "test"], "mx\\.example.test", false], // a dot inside a label is no separator
    [["mx\0", "test"], "mx\\000.test", false],
    [["m x", "test"], "m\\032x.test", false],
    [["m\nx", "test"], "m\\010x.test", false],
    [["b\u00fccher", "test"], "b\\252cher.test", false],
    [["\u00c4", "test"], "\\196.test", false], // ASCII letters alone have a lower case
    [["a\\b", "test"], "a\\\\b.test", false],
    [["192", "0", "2", "1"], "192.0.2.1", false],
    [[], "", false],
  ];
  for (const [labels, text, usable] of cases)
    test(`${JSON.stringify(labels)} reads ${JSON.stringify(text)}`, () => {
      expect(read(wire(...labels))).toBe(text);
      expect(isHostname(text)).toBe(usable);
    });

  test("different names never read alike, and every text leads back to its octets", () => {
    const label = fc.uint8Array({ minLength: 1, maxLength: 20 }).map((octets) => [...octets]);
    fc.assert(
      fc.property(fc.array(label, { maxLength: 8 }), (labels) => {
        const octets = wire(...labels);
        const again = encodeName(read(octets));
        // Case is the one thing that may differ.
        const lower = Buffer.from(
          octets.map((octet, at) => (isLength(octets, at) ? octet : octet >= 65 && octet <= 90 ? octet + 32 : octet)),
        );
        expect(again?.toString("hex")).toBe(lower.toString("hex"));
      }),
      { numRuns: 1000 },
    );
  });
});

function isLength(octets: Buffer, wanted: number): boolean {
  for (let at = 0; at < octets.length; at += (octets[at] ?? 0) + 1) if (at === wanted) return true;
  return false;
}

describe("what DNS cannot be asked for is no name", () => {
  const label63 = "a".repeat(63);
  const cases: [text: string, ok: boolean][] = [
    ["example.test", true],
    ["example.test.", true],
    ["", true],
    [".", true],
    ["..", false],
    ["a..b", false], // dns-packet encodes this as another name
    [".a", false],
    [`${label63}.test`, true],
    [`${label63}a.test`, false], // RFC 1035 §2.3.4
    [`${label63}.${label63}.${label63}.${"a".repeat(61)}`, true], // 255 octets
    [`${label63}.${label63}.${label63}.${"a".repeat(62)}`, false],
    ["a b.test", false],
    ["a\0b.test", false],
    ["bücher.test", false],
    ["a\\", false],
    ["a\\999.test", false],
    ["a\\é.test", false],
  ];
  for (const [text, ok] of cases)
    test(`${JSON.stringify(text.slice(0, 80))} ${ok ? "can" : "cannot"} be asked`, () => expect(encodeName(text) !== undefined).toBe(ok));
});

describe("compressed names", () => {
  test("a pointer leads back to an earlier name", () => {
    const message = Buffer.concat([wire("example", "test"), Buffer.from([2, 0x6d, 0x78, 0xc0, 0x00])]);
    const cursor = { at: 14 };
    expect(readName(message, cursor)).toBe("mx.example.test");
    expect(cursor.at).toBe(message.length);
  });

  const broken: [what: string, message: Buffer, at: number][] = [
    ["a pointer to itself", Buffer.from([0xc0, 0x00]), 0],
    ["two pointers at each other", Buffer.from([0xc0, 0x02, 0xc0, 0x00]), 2],
    ["a pointer ahead", Buffer.from([0xc0, 0x02, 0x01, 0x61, 0x00]), 0],
    ["a label that ends in its own pointer", Buffer.from([0x01, 0x61, 0xc0, 0x00]), 0],
    ["a pointer cut short", Buffer.from([0x01, 0x61, 0xc0]), 0],
    ["a label past the end", Buffer.from([0x05, 0x61, 0x62]), 0],
    ["no end", Buffer.from([0x01, 0x61]), 0],
    ["label type 01", Buffer.from([0x41, 0x61, 0x00]), 0],
    ["label type 10", Buffer.from([0x81, 0x61, 0x00]), 0],
    ["more than 255 octets", wire(..."abcde".split("").map((letter) => letter.repeat(60))), 0],
  ];
  for (const [what, message, at] of broken) test(`${what} is malformed`, () => expect(() => read(message, at)).toThrow());

  test("a long chain of pointers is refused before it costs time", () => {
    const chain = Buffer.alloc(2 + 2 * 200);
    for (let link = 1; link <= 200; link++) chain.writeUInt16BE(0xc000 | (2 * (link - 1)), 2 * link);
    expect(() => read(chain, 400)).toThrow("too many");
  });
});
