/**
 * The words in which other relays and their container images say the same things: host and port in four notations,
 * Postfix's security levels, networks and users. Text in, our value or the reason it is refused out.
 */
import { isIP } from "node:net";
import { bad, good, type Parsed } from "../mail/parsed.ts";
import { quote } from "./redact.ts";
import { parseSwitch, splitList } from "./variables.ts";

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** `auto`, and the words of a switch. */
export function parseReportSwitch(text: string): Parsed<"auto" | "on" | "off"> {
  const on = parseSwitch(text);
  if (on !== undefined) return good(on ? "on" : "off");
  return text.trim().toLowerCase() === "auto" ? good("auto") : bad("expected auto, on or off");
}

/** bokysan/postfix also takes `mail,example.com=other`: a selector for each domain. */
export function parseSelector(text: string): Parsed<string> {
  const selector = text.trim();
  return /[,=\s]/.test(selector)
    ? bad("one selector serves all domains here, for keys are Postern's own: write it alone, and publish what `postern dkim dns` prints")
    : good(selector);
}

/** `[host]:port`, `host:port`, `host`, `address`, `[IPv6]:port`, and Exim's `host::port`. */
export function parseHostPort(text: string, defaultPort: number): Parsed<HostPort> {
  const trimmed = text.trim();
  if (/^[a-z]+:\/\//i.test(trimmed) || trimmed.includes("@")) {
    return bad("expected [host]:port; a URL is not read, the login has names of its own: RELAYHOST_USERNAME, RELAYHOST_PASSWORD");
  }
  if (isIP(trimmed) === 6) return good({ host: trimmed, port: defaultPort });
  const match = /^(?:\[([^\]\s]+)\]|([^:[\]\s]+))(?:::?(\d+))?$/.exec(trimmed);
  const host = (match?.[1] ?? match?.[2])?.replace(/^IPv6:/i, "");
  if (host === undefined) return bad("expected [host]:port");
  const port = match?.[3] === undefined ? defaultPort : parsePort(match[3]);
  return port === undefined ? bad("the port must be from 1 to 65535") : good({ host, port });
}

function parsePort(text: string): number | undefined {
  const port = Number(text);
  return /^\d{1,5}$/.test(text) && port >= 1 && port <= 65_535 ? port : undefined;
}

export function formatHostPort({ host, port }: HostPort): string {
  return `[${host}]:${port}`;
}

export type RouteTls = "authenticated" | "encrypted" | "opportunistic" | "implicit" | "none";

/** Our words, and Postfix's smtp_tls_security_level. */
export function parseRouteTls(text: string): Parsed<RouteTls> {
  const word = text.trim().toLowerCase();
  switch (word) {
    case "authenticated":
    case "secure":
    case "verify":
      return good("authenticated");
    case "encrypted":
    case "encrypt":
      return good("encrypted");
    case "opportunistic":
    case "may":
      return good("opportunistic");
    case "implicit":
      return good("implicit");
    case "none":
      return good("none");
    // At a host that the operator named a certificate for its name asks no less than Postfix's dane, which takes clear too.
    case "dane":
      return good("authenticated");
    case "dane-only":
      return bad(
        "DANE cannot be made a must at a relay host: choose authenticated, for which its TLSA records or a certificate of a trusted CA will do",
      );
    case "fingerprint":
      return bad("certificates cannot be pinned by fingerprint yet; authenticated with rootsFile and tlsName comes nearest");
    default:
      return bad("expected one of authenticated, encrypted, opportunistic, implicit, none");
  }
}

/** What a word for the floor sets; only what it speaks of. */
export interface FloorWords {
  readonly floor: "authenticated" | "encrypted" | "opportunistic";
  readonly host?: "dnssec";
  readonly published?: "enforce";
}

/**
 * Our words, and Postfix's. Its `dane` is opportunistic only where nothing is published, and `dane-only` is mandatory DANE
 * (RFC 7672 §6): both come with `tls.published: enforce`, without which they would ask less than whoever wrote them.
 */
export function parseFloor(text: string): Parsed<FloorWords> {
  switch (text.trim().toLowerCase()) {
    case "dane":
      return good({ floor: "opportunistic", published: "enforce" });
    case "dane-only":
      return good({ floor: "authenticated", host: "dnssec", published: "enforce" });
  }
  const level = parseRouteTls(text);
  if (!level.ok) return level.error.startsWith("expected") ? bad("expected one of authenticated, encrypted, opportunistic") : level;
  const { value } = level;
  if (value === "implicit" || value === "none") return bad(`${value} is no floor: expected one of authenticated, encrypted, opportunistic`);
  return good({ floor: value });
}

/** What such a word comes to here, where it is not plain from the word. */
export function explainFloor(text: string): string | undefined {
  switch (text.trim().toLowerCase()) {
    case "dane":
      return "DANE and MTA-STS are enforced where they are published, elsewhere clear will do";
    case "dane-only":
      return "mandatory DANE, so mail waits for every domain without it";
    default:
      return undefined;
  }
}

export function explainRouteTls(text: string): string | undefined {
  return text.trim().toLowerCase() === "dane" ? "authenticated, by its TLSA records or by a certificate of a trusted CA" : undefined;
}

/** STARTTLS at our own front door: auto, require, off, and Postfix's smtpd_tls_security_level. */
export function parseFrontDoorTls(text: string): Parsed<"auto" | "require" | "off"> {
  switch (text.trim().toLowerCase()) {
    case "auto":
    case "may":
      return good("auto");
    case "require":
    case "encrypt":
      return good("require");
    case "off":
    case "none":
      return good("off");
    case "internal":
      return bad("a certificate authority of our own is not available yet: give TLS_CERT_FILE and TLS_KEY_FILE, or use auto");
    default:
      return bad("expected one of auto, require, off");
  }
}

/** Domains or networks; Postfix writes IPv6 networks as [::1]/128. `none` is the empty list, since empty means unset. */
export function parseNames(text: string): string[] {
  const items = splitList(text).map((item) => item.replace(/^\[([0-9a-f:.]+)\]/i, "$1"));
  return items.length === 1 && items[0]?.toLowerCase() === "none" ? [] : items;
}

/** `user:password` one a line, or with commas between; a comma inside a password needs the one-a-line form. */
export function parseUsers(text: string): Parsed<{ name: string; password: string }[]> {
  const lines = /\n/.test(text.trim()) ? text.split(/\r?\n/) : text.split(/,(?=[^,:\s$=]+:)/);
  const users: { name: string; password: string }[] = [];
  for (const [index, line] of lines.entries()) {
    const entry = line.trim();
    if (entry === "" || entry.startsWith("#")) continue;
    const colon = entry.indexOf(":");
    // The entry itself may be a password and is not repeated.
    if (colon <= 0 || colon === entry.length - 1) return bad(`entry ${index + 1} is not user:password`);
    users.push({ name: entry.slice(0, colon), password: entry.slice(colon + 1) });
  }
  return users.length === 0 ? bad("expected user:password, one a line or with commas between") : good(users);
}

export interface ListenWords {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly tls: "off" | "starttls" | "require" | "implicit";
}

const USUAL_NAMES: Readonly<Record<number, string>> = { 25: "smtp", 587: "submission", 465: "submissions" };

/**
 * `25,587,465`: where to listen. An item is a port or `address:port`, with `/starttls`, `/require`, `/implicit` or
 * `/off` behind it if need be. 465 speaks TLS from the first octet (RFC 8314 §3.3); the others offer STARTTLS.
 */
export function parseListen(text: string, allAddresses: string): Parsed<ListenWords[]> {
  const listeners: ListenWords[] = [];
  for (const item of splitList(text)) {
    const match = /^(?:(?:\[([0-9a-f:.]+)\]|([0-9.]+|\*)):)?(\d{1,5})(?:\/([a-z]+))?$/i.exec(item);
    const port = parsePort(match?.[3] ?? "");
    const written = match?.[1] ?? match?.[2] ?? "*";
    if (match === null || port === undefined || (written !== "*" && isIP(written) === 0)) {
      return bad(`${quote(item)} is neither a port nor address:port`);
    }
    const tls = match[4]?.toLowerCase() ?? (port === 465 ? "implicit" : "starttls");
    if (tls !== "off" && tls !== "starttls" && tls !== "require" && tls !== "implicit") {
      return bad(`${quote(item)}: behind the slash expected off, starttls, require or implicit`);
    }
    const usual = USUAL_NAMES[port] ?? `port-${port}`;
    const taken = listeners.filter((other) => other.name === usual || other.name.startsWith(`${usual}-`)).length;
    listeners.push({ name: taken === 0 ? usual : `${usual}-${taken + 1}`, address: written === "*" ? allAddresses : written, port, tls });
  }
  return listeners.length === 0 ? bad("expected ports, such as 25,587,465") : good(listeners);
}

/** `debug` … `error`; `warning` is what most programs say. */
export function parseLogLevel(text: string): string {
  const word = text.trim().toLowerCase();
  return word === "warning" ? "warn" : word;
}

/** ANONYMIZE_EMAILS is a switch here, and the name of a way to mask at boky/postfix: any of those turns it on. */
export function parseMasking(text: string): boolean {
  return parseSwitch(text) ?? !/^noop$/i.test(text.trim());
}
