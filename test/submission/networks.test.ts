import type { NetworkInterfaceInfo } from "node:os";
import { describe, expect, test } from "vitest";
import {
  parseNetworks,
  parseRoutes4,
  parseRoutes6,
  plainAddress,
  readSurroundings,
  subscriberOf,
  type Surroundings,
} from "../../src/submission/networks.ts";

const card = (cidr: string, internal = false): NetworkInterfaceInfo => {
  const address = cidr.replace(/\/.*/, "");
  const common = { address, netmask: "", mac: "", internal, cidr };
  return address.includes(":") ? { ...common, family: "IPv6", scopeid: 0 } : { ...common, family: "IPv4" };
};

const container: Surroundings = {
  container: true,
  hostNetworking: false,
  interfaces: {
    lo: [card("127.0.0.1/8", true), card("::1/128", true)],
    eth0: [card("172.20.0.4/16"), card("fd00:20::4/64"), card("fe80::42/64")],
    eth1: [card("10.9.0.7/24")],
    eth2: [card("203.0.113.5/24")],
  },
  gateways: ["172.20.0.1", "fd00:20::1"],
};
const host: Surroundings = { ...container, container: false };

function networks(entries: string[], surroundings = container) {
  const parsed = parseNetworks(entries, surroundings);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
}

describe("auto", () => {
  test.each([
    ["127.0.0.1", true],
    ["127.3.2.1", true],
    ["::1", true],
    ["172.20.0.9", true],
    ["172.20.255.254", true],
    ["fd00:20::99", true],
    ["10.9.0.33", true],
    ["172.20.0.1", false], // the gateway: every published port arrives from there
    ["fd00:20::1", false],
    ["10.9.0.1", false], // a gateway that is in no routing table, since the network has no default route
    ["172.21.0.9", false],
    ["203.0.113.9", false], // attached, but not private
    ["fe80::1", false],
    ["8.8.8.8", false],
    ["", false],
  ])("in a container, %s may relay: %s", (address, may) => expect(networks(["auto"]).contains(address)).toBe(may));

  test.each([
    ["127.0.0.1", true],
    ["::1", true],
    ["172.20.0.9", false],
    ["10.9.0.33", false],
  ])("outside a container, %s may relay: %s", (address, may) => expect(networks(["auto"], host).contains(address)).toBe(may));

  test("on the host's network a container knows loopback only", () => {
    expect(networks(["auto"], { ...container, hostNetworking: true }).contains("172.20.0.9")).toBe(false);
  });

  test("gateways are known as such, and a list lets them in", () => {
    expect(networks(["auto"]).isGateway("172.20.0.1")).toBe(true);
    expect(networks(["auto"]).isGateway("172.20.0.9")).toBe(false);
    const listed = networks(["auto", "172.20.0.1"]);
    expect(listed.contains("172.20.0.1")).toBe(true);
    expect(listed.isGateway("172.20.0.1")).toBe(false);
  });

  test("the start report names what may relay and what may not", () => {
    expect(networks(["auto"]).described).toContain("172.20.0.0/16 may relay, its gateway 172.20.0.1 may not");
  });
});

test.each([
  [["127.0.0.0/8", "::1"], true],
  [["auto"], false],
  [["10.0.0.0/8"], false],
])("%j is loopback only: %s", (entries, only) => expect(networks(entries).onlyLoopback).toBe(only));

test.each([
  ["10.0.0.0/8", "10.200.3.4", true],
  ["10.0.0.0/8", "11.0.0.1", false],
  ["192.0.2.5", "192.0.2.5", true],
  ["192.0.2.5", "192.0.2.6", false],
  ["2001:db8::/32", "2001:db8:1::1", true],
  ["2001:DB8::/32", "2001:db9::1", false],
  ["::ffff:10.1.2.3", "10.1.2.3", true],
  ["::ffff:10.0.0.0/104", "10.1.2.3", true],
  ["::ffff:10.0.0.0/104", "11.0.0.1", false],
])("%s contains %s: %s", (entry, address, contains) => expect(networks([entry]).contains(address)).toBe(contains));

test.each([["10.0.0.0/33"], ["fd00::/129"], ["example.test"], ["10.0.0"], ["10.0.0.0/"], ["::ffff:10.0.0.0/24"], [""]])(
  "%j is no network",
  (entry) => expect(parseNetworks([entry], host).ok).toBe(false),
);

test.each([
  ["::ffff:192.0.2.1", "192.0.2.1"],
  ["::FFFF:192.0.2.1", "192.0.2.1"],
  ["fe80::1%eth0", "fe80::1"],
  ["2001:DB8::1", "2001:db8::1"],
  [undefined, ""],
])("%s is %s to us", (remote, address) => expect(plainAddress(remote)).toBe(address));

test.each([
  ["192.0.2.1", "192.0.2.1"],
  ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
  ["2001:db8:1:2::9", "2001:db8:1:2::/64"],
])("%s counts as %s", (address, subscriber) => expect(subscriberOf(address)).toBe(subscriber));

describe("routing tables", () => {
  test("IPv4 gateways are hexadecimal, lowest octet first", () => {
    const text =
      "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n" +
      "eth0\t00000000\t010014AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
      "eth0\t000014AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
    expect(parseRoutes4(text)).toEqual(["172.20.0.1"]);
  });

  test("IPv6 next hops are the fifth column", () => {
    const text =
      "fd000020000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n" +
      "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000020000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n";
    expect(parseRoutes6(text)).toEqual(["fd00:20::1"]);
  });

  test("garbage has no gateways", () => {
    expect(parseRoutes4("x\ny z\n")).toEqual([]);
    expect(parseRoutes6("")).toEqual([]);
  });
});

describe("surroundings", () => {
  const look = (files: Record<string, string>) =>
    readSurroundings(
      (path) => (path in files ? Promise.resolve(Buffer.from(files[path] ?? "")) : Promise.reject(new Error("ENOENT"))),
      container.interfaces,
    );

  test.each([
    [{ "/.dockerenv": "" }, true],
    [{ "/run/.containerenv": "" }, true],
    [{ "/proc/1/cgroup": "0::/kubepods/burstable/pod1" }, true],
    [{ "/proc/1/cgroup": "0::/" }, false],
    [{}, false],
  ] as [Record<string, string>, boolean][])("%j means a container: %s", async (files, inside) =>
    expect((await look(files)).container).toBe(inside),
  );

  test("hardware behind a network card means the host's network", async () => {
    expect((await look({ "/.dockerenv": "", "/sys/class/net/eth0/device/uevent": "DRIVER=virtio_net" })).hostNetworking).toBe(true);
    expect((await look({ "/.dockerenv": "" })).hostNetworking).toBe(false);
  });
});
