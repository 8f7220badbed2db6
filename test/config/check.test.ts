import { describe, expect, test } from "vitest";
import { networkFault } from "../../src/config/check-networks.ts";
import { CONTAINER, faults, notesOf } from "./support.ts";

const PEM = { "/c.pem": "-----BEGIN CERTIFICATE-----\n", "/k.pem": "-----BEGIN EC PRIVATE KEY-----\n", "/text": "hello" };

describe("networks", () => {
  const cases: [text: string, fault: string | undefined][] = [
    ["10.0.0.0/8", undefined],
    ["192.0.2.1/32", undefined],
    ["0.0.0.0/0", undefined],
    ["fd00::/8", undefined],
    ["2001:DB8::/32", undefined],
    ["::1/128", undefined],
    ["10.1.2.3/8", "10.1.2.3/8 is an address inside a network; did you mean 10.0.0.0/8?"],
    ["fd00::1/64", "fd00::1/64 is an address inside a network; did you mean fd00::/64?"],
    ["192.0.2.1", "write 192.0.2.1/32 for this one address"],
    ["::1", "write ::1/128 for this one address"],
    ["10.0.0.0/33", "the part behind the slash must be a number from 0 to 32"],
    ["10.0.0.0/", "the part behind the slash must be a number from 0 to 32"],
    ["fd00::/129", "the part behind the slash must be a number from 0 to 128"],
    ["10.0.0/8", 'not a network: "10.0.0/8", expected one like 10.0.0.0/8 or fd00::/8'],
    ["fe80::%eth0/64", 'not a network: "fe80::%eth0/64", expected one like 10.0.0.0/8 or fd00::/8'],
    ["example.com", 'not a network: "example.com", expected one like 10.0.0.0/8 or fd00::/8'],
    ["hash:/etc/networks", 'not a network: "hash:/etc/networks", expected one like 10.0.0.0/8 or fd00::/8'],
  ];
  for (const [text, fault] of cases) test(text, () => expect(networkFault(text)).toBe(fault));
});

describe("a sender-domain list is asked for when more than loopback may relay without login", () => {
  const listeners = (...of: string[]) => `submission:\n  listeners: [${of.join(", ")}]\n`;
  const open = "{ name: a, port: 25 }";
  const asked = (given: Parameters<typeof faults>[0]) =>
    faults({ machine: CONTAINER, files: PEM, ...given }).some((line) => line.includes("the sender domains must be named"));
  const cases: [what: string, given: Parameters<typeof faults>[0], asked: boolean][] = [
    ["auto in a container", { file: listeners(open) }, true],
    ["auto elsewhere", { file: listeners(open), machine: { autoNetworks: ["127.0.0.0/8", "::1/128"], hasIpv6: true } }, false],
    ["the defaults in a container: they listen on loopback", {}, false],
    [
      "listeners on loopback",
      { file: listeners("{ name: a, port: 25, address: 127.0.0.1 }", '{ name: b, port: 25, address: "::1" }') },
      false,
    ],
    ["a login required", { file: listeners("{ name: a, port: 587, login: required }") }, false],
    ["a login required here, but not there", { file: listeners("{ name: a, port: 587, login: required }", open) }, true],
    [
      "a login required, but any will do",
      { file: `${listeners("{ name: a, port: 587, login: required }")}  login: { acceptAnyFromNetworks: true }\n` },
      true,
    ],
    ["sender domains named", { file: `${listeners(open)}  senderDomains: [a.test]\n` }, false],
    ["any sender domain meant", { file: `${listeners(open)}  allowAnySenderDomain: true\n` }, false],
    ["loopback networks only", { file: `${listeners(open)}  networks: [127.0.0.0/8, ::1/128]\n` }, false],
    ["no network at all", { file: `${listeners(open)}  networks: []\n` }, false],
    ["a private network", { file: `${listeners(open)}  networks: [10.0.0.0/8]\n` }, true],
    ["a network that is more than loopback", { file: `${listeners(open)}  networks: [126.0.0.0/7]\n` }, true],
  ];
  for (const [what, given, expected] of cases) test(what, () => expect(asked(given)).toBe(expected));
  test("the text says which network, and what to do", () => {
    expect(faults({ environment: { LISTEN: "25" }, machine: CONTAINER })).toEqual([
      "LISTEN: submission.senderDomains: 172.20.0.0/16 may relay without login, so the sender domains must be named (ALLOWED_SENDER_DOMAINS), or submission.allowAnySenderDomain set, or the listeners set to login: required",
    ]);
  });
});

describe("faults that only the whole shows", () => {
  const cases: [file: string, expected: string[]][] = [
    ["mailname: relay\n", ["postern.yaml:1:11: mailname: must be a full name with a dot, as others look it up"]],
    ["mailname: a_b.test\n", ['postern.yaml:1:11: mailname: not a domain name: "a_b.test"']],
    ["mailname: münchen.test\n", []],
    [
      "submission:\n  senderDomains: [a.test, .b.test, '*.c.test']\n",
      ["postern.yaml:2:36: submission.senderDomains[2]: write .c.test for the subdomains of a domain"],
    ],
    [
      "submission:\n  recipientDomains: ['a b.test']\n",
      ['postern.yaml:2:22: submission.recipientDomains[0]: not a domain name: "a b.test"'],
    ],
    [
      "tls:\n  domains:\n    .a.test: { floor: encrypted }\n    -b.test: { floor: encrypted }\n    '[192.0.2.1]': { floor: encrypted }\n    '[c.test]': { floor: encrypted }\n",
      [
        'postern.yaml:4:14: tls.domains["-b.test"]: not a domain name: "-b.test"',
        'postern.yaml:6:17: tls.domains["[c.test]"]: not a domain name: "[c.test]"',
      ],
    ],
    ["submission:\n  postmaster: admin\n", ['postern.yaml:2:15: submission.postmaster: not an address: "admin"']],
    [
      "users:\n  - { name: a, password: bbbbb }\n  - { name: a, password: ccccc }\n",
      ["postern.yaml:3:13: users[1].name: users[0] has the same name"],
    ],
    [
      "users:\n  - { name: a, password: bbbbb, maySendAs: ['a@b.test', '@b.test', '@.b.test', 'b.test'] }\n",
      ['postern.yaml:2:80: users[0].maySendAs[3]: expected an address, @domain or @.domain: "b.test"'],
    ],
    [
      "delivery:\n  allowedAddresses: [10.0.0.1]\n",
      ["postern.yaml:2:22: delivery.allowedAddresses[0]: write 10.0.0.1/32 for this one address"],
    ],
    [
      "delivery:\n  sourceAddress4: '::1'\n  sourceAddress6: 192.0.2.1\n",
      [
        "postern.yaml:2:19: delivery.sourceAddress4: not an IPv4 address",
        "postern.yaml:3:19: delivery.sourceAddress6: not an IPv6 address",
      ],
    ],
    ["delivery:\n  ipv4: false\n  ipv6: off\n", ["postern.yaml:2:9: delivery.ipv4: with IPv4 and IPv6 both off no host can be reached"]],
    ["resolver:\n  servers: [system, 192.0.2.1, '192.0.2.1:5353', '[2001:db8::1]:53', '2001:db8::1']\n", []],
    ["resolver:\n  servers: [dns.test]\n", ['postern.yaml:2:13: resolver.servers[0]: not an address of a DNS server: "dns.test"']],
    [
      "resolver:\n  servers: ['192.0.2.1:70000']\n",
      ['postern.yaml:2:13: resolver.servers[0]: not an address of a DNS server: "192.0.2.1:70000"'],
    ],
    [
      "resolver:\n  servers: []\n",
      ["postern.yaml:2:12: resolver.servers: needs at least one server: managed, system, an address or tls://name"],
    ],
    [
      "submission:\n  listeners: [{ name: a, port: 1, address: 127.0.0.1 }, { name: b, port: 1, address: 127.0.0.1 }]\n",
      ["postern.yaml:2:74: submission.listeners[1].port: 127.0.0.1 port 1 is taken by submission.listeners[0]"],
    ],
    [
      "submission:\n  listeners: [{ name: a, port: 1 }, { name: b, port: 1, address: 127.0.0.1 }]\n",
      ["postern.yaml:2:54: submission.listeners[1].port: 127.0.0.1 port 1 is taken by submission.listeners[0]"],
    ],
    [
      "submission:\n  listeners: [{ name: a, port: 0 }, { name: b, port: 0 }, { name: c, port: 1, address: '::1' }, { name: d, port: 1 }]\n",
      [],
    ],
    ["submission:\n  certificateFile: /c.pem\n", ["postern.yaml:2:20: submission.certificateFile: needs submission.keyFile too"]],
    ["submission:\n  keyFile: /k.pem\n", ["postern.yaml:2:12: submission.keyFile: needs submission.certificateFile too"]],
    [
      "submission:\n  certificateFile: /c.pem\n  keyFile: /nowhere.pem\n",
      ['postern.yaml:3:12: submission.keyFile: cannot read "/nowhere.pem" (no such file)'],
    ],
    [
      "submission:\n  certificateFile: /k.pem\n  keyFile: /c.pem\n",
      [
        'postern.yaml:2:20: submission.certificateFile: no certificate in PEM form in "/k.pem"',
        'postern.yaml:3:12: submission.keyFile: no private key in PEM form in "/c.pem"',
      ],
    ],
    ["tls:\n  roots: systen\n", ["postern.yaml:2:10: tls.roots: expected bundled, system or the path of a PEM file, did you mean system?"]],
    ["tls:\n  roots: /nowhere.pem\n", ['postern.yaml:2:10: tls.roots: cannot read "/nowhere.pem" (no such file)']],
    ["tls:\n  roots: /text\n", ['postern.yaml:2:10: tls.roots: no certificate in PEM form in "/text"']],
    ["tls:\n  roots: /c.pem\n", []],
    ["delivery:\n  relayhost: { host: 'a b' }\n", ['postern.yaml:2:22: delivery.relayhost.host: not a host name or address: "a b"']],
    ["delivery:\n  relayhost: { host: mailpit, tls: none }\n", []],
    ["delivery:\n  relayhost: { host: a.test, port: 0 }\n", ["postern.yaml:2:36: delivery.relayhost.port: 0 is no port to connect to"]],
    [
      "delivery:\n  relayhost: { host: a.test, rootsFile: /nowhere }\n",
      ['postern.yaml:2:41: delivery.relayhost.rootsFile: cannot read "/nowhere" (no such file)'],
    ],
    ["delivery:\n  relayhost: { host: a.test, username: u }\n", ["postern.yaml:2:40: delivery.relayhost.username: needs a password too"]],
    [
      "delivery:\n  relayhost: { host: a.test, password: pppppp }\n",
      ["postern.yaml:2:40: delivery.relayhost.password: needs a username too"],
    ],
    [
      "delivery:\n  routes: [{ domains: [a.test], host: a.test }, { domains: [b.test, A.test], host: a.test }]\n",
      ['postern.yaml:2:69: delivery.routes[1].domains[1]: "A.test" is in delivery.routes[0] already'],
    ],
    [
      "delivery:\n  routes: [{ domains: ['*', .a.test, a..test], host: a.test }]\n",
      ['postern.yaml:2:38: delivery.routes[0].domains[2]: not a domain name: "a..test"'],
    ],
    ["delivery:\n  timeouts: { connect: 0s }\n", ["postern.yaml:2:24: delivery.timeouts.connect: must be longer than nothing"]],
    ["delivery:\n  timeouts: { finalDot: 25d }\n", ["postern.yaml:2:25: delivery.timeouts.finalDot: must not be longer than 24d"]],
    [
      "delivery:\n  retry: { waits: [5m, 5h] }\n",
      ["postern.yaml:2:24: delivery.retry.waits[1]: is longer than delivery.retry.longest (4h)"],
    ],
    ["delivery:\n  retry: { giveUpAfter: 1m }\n", ["postern.yaml:2:25: delivery.retry.giveUpAfter: is over before the first retry (5m)"]],
    ["delivery:\n  retry: { giveUpAfter: 30d }\n", []],
    [
      "submission:\n  limits: { idle: 1h, session: 30m }\n",
      ["postern.yaml:2:32: submission.limits.session: is shorter than submission.limits.idle (1h)"],
    ],
    [
      "submission:\n  limits: { messageSize: 100K }\n",
      ["postern.yaml:2:26: submission.limits.headerSize: is more than a whole message may have (submission.limits.messageSize)"],
    ],
    [
      "data:\n  minimumFree: 10M\n",
      ["postern.yaml:2:16: data.settlementReserve: is more than data.minimumFree, so delivery would stop before mail is refused"],
    ],
  ];
  for (const [file, expected] of cases) test(file.replaceAll("\n", " "), () => expect(faults({ file, files: PEM })).toEqual(expected));
});

describe("a login needs a server that has proven who it is", () => {
  for (const [tls, refused] of [
    ["authenticated", false],
    ["implicit", false],
    ["encrypted", true],
    ["opportunistic", true],
    ["none", true],
  ] as const) {
    for (const [where, file] of [
      ["relayhost", `delivery:\n  relayhost: { host: a.test, username: u, password: pppppp, tls: ${tls} }\n`],
      ["a route", `delivery:\n  routes: [{ domains: [b.test], host: a.test, username: u, password: pppppp, tls: ${tls} }]\n`],
    ] as const) {
      test(`${where} with tls: ${tls} and a login is ${refused ? "refused" : "taken"}`, () => {
        expect(faults({ file }).some((line) => line.includes("the password could be given to anybody"))).toBe(refused);
        expect(faults({ file }).length).toBe(refused ? 1 : 0);
      });
    }
  }
});

describe("remarks", () => {
  const cases: [file: string, note: string | undefined][] = [
    [
      "submission:\n  listeners: [{ name: a, port: 1, tls: require }]\n",
      "submission.listeners[0]: listener a is not opened: it needs a certificate (submission.certificateFile)",
    ],
    [
      "submission:\n  listeners: [{ name: a, port: 1, tls: implicit }]\n",
      "submission.listeners[0]: listener a is not opened: it needs a certificate (submission.certificateFile)",
    ],
    [
      "submission:\n  listeners: [{ name: a, port: 1, login: required }]\n",
      "submission.listeners[0]: nobody can use listener a: it asks for a login, and login needs TLS",
    ],
    [
      "submission:\n  certificateFile: /c.pem\n  keyFile: /k.pem\n  listeners: [{ name: a, port: 1, tls: implicit, login: required }]\n",
      undefined,
    ],
    [
      "submission:\n  senderDomains: [a.test]\n  networks: [0.0.0.0/0]\n",
      "submission.networks[0]: everybody who can connect may relay without login",
    ],
    [
      "delivery:\n  relayhost: { host: 192.0.2.1 }\n",
      "delivery.relayhost.host: mail for it will wait, for no certificate can be compared with an address: set tlsName to the name in its certificate, or lower tls",
    ],
    ["delivery:\n  relayhost: { host: 192.0.2.1, tlsName: a.test }\n", undefined],
  ];
  for (const [file, note] of cases) {
    test(file.replaceAll("\n", " "), () => {
      const notes = notesOf({ file, files: PEM }).filter((line) => !line.includes("submissions"));
      expect(notes).toEqual(note === undefined ? [] : [note]);
    });
  }
});
