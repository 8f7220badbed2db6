/**
 * The words of the section `resolver`: settings in; servers, zones and names out, or what is wrong and where. The check of
 * a configuration (config/check-resolver.ts) shows the faults, the start (lookup/resolver.ts) uses the values, so what passes
 * the one is taken by the other. Pure; of files and of what is merely unwise only the check speaks.
 */
import { isIP } from "node:net";
import { parseDomain } from "../mail/domain.ts";
import { bad, good, type Parsed } from "../mail/parsed.ts";
import { nearest, type Path } from "./keys.ts";
import { quote } from "./redact.ts";
import { normalAddress, parseServerAddress, type ServerAddress } from "./server-address.ts";
import type { Settings } from "./settings.ts";

type ResolverSettings = Settings["resolver"];

/** The managed resolver's settings, read. */
export interface ManagedPlan {
  readonly forwarders: readonly ServerAddress[];
  readonly stubZones: readonly { readonly zone: string; readonly servers: readonly ServerAddress[] }[];
  readonly insecureZones: readonly string[];
  readonly localNames: readonly string[];
}

export interface ResolverWords {
  /** Whom to ask, in order. */
  readonly servers: readonly (ServerAddress | "system" | "managed")[];
  /** Whose AD bit the operator vouches for; addresses only. */
  readonly validating: readonly ServerAddress[];
  readonly managed: ManagedPlan;
  /** In A-labels; `.` is the root. */
  readonly selfTest: { readonly signed: string; readonly broken: readonly string[] };
}

export interface WordFault {
  readonly path: Path;
  readonly text: string;
}

/** The words that could be read, and what is wrong with the others. */
export function readResolverWords(settings: ResolverSettings): { readonly words: ResolverWords; readonly faults: readonly WordFault[] } {
  const faults: WordFault[] = [];
  const blame = (text: string, ...steps: Path): number => faults.push({ path: ["resolver", ...steps], text });
  const read = <T>(parsed: Parsed<T>, ...steps: Path): T[] => {
    if (parsed.ok) return [parsed.value];
    blame(parsed.error, ...steps);
    return [];
  };
  const readAll = <T>(texts: readonly string[], parse: (text: string) => Parsed<T>, ...steps: Path): T[] =>
    texts.flatMap((text, index) => read(parse(text), ...steps, index));

  if (settings.servers.length === 0) blame("needs at least one server: managed, system, an address or tls://name", "servers");
  const alone = settings.servers.length === 1;
  const servers = readAll(settings.servers, (text) => parseServer(text, alone), "servers");
  const validating = readAll(settings.validating, parseValidating, "validating");
  const { forwarders, stubZones, insecureZones, localNames } = settings.managed;
  const overTls = forwarders.filter(isTlsServer).length;
  const managed: ManagedPlan = {
    forwarders: readAll(forwarders, parseForwarder, "managed", "forwarders"),
    stubZones: stubZones.flatMap(({ zone, servers: own }, index) => {
      const at: Path = ["managed", "stubZones", index];
      const names = read(parseZone(zone), ...at, "zone");
      const addresses = readAll(own, parseNameServer, ...at, "servers");
      return names.map((name) => ({ zone: name, servers: addresses }));
    }),
    insecureZones: readAll(insecureZones, parseInsecureZone, "managed", "insecureZones"),
    localNames: readAll(localNames, parseZone, "managed", "localNames"),
  };
  if (overTls > 0 && overTls < forwarders.length)
    blame("either all of them are tls:// or none: unbound asks them as one group", "managed", "forwarders");
  const [signed = "."] = settings.selfTest.signed === "." ? ["."] : read(parseName(settings.selfTest.signed), "selfTest", "signed");
  const broken = readAll(settings.selfTest.broken, parseName, "selfTest", "broken");
  return { words: { servers, validating, managed, selfTest: { signed, broken } }, faults };
}

/** `tls://dns.example`, `tls://192.0.2.53#dns.example`: authenticated, so nobody else speaks for it (RFC 7672 §2.1.1). */
export function isTlsServer(text: string): boolean {
  return /^tls:\/\//i.test(text.trim());
}

function parseServer(text: string, alone: boolean): Parsed<ServerAddress | "system" | "managed"> {
  if (text === "system") return good(text);
  if (text === "managed")
    return alone ? good(text) : bad("managed stands alone; servers that it is to ask belong in resolver.managed.forwarders");
  const server = parseServerAddress(text);
  if (server.ok || isTlsServer(text)) return server;
  const near = nearest(text, ["managed", "system"]);
  return bad(`not an address of a DNS server: ${quote(text)}${near === undefined ? "" : `, did you mean ${near}?`}`);
}

/** Addresses only: those that are believed anyway need no word, and `system` may be another tomorrow. */
function parseValidating(text: string): Parsed<ServerAddress> {
  if (text === "managed" || isTlsServer(text)) return bad(`${quote(text)} need not be listed: its word about DNSSEC is believed anyway`);
  if (text === "system") return bad("name the addresses that validate: system is whatever /etc/resolv.conf says at the time");
  const server = parseServerAddress(text);
  return server.ok ? server : bad(`not an address of a DNS server: ${quote(text)}`);
}

/**
 * `corp.internal`, `10.in-addr.arpa.`, `.`, in A-labels and with the final dot: a zone's name may have underscores, as that of
 * a host may not.
 */
function parseZone(text: string): Parsed<string> {
  if (text === ".") return good(".");
  const labels = text.replace(/\.$/, "").split(".").map(toAscii);
  const name = labels.join(".");
  const fits = name.length <= 253 && labels.every((label) => /^[a-z0-9_-]{1,63}$/.test(label));
  // An address is a slip; the names of addresses end in in-addr.arpa and ip6.arpa.
  return fits && isIP(name) === 0 ? good(`${name}.`) : bad(`not the name of a zone: ${quote(text)}`);
}

function parseInsecureZone(text: string): Parsed<string> {
  return text === "." ? bad("nothing would be validated below the root; name the private zones") : parseZone(text);
}

/** One label; empty where it is none. Those of ASCII alone stay, since IDNA knows no underscore. */
function toAscii(label: string): string {
  if (/^[\x21-\x7e]*$/.test(label)) return label.toLowerCase();
  const parsed = parseDomain(label);
  return parsed.ok && !parsed.value.includes(".") ? parsed.value : "";
}

function parseName(text: string): Parsed<string> {
  const parsed = parseDomain(text);
  return parsed.ok ? parsed : bad(`not a domain name: ${quote(text)}`);
}

/** As unbound writes them (`192.0.2.53@5353`), or as elsewhere here. */
function parseNameServer(text: string): Parsed<ServerAddress> {
  const [, host = "", port] = /^([^@\s]+)@(\d{1,5})$/.exec(text) ?? [];
  if (isSafeAddress(host) && Number(port) > 0 && Number(port) <= 65_535) return good({ address: normalAddress(host), port: Number(port) });
  const server = parseServerAddress(text);
  if (!server.ok || server.value.tlsName !== undefined || !isSafeAddress(server.value.address))
    return bad(`not the address of a name server: ${quote(text)}; expected 192.0.2.53 or 192.0.2.53@5353`);
  return server;
}

function parseForwarder(text: string): Parsed<ServerAddress> {
  if (!isTlsServer(text)) return parseNameServer(text);
  const server = parseServerAddress(text);
  if (!server.ok) return server;
  const { address, tlsName = "" } = server.value;
  // unbound finds no forwarder by name before it can resolve, and compares no certificate with an address.
  return isSafeAddress(address) && isIP(tlsName) === 0
    ? server
    : bad(`${quote(text)} needs both an address and the name in its certificate, as in tls://192.0.2.53#dns.example`);
}

/** A zone (`%eth0`) is free text to the system; this one is not, for it stands in unbound's configuration. */
function isSafeAddress(address: string): boolean {
  return isIP(address) !== 0 && /^[0-9a-f.:]+(%[a-z0-9._-]{1,32})?$/i.test(address);
}
