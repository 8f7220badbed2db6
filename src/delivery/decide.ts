/**
 * What is demanded of one host of a plan, once its TLSA records are known: the plan's facts, the host's records and the
 * message's demands in; the decision, and the evidence that is kept with the attempt, out. The rules are
 * policy/decision.ts; here they are asked once for all messages that meet the same facts.
 */
import ipaddr from "ipaddr.js";
import { LRUCache } from "lru-cache";
import { parseNetwork } from "../mail/network.ts";
import { decideHost, type HostDecision } from "../policy/decision.ts";
import { hostProof } from "../policy/host-facts.ts";
import { type HostEvidence, tlsaEvidence } from "../policy/evidence.ts";
import type { StsFinding, TlsaFinding } from "../policy/facts.ts";
import type { LocalPolicy } from "../policy/local-policy.ts";
import type { TlsOutcome } from "../policy/outcome.ts";
import { findUnmet, type Unmet } from "../policy/requirement.ts";
import type { DigestName } from "../policy/tlsa.ts";
import type { Origin } from "../queue/entry.ts";
import type { HostFindings } from "./gather.ts";
import type { MessageDemands, PlannedHost } from "./plan.ts";

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

const KEPT_DECISIONS = 5_000;

/** `daneDigests` as in `tls.daneDigests`; a reload makes another decider. */
export function createDecider(daneDigests: readonly DigestName[]): DecideHost {
  const kept = new LRUCache<string, Kept>({ max: KEPT_DECISIONS });
  return (host, found, message) => {
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
    // Findings are shared while they are fresh, so the same value is the same finding; another one decides anew.
    if (before !== undefined && before.sts === sts && before.tlsa === tlsa && sameDemands(before.local, local)) return before.decided;
    const decision = decideHost({ ...facts, tlsa }, { local, mayGoBelowFloor, daneDigests, ...(tag !== undefined && { tag }) });
    const evidence: HostEvidence = {
      ...(found.security !== undefined && { addresses: found.security }),
      host: hostProof(facts),
      tlsa: tlsaEvidence(tlsa),
      rules: decision.rules,
    };
    const decided = { decision, evidence };
    kept.set(key, { sts, tlsa, local, decided });
    return decided;
  };
}

function sameDemands(one: LocalPolicy, other: LocalPolicy): boolean {
  return (
    one.floor.floor === other.floor.floor &&
    one.floor.because.text === other.floor.because.text &&
    one.host === other.host &&
    one.published === other.published
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

interface Honoured {
  readonly users: ReadonlySet<string>;
  readonly networks: readonly [ipaddr.IPv4 | ipaddr.IPv6, number][];
}

// Compiled once for each configuration.
const compiledHonoured = new WeakMap<readonly string[], Honoured>();

/** True if the operator named this submitter in `tls.honourTlsOptional`: users by name, clients without login by network. */
export function isHonoured({ user, clientAddress }: Origin, setting: readonly string[]): boolean {
  if (setting.length === 0) return false;
  let honoured = compiledHonoured.get(setting);
  if (honoured === undefined) {
    honoured = compile(setting);
    compiledHonoured.set(setting, honoured);
  }
  if (user !== undefined) return honoured.users.has(user);
  if (clientAddress === undefined || !ipaddr.isValid(clientAddress)) return false;
  const client = ipaddr.process(clientAddress);
  return honoured.networks.some(([network, prefix]) => network.kind() === client.kind() && client.match(network, prefix));
}

function compile(setting: readonly string[]): Honoured {
  const users = new Set<string>();
  const networks: [ipaddr.IPv4 | ipaddr.IPv6, number][] = [];
  for (const text of setting) {
    const network = parseNetwork(text);
    if (network.ok) networks.push([ipaddr.parse(network.value.address), network.value.prefix]);
    else users.add(text);
  }
  return { users, networks };
}
