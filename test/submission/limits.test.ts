import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import { Doors } from "../../src/submission/doors.ts";
import { TokenBuckets } from "../../src/submission/rates.ts";
import { MovedClock, settled } from "../support/moved-clock.ts";
import { RawClient } from "../support/raw-client.ts";
import { MESSAGE, plain, World } from "./world.ts";

const users = [{ name: "alice", password: "secret" }];

describe("buckets", () => {
  test("give so much at once and so much a time", async () => {
    const clock = new MovedClock();
    const buckets = new TokenBuckets(3, 60_000, clock);
    expect([1, 2, 3, 4].map(() => buckets.take("a"))).toEqual([true, true, true, false]);
    expect(buckets.take("b")).toBe(true);
    await clock.pass(20_000);
    expect([buckets.take("a"), buckets.take("a")]).toEqual([true, false]);
    await clock.pass(3_600_000);
    expect([1, 2, 3, 4].map(() => buckets.take("a"))).toEqual([true, true, true, false]);
  });

  test("of 0 have no limit, and forget the least used", () => {
    const clock = new MovedClock();
    const endless = new TokenBuckets(0, 60_000, clock);
    for (let n = 0; n < 1000; n++) expect(endless.take("a")).toBe(true);
    const small = new TokenBuckets(1, 60_000, clock, 2);
    small.take("a");
    small.take("b");
    small.take("c");
    expect(small.take("a")).toBe(true);
    expect(small.take("c")).toBe(false);
  });
});

describe("doors", () => {
  const limits = { connections: 3, connectionsPerAddress: 2, connectionsPerMinutePerAddress: 0 };
  test("count in all and per address, and a place is given back once", () => {
    const doors = new Doors(limits, new MovedClock());
    const first = doors.admit("a");
    doors.admit("a");
    expect(doors.admit("a")).toMatchObject({ admitted: false, reason: "connections-per-address" });
    doors.admit("b");
    expect(doors.admit("c")).toMatchObject({ admitted: false, reason: "connections" });
    if (first.admitted) {
      first.release();
      first.release();
    }
    expect(doors.inside).toBe(2);
    expect(doors.admit("c").admitted).toBe(true);
    expect(doors.admit("d").admitted).toBe(false);
  });
});

describe("connections", () => {
  test("above the limit per address hear 421 4.3.2, and a place that is free is taken", async () => {
    await using world = await World.open({ submission: { limits: { connectionsPerAddress: 2 } } });
    const one = await world.client();
    await using two = await world.client();
    const three = await RawClient.open({ port: world.port() });
    expect(await three.ended()).toBe("421 4.3.2 too many connections, try again in a moment\r\n");
    await using other = await world.client({ from: "127.0.0.2" });
    expect(await other.command("NOOP")).toMatch(/^250/);
    expect(world.kinds("client-refused")).toMatchObject([{ reason: "connections-per-address", client: "127.0.0.1" }]);
    await one.command("QUIT");
    await one.ended();
    one.vanish();
    for (;;) {
      const again = await RawClient.open({ port: world.port() });
      const { code } = await again.reply();
      again.vanish();
      if (code === 220) break;
    }
    expect(await two.command("NOOP")).toMatch(/^250/);
  });

  test("above the limit in all; handshakes that never end count too", async () => {
    await using world = await World.open({ submission: { limits: { connections: 2 } } });
    const silent = connect(world.port("submissions"), "127.0.0.1");
    const second = connect({ port: world.port("submissions"), host: "127.0.0.1", localAddress: "127.0.0.2" });
    await Promise.all([silent, second].map((socket) => new Promise((resolve) => socket.once("connect", resolve))));
    while ((await RawClient.open({ port: world.port(), from: "127.0.0.3" }).then((client) => client.ended())).startsWith("220"))
      await settled();
    expect(world.kinds("client-refused").at(-1)).toMatchObject({ reason: "connections" });
    silent.destroy();
    second.destroy();
  });

  test("STARTTLS gives its place back as well", async () => {
    await using world = await World.open({ submission: { limits: { connectionsPerAddress: 1 } } });
    for (let n = 0; n < 5; n++) {
      let client = await RawClient.open({ port: world.port() });
      while ((await client.reply()).code !== 220) {
        client.vanish();
        client = await RawClient.open({ port: world.port() });
      }
      await client.startTls(await world.tlsOptions());
      client.vanish();
    }
  });

  test("so does a handshake that fails", async () => {
    await using world = await World.open({ submission: { limits: { connectionsPerAddress: 1 } } });
    for (const listener of ["smtp", "submissions", "smtp", "submissions"]) {
      for (;;) {
        const client = await RawClient.open({ port: world.port(listener) });
        if (listener === "smtp") {
          if ((await client.reply()).code !== 220) {
            await client.ended();
            continue;
          }
          await client.command("STARTTLS");
        }
        client.send("this is no ClientHello at all, whatever it is\r\n");
        await client.ended();
        client.vanish();
        const failures = world
          .kinds("client-refused")
          .filter((event) => event.kind === "client-refused" && event.reason === "tls-handshake").length;
        if (failures > 0) break;
      }
      world.events.length = 0;
    }
  });

  test("within a minute", async () => {
    const clock = new MovedClock(Date.now());
    await using world = await World.open({ clock, submission: { limits: { connectionsPerMinutePerAddress: 2 } } });
    for (const code of [220, 220, 421]) {
      const client = await RawClient.open({ port: world.port() });
      expect((await client.reply()).code).toBe(code);
      client.vanish();
    }
    await clock.pass(60_000);
    await using later = await RawClient.open({ port: world.port() });
    expect((await later.reply()).code).toBe(220);
  });
});

describe("messages and recipients", () => {
  test("of one address within a minute", async () => {
    const clock = new MovedClock(Date.now());
    await using world = await World.open({ clock, submission: { limits: { messagesPerMinutePerAddress: 2 } } });
    await using client = await world.client();
    for (let n = 0; n < 2; n++) expect(await client.submit(MESSAGE)).toMatch(/^250/);
    expect(await client.command("MAIL FROM:<a@b.test>")).toMatch(/^451 4\.7\.1/);
    await clock.pass(30_000);
    expect(await client.command("MAIL FROM:<a@b.test>")).toMatch(/^250/);
  });

  test("of one user within a minute and an hour, wherever they are connected", async () => {
    await using world = await World.open({ users, submission: { limits: { messagesPerMinutePerUser: 2, recipientsPerHourPerUser: 3 } } });
    const one = await world.tlsClient();
    const two = await world.tlsClient();
    for (const client of [one, two]) await client.command(`AUTH PLAIN ${plain("alice", "secret")}`);
    expect(await one.submit(MESSAGE, { to: ["a@x.test", "b@x.test"] })).toMatch(/^250/);
    expect(await two.pipeline("MAIL FROM:<a@b.test>", "RCPT TO:<c@x.test>", "RCPT TO:<d@x.test>")).toEqual([
      "250 2.1.0 Ok",
      "250 2.1.5 Ok",
      expect.stringMatching(/^450 4\.7\.1/),
    ]);
    expect(await one.command("MAIL FROM:<a@b.test>")).toMatch(/^451 4\.7\.1/);
    one.vanish();
    two.vanish();
  });
});

describe("time", () => {
  test("five minutes of silence: 421 4.4.2", async () => {
    const clock = new MovedClock(Date.now());
    await using world = await World.open({ clock });
    await using client = await world.client();
    await clock.pass(4 * 60_000);
    expect(await client.command("NOOP")).toMatch(/^250/);
    await clock.pass(4 * 60_000 + 50_000);
    expect(await client.command("NOOP")).toMatch(/^250/);
    await clock.pass(5 * 60_000 + 15_000);
    expect(await client.ended()).toMatch(/421 4\.4\.2 you said nothing for too long\r\n$/);
  });

  test("a command that drips in octet by octet is silence", async () => {
    const clock = new MovedClock(Date.now());
    await using world = await World.open({ clock });
    await using client = await world.client();
    for (let minute = 0; minute < 6 && !client.isOver; minute++) {
      await client.sent("N");
      await clock.pass(60_000);
    }
    expect(await client.ended()).toMatch(/421 4\.4\.2/);
  });

  test("no session lasts longer than its limit, between messages", async () => {
    const clock = new MovedClock(Date.now());
    await using world = await World.open({ clock, submission: { limits: { session: "1h" } } });
    await using client = await world.client();
    for (let minute = 0; minute < 56; minute += 4) {
      await clock.pass(4 * 60_000);
      expect(await client.command("NOOP")).toMatch(/^250/);
    }
    await client.command("MAIL FROM:<a@b.test>");
    await clock.pass(4 * 60_000 + 15_000);
    expect(await client.command("RCPT TO:<c@d.test>")).toMatch(/^250/); // a transaction may end first
    await client.command("RSET");
    await clock.pass(15_000);
    expect(await client.ended()).toMatch(/421 4\.4\.2 this session has lasted too long\r\n$/);
  });

  test("a message that drips is cut off, however faithfully it drips", async () => {
    const clock = new MovedClock(Date.now());
    await using world = await World.open({ clock });
    await using client = await world.client();
    await client.pipeline("MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA");
    for (let second = 0; second < 180 && !client.isOver; second += 5) {
      await client.sent("X: y\r\n");
      await clock.pass(5000);
    }
    expect(await client.ended()).toMatch(/421 4\.4\.2 fewer than 200 octets a second came\r\n$/);
    expect(world.store.enqueued).toBe(0);
    expect(world.kinds("client-refused").at(-1)).toMatchObject({ reason: "too-slow" });
  });

  test("one that keeps the rate is not", async () => {
    const clock = new MovedClock(Date.now());
    await using world = await World.open({ clock });
    await using client = await world.client();
    await client.pipeline("MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA");
    client.send("A: b\r\n\r\n");
    for (let second = 0; second < 300; second += 5) {
      await client.sent(`${"x".repeat(600)}\r\n`.repeat(2));
      await settled();
      await clock.pass(5000);
    }
    client.send(".\r\n");
    expect((await client.reply()).text).toMatch(/^250/);
  });

  test("our own slowness is never the client's", async () => {
    const clock = new MovedClock(Date.now());
    await using world = await World.open({ clock });
    await using client = await world.client();
    let open: () => void = () => {};
    world.store.gate = new Promise<void>((resolve) => (open = resolve));
    let release: () => void = () => {};
    world.store.hold = () => new Promise<void>((resolve) => (release = resolve));
    await client.pipeline("MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA");
    await client.sent(`A: b\r\n\r\n${`${"x".repeat(98)}\r\n`.repeat(1000)}`);
    while (world.store.bodies[0]?.size !== 8192 && (world.store.bodies[0]?.size ?? 0) < 65_536) await settled();
    await clock.pass(3_600_000); // the store takes an hour for a block
    expect(client.isOver).toBe(false);
    world.store.hold = () => undefined;
    release();
    await settled();
    await clock.pass(15_000); // the client has a whole minute again
    expect(client.isOver).toBe(false);
    client.send(".\r\n");
    while (world.store.enqueued === 0) await settled();
    await clock.pass(3_600_000); // and another for the commit
    open();
    expect((await client.reply()).text).toMatch(/^250 2\.0\.0 Ok: queued/);
  });

  test("nor is the time that a login takes", async () => {
    const clock = new MovedClock(Date.now());
    await using world = await World.open({ clock, users });
    await using client = await world.tlsClient();
    await clock.pass(20_000); // so that the users are looked at again
    let open: ((users: []) => void) | undefined;
    world.users.list = () => new Promise((resolve) => (open = resolve));
    client.send(`AUTH PLAIN ${plain("bob", "x")}\r\n`);
    while (open === undefined) await settled();
    await clock.pass(3_600_000);
    expect(client.isOver).toBe(false);
    open([]);
    const reply = client.reply();
    let answered = false;
    void reply.then(() => (answered = true));
    while (!answered) await clock.pass(1000);
    expect((await reply).text).toMatch(/^535/);
  });

  test("without a rate, silence alone counts", async () => {
    const clock = new MovedClock(Date.now());
    await using world = await World.open({ clock, submission: { limits: { minimumRate: 0 } } });
    await using client = await world.client();
    await client.pipeline("MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA");
    for (let minute = 0; minute < 20; minute++) {
      await client.sent("X: y\r\n");
      await settled();
      await clock.pass(60_000);
    }
    expect(client.isOver).toBe(false);
    await clock.pass(6 * 60_000);
    expect(await client.ended()).toMatch(/421 4\.4\.2/);
  });

  test("timers go with their connection", async () => {
    const clock = new MovedClock(Date.now());
    await using world = await World.open({ clock });
    const before = clock.armed;
    const clients = await Promise.all([world.client(), world.client()]);
    expect(clock.armed).toBe(before + 2);
    for (const client of clients) client.vanish();
    while (clock.armed > before) await settled();
  });
});

test("a client that does not read its replies is not read from either, and loses nothing", async () => {
  await using world = await World.open({ submission: { limits: { badCommands: 1_000_000 } } });
  const socket = connect(world.port(), "127.0.0.1");
  await new Promise((resolve) => socket.once("connect", resolve));
  socket.pause();
  const count = 200_000;
  socket.write(`EHLO x\r\n${`MAIL FROM:<a@b.test> ${"X".repeat(40)}=1\r\n`.repeat(count)}QUIT\r\n`);
  const answered = () => world.kinds("command-rejected").length;
  let before = -1;
  for (let still = 0; still < 20; still++) {
    if (answered() !== before) still = 0;
    before = answered();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  // The kernel's buffers took some; without a limit all would be answered into our memory.
  expect(answered()).toBeLessThan(count * 0.75);
  let received = 0;
  socket.on("data", (octets) => {
    for (const octet of octets) if (octet === 0x0a) received += 1;
  });
  socket.resume();
  await new Promise((resolve) => socket.once("close", resolve));
  expect(answered()).toBe(count);
  expect(received).toBe(1 + 8 + count + 1);
});

test("a megabyte of stuffed dots, each on a line of its own", async () => {
  await using world = await World.open();
  await using client = await world.client();
  await client.pipeline("MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA");
  client.send(`A: b\r\n\r\n${"..\r\n".repeat(250_000)}.\r\n`);
  expect((await client.reply()).text).toMatch(/^250/);
  const text = world.store.last.body.toString("latin1");
  expect(text.slice(text.indexOf("\r\n\r\n") + 4)).toBe(".\r\n".repeat(250_000));
});
