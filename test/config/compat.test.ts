import { describe, expect, test } from "vitest";
import type { Path } from "../../src/config/keys.ts";
import { valueAt } from "../../src/config/tree.ts";
import { CONTAINER, faults, notesOf, originOf, settingsOf } from "./support.ts";

const PEM = { "/c.pem": "-----BEGIN CERTIFICATE-----", "/k.pem": "-----BEGIN PRIVATE KEY-----" };
const HOST = { RELAYHOST: "[a.test]:25" };
const WITH_HOST: Record<string, string> = { ...HOST, POSTERN__SUBMISSION__SENDER_DOMAINS: "s.test" };

const RELAYHOST: Path = ["delivery", "relayhost"];
const at = (host: string, port: number) => expect.objectContaining({ host, port });

describe("the short names and those of other images", () => {
  const cases: [environment: Record<string, string>, path: Path, value: unknown, note?: string][] = [
    [{ MAILNAME: "mail.a.test" }, ["mailname"], "mail.a.test"],
    ...["POSTFIX_myhostname", "SERVER_HOSTNAME", "RELAY_MYHOSTNAME", "RELAY_HOST_NAME", "MTP_HOST", "OVERRIDE_HOSTNAME", "maildomain"].map(
      (name): [Record<string, string>, Path, unknown, string] => [
        { [name]: "mail.a.test" },
        ["mailname"],
        "mail.a.test",
        `compat: ${name} read as MAILNAME=mail.a.test`,
      ],
    ),
    [{ HOSTNAME: "mail.a.test" }, ["mailname"], "mail.a.test", "compat: HOSTNAME read as MAILNAME=mail.a.test"],
    [{ HOSTNAME: "4f2a9c01d7e5" }, ["mailname"], undefined], // Docker's container id
    [{ HOSTNAME: "x.b.test", MAILNAME: "mail.a.test" }, ["mailname"], "mail.a.test"],
    [{ ALLOWED_SENDER_DOMAINS: "a.test b.test,.c.test" }, ["submission", "senderDomains"], ["a.test", "b.test", ".c.test"]],
    [
      { RELAY_MYDOMAIN: "a.test" },
      ["submission", "senderDomains"],
      ["a.test"],
      "compat: RELAY_MYDOMAIN read as ALLOWED_SENDER_DOMAINS=a.test",
    ],
    [{ ALLOW_EMPTY_SENDER_DOMAINS: "true" }, ["submission", "allowAnySenderDomain"], true],
    [{ ALLOWED_RECIPIENT_DOMAINS: "a.test" }, ["submission", "recipientDomains"], ["a.test"]],
    [
      { RELAY_TO_DOMAINS: "a.test" },
      ["submission", "recipientDomains"],
      ["a.test"],
      "compat: RELAY_TO_DOMAINS read as ALLOWED_RECIPIENT_DOMAINS=a.test",
    ],
    [{ MYNETWORKS: "auto 127.5.0.0/16" }, ["submission", "networks"], ["auto", "127.5.0.0/16"]],
    [{ MYNETWORKS: "none" }, ["submission", "networks"], []],
    [
      { POSTFIX_mynetworks: "127.0.0.0/8 [::1]/128" },
      ["submission", "networks"],
      ["127.0.0.0/8", "::1/128"],
      "compat: POSTFIX_mynetworks read as MYNETWORKS=127.0.0.0/8 [::1]/128",
    ],
    [
      { RELAY_NETWORKS: ":127.1.0.0/16:127.2.0.0/16" },
      ["submission", "networks"],
      ["127.1.0.0/16", "127.2.0.0/16"],
      "compat: RELAY_NETWORKS read as MYNETWORKS=127.1.0.0/16 127.2.0.0/16",
    ],
    [
      { RELAY_NETS: "127.1.0.0/16;127.2.0.0/16" },
      ["submission", "networks"],
      ["127.1.0.0/16", "127.2.0.0/16"],
      "compat: RELAY_NETS read as MYNETWORKS=127.1.0.0/16 127.2.0.0/16",
    ],
    [
      { SMTP_NETWORKS: "127.1.0.0/16" },
      ["submission", "networks"],
      ["auto", "127.1.0.0/16"],
      "compat: SMTP_NETWORKS read as MYNETWORKS=auto 127.1.0.0/16",
    ],
    [{ PERMIT_DOCKER: "none" }, ["submission", "networks"], [], "compat: PERMIT_DOCKER read as MYNETWORKS=none"],
    [{ PERMIT_DOCKER: "network" }, ["submission", "networks"], ["auto"], "compat: PERMIT_DOCKER read as MYNETWORKS=auto"],
    [
      { SMTP_USERS: "a:pw,b:p:w,x" },
      ["users"],
      [
        { name: "a", password: "pw", maySendAs: [] },
        { name: "b", password: "p:w,x", maySendAs: [] },
      ],
    ],
    [
      { SMTP_USERS: "a:p,w\n# nobody\nb@c.test:scrypt$1$8$1$xx==$yy==\n" },
      ["users"],
      [
        { name: "a", password: "p,w", maySendAs: [] },
        { name: "b@c.test", password: "scrypt$1$8$1$xx==$yy==", maySendAs: [] },
      ],
    ],
    [
      { SMTPD_SASL_USERS: "a:pw" },
      ["users"],
      [{ name: "a", password: "pw", maySendAs: [] }],
      "compat: SMTPD_SASL_USERS read as SMTP_USERS=***",
    ],
    [{ SMTP_AUTH_ACCEPT_ANY: "1" }, ["submission", "login", "acceptAnyFromNetworks"], true],
    [{ RELAYHOST: "[a.test]:587" }, RELAYHOST, at("a.test", 587)],
    [{ RELAYHOST: "a.test:587" }, RELAYHOST, at("a.test", 587)],
    [{ RELAYHOST: "a.test" }, RELAYHOST, at("a.test", 25)],
    [{ RELAYHOST: "[192.0.2.1]" }, RELAYHOST, at("192.0.2.1", 25)],
    [{ RELAYHOST: "[IPv6:2001:db8::1]:26" }, RELAYHOST, at("2001:db8::1", 26)],
    [
      { RELAY_HOST: "smtp.a.test", RELAY_PORT: "587" },
      RELAYHOST,
      at("smtp.a.test", 587),
      "compat: RELAY_HOST+RELAY_PORT read as RELAYHOST=[smtp.a.test]:587",
    ],
    [{ DEFAULT_RELAY_HOST: "[a.test]:587" }, RELAYHOST, at("a.test", 587), "compat: DEFAULT_RELAY_HOST read as RELAYHOST=[a.test]:587"],
    [{ SMTP_SERVER: "a.test" }, RELAYHOST, at("a.test", 587), "compat: SMTP_SERVER read as RELAYHOST=[a.test]:587"],
    [{ SMTP_HOST: "a.test", SMTP_PORT: "26" }, RELAYHOST, at("a.test", 26), "compat: SMTP_HOST+SMTP_PORT read as RELAYHOST=[a.test]:26"],
    [
      { SMARTHOST_ADDRESS: "a.test", SMARTHOST_PORT: "26" },
      RELAYHOST,
      at("a.test", 26),
      "compat: SMARTHOST_ADDRESS+SMARTHOST_PORT read as RELAYHOST=[a.test]:26",
    ],
    [{ SMARTHOST: "a.test::26" }, RELAYHOST, at("a.test", 26), "compat: SMARTHOST read as RELAYHOST=[a.test]:26"],
    [{ EXT_RELAY_HOST: "a.test" }, RELAYHOST, at("a.test", 25), "compat: EXT_RELAY_HOST read as RELAYHOST=[a.test]:25"],
    [{ MTP_RELAY: "a.test", MTP_PORT: "26" }, RELAYHOST, at("a.test", 26), "compat: MTP_RELAY+MTP_PORT read as RELAYHOST=[a.test]:26"],
    [
      { GMAIL_USER: "u", GMAIL_PASSWORD: "p" },
      RELAYHOST,
      { host: "smtp.gmail.com", port: 587, tls: "authenticated", username: "u", password: "p" },
      "compat: GMAIL_PASSWORD read as RELAYHOST_PASSWORD=***",
    ],
    [
      { SES_USER: "u", SES_PASSWORD: "p", SES_REGION: "eu-west-1" },
      RELAYHOST,
      at("email-smtp.eu-west-1.amazonaws.com", 587),
      "compat: SES_USER read as RELAYHOST_USERNAME=u",
    ],
    [
      { RELAY_HOST: "a.test", RELAY_USERNAME: "u", RELAY_PASSWORD: "p" },
      RELAYHOST,
      expect.objectContaining({ username: "u", password: "p" }),
      "compat: RELAY_PASSWORD read as RELAYHOST_PASSWORD=***",
    ],
    [
      { SMTP_HOST: "a.test", SMTP_USERNAME: "u", SMTP_PASSWORD: "p" },
      RELAYHOST,
      expect.objectContaining({ username: "u", password: "p" }),
      "compat: SMTP_USERNAME read as RELAYHOST_USERNAME=u",
    ],
    [
      { SMTP_PASSWORD: "p" },
      RELAYHOST,
      undefined,
      "compat: SMTP_PASSWORD is not used: SMTP_SERVER or SMTP_HOST or EXT_RELAY_HOST is not set",
    ],
    [{ RELAY_PORT: "26" }, RELAYHOST, undefined, "compat: RELAY_PORT is not used: RELAY_HOST is not set"],
    [{ ...HOST, RELAYHOST_TLS: "encrypt" }, [...RELAYHOST, "tls"], "encrypted"],
    [{ ...HOST, RELAYHOST_TLS: "implicit" }, [...RELAYHOST, "tls"], "implicit"],
    [
      { ...HOST, POSTFIX_smtp_tls_security_level: "may" },
      [...RELAYHOST, "tls"],
      "opportunistic",
      "compat: POSTFIX_smtp_tls_security_level read as RELAYHOST_TLS=may",
    ],
    [{ ...HOST, RELAY_SUBMISSIONS: "yes" }, [...RELAYHOST, "tls"], "implicit", "compat: RELAY_SUBMISSIONS read as RELAYHOST_TLS=implicit"],
    [{ ...HOST, TLS_VERIFY: "off" }, [...RELAYHOST, "tls"], "encrypted", "compat: TLS_VERIFY read as RELAYHOST_TLS=encrypted"],
    [{ TLS_VERIFY: "off" }, ["tls", "floor"], "authenticated", "compat: TLS_VERIFY is not used: there is no relay host"],
    [
      { POSTFIX_smtp_tls_security_level: "encrypt" },
      ["tls", "floor"],
      "encrypted",
      "compat: POSTFIX_smtp_tls_security_level read as TLS_FLOOR=encrypt",
    ],
    [
      { POSTFIX_smtp_tls_security_level: "verify" },
      ["tls", "floor"],
      "authenticated",
      "compat: POSTFIX_smtp_tls_security_level read as TLS_FLOOR=verify",
    ],
    [{ TLS_FLOOR: "opportunistic" }, ["tls", "floor"], "opportunistic"],
    [{ TLS_FLOOR: "opportunistic" }, ["tls", "published"], "enforce"],
    [
      { POSTFIX_smtp_tls_security_level: "dane" },
      ["tls", "floor"],
      "opportunistic",
      "compat: POSTFIX_smtp_tls_security_level read as TLS_FLOOR=dane: DANE and MTA-STS are enforced where they are published, elsewhere clear will do",
    ],
    [
      { POSTFIX_smtp_tls_security_level: "dane-only" },
      ["tls"],
      expect.objectContaining({ floor: "authenticated", host: "dnssec", published: "enforce" }),
      "compat: POSTFIX_smtp_tls_security_level read as TLS_FLOOR=dane-only: mandatory DANE, so mail waits for every domain without it",
    ],
    [
      { ...HOST, POSTFIX_smtp_tls_security_level: "dane" },
      [...RELAYHOST, "tls"],
      "authenticated",
      "compat: POSTFIX_smtp_tls_security_level read as RELAYHOST_TLS=dane: authenticated, by its TLSA records or by a certificate of a trusted CA",
    ],
    [{ TLS_POLICY: "Report" }, ["tls", "published"], "report"],
    [{ TLS_POLICY: "off" }, ["tls", "published"], "off"],
    [{ TLS_FLOOR: "dane", TLS_POLICY: "enforce" }, ["tls", "published"], "enforce"],
    [{ DNS_RESOLVER: "managed" }, ["resolver", "servers"], ["managed"]],
    [{ DNS_RESOLVER: "tls://dns.test, tls://192.0.2.1#dns.test" }, ["resolver", "servers"], ["tls://dns.test", "tls://192.0.2.1#dns.test"]],
    [{ DNS_RESOLVER: "192.0.2.1,192.0.2.2" }, ["resolver", "servers"], ["192.0.2.1", "192.0.2.2"]],
    [{ DNS_RESOLVER: "system" }, ["resolver", "servers"], ["system"]],
    [{ SMTPD_TLS: "require" }, ["submission", "listeners", 0, "tls"], "require"],
    [{ SMTPD_TLS: "off" }, ["submission", "listeners", 2, "tls"], "implicit"],
    [
      { POSTFIX_smtpd_tls_security_level: "none" },
      ["submission", "listeners", 1, "tls"],
      "off",
      "compat: POSTFIX_smtpd_tls_security_level read as SMTPD_TLS=none",
    ],
    [{ TLS_CERT_FILE: "/c.pem", TLS_KEY_FILE: "/k.pem" }, ["submission", "keyFile"], "/k.pem"],
    [{ TLS_CRT: "/c.pem", TLS_KEY: "/k.pem" }, ["submission", "keyFile"], "/k.pem", "compat: TLS_KEY read as TLS_KEY_FILE=/k.pem"],
    [
      { POSTFIX_smtpd_tls_cert_file: "/c.pem", POSTFIX_smtpd_tls_key_file: "/k.pem" },
      ["submission", "certificateFile"],
      "/c.pem",
      "compat: POSTFIX_smtpd_tls_cert_file read as TLS_CERT_FILE=/c.pem",
    ],
    [{ MESSAGE_SIZE_LIMIT: "30M" }, ["submission", "limits", "messageSize"], 30 * 1024 ** 2],
    [
      { POSTFIX_message_size_limit: "1048576" },
      ["submission", "limits", "messageSize"],
      1024 ** 2,
      "compat: POSTFIX_message_size_limit read as MESSAGE_SIZE_LIMIT=1048576",
    ],
    [{ POSTMASTER_ADDRESS: "a@a.test" }, ["submission", "postmaster"], "a@a.test"],
    [
      { BOUNCE_ADDRESS: "a@a.test" },
      ["submission", "postmaster"],
      "a@a.test",
      "compat: BOUNCE_ADDRESS read as POSTMASTER_ADDRESS=a@a.test",
    ],
    [{ TLSRPT: "On", MAILNAME: "mail.a.test" }, ["tlsReports", "send"], "on"],
    [{ TLSRPT: "no" }, ["tlsReports", "send"], "off"],
    [{ TLSRPT: "auto" }, ["tlsReports", "send"], "auto"],
    [{ TLSRPT_FROM: "tls@a.test" }, ["tlsReports", "from"], "tls@a.test"],
    [{ TLSRPT_ORG: "A Company, Inc." }, ["tlsReports", "organization"], "A Company, Inc."],
    [{ DKIM_DOMAINS: "a.test, b.test" }, ["dkim", "domains"], ["a.test", "b.test"]],
    [{ DKIM_SELECTOR: "mail" }, ["dkim", "selector"], "mail"],
    [{ DKIM_AUTOGENERATE: "true", ALLOWED_SENDER_DOMAINS: "a.test b.test" }, ["dkim", "domains"], ["a.test", "b.test"]],
    [{ DKIM_AUTOGENERATE: "true", POSTERN__SUBMISSION__SENDER_DOMAINS: "c.test" }, ["dkim", "domains"], ["c.test"]],
    [{ DKIM_AUTOGENERATE: "true", ALLOWED_SENDER_DOMAINS: "a.test", DKIM_DOMAINS: "b.test" }, ["dkim", "domains"], ["b.test"]],
    [{ DKIM_AUTOGENERATE: "true", ALLOWED_SENDER_DOMAINS: "a.test", POSTERN__DKIM__DOMAINS: "b.test" }, ["dkim", "domains"], ["b.test"]],
    [{ DKIM_AUTOGENERATE: "false", ALLOWED_SENDER_DOMAINS: "a.test" }, ["dkim", "domains"], []],
    [{ LOG_FORMAT: "JSON" }, ["log", "format"], "json"],
    [{ LOG_LEVEL: "WARNING" }, ["log", "level"], "warn"],
    [{ ANONYMIZE_EMAILS: "smart" }, ["log", "anonymise"], true],
    [{ ANONYMIZE_EMAILS: "noop" }, ["log", "anonymise"], false],
    [{ DATA_FOLDER: "/data" }, ["data", "folder"], "/data"],
    [{ MAILNAME: "" }, ["mailname"], undefined], // empty is unset
  ];
  for (const [environment, path, value, note] of cases) {
    test(
      Object.entries(environment)
        .map((pair) => pair.join("="))
        .join(" ")
        .slice(0, 80),
      () => {
        expect(valueAt(settingsOf({ environment, files: PEM }), path)).toEqual(value);
        const compat = notesOf({ environment, files: PEM }).filter((line) => line.startsWith("compat: "));
        if (note === undefined) expect(compat).toEqual([]);
        else expect(compat).toContain(note);
      },
    );
  }
  test("the origin says which name it was", () => {
    expect(originOf({ environment: { RELAY_HOST: "a.test", RELAY_PORT: "26" } }, "delivery.relayhost.port")).toBe(
      "compat RELAY_HOST+RELAY_PORT",
    );
    expect(originOf({ environment: HOST }, "delivery.relayhost.host")).toBe("env RELAYHOST");
  });
  test("HOSTNAME does not come before the file", () => {
    expect(settingsOf({ file: "mailname: mail.a.test\n", environment: { HOSTNAME: "x.b.test" } }).mailname).toBe("mail.a.test");
  });
  test("a relay host of the environment never gets the password that the file has for another", () => {
    const file = "delivery:\n  relayhost: { host: old.test, username: u, password: p }\n";
    expect(settingsOf({ file, environment: { RELAYHOST: "new.test" } }).delivery.relayhost).toEqual({
      host: "new.test",
      port: 25,
      tls: "authenticated",
    });
  });
  test("a password of the environment goes to the relay host of the file", () => {
    const file = "delivery:\n  relayhost: { host: a.test, username: u }\n";
    expect(settingsOf({ file, environment: { RELAYHOST_PASSWORD: "p" } }).delivery.relayhost).toMatchObject({
      host: "a.test",
      username: "u",
      password: "p",
    });
  });
});

describe("LISTEN", () => {
  const domain = { ALLOWED_SENDER_DOMAINS: "a.test" };
  const cases: [text: string, expected: [name: string, address: string, port: number, tls: string][]][] = [
    [
      "25,587,465",
      [
        ["smtp", "::", 25, "starttls"],
        ["submission", "::", 587, "starttls"],
        ["submissions", "::", 465, "implicit"],
      ],
    ],
    ["2525", [["port-2525", "::", 2525, "starttls"]]],
    [
      "127.0.0.1:25 [::1]:25",
      [
        ["smtp", "127.0.0.1", 25, "starttls"],
        ["smtp-2", "::1", 25, "starttls"],
      ],
    ],
    [
      "*:25/off, 587/require, 2465/implicit",
      [
        ["smtp", "::", 25, "off"],
        ["submission", "::", 587, "require"],
        ["port-2465", "::", 2465, "implicit"],
      ],
    ],
  ];
  for (const [text, expected] of cases) {
    test(text, () => {
      const { listeners } = settingsOf({ environment: { LISTEN: text, ...domain }, machine: CONTAINER }).submission;
      expect(listeners.map(({ name, address, port, tls }) => [name, address, port, tls])).toEqual(expected);
    });
  }
  test("without IPv6 all addresses are 0.0.0.0", () => {
    expect(settingsOf({ environment: { LISTEN: "25", ...domain } }).submission.listeners[0]?.address).toBe("0.0.0.0");
  });
  test("SMTPD_TLS applies to its listeners", () => {
    expect(
      settingsOf({ environment: { LISTEN: "25,465", SMTPD_TLS: "off", ...domain } }).submission.listeners.map(({ tls }) => tls),
    ).toEqual(["off", "implicit"]);
  });
  for (const text of ["smtp", "0", "70000", "25/tls", "localhost:25", ","])
    test(`${text} is refused`, () => expect(faults({ environment: { LISTEN: text } })[0]).toMatch(/^LISTEN: /));
});

describe("refused", () => {
  const cases: [environment: Record<string, string>, expected: string][] = [
    [
      { RELAYHOST: "a.test:25", RELAY_HOST: "b.test" },
      "RELAYHOST: RELAYHOST and RELAY_HOST both stand for RELAYHOST and disagree; keep one",
    ],
    [
      { RELAY_USER: "a", RELAY_LOGIN: "b", ...HOST },
      "RELAY_USER: RELAY_USER and RELAY_LOGIN both stand for RELAYHOST_USERNAME and disagree; keep one",
    ],
    [
      { MAILNAME: "a.test", POSTERN__MAILNAME: "b.test" },
      "POSTERN__MAILNAME: mailname: POSTERN__MAILNAME and MAILNAME disagree about it; keep one",
    ],
    [
      { POSTFIX_smtpd_recipient_restrictions: "reject" },
      "POSTFIX_smtpd_recipient_restrictions: has no equivalent here and looks as if it restricts or secures something; refusing to start without it.",
    ],
    [{ POSTFIX_smtpd_sasl_auth_enable: "yes" }, "POSTFIX_smtpd_sasl_auth_enable: has no equivalent here"],
    [{ POSTCONF_header_checks: "x" }, "POSTCONF_header_checks: has no equivalent here"],
    [{ OPENDKIM_DOMAINS: "a.test" }, "OPENDKIM_DOMAINS: has no equivalent here"],
    [{ RSPAMD_REJECT_SCORE: "1" }, "RSPAMD_REJECT_SCORE: has no equivalent here"],
    [{ ...HOST, RELAYHOST_TLS: "fingerprint" }, "RELAYHOST_TLS: certificates cannot be pinned"],
    [{ TLS_FLOOR: "none" }, "TLS_FLOOR: none is no floor"],
    [{ TLS_FLOOR: "high" }, "TLS_FLOOR: expected one of authenticated, encrypted, opportunistic"],
    [{ SMTPD_TLS: "internal" }, "SMTPD_TLS: a certificate authority of our own is not available yet"],
    [{ TLS_KEY: "-----BEGIN PRIVATE KEY-----" }, "TLS_KEY: expected the path of a PEM file, not its content"],
    [{ RELAYHOST: "smtp://u:p@a.test" }, "RELAYHOST: expected [host]:port; a URL is not read"],
    [{ RELAYHOST: "a.test:0" }, "RELAYHOST: the port must be from 1 to 65535"],
    [{ SMTP_HOST: "a.test", SMTP_PORT: "tcp://10.0.0.1:25" }, "SMTP_HOST+SMTP_PORT: the port must be from 1 to 65535"],
    [{ SMTP_HOST: "a.test", SMTP_STARTTLS: "off" }, "SMTP_STARTTLS: without STARTTLS there is implicit TLS or none"],
    [{ RELAYHOST_USERNAME: "u" }, "RELAYHOST_USERNAME: there is no relay host that it could be for"],
    [{ ALLOW_EMPTY_SENDER_DOMAINS: "perhaps" }, "ALLOW_EMPTY_SENDER_DOMAINS: expected true or false"],
    [{ SMTP_USERS: "bob" }, "SMTP_USERS: entry 1 is not user:password"],
    [{ PERMIT_DOCKER: "all" }, "PERMIT_DOCKER: expected none, container"],
    [{ LOG_LEVEL: "loud" }, 'LOG_LEVEL: log.level: expected one of debug, info, warn, error, got "loud"'],
    [{ MESSAGE_SIZE_LIMIT: "25" }, "MESSAGE_SIZE_LIMIT: submission.limits.messageSize: 25 octets are less than the 64K"],
    [{ POSTFIX_smtp_tls_policy_maps: "hash:/etc/postfix/policy" }, "POSTFIX_smtp_tls_policy_maps: has no equivalent as a table"],
    [{ POSTFIX_smtp_tls_policy_maps: "socketmap:unix:/run/own:deny" }, "POSTFIX_smtp_tls_policy_maps: has no equivalent as a table"],
    [{ TLS_FLOOR: "dane", TLS_POLICY: "report" }, "TLS_POLICY: tls.published: TLS_POLICY and TLS_FLOOR disagree about it; keep one"],
    [
      { POSTFIX_smtp_tls_security_level: "dane", TLS_POLICY: "off" },
      "tls.published: TLS_POLICY and POSTFIX_smtp_tls_security_level disagree",
    ],
    [
      { POSTFIX_smtp_tls_security_level: "dane-only", DNS_RESOLVER: "192.0.2.1" },
      "tls.host: mail for MX hosts would wait for ever, for none of resolver.servers is believed about DNSSEC",
    ],
    [{ ...HOST, RELAYHOST_TLS: "dane-only" }, "RELAYHOST_TLS: DANE cannot be made a must at a relay host"],
    [{ TLS_POLICY: "testing" }, 'TLS_POLICY: tls.published: expected one of enforce, report, off, got "testing"'],
    [{ TLS_FLOOR_MODE: "report" }, "TLS_FLOOR_MODE: TLS_FLOOR_MODE is not available yet: the floor holds"],
    [{ DNS_RESOLVER: "manged" }, 'DNS_RESOLVER: resolver.servers[0]: not an address of a DNS server: "manged", did you mean managed?'],
    [{ DNS_RESOLVER: "managed 192.0.2.1" }, "DNS_RESOLVER: resolver.servers[0]: managed stands alone"],
    [
      { DKIM_AUTOGENERATE: "true" },
      "DKIM_AUTOGENERATE: there are no sender domains that keys could be made for: set ALLOWED_SENDER_DOMAINS",
    ],
    [
      { DKIM_AUTOGENERATE: "true", ALLOWED_SENDER_DOMAINS: "a.test .b.test" },
      "DKIM_AUTOGENERATE: no key can be made for all that .b.test stands for: name the domains in DKIM_DOMAINS",
    ],
    [{ DKIM_AUTOGENERATE: "mail" }, "DKIM_AUTOGENERATE: expected true or false"],
    [{ DKIM_SELECTOR: "mail,a.test=other" }, "DKIM_SELECTOR: one selector serves all domains here"],
    [{ DKIM_SELECTOR: "a.test=other" }, "DKIM_SELECTOR: one selector serves all domains here"],
    [{ DKIM_SELECTOR: "Mail" }, "DKIM_SELECTOR: dkim.selector: must be a label like postern or mail-2026, in lower case"],
    [{ DKIM_KEY_PATH: "/keys" }, "DKIM_KEY_PATH: DKIM keys are made and kept by Postern, and none are read from files"],
    [{ DKIM_KEYFILE: "/keys/a.private" }, "DKIM_KEYFILE: DKIM keys are made and kept by Postern"],
    [{ USE_DKIM: "yes" }, "USE_DKIM: DKIM keys are made and kept by Postern"],
    [{ TLSRPT: "weekly" }, "TLSRPT: expected auto, on or off"],
    [{ TLSRPT: "on" }, "TLSRPT: tlsReports.send: reports need an address that people can answer: set tlsReports.from (TLSRPT_FROM)"],
    [{ TLSRPT_FROM: "me" }, 'TLSRPT_FROM: tlsReports.from: not an address: "me"'],
  ];
  for (const [environment, expected] of cases) {
    test(
      Object.entries(environment)
        .map((pair) => pair.join("="))
        .join(" "),
      () => expect(faults({ environment }).join("\n")).toContain(expected),
    );
  }
});

describe("told, not refused", () => {
  const cases: [environment: Record<string, string>, note: string][] = [
    [{ POSTFIX_maximal_queue_lifetime: "1d" }, "compat: POSTFIX_maximal_queue_lifetime has no equivalent here and is not used"],
    [{ DATABASE_URL: "sqlite:/data/postern.db" }, "compat: DATABASE_URL is not available yet: the queue is SQLite in DATA_FOLDER"],
    [{ DATABASE_URL: "postgres://u:hunter22@h/db" }, "compat: DATABASE_URL is not available yet: the queue is SQLite in DATA_FOLDER"],
  ];
  for (const [environment, note] of cases) test(Object.keys(environment).join(), () => expect(notesOf({ environment })).toContain(note));
  const builtIn: [environment: Record<string, string>, note: RegExp][] = [
    [{ USE_DKIM: "no" }, /^compat: USE_DKIM is not used: DKIM keys are made and kept by Postern, .*docs\/dkim\.md$/],
    [{ DEFER_ON_TLS_ERROR: "True" }, /^compat: DEFER_ON_TLS_ERROR is not used: .*TLS_POLICY .*docs\/policy\.md$/],
    [{ DEFER_ON_TLS_ERROR: "False" }, /^compat: DEFER_ON_TLS_ERROR is not used: TLS trouble always defers here/],
    [{ POSTFIX_smtp_dns_support_level: "dnssec" }, /^compat: POSTFIX_smtp_dns_support_level is not used: .*docs\/resolver\.md$/],
    [
      { POSTFIX_smtp_tls_policy_maps: "socketmap:inet:127.0.0.1:8461:postfix" },
      /is not used: MTA-STS and DANE are looked up by Postern itself/,
    ],
    [{ POSTFIX_smtp_tls_policy_maps: "socketmap:inet:postfix-tlspol:8642:QUERYwithTLSRPT" }, /is not used: MTA-STS and DANE/],
    [{ TLS_FLOOR_MODE: "enforce" }, /^compat: TLS_FLOOR_MODE is not available yet/],
  ];
  for (const [environment, note] of builtIn)
    test(Object.entries(environment).join(), () => {
      const notes = notesOf({ environment });
      expect(notes).toHaveLength(1);
      expect(notes[0]).toMatch(note);
    });
  test("two names that agree", () => {
    expect(
      settingsOf({
        environment: { RELAYHOST: "a.test:587", RELAY_HOST: "a.test", RELAY_PORT: "587", POSTERN__DELIVERY__RELAYHOST__PORT: "587" },
      }).delivery.relayhost?.port,
    ).toBe(587);
    expect(settingsOf({ environment: { ...WITH_HOST, ALLOWED_SENDER_DOMAINS: "s.test" } }).submission.senderDomains).toEqual(["s.test"]);
  });
  test("what Kubernetes sets for a Service named postfix is nobody's setting", () => {
    expect(
      notesOf({
        environment: { POSTFIX_SERVICE_HOST: "10.0.0.1", POSTFIX_PORT: "tcp://10.0.0.1:25", POSTFIX_PORT_25_TCP_ADDR: "10.0.0.1" },
      }).filter((line) => line.includes("POSTFIX")),
    ).toEqual([]);
  });
});
