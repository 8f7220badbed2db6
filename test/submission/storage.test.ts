import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { StorageFailed, StorageFull, type StorageTrouble } from "../../src/queue/store.ts";
import { settled } from "../support/moved-clock.ts";
import { MESSAGE, World } from "./world.ts";

const NO_ROOM = "452 4.3.1 disk under 200 MiB free, not accepting mail. [relay/disk]";
const UNWRITABLE = "452 4.3.1 the queue cannot be written, not accepting mail. [relay/storage]";

describe("a store in trouble", () => {
  test.each([
    ["full", NO_ROOM],
    ["reserve", NO_ROOM],
    ["failed", UNWRITABLE],
  ] as [StorageTrouble, string][])("%s: MAIL hears it before anything is sent", async (trouble, reply) => {
    await using world = await World.open();
    await using client = await world.client();
    world.store.troubled = trouble;
    expect(await client.command("MAIL FROM:<a@b.test>")).toBe(reply);
    world.store.troubled = undefined;
    expect(await client.submit(MESSAGE)).toMatch(/^250/);
  });

  test("that begins after MAIL: DATA hears it", async () => {
    await using world = await World.open();
    await using client = await world.client();
    await client.pipeline("MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>");
    world.store.troubled = "full";
    expect(await client.command("DATA")).toBe(NO_ROOM);
  });

  test.each([
    ["writeFailure", new StorageFull("x"), NO_ROOM],
    ["writeFailure", new StorageFailed("x"), "451 4.3.0"],
    ["enqueueFailure", new StorageFull("x"), NO_ROOM],
    ["enqueueFailure", new StorageFailed("x"), "451 4.3.0"],
    ["enqueueFailure", new Error("anything"), "451 4.3.0"],
  ] as ["writeFailure" | "enqueueFailure", Error, string][])(
    "%s %s is answered, and the client keeps its message",
    async (where, failure, reply) => {
      await using world = await World.open();
      await using client = await world.client();
      world.store[where] = failure;
      expect((await client.submit(MESSAGE)).startsWith(reply)).toBe(true);
      expect(world.store.bodies.at(-1)?.abandoned).toBe(true);
      expect(world.kinds("message-accepted")).toEqual([]);
      world.store[where] = undefined;
      expect(await client.submit(MESSAGE)).toMatch(/^250/);
    },
  );

  test("a write that fails later, in the middle of a large message", async () => {
    await using world = await World.open();
    await using client = await world.client();
    let writes = 0;
    world.store.hold = () => (++writes === 3 ? Promise.reject(new StorageFull("now")) : Promise.resolve());
    expect(await client.submit(`A: b\r\n\r\n${`${"x".repeat(98)}\r\n`.repeat(10_000)}`)).toBe(NO_ROOM);
    expect(await client.command("NOOP")).toMatch(/^250/);
  });
});

describe("the 250", () => {
  test("comes after the store has the message, not before", async () => {
    await using world = await World.open();
    await using client = await world.client();
    let open: () => void = () => {};
    world.store.gate = new Promise<void>((resolve) => (open = resolve));
    await client.pipeline("MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA");
    client.send(`${MESSAGE}\r\n.\r\nNOOP\r\n`);
    while (world.store.enqueued === 0) await settled();
    await settled();
    expect(client.received).not.toContain("queued as");
    expect(world.accepted).toEqual([]);
    open();
    expect(await client.replies(2)).toEqual([expect.stringMatching(/^250 2\.0\.0 Ok: queued as 0TEST00001$/), "250 2.0.0 Ok"]);
    expect(world.accepted).toHaveLength(1);
    expect(world.kinds("message-accepted")).toMatchObject([
      { id: "0TEST00001", listener: "smtp", client: "127.0.0.1", recipients: 1, messageId: "<1@sender.test>" },
    ]);
  });

  test("is one for all recipients", async () => {
    await using world = await World.open();
    await using client = await world.client();
    await client.submit(MESSAGE, { to: ["a@x.test", "b@y.test", "c@x.test"] });
    expect(world.store.kept).toHaveLength(1);
    expect(world.store.last.message.recipients).toHaveLength(3);
  });
});

describe("a client that vanishes", () => {
  test("in the middle of the text leaves nothing", async () => {
    await using world = await World.open();
    const client = await world.client();
    await client.pipeline("MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA");
    await client.sent(`A: b\r\n\r\n${`${"x".repeat(98)}\r\n`.repeat(2000)}`);
    while (world.store.bodies.length === 0) await settled();
    client.vanish();
    while (world.store.bodies[0]?.abandoned !== true) await settled();
    expect(world.store.enqueued).toBe(0);
    expect(world.store.kept).toEqual([]);
  });

  test("after the final dot has handed over its message, once", async () => {
    await using world = await World.open();
    const client = await world.client();
    let open: () => void = () => {};
    world.store.gate = new Promise<void>((resolve) => (open = resolve));
    await client.pipeline("MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA");
    client.send(`${MESSAGE}\r\n.\r\n`);
    while (world.store.enqueued === 0) await settled();
    client.vanish();
    await settled();
    open();
    while (world.accepted.length === 0) await settled();
    expect(world.store.kept).toHaveLength(1);
    expect(world.store.enqueued).toBe(1);
  });

  test("behind half a command: that is none", async () => {
    await using world = await World.open();
    const client = await world.client();
    await client.sent("MAIL FROM:<a@b.test>");
    client.socket.end();
    await client.ended();
    expect(client.received).not.toContain("2.1.0");
  });
});

describe("large messages", () => {
  test("20 MB go through in blocks, memory does not grow with them", async () => {
    await using world = await World.open();
    await using client = await world.client();
    let octets = 0;
    let largest = 0;
    let waiting = 0;
    let most = 0;
    world.store.newBody = () => ({
      size: 0,
      write(this: { size: number }, chunk: Buffer) {
        this.size += chunk.length;
        octets += chunk.length;
        largest = Math.max(largest, chunk.length);
        waiting += chunk.length;
        most = Math.max(most, waiting);
        return new Promise<void>((resolve) => setImmediate(() => ((waiting -= chunk.length), resolve())));
      },
      abandon() {},
    });
    world.store.enqueue = () => Promise.resolve([]);
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const held = () => (collect(), process.memoryUsage().arrayBuffers);
    const before = held();
    let peak = 0;
    let blocks = 0;
    await client.pipeline("MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA");
    client.send("A: b\r\n\r\n");
    const block = Buffer.from(`${"x".repeat(76)}\r\n`.repeat(1000));
    for (let sent = 0; sent < 20 * 2 ** 20; sent += block.length) {
      await client.sent(block);
      if (blocks++ % 20 === 0) peak = Math.max(peak, held() - before);
    }
    client.send(".\r\n");
    expect((await client.reply()).text).toMatch(/^250/);
    expect(octets).toBeGreaterThan(20 * 2 ** 20);
    expect(largest).toBeLessThanOrEqual(64 * 1024);
    expect(most).toBeLessThanOrEqual(64 * 1024);
    // Buffers are freed a little after they are collected; without blocks it would be all of 20 MB.
    expect(peak).toBeLessThan(8 * 2 ** 20);
  });

  test("a store that is slow holds the client back", async () => {
    await using world = await World.open();
    await using client = await world.client();
    let release: () => void = () => {};
    world.store.hold = () => new Promise<void>((resolve) => (release = resolve));
    await client.pipeline("MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA");
    client.send("A: b\r\n\r\n");
    let written = 0;
    client.socket.on("drain", () => {});
    for (let n = 0; n < 400; n++) {
      client.send(Buffer.from(`${"x".repeat(76)}\r\n`.repeat(1000)));
      written += 78_000;
    }
    while ((world.store.bodies[0]?.chunks.length ?? 0) === 0) await settled();
    for (let n = 0; n < 50; n++) await settled();
    const taken = world.store.bodies[0]?.size ?? 0;
    expect(taken).toBe(64 * 1024);
    expect(client.socket.writableLength).toBeGreaterThan(written / 4);
    world.store.hold = () => undefined;
    release();
    client.send(".\r\n");
    const reply = await client.reply();
    expect(reply.text).toMatch(/^552 5\.3\.4/); // 31 MB, above the limit; what counts is that it was held back before
  });
});
