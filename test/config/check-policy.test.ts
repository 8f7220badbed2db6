/** Settings around published policy: what cannot be meant, and what is worth a word. */
import { describe, expect, test } from "vitest";
import { faults, notesOf, settingsOf } from "./support.ts";

const PEM = { "/c.pem": "-----BEGIN CERTIFICATE-----\n", "/text": "hello" };
const ASKED = "none of resolver.servers is believed about DNSSEC";
const FIX = "use managed or tls://, or list those that validate in resolver.validating";

test("the defaults: what is published is enforced, a certificate is asked of everybody, any host that DNS names will do", () => {
  expect(settingsOf({}).tls).toMatchObject({ published: "enforce", floor: "authenticated", host: "any", honourTlsOptional: [] });
  expect(faults({})).toEqual([]);
});

describe("faults", () => {
  const cases: [file: string, expected: string[]][] = [
    [
      "tls:\n  domains:\n    a.test: {}\n    b.test: { host: proven }\n    c.test: { published: off }\n    d.test: { floor: encrypted }\n",
      ['postern.yaml:3:13: tls.domains["a.test"]: says nothing about this domain: set floor, host or published'],
    ],
    [
      "tls:\n  published: testing\n  host: dane\n",
      [
        'postern.yaml:2:14: tls.published: expected one of enforce, report, off, got "testing"',
        'postern.yaml:3:9: tls.host: expected one of any, proven, dnssec, got "dane"',
      ],
    ],
    ["tls:\n  daneDigests: [sha256, sha512, sha256]\n", ["postern.yaml:2:33: tls.daneDigests[2]: sha256 is named already"]],
    ["tls:\n  daneDigests: []\n", ["postern.yaml:2:16: tls.daneDigests: needs at least one item"]],
    ["tls:\n  honourTlsOptional: [app, jo@a.test, 10.0.0.0/8, 'fd00::/8', 192.0.2.1/32]\n", []],
    [
      "tls:\n  honourTlsOptional: [10.1.2.3/8, 192.0.2.1, 10.0.0, '*', ' ']\n",
      [
        "postern.yaml:2:23: tls.honourTlsOptional[0]: 10.1.2.3/8 is an address inside a network; did you mean 10.0.0.0/8?",
        "postern.yaml:2:35: tls.honourTlsOptional[1]: write 192.0.2.1/32 for this one address",
        'postern.yaml:2:46: tls.honourTlsOptional[2]: not a network: "10.0.0", expected one like 10.0.0.0/8 or fd00::/8',
        'postern.yaml:2:54: tls.honourTlsOptional[3]: "*" is nobody here: name users, or networks like 10.0.0.0/8 (0.0.0.0/0 and ::/0 are everybody)',
        "postern.yaml:2:59: tls.honourTlsOptional[4]: must be a user's name or a network",
      ],
    ],
    ["tls:\n  mtaSts: { roots: /c.pem }\n", []],
    ["tls:\n  mtaSts: { roots: /nowhere }\n", ['postern.yaml:2:20: tls.mtaSts.roots: cannot read "/nowhere" (no such file)']],
    ["tls:\n  mtaSts: { roots: /text }\n", ['postern.yaml:2:20: tls.mtaSts.roots: no certificate in PEM form in "/text"']],
    [
      "tls:\n  mtaSts: { policySize: 64 }\n",
      ["postern.yaml:2:25: tls.mtaSts.policySize: no policy fits into 64 octets; did you mean 64K?"],
    ],
    ["tls:\n  mtaSts: { policySize: 1G }\n", ["postern.yaml:2:25: tls.mtaSts.policySize: must not be more than 1M"]],
    [
      "tls:\n  mtaSts: { fetchTimeout: 11m }\n",
      ["postern.yaml:2:27: tls.mtaSts.fetchTimeout: must not be longer than 10m, since mail to the domain waits for it"],
    ],
    ["tls:\n  mtaSts: { fetchTimeout: 0s }\n", ["postern.yaml:2:27: tls.mtaSts.fetchTimeout: must be longer than nothing"]],
    [
      "tls:\n  mtaSts: { retryAfter: 2h, refreshEvery: 1h }\n",
      ["postern.yaml:2:43: tls.mtaSts.refreshEvery: is shorter than tls.mtaSts.retryAfter (2h)"],
    ],
    [
      "tls:\n  mtaSts: { refreshUnused: 12h }\n",
      ["postern.yaml:2:28: tls.mtaSts.refreshUnused: is shorter than tls.mtaSts.refreshEvery (1d), so no policy would ever be refreshed"],
    ],
    ["tls:\n  mtaSts: { refreshUnused: 90d }\n", []],
  ];
  for (const [file, expected] of cases) test(file.replaceAll("\n", " "), () => expect(faults({ file, files: PEM })).toEqual(expected));
});

describe("remarks", () => {
  const cases: [file: string, note: string | undefined][] = [
    [
      "tls:\n  honourTlsOptional: [0.0.0.0/0]\n",
      "tls.honourTlsOptional[0]: anybody's TLS-Required: No lets a message go in clear, whatever the floor",
    ],
    ["tls:\n  mtaSts: { retryAfter: 1m }\n", "tls.mtaSts.retryAfter: RFC 8461 §3.3 asks for 5m or longer, to spare hosts in trouble"],
    [
      "tls:\n  mtaSts: { fetchTimeout: 2s }\n",
      "tls.mtaSts.fetchTimeout: RFC 8461 §3.3 suggests 1m; domains whose policy host is slower than this count as without",
    ],
    [
      "tls:\n  mtaSts: { policySize: 8K }\n",
      "tls.mtaSts.policySize: policies up to 64K are usual (RFC 8461 §3.3); domains with a larger one than this count as without",
    ],
    ["tls:\n  mtaSts: { policySize: 128K, fetchTimeout: 30s, retryAfter: 10m }\n", undefined],
  ];
  for (const [file, note] of cases)
    test(file.replaceAll("\n", " "), () => expect(notesOf({ file })).toEqual(note === undefined ? [] : [note]));
});

describe("a floor that only DNSSEC can meet needs a resolver that is believed about it", () => {
  const resolvers: [servers: string, believed: boolean][] = [
    ["[managed]", true],
    ["['tls://dns.test']", true],
    ["['192.0.2.1', 'tls://dns.test']", true],
    ["[system]", false],
    ["['127.0.0.1']", false],
    ["['192.0.2.1']", false],
    ["[system], validating: ['127.0.0.1']", true],
    ["['127.0.0.1'], validating: ['127.0.0.1']", true],
  ];
  for (const [servers, believed] of resolvers) {
    const resolver = `resolver: { servers: ${servers} }\n`;
    test(`dnssec with ${servers} is ${believed ? "taken" : "refused"}`, () => {
      const fault = `mail for MX hosts would wait for ever, for ${ASKED}: ${FIX}`;
      expect(faults({ file: `tls: { host: dnssec }\n${resolver}` })).toEqual(believed ? [] : [`postern.yaml:1:14: tls.host: ${fault}`]);
    });
    test(`dnssec of one domain with ${servers} is ${believed ? "taken" : "refused"}`, () => {
      const fault = `mail for a.test would wait for ever, for ${ASKED}: ${FIX}`;
      expect(faults({ file: `tls: { domains: { a.test: { host: dnssec } } }\n${resolver}` })).toEqual(
        believed ? [] : [`postern.yaml:1:35: tls.domains["a.test"].host: ${fault}`],
      );
    });
    test(`proven with ${servers} ${believed ? "is no remark" : "can come by MTA-STS only"}`, () => {
      const notes = notesOf({ file: `tls: { host: proven }\n${resolver}` }).filter((line) => line.startsWith("tls."));
      expect(notes).toEqual(believed ? [] : [`tls.host: only MTA-STS can prove a host, for ${ASKED}; other mail waits: ${FIX}`]);
    });
  }
  test("with a relay host for all mail no MX is asked, so nothing has to wait", () => {
    const file = "tls: { host: dnssec }\nresolver: { servers: [system] }\n";
    expect(faults({ file: `${file}delivery: { relayhost: { host: a.test } }\n` })).toEqual([]);
    expect(faults({ file: `${file}delivery: { routes: [{ domains: ['*'], host: a.test }] }\n` })).toEqual([]);
    expect(faults({ file: `${file}delivery: { routes: [{ domains: [b.test], host: a.test }] }\n` })).toHaveLength(1);
  });
});
