/**
 * What this machine knows of itself: its addresses, for "the MX is ourselves" (RFC 5321 §5.1), and whether it has IPv6 to the
 * world. Pure.
 */
import type { NetworkInterfaceInfo } from "node:os";
import { isSpecialUse, parseAddress } from "./special-addresses.ts";

/** As `os.networkInterfaces()` gives them. */
export type Interfaces = Readonly<Record<string, readonly Pick<NetworkInterfaceInfo, "address" | "family" | "internal">[] | undefined>>;

/** Every address of every interface, loopback included, in canonical text and without zone. */
export function localAddresses(interfaces: Interfaces): readonly string[] {
  const addresses = new Set<string>();
  for (const list of Object.values(interfaces))
    for (const { address } of list ?? []) {
      const canonical = canonicalAddress(address);
      if (canonical !== undefined) addresses.add(canonical);
    }
  return [...addresses];
}

/** One text for one address (RFC 5952), so that addresses can be compared as text; undefined if it is none. */
export function canonicalAddress(address: string): string | undefined {
  const parsed = parseAddress(address);
  if (parsed === undefined) return undefined;
  return "toRFC5952String" in parsed ? parsed.toRFC5952String() : parsed.toString();
}

/** True if some interface has an IPv6 address that the world can answer to. */
export function hasGlobalIpv6(interfaces: Interfaces): boolean {
  return Object.values(interfaces).some((list) =>
    list?.some(({ address, family, internal }) => family === "IPv6" && !internal && isSpecialUse(address) === undefined),
  );
}
