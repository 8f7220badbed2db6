import { describe, expect, test } from "vitest";
import { settingsSchema } from "../../src/config/settings.ts";
import { faults, load, originOf, settingsOf } from "./support.ts";

describe("who wins", () => {
  const file = "tls:\n  floor: encrypted\nlog:\n  level: warn\n";
  const environment = { POSTERN__TLS__FLOOR: "opportunistic" };
  const set = ["tls.floor=authenticated"];

  test("without any source the defaults hold", () => {
    expect(settingsOf({})).toEqual(settingsSchema.parse({}));
    expect(originOf({}, "tls.floor")).toBe("default");
  });
  test("the file over the default", () => {
    expect(settingsOf({ file }).tls.floor).toBe("encrypted");
    expect(originOf({ file }, "tls.floor")).toBe("postern.yaml:2");
  });
  test("the environment over the file", () => {
    expect(settingsOf({ file, environment }).tls.floor).toBe("opportunistic");
    expect(originOf({ file, environment }, "tls.floor")).toBe("env POSTERN__TLS__FLOOR");
  });
  test("the command line over the environment", () => {
    expect(settingsOf({ file, environment, set: ["tls.floor=encrypted"] }).tls.floor).toBe("encrypted");
    expect(originOf({ file, environment, set }, "tls.floor")).toBe("--set");
  });
  test("the later --set over the earlier", () =>
    expect(settingsOf({ set: ["log.level=debug", "log.level=error"] }).log.level).toBe("error"));
  test("what a source leaves out stays as it was", () => {
    expect(settingsOf({ file, environment, set }).log.level).toBe("warn");
    expect(originOf({ file, environment, set }, "log.level")).toBe("postern.yaml:4");
    expect(originOf({ file, environment, set }, "log.format")).toBe("default");
  });
  test("a list is replaced as a whole", () => {
    const given = {
      file: "submission:\n  networks: [auto, 10.0.0.0/8]\n  senderDomains: [a.test]\n",
      environment: { POSTERN__SUBMISSION__NETWORKS: "auto" },
    };
    expect(settingsOf(given).submission.networks).toEqual(["auto"]);
    expect(originOf(given, "submission.networks")).toBe("env POSTERN__SUBMISSION__NETWORKS");
  });
  test("of a list that is replaced no origin stays", () => {
    const file = "submission:\n  listeners:\n    - name: a\n      port: 26\n      address: 127.0.0.1\n      login: required\n";
    const environment = { LISTEN: "127.0.0.1:25" };
    expect(originOf({ file }, "submission.listeners[0].login")).toBe("postern.yaml:6");
    expect(originOf({ file, environment }, "submission.listeners[0].login")).toBe("default");
    expect(originOf({ file, environment }, "submission.listeners[0].port")).toBe("env LISTEN");
  });
  test("one item of a list can be changed by its number, also in the default list", () => {
    const given = { set: ["submission.listeners.1.port=2600"] };
    expect(settingsOf(given).submission.listeners.map(({ port }) => port)).toEqual([2525, 2600, 2465]);
    expect(originOf(given, "submission.listeners[1].port")).toBe("--set");
    expect(originOf(given, "submission.listeners[1].name")).toBe("default");
  });
});

describe("what is wrong, and where", () => {
  const cases: [what: string, file: string, expected: string[]][] = [
    ["a key that is slightly wrong", "tls:\n  flor: encrypted\n", ['postern.yaml:2:3: tls.flor: unknown key, did you mean "floor"?']],
    ["swapped letters", "lgo:\n  level: info\n", ['postern.yaml:1:1: lgo: unknown key, did you mean "log"?']],
    [
      "another way to write a key",
      "submission:\n  limits:\n    message_size: 25M\n",
      ['postern.yaml:3:5: submission.limits.message_size: unknown key, did you mean "messageSize"?'],
    ],
    [
      "a key in the wrong section",
      "delivery:\n  messageSize: 25M\n",
      ["postern.yaml:2:3: delivery.messageSize: unknown key, did you mean submission.limits.messageSize?"],
    ],
    ["a key like no other", "log:\n  colour: red\n", ["postern.yaml:2:3: log.colour: unknown key; known here: format, level, anonymise"]],
    [
      "a key that is there twice",
      "log:\n  level: info\ntls:\n  floor: encrypted\nlog:\n  format: json\n",
      ["postern.yaml:5:1: log: log is here twice, first in line 1; keep one"],
    ],
    [
      "a key in a section that is there twice",
      "log:\n  level: info\n  level: warn\n",
      ["postern.yaml:3:3: log.level: level is here twice, first in line 2; keep one"],
    ],
    [
      "a wrong word",
      "log:\n  level: wran\n",
      ['postern.yaml:2:10: log.level: expected one of debug, info, warn, error, got "wran", did you mean warn?'],
    ],
    ["a number where text belongs", "mailname: 5\n", ["postern.yaml:1:11: mailname: expected text, got 5; put it in quotes"]],
    [
      "text where a number belongs",
      "delivery:\n  port: smtp\n",
      ['postern.yaml:2:9: delivery.port: expected a whole number from 0 to 65535, got "smtp"'],
    ],
    [
      "a number out of range",
      "delivery:\n  retry:\n    spread: 2\n",
      ["postern.yaml:3:13: delivery.retry.spread: expected a number from 0 to 0.5, got 2"],
    ],
    [
      "a number that must not be zero",
      "delivery:\n  concurrency:\n    sockets: 0\n",
      ["postern.yaml:3:14: delivery.concurrency.sockets: expected a whole number, 1 or more, got 0"],
    ],
    [
      "a word where a switch belongs",
      "log:\n  anonymise: maybe\n",
      ['postern.yaml:2:14: log.anonymise: expected true or false, got "maybe"'],
    ],
    [
      "a duration without unit",
      "resolver:\n  timeout: 5\n",
      ["postern.yaml:2:12: resolver.timeout: expected a duration like 90s, 5m, 4h or 5d, got 5"],
    ],
    [
      "a size that is none",
      "data:\n  minimumFree: much\n",
      ['postern.yaml:2:16: data.minimumFree: expected a size like 256K, 25M or a number of octets, got "much"'],
    ],
    [
      "text where a section belongs",
      "log: info\n",
      ['postern.yaml:1:6: log: expected a section with keys like format, level, anonymise, got "info"'],
    ],
    [
      "text where a list belongs",
      "resolver:\n  servers: system\n",
      ['postern.yaml:2:12: resolver.servers: expected a list, each item text, got "system"'],
    ],
    [
      "an empty list that must not be",
      "delivery:\n  retry:\n    waits: []\n",
      ["postern.yaml:3:12: delivery.retry.waits: needs at least one item"],
    ],
    [
      "a missing key",
      "submission:\n  listeners:\n    - name: a\n      port: 0\n    - port: 0\n",
      ["postern.yaml:5:7: submission.listeners[1].name: is missing: Its name in logs and in `queue why`"],
    ],
    ["an empty item of a list", "resolver:\n  servers:\n    -\n", ["postern.yaml:3:6: resolver.servers[0]: expected text, got nothing"]],
    [
      "two colons in a line",
      "mailname: a: b\n",
      ["postern.yaml:1:11: a second `: ` in one line; put a value that contains `: ` in quotes"],
    ],
    ["a tab", "log:\n\tlevel: info\n", ["postern.yaml:2:1: a tab is used as indentation; use spaces"]],
    [
      "an open quote",
      "mailname: 'a\n",
      ["postern.yaml:2:1: something is missing here or before: a closing quote or bracket, a comma, a colon"],
    ],
    [
      "an alias to nothing",
      "mailname: *name\n",
      ["postern.yaml:1:11: mailname: an * or & here; put a value that begins with one in quotes"],
    ],
    [
      "an alias that contains itself",
      "log: &log { level: *log }\n",
      [
        "postern.yaml:1:11: log.level: expected one of debug, info, warn, error, got a section",
        "postern.yaml:1:20: log.level: nested too deeply, or an alias that contains itself",
      ],
    ],
    [
      "two documents",
      "log:\n  level: info\n---\ntls:\n  floor: encrypted\n",
      ["postern.yaml:3:1: a second document begins here (---); one file holds one configuration"],
    ],
    ["a list at the top", "- log\n", ["postern.yaml:1:1: the file must consist of sections, like `log:` with `level: info` below it"]],
    ["an unknown tag", "mailname: !env NAME\n", ["postern.yaml:1:11: an unknown !tag; put a value that begins with ! in quotes"]],
  ];
  for (const [what, file, expected] of cases) test(what, () => expect(faults({ file }).sort()).toEqual(expected));

  test("all of it at once, in the order of the file, then the rest", () => {
    const file =
      "lgo: 1\nsubmission:\n  networks: [10.1.0.0/8]\n  listeners:\n    - { name: a, port: 99999 }\n    - { name: a, port: 1, address: here }\ntls:\n  floor: high\n";
    expect(faults({ file, environment: { POSTERN__LOG__LEVEL: "loud", POSTERN__LOGS: "x" }, set: ["log.form=json"] })).toEqual([
      'postern.yaml:1:1: lgo: unknown key, did you mean "log"?',
      "postern.yaml:3:14: submission.networks[0]: 10.1.0.0/8 is an address inside a network; did you mean 10.0.0.0/8?",
      "postern.yaml:5:24: submission.listeners[0].port: expected a whole number from 0 to 65535, got 99999",
      "postern.yaml:6:15: submission.listeners[1].name: submission.listeners[0] has the same name",
      'postern.yaml:6:36: submission.listeners[1].address: not an address: "here"',
      'postern.yaml:8:10: tls.floor: expected one of authenticated, encrypted, opportunistic, got "high"',
      "POSTERN__LOGS: there is no such setting, did you mean POSTERN__LOG?",
      "--set: log.form: there is no such setting, did you mean log.format?",
      'POSTERN__LOG__LEVEL: log.level: expected one of debug, info, warn, error, got "loud"',
    ]);
  });
  test("a fault hides no other, and makes none up", () => {
    // The sender domains are faulty, so nobody says that they are missing.
    const file = "submission:\n  networks: [10.0.0.0/8]\n  senderDomains: 5\n  listeners: [{ name: a, port: 25 }]\n";
    expect(faults({ file })).toEqual(["postern.yaml:3:18: submission.senderDomains: expected a list, each item text, got 5"]);
  });
  test("a file that is no YAML says nothing about the rest, but the environment is still read", () => {
    expect(
      faults({ file: "a: b: c\n", environment: { POSTERN__X: "1", RELAYHOST_USERNAME: "u", LISTEN: "25", MYNETWORKS: "10.0.0.0/8" } }),
    ).toEqual([
      "postern.yaml:1:4: a second `: ` in one line; put a value that contains `: ` in quotes",
      "POSTERN__X: there is no such setting",
    ]);
  });
  test("an error carries file, line, column and path for programs", () => {
    expect(load({ file: "log:\n  level: x\n" })).toEqual({
      ok: false,
      errors: [
        { path: "log.level", message: 'expected one of debug, info, warn, error, got "x"', file: "postern.yaml", line: 2, column: 10 },
      ],
    });
  });
});

describe("what is not wrong", () => {
  const fine: [what: string, file: string][] = [
    ["an empty file", ""],
    ["comments alone", "# nothing\n"],
    ["a section whose keys are all commented out", "log:\n  # level: info\ntls:\n"],
    ["a byte order mark", "\ufefflog:\n  level: info\n"],
    ["`off` is a word", "delivery:\n  ipv6: off\n"],
    ["an anchor and its alias", "tls:\n  domains:\n    a.test: &low { floor: encrypted }\n    b.test: *low\n"],
    ["a key named like something every object has", "tls:\n  domains:\n    constructor: { floor: encrypted }\n"],
  ];
  for (const [what, file] of fine) test(what, () => expect(faults({ file })).toEqual([]));
});
