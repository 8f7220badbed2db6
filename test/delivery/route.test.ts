import { describe, expect, test } from "vitest";
import { type DeliverySettings, settingsSchema } from "../../src/config/settings.ts";
import { type NextHop, parseNextHop } from "../../src/mail/domain.ts";
import { findRoute } from "../../src/delivery/route.ts";

function delivery(settings: object): DeliverySettings {
  return settingsSchema.parse({ delivery: settings }).delivery;
}

function hop(text: string): NextHop {
  const parsed = parseNextHop(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
}

const routed = delivery({
  relayhost: { host: "smart.test", port: 587 },
  routes: [
    { domains: [".example.org"], host: "sub.test" },
    { domains: ["a.b.example.org", "BÜCHER.test"], host: "exact.test" },
    { domains: [".b.example.org"], host: "deeper.test" },
    { domains: ["[192.0.2.9]"], host: "literal.test" },
    { domains: [".example.org"], host: "second.test" },
  ],
});

describe("the most specific route counts", () => {
  const cases: [nextHop: string, host: string, setting: string][] = [
    ["a.b.example.org", "exact.test", "delivery.routes[1]"],
    ["c.b.example.org", "deeper.test", "delivery.routes[2]"],
    ["b.example.org", "sub.test", "delivery.routes[0]"], // .b.example.org means subdomains only
    ["x.example.org", "sub.test", "delivery.routes[0]"], // the first of two for one pattern
    ["example.org", "smart.test", "relayhost"],
    ["xn--bcher-kva.test", "exact.test", "delivery.routes[1]"],
    ["[192.0.2.9]", "literal.test", "delivery.routes[3]"],
    ["[192.0.2.1]", "smart.test", "relayhost"], // a relayhost takes everything
    ["notexample.org", "smart.test", "relayhost"],
  ];
  for (const [nextHop, host, setting] of cases)
    test(`${nextHop} goes by ${setting}`, () =>
      expect(findRoute(hop(nextHop), routed)).toMatchObject({ kind: "configured", host, setting }));
});

test("* in a route comes before the relayhost", () => {
  const settings = delivery({ relayhost: { host: "smart.test" }, routes: [{ domains: ["*"], host: "all.test" }] });
  expect(findRoute(hop("dest.test"), settings)).toMatchObject({ host: "all.test" });
});

describe("without routes", () => {
  const bare = delivery({});
  test("a domain goes to its MX", () => expect(findRoute(hop("dest.test"), bare)).toEqual({ kind: "mx" }));
  test("an IPv4 literal goes to its address", () =>
    expect(findRoute(hop("[192.0.2.1]"), bare)).toEqual({ kind: "literal", address: "192.0.2.1" }));
  test("an IPv6 literal goes to its address", () =>
    expect(findRoute(hop("[IPv6:2001:db8::1]"), bare)).toEqual({ kind: "literal", address: "2001:db8::1" }));
});

test("a route carries its own demand, login and names", () => {
  const settings = delivery({
    relayhost: {
      host: "[smart.test]",
      port: 465,
      tls: "implicit",
      tlsName: "real.test",
      rootsFile: "ca.pem",
      username: "me",
      password: "secret",
    },
  });
  expect(findRoute(hop("dest.test"), settings)).toEqual({
    kind: "configured",
    host: "smart.test",
    port: 465,
    tls: "implicit",
    tlsName: "real.test",
    rootsFile: "ca.pem",
    login: { username: "me", password: "secret" },
    setting: "relayhost",
  });
});
