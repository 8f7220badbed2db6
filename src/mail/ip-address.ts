/** IP addresses as reports tell them (RFC 8460 §4.4): any spelling in, one text for one address out. */
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";

/**
 * IPv4 with dots, also where a socket of both families wraps it (`::ffff:192.0.2.1`); IPv6 by RFC 5952, without the zone, which
 * means something on one machine only. Undefined if it is no address.
 */
export function canonicalIp(text: string): string | undefined {
  const bare = text.replace(/%.*$/, "");
  return isIP(bare) === 0 ? undefined : ipaddr.process(bare).toString();
}
