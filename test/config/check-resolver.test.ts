/** Which resolvers are asked and believed, and what the managed one is told. */
import { describe, expect, test } from "vitest";
import { faults, notesOf, settingsOf } from "./support.ts";

const FILES = {
  "/c.pem": "-----BEGIN CERTIFICATE-----\n",
  "/root.key": ". IN DNSKEY 257 3 8 AwEAAQ==\n",
  "/root.ds": ".\t3600\tIN\tDS\t20326 8 2 E06D\n",
  "/root.hints": "a.root.test. 3600000 A 192.0.2.4\n",
  "/text": "hello\n",
};
const at = (line: string) => `resolver:\n  ${line}\n`;

test("by default Postern starts a resolver of its own, and tests it", () => {
  expect(settingsOf({}).resolver).toMatchObject({ servers: ["managed"], validating: [], selfTest: { signed: ".", every: 3_600_000 } });
});

describe("faults", () => {
  const cases: [line: string, expected: string[]][] = [
    ["servers: [managed]", []],
    ["servers: [system, '127.0.0.1:5353', 'tls://dns.test', 'tls://192.0.2.1#dns.test', 'tls://[2001:db8::1]:8853#dns.test']", []],
    ["servers: []", ["2:12: resolver.servers: needs at least one server: managed, system, an address or tls://name"]],
    [
      "servers: [managed, '192.0.2.1']",
      ["2:13: resolver.servers[0]: managed stands alone; servers that it is to ask belong in resolver.managed.forwarders"],
    ],
    ["servers: [manged]", ['2:13: resolver.servers[0]: not an address of a DNS server: "manged", did you mean managed?']],
    ["servers: [sytem]", ['2:13: resolver.servers[0]: not an address of a DNS server: "sytem", did you mean system?']],
    ["servers: [dns.test]", ['2:13: resolver.servers[0]: not an address of a DNS server: "dns.test"']],
    [
      "servers: ['tls://']",
      [
        '2:13: resolver.servers[0]: not a resolver for DNS over TLS: "tls://"; expected tls://dns.example, tls://192.0.2.53 or tls://192.0.2.53#dns.example',
      ],
    ],
    ["roots: /c.pem", []],
    ["roots: bundeld", ["2:10: resolver.roots: expected bundled, system or the path of a PEM file, did you mean bundled?"]],
    ["roots: /nowhere", ['2:10: resolver.roots: cannot read "/nowhere" (no such file)']],
    ["managed: { program: ' ' }", ["2:23: resolver.managed.program: must name a program"]],
    ["managed: { trustAnchorFile: /root.key, rootHints: /root.hints }", []],
    ["managed: { trustAnchorFile: /root.ds }", []],
    ["managed: { trustAnchorFile: /text }", ['2:31: resolver.managed.trustAnchorFile: no DS or DNSKEY record in "/text"']],
    [
      "managed: { trustAnchorFile: /nowhere, rootHints: /text }",
      [
        '2:31: resolver.managed.trustAnchorFile: cannot read "/nowhere" (no such file)',
        '2:52: resolver.managed.rootHints: no address of a root server in "/text"',
      ],
    ],
    ["managed: { forwarders: ['192.0.2.1', '192.0.2.1@5353', '192.0.2.1:5353', '2001:db8::1@53'] }", []],
    ["managed: { forwarders: ['tls://192.0.2.1#dns.test'] }", []],
    [
      "managed: { forwarders: [dns.test, '192.0.2.1@70000'] }",
      [
        '2:27: resolver.managed.forwarders[0]: not the address of a name server: "dns.test"; expected 192.0.2.53 or 192.0.2.53@5353',
        '2:37: resolver.managed.forwarders[1]: not the address of a name server: "192.0.2.1@70000"; expected 192.0.2.53 or 192.0.2.53@5353',
      ],
    ],
    [
      "managed: { forwarders: ['tls://dns.test'] }",
      [
        '2:27: resolver.managed.forwarders[0]: "tls://dns.test" needs both an address and the name in its certificate, as in tls://192.0.2.53#dns.example',
      ],
    ],
    [
      "managed: { forwarders: ['tls://192.0.2.1#dns.test', '192.0.2.2'] }",
      ["2:26: resolver.managed.forwarders: either all of them are tls:// or none: unbound asks them as one group"],
    ],
    ["managed: { stubZones: [{ zone: _x.a.test, servers: ['10.0.0.1@5353'] }, { zone: ., servers: ['10.0.0.1'] }] }", []],
    [
      "managed: { stubZones: [{ zone: 'a b', servers: [ns.test] }] }",
      [
        '2:34: resolver.managed.stubZones[0].zone: not the name of a zone: "a b"',
        '2:51: resolver.managed.stubZones[0].servers[0]: not the address of a name server: "ns.test"; expected 192.0.2.53 or 192.0.2.53@5353',
      ],
    ],
    ["managed: { insecureZones: [corp.test], localNames: [test., 10.in-addr.arpa.] }", []],
    [
      "managed: { insecureZones: [.], localNames: ['*.test'] }",
      [
        "2:30: resolver.managed.insecureZones[0]: nothing would be validated below the root; name the private zones",
        '2:47: resolver.managed.localNames[0]: not the name of a zone: "*.test"',
      ],
    ],
    ["selfTest: { signed: a.test, broken: [b.test] }", []],
    [
      "selfTest: { signed: 'a b', broken: [., b.test], every: 0s }",
      [
        '2:23: resolver.selfTest.signed: not a domain name: "a b"',
        '2:39: resolver.selfTest.broken[0]: not a domain name: "."',
        "2:58: resolver.selfTest.every: must be longer than nothing",
      ],
    ],
  ];
  for (const [line, expected] of cases)
    test(line, () => expect(faults({ file: at(line), files: FILES })).toEqual(expected.map((fault) => `postern.yaml:${fault}`)));
  test("all of them at once, whatever their section", () => {
    const file = "tls: { domains: { a.test: {} } }\nresolver: { servers: [x y], validating: [system], managed: { forwarders: [z] } }\n";
    expect(faults({ file })).toHaveLength(4);
  });
});

describe("whose AD bit is believed", () => {
  const cases: [servers: string, validating: string, fault: string | undefined, note?: RegExp][] = [
    ["'127.0.0.1'", "'127.0.0.1'", undefined],
    ["'127.0.0.1:5353'", "'127.0.0.1:5353'", undefined],
    ["'[::1]:53'", "'::1'", undefined],
    ["system", "'127.0.0.1'", undefined],
    ["'127.0.0.1:5353'", "'127.0.0.1'", '"127.0.0.1" is not among resolver.servers, so it is never asked'],
    ["'127.0.0.1'", "system", "name the addresses that validate: system is whatever /etc/resolv.conf says at the time"],
    ["managed", "managed", '"managed" need not be listed: its word about DNSSEC is believed anyway'],
    ["'tls://dns.test'", "'tls://dns.test'", '"tls://dns.test" need not be listed: its word about DNSSEC is believed anyway'],
    ["system", "dns.test", 'not an address of a DNS server: "dns.test"'],
    // Forwarders pass on the AD bit of whoever they asked, by whatever way (RFC 7672 §2.1.1).
    ["system", "127.0.0.11", undefined, /^resolver\.validating\[0\]: 127\.0\.0\.11 is usually Docker's forwarder/],
    ["'127.0.0.53'", "127.0.0.53", undefined, /^resolver\.validating\[0\]: 127\.0\.0\.53 is usually systemd's forwarder/],
    ["'192.0.2.1'", "192.0.2.1", undefined, /192\.0\.2\.1 is another machine: whoever can write to the network in between can forge/],
    ["managed", "127.0.0.1", undefined, /^resolver\.validating\[0\]: is not asked while resolver\.servers is managed/],
  ];
  for (const [servers, validating, fault, note] of cases) {
    test(`${validating} of ${servers}`, () => {
      const file = at(`servers: [${servers}]\n  validating: [${validating}]`);
      expect(faults({ file })).toEqual(fault === undefined ? [] : [`postern.yaml:3:16: resolver.validating[0]: ${fault}`]);
      if (fault !== undefined) return;
      const notes = notesOf({ file });
      expect(notes).toHaveLength(note === undefined ? 0 : 1);
      if (note !== undefined) expect(notes[0]).toMatch(note);
    });
  }
});

test("a managed resolver that is not started is remarked upon where it is told something", () => {
  expect(notesOf({ file: at("servers: [system]\n  managed: { insecureZones: [corp.test] }") })).toEqual([
    "resolver.managed: is not used, for resolver.servers is not managed",
  ]);
  expect(notesOf({ file: at("servers: [system]") })).toEqual([]);
});

test("a self-test without names that must fail is remarked upon", () => {
  expect(notesOf({ file: at("selfTest: { broken: [] }") })).toEqual([
    "resolver.selfTest.broken: without names that must fail, a resolver that claims to validate is not found out",
  ]);
});
