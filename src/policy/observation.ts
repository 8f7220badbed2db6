/**
 * What TLS-RPT counts (RFC 8460 §4): one session, or one policy failure without a session, under one of the policies that were
 * applied to it. Making these of an attempt is policy/observe.ts; adding them up is the store's; the document that tells of
 * them is report/build.ts.
 */
import type { Domain } from "../mail/domain.ts";
import type { TlsFailureType } from "./outcome.ts";

/** RFC 8460 §4.2. `no-policy-found`: neither was found for that host. */
export type AppliedPolicyType = "tlsa" | "sts" | "no-policy-found";

/** As people call them. */
export const POLICY_NAMES: Readonly<Record<AppliedPolicyType, string>> = {
  sts: "MTA-STS",
  tlsa: "DANE (TLSA)",
  "no-policy-found": "no policy found",
};

/** The `policy` object of RFC 8460 §4.4. The same policy is the same value: it is what counts are grouped by. */
export interface AppliedPolicy {
  readonly type: AppliedPolicyType;
  /** A-labels, lower case: the policy domain; for `tlsa` the TLSA base domain, or the name whose look-up failed. */
  readonly domain: string;
  /**
   * `policy-string`: the lines of an MTA-STS policy as served; one string for each TLSA record, `3 1 1 9f2c…` in full; empty where
   * there is none to quote.
   */
  readonly text: readonly string[];
  /** `sts` only: the patterns of its `mx` lines. */
  readonly mxHost?: readonly string[];
}

/** What identifies one of the `failure-details` (RFC 8460 §4.4): equal ones add up. What is not known is left out. */
export interface FailureDetail {
  readonly resultType: TlsFailureType;
  /** The address the remote saw, as far as we know it. IPv6 by RFC 5952. */
  readonly sendingMtaIp?: string;
  readonly receivingMxHostname?: string;
  /** What the host called itself in its greeting or EHLO reply; a host name or an address literal, nothing else. */
  readonly receivingMxHelo?: string;
  readonly receivingIp?: string;
  /** Short code, `[A-Za-z0-9._-]` up to 64 characters: `self-signed`, `mx-not-in-policy`, `http-404`. Never the remote's words. */
  readonly reasonCode?: string;
}

export interface TlsObservation {
  /** Whose `_smtp._tls` record says where reports go: the recipient's domain, or that of the smart host (RFC 8460 §3). */
  readonly reportDomain: Domain;
  /** When the outcome became known, ms since 1970: it belongs to that UTC day. */
  readonly at: number;
  readonly policy: AppliedPolicy;
  /** Empty: a success. A session counts as failed once, however many of these there are (RFC 8460 §4.2). */
  readonly failures: readonly FailureDetail[];
}
