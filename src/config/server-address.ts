/** Addresses of DNS servers as settings write them (`resolver.servers`): text in, address and port out, and back. */
import { isIP } from "node:net";
import { bad, good, type Parsed } from "../mail/parsed.ts";

export interface ServerAddress {
  /** An IP address, with its zone where it has one (`fe80::1%eth0`). */
  readonly address: string;
  readonly port: number;
}

export const DNS_PORT = 53;

/** `127.0.0.1`, `127.0.0.1:5353`, `::1`, `[::1]`, `[::1]:5353`, `[fe80::1%eth0]:53`. */
export function parseServerAddress(text: string): Parsed<ServerAddress> {
  const trimmed = text.trim();
  if (isIP(trimmed) !== 0) return good({ address: trimmed.toLowerCase(), port: DNS_PORT });
  const [, six, four, port] = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(trimmed) ?? [];
  const address = six ?? four;
  const number = port === undefined ? DNS_PORT : Number(port);
  if (address !== undefined && isIP(address) === (six === undefined ? 4 : 6) && number > 0 && number <= 65_535)
    return good({ address: six === undefined ? address : address.toLowerCase(), port: number });
  return bad(
    `not the address of a resolver: ${JSON.stringify(trimmed.slice(0, 100))}; expected system, 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:5353`,
  );
}

/** `127.0.0.1`, and `127.0.0.1:5353` or `[::1]:5353` where the port is not DNS's own. */
export function describeServer(server: ServerAddress): string {
  if (server.port === DNS_PORT) return server.address;
  return server.address.includes(":") ? `[${server.address}]:${server.port}` : `${server.address}:${server.port}`;
}
