/**
 * Addresses of DNS servers as settings write them (`resolver.servers`): text in; address, port and, for DNS over TLS
 * (RFC 7858), the name that the certificate must carry out, and back.
 */
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";
import { isHostname } from "../mail/domain.ts";
import { bad, good, type Parsed } from "../mail/parsed.ts";

export interface ServerAddress {
  /** An IP address, with its zone where it has one (`fe80::1%eth0`). For `tls://name` that name, which the system resolves. */
  readonly address: string;
  readonly port: number;
  /** DNS over TLS: the host name or IP address that the certificate must name. Absent for UDP and TCP. */
  readonly tlsName?: string;
}

export const DNS_PORT = 53;
/** RFC 7858 §3.1. */
const DOT_PORT = 853;

const EXPECTED = "managed, system, 192.0.2.53, 192.0.2.53:5353, [2001:db8::53]:5353, tls://dns.example or tls://192.0.2.53#dns.example";

/** `127.0.0.1`, `127.0.0.1:5353`, `::1`, `[::1]:5353`, `[fe80::1%eth0]:53`, `tls://192.0.2.53#dns.example`, `tls://dns.example:8853`. */
export function parseServerAddress(text: string): Parsed<ServerAddress> {
  const trimmed = text.trim();
  if (/^tls:\/\//i.test(trimmed)) return parseTls(trimmed, trimmed.slice(6));
  const place = parsePlace(trimmed, DNS_PORT);
  if (place === undefined || isIP(place.address) === 0)
    return bad(`not the address of a resolver: ${quoted(trimmed)}; expected ${EXPECTED}`);
  return good(place);
}

function parseTls(whole: string, rest: string): Parsed<ServerAddress> {
  const hash = rest.indexOf("#");
  const place = parsePlace(hash < 0 ? rest : rest.slice(0, hash), DOT_PORT);
  if (place === undefined)
    return bad(
      `not a resolver for DNS over TLS: ${quoted(whole)}; expected tls://dns.example, tls://192.0.2.53 or tls://192.0.2.53#dns.example`,
    );
  if (hash < 0) return good({ ...place, tlsName: withoutZone(place.address) });
  const name = rest
    .slice(hash + 1)
    .toLowerCase()
    .replace(/\.$/, "");
  if (!isHostname(name) && isIP(name) === 0)
    return bad(`${quoted(whole)}: what stands behind # must be the name in the resolver's certificate, as in tls://192.0.2.53#dns.example`);
  return good({ ...place, tlsName: normalAddress(name) });
}

/** An address or a host name, with or without a port. */
function parsePlace(text: string, defaultPort: number): { address: string; port: number } | undefined {
  if (isIP(text) !== 0) return { address: normalAddress(text), port: defaultPort };
  const [, six, other, port] = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const number = port === undefined ? defaultPort : Number(port);
  if (number < 1 || number > 65_535) return undefined;
  if (six !== undefined) return isIP(six) === 6 ? { address: normalAddress(six), port: number } : undefined;
  if (other === undefined) return undefined;
  const name = other.toLowerCase().replace(/\.$/, "");
  return isIP(other) === 4 || isHostname(name) ? { address: name, port: number } : undefined;
}

/** One text for one address (RFC 5952 §4), so that a server is known again however it was written; other text stays. */
export function normalAddress(text: string): string {
  const [address = "", zone] = text.split("%", 2);
  if (isIP(address) !== 6) return text;
  const normal = ipaddr.IPv6.parse(address).toRFC5952String();
  return zone === undefined ? normal : `${normal}%${zone}`;
}

function withoutZone(address: string): string {
  return address.split("%", 1)[0] ?? address;
}

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}

/** What tells one server from another: where it is, and who it must prove to be. */
export function serverKey(server: ServerAddress): string {
  return `${normalAddress(server.address)} ${server.port} ${server.tlsName ?? ""}`;
}

/** `127.0.0.1`, and `127.0.0.1:5353` or `[::1]:5353` where the port is not DNS's own; `tls://192.0.2.53#dns.example`. */
export function describeServer(server: ServerAddress): string {
  const { address, port, tlsName } = server;
  const usual = tlsName === undefined ? DNS_PORT : DOT_PORT;
  const place = port === usual ? address : address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
  if (tlsName === undefined) return place;
  return `tls://${place}${tlsName === withoutZone(address) ? "" : `#${tlsName}`}`;
}
