/**
 * The system's resolvers, which the word `system` stands for and which find the way of the managed one where the root cannot
 * be reached: the `nameserver` lines of /etc/resolv.conf in, read again when the file changes; addresses out. Its other lines,
 * search lists above all, do not concern mail: names are absolute (RFC 5321 §5.1). The words of the settings are
 * config/resolver-words.ts.
 */
import { readFileSync, statSync } from "node:fs";
import { isIP } from "node:net";
import type { Clock } from "../clock.ts";
import { DNS_PORT, normalAddress, type ServerAddress } from "../config/server-address.ts";

/** resolv.conf(5): without a nameserver line the local machine is asked. */
const LOCAL: readonly ServerAddress[] = [{ address: "127.0.0.1", port: DNS_PORT }];
/** Milliseconds between two looks at the file. */
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

/**
 * The system's resolvers as they are now. DHCP clients and VPNs rewrite the file, often by renaming another over it: a new
 * inode counts as much as a new time.
 */
export function watchSystemServers(clock: Clock, path = "/etc/resolv.conf"): ServerList {
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
