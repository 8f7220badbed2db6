import { describe, expect, test } from "vitest";
import { isPublicName, reportContact } from "../../src/config/report-contact.ts";
import { faults, notesOf, settingsOf } from "./support.ts";

const PEM = { "/c.pem": "-----BEGIN CERTIFICATE-----\n" };

describe("TLS reports and DKIM, what settings alone can get wrong", () => {
  const cases: [file: string, expected: RegExp | undefined][] = [
    ["tlsReports: { from: tls@a.test }\n", undefined],
    ["tlsReports: { from: tls }\n", /tlsReports\.from: not an address: "tls"/],
    ["tlsReports: { from: 'tls@[192.0.2.1]' }\n", /tlsReports\.from: receivers of reports must be able to write there/],
    ["tlsReports: { from: root@localhost }\n", /tlsReports\.from: receivers of reports must be able to write there/],
    ["tlsReports: { from: tls@relay.local }\n", /its domain must be a public name: "tls@relay\.local"/],
    ["tlsReports: { send: on }\n", /tlsReports\.send: reports need an address .* \(TLSRPT_FROM\).*submission\.postmaster.*mailname/],
    ["tlsReports: { send: auto }\n", undefined],
    ["tlsReports: { send: on, from: tls@a.test }\n", undefined],
    ["tlsReports: { send: on }\nmailname: mail.a.test\n", undefined],
    ["tlsReports: { send: on }\nsubmission: { postmaster: admin@a.test }\n", undefined],
    ["tlsReports: { send: on }\nsubmission: { postmaster: root@localhost }\n", /reports need an address that people can answer/],
    ["tlsReports: { organization: ' ' }\n", /tlsReports\.organization: must say who reports/],
    ["tlsReports: { exclude: [a.test, .b.test] }\n", undefined],
    ["tlsReports: { exclude: [a.test, 'b c'] }\n", /tlsReports\.exclude\[1\]: not a domain name: "b c"/],
    ["tlsReports: { publicAddress4: 203.0.113.7, publicAddress6: '2001:db8::7' }\n", undefined],
    ["tlsReports: { publicAddress4: '2001:db8::7' }\n", /tlsReports\.publicAddress4: not an IPv4 address/],
    ["tlsReports: { publicAddress6: 203.0.113.7 }\n", /tlsReports\.publicAddress6: not an IPv6 address/],
    ["tlsReports: { publicAddress6: 'fe80::1%eth0' }\n", /tlsReports\.publicAddress6: not an IPv6 address/],
    ["tlsReports: { roots: /c.pem }\n", undefined],
    ["tlsReports: { roots: /nowhere.pem }\n", /tlsReports\.roots: cannot read "\/nowhere\.pem"/],
    [
      "submission: { listeners: [{ name: tls-report, port: 25 }] }\n",
      /listeners\[0\]\.name: tls-report is what Postern calls its own messages/,
    ],
    ["submission: { listeners: [{ name: postern, port: 25 }] }\n", /listeners\[0\]\.name: postern is what Postern calls its own messages/],
    ["dkim: { domains: [a.test, b.test] }\n", undefined],
    ["dkim: { domains: [a.test, A.test.] }\n", /dkim\.domains\[1\]: "A\.test\." is named already/],
    ["dkim: { domains: [.a.test] }\n", /dkim\.domains\[0\]: keys are made for names: write the domains that \.a\.test stands for/],
    ["dkim: { domains: ['a b'] }\n", /dkim\.domains\[0\]: not a domain name: "a b"/],
    ["dkim: { selector: mail-2026 }\n", undefined],
    ["dkim: { selector: 'a_b' }\n", /dkim\.selector: must be a label/],
    ["dkim: { selector: '' }\n", /dkim\.selector: must be a label/],
    ["dkim: { selector: 'a b' }\n", /dkim\.selector: must be a label/],
    ["dkim: { selector: 'x\"; p=' }\n", /dkim\.selector: must be a label/],
    [`dkim: { selector: ${"a".repeat(60)} }\n`, /dkim\.selector: must be a label/],
    [`dkim: { selector: ${"s".repeat(50)}, domains: [${"a".repeat(60)}.${"b".repeat(60)}.${"c".repeat(60)}.test] }\n`, undefined],
    [
      `dkim: { selector: ${"s".repeat(50)}, domains: [a.${"a".repeat(60)}.${"b".repeat(60)}.${"c".repeat(60)}.test] }\n`,
      /dkim\.domains\[0\]: with dkim\.selector in front its name in DNS would be 2 octets too long/,
    ],
    ["dkim: { algorithms: [rsa-2048, rsa-2048] }\n", /dkim\.algorithms\[1\]: rsa-2048 is named already/],
  ];
  for (const [file, expected] of cases) {
    test(file.replaceAll("\n", " ").slice(0, 100), () => {
      const found = faults({ file, files: PEM });
      if (expected === undefined) expect(found).toEqual([]);
      else expect(found).toEqual([expect.stringMatching(expected)]);
    });
  }
  test("an address that no host sees is told of", () => {
    expect(notesOf({ file: "tlsReports: { publicAddress4: 10.0.0.7 }\n" })).toContain(
      "tlsReports.publicAddress4: no host out there sees mail come from 10.0.0.7",
    );
  });
});

describe("how long a key stays published after it was replaced", () => {
  const words = "dkim.overlap: signatures are good for a week: those of a key that goes sooner cannot be verified any more";
  for (const [overlap, isTold] of [
    ["6d", true],
    ["7d", false],
    ["10d", false],
  ] as const)
    test(`${overlap} is ${isTold ? "" : "not "}told of`, () =>
      expect(notesOf({ file: `dkim: { overlap: ${overlap} }\n` }).includes(words)).toBe(isTold));
});

describe("who answers for a report (RFC 8460 §4.4)", () => {
  const cases: [file: string, machine: string | undefined, contact: string | undefined][] = [
    ["tlsReports: { from: tls@a.test }\nsubmission: { postmaster: admin@b.test }\nmailname: mail.c.test\n", "m.d.test", "tls@a.test"],
    ["submission: { postmaster: admin@b.test }\nmailname: mail.c.test\n", "m.d.test", "admin@b.test"],
    ["submission: { postmaster: root@localhost }\nmailname: mail.c.test\n", "m.d.test", "postmaster@mail.c.test"],
    ["submission: { postmaster: 'admin@[192.0.2.1]' }\n", "m.d.test", "postmaster@m.d.test"],
    ["{}", "m.d.test", "postmaster@m.d.test"],
    ["mailname: münchen.test\n", undefined, "postmaster@xn--mnchen-3ya.test"],
    ["{}", "relay.local", undefined],
    ["{}", "relay", undefined],
    ["{}", undefined, undefined],
  ];
  for (const [file, machine, contact] of cases)
    test(`${file.replaceAll("\n", " ")} on ${machine}: ${contact}`, () =>
      expect(reportContact(settingsOf({ file }), machine)).toBe(contact));

  const names: [name: string, isPublic: boolean][] = [
    ["a.test", true],
    ["localhost", false],
    ["mail.localhost", false],
    ["relay.local", false],
    ["notlocal.test", true],
    ["mylocal", false],
    ["nas.home.arpa", false],
    ["[192.0.2.1]", false],
  ];
  for (const [name, isPublic] of names) test(`${name} is ${isPublic ? "" : "not "}public`, () => expect(isPublicName(name)).toBe(isPublic));
});
