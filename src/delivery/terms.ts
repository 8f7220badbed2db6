/**
 * The terms on which one host is asked: its requirement, the name it is asked by, where the connection goes. A decision and
 * what led to it in; targets, problems and evidence for the record out. Pure; the walk over hosts is delivery/attempt.ts.
 */
import type { PolicyVerdict } from "../policy/decision.ts";
import type { HostEvidence } from "../policy/evidence.ts";
import type { HostAddress, TlsaFinding } from "../policy/facts.ts";
import type { TlsOutcome } from "../policy/outcome.ts";
import type { TlsRequirement } from "../policy/requirement.ts";
import type { DeliveryProblem } from "../queue/settlement.ts";
import { type Decided, findWatched } from "./decide.ts";
import type { HostFindings } from "./gather.ts";
import type { PlannedHost } from "./plan.ts";
import { problem } from "./problems.ts";
import { ourHostName, type RelayAddresses } from "./relay-name.ts";
import type { SessionTarget } from "./session.ts";

export interface Terms {
  readonly requirement: TlsRequirement;
  /** SNI (RFC 6066 §3); absent for addresses. */
  readonly serverName: string | undefined;
  readonly tlsa: TlsaFinding;
  readonly decided: Decided;
}

export interface TargetRules extends RelayAddresses {
  readonly mailname: string | undefined;
  /** Trust anchors (PEM) of a `rootsFile`; undefined if it could not be read. */
  readonly rootsOf?: (file: string) => string | undefined;
}

export function termsOf(host: PlannedHost, { tlsa }: HostFindings, requirement: TlsRequirement, decided: Decided): Terms {
  // The TLSA base domain goes out (RFC 7672 §8.1), also where no record is usable; the operator's own `tlsName` goes before.
  const serverName = tlsa.kind === "records" && (!host.configured || host.serverName === host.host) ? tlsa.baseDomain : host.serverName;
  return { requirement, serverName, tlsa, decided };
}

/** `authenticated (MTA-STS enforce of example.org)`. */
export function describeRequirement({ atLeast, because }: TlsRequirement): string {
  return `${atLeast === "clear" ? "opportunistic" : atLeast} (${because.text})`;
}

/** Undefined if the host's own trust anchors cannot be read: falling back to others would trust whom the operator did not name. */
export function targetOf(
  host: PlannedHost,
  { requirement, serverName }: Terms,
  { address, family }: HostAddress,
  rules: TargetRules,
): SessionTarget | undefined {
  const localAddress = family === 6 ? rules.delivery.sourceAddress6 : rules.delivery.sourceAddress4;
  const roots = host.rootsFile === undefined ? undefined : rules.rootsOf?.(host.rootsFile);
  if (host.rootsFile !== undefined && roots === undefined) return undefined;
  return {
    host: host.host,
    address,
    port: host.port,
    ehloName: rules.mailname ?? ourHostName(rules, family),
    requirement,
    tls: host.tls,
    ...(localAddress !== undefined && { localAddress }),
    ...(serverName !== undefined && { serverName }),
    ...(roots !== undefined && { roots }),
    ...(host.login !== undefined && { login: host.login }),
  };
}

/** Why no connection is made. */
export function skipProblem(host: PlannedHost, { failure, because }: PolicyVerdict & { kind: "skip" }): DeliveryProblem {
  return problem(failure.type, failure.whoActs, `${failure.detail}; demanded by ${because.text}`, { status: "4.7.0", host: host.host });
}

/** The evidence of the host, with what published policy would have stopped on this very connection. */
export function evidenceOf({ decided: { decision, evidence } }: Terms, tls: TlsOutcome | undefined): HostEvidence {
  if (tls === undefined || decision.watched.length === 0) return evidence;
  const wouldHaveFailed = findWatched(decision, tls);
  return wouldHaveFailed.length === 0 ? evidence : { ...evidence, wouldHaveFailed };
}
