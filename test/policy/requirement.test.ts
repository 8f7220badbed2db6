import { describe, expect, test } from "vitest";
import type { NextHop } from "../../src/mail/domain.ts";
import { describeDemand, findFloor, requirementFor, type TlsFloor } from "../../src/policy/requirement.ts";

const settings = {
  floor: "authenticated" as TlsFloor,
  domains: {
    "example.org": { floor: "opportunistic" as TlsFloor },
    ".example.org": { floor: "encrypted" as TlsFloor },
    ".deep.example.org": { floor: "opportunistic" as TlsFloor },
    "Bücher.test": { floor: "encrypted" as TlsFloor },
    "[192.0.2.1]": { floor: "encrypted" as TlsFloor },
    "[IPv6:2001:DB8:0::2]": { floor: "encrypted" as TlsFloor },
    "[IPv6:2001:DB8::1]": { floor: "encrypted" as TlsFloor },
  },
};

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
    test(`${nextHop}: ${demanded}`, () => expect(describeDemand(findFloor(nextHop as NextHop, settings))).toBe(demanded));
});

test("a demand keeps the names to verify even where clear text will do", () => {
  const demand = findFloor("example.org" as NextHop, settings);
  expect(requirementFor(demand, ["mx.test"])).toEqual({
    atLeast: "clear",
    because: demand.because,
    webpki: { referenceIdentifiers: ["mx.test"], because: demand.because },
  });
});
