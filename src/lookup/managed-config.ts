/**
 * The configuration of the resolver that Postern starts (unbound.conf): settings in, text out, or what is wrong with
 * them. Pure. Every word of it is ours or has been read as an address or a name, so that no setting can bring in a line
 * of its own. Files lie in the folder that the program runs in, so no path stands in the text either. Starting the
 * program is lookup/managed-resolver.ts, the trust anchor lookup/managed-anchor.ts.
 */
import { isIP, isIPv4 } from "node:net";
import type { Settings } from "../config/settings.ts";
import { DNS_PORT, normalAddress, parseServerAddress, type ServerAddress } from "../config/server-address.ts";
import { bad, good, type Parsed } from "../mail/parsed.ts";

export type ManagedSettings = Settings["resolver"]["managed"];

/** Files in the resolver's folder. */
export const CONFIG_FILE = "unbound.conf";
export const ANCHOR_FILE = "root.key";
export const HINTS_FILE = "root.hints";
export const ROOTS_FILE = "forwarder-roots.pem";

/** The settings, read. */
export interface ManagedPlan {
  readonly forwarders: readonly ServerAddress[];
  readonly stubZones: readonly { readonly zone: string; readonly servers: readonly ServerAddress[] }[];
  readonly insecureZones: readonly string[];
  readonly localNames: readonly string[];
}

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

export function parseManagedSettings(settings: ManagedSettings): Parsed<ManagedPlan> {
  const problems: string[] = [];
  const keep = <T>(path: string, parsed: Parsed<T>): T[] => {
    if (parsed.ok) return [parsed.value];
    problems.push(`resolver.managed.${path}: ${parsed.error}`);
    return [];
  };
  const zones = (path: string, names: readonly string[]): string[] =>
    names.flatMap((name, index) => keep(`${path}[${index}]`, parseZone(name)));
  const plan: ManagedPlan = {
    forwarders: settings.forwarders.flatMap((text, index) => keep(`forwarders[${index}]`, parseForwarder(text))),
    stubZones: settings.stubZones.flatMap(({ zone, servers }, index) =>
      keep(`stubZones[${index}].zone`, parseZone(zone)).map((name) => ({
        zone: name,
        servers: servers.flatMap((text, at) => keep(`stubZones[${index}].servers[${at}]`, parseNameServer(text))),
      })),
    ),
    insecureZones: zones("insecureZones", settings.insecureZones),
    localNames: zones("localNames", settings.localNames),
  };
  const overTls = plan.forwarders.filter((server) => server.tlsName !== undefined).length;
  if (overTls > 0 && overTls < plan.forwarders.length)
    problems.push("resolver.managed.forwarders: either all of them are tls:// or none, since unbound takes them as one group");
  if (plan.insecureZones.includes(".")) problems.push("resolver.managed.insecureZones: not the root, or nothing would be validated");
  return problems.length === 0 ? good(plan) : bad(problems.join("; "));
}

/** `corp.internal`, `10.in-addr.arpa.`, `.`: labels of letters, digits, hyphens and underscores. */
function parseZone(text: string): Parsed<string> {
  const name = text.toLowerCase().replace(/\.$/, "");
  if (text === ".") return good(".");
  if (name.length <= 253 && name.split(".").every((label) => /^[a-z0-9_-]{1,63}$/.test(label))) return good(`${name}.`);
  return bad(`not the name of a zone: ${quoted(text)}`);
}

/** As unbound writes them (`192.0.2.53@5353`), or as elsewhere here. */
function parseNameServer(text: string): Parsed<ServerAddress> {
  const [, host = "", port] = /^([0-9a-f.:%]+)@(\d{1,5})$/i.exec(text) ?? [];
  if (isIP(host) !== 0 && Number(port) > 0 && Number(port) <= 65_535) return good({ address: normalAddress(host), port: Number(port) });
  const server = parseServerAddress(text);
  if (!server.ok || server.value.tlsName !== undefined || !isSafeAddress(server.value.address))
    return bad(`not the address of a name server: ${quoted(text)}; expected 192.0.2.53 or 192.0.2.53@5353`);
  return server;
}

function parseForwarder(text: string): Parsed<ServerAddress> {
  if (!/^tls:/i.test(text)) return parseNameServer(text);
  const server = parseServerAddress(text);
  if (!server.ok) return server;
  const { address, tlsName = "" } = server.value;
  // unbound resolves no names of forwarders before it can resolve, and compares no certificate with an address.
  if (!isSafeAddress(address) || isIP(tlsName) !== 0)
    return bad(`${quoted(text)} needs both an address and the name in its certificate, as in tls://192.0.2.53#dns.example`);
  return server;
}

/** A zone (`%eth0`) is free text to the system; this one is not. */
function isSafeAddress(address: string): boolean {
  return isIP(address) !== 0 && /^[0-9a-f.:]+(%[a-z0-9._-]{1,32})?$/i.test(address);
}

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 100));
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
