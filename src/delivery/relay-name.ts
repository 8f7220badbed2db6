/**
 * What this relay calls itself where it has no public name: an address literal (RFC 5321 §4.1.4). For EHLO towards hosts that
 * the operator named, and in notices; strangers' hosts are not dialled without a mailname.
 */
import { isIPv4 } from "node:net";
import ipaddr from "ipaddr.js";
import { formatAddressLiteral } from "../mail/domain.ts";

export interface RelayAddresses {
  readonly delivery: { readonly sourceAddress4?: string | undefined; readonly sourceAddress6?: string | undefined };
  readonly ownAddresses: ReadonlySet<string>;
}

/** `[192.0.2.7]` or `[IPv6:2001:db8::7]`: the source address that is set, else one of this machine's, else loopback. */
export function ourHostName({ delivery, ownAddresses }: RelayAddresses, family: 4 | 6): string {
  const set = family === 4 ? delivery.sourceAddress4 : delivery.sourceAddress6;
  const address = set ?? [...ownAddresses].find((own) => isIPv4(own) === (family === 4) && isReachable(own));
  return formatAddressLiteral(address ?? (family === 4 ? "127.0.0.1" : "::1"));
}

function isReachable(address: string): boolean {
  if (!ipaddr.isValid(address) || address.includes("%")) return false;
  const range = ipaddr.parse(address).range();
  return range !== "loopback" && range !== "linkLocal" && range !== "unspecified";
}
