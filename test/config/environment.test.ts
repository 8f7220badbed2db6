import { describe, expect, test } from "vitest";
import { environmentName } from "../../src/config/environment.ts";
import { keyAt, type Path } from "../../src/config/keys.ts";
import { valueAt } from "../../src/config/tree.ts";
import { faults, originOf, settingsOf } from "./support.ts";

const DOMAIN = { senderDomains: ["a.test"] };

describe("POSTERN__ names", () => {
  const cases: [name: string, text: string, path: Path, value: unknown][] = [
    ["POSTERN__LOG__LEVEL", "debug", ["log", "level"], "debug"],
    ["POSTERN__LOG__LEVEL", " Debug ", ["log", "level"], "debug"],
    ["postern__log__level", "debug", ["log", "level"], "debug"],
    ["POSTERN__SUBMISSION__LIMITS__MESSAGE_SIZE", "30M", ["submission", "limits", "messageSize"], 30 * 1024 ** 2],
    ["POSTERN__SUBMISSION__LIMITS__MESSAGESIZE", "1048576", ["submission", "limits", "messageSize"], 1024 ** 2],
    ["POSTERN__submission__limits__messageSize", "30M", ["submission", "limits", "messageSize"], 30 * 1024 ** 2],
    ["POSTERN__DELIVERY__SOURCE_ADDRESS_4", "192.0.2.1", ["delivery", "sourceAddress4"], "192.0.2.1"],
    ["POSTERN__DELIVERY__PORT", "2525", ["delivery", "port"], 2525],
    ["POSTERN__DELIVERY__IPV4", "no", ["delivery", "ipv4"], false],
    ["POSTERN__DELIVERY__RETRY__SPREAD", "0.25", ["delivery", "retry", "spread"], 0.25],
    ["POSTERN__DELIVERY__RETRY__WAITS", "1m, 2m 3m", ["delivery", "retry", "waits"], [60_000, 120_000, 180_000]],
    ["POSTERN__SUBMISSION__SENDER_DOMAINS", "a.test,b.test", ["submission", "senderDomains"], ["a.test", "b.test"]],
    ["POSTERN__SUBMISSION__SENDER_DOMAINS", "a.test\nb.test\n", ["submission", "senderDomains"], ["a.test", "b.test"]],
    ["POSTERN__SUBMISSION__SENDER_DOMAINS", '["a.test", b.test]', ["submission", "senderDomains"], ["a.test", "b.test"]],
    ["POSTERN__SUBMISSION__NETWORKS", "[]", ["submission", "networks"], []],
    ["POSTERN__SUBMISSION__NETWORKS__1", "127.1.0.0/16", ["submission", "networks"], ["auto", "127.1.0.0/16"]],
    ["POSTERN__RESOLVER__SERVERS", "[::1]:53, [2001:db8::1]:53", ["resolver", "servers"], ["[::1]:53", "[2001:db8::1]:53"]],
    ["POSTERN__SUBMISSION__LISTENERS__0__PORT", "2600", ["submission", "listeners", 0, "port"], 2600],
    [
      "POSTERN__SUBMISSION__LISTENERS",
      "[{name: a, port: 1}]",
      ["submission", "listeners"],
      [{ name: "a", port: 1, address: "0.0.0.0", tls: "starttls", login: "optional" }],
    ],
    ["POSTERN__TLS__DOMAINS__EXAMPLE_ORG__FLOOR", "encrypted", ["tls", "domains"], { "example.org": { floor: "encrypted" } }],
    ["POSTERN__TLS__DOMAINS___EXAMPLE_ORG__FLOOR", "encrypted", ["tls", "domains"], { ".example.org": { floor: "encrypted" } }],
    ["POSTERN__TLS__DOMAINS__example.org__FLOOR", "encrypted", ["tls", "domains"], { "example.org": { floor: "encrypted" } }],
    ["POSTERN__TLS__DOMAINS", '{"example.org": {"floor": "encrypted"}}', ["tls", "domains"], { "example.org": { floor: "encrypted" } }],
    [
      "POSTERN__DELIVERY__RELAYHOST",
      "{host: a.test, port: 587}",
      ["delivery", "relayhost"],
      { host: "a.test", port: 587, tls: "authenticated" },
    ],
    ["POSTERN__LOG__LEVEL", "", ["log", "level"], "info"], // empty is unset
  ];
  for (const [name, text, path, value] of cases) {
    test(`${name}=${text}`, () =>
      expect(valueAt(settingsOf({ file: JSON.stringify({ submission: DOMAIN }), environment: { [name]: text } }), path)).toEqual(value));
  }
  test("users by number, each key by itself", () => {
    const environment = {
      POSTERN__USERS__0__NAME: "a",
      POSTERN__USERS__0__PASSWORD: "12345",
      POSTERN__USERS__1__NAME: "b",
      POSTERN__USERS__1__PASSWORD: " x ",
    };
    expect(settingsOf({ environment }).users.map(({ name, password }) => [name, password])).toEqual([
      ["a", "12345"],
      ["b", " x "],
    ]);
  });
  test("every value of the schema has a name that leads back to it", () => {
    for (const path of [
      ["mailname"],
      ["submission", "limits", "recipientsPerHourPerUser"],
      ["delivery", "sourceAddress6"],
      ["delivery", "ipv6"],
      ["tls", "roots"],
    ]) {
      expect(keyAt(path)).toBeDefined();
      expect(faults({ environment: { [environmentName(path)]: "\u0000" } }).join()).not.toContain("no such setting");
    }
  });
});

describe("names that stand for nothing are refused", () => {
  const cases: [name: string, text: string, expected: string][] = [
    ["POSTERN__LOG__LEVL", "x", "POSTERN__LOG__LEVL: there is no such setting, did you mean POSTERN__LOG__LEVEL?"],
    [
      "POSTERN__MESSAGE_SIZE",
      "1M",
      "POSTERN__MESSAGE_SIZE: there is no such setting, did you mean POSTERN__SUBMISSION__LIMITS__MESSAGE_SIZE?",
    ],
    ["POSTERN__COLOUR", "x", "POSTERN__COLOUR: there is no such setting"],
    ["POSTERN__LOG__LEVEL__X", "x", "POSTERN__LOG__LEVEL__X: log.level has no keys of its own"],
    ["POSTERN__USERS__BOB", "x", "POSTERN__USERS__BOB: items of users are numbered from 0: POSTERN__USERS__0"],
    [
      "POSTERN__USERS__3__NAME",
      "x",
      "POSTERN__USERS__3__NAME: users[3].name: the list has 0 items so far, numbered from 0; the next one is 0",
    ],
    [
      "POSTERN_TLS_FLOOR",
      "encrypted",
      "POSTERN_TLS_FLOOR: not read: sections are told apart by two underscores, did you mean POSTERN__TLS__FLOOR?",
    ],
    [
      "POSTERN__USERS",
      "bob",
      "POSTERN__USERS: users: expected a list, each item a section with keys like name, password, maySendAs, as YAML or JSON text",
    ],
    ["POSTERN__DELIVERY__PORT", "smtp", 'POSTERN__DELIVERY__PORT: delivery.port: expected a whole number from 0 to 65535, got "smtp"'],
  ];
  for (const [name, text, expected] of cases) test(name, () => expect(faults({ environment: { [name]: text } })).toEqual([expected]));
  test("two spellings of one name that disagree", () => {
    expect(faults({ environment: { POSTERN__TLS__FLOOR: "encrypted", postern__tls__floor: "opportunistic" } })).toEqual([
      "POSTERN__TLS__FLOOR: tls.floor: POSTERN__TLS__FLOOR and postern__tls__floor disagree about it; keep one",
    ]);
  });
  test("other people's names are no business of ours", () => {
    expect(
      faults({
        environment: {
          POSTERN_PORT: "tcp://10.0.0.1:25",
          POSTERN_SERVICE_HOST: "10.0.0.1",
          POSTERN_STARTED_BY_OLD_NODE: "1",
          PATH: "/bin",
        },
      }),
    ).toEqual([]);
  });
  test("no name reaches what every object inherits", () => {
    settingsOf({ set: ['tls.domains["__proto__"].floor=encrypted'], environment: {} });
    expect(({} as Record<string, unknown>)["floor"]).toBeUndefined();
  });
});

describe("_FILE", () => {
  const files = { "/secret": "pass word\n", "/two": "a\n\n", "/windows": "a\r\n", "/bare": "a", "/empty": "\n" };
  const cases: [file: string, password: string][] = [
    ["/secret", "pass word"],
    ["/two", "a\n"],
    ["/windows", "a"],
    ["/bare", "a"],
  ];
  for (const [file, password] of cases) {
    test(`${file}: exactly one newline is cut off`, () => {
      const environment = { RELAYHOST: "a.test", RELAYHOST_USERNAME: "u", RELAYHOST_PASSWORD_FILE: file };
      expect(settingsOf({ environment, files }).delivery.relayhost?.password).toBe(password);
      const long = { POSTERN__USERS__0__NAME: "u", POSTERN__USERS__0__PASSWORD_FILE: file };
      expect(settingsOf({ environment: long, files }).users[0]?.password).toBe(password);
    });
  }
  test("names that end in FILE by themselves stay themselves", () => {
    const environment = { POSTERN__SUBMISSION__CERTIFICATE_FILE: "/c.pem", POSTERN__SUBMISSION__KEY_FILE_FILE: "/path" };
    const pem = { "/c.pem": "-----BEGIN CERTIFICATE-----", "/k.pem": "-----BEGIN PRIVATE KEY-----", "/path": "/k.pem\n" };
    expect(settingsOf({ environment, files: pem }).submission).toMatchObject({ certificateFile: "/c.pem", keyFile: "/k.pem" });
  });
  test("a list and a section from a file", () => {
    const environment = { POSTERN__SUBMISSION__SENDER_DOMAINS_FILE: "/domains", POSTERN__USERS_FILE: "/users" };
    const given = { environment, files: { "/domains": "a.test\nb.test\n", "/users": "- name: a\n  password: b\n" } };
    expect(settingsOf(given).submission.senderDomains).toEqual(["a.test", "b.test"]);
    expect(settingsOf(given).users).toEqual([{ name: "a", password: "b", maySendAs: [] }]);
    expect(originOf(given, "submission.senderDomains")).toBe("env POSTERN__SUBMISSION__SENDER_DOMAINS_FILE");
  });
  test("an empty file counts as unset, so a login without its password is refused", () => {
    const environment = { RELAYHOST: "a.test", RELAYHOST_USERNAME: "u", RELAYHOST_PASSWORD_FILE: "/empty" };
    expect(faults({ environment, files })).toEqual(["RELAYHOST_USERNAME: delivery.relayhost.username: needs a password too"]);
  });
  const refused: [what: string, environment: Record<string, string>, expected: string][] = [
    [
      "X and X_FILE",
      { RELAYHOST: "a.test", RELAYHOST_USERNAME: "u", RELAYHOST_PASSWORD: "p", RELAYHOST_PASSWORD_FILE: "/secret" },
      "RELAYHOST_PASSWORD and RELAYHOST_PASSWORD_FILE are both set; keep one",
    ],
    [
      "POSTERN__X and POSTERN__X_FILE",
      { POSTERN__MAILNAME: "a.test", POSTERN__MAILNAME_FILE: "/secret" },
      "POSTERN__MAILNAME and POSTERN__MAILNAME_FILE are both set; keep one",
    ],
    ["an unreadable file", { SMTP_USERS_FILE: "/nowhere" }, "SMTP_USERS_FILE names a file that cannot be read (no such file)"],
    [
      "an unreadable file of a POSTERN__ name",
      { POSTERN__MAILNAME_FILE: "/nowhere" },
      "POSTERN__MAILNAME_FILE names a file that cannot be read (no such file)",
    ],
  ];
  for (const [what, environment, expected] of refused)
    test(`${what}: refused`, () => expect(faults({ environment, files })[0]).toContain(expected));
  test("X with an empty X_FILE is X", () =>
    expect(settingsOf({ environment: { MAILNAME: "a.test", MAILNAME_FILE: "" } }).mailname).toBe("a.test"));
});

describe("--set", () => {
  const cases: [text: string, path: Path, value: unknown][] = [
    ["tls.floor=encrypted", ["tls", "floor"], "encrypted"],
    ["submission.listeners.0.port=26", ["submission", "listeners", 0, "port"], 26],
    ["submission.listeners[0].port=26", ["submission", "listeners", 0, "port"], 26],
    ["tls.domains.example.org.floor=encrypted", ["tls", "domains"], { "example.org": { floor: "encrypted" } }],
    ['tls.domains["example.org"].floor=encrypted', ["tls", "domains"], { "example.org": { floor: "encrypted" } }],
    ["tls.domains..example.org.floor=encrypted", ["tls", "domains"], { ".example.org": { floor: "encrypted" } }],
    ["resolver.servers=192.0.2.1,192.0.2.2", ["resolver", "servers"], ["192.0.2.1", "192.0.2.2"]],
    ["mailname=a=b.test", ["mailname"], undefined],
  ];
  for (const [text, path, value] of cases) {
    if (value !== undefined) test(text, () => expect(valueAt(settingsOf({ set: [text] }), path)).toEqual(value));
    else
      test(`${text}: the value is all behind the first =`, () =>
        expect(faults({ set: [text] })).toEqual(['--set: mailname: not a domain name: "a=b.test"']));
  }
  test("a name that stands for nothing", () =>
    expect(faults({ set: ["tls.flor=x"] })).toEqual(["--set: tls.flor: there is no such setting, did you mean tls.floor?"]));
});
