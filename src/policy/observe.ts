/**
 * What TLS-RPT counts of one host (RFC 8460 §4): what is known of the host, and what happened with it, in; one observation for each
 * policy that was applied out. Pure. Policies as they are quoted are policy/applied-policy.ts, faults policy/failure-detail.ts;
 * which sessions are new, and which hosts were passed over, knows delivery/.
 *
 * Policy counts here whether or not it binds: `tls.published: report` and TLS-Required: No change what is sent, not what is told.
 */
import { type Domain, isHostname } from "../mail/domain.ts";
import { invalidStsPolicy, stsPolicy, tlsaPolicy, unquotedPolicy } from "./applied-policy.ts";
import { isBogus } from "./dnssec-errors.ts";
import { detailOf, eachOnce, type Fault, hostMember, membersOf, type ObservedPeer } from "./failure-detail.ts";
import type { LookupFailure, StsFinding, TlsaFinding } from "./facts.ts";
import type { HostFacts } from "./host-facts.ts";
import type { LocalPolicy } from "./local-policy.ts";
import type { AppliedPolicy, FailureDetail, TlsObservation } from "./observation.ts";
import type { TlsFailure, TlsOutcome, TlsSession } from "./outcome.ts";
import { stsCaseOf } from "./published.ts";
import { lookupCode } from "./reason-code.ts";
import { allowsHost } from "./sts-policy.ts";
import { type DigestName, findUnusableSet, judgeTlsa } from "./tlsa.ts";

export interface ObservedHost {
  /** Whose reports tell of it. */
  readonly reportDomain: Domain;
  readonly facts: HostFacts;
  readonly local: LocalPolicy;
  /** `tls.daneDigests`: what makes a record usable. */
  readonly daneDigests: readonly DigestName[];
}

export type Happening =
  /** A connection came as far as TLS, or to what was said in clear in place of it. */
  | { readonly kind: "session"; readonly tls: TlsOutcome; readonly peer: ObservedPeer }
  /** TLS failed, and took the connection with it. */
  | { readonly kind: "tls-failed"; readonly failure: TlsFailure; readonly peer: ObservedPeer }
  /** The host was ruled out, and no connection made; `failure` is the decision's. */
  | { readonly kind: "skipped"; readonly failure: TlsFailure };

/** One policy and what was wrong under it; nothing is a success. */
interface Entry {
  readonly policy: AppliedPolicy;
  readonly failures: readonly FailureDetail[];
}

/** `at`: when it became known, ms since 1970. */
export function observe(host: ObservedHost, happened: Happening, at: number): TlsObservation[] {
  const entries = happened.kind === "skipped" ? skippedEntries(host, happened.failure) : sessionEntries(host, happened);
  const { reportDomain } = host;
  return entries.map(({ policy, failures }) => ({ reportDomain, at, policy, failures: eachOnce(failures) }));
}

/**
 * MX or addresses of which DNSSEC says that they do not hold: whatever they are, nobody is asked (RFC 8460 §4.3.2.1). `name` is
 * the one that was looked up; `host`, if it is that of a mail host.
 */
export function observeBogus(reportDomain: Domain, name: string, failure: LookupFailure, at: number, host?: string): TlsObservation {
  return { reportDomain, at, policy: unquotedPolicy("tlsa", name), failures: [lookupDetail(failure, host)] };
}

/** Only the policy that ruled the host out is told of, with that one failure. The operator's and the sender's own wishes are none. */
function skippedEntries({ facts, local }: ObservedHost, { type }: TlsFailure): Entry[] {
  const { tlsa, sts, host, dnssec } = facts;
  if (tlsa.kind === "failed") return failedLookup(facts, tlsa);
  // Mandatory DANE (RFC 7672 §6). While nothing proves that there is none, its lack is this relay's own.
  if (type === "dane-required" && local.floor.floor === "authenticated" && dnssec.kind === "validating")
    return [{ policy: unquotedPolicy("tlsa", host), failures: [detailOf({ type }, hostMember(host))] }];
  if (isOff(local) || sts.kind !== "policy" || stsCaseOf(facts) !== "enforce-unlisted") return [];
  const failures = [detailOf(NOT_LISTED, hostMember(host))];
  return [{ policy: stsPolicy(sts.policyDomain, sts.policy), failures }];
}

function sessionEntries(host: ObservedHost, happened: Exclude<Happening, { kind: "skipped" }>): Entry[] {
  const { facts, local, reportDomain } = host;
  const channel = channelOf(happened);
  const members = membersOf(facts.host, happened.peer);
  const tell = (fault: Fault): FailureDetail => detailOf(fault, members);
  const entries = [...tlsaEntries(host, channel, tell)];
  // What is published is not known then.
  if (isOff(local) || facts.sts.kind === "not-asked") return entries;
  const sts = stsEntry(facts, channel, tell);
  if (sts !== undefined) entries.push(sts);
  // Where the look-up failed, DANE cannot be ruled out.
  if (entries.length === 0 && facts.tlsa.kind !== "failed" && facts.tlsa.kind !== "records")
    entries.push({
      policy: unquotedPolicy("no-policy-found", reportDomain),
      failures: [...notMade(channel).map(tell), ...troubleOf(facts.sts)],
    });
  return entries;
}

function isOff({ published }: LocalPolicy): boolean {
  return published.mode === "off";
}

/** What the connection is: TLS, or why not. */
type Channel = { readonly session: TlsSession; readonly isWeak: boolean } | { readonly failure: TlsFailure };

function channelOf(happened: Exclude<Happening, { kind: "skipped" }>): Channel {
  if (happened.kind === "tls-failed") return { failure: happened.failure };
  const { tls } = happened;
  return tls.kind === "clear" ? { failure: tls.because } : { session: tls.session, isWeak: tls.kind === "encrypted" };
}

function notMade(channel: Channel): Fault[] {
  return "failure" in channel ? [channel.failure] : [];
}

/** A proof that holds over a session which counts as encrypted only: the suite is why (delivery/tls-outcome.ts). */
function proofOf({ isWeak }: { readonly isWeak: boolean }): Fault[] {
  return isWeak ? [WEAK_SUITE] : [];
}

function tlsaEntries({ facts, daneDigests }: ObservedHost, channel: Channel, tell: (fault: Fault) => FailureDetail): Entry[] {
  const { tlsa } = facts;
  switch (tlsa.kind) {
    case "not-asked":
    case "none":
      return [];
    case "failed":
      return failedLookup(facts, tlsa);
    case "records": {
      const faults = daneFaults(tlsa, daneDigests, channel);
      return faults === undefined ? [] : [{ policy: tlsaPolicy(tlsa.baseDomain, tlsa.records), failures: faults.map(tell) }];
    }
  }
}

/** Undefined: a connection that was opened before the records were known has shown nothing about them. */
function daneFaults(
  { baseDomain, records }: TlsaFinding & { kind: "records" },
  digests: readonly DigestName[],
  channel: Channel,
): Fault[] | undefined {
  const unusable = findUnusableSet(judgeTlsa(records, digests), baseDomain);
  if (unusable !== undefined) return [...notMade(channel), unusable];
  if ("failure" in channel) return [channel.failure];
  const { dane } = channel.session;
  if (dane === undefined) return undefined;
  return dane.held ? proofOf(channel) : [dane.failure];
}

/** RFC 8460 §4.3.4: silence, and a resolver that cannot be reached or has shown nothing yet, say nothing of the domain. */
function failedLookup({ host, dnssec }: HostFacts, { asked, failure }: TlsaFinding & { kind: "failed" }): Entry[] {
  const isCounted = dnssec.kind !== "untested" && (failure.reason === "servfail" || isBogus(failure));
  if (!isCounted) return [];
  // What aliases lead to may be no host name.
  const name = asked.replace(/^_\d+\._tcp\./, "").toLowerCase();
  return [{ policy: unquotedPolicy("tlsa", isHostname(name) ? name : host), failures: [lookupDetail(failure, host)] }];
}

function lookupDetail(failure: LookupFailure, host: string | undefined): FailureDetail {
  return detailOf({ type: "dnssec-invalid", code: lookupCode(failure) }, host === undefined ? {} : hostMember(host));
}

function stsEntry(facts: HostFacts, channel: Channel, tell: (fault: Fault) => FailureDetail): Entry | undefined {
  const { sts, host } = facts;
  if (sts.kind === "unavailable") return unusableSts(sts, channel, tell);
  if (sts.kind !== "policy" || sts.policy.mode === "none") return undefined;
  const failures = [...(allowsHost(sts.policy, host) ? [] : [tell(NOT_LISTED)]), ...webpkiFaults(channel).map(tell), ...troubleOf(sts)];
  return { policy: stsPolicy(sts.policyDomain, sts.policy), failures };
}

/** A policy that is none applies to nobody, yet its owner is to see what he serves. */
function unusableSts(
  { failure, policyDomain }: StsFinding & { kind: "unavailable" },
  channel: Channel,
  tell: (fault: Fault) => FailureDetail,
): Entry | undefined {
  if (failure.type !== "sts-policy-invalid" || failure.served === undefined) return undefined;
  const failures = [detailOf(failure), ...notMade(channel).map(tell)];
  return { policy: invalidStsPolicy(policyDomain, failure, failure.served), failures };
}

function webpkiFaults(channel: Channel): Fault[] {
  if ("failure" in channel) return [channel.failure];
  const { webpki } = channel.session;
  return webpki.held ? proofOf(channel) : [webpki.failure, ...(webpki.others ?? [])];
}

/** What is wrong with the policy itself, at its owner's side; no connection to a mail host has a part in it. */
function troubleOf(sts: StsFinding): FailureDetail[] {
  const failure = sts.kind === "unavailable" ? sts.failure : sts.kind === "policy" && sts.policy.mode !== "none" ? sts.trouble : undefined;
  return failure?.whoActs === "receiver" ? [detailOf(failure)] : [];
}

const NOT_LISTED: Fault = { type: "validation-failure", code: "mx-not-in-policy" };
const WEAK_SUITE: Fault = { type: "validation-failure", code: "weak-cipher" };
