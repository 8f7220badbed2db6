import { describe, expect, test } from "vitest";
import { explainEnvironment } from "../../src/config/explain.ts";
import { redactText } from "../../src/config/redact.ts";
import { compareSettings, formatChange } from "../../src/config/reload.ts";
import { showSettings } from "../../src/config/show.ts";
import { type Given, load, settingsOf } from "./support.ts";

const SECRET = "hunter2-correct";

/** Everything that leaves the room about a configuration. */
function everythingSaidOf(given: Given): string {
  const result = load(given);
  const said: unknown[] = [
    explainEnvironment({
      environment: given.environment ?? {},
      readFile: (path) => given.files?.[path] ?? "",
      ...(given.file === undefined ? {} : { file: { path: "postern.yaml", text: given.file } }),
    }),
  ];
  if (result.ok) {
    const comparison = compareSettings(settingsOf({}), result.settings);
    said.push(result.notes, showSettings(result.settings, result.origins), comparison, comparison.changes.map(formatChange));
    said.push(compareSettings(result.settings, settingsOf({})));
  } else {
    said.push(result.errors);
  }
  return JSON.stringify(said);
}

const good: [what: string, given: Given][] = [
  ["users in the file", { file: `users:\n  - { name: a, password: ${SECRET} }\n` }],
  ["a relay host's in the file", { file: `delivery:\n  relayhost: { host: a.test, username: u, password: ${SECRET} }\n` }],
  ["a route's in the file", { file: `delivery:\n  routes: [{ domains: [b.test], host: a.test, username: u, password: ${SECRET} }]\n` }],
  ["users of the environment", { environment: { SMTP_USERS: `a:${SECRET},b:${SECRET}` } }],
  ["users of another image's environment", { environment: { SMTPD_SASL_USERS: `a:${SECRET}` } }],
  ["users by number", { environment: { POSTERN__USERS__0__NAME: "a", POSTERN__USERS__0__PASSWORD: SECRET } }],
  ["users as YAML", { environment: { POSTERN__USERS: `[{name: a, password: ${SECRET}}]` } }],
  [
    "a file named by the environment",
    { environment: { RELAYHOST: "a.test", RELAYHOST_USERNAME: "u", RELAYHOST_PASSWORD_FILE: "/s" }, files: { "/s": `${SECRET}\n` } },
  ],
  ["another image's name", { environment: { RELAY_HOST: "a.test", RELAY_USER: "u", RELAY_PASS: SECRET } }],
  ["a name that is not used", { environment: { SMTP_PASSWORD: SECRET } }],
  [
    "a name of a later release",
    { environment: { WEBHOOK_SECRET: SECRET, ADMIN_TOKEN: SECRET, DATABASE_URL: `postgres://u:${SECRET}@h/d` } },
  ],
  ["one token as name and password", { environment: { RELAY_HOST: "a.test", RELAY_USER: SECRET, RELAY_PASS: SECRET } }],
  ["the command line", { set: ["users.0.name=a", `users.0.password=${SECRET}`] }],
  ["a relay host as YAML", { environment: { POSTERN__DELIVERY__RELAYHOST: `{host: a.test, username: u, password: ${SECRET}}` } }],
];

const faulty: [what: string, given: Given][] = [
  ["a fault beside it", { file: `users:\n  - { name: a, password: ${SECRET}, x: 1 }\nlog: { level: loud }\n` }],
  ["a login that is refused", { file: `delivery:\n  relayhost: { host: a.test, username: u, password: ${SECRET}, tls: none }\n` }],
  ["an unknown key that holds it", { file: `delivery:\n  relayhost: { host: a.test, passwort: ${SECRET} }\n` }],
  ["users as text", { file: `users: a:${SECRET}\n` }],
  ["a user as text", { file: `users:\n  - a:${SECRET}\n` }],
  ["users as a section", { file: `users:\n  a: ${SECRET}\n` }],
  ["a password that is a list", { file: `users:\n  - { name: a, password: [${SECRET}] }\n` }],
  ["a password that is a number", { file: "users:\n  - { name: a, password: 98765432 }\n" }],
  ["a relay host as a URL", { file: `delivery:\n  relayhost: smtp://u:${SECRET}@a.test:587\n` }],
  ["a URL where the host belongs", { file: `delivery:\n  relayhost: { host: "smtp://u:${SECRET}@a.test:587" }\n` }],
  ["a URL with a slash in its password", { file: `delivery:\n  relayhost: { host: "smtp://u:/${SECRET}/@a.test" }\n` }],
  ["a URL among servers", { file: `resolver:\n  servers: ["https://u:${SECRET}@dns.test/q"]\n` }],
  ["a URL where a word belongs", { file: `tls:\n  floor: "smtp://u:${SECRET}@a.test"\n` }],
  ["a URL where a path belongs", { file: `tls:\n  roots: "https://u:${SECRET}@a.test/r.pem"\n` }],
  ["a very long URL", { file: `mailname: "smtp://${"u".repeat(60)}:${SECRET}${"x".repeat(300)}@a.test"\n` }],
  ["a broken file, at the password", { file: `users:\n  - name: a\n    password: ${SECRET}: x\n` }],
  ["a broken file, in quotes", { file: `users:\n  - name: a\n    password: "${SECRET}\\q"\n` }],
  ["a broken file, behind quotes", { file: `users:\n  - name: a\n    password: "a" ${SECRET}\n` }],
  ["a broken file, an alias", { file: `users:\n  - name: a\n    password: *${SECRET}\n` }],
  ["a broken file, a tag", { file: `users:\n  - name: a\n    password: !${SECRET}\n` }],
  ["a broken file, brackets", { file: `users: [{ name: a, password: ${SECRET}\n` }],
  ["a duplicate", { file: `users:\n  - { name: a, password: ${SECRET}, password: ${SECRET}2 }\n` }],
  ["a short password that is a number", { file: "delivery:\n  relayhost: { host: a.test, username: u, password: 4711 }\n" }],
  ["a name that is the password, too", { file: `delivery:\n  relayhost: { host: "${SECRET}_", username: u, password: ${SECRET} }\n` }],
  ["users without a name", { environment: { SMTP_USERS: SECRET } }],
  ["users that are no YAML", { environment: { POSTERN__USERS: `a:${SECRET}` } }],
  ["users that are broken YAML", { environment: { POSTERN__USERS: `[{name: a, password: ${SECRET}` } }],
  ["a URL of the environment", { environment: { RELAYHOST: `smtp://u:${SECRET}@a.test` } }],
  ["a URL in another image's name", { environment: { SMTP_SERVER: `u:${SECRET}@a.test` } }],
  ["two names that disagree", { environment: { RELAYHOST: "a.test", RELAY_PASS: SECRET, RELAY_PASSWORD: `${SECRET}2` } }],
  [
    "a POSTERN__ name that disagrees",
    {
      environment: {
        RELAYHOST: "a.test",
        RELAYHOST_USERNAME: "u",
        RELAYHOST_PASSWORD: SECRET,
        POSTERN__DELIVERY__RELAYHOST__PASSWORD: `${SECRET}2`,
      },
    },
  ],
  ["the key itself where its path belongs", { environment: { TLS_KEY: `-----BEGIN PRIVATE KEY-----\n${SECRET}` } }],
  ["a setting of another image", { environment: { POSTFIX_smtp_sasl_password_maps: `static:u:${SECRET}` } }],
  ["no relay host", { environment: { RELAYHOST_PASSWORD: SECRET } }],
];

describe("a secret is in nothing that is said", () => {
  for (const [what, given] of good) {
    test(what, () => {
      expect(load(given).ok).toBe(true);
      expect(everythingSaidOf(given)).not.toMatch(/hunter2|98765432|4711/);
    });
  }
  for (const [what, given] of faulty) {
    test(`${what}: refused`, () => {
      expect(load(given).ok).toBe(false);
      expect(everythingSaidOf(given)).not.toMatch(/hunter2|98765432|4711/);
    });
  }
  test("but its key and who set it are", () => {
    const result = load({ environment: { SMTP_USERS: `a:${SECRET}` } });
    expect(result.ok && showSettings(result.settings, result.origins).find(({ path }) => path === "users[0].password")).toEqual({
      path: "users[0].password",
      value: "***",
      origin: "env SMTP_USERS",
    });
  });
  test("a changed secret is told as changed", () => {
    const [before, after] = [SECRET, "other-secret"].map((password) =>
      settingsOf({ set: ["users.0.name=a", `users.0.password=${password}`] }),
    );
    expect(before && after && compareSettings(before, after).changes.map(formatChange)).toEqual(["users[0].password changed"]);
  });
});

describe("text that is shown", () => {
  const cases: [text: string, shown: string][] = [
    ["smtp://u:p@h:25", "smtp:***@h:25"],
    ["u:p@h", "u:***@h"],
    ["a@example.org", "a@example.org"],
    ["[::1]:53", "[::1]:53"],
    ["192.0.2.1:53, fd00::/8", "192.0.2.1:53, fd00::/8"],
    ["level: info", "level: info"],
  ];
  for (const [text, shown] of cases) test(text, () => expect(redactText(text)).toBe(shown));
});
