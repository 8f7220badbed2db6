import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hashPassword } from "../../src/submission/password.ts";
import { systemClock } from "../../src/clock.ts";
import { RawClient } from "../support/raw-client.ts";
import { MESSAGE, plain, World } from "./world.ts";

const quick = { failureDelay: "0s", failuresPerConnection: 100, failuresPerAddress: 1000 };
const users = [
  { name: "alice", password: "secret" },
  { name: "carol", password: "carols", maySendAs: ["carol@sender.test"] },
];
const base64 = (text: string) => Buffer.from(text).toString("base64");

let world: World;
beforeAll(async () => {
  world = await World.open({ users, submission: { login: quick, limits: { badCommands: 1000 } } });
});
afterAll(() => world[Symbol.asyncDispose]());

describe("where AUTH is offered", () => {
  test("not in the clear; asked for there: 538", async () => {
    await using client = await world.client();
    expect(client.received).not.toContain("AUTH");
    expect(await client.command(`AUTH PLAIN ${plain("alice", "secret")}`)).toMatch(/^538 5\.7\.11/);
  });

  test("inside TLS, PLAIN and LOGIN", async () => {
    await using client = await world.tlsClient();
    expect(client.received).toMatch(/250-AUTH PLAIN LOGIN\r\n/);
  });

  test("not where nobody has a login, until somebody does", async () => {
    await using empty = await World.open();
    await using client = await empty.tlsClient();
    expect(client.received).not.toContain("AUTH");
    expect(await client.command(`AUTH PLAIN ${plain("a", "b")}`)).toMatch(/^502 5\.5\.1/);
    await empty.users.save({ name: "bob", passwordHash: await hashPassword("pw"), maySendAs: [], createdAt: 0 });
    await empty.submission.usersChanged();
    expect(await client.command("EHLO x")).toContain("AUTH PLAIN LOGIN");
    expect(await client.command(`AUTH PLAIN ${plain("bob", "pw")}`)).toMatch(/^235 2\.7\.0/);
  });

  test("not without a certificate, whatever users there are", async () => {
    await using clear = await World.open({ users, certificate: "none" });
    await using client = await clear.client();
    expect(client.received).not.toMatch(/AUTH|STARTTLS/);
    expect(await client.command("AUTH LOGIN")).toMatch(/^502 5\.5\.1/);
  });
});

describe("the dialogue", () => {
  const success: [name: string, lines: string[], replies: RegExp[]][] = [
    ["PLAIN with initial response", [`AUTH PLAIN ${plain("alice", "secret")}`], [/^235 2\.7\.0/]],
    ["PLAIN in any case", [`auth plain ${plain("alice", "secret")}`], [/^235/]],
    ["PLAIN with a challenge of one blank", ["AUTH PLAIN", plain("alice", "secret")], [/^334 $/, /^235/]],
    ["PLAIN acting for itself", [`AUTH PLAIN ${plain("alice", "secret", "alice")}`], [/^235/]],
    ["LOGIN", ["AUTH LOGIN", base64("alice"), base64("secret")], [/^334 VXNlcm5hbWU6$/, /^334 UGFzc3dvcmQ6$/, /^235/]],
    ["LOGIN with the name at once", [`AUTH LOGIN ${base64("alice")}`, base64("secret")], [/^334 UGFzc3dvcmQ6$/, /^235/]],
  ];
  const failure: typeof success = [
    ["wrong password", [`AUTH PLAIN ${plain("alice", "wrong")}`], [/^535 5\.7\.8/]],
    ["unknown user", [`AUTH PLAIN ${plain("mallory", "secret")}`], [/^535 5\.7\.8/]],
    ["acting for another", [`AUTH PLAIN ${plain("alice", "secret", "bob")}`], [/^535 5\.7\.8/]],
    ["unknown mechanism", ["AUTH CRAM-MD5"], [/^504 5\.5\.4/]],
    ["XOAUTH2 is off", [`AUTH XOAUTH2 ${base64("user=x")}`], [/^504 5\.5\.4/]],
    ["XCLIENT is no mechanism", ["AUTH XCLIENT alice"], [/^504 5\.5\.4/]],
    ["no mechanism", ["AUTH"], [/^501 5\.5\.4/]],
    ["too many words", [`AUTH PLAIN ${plain("alice", "secret")} more`], [/^501 5\.5\.4/]],
    ["cancelled", ["AUTH PLAIN", "*"], [/^334 $/, /^501 5\.7\.0/]],
    ["LOGIN cancelled at the password", ["AUTH LOGIN", base64("alice"), "*"], [/^334/, /^334/, /^501/]],
    ["bad base64", ["AUTH PLAIN =AAA"], [/^501 5\.5\.2/]],
    ["padding in the middle", ["AUTH PLAIN AAA=BBB"], [/^501 5\.5\.2/]],
    ["bad base64 as a response", ["AUTH PLAIN", "AAA BBB"], [/^334/, /^501 5\.5\.2/]],
    ["an empty initial response", ["AUTH PLAIN ="], [/^501 5\.5\.2/]],
    ["a PLAIN message without its NULs", [`AUTH PLAIN ${base64("alice")}`], [/^501 5\.5\.2/]],
    ["a command where a response belongs", ["AUTH LOGIN", "MAIL FROM:<a@b.test>"], [/^334/, /^501 5\.5\.2/]],
  ];
  for (const [name, lines, replies] of [...success, ...failure])
    test(name, async () => {
      await using client = await world.tlsClient();
      for (const [at, line] of lines.entries()) expect(await client.command(line)).toMatch(replies[at] ?? /never/);
      expect(await client.command("NOOP")).toBe("250 2.0.0 Ok");
    });

  test("responses of 12288 octets are taken, longer ones are 500 5.5.6 and end the dialogue", async () => {
    await using client = await world.tlsClient();
    await client.command("AUTH PLAIN");
    expect(await client.command("A".repeat(12_288))).toMatch(/^501 5\.5\.2 that is no PLAIN response/);
    await client.command("AUTH PLAIN");
    expect(await client.command("A".repeat(12_292))).toMatch(/^500 5\.5\.6/);
    expect(await client.command("NOOP")).toBe("250 2.0.0 Ok");
  });

  test("a second login, one in a transaction, one before EHLO: 503", async () => {
    await using client = await world.tlsClient();
    await client.command("MAIL FROM:<a@b.test>");
    expect(await client.command(`AUTH PLAIN ${plain("alice", "secret")}`)).toMatch(/^503 5\.5\.1/);
    await client.command("RSET");
    expect(await client.command(`AUTH PLAIN ${plain("alice", "secret")}`)).toMatch(/^235/);
    expect(await client.command(`AUTH PLAIN ${plain("alice", "secret")}`)).toMatch(/^503 5\.5\.1/);
    await using early = await world.client();
    await early.startTls(await world.tlsOptions());
    expect(await early.command(`AUTH PLAIN ${plain("alice", "secret")}`)).toMatch(/^503 5\.5\.1 say EHLO/);
  });

  test("RSET and EHLO do not forget a login", async () => {
    await using client = await world.tlsClient({ from: "127.0.0.2" });
    await client.command(`AUTH PLAIN ${plain("alice", "secret")}`);
    await client.pipeline("MAIL FROM:<alice@sender.test>", "RSET");
    expect(await client.command("EHLO again")).not.toContain("AUTH");
    expect(await client.submit(MESSAGE)).toMatch(/^250 2\.0\.0/);
    expect(world.store.last.text).toMatch(/with ESMTPSA id/);
    expect(world.store.last.message.origin).toMatchObject({
      submitter: "user:alice",
      user: "alice",
      tls: expect.stringMatching(/^TLSv1\.3 TLS_/) as string,
    });
  });

  test("a temporary failure of the check is 454 4.7.0", async () => {
    let now = 0;
    const clock = { ...systemClock, monotonic: () => systemClock.monotonic() + now };
    await using broken = await World.open({ users, clock });
    await using client = await broken.tlsClient();
    broken.users.failure = new Error("disk on fire");
    now = 20_000;
    expect(await client.command(`AUTH PLAIN ${plain("bob", "x")}`)).toMatch(/^454 4\.7\.0/);
    expect(broken.kinds("fault").length).toBe(1);
  });
});

describe("who may send what", () => {
  test("a stranger without login: 530, with login: 250", async () => {
    await using client = await world.tlsClient({ from: "127.0.0.2" });
    expect(await client.command("MAIL FROM:<a@b.test>")).toBe("530 5.7.0 login needed: 127.0.0.2 is not in MYNETWORKS. [relay/auth]");
    await client.command(`AUTH PLAIN ${plain("alice", "secret")}`);
    expect(await client.command("MAIL FROM:<a@b.test>")).toBe("250 2.1.0 Ok");
  });

  test("a blank after the colon: from whom we know only", async () => {
    await using friend = await world.client();
    expect(await friend.command("MAIL FROM: <a@b.test>")).toMatch(/^250/);
    expect(await friend.command("RCPT TO: <a@b.test>")).toMatch(/^250/);
  });

  test("a user with addresses of their own sends as those only, and as <>", async () => {
    await using client = await world.tlsClient();
    await client.command(`AUTH PLAIN ${plain("carol", "carols")}`);
    expect(await client.command("MAIL FROM:<dave@sender.test>")).toMatch(/^550 5\.7\.1 user carol may not send as dave@sender\.test/);
    expect(await client.pipeline("MAIL FROM:<Carol@sender.test>", "RSET", "MAIL FROM:<>")).toEqual([
      "250 2.1.0 Ok",
      "250 2.0.0 Ok",
      "250 2.1.0 Ok",
    ]);
    expect(world.kinds("command-rejected").at(-1)).toMatchObject({ command: "MAIL", user: "carol", argument: "FROM:<dave@sender.test>" });
  });

  test("where login is asked, a trusted network is not enough", async () => {
    await using strict = await World.open({
      users,
      submission: { listeners: [{ name: "smtp", address: "127.0.0.1", port: 0, tls: "starttls", login: "required" }] },
    });
    await using client = await strict.tlsClient();
    expect(await client.command("MAIL FROM:<a@b.test>")).toMatch(/^530 5\.7\.0 login needed: listener smtp/);
    await client.command(`AUTH PLAIN ${plain("alice", "secret")}`);
    expect(await client.submit(MESSAGE)).toMatch(/^250/);
  });

  test("lists of sender and recipient domains", async () => {
    await using fenced = await World.open({
      submission: { senderDomains: ["sender.test", ".corp.test"], recipientDomains: ["example.test"] },
    });
    await using client = await fenced.client();
    expect(await client.command("MAIL FROM:<a@other.test>")).toBe(
      "550 5.7.1 sender domain other.test is not in ALLOWED_SENDER_DOMAINS (sender.test, .corp.test). Add it. [relay/sender]",
    );
    expect(
      await client.pipeline("MAIL FROM:<>", "RSET", "MAIL FROM:<a@x.corp.test>", "RCPT TO:<b@gmail.test>", "RCPT TO:<b@example.test>"),
    ).toEqual([
      "250 2.1.0 Ok",
      "250 2.0.0 Ok",
      "250 2.1.0 Ok",
      "554 5.7.1 recipient domain gmail.test is outside ALLOWED_RECIPIENT_DOMAINS. [relay/recipients]",
      "250 2.1.5 Ok",
    ]);
  });

  const from: [name: string, field: string, reply: RegExp][] = [
    ["an own address", "From: Carol <carol@sender.test>\r\n", /^250/],
    ["another's", "From: Dave <dave@sender.test>\r\n", /^550 5\.7\.1 user carol may not send as dave@sender\.test/],
    ["another's beside the own", "From: carol@sender.test, dave@sender.test\r\n", /^550 5\.7\.1/],
    ["another's with the own as its name", 'From: "carol@sender.test" <dave@sender.test>\r\n', /^550 5\.7\.1/],
    ["none", "", /^554 5\.6\.0/],
    ["two", "From: carol@sender.test\r\nFrom: dave@sender.test\r\n", /^554 5\.6\.0/],
    ["an unreadable one", "From: carol\r\n", /^554 5\.6\.0/],
  ];
  for (const [name, field, reply] of from)
    test(`checkFromHeader: ${name}`, async () => {
      await using checking = await World.open({ users, submission: { checkFromHeader: true } });
      await using client = await checking.tlsClient();
      await client.command(`AUTH PLAIN ${plain("carol", "carols")}`);
      expect(await client.submit(`Subject: x\r\n${field}\r\nbody`, { from: "carol@sender.test" })).toMatch(reply);
    });
});

describe("devices that must log in", () => {
  const anything = { submission: { login: { ...quick, acceptAnyFromNetworks: true } }, users };
  test("from the networks any name and password will do, and means nobody", async () => {
    await using world_ = await World.open(anything);
    await using client = await world_.tlsClient();
    expect(await client.command(`AUTH PLAIN ${plain("printer", "x")}`)).toMatch(/^235/);
    expect(await client.submit(MESSAGE)).toMatch(/^250/);
    expect(world_.store.last.message.origin).toMatchObject({ submitter: "net:127.0.0.1" });
    expect(world_.store.last.message.origin).not.toHaveProperty("user");
    expect(world_.store.last.text).toContain("with ESMTPS id");
  });

  test("in the clear no password is asked for, and none is taken", async () => {
    await using world_ = await World.open(anything);
    await using client = await world_.client();
    expect(client.received).not.toContain("AUTH");
    expect(await client.command(`AUTH PLAIN ${plain("printer", "x")}`)).toMatch(/^538/);
    expect(await client.command(`AUTH PLAIN ${plain("carol", "carols")}`)).toMatch(/^538/);
    expect(world_.kinds("login-succeeded")).toEqual([]);
  });

  test("strangers gain nothing by it", async () => {
    await using world_ = await World.open(anything);
    await using client = await world_.client({ from: "127.0.0.2" });
    expect(client.received).not.toContain("AUTH");
    expect(await client.command(`AUTH PLAIN ${plain("printer", "x")}`)).toMatch(/^538/);
    await using secure = await world_.tlsClient({ from: "127.0.0.2" });
    expect(await secure.command(`AUTH PLAIN ${plain("printer", "x")}`)).toMatch(/^535/);
  });
});

describe("failed logins", () => {
  test("the third one ends the connection, whatever is in the pipe", async () => {
    await using world_ = await World.open({ users, submission: { login: { failureDelay: "0s" } } });
    await using client = await world_.tlsClient();
    client.send(`AUTH PLAIN ${plain("alice", "no")}\r\n`.repeat(500));
    const text = await client.ended();
    expect(text.match(/^535 5\.7\.8/gm)).toHaveLength(3);
    expect(text).toMatch(/535 5\.7\.8 wrong user name or password\r\n421 4\.7\.0 too many failed logins\r\n$/);
    expect(world_.kinds("login-failed")).toHaveLength(3);
  });

  test("are answered no sooner than the delay says", async () => {
    const started: number[] = [];
    // Time stands still, so that the whole delay is left however long the hash takes.
    const clock = {
      ...systemClock,
      monotonic: () => 0,
      after: (delay: number, action: () => void) => (started.push(delay), systemClock.after(delay === 2000 ? 5 : delay, action)),
    };
    await using world_ = await World.open({ users, clock, submission: { login: { failureDelay: "2s" } } });
    await using client = await world_.tlsClient();
    started.length = 0;
    expect(await client.command(`AUTH PLAIN ${plain("alice", "no")}`)).toMatch(/^535/);
    expect(started.filter((delay) => delay === 2000)).toHaveLength(1);
  });

  test("ban a stranger's address at the door, and a neighbour's logins only", async () => {
    const login = { failureDelay: "0s", failuresPerConnection: 100, failuresPerAddress: 3 };
    await using world_ = await World.open({ users, submission: { login } });
    for (const from of ["127.0.0.2", "127.0.0.1"]) {
      const client = await world_.tlsClient({ from });
      client.send(`AUTH PLAIN ${plain("alice", "no")}\r\n`.repeat(3));
      expect(await client.ended()).toMatch(/421 4\.7\.0 too many failed logins from your address, come back later\r\n$/);
    }
    expect(world_.kinds("login-failed").at(-1)).toMatchObject({ bannedUntil: expect.any(Number) as number });
    const stranger = await RawClient.open({ port: world_.port(), from: "127.0.0.2" });
    expect(await stranger.ended()).toMatch(/^421 4\.7\.0/);
    const other = await RawClient.greeted({ port: world_.port(), from: "127.0.0.3" });
    expect(await other.command("NOOP")).toMatch(/^250/);
    await using neighbour = await world_.tlsClient();
    expect(await neighbour.submit(MESSAGE)).toMatch(/^250/);
    neighbour.send(`AUTH PLAIN ${plain("alice", "secret")}\r\n`);
    expect(await neighbour.ended()).toMatch(/421 4\.7\.0/);
    other.vanish();
  });
});

test("no event holds a password, a hash or a response", async () => {
  await using world_ = await World.open({ users, submission: { login: quick } });
  await using client = await world_.tlsClient();
  for (const line of [
    `AUTH PLAIN ${plain("alice", "hunter2-wrong")}`,
    "AUTH LOGIN",
    base64("alice"),
    base64("hunter2-login"),
    `AUTH PLAIN ${plain("alice", "secret")}`,
  ])
    await client.command(line);
  await client.submit(MESSAGE);
  const log = JSON.stringify(world_.events);
  for (const secret of ["hunter2", base64("hunter2-login"), "secret", "scrypt$", plain("alice", "secret")])
    expect(log).not.toContain(secret);
  expect(log).not.toContain("Hello"); // nor the message
});
