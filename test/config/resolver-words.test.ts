/** What the words of the section `resolver` mean; the sentences about those that mean nothing are in check-resolver.test.ts. */
import { describe, expect, test } from "vitest";
import { formatPath } from "../../src/config/keys.ts";
import { readResolverWords } from "../../src/config/resolver-words.ts";
import { type Settings, settingsSchema } from "../../src/config/settings.ts";

type Managed = Partial<Settings["resolver"]["managed"]>;

function read(section: object): { words: ReturnType<typeof readResolverWords>["words"]; faults: string[] } {
  const { words, faults } = readResolverWords(settingsSchema.parse({ resolver: section }).resolver);
  return { words, faults: faults.map(({ path }) => formatPath(path)) };
}

describe("a zone", () => {
  const cases: [text: string, zone: string | undefined][] = [
    ["corp.internal", "corp.internal."],
    ["Corp.Internal.", "corp.internal."],
    ["10.in-addr.arpa.", "10.in-addr.arpa."],
    ["test", "test."],
    ["_msdcs.corp.test", "_msdcs.corp.test."],
    ["x_.example", "x_.example."],
    // As people write it (RFC 5890 §2.3.2.1), also beside a label that IDNA knows nothing of.
    ["münchen.example", "xn--mnchen-3ya.example."],
    ["MÜNCHEN.example.", "xn--mnchen-3ya.example."],
    ["_msdcs.münchen.example", "_msdcs.xn--mnchen-3ya.example."],
    ["a".repeat(63), `${"a".repeat(63)}.`],
    ["a".repeat(64), undefined],
    ["ü".repeat(64), undefined],
    [Array.from({ length: 5 }, () => "a".repeat(60)).join("."), undefined],
    ["192.0.2.1", undefined],
    ["*.test", undefined],
    ["a..test", undefined],
    ["a\u3002b", undefined],
    ["a/b", undefined],
    ["", undefined],
    ["..", undefined],
  ];
  for (const [text, zone] of cases)
    for (const setting of ["insecureZones", "localNames"] as const)
      test(`${JSON.stringify(text.slice(0, 30))} in ${setting} is ${zone === undefined ? "none" : JSON.stringify(zone.slice(0, 30))}`, () => {
        const { words, faults } = read({ managed: { [setting]: [text] } });
        expect(words.managed[setting]).toEqual(zone === undefined ? [] : [zone]);
        expect(faults).toEqual(zone === undefined ? [`resolver.managed.${setting}[0]`] : []);
      });
  test("of its own servers is named likewise; the root may be one, and special, but not excused from proof", () => {
    const { words } = read({ managed: { stubZones: [{ zone: "münchen.example", servers: ["192.0.2.1"] }], localNames: ["."] } });
    expect(words.managed.stubZones).toEqual([{ zone: "xn--mnchen-3ya.example.", servers: [{ address: "192.0.2.1", port: 53 }] }]);
    expect(words.managed.localNames).toEqual(["."]);
    expect(read({ managed: { insecureZones: ["."] } }).faults).toEqual(["resolver.managed.insecureZones[0]"]);
  });
});

describe("a name server", () => {
  const cases: [text: string, address: string, port: number][] = [
    ["192.0.2.1", "192.0.2.1", 53],
    ["192.0.2.1@5353", "192.0.2.1", 5353],
    ["192.0.2.1:5353", "192.0.2.1", 5353],
    ["2001:DB8:0::1@53", "2001:db8::1", 53],
    ["[2001:db8::1]:5353", "2001:db8::1", 5353],
    ["fe80::1%eth0@5353", "fe80::1%eth0", 5353],
  ];
  for (const [text, address, port] of cases)
    test(`${text} is ${address} port ${port}`, () =>
      expect(read({ managed: { forwarders: [text] } }).words.managed.forwarders).toEqual([{ address, port }]));
});

test("servers in order, words among addresses", () => {
  const { words, faults } = read({ servers: ["127.0.0.1:5353", "system", "tls://dns.test"], validating: ["127.0.0.1:5353"] });
  expect(words.servers).toEqual([{ address: "127.0.0.1", port: 5353 }, "system", { address: "dns.test", port: 853, tlsName: "dns.test" }]);
  expect(words.validating).toEqual([{ address: "127.0.0.1", port: 5353 }]);
  expect(faults).toEqual([]);
});

test("names of the self-test are asked for in A-labels", () => {
  const { words } = read({ selfTest: { signed: "München.example", broken: ["kaputt.münchen.example."] } });
  expect(words.selfTest).toEqual({ signed: "xn--mnchen-3ya.example", broken: ["kaputt.xn--mnchen-3ya.example"] });
  expect(read({}).words.selfTest.signed).toBe(".");
});

const hostile: [what: string, more: Managed, path: string][] = [
  ["a line end in a zone", { insecureZones: ['a"\nval-permissive-mode: yes'] }, "insecureZones[0]"],
  ["a quote in a name", { localNames: ['a" nodefault'] }, "localNames[0]"],
  ["a blank in a zone", { stubZones: [{ zone: "a b", servers: ["192.0.2.1"] }] }, "stubZones[0].zone"],
  ["a line end behind an address", { forwarders: ["192.0.2.1\nval-permissive-mode: yes"] }, "forwarders[0]"],
  ["a line end in an address's zone", { forwarders: ["fe80::1%a\nb"] }, "forwarders[0]"],
  ["a line end in a TLS name", { forwarders: ["tls://192.0.2.1#a\nb"] }, "forwarders[0]"],
  ["a name server's name", { stubZones: [{ zone: "a", servers: ["ns.example"] }] }, "stubZones[0].servers[0]"],
  ["TLS to a name server", { stubZones: [{ zone: "a", servers: ["tls://192.0.2.1#a.example"] }] }, "stubZones[0].servers[0]"],
  ["a forwarder without an address", { forwarders: ["tls://dns.example"] }, "forwarders[0]"],
  ["a forwarder without a name", { forwarders: ["tls://192.0.2.1"] }, "forwarders[0]"],
  ["forwarders of both kinds", { forwarders: ["192.0.2.1", "tls://192.0.2.1#dns.example"] }, "forwarders"],
  ["validating nothing at all", { insecureZones: ["."] }, "insecureZones[0]"],
  ["a label of 64", { insecureZones: ["a".repeat(64)] }, "insecureZones[0]"],
];
for (const [what, managed, path] of hostile)
  test(`${what} is refused, with the setting named`, () => expect(read({ managed }).faults).toEqual([`resolver.managed.${path}`]));
