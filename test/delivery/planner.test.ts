/** Plans that serve many messages: the same plan for the same facts, another as soon as one of them is another. */
import { describe, expect, test } from "vitest";
import { settingsSchema } from "../../src/config/settings.ts";
import type { RoutingFacts } from "../../src/delivery/gather.ts";
import type { DeliveryPlan, MessageDemands, PlanRules } from "../../src/delivery/plan.ts";
import { createPlanner } from "../../src/delivery/planner.ts";
import type { NextHop } from "../../src/mail/domain.ts";
import type { Finding, MxRecord, StsFinding } from "../../src/policy/facts.ts";
import { dnssec, policy, sts } from "../support/decisions.ts";
import { NO_DEMANDS } from "../support/policy-facts.ts";

const { delivery, tls } = settingsSchema.parse({ mailname: "relay.test" });
const rules: PlanRules = { delivery, tls, mailname: "relay.test", ownAddresses: new Set(), forbiddenAddress: () => undefined };

function mx(...records: [preference: number, exchange: string][]): Finding<MxRecord> {
  return {
    kind: "answer",
    records: records.map(([preference, exchange]) => ({ preference, exchange })),
    security: "secure",
    canonicalName: "dest.test",
    expires: 0,
  };
}

const facts: RoutingFacts = {
  nextHop: "dest.test" as NextHop,
  route: { kind: "mx" },
  mx: mx([10, "mx.dest.test"]),
  sts: sts.listed,
  dnssec: dnssec("validating"),
};
const required: MessageDemands = { tag: "required", mayGoBelowFloor: false };

function hostsOf(plan: DeliveryPlan): readonly unknown[] {
  return plan.kind === "attempt" ? plan.hosts : [];
}

describe("one plan serves all messages that meet the same facts, and no other", () => {
  test("the same facts and the same finding made anew", () => {
    const plan = createPlanner();
    const first = plan(facts, NO_DEMANDS, rules, Math.random);
    expect(plan({ ...facts }, { ...NO_DEMANDS }, rules, Math.random)).toBe(first);
    for (const finding of [sts.listed, sts.none, policy("testing")]) {
      const before = plan({ ...facts, sts: finding }, NO_DEMANDS, rules, Math.random);
      expect(plan({ ...facts, sts: { ...finding } }, NO_DEMANDS, rules, Math.random)).toBe(before);
    }
  });

  const listed = sts.listed as StsFinding & { kind: "policy" };
  const others: [what: string, changed: Partial<RoutingFacts>, message?: MessageDemands, rules?: PlanRules][] = [
    ["another answer for MX that says the same", { mx: mx([10, "mx.dest.test"]) }],
    ["a policy that was fetched again", { sts: { ...listed, fetchedAt: 7 } }],
    ["a policy that holds for another time", { sts: { ...listed, expires: 7 } }],
    ["a policy of another id", { sts: { ...listed, id: "7" } }],
    ["another policy", { sts: policy("enforce") }],
    ["no policy", { sts: sts.none }],
    ["another state of the resolver", { dnssec: dnssec("validating") }],
    ["DANE met in the past", { daneSeen: 7 }],
    ["another route", { route: { kind: "literal", address: "192.0.2.1" } }],
    ["another next hop", { nextHop: "other.test" as NextHop }],
    ["REQUIRETLS", {}, required],
    ["TLS-Required: No that counts", {}, { tag: "optional", mayGoBelowFloor: true }],
    ["other settings", {}, NO_DEMANDS, { ...rules }],
  ];
  for (const [what, changed, message = NO_DEMANDS, settings = rules] of others)
    test(`${what}: planned anew`, () => {
      const plan = createPlanner();
      const [before] = hostsOf(plan(facts, NO_DEMANDS, rules, Math.random));
      const [after] = hostsOf(plan({ ...facts, ...changed }, message, settings, Math.random));
      expect(before).toBeDefined();
      expect(after).not.toBe(before);
    });

  test("hosts of equal preference are in a new order each time (RFC 5321 §5.1), and are the same hosts", () => {
    const plan = createPlanner();
    const equal = { ...facts, mx: mx([10, "a.test"], [10, "b.test"], [5, "best.test"]) };
    const orders = [0.5, 0.99].map((chance) => hostsOf(plan(equal, NO_DEMANDS, rules, () => chance)));
    const [one = [], other = []] = orders;
    expect(orders.map((hosts) => (hosts as { host: string }[]).map(({ host }) => host))).toEqual([
      ["best.test", "b.test", "a.test"],
      ["best.test", "a.test", "b.test"],
    ]);
    expect(new Set(one)).toEqual(new Set(other));
    expect(other[1]).toBe(one[2]);
  });

  test("a domain that names very many hosts is planned anew", () => {
    const plan = createPlanner();
    const many = { ...facts, mx: mx(...Array.from({ length: 21 }, (_, index): [number, string] => [index, `h${index}.test`])) };
    expect(hostsOf(plan(many, NO_DEMANDS, rules, Math.random))[0]).not.toBe(hostsOf(plan(many, NO_DEMANDS, rules, Math.random))[0]);
  });
});
