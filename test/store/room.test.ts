/** Full, read-only and broken disks: the client keeps its message, nothing is lost, and it works again by itself. */
import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdirSync, statSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import Database from "better-sqlite3";
import { describe, expect, onTestFinished, test } from "vitest";
import { StorageFailed, StorageFull, type StorageTrouble } from "../../src/queue/store.ts";
import { storageError, troubleOf } from "../../src/store/sqlite/errors.ts";
import { Reserve } from "../../src/store/sqlite/reserve.ts";
import { judgeSpace } from "../../src/store/sqlite/room.ts";
import { DELIVERED, HOUR, hop, leaseOne, newFolder, NO_LEASE, openTestStore, settlementOf, SMALL, submit, T0 } from "./make.ts";

const CHILD = fileURLToPath(new URL("./child.ts", import.meta.url));

async function run(mode: string, folder: string): Promise<Record<string, unknown>[]> {
  const { stdout } = await promisify(execFile)(process.execPath, [CHILD, mode, folder]);
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

function integrity(folder: string): unknown {
  const database = new Database(path.join(folder, "postern.db"), { readonly: true });
  try {
    return database.pragma("integrity_check", { simple: true });
  } finally {
    database.close();
  }
}

describe("judgement", () => {
  const limits = { minimumFree: 1000, settlementReserve: 200 };
  test.each<[free: number, before: "full" | "reserve" | undefined, now: "full" | "reserve" | undefined]>([
    [1000, undefined, undefined],
    [999, undefined, "full"],
    [200, undefined, "full"],
    [199, undefined, "reserve"],
    [1100, "full", "full"], // an eighth more, or every message would cross it
    [1125, "full", undefined],
    [210, "reserve", "reserve"],
    [225, "reserve", "full"],
    [1125, "reserve", undefined],
  ])("%i octets free after %s is %s", (free, before, now) => expect(judgeSpace(free, limits, before)).toBe(now));

  test.each<[code: string, error: typeof StorageFull | typeof StorageFailed | typeof Error, trouble: StorageTrouble | undefined]>([
    ["SQLITE_FULL", StorageFull, "full"],
    ["ENOSPC", StorageFull, "full"],
    ["EDQUOT", StorageFull, "full"],
    ["SQLITE_IOERR_WRITE", StorageFull, "failed"],
    ["SQLITE_READONLY", StorageFull, "failed"],
    ["SQLITE_READONLY_DBMOVED", StorageFull, "failed"],
    ["EROFS", StorageFull, "failed"],
    ["SQLITE_IOERR_FSYNC", StorageFailed, "failed"],
    ["SQLITE_CORRUPT", StorageFailed, "failed"],
    ["SQLITE_BUSY", StorageFailed, "failed"],
    ["POSTERN_BROKEN_PROMISE", Error, undefined],
  ])("%s becomes %o and is trouble %s", (code, error, trouble) => {
    expect(storageError({ code, message: "x" }, "postern.db").constructor).toBe(error);
    expect(troubleOf({ code, message: "x" })).toBe(trouble);
  });
});

describe("space that runs out", () => {
  test("under the limit no mail is taken, outcomes are, and it is said once", async () => {
    let free = 10_000_000;
    const { store, events } = await openTestStore({
      minimumFree: 5_000_000,
      settlementReserve: 1_000_000,
      freeOnDisk: () => Promise.resolve(free),
    });
    await submit(store);
    const entry = await leaseOne(store, "dane.test");
    const begun = store.newBody();
    await begun.write(Buffer.from(SMALL));
    await submit(store);
    free = 3_000_000;
    await store.look();
    expect(store.trouble()).toBe("full");
    await expect(submit(store)).rejects.toThrow(StorageFull);
    expect(() => begun.write(Buffer.from(SMALL))).toThrow(/3\.0 MB free/);
    expect(await store.freeSpace()).toBeGreaterThanOrEqual(2_000_000);
    expect(await store.leaseDue(hop("dane.test"), 1, T0, T0 + HOUR)).toHaveLength(1);
    free = 500_000;
    await store.look();
    expect(store.trouble()).toBe("reserve");
    await store.releaseLeases([], T0);
    expect(await store.leaseDue(hop("dane.test"), 1, T0 + HOUR, T0 + 2 * HOUR)).toEqual([]);
    expect(await store.saveSettlement(entry.lease, settlementOf(entry, [DELIVERED]), NO_LEASE)).toEqual([]);
    expect(store.trouble()).toBe("reserve");
    free = 10_000_000;
    await store.look();
    expect(store.trouble()).toBeUndefined();
    await submit(store);
    expect(events.map((event) => (event.kind === "storage-trouble" ? event.what : event.kind))).toEqual([
      "full",
      "reserve",
      "storage-recovered",
    ]);
  });

  test("a file that may not grow: what fits is kept, the rest is refused, and it recovers", async () => {
    const folder = newFolder();
    const [first, second, third, later, last] = await run("file-limit", folder);
    expect(first).toEqual({ group: ["kept", "StorageFull", "kept", "StorageFull", "kept"], large: "StorageFull" });
    expect(second).toMatchObject({ refused: "StorageFull", again: "StorageFull", trouble: "failed" });
    expect(third).toMatchObject({ after: "kept", large: "kept" });
    expect(third?.["trouble"]).toBeUndefined();
    // Either there was room for the outcome, or it was refused and is kept now.
    expect([third?.["settled"], later?.["later"]]).toContain("kept");
    const kinds = last?.["events"] as string[];
    expect(kinds.filter((kind, index) => kind === kinds[index - 1])).toEqual([]);
    expect(kinds.at(-1)).toBe("storage-recovered");
    expect(integrity(folder)).toBe("ok");
    const { store } = await openTestStore({ folder });
    const { entries } = await store.admin.list({ state: "waiting" }, { limit: 1000 });
    expect(entries.filter(({ size }) => size === 2000).length).toBeGreaterThanOrEqual(5);
    expect(entries.filter(({ size }) => size === 250_000)).toHaveLength(1);
    expect(entries.filter(({ size }) => size === 3_000_000)).toHaveLength(1);
  });

  test("a file that cannot be written at all: refused, still readable, and it recovers", async () => {
    const folder = newFolder();
    const [before, after] = await run("not-writable", folder);
    expect(before).toEqual({ refused: "StorageFull", trouble: "failed", due: "kept" });
    expect(after).toMatchObject({ after: "kept", settled: [] });
    expect(after?.["events"]).toEqual([
      expect.objectContaining({ kind: "storage-trouble", what: "failed", detail: expect.stringContaining("SQLITE_IOERR_WRITE") }),
      { kind: "storage-recovered" },
    ]);
    expect(integrity(folder)).toBe("ok");
  });

  test("a disk that is full: mail is refused, and the reserve takes the outcomes of what is under way", async () => {
    const folder = newFolder();
    const disk = path.join(folder, "disk");
    mkdirSync(disk);
    const small = mountSmall(disk);
    const reserve = path.join(disk, "postern.reserve");
    if (!small) {
      // No right to mount here: the reserve by itself.
      const kept = new Reserve(reserve, 1_000_000, 0);
      kept.refill();
      expect(statSync(reserve).size).toBe(1_000_000);
      expect(statSync(reserve).blocks * 512).toBeGreaterThanOrEqual(1_000_000);
      expect(kept.spend()).toBe(true);
      return expect(existsSync(reserve)).toBe(false);
    }
    const [first, second, third, fourth] = await run("disk-full", disk);
    expect(first).toMatchObject({ refused: "StorageFull", trouble: "full" });
    expect(first?.["taken"]).toBeGreaterThan(20);
    expect(second).toEqual({ settled: ["kept"] });
    expect(third).toEqual({
      still: "StorageFull",
      probe: "StorageFull",
      policy: "StorageFull",
      dane: "StorageFull",
      reports: "StorageFull",
      rua: "StorageFull",
      // What the outcomes bring along has their room.
      counted: first?.["taken"],
      trouble: "full",
    });
    expect(fourth).toEqual({ after: "kept", events: ["storage-trouble", "storage-recovered"] });
    expect(existsSync(reserve)).toBe(true);
    expect(integrity(disk)).toBe("ok");
  });

  test("the reserve is only kept where there is room to spare", () => {
    const file = path.join(newFolder(), "reserve");
    new Reserve(file, 1_000_000, 1e15).refill();
    expect(existsSync(file)).toBe(false);
    const reserve = new Reserve(file, 1_000_000, 0);
    reserve.refill();
    expect(statSync(file).size).toBe(1_000_000);
    expect(reserve.spend()).toBe(true);
    expect(reserve.spend()).toBe(false);
  });
});

function mountSmall(folder: string): boolean {
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=6m", "postern-test", folder], { stdio: "ignore" });
  } catch {
    return false;
  }
  onTestFinished(() => {
    execFileSync("umount", ["-l", folder]);
  });
  return true;
}
