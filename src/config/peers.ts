/**
 * Names that other images use, and which of our short names each is read as. One row, one name or one pair of names;
 * what no row knows and looks like a setting is judged at the end, and never ignored in silence.
 */
import { bad, good, type Parsed } from "../mail/parsed.ts";
import { formatHostPort, parseHostPort } from "./compat-words.ts";
import { type Environment, parseSwitch, splitList } from "./variables.ts";

export interface PeerName {
  /** Read together; the first must be there. */
  readonly names: readonly string[];
  /** Our short name. SECURITY_LEVEL is RELAYHOST_TLS when there is a relay host, else TLS_FLOOR. */
  readonly as: string;
  /** Of use only with one of these, or with any relay host. */
  readonly needs?: readonly string[] | "relay host";
  readonly read: (texts: readonly (string | undefined)[]) => Parsed<string>;
}

function plain(as: string, ...names: string[]): PeerName[] {
  return names.map((name) => ({ names: [name], as, read: ([text]) => good(text ?? "") }));
}

/** A host with its port in a variable of its own; a port in the first text wins. */
function host(defaultPort: number, ...names: string[]): PeerName {
  return {
    names,
    as: "RELAYHOST",
    read: ([text, portText]) => {
      if (portText !== undefined && !/^\d{1,5}$/.test(portText.trim())) return bad("the port must be from 1 to 65535");
      const parsed = parseHostPort(text ?? "", portText === undefined ? defaultPort : Number(portText));
      return parsed.ok ? good(formatHostPort(parsed.value)) : parsed;
    },
  };
}

/** Part of a pair, told about when it stands alone. */
function login(as: string, needs: readonly string[], ...names: string[]): PeerName[] {
  return plain(as, ...names).map((peer) => ({ ...peer, needs }));
}

function rewritten(name: string, as: string, rewrite: (text: string) => string): PeerName {
  return { names: [name], as, read: ([text]) => good(rewrite(text ?? "")) };
}

function ifOn(name: string, as: string, on: Parsed<string>, off: Parsed<string>): PeerName {
  return {
    names: [name],
    as,
    read: ([text]) => {
      const value = parseSwitch(text ?? "");
      return value === undefined ? bad("expected true or false") : value ? on : off;
    },
  };
}

const UPSTREAM = ["SMTP_SERVER", "SMTP_HOST", "EXT_RELAY_HOST"];
const NO_STARTTLS = bad("without STARTTLS there is implicit TLS or none: say which with RELAYHOST_TLS=implicit or RELAYHOST_TLS=none");

export const PEER_NAMES: readonly PeerName[] = [
  ...plain(
    "MAILNAME",
    "POSTFIX_myhostname",
    "SERVER_HOSTNAME",
    "RELAY_MYHOSTNAME",
    "RELAY_HOST_NAME",
    "MTP_HOST",
    "OVERRIDE_HOSTNAME",
    "maildomain",
  ),
  ...plain("ALLOWED_SENDER_DOMAINS", "RELAY_MYDOMAIN"),
  ...plain("ALLOWED_RECIPIENT_DOMAINS", "RELAY_TO_DOMAINS", "MTP_RELAY_DOMAINS"),

  ...plain("MYNETWORKS", "POSTFIX_mynetworks", "ACCEPTED_NETWORKS", "RELAY_MYNETWORKS", "RELAYNETS", "RELAY_FROM_HOSTS", "MY_NETWORKS"),
  // namshi/smtp writes :192.168.0.0/24:10.0.0.0/16, which IPv6 networks cannot be written in.
  rewritten("RELAY_NETWORKS", "MYNETWORKS", (text) => (text.includes("::") ? text : text.replaceAll(":", " ").trim())),
  rewritten("RELAY_NETS", "MYNETWORKS", (text) => text.replaceAll(";", " ").trim()),
  // juanluisbaptiste/postfix adds these networks to all private ones; `auto` is those that are attached.
  rewritten("SMTP_NETWORKS", "MYNETWORKS", (text) => ["auto", ...splitList(text)].join(" ")),
  {
    names: ["PERMIT_DOCKER"],
    as: "MYNETWORKS",
    read: ([text]) => {
      switch (text?.trim().toLowerCase()) {
        case "none":
          return good("none");
        case "container":
          return good("127.0.0.0/8 ::1/128");
        case "host":
        case "network":
        case "connected-networks":
          return good("auto");
        default:
          return bad("expected none, container, host, network or connected-networks");
      }
    },
  },

  ...plain("SMTP_USERS", "SMTPD_SASL_USERS", "SMTPD_USERS", "smtp_user"),

  ...plain("RELAYHOST", "POSTFIX_relayhost", "DEFAULT_RELAY_HOST"),
  host(25, "RELAY_HOST", "RELAY_PORT"),
  host(587, "SMTP_SERVER", "SMTP_PORT"),
  host(25, "SMTP_HOST", "SMTP_PORT"),
  host(25, "SMARTHOST_ADDRESS", "SMARTHOST_PORT"),
  host(25, "SMARTHOST"),
  host(25, "EXT_RELAY_HOST", "EXT_RELAY_PORT"),
  host(25, "MTP_RELAY", "MTP_PORT"),
  { names: ["GMAIL_USER"], as: "RELAYHOST", read: () => good("[smtp.gmail.com]:587") },
  {
    names: ["SES_USER", "SES_REGION", "SES_PORT"],
    as: "RELAYHOST",
    read: ([, region, port]) => good(`[email-smtp.${region ?? "us-east-1"}.amazonaws.com]:${port ?? "587"}`),
  },
  ...plain(
    "RELAYHOST_USERNAME",
    "RELAY_USERNAME",
    "RELAY_USER",
    "RELAYUSER",
    "RELAY_LOGIN",
    "SMARTHOST_USER",
    "MTP_USER",
    "GMAIL_USER",
    "SES_USER",
  ),
  ...plain(
    "RELAYHOST_PASSWORD",
    "RELAY_PASSWORD",
    "RELAY_PASS",
    "RELAYPASSWORD",
    "SMARTHOST_PASSWORD",
    "MTP_PASS",
    "GMAIL_PASSWORD",
    "SES_PASSWORD",
  ),
  ...login("RELAYHOST_USERNAME", UPSTREAM, "SMTP_USERNAME", "SMTP_USER", "SMTP_LOGIN"),
  ...login("RELAYHOST_PASSWORD", UPSTREAM, "SMTP_PASSWORD"),

  ...plain("SECURITY_LEVEL", "POSTFIX_smtp_tls_security_level", "SMTP_TLS_SECURITY_LEVEL", "OUTBOUND_TLS_LEVEL"),
  // Switches with such common names must not lower the floor of all mail: they speak of the relay host only.
  { ...ifOn("TLS_VERIFY", "RELAYHOST_TLS", good("authenticated"), good("encrypted")), needs: "relay host" },
  { ...ifOn("RELAY_TLS_VERIFY", "RELAYHOST_TLS", good("authenticated"), good("encrypted")), needs: "relay host" },
  { ...ifOn("RELAY_SUBMISSIONS", "RELAYHOST_TLS", good("implicit"), good("authenticated")), needs: "relay host" },
  { ...ifOn("SMTP_STARTTLS", "RELAYHOST_TLS", good("authenticated"), NO_STARTTLS), needs: UPSTREAM },

  ...plain("SMTPD_TLS", "POSTFIX_smtpd_tls_security_level", "SMTPD_TLS_SECURITY_LEVEL"),
  ifOn("INBOUND_TLS", "SMTPD_TLS", good("require"), good("off")),
  ...plain("TLS_CERT_FILE", "CERTIFICATE_PATH", "TLS_CRT", "SSL_CERT_PATH", "POSTFIX_smtpd_tls_cert_file"),
  ...plain("TLS_KEY_FILE", "KEY_PATH", "TLS_KEY", "SSL_KEY_PATH", "POSTFIX_smtpd_tls_key_file"),

  ...plain("MESSAGE_SIZE_LIMIT", "POSTFIX_message_size_limit", "MSG_SIZE", "SIZELIMIT", "MTP_MS_SIZE_LIMIT"),
  ...plain("POSTMASTER_ADDRESS", "BOUNCE_ADDRESS", "RELAY_POSTMASTER"),
];

export interface LaterName {
  readonly names: readonly string[];
  readonly because: string;
  /** True if starting without it would give less than the operator asked for. */
  readonly refuse: (text: string) => boolean;
}

const never = (): boolean => false;

/** Names that a later release reads. */
export const LATER_NAMES: readonly LaterName[] = [
  {
    names: ["TLS_FLOOR_MODE"],
    because: "the floor holds, so mail would wait that you mean to let pass; TLS_FLOOR=opportunistic, or `tls.domains` for single domains",
    refuse: (text) => text.trim().toLowerCase() !== "enforce",
  },
  {
    names: ["TLS_EXCEPTIONS"],
    because: "TLS_FLOOR holds without it, so mail may wait that it would let pass; `tls.domains` sets the floor of single domains",
    refuse: never,
  },
  { names: ["OVERWRITE_FROM", "MYORIGIN"], because: "senders are not rewritten", refuse: never },
  { names: ["HTTP_LISTEN", "ADMIN_TOKEN", "ADMIN_HOSTS"], because: "this release has no HTTP interface", refuse: never },
  { names: ["WEBHOOK_URL", "WEBHOOK_SECRET"], because: "this release has no webhooks", refuse: never },
  // An application's, more often than not: variables are shared by whole projects.
  { names: ["DATABASE_URL"], because: "the queue is SQLite in DATA_FOLDER", refuse: never },
];

export interface BuiltInName {
  readonly name: string;
  readonly judge: (text: string) => { readonly refused: boolean; readonly because: string };
}

/** Names of what others bolt on and Postern does by itself, or does otherwise. */
export const BUILT_IN_NAMES: readonly BuiltInName[] = [
  // Keys that others made would sign under selectors that Postern neither checks nor replaces.
  ...["DKIM_KEY_PATH", "DKIM_KEYFILE", "USE_DKIM"].map((name) => ({
    name,
    judge: (text: string) => ({
      refused: parseSwitch(text) !== false,
      because:
        "DKIM keys are made and kept by Postern, and none are read from files: name the domains in DKIM_DOMAINS, publish what `postern dkim dns` prints, and remove this; see docs/dkim.md",
    }),
  })),
  {
    // Mailu: True also enforces MTA-STS policies in testing mode, and waits when a TLSA look-up fails.
    name: "DEFER_ON_TLS_ERROR",
    judge: () => ({
      refused: false,
      because:
        "TLS trouble always defers here. What counts as trouble: TLS_POLICY for what domains publish (testing policies are watched only), TLS_FLOOR for the rest; see docs/policy.md",
    }),
  },
  {
    name: "POSTFIX_smtp_dns_support_level",
    judge: () => ({
      refused: false,
      because: "DNSSEC is asked for wherever the resolver validates, which DNS_RESOLVER=managed does by itself; see docs/resolver.md",
    }),
  },
  {
    name: "POSTFIX_smtp_tls_policy_maps",
    judge: (text) =>
      // What postfix-mta-sts-resolver and postfix-tlspol tell their users to write; another map may hold anything.
      /^socketmap:\S+:(?:postfix|QUERY|QUERYwithTLSRPT)$/i.test(text.trim())
        ? { refused: false, because: "MTA-STS and DANE are looked up by Postern itself, without a policy server; see docs/policy.md" }
        : {
            refused: true,
            because: "has no equivalent as a table: put its domains into tls.domains (floor, host, published), and remove it",
          },
  },
];

const FAMILY = /^(?:POSTFIX_|POSTCONF_?|OPENDKIM_|RSPAMD_)(.+)$/;
// What Kubernetes sets in every container when a Service has such a name; nobody wrote it.
const SERVICE_LINK = /_(?:SERVICE_(?:HOST|PORT)(?:_[A-Z0-9_]+)?|PORT(?:_\d+_(?:TCP|UDP)(?:_(?:PROTO|PORT|ADDR))?)?)$/;
const RESTRICTS =
  /restrict|access|check|tls|ssl|sasl|auth|reject|require|permit|deny|block|network|acl|client|relay|milter|dkim|sign|key|cert|secret|passw|polic|filter|interfaces|limit|verif|secur|domains|selector|trusted|hosts/i;

/** Names of Postfix, OpenDKIM and Rspamd settings that no row above reads. */
export function leftoverNames(environment: Environment): { name: string; restricts: boolean }[] {
  const known = new Set([
    ...PEER_NAMES.flatMap((peer) => peer.names).flatMap((name) => [name, `${name}_FILE`]),
    ...BUILT_IN_NAMES.map(({ name }) => name),
  ]);
  return Object.keys(environment)
    .filter((name) => (environment[name] ?? "") !== "" && !known.has(name) && !SERVICE_LINK.test(name))
    .flatMap((name) => {
      const rest = FAMILY.exec(name)?.[1];
      return rest === undefined ? [] : [{ name, restricts: RESTRICTS.test(rest) }];
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}
