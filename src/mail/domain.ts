/**
 * Mail domains and next hops (RFC 5321 §2.3.5, §4.1.3): text in, a name in A-labels or an address literal out.
 */
import { isIPv4, isIPv6, SocketAddress } from "node:net";
import { domainToASCII, domainToUnicode } from "node:url";
import { bad, good, type Parsed } from "./parsed.ts";

/** A host or mail domain as A-labels, lower case, without the final dot. Made only by `parseDomain`. */
export type Domain = string & { readonly brand: "Domain" };

/** An address literal in its canonical form: `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 §4.1.3). */
export type AddressLiteral = string & { readonly brand: "AddressLiteral" };

/** Where mail goes next: the domain of its recipients, or the address they named. */
export type NextHop = Domain | AddressLiteral;

// RFC 5321 §4.5.3.1.2 and RFC 1035 §2.3.4; letters, digits and hyphens only (RFC 5321 §2.3.5).
const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** True for a name of LDH labels that can be asked for in DNS: at most 253 octets, and not an address. */
export function isHostname(name: string): boolean {
  if (name.length === 0 || name.length > 253 || isIPv4(name)) return false;
  return name.split(".").every((label) => LABEL.test(label));
}

// What may stand in a name as people write it. Node's IDNA is that of URLs: it would take `a%2Eb` for `a.b`, and `a/b` for `a`.
const NAME = /^[A-Za-z0-9.\u0080-\u{10ffff}-]*$/u;

export function parseDomain(text: string): Parsed<Domain> {
  const withoutDot = text.endsWith(".") ? text.slice(0, -1) : text;
  // The common case needs no IDNA: most names are lower-case ASCII already.
  const plain = /^[a-z0-9.-]*$/.test(withoutDot) && !withoutDot.includes("xn--");
  const ascii = plain ? withoutDot : NAME.test(withoutDot) ? domainToASCII(withoutDot) : "";
  return isHostname(ascii) ? good(ascii as Domain) : bad(`not a domain name: ${JSON.stringify(text.slice(0, 255))}`);
}

/** Parses `[192.0.2.1]` and `[IPv6:2001:db8::1]`; general address literals are refused (RFC 5321 §4.1.3). */
export function parseAddressLiteral(text: string): Parsed<AddressLiteral> {
  const inner = /^\[(.*)\]$/.exec(text)?.[1];
  if (inner !== undefined) {
    if (isIPv4(inner)) return good(`[${inner}]` as AddressLiteral);
    const six = /^IPv6:(.*)$/i.exec(inner)?.[1];
    // A zone (`%eth0`) names an interface of this machine; a stranger has no say in that.
    if (six !== undefined && isIPv6(six) && !six.includes("%")) {
      // One text for one address (RFC 5952), or a floor for it, and what is known of it, would be missed by another spelling.
      const { address } = new SocketAddress({ address: six, family: "ipv6" });
      return good(`[IPv6:${address}]` as AddressLiteral);
    }
  }
  return bad(`not an address literal: ${JSON.stringify(text.slice(0, 255))}`);
}

export function parseNextHop(text: string): Parsed<NextHop> {
  return text.startsWith("[") ? parseAddressLiteral(text) : parseDomain(text);
}

/** The bare IP address of a literal, or undefined when the next hop is a name. */
export function literalAddress(nextHop: NextHop): string | undefined {
  return nextHop.startsWith("[") ? nextHop.slice(1, -1).replace(/^IPv6:/, "") : undefined;
}

/** `[192.0.2.1]` or `[IPv6:2001:db8::1]`: how an address stands where a name is expected. */
export function formatAddressLiteral(address: string): string {
  return isIPv6(address) ? `[IPv6:${address}]` : `[${address}]`;
}

/** A host as operators write it, bare: the brackets in `[mail.example.com]` and `[192.0.2.1]` ask for no MX, which holds anyway. */
export function withoutBrackets(host: string): string {
  return /^\[(?:IPv6:)?(.*)\]$/i.exec(host)?.[1] ?? host;
}

/** The name as people write it, for screens and notices only. */
export function displayDomain(domain: string): string {
  return domain.includes("xn--") ? domainToUnicode(domain) || domain : domain;
}
