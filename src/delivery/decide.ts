/**
 * What is demanded of one host of a plan, once its TLSA records are known: the plan's facts, the host's records and the
 * message's demands in; the decision, and the evidence that is kept with the attempt, out. The rules are
 * policy/decision.ts; here they are asked once for all messages that meet the same facts.
 */
import { LRUCache } from "lru-cache";
import { decideHost, type HostDecision } from "../policy/decision.ts";
import { hostProof } from "../policy/host-facts.ts";
import { type HostEvidence, tlsaEvidence } from "../policy/evidence.ts";
import type { StsFinding, TlsaFinding } from "../policy/facts.ts";
import type { LocalPolicy } from "../policy/local-policy.ts";
import type { TlsOutcome } from "../policy/outcome.ts";
import { findUnmet, type Unmet } from "../policy/requirement.ts";
import type { DigestName } from "../policy/tlsa.ts";
import type { HostFindings } from "./gather.ts";
import type { MessageDemands, PlannedHost } from "./plan.ts";
import { sameDemands, sameSts } from "./planner.ts";

export interface Decided {
  readonly decision: HostDecision;
  readonly evidence: HostEvidence;
}

export type DecideHost = (host: PlannedHost, found: HostFindings, message: MessageDemands) => Decided;

interface Kept {
  readonly sts: StsFinding;
  readonly tlsa: TlsaFinding;
  readonly local: LocalPolicy;
  readonly decided: Decided;
}

/** Of one host of one plan, which brings all the rest. */
interface OfPlan {
  readonly message: MessageDemands;
  readonly security: HostFindings["security"];
  readonly tlsa: TlsaFinding;
  readonly decided: Decided;
}

const KEPT_DECISIONS = 5_000;

/** `daneDigests` as in `tls.daneDigests`; a reload makes another decider. */
export function createDecider(daneDigests: readonly DigestName[]): DecideHost {
  const kept = new LRUCache<string, Kept>({ max: KEPT_DECISIONS });
  // Plans serve many messages (delivery/planner.ts), and what a host of one comes with is not compared again.
  const ofPlans = new WeakMap<PlannedHost, OfPlan>();
  return (host, found, message) => {
    const last = ofPlans.get(host);
    if (last !== undefined && last.security === found.security && sameDemands(last.message, message) && sameTlsa(last.tlsa, found.tlsa))
      return last.decided;
    const decided = decide(host, found, message);
    ofPlans.set(host, { message, security: found.security, tlsa: found.tlsa, decided });
    return decided;
  };

  function decide(host: PlannedHost, found: HostFindings, message: MessageDemands): Decided {
    const { facts, local } = host.policy;
    const { tlsa } = found;
    const { tag, mayGoBelowFloor } = message;
    const { nextHop, origin, mxSecurity, expandedNextHop, certificateName, sts, dnssec } = facts;
    const key = [
      host.host,
      nextHop,
      origin,
      mxSecurity,
      expandedNextHop,
      certificateName,
      tag,
      mayGoBelowFloor,
      dnssec.kind,
      dnssec.since,
      found.security,
    ].join("\n");
    const before = kept.get(key);
    if (before !== undefined && sameSts(before.sts, sts) && sameTlsa(before.tlsa, tlsa) && sameLocal(before.local, local))
      return before.decided;
    const decision = decideHost({ ...facts, tlsa }, { local, mayGoBelowFloor, daneDigests, ...(tag !== undefined && { tag }) });
    const evidence: HostEvidence = {
      ...(found.security !== undefined && { addresses: found.security }),
      host: hostProof(facts),
      tlsa: tlsaEvidence(tlsa),
      // That nothing is published stands in the findings, and every attempt of every message keeps this.
      rules: decision.rules.filter(({ effect, source }) => effect !== "idle" || (source !== "dane" && source !== "mta-sts")),
    };
    const decided = { decision, evidence };
    kept.set(key, { sts, tlsa, local, decided });
    return decided;
  }
}

/**
 * Whether two findings say the same, age included. The records, or the failure, are shared while they are fresh, so there it is
 * enough that they are the same; a doubt decides anew.
 */
function sameTlsa(one: TlsaFinding, other: TlsaFinding): boolean {
  if (one === other) return true;
  switch (one.kind) {
    case "not-asked":
      return other.kind === "not-asked" && one.why === other.why;
    case "none":
      return (
        other.kind === "none" && one.security === other.security && one.expires === other.expires && one.asked.join() === other.asked.join()
      );
    case "records":
      return (
        other.kind === "records" && one.records === other.records && one.baseDomain === other.baseDomain && one.expires === other.expires
      );
    case "failed":
      return other.kind === "failed" && one.failure === other.failure && one.asked === other.asked;
  }
}

/** By what they say: a route's policy is made anew for each plan. */
function sameLocal(one: LocalPolicy, other: LocalPolicy): boolean {
  return (
    one.floor.floor === other.floor.floor &&
    one.floor.because.text === other.floor.because.text &&
    one.host.level === other.host.level &&
    one.host.because.text === other.host.because.text &&
    one.published.mode === other.published.mode &&
    one.published.setting === other.published.setting
  );
}

/** What published policy would have stopped, had it bound this message: testing mode, `report`, TLS-Required: No. */
export function findWatched({ watched }: HostDecision, outcome: TlsOutcome): Unmet[] {
  const failed: Unmet[] = [];
  for (const verdict of watched) {
    const unmet =
      verdict.kind === "skip" ? { failure: verdict.failure, because: verdict.because } : findUnmet(outcome, verdict.requirement);
    if (unmet !== undefined) failed.push(unmet);
  }
  return failed;
}
