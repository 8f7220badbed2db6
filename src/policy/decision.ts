/**
 * The decision for one host: what its domain publishes, what DNS proves, what the operator and the message ask in; whether
 * the host may be asked, under which requirement, and which rules led there out. Total, and pure: delivery obeys this value,
 * `postern check` and `queue why` show it.
 *
 * A published policy, REQUIRETLS and the operator each raise the demand; nothing lowers it but what the operator set.
 */
import { floorDemand, hostFloorDemands, requireTlsDemand } from "./demand.ts";
import type { Demand, Demands, HostFacts } from "./host-facts.ts";
import type { TlsFailure } from "./outcome.ts";
import { daneDemand, idleRules, PUBLISHED, readTlsa, stsCaseOf, stsDemand } from "./published.ts";
import { type Because, type ChannelLevel, type DaneRequirement, isAtLeast, type TlsRequirement } from "./requirement.ts";

export type PolicyVerdict =
  | { readonly kind: "try"; readonly requirement: TlsRequirement }
  /** No connection is made. `lasting`: time alone will not change it, so a REQUIRETLS message bounces (RFC 8689 §4.2.1). */
  | { readonly kind: "skip"; readonly failure: TlsFailure; readonly because: Because; readonly lasting: boolean };

/** One rule as it came out for a host, for people. */
export interface Rule {
  readonly source: Because["source"] | "published" | "tls-optional";
  /** `MTA-STS enforce of example.org`. */
  readonly text: string;
  /** `RFC 8461 §5`. */
  readonly section: string;
  /** `won`: this demand was the highest; `holds`: it must hold besides; `watched`: counted and shown only; `idle`: asks nothing here. */
  readonly effect: "won" | "holds" | "watched" | "idle";
  /** What it says of this host: `authenticated TLS for mx1.example.org`. */
  readonly says: string;
  /** What it demands of the channel; absent where it demands nothing, or forbids the host. */
  readonly atLeast?: ChannelLevel;
}

export interface HostDecision {
  readonly verdict: PolicyVerdict;
  /** What published policy would demand where it does not bind: testing mode, `report`, TLS-Required: No. */
  readonly watched: readonly PolicyVerdict[];
  readonly rules: readonly Rule[];
}

export function decideHost(facts: HostFacts, demands: Demands): HostDecision {
  const { local, tag } = demands;
  const tlsa = readTlsa(facts, demands);
  const cell = PUBLISHED[tlsa.kind][stsCaseOf(facts)];
  const belowFloor = tag === "optional" && demands.mayGoBelowFloor;
  const binding: Demand[] = [];
  const watched: Demand[] = [];
  const rules: Rule[] = [];

  const requireTls = requireTlsDemand(facts, tag);
  if (requireTls !== undefined) binding.push(requireTls);
  // Mandatory DANE is the operator's demand (RFC 7672 §6), so it binds also where published policy does not.
  const hostFloor = belowFloor ? [] : hostFloorDemands(facts, local, tlsa);
  binding.push(...hostFloor);
  if (local.published.mode === "off") {
    rules.push({
      source: "published",
      text: local.published.setting,
      section: "",
      effect: "won",
      says: "published policy is not looked at",
    });
  } else {
    const setAside = local.published.mode === "report" || tag === "optional";
    for (const demand of [daneDemand(facts, tlsa, cell), stsDemand(facts, cell)]) {
      if (demand === undefined) continue;
      if (setAside || demand.watch === true) watched.push(demand);
      else binding.push(demand);
    }
    if (setAside && watched.length > 0) rules.push(asideRule(demands));
    rules.push(...idleRules(facts, cell));
  }
  const floor = floorDemand(demands, belowFloor);
  binding.push(floor);

  const verdict = verdictOf(facts, binding, tlsa.dane);
  const won = verdict.because;
  for (const demand of binding) {
    const idle = demand.atLeast === "clear" && demand.skip === undefined;
    rules.push(ruleOf(demand, demand.because === won ? "won" : idle ? "idle" : "holds"));
  }
  for (const demand of watched) rules.push(ruleOf(demand, "watched"));
  return { verdict: verdict.verdict, watched: watched.map((demand) => verdictOf(facts, [demand], tlsa.dane).verdict), rules };
}

/** All demands together. The first of the highest gives its name; a skip goes before everything. */
function verdictOf(
  facts: HostFacts,
  demands: readonly Demand[],
  dane: DaneRequirement | undefined,
): { verdict: PolicyVerdict; because: Because } {
  const skipping = demands.find(({ skip }) => skip !== undefined);
  if (skipping?.skip !== undefined) {
    const { because, skip } = skipping;
    return { verdict: { kind: "skip", failure: skip.failure, because, lasting: skip.lasting }, because };
  }
  let highest = demands[0] as Demand;
  for (const demand of demands) if (!isAtLeast(highest.atLeast, demand.atLeast)) highest = demand;
  const { because, atLeast } = highest;
  const webpki = demands.find((demand) => demand.webpki === true);
  const matching = demands.find((demand) => demand.dane !== undefined);
  const keyword = demands.find((demand) => demand.keyword === true);
  const requirement: TlsRequirement = {
    atLeast,
    because,
    webpki: {
      referenceIdentifiers: facts.certificateName === undefined ? [] : [facts.certificateName],
      demanded: webpki !== undefined,
      because: webpki?.because ?? because,
    },
    // Usable records are compared also where they bind nobody: what would have failed is shown.
    ...(dane !== undefined && { dane: { ...dane, demanded: matching !== undefined, because: matching?.because ?? dane.because } }),
    ...(keyword !== undefined && { requireTlsKeyword: { mandatory: keyword.atLeast === "authenticated", because: keyword.because } }),
  };
  return { verdict: { kind: "try", requirement }, because };
}

function asideRule({ local }: Demands): Rule {
  return local.published.mode === "report"
    ? {
        source: "published",
        text: local.published.setting,
        section: "",
        effect: "won",
        says: "report: published policy is watched, not enforced",
      }
    : {
        source: "tls-optional",
        text: "TLS-Required: No of the message",
        section: "RFC 8689 §3",
        effect: "won",
        says: "published policy is set aside for this message",
      };
}

function ruleOf({ because, section, says, atLeast, skip }: Demand, effect: Rule["effect"]): Rule {
  return { source: because.source, text: because.text, section, effect, says, ...(skip === undefined && { atLeast }) };
}
