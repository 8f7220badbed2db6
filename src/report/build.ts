/**
 * The report document (RFC 8460 §4.4): what was counted for one domain on one day in, the JSON text out. The same counts give
 * the same text, in whatever order they come. What is left out of one that would be too large is report/fit.ts's.
 *
 * Counts are ours, and yet their words began with strangers. What stands here besides addresses of machines, names of hosts and
 * short codes is the domain's own policy, as it was served (§4.4 "including any errors"), and who we are.
 */
import type { EmailAddress } from "../mail/address.ts";
import { type Domain, parseDomain } from "../mail/domain.ts";
import { canonicalIp } from "../mail/ip-address.ts";
import { cleanText } from "../mail/reply.ts";
import { isReasonCode, isReportedHelo } from "../policy/failure-detail.ts";
import type { AppliedPolicy, FailureDetail } from "../policy/observation.ts";
import { boundsOf, type PolicyCount, type ReportDay } from "../queue/tls-reports.ts";
import { fitPolicies } from "./fit.ts";
import type { DocumentDetail, DocumentPolicy, ReportDocument } from "./schema.ts";

export interface ReportFacts {
  readonly day: ReportDay;
  readonly reportDomain: Domain;
  /** From `newReportId`: the same for all tries and all destinations (RFC 8460 §5.3). */
  readonly id: string;
  readonly organization: string;
  /** Its domain is the submitter. */
  readonly contact: EmailAddress;
  readonly counts: readonly PolicyCount[];
}

export function buildReport({ day, reportDomain, id, organization, contact, counts }: ReportFacts): string {
  const { begin, end } = boundsOf(day);
  const head = {
    "organization-name": cleanString(cleanText(organization)),
    "date-range": { "start-datetime": dateTime(begin), "end-datetime": dateTime(end) },
    "contact-info": contact,
    "report-id": id,
  };
  const policies = counts.map((count) => policyOf(count, reportDomain));
  const document: ReportDocument = { ...head, policies: fitPolicies(policies) };
  return JSON.stringify(document);
}

/** RFC 3339 §5.6, whole seconds: the last one of the day is 23:59:59 (RFC 8460, Appendix B). */
function dateTime(at: number): string {
  return `${new Date(at).toISOString().slice(0, 19)}Z`;
}

function policyOf({ policy, successes, failures, details }: PolicyCount, reportDomain: Domain): DocumentPolicy {
  return {
    policy: policyMember(policy, reportDomain),
    summary: { "total-successful-session-count": successes, "total-failure-session-count": failures },
    "failure-details": details.map(({ detail, sessions }) => detailOf(detail, sessions)),
  };
}

/** Which members a type has is not the RFC's word alone: `mx-host` is defined for `sts` only, and nothing was found to quote where nothing was found. */
function policyMember({ type, domain, text, mxHost }: AppliedPolicy, reportDomain: Domain): DocumentPolicy["policy"] {
  switch (type) {
    case "sts":
      return {
        "policy-type": type,
        "policy-string": text.map(cleanString),
        "policy-domain": nameIn(domain) ?? reportDomain,
        "mx-host": (mxHost ?? []).map((pattern) => cleanString(pattern.toLowerCase())),
      };
    case "tlsa":
      return { "policy-type": type, "policy-string": text.map(cleanString), "policy-domain": nameIn(domain) ?? reportDomain };
    case "no-policy-found":
      return { "policy-type": type, "policy-domain": nameIn(domain) ?? reportDomain };
  }
}

function detailOf(detail: FailureDetail, sessions: number): DocumentDetail {
  const { receivingMxHelo: helo, reasonCode: code } = detail;
  const sendingMtaIp = canonicalIp(detail.sendingMtaIp ?? "");
  const mx = nameIn(detail.receivingMxHostname);
  const receivingIp = canonicalIp(detail.receivingIp ?? "");
  return {
    "result-type": detail.resultType,
    ...(sendingMtaIp !== undefined && { "sending-mta-ip": sendingMtaIp }),
    ...(mx !== undefined && { "receiving-mx-hostname": mx }),
    ...(helo !== undefined && isReportedHelo(helo) && { "receiving-mx-helo": helo }),
    ...(receivingIp !== undefined && { "receiving-ip": receivingIp }),
    "failed-session-count": sessions,
    ...(code !== undefined && isReasonCode(code) && { "failure-reason-code": code }),
  };
}

/** A-labels, lower case; in front of a host there may stand what TLSA records are asked at: `_25._tcp.` (RFC 6698 §3). */
function nameIn(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const service = /^(?:_[A-Za-z0-9-]{1,62}\.){0,2}/.exec(text)?.[0] ?? "";
  const host = parseDomain(text.slice(service.length));
  return host.ok ? service.toLowerCase() + host.value : undefined;
}

/** I-JSON has no surrogates out of pairs, nor code points that are no characters (RFC 7493 §2.1). */
function cleanString(text: string): string {
  return text.toWellFormed().replace(/\p{Noncharacter_Code_Point}/gu, "\ufffd");
}
