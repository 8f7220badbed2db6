/**
 * What a schema cannot see: names that are none, networks that are none, keys that need each other, waits that cannot
 * work. Settings in, faults and remarks out; each tells the paths it speaks of, the first being where to look.
 */
import { isIP, isIPv4, isIPv6 } from "node:net";
import ipaddr from "ipaddr.js";
import { parseAddress } from "../mail/address.ts";
import { parseDomain } from "../mail/domain.ts";
import { keyAt, nearest, type Path, rootKey, type Key } from "./keys.ts";
import type { ListenerSettings, RouteSettings, Settings } from "./settings.ts";
import { formatDuration, formatSize } from "./units.ts";

export interface CheckFacts {
  /** What `auto` in submission.networks stands for on this machine. */
  readonly autoNetworks: readonly string[];
  /** The text of a file, or an exception. */
  readonly readFile: (path: string) => string;
}

export interface Finding {
  readonly level: "error" | "note";
  readonly paths: readonly [Path, ...Path[]];
  readonly message: string;
}

export function checkSettings(settings: Settings, facts: CheckFacts): Finding[] {
  return [
    ...checkNames(settings),
    ...checkNetworks(settings, facts),
    ...checkListeners(settings),
    ...checkCertificates(settings, facts),
    ...checkRoutes(settings, facts),
    ...checkWaits(settings),
    ...checkSizes(settings),
  ];
}

function error(message: string, ...paths: [Path, ...Path[]]): Finding {
  return { level: "error", paths, message };
}

function note(message: string, ...paths: [Path, ...Path[]]): Finding {
  return { level: "note", paths, message };
}

// ---- names ----

/** A domain, `.domain` for its subdomains, or what else the place allows. */
function domainFault(text: string, allowed: { readonly subdomains?: boolean; readonly all?: boolean } = {}): string | undefined {
  if (allowed.all === true && text === "*") return undefined;
  if (text.startsWith("*.")) return `write .${text.slice(2)} for the subdomains of a domain`;
  const bare = allowed.subdomains === true && text.startsWith(".") ? text.slice(1) : text;
  const parsed = parseDomain(bare);
  return parsed.ok ? undefined : parsed.error;
}

function checkNames(settings: Settings): Finding[] {
  const findings: Finding[] = [];
  const check = (path: Path, fault: string | undefined): void => {
    if (fault !== undefined) findings.push(error(fault, path));
  };
  const { submission, delivery, users } = settings;
  if (settings.mailname !== undefined) {
    check(["mailname"], domainFault(settings.mailname));
    // RFC 5321 §2.3.5: a name that others can resolve; a bare label is known at home only.
    if (domainFault(settings.mailname) === undefined && !settings.mailname.includes(".")) check(["mailname"], "must be a full name with a dot, as others look it up");
  }
  for (const [list, domains] of [["senderDomains", submission.senderDomains], ["recipientDomains", submission.recipientDomains]] as const) {
    for (const [index, domain] of domains.entries()) check(["submission", list, index], domainFault(domain, { subdomains: true }));
  }
  for (const domain of Object.keys(settings.tls.domains)) check(["tls", "domains", domain], domainFault(domain, { subdomains: true }));
  for (const [index, name] of delivery.ownNames.entries()) check(["delivery", "ownNames", index], domainFault(name));
  if (submission.postmaster !== undefined) {
    const parsed = parseAddress(submission.postmaster);
    check(["submission", "postmaster"], parsed.ok ? undefined : parsed.error);
  }
  const names = new Map<string, number>();
  for (const [index, user] of users.entries()) {
    const other = names.get(user.name);
    if (other !== undefined) findings.push(error(`users[${other}] has the same name`, ["users", index, "name"], ["users", other, "name"]));
    names.set(user.name, index);
    for (const [place, address] of user.maySendAs.entries()) check(["users", index, "maySendAs", place], senderFault(address));
  }
  return findings;
}

function senderFault(text: string): string | undefined {
  if (text.startsWith("@")) return domainFault(text.slice(1), { subdomains: true });
  const parsed = parseAddress(text);
  return parsed.ok ? undefined : `expected an address, @domain or @.domain: ${parsed.error}`;
}

// ---- networks and addresses ----

/** Undefined for a network; a network's own address is asked for, since host bits there are usually a slip. */
export function networkFault(text: string): string | undefined {
  const slash = text.lastIndexOf("/");
  const address = slash < 0 ? text : text.slice(0, slash);
  const kind = isIP(address);
  if (kind === 0 || address.includes("%")) return `not a network: ${JSON.stringify(text)}, expected one like 10.0.0.0/8 or fd00::/8`;
  const bits = kind === 4 ? 32 : 128;
  if (slash < 0) return `write ${address}/${bits} for this one address`;
  const length = text.slice(slash + 1);
  if (!/^\d{1,3}$/.test(length) || Number(length) > bits) return `the part behind the slash must be a number from 0 to ${bits}`;
  const network = (kind === 4 ? ipaddr.IPv4 : ipaddr.IPv6).networkAddressFromCIDR(text).toString();
  return network === ipaddr.parse(address).toString() ? undefined : `${text} is an address inside a network; did you mean ${network}/${length}?`;
}

function isLoopbackNetwork(text: string): boolean {
  if (networkFault(text) !== undefined) return false;
  const [address, length] = ipaddr.parseCIDR(text);
  return address.range() === "loopback" && length >= (address.kind() === "ipv4" ? 8 : 128);
}

function isLoopbackAddress(text: string): boolean {
  return isIP(text) !== 0 && ipaddr.process(text).range() === "loopback";
}

function checkNetworks({ submission, delivery, resolver }: Settings, facts: CheckFacts): Finding[] {
  const findings: Finding[] = [];
  for (const [index, network] of submission.networks.entries()) {
    const path: Path = ["submission", "networks", index];
    if (network === "auto") continue;
    const fault = networkFault(network);
    if (fault !== undefined) findings.push(error(fault, path));
    else if (/\/0$/.test(network)) findings.push(note("everybody who can connect may relay without login", path));
  }
  for (const [index, network] of delivery.allowedAddresses.entries()) {
    const fault = networkFault(network);
    if (fault !== undefined) findings.push(error(fault, ["delivery", "allowedAddresses", index]));
  }
  if (delivery.sourceAddress4 !== undefined && !isIPv4(delivery.sourceAddress4)) findings.push(error("not an IPv4 address", ["delivery", "sourceAddress4"]));
  if (delivery.sourceAddress6 !== undefined && !isIPv6(delivery.sourceAddress6)) findings.push(error("not an IPv6 address", ["delivery", "sourceAddress6"]));
  if (!delivery.ipv4 && delivery.ipv6 === "off") findings.push(error("with IPv4 and IPv6 both off no host can be reached", ["delivery", "ipv4"], ["delivery", "ipv6"]));
  if (resolver.servers.length === 0) findings.push(error("needs at least one server, or system", ["resolver", "servers"]));
  for (const [index, server] of resolver.servers.entries()) {
    if (server !== "system" && !isServer(server)) findings.push(error(`not an address of a DNS server: ${JSON.stringify(server)}`, ["resolver", "servers", index]));
  }
  const reachable = submission.listeners.filter(
    (listener) => !isLoopbackAddress(listener.address) && (listener.login === "optional" || submission.login.acceptAnyFromNetworks),
  );
  const trusted = submission.networks.flatMap((network) => (network === "auto" ? facts.autoNetworks : [network]));
  const wide = trusted.find((network) => !isLoopbackNetwork(network));
  // An open relay is one published port away from here, so somebody has to say which domains are meant.
  if (wide !== undefined && reachable.length > 0 && submission.senderDomains.length === 0 && !submission.allowAnySenderDomain) {
    findings.push(
      error(
        `${wide} may relay without login, so the sender domains must be named (ALLOWED_SENDER_DOMAINS), or submission.allowAnySenderDomain set, or the listeners set to login: required`,
        ["submission", "senderDomains"], ["submission", "networks"], ["submission", "listeners"], ["submission", "allowAnySenderDomain"], ["submission", "login"],
      ),
    );
  }
  return findings;
}

function isServer(text: string): boolean {
  if (isIP(text) !== 0) return true;
  const match = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(text);
  const port = Number(match?.[3] ?? 53);
  return match !== null && port >= 1 && port <= 65_535 && (match[1] === undefined ? isIPv4(match[2] ?? "") : isIPv6(match[1]));
}

// ---- listeners ----

function checkListeners({ submission: { listeners, certificateFile } }: Settings): Finding[] {
  const findings: Finding[] = [];
  const hasCertificate = certificateFile !== undefined;
  for (const [index, listener] of listeners.entries()) {
    const path: Path = ["submission", "listeners", index];
    if (isIP(listener.address) === 0) findings.push(error(`not an address: ${JSON.stringify(listener.address)}`, [...path, "address"]));
    for (const [before, other] of listeners.slice(0, index).entries()) {
      const otherPath: Path = ["submission", "listeners", before];
      if (other.name === listener.name) findings.push(error(`submission.listeners[${before}] has the same name`, [...path, "name"], [...otherPath, "name"]));
      if (collide(other, listener)) {
        findings.push(error(`${listener.address} port ${listener.port} is taken by submission.listeners[${before}]`, [...path, "port"], [...path, "address"], [...otherPath, "port"], [...otherPath, "address"]));
      }
    }
    const about: [Path, ...Path[]] = [path, ["submission", "certificateFile"]];
    if (!hasCertificate && (listener.tls === "require" || listener.tls === "implicit")) {
      findings.push(note(`listener ${listener.name} is not opened: it needs a certificate (submission.certificateFile)`, ...about));
    } else if (listener.login === "required" && (!hasCertificate || listener.tls === "off")) {
      // RFC 4954 §4: no plain-text login without TLS.
      findings.push(note(`nobody can use listener ${listener.name}: it asks for a login, and login needs TLS`, ...about));
    }
  }
  return findings;
}

function collide(a: ListenerSettings, b: ListenerSettings): boolean {
  if (a.port !== b.port || a.port === 0) return false;
  if (a.address === b.address || a.address === "::" || b.address === "::") return true;
  return (a.address === "0.0.0.0" && isIPv4(b.address)) || (b.address === "0.0.0.0" && isIPv4(a.address));
}

// ---- certificates ----

function checkCertificates({ submission, tls }: Settings, facts: CheckFacts): Finding[] {
  const findings: Finding[] = [];
  const certificatePath: Path = ["submission", "certificateFile"];
  const keyPath: Path = ["submission", "keyFile"];
  const { certificateFile, keyFile } = submission;
  if (certificateFile !== undefined && keyFile === undefined) findings.push(error("needs submission.keyFile too", certificatePath, keyPath));
  if (keyFile !== undefined && certificateFile === undefined) findings.push(error("needs submission.certificateFile too", keyPath, certificatePath));
  if (certificateFile !== undefined) findings.push(...pemFaults(certificateFile, "CERTIFICATE", certificatePath, facts));
  if (keyFile !== undefined) findings.push(...pemFaults(keyFile, "PRIVATE KEY", keyPath, facts));
  if (tls.roots !== "bundled" && tls.roots !== "system") {
    const near = /[./]/.test(tls.roots) ? undefined : nearest(tls.roots, ["bundled", "system"]);
    if (near !== undefined) findings.push(error(`expected bundled, system or the path of a PEM file, did you mean ${near}?`, ["tls", "roots"]));
    else findings.push(...pemFaults(tls.roots, "CERTIFICATE", ["tls", "roots"], facts));
  }
  return findings;
}

function pemFaults(file: string, what: string, path: Path, { readFile }: CheckFacts): Finding[] {
  try {
    return readFile(file).includes(`${what}-----`) ? [] : [error(`no ${what.toLowerCase()} in PEM form in ${file}`, path)];
  } catch (thrown) {
    const code = thrown instanceof Error && "code" in thrown ? String(thrown.code) : "error";
    return [error(`cannot read ${file} (${code})`, path)];
  }
}

// ---- routes ----

function checkRoutes({ delivery }: Settings, facts: CheckFacts): Finding[] {
  const findings: Finding[] = [];
  if (delivery.relayhost !== undefined) findings.push(...checkRoute(delivery.relayhost, ["delivery", "relayhost"], facts));
  const taken = new Map<string, number>();
  for (const [index, route] of delivery.routes.entries()) {
    const path: Path = ["delivery", "routes", index];
    findings.push(...checkRoute(route, path, facts));
    for (const [place, domain] of route.domains.entries()) {
      const fault = domainFault(domain, { subdomains: true, all: true });
      if (fault !== undefined) findings.push(error(fault, [...path, "domains", place]));
      const other = taken.get(domain.toLowerCase());
      if (other !== undefined) findings.push(error(`${domain} is in delivery.routes[${other}] already`, [...path, "domains", place], ["delivery", "routes", other, "domains"]));
      else taken.set(domain.toLowerCase(), index);
    }
  }
  return findings;
}

function checkRoute(route: RouteSettings, path: Path, facts: CheckFacts): Finding[] {
  const findings: Finding[] = [];
  const bare = route.host.replace(/^\[(?:IPv6:)?(.*)\]$/i, "$1");
  if (isIP(bare) === 0 && !parseDomain(route.host).ok) findings.push(error(`not a host name or address: ${JSON.stringify(route.host)}`, [...path, "host"]));
  if (route.port === 0) findings.push(error("0 is no port to connect to", [...path, "port"]));
  if (route.tlsName !== undefined && domainFault(route.tlsName) !== undefined) findings.push(error(domainFault(route.tlsName) ?? "", [...path, "tlsName"]));
  if (isIP(bare) !== 0 && route.tlsName === undefined && (route.tls === "authenticated" || route.tls === "implicit")) {
    findings.push(note("certificates are rarely issued for addresses: name the host in tlsName if its certificate is for a name", [...path, "host"], [...path, "tlsName"]));
  }
  if (route.rootsFile !== undefined) findings.push(...pemFaults(route.rootsFile, "CERTIFICATE", [...path, "rootsFile"], facts));
  const [username, password]: [Path, Path] = [[...path, "username"], [...path, "password"]];
  if (route.username !== undefined && route.password === undefined) findings.push(error("needs a password too", username, password));
  if (route.password !== undefined && route.username === undefined) findings.push(error("needs a username too", password, username));
  if (route.username !== undefined && route.tls !== "authenticated" && route.tls !== "implicit") {
    // RFC 4954 §14: a name and password go only to a server that has proven who it is.
    findings.push(error(`with tls: ${route.tls} the password could be given to anybody; a login needs authenticated or implicit`, [...path, "tls"], username));
  }
  return findings;
}

// ---- waits and sizes ----

/** setTimeout takes 31 bits of milliseconds, and runs at once what is to wait longer. */
const LONGEST_TIMER = 24 * 86_400_000;
/** Waits that are dates in the database rather than timers. */
const DATES = new Set(["giveUpAfter", "giveUpAfterNullSender", "keepFinished", "longest", "longestTtl", "waits", "remember", "banWindow", "ban", "destinationDown"]);
const MAY_BE_ZERO = new Set(["failureDelay", "ban", "banWindow", "remember", "idle", "keepFinished", "longestTtl", "destinationDown"]);

function checkWaits(settings: Settings): Finding[] {
  const findings: Finding[] = [];
  eachValue(settings, rootKey, [], (path, key, value) => {
    if (key.kind !== "value" || key.type !== "duration" || typeof value !== "number") return;
    const name = String(path.findLast((step) => typeof step === "string"));
    const zeroAllowed = MAY_BE_ZERO.has(name) && !(name === "idle" && path[0] === "submission");
    if (value === 0 && !zeroAllowed) findings.push(error("must be longer than nothing", path));
    if (value > LONGEST_TIMER && !DATES.has(name)) findings.push(error(`must not be longer than ${formatDuration(LONGEST_TIMER)}`, path));
  });
  const { retry } = settings.delivery;
  const retryPath = (name: string): Path => ["delivery", "retry", name];
  for (const [index, wait] of retry.waits.entries()) {
    if (wait > retry.longest) findings.push(error(`is longer than delivery.retry.longest (${formatDuration(retry.longest)})`, [...retryPath("waits"), index], retryPath("longest")));
  }
  for (const name of ["giveUpAfter", "giveUpAfterNullSender"] as const) {
    if (retry[name] < (retry.waits[0] ?? 0)) findings.push(error(`is over before the first retry (${formatDuration(retry.waits[0] ?? 0)})`, retryPath(name), retryPath("waits")));
  }
  const { limits } = settings.submission;
  if (limits.session < limits.idle) findings.push(error(`is shorter than submission.limits.idle (${formatDuration(limits.idle)})`, ["submission", "limits", "session"], ["submission", "limits", "idle"]));
  return findings;
}

function checkSizes({ submission: { limits }, data }: Settings): Finding[] {
  const findings: Finding[] = [];
  const at = (name: string): Path => ["submission", "limits", name];
  // RFC 5321 §4.5.3.1.7; also what `messageSize: 25` comes to when 25M was meant.
  if (limits.messageSize < 64 * 1024) findings.push(error(`${formatSize(limits.messageSize)} octets are less than the 64K that RFC 5321 §4.5.3.1.7 asks for${limits.messageSize < 1024 ? `; did you mean ${limits.messageSize}M?` : ""}`, at("messageSize")));
  else if (limits.headerSize > limits.messageSize) findings.push(error("is more than a whole message may have (submission.limits.messageSize)", at("headerSize"), at("messageSize")));
  if (limits.connectionsPerAddress > limits.connections) findings.push(note("is more than submission.limits.connections, which holds", at("connectionsPerAddress"), at("connections")));
  if (data.settlementReserve > data.minimumFree) {
    findings.push(error("is more than data.minimumFree, so delivery would stop before mail is refused", ["data", "settlementReserve"], ["data", "minimumFree"]));
  }
  if (data.folder.trim() === "") findings.push(error("must name a folder", ["data", "folder"]));
  return findings;
}

/** Calls back for every value of the settings, with its key. */
export function eachValue(value: unknown, key: Key, path: Path, visit: (path: Path, key: Key, value: unknown) => void): void {
  if (value === undefined) return;
  visit(path, key, value);
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) if (key.kind === "list") eachValue(item, key.item, [...path, index], visit);
  } else if (typeof value === "object" && value !== null) {
    for (const [name, item] of Object.entries(value)) {
      const child = keyAt([...path, name]);
      if (child !== undefined) eachValue(item, child, [...path, name], visit);
    }
  }
}
