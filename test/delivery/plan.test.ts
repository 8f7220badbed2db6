/** From DNS answers to a plan, and from a host to its addresses: RFC 5321 §5.1, RFC 7505, as tables. */
import { describe, expect, test } from "vitest";
import { settingsSchema } from "../../src/config/settings.ts";
import { findHost, gatherFacts, type RoutingFacts } from "../../src/delivery/gather.ts";
import {
  type DeliveryPlan,
  type MessageDemands,
  type PlannedHost,
  type PlanRules,
  planDelivery,
  type Route,
} from "../../src/delivery/plan.ts";
import { findRoute } from "../../src/delivery/route.ts";
import type { NextHop } from "../../src/mail/domain.ts";
import type { Finding, HostAddress, MxRecord } from "../../src/policy/facts.ts";
import type { TlsRequirement } from "../../src/policy/requirement.ts";
import { asksNothing, NO_DEMANDS, NO_STS, NO_TLSA, NOTHING_PUBLISHED, requirementOf, UNTRUSTED } from "../support/policy-facts.ts";

function rulesOf(settings: object = {}) {
  const { delivery, tls, mailname } = settingsSchema.parse({ mailname: "relay.test", ...settings });
  return { delivery, tls, mailname, ownAddresses: new Set(["203.0.113.1", "10.0.0.9", "127.0.0.2"]), useIpv6: true, forbiddenAddress };
}

/** A stand-in for the list of special-use blocks. */
function forbiddenAddress(address: string): string | undefined {
  if (address.startsWith("127.0.0.2")) return undefined; // allowed by the operator
  if (address.startsWith("127.") || address === "::1" || address === "::ffff:127.0.0.1") return "loopback";
  if (address === "0.0.0.0") return "unspecified";
  return address.startsWith("10.") ? "private use" : undefined;
}

const dest = "dest.test" as NextHop;
const failed: Finding<never> = { kind: "failed", reason: "servfail", detail: "SERVFAIL from 192.0.2.53" };
const noName: Finding<never> = { kind: "no-such-name", security: "insecure", expires: 0 };

function answer<T>(...records: T[]): Finding<T> {
  return { kind: "answer", records, security: "insecure", canonicalName: "dest.test", expires: 0 };
}

function mx(...records: [preference: number, exchange: string][]): Finding<MxRecord> {
  return answer(...records.map(([preference, exchange]) => ({ preference, exchange })));
}

function planFor(finding: Finding<MxRecord>, settings: object = {}, random = () => 0): DeliveryPlan {
  return plan({ nextHop: dest, route: { kind: "mx" }, mx: finding }, rulesOf(settings), random);
}

/** The plan for an ordinary message to a next hop that publishes nothing. */
function plan(facts: Pick<RoutingFacts, "nextHop" | "route" | "mx">, rules: PlanRules, random = Math.random): DeliveryPlan {
  return planDelivery({ ...NOTHING_PUBLISHED, ...facts }, NO_DEMANDS, rules, random);
}

/** What is demanded of the plan's first host. */
function firstRequirement(made: DeliveryPlan): TlsRequirement {
  if (made.kind !== "attempt" || made.hosts[0] === undefined) throw new Error("no host");
  return requirementOf(made.hosts[0]);
}

/** `a 5, b 10` or `fail 5.1.2 domain-not-found`. */
function inShort(plan: DeliveryPlan): string {
  if (plan.kind === "attempt") return plan.hosts.map(({ host, preference }) => `${host} ${preference}`).join(", ");
  return `${plan.kind} ${plan.problem.status} ${plan.problem.type}`;
}

describe("MX answers", () => {
  // biome-ignore format: one case, one row
  const cases: [title: string, finding: Finding<MxRecord>, plan: string][] = [
    ["NXDOMAIN", noName, "fail 5.1.2 domain-not-found"],
    ["SERVFAIL", failed, "defer 4.4.3 dns-failure"],
    ["timeout", { kind: "failed", reason: "timeout", detail: "no answer" }, "defer 4.4.3 dns-failure"],
    ["CNAME loop", { kind: "failed", reason: "alias-loop", detail: "a leads to b leads to a" }, "defer 4.4.3 dns-failure"],
    ["NODATA", mx(), "dest.test 0"],
    ["0 .", mx([0, ""]), "fail 5.1.10 null-mx"],
    ["10 . alone", mx([10, ""]), "fail 5.1.10 null-mx"],
    ["0 . and 10 mx", mx([0, ""], [10, "mx.test"]), "mx.test 10"],
    ["10 mx", mx([10, "mx.test"]), "mx.test 10"],
    ["20, 5, 10", mx([20, "c.test"], [5, "a.test"], [10, "b.test"]), "a.test 5, b.test 10, c.test 20"],
    ["10 us", mx([10, "relay.test"]), "fail 5.4.6 loop"],
    ["us by another name", mx([10, "other.test"]), "fail 5.4.6 loop"],
    ["5 a, 10 us, 10 c, 20 b", mx([5, "a.test"], [10, "relay.test"], [10, "c.test"], [20, "b.test"]), "a.test 5"],
    ["localhost", mx([10, "localhost"]), "fail 5.4.6 loop"],
    ["10 192.0.2.1.", mx([10, "192.0.2.1"]), "fail 5.4.4 domain-not-found"],
    ["10 192.0.2.1. and 20 mx", mx([10, "192.0.2.1"], [20, "mx.test"]), "mx.test 20"],
    ["an empty label", mx([10, "mx..test"]), "fail 5.4.4 domain-not-found"],
    ["a label of 64 octets", mx([10, `${"a".repeat(64)}.test`]), "fail 5.4.4 domain-not-found"],
    ["one host twice", mx([20, "mx.test"], [10, "mx.test"]), "mx.test 10"],
  ];
  for (const [title, finding, plan] of cases)
    test(`${title}: ${plan}`, () => expect(inShort(planFor(finding, { delivery: { ownNames: ["Other.test"] } }))).toBe(plan));
});

test("a CNAME to a name with MX uses that name's MX for the original domain", () => {
  const finding: Finding<MxRecord> = {
    kind: "answer",
    records: [{ preference: 10, exchange: "mx.real.test" }],
    security: "insecure",
    canonicalName: "real.test",
    expires: 0,
  };
  expect(inShort(planFor(finding))).toBe("mx.real.test 10");
});

test("a domain that is us and has no MX is a loop", () =>
  expect(inShort(planFor(mx(), { mailname: "dest.test" }))).toBe("fail 5.4.6 loop"));

test("equal preferences come in both orders, and never before a better one", () => {
  const finding = mx([10, "a.test"], [10, "b.test"], [5, "first.test"]);
  const orders = new Set([0, 0.2, 0.4, 0.6, 0.8, 0.99].map((chance) => inShort(planFor(finding, {}, () => chance))));
  expect([...orders].sort()).toEqual(["first.test 5, a.test 10, b.test 10", "first.test 5, b.test 10, a.test 10"]);
});

test("what was ruled out is told beside the hosts", () => {
  const plan = planFor(mx([5, "a.test"], [7, "bad host\r\n"], [10, "relay.test"], [20, "b.test"]));
  expect(plan.skipped?.map(({ host, problem }) => [host, problem?.type])).toEqual([
    ["bad host??", "domain-not-found"],
    ["relay.test", "loop"],
    ["b.test", "loop"],
  ]);
});

test("thousands of records that name no host are not all told of, since each attempt keeps what is told", () => {
  const many = Array.from({ length: 4000 }, (_, n): [number, string] => [n, `_${n}`]);
  const plan = planFor(mx(...many, [65_000, "mx.test"]));
  expect(plan).toMatchObject({ kind: "attempt", hosts: [{ host: "mx.test" }] });
  expect(plan.skipped).toHaveLength(20);
  expect(planFor(mx(...many, [0, "relay.test"], ...many.map(([n]): [number, string] => [n, `h${n}.test`]))).skipped).toHaveLength(20);
});

describe("without a mailname", () => {
  test("mail for MX hosts waits and says which setting is missing", () => {
    const plan = planFor(mx([10, "mx.test"]), { mailname: undefined });
    expect(plan).toMatchObject({ kind: "defer", problem: { type: "not-configured", status: "4.3.5", whoActs: "you" } });
    expect(plan.kind === "defer" && plan.problem.detail).toMatch(/set mailname \(MAILNAME\)/);
  });
  test("a relayhost is used all the same", () => {
    const rules = rulesOf({ mailname: undefined, delivery: { relayhost: { host: "smart.test" } } });
    expect(plan({ nextHop: dest, route: findRoute(dest, rules.delivery) }, rules).kind).toBe("attempt");
  });
});

describe("what is demanded of a host", () => {
  test("by default a certificate for the MX name, which is also the SNI", () => {
    const made = planFor(mx([10, "mx.test"]));
    expect(made).toMatchObject({
      kind: "attempt",
      demanded: "authenticated (tls.floor of this relay)",
      hosts: [{ port: 25, tls: "starttls", serverName: "mx.test", configured: false }],
    });
    expect(firstRequirement(made)).toMatchObject({ atLeast: "authenticated", webpki: { referenceIdentifiers: ["mx.test"] } });
  });
  test("the floor of the domain, not of the host", () => {
    const made = planFor(mx([10, "mx.test"]), {
      tls: { domains: { "dest.test": { floor: "encrypted" }, "mx.test": { floor: "opportunistic" } } },
    });
    expect(made).toMatchObject({ demanded: "encrypted (tls.domains: dest.test)" });
    expect(firstRequirement(made)).toMatchObject({ atLeast: "encrypted" });
  });

  const routes: [tls: string, wire: string, atLeast: string, login: boolean][] = [
    ["authenticated", "starttls", "authenticated", true],
    ["implicit", "implicit", "authenticated", true],
    ["encrypted", "starttls", "encrypted", true],
    ["opportunistic", "starttls", "clear", true],
    ["none", "never", "clear", false],
  ];
  for (const [tls, wire, atLeast, login] of routes)
    test(`a relayhost with tls ${tls}: its own setting, whatever the floor`, () => {
      const rules = rulesOf({
        tls: { floor: "encrypted" },
        delivery: { relayhost: { host: "smart.test", port: 587, tls, tlsName: "Real.test", username: "me", password: "x" } },
      });
      const made = plan({ nextHop: dest, route: findRoute(dest, rules.delivery) }, rules);
      expect(made).toMatchObject({
        kind: "attempt",
        demanded: `${atLeast === "clear" ? "opportunistic" : atLeast} (relayhost)`,
        hosts: [
          {
            host: "smart.test",
            port: 587,
            tls: wire,
            serverName: "Real.test",
            configured: true,
          },
        ],
      });
      expect(firstRequirement(made)).toMatchObject({ atLeast, webpki: { referenceIdentifiers: ["real.test"] } });
      expect(made.kind === "attempt" && made.hosts[0]?.login !== undefined).toBe(login);
    });

  const reportDomainOf = (made: DeliveryPlan): string | undefined => (made.kind === "attempt" ? made.hosts[0]?.reportDomain : "no host");
  const reported: [host: string, tls: string, reportDomain: string | undefined][] = [
    ["Smart.test", "authenticated", "smart.test"],
    ["smart.test", "implicit", "smart.test"],
    ["smart.test", "none", undefined],
    ["relay", "encrypted", undefined],
    ["192.0.2.25", "encrypted", undefined],
  ];
  for (const [host, tls, reportDomain] of reported)
    test(`the TLS report that tells of relayhost ${host} with tls ${tls} is that of ${reportDomain ?? "nobody"} (RFC 8460 §3)`, () => {
      const rules = rulesOf({ delivery: { relayhost: { host, port: 25, tls } } });
      expect(reportDomainOf(plan({ nextHop: dest, route: findRoute(dest, rules.delivery) }, rules))).toBe(reportDomain);
    });
  test("and of an MX host, or of a domain that is its own host, that of the next hop; of an address literal nobody's", () => {
    expect(reportDomainOf(planFor(mx([10, "mx.host.test"])))).toBe("dest.test");
    expect(reportDomainOf(planFor(answer()))).toBe("dest.test");
    const route: Route = { kind: "literal", address: "192.0.2.1" };
    const rules = rulesOf({ tls: { floor: "opportunistic" } });
    expect(reportDomainOf(plan({ nextHop: "[192.0.2.1]" as NextHop, route }, rules))).toBeUndefined();
  });

  test("a relayhost that is an address waits for a tlsName", () => {
    const route: Route = { kind: "configured", host: "192.0.2.25", port: 25, tls: "authenticated", setting: "relayhost" };
    expect(inShort(plan({ nextHop: dest, route }, rulesOf()))).toBe("defer 4.3.5 not-configured");
    expect(plan({ nextHop: dest, route: { ...route, tlsName: "smart.test" } }, rulesOf())).toMatchObject({
      kind: "attempt",
      hosts: [{ address: "192.0.2.25", serverName: "smart.test" }],
    });
  });
});

describe("address literals", () => {
  const literal = (address: string): Pick<RoutingFacts, "nextHop" | "route"> => ({
    nextHop: `[${address}]` as NextHop,
    route: { kind: "literal", address },
  });
  test("wait where proof is asked for, and say what would help", () => {
    const made = plan(literal("192.0.2.1"), rulesOf());
    expect(made).toMatchObject({ kind: "defer", problem: { type: "not-configured", status: "4.7.0", whoActs: "sender" } });
    expect(made.kind === "defer" && made.problem.detail).toContain('tls.domains "[192.0.2.1]"');
  });
  test("are dialled where the operator lowered the floor, without SNI", () => {
    const made = plan(literal("192.0.2.1"), rulesOf({ tls: { domains: { "[192.0.2.1]": { floor: "encrypted" } } } }));
    expect(made).toMatchObject({ kind: "attempt", hosts: [{ address: "192.0.2.1" }] });
    expect(firstRequirement(made)).toMatchObject({ atLeast: "encrypted" });
    expect(made.kind === "attempt" && made.hosts[0]?.serverName).toBe(undefined);
  });
  for (const address of ["203.0.113.1", "127.0.0.1", "::1"])
    test(`that are this relay fail: ${address}`, () => expect(inShort(plan(literal(address), rulesOf()))).toBe("fail 5.4.6 loop"));
});

test("only the MX route asks DNS", async () => {
  const asked: string[] = [];
  const io = { ...asksNothing, lookup: { findMx: async (domain: string) => (asked.push(domain), noName) } };
  const { tls } = rulesOf();
  await gatherFacts("[192.0.2.1]" as NextHop, { kind: "literal", address: "192.0.2.1" }, NO_DEMANDS, tls, 0, io);
  expect(asked).toEqual([]);
  expect(await gatherFacts(dest, { kind: "mx" }, NO_DEMANDS, tls, 0, io)).toEqual({
    ...NOTHING_PUBLISHED,
    nextHop: dest,
    route: { kind: "mx" },
    mx: noName,
  });
  expect(asked).toEqual(["dest.test"]);
});

describe("which policy is asked for", () => {
  const route = { kind: "mx" } as const;
  const cases: [title: string, tls: object, message: MessageDemands, asked: boolean][] = [
    ["published: enforce", {}, NO_DEMANDS, true],
    ["published: report", { published: "report" }, NO_DEMANDS, true],
    ["published: off", { published: "off" }, NO_DEMANDS, false],
    ["published: off, a message with REQUIRETLS", { published: "off" }, { tag: "required", mayGoBelowFloor: false }, true],
    ["published: off, hosts to be proven", { published: "off", host: "proven" }, NO_DEMANDS, true],
    ["published: off for the domain", { domains: { "dest.test": { published: "off" } } }, NO_DEMANDS, false],
  ];
  for (const [title, settings, message, asked] of cases)
    test(`${title}: ${asked ? "asked" : "not asked"}`, async () => {
      const domains: string[] = [];
      const findStsPolicy = async (domain: string) => (domains.push(domain), NO_STS);
      const io = { ...asksNothing, findStsPolicy, lookup: { findMx: async () => noName } };
      await gatherFacts(dest, route, message, rulesOf({ tls: settings }).tls, 0, io);
      expect(domains).toEqual(asked ? ["dest.test"] : []);
    });
});

describe("addresses of a host", () => {
  const host = (more: Partial<PlannedHost> = {}): PlannedHost => {
    const made = planFor(mx([10, "mx.test"]));
    if (made.kind !== "attempt" || made.hosts[0] === undefined) throw new Error("no host");
    return { ...made.hosts[0], ...more };
  };
  const addresses = (...list: string[]): Finding<HostAddress> =>
    answer(...list.map((address) => ({ address, family: address.includes(":") ? (6 as const) : (4 as const) })));

  async function judged(
    finding: Finding<HostAddress>,
    more: Partial<PlannedHost> = {},
    settings: { ipv4?: boolean; useIpv6?: boolean } = {},
  ): Promise<string> {
    const rules = { ...rulesOf({ delivery: { ipv4: settings.ipv4 ?? true } }), useIpv6: settings.useIpv6 ?? true };
    const asks = (configured: boolean) => async () => {
      if (configured !== (more.configured ?? false)) throw new Error("the wrong resolver was asked");
      return finding;
    };
    const io = {
      lookup: { findAddresses: asks(false) },
      findConfiguredHost: asks(true),
      findTlsa: () => Promise.resolve(NO_TLSA),
      dnssec: () => UNTRUSTED,
    };
    const { addresses: found } = await findHost(host(more), rules, io);
    switch (found.kind) {
      case "addresses":
        return found.addresses.map(({ address }) => address).join(" ");
      case "ourselves":
        return `ourselves ${found.address}`;
      case "unusable":
        return `${found.permanent ? "permanent" : "temporary"} ${found.problem.status} ${found.problem.type} ${found.problem.whoActs}`;
    }
  }

  // biome-ignore format: one case, one row
  const cases: [title: string, finding: Finding<HostAddress>, expected: string, more?: Partial<PlannedHost>, settings?: { ipv4?: boolean; useIpv6?: boolean }][] = [
    ["order kept", addresses("192.0.2.9", "2001:db8::1", "192.0.2.1"), "192.0.2.9 2001:db8::1 192.0.2.1"],
    ["NXDOMAIN", noName, "permanent 5.4.4 domain-not-found receiver"],
    ["NODATA", addresses(), "permanent 5.4.4 domain-not-found receiver"],
    ["NODATA at a domain without MX", addresses(), "permanent 5.1.2 domain-not-found sender", { implicit: true }],
    ["SERVFAIL", failed, "temporary 4.4.3 dns-failure receiver"],
    ["AAAA only, no IPv6 here", addresses("2001:db8::1"), "temporary 4.4.1 connect-failed you", {}, { useIpv6: false }],
    ["both, no IPv6 here", addresses("2001:db8::1", "192.0.2.1"), "192.0.2.1", {}, { useIpv6: false }],
    ["A only, IPv4 off", addresses("192.0.2.1"), "temporary 4.4.1 connect-failed you", {}, { ipv4: false }],
    ["private use only", addresses("10.1.1.1"), "temporary 4.4.4 forbidden-address receiver"],
    ["private use and public", addresses("10.1.1.1", "192.0.2.1"), "192.0.2.1"],
    ["loopback", addresses("127.0.0.1"), "ourselves 127.0.0.1"],
    ["loopback in IPv6 clothes", addresses("::ffff:127.0.0.1"), "ourselves ::ffff:127.0.0.1"],
    ["unspecified", addresses("0.0.0.0"), "ourselves 0.0.0.0"],
    ["our own address", addresses("192.0.2.1", "203.0.113.1"), "ourselves 203.0.113.1"],
    ["our own address in IPv6 clothes", addresses("::ffff:203.0.113.1"), "ourselves ::ffff:203.0.113.1"],
    ["our own private address", addresses("10.0.0.9"), "ourselves 10.0.0.9"],
    ["loopback that the operator allowed", addresses("127.0.0.2"), "127.0.0.2"],
    ["a configured host at loopback", addresses("127.0.0.1"), "127.0.0.1", { configured: true }],
    ["a configured host at a private address", addresses("10.1.1.1"), "10.1.1.1", { configured: true }],
    ["a configured host that does not exist", noName, "temporary 4.4.4 domain-not-found you", { configured: true }],
    ["a literal", failed, "192.0.2.7", { address: "192.0.2.7" }],
    ["a forbidden literal", failed, "permanent 5.4.4 forbidden-address sender", { address: "10.0.0.1" }],
    ["a literal of the other family", failed, "temporary 4.4.1 connect-failed you", { address: "2001:db8::1" }, { useIpv6: false }],
  ];
  for (const [title, finding, expected, more, settings] of cases)
    test(`${title}: ${expected}`, async () => expect(await judged(finding, more, settings)).toBe(expected));
});
