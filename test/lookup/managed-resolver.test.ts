import { execFile, spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { rootCertificates } from "node:tls";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { type Settings, settingsSchema } from "../../src/config/settings.ts";
import type { PosternEvent } from "../../src/events.ts";
import { findProgram } from "../../src/lookup/managed-process.ts";
import { openResolver, type Resolver, type ResolverIo } from "../../src/lookup/resolver.ts";
import { type SignedRoot, startSignedRoot } from "../support/unbound.ts";
import { startDnsServer } from "../support/dns-server.ts";
import { findFreePort, makeTempFolder, type TempFolder, waitUntil } from "../support/temp.ts";

/** The resolver that Postern starts: a real unbound below a signed root of our own. */

type Managed = Partial<Settings["resolver"]["managed"]>;

let root: SignedRoot;
beforeAll(async () => {
  root = await startSignedRoot();
});
afterAll(() => root[Symbol.asyncDispose]());

const open: { close(): Promise<unknown> }[] = [];
const folders: TempFolder[] = [];
afterEach(async () => {
  for (const thing of open.splice(0)) await thing.close();
  for (const folder of folders.splice(0)) await folder[Symbol.asyncDispose]();
});

const resolverSettings = (managed: Managed, more: object = {}): Settings["resolver"] =>
  settingsSchema.parse({
    resolver: {
      servers: ["managed"],
      timeout: "2s",
      attempts: 2,
      managed: { trustAnchorFile: root.anchorFile, stubZones: root.stubZones, ...managed },
      selfTest: { broken: ["bogus.example"] },
      ...more,
    },
  }).resolver;

interface World {
  readonly resolver: Resolver;
  readonly events: PosternEvent[];
  readonly folder: string;
  readonly pid: (not?: number) => Promise<number>;
}

async function world(managed: Managed = {}, more: object = {}, io: Partial<ResolverIo> = {}, at?: string): Promise<World> {
  let folder = at;
  if (folder === undefined) {
    const made = await makeTempFolder("managed");
    folders.push(made);
    folder = made.path;
  }
  const events: PosternEvent[] = [];
  const resolver = await openResolver(resolverSettings(managed, more), {
    clock: systemClock,
    emit: (event) => events.push(event),
    dataFolder: folder,
    roots: rootCertificates,
    ipv6: () => false,
    ...io,
  });
  open.push(resolver);
  const pid = (not?: number): Promise<number> =>
    waitUntil("unbound runs", () => (resolver.status().pid === not ? undefined : resolver.status().pid), 20_000);
  return { resolver, events, folder, pid };
}

const isAlive = (pid: number): boolean => {
  try {
    return !/^\d+ \(.*\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
};

describe("it validates", () => {
  let resolver: Resolver;
  let events: PosternEvent[];
  let made: TempFolder;
  beforeAll(async () => {
    made = await makeTempFolder("managed");
    events = [];
    resolver = await openResolver(resolverSettings({}), {
      clock: systemClock,
      emit: (event) => events.push(event),
      dataFolder: made.path,
      roots: rootCertificates,
      ipv6: () => false,
    });
  });
  afterAll(async () => {
    await resolver.close();
    await made[Symbol.asyncDispose]();
  });

  const cases: [name: string, type: "A" | "MX" | "CNAME" | "TLSA", expected: object][] = [
    // Asked while it starts: the question waits.
    ["signed.example", "A", { kind: "answer", records: ["192.0.2.1"], security: "secure" }],
    ["alias.example", "A", { kind: "answer", security: "secure", canonicalName: "signed.example" }],
    ["_25._tcp.signed.example", "TLSA", { kind: "answer", security: "secure" }],
    ["nothing.example", "A", { kind: "no-such-name", security: "secure" }],
    ["signed.example", "TLSA", { kind: "answer", records: [], security: "secure" }],
    ["mx.insecure.example", "A", { kind: "answer", records: ["192.0.2.3"], security: "insecure" }],
    ["nothing.insecure.example", "A", { kind: "no-such-name", security: "insecure" }],
    // RFC 7672 §2.1.3: one insecure link, wherever it stands; the first link's own status by its own type (§2.2.2).
    ["to-insecure.example", "A", { kind: "answer", records: ["192.0.2.3"], security: "insecure" }],
    ["to-insecure.example", "CNAME", { kind: "answer", records: ["mx.insecure.example"], security: "secure" }],
    ["to-signed.insecure.example", "A", { kind: "answer", records: ["192.0.2.1"], security: "insecure" }],
    ["mx.dname.example", "A", { kind: "answer", records: ["192.0.2.4"], security: "secure", canonicalName: "mx.under.example" }],
    [
      "bogus.example",
      "A",
      { kind: "failed", reason: "servfail", detail: expect.stringMatching(/^SERVFAIL from 127\.0\.0\.1:\d+ \(EDE \d+ /) },
    ],
  ];
  for (const [name, type, expected] of cases)
    test(`${name} ${type}: ${JSON.stringify(expected)}`, async () => {
      expect(await resolver.client.ask(name, type)).toMatchObject(expected);
    });

  test("a broken signature is named by its extended error (RFC 8914)", async () => {
    expect(await resolver.client.ask("bogus.example", "A")).toMatchObject({ extendedError: expect.any(Number) });
  });

  test("and says so: its state, its status, and the log", async () => {
    await waitUntil("the self-test has ended", () => resolver.dnssec().kind === "validating");
    expect(resolver.dnssec().detail).toMatch(/^DANE is on: .*the root has AD, 1 of 1 broken names refused/);
    expect(resolver.status()).toMatchObject({
      pid: expect.any(Number),
      servers: [{ name: expect.stringMatching(/^managed \(unbound at 127\.0\.0\.1:\d+\)$/), trusted: true, belief: "validating" }],
    });
    expect(events.map((event) => event.kind)).toEqual(expect.arrayContaining(["resolver-started", "dnssec-state"]));
    // Its start has said whom it asks.
    expect(events.filter((event) => event.kind === "notice")).toEqual([]);
  });

  test("it learns the root's keys into a file of its own (RFC 5011)", () => {
    expect(readFileSync(join(made.path, "resolver", "root.key"), "utf8")).toContain("VALID");
    expect(readFileSync(root.anchorFile, "utf8")).not.toContain("VALID");
  });
});

test("killed, it is started again, and meanwhile questions fail or wait; none turns insecure", async () => {
  const { resolver, pid, events } = await world();
  const first = await pid();
  expect(await resolver.client.ask("signed.example", "A")).toMatchObject({ security: "secure" });
  await waitUntil("the self-test has ended", () => resolver.dnssec().kind === "validating");
  process.kill(first, "SIGKILL");
  const findings = [];
  for (let at = 0; at < 5; at++) {
    resolver.client.clear();
    findings.push(await resolver.client.ask("signed.example", "A"));
  }
  expect(findings.map((finding) => (finding.kind === "failed" ? "failed" : finding.security))).not.toContain("insecure");
  const second = await pid(first);
  expect(second).not.toBe(first);
  resolver.client.clear();
  await waitUntil("it answers again", async () => {
    resolver.client.clear();
    const finding = await resolver.client.ask("signed.example", "A");
    return finding.kind === "answer" && finding.security === "secure";
  });
  expect(events).toContainEqual({ kind: "resolver-died", detail: expect.stringContaining("was ended by SIGKILL"), againIn: 250 });
  expect(resolver.dnssec().kind).toBe("validating");
});

test("a program that ends at once: every question fails, and the state is not blind", async () => {
  const made = await makeTempFolder("liar");
  folders.push(made);
  const program = join(made.path, "unbound");
  writeFileSync(program, '#!/bin/sh\n[ "$1" = -V ] && echo Version 1.17.1 && exit 0\necho "fatal error: no luck" >&2\nexit 1\n', {
    mode: 0o755,
  });
  const { resolver, events } = await world({ program }, { timeout: "300ms", attempts: 1 });
  expect(await resolver.client.ask("signed.example", "A")).toMatchObject({
    kind: "failed",
    reason: "unreachable",
    detail: expect.stringContaining("the managed resolver does not run"),
  });
  await waitUntil("its death is told", () => events.some((event) => event.kind === "resolver-died"));
  expect(events).toContainEqual({ kind: "resolver-died", detail: expect.stringContaining("fatal error: no luck"), againIn: 250 });
  expect(resolver.dnssec().kind).toBe("untested");
});

test("a program that may not read its folder: AppArmor and the remedy are named, however much it says after that", async () => {
  const made = await makeTempFolder("confined");
  folders.push(made);
  const program = join(made.path, "unbound");
  // As unbound 1.17 says it.
  const lines = [
    "error: unable to open root.key for reading: Permission denied",
    "error: error reading auto-trust-anchor-file: root.key",
    "error: validator: error in trustanchors config",
    "error: validator: could not apply configuration settings.",
    "fatal error: failed to setup modules",
  ];
  const says = lines.map((line) => `echo "[1795545211] unbound[29125:0] ${line}" >&2\n`).join("");
  writeFileSync(program, `#!/bin/sh\n[ "$1" = -V ] && echo Version 1.17.1 && exit 0\n${says}exit 1\n`, { mode: 0o755 });
  const { events } = await world({ program });
  const died = await waitUntil("its death is told", () => events.find((event) => event.kind === "resolver-died"));
  expect(died.detail).toMatch(
    /AppArmor .*see docs\/resolver\.md#apparmor: error: unable to open root\.key for reading: Permission denied; /,
  );
  expect(died.detail).toMatch(/fatal error: failed to setup modules$/);
});

describe("it lives no longer than we do", () => {
  test("closed, it is gone with its record", async () => {
    const { resolver, pid, folder } = await world();
    const child = await pid();
    expect(existsSync(join(folder, "resolver", "unbound.pid"))).toBe(true);
    await resolver.close();
    expect(isAlive(child)).toBe(false);
    expect(existsSync(join(folder, "resolver", "unbound.pid"))).toBe(false);
  });

  /** A process of its own that opens a resolver and says the child's pid. */
  async function startOwner(
    folder: string,
    env: NodeJS.ProcessEnv = process.env,
  ): Promise<{ owner: number; child: number; kill(): Promise<void> }> {
    const script = join(folder, "owner.ts");
    const here = join(dirname(fileURLToPath(import.meta.url)), "../../src");
    writeFileSync(
      script,
      `import { openResolver } from ${JSON.stringify(join(here, "lookup/resolver.ts"))};
import { systemClock } from ${JSON.stringify(join(here, "clock.ts"))};
setInterval(() => {}, 1000);
await openResolver(${JSON.stringify(resolverSettings({}))}, {
  clock: systemClock, dataFolder: ${JSON.stringify(folder)}, roots: [], ipv6: () => false,
  emit: (event) => event.kind === "resolver-started" && console.log(event.pid),
});
`,
    );
    const owner = spawn(process.execPath, [script], { stdio: ["ignore", "pipe", "inherit"], env });
    const gone = new Promise<void>((done) => owner.once("close", () => done()));
    const child = await new Promise<number>((done) => owner.stdout.once("data", (line) => done(Number(line))));
    return {
      owner: owner.pid ?? 0,
      child,
      async kill() {
        owner.kill("SIGKILL");
        owner.stdout.destroy();
        await gone;
      },
    };
  }

  test("the relay killed with -9: the kernel ends it", async () => {
    const made = await makeTempFolder("owner");
    folders.push(made);
    const { child, kill } = await startOwner(made.path);
    expect(isAlive(child)).toBe(true);
    await kill();
    await waitUntil("the child is gone", () => !isAlive(child), 5_000);
  });

  test("where the kernel does not, the next start ends it, by its record", async () => {
    const { folder, resolver, pid } = await world();
    const child = await pid();
    const record = JSON.parse(readFileSync(join(folder, "resolver", "unbound.pid"), "utf8")) as object;
    const next = join(folder, "resolver", "next");
    await mkdir(join(next, "resolver"), { recursive: true });
    // As though another process, gone since, had started it.
    const orphaned = { ...record, owner: 1, ownerSince: "0" };
    writeFileSync(join(next, "resolver", "unbound.pid"), JSON.stringify(orphaned));
    const second = await world({}, {}, {}, next);
    await second.pid();
    expect(isAlive(child)).toBe(false);
    expect((await pid(child)) !== child).toBe(true);
    await resolver.close();
  });

  const strangers: [what: string, change: object][] = [
    ["began at another time", { since: "1" }],
    ["has another command line", { mark: "/nowhere/unbound.conf" }],
    ["belongs to a process that lives", {}],
  ];
  for (const [what, change] of strangers)
    test(`a recorded process that ${what} is left alone`, async () => {
      const { folder, pid } = await world();
      const child = await pid();
      const record = JSON.parse(readFileSync(join(folder, "resolver", "unbound.pid"), "utf8")) as object;
      const next = join(folder, "next");
      await mkdir(join(next, "resolver"), { recursive: true });
      const owner = Object.keys(change).length === 0 ? {} : { owner: 1, ownerSince: "0" };
      writeFileSync(join(next, "resolver", "unbound.pid"), JSON.stringify({ ...record, ...owner, ...change }));
      const second = await world({}, {}, {}, next);
      await second.pid();
      expect(isAlive(child)).toBe(true);
    });
});

test("a port that is taken: another one", async () => {
  const blocker = createServer();
  await new Promise<void>((done) => blocker.listen(0, "127.0.0.1", done));
  const bound = blocker.address();
  const taken = typeof bound === "object" && bound !== null ? bound.port : 0;
  const ports = [taken, await findFreePort()];
  const { resolver, pid, events } = await world({}, {}, { managed: { pickPort: () => Promise.resolve(ports.shift() ?? 0) } });
  await pid();
  expect(await resolver.client.ask("signed.example", "A")).toMatchObject({ security: "secure" });
  expect(ports).toEqual([]);
  expect(events.map((event) => event.kind)).not.toContain("resolver-died");
  await new Promise((done) => blocker.close(done));
});

describe("what it needs is missing", () => {
  const none = { managed: { defaultAnchors: ["/nowhere/root.key"] } };

  test("no root key anywhere: unbound is not started, and the package is named", async () => {
    const folder = await makeTempFolder("managed");
    folders.push(folder);
    const settings = resolverSettings({});
    const { trustAnchorFile: _, ...managed } = settings.managed;
    const events: PosternEvent[] = [];
    const resolver = await openResolver(
      { ...settings, managed },
      {
        clock: systemClock,
        emit: (event) => events.push(event),
        dataFolder: folder.path,
        roots: rootCertificates,
        ipv6: () => false,
        ...none,
      },
    );
    open.push(resolver);
    expect(resolver.dnssec()).toMatchObject({ kind: "blind", detail: expect.stringContaining("install the package dns-root-data") });
    expect(events).toContainEqual({ kind: "dnssec-state", state: "blind", detail: expect.stringContaining("dns-root-data") });
    expect(existsSync(join(folder.path, "resolver", "unbound.conf"))).toBe(false);
  });

  const unusable: [what: string, text: string | undefined, error: RegExp][] = [
    ["is not there", undefined, /trustAnchorFile: .*cannot be read \(ENOENT\)/],
    ["holds no key", "; nothing\n", /trustAnchorFile: .*holds no DS or DNSKEY record of the root/],
    ["holds another zone's key", "example. IN DS 1 13 2 AA\n", /holds no DS or DNSKEY record of the root/],
  ];
  for (const [what, text, error] of unusable)
    test(`a named key file that ${what} is refused at once`, async () => {
      const folder = await makeTempFolder("anchor");
      folders.push(folder);
      const file = join(folder.path, "anchor");
      if (text !== undefined) writeFileSync(file, text);
      await expect(world({ trustAnchorFile: file })).rejects.toThrow(error);
    });

  test("no program: blind, with the remedy, and the system's resolvers are asked, every answer insecure", async () => {
    const system = await startDnsServer({ "signed.example": { A: ["192.0.2.1"], secure: true } });
    const { resolver } = await world({ program: "/nowhere/unbound" }, {}, { managed: { systemServers: () => [system] } });
    expect(resolver.dnssec()).toMatchObject({
      kind: "blind",
      detail: expect.stringContaining("install unbound and dns-root-data, or set resolver.servers: [system] to say that DANE is to be off"),
    });
    expect(await resolver.client.ask("signed.example", "A")).toMatchObject({ kind: "answer", security: "insecure" });
    open.push(system);
  });
});

test("root servers that cannot be reached: it asks the system's resolvers, and still validates", async () => {
  const folder = await makeTempFolder("hints");
  folders.push(folder);
  const rootHints = join(folder.path, "hints");
  writeFileSync(rootHints, ". 3600 IN NS a.nowhere.\na.nowhere. 3600 IN A 127.0.0.99\n");
  const { resolver, events } = await world(
    { rootHints, stubZones: [] },
    {},
    { managed: { systemServers: () => [{ address: "127.0.0.1", port: root.port }] } },
  );
  await waitUntil(
    "it has found the way",
    () => resolver.status().servers[0]?.detail.includes("since the root servers cannot be reached"),
    40_000,
  );
  expect(await resolver.client.ask("signed.example", "A")).toMatchObject({ kind: "answer", security: "secure" });
  expect(await resolver.client.ask("bogus.example", "A")).toMatchObject({ kind: "failed" });
  expect(events.filter((event) => event.kind === "resolver-started").map((event) => event.forwarders)).toEqual([
    [],
    [`127.0.0.1:${root.port}`],
  ]);
}, 60_000);

test("nobody that can be reached: the log and the state say that all mail to MX hosts waits, and what to do", async () => {
  const folder = await makeTempFolder("hints");
  folders.push(folder);
  const rootHints = join(folder.path, "hints");
  writeFileSync(rootHints, ". 3600 IN NS a.nowhere.\na.nowhere. 3600 IN A 127.0.0.99\n");
  const { resolver, events } = await world({ rootHints, stubZones: [] }, {}, { managed: { systemServers: () => [] } });
  const remedy =
    "until then all mail to MX hosts waits: open port 53, set resolver.managed.forwarders, " +
    "or resolver.servers: [system] (DNS_RESOLVER=system, without DANE)";
  await waitUntil("it is told", () => events.find((event) => event.kind === "notice" && event.text.includes(remedy)), 40_000);
  expect(resolver.dnssec()).toMatchObject({ kind: "untested", detail: expect.stringContaining(remedy) });
  await resolver.testNow();
  expect(resolver.dnssec()).toMatchObject({ kind: "untested", detail: expect.stringContaining(remedy) });
  expect(resolver.status().servers[0]?.detail.split(remedy)).toHaveLength(2);
}, 60_000);

test("the configuration is one that unbound takes, with everything set", async () => {
  const folder = await makeTempFolder("conf");
  folders.push(folder);
  const { pid, folder: data } = await world({
    forwarders: ["tls://127.0.0.1#dns.example"],
    insecureZones: ["corp.internal"],
    localNames: ["test", "10.in-addr.arpa."],
    stubZones: [{ zone: "corp.internal", servers: ["127.0.0.1@5353", "::1"] }],
  });
  await pid();
  const checkconf = findProgram("unbound-checkconf") ?? "unbound-checkconf";
  const resolverFolder = join(data, "resolver");
  const { stdout } = await promisify(execFile)(checkconf, [join(resolverFolder, "unbound.conf")], { cwd: resolverFolder });
  expect(stdout).toContain("no errors");
});
