/**
 * The configuration of the resolver that Postern starts (unbound.conf): a plan in, text out. Pure. Every word of it is ours or
 * has been read as an address or a name (config/resolver-words.ts), so that no setting can bring in a line of its own. Files
 * lie in the folder that the program runs in, so no path stands in the text either. Starting the program is
 * lookup/managed-resolver.ts, the trust anchor lookup/managed-anchor.ts.
 */
import { isIPv4 } from "node:net";
import type { ManagedPlan } from "../config/resolver-words.ts";
import { DNS_PORT, type ServerAddress } from "../config/server-address.ts";

/** Files in the resolver's folder. */
export const CONFIG_FILE = "unbound.conf";
export const ANCHOR_FILE = "root.key";
export const HINTS_FILE = "root.hints";
export const ROOTS_FILE = "forwarder-roots.pem";

/** What is known only when the program is to be started. */
export interface ManagedStart {
  readonly port: number;
  readonly ipv6: boolean;
  /** RFC 8914; unbound knows it since 1.16. */
  readonly extendedErrors: boolean;
  readonly rootHints: boolean;
  /** Asked instead of the root servers. */
  readonly forwarders: readonly ServerAddress[];
}

export function writeConfig(plan: ManagedPlan, start: ManagedStart): string {
  const named = [...start.forwarders, ...plan.stubZones.flatMap((zone) => zone.servers)];
  const overTls = start.forwarders.some((server) => server.tlsName !== undefined);
  const lines = [
    "# Written by Postern at every start; changes are lost. The settings are those of resolver.managed.",
    "server:",
    // In the foreground and as we are: it is ours to watch, and to stop.
    ...["do-daemonize: no", 'chroot: ""', 'username: ""', 'pidfile: ""', 'directory: ""', "use-syslog: no", 'logfile: ""'],
    ...["verbosity: 1", "log-time-ascii: no", "num-threads: 1"],
    ...[`interface: 127.0.0.1@${start.port}`, `port: ${start.port}`],
    ...["access-control: 0.0.0.0/0 refuse", "access-control: ::/0 refuse", "access-control: 127.0.0.1/32 allow"],
    `do-ip6: ${start.ipv6 ? "yes" : "no"}`,
    // DNSSEC, RFC 4035: what does not validate is never handed out as though it did.
    ...['module-config: "validator iterator"', `auto-trust-anchor-file: "${ANCHOR_FILE}"`],
    ...["val-permissive-mode: no", "val-log-level: 0", "harden-dnssec-stripped: yes", "harden-below-nxdomain: yes", "harden-glue: yes"],
    ...(start.extendedErrors ? ["ede: yes"] : []),
    // RFC 9156: the root and the top level need not know whom we write to.
    ...["qname-minimisation: yes", "hide-identity: yes", "hide-version: yes", "minimal-responses: yes", "edns-buffer-size: 1232"],
    // No fact older than its TTL (RFC 7671 §13).
    ...["serve-expired: no", "cache-max-ttl: 86400", "cache-max-negative-ttl: 3600", "msg-cache-size: 16m", "rrset-cache-size: 32m"],
    ...(named.some((server) => isLoopback(server.address)) ? ["do-not-query-localhost: no"] : []),
    ...(start.rootHints ? [`root-hints: "${HINTS_FILE}"`] : []),
    ...(overTls ? [`tls-cert-bundle: "${ROOTS_FILE}"`] : []),
    ...plan.localNames.map((name) => `local-zone: "${name}" nodefault`),
    ...plan.insecureZones.map((name) => `domain-insecure: "${name}"`),
    "remote-control:",
    "control-enable: no",
    ...plan.stubZones.flatMap(({ zone, servers }) => ["stub-zone:", `name: "${zone}"`, ...servers.map((at) => `stub-addr: ${place(at)}`)]),
  ];
  if (start.forwarders.length > 0) {
    lines.push("forward-zone:", 'name: "."', ...(overTls ? ["forward-tls-upstream: yes"] : []));
    lines.push(...start.forwarders.map((server) => `forward-addr: ${place(server)}`));
  }
  return `${lines.map((line) => (/^(#|[a-z-]+:$)/.test(line) ? line : `  ${line}`)).join("\n")}\n`;
}

function place({ address, port, tlsName }: ServerAddress): string {
  return `${address}${port === DNS_PORT ? "" : `@${port}`}${tlsName === undefined ? "" : `#${tlsName}`}`;
}

function isLoopback(address: string): boolean {
  return isIPv4(address) ? address.startsWith("127.") : address === "::1";
}
