/** The commands that the handbooks show, and what they print for the story of test/cli/story.ts. */
import { renderList, renderMailq, renderSummary } from "../../src/cli/list-text.ts";
import { plainLine } from "../../src/cli/log.ts";
import { renderStart } from "../../src/cli/start-text.ts";
import { renderWhy } from "../../src/cli/why-text.ts";
import type { PosternEvent } from "../../src/events.ts";
import { renderSource, renderStage } from "../../src/cli/check-text.ts";
import { renderPolicies, renderPolicy, renderRefresh } from "../../src/cli/policy-text.ts";
import { renderKeys, renderRecords, renderRotation } from "../../src/cli/dkim-text.ts";
import { renderCounted, renderPreview, renderReport, renderReports } from "../../src/cli/tlsrpt-text.ts";
import { renderReceived } from "../../src/cli/tlsrpt-read-text.ts";
import { readReport } from "../../src/report/read.ts";
import { deliverable, refreshed, refusedStory, view } from "./check-story.ts";
import { list, NOW, story, summary } from "./story.ts";
import { keyList, keyRecords, newRecords, oneReport, preview, received, reportList, today, todayOfOne } from "./tls-report-story.ts";

const NEXT = Date.parse("2026-09-02T11:04:40Z");

export const accepted: PosternEvent & { kind: "message-accepted" } = {
  kind: "message-accepted",
  id: "0KF3V7Q2M9",
  listener: "smtp",
  client: "172.20.0.4",
  sender: "app@example.com",
  recipients: 1,
  size: 14_310,
  messageId: "<a1@example.com>",
};

export const deferred: PosternEvent = {
  kind: "recipient-settled",
  demanded: "authenticated (tls.floor of this relay)",
  id: "0KF3V7Q2M9",
  recipient: "jo@example.org",
  outcome: "deferred",
  relay: "mx1.example.org[203.0.113.5]:25",
  delay: 3_031_400,
  delays: [10, 3_031_180, 204, 0],
  status: "4.7.5",
  text: "certificate ended 2026-08-30 11:02 UTC",
  reason: "certificate-expired",
  whoActs: "receiver",
  tls: "encrypted TLSv1.3 TLS_AES_256_GCM_SHA384",
  nextAttempt: NEXT,
  attempt: 4,
};

export const sent: PosternEvent = {
  kind: "recipient-settled",
  demanded: "authenticated (tls.floor of this relay)",
  id: "0KF45GX1TB",
  recipient: "bo@univ.example",
  outcome: "delivered",
  relay: "mail.univ.example[198.51.100.20]:25",
  delay: 352,
  delays: [8, 0, 201, 143],
  status: "2.0.0",
  text: "250 2.0.0 Ok: queued as 4XcB7k2Jm9z1",
  tls: "authenticated TLSv1.3 TLS_AES_256_GCM_SHA384",
  attempt: 1,
};

export const examples: Readonly<Record<string, string>> = {
  "postern queue summary": renderSummary(summary),
  "postern queue ls": renderList(list, NOW),
  "postern queue why 0KF3V7Q2M9": renderWhy(story, { all: false }),
  "postern queue why 0KF3V7Q2M9 --all": renderWhy(story, { all: true }),
  "postern mailq": renderMailq(list.entries),
};

/** Those of docs/policy.md. */
export const policyExamples: Readonly<Record<string, string>> = {
  "postern check example.net": deliverable.map((line) => renderStage(line, NOW)).join("") + renderSource(true),
  "postern policy show example.net": renderPolicy(view),
  "postern policy list": renderPolicies({ now: NOW, policies: view.kept === undefined ? [] : [view.kept] }),
  "postern policy refresh example.net": renderRefresh({ ...refreshed, now: NOW }),
  "postern queue why 0KF47QZM90": renderWhy(refusedStory, { all: false }),
};

/** Those of docs/tls-reports.md. */
export const reportExamples: Readonly<Record<string, string>> = {
  "postern tlsrpt today": renderCounted(today, { alone: false }),
  "postern tlsrpt today example.net": renderCounted(todayOfOne, { alone: true }),
  "postern tlsrpt preview example.net": renderPreview(preview),
  "postern tlsrpt list": renderReports(reportList),
  "postern tlsrpt show example.net": renderReport(oneReport),
  "postern tlsrpt read report.json.gz": renderRead(received),
};

/** Those of docs/dkim.md. */
export const dkimExamples: Readonly<Record<string, string>> = {
  "postern dkim dns": renderRecords(keyRecords),
  "postern dkim list": renderKeys(keyList, { running: true }),
  "postern dkim rotate example.com": renderRotation(newRecords),
};

function renderRead(octets: Buffer): string {
  const read = readReport(octets);
  if (!read.ok) throw new Error(read.error);
  return renderReceived(read.value);
}

export const logExamples: readonly string[] = [accepted, deferred, sent].map((event) => `2026-09-02T10:24:22.000Z ${plainLine(event)}`);

export const startExample = renderStart(
  {
    kind: "started",
    version: "0.1.0",
    dataFolder: "/srv/postern/data",
    listeners: [
      { name: "smtp", address: "127.0.0.1", port: 2525, tls: "starttls" },
      { name: "submission", address: "127.0.0.1", port: 2587, tls: "starttls" },
    ],
  },
  { hasCertificate: false, command: "npx postern" },
);
