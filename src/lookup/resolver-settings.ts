/**
 * Which resolvers are asked: the words of the setting `resolver.servers` in, addresses and ports out. `system` means
 * the `nameserver` lines of /etc/resolv.conf, read again when the file changes. Its other lines, search lists above
 * all, do not concern mail: names are absolute (RFC 5321 §5.1).
 */
import { readFileSync, statSync } from "node:fs";
import { isIP } from "node:net";
import type { Clock } from "../clock.ts";
import { bad, good, type Parsed } from "../mail/parsed.ts";

export interface ServerAddress {
  /** An IP address, with its zone where it has one (`fe80::1%eth0`). */
  readonly address: string;
  readonly port: number;
}

const DNS_PORT = 53;
/** resolv.conf(5): without a nameserver line the local machine is asked. */
const LOCAL: readonly ServerAddress[] = [{ address: "127.0.0.1", port: DNS_PORT }];
const LOOK_AGAIN = 5_000;

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

/** The nameserver lines; lines that cannot be read are passed over, as the C library does. */
export function parseResolvConf(text: string): readonly ServerAddress[] {
  const servers: ServerAddress[] = [];
  for (const line of text.slice(0, 65_536).split("\n")) {
    const address = /^nameserver[ \t]+(\S+)/.exec(line)?.[1];
    if (address !== undefined && isIP(address) !== 0) servers.push({ address: address.toLowerCase(), port: DNS_PORT });
  }
  return servers.length > 0 ? servers : LOCAL;
}

/** Gives the resolvers to ask now, best first. */
export type ServerList = () => readonly ServerAddress[];

/** The list behind the setting. `system` may stand among addresses, and stands for all of its own. */
export function createServerList(setting: readonly string[], clock: Clock, resolvConf = "/etc/resolv.conf"): Parsed<ServerList> {
  const parts: (readonly ServerAddress[] | "system")[] = [];
  for (const text of setting) {
    if (text === "system") {
      parts.push(text);
      continue;
    }
    const server = parseServerAddress(text);
    if (!server.ok) return server;
    parts.push([server.value]);
  }
  if (parts.length === 0) return bad("no resolver is named; expected system or addresses");
  if (!parts.includes("system")) {
    const fixed = parts.flatMap((part) => (part === "system" ? [] : part));
    return good(() => fixed);
  }
  const system = watchResolvConf(resolvConf, clock);
  let known: readonly ServerAddress[] | undefined;
  let list: readonly ServerAddress[] = [];
  return good(() => {
    const now = system();
    if (now !== known) {
      known = now;
      list = parts.flatMap((part) => (part === "system" ? now : part));
    }
    return list;
  });
}

/** DHCP clients and VPNs rewrite the file, often by renaming another over it: a new inode counts as much as a new time. */
function watchResolvConf(path: string, clock: Clock): ServerList {
  let servers: readonly ServerAddress[] = LOCAL;
  let version = "";
  let looked = Number.NEGATIVE_INFINITY;
  return () => {
    const now = clock.monotonic();
    if (now - looked < LOOK_AGAIN) return servers;
    looked = now;
    try {
      const { mtimeNs, size, ino } = statSync(path, { bigint: true });
      const found = `${mtimeNs} ${size} ${ino}`;
      if (found !== version) {
        servers = parseResolvConf(readFileSync(path, "utf8"));
        version = found;
      }
    } catch {
      // Away for the moment it is being replaced, or not there at all: what was known last is the best guess.
    }
    return servers;
  };
}
