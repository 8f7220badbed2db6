import { describe, expect, test } from "vitest";
import { createAddressGuard, isSpecialUse } from "../../src/lookup/special-addresses.ts";

const cases: [address: string, block: string | undefined][] = [
  ["0.0.0.0", "this network"],
  ["0.1.2.3", "this network"],
  ["9.255.255.255", undefined],
  ["10.0.0.0", "private"],
  ["10.255.255.255", "private"],
  ["11.0.0.0", undefined],
  ["100.63.255.255", undefined],
  ["100.64.0.0", "NAT"],
  ["100.127.255.255", "NAT"],
  ["100.128.0.0", undefined],
  ["127.0.0.1", "loopback"],
  ["127.255.255.255", "loopback"],
  ["128.0.0.0", undefined],
  ["169.253.255.255", undefined],
  ["169.254.169.254", "link-local"], // where clouds keep credentials
  ["172.15.255.255", undefined],
  ["172.16.0.0", "private"],
  ["172.31.255.255", "private"],
  ["172.32.0.0", undefined],
  ["192.0.0.8", "protocol assignments"],
  ["192.0.1.0", undefined],
  ["192.0.2.1", "documentation"],
  ["192.31.196.1", "AS112"],
  ["192.52.193.1", "tunnels"],
  ["192.88.99.1", "6to4"],
  ["192.168.1.1", "private"],
  ["192.169.0.0", undefined],
  ["192.175.48.1", "AS112"],
  ["198.17.255.255", undefined],
  ["198.18.0.0", "benchmarking"],
  ["198.19.255.255", "benchmarking"],
  ["198.20.0.0", undefined],
  ["198.51.100.7", "documentation"],
  ["203.0.113.7", "documentation"],
  ["223.255.255.255", undefined],
  ["224.0.0.1", "multicast"],
  ["239.255.255.255", "multicast"],
  ["240.0.0.1", "reserved"],
  ["255.255.255.255", "broadcast"],
  ["8.8.8.8", undefined],

  ["::", "unspecified"],
  ["::7f00:1", "loopback"],
  ["2a00:1450:4001::8.8.8.8", undefined],
  ["::1", "loopback"],
  ["0:0:0:0:0:0:0:1", "loopback"],
  ["::ffff:127.0.0.1", "loopback"], // IPv4-mapped, in both spellings
  ["::ffff:7f00:1", "loopback"],
  ["::FFFF:10.0.0.1", "private"],
  ["::ffff:8.8.8.8", undefined],
  ["::127.0.0.1", "loopback"], // IPv4-compatible
  ["::8.8.8.8", "IPv4-compatible"],
  ["::ffff:0:127.0.0.1", "IPv4-translated"],
  ["64:ff9b::127.0.0.1", "loopback"], // NAT64
  ["64:ff9b::c0a8:101", "private"],
  ["64:ff9b::8.8.8.8", undefined],
  ["64:ff9b:1::127.0.0.1", "local NAT64"],
  ["64:ff9b:1::8.8.8.8", "local NAT64"],
  ["64:ff9b:2::8.8.8.8", "reserved"],
  ["100::1", "discard"],
  ["100:0:0:1::1", "dummy"],
  ["2001::1", "Teredo"],
  ["2001:0:4136:e378:8000:63bf:3fff:fdd2", "Teredo"],
  ["2001:2::1", "benchmarking"],
  ["2001:10::1", "ORCHID"],
  ["2001:20::1", "ORCHIDv2"],
  ["2001:1ff::1", "protocol assignments"],
  ["2001:200::1", undefined],
  ["2001:db8::1", "documentation"],
  ["2001:db9::1", undefined],
  ["2002:7f00:1::1", "6to4"],
  ["2620:4f:8000::1", "AS112"],
  ["3fff::1", "documentation"],
  ["3fff:1000::1", undefined],
  ["5f00::1", "segment routing"],
  ["4000::1", "reserved"],
  ["fc00::1", "unique local"],
  ["fd12:3456::1", "unique local"],
  ["fe80::1", "link-local"],
  ["fe80::1%eth0", "link-local"],
  ["fec0::1", "site-local"],
  ["ff02::1", "multicast"],
  ["2a00:1450:4001::1a", undefined],
  ["2606:4700::1111", undefined],

  ["127.1", "not an IP address"],
  ["0177.0.0.1", "not an IP address"],
  ["2130706433", "not an IP address"],
  ["0x7f000001", "not an IP address"],
  ["127.0.0.1%lo", "not an IP address"],
  ["mx.example.test", "not an IP address"],
  ["", "not an IP address"],
];

describe("special-use addresses", () => {
  for (const [address, block] of cases)
    test(`${address}: ${block ?? "anybody's"}`, () => {
      if (block === undefined) expect(isSpecialUse(address)).toBeUndefined();
      else expect(isSpecialUse(address)).toContain(block);
    });
});

describe("the operator's exceptions", () => {
  const guards: [allowed: string[], address: string, refused: boolean][] = [
    [[], "127.0.0.1", true],
    [[], "8.8.8.8", false],
    [["127.0.0.0/8"], "127.0.0.1", false],
    [["127.0.0.0/8"], "::ffff:127.0.0.1", false],
    [["127.0.0.0/8"], "::1", true],
    [["127.0.0.0/8"], "10.0.0.1", true],
    [["10.1.2.3"], "10.1.2.3", false],
    [["10.1.2.3"], "10.1.2.4", true],
    [["10.1.2.3", "fd00::/8"], "fd12::1", false],
    [["fd00::/8"], "fc00::1", true],
    [["0.0.0.0/0"], "::1", true],
    [["::/0"], "127.0.0.1", true],
    [["::/0"], "fe80::1%eth0", false],
    // The translator is allowed, what lies behind it is not.
    [["64:ff9b:1::/48"], "64:ff9b:1::8.8.8.8", false],
    [["64:ff9b:1::/48"], "64:ff9b:1::127.0.0.1", true],
    [["64:ff9b:1::/48", "127.0.0.1"], "64:ff9b:1::127.0.0.1", false],
    [["127.0.0.0/8"], "127.1", true],
  ];
  for (const [allowed, address, refused] of guards)
    test(`${JSON.stringify(allowed)} ${refused ? "refuses" : "lets pass"} ${address}`, () =>
      expect(createAddressGuard(allowed)(address) !== undefined).toBe(refused));

  test("that are no networks are said to be none", () => {
    for (const text of ["10.0.0.0/33", "fd00::/129", "10.0.0/8", "localhost", "", "10.0.0.0/", "10.0.0.0/8/8"]) {
      expect(() => createAddressGuard([text]), text).toThrow("not a network");
    }
  });
});
