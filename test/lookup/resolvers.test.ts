import { describe, expect, test, vi } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { createDnsLookup } from "../../src/lookup/dns.ts";
import { type Behaviour, startDnsServer } from "../support/dns-server.ts";
import { clock, domain, letTimeOut, misbehaving, mx, open, world } from "./world.ts";

describe("packets that do not fit are passed over", () => {
  const kinds = ["wrong-id", "wrong-question", "forged-source", "echo"] as const;
  for (const kind of kinds) {
    test(`${kind}: the true answer that follows is taken`, async () => {
      const { dns } = await world(misbehaving({ kind, thenRight: true }));
      expect(await dns.findMx(domain("example.test"))).toMatchObject({ kind: "answer", records: [{ exchange: "mx.example.test" }] });
    });
    test(`${kind} alone: nothing came in time`, async () => {
      const { dns, server } = await world(misbehaving({ kind }), { attempts: 1 });
      const finding = dns.findMx(domain("example.test"));
      await vi.waitFor(() => expect(server.queries).toHaveLength(1));
      // The forged packet has been sent by now; a question to the same server comes back behind it.
      await dns.ask("other.test", "MX");
      await clock.pass(5_000);
      expect(await finding).toMatchObject({
        kind: "failed",
        reason: "timeout",
        detail: expect.stringContaining(kind === "forged-source" ? "in time" : "1 packets"),
      });
    });
  }

  test("garbage too", async () => {
    const { dns, server } = await world(misbehaving({ kind: "bytes", bytes: () => Buffer.from("no DNS at all") }), { attempts: 1 });
    const finding = dns.findMx(domain("example.test"));
    await letTimeOut(() => server.queries.length === 1);
    expect(await finding).toMatchObject({ kind: "failed", reason: "timeout" });
  });
});

describe("a truncated answer", () => {
  test("is asked for again over TCP", async () => {
    const { dns, server } = await world(misbehaving({ kind: "truncate" }));
    expect(await dns.findMx(domain("example.test"))).toMatchObject({ kind: "answer", records: [{ exchange: "mx.example.test" }] });
    expect(server.queries.map((query) => query.transport)).toEqual(["udp", "tcp"]);
  });

  test("of any size", async () => {
    const records = Array.from({ length: 1_200 }, (_, index) => `10 mx${index}.example.test`);
    const { dns } = await world({ "example.test": { MX: records, behave: { kind: "truncate" } } });
    const finding = await dns.findMx(domain("example.test"));
    expect(finding.kind === "answer" && finding.records.length).toBe(1_200);
  });

  for (const partial of [false, true])
    test(`that TCP does not repair fails (${partial ? "cut short" : "closed"})`, async () => {
      const { dns, server } = await world(misbehaving({ kind: "truncate-then-hang-up", partial }), { attempts: 1 });
      expect(await dns.findMx(domain("example.test"))).toMatchObject({
        kind: "failed",
        reason: "malformed",
        detail: expect.stringContaining("TCP"),
      });
      expect(server.count("example.test")).toBe(2);
    });
});

describe("several servers", () => {
  const servfail: Behaviour = { kind: "rcode", rcode: "SERVFAIL", ede: { code: 7, text: "signature\r\nexpired" } };

  test("SERVFAIL from one: the next is asked, and no server twice", async () => {
    const { dns, server, others } = await world(misbehaving(servfail), {}, 2);
    const finding = await dns.findMx(domain("example.test"));
    expect(finding).toMatchObject({
      kind: "failed",
      reason: "servfail",
      extendedError: 7,
      detail: expect.stringMatching(/^SERVFAIL from 127\.0\.0\.1:\d+ \(EDE 7 signature\?\?expired\)$/),
    });
    expect([server.queries.length, others[0]?.queries.length]).toEqual([1, 1]);
  });

  test("SERVFAIL from one and an answer from the other is an answer", async () => {
    const { dns, others } = await world(misbehaving(servfail), {}, 2);
    others[0]?.set("example.test", { MX: ["10 mx.example.test"] });
    expect(await dns.findMx(domain("example.test"))).toMatchObject({ kind: "answer" });
  });

  test("an extended error without text is named", async () => {
    const { dns } = await world(misbehaving({ kind: "rcode", rcode: "SERVFAIL", ede: { code: 9 } }));
    expect(await dns.findMx(domain("example.test"))).toMatchObject({
      extendedError: 9,
      detail: expect.stringContaining("(EDE 9 DNSKEY missing)"),
    });
  });

  test("REFUSED is a failure of its own", async () => {
    const { dns } = await world(misbehaving({ kind: "rcode", rcode: "REFUSED" }));
    expect(await dns.findMx(domain("example.test"))).toMatchObject({
      kind: "failed",
      reason: "refused",
      detail: expect.stringContaining("REFUSED from 127.0.0.1"),
    });
  });

  test("the failure that says most is told: SERVFAIL with its reason, not the timeout after it", async () => {
    const { dns, server, others } = await world(misbehaving(servfail), { attempts: 2 }, 2);
    others[0]?.set("example.test", { behave: { kind: "drop" } });
    const finding = dns.findMx(domain("example.test"));
    await letTimeOut(() => others[0]?.queries.length === 1);
    expect(await finding).toMatchObject({ reason: "servfail", extendedError: 7 });
    expect(server.queries).toHaveLength(1);
  });

  test("silence: the next answers, and is asked first for a while", async () => {
    const { dns, server, others } = await world({ ...mx, "later.test": {}, "much-later.test": {} }, {}, 2);
    server.behave({ kind: "drop" });
    const finding = dns.findMx(domain("example.test"));
    await letTimeOut(() => server.queries.length === 1);
    expect(await finding).toMatchObject({ kind: "answer" });
    await dns.findMx(domain("later.test"));
    expect(others[0]?.count("later.test")).toBe(1);
    expect(server.count("later.test")).toBe(0);
    server.behave(undefined);
    await clock.pass(30_000);
    await dns.findMx(domain("much-later.test"));
    expect(server.count("much-later.test")).toBe(1);
  });

  test("one server's silence is asked again, as often as allowed, and then a timeout", async () => {
    const { dns, server } = await world(misbehaving({ kind: "drop" }));
    const finding = dns.findMx(domain("example.test"));
    for (let attempt = 1; attempt <= 3; attempt++) await letTimeOut(() => server.queries.length === attempt);
    expect(await finding).toMatchObject({ kind: "failed", reason: "timeout", detail: expect.stringContaining("did not answer in time") });
    expect(server.queries).toHaveLength(3);
  });

  test("one lost packet is made good", async () => {
    const { dns, server } = await world(misbehaving({ kind: "drop" }, { times: 1 }));
    const finding = dns.findMx(domain("example.test"));
    await letTimeOut(() => server.queries.length === 1);
    expect(await finding).toMatchObject({ kind: "answer" });
  });

  test("a port where nobody listens is passed by at once", async () => {
    const gone = await startDnsServer();
    await gone.close();
    const { server } = await world(mx);
    const dns = createDnsLookup({ servers: [gone, server], timeout: 5_000, attempts: 2, cacheEntries: 10, longestTtl: 1e6, clock });
    const alone = createDnsLookup({ servers: [gone], timeout: 5_000, attempts: 2, cacheEntries: 10, longestTtl: 1e6, clock });
    open.push(dns, alone);
    expect(await dns.findMx(domain("example.test"))).toMatchObject({ kind: "answer" });
    expect(await alone.findMx(domain("example.test"))).toMatchObject({
      kind: "failed",
      reason: "unreachable",
      detail: expect.stringContaining("ECONNREFUSED"),
    });
  });

  test("a server from before EDNS is asked without it", async () => {
    const { dns, server } = await world({
      "example.test": { MX: ["10 mx.example.test"], behave: { kind: "rcode", rcode: "FORMERR" }, times: 1 },
    });
    expect(await dns.findMx(domain("example.test"))).toMatchObject({ kind: "answer" });
    expect(server.queries.map((query) => query.edns !== undefined)).toEqual([true, false]);
  });

  test("a list that changes counts for the next question", async () => {
    const [one, other] = [await startDnsServer(mx), await startDnsServer(mx)];
    let servers = [one];
    const dns = createDnsLookup({ servers: () => servers, timeout: 5_000, attempts: 1, cacheEntries: 10, longestTtl: 1e6, clock });
    open.push(one, other, dns);
    await dns.ask("example.test", "MX");
    servers = [other];
    await dns.ask("example.test", "A");
    expect([one.queries.length, other.queries.length]).toEqual([1, 1]);
    servers = [];
    expect(await dns.ask("example.test", "TXT")).toMatchObject({
      kind: "failed",
      reason: "unreachable",
      detail: "no resolver is configured",
    });
  });

  test("IPv6 servers are asked too", async () => {
    const server = await startDnsServer(mx, { address: "::1" });
    const dns = createDnsLookup({ servers: [server], timeout: 5_000, attempts: 1, cacheEntries: 10, longestTtl: 1e6, clock: systemClock });
    open.push(server, dns);
    expect(await dns.findMx(domain("example.test"))).toMatchObject({ kind: "answer" });
  });
});

describe("the number of questions on the wire is limited", () => {
  test("the others wait their turn, and only so long", async () => {
    const { dns, server } = await world({}, { concurrent: 2, attempts: 1 });
    server.behave({ kind: "drop" });
    const first = [dns.ask("a.test", "A"), dns.ask("b.test", "A")];
    await vi.waitFor(() => expect(server.queries).toHaveLength(2));
    const waiting = dns.ask("c.test", "A");
    await clock.pass(2_500);
    expect(server.queries).toHaveLength(2);
    server.behave(undefined);
    await clock.pass(2_500);
    await Promise.all(first);
    // Both the turn and the end of patience fell on the same moment; either way it has an end.
    expect(["failed", "no-such-name"]).toContain((await waiting).kind);

    server.behave({ kind: "drop" });
    const more = [dns.ask("d.test", "A"), dns.ask("e.test", "A")];
    await vi.waitFor(() => expect(server.count("e.test")).toBe(1));
    await clock.pass(1_000);
    const next = dns.ask("f.test", "A");
    server.behave(undefined);
    await clock.pass(4_000);
    await Promise.all(more);
    expect(await next).toMatchObject({ kind: "no-such-name" });
  });
});

describe("closing", () => {
  test("ends what is under way, and refuses what comes later", async () => {
    const { dns, server } = await world({ ...mx, "slow.test": { behave: { kind: "drop" } } });
    const waiting = dns.findMx(domain("slow.test"));
    await vi.waitFor(() => expect(server.queries).toHaveLength(1));
    dns.close();
    expect(await waiting).toMatchObject({ kind: "failed", reason: "unreachable", detail: expect.stringContaining("stops") });
    expect(await dns.findMx(domain("example.test"))).toMatchObject({ kind: "failed", reason: "unreachable" });
    expect(server.queries).toHaveLength(1);
  });
});
