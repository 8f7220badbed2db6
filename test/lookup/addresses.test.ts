import { describe, expect, test, vi } from "vitest";
import { combineAddresses } from "../../src/lookup/addresses.ts";
import type { DnsClient, DnsLookupOptions } from "../../src/lookup/dns.ts";
import type { Domain } from "../../src/mail/domain.ts";
import type { Finding, HostAddress } from "../../src/policy/facts.ts";
import type { DnsServer, Zone } from "../support/dns-server.ts";
import { MovedClock } from "../support/moved-clock.ts";
import { world as openWorld } from "./world.ts";

const answer = (...records: string[]): Finding<string> => ({
  kind: "answer",
  records,
  security: "secure",
  canonicalName: "host.test",
  expires: 1000,
});
const failed: Finding<string> = { kind: "failed", reason: "servfail", detail: "SERVFAIL" };
const noName: Finding<string> = { kind: "no-such-name", security: "secure", expires: 500 };

/** `6:address` for each in order, or the kind. */
const summary = (finding: Finding<HostAddress>): string =>
  finding.kind === "answer" ? finding.records.map(({ address, family }) => `${family}:${address}`).join(" ") : finding.kind;

describe("the two families together", () => {
  const cases: [what: string, four: Finding<string>, six: Finding<string>, result: string][] = [
    ["both answer", answer("a", "b", "c"), answer("x", "y"), "6:x 4:a 6:y 4:b 4:c"],
    ["IPv4 only", answer("a"), answer(), "4:a"],
    ["IPv6 only", answer(), answer("x"), "6:x"],
    ["neither", answer(), answer(), ""],
    ["IPv6 failed, IPv4 answers", answer("a"), failed, "4:a"],
    ["IPv4 failed, IPv6 answers", failed, answer("x"), "6:x"],
    ["one failed, the other has none", answer(), failed, "failed"],
    ["the same, mirrored", failed, answer(), "failed"],
    ["both failed", failed, failed, "failed"],
    ["no such name for both", noName, noName, "no-such-name"],
    ["no such name for one, records for the other", noName, answer("x"), "6:x"],
    ["no such name for one, none for the other", noName, answer(), ""],
    ["no such name for one, a failure for the other", noName, failed, "failed"],
  ];
  for (const [what, four, six, result] of cases)
    test(`${what}: ${result === "" ? "NODATA" : result}`, () => expect(summary(combineAddresses(four, six).finding)).toBe(result));

  test("are secure only if both are, and as old as the older", () => {
    const insecure: Finding<string> = { kind: "answer", records: ["x"], security: "insecure", canonicalName: "host.test", expires: 700 };
    expect(combineAddresses(answer("a"), insecure).finding).toMatchObject({ security: "insecure", expires: 700 });
    expect(combineAddresses(answer("a"), answer("x")).finding).toMatchObject({ security: "secure", expires: 1000 });
  });
});

async function world(
  zone: Zone,
  options: Partial<DnsLookupOptions> = {},
): Promise<{ dns: DnsClient; server: DnsServer; clock: MovedClock; find: (name: string) => Promise<Finding<HostAddress>> }> {
  const clock = new MovedClock();
  const { dns, server } = await openWorld(zone, { attempts: 1, clock, ...options });
  return { dns, server, clock, find: (name) => dns.findAddresses(name as Domain) };
}

describe("looking up a host", () => {
  test("asks for both at the same time, and gives canonical text", async () => {
    const { server, find } = await world({
      "mx.test": { A: ["192.0.2.1"], AAAA: ["2001:db8:0:0:0:0:0:1"], behave: { kind: "slow", ms: 30 } },
    });
    const finding = find("mx.test");
    await vi.waitFor(() => expect(server.queries).toHaveLength(2));
    expect(summary(await finding)).toBe("6:2001:db8::1 4:192.0.2.1");
  });

  test("follows an alias, and tells its end", async () => {
    const { find } = await world({ "mx.test": { CNAME: "real.test" }, "real.test": { A: ["192.0.2.1"] } });
    expect(await find("mx.test")).toMatchObject({ kind: "answer", canonicalName: "real.test" });
  });

  test("one family's failure is asked again soon, although the other's answer is good for long", async () => {
    const { server, clock, find } = await world({
      "mx.test": { A: ["192.0.2.1"], AAAA: ["2001:db8::1"], behave: { kind: "rcode", rcode: "SERVFAIL" }, types: ["AAAA"], times: 1 },
    });
    expect(summary(await find("mx.test"))).toBe("4:192.0.2.1");
    expect(summary(await find("mx.test"))).toBe("4:192.0.2.1");
    expect(server.queries).toHaveLength(2);
    await clock.pass(10_000);
    expect(summary(await find("mx.test"))).toBe("6:2001:db8::1 4:192.0.2.1");
    expect(server.count("mx.test", "A")).toBe(1);
  });

  test("what is kept of both is no older than the older", async () => {
    const { server, clock, find } = await world({ "mx.test": { A: ["192.0.2.1"], ttl: 30 } });
    server.setNegativeTtl({ ttl: 600, minimum: 600 });
    await find("mx.test");
    await clock.pass(30_000);
    await find("mx.test");
    expect(server.count("mx.test", "A")).toBe(2);
    expect(server.count("mx.test", "AAAA")).toBe(1);
  });
});

describe("without IPv6", () => {
  test("only IPv4 is asked for", async () => {
    const { server, find } = await world({ "mx.test": { A: ["192.0.2.1"], AAAA: ["2001:db8::1"] } }, { ipv6: () => false });
    expect(summary(await find("mx.test"))).toBe("4:192.0.2.1");
    expect(server.queries.map((query) => query.type)).toEqual(["A"]);
  });

  const cases: [what: string, zone: Zone, result: object][] = [
    [
      "a host with IPv6 only is out of reach, not without address",
      { "mx.test": { AAAA: ["2001:db8::1"] } },
      { kind: "failed", reason: "unreachable", detail: expect.stringContaining("IPv6 addresses only") },
    ],
    ["a host with neither has no address", { "mx.test": { TXT: ["x"] } }, { kind: "answer", records: [] }],
    ["a host that does not exist does not", {}, { kind: "no-such-name" }],
    [
      "a host of which nothing is known",
      { "mx.test": { behave: { kind: "rcode", rcode: "SERVFAIL" } } },
      { kind: "failed", reason: "servfail" },
    ],
    [
      "a host whose IPv6 half fails",
      { "mx.test": { behave: { kind: "rcode", rcode: "SERVFAIL" }, types: ["AAAA"] } },
      { kind: "failed", reason: "servfail" },
    ],
  ];
  for (const [what, zone, result] of cases)
    test(what, async () => {
      const { find } = await world(zone, { ipv6: () => false });
      expect(await find("mx.test")).toMatchObject(result);
    });
});
