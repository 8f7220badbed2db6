/**
 * Policies as reports quote them (RFC 8460 §4.4, `policy`): what a domain published in, its `AppliedPolicy` out. What is known of
 * a host is shared by all messages to it, so each policy is written once, and is the same value for all its sessions. Which
 * of them was applied to what is policy/observe.ts.
 */
import { cleanText } from "../mail/reply.ts";
import type { TlsaRecord } from "./facts.ts";
import type { AppliedPolicy, AppliedPolicyType } from "./observation.ts";
import type { TlsFailure } from "./outcome.ts";
import type { StsPolicy } from "./sts-policy.ts";
import { describeTlsa } from "./tlsa.ts";

/** A policy host may serve thousands of lines, and a report is stored and mailed. */
const MOST_LINES = 100;
const LONGEST_LINE = 500;

const written = new WeakMap<object, AppliedPolicy>();

/** By what it was written from. The domain may be another one where two domains share that. */
function once(source: object, domain: string, write: () => AppliedPolicy): AppliedPolicy {
  const known = written.get(source);
  if (known?.domain === domain) return known;
  const policy = write();
  written.set(source, policy);
  return policy;
}

/** One string for each record of the set, usable or not. DNS gives a set in any order, and in another it is the same policy. */
export function tlsaPolicy(baseDomain: string, records: readonly TlsaRecord[]): AppliedPolicy {
  return once(records, baseDomain, () => ({ type: "tlsa", domain: baseDomain, text: records.map(describeTlsa).toSorted() }));
}

export function stsPolicy(policyDomain: string, policy: StsPolicy): AppliedPolicy {
  return once(policy, policyDomain, () => ({
    type: "sts",
    domain: policyDomain,
    text: linesOf(policy.text),
    mxHost: policy.mx.slice(0, MOST_LINES),
  }));
}

/** What was served in place of a policy (`sts-policy-invalid`): its lines, and no host of it counts. */
export function invalidStsPolicy(policyDomain: string, failure: TlsFailure, served: string): AppliedPolicy {
  return once(failure, policyDomain, () => ({ type: "sts", domain: policyDomain, text: linesOf(served), mxHost: [] }));
}

/** Where there is nothing to quote. */
export function unquotedPolicy(type: Exclude<AppliedPolicyType, "sts">, domain: string): AppliedPolicy {
  return { type, domain: domain.toLowerCase(), text: [] };
}

/** The lines as served, faults and all, but for what could be an address of somebody (RFC 8460 §8). */
function linesOf(served: string): string[] {
  const lines = served.split("\n", MOST_LINES + 1).map((line) => (line.endsWith("\r") ? line.slice(0, -1) : line));
  while (lines.at(-1) === "") lines.pop();
  return lines.slice(0, MOST_LINES).map((line) => cleanText(line, LONGEST_LINE).replaceAll("@", "(at)"));
}
