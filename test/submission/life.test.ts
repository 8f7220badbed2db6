import { connect, createServer } from "node:net";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { settled } from "../support/moved-clock.ts";
import { RawClient } from "../support/raw-client.ts";
import { makeSettings, MESSAGE, plain, World } from "./world.ts";

const users = [{ name: "alice", password: "secret" }];

describe("starting", () => {
  test("tells the ports it took", async () => {
    await using world = await World.open();
    expect(world.submission.listeners).toEqual([
      { name: "smtp", address: "127.0.0.1", port: expect.any(Number) as number, tls: "starttls" },
      { name: "submissions", address: "127.0.0.1", port: expect.any(Number) as number, tls: "implicit" },
    ]);
  });

  test("a port that is taken is named, and the others are closed again", async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const { port } = other.address() as { port: number };
    const probe = createServer();
    await new Promise<void>((resolve) => probe.listen(0, "127.0.0.1", resolve));
    const free = (probe.address() as { port: number }).port;
    await new Promise((resolve) => probe.close(resolve));
    const listeners = [
      { name: "first", address: "127.0.0.1", port: free, tls: "off" },
      { name: "second", address: "127.0.0.1", port, tls: "off" },
    ];
    await expect(World.open({ submission: { listeners } })).rejects.toThrow(
      `submission listener second: cannot listen on 127.0.0.1 port ${port}: something else listens there`,
    );
    const refused = await new Promise<string>((resolve) =>
      connect(free, "127.0.0.1")
        .once("error", (error) => resolve(error.message))
        .once("connect", () => resolve("open")),
    );
    expect(refused).toContain("ECONNREFUSED");
    other.close();
  });

  test.each([
    [{ networks: ["10.0.0.0/99"] }, /submission\.networks: not a network/],
    [{ senderDomains: ["no domain"] }, /submission\.senderDomains/],
    [{ recipientDomains: ["-"] }, /submission\.recipientDomains/],
    [{ postmaster: "nobody" }, /submission\.postmaster/],
  ])("%j is refused with the key's name", async (submission, message) => expect(World.open({ submission })).rejects.toThrow(message));

  test("other machines that may send as anybody are worth a warning", async () => {
    await using world = await World.open({ submission: { networks: ["127.0.0.1", "10.0.0.0/8"] } });
    expect(world.kinds("notice")).toContainEqual({
      kind: "notice",
      level: "warn",
      text: "submission.senderDomains is empty: other machines may send as anybody",
    });
  });

  test("an IPv6 socket knows IPv4 clients by their own address", async () => {
    await using world = await World.open({ submission: { listeners: [{ name: "smtp", address: "::", port: 0, tls: "off" }] } });
    await using client = await RawClient.greeted({ port: world.port() });
    expect(await client.submit(MESSAGE)).toMatch(/^250/);
    expect(world.store.last.message.origin.clientAddress).toBe("127.0.0.1");
    expect(world.store.last.text).toContain("([127.0.0.1])");
  });

  test("the gateway of a container's network is turned away by name", async () => {
    await using world = await World.open({
      submission: { networks: ["auto"] },
      io: {
        // Loopback addresses stand for a container's network here: nothing else can be dialled from in a test.
        interfaces: () => ({ eth0: [{ address: "10.1.2.3", netmask: "", mac: "", family: "IPv4", internal: false, cidr: "10.1.2.3/24" }] }),
        surroundings: { container: true, hostNetworking: false, gateways: ["10.1.2.1"] },
      },
    });
    expect(world.kinds("notice")).toContainEqual(
      expect.objectContaining({ text: "networks: 10.1.2.0/24 may relay, its gateway 10.1.2.1 may not" }),
    );
  });
});

describe("reload", () => {
  test("networks, lists, limits and users hold at once, for open sessions too", async () => {
    await using world = await World.open({ users });
    await using client = await world.client({ from: "127.0.0.2" });
    await using friend = await world.client();
    expect(await client.command("MAIL FROM:<a@b.test>")).toMatch(/^530/);
    const changed = await world.reload({ networks: ["127.0.0.2"], senderDomains: ["sender.test"], limits: { messageSize: "1K" } }, [
      { name: "bob", password: "pw" },
    ]);
    expect(changed).toEqual(
      ["submission.senderDomains", "submission.limits", "users", "submission.networks"].sort(
        (a, b) => changed.indexOf(a) - changed.indexOf(b),
      ),
    );
    expect(await client.command("MAIL FROM:<a@b.test>")).toMatch(/^550 5\.7\.1/);
    expect(await client.command("MAIL FROM:<a@sender.test> SIZE=2000")).toMatch(/^552/);
    expect(await client.command("MAIL FROM:<a@sender.test>")).toMatch(/^250/);
    expect(await friend.command("MAIL FROM:<a@sender.test>")).toMatch(/^530/);
    await using tls = await world.tlsClient({ from: "127.0.0.3" });
    expect(await tls.command(`AUTH PLAIN ${plain("alice", "secret")}`)).toMatch(/^535/);
    expect(await tls.command(`AUTH PLAIN ${plain("bob", "pw")}`)).toMatch(/^235/);
  });

  test("of the same changes nothing, and rates go on counting", async () => {
    await using world = await World.open({ submission: { limits: { messagesPerMinutePerAddress: 1 } } });
    await using client = await world.client();
    await client.submit(MESSAGE);
    expect(await world.reload({})).toEqual([]);
    expect(await client.command("MAIL FROM:<a@b.test>")).toMatch(/^451/);
  });

  test("with something wrong changes nothing at all", async () => {
    await using world = await World.open({ users });
    await expect(world.reload({ senderDomains: ["other.test"], networks: ["nonsense"] })).rejects.toThrow(/submission\.networks/);
    await expect(world.reload({ senderDomains: ["other.test"] }, [{ name: "x", password: "scrypt$bad" }])).rejects.toThrow(/users/);
    await using client = await world.client();
    expect(await client.submit(MESSAGE)).toMatch(/^250/);
  });

  test("of listeners takes a restart: the open ones stay", async () => {
    await using world = await World.open();
    const before = world.submission.listeners;
    await world.reload({ listeners: [{ name: "smtp", address: "127.0.0.1", port: 1, tls: "off" }] });
    expect(world.submission.listeners).toEqual(before);
    await using client = await world.client();
    expect(await client.submit(MESSAGE)).toMatch(/^250/);
  });

  test("of the relay's name and of how long mail waits holds for what comes next", async () => {
    await using world = await World.open();
    const settings = makeSettings(world.base, world.wishes.users);
    const week = 7 * 86_400_000;
    await world.submission.reload(settings.submission, settings.users, {
      mailname: "other.test",
      giveUpAfter: week,
      giveUpAfterNullSender: week,
    });
    await using client = await world.client();
    expect(client.received).toContain("220 other.test ESMTP Postern");
    await client.submit(MESSAGE);
    const { expiresAt, receivedAt } = world.store.last.message;
    expect(expiresAt - receivedAt).toBe(week);
    expect(world.store.last.text).toContain("by other.test (Postern)");
  });
});

describe("stopping", () => {
  test("no new clients, while the old go on", async () => {
    await using world = await World.open();
    await using client = await world.client();
    world.submission.stopAccepting();
    await expect(RawClient.open({ port: world.port() })).rejects.toThrow();
    expect(await client.submit(MESSAGE)).toMatch(/^250/);
  });

  test("idle clients hear 421 4.3.2 at once, a transaction may end first", async () => {
    const world = await World.open({ users });
    const idle = await world.client();
    const tls = await world.tlsClient();
    const busy = await world.client();
    await busy.pipeline("MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA");
    let closed = false;
    const closing = world.submission.close(60_000).then(() => (closed = true));
    for (const client of [idle, tls])
      expect(await client.ended()).toMatch(/421 4\.3\.2 this relay is stopping, try again in a moment\r\n$/);
    await settled();
    expect(closed).toBe(false);
    busy.send(`${MESSAGE}\r\n.\r\nMAIL FROM:<next@b.test>\r\n`);
    expect(await busy.ended()).toMatch(/250 2\.0\.0 Ok: queued as 0TEST00001\r\n421 4\.3\.2 [^\r]*\r\n$/);
    for (const client of [idle, tls, busy]) client.vanish();
    await closing;
  });

  test("when the grace is over a transaction is cut, but what the store has is still answered", async () => {
    const world = await World.open();
    const slow = await world.client();
    await slow.pipeline("MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA");
    slow.send("A: b\r\n\r\n");
    const storing = await world.client();
    let open: () => void = () => {};
    world.store.gate = new Promise<void>((resolve) => (open = resolve));
    await storing.pipeline("MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA");
    storing.send(`${MESSAGE}\r\n.\r\n`);
    while (world.store.enqueued === 0) await settled();
    const closing = world.submission.close(20);
    expect(await slow.ended()).toMatch(/354 [^\r]*\r\n421 4\.3\.2/);
    open();
    expect(await storing.ended()).toMatch(/250 2\.0\.0 Ok: queued as \w+\r\n421 4\.3\.2/);
    slow.vanish();
    storing.vanish();
    await closing;
    expect(world.store.kept).toHaveLength(1);
  });

  test("a client in the middle of a handshake does not keep us", async () => {
    const short = { ...systemClock, after: (delay: number, action: () => void) => systemClock.after(Math.min(delay, 100), action) };
    const world = await World.open({ clock: short, submission: { limits: { handshake: "1h", idle: "1h" } } });
    const silent = await RawClient.open({ port: world.port("submissions") });
    const upgrading = await world.client();
    await upgrading.command("STARTTLS");
    await world.submission.close(0);
    await Promise.all([silent.ended(), upgrading.ended()]);
  });

  test("twice is once", async () => {
    const world = await World.open();
    await Promise.all([world.submission.close(0), world.submission.close(0)]);
  });
});

test("a fault while a message is read, or after it was stored, ends no process either", async () => {
  let broken = true;
  const events: string[] = [];
  await using world = await World.open({
    io: {
      random: () => {
        throw new Error("no chance");
      },
      accepted: () => {
        events.push("accepted");
        if (broken) throw new Error("no delivery");
      },
    },
  });
  await using victim = await world.client();
  await victim.pipeline("MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA");
  victim.send("Subject: needs a Message-ID\r\n\r\nbody\r\n.\r\nNOOP\r\n");
  expect(await victim.ended()).toMatch(/354 [^\r]*\r\n421 4\.3\.0 something went wrong here, try again later\r\n$/);
  await using other = await world.client();
  expect(await other.submit(MESSAGE)).toMatch(/^250/); // stored is stored
  broken = false;
  expect(await other.submit(MESSAGE)).toMatch(/^250/);
  expect(world.kinds("fault")).toHaveLength(2);
  expect(world.store.kept).toHaveLength(2);
});

test("a client that closes its side behind the last command hears the answers", async () => {
  await using world = await World.open();
  let open: () => void = () => {};
  world.store.gate = new Promise<void>((resolve) => (open = resolve));
  for (const name of ["smtp", "submissions"]) {
    await using client = await RawClient.open({ port: world.port(name), ...(name === "submissions" && { tls: await world.tlsOptions() }) });
    client.send(`EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n${MESSAGE}\r\n.\r\n`);
    client.socket.end();
    while (world.store.enqueued === 0) await settled();
    for (let round = 0; round < 10; round++) await settled();
    open();
    expect(await client.ended()).toMatch(/354 [^\r]*\r\n250 2\.0\.0 Ok: queued as \w+\r\n$/);
  }
  expect(world.store.kept).toHaveLength(2);
});

test("one client's fault in our code is that client's loss only", async () => {
  const world = await World.open();
  await using victim = await world.client();
  await using other = await world.client();
  const { trouble } = world.store;
  world.store.trouble = () => {
    throw new Error("broken");
  };
  victim.send("MAIL FROM:<a@b.test>\r\nNOOP\r\n");
  expect(await victim.ended()).toMatch(/421 4\.3\.0 something went wrong here, try again later\r\n$/);
  world.store.trouble = trouble;
  expect(await other.submit(MESSAGE)).toMatch(/^250/);
  expect(world.kinds("fault")).toMatchObject([{ where: "submission", error: { message: "broken" } }]);
  await world.submission.close(0);
});
