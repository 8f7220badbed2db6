/**
 * What TLS-RPT counts (RFC 8460 §4), as rows: an attempt's observations in, on the main thread, the texts that counts are grouped
 * by out. The same policy is the same text, whatever object tells of it. Adding up is count-sessions.ts, in the writer.
 */
import type { AppliedPolicy, FailureDetail, TlsObservation } from "../../policy/observation.ts";
import { type ReportDay, reportDayOf } from "../../queue/tls-reports.ts";

/** Day, report domain, policy, details: one session under one policy. It failed if there are details. */
export type ObservedSession = readonly [day: ReportDay, reportDomain: string, policy: string, details: readonly string[]];

const texts = new WeakMap<AppliedPolicy, string>();

export function observedSession({ reportDomain, at, policy, failures }: TlsObservation): ObservedSession {
  return [reportDayOf(at), reportDomain, policyText(policy), failures.map(detailText)];
}

/** A policy serves many sessions: its text, which may be long, is written once. */
export function policyText(policy: AppliedPolicy): string {
  let text = texts.get(policy);
  if (text === undefined) {
    const { type, domain, text: lines, mxHost } = policy;
    text = JSON.stringify({ type, domain, text: lines, mxHost });
    texts.set(policy, text);
  }
  return text;
}

/** Members in one order; what is not known has none. */
export function detailText(detail: FailureDetail): string {
  const { resultType, sendingMtaIp, receivingMxHostname, receivingMxHelo, receivingIp, reasonCode } = detail;
  return JSON.stringify({ resultType, sendingMtaIp, receivingMxHostname, receivingMxHelo, receivingIp, reasonCode });
}
