/**
 * The short names that a compose file uses, MAILNAME, RELAYHOST and their like: environment in, paths and values out.
 * Names that other images use for the same thing are peers.ts; both stand on the same step as `POSTERN__` names.
 */
import type { Path } from "./keys.ts";
import type { Assignment, ConfigError } from "./origin.ts";
import { HIDDEN, redactText } from "./redact.ts";
import { bad, good, type Parsed } from "../mail/parsed.ts";
import * as words from "./compat-words.ts";
import { LATER_NAMES, leftoverNames, PEER_NAMES, type PeerName } from "./peers.ts";
import { type Environment, parseSwitch, type ReadFile, readVariable, type Variable } from "./variables.ts";

type Setting = { readonly path: Path; readonly value: unknown };

/** What the reading of one name depends on besides its text. */
export interface CompatContext {
  /** What `LISTEN=25` listens on: `::` where this machine has IPv6, else 0.0.0.0. */
  readonly allAddresses: string;
  /** A relay host is configured, by whichever source. */
  readonly hasRelayhost: boolean;
  /** The listeners as they stand before SMTPD_TLS is applied. */
  readonly listeners: readonly unknown[];
}

export interface FriendlyName {
  readonly name: string;
  readonly meaning: string;
  /** The keys it sets, for people. */
  readonly keys: string;
  readonly secret?: boolean;
  /** Says something about the relay host, so there must be one. */
  readonly ofRelayhost?: boolean;
  readonly read: (text: string, context: CompatContext) => Parsed<Setting[]>;
}

function one(path: Path, value: unknown): Parsed<Setting[]> {
  return good([{ path, value }]);
}

function text(...path: string[]): FriendlyName["read"] {
  return (value) => one(path, value.trim());
}

function names(...path: string[]): FriendlyName["read"] {
  return (value) => one(path, words.parseNames(value));
}

function onOff(...path: string[]): FriendlyName["read"] {
  return (value) => {
    const on = parseSwitch(value);
    return on === undefined ? bad("expected true or false") : one(path, on);
  };
}

function file(...path: string[]): FriendlyName["read"] {
  return (value) => (value.includes("-----BEGIN") ? bad("expected the path of a PEM file, not its content") : one(path, value.trim()));
}

function parsed<T>(parse: (text: string) => Parsed<T>, ...path: string[]): FriendlyName["read"] {
  return (value) => {
    const result = parse(value);
    return result.ok ? one(path, result.value) : result;
  };
}

export const FRIENDLY_NAMES: readonly FriendlyName[] = [
  { name: "MAILNAME", keys: "mailname", meaning: "This relay's public name; must be what its sending address resolves to", read: text("mailname") },
  { name: "LISTEN", keys: "submission.listeners", meaning: "Ports, or address:port, with commas between: `25,587,465`. 465 is implicit TLS, the others offer STARTTLS; `/off`, `/starttls`, `/require`, `/implicit` behind one says otherwise", read: (value, { allAddresses }) => parsed((list) => words.parseListen(list, allAddresses), "submission", "listeners")(value, { allAddresses, hasRelayhost: false, listeners: [] }) },
  { name: "ALLOWED_SENDER_DOMAINS", keys: "submission.senderDomains", meaning: "Envelope sender domains, with spaces or commas between; `.example.com` means subdomains", read: names("submission", "senderDomains") },
  { name: "ALLOW_EMPTY_SENDER_DOMAINS", keys: "submission.allowAnySenderDomain", meaning: "`true`: any sender domain is taken", read: onOff("submission", "allowAnySenderDomain") },
  { name: "ALLOWED_RECIPIENT_DOMAINS", keys: "submission.recipientDomains", meaning: "A fence for staging: mail goes to these domains only", read: names("submission", "recipientDomains") },
  { name: "MYNETWORKS", keys: "submission.networks", meaning: "Who relays without login; `auto`, or networks; `none` for nobody", read: names("submission", "networks") },
  { name: "SMTP_USERS", keys: "users", secret: true, meaning: "Who may log in: `user:password-or-hash`, one a line or with commas between", read: parsed(words.parseUsers, "users") },
  { name: "SMTP_AUTH_ACCEPT_ANY", keys: "submission.login.acceptAnyFromNetworks", meaning: "`true`: devices in MYNETWORKS may log in with anything", read: onOff("submission", "login", "acceptAnyFromNetworks") },
  {
    name: "RELAYHOST",
    keys: "delivery.relayhost",
    meaning: "Send everything there: `[host]:port`, port 25 if none is named; its MX is not asked. A relay host in the file is replaced as a whole",
    // As a whole, so that a password written for one host is never offered to another.
    read: parsed((value) => words.parseHostPort(value, 25), "delivery", "relayhost"),
  },
  { name: "RELAYHOST_USERNAME", ofRelayhost: true, keys: "delivery.relayhost.username", meaning: "Login at the relay host", read: text("delivery", "relayhost", "username") },
  { name: "RELAYHOST_PASSWORD", ofRelayhost: true, keys: "delivery.relayhost.password", secret: true, meaning: "Its password", read: (value) => one(["delivery", "relayhost", "password"], value) },
  { name: "RELAYHOST_TLS", ofRelayhost: true, keys: "delivery.relayhost.tls", meaning: "`authenticated` (default), `encrypted`, `opportunistic`, `implicit`, `none`; Postfix's words are read too", read: parsed(words.parseRouteTls, "delivery", "relayhost", "tls") },
  { name: "TLS_FLOOR", keys: "tls.floor", meaning: "`authenticated` (default), `encrypted`, `opportunistic`: what is asked of every host", read: parsed(words.parseFloor, "tls", "floor") },
  { name: "DNS_RESOLVER", keys: "resolver.servers", meaning: "`system`, or addresses of DNS servers", read: (value) => readResolver(value) },
  { name: "SMTPD_TLS", keys: "submission.listeners[].tls", meaning: "STARTTLS for clients: `auto` (offered with a certificate), `require`, `off`. Listeners with implicit TLS stay as they are", read: readFrontDoorTls },
  { name: "TLS_CERT_FILE", keys: "submission.certificateFile", meaning: "Certificate chain (PEM) shown to clients", read: file("submission", "certificateFile") },
  { name: "TLS_KEY_FILE", keys: "submission.keyFile", meaning: "Its private key (PEM)", read: file("submission", "keyFile") },
  { name: "MESSAGE_SIZE_LIMIT", keys: "submission.limits.messageSize", meaning: "Octets, or `25M`", read: text("submission", "limits", "messageSize") },
  { name: "POSTMASTER_ADDRESS", keys: "submission.postmaster", meaning: "Where mail to `postmaster` and notices nobody else gets go", read: text("submission", "postmaster") },
  { name: "LOG_FORMAT", keys: "log.format", meaning: "`plain`, `json`, `auto`", read: (value) => one(["log", "format"], value.trim().toLowerCase()) },
  { name: "LOG_LEVEL", keys: "log.level", meaning: "`debug`, `info`, `warn`, `error`", read: (value) => one(["log", "level"], words.parseLogLevel(value)) },
  { name: "ANONYMIZE_EMAILS", keys: "log.anonymise", meaning: "`true`: local parts of addresses are masked in logs", read: (value) => one(["log", "anonymise"], words.parseMasking(value)) },
  { name: "DATA_FOLDER", keys: "data.folder", meaning: "Database, control socket and keys", read: text("data", "folder") },
];

function readResolver(value: string): Parsed<Setting[]> {
  const servers = words.parseNames(value);
  if (servers.includes("managed")) return bad("a resolver managed by Postern is not available yet: use system, or addresses of DNS servers");
  if (servers.some((server) => server.startsWith("tls://"))) return bad("DNS over TLS is not available yet: use system, or addresses of DNS servers");
  return one(["resolver", "servers"], servers);
}

function readFrontDoorTls(value: string, { listeners }: CompatContext): Parsed<Setting[]> {
  const choice = words.parseFrontDoorTls(value);
  if (!choice.ok) return choice;
  const tls = choice.value === "auto" ? "starttls" : choice.value;
  return good(
    listeners.flatMap((listener, index) =>
      typeof listener === "object" && listener !== null && (!("tls" in listener) || listener.tls !== "implicit")
        ? [{ path: ["submission", "listeners", index, "tls"], value: tls }]
        : [],
    ),
  );
}

const OWN_NAMES = new Set([...FRIENDLY_NAMES.map((friendly) => friendly.name), ...PEER_NAMES.flatMap((peer) => peer.names)]);

export interface CompatReading {
  readonly assignments: readonly Assignment[];
  readonly errors: readonly ConfigError[];
  readonly notes: readonly string[];
  /** What became of each name present, for `config explain-env`. */
  readonly explained: readonly { readonly name: string; readonly meaning: string }[];
}

interface Reading {
  /** `RELAY_HOST+RELAY_PORT`. */
  readonly source: string;
  readonly settings: readonly Setting[];
  readonly origin: Assignment["origin"];
}

/**
 * Reads every short name and peer's name. Names that depend on others come last: SMTPD_TLS on what LISTEN makes of the
 * listeners, and what is said of the relay host on whether there is one.
 */
export function readCompat(environment: Environment, readFile: ReadFile, base: CompatContext): CompatReading {
  const errors: ConfigError[] = [];
  const notes: string[] = [];
  const explained: { name: string; meaning: string }[] = [];
  const readings = new Map<string, Reading[]>();
  const used = new Set<string>();
  let context = base;

  function fetch(name: string): Variable | undefined {
    const text = environment[name] ?? "";
    // TLS_KEY_FILE is a name of its own, not the file that holds a TLS_KEY.
    const variable = OWN_NAMES.has(`${name}_FILE`) ? good(text === "" ? undefined : { name, text }) : readVariable(name, environment, readFile);
    if (variable.ok) return variable.value;
    if (!errors.some((error) => error.message === variable.error)) errors.push({ source: name, path: "", message: variable.error });
    return undefined;
  }
  function take(friendly: FriendlyName, source: string, value: string, origin: Assignment["origin"]): boolean {
    if (friendly.ofRelayhost === true && !context.hasRelayhost) {
      errors.push({ source, path: "", message: "there is no relay host that it could be for: set RELAYHOST, or remove it" });
      return false;
    }
    const settings = friendly.read(value, context);
    if (!settings.ok) {
      errors.push({ source, path: "", message: settings.error });
      return false;
    }
    readings.set(friendly.name, [...(readings.get(friendly.name) ?? []), { source, settings: settings.value, origin }]);
    return true;
  }
  function takeAll(friendly: FriendlyName): void {
    const own = fetch(friendly.name);
    if (own !== undefined && take(friendly, own.name, own.text, { kind: "environment", name: own.name })) {
      explained.push({ name: own.name, meaning: `sets ${friendly.keys}${friendly.secret === true ? "" : ` = ${redactText(own.text)}`}` });
    }
    for (const peer of PEER_NAMES) if (targetOf(peer, context) === friendly.name) takePeer(peer, friendly);
  }
  function leaveOut(source: string, because: string): void {
    notes.push(`compat: ${source} is not used: ${because}`);
    explained.push({ name: source, meaning: `not used: ${because}` });
  }
  function missingFor(peer: PeerName): string | undefined {
    if (peer.needs === undefined) return undefined;
    if (peer.needs === "relay host") return context.hasRelayhost ? undefined : "there is no relay host";
    return peer.needs.some((name) => isSet(name, environment)) ? undefined : `${peer.needs.join(" or ")} is not set`;
  }
  function takePeer(peer: PeerName, friendly: FriendlyName): void {
    const found = peer.names.map(fetch);
    const first = found[0];
    if (first === undefined) return;
    for (const name of peer.names) used.add(name);
    const source = found.flatMap((variable) => (variable === undefined ? [] : [variable.name])).join("+");
    const missing = missingFor(peer);
    if (missing !== undefined) {
      leaveOut(source, missing);
      return;
    }
    const value = peer.read(found.map((variable) => variable?.text));
    if (!value.ok) {
      errors.push({ source, path: "", message: value.error });
      return;
    }
    if (!take(friendly, source, value.value, { kind: "compat", name: source })) return;
    const shown = friendly.secret === true ? HIDDEN : value.value;
    notes.push(`compat: ${source} read as ${friendly.name}=${shown}`);
    explained.push({ name: source, meaning: `read as ${friendly.name}=${shown}` });
  }

  const isLate = (friendly: FriendlyName): boolean => friendly.ofRelayhost === true || friendly.name === "SMTPD_TLS" || friendly.name === "TLS_FLOOR";
  for (const friendly of FRIENDLY_NAMES) if (!isLate(friendly)) takeAll(friendly);
  const listen = readings.get("LISTEN")?.[0]?.settings[0]?.value;
  context = {
    ...base,
    hasRelayhost: base.hasRelayhost || readings.has("RELAYHOST"),
    listeners: Array.isArray(listen) ? listen : base.listeners,
  };
  for (const friendly of FRIENDLY_NAMES) if (isLate(friendly)) takeAll(friendly);
  for (const { names: [first, ...companions] } of PEER_NAMES) {
    for (const name of companions) {
      if (!used.has(name) && isSet(name, environment)) leaveOut(name, `${first} is not set`);
      used.add(name);
    }
  }

  const assignments: Assignment[] = [];
  for (const [name, all] of readings) {
    const [first, ...others] = all;
    if (first === undefined) continue;
    // Two names that agree are one wish; two that disagree are a mistake nobody should guess about.
    const other = others.find(({ settings }) => JSON.stringify(settings) !== JSON.stringify(first.settings));
    if (other !== undefined) errors.push({ source: first.source, path: "", message: `${first.source} and ${other.source} both stand for ${name} and disagree; keep one` });
    else assignments.push(...first.settings.map((setting) => ({ ...setting, origin: first.origin })));
  }
  for (const later of LATER_NAMES) {
    const present = later.names.filter((name) => isSet(name, environment));
    for (const name of present) {
      const refuse = later.refuse(environment[name] ?? "");
      const message = `${name} is not available yet: ${later.because}`;
      if (refuse) errors.push({ source: name, path: "", message: `${message}. Remove it to start without` });
      else notes.push(`compat: ${message}`);
      explained.push({ name, meaning: `${refuse ? "refused" : "not used"}: ${later.because}` });
    }
  }
  for (const leftover of leftoverNames(environment)) {
    if (leftover.restricts) errors.push({ source: leftover.name, path: "", message: "has no equivalent here and looks as if it restricts or secures something; refusing to start without it. Remove it, or see docs/configuration.md for the setting that does the same" });
    else notes.push(`compat: ${leftover.name} has no equivalent here and is not used`);
    explained.push({ name: leftover.name, meaning: leftover.restricts ? "refused: no equivalent, and it looks as if it restricts or secures something" : "not used: no equivalent" });
  }
  return { assignments, errors, notes, explained };
}

/** Docker sets HOSTNAME to the container's id; with a dot it is a name somebody chose. The file's mailname comes first. */
export function readHostname(environment: Environment): Assignment | undefined {
  const hostname = environment["HOSTNAME"] ?? "";
  return hostname.includes(".") ? { path: ["mailname"], value: hostname, origin: { kind: "compat", name: "HOSTNAME" } } : undefined;
}

function isSet(name: string, environment: Environment): boolean {
  return (environment[name] ?? "") !== "" || (environment[`${name}_FILE`] ?? "") !== "";
}

function targetOf(peer: PeerName, context: CompatContext): string {
  return peer.as === "SECURITY_LEVEL" ? (context.hasRelayhost ? "RELAYHOST_TLS" : "TLS_FLOOR") : peer.as;
}

