import { describe, expect, test } from "vitest";
import type { DnsClient } from "../../src/lookup/dns.ts";
import { createFindTlsa } from "../../src/lookup/tlsa-lookup.ts";
import type { DnssecState, Finding, HostAddress, TlsaFinding } from "../../src/policy/facts.ts";
import type { DnsServer, Zone, ZoneEntry } from "../support/dns-server.ts";
import { clock, domain, letTimeOut, world } from "./world.ts";

const record = (usage = 3, fill = 1) => ({ usage, selector: 1, matchingType: 1, certificate: Buffer.alloc(32, fill) });
const A = ["192.0.2.1"];
const signed = (entry: ZoneEntry): ZoneEntry => ({ ...entry, secure: true });
const withTlsa = signed({ TLSA: [record()] });
const denied = signed({ TXT: ["exists"] });
const broken: ZoneEntry = { ...withTlsa, behave: { kind: "rcode", rcode: "SERVFAIL", ede: { code: 7, text: "signature expired" } } };

interface World {
  readonly server: DnsServer;
  readonly dns: DnsClient;
  find(host?: string, port?: number): Promise<TlsaFinding>;
  /** What was asked besides addresses, in order: `CNAME mx.a.test`. */
  asked(): string[];
}

async function open(zone: Zone, dnssec?: () => DnssecState): Promise<World> {
  const { server, dns } = await world(zone, { attempts: 1, trustAdFrom: () => true });
  const findTlsa = createFindTlsa(dns, dnssec);
  return {
    server,
    dns,
    find: async (host = "mx.a.test", port = 25) => findTlsa(domain(host), port, await dns.findAddresses(domain(host))),
    asked: () => server.queries.filter(({ type }) => type !== "A" && type !== "AAAA").map(({ type, name }) => `${type} ${name}`),
  };
}

/** `records at mx.a.test`, `none (secure)`, `not-asked`, `failed at …`. */
function summary(finding: TlsaFinding): string {
  switch (finding.kind) {
    case "records":
      return `records at ${finding.baseDomain}`;
    case "none":
      return `none (${finding.security})`;
    case "failed":
      return `failed at ${finding.asked}`;
    case "not-asked":
      return "not-asked";
  }
}

const MX = "TLSA _25._tcp.mx.a.test";
const H = "TLSA _25._tcp.h.b.test";
const link = "CNAME mx.a.test";

describe("candidates for the base domain (RFC 7672 §2.2.2, §2.2.3)", () => {
  const cases: [what: string, zone: Zone, asked: string[], result: string][] = [
    ["no alias, signed", { "mx.a.test": signed({ A }), "_25._tcp.mx.a.test": withTlsa }, [MX], "records at mx.a.test"],
    ["no alias, not signed", { "mx.a.test": { A }, "_25._tcp.mx.a.test": withTlsa }, [], "not-asked"],
    [
      "an alias, all signed",
      {
        "mx.a.test": signed({ CNAME: "h.b.test" }),
        "h.b.test": signed({ A }),
        "_25._tcp.h.b.test": denied,
        "_25._tcp.mx.a.test": withTlsa,
      },
      [H, MX],
      "records at mx.a.test",
    ],
    [
      "an alias, only the first link signed",
      { "mx.a.test": signed({ CNAME: "h.b.test" }), "h.b.test": { A }, "_25._tcp.h.b.test": withTlsa, "_25._tcp.mx.a.test": withTlsa },
      [link, MX],
      "records at mx.a.test",
    ],
    [
      "an alias, the first link not signed",
      { "mx.a.test": { CNAME: "h.b.test" }, "h.b.test": signed({ A }), "_25._tcp.h.b.test": withTlsa, "_25._tcp.mx.a.test": withTlsa },
      [link],
      "not-asked",
    ],
    [
      "two aliases, all signed: never the one in the middle",
      {
        "mx.a.test": signed({ CNAME: "m.b.test" }),
        "m.b.test": signed({ CNAME: "h.b.test" }),
        "h.b.test": signed({ A }),
        "_25._tcp.m.b.test": withTlsa,
        "_25._tcp.h.b.test": denied,
        "_25._tcp.mx.a.test": denied,
      },
      [H, MX],
      "none (secure)",
    ],
    [
      "two aliases, the second not signed",
      {
        "mx.a.test": signed({ CNAME: "m.b.test" }),
        "m.b.test": { CNAME: "h.b.test" },
        "h.b.test": signed({ A }),
        "_25._tcp.h.b.test": withTlsa,
        "_25._tcp.m.b.test": withTlsa,
        "_25._tcp.mx.a.test": denied,
      },
      [link, MX],
      "none (secure)",
    ],
    [
      "an alias whose own status cannot be asked",
      { "mx.a.test": signed({ CNAME: "h.b.test", behave: { kind: "rcode", rcode: "SERVFAIL" }, types: ["CNAME"] }), "h.b.test": { A } },
      [link],
      "failed at mx.a.test",
    ],
  ];
  for (const [what, zone, asked, result] of cases)
    test(`${what}: ${result}`, async () => {
      const { find, asked: seen } = await open(zone);
      expect(summary(await find())).toBe(result);
      expect(seen()).toEqual(asked);
    });

  test("a failure in the middle of the aliases leaves no addresses, and nothing to ask", async () => {
    const { find, asked } = await open({
      "mx.a.test": signed({ CNAME: "m.b.test", cutShort: true }),
      "m.b.test": { behave: { kind: "rcode", rcode: "SERVFAIL" } },
    });
    expect(summary(await find())).toBe("not-asked");
    expect(asked()).toEqual([]);
  });
});

test("a host may be an alias, although it should not (RFC 7672 §3.2.2)", async () => {
  const { find } = await open({
    "mx10.example.com": signed({ A }),
    "_25._tcp.mx10.example.com": signed({ TLSA: [record(2)] }),
    "mx15.example.com": signed({ CNAME: "mxbackup.example.com" }),
    "mxbackup.example.com": signed({ A }),
    "_25._tcp.mx15.example.com": signed({ TLSA: [record(2)] }),
    "mx20.example.com": signed({ CNAME: "mxbackup.example.net" }),
    "mxbackup.example.net": signed({ A }),
    "_25._tcp.mxbackup.example.net": signed({ TLSA: [record(2)] }),
  });
  const bases = ["mx10.example.com", "mx15.example.com", "mx20.example.com"].map(async (host) => summary(await find(host)));
  expect(await Promise.all(bases)).toEqual([
    "records at mx10.example.com",
    "records at mx15.example.com",
    "records at mxbackup.example.net",
  ]);
});

describe("which candidate speaks (RFC 7672 §2.2.3)", () => {
  const alias: Zone = { "mx.a.test": signed({ CNAME: "h.b.test" }), "h.b.test": signed({ A }) };
  const cases: [what: string, first: ZoneEntry, second: ZoneEntry, asked: string[], result: string][] = [
    ["usable, usable", withTlsa, signed({ TLSA: [record(3, 2)] }), [H], "records at h.b.test"],
    ["unusable only, usable", signed({ TLSA: [record(0)] }), withTlsa, [H], "records at h.b.test"],
    ["denied, usable", denied, withTlsa, [H, MX], "records at mx.a.test"],
    ["insecure, usable", { TLSA: [record()] }, withTlsa, [H, MX], "records at mx.a.test"],
    ["insecurely denied, usable", { TXT: ["exists"] }, withTlsa, [H, MX], "records at mx.a.test"],
    ["denied, denied", denied, denied, [H, MX], "none (secure)"],
    ["denied, insecure", denied, { TLSA: [record()] }, [H, MX], "none (insecure)"],
    ["failure, usable", broken, withTlsa, [H], "failed at _25._tcp.h.b.test"],
    ["denied, failure", denied, broken, [H, MX], "failed at _25._tcp.mx.a.test"],
    ["insecure, failure", { TLSA: [record()] }, broken, [H, MX], "failed at _25._tcp.mx.a.test"],
  ];
  for (const [what, first, second, asked, result] of cases)
    test(`${what}: ${result}`, async () => {
      const { find, asked: seen } = await open({ ...alias, "_25._tcp.h.b.test": first, "_25._tcp.mx.a.test": second });
      expect(summary(await find())).toBe(result);
      expect(seen()).toEqual(asked);
    });

  test("a TLSA name may be an alias; the base domain stays the candidate", async () => {
    const { find } = await open({
      "mx.a.test": signed({ A }),
      "_25._tcp.mx.a.test": signed({ CNAME: "tlsa.b.test" }),
      "tlsa.b.test": signed({ TLSA: [record(2, 7)] }),
    });
    const finding = await find();
    expect(finding).toMatchObject({ kind: "records", baseDomain: "mx.a.test", records: [{ usage: 2, data: Buffer.alloc(32, 7) }] });
  });

  test("a TLSA name that is an alias through an insecure link is none", async () => {
    const { find } = await open({
      ...alias,
      "_25._tcp.h.b.test": signed({ CNAME: "m.c.test" }),
      "m.c.test": { CNAME: "tlsa.b.test" },
      "tlsa.b.test": withTlsa,
      "_25._tcp.mx.a.test": withTlsa,
    });
    expect(summary(await find())).toBe("records at mx.a.test");
  });

  test("a TLSA name that is an alias in a circle is a failure", async () => {
    const { find } = await open({
      "mx.a.test": signed({ A }),
      "_25._tcp.mx.a.test": signed({ CNAME: "one.b.test" }),
      "one.b.test": signed({ CNAME: "_25._tcp.mx.a.test" }),
    });
    expect(await find()).toMatchObject({ kind: "failed", failure: { reason: "alias-loop" } });
  });
});

describe("failures are not absence (RFC 7672 §2.1.2)", () => {
  for (const rcode of ["SERVFAIL", "REFUSED", "NOTIMP", "FORMERR"] as const)
    test(rcode, async () => {
      const { find } = await open({ "mx.a.test": signed({ A }), "_25._tcp.mx.a.test": { ...withTlsa, behave: { kind: "rcode", rcode } } });
      expect(summary(await find())).toBe("failed at _25._tcp.mx.a.test");
    });

  test("an answer that cannot be read", async () => {
    const bytes = (_query: Buffer, right: Buffer): Buffer => Buffer.concat([right.subarray(0, 12), Buffer.alloc(20, 0xff)]);
    const { find, server } = await open({
      "mx.a.test": signed({ A }),
      "_25._tcp.mx.a.test": { ...withTlsa, behave: { kind: "bytes", bytes } },
    });
    const finding = find();
    await letTimeOut(() => server.count("_25._tcp.mx.a.test") === 1);
    expect(summary(await finding)).toBe("failed at _25._tcp.mx.a.test");
  });

  test("no answer", async () => {
    const { find, server } = await open({ "mx.a.test": signed({ A }), "_25._tcp.mx.a.test": { ...withTlsa, behave: { kind: "drop" } } });
    const finding = find();
    await letTimeOut(() => server.count("_25._tcp.mx.a.test") === 1);
    expect(summary(await finding)).toBe("failed at _25._tcp.mx.a.test");
  });

  test("a truncated answer that TCP does not repair", async () => {
    const { find } = await open({
      "mx.a.test": signed({ A }),
      "_25._tcp.mx.a.test": { ...withTlsa, behave: { kind: "truncate-then-hang-up" } },
    });
    expect(summary(await find())).toBe("failed at _25._tcp.mx.a.test");
  });

  test("the resolver's own reason is kept", async () => {
    const { find } = await open({ "mx.a.test": signed({ A }), "_25._tcp.mx.a.test": broken });
    expect(await find()).toMatchObject({ failure: { extendedError: 7, detail: expect.stringContaining("signature expired") } });
  });

  test("a client that throws is a failure, too", async () => {
    const findTlsa = createFindTlsa({ ask: () => Promise.reject(new Error("out of order")) });
    const addresses: Finding<HostAddress> = {
      kind: "answer",
      records: [{ address: "192.0.2.1", family: 4 }],
      security: "secure",
      canonicalName: "mx.a.test",
      expires: 1,
    };
    expect(await findTlsa(domain("mx.a.test"), 25, addresses)).toMatchObject({
      kind: "failed",
      failure: { detail: expect.stringContaining("out of order") },
    });
  });
});

describe("hosts of which nothing is asked (RFC 7672 §2.2.2)", () => {
  const state = (kind: DnssecState["kind"]): DnssecState => ({ kind, detail: "127.0.0.11 does not validate", since: 0 });
  const zone: Zone = { "mx.a.test": signed({ A }), "_25._tcp.mx.a.test": withTlsa };
  const cases: [what: string, zone: Zone, state: DnssecState["kind"], result: string, why: string | undefined][] = [
    ["no such host", {}, "validating", "not-asked", "mx.a.test has no address"],
    ["a host without addresses", { "mx.a.test": denied }, "validating", "not-asked", "mx.a.test has no address"],
    [
      "a host whose addresses fail",
      { "mx.a.test": broken },
      "validating",
      "not-asked",
      "the addresses of mx.a.test could not be looked up",
    ],
    ["a host that is not signed", { "mx.a.test": { A } }, "validating", "not-asked", "the addresses of mx.a.test are not signed"],
    ["a resolver that may not be believed", zone, "untrusted", "not-asked", "127.0.0.11 does not validate"],
    ["a resolver that does not validate", zone, "blind", "not-asked", "127.0.0.11 does not validate"],
    ["a resolver that was not tested yet is asked", zone, "untested", "records at mx.a.test", undefined],
  ];
  for (const [what, records, kind, result, why] of cases)
    test(what, async () => {
      const { find, asked } = await open(records, () => state(kind));
      const finding = await find();
      expect(summary(finding)).toBe(result);
      if (why === undefined) return;
      expect(finding).toEqual({ kind: "not-asked", why });
      expect(asked()).toEqual([]);
    });
});

test("the port that is really used is asked for, and no other speaks for it", async () => {
  const { find, asked } = await open({ "mx.a.test": signed({ A }), "_25._tcp.mx.a.test": withTlsa, "_2525._tcp.mx.a.test": denied });
  expect(summary(await find("mx.a.test", 2525))).toBe("none (secure)");
  expect(asked()).toEqual(["TLSA _2525._tcp.mx.a.test"]);
});

test("a host whose TLSA name would be too long for DNS has no records, and is not lost", async () => {
  const long = `${"a".repeat(63)}.${"b".repeat(63)}.${"c".repeat(63)}.${"d".repeat(54)}.test`;
  expect(long).toHaveLength(251);
  const { find, asked } = await open({ [long]: signed({ A }) });
  expect(summary(await find(long))).toBe("none (secure)");
  expect(asked()).toEqual([]);
});

test("a finding is good for as long as the first of all that led to it", async () => {
  for (const [addresses, second, expected] of [
    [30, 300, 30],
    [300, 20, 20],
  ] as const) {
    const { find } = await open({
      "mx.a.test": signed({ CNAME: "h.b.test" }),
      "h.b.test": signed({ A, AAAA: ["2001:db8::1"], ttl: addresses }),
      "_25._tcp.h.b.test": { TLSA: [record()] },
      "_25._tcp.mx.a.test": { ...withTlsa, ttl: second },
    });
    expect(await find()).toMatchObject({ kind: "records", expires: clock.now() + expected * 1_000 });
  }
  // The alias asked for by itself, and a denial on the way.
  const aliased = await open({
    "mx.a.test": signed({ CNAME: "h.b.test", ttl: 40 }),
    "h.b.test": { A, AAAA: ["2001:db8::1"] },
    "_25._tcp.mx.a.test": withTlsa,
  });
  expect(await aliased.find()).toMatchObject({ kind: "records", expires: clock.now() + 40_000 });
  const changed = await open({ "mx.a.test": signed({ CNAME: "h.b.test" }), "h.b.test": { A }, "_25._tcp.mx.a.test": withTlsa });
  await changed.dns.findAddresses(domain("mx.a.test"));
  changed.server.set("mx.a.test", signed({ CNAME: "h.b.test", ttl: 10 }));
  expect(await changed.find()).toMatchObject({ kind: "records", expires: clock.now() + 10_000 });
  const other = await open({ "mx.a.test": signed({ A, AAAA: ["2001:db8::1"] }), "_25._tcp.mx.a.test": denied });
  other.server.setNegativeTtl({ ttl: 15, minimum: 15 });
  expect(await other.find()).toMatchObject({ kind: "none", expires: clock.now() + 15_000 });
});

test("one answer gives one array of records, so that it is judged once", async () => {
  const { find } = await open({ "mx.a.test": signed({ A }), "_25._tcp.mx.a.test": withTlsa });
  const [one, two] = [await find(), await find()];
  expect(one.kind === "records" && two.kind === "records" && one.records === two.records).toBe(true);
});
