/** Counts and documents that several tests start from. */
import type { EmailAddress } from "../../src/mail/address.ts";
import type { Domain } from "../../src/mail/domain.ts";
import type { AppliedPolicy, FailureDetail } from "../../src/policy/observation.ts";
import type { PolicyCount, ReportDay } from "../../src/queue/tls-reports.ts";
import { buildReport, type ReportFacts } from "../../src/report/build.ts";

export const REPORT_DOMAIN = "example.test" as Domain;
export const CONTACT = "tlsrpt@sender.test" as EmailAddress;

export const sts: AppliedPolicy = {
  type: "sts",
  domain: "example.test",
  text: ["version: STSv1", "mode: enforce", "mx: *.example.test", "mx: mx.example.test", "max_age: 86400"],
  mxHost: ["*.example.test", "mx.example.test"],
};
export const tlsa: AppliedPolicy = {
  type: "tlsa",
  domain: "mx.example.test",
  text: [`3 1 1 ${"ab".repeat(32)}`, `2 0 1 ${"cd".repeat(32)}`],
};
export const nothing: AppliedPolicy = { type: "no-policy-found", domain: "example.test", text: [] };

export const mismatch: FailureDetail = {
  resultType: "certificate-host-mismatch",
  sendingMtaIp: "198.51.100.7",
  receivingMxHostname: "mx.example.test",
  receivingMxHelo: "box.hosting.test",
  receivingIp: "2001:db8::25",
};

export const counted = (
  policy: AppliedPolicy,
  successes: number,
  failed: readonly (readonly [FailureDetail, number])[] = [],
): PolicyCount => ({
  policy,
  successes,
  failures: failed.reduce((total, [, sessions]) => total + sessions, 0),
  details: failed.map(([detail, sessions]) => ({ detail, sessions })),
});

export const facts = (changed: Partial<ReportFacts> = {}): ReportFacts => ({
  day: "2026-03-01" as ReportDay,
  reportDomain: REPORT_DOMAIN,
  id: "a1b2c3@sender.test",
  organization: "Sender Ltd",
  contact: CONTACT,
  counts: [counted(sts, 3, [[mismatch, 2]]), counted(tlsa, 5)],
  ...changed,
});

export const exampleDocument = (changed: Partial<ReportFacts> = {}): string => buildReport(facts(changed));
