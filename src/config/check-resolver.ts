/**
 * Which resolvers are asked, which of them are believed about DNSSEC, and what the managed one is told. Settings in, findings
 * out. What the words mean is lookup/resolver-settings.ts, what becomes of resolver.managed lookup/managed-config.ts.
 */
import { isIP } from "node:net";
import { fileFaults, rootsFaults } from "./check-files.ts";
import { domainFault } from "./check-names.ts";
import { isLoopbackAddress } from "./check-networks.ts";
import { type CheckFacts, error, type Finding, note } from "./finding.ts";
import { nearest, type Path } from "./keys.ts";
import { quote } from "./redact.ts";
import { parseServerAddress, serverKey } from "./server-address.ts";
import type { Settings } from "./settings.ts";

type ResolverSettings = Settings["resolver"];

const WORDS = ["managed", "system"];

/** `tls://dns.example`, `tls://192.0.2.53#dns.example`: authenticated, so nobody else speaks for it (RFC 7672 §2.1.1). */
function isTlsServer(text: string): boolean {
  return /^tls:\/\//i.test(text.trim());
}

/** True if some answer may come out as secure: a server is authenticated, our own, or vouched for by the operator. */
export function mayBelieveDnssec({ servers, validating }: ResolverSettings): boolean {
  return servers.some((server) => server === "managed" || isTlsServer(server)) || validating.length > 0;
}

export function checkResolver({ resolver }: Settings, facts: CheckFacts): Finding[] {
  const findings = [...checkServers(resolver), ...checkValidating(resolver), ...checkManaged(resolver, facts), ...checkSelfTest(resolver)];
  if (resolver.roots !== undefined) findings.push(...rootsFaults(resolver.roots, ["resolver", "roots"], facts));
  return findings;
}

function checkServers({ servers }: ResolverSettings): Finding[] {
  const path: Path = ["resolver", "servers"];
  if (servers.length === 0) return [error("needs at least one server: managed, system, an address or tls://name", path)];
  const findings: Finding[] = [];
  for (const [index, server] of servers.entries()) {
    if (server === "managed" && servers.length > 1) {
      findings.push(error("managed stands alone; servers that it is to ask belong in resolver.managed.forwarders", [...path, index]));
    } else if (!WORDS.includes(server)) {
      const fault = serverFault(server);
      if (fault !== undefined) findings.push(error(fault, [...path, index]));
    }
  }
  return findings;
}

function serverFault(server: string): string | undefined {
  const parsed = parseServerAddress(server);
  if (parsed.ok) return undefined;
  if (isTlsServer(server)) return parsed.error;
  const near = nearest(server, WORDS);
  return `not an address of a DNS server: ${quote(server)}${near === undefined ? "" : `, did you mean ${near}?`}`;
}

// Docker's and systemd's: they pass on what other resolvers say, AD bit and all.
const FORWARDERS: Readonly<Record<string, string>> = { "127.0.0.11": "Docker's", "127.0.0.53": "systemd's" };

/** The AD bit of these is believed (RFC 7672 §2.1.1), so each must be an address that is asked, and the way to it nobody else's. */
function checkValidating({ servers, validating }: ResolverSettings): Finding[] {
  const findings: Finding[] = [];
  const serversPath: Path = ["resolver", "servers"];
  const asked = new Set(servers.flatMap((server) => keyOf(server) ?? []));
  for (const [index, text] of validating.entries()) {
    const path: Path = ["resolver", "validating", index];
    const parsed = parseServerAddress(text);
    if (text === "managed" || isTlsServer(text)) {
      findings.push(error(`${quote(text)} need not be listed: its word about DNSSEC is believed anyway`, path));
    } else if (text === "system") {
      findings.push(error("name the addresses that validate: system is whatever /etc/resolv.conf says at the time", path));
    } else if (!parsed.ok) {
      findings.push(error(`not an address of a DNS server: ${quote(text)}`, path));
    } else if (servers.includes("managed")) {
      findings.push(note("is not asked while resolver.servers is managed", path, serversPath));
    } else if (!servers.includes("system") && !asked.has(serverKey(parsed.value))) {
      findings.push(error(`${quote(text)} is not among resolver.servers, so it is never asked`, path, serversPath));
    } else {
      const remark = trustRemark(parsed.value.address);
      if (remark !== undefined) findings.push(note(remark, path));
    }
  }
  return findings;
}

function keyOf(server: string): string | undefined {
  const parsed = parseServerAddress(server);
  return parsed.ok ? serverKey(parsed.value) : undefined;
}

function trustRemark(address: string): string | undefined {
  const whose = FORWARDERS[address];
  if (whose !== undefined)
    return `${address} is usually ${whose} forwarder, which validates nothing by itself: believed all the same, since it is listed. managed is safe`;
  return isLoopbackAddress(address)
    ? undefined
    : `${address} is another machine: whoever can write to the network in between can forge what it says of DNSSEC. tls:// or managed is safe`;
}

function checkManaged({ servers, managed }: ResolverSettings, facts: CheckFacts): Finding[] {
  const findings: Finding[] = [];
  const at = (...steps: Path): Path => ["resolver", "managed", ...steps];
  const { program, trustAnchorFile, rootHints, forwarders, stubZones, insecureZones, localNames } = managed;
  if (program.trim() === "") findings.push(error("must name a program", at("program")));
  if (trustAnchorFile !== undefined) {
    const lacks = (text: string) => (/\s(?:DS|DNSKEY)\s/.test(text) ? undefined : "no DS or DNSKEY record");
    findings.push(...fileFaults(trustAnchorFile, lacks, at("trustAnchorFile"), facts));
  }
  if (rootHints !== undefined) {
    const lacks = (text: string) => (/\s(?:A|AAAA)\s/.test(text) ? undefined : "no address of a root server");
    findings.push(...fileFaults(rootHints, lacks, at("rootHints"), facts));
  }
  for (const [index, forwarder] of forwarders.entries()) {
    const fault = forwarderFault(forwarder);
    if (fault !== undefined) findings.push(error(fault, at("forwarders", index)));
  }
  const overTls = forwarders.filter(isTlsServer).length;
  if (overTls > 0 && overTls < forwarders.length)
    findings.push(error("either all of them are tls:// or none: unbound asks them as one group", at("forwarders")));
  for (const [index, { zone, servers: own }] of stubZones.entries()) {
    const fault = zoneFault(zone);
    if (fault !== undefined) findings.push(error(fault, at("stubZones", index, "zone")));
    for (const [place, server] of own.entries()) {
      const serverIs = nameServerFault(server);
      if (serverIs !== undefined) findings.push(error(serverIs, at("stubZones", index, "servers", place)));
    }
  }
  for (const [index, zone] of insecureZones.entries()) {
    const fault = zone === "." ? "nothing would be validated below the root; name the private zones" : zoneFault(zone);
    if (fault !== undefined) findings.push(error(fault, at("insecureZones", index)));
  }
  for (const [index, name] of localNames.entries()) {
    const fault = zoneFault(name);
    if (fault !== undefined) findings.push(error(fault, at("localNames", index)));
  }
  const isSet =
    trustAnchorFile !== undefined ||
    rootHints !== undefined ||
    [forwarders, stubZones, insecureZones, localNames].some((list) => list.length > 0);
  if (isSet && !servers.includes("managed"))
    findings.push(note("is not used, for resolver.servers is not managed", at(), ["resolver", "servers"]));
  return findings;
}

/** A zone's name may have underscores, as that of a host may not; the root is `.`. */
function zoneFault(text: string): string | undefined {
  if (text === ".") return undefined;
  return domainFault(text.replaceAll("_", "-").replace(/(^|\.)-/g, "$1x")) === undefined
    ? undefined
    : `not the name of a zone: ${quote(text)}`;
}

/** An address, with its port behind a colon or, as unbound writes it, an @. */
function nameServerFault(text: string): string | undefined {
  const parsed = parseServerAddress(/^[^@\s]+@\d{1,5}$/.test(text) ? withColon(text) : text);
  if (parsed.ok && parsed.value.tlsName === undefined) return undefined;
  return `not the address of a name server: ${quote(text)}; expected 192.0.2.53 or 192.0.2.53@5353`;
}

function withColon(text: string): string {
  const [address = "", port = ""] = text.split("@");
  return `${isIP(address) === 6 ? `[${address}]` : address}:${port}`;
}

function forwarderFault(text: string): string | undefined {
  if (!isTlsServer(text)) return nameServerFault(text);
  const parsed = parseServerAddress(text);
  if (!parsed.ok) return parsed.error;
  const { address, tlsName = "" } = parsed.value;
  // unbound finds no forwarder by name before it can resolve, and compares no certificate with an address.
  return isIP(address) !== 0 && isIP(tlsName) === 0
    ? undefined
    : `${quote(text)} needs both an address and the name in its certificate, as in tls://192.0.2.53#dns.example`;
}

function checkSelfTest({ selfTest: { signed, broken } }: ResolverSettings): Finding[] {
  const findings: Finding[] = [];
  const signedFault = signed === "." ? undefined : domainFault(signed);
  if (signedFault !== undefined) findings.push(error(signedFault, ["resolver", "selfTest", "signed"]));
  for (const [index, name] of broken.entries()) {
    const fault = domainFault(name);
    if (fault !== undefined) findings.push(error(fault, ["resolver", "selfTest", "broken", index]));
  }
  if (broken.length === 0)
    findings.push(
      note("without names that must fail, a resolver that claims to validate is not found out", ["resolver", "selfTest", "broken"]),
    );
  return findings;
}
