/**
 * The part of a report's mail for people (RFC 8460 §5.3): what this is, who sent it, the totals, where to ask. The document in,
 * lines with CRLF out. Whoever wants more opens the attachment.
 */
import type { EmailAddress } from "../mail/address.ts";
import { cleanText } from "../mail/reply.ts";
import { POLICY_NAMES } from "../policy/observation.ts";
import type { ReportName } from "./naming.ts";
import type { DocumentPolicy, ReportDocument } from "./schema.ts";

/** A person reads a few; a machine reads them all in the document. */
const MOST_POLICIES = 20;

export function reportText(report: ReportDocument, name: ReportName, to: readonly EmailAddress[]): string {
  const { reportDomain, submitter, reportId } = name;
  const { policies } = report;
  const [successes, failures] = (["total-successful-session-count", "total-failure-session-count"] as const).map((member) =>
    policies.reduce((total, { summary }) => total + summary[member], 0),
  );
  const lines = [
    "This is a TLS report (SMTP TLS Reporting, RFC 8460) about mail to",
    `${reportDomain}: how TLS went when it was sent there.`,
    "",
    `  from       ${cleanText(report["organization-name"], 200)} (${submitter})`,
    `  day        ${report["date-range"]["start-datetime"].slice(0, 10)}, 00:00 to 24:00 UTC`,
    `  report     ${reportId}`,
    `  succeeded  ${successes}`,
    `  failed     ${failures}`,
    "",
    "Sessions by the policy that was applied; one that had two is in both:",
    "",
    ...policies.slice(0, MOST_POLICIES).flatMap(policyLines),
    ...(policies.length > MOST_POLICIES ? [`  and ${policies.length - MOST_POLICIES} more policies`] : []),
    "",
    "The attachment says more: which servers, which failures, how often. It is",
    "JSON in gzip; `postern tlsrpt read FILE` shows it as a table.",
    "",
    `You get this because the DNS record at _smtp._tls.${reportDomain}`,
    "asks for reports to",
    ...to.map((address) => `  ${address}`),
    "Whoever keeps that record can send them elsewhere, or end them.",
    "",
    `Questions about this report go to ${report["contact-info"]}.`,
    "",
  ];
  return lines.join("\r\n");
}

/** The counts, then what failed, most frequent first. */
function policyLines({ policy, summary, "failure-details": details = [] }: DocumentPolicy): string[] {
  const sessions = `${summary["total-successful-session-count"]} succeeded, ${summary["total-failure-session-count"]} failed`;
  const byType = new Map<string, number>();
  for (const { "result-type": type, "failed-session-count": count } of details) byType.set(type, (byType.get(type) ?? 0) + count);
  return [
    `  ${POLICY_NAMES[policy["policy-type"]]}, ${policy["policy-domain"]}: ${sessions}`,
    ...[...byType].sort(([, a], [, b]) => b - a).map(([type, count]) => `      ${type}: ${count}`),
  ];
}
