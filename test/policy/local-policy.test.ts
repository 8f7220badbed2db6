import { describe, expect, test } from "vitest";
import type { NextHop } from "../../src/mail/domain.ts";
import { describeDemand, type FloorSettings, findLocalPolicy, levelOfFloor } from "../../src/policy/local-policy.ts";

const settings: FloorSettings = {
  floor: "authenticated",
  host: "any",
  published: "enforce",
  domains: {
    "example.org": { floor: "opportunistic" },
    ".example.org": { floor: "encrypted", host: "proven" },
    ".deep.example.org": { floor: "opportunistic", published: "report" },
    "Bücher.test": { floor: "encrypted" },
    "[192.0.2.1]": { floor: "encrypted" },
    "[IPv6:2001:DB8:0::2]": { floor: "encrypted" },
    "[IPv6:2001:DB8::1]": { floor: "encrypted" },
    "strict.test": { host: "dnssec" },
    "off.test": { published: "off" },
  },
};
const find = (nextHop: string) => findLocalPolicy(nextHop as NextHop, settings);

describe("the nearest floor counts", () => {
  const cases: [nextHop: string, demanded: string][] = [
    ["example.org", "opportunistic (tls.domains: example.org)"],
    ["a.example.org", "encrypted (tls.domains: .example.org)"],
    ["deep.example.org", "encrypted (tls.domains: .example.org)"],
    ["a.deep.example.org", "opportunistic (tls.domains: .deep.example.org)"],
    ["notexample.org", "authenticated (tls.floor of this relay)"],
    ["org", "authenticated (tls.floor of this relay)"],
    ["xn--bcher-kva.test", "encrypted (tls.domains: Bücher.test)"],
    ["[192.0.2.1]", "encrypted (tls.domains: [192.0.2.1])"],
    ["[IPv6:2001:db8::1]", "encrypted (tls.domains: [IPv6:2001:DB8::1])"],
    ["[IPv6:2001:db8::2]", "encrypted (tls.domains: [IPv6:2001:DB8:0::2])"],
    ["[192.0.2.2]", "authenticated (tls.floor of this relay)"],
  ];
  for (const [nextHop, demanded] of cases)
    test(`${nextHop}: ${demanded}`, () => expect(describeDemand(find(nextHop).floor)).toBe(demanded));
});

describe("each setting is looked for by itself", () => {
  const cases: [nextHop: string, floor: string, host: string, published: string][] = [
    ["example.org", "opportunistic", "any", "enforce"],
    ["a.example.org", "encrypted", "proven", "enforce"],
    // The nearest entry says nothing of the host, so that of the parent above it stands.
    ["a.deep.example.org", "opportunistic", "proven", "report"],
    ["strict.test", "authenticated", "dnssec", "enforce"],
    ["off.test", "authenticated", "any", "off"],
    ["other.test", "authenticated", "any", "enforce"],
  ];
  for (const [nextHop, floor, host, published] of cases)
    test(`${nextHop}: ${floor}, ${host}, ${published}`, () =>
      expect([find(nextHop).floor.floor, find(nextHop).host.level, find(nextHop).published.mode]).toEqual([floor, host, published]));
});

test("each value names the setting that it comes from", () => {
  const { floor, host, published } = find("a.deep.example.org");
  expect(floor.because).toEqual({ source: "domain-floor", text: "tls.domains: .deep.example.org" });
  expect(host.because).toEqual({ source: "host-floor", text: "tls.domains: .example.org" });
  expect(published.setting).toBe("tls.domains: .deep.example.org");
  expect(find("other.test").floor.because).toEqual({ source: "floor", text: "tls.floor of this relay" });
  expect(find("other.test").host.because).toEqual({ source: "host-floor", text: "tls.host of this relay" });
  expect(find("other.test").published.setting).toBe("tls.published of this relay");
});

test("other settings are another policy", () => {
  expect(find("other.test").floor.floor).toBe("authenticated");
  expect(findLocalPolicy("other.test" as NextHop, { ...settings, floor: "encrypted" }).floor.floor).toBe("encrypted");
});

test("opportunistic means that clear text will do", () => {
  expect([levelOfFloor("opportunistic"), levelOfFloor("encrypted"), levelOfFloor("authenticated")]).toEqual([
    "clear",
    "encrypted",
    "authenticated",
  ]);
});
