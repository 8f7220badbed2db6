import * as crypto from "node:crypto";
import { describe, expect, test, vi } from "vitest";
import { Logins } from "../../src/submission/login.ts";
import { hashPassword } from "../../src/submission/password.ts";
import { decodeBase64, parsePlain } from "../../src/submission/sasl.ts";
import { MovedClock } from "../support/moved-clock.ts";
import { makeSettings, MemoryUsers } from "./world.ts";

vi.mock("node:crypto", { spy: true });

async function makeLogins(
  wishes: Record<string, unknown> = {},
  configured: { name: string; password: string; maySendAs?: string[] }[] = [{ name: "alice", password: "secret" }],
) {
  const clock = new MovedClock();
  const store = new MemoryUsers();
  const settings = makeSettings({ login: wishes }, configured);
  const logins = new Logins(store, settings.submission.login, clock);
  await logins.load(settings.submission.login, settings.users);
  vi.mocked(crypto.scrypt).mockClear();
  return { logins, clock, store, settings };
}
const hashes = () => vi.mocked(crypto.scrypt).mock.calls.length;

describe("verifying", () => {
  test("right, wrong, unknown", async () => {
    const { logins } = await makeLogins();
    expect(await logins.verify("alice", "secret")).toMatchObject({ kind: "known", user: { name: "alice" } });
    expect(await logins.verify("alice", "Secret")).toEqual({ kind: "wrong" });
    expect(await logins.verify("mallory", "secret")).toEqual({ kind: "wrong" });
  });

  test("an unknown name costs the very hash that a known one costs", async () => {
    const { logins } = await makeLogins();
    await logins.verify("alice", "wrong");
    const known = vi.mocked(crypto.scrypt).mock.lastCall;
    await logins.verify("mallory", "wrong");
    const unknown = vi.mocked(crypto.scrypt).mock.lastCall;
    expect(hashes()).toBe(2);
    expect(unknown?.[3]).toEqual(known?.[3]);
    expect(unknown?.[2]).toBe(known?.[2]);
  });

  test("a verified login is remembered for a while, a failed one never", async () => {
    const { logins, clock } = await makeLogins({ remember: "5m" });
    for (let n = 0; n < 10; n++) await logins.verify("alice", "secret");
    expect(hashes()).toBe(1);
    await logins.verify("alice", "wrong");
    await logins.verify("alice", "wrong");
    expect(hashes()).toBe(3);
    await clock.pass(5 * 60_000 + 1);
    await logins.verify("alice", "secret");
    expect(hashes()).toBe(4);
  });

  test("a remembered login ends with its user, and with its password", async () => {
    const { logins, store } = await makeLogins({}, []);
    store.users = [{ name: "bob", passwordHash: await hashPassword("old"), maySendAs: [], createdAt: 0 }];
    await logins.refresh();
    expect((await logins.verify("bob", "old")).kind).toBe("known");
    store.users = [{ name: "bob", passwordHash: await hashPassword("new"), maySendAs: [], createdAt: 0 }];
    await logins.refresh();
    expect((await logins.verify("bob", "old")).kind).toBe("wrong");
    expect((await logins.verify("bob", "new")).kind).toBe("known");
    store.users = [];
    await logins.refresh();
    expect((await logins.verify("bob", "new")).kind).toBe("wrong");
  });

  test("hashes are computed a few at a time, and not without end", async () => {
    const { logins } = await makeLogins({ concurrentHashes: 2 });
    let running = 0;
    let most = 0;
    vi.mocked(crypto.scrypt).mockImplementation(((
      _p: unknown,
      _s: unknown,
      length: number,
      _o: unknown,
      done: (error: Error | null, hash: Buffer) => void,
    ) => {
      running += 1;
      most = Math.max(most, running);
      setImmediate(() => {
        running -= 1;
        done(null, Buffer.alloc(length));
      });
    }) as unknown as typeof crypto.scrypt);
    try {
      const results = await Promise.all(Array.from({ length: 200 }, (_, n) => logins.verify(`user${n}`, "x")));
      expect(most).toBe(2);
      expect(results.filter(({ kind }) => kind === "wrong")).toHaveLength(102);
      expect(results.filter(({ kind }) => kind === "unavailable")).toHaveLength(98);
      expect((await logins.verify("later", "x")).kind).toBe("wrong");
    } finally {
      vi.mocked(crypto.scrypt).mockRestore();
    }
  });

  test("users of the database are noticed without being told", async () => {
    const { logins, store, clock } = await makeLogins({}, []);
    expect(logins.hasUsers()).toBe(false);
    store.users = [{ name: "bob", passwordHash: await hashPassword("x"), maySendAs: [], createdAt: 0 }];
    await clock.pass(10_001);
    expect((await logins.verify("bob", "x")).kind).toBe("known");
    expect(logins.hasUsers()).toBe(true);
  });

  test("a broken database is no wrong password; configured users need none", async () => {
    const { logins, store, clock } = await makeLogins();
    store.failure = new Error("disk on fire");
    await clock.pass(10_001);
    expect(await logins.verify("bob", "x")).toMatchObject({ kind: "unavailable" });
    expect((await logins.verify("alice", "secret")).kind).toBe("known");
  });

  test("a rule of a user that cannot be read allows nothing", async () => {
    const { logins, store } = await makeLogins({}, []);
    store.users = [{ name: "bob", passwordHash: "x", maySendAs: ["garbage"], createdAt: 0 }];
    await logins.refresh();
    expect(logins.find("bob")?.maySendAs).toMatchObject({ text: [expect.any(String)], domains: new Set(), addresses: new Set() });
  });

  test("hashes in the configuration are taken as such, broken ones and doubles are refused", async () => {
    const { logins, settings } = await makeLogins({}, [{ name: "alice", password: await hashPassword("s") }]);
    expect((await logins.verify("alice", "s")).kind).toBe("known");
    const load = (users: { name: string; password: string; maySendAs?: string[] }[]) =>
      logins.load(settings.submission.login, makeSettings({}, users).users);
    await expect(load([{ name: "a", password: "scrypt$broken" }])).rejects.toThrow(/password of a looks like a hash and is none/);
    await expect(
      load([
        { name: "a", password: "x" },
        { name: "a", password: "y" },
      ]),
    ).rejects.toThrow(/a is there twice/);
    await expect(load([{ name: "a", password: "x", maySendAs: ["nonsense"] }])).rejects.toThrow(/maySendAs of a: not an address/);
    expect((await logins.verify("alice", "s")).kind).toBe("known");
  });

  test("a reload hashes only what is new", async () => {
    const { logins, settings } = await makeLogins();
    await logins.load(settings.submission.login, settings.users);
    expect(hashes()).toBe(0);
  });
});

describe("failures of an address", () => {
  test("lead to a ban when there are many within the window, and the ban ends", async () => {
    const { logins, clock } = await makeLogins({ failuresPerAddress: 3, banWindow: "10m", ban: "15m" });
    logins.countFailure("192.0.2.1");
    logins.countFailure("192.0.2.1");
    expect(logins.isBanned("192.0.2.1")).toBe(false);
    expect(logins.countFailure("192.0.2.1")).toEqual({ failures: 3, bannedFor: 15 * 60_000 });
    expect(logins.isBanned("192.0.2.1")).toBe(true);
    expect(logins.isBanned("192.0.2.2")).toBe(false);
    await clock.pass(15 * 60_000 + 1);
    expect(logins.isBanned("192.0.2.1")).toBe(false);
  });

  test("spread wider than the window they do not", async () => {
    const { logins, clock } = await makeLogins({ failuresPerAddress: 3, banWindow: "10m" });
    for (let n = 0; n < 10; n++) {
      logins.countFailure("192.0.2.1");
      await clock.pass(6 * 60_000);
    }
    expect(logins.isBanned("192.0.2.1")).toBe(false);
  });
});

describe("base64 is strict", () => {
  test.each([["=AAA"], ["AAA=BBB"], ["AAA"], ["AAAA="], ["AA AA"], ["AA\tAA=="], ["AAA=\n"], ["A-_A"], ["===="], ["A==="]])(
    "%j is none",
    (text) => expect(decodeBase64(text)).toBeUndefined(),
  );
  test.each([
    ["", ""],
    ["AAAA", "\0\0\0"],
    ["aGk=", "hi"],
    ["aA==", "h"],
  ])("%j is %j", (text, octets) => expect(decodeBase64(text)?.toString()).toBe(octets));
});

describe("PLAIN", () => {
  test.each([
    ["\0alice\0pw", { name: "alice", password: "pw" }],
    ["alice\0alice\0pw", { name: "alice", password: "pw" }],
    ["\0jürgen\0pässword", { name: "jürgen", password: "pässword" }],
    ["bob\0alice\0pw", "acts-for-another"],
    ["alice\0pw", "malformed"],
    ["", "malformed"],
    ["\0\0pw", "malformed"],
    ["\0alice\0", "malformed"],
    ["\0alice\0p\0w", "malformed"],
  ])("%j", (text, credentials) => expect(parsePlain(Buffer.from(text))).toEqual(credentials));
  test("octets that are no UTF-8 are malformed", () => expect(parsePlain(Buffer.from([0, 0xff, 0, 0x61]))).toBe("malformed"));
});
