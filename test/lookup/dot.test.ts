import { rootCertificates } from "node:tls";
import { beforeAll, describe, expect, test, vi } from "vitest";
import type { ServerAddress } from "../../src/config/server-address.ts";
import { createDnsLookup, type DnsClient } from "../../src/lookup/dns.ts";
import { createDotClient } from "../../src/lookup/dot.ts";
import { createTestCa, type IssuedCertificate, type TestCa } from "../support/certificates.ts";
import { type DnsServer, type DnsServerOptions, startDnsServer, type Zone } from "../support/dns-server.ts";
import { MovedClock } from "../support/moved-clock.ts";
import { open } from "./world.ts";

/** DNS over TLS against a real TLS server (RFC 7858, RFC 7766, RFC 8310). */

let ca: TestCa;
let named: IssuedCertificate;
beforeAll(async () => {
  ca = await createTestCa();
  named = await ca.issue({ names: ["dns.test"] });
});

interface World {
  readonly dns: DnsClient;
  readonly server: DnsServer;
  readonly clock: MovedClock;
  readonly looked: string[];
}

const zone: Zone = {
  "a.test": { A: ["192.0.2.1"], secure: true },
  "b.test": { A: ["192.0.2.2"], secure: true },
  "plain.test": { A: ["192.0.2.3"] },
};

async function world(
  certificate: IssuedCertificate,
  to: {
    readonly tlsName?: string;
    readonly host?: string;
    readonly roots?: readonly string[];
    readonly tls?: Partial<DnsServerOptions["tls"]>;
  } = {},
): Promise<World> {
  const server = await startDnsServer(zone, { tls: { certificate: certificate.certificate, key: certificate.key, ...to.tls } });
  const clock = new MovedClock();
  const looked: string[] = [];
  const dot = createDotClient({
    clock,
    timeout: 5_000,
    roots: to.roots ?? ca.pem,
    lookup: (name, _options, done) => {
      looked.push(name);
      done(null, [{ address: "127.0.0.1", family: 4 }]);
    },
  });
  const address: ServerAddress = { address: to.host ?? "127.0.0.1", port: server.port, tlsName: to.tlsName ?? "dns.test" };
  const dns = createDnsLookup({
    servers: [address],
    trustAdFrom: (asked) => asked.tlsName !== undefined,
    timeout: 5_000,
    attempts: 1,
    cacheEntries: 100,
    longestTtl: 1e6,
    clock,
    dot,
  });
  open.push(server, dot, dns);
  return { dns, server, clock, looked };
}

describe("a resolver that proves its name is asked over one connection, and its AD counts", () => {
  test("twenty questions at once share it", async () => {
    const { dns, server } = await world(named);
    expect(await dns.ask("a.test", "A")).toMatchObject({ records: ["192.0.2.1"], security: "secure" });
    expect(await dns.ask("plain.test", "A")).toMatchObject({ records: ["192.0.2.3"], security: "insecure" });
    await Promise.all(Array.from({ length: 20 }, (_, index) => dns.ask(`n${index}.test`, "A")));
    expect(server.connections).toBe(1);
    expect(new Set(server.queries.map((query) => query.transport))).toEqual(new Set(["tls"]));
    expect(server.queries[0]).toMatchObject({ authenticData: true, checkingDisabled: false, edns: { dnssecOk: true } });
  });

  test("answers are taken in the order they come", async () => {
    const { dns, server } = await world(named);
    server.set("slow.test", { A: ["192.0.2.9"], behave: { kind: "slow", ms: 80 } });
    const order: string[] = [];
    const slow = dns.ask("slow.test", "A").then(() => order.push("slow"));
    await vi.waitFor(() => expect(server.count("slow.test")).toBe(1));
    await dns.ask("a.test", "A").then(() => order.push("quick"));
    await slow;
    expect(order).toEqual(["quick", "slow"]);
    expect(server.connections).toBe(1);
  });

  test("more than a hundred in flight wait for room, and no two share an id", async () => {
    const { dns, server } = await world(named);
    server.behave({ kind: "slow", ms: 100 });
    const all = Array.from({ length: 150 }, (_, index) => dns.ask(`n${index}.test`, "A"));
    await vi.waitFor(() => expect(server.queries.length).toBe(100));
    expect(new Set(server.queries.map((query) => query.id)).size).toBe(100);
    expect((await Promise.all(all)).every((finding) => finding.kind === "no-such-name")).toBe(true);
    expect(server.connections).toBe(1);
  });

  test("the certificate may name the address", async () => {
    const { dns } = await world(await ca.issue({ names: ["127.0.0.1"] }), { tlsName: "127.0.0.1" });
    expect(await dns.ask("a.test", "A")).toMatchObject({ security: "secure" });
  });

  test("a server given by name is found by the system's resolver", async () => {
    const { dns, looked } = await world(named, { host: "dns.test" });
    expect(await dns.ask("a.test", "A")).toMatchObject({ security: "secure" });
    expect(looked).toEqual(["dns.test"]);
  });
});

describe("a resolver that does not prove its name is asked nothing", () => {
  const cases: [what: string, make: () => Promise<IssuedCertificate>, detail: RegExp, to?: Parameters<typeof world>[1]][] = [
    ["another name", () => ca.issue({ names: ["other.test"] }), /is not believed: its certificate does not name dns\.test$/],
    ["a common name only", () => ca.issue({ names: [], commonName: "dns.test" }), /does not name dns\.test$/],
    ["a name where an address was asked", () => ca.issue({ names: ["dns.test"] }), /does not name 127\.0\.0\.1$/, { tlsName: "127.0.0.1" }],
    [
      "another CA",
      async () => (await createTestCa({ name: "Nobody's" })).issue({ names: ["dns.test"] }),
      /is not believed: its certificate is not trusted/,
    ],
    ["its own signature", () => ca.issue({ names: ["dns.test"], selfSigned: true }), /is not believed: its certificate is not trusted/],
    [
      "the list that comes with Node",
      () => ca.issue({ names: ["dns.test"] }),
      /is not believed: its certificate is not trusted/,
      { roots: rootCertificates },
    ],
    ["yesterday's date", () => ca.issue({ names: ["dns.test"], to: new Date(Date.now() - 3_600_000) }), /its certificate has expired/],
    ["TLS 1.1", () => ca.issue({ names: ["dns.test"] }), /cannot be reached over TLS/, { tls: { maxVersion: "TLSv1.1" } }],
  ];
  for (const [what, make, detail, to] of cases)
    test(`${what}: a failed look-up, and no question was heard`, async () => {
      const { dns, server } = await world(await make(), to);
      expect(await dns.ask("a.test", "A")).toMatchObject({
        kind: "failed",
        reason: "unreachable",
        detail: expect.stringMatching(detail),
      });
      expect(server.queries).toEqual([]);
    });

  test("the environment cannot turn that off", async () => {
    vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0");
    try {
      const { dns, server } = await world(await ca.issue({ names: ["dns.test"], selfSigned: true }));
      expect(await dns.ask("a.test", "A")).toMatchObject({ kind: "failed" });
      expect(server.queries).toEqual([]);
    } finally {
      vi.unstubAllEnvs();
    }
  });

  test("it is not tried again for every question, but after a while", async () => {
    const { dns, clock, server } = await world(named);
    await server.close();
    expect(await dns.ask("a.test", "A")).toMatchObject({ kind: "failed", detail: expect.stringContaining("ECONNREFUSED") });
    expect(await dns.ask("b.test", "A")).toMatchObject({ kind: "failed", detail: expect.stringContaining("ECONNREFUSED") });
    await clock.pass(2_000);
    expect(await dns.ask("plain.test", "A")).toMatchObject({ kind: "failed", detail: expect.stringContaining("ECONNREFUSED") });
  });
});

describe("a connection that ends", () => {
  test("between questions is opened again", async () => {
    const { dns, server } = await world(named);
    await dns.ask("a.test", "A");
    server.hangUp();
    expect(await dns.ask("b.test", "A")).toMatchObject({ kind: "answer" });
    expect(server.connections).toBe(2);
  });

  test("under a question is opened again for it, once", async () => {
    const { dns, server } = await world(named);
    server.set("once.test", { A: ["192.0.2.9"], behave: { kind: "drop" }, times: 1 });
    const once = dns.ask("once.test", "A");
    await vi.waitFor(() => expect(server.count("once.test")).toBe(1));
    server.hangUp();
    expect(await once).toMatchObject({ kind: "answer" });

    server.set("never.test", { behave: { kind: "drop" } });
    const never = dns.ask("never.test", "A");
    for (let times = 1; times <= 2; times++) {
      await vi.waitFor(() => expect(server.count("never.test")).toBe(times));
      server.hangUp();
    }
    expect(await never).toMatchObject({
      kind: "failed",
      reason: "unreachable",
      detail: expect.stringContaining("closed the TLS connection"),
    });
  });

  test("when nothing was asked for ten seconds, we end it", async () => {
    const { dns, server, clock } = await world(named);
    await dns.ask("a.test", "A");
    await clock.pass(10_000);
    await dns.ask("b.test", "A");
    expect(server.connections).toBe(2);
  });
});

test("silence is a timeout of that question alone, and the next gets a new connection", async () => {
  const { dns, server, clock } = await world(named);
  server.set("mute.test", { behave: { kind: "drop" } });
  const mute = dns.ask("mute.test", "A");
  await vi.waitFor(() => expect(server.count("mute.test")).toBe(1));
  await clock.pass(5_000);
  expect(await mute).toMatchObject({ kind: "failed", reason: "timeout", detail: expect.stringContaining("over TLS in time") });
  expect(await dns.ask("a.test", "A")).toMatchObject({ kind: "answer" });
  expect(server.connections).toBe(2);
});

for (const kind of ["wrong-id", "wrong-question", "echo"] as const)
  test(`${kind}: passed over, and the true answer that follows is taken`, async () => {
    const { dns, server } = await world(named);
    server.set("a.test", { A: ["192.0.2.1"], behave: { kind, thenRight: true } });
    expect(await dns.ask("a.test", "A")).toMatchObject({ records: ["192.0.2.1"] });
  });

test("a truncated answer is not used", async () => {
  const { dns, server } = await world(named);
  server.set("a.test", {
    behave: { kind: "bytes", bytes: (_query, right) => Buffer.from(right.map((octet, at) => (at === 2 ? octet | 2 : octet))) },
  });
  expect(await dns.ask("a.test", "A")).toMatchObject({ kind: "failed", reason: "malformed" });
});

test("without trust anchors handed in, a tls:// server is never asked", async () => {
  const server = await startDnsServer(zone, { tls: named });
  const dns = createDnsLookup({
    servers: [{ address: "127.0.0.1", port: server.port, tlsName: "dns.test" }],
    timeout: 5_000,
    attempts: 1,
    cacheEntries: 100,
    longestTtl: 1e6,
    clock: new MovedClock(),
  });
  open.push(server, dns);
  expect(await dns.ask("a.test", "A")).toMatchObject({ kind: "failed" });
  expect(server.queries).toEqual([]);
});
