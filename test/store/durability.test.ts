/** What the file promises across crashes, second processes and other versions (RFC 5321 §6.1). */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { copyFileSync, readdirSync, statSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { describe, expect, onTestFinished, test } from "vitest";
import type { QueueId } from "../../src/queue/entry.ts";
import { demandFullSync, openForWriting } from "../../src/store/sqlite/database.ts";
import { findNetworkFileSystem } from "../../src/store/sqlite/folder.ts";
import { DELIVERED, hop, newFolder, NO_LEASE, openTestStore, readBody, settlementOf, submit, T0 } from "./make.ts";

const CHILD = fileURLToPath(new URL("./child.ts", import.meta.url));

type Child = ChildProcessByStdio<null, Readable, null>;

function start(mode: string, folder: string): { child: Child; lines: AsyncIterable<Record<string, unknown>>; ended: Promise<void> } {
  const child = spawn(process.execPath, [CHILD, mode, folder], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  const input = createInterface({ input: child.stdout });
  async function* parsed() {
    for await (const line of input) yield JSON.parse(line) as Record<string, unknown>;
  }
  return { child, lines: parsed(), ended };
}

describe("stable storage", () => {
  test("every open of the writer asks for synchronous=FULL and has it, also the second", () => {
    const file = path.join(newFolder(), "postern.db");
    for (let opened = 0; opened < 3; opened++) {
      const database = openForWriting(file);
      expect(database.pragma("synchronous", { simple: true })).toBe(2);
      expect(database.pragma("journal_mode", { simple: true })).toBe("wal");
      expect(database.pragma("auto_vacuum", { simple: true })).toBe(2);
      database.close();
    }
  });

  test("a SQLite that does not take synchronous=FULL is refused", () => {
    const deaf = { name: "x.db", pragma: () => 1 } as unknown as Database.Database;
    expect(() => demandFullSync(deaf)).toThrow(/synchronous=FULL/);
  });

  test("kill -9 under load loses nothing that was promised and brings nothing back that was settled", async () => {
    const folder = newFolder();
    const enqueued = new Map<string, number>();
    const settled = new Set<string>();
    for (let round = 1; round <= 3; round++) {
      const { child, lines, ended } = start("flood", folder);
      for await (const line of lines) {
        if (typeof line["enqueued"] === "string") enqueued.set(line["enqueued"], Number(line["size"]));
        if (typeof line["settled"] === "string") settled.add(line["settled"]);
        if (enqueued.size >= round * 150 && !child.killed) child.kill("SIGKILL");
      }
      await ended;
    }
    const { store } = await openTestStore({ folder });
    for (const [id, size] of enqueued) {
      const story = await store.admin.story(id as QueueId);
      expect(story?.message.size).toBe(size);
      // The one whose outcome was being kept at the kill may be either; everybody else is known.
      if (settled.has(id)) expect(story?.entries[0]?.state).toBe("finished");
    }
    const waiting = await store.leaseDue(hop("dane.test"), 2000, Date.now() + 1000, Date.now() + 600_000);
    expect(waiting.length).toBeGreaterThan(100);
    for (const entry of waiting) {
      expect(settled.has(entry.message.id)).toBe(false);
      expect(
        (await readBody(entry)).equals(
          Buffer.concat(
            Array.from({ length: Math.ceil(entry.message.size / 65_536) }, (_, n) =>
              Buffer.alloc(Math.min(65_536, entry.message.size - n * 65_536), entry.message.id),
            ),
          ),
        ),
      ).toBe(true);
    }
    const finishedOrWaiting = (await store.admin.list({ state: "finished" }, { limit: 5000 })).entries.length + waiting.length;
    expect(finishedOrWaiting).toBeGreaterThanOrEqual(enqueued.size);
  });

  test("chunks whose message never came are swept at the next start, those of waiting messages stay", async () => {
    const folder = newFolder();
    const { child, lines, ended } = start("half-a-body", folder);
    for await (const line of lines) if (line["ready"] !== undefined) child.kill("SIGKILL");
    await ended;
    const octets = Buffer.alloc(600_000, "z");
    const count = () => {
      const database = new Database(path.join(folder, "postern.db"), { readonly: true });
      const chunks = database.prepare<[], number>("SELECT count(*) FROM body_chunk").pluck().get();
      database.close();
      return chunks;
    };
    expect(count()).toBeGreaterThan(8);
    const first = await openTestStore({ folder });
    await submit(first.store, { body: octets });
    await first.store.close();
    const { store } = await openTestStore({ folder });
    await expect.poll(count).toBe(5);
    const [entry] = await store.leaseDue(hop("dane.test"), 1, T0, T0 + 1000);
    expect((await readBody(entry!)).equals(octets)).toBe(true);
    await store.saveSettlement(entry!.lease, settlementOf(entry!, [DELIVERED]), NO_LEASE);
    await expect.poll(count).toBe(0);
  });

  test("a body of which a chunk is missing ends with an error, never early", async () => {
    const { store, folder } = await openTestStore();
    await submit(store, { body: Buffer.alloc(600_000, "z") });
    await store.close();
    const database = new Database(path.join(folder, "postern.db"));
    database.exec("DELETE FROM body_chunk WHERE seq = 2");
    database.close();
    const again = await openTestStore({ folder });
    const [entry] = await again.store.leaseDue(hop("dane.test"), 1, T0, T0 + 1000);
    await expect(readBody(entry!)).rejects.toThrow(/not whole/);
  });
});

describe("who may open the file", () => {
  test("a second process is refused and told which one has it; after kill -9 nothing is in the way", async () => {
    const folder = newFolder();
    const { child, lines, ended } = start("hold", folder);
    for await (const _ of lines) break;
    await expect(openTestStore({ folder })).rejects.toThrow(new RegExp(`in use by process ${child.pid} on `));
    child.kill("SIGKILL");
    await ended;
    await openTestStore({ folder });
  });

  test("a second store in the same process is refused too, and the first keeps its lock", async () => {
    const { folder, store } = await openTestStore();
    await expect(openTestStore({ folder })).rejects.toThrow(/in use by process/);
    await expect(openTestStore({ folder })).rejects.toThrow(/in use by process/);
    await submit(store);
  });

  test("the folder and its files are their owner's alone", async () => {
    const folder = path.join(newFolder(), "deep", "data");
    const { store } = await openTestStore({ folder, settlementReserve: 1000 });
    await submit(store);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(folder))
      expect([name, (statSync(path.join(folder, name)).mode & 0o777).toString(8)]).toEqual([name, "600"]);
    expect(readdirSync(folder)).toContain("postern.db-wal");
  });

  test("a folder that cannot be made is named", async () => {
    const file = path.join(newFolder(), "file");
    writeFileSync(file, "");
    await expect(openTestStore({ folder: path.join(file, "data") })).rejects.toThrow(/data folder .* cannot be made/);
  });

  test.each<[name: string, type: number, mountinfo: string, found: string | undefined]>([
    ["ext4", 0xef53, "", undefined],
    ["NFS", 0x6969, "", "NFS"],
    ["CIFS, as a signed number", 0xff534d42 | 0, "", "CIFS"],
    ["sshfs", 0x65735546, "36 1 0:5 / / rw - ext4 /dev/vda rw\n40 36 0:44 / /data rw,nosuid shared:1 - fuse.sshfs a@b: rw", "fuse.sshfs"],
    [
      "a local folder shared with a container",
      0x65735546,
      "36 1 0:5 / / rw - ext4 /dev/vda rw\n40 36 0:44 / /data rw - fuse.grpcfuse x rw",
      undefined,
    ],
    ["sshfs beside it", 0x65735546, "36 1 0:5 / / rw - fuse.x x rw\n40 36 0:44 / /data2 rw - fuse.sshfs a@b: rw", undefined],
  ])("network file systems are told: %s", (_name, type, mountinfo, found) => {
    expect(findNetworkFileSystem(type, "/data/queue", mountinfo)).toBe(found);
  });
});

describe("what the file must be", () => {
  const opened = async () => {
    const { store, folder } = await openTestStore();
    await submit(store, { body: Buffer.alloc(50_000) });
    await store.close();
    return { folder, file: path.join(folder, "postern.db") };
  };

  test("a file of a newer version is refused and left as it is", async () => {
    const { folder, file } = await opened();
    const database = new Database(file);
    database.pragma("user_version = 9000");
    database.close();
    await expect(openTestStore({ folder })).rejects.toThrow(/newer Postern \(schema 9000; this one knows \d+\)/);
    const after = new Database(file);
    expect(after.pragma("user_version", { simple: true })).toBe(9000);
    after.close();
  });

  test("another program's database is refused", async () => {
    const folder = newFolder();
    const database = new Database(path.join(folder, "postern.db"));
    database.exec("CREATE TABLE theirs (x)");
    database.close();
    await expect(openTestStore({ folder })).rejects.toThrow(/another program/);
  });

  test("what is no database is refused, and the message says what to do", async () => {
    const folder = newFolder();
    writeFileSync(path.join(folder, "postern.db"), "Subject: not a database\n".repeat(500));
    await expect(openTestStore({ folder })).rejects.toThrow(/postern\.db is not a SQLite database.*backup/);
  });

  test("a damaged database is refused, and the message says what to do", async () => {
    const { folder, file } = await opened();
    copyFileSync(file, `${file}.copy`);
    truncateSync(file, 8192);
    await expect(openTestStore({ folder })).rejects.toThrow(/postern\.db is damaged.*\.recover/);
  });

  test("a refused file is let go: the right one opens afterwards", async () => {
    const { folder, file } = await opened();
    const database = new Database(file);
    database.pragma("user_version = 9000");
    database.close();
    await expect(openTestStore({ folder })).rejects.toThrow(/newer/);
    const repaired = new Database(file);
    repaired.pragma("user_version = 1");
    repaired.close();
    const { store } = await openTestStore({ folder });
    expect(await store.leaseDue(hop("dane.test"), 5, T0, T0 + 1000)).toHaveLength(1);
  });

  test("plain sqlite3 reads it: the views say what waits, to whom, and why", async () => {
    const { store, folder } = await openTestStore();
    const { message } = await submit(store, { to: ["a@dane.test", "b@dane.test"] });
    const [entry] = await store.leaseDue(hop("dane.test"), 1, T0, T0 + 1000);
    const waiting = { kind: "waiting", problem: { type: "timeout", detail: "silent", whoActs: "receiver", status: "4.4.1" } } as const;
    await store.saveSettlement(entry!.lease, settlementOf(entry!, [DELIVERED, waiting], T0 + 300_000), NO_LEASE);
    const database = new Database(path.join(folder, "postern.db"), { readonly: true });
    onTestFinished(() => {
      database.close();
    });
    expect(database.prepare("SELECT * FROM queue_entries").all()).toEqual([
      expect.objectContaining({
        queue_id: message.id,
        state: "waiting",
        recipients: "b@dane.test",
        reason: "timeout",
        detail: "silent",
        attempts: 1,
        next_attempt_utc: "2026-09-01 08:05:00",
      }),
    ]);
    expect(database.prepare("SELECT recipient, state, detail FROM recipients_readable").all()).toEqual([
      { recipient: "a@dane.test", state: "delivered", detail: "250 2.0.0 taken as 4711" },
      { recipient: "b@dane.test", state: "waiting", detail: "silent" },
    ]);
    expect(database.prepare("SELECT * FROM attempts_readable").all()).toEqual([
      expect.objectContaining({
        queue_id: message.id,
        next_hop: "dane.test",
        attempt: 1,
        result: "timeout",
        hosts: "mx.dane.test (connect)",
      }),
    ]);
  });
});
