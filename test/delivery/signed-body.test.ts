/** A message is signed for each attempt, and never goes without (RFC 6376 §5.6): the header in, fields in front of the body out. */
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { signEntry } from "../../src/delivery/signed-body.ts";
import type { Domain } from "../../src/mail/domain.ts";
import type { SignMessage } from "../../src/mail/signing.ts";
import type { BodySource, LeasedEntry } from "../../src/queue/entry.ts";
import { leasedEntry } from "../support/entries.ts";
import { run } from "./one-run.ts";

const wish = { domain: "sender.test" as Domain, bodyHash: "hash" };
/** Says what it was given. */
const sign: SignMessage = async ({ domain, bodyHash }, header) => ({
  kind: "signed",
  fields: `DKIM-Signature: d=${domain}; bh=${bodyHash};\r\n b=${createHash("sha256").update(header).digest("hex")}\r\n`,
});
const fieldsFor = (header: string): string =>
  `DKIM-Signature: d=sender.test; bh=hash;\r\n b=${createHash("sha256").update(header, "latin1").digest("hex")}\r\n`;

/** In chunks of this size, each of them overwritten when the second one after it is asked for, as the store may do. */
function inChunks(text: Buffer, size: number): BodySource & { readonly asked: () => number; readonly closed: () => boolean } {
  let asked = 0;
  let closed = false;
  return {
    size: text.length,
    asked: () => asked,
    closed: () => closed,
    async *chunks() {
      const given: Buffer[] = [];
      try {
        for (let at = 0; at < text.length; at += size) {
          asked += 1;
          given.at(-2)?.fill(0x58);
          const chunk = Buffer.from(text.subarray(at, at + size));
          given.push(chunk);
          yield chunk;
        }
      } finally {
        closed = true;
      }
    },
  };
}

async function octetsOf(body: BodySource): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const chunk of body.chunks()) parts.push(Buffer.from(chunk));
  return Buffer.concat(parts);
}

const withBody = (body: BodySource): LeasedEntry => ({ ...leasedEntry(), body });

async function signed(body: BodySource): Promise<BodySource> {
  const result = await signEntry(withBody(body), wish, sign);
  if (result.kind === "failed") throw new Error(result.detail);
  return result.entry.body;
}

const cases: [what: string, text: string, header: string][] = [
  ["a message", "From: a@b.test\r\nSubject: c\r\n\r\nHello.\r\n", "From: a@b.test\r\nSubject: c\r\n"],
  ["one without a body", "From: a@b.test\r\n\r\n", "From: a@b.test\r\n"],
  ["one that is all header", "From: a@b.test\r\n", "From: a@b.test\r\n"],
  ["one without a header", "\r\nHello.\r\n\r\nAgain.\r\n", ""],
  ["8-bit octets", "Subject: \xe4\r\n\r\n\xff\r\n", "Subject: \xe4\r\n"],
];
for (const [what, text, header] of cases)
  for (const size of [1, 3, 1000])
    test(`${what}, in chunks of ${size}`, async () => {
      const octets = Buffer.from(text, "latin1");
      const body = await signed(inChunks(octets, size));
      const expected = Buffer.concat([Buffer.from(fieldsFor(header)), octets]);
      expect(body.inMemory).toBeUndefined();
      expect(body.size).toBe(expected.length);
      expect(await octetsOf(body)).toEqual(expected);
      // For the next host.
      expect(await octetsOf(body)).toEqual(expected);
    });

test("what is at hand in memory stays there", async () => {
  const octets = Buffer.from("From: a@b.test\r\n\r\nHello.\r\n");
  const body = await signed(leasedEntry({ body: octets }).body);
  const expected = Buffer.concat([Buffer.from(fieldsFor("From: a@b.test\r\n")), octets]);
  expect(body.inMemory).toEqual(expected);
  expect(body.size).toBe(expected.length);
  expect(await octetsOf(body)).toEqual(expected);
});

test("1 MB in chunks: only the header is read before it is sent, and every octet is", async () => {
  const header = `${Array.from({ length: 3000 }, (_, index) => `X-Filler-${index}: ${"y".repeat(60)}\r\n`).join("")}`;
  const octets = Buffer.concat([Buffer.from(`${header}\r\n`), Buffer.alloc(1024 * 1024, "z\r\n")]);
  const source = inChunks(octets, 128 * 1024);
  const body = await signed(source);
  expect(source.asked()).toBe(Math.ceil(header.length / (128 * 1024)));
  expect(source.closed()).toBe(true);
  const sent = await octetsOf(body);
  expect(sent.length).toBe(body.size);
  expect(sent.equals(Buffer.concat([Buffer.from(fieldsFor(header)), octets]))).toBe(true);
});

test("a header without end is not signed, nor kept in memory for ever", async () => {
  const endless = inChunks(Buffer.alloc(20 * 1024 * 1024, "x"), 128 * 1024);
  expect(await signEntry(withBody(endless), wish, sign)).toMatchObject({ kind: "failed", detail: expect.stringContaining("header") });
});

test("a body that cannot be read is no signature that fails: it is our own fault", async () => {
  const lost: BodySource = {
    size: 7,
    async *chunks() {
      yield Buffer.from("From");
      throw new Error("the disk");
    },
  };
  await expect(signEntry(withBody(lost), wish, sign)).rejects.toThrow("the disk");
});

describe("an attempt", () => {
  const hosts = { "mx1.test": {} };
  test("sends what is to be signed with its signature, over every host it asks", async () => {
    const told = {
      kind: "elsewhere",
      problem: { type: "rejected", detail: "", whoActs: "nobody", status: "4.2.0" },
      permanent: false,
    } as const;
    const { bodies, outcome } = await run({ hosts: { "mx1.test": { says: told }, "mx2.test": {} }, signing: wish, sign });
    expect(outcome).toBe("delivered mx2.test");
    const expected = `${fieldsFor("Subject: hello\r\n")}Subject: hello\r\n\r\nHello.\r\n`;
    for (const body of bodies) expect((await octetsOf(body)).toString()).toBe(expected);
    expect(bodies).toHaveLength(2);
  });
  test("waits where there is no signature, and dials nobody", async () => {
    const { settlement, contact, dialled, outcome } = await run({
      hosts,
      signing: wish,
      sign: async () => ({ kind: "failed", detail: "no DKIM key of sender.test is in use" }),
    });
    expect(outcome).toBe("waiting 4.7.0 dkim-failed");
    expect(dialled).toEqual([]);
    expect(contact.kind).toBe("nothing-learnt");
    expect(settlement.nextAttempt).toBeDefined();
    expect(settlement.attempt.problem).toMatchObject({
      type: "dkim-failed",
      whoActs: "you",
      detail: expect.stringContaining("no DKIM key of sender.test"),
    });
    expect(settlement.observations).toBeUndefined();
  });
  test("leaves others' mail as it is", async () => {
    const { bodies } = await run({ hosts, sign });
    expect(bodies[0]?.inMemory?.toString()).toBe("Subject: hello\r\n\r\nHello.\r\n");
  });
  test("does not sign what is not going to be sent", async () => {
    let asked = 0;
    const counting: SignMessage = (...given) => {
      asked += 1;
      return sign(...given);
    };
    const noMx = { kind: "failed", reason: "timeout", detail: "silence" } as const;
    await run({ hosts, mx: noMx, signing: wish, sign: counting });
    expect(asked).toBe(0);
  });
});
