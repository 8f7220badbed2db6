/** Addresses, domains and literals as strangers write them (RFC 5321 §4.1.2, §4.1.3; RFC 6531 §3.3): one text for one thing. */
import { describe, expect, test } from "vitest";
import { parseAddress } from "../../src/mail/address.ts";
import { parseDomain, parseNextHop } from "../../src/mail/domain.ts";

describe("a domain is what stands there, or it is none", () => {
  test.each([
    ["example.test", "example.test"],
    ["EXAMPLE.Test.", "example.test"],
    ["b\u00fccher.test", "xn--bcher-kva.test"],
    ["XN--BCHER-KVA.test", "xn--bcher-kva.test"],
    ["\uff41\u3002test", "a.test"],
  ])("%s is %s", (text, domain) => expect(parseDomain(text)).toEqual({ ok: true, value: domain }));

  // A URL's host would end at the slash, and its percent signs would be decoded: the mail would go elsewhere.
  test.each([
    "allowed.test/.Evil.test",
    "allowed.test?.Evil.test",
    "allowed.test\\.Evil.test",
    "allowed.test#.Evil.test",
    "A%41.test",
    "a%2Eb.test",
    "\uff05\uff14\uff11.test",
    "a\uff0fb.test",
    "A:25",
    "A_b.test",
    "A b.test",
    "a\u0000.Test",
    "0X7F.1",
    "127.0.0.1",
    "a..b",
    "",
    ".",
  ])("%j is none", (text) => expect(parseDomain(text).ok).toBe(false));
});

test.each([
  ["[192.0.2.1]", "[192.0.2.1]"],
  ["[IPv6:2001:DB8:0:0::1]", "[IPv6:2001:db8::1]"],
  ["[ipv6:0:0:0:0:0:0:0:1]", "[IPv6:::1]"],
  ["[IPv6:::FFFF:7F00:1]", "[IPv6:::ffff:127.0.0.1]"],
])("the literal %s is %s, however it is written", (text, literal) => expect(parseNextHop(text)).toEqual({ ok: true, value: literal }));

test.each(["[127.1]", "[IPv6:fe80::1%eth0]", "[IPv6:2001:db8::1", "[x:y]", "[]"])("%s is no literal", (text) =>
  expect(parseNextHop(text).ok).toBe(false),
);

// Terminals and log viewers obey them: CSI, NEL, line separators, right-to-left.
test.each(["a\u009b31mb@x.test", '"a\u0085b"@x.test', "a\u2028b@x.test", "a\u202eb@x.test", "a\u2066b@x.test", "\ufeffa@x.test"])(
  "%j is no address",
  (text) => expect(parseAddress(text).ok).toBe(false),
);

test.each(["j\u00fcrgen@x.test", "\u0645\u06cc\u200c\u062e@x.test", '"a b"@x.test'])("%j is one", (text) =>
  expect(parseAddress(text)).toEqual({ ok: true, value: text }),
);
