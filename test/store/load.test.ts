/** Many entries, many at once, large ones: what must not grow, block or cost. */
import { execFile } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import type { QueueId } from "../../src/queue/entry.ts";
import { queueIdOf, numberOfQueueId } from "../../src/store/sqlite/ids.ts";
import { DELIVERED, hop, HOUR, NO_LEASE, openTestStore, problem, readBody, settlementOf, submit, T0 } from "./make.ts";

test("many callers share one commit", async () => {
  const { store } = await openTestStore();
  await submit(store);
  const before = await store.statistics();
  await Promise.all(Array.from({ length: 100 }, () => submit(store)));
  const { commits, requests } = await store.statistics();
  expect(requests - before.requests).toBeGreaterThanOrEqual(100);
  expect(commits - before.commits).toBeLessThan(10);
});

test("a finished message costs no commit of its own while mail comes in", async () => {
  const { store } = await openTestStore();
  const { leased } = await submit(store, { lease: true });
  const before = await store.statistics();
  const settled = store.saveSettlement(leased[0]!.lease, settlementOf(leased[0]!, [DELIVERED]), NO_LEASE);
  await Promise.all([submit(store), settled]);
  // One for both, and the one that asks for the figures.
  expect((await store.statistics()).commits - before.commits).toBe(2);
});

test("a settlement without company is saved all the same", async () => {
  const { store } = await openTestStore();
  const { leased } = await submit(store, { lease: true });
  expect(await store.saveSettlement(leased[0]!.lease, settlementOf(leased[0]!, [DELIVERED]), NO_LEASE)).toEqual([]);
  expect((await store.admin.story(leased[0]!.message.id))?.entries[0]?.state).toBe("finished");
});

test("one request that cannot be kept does not take its group with it", async () => {
  const { store, events } = await openTestStore();
  const { message } = await submit(store);
  const again = async () => {
    const body = store.newBody();
    await body.write(Buffer.alloc(message.size));
    return store.enqueue(message, body, NO_LEASE);
  };
  const outcomes = await Promise.allSettled([submit(store), again(), submit(store)]);
  expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  expect((await store.findDueNextHops(T0, 5))[0]?.due).toBe(3);
  expect(events).toEqual([]);
});

test("memory does not grow with the size of a message", async () => {
  const { folder } = await openTestStore().then(async ({ store, folder: made }) => {
    await store.close();
    return { folder: made };
  });
  const { stdout } = await promisify(execFile)(process.execPath, [fileURLToPath(new URL("./child.ts", import.meta.url)), "memory", folder]);
  const { written, grown } = JSON.parse(stdout) as { written: number; grown: number };
  // 120 MB went in, and out again. What was read is garbage that the runtime lets pile up to 64 MB.
  expect(written).toBeLessThan(25_000_000);
  expect(grown).toBeLessThan(100_000_000);
});

test("who writes a large body faster than the disk takes it must wait", async () => {
  const { store } = await openTestStore();
  const body = store.newBody();
  let waited = 0;
  for (let n = 0; n < 100; n++) {
    const written = body.write(Buffer.alloc(65_536));
    if (written instanceof Promise) {
      waited++;
      await written;
    }
  }
  expect(waited).toBeGreaterThan(3);
  body.abandon();
});

test("bodies come along with leases only as far as memory allows; the others are read when asked for", async () => {
  const { store } = await openTestStore();
  await Promise.all(Array.from({ length: 50 }, (_, n) => submit(store, { body: Buffer.alloc(120_000, n) })));
  const leased = await store.leaseDue(hop("dane.test"), 50, T0, T0 + HOUR);
  const atHand = leased.filter(({ body }) => body.inMemory !== undefined);
  expect(atHand.length).toBeGreaterThan(30);
  expect(atHand.length).toBeLessThan(40);
  const fills = new Set<number | undefined>();
  for (const entry of leased) {
    const octets = await readBody(entry);
    expect(octets.length).toBe(120_000);
    expect(octets.equals(Buffer.alloc(120_000, octets[0]))).toBe(true);
    fills.add(octets[0]);
  }
  expect(fills.size).toBe(50);
});

test("free pages are given back to the file system in small bites", async () => {
  const { store, folder } = await openTestStore();
  const { leased } = await submit(store, { body: Buffer.alloc(72_000_000), lease: true });
  await store.saveSettlement(leased[0]!.lease, settlementOf(leased[0]!, [DELIVERED]), NO_LEASE);
  const pages = () => {
    const database = new Database(path.join(folder, "postern.db"), { readonly: true });
    const count = Number(database.pragma("page_count", { simple: true }));
    database.close();
    return count;
  };
  const before = pages();
  await expect
    .poll(
      async () => {
        await store.look();
        return pages();
      },
      { timeout: 10_000 },
    )
    .toBeLessThan(before - 400);
});

test("twenty thousand entries are listed, counted and postponed without blocking the event loop", async () => {
  const { store } = await openTestStore();
  for (let n = 0; n < 20; n++)
    await Promise.all(
      Array.from({ length: 1000 }, (_, m) =>
        submit(store, { to: [`r${m}@d${(n * 1000 + m) % 200}.test`], submitter: `net:${m % 50}`, receivedAt: T0 - n * HOUR }),
      ),
    );
  let longest = 0;
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
  }, 1);
  const destinations = await store.admin.destinations(T0, 500);
  expect(destinations).toHaveLength(200);
  expect(destinations.reduce((sum, { messages }) => sum + messages, 0)).toBe(20_000);
  expect((await store.admin.list({ to: "nobody@nowhere.test" }, { limit: 10 })).entries).toEqual([]);
  const ids = new Set<QueueId>();
  let after: string | undefined;
  do {
    const page = await store.admin.list({}, { limit: 1000, ...(after !== undefined && { after }) });
    for (const { id } of page.entries) ids.add(id);
    after = page.next;
  } while (after !== undefined);
  expect(ids.size).toBe(20_000);
  const due = await store.findDueNextHops(T0, 1000);
  expect(due).toHaveLength(200);
  expect(due[0]?.due).toBe(100);
  expect(await store.postponeDestination(hop("d7.test"), T0 + HOUR, T0 + 2 * HOUR, problem("destination-waiting"))).toBe(100);
  expect(await store.findDueNextHops(T0, 1000)).toHaveLength(199);
  expect((await store.admin.retryNow({ nextHop: "d7.test" }, T0)).entries).toBe(100);
  clearInterval(timer);
  // All of it took much longer; a page of 1000 lines is what the loop has to take in at once.
  expect(longest).toBeLessThan(1000);
});

test("mail is taken while a long question is answered", async () => {
  const { store } = await openTestStore();
  for (let n = 0; n < 25; n++) await Promise.all(Array.from({ length: 1000 }, () => submit(store)));
  const order: string[] = [];
  const question = store.admin.list({ to: "nobody@nowhere.test" }, { limit: 10 }).then(() => order.push("question"));
  const read = store.findNextDue().then(() => order.push("short question"));
  await Promise.all([question, read, submit(store)]);
  expect(order).toEqual(["short question", "question"]);
});

test.each<[number: number, id: string]>([
  [0, "0000000000"],
  [31, "000000000Z"],
  [32, "0000000010"],
  [2 ** 25 - 1, "00000ZZZZZ"],
  [2 ** 25, "0000100000"],
  [2 ** 50 - 1, "ZZZZZZZZZZ"],
])("%i is the queue id %s", (number, id) => {
  expect(queueIdOf(number)).toBe(id);
  expect(numberOfQueueId(id)).toBe(number);
  expect(numberOfQueueId(id.toLowerCase())).toBe(number);
});

test.each(["", "0KF3V7Q2M", "0KF3V7Q2M9X", "0KF3V7Q2MU", "0KF3V7Q2M ", "0KF3V7Q2Mé"])("%o is no queue id", (text) =>
  expect(numberOfQueueId(text)).toBeUndefined(),
);
