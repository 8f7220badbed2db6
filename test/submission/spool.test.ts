/** The spool without sockets: whatever the pieces, the same is stored. */
import { describe, expect, test } from "vitest";
import { Spool, type SpoolOptions } from "../../src/submission/spool.ts";
import { MemoryBody } from "./world.ts";

const LIMITS = { messageSize: 10_000_000, headerSize: 8192, headerFields: 100, receivedFields: 100 };

async function spool(pieces: readonly Buffer[], wishes: Partial<SpoolOptions> = {}) {
  const body = new MemoryBody(() => undefined);
  const one = new Spool({
    limits: LIMITS,
    mendLineEnds: true,
    newBody: () => body,
    judge: () => ({ prelude: "Received: here\r\n" }),
    storageReply: () => "451 4.3.0 x",
    ...wishes,
  });
  for (const piece of pieces.slice(0, -1)) await one.take(Buffer.from(piece));
  await one.end(Buffer.from(pieces.at(-1) ?? ""));
  return { text: Buffer.concat(body.chunks).toString("latin1"), refusal: one.refusal, needs: one.needs, body, chunks: body.chunks };
}

const whole = (text: string, wishes?: Partial<SpoolOptions>) => spool([Buffer.from(text, "latin1")], wishes);

describe("cut anywhere", () => {
  const text = "A: b\r\nBcc: x\r\n\ty\r\nC: d\ne: f\r\n\r\none\ntwo\rthree\r\n\r\r\n\xfc\r\n";
  const octets = Buffer.from(text, "latin1");
  const expected = "Received: here\r\nA: b\r\nC: d\r\ne: f\r\n\r\none\r\ntwo three\r\n \r\n\xfc\r\n";

  test("in one piece", async () => expect((await whole(text)).text).toBe(expected));

  test("in two", async () => {
    for (let at = 0; at <= octets.length; at++)
      expect((await spool([octets.subarray(0, at), octets.subarray(at)])).text, `cut at ${at}`).toBe(expected);
  });

  test("octet by octet", async () => expect((await spool([...octets].map((octet) => Buffer.from([octet])))).text).toBe(expected));

  test("what it needs is seen wherever it comes", async () => {
    for (let at = 0; at <= octets.length; at++)
      expect((await spool([octets.subarray(0, at), octets.subarray(at)])).needs, `cut at ${at}`).toEqual({
        eightBit: true,
        utf8Headers: false,
      });
  });

  test("strictly: refused wherever it is cut", async () => {
    for (let at = 0; at <= octets.length; at++)
      expect((await spool([octets.subarray(0, at), octets.subarray(at)], { mendLineEnds: false })).refusal, `cut at ${at}`).toMatch(
        /^554 5\.6\.0/,
      );
  });

  test("strictly, but clean: taken wherever it is cut", async () => {
    const clean = Buffer.from("A: b\r\n\r\none\r\n\r\ntwo\r\n");
    for (let at = 0; at <= clean.length; at++)
      expect((await spool([clean.subarray(0, at), clean.subarray(at)], { mendLineEnds: false })).text, `cut at ${at}`).toBe(
        `Received: here\r\n${clean.toString()}`,
      );
  });
});

test("a CR at the very end is bare", async () => {
  expect((await whole("A: b\r\n\r\nx\r")).text).toBe("Received: here\r\nA: b\r\n\r\nx ");
  expect((await whole("A: b\r\n\r\nx\r", { mendLineEnds: false })).refusal).toMatch(/bare CR/);
});

test("many short lines with bare LF are no long line", async () => {
  const { text, refusal } = await whole(`A: b\n\n${`${"x".repeat(100)}\n`.repeat(100)}`);
  expect(refusal).toBeUndefined();
  expect(text).toBe(`Received: here\r\nA: b\r\n\r\n${`${"x".repeat(100)}\r\n`.repeat(100)}`);
});

test("a line that is too long only across pieces, mended ones among them, is refused", async () => {
  const pieces = ["A: b\r\n\r\nq\n", "x".repeat(600), "x".repeat(398), "x\r\n"].map((piece) => Buffer.from(piece));
  expect((await spool(pieces)).refusal).toMatch(/998/);
  expect((await spool([...pieces.slice(0, 3), Buffer.from("\r\n")])).refusal).toBeUndefined();
});

describe("blocks", () => {
  test("a small message in one piece is one block of just its size, and no part of a larger buffer", async () => {
    const { chunks, text } = await whole(`A: b\r\n\r\n${"x".repeat(70)}\r\n`);
    expect(chunks).toHaveLength(1);
    expect(chunks[0]?.buffer.byteLength).toBe(text.length);
  });

  test("so is one that came in two", async () => {
    const { chunks, text } = await spool([Buffer.from("A: b\r\n\r\nxxx"), Buffer.from("yyy\r\n")]);
    expect(chunks.map((chunk) => chunk.buffer.byteLength)).toEqual([text.length]);
  });

  test("large ones are cut into blocks", async () => {
    const piece = Buffer.from(`${"x".repeat(98)}\r\n`.repeat(500));
    const { chunks, text } = await spool([Buffer.from("A: b\r\n\r\n"), ...Array.from({ length: 20 }, () => piece)]);
    expect(text.length).toBe(16 + 8 + 20 * piece.length);
    expect(Math.max(...chunks.map((chunk) => chunk.length))).toBe(64 * 1024);
    expect(chunks.length).toBeLessThan(20);
  });
});

test("nothing is asked of the store for a message that is refused by its header", async () => {
  let asked = 0;
  const { refusal } = await whole("A: b\r\n\r\nx\r\n", {
    judge: () => ({ refusal: "550 5.7.1 no" }),
    newBody: () => ((asked += 1), new MemoryBody(() => undefined)),
  });
  expect(refusal).toBe("550 5.7.1 no");
  expect(asked).toBe(0);
});
