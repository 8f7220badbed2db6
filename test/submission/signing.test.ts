/** Which mail is to be signed, by whom, and the hash of what was stored of it. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Domain } from "../../src/mail/domain.ts";
import { naiveBodyHash } from "../dkim/verifier.ts";
import { World } from "./world.ts";

const asked: string[] = [];
let world: World;
beforeAll(async () => {
  world = await World.open({
    submission: { senderDomains: ["sender.test", "signed.test"] },
    users: [{ name: "alice", password: "secret", maySendAs: ["@sender.test"] }],
    io: {
      findSigningDomain: (author) => {
        asked.push(author);
        return author === "signed.test" || author.endsWith(".signed.test") || author === "xn--bcher-kva.test"
          ? ("signed.test" as Domain)
          : undefined;
      },
    },
  });
});
afterAll(() => world[Symbol.asyncDispose]());
beforeEach(() => {
  world.store.kept.length = 0;
  asked.length = 0;
});

async function submit(message: string): Promise<void> {
  await using client = await world.client();
  expect(await client.submit(message)).toMatch(/^250/);
}

describe("the author decides", () => {
  const cases: [name: string, header: string, signed: boolean][] = [
    ["one of ours", "From: a@signed.test", true],
    ["with a name, folded", 'From: "Alice, A."\r\n <a@SIGNED.test>', true],
    ["the first of several", "From: a@signed.test, b@sender.test", true],
    ["not the second", "From: b@sender.test, a@signed.test", false],
    ["another", "From: a@sender.test", false],
    ["an address literal", "From: a@[192.0.2.1]", false],
    ["none", "Subject: x", false],
    ["what is no address", "From: Alice", false],
    ["an empty group", "From: nobody:;", false],
    ["two From fields", "From: a@signed.test\r\nFrom: b@sender.test", false],
    ["with another's signature", "DKIM-Signature: v=1; d=other.test\r\nFrom: a@signed.test", true],
    // Whoever may not send as it gets no signature that says so.
    ["a domain that this client may not send as", "From: a@sub.signed.test", false],
    ["beside an author that this client may not send as", "From: a@signed.test, boss@elsewhere.test", false],
    ["in a group with one", "From: us: a@signed.test, boss@elsewhere.test;", false],
  ];
  for (const [name, header, signed] of cases)
    test(`${name}: ${signed ? "signed" : "not signed"}`, async () => {
      await submit(`${header}\r\n\r\nbody`);
      expect(world.store.last.message.signing?.domain).toBe(signed ? "signed.test" : undefined);
    });

  test("a user gets no signature of a domain that is not theirs", async () => {
    await using client = await world.tlsClient();
    await client.command(`AUTH PLAIN ${Buffer.from("\0alice\0secret").toString("base64")}`);
    expect(await client.submit("From: boss@signed.test\r\n\r\nbody")).toMatch(/^250/);
    expect(world.store.last.message).not.toHaveProperty("signing");
    expect(asked).toEqual([]);
  });

  test("without anybody to ask nothing is hashed", async () => {
    await using plain = await World.open();
    await using client = await plain.client();
    expect(await client.submit("From: a@signed.test\r\n\r\nbody")).toMatch(/^250/);
    expect(plain.store.last.message).not.toHaveProperty("signing");
  });
});

describe("the hash is that of the body as it was stored", () => {
  const HEAD = "From: a@signed.test";
  const cases: [name: string, message: string][] = [
    ["clean", `${HEAD}\r\n\r\none\r\ntwo`],
    ["bare line ends, which are mended", `${HEAD}\n\none\ntwo\rthree\r\r\n`],
    ["dots at line starts, which are stuffed on the way", `${HEAD}\r\n\r\n..one\r\n..\r\ntwo`],
    ["empty lines at the end", `${HEAD}\r\n\r\none\r\n\r\n\r\n`],
    ["no body", `${HEAD}\r\n\r\n`],
    ["no empty line either", HEAD],
    ["a Bcc field, which is taken off", `Bcc: x@y.test\r\n${HEAD}\r\n\r\none\r\n`],
    ["half a megabyte", `${HEAD}\r\n\r\n${`${"0123456789".repeat(7)}\n`.repeat(7_500)}`],
  ];
  const checkHash = (): void => {
    const { body, message } = world.store.last;
    const end = body.indexOf("\r\n\r\n");
    expect(message.signing).toEqual({ domain: "signed.test", bodyHash: naiveBodyHash(end < 0 ? Buffer.alloc(0) : body.subarray(end + 4)) });
  };
  for (const [name, message] of cases)
    test(name, async () => {
      await submit(message);
      checkHash();
    });

  test("octet by octet", async () => {
    await using client = await world.client();
    await client.pipeline("MAIL FROM:<a@sender.test>", "RCPT TO:<c@d.test>", "DATA");
    for (const octet of `${HEAD}\r\n\r\none\ntwo\rthree\r\n..\r\n\r\n\n\r\n.\r\n`) await client.sent(octet);
    expect((await client.reply()).text).toMatch(/^250/);
    checkHash();
  });
});
