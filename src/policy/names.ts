/**
 * Names in certificates (RFC 6125 §6.4, RFC 8461 §4.1): the DNS names a certificate presents and the names we asked
 * for in, the name that fits out. Pure; reading the names off a certificate is delivery/certificate.ts. The common
 * name counts nowhere (RFC 8461 §4.2).
 */
import { isHostname } from "../mail/domain.ts";

/**
 * True if the presented DNS-ID covers the reference identifier: label by label, ASCII case aside, A-labels on both
 * sides. Whatever is no host name, with NUL, blank, underscore or a final dot in it, covers nothing (RFC 5280 §4.2.1.6).
 */
export function coversName(presented: string, reference: string): boolean {
  const host = reference.toLowerCase();
  const name = presented.toLowerCase();
  if (!isHostname(host)) return false;
  if (!name.startsWith("*.")) return name === host && isHostname(name);
  // A wildcard is the whole left-most label and stands for exactly one: *.example.net covers mx.example.net, neither
  // a.mx.example.net nor example.net (RFC 6125 §6.4.3). `m*.example.net` never gets here and is no host name.
  const parent = name.slice(2);
  const firstDot = host.indexOf(".");
  return firstDot > 0 && host.slice(firstDot + 1) === parent && isHostname(parent);
}

/** The first reference identifier that one of the presented names covers. */
export function findCoveredName(presented: readonly string[], references: readonly string[]): string | undefined {
  return references.find((reference) => presented.some((name) => coversName(name, reference)));
}
