import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { settingsSchema } from "../../src/config/settings.ts";
import type { PosternEvent } from "../../src/events.ts";
import { openResolver, type Resolver } from "../../src/lookup/resolver.ts";
import { createTestCa, type TestCa } from "../support/certificates.ts";
import { type DnsServer, startDnsServer, type Zone } from "../support/dns-server.ts";
import { MovedClock } from "../support/moved-clock.ts";
import { makeTempFolder, type TempFolder } from "../support/temp.ts";

/** Whose AD bit is believed, and when no more (RFC 7672 §2.1.1, RFC 4035 §4.9.3). Scripted resolvers, no unbound. */

let ca: TestCa;
let folder: TempFolder;
beforeAll(async () => {
  ca = await createTestCa();
  folder = await makeTempFolder("resolver");
  return () => folder[Symbol.asyncDispose]();
});
const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).toReversed()) await thing.close();
});

/** A resolver that validates, as far as a stub can see. */
const validating: Zone = {
  ".": { SOA: true, secure: true },
  "signed.example": { A: ["192.0.2.1"], secure: true },
  "broken.example": { A: ["192.0.2.2"], behave: { kind: "rcode", rcode: "SERVFAIL", ede: { code: 6 } } },
};

async function serve(zone: Zone, options: Parameters<typeof startDnsServer>[1] = {}): Promise<DnsServer> {
  const server = await startDnsServer(zone, options);
  open.push(server);
  return server;
}

interface World {
  readonly resolver: Resolver;
  readonly clock: MovedClock;
  readonly events: PosternEvent[];
  /** The state after the test that runs at the opening. */
  readonly tested: () => Promise<string>;
  readonly security: (name?: string) => Promise<string>;
}

async function world(section: object, resolvConf = "nameserver 127.0.0.53\n"): Promise<World> {
  const clock = new MovedClock();
  const events: PosternEvent[] = [];
  const file = join(folder.path, `resolv.conf-${Math.random()}`);
  writeFileSync(file, resolvConf);
  const resolver = await openResolver(
    settingsSchema.parse({ resolver: { attempts: 1, selfTest: { broken: ["broken.example"], every: "1h" }, ...section } }).resolver,
    {
      clock,
      emit: (event) => events.push(event),
      dataFolder: folder.path,
      roots: ca.pem,
      ipv6: () => true,
      resolvConf: file,
    },
  );
  open.push(resolver);
  return {
    resolver,
    clock,
    events,
    async tested() {
      await resolver.testNow();
      return resolver.dnssec().kind;
    },
    async security(name = "signed.example") {
      resolver.client.clear();
      const finding = await resolver.client.ask(name, "A");
      return finding.kind === "failed" ? "failed" : finding.security;
    },
  };
}

describe("whose AD bit is believed", () => {
  test("no address that is not listed, loopback included: untrusted, every answer insecure, said once", async () => {
    const server = await serve(validating);
    const { resolver, security, tested, events, clock } = await world({ servers: [server.setting] });
    expect(await tested()).toBe("untrusted");
    expect(await security()).toBe("insecure");
    await clock.pass(3 * 3_600_000);
    resolver.dnssec();
    expect(events).toEqual([
      {
        kind: "dnssec-state",
        state: "untrusted",
        detail: expect.stringMatching(/^DANE is off: .*set resolver\.servers: \[managed\], or list/),
      },
    ]);
    expect(resolver.status().servers).toEqual([
      { name: server.setting, trusted: false, detail: expect.stringContaining("not listed in resolver.validating") },
    ]);
  });

  test("one that the operator lists, until the self-test says otherwise", async () => {
    const server = await serve(validating);
    const { security, tested } = await world({ servers: [server.setting], validating: [server.setting] });
    expect(await security()).toBe("secure");
    expect(await tested()).toBe("validating");
    expect(await security()).toBe("secure");
  });

  for (const address of ["127.0.0.1", "127.0.0.11", "127.0.0.53"])
    test(`the system's ${address} is not believed unless it is listed`, async () => {
      const { resolver } = await world({ servers: ["system"] }, `nameserver ${address}\n`);
      expect(resolver.dnssec().kind).toBe("untrusted");
      const { resolver: listed } = await world({ servers: ["system"], validating: [address] }, `nameserver ${address}\n`);
      expect(listed.dnssec().kind).toBe("untested");
    });

  test("one that proved its name over TLS", async () => {
    const { certificate, key } = await ca.issue({ names: ["dns.test"] });
    const server = await serve(validating, { tls: { certificate, key } });
    const { security, tested } = await world({ servers: [`tls://127.0.0.1:${server.port}#dns.test`] });
    expect(await tested()).toBe("validating");
    expect(await security()).toBe("secure");
    const { security: other, tested: otherTested } = await world({ servers: [`tls://127.0.0.1:${server.port}#other.test`] });
    expect(await other()).toBe("failed");
    expect(await otherTested()).toBe("untested");
  });

  const refused: [what: string, section: object, error: RegExp][] = [
    [
      "system as validating",
      { servers: ["system"], validating: ["system"] },
      /resolver\.validating\[0\]: name the addresses that validate/,
    ],
    ["nonsense", { servers: ["resolver"] }, /resolver\.servers\[0\]: not an address of a DNS server: "resolver"/],
    ["an injected zone", { servers: ["managed"], managed: { insecureZones: ["a\nb"] } }, /resolver\.managed\.insecureZones\[0\]/],
  ];
  for (const [what, section, error] of refused)
    test(`${what} is refused at once`, async () => {
      await expect(world(section)).rejects.toThrow(error);
    });
});

describe("a believed resolver that positively does not validate", () => {
  const blinds: [what: string, change: (server: DnsServer) => void][] = [
    ["no AD for a signed name", (server) => server.set(".", { SOA: true })],
    ["an answer for a broken name", (server) => server.set("broken.example", { A: ["192.0.2.2"] })],
  ];
  for (const [what, change] of blinds)
    test(`${what}: blind, nothing is secure, and what was kept is forgotten`, async () => {
      const server = await serve(validating);
      const { resolver, tested, events } = await world({ servers: [server.setting], validating: [server.setting] });
      expect(await tested()).toBe("validating");
      expect(await resolver.client.ask("signed.example", "A")).toMatchObject({ security: "secure" });
      change(server);
      expect(await tested()).toBe("blind");
      expect(await resolver.client.ask("signed.example", "A")).toMatchObject({ security: "insecure" });
      expect(events.at(-1)).toMatchObject({ kind: "dnssec-state", state: "blind", detail: expect.stringContaining("does not validate") });
    });

  test("it recovers when a later test shows so, an hour on", async () => {
    const server = await serve({ ...validating, ".": { SOA: true } });
    const { resolver, tested, security, clock, events } = await world({ servers: [server.setting], validating: [server.setting] });
    expect(await tested()).toBe("blind");
    server.set(".", { SOA: true, secure: true });
    await clock.pass(3_600_000);
    await vi.waitFor(() => expect(resolver.dnssec().kind).toBe("validating"));
    expect(await security()).toBe("secure");
    expect(events.map((event) => event.kind === "dnssec-state" && event.state)).toEqual(["blind", "validating"]);
  });
});

describe("no conclusion from silence", () => {
  test("the attacker who drops the probe changes nothing: still validating, and mail's questions fail", async () => {
    const server = await serve(validating);
    const { resolver, tested, clock, events } = await world({ servers: [server.setting], validating: [server.setting] });
    expect(await tested()).toBe("validating");
    server.behave({ kind: "drop" });
    server.set(".", { SOA: true, secure: true, behave: { kind: "drop" } });
    const asked = server.count(".");
    const again = resolver.testNow();
    await vi.waitFor(() => expect(server.count(".")).toBe(asked + 1));
    await clock.pass(5_000);
    await again;
    expect(resolver.dnssec().kind).toBe("validating");
    const finding = resolver.client.ask("unknown.example", "A");
    await vi.waitFor(() => expect(server.count("unknown.example")).toBe(1));
    await clock.pass(5_000);
    expect(await finding).toMatchObject({ kind: "failed", reason: "timeout" });
    expect(events.map((event) => event.kind === "dnssec-state" && event.state)).toEqual(["validating"]);
  });

  test("SERVFAIL for the signed name from the start: untested, AD believed, and asked again within a minute", async () => {
    const server = await serve({ ...validating, ".": { SOA: true, behave: { kind: "rcode", rcode: "SERVFAIL" } } });
    const { resolver, tested, security, clock } = await world({ servers: [server.setting], validating: [server.setting] });
    expect(await tested()).toBe("untested");
    expect(await security()).toBe("secure");
    server.set(".", { SOA: true, secure: true });
    await clock.pass(60_000);
    await vi.waitFor(() => expect(resolver.dnssec().kind).toBe("validating"));
  });
});

describe("several resolvers", () => {
  test("a blind one is passed by while another validates", async () => {
    const blind = await serve({ ...validating, ".": { SOA: true } });
    const good = await serve(validating);
    const both = [blind.setting, good.setting];
    const { resolver, tested, security, events } = await world({ servers: both, validating: both });
    expect(await tested()).toBe("validating");
    expect(await security()).toBe("secure");
    expect([blind.count("signed.example"), good.count("signed.example")]).toEqual([0, 1]);
    expect(resolver.status().servers.map(({ belief }) => belief)).toEqual(["blind", "validating"]);
    expect(events.filter((event) => event.kind === "notice")).toEqual([
      { kind: "notice", level: "warn", text: expect.stringContaining("does not validate") },
    ]);
  });

  test("a name that the believed one refuses is not asked of one that is not believed", async () => {
    const good = await serve(validating);
    const other = await serve({ "broken.example": { A: ["192.0.2.66"] } });
    const { resolver, tested } = await world({ servers: [good.setting, other.setting], validating: [good.setting], attempts: 3 });
    await tested();
    expect(await resolver.client.ask("broken.example", "A")).toMatchObject({ kind: "failed", reason: "servfail", extendedError: 6 });
    expect(other.queries).toEqual([]);
  });

  test("nor is anything when the believed one is dead", async () => {
    const good = await serve(validating);
    const other = await serve({ "signed.example": { A: ["192.0.2.66"] } });
    const { security } = await world({ servers: [other.setting, good.setting], validating: [good.setting], attempts: 3 });
    await good.close();
    expect(await security()).toBe("failed");
    expect(other.queries).toEqual([]);
  });

  test("with all blind they are asked as they stand, and nothing is secure", async () => {
    const other = await serve(validating);
    const blind = await serve({ ...validating, ".": { SOA: true } });
    const { tested, security } = await world({ servers: [other.setting, blind.setting], validating: [blind.setting] });
    expect(await tested()).toBe("blind");
    expect(await security()).toBe("insecure");
    expect(other.count("signed.example")).toBe(1);
  });
});
