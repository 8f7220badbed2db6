import { describe, expect, test, vi } from "vitest";
import { createDnsLookup, type DnsClient } from "../../src/lookup/dns.ts";
import { type Behaviour, startDnsServer, type Zone } from "../support/dns-server.ts";
import { clock, domain, misbehaving, open, world } from "./world.ts";

describe("a question", () => {
  test("goes out over UDP with RD, AD, DO and a clear CD, and comes back as records in canonical text", async () => {
    const { dns, server } = await world({ "example.test": { MX: ["10 MX.Example.TEST"] } });
    expect(await dns.findMx(domain("example.test"))).toEqual({
      kind: "answer",
      records: [{ preference: 10, exchange: "mx.example.test" }],
      security: "insecure",
      canonicalName: "example.test",
      expires: clock.now() + 300_000,
    });
    expect(server.queries).toMatchObject([
      {
        name: "example.test",
        type: "MX",
        transport: "udp",
        recursionDesired: true,
        authenticData: true,
        checkingDisabled: false,
        edns: { udpPayloadSize: 1232, dnssecOk: true },
      },
    ]);
  });

  test("uses another port and another id each time (RFC 5452 §9.2)", async () => {
    const { dns, server } = await world({});
    await Promise.all(Array.from({ length: 40 }, (_, index) => dns.ask(`n${index}.test`, "A")));
    expect(new Set(server.queries.map((query) => query.port)).size).toBe(40);
    expect(new Set(server.queries.map((query) => query.id)).size).toBeGreaterThan(30);
  });

  test("is absolute: a name without dots is not completed", async () => {
    const { dns, server } = await world({});
    expect((await dns.ask("example", "MX")).kind).toBe("no-such-name");
    expect(server.queries.map((query) => query.name)).toEqual(["example"]);
  });

  test("about the null MX gives the root as exchange", async () => {
    const { dns } = await world({ "null.test": { MX: ["0 ."] } });
    expect(await dns.findMx(domain("null.test"))).toMatchObject({ records: [{ preference: 0, exchange: "" }] });
  });

  test("can be about any type, and about the root", async () => {
    const association = { usage: 3, selector: 1, matchingType: 1, certificate: Buffer.from("hash") };
    const { dns, server } = await world({ "_25._tcp.mx.test": { TLSA: [association] }, "example.test": { TXT: [["v=STSv1; ", "id=1;"]] } });
    expect(await dns.ask("_25._tcp.mx.test", "TLSA")).toMatchObject({ records: [association] });
    const txt = await dns.ask("example.test", "TXT");
    expect(txt.kind === "answer" && txt.records.map((strings) => Buffer.concat(strings).toString())).toEqual(["v=STSv1; id=1;"]);
    await dns.ask(".", "SOA");
    expect(server.queries.at(-1)).toMatchObject({ name: ".", type: "SOA" });
  });

  const unaskable = [`${"a".repeat(64)}.test`, "a..test", "a b.test", "bücher.test", `${"a.".repeat(127)}test`, "a\0.test"];
  for (const name of unaskable)
    test(`is not sent for ${JSON.stringify(name.slice(0, 40))}, which is no name`, async () => {
      const { dns, server } = await world({});
      expect(await dns.ask(name, "MX")).toMatchObject({ kind: "failed", reason: "not-a-name" });
      expect(server.queries).toEqual([]);
    });

  test("for what is no record is our own mistake", async () => {
    const { dns } = await world({});
    expect(() => dns.ask("example.test", "AXFR")).toThrow("AXFR");
  });
});

describe("existence", () => {
  test("a name that does not exist is told apart from one without the type", async () => {
    const { dns } = await world({ "example.test": { A: ["192.0.2.1"] } });
    expect(await dns.findMx(domain("example.test"))).toMatchObject({ kind: "answer", records: [] });
    expect(await dns.findMx(domain("nothing.test"))).toMatchObject({ kind: "no-such-name" });
    // RFC 8020: a name with names below it exists.
    expect(await dns.findMx(domain("test"))).toMatchObject({ kind: "answer", records: [] });
  });

  test("a referral is no denial", async () => {
    const { dns } = await world(misbehaving({ kind: "bytes", bytes: (query) => referral(query) }));
    expect(await dns.findMx(domain("example.test"))).toMatchObject({
      kind: "failed",
      reason: "refused",
      detail: expect.stringContaining("no recursive resolver"),
    });
  });

  test("records under NXDOMAIN are believed neither way", async () => {
    const { dns } = await world(misbehaving({ kind: "bytes", bytes: (_query, right) => withRcode(right, 3) }));
    expect(await dns.findMx(domain("example.test"))).toMatchObject({ kind: "failed", reason: "malformed" });
  });
});

function referral(query: Buffer): Buffer {
  const ns = Buffer.from([0xc0, 12, 0, 2, 0, 1, 0, 0, 1, 0, 0, 2, 0xc0, 12]);
  const questionEnd = query.length - 11;
  const head = Buffer.from([query[0] ?? 0, query[1] ?? 0, 0x81, 0, 0, 1, 0, 0, 0, 1, 0, 0]);
  return Buffer.concat([head, query.subarray(12, questionEnd), ns]);
}

function withRcode(message: Buffer, rcode: number): Buffer {
  const copy = Buffer.from(message);
  copy[3] = ((copy[3] ?? 0) & 0xf0) | rcode;
  return copy;
}

describe("the security status", () => {
  const zone: Zone = {
    "secure.test": { MX: ["10 mx.secure.test"], secure: true },
    "half.test": { CNAME: "insecure.test", secure: true, ttl: 90 },
    "insecure.test": { MX: ["10 mx.insecure.test"], ttl: 30 },
    "cut.test": { CNAME: "insecure.test", secure: true, cutShort: true },
    "cut-secure.test": { CNAME: "secure.test", secure: true, cutShort: true },
    "cut-first.test": { CNAME: "secure.test", cutShort: true },
    "empty.test": { A: ["192.0.2.1"], secure: true },
  };
  const trusting = async (): Promise<DnsClient> => {
    const { dns, server } = await world(zone);
    const trusted = createDnsLookup({
      servers: [server],
      trustAdFrom: [{ address: server.address, port: server.port }],
      timeout: 5_000,
      attempts: 1,
      cacheEntries: 100,
      longestTtl: 1e6,
      clock,
    });
    open.push(trusted, dns);
    return trusted;
  };

  const cases: [name: string, security: string][] = [
    ["secure.test", "secure"],
    ["insecure.test", "insecure"],
    ["half.test", "insecure"],
    ["cut.test", "insecure"], // one insecure link and all after it (RFC 7672 §2.1.3)
    ["cut-first.test", "insecure"],
    ["cut-secure.test", "secure"],
    ["empty.test", "secure"], // a proven denial
  ];
  for (const [name, security] of cases)
    test(`${name} is ${security}`, async () => {
      expect(await (await trusting()).findMx(domain(name))).toMatchObject({ kind: "answer", security });
    });

  test("an alias asked for by its own type has its own zone's status, and its own TTL (RFC 7672 §2.2.2)", async () => {
    expect(await (await trusting()).ask("half.test", "CNAME")).toMatchObject({
      records: ["insecure.test"],
      security: "secure",
      canonicalName: "half.test",
      expires: clock.now() + 90_000,
    });
  });

  test("AD of a server that is not listed counts for nothing, another port of the same address included", async () => {
    const { dns } = await world(zone);
    expect(await dns.findMx(domain("secure.test"))).toMatchObject({ security: "insecure" });
    const { dns: other, server } = await world(zone, { trustAdFrom: [{ address: "127.0.0.1", port: 53 }] });
    expect(await other.findMx(domain("secure.test"))).toMatchObject({ security: "insecure" });
    expect(server.queries).toHaveLength(1);
  });

  describe("while a question is out, its server", () => {
    const switching = async (before: boolean, after: boolean): Promise<{ dns: DnsClient; switched: () => Promise<void> }> => {
      let trusted = before;
      const { dns, server } = await world(
        { "secure.test": { MX: ["10 mx.secure.test"], A: ["192.0.2.1"], secure: true, behave: { kind: "slow", ms: 50 } } },
        { attempts: 1, trustAdFrom: () => trusted },
      );
      const switched = async (): Promise<void> => {
        await vi.waitFor(() => expect(server.queries).not.toEqual([]), { interval: 1 });
        trusted = after;
      };
      return { dns, switched };
    };

    test("is believed no more: its answer is a failed look-up, never an insecure one, and is not kept (RFC 7672 §2.1.2)", async () => {
      const { dns, switched } = await switching(true, false);
      const asked = dns.findMx(domain("secure.test"));
      await switched();
      expect(await asked).toMatchObject({ kind: "failed", detail: expect.stringContaining("was believed as DNSSEC when it was asked") });
      expect(await dns.findMx(domain("secure.test"))).toMatchObject({ kind: "answer", security: "insecure" });
    });

    test("comes to be believed: its answer is insecure, and is not kept", async () => {
      const { dns, switched } = await switching(false, true);
      const asked = [dns.findMx(domain("secure.test")), dns.findAddresses(domain("secure.test"))];
      await switched();
      for (const finding of await Promise.all(asked)) expect(finding).toMatchObject({ kind: "answer", security: "insecure" });
      expect(await dns.findMx(domain("secure.test"))).toMatchObject({ security: "secure" });
      expect(await dns.findAddresses(domain("secure.test"))).toMatchObject({ security: "secure" });
    });
  });

  test("a proven NXDOMAIN is secure", async () => {
    const server = await startDnsServer({
      "gone.test": { behave: { kind: "bytes", bytes: (_query, right) => withAd(withRcode(right, 3)) } },
    });
    const dns = createDnsLookup({
      servers: [server],
      trustAdFrom: [server],
      timeout: 5_000,
      attempts: 1,
      cacheEntries: 100,
      longestTtl: 1e6,
      clock,
    });
    open.push(server, dns);
    expect(await dns.findMx(domain("gone.test"))).toMatchObject({ kind: "no-such-name", security: "secure" });
  });
});

function withAd(message: Buffer): Buffer {
  const copy = Buffer.from(message);
  copy[3] = (copy[3] ?? 0) | 0x20;
  return copy;
}

describe("aliases", () => {
  const chain = (length: number, more: object = {}): Zone => ({
    ...Object.fromEntries(
      Array.from({ length }, (_, link) => [`a${link}.test`, { CNAME: `a${link + 1}.test`, ttl: 1000 - link, ...more }]),
    ),
    [`a${length}.test`]: { MX: ["10 mx.test"], ttl: 2000 },
  });

  test("are followed inside the answer, with the least TTL of the chain", async () => {
    const { dns, server } = await world(chain(3));
    expect(await dns.findMx(domain("a0.test"))).toMatchObject({
      canonicalName: "a3.test",
      records: [{ exchange: "mx.test" }],
      expires: clock.now() + 998_000,
    });
    expect(server.queries).toHaveLength(1);
  });

  test("are asked for where the answer stops short", async () => {
    const { dns, server } = await world(chain(3, { cutShort: true }));
    expect(await dns.findMx(domain("a0.test"))).toMatchObject({
      canonicalName: "a3.test",
      records: [{ exchange: "mx.test" }],
      expires: clock.now() + 998_000,
    });
    expect(server.queries.map((query) => query.name)).toEqual(["a0.test", "a1.test", "a2.test", "a3.test"]);
  });

  for (const more of [{}, { cutShort: true }]) {
    const how = "cutShort" in more ? "asked one by one" : "in one answer";
    test(`${how}: ten are followed, eleven are a loop`, async () => {
      const ten = await world(chain(10, more));
      expect(await ten.dns.findMx(domain("a0.test"))).toMatchObject({ kind: "answer", canonicalName: "a10.test" });
      const eleven = await world(chain(11, more));
      expect(await eleven.dns.findMx(domain("a0.test"))).toMatchObject({ kind: "failed", reason: "alias-loop" });
    });

    test(`${how}: a circle is a loop, and ends`, async () => {
      const { dns } = await world({
        "a.test": { CNAME: "b.test", ...more },
        "b.test": { CNAME: "a.test", ...more },
        "self.test": { CNAME: "self.test", ...more },
      });
      expect(await dns.findMx(domain("a.test"))).toMatchObject({ kind: "failed", reason: "alias-loop" });
      expect(await dns.findMx(domain("self.test"))).toMatchObject({ kind: "failed", reason: "alias-loop" });
      // Both ends at once: neither waits for the other for ever.
      dns.clear();
      const both = await Promise.all([dns.findMx(domain("a.test")), dns.findMx(domain("b.test"))]);
      expect(both.map((finding) => finding.kind)).toEqual(["failed", "failed"]);
    });
  }

  test("to nothing say so of the target", async () => {
    const { dns } = await world({ "a.test": { CNAME: "gone.test" }, "b.test": { CNAME: "c.test" }, "c.test": { A: ["192.0.2.1"] } });
    expect(await dns.findMx(domain("a.test"))).toMatchObject({ kind: "no-such-name" });
    expect(await dns.findMx(domain("b.test"))).toMatchObject({ kind: "answer", records: [], canonicalName: "c.test" });
  });

  test("to a server's trouble fail", async () => {
    const { dns } = await world({
      "a.test": { CNAME: "b.test", cutShort: true },
      "b.test": { behave: { kind: "rcode", rcode: "SERVFAIL" } },
    });
    expect(await dns.findMx(domain("a.test"))).toMatchObject({ kind: "failed", reason: "servfail" });
  });
});

describe("hostile names", () => {
  /** An MX answer with these octets as its exchange. */
  const exchange = (...labels: string[]): Behaviour => ({
    kind: "bytes",
    bytes: (query) => {
      const name = Buffer.concat([
        ...labels.map((label) => Buffer.from(`${String.fromCharCode(label.length)}${label}`, "latin1")),
        Buffer.from([0]),
      ]);
      const questionEnd = query.length - 11;
      const head = Buffer.from([query[0] ?? 0, query[1] ?? 0, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
      return Buffer.concat([
        head,
        query.subarray(12, questionEnd),
        Buffer.from([0xc0, 12, 0, 15, 0, 1, 0, 0, 0, 60, 0, name.length + 2, 0, 10]),
        name,
      ]);
    },
  });
  const cases: [labels: string[], exchange: string][] = [
    [["mx.example", "test"], "mx\\.example.test"],
    [["mx\0", "example", "test"], "mx\\000.example.test"],
    [["mx\r\nRCPT TO:<x>", "test"], "mx\\013\\010rcpt\\032to:<x>.test"],
    [["\u00ff\u00fe", "test"], "\\255\\254.test"],
    [["192", "0", "2", "1"], "192.0.2.1"],
  ];
  for (const [labels, text] of cases)
    test(`an exchange of ${JSON.stringify(labels)} is kept as ${text}`, async () => {
      const { dns } = await world(misbehaving(exchange(...labels)));
      expect(await dns.findMx(domain("example.test"))).toMatchObject({ records: [{ preference: 10, exchange: text }] });
    });

  const loop: Behaviour = {
    kind: "bytes",
    bytes: (query) =>
      Buffer.concat([
        Buffer.from([query[0] ?? 0, query[1] ?? 0, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]),
        query.subarray(12, query.length - 11),
        Buffer.from([0xc0, query.length - 11]),
      ]),
  };
  test("a compression loop is a malformed answer, and nothing worse", async () => {
    const { dns } = await world(misbehaving(loop));
    expect(await dns.findMx(domain("example.test"))).toMatchObject({
      kind: "failed",
      reason: "malformed",
      detail: expect.stringContaining("pointer"),
    });
  });

  test("a malformed answer sends the question to the next server", async () => {
    const { dns, server, others } = await world(misbehaving(loop), {}, 2);
    others[0]?.set("example.test", { MX: ["10 mx.example.test"] });
    expect(await dns.findMx(domain("example.test"))).toMatchObject({ kind: "answer" });
    expect(server.queries).toHaveLength(1);
  });
});
