/**
 * Who submits without login: the networks of the configuration and what `auto` means here. `auto` is loopback, and in a
 * container of its own network also the private subnets attached to it, but never their gateways: a published port
 * makes every stranger arrive from there. Pure but for `readSurroundings`.
 */
import { BlockList, isIPv4, isIPv6 } from "node:net";
import type { NetworkInterfaceInfo } from "node:os";
import ipaddr from "ipaddr.js";
import { parseNetwork } from "../mail/network.ts";
import { bad, good, type Parsed } from "../mail/parsed.ts";

export type InterfaceTable = NodeJS.Dict<NetworkInterfaceInfo[]>;

/** What this machine looks like to us. */
export interface Surroundings {
  readonly container: boolean;
  /** The container shares its host's network: what is attached is then the host's, and no private business. */
  readonly hostNetworking: boolean;
  readonly interfaces: InterfaceTable;
  /** Next hops of the routing tables. */
  readonly gateways: readonly string[];
}

export interface Networks {
  contains(address: string): boolean;
  /** A gateway that `auto` leaves out, and that no other entry lets in. */
  isGateway(address: string): boolean;
  readonly onlyLoopback: boolean;
  /** For the start report: `172.20.0.0/16 may relay, gateway 172.20.0.1 may not`. */
  readonly described: readonly string[];
}

/** A socket's address as everything here has it: IPv4-mapped unwrapped, without zone, lower case. */
export function plainAddress(remote: string | undefined): string {
  const address = (remote ?? "").replace(/%.*$/, "").toLowerCase();
  const mapped = address.startsWith("::ffff:") ? address.slice(7) : "";
  return isIPv4(mapped) ? mapped : address;
}

/** The unit that limits count by: an IPv6 subscriber has a whole /64, so single addresses there mean nothing. */
export function subscriberOf(address: string): string {
  if (!isIPv6(address)) return address;
  return `${ipaddr.IPv6.parse(address)
    .parts.slice(0, 4)
    .map((part) => part.toString(16))
    .join(":")}::/64`;
}

export function parseNetworks(entries: readonly string[], surroundings: Surroundings): Parsed<Networks> {
  const listed = new BlockList();
  const attached = new BlockList();
  const gateways = new BlockList();
  const described: string[] = [];
  let onlyLoopback = true;
  for (const entry of entries) {
    if (entry === "auto") {
      listed.addSubnet("127.0.0.0", 8, "ipv4");
      listed.addAddress("::1", "ipv6");
      const subnets = attachedSubnets(surroundings);
      for (const subnet of subnets) {
        onlyLoopback = false;
        add(attached, subnet.network, subnet.prefix);
        const forbidden = [subnet.first, ...surroundings.gateways.map(plainAddress)].filter((address) => isInside(address, subnet));
        for (const address of new Set(forbidden)) add(gateways, address);
        described.push(`${subnet.network}/${subnet.prefix} may relay, its gateway ${[...new Set(forbidden)].join(", ")} may not`);
      }
      continue;
    }
    const network = parseSubnet(entry);
    if (!network.ok) return network;
    add(listed, network.value.network, network.value.prefix);
    if (!isLoopback(network.value)) onlyLoopback = false;
    described.push(`${network.value.network}/${network.value.prefix} may relay`);
  }
  const isListed = (address: string) => check(listed, address);
  return good({
    contains: (address) => isListed(address) || (check(attached, address) && !check(gateways, address)),
    isGateway: (address) => check(gateways, address) && !isListed(address),
    onlyLoopback,
    described,
  });
}

interface Subnet {
  readonly network: string;
  readonly prefix: number;
}

/** The network in the terms of `plainAddress`: what is IPv4-mapped is the IPv4 network inside (RFC 4291 §2.5.5.2). */
function parseSubnet(text: string): Parsed<Subnet> {
  const parsed = parseNetwork(text);
  if (!parsed.ok) return parsed;
  const { address, prefix } = parsed.value;
  const network = plainAddress(address);
  const cut = isIPv6(address) && isIPv4(network) ? 96 : 0;
  return prefix < cut ? bad(`not a network: ${text} mixes IPv4-mapped addresses with others`) : good({ network, prefix: prefix - cut });
}

function isLoopback({ network, prefix }: Subnet): boolean {
  return isIPv4(network) ? network.startsWith("127.") && prefix >= 8 : network === "::1" && prefix === 128;
}

function add(list: BlockList, address: string, prefix?: number): void {
  const family = isIPv4(address) ? "ipv4" : "ipv6";
  if (prefix === undefined) list.addAddress(address, family);
  else list.addSubnet(address, prefix, family);
}

function check(list: BlockList, address: string): boolean {
  return isIPv4(address) ? list.check(address, "ipv4") : isIPv6(address) && list.check(address, "ipv6");
}

function isInside(address: string, subnet: Subnet): boolean {
  const list = new BlockList();
  add(list, subnet.network, subnet.prefix);
  return check(list, address);
}

/** RFC 1918 and RFC 4193; link-local and shared space belong to nobody in particular. */
const PRIVATE = new BlockList();
PRIVATE.addSubnet("10.0.0.0", 8, "ipv4");
PRIVATE.addSubnet("172.16.0.0", 12, "ipv4");
PRIVATE.addSubnet("192.168.0.0", 16, "ipv4");
PRIVATE.addSubnet("fc00::", 7, "ipv6");

function attachedSubnets(surroundings: Surroundings): (Subnet & { readonly first: string })[] {
  if (!surroundings.container || surroundings.hostNetworking) return [];
  const found: (Subnet & { readonly first: string })[] = [];
  for (const addresses of Object.values(surroundings.interfaces)) {
    for (const { address, cidr, internal } of addresses ?? []) {
      if (internal || cidr === null || !check(PRIVATE, plainAddress(address))) continue;
      const parsed = ipaddr.parseCIDR(cidr);
      const network = (parsed[0].kind() === "ipv4" ? ipaddr.IPv4 : ipaddr.IPv6).networkAddressFromCIDR(cidr);
      // Container networks give their gateway the first address, and a network that is not the default route's has no
      // other sign of it.
      const octets = network.toByteArray();
      octets.push((octets.pop() ?? 0) + 1);
      const subnet = { network: network.toString(), prefix: parsed[1], first: ipaddr.fromByteArray(octets).toString() };
      if (parsed[1] > 0 && !found.some((other) => other.network === subnet.network && other.prefix === subnet.prefix)) found.push(subnet);
    }
  }
  return found;
}

/** Gateways of `/proc/net/route`: hexadecimal, lowest octet first. */
export function parseRoutes4(text: string): string[] {
  const gateways = text
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/)[2] ?? "")
    .filter((hex) => /^[0-9A-F]{8}$/i.test(hex) && hex !== "00000000")
    .map((hex) => [6, 4, 2, 0].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)).join("."));
  return [...new Set(gateways)];
}

/** Next hops of `/proc/net/ipv6_route`: the fifth column, 32 hexadecimal digits. */
export function parseRoutes6(text: string): string[] {
  const gateways = text
    .split("\n")
    .map((line) => line.trim().split(/\s+/)[4] ?? "")
    .filter((hex) => /^[0-9a-f]{32}$/i.test(hex) && !/^0+$/.test(hex))
    .map((hex) => ipaddr.fromByteArray([...Buffer.from(hex, "hex")]).toString());
  return [...new Set(gateways)];
}

/** Looks around once: marks that container engines leave, the routing tables, and whether a real network card is here. */
export async function readSurroundings(readFile: (path: string) => Promise<Buffer>, interfaces: InterfaceTable): Promise<Surroundings> {
  const text = (path: string) =>
    readFile(path).then(
      (content) => content.toString("latin1"),
      () => undefined,
    );
  const [dockerenv, containerenv, cgroup, routes4, routes6] = await Promise.all(
    ["/.dockerenv", "/run/.containerenv", "/proc/1/cgroup", "/proc/net/route", "/proc/net/ipv6_route"].map(text),
  );
  // The kernel shows a process only the devices of its own network; one with hardware behind it is a host's.
  const devices = Object.keys(interfaces).filter((name) => /^[\w.:-]+$/.test(name));
  const hardware = await Promise.all(devices.map((name) => text(`/sys/class/net/${name.replace(/:.*$/, "")}/device/uevent`)));
  return {
    container: dockerenv !== undefined || containerenv !== undefined || /docker|kubepods|containerd|libpod|lxc/.test(cgroup ?? ""),
    hostNetworking: hardware.some((uevent) => uevent !== undefined),
    interfaces,
    gateways: [...parseRoutes4(routes4 ?? ""), ...parseRoutes6(routes6 ?? "")],
  };
}
