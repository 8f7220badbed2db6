import { describe, expect, test } from "vitest";
import { MOST_LINES, MOST_TEXT, ReplyReader } from "../../../src/delivery/reply-reader.ts";
import { describeReply, type Reply } from "../../../src/mail/reply.ts";

function read(
  octets: string | Buffer,
  piece = Number.POSITIVE_INFINITY,
  enhanced = false,
): { replies: Reply[]; wrong: string | undefined; reader: ReplyReader } {
  const reader = new ReplyReader();
  reader.enhancedStatusCodes = enhanced;
  const data = typeof octets === "string" ? Buffer.from(octets, "utf8") : octets;
  const replies: Reply[] = [];
  for (let at = 0; at < data.length; at += piece) {
    const wrong = reader.push(data.subarray(at, Math.min(data.length, at + piece)), (reply) => replies.push(reply) > 0);
    if (wrong !== undefined) return { replies, wrong, reader };
  }
  return { replies, wrong: undefined, reader };
}

describe("replies (RFC 5321 §4.2)", () => {
  const good: [octets: string, replies: Reply[]][] = [
    ["250 Ok\r\n", [{ code: 250, lines: ["Ok"] }]],
    ["250\r\n", [{ code: 250, lines: [""] }]],
    ["250 \r\n", [{ code: 250, lines: [""] }]],
    ["250-a\r\n250-\r\n250 b\r\n", [{ code: 250, lines: ["a", "", "b"] }]],
    ["250-a\r\n250\r\n", [{ code: 250, lines: ["a", ""] }]],
    [
      "259 odd\r\n455 odd\r\n599 odd\r\n",
      [
        { code: 259, lines: ["odd"] },
        { code: 455, lines: ["odd"] },
        { code: 599, lines: ["odd"] },
      ],
    ],
    ["250 gr\u00fc\u00dfe\r\n", [{ code: 250, lines: ["gr\u00fc\u00dfe"] }]],
    ["250 a\u0007b\u202ec\r\n", [{ code: 250, lines: ["a?b?c"] }]],
    [`250 ${"x".repeat(2000)}\r\n`, [{ code: 250, lines: [`${"x".repeat(999)}…`] }]],
  ];
  for (const [octets, replies] of good)
    test.each([1, 2, 3, 7, Number.POSITIVE_INFINITY])(`${JSON.stringify(octets.slice(0, 30))} in pieces of %d`, (piece) => {
      const result = read(octets, piece);
      expect(result.wrong).toBeUndefined();
      expect(result.replies).toEqual(replies);
      expect(result.reader.midReply).toBe(false);
    });

  test("a reply of a hundred full lines is kept to a few of them, and the next one whole again", () => {
    const { replies, wrong } = read(`${`550-${"x".repeat(900)}\r\n`.repeat(99)}550 ${"x".repeat(900)}\r\n550 next\r\n`);
    expect(wrong).toBeUndefined();
    expect(replies[0]?.lines).toHaveLength(100);
    expect(replies[0]?.lines.join("").length).toBeLessThanOrEqual(MOST_TEXT + 1000);
    expect(describeReply(replies[0] as Reply).length).toBe(1000);
    expect(replies[1]).toEqual({ code: 550, lines: ["next"] });
  });

  const wrong: [octets: string, reason: RegExp][] = [
    ["199 x\r\n", /without a reply code/],
    ["600 x\r\n", /without a reply code/],
    ["25 x\r\n", /without a reply code/],
    ["Ok\r\n", /without a reply code/],
    ["\r\n", /without a reply code/],
    ["25", /^$/],
    ["250-a\r\n550 b\r\n", /the codes 250 and 550/],
    ["250-a\r\n251 b\r\n", /the codes 250 and 251/],
    ["250+a\r\n", /no space behind the reply code/],
    ["250Ok\r\n", /no space behind the reply code/],
    ["250 Ok\n", /bare LF/],
    ["\n", /bare LF/],
    ["250-x\r\n".repeat(MOST_LINES + 1), /more than 100 lines/],
    ["250 ".padEnd(5000, "x"), /longer than 4096/],
    [`250 ${"x".repeat(4100)}\r\n`, /longer than 4096/],
  ];
  for (const [octets, reason] of wrong)
    test.each([1, 1000, Number.POSITIVE_INFINITY])(`${JSON.stringify(octets.slice(0, 30))} is no reply, in pieces of %d`, (piece) => {
      const result = read(octets, piece);
      expect(result.replies).toEqual([]);
      expect(result.wrong ?? "").toMatch(reason);
    });

  test("what has begun and not ended is known", () => {
    expect(read("25").reader.midReply).toBe(true);
    expect(read("250-a\r\n").reader.midReply).toBe(true);
  });
});

describe("enhanced status codes (RFC 2034)", () => {
  const cases: [octets: string, offered: boolean, enhanced: string | undefined][] = [
    ["550 5.1.1 nobody\r\n", true, "5.1.1"],
    ["550 5.1.1 nobody\r\n", false, undefined],
    ["550 4.2.1 x\r\n", true, undefined],
    ["250 2.0.0\r\n", true, "2.0.0"],
  ];
  test.each(cases)("%j, offered: %s", (octets, offered, enhanced) => expect(read(octets, 5, offered).replies[0]?.enhanced).toBe(enhanced));
});
