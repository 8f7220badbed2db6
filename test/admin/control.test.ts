import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { AlreadyRunning, type Control, controlPath, openControl } from "../../src/admin/control.ts";
import { NOW } from "../cli/story.ts";
import { type FakeIo, fakeIo, RUNNING } from "./fake-io.ts";

let folder: string;
let io: FakeIo;
let control: Control | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "postern-control-"));
  io = fakeIo();
});
afterEach(async () => {
  await control?.close();
  control = undefined;
  rmSync(folder, { recursive: true, force: true });
});

interface Got {
  readonly code: number;
  readonly body: Record<string, unknown>;
}

function ask(path: string, verb: string, body: string | Buffer = "{}", method = "POST"): Promise<Got> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath: path, path: `/${verb}`, method, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      response.on("end", () => resolve({ code: response.statusCode ?? 0, body: JSON.parse(text) as Record<string, unknown> }));
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

describe("the control socket", () => {
  test("is for its owner alone and goes with the relay", async () => {
    control = await openControl(folder, io);
    expect(statSync(control.path).mode & 0o777).toBe(0o600);
    await control.close();
    expect(existsSync(control.path)).toBe(false);
  });

  test("a stale file is replaced", async () => {
    // What kill -9 leaves: a socket that nobody listens at.
    const script = `require("node:net").createServer().listen(${JSON.stringify(join(folder, "postern.sock"))}, () => process.kill(process.pid, "SIGKILL"))`;
    await once(spawn(process.execPath, ["-e", script], { stdio: "ignore" }), "exit");
    expect(existsSync(join(folder, "postern.sock"))).toBe(true);
    control = await openControl(folder, io);
    expect((await ask(control.path, "status")).body).toEqual({ running: true, relay: RUNNING });
  });

  test("a socket at which somebody answers is left alone, even one that says nothing", async () => {
    const other = createServer();
    other.listen(join(folder, "postern.sock"));
    await once(other, "listening");
    await expect(openControl(folder, io)).rejects.toThrow(AlreadyRunning);
    expect(existsSync(join(folder, "postern.sock"))).toBe(true);
    other.close();
  });

  test("a file that is no socket is somebody's, and stays", async () => {
    writeFileSync(join(folder, "postern.sock"), "notes");
    await expect(openControl(folder, io)).rejects.toThrow(/in the way/);
    expect(readFileSync(join(folder, "postern.sock"), "utf8")).toBe("notes");
  });

  test("a path longer than the kernel takes is told, with what to do", () => {
    expect(() => controlPath(`/${"long/".repeat(40)}`)).toThrow(/longer than 107 octets.*shorter path/);
  });

  test.each([
    ["unknown verb", "queue/empty", "{}", "POST", 404],
    ["a name every object has", "constructor", "{}", "POST", 404],
    ["GET", "status", "", "GET", 405],
    ["no JSON", "status", "{", "POST", 400],
    ["unknown key", "queue/list", '{"filter":{"colour":"red"}}', "POST", 400],
    ["wrong type", "queue/list", '{"limit":"many"}', "POST", 400],
    ["a retry of nothing in particular", "queue/retry", '{"filter":{}}', "POST", 400],
    ["an empty body is an empty request", "status", "", "POST", 200],
  ])("%s", async (_name, verb, body, method, code) => {
    control = await openControl(folder, io);
    expect((await ask(control.path, verb, body, method)).code).toBe(code);
  });

  test("a request is bounded", async () => {
    control = await openControl(folder, io);
    const big = await ask(control.path, "queue/list", Buffer.alloc(1024 ** 2 + 1, " ")).catch((error: unknown) => error);
    // The answer may be lost to the reset that follows; what counts is that the relay goes on.
    if (!(big instanceof Error)) expect(big).toMatchObject({ code: 413 });
    expect((await ask(control.path, "status")).code).toBe(200);
  });

  test("an error of the store is told as one, and the relay goes on", async () => {
    io.admin.totals = () => Promise.reject(new Error("disk I/O error"));
    control = await openControl(folder, io);
    expect(await ask(control.path, "queue/summary")).toEqual({ code: 503, body: { error: "disk I/O error" } });
    expect((await ask(control.path, "status")).code).toBe(200);
  });

  test("close ends a request that hangs", async () => {
    io.reload = () => new Promise(() => {});
    control = await openControl(folder, io);
    const hanging = ask(control.path, "reload").catch((error: unknown) => error);
    await new Promise((resolve) => setImmediate(resolve));
    await control.close();
    expect(await hanging).toBeInstanceOf(Error);
  });
});

describe("handlers", () => {
  test("retry makes entries due and wakes their destinations", async () => {
    control = await openControl(folder, io);
    const { body } = await ask(control.path, "queue/retry", '{"filter":{"nextHop":"example.org"}}');
    expect(body).toEqual({ entries: 1, nextHops: ["example.org"] });
    expect(io.calls).toEqual([
      { name: "retryNow", value: { filter: { nextHop: "example.org" }, now: NOW } },
      { name: "wake", value: ["example.org"] },
    ]);
  });

  test("a dry run counts over all pages and touches nothing", async () => {
    control = await openControl(folder, io);
    const { body } = await ask(control.path, "queue/retry", '{"filter":{"state":"waiting"},"dryRun":true}');
    expect(body).toEqual({ entries: 2, nextHops: [] });
    expect(io.calls.map((call) => call.name)).toEqual(["list", "list"]);
  });

  test("a story comes with advice", async () => {
    control = await openControl(folder, io);
    const { body } = await ask(control.path, "queue/story", '{"id":"0KF3V7Q2M9"}');
    const [entry] = body["entries"] as { advice: { whoActs: string } }[];
    expect(entry?.advice.whoActs).toBe("example.org: renew the certificate on mx1.example.org");
    expect((await ask(control.path, "queue/story", '{"id":"NOSUCHID00"}')).body).toEqual({ now: NOW, entries: [] });
  });

  test("users: hashes go in and never come out; changes are told to the listeners", async () => {
    control = await openControl(folder, io);
    const save = '{"name":"alice","passwordHash":"scrypt$1$1$1$a$b","maySendAs":["@example.com"]}';
    expect((await ask(control.path, "users/save", save)).body).toEqual({ replaced: false });
    expect((await ask(control.path, "users/save", save)).body).toEqual({ replaced: true });
    expect((await ask(control.path, "users/list")).body).toEqual({
      users: [{ name: "alice", maySendAs: ["@example.com"], createdAt: NOW }],
    });
    expect((await ask(control.path, "users/remove", '{"name":"alice"}')).body).toEqual({ removed: true });
    expect((await ask(control.path, "users/remove", '{"name":"alice"}')).body).toEqual({ removed: false });
    expect(io.calls.map((call) => call.name)).toEqual(["usersChanged", "usersChanged", "usersChanged"]);
  });

  test.each<[string, (io: FakeIo) => void, boolean, RegExp]>([
    ["all is well", () => {}, true, /^ok: listening on smtp/],
    ["draining", (fake) => (fake.relay = { ...RUNNING, draining: true }), false, /stopping/],
    [
      "a listener that could not open",
      (fake) => (fake.relay = { ...RUNNING, listeners: RUNNING.listeners.map((one) => ({ ...one, open: false })) }),
      false,
      /not listening: smtp 127\.0\.0\.1:2525/,
    ],
    ["no listener", (fake) => (fake.relay = { ...RUNNING, listeners: [] }), false, /no listener/],
    ["a commit that fails", (fake) => (fake.probeError = new Error("readonly database")), false, /cannot be written: readonly database/],
    ["a disk that is nearly full", (fake) => (fake.trouble = "full"), false, /new mail is refused/],
  ])("health: %s", async (_name, break_, healthy, text) => {
    break_(io);
    control = await openControl(folder, io);
    const { body } = await ask(control.path, "health");
    expect(body["healthy"]).toBe(healthy);
    expect(body["text"]).toMatch(text);
  });
});
