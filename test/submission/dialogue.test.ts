import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RawClient } from "../support/raw-client.ts";
import { MESSAGE, World } from "./world.ts";

let world: World;
beforeAll(async () => {
  world = await World.open({ submission: { limits: { badCommands: 50, messageSize: "1M" }, networks: ["127.0.0.1", "127.0.0.3"] } });
});
afterAll(() => world[Symbol.asyncDispose]());

describe("greeting and EHLO", () => {
  test("220 with our name", async () => {
    await using client = await RawClient.open({ port: world.port() });
    expect((await client.reply()).text).toBe("220 relay.test ESMTP Postern");
  });

  test("every keyword that is served, by state", async () => {
    await using client = await RawClient.greeted({ port: world.port() }, "");
    client.send("EHLO client.test\r\n");
    expect((await client.reply()).lines).toEqual([
      "relay.test",
      "SIZE 1048576",
      "8BITMIME",
      "PIPELINING",
      "DSN",
      "SMTPUTF8",
      "STARTTLS",
      "ENHANCEDSTATUSCODES",
    ]);
  });

  test.each([
    ["EHLO [127.0.0.1]", "250"],
    ["EHLO [IPv6:::1]", "250"],
    ["EHLO host", "250"],
    ["EHLO app_web_1", "250"],
    ["ehlo Host.Example.Test", "250"],
    ["HELO host", "250"],
    ["EHLO", "501"],
    ["EHLO ", "501"],
    ["HELO", "501"],
  ])("%s gives %s", async (line, code) => {
    await using client = await RawClient.greeted({ port: world.port() }, "");
    expect(await client.command(line)).toMatch(new RegExp(`^${code}`));
  });

  test.each([["EHLO two words"], ["EHLO \xfc\xe9"], ["EHLO a;b|c"], ["EHLO user@host"]])(
    "a trusted client may call itself %j, a stranger may not",
    async (line) => {
      await using friend = await RawClient.greeted({ port: world.port() }, "");
      expect(await friend.command(line)).toMatch(/^250/);
      await using stranger = await RawClient.greeted({ port: world.port(), from: "127.0.0.2" }, "");
      expect(await stranger.command(line)).toMatch(/^501/);
    },
  );

  test("a trusted client is greeted before a stranger who came first", async () => {
    const stranger = await RawClient.open({ port: world.port(), from: "127.0.0.2" });
    const friend = await RawClient.open({ port: world.port() });
    const first = await Promise.race([stranger.reply().then(() => "stranger"), friend.reply().then(() => "friend")]);
    expect(first).toBe("friend");
    stranger.vanish();
    friend.vanish();
  });

  test("a stranger that speaks before the greeting is sent away", async () => {
    await using client = await RawClient.open({ port: world.port(), from: "127.0.0.2" });
    client.send("EHLO spam.test\r\nMAIL FROM:<a@b.test>\r\n");
    expect(await client.ended()).toBe("421 4.7.0 you spoke before the greeting\r\n");
    expect(world.kinds("client-refused").at(-1)).toMatchObject({ client: "127.0.0.2", reason: "early-talker" });
  });

  test("also one that has not finished its line", async () => {
    await using client = await RawClient.open({ port: world.port(), from: "127.0.0.2" });
    client.send("EHL");
    expect(await client.ended()).toMatch(/^421 4\.7\.0/);
  });
});

describe("commands", () => {
  test.each([
    ["NOOP", /^250 2\.0\.0/],
    ["noop with words", /^250 2\.0\.0/],
    ["HELP", /^214 2\.0\.0/],
    ["VRFY bob", /^252 2\.5\.0/],
    ["VRFY", /^501 5\.5\.4/],
    ["EXPN list", /^502 5\.5\.1/],
    ["RSET", /^250 2\.0\.0/],
    ["RSET now", /^501 5\.5\.4/],
    ["FOO", /^500 5\.5\.2/],
    ["", /^500 5\.5\.2/],
    ["WIZ", /^500 5\.5\.2/],
    ["SHELL", /^500 5\.5\.2/],
    ["KILL", /^500 5\.5\.2/],
    ["XCLIENT ADDR=192.0.2.1", /^500 5\.5\.2/],
    ["XFORWARD ADDR=192.0.2.1", /^500 5\.5\.2/],
    ["PROXY TCP4 192.0.2.1 192.0.2.2 1 25", /^500 5\.5\.2/],
    ["LHLO host", /^502 5\.5\.1/],
    ["ETRN x", /^502 5\.5\.1/],
    ["BDAT 10 LAST", /^502 5\.5\.1/],
    ["TURN", /^502 5\.5\.1/],
    ["DATA now", /^501 5\.5\.4/],
    ["RCPT TO:<b@c.test>", /^503 5\.5\.1/],
    ["DATA", /^503 5\.5\.1/],
    ["MAIL FROM:<a@b.test> FOO=1", /^555 5\.5\.4/],
    ["MAIL FROM:a@b.test", /^501 5\.5\.4/],
    ["STARTTLS now", /^501 5\.5\.4/],
    ["NO\rOP", /^500 5\.5\.2/],
    ["NO\0OP", /^500 5\.5\.2/],
    ["MAIL FROM:<\xff@b.test> SMTPUTF8", /^501 5\.5\.2/],
    ["MAIL FROM:<\xc3\xbc@b.test>", /^550 5\.6\.7/],
    [`NOOP ${"x".repeat(3000)}`, /^500 5\.5\.2/],
    [`NOOP ${"x".repeat(10_000)}`, /^500 5\.5\.2/],
    [`NOOP ${"x".repeat(100_000)}`, /^500 5\.5\.2/],
  ])("%j", async (line, reply) => {
    await using client = await world.client();
    // The next command is answered too: the line was read to its end, no more and no less.
    const [first, second] = await client.pipeline(line, "NOOP");
    expect(first).toMatch(reply);
    expect(second).toBe("250 2.0.0 Ok");
  });

  test("a command that a bare LF ends is refused, and nothing behind it runs", async () => {
    await using client = await world.client();
    client.send("MAIL FROM:<a@b.test>\nRCPT TO:<b@c.test>\r\nRCPT TO:<b@c.test>\r\n");
    expect(await client.replies(2)).toEqual([expect.stringMatching(/^500 5\.5\.2 bare LF/), expect.stringMatching(/^503/)]);
  });

  test("a person with LF only is told at once", async () => {
    await using client = await RawClient.greeted({ port: world.port() }, "");
    client.send("EHLO me\n");
    expect((await client.reply()).text).toMatch(/^500 5\.5\.2 bare LF/);
  });

  test("MAIL without EHLO, second MAIL, RCPT after RSET: 503", async () => {
    await using client = await RawClient.greeted({ port: world.port() }, "");
    expect(await client.command("MAIL FROM:<a@b.test>")).toMatch(/^503 5\.5\.1/);
    await client.command("EHLO x");
    expect(await client.pipeline("MAIL FROM:<a@b.test>", "MAIL FROM:<c@d.test>", "RSET", "RCPT TO:<b@c.test>")).toEqual([
      "250 2.1.0 Ok",
      expect.stringMatching(/^503 5\.5\.1/),
      "250 2.0.0 Ok",
      expect.stringMatching(/^503 5\.5\.1/),
    ]);
  });

  test("EHLO ends the transaction", async () => {
    await using client = await world.client();
    await client.pipeline("MAIL FROM:<a@b.test>", "RCPT TO:<b@c.test>");
    await client.command("EHLO again");
    expect(await client.command("DATA")).toMatch(/^503/);
  });

  test("commands in any case, local parts in theirs", async () => {
    await using client = await world.client();
    expect(await client.pipeline("mail from:<A@x.test>", "Rcpt To:<BOB@Example.Test>", "data")).toEqual([
      "250 2.1.0 Ok",
      "250 2.1.5 Ok",
      expect.stringMatching(/^354/),
    ]);
    client.send(`${MESSAGE}\r\n.\r\n`);
    await client.reply();
    expect(world.store.last.message).toMatchObject({
      sender: "A@x.test",
      recipients: [{ address: "BOB@example.test", nextHop: "example.test" }],
    });
  });

  test("QUIT gives 221 and closes; nothing behind it runs", async () => {
    await using client = await world.client();
    client.send("QUIT\r\nMAIL FROM:<a@b.test>\r\n");
    expect(await client.ended()).toMatch(/\r\n221 2\.0\.0 Bye\r\n$/);
  });

  test("a browser's request ends the connection before its body is read", async () => {
    await using client = await RawClient.greeted({ port: world.port() }, "");
    const body = "EHLO x\r\nMAIL FROM:<a@b.test>\r\n";
    client.send(`POST / HTTP/1.1\r\nHost: localhost\r\n\r\n${body}`);
    expect(await client.ended()).toBe("220 relay.test ESMTP Postern\r\n421 4.7.0 this is no web server\r\n");
  });
});

describe("pipelining", () => {
  test("everything in one segment: answered in order, nothing lost", async () => {
    await using client = await RawClient.greeted({ port: world.port() }, "");
    const before = world.store.kept.length;
    const one = (n: number) => `MAIL FROM:<a${n}@b.test>\r\nRCPT TO:<x@y.test>\r\nDATA\r\nSubject: ${n}\r\n\r\nbody ${n}\r\n.\r\n`;
    client.send(`EHLO x\r\n${Array.from({ length: 50 }, (_, n) => one(n)).join("")}NOOP\r\nQUIT\r\n`);
    await client.reply();
    const replies = await client.replies(4 * 50 + 2);
    expect(replies.filter((reply) => reply.startsWith("250 2.0.0 Ok: queued as "))).toHaveLength(50);
    expect(replies.slice(-2)).toEqual(["250 2.0.0 Ok", "221 2.0.0 Bye"]);
    expect(world.store.kept.slice(before).map(({ message }) => message.sender)).toEqual(
      Array.from({ length: 50 }, (_, n) => `a${n}@b.test`),
    );
  });

  test("replies to one segment come in one write", async () => {
    await using client = await world.client();
    const segments: string[] = [];
    client.socket.on("data", (octets) => segments.push(octets.toString()));
    await client.pipeline(...Array.from({ length: 20 }, () => "NOOP"));
    expect(segments).toHaveLength(1);
  });

  test("1000 recipients in a group", async () => {
    await using client = await world.client();
    const recipients = Array.from({ length: 1000 }, (_, n) => `RCPT TO:<r${n}@example.test>`);
    const replies = await client.pipeline("MAIL FROM:<a@b.test>", ...recipients);
    expect(replies.slice(1).every((reply) => reply === "250 2.1.5 Ok")).toBe(true);
  });
});

test("every reply but greeting and EHLO has an enhanced status of its class, the same on every line", async () => {
  await using client = await world.client();
  const lines = [
    "NOOP",
    "HELP",
    "VRFY a",
    "EXPN a",
    "FOO",
    "BDAT 1",
    "RCPT TO:<b@c.test>",
    "DATA",
    "AUTH PLAIN",
    "AUTH FOO",
    "MAIL FROM:<a@b.test> X=1",
    "MAIL FROM:a",
    "MAIL FROM:<a@b.test> SIZE=9999999",
  ];
  await client.pipeline(
    ...lines,
    "MAIL FROM:<a@b.test>",
    "MAIL FROM:<a@b.test>",
    "DATA",
    "RCPT TO:<>",
    "RCPT TO:<b>",
    "RCPT TO:<b@c.test>",
    "RSET",
    "STARTTLS x",
  );
  await client.submit("no header\r\n");
  await client.submit(MESSAGE);
  await client.command("QUIT");
  const afterEhlo = client.received.slice(client.received.indexOf("250 ENHANCEDSTATUSCODES\r\n") + 25);
  const replies = afterEhlo.split("\r\n").filter((line) => line !== "" && !line.startsWith("3"));
  expect(replies.length).toBeGreaterThan(25);
  for (const line of replies) expect(line).toMatch(/^([245])\d\d[ -]\1\.\d{1,3}\.\d{1,3} [ -~]+$/);
});

test("unknown commands do not close the connection, until there are too many", async () => {
  await using strict = await World.open({ submission: { limits: { badCommands: 5 } } });
  await using client = await strict.client();
  expect(await client.pipeline("A", "B", "C", "D")).toEqual(Array.from({ length: 4 }, () => "500 5.5.2 command not recognized"));
  expect(await client.submit(MESSAGE)).toMatch(/^250/); // a message accepted starts the count anew
  client.send("A\r\nB\r\nC\r\nD\r\nE\r\nNOOP\r\n");
  expect(await client.ended()).toMatch(/500 5\.5\.2 command not recognized\r\n421 4\.7\.0 too many errors\r\n$/);
});

test("a client that may not send has only so much to say", async () => {
  await using client = await world.client({ from: "127.0.0.2" });
  client.send("NOOP\r\n".repeat(150));
  const text = await client.ended();
  expect(text.split("250 2.0.0 Ok").length - 1).toBe(99); // and EHLO
  expect(text).toMatch(/421 4\.7\.0 too many commands without a login\r\n$/);
});
