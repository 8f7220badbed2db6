/**
 * Plans made once for all messages that meet the same facts: what delivery/plan.ts plans, with the last plan of each next hop
 * kept. A plan that is used again brings the very same hosts, by which delivery/decide.ts knows what it decided of them.
 */
import { LRUCache } from "lru-cache";
import type { StsFinding } from "../policy/facts.ts";
import type { RoutingFacts } from "./gather.ts";
import { type DeliveryPlan, type MessageDemands, type PlanRules, prepareDelivery, shuffleEquals } from "./plan.ts";

export type PlanDelivery = (facts: RoutingFacts, message: MessageDemands, rules: PlanRules, random: () => number) => DeliveryPlan;

interface Kept {
  readonly facts: RoutingFacts;
  readonly message: MessageDemands;
  readonly rules: PlanRules;
  readonly plan: DeliveryPlan;
}

const KEPT_PLANS = 5_000;
/** DNS can name thousands of hosts for one domain; such plans are made anew. */
const MOST_HOSTS = 20;

export function createPlanner(): PlanDelivery {
  const kept = new LRUCache<string, Kept>({ max: KEPT_PLANS });
  return (facts, message, rules, random) => {
    const before = kept.get(facts.nextHop);
    if (before !== undefined && before.rules === rules && sameFacts(before.facts, facts) && sameDemands(before.message, message))
      return shuffleEquals(before.plan, random);
    const plan = prepareDelivery(facts, message, rules);
    if (plan.kind === "attempt" && plan.hosts.length <= MOST_HOSTS) kept.set(facts.nextHop, { facts, message, rules, plan });
    return shuffleEquals(plan, random);
  };
}

export function sameDemands(one: MessageDemands, other: MessageDemands): boolean {
  return one.tag === other.tag && one.mayGoBelowFloor === other.mayGoBelowFloor;
}

function sameFacts(one: RoutingFacts, other: RoutingFacts): boolean {
  return (
    one.route === other.route &&
    one.mx === other.mx &&
    one.dnssec === other.dnssec &&
    one.daneSeen === other.daneSeen &&
    sameSts(one.sts, other.sts)
  );
}

/**
 * Whether two findings say the same, age included. What they hold (a parsed policy, a failure) is shared while it is fresh, so
 * there it is enough that it is the same one; a doubt plans anew.
 */
export function sameSts(one: StsFinding, other: StsFinding): boolean {
  if (one === other) return true;
  switch (one.kind) {
    case "not-asked":
      return other.kind === "not-asked" && one.why === other.why;
    case "none":
      return other.kind === "none" && one.policyDomain === other.policyDomain && one.trouble === other.trouble;
    case "unavailable":
      return other.kind === "unavailable" && one.policyDomain === other.policyDomain && one.failure === other.failure;
    case "policy":
      return (
        other.kind === "policy" &&
        one.policy === other.policy &&
        one.policyDomain === other.policyDomain &&
        one.id === other.id &&
        one.fetchedAt === other.fetchedAt &&
        one.expires === other.expires &&
        one.trouble === other.trouble
      );
  }
}
