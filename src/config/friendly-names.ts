/**
 * The short names that a compose file uses, MAILNAME, RELAYHOST and their like: for each, what it means, which keys it
 * sets, and how its text is read. compat.ts reads an environment by this table and that of peers.ts.
 */
import { bad, good, type Parsed } from "../mail/parsed.ts";
import * as words from "./compat-words.ts";
import type { Path } from "./keys.ts";
import { parseSwitch } from "./variables.ts";

/** One path with its value. */
export type Setting = { readonly path: Path; readonly value: unknown };

/** What the reading of one name depends on besides its text. */
export interface CompatContext {
  /** What `LISTEN=25` listens on: `::` where this machine has IPv6, else 0.0.0.0. */
  readonly allAddresses: string;
  /** A relay host is configured, by whichever source. */
  readonly hasRelayhost: boolean;
  /** The listeners as they stand before SMTPD_TLS is applied. */
  readonly listeners: readonly unknown[];
  /** Whose mail is taken, as it stands before DKIM_AUTOGENERATE makes keys for it. */
  readonly senderDomains: readonly unknown[];
  /** `dkim.domains` is set, by whichever source: nothing is left for DKIM_AUTOGENERATE. */
  readonly hasDkimDomains: boolean;
}

export interface FriendlyName {
  readonly name: string;
  readonly meaning: string;
  /** The keys it sets, for people. */
  readonly keys: string;
  readonly secret?: boolean;
  /** Says something about the relay host, so there must be one. */
  readonly ofRelayhost?: boolean;
  /** What a foreign word comes to here, for the note about it. */
  readonly remark?: (text: string) => string | undefined;
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
  {
    name: "MAILNAME",
    keys: "mailname",
    meaning: "This relay's public name; must be what its sending address resolves to",
    read: text("mailname"),
  },
  {
    name: "LISTEN",
    keys: "submission.listeners",
    meaning:
      "Ports, or address:port, with commas between: `25,587,465`. 465 is implicit TLS, the others offer STARTTLS; `/off`, `/starttls`, `/require`, `/implicit` behind one says otherwise",
    read: (value, context) => parsed((list) => words.parseListen(list, context.allAddresses), "submission", "listeners")(value, context),
  },
  {
    name: "ALLOWED_SENDER_DOMAINS",
    keys: "submission.senderDomains",
    meaning: "Envelope sender domains, with spaces or commas between; `.example.com` means subdomains",
    read: names("submission", "senderDomains"),
  },
  {
    name: "ALLOW_EMPTY_SENDER_DOMAINS",
    keys: "submission.allowAnySenderDomain",
    meaning: "`true`: any sender domain is taken",
    read: onOff("submission", "allowAnySenderDomain"),
  },
  {
    name: "ALLOWED_RECIPIENT_DOMAINS",
    keys: "submission.recipientDomains",
    meaning: "A fence for staging: mail goes to these domains only",
    read: names("submission", "recipientDomains"),
  },
  {
    name: "MYNETWORKS",
    keys: "submission.networks",
    meaning: "Who relays without login; `auto`, or networks; `none` for nobody",
    read: names("submission", "networks"),
  },
  {
    name: "SMTP_USERS",
    keys: "users",
    secret: true,
    meaning: "Who may log in: `user:password-or-hash`, one a line or with commas between",
    read: parsed(words.parseUsers, "users"),
  },
  {
    name: "SMTP_AUTH_ACCEPT_ANY",
    keys: "submission.login.acceptAnyFromNetworks",
    meaning: "`true`: devices in MYNETWORKS may log in with anything",
    read: onOff("submission", "login", "acceptAnyFromNetworks"),
  },
  {
    name: "RELAYHOST",
    keys: "delivery.relayhost",
    meaning:
      "Send everything there: `[host]:port`, port 25 if none is named; its MX is not asked. A relay host in the file is replaced as a whole",
    // As a whole, so that a password written for one host is never offered to another.
    read: parsed((value) => words.parseHostPort(value, 25), "delivery", "relayhost"),
  },
  {
    name: "RELAYHOST_USERNAME",
    ofRelayhost: true,
    keys: "delivery.relayhost.username",
    meaning: "Login at the relay host",
    read: text("delivery", "relayhost", "username"),
  },
  {
    name: "RELAYHOST_PASSWORD",
    ofRelayhost: true,
    keys: "delivery.relayhost.password",
    secret: true,
    meaning: "Its password",
    read: (value) => one(["delivery", "relayhost", "password"], value),
  },
  {
    name: "RELAYHOST_TLS",
    ofRelayhost: true,
    keys: "delivery.relayhost.tls",
    meaning: "`authenticated` (default), `encrypted`, `opportunistic`, `implicit`, `none`; Postfix's words are read too",
    remark: words.explainRouteTls,
    read: parsed(words.parseRouteTls, "delivery", "relayhost", "tls"),
  },
  {
    name: "TLS_FLOOR",
    keys: "tls.floor",
    meaning:
      "`authenticated` (default), `encrypted`, `opportunistic`: what is asked of every host; Postfix's words are read too, of which `dane` and `dane-only` also set `tls.published`, and `dane-only` `tls.host`",
    remark: words.explainFloor,
    read: readFloor,
  },
  {
    name: "TLS_POLICY",
    keys: "tls.published",
    meaning:
      "What domains publish (MTA-STS, DANE): `enforce` (default), `report` (deliver at the floor, show what would have failed), `off`",
    read: (value) => one(["tls", "published"], value.trim().toLowerCase()),
  },
  {
    name: "DNS_RESOLVER",
    keys: "resolver.servers",
    meaning:
      "`managed` (default), a validating resolver that Postern starts; `system`; addresses of DNS servers; `tls://name` or `tls://address#name`",
    read: names("resolver", "servers"),
  },
  {
    name: "SMTPD_TLS",
    keys: "submission.listeners[].tls",
    meaning: "STARTTLS for clients: `auto` (offered with a certificate), `require`, `off`. Listeners with implicit TLS stay as they are",
    read: readFrontDoorTls,
  },
  {
    name: "TLS_CERT_FILE",
    keys: "submission.certificateFile",
    meaning: "Certificate chain (PEM) shown to clients",
    read: file("submission", "certificateFile"),
  },
  { name: "TLS_KEY_FILE", keys: "submission.keyFile", meaning: "Its private key (PEM)", read: file("submission", "keyFile") },
  {
    name: "MESSAGE_SIZE_LIMIT",
    keys: "submission.limits.messageSize",
    meaning: "Octets, or `25M`",
    read: text("submission", "limits", "messageSize"),
  },
  {
    name: "POSTMASTER_ADDRESS",
    keys: "submission.postmaster",
    meaning: "Where mail to `postmaster` and notices nobody else gets go",
    read: text("submission", "postmaster"),
  },
  {
    name: "TLSRPT",
    keys: "tlsReports.send",
    meaning: "Daily reports to domains that ask for them: `auto` (default: unless all mail goes to a relay host), `on`, `off`",
    read: parsed(words.parseReportSwitch, "tlsReports", "send"),
  },
  {
    name: "TLSRPT_FROM",
    keys: "tlsReports.from",
    meaning: "Whom receivers of reports may write to; the domain of this address signs them",
    read: text("tlsReports", "from"),
  },
  { name: "TLSRPT_ORG", keys: "tlsReports.organization", meaning: "Who reports, in words", read: text("tlsReports", "organization") },
  {
    name: "DKIM_DOMAINS",
    keys: "dkim.domains",
    meaning: "Domains whose mail is signed, with spaces or commas between; publish what `postern dkim dns` prints",
    read: names("dkim", "domains"),
  },
  {
    name: "DKIM_SELECTOR",
    keys: "dkim.selector",
    meaning: "What selectors begin with; a number and the kind of key follow",
    read: parsed(words.parseSelector, "dkim", "selector"),
  },
  {
    name: "DKIM_AUTOGENERATE",
    keys: "dkim.domains",
    meaning:
      "`true`: the mail of ALLOWED_SENDER_DOMAINS is signed, as if they stood in DKIM_DOMAINS too; where that is set, this adds nothing",
    read: readAutogenerate,
  },
  {
    name: "LOG_FORMAT",
    keys: "log.format",
    meaning: "`plain`, `json`, `auto`",
    read: (value) => one(["log", "format"], value.trim().toLowerCase()),
  },
  {
    name: "LOG_LEVEL",
    keys: "log.level",
    meaning: "`debug`, `info`, `warn`, `error`",
    read: (value) => one(["log", "level"], words.parseLogLevel(value)),
  },
  {
    name: "ANONYMIZE_EMAILS",
    keys: "log.anonymise",
    meaning: "`true`: local parts of addresses are masked in logs",
    read: (value) => one(["log", "anonymise"], words.parseMasking(value)),
  },
  { name: "DATA_FOLDER", keys: "data.folder", meaning: "Database, control socket and keys", read: text("data", "folder") },
];

function readFloor(value: string): Parsed<Setting[]> {
  const floor = words.parseFloor(value);
  return floor.ok ? good(Object.entries(floor.value).map(([key, word]) => ({ path: ["tls", key], value: word }))) : floor;
}

/** Keys are made for names; `.example.com` stands for names that nobody can list. */
function readAutogenerate(value: string, { senderDomains, hasDkimDomains }: CompatContext): Parsed<Setting[]> {
  const on = parseSwitch(value);
  if (on === undefined) return bad("expected true or false");
  if (!on || hasDkimDomains) return good([]);
  if (senderDomains.length === 0)
    return bad("there are no sender domains that keys could be made for: set ALLOWED_SENDER_DOMAINS, or DKIM_DOMAINS");
  const pattern = senderDomains.find((domain): domain is string => typeof domain === "string" && domain.startsWith("."));
  if (pattern !== undefined) return bad(`no key can be made for all that ${pattern} stands for: name the domains in DKIM_DOMAINS`);
  return one(["dkim", "domains"], senderDomains);
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
