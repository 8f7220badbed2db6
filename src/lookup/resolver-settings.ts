/**
 * Which resolvers are asked: the words of the setting `resolver.servers` in, addresses and ports out. `managed` is the
 * one that Postern starts (lookup/managed-resolver.ts). `system` means
 * the `nameserver` lines of /etc/resolv.conf, read again when the file changes. Its other lines, search lists above
 * all, do not concern mail: names are absolute (RFC 5321 §5.1).
 */
import { readFileSync, statSync } from "node:fs";
import { isIP } from "node:net";
import type { Clock } from "../clock.ts";
import { DNS_PORT, normalAddress, parseServerAddress, type ServerAddress } from "../config/server-address.ts";
import { bad, good, type Parsed } from "../mail/parsed.ts";

/** resolv.conf(5): without a nameserver line the local machine is asked. */
const LOCAL: readonly ServerAddress[] = [{ address: "127.0.0.1", port: DNS_PORT }];
const LOOK_AGAIN = 5_000;

/** The nameserver lines; lines that cannot be read are passed over, as the C library does. */
export function parseResolvConf(text: string): readonly ServerAddress[] {
  const servers: ServerAddress[] = [];
  for (const line of text.slice(0, 65_536).split("\n")) {
    const address = /^nameserver[ \t]+(\S+)/.exec(line)?.[1];
    if (address !== undefined && isIP(address) !== 0) servers.push({ address: normalAddress(address.toLowerCase()), port: DNS_PORT });
  }
  return servers.length > 0 ? servers : LOCAL;
}

/** Gives the resolvers to ask now, best first. */
export type ServerList = () => readonly ServerAddress[];

/** What stands in `resolver.servers`, read. */
export function parseServers(setting: readonly string[]): Parsed<readonly (ServerAddress | "system" | "managed")[]> {
  const parts: (ServerAddress | "system" | "managed")[] = [];
  for (const text of setting) {
    if (text === "system" || text === "managed") {
      parts.push(text);
      continue;
    }
    const server = parseServerAddress(text);
    if (!server.ok) return server;
    parts.push(server.value);
  }
  return parts.length === 0 ? bad("no resolver is named; expected managed, system or addresses") : good(parts);
}

/** What stands in `resolver.validating`, read: addresses only, since `system` may be another tomorrow. */
export function parseValidating(setting: readonly string[]): Parsed<readonly ServerAddress[]> {
  const servers: ServerAddress[] = [];
  for (const text of setting) {
    if (text === "system" || text === "managed")
      return bad(text === "managed" ? "managed is believed anyway" : "write the addresses that validate; system may mean others tomorrow");
    const server = parseServerAddress(text);
    if (!server.ok) return server;
    servers.push(server.value);
  }
  return good(servers);
}

/** The list behind the setting, `managed` apart. `system` may stand among addresses, and stands for all of its own. */
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

/** The system's resolvers as they are now. */
export function watchSystemServers(clock: Clock, resolvConf = "/etc/resolv.conf"): ServerList {
  return watchResolvConf(resolvConf, clock);
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
