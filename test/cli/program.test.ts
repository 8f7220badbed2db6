import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Control, openControl } from "../../src/admin/control.ts";
import { CliFailure, EXIT, FaultySettings } from "../../src/cli/io.ts";
import type { QueueStore } from "../../src/queue/store.ts";
import { type FakeIo, fakeIo, RUNNING } from "../admin/fake-io.ts";
import type { CheckVerdict } from "../../src/queue/check.ts";
import { refreshed, refusedVerdict } from "./check-story.ts";
import { run } from "./run.ts";
import { entryStory, NOW, story } from "./story.ts";

let folder: string;
let io: FakeIo;
let control: Control | undefined;
let server: Server | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "postern-cli-"));
  io = fakeIo();
});
afterEach(async () => {
  await control?.close();
  control = undefined;
  server?.close();
  server = undefined;
  rmSync(folder, { recursive: true, force: true });
});

const relay = async (): Promise<void> => {
  control = await openControl(folder, io);
};

describe("exit codes and streams", () => {
  const cases: [name: string, argv: string[], code: number, out: RegExp, err: RegExp][] = [
    ["help", ["--help"], 0, /Usage: postern[\s\S]*Exit codes:[\s\S]*75 {2}not now/, /^$/],
    ["help of a command names the global options", ["queue", "ls", "--help"], 0, /--reason <type>[\s\S]*--json/, /^$/],
    ["version", ["--version"], 0, /^\d+\.\d+\.\d+\n$/, /^$/],
    ["nothing", [], 64, /^$/, /Usage: postern/],
    ["an unknown command, with a suggestion", ["queu"], 64, /^$/, /unknown command 'queu'[\s\S]*Did you mean queue/],
    ["an unknown option", ["queue", "ls", "--colour"], 64, /^$/, /unknown option '--colour'/],
    ["an unknown argument of a filter", ["queue", "ls", "--older", "yesterday"], 64, /^$/, /no age like 30m/],
    ["a state that is none", ["queue", "ls", "--state", "lost"], 64, /^$/, /waiting, active or finished/],
    ["a destination that is no name", ["queue", "ls", "--domain", "a b"], 64, /^$/, /--domain: not a domain name/],
    ["a message that is not there", ["queue", "why", "nosuchid00"], 1, /^$/, /^postern: no message "nosuchid00"/],
    ["a retry of nothing in particular", ["queue", "retry"], 64, /^$/, /ids, a filter .* or --everything/],
    ["a retry that matches nothing", ["queue", "retry", "NOSUCHID00"], 1, /^Nothing that waits matches/, /^$/],
    ["a user who is not there", ["user", "rm", "nobody"], 1, /^$/, /no user "nobody"/],
    ["reload", ["reload"], 0, /^Changed: tls\.floor\n$/, /^$/],
    ["status", ["status"], 0, /process 4711[\s\S]*smtp +127\.0\.0\.1:2525/, /^$/],
    ["healthcheck", ["healthcheck"], 0, /^ok: listening on smtp.*\n$/, /^$/],
    ["a sender that is no address", ["send", "--from", "me", "--to", "a@example.org"], 64, /^$/, /--from "me"/],
    [
      "a file that is not there",
      ["send", "/nowhere/mail.eml", "--from", "a@example.com", "--to", "b@example.org"],
      66,
      /^$/,
      /cannot be read/,
    ],
  ];
  for (const [name, argv, code, out, err] of cases)
    test(name, async () => {
      await relay();
      const ran = await run(argv, { folder });
      expect(ran.out).toMatch(out);
      expect(ran.err).toMatch(err);
      expect(ran.code).toBe(code);
    });

  test("a wrong configuration is 78 and tells every error", async () => {
    const readSettings = () => Promise.reject(new CliFailure(EXIT.config, "the configuration has 2 errors:\n  one\n  two"));
    const ran = await run(["queue", "ls"], { folder, rooms: { readSettings } });
    expect(ran).toEqual({ code: 78, out: "", err: "postern: the configuration has 2 errors:\n  one\n  two\n" });
  });

  describe("a configuration with faults, while a relay runs with a sound one", () => {
    const faulty = (): Promise<never> => Promise.reject(new FaultySettings("the configuration has 2 errors:\n  one\n  two", "one"));
    const warning = "postern: the configuration has errors; the running relay keeps its old one: one; see postern config check\n";
    const asked: [argv: string[], out: RegExp][] = [
      [["healthcheck"], /^ok: listening/],
      [["status"], /process 4711/],
      [["queue", "ls"], /0KF3V7Q2M9/],
      [["policy", "show"], /^floor /],
      [["check", "example.org", "--no-connect"], /asked the running server/],
    ];
    for (const [argv, out] of asked)
      test(`${argv.join(" ")} asks it, and says so in one line`, async () => {
        await relay();
        const ran = await run(argv, { folder, rooms: { readSettings: faulty } });
        expect(ran.out).toMatch(out);
        expect(ran.err).toBe(warning);
      });

    test("where none runs, or nobody knows its folder, the errors are the answer", async () => {
      const told = { code: 78, out: "", err: "postern: the configuration has 2 errors:\n  one\n  two\n" };
      expect(await run(["check", "example.org"], { folder, rooms: { readSettings: faulty } })).toEqual(told);
      await relay();
      const findDataFolder = () => Promise.resolve(undefined);
      expect(await run(["queue", "ls"], { folder, rooms: { readSettings: faulty, findDataFolder } })).toEqual(told);
    });
  });

  test("our own fault is 70, with its stack", async () => {
    const openStore = () => Promise.reject(new TypeError("x is not a function"));
    const ran = await run(["user", "hash"], { folder, input: "pw\n", rooms: { hashPassword: openStore } });
    expect(ran.code).toBe(70);
    expect(ran.err).toMatch(/TypeError: x is not a function\n {4}at /);
  });

  test("status says that a listener offers no TLS for want of a certificate", async () => {
    const listeners = RUNNING.listeners.map((listener) => ({ ...listener, lacksCertificate: true as const }));
    io.status = () => ({ ...RUNNING, listeners });
    await relay();
    expect((await run(["status"], { folder })).out).toMatch(/^smtp .* tls none, for want of a certificate, login/m);
  });

  test("a reload says what waits for the next start", async () => {
    io.reload = () => Promise.resolve({ ok: true, changed: ["tls.floor", "resolver.timeout"], needsRestart: ["resolver"] });
    await relay();
    expect((await run(["reload"], { folder })).out).toBe("Changed: tls.floor, resolver.timeout\nAt the next start only: resolver\n");
  });

  test("a reload that was refused is 78 and says what stays", async () => {
    io.reload = () => Promise.resolve({ ok: false, errors: ["line 3: unknown key"] });
    await relay();
    expect(await run(["reload"], { folder })).toEqual({ code: 78, out: "", err: "line 3: unknown key\nThe old configuration stays.\n" });
  });
});

describe("queue commands ask the running relay", () => {
  test("ls hands its filters over", async () => {
    await relay();
    await run(
      [
        "queue",
        "ls",
        "--from",
        "a@example.com",
        "--to",
        "example.org",
        "--domain",
        "Example.ORG",
        "--reason",
        "timeout",
        "--older",
        "2h",
        "--state",
        "deferred",
        "--id",
        "0kf3v7q2m9",
        "--limit",
        "7",
        "--after",
        "x",
      ],
      { folder },
    );
    expect(io.calls).toEqual([
      {
        name: "list",
        value: {
          filter: {
            ids: ["0KF3V7Q2M9"],
            from: "a@example.com",
            to: "example.org",
            reason: "timeout",
            nextHop: "example.org",
            receivedBefore: NOW - 7_200_000,
            state: "waiting",
          },
          page: { limit: 7, after: "x" },
        },
      },
    ]);
  });

  test("why, in words and as JSON, with the id in any case", async () => {
    await relay();
    expect((await run(["queue", "why", "0kf3v7q2m9"], { folder })).out).toContain("who acts   example.org: renew the certificate");
    const json = JSON.parse((await run(["queue", "why", "0KF3V7Q2M9", "--json"], { folder })).out) as typeof story;
    expect(json.entries[0]).toEqual(JSON.parse(JSON.stringify(entryStory)));
  });

  test("summary, mailq over all pages, and JSON for each", async () => {
    await relay();
    expect((await run(["queue", "summary"], { folder })).out).toMatch(/^1830 waiting/);
    expect((await run(["--json", "queue", "summary", "--limit", "2"], { folder })).out).toMatch(/"waiting": 1830/);
    expect((await run(["mailq"], { folder })).out).toMatch(/in 3 Requests\.\n$/);
    expect(JSON.parse((await run(["mailq", "--json"], { folder })).out)).toHaveProperty("entries.length", 3);
    expect(JSON.parse((await run(["queue", "ls", "--json"], { folder })).out)).toHaveProperty("entries.length", 3);
  });

  test("retry: a script is not asked, a person is, and no means no", async () => {
    await relay();
    expect((await run(["queue", "retry", "--domain", "example.org"], { folder })).out).toBe("1 message to 1 destination due now.\n");
    const yes = await run(["queue", "retry", "--everything"], { folder, terminal: true, input: "y\n" });
    expect(yes.err).toBe("Try 2 messages now? [y/N] ");
    expect(yes.out).toBe("2 messages to 2 destinations due now.\n");
    io.calls.length = 0;
    const no = await run(["queue", "retry", "--everything"], { folder, terminal: true, input: "\n" });
    expect(no).toMatchObject({ code: 1, out: "" });
    expect(io.calls.map((call) => call.name)).not.toContain("retryNow");
    expect((await run(["queue", "retry", "--everything", "--yes"], { folder, terminal: true })).code).toBe(0);
    expect((await run(["queue", "retry", "--everything", "--dry-run"], { folder })).out).toBe("2 messages would be tried now.\n");
  });
});

describe("check and policy", () => {
  const usage: [name: string, argv: string[], err: RegExp][] = [
    ["no destination", ["check"], /missing required argument 'destination'/],
    ["a destination that is none", ["check", "a b"], /^postern: not a domain name: "a b"\n$/],
    ["an unknown option", ["check", "example.net", "--colour"], /unknown option '--colour'/],
    ["two tags", ["check", "example.net", "--requiretls", "--tls-optional"], /exclude each other/],
  ];
  for (const [name, argv, err] of usage)
    test(`${name} is 2, which no verdict is`, async () => {
      await relay();
      const ran = await run(argv, { folder });
      expect(ran).toMatchObject({ code: 2, out: "", err: expect.stringMatching(err) });
      expect(io.calls).toEqual([]);
    });

  test("help has examples and its own exit codes", async () => {
    const { out, code } = await run(["check", "--help"], { folder });
    expect(code).toBe(0);
    expect(out).toMatch(/postern check example\.net --no-connect[\s\S]*3 {2}a look-up failed/);
    expect((await run(["policy", "--help"], { folder })).out).toMatch(/postern policy refresh example\.net/);
  });

  test("the running relay is asked, and says so", async () => {
    await relay();
    const ran = await run(["check", "jo@Example.NET", "--tls-optional", "--no-connect"], { folder });
    expect(io.calls).toEqual([{ name: "check", value: { nextHop: "example.net", options: { connect: false, tag: "optional" } } }]);
    expect(ran).toMatchObject({ code: 1, err: "" });
    expect(ran.out).toMatch(/^example\.net, [\s\S]*verdict +FAIL +refused by policy[\s\S]*asked the running server\)\n$/);
  });

  const verdicts: [kind: CheckVerdict["kind"], code: number][] = [
    ["deliverable", 0],
    ["refused", 1],
    ["undeliverable", 1],
    ["lookup-failed", 3],
  ];
  for (const [kind, code] of verdicts)
    test(`${kind} is ${code}, in JSON one value a line`, async () => {
      io.check = (_nextHop, _options, emit) => Promise.resolve(emit({ ...refusedVerdict, kind }));
      await relay();
      const ran = await run(["check", "example.net", "--json"], { folder });
      expect(ran.code).toBe(code);
      expect(
        ran.out
          .trimEnd()
          .split("\n")
          .map((line) => (JSON.parse(line) as { kind: string }).kind),
      ).toEqual([kind]);
    });

  test("a stream that breaks off is an error, whatever came before", async () => {
    io.checkError = new Error("disk I/O error");
    await relay();
    expect(await run(["check", "example.net"], { folder })).toMatchObject({ code: 70, err: "postern: the relay says: disk I/O error\n" });
    const broken = createServer((socket) => {
      socket.on("data", (chunk: Buffer) => {
        if (!chunk.includes("/check")) socket.end("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
        else socket.end('HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n{"stage":"resolver",\n');
      });
    });
    await control?.close();
    control = undefined;
    broken.listen(join(folder, "postern.sock"));
    await once(broken, "listening");
    expect(await run(["check", "example.net"], { folder })).toMatchObject({ code: 70, err: expect.stringMatching(/cannot be read/) });
    broken.removeAllListeners("connection").on("connection", (socket) => {
      socket.on("data", () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 35\r\n\r\n{"stage":"mx","hosts":[],"more":0}\n'));
    });
    expect(await run(["check", "example.net"], { folder })).toMatchObject({ code: 75, err: expect.stringMatching(/without a verdict/) });
    broken.close();
    await once(broken, "close");
  });

  test("without a relay the same is made from the settings, and said", async () => {
    let closed = 0;
    const fake = fakeIo();
    const openProbe = () =>
      Promise.resolve({
        check: fake.check,
        refresh: fake.policies.refresh,
        dnssec: () => ({ kind: "validating" as const, detail: "", since: NOW }),
        close: () => Promise.resolve(void closed++),
      });
    const ran = await run(["check", "example.net"], { folder, rooms: { openProbe } });
    expect(ran.code).toBe(1);
    expect(ran.out).toMatch(/no relay runs: asked from here, with these settings; a running one may know more\n$/);
    expect(closed).toBe(1);
    // Only an empty place has nothing to show.
    expect((await run(["policy", "list"], { folder, rooms: { openProbe } })).code).toBe(75);
  });

  test("policy show, list and refresh", async () => {
    await relay();
    expect((await run(["policy", "show", "example.net"], { folder })).out).toMatch(/^domain +example\.net\n[\s\S]*MTA-STS +mode enforce/m);
    expect((await run(["policy", "show"], { folder })).out).toMatch(/domains +example\.org: published report/);
    expect((await run(["policy", "list", "--limit", "1"], { folder })).out).toMatch(/^DOMAIN[\s\S]*\nMore: add --after example\.org\n$/);
    expect((await run(["policy", "refresh", "example.net"], { folder })).code).toBe(0);
    expect(JSON.parse((await run(["policy", "refresh", "example.net", "--json"], { folder })).out)).toHaveProperty("fetch.ok", true);
    expect((await run(["policy", "list", "--limit", "0"], { folder })).code).toBe(64);
    expect((await run(["policy", "show", "a b"], { folder })).code).toBe(64);
  });

  test("a refresh that failed is 1, and says why and what stays", async () => {
    const failure = { type: "sts-policy-fetch-error", detail: "status 500", whoActs: "receiver" } as const;
    io.policies.refresh = () => Promise.resolve({ ...refreshed, fetch: { ok: false, failure }, finding: { ...found(), trouble: failure } });
    await relay();
    const ran = await run(["policy", "refresh", "example.net"], { folder });
    expect(ran.code).toBe(1);
    expect(ran.out).toMatch(
      /mta-sts\.txt FAILED\n +sts-policy-fetch-error: status 500\n[\s\S]*now +enforce, id [\s\S]*kept, though the latest look at it failed: sts-policy-fetch-error/,
    );
  });

  test("status says what the resolver is worth, and each one by itself", async () => {
    await relay();
    const { out } = await run(["status"], { folder });
    expect(out).toMatch(/^DNSSEC +validating since .* UTC: 127\.0\.0\.1 validates$/m);
    expect(out).toMatch(
      /^resolver +managed \(unbound at 127\.0\.0\.1:41953\), process 4712 {3}validating, tested 2026-09-02 10:23:22 UTC: validates \(the root has AD\); unbound asks the root servers$/m,
    );
    io.servers = { servers: [{ name: "192.0.2.53", trusted: false, detail: "its AD bit is not believed" }] };
    expect((await run(["status"], { folder })).out).toMatch(/^resolver +192\.0\.2\.53 {3}its AD bit is not believed$/m);
    expect(JSON.parse((await run(["status", "--json"], { folder })).out)).toHaveProperty("resolvers.servers.0.name", "192.0.2.53");
  });
});

const found = () => {
  if (refreshed.finding.kind !== "policy") throw new Error("the story finds a policy");
  return refreshed.finding;
};

describe("users", () => {
  test("a password comes from standard input and leaves only as a hash", async () => {
    await relay();
    const added = await run(["user", "add", "alice", "--send-as", "@example.com", "a@example.net"], { folder, input: "se cret\n" });
    expect(added).toEqual({ code: 0, out: "Added alice.\n", err: "" });
    expect(io.people.get("alice")).toMatchObject({ passwordHash: "hash of se cret", maySendAs: ["@example.com", "a@example.net"] });
    expect((await run(["user", "add", "alice", "--generate"], { folder })).out).toMatch(/^Changed alice\. Password: [\w-]{24}\n$/);
    expect((await run(["user", "ls"], { folder })).out).toMatch(
      /NAME +MAY SEND AS +SINCE\nalice +any allowed sender domain +2026-09-02 10:24:22 UTC\n$/,
    );
    expect((await run(["user", "rm", "alice"], { folder })).out).toBe("Removed alice.\n");
    expect((await run(["user", "ls", "--json"], { folder })).out).toBe('{\n  "users": []\n}\n');
  });
  test("at a terminal it is asked for twice, unseen", async () => {
    expect(await run(["user", "hash"], { folder, terminal: true, input: "rightt\u007f\rright\r" })).toEqual({
      code: 0,
      out: "hash of right\n",
      err: "Password: \nAgain: \n",
    });
    expect(await run(["user", "hash"], { folder, terminal: true, input: "right\u0003" })).toMatchObject({
      code: 64,
      out: "",
      err: expect.stringMatching(/stopped/),
    });
    expect(await run(["user", "hash"], { folder, terminal: true, input: "wrong\nwrongly\n" })).toMatchObject({
      code: 64,
      err: expect.stringMatching(/differ/),
    });
  });
  test("no password is no user", async () => {
    await relay();
    expect(await run(["user", "add", "bob"], { folder })).toMatchObject({ code: 64, out: "", err: expect.stringMatching(/no password/) });
    expect(io.people.size).toBe(0);
  });
});

describe("when no relay runs", () => {
  const down: [string, string[], number, RegExp][] = [
    ["reading an empty place", ["queue", "ls"], 75, /no relay runs and no queue is in .*postern serve/],
    ["send", ["send", "--from", "a@example.com", "--to", "b@example.org", "--body", "x"], 75, /no relay runs with data folder/],
    ["healthcheck", ["healthcheck"], 1, /no relay runs/],
    ["reload", ["reload"], 75, /no relay runs/],
  ];
  for (const [name, argv, code, err] of down)
    test(name, async () => {
      const ran = await run(argv, { folder });
      expect(ran.code).toBe(code);
      expect(ran.err).toMatch(err);
      expect(ran.out).toBe("");
    });

  test("the same handlers work on the file, which is closed again", async () => {
    const fake = fakeIo();
    let closed = 0;
    const store = {
      admin: fake.admin,
      users: fake.users,
      probe: fake.store.probe,
      trouble: fake.store.trouble,
      close: () => Promise.resolve(void closed++),
    } as unknown as QueueStore;
    const made: boolean[] = [];
    const rooms = {
      openStore: (_settings: unknown, mayCreate: boolean) => {
        made.push(mayCreate);
        return Promise.resolve(store);
      },
    };
    expect((await run(["queue", "why", "0KF3V7Q2M9"], { folder, rooms })).out).toContain("who acts");
    expect((await run(["queue", "retry", "0KF3V7Q2M9"], { folder, rooms })).out).toBe(
      "1 message to 1 destination due when the relay starts.\n",
    );
    expect((await run(["queue", "why", "NOSUCHID00"], { folder, rooms })).code).toBe(1);
    expect((await run(["user", "add", "alice"], { folder, rooms, input: "pw\n" })).code).toBe(0);
    // Only adding a user may make a database that is not there.
    expect(made).toEqual([false, false, false, true]);
    expect(closed).toBe(4);
  });

  test("it is closed too where the outside cannot be asked", async () => {
    let closed = 0;
    const store = { close: () => Promise.resolve(void closed++) } as unknown as QueueStore;
    const openProbe = () => Promise.reject(new Error("the roots cannot be read"));
    const rooms = { openStore: () => Promise.resolve(store), openProbe };
    expect(await run(["check", "example.net"], { folder, rooms })).toMatchObject({
      code: 70,
      err: expect.stringContaining("the roots cannot be read"),
    });
    expect(closed).toBe(1);
  });

  test("a database that is in use without a socket is told, not waited for", async () => {
    const openStore = () => Promise.reject(new Error("the queue is in use by process 7"));
    expect(await run(["queue", "ls"], { folder, rooms: { openStore } })).toMatchObject({
      code: 75,
      err: expect.stringMatching(/no relay answers, and its database cannot be opened: .*process 7/),
    });
  });
});

test("a relay that runs and says nothing is an error, and its file stays untouched", async () => {
  server = createServer(() => {});
  server.listen(join(folder, "postern.sock"));
  await once(server, "listening");
  let opened = false;
  const openStore = () => {
    opened = true;
    return Promise.resolve(undefined);
  };
  const ran = await run(["queue", "ls"], { folder, rooms: { answerTimeout: 50, openStore } });
  expect(ran).toMatchObject({ code: 75, out: "", err: expect.stringMatching(/does not answer within 0\.05 s/) });
  expect(opened).toBe(false);
});

test("an answer that breaks off or is no JSON is an error", async () => {
  for (const says of ["HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{]"]) {
    const sockets: Socket[] = [];
    const broken = createServer((socket) => {
      sockets.push(socket);
      socket.on("data", () => socket.end(says));
    });
    broken.listen(join(folder, "postern.sock"));
    await once(broken, "listening");
    const ran = await run(["queue", "ls"], { folder });
    expect(ran.code).not.toBe(0);
    expect(ran.err).toMatch(/^postern: the relay/);
    for (const socket of sockets) socket.destroy();
    broken.close();
    await once(broken, "close");
  }
});

describe("send", () => {
  /** An SMTP server that takes everything but what `refuse` names, and keeps what it was told. */
  async function listen(refuse: Record<string, string> = {}): Promise<string[]> {
    const heard: string[] = [];
    server = createServer((socket) => {
      let data = false;
      let rest = "";
      socket.write("220 relay.test ESMTP\r\n");
      socket.setEncoding("utf8").on("data", (chunk: string) => {
        rest += chunk;
        for (let end = rest.indexOf("\r\n"); end >= 0; end = rest.indexOf("\r\n")) {
          const line = rest.slice(0, end);
          rest = rest.slice(end + 2);
          heard.push(line);
          if (data) {
            if (line !== ".") continue;
            data = false;
            socket.write(`${refuse["."] ?? "250 2.0.0 Ok: queued as 0KF3V7Q2M9"}\r\n`);
          } else if (line.startsWith("EHLO")) socket.write("250-relay.test\r\n250-8BITMIME\r\n250-STARTTLS\r\n250 SMTPUTF8\r\n");
          else {
            const verb = line.slice(0, 4).toUpperCase();
            data = verb === "DATA";
            socket.write(`${refuse[line] ?? refuse[verb] ?? (data ? "354 go" : verb === "QUIT" ? "221 bye" : "250 ok")}\r\n`);
          }
        }
      });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    // A wildcard address and a listener before it that asks for login: neither may be dialled as it stands.
    io.relay = {
      ...RUNNING,
      listeners: [
        { name: "users", address: "127.0.0.1", port: 1, tls: "starttls", login: "required", open: true },
        { name: "smtps", address: "127.0.0.1", port: 1, tls: "implicit", login: "optional", open: true },
        { name: "shut", address: "127.0.0.1", port: 1, tls: "off", login: "optional", open: false },
        { name: "smtp", address: "0.0.0.0", port, tls: "starttls", login: "optional", open: true },
      ],
    };
    await relay();
    return heard;
  }
  const envelope = ["--from", "app@example.com", "--to", "jo@example.org", "al@example.net"];

  test("a made message, and the id it was queued as", async () => {
    const heard = await listen();
    const ran = await run(["send", ...envelope, "--subject", "Grüße\r\nBcc: x@example.org", "--body", "one\n.two\nthree ü"], { folder });
    expect(ran).toEqual({ code: 0, out: "queued as 0KF3V7Q2M9\n", err: "" });
    expect(heard).toContain("MAIL FROM:<app@example.com> BODY=8BITMIME");
    expect(heard.filter((line) => line.startsWith("RCPT"))).toEqual(["RCPT TO:<jo@example.org>", "RCPT TO:<al@example.net>"]);
    expect(heard.some((line) => line.startsWith("Subject: =?utf-8?B?"))).toBe(true);
    expect(heard.some((line) => line.startsWith("Bcc:"))).toBe(false);
    expect(heard.slice(-5)).toEqual(expect.arrayContaining(["one", "..two", "three ü", "."]));
  });

  test("a file goes as it stands", async () => {
    const heard = await listen();
    writeFileSync(join(folder, "m.eml"), "Subject: x\r\n\r\nhello\r\n");
    expect((await run(["send", join(folder, "m.eml"), ...envelope, "--json"], { folder })).out).toBe('{\n  "id": "0KF3V7Q2M9"\n}\n');
    expect(heard.slice(heard.indexOf("DATA") + 1, heard.indexOf("."))).toEqual(["Subject: x", "", "hello"]);
  });

  test("standard input, and the null sender", async () => {
    const heard = await listen();
    expect((await run(["send", "--from", "<>", "--to", "jo@example.org"], { folder, input: "Subject: y\n\nbody\n" })).code).toBe(0);
    expect(heard).toContain("MAIL FROM:<> BODY=8BITMIME");
    expect(heard).toContain("Subject: y");
  });

  const refusals: [string, Record<string, string>, number, RegExp][] = [
    [
      "a sender for good",
      { MAIL: "550 5.7.1 sender domain example.com is not allowed" },
      69,
      /refused the message: 550 5\.7\.1 sender domain/,
    ],
    ["every recipient", { RCPT: "554 5.7.1 outside the fence" }, 69, /refused/],
    ["the message for now", { ".": "452 4.3.1 disk under 200 MiB free" }, 75, /does not take the message now: 452 4\.3\.1/],
  ];
  for (const [name, refuse, code, err] of refusals)
    test(`refused: ${name}`, async () => {
      await listen(refuse);
      const ran = await run(["send", ...envelope, "--body", "x"], { folder });
      expect(ran.err).toMatch(err);
      expect(ran.code).toBe(code);
      expect(ran.out).toBe("");
    });

  test("a message taken for one recipient of two is queued, and the other's refusal is told", async () => {
    await listen({ "RCPT TO:<al@example.net>": "554 5.7.1 outside the fence" });
    const ran = await run(["send", ...envelope, "--body", "x"], { folder });
    expect(ran).toEqual({
      code: 69,
      out: "queued as 0KF3V7Q2M9\n",
      err: "postern: refused for al@example.net: 554 5.7.1 outside the fence\n",
    });
  });

  test("--wait says what became of it, and the exit code too", async () => {
    await listen();
    const waited = await run(["send", ...envelope, "--body", "x", "--wait"], { folder });
    expect(waited.out).toMatch(
      /^queued as 0KF3V7Q2M9\ndeferred to jo@example\.org: certificate-expired: .*; next try 11:04:40 UTC\n {2}postern queue why 0KF3V7Q2M9\n$/,
    );
    expect(waited.code).toBe(75);
    const finish = (state: "delivered" | "failed"): void => {
      const { problem: _problem, ...rest } = entryStory;
      const done = { ...rest, state: "finished" as const, recipients: rest.recipients.map((recipient) => ({ ...recipient, state })) };
      io.admin.story = () => Promise.resolve(story.message && { message: story.message, entries: [done] });
    };
    finish("delivered");
    expect(await run(["send", ...envelope, "--body", "x", "--wait"], { folder })).toMatchObject({
      code: 0,
      out: expect.stringContaining("delivered to jo@example.org"),
    });
    finish("failed");
    expect((await run(["send", ...envelope, "--body", "x", "--wait"], { folder })).code).toBe(69);
  });
});
