import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { MESSAGE, World } from "./world.ts";

let world: World;
beforeAll(async () => {
  world = await World.open({ submission: { postmaster: "ops@example.test", limits: { recipients: 1000, badCommands: 1000 } } });
});
afterAll(() => world[Symbol.asyncDispose]());

async function send(mail: string, ...recipients: string[]) {
  await using client = await world.client();
  const replies = await client.pipeline(mail, ...recipients, "DATA");
  if (!replies.at(-1)?.startsWith("354")) return { replies };
  client.send(`${MESSAGE}\r\n.\r\n`);
  expect((await client.reply()).text).toMatch(/^250/);
  return { replies, message: world.store.last.message };
}

describe("what a transaction said does not stick to the next", () => {
  test("a refused MAIL leaves nothing behind", async () => {
    await using client = await world.client();
    const refused = [
      "MAIL FROM:<a@b.test> SIZE=99999999 SMTPUTF8 BODY=8BITMIME RET=HDRS ENVID=old",
      "MAIL FROM:<a@b.test> SMTPUTF8 RET=HDRS ENVID=old FOO=1",
    ];
    for (const line of refused) expect(await client.command(line)).toMatch(/^55/);
    await client.command("MAIL FROM:<a@b.test>");
    expect(await client.command("RCPT TO:<\xc3\xbc@c.test>")).toMatch(/^553 5\.6\.7/); // SMTPUTF8 is not on
    await client.pipeline("RCPT TO:<c@d.test>", "DATA");
    client.send(`${MESSAGE}\r\n.\r\n`);
    await client.reply();
    expect(world.store.last.message).not.toHaveProperty("envelopeId");
    expect(world.store.last.message).not.toHaveProperty("returnContent");
    expect(world.store.last.text).toContain("with ESMTP id");
  });

  test("neither does a finished one, nor one that RSET ended", async () => {
    await using client = await world.client();
    for (const end of ["RSET", "message"]) {
      await client.pipeline("MAIL FROM:<a@b.test> SMTPUTF8 RET=FULL ENVID=old", "RCPT TO:<old@d.test> NOTIFY=NEVER");
      if (end === "RSET") await client.command("RSET");
      else {
        await client.command("DATA");
        client.send(`${MESSAGE}\r\n.\r\n`);
        await client.reply();
      }
      await client.submit(MESSAGE, { to: ["new@d.test"] });
      expect(world.store.last.message).toMatchObject({ recipients: [{ address: "new@d.test" }] });
      expect(world.store.last.message).not.toHaveProperty("envelopeId");
      expect(world.store.last.message.recipients[0]).not.toHaveProperty("notify");
    }
  });
});

describe("recipients", () => {
  test("local parts keep their case, and two that differ in it are two", async () => {
    const { message } = await send(
      "MAIL FROM:<a@b.test>",
      "RCPT TO:<User@Example.TEST>",
      "RCPT TO:<user@example.test>",
      'RCPT TO:<"Bob X"@example.test>',
    );
    expect(message?.recipients.map(({ address }) => address)).toEqual(["User@example.test", "user@example.test", '"Bob X"@example.test']);
  });

  test("the same one twice gets one copy", async () => {
    const { message, replies } = await send("MAIL FROM:<a@b.test>", "RCPT TO:<x@y.test>", "RCPT TO:<x@Y.test>");
    expect(replies.slice(1, 3)).toEqual(["250 2.1.5 Ok", "250 2.1.5 Ok"]);
    expect(message?.recipients).toHaveLength(1);
  });

  test("postmaster without a domain goes to the configured address", async () => {
    const { message } = await send("MAIL FROM:<a@b.test>", "RCPT TO:<postmaster>");
    expect(message?.recipients).toMatchObject([{ address: "ops@example.test", nextHop: "example.test" }]);
  });

  test("and to ours where none is, fence or not", async () => {
    await using plain = await World.open({ submission: { recipientDomains: ["only.test"] } });
    await using client = await plain.client();
    expect(await client.submit(MESSAGE, { to: ["Postmaster"] })).toMatch(/^250/);
    expect(plain.store.last.message.recipients[0]?.address).toBe("postmaster@relay.test");
  });

  test("A-labels stay A-labels, U-labels become them", async () => {
    const { message } = await send(
      "MAIL FROM:<a@b\xc3\xbccher.test> SMTPUTF8",
      "RCPT TO:<x@xn--bcher-kva.test>",
      "RCPT TO:<y@b\xc3\xbccher.test>",
    );
    expect(message?.sender).toBe("a@xn--bcher-kva.test");
    expect(message?.recipients.map(({ nextHop }) => nextHop)).toEqual(["xn--bcher-kva.test", "xn--bcher-kva.test"]);
  });

  test("some refused, some accepted: one reply, for the accepted", async () => {
    const { message, replies } = await send(
      "MAIL FROM:<a@b.test>",
      "RCPT TO:<bad>",
      "RCPT TO:<good@x.test>",
      "RCPT TO:<@>",
      "RCPT TO:<root@localhost>",
    );
    expect(replies.slice(1, 5).map((reply) => reply.slice(0, 9))).toEqual(["550 5.1.2", "250 2.1.5", "501 5.1.3", "550 5.1.2"]);
    expect(message?.recipients).toHaveLength(1);
  });

  test("none accepted: DATA is 503, and with it goes no text", async () => {
    const { replies } = await send("MAIL FROM:<a@b.test>", "RCPT TO:<bad>");
    expect(replies.at(-1)).toMatch(/^503 5\.5\.1/);
  });

  test("the 1001st of 1000 is 452 4.5.3, the others stay", async () => {
    const recipients = Array.from({ length: 1001 }, (_, n) => `RCPT TO:<r${n}@example.test>`);
    const { message, replies } = await send("MAIL FROM:<a@b.test>", ...recipients, "RCPT TO:<r7@example.test>");
    expect(replies.slice(1, 1001).every((reply) => reply === "250 2.1.5 Ok")).toBe(true);
    expect(replies[1001]).toMatch(/^452 4\.5\.3/);
    expect(replies[1002]).toBe("250 2.1.5 Ok"); // one that is there already needs no room
    expect(message?.recipients).toHaveLength(1000);
  });

  test("all lengths that RFC 5321 §4.5.3.1 promises", async () => {
    const local = "l".repeat(64);
    const domain = `${"d".repeat(63)}.${"d".repeat(63)}.${"d".repeat(58)}.te`;
    const { replies } = await send(
      `MAIL FROM:<${local}@b.test>`,
      `RCPT TO:<${local}@${domain}>`,
      `RCPT TO:<x@y.test> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;${"o".repeat(493)}`,
    );
    expect(`${local}@${domain}`).toHaveLength(254);
    expect(replies.map((reply) => reply.slice(0, 3))).toEqual(["250", "250", "250", "354"]);
    const { replies: beyond } = await send(`MAIL FROM:<l${local}@b.test>`, `RCPT TO:<x@y.test>`);
    expect(beyond[0]).toMatch(/^501/);
  });
});

describe("notices", () => {
  test("ENVID, RET, NOTIFY and ORCPT reach the queue exactly as received", async () => {
    const { message } = await send(
      "MAIL FROM:<a@b.test> RET=hdrs ENVID=QQ+20314",
      "RCPT TO:<x@y.test> NOTIFY=success,DELAY ORCPT=RFC822;Bob+2Bx@X.test",
      "RCPT TO:<z@y.test>",
    );
    expect(message).toMatchObject({
      returnContent: "headers",
      envelopeId: "QQ+20314",
      recipients: [
        {
          address: "x@y.test",
          notify: { never: false, success: true, failure: false, delay: true },
          originalRecipient: "RFC822;Bob+2Bx@X.test",
        },
        { address: "z@y.test" },
      ],
    });
    expect(message?.recipients[1]).not.toHaveProperty("notify");
  });

  test("valid parameters never change whether MAIL or RCPT is accepted", async () => {
    const bare = await send("MAIL FROM:<a@b.test>", "RCPT TO:<x@y.test>", "RCPT TO:<root@localhost>");
    const full = await send(
      "MAIL FROM:<a@b.test> RET=FULL ENVID=x",
      "RCPT TO:<x@y.test> NOTIFY=NEVER",
      "RCPT TO:<root@localhost> NOTIFY=NEVER ORCPT=rfc822;a@b.test",
    );
    expect(full.replies).toEqual(bare.replies);
  });
});

test("notices to come expire sooner than messages of people", async () => {
  const person = await send("MAIL FROM:<a@b.test>", "RCPT TO:<x@y.test>");
  const notice = await send("MAIL FROM:<>", "RCPT TO:<x@y.test>");
  const life = (message: { expiresAt: number; receivedAt: number } | undefined) =>
    message === undefined ? 0 : message.expiresAt - message.receivedAt;
  expect(life(person.message)).toBe(5 * 86_400_000);
  expect(life(notice.message)).toBe(2 * 86_400_000);
});
