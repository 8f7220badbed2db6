/**
 * Addresses that a stranger's DNS must not send us to: an address in, the name of its special-use block out (IANA IPv4
 * and IPv6 Special-Purpose Address Registries, RFC 6890 and its successors; multicast by RFC 5771 and RFC 4291 §2.7).
 * An MX record pointing at loopback or a private network would make the relay speak to services it alone can reach.
 *
 * Forms that carry an IPv4 address are judged by that address: ::ffff:127.0.0.1 is loopback.
 */
import ipaddr from "ipaddr.js";
import { isIP } from "node:net";
import { parseNetwork } from "../mail/network.ts";

type Address = ipaddr.IPv4 | ipaddr.IPv6;
type Block = readonly [address: Address, prefix: number];

// The narrower block stands before the wider one, so that its name is the one given.
const IPV4_BLOCKS = named([
  ["0.0.0.0/8", "this network (RFC 791)"],
  ["10.0.0.0/8", "private (RFC 1918)"],
  ["100.64.0.0/10", "shared by a provider's NAT (RFC 6598)"],
  ["127.0.0.0/8", "loopback (RFC 1122)"],
  ["169.254.0.0/16", "link-local (RFC 3927)"],
  ["172.16.0.0/12", "private (RFC 1918)"],
  ["192.0.0.0/24", "protocol assignments (RFC 6890)"],
  ["192.0.2.0/24", "documentation (RFC 5737)"],
  ["192.31.196.0/24", "AS112 (RFC 7535)"],
  ["192.52.193.0/24", "multicast tunnels (RFC 7450)"],
  ["192.88.99.0/24", "6to4 relays (RFC 7526)"],
  ["192.168.0.0/16", "private (RFC 1918)"],
  ["192.175.48.0/24", "AS112 (RFC 7534)"],
  ["198.18.0.0/15", "benchmarking (RFC 2544)"],
  ["198.51.100.0/24", "documentation (RFC 5737)"],
  ["203.0.113.0/24", "documentation (RFC 5737)"],
  ["224.0.0.0/4", "multicast (RFC 5771)"],
  ["255.255.255.255/32", "broadcast (RFC 919)"],
  ["240.0.0.0/4", "reserved (RFC 1112)"],
]);

const IPV6_BLOCKS = named([
  ["::/128", "unspecified (RFC 4291)"],
  ["::1/128", "loopback (RFC 4291)"],
  ["::ffff:0:0:0/96", "IPv4-translated (RFC 2765)"],
  ["64:ff9b:1::/48", "local NAT64 (RFC 8215)"],
  ["100::/64", "discard-only (RFC 6666)"],
  ["100:0:0:1::/64", "dummy prefix (RFC 9780)"],
  ["2001::/32", "Teredo (RFC 4380)"],
  ["2001:2::/48", "benchmarking (RFC 5180)"],
  ["2001:10::/28", "ORCHID (RFC 4843)"],
  ["2001:20::/28", "ORCHIDv2 (RFC 7343)"],
  ["2001::/23", "protocol assignments (RFC 2928)"],
  ["2001:db8::/32", "documentation (RFC 3849)"],
  ["2002::/16", "6to4 (RFC 3056)"],
  ["2620:4f:8000::/48", "AS112 (RFC 7534)"],
  ["3fff::/20", "documentation (RFC 9637)"],
  ["5f00::/16", "segment routing (RFC 9602)"],
  ["fc00::/7", "unique local (RFC 4193)"],
  ["fe80::/10", "link-local (RFC 4291)"],
  ["fec0::/10", "site-local (RFC 3879)"],
  ["ff00::/8", "multicast (RFC 4291)"],
]);

const MAPPED = block("::ffff:0:0/96");
const COMPATIBLE = block("::/96");
const NAT64 = block("64:ff9b::/96");
const LOCAL_NAT64 = block("64:ff9b:1::/48");
const GLOBAL_UNICAST = block("2000::/3");

/** Names the special-use block the address is in; undefined for an address anybody may be reached at. */
export function isSpecialUse(address: string): string | undefined {
  const parsed = parseAddress(address);
  return parsed === undefined ? "not an IP address" : nameOf(parsed);
}

function nameOf(address: Address): string | undefined {
  if (address instanceof ipaddr.IPv4) return findName(address, IPV4_BLOCKS);
  const inner = embedded(address);
  const innerName = inner === undefined ? undefined : findName(inner, IPV4_BLOCKS);
  if (within(address, MAPPED) || within(address, NAT64)) return innerName;
  const own = findName(address, IPV6_BLOCKS);
  if (own !== undefined) return own;
  if (within(address, COMPATIBLE)) return innerName ?? "IPv4-compatible (RFC 4291)";
  // IANA gives out only 2000::/3 (RFC 4291 §2.4); the rest is reserved.
  return within(address, GLOBAL_UNICAST) ? undefined : "reserved (RFC 4291)";
}

/**
 * The IPv4 address inside: mapped and compatible (RFC 4291 §2.5.5), NAT64 (RFC 6052 §2.2). The local NAT64 prefix is
 * read in its usual /96 form.
 */
function embedded(address: ipaddr.IPv6): ipaddr.IPv4 | undefined {
  if (![MAPPED, COMPATIBLE, NAT64, LOCAL_NAT64].some((form) => within(address, form))) return undefined;
  return new ipaddr.IPv4(address.toByteArray().slice(12));
}

/** Refuses an address: gives the name of its block, or undefined where mail may go. */
export type AddressGuard = (address: string) => string | undefined;

/** The guard with the networks that the operator allows nevertheless (`127.0.0.0/8`, `fd00::/8`, `10.1.2.3`). */
export function createAddressGuard(allowed: readonly string[]): AddressGuard {
  const blocks = allowed.map(block);
  const isAllowed = (address: Address): boolean => blocks.some((allowedBlock) => within(address, allowedBlock));

  return (address) => {
    const parsed = parseAddress(address);
    if (parsed === undefined) return "not an IP address";
    const name = nameOf(parsed);
    if (name === undefined) return undefined;
    if (parsed instanceof ipaddr.IPv4) return isAllowed(parsed) ? undefined : name;
    const inner = embedded(parsed);
    if (inner === undefined) return isAllowed(parsed) ? undefined : name;
    // A translator's prefix opens the way to it, not to the inside of the network behind.
    if (within(parsed, LOCAL_NAT64)) return isAllowed(parsed) ? (isAllowed(inner) ? undefined : findName(inner, IPV4_BLOCKS)) : name;
    if (isAllowed(parsed)) return undefined;
    return !within(parsed, COMPATIBLE) && isAllowed(inner) ? undefined : name;
  };
}

/** Strict, unlike ipaddr.js, to which `127.1` and `0177.0.0.1` are addresses too. A zone says nothing about the address. */
export function parseAddress(text: string): Address | undefined {
  const zone = text.indexOf("%");
  const bare = zone < 0 ? text : text.slice(0, zone);
  const version = isIP(bare);
  if (version === 0 || (version === 4 && zone >= 0)) return undefined;
  return version === 4 ? ipaddr.IPv4.parse(bare) : ipaddr.IPv6.parse(withoutDots(bare));
}

/** `::8.8.8.8` as `::808:808`: ipaddr.js would read it as the mapped form, which is another address. */
function withoutDots(text: string): string {
  const dotted = text.slice(text.lastIndexOf(":") + 1);
  if (!dotted.includes(".")) return text;
  const [a, b, c, d] = ipaddr.IPv4.parse(dotted).octets as [number, number, number, number];
  return `${text.slice(0, -dotted.length)}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
}

function within(address: Address, [network, prefix]: Block): boolean {
  if (address instanceof ipaddr.IPv4) return network instanceof ipaddr.IPv4 && address.match(network, prefix);
  return network instanceof ipaddr.IPv6 && address.match(network, prefix);
}

function findName(address: Address, blocks: readonly (readonly [Block, string])[]): string | undefined {
  return blocks.find(([candidate]) => within(address, candidate))?.[1];
}

function block(text: string): Block {
  const network = parseNetwork(text);
  if (!network.ok) throw new Error(network.error);
  const address = parseAddress(network.value.address);
  if (address === undefined) throw new Error(`not an address: ${text}`);
  return [address, network.value.prefix];
}

function named(table: readonly (readonly [network: string, name: string])[]): readonly (readonly [Block, string])[] {
  return table.map(([network, name]) => [block(network), name]);
}
