import { networkInterfaces } from "node:os";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { createDnsLookup } from "../../src/lookup/dns.ts";
import { canonicalAddress, findReverseName, hasGlobalIpv6, type Interfaces, localAddresses } from "../../src/lookup/own-addresses.ts";
import { startDnsServer } from "../support/dns-server.ts";

const loopback: Interfaces = {
  lo: [
    { address: "127.0.0.1", family: "IPv4", internal: true },
    { address: "::1", family: "IPv6", internal: true },
  ],
};
const ipv6 = (address: string, internal = false): Interfaces => ({ ...loopback, eth0: [{ address, family: "IPv6", internal }] });

test("every address of every interface is ours, in one spelling", () => {
  expect(
    localAddresses({
      ...loopback,
      eth0: [
        { address: "192.0.2.1", family: "IPv4", internal: false },
        { address: "FE80:0::1%eth0", family: "IPv6", internal: false },
      ],
      gone: undefined,
    }),
  ).toEqual(["127.0.0.1", "::1", "192.0.2.1", "fe80::1"]);
  expect(localAddresses(networkInterfaces())).toContain("127.0.0.1");
});

test("one address has one spelling", () => {
  expect(canonicalAddress("2001:DB8:0:0:0:0:0:1")).toBe("2001:db8::1");
  expect(canonicalAddress("192.0.2.1")).toBe("192.0.2.1");
  expect(canonicalAddress("localhost")).toBeUndefined();
});

describe("global IPv6", () => {
  const cases: [what: string, interfaces: Interfaces, global: boolean][] = [
    ["loopback only", loopback, false],
    ["link-local", ipv6("fe80::1"), false],
    ["unique local", ipv6("fd00::1"), false],
    ["global", ipv6("2a00:1450::1"), true],
    ["global, but on an internal interface", ipv6("2a00:1450::1", true), false],
    ["Teredo", ipv6("2001::1"), false],
  ];
  for (const [what, interfaces, global] of cases) test(`${what}: ${global}`, () => expect(hasGlobalIpv6(interfaces)).toBe(global));
});

test("the name of an address is asked for in its reverse zone", async () => {
  const server = await startDnsServer({
    "1.2.0.192.in-addr.arpa": { PTR: ["Relay.Example.TEST"] },
    [`1.${"0.".repeat(23)}8.b.d.0.1.0.0.2.ip6.arpa`]: { PTR: ["six.example.test"] },
  });
  const dns = createDnsLookup({ servers: [server], timeout: 5_000, attempts: 1, cacheEntries: 10, longestTtl: 1e6, clock: systemClock });
  try {
    expect(await findReverseName(dns, "192.0.2.1")).toMatchObject({ records: ["relay.example.test"] });
    expect(await findReverseName(dns, "2001:db8::1")).toMatchObject({ records: ["six.example.test"] });
    expect(await findReverseName(dns, "192.0.2.2")).toMatchObject({ kind: "no-such-name" });
    expect(await findReverseName(dns, "relay.test")).toMatchObject({ kind: "failed", reason: "not-a-name" });
  } finally {
    dns.close();
    await server.close();
  }
});
