import { networkInterfaces } from "node:os";
import { describe, expect, test } from "vitest";
import { canonicalAddress, hasGlobalIpv6, type Interfaces, localAddresses } from "../../src/lookup/own-addresses.ts";

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
