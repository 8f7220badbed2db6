import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { AlreadyRunning, type Control, controlPath, openControl } from "../../src/admin/control.ts";
import { keptPolicy } from "../cli/check-story.ts";
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
    expect((await ask(control.path, "status")).body).toEqual({ running: true, relay: RUNNING, dnssec: io.resolver, resolvers: io.servers });
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

/** A streamed answer: what came, when it had come, and how it ended. */
function stream(path: string, body: object, onLine: (line: Record<string, unknown>) => void = () => {}) {
  const lines: Record<string, unknown>[] = [];
  const sent = request({ socketPath: path, path: "/check", method: "POST", agent: false });
  const done = new Promise<number>((resolve, reject) => {
    sent.on("error", reject);
    sent.on("response", (response) => {
      let rest = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        rest += chunk;
        for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
          const line = JSON.parse(rest.slice(0, end)) as Record<string, unknown>;
          rest = rest.slice(end + 1);
          lines.push(line);
          onLine(line);
        }
      });
      response.on("end", () => resolve(response.statusCode ?? 0));
      response.on("error", reject);
    });
  });
  sent.end(JSON.stringify(body));
  return { lines, done, sent };
}

describe("a check on the socket", () => {
  test("each stage goes out when it is known, the verdict with advice", async () => {
    let release = (): void => {};
    io.holdCheck = () => new Promise((resolve) => (release = resolve));
    control = await openControl(folder, io);
    const seen: unknown[] = [];
    const { lines, done } = stream(control.path, { destination: "Jo@EXAMPLE.net", tag: "required", connect: false }, (line) => {
      seen.push(line["stage"]);
      // Nothing is held back: the last stage is let go only once all others have come.
      if (seen.length === 7) release();
    });
    expect(await done).toBe(200);
    expect(seen).toEqual(["destination", "resolver", "mx", "mta-sts", "tls-rpt", "host", "connection", "verdict"]);
    expect(io.calls).toEqual([{ name: "check", value: { nextHop: "example.net", options: { connect: false, tag: "required" } } }]);
    const advice = lines.at(-1)?.["advice"] as { whoActs: string; meanwhile: string[] };
    expect(advice.whoActs).toContain("publish a TLSA record for the key that mx2.example.net uses now");
    expect(advice.meanwhile).toEqual([expect.stringContaining("{ published: report }")]);
  });

  test("whoever goes away stops it", async () => {
    const stopped = new Promise<void>((resolve) => {
      io.holdCheck = (stop) =>
        new Promise((end) =>
          stop.addEventListener("abort", () => {
            resolve();
            end();
          }),
        );
    });
    control = await openControl(folder, io);
    const { done, sent } = stream(control.path, { destination: "example.net" }, (line) => {
      if (line["stage"] === "connection") sent.destroy();
    });
    await expect(done).rejects.toThrow();
    await stopped;
    expect((await ask(control.path, "status")).code).toBe(200);
  });

  test("a fault on the way is the last line", async () => {
    io.checkError = new Error("disk I/O error");
    control = await openControl(folder, io);
    const { lines, done } = stream(control.path, { destination: "example.net" });
    expect(await done).toBe(200);
    expect(lines.at(-1)).toEqual({ error: "disk I/O error" });
  });

  test.each<[string, string, number]>([
    ["a destination that is none", '{"destination":"a b"}', 400],
    ["no destination", "{}", 400],
    ["an unknown tag", '{"destination":"example.net","tag":"perhaps"}', 400],
    ["no JSON", "{", 400],
  ])("%s is refused before anything is asked", async (_name, body, code) => {
    control = await openControl(folder, io);
    expect((await ask(control.path, "check", body)).code).toBe(code);
    expect(io.calls).toEqual([]);
  });

  test("no more than eight at a time", async () => {
    let release = (): void => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    io.holdCheck = () => held;
    control = await openControl(folder, io);
    const { path } = control;
    await Promise.all(
      Array.from({ length: 8 }, () => new Promise<void>((begun) => stream(path, { destination: "example.net" }, () => begun()))),
    );
    expect(await ask(path, "check", '{"destination":"example.net"}')).toEqual({
      code: 503,
      body: { error: "8 checks are under way already" },
    });
    release();
  });
});

describe("published policy", () => {
  test("the list is what is kept, its text read", async () => {
    control = await openControl(folder, io);
    const { body } = await ask(control.path, "policy/list", '{"limit":1,"after":"a.test"}');
    expect(body["policies"]).toEqual([
      expect.objectContaining({ policyDomain: "example.net", policy: expect.objectContaining({ mode: "enforce", maxAge: 604_800 }) }),
    ]);
    expect(body["next"]).toBe("example.org");
    expect(io.calls).toEqual([{ name: "policies.list", value: { limit: 1, after: "a.test" } }]);
  });

  test("show says which setting holds for a domain, for an address, and for the relay", async () => {
    control = await openControl(folder, io);
    const shown = async (request: object) => (await ask(control?.path ?? "", "policy/show", JSON.stringify(request))).body;
    expect(await shown({ domain: "example.org" })).toMatchObject({
      published: { mode: "report", setting: "tls.domains: example.org" },
      floor: { level: "authenticated", setting: "tls.floor of this relay" },
      daneSeen: NOW - 3_600_000,
    });
    expect(await shown({ domain: "jo@EXAMPLE.net" })).toMatchObject({ domain: "example.net", kept: { policy: { id: "20260801T0000" } } });
    expect(await shown({})).toMatchObject({ domains: { "example.org": { published: "report" } }, dnssec: { kind: "validating" } });
    expect(await shown({ domain: "[192.0.2.1]" })).not.toHaveProperty("kept");
  });

  test("refresh fetches for a domain, and for nothing else", async () => {
    control = await openControl(folder, io);
    expect((await ask(control.path, "policy/refresh", '{"domain":"example.net"}')).body).toMatchObject({ fetch: { ok: true }, now: NOW });
    expect((await ask(control.path, "policy/refresh", '{"domain":"[192.0.2.1]"}')).code).toBe(400);
    expect(io.calls).toEqual([{ name: "policies.refresh", value: "example.net" }]);
  });

  test("a kept text that no longer parses hides nothing else", async () => {
    io.policies.list = () => Promise.resolve({ policies: [{ ...keptPolicy, policy: { ...kept(), text: "mode: enforce" } }] });
    control = await openControl(folder, io);
    expect((await ask(control.path, "policy/list")).body["policies"]).toEqual([{ policyDomain: "example.net", lastUsed: NOW - 600_000 }]);
  });
});

const kept = () => {
  if (keptPolicy.policy === undefined) throw new Error("the story keeps a policy");
  return keptPolicy.policy;
};

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

  test("a message that was never tried is advised by nobody else's attempt", async () => {
    const story = io.admin.story;
    io.admin.story = async (id) => {
      const told = await story(id);
      return told && { ...told, entries: told.entries.map((entry) => ({ ...entry, attempts: 0, attemptRecords: [] })) };
    };
    control = await openControl(folder, io);
    const { body } = await ask(control.path, "queue/story", '{"id":"0KF3V7Q2M9"}');
    const [entry] = body["entries"] as { advice: { meanwhile: string[] } }[];
    expect(entry?.advice.meanwhile.join("\n")).toMatch(/^postern check example\.org .*\npostern queue retry/);
    expect(entry?.advice.meanwhile.join("\n")).not.toContain("floor");
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
    [
      "a resolver that does not validate: a warning, for mail still goes",
      (fake) => (fake.resolver = { kind: "blind", detail: "127.0.0.11 answered a broken name", since: NOW }),
      true,
      /^ok: .*; warning: DNSSEC-blind, 127\.0\.0\.11 answered/,
    ],
    ["no look-up at all", (fake) => (fake.lookups = "unbound does not start"), false, /nothing can be looked up.*unbound does not start/],
  ])("health: %s", async (_name, break_, healthy, text) => {
    break_(io);
    control = await openControl(folder, io);
    const { body } = await ask(control.path, "health");
    expect(body["healthy"]).toBe(healthy);
    expect(body["text"]).toMatch(text);
  });
});
