/**
 * The two ends of a connection as reports name them (RFC 8460 §4.4): what the system says of our socket, and what a host
 * says first, in; our address and the host's name for itself, as far as there are any, out. Pure; read once for each
 * connection by delivery/connect.ts.
 */
import ipaddr from "ipaddr.js";
import { isHostname, parseAddressLiteral } from "../mail/domain.ts";
import type { Reply } from "../mail/reply.ts";

/** One text for one address: IPv6 by RFC 5952, and IPv4 as such where the system wraps it (`::ffff:192.0.2.1`). */
export function ownAddress(address: string | undefined): string | undefined {
  const bare = address?.replace(/%.*$/, "");
  if (bare === undefined || !ipaddr.isValid(bare)) return undefined;
  const parsed = ipaddr.process(bare);
  return "toRFC5952String" in parsed ? parsed.toRFC5952String() : parsed.toString();
}

/**
 * What stands first in a greeting or in the reply to EHLO, where it is a name (RFC 5321 §4.2). A word without a dot is
 * none: many hosts say `Hello` or `OK` there.
 */
export function findHelo({ lines: [first = ""] }: Reply): string | undefined {
  const word = /^[^ \t]{1,255}(?=[ \t]|$)/.exec(first)?.[0] ?? "";
  if (word.startsWith("[")) {
    const literal = parseAddressLiteral(word);
    return literal.ok ? literal.value : undefined;
  }
  const name = word.toLowerCase().replace(/\.$/, "");
  return name.includes(".") && isHostname(name) ? name : undefined;
}
