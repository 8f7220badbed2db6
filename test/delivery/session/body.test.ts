/** The text of a message, large and small (RFC 5321 §4.5.2, §4.1.1.4): every octet arrives, or no final dot is said. */
import { afterEach, describe, expect, test } from "vitest";
import type { BodySource } from "../../../src/queue/entry.ts";
import { createTestCa } from "../../support/certificates.ts";
import { ScriptedMx } from "../../support/scripted-mx.ts";
import { bodyOf, MX_NAME, opened, transaction } from "../../support/smtp-session.ts";

const ca = await createTestCa();
const certificate = await ca.issue({ names: [MX_NAME] });
const hosts: ScriptedMx[] = [];
afterEach(() => Promise.all(hosts.splice(0).map((mx) => mx.close())));

async function host(behaviour: Parameters<typeof ScriptedMx.open>[0] = { certificate }): Promise<ScriptedMx> {
  const mx = await ScriptedMx.open(behaviour);
  hosts.push(mx);
  return mx;
}

const unstuffed = (text: string) => text.replace(/^\./gm, "");

/** Lines with dots and octets of all kinds. */
function letter(lines: number): Buffer {
  const content = Array.from({ length: lines }, (_, n) => `${n % 5 === 0 ? "." : ""}line ${n} ${"\u00e9".repeat(n % 30)}\r\n`);
  return Buffer.from(`Subject: hello\r\n\r\n${content.join("")}`, "latin1");
}

describe.each([true, false])("in memory: %s", (inMemory) => {
  test.each([0, 1, 30, 900, 5000, 60_000])("%d lines arrive octet for octet, under TLS", async (lines) => {
    const mx = await host();
    const session = await opened(mx.port, ca.pem, { atLeast: "authenticated" });
    const body = lines === 0 ? Buffer.alloc(0) : letter(lines);
    for (let round = 0; round < 2; round += 1) {
      const report = await session.deliver(transaction({ body: bodyOf(body, inMemory), needs: { eightBit: true } }));
      expect(report.recipients[0]?.kind).toBe("delivered");
    }
    expect(mx.messages).toHaveLength(2);
    for (const { text, underTls } of mx.messages) {
      expect(Buffer.from(unstuffed(text), "latin1").equals(body)).toBe(true);
      expect(underTls).toBe(true);
    }
    session.destroy();
  });

  test("a last line without its end gets one", async () => {
    const mx = await host();
    const session = await opened(mx.port, ca.pem);
    await session.deliver(transaction({ body: bodyOf("Subject: a\r\n\r\nno end", inMemory) }));
    expect(mx.messages[0]?.text).toBe("Subject: a\r\n\r\nno end\r\n");
    session.destroy();
  });

  const broken: [name: string, body: BodySource, error: RegExp][] = [
    [
      "shorter than promised",
      { ...bodyOf("Subject: a\r\n\r\nhello\r\n", inMemory), size: 1000 },
      /22 octets, and 1000 were promised|20 octets, and 1000 were promised|promised/,
    ],
    ["longer than promised", { ...bodyOf("Subject: a\r\n\r\nhello\r\n", inMemory), size: 5 }, /5 were promised/],
    ["with a bare LF and a dot", bodyOf("Subject: a\r\n\r\nx\n.\r\nMAIL FROM:<evil@d.test>\r\n", inMemory), /bare LF/],
    ["with a bare CR", bodyOf("Subject: a\r\n\r\nx\r.\r\n", inMemory), /bare CR/],
  ];
  test.each(broken)("a body %s: rejected, closed, no final dot", async (_name, body, error) => {
    const mx = await host();
    const session = await opened(mx.port, ca.pem, { atLeast: "authenticated" });
    const caught = await session.deliver(transaction({ body })).then(
      () => undefined,
      (reason: Error) => reason,
    );
    expect((caught?.cause as Error | undefined)?.message).toMatch(error);
    expect(session.usable).toBe(false);
    await mx.quiet();
    expect(mx.messages).toEqual([]);
    expect(mx.heard.join()).not.toContain("evil");
    expect(mx.connections[0]?.reads.join("")).not.toContain("\r\n.\r\n");
  });
});

test("a body that cannot be read to its end: rejected with the cause, closed, no final dot", async () => {
  const mx = await host();
  const session = await opened(mx.port, ca.pem, { atLeast: "authenticated" });
  const cause = new Error("the disk is gone");
  const body: BodySource = {
    size: 100_000,
    async *chunks() {
      yield Buffer.from("Subject: a\r\n\r\n");
      throw cause;
    },
  };
  await expect(session.deliver(transaction({ body }))).rejects.toMatchObject({ cause });
  await mx.quiet();
  expect(mx.messages).toEqual([]);
});

describe("in the middle of the text", () => {
  /** A body that lets the host do something between two chunks. */
  function bodyWith(between: () => Promise<void>): BodySource {
    const first = Buffer.from(`Subject: a\r\n\r\n${"x".repeat(500)}\r\n`);
    const second = Buffer.from("the end\r\n");
    return {
      size: first.length + second.length,
      async *chunks() {
        yield first;
        await between();
        yield second;
      },
    };
  }

  test("a lost connection is before the dot: another host may get it now", async () => {
    const mx = await host();
    const session = await opened(mx.port, ca.pem);
    const body = bodyWith(async () => {
      mx.connections[0]?.socket.destroy();
      while (session.usable) await new Promise(setImmediate);
    });
    expect(await session.deliver(transaction({ body }))).toMatchObject({
      step: "data",
      mayHoldMessage: false,
      recipients: [{ kind: "elsewhere", permanent: false, problem: { type: "connection-lost" } }],
    });
  });

  test.each(["552 5.3.4 too big\r\n", "421 4.3.2 bye\r\n", "250 2.0.0 got it\r\n"])(
    "%j before the dot decides nothing, and ends the session",
    async (said) => {
      const mx = await host();
      const session = await opened(mx.port, ca.pem);
      const body = bodyWith(async () => {
        mx.connections[0]?.say(said);
        while (session.usable) await new Promise(setImmediate);
      });
      const report = await session.deliver(transaction({ body }));
      expect(report).toMatchObject({
        step: "data",
        mayHoldMessage: false,
        recipients: [{ kind: "elsewhere", permanent: false, problem: { reply: { code: Number(said.slice(0, 3)) } } }],
      });
    },
  );
});

test("a large body is not read ahead of what the host takes", async () => {
  const chunk = Buffer.from(`${"x".repeat(254)}\r\n`.repeat(1024));
  let read = 0;
  const body: BodySource = {
    size: chunk.length * 100,
    async *chunks() {
      for (; read < 100; read += 1) yield chunk;
    },
  };
  const mx = await host({
    answer: (command, { socket }) => (command === "DATA" ? (setImmediate(() => socket.pause()), undefined) : undefined),
  });
  const session = await opened(mx.port, ca.pem);
  const delivery = session.deliver(transaction({ body }));
  // The socket buffers of both sides fill up; then nothing more may be read.
  let before = -1;
  while (before !== read || read === 0) {
    before = read;
    for (let turn = 0; turn < 50; turn += 1) await new Promise(setImmediate);
  }
  expect(read).toBeLessThan(80);
  mx.connections[0]?.socket.resume();
  expect((await delivery).recipients[0]?.kind).toBe("delivered");
  session.destroy();
});
