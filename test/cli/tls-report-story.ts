/**
 * A day of TLS as it was counted, the reports of the day before, and the keys of a domain: what the renderers' tests and the
 * examples in docs/tls-reports.md and docs/dkim.md are made of. The documents are those that report/build.ts writes.
 */
import { generateKeyPairSync } from "node:crypto";
import { gzipSync } from "node:zlib";
import type { KeyList, KeyRecords } from "../../src/admin/dkim.ts";
import type { CountedDay, OneReport, ReportList, ReportPreview, ReportSummary } from "../../src/admin/tlsrpt.ts";
import { formatRecord, showKey } from "../../src/dkim/shown.ts";
import type { EmailAddress } from "../../src/mail/address.ts";
import type { Domain } from "../../src/mail/domain.ts";
import type { DkimKey } from "../../src/queue/dkim-keys.ts";
import type { QueueId } from "../../src/queue/entry.ts";
import { type PolicyCount, type ReportDay, reportDayOf, type TlsReport } from "../../src/queue/tls-reports.ts";
import { buildReport } from "../../src/report/build.ts";
import { at, NOW } from "./story.ts";

export const domain = (name: string): Domain => name as Domain;
export const TODAY = reportDayOf(NOW);
export const YESTERDAY = reportDayOf(NOW - 86_400_000);

const policyLines = ["version: STSv1", "mode: enforce", "mx: mx1.example.net", "mx: mx2.example.net", "max_age: 604800"];

export const counted: Readonly<Record<string, readonly PolicyCount[]>> = {
  "example.net": [
    {
      policy: {
        type: "sts",
        domain: "example.net",
        text: policyLines,
        mxHost: ["mx1.example.net", "mx2.example.net"],
      },
      successes: 214,
      failures: 0,
      details: [],
    },
    {
      policy: {
        type: "tlsa",
        domain: "mx1.example.net",
        text: ["3 1 1 88a768cfc7d4fa49d37da0a65dd7b99ed9d117c252c3c0ec63d7582dd9352745"],
      },
      successes: 211,
      failures: 0,
      details: [],
    },
    {
      policy: {
        type: "tlsa",
        domain: "mx2.example.net",
        text: ["3 1 1 41d07be5a83c6d19ef0b42a7d5338c1e6f90b7a24d5e83f06c19ab72d4e59f2c"],
      },
      successes: 0,
      failures: 3,
      details: [
        {
          detail: {
            resultType: "validation-failure",
            reasonCode: "dane-no-match",
            sendingMtaIp: "198.51.100.7",
            receivingMxHostname: "mx2.example.net",
            receivingMxHelo: "mx2.example.net",
            receivingIp: "192.0.2.2",
          },
          sessions: 3,
        },
      ],
    },
  ],
  "example.org": [
    {
      policy: { type: "no-policy-found", domain: "example.org", text: [] },
      successes: 0,
      failures: 4,
      details: [
        {
          detail: {
            resultType: "certificate-expired",
            sendingMtaIp: "198.51.100.7",
            receivingMxHostname: "mx1.example.org",
            receivingMxHelo: "mail.example.org",
            receivingIp: "203.0.113.5",
          },
          sessions: 4,
        },
      ],
    },
  ],
};

const sum = (name: string, of: "successes" | "failures"): number => (counted[name] ?? []).reduce((total, one) => total + one[of], 0);
const together = (name: string) => ({
  reportDomain: domain(name),
  successes: sum(name, "successes"),
  failures: sum(name, "failures"),
  policies: counted[name] ?? [],
});

export const today: CountedDay = {
  now: NOW,
  day: TODAY,
  domains: [together("example.net"), together("example.org"), { reportDomain: domain("univ.example"), successes: 12, failures: 0 }],
};
export const todayOfOne: CountedDay = { now: NOW, day: TODAY, domains: [together("example.net")] };

const documentOf = (day: ReportDay, id: string): string =>
  buildReport({
    day,
    reportDomain: domain("example.net"),
    id,
    organization: "Example Company",
    contact: "tls-reports@example.com" as EmailAddress,
    counts: counted["example.net"] ?? [],
  });

export const sentReport: TlsReport = {
  id: "0k3j9x2m7q4w8v1t@example.com",
  day: YESTERDAY,
  reportDomain: domain("example.net"),
  state: "sent",
  createdAt: at("2026-09-02T00:00:01"),
  dueAt: at("2026-09-02T02:14:09"),
  giveUpAt: at("2026-09-03T02:14:09"),
  attempts: 1,
  destinations: [
    {
      uri: "https://reports.example.net/v1/tlsrpt",
      state: "accepted",
      detail: "201 from reports.example.net",
      at: at("2026-09-02T02:14:10"),
    },
    { uri: "mailto:tls@example.net", state: "untried" },
  ],
  detail: "201 from reports.example.net",
  endedAt: at("2026-09-02T02:14:10"),
  document: documentOf(YESTERDAY, "0k3j9x2m7q4w8v1t@example.com"),
};

const waitingReport: TlsReport = {
  id: "5p1c8r0z6h2n4b7d@example.com",
  day: YESTERDAY,
  reportDomain: domain("example.org"),
  state: "sending",
  createdAt: at("2026-09-02T00:00:01"),
  dueAt: at("2026-09-02T10:41:00"),
  giveUpAt: at("2026-09-03T01:40:33"),
  attempts: 2,
  destinations: [
    {
      uri: "mailto:postmaster@example.org",
      state: "queued",
      detail: "queued as 0KF41S6N8C",
      at: at("2026-09-02T01:40:33"),
      queueId: "0KF41S6N8C" as QueueId,
    },
  ],
};

const failedReport: TlsReport = {
  id: "9d4f2s7k1l6m3x8g@example.com",
  day: reportDayOf(NOW - 2 * 86_400_000),
  reportDomain: domain("univ.example"),
  state: "failed",
  createdAt: at("2026-09-01T00:00:01"),
  dueAt: at("2026-09-02T03:05:12"),
  giveUpAt: at("2026-09-02T03:05:12"),
  attempts: 9,
  destinations: [
    { uri: "https://tls.univ.example/report", state: "failed", detail: "503 from tls.univ.example", at: at("2026-09-02T03:05:12") },
  ],
  detail: "503 from tls.univ.example",
  endedAt: at("2026-09-02T03:05:12"),
};

export const reports: readonly TlsReport[] = [sentReport, waitingReport, failedReport];

const withoutDocument = ({ document: _document, ...report }: TlsReport) => report;
export const reportList: ReportList = { now: NOW, reports: reports.map(withoutDocument) };
export const oneReport: OneReport = { now: NOW, day: YESTERDAY, domain: "example.net", report: sentReport };

export const preview: ReportPreview = {
  now: NOW,
  day: TODAY,
  domain: "example.net",
  document: documentOf(TODAY, "7w3e9r1t5y2u8i4o@example.com"),
  to: {
    kind: "destinations",
    destinations: [
      { kind: "https", uri: "https://reports.example.net/v1/tlsrpt" },
      { kind: "mailto", uri: "mailto:tls@example.net" },
    ],
    ignored: [],
  },
};

export const reportSummary: ReportSummary = {
  now: NOW,
  day: TODAY,
  domains: 3,
  failedDomains: 2,
  successes: 437,
  failures: 7,
  more: false,
  due: 1,
  failed: 1,
};

const RSA =
  "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAvW5o5yq8m0rMZ2m0m3m9u3b0tqv2Wl7y9m1H4mVZkq2mX6u1o8Yc5cF3n0b6gJt1sV0yq7oQp1mK4z8fT2xE9wLr6dU5jHb3aG7nC0vSxP8iRkYtQmWeZ4hBfD1lNgJuA6oVsXcTyE2pKrM9wIq5zLbHn3dGf7aUjCvPtSxRkYmQeWiZ8hBfD1lNgJuA6oVsXcTyE2pKrM9wIq5zLbHn3dGf7aUjCvPtSxRkYmQeWiZ8hBfD1lNgJuA6oVsXcTyE2pKrM9wIq5zLbHn3dGf7aUjCvPtSxRkYmQeWiZ8QIDAQAB";

/** Never shown, yet looked at: a key in use that cannot be read is told of. */
const IN_USE = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ type: "pkcs8", format: "pem" }).toString();

export const keys: readonly DkimKey[] = [
  {
    domain: domain("example.com"),
    selector: "postern1e",
    algorithm: "ed25519-sha256",
    privateKey: "-----BEGIN PRIVATE KEY----- never shown",
    publicKey: "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    state: "waiting-for-dns",
    createdAt: at("2026-08-30T08:00:00"),
    changedAt: at("2026-08-30T08:00:00"),
    checkedAt: NOW - 180_000,
    problem: "the record is not in DNS",
  },
  {
    domain: domain("example.com"),
    selector: "postern1r",
    algorithm: "rsa-sha256",
    privateKey: IN_USE,
    publicKey: RSA,
    state: "active",
    createdAt: at("2026-08-30T08:00:00"),
    changedAt: at("2026-08-30T08:25:10"),
    checkedAt: NOW - 1_320_000,
  },
];

export const keyList: KeyList = { now: NOW, keys: keys.map((key) => ({ ...showKey(key, undefined), listed: true })) };
export const keyRecords: KeyRecords = {
  now: NOW,
  records: keys.map((key) => ({
    ...formatRecord(key),
    ...(key.problem !== undefined && { problem: key.problem }),
    ...(key.checkedAt !== undefined && { checkedAt: key.checkedAt }),
  })),
};

/** New keys of the same domain, made now. */
export const newRecords: KeyRecords = {
  now: NOW,
  records: keys
    .map((key) => ({ ...key, selector: key.selector.replace("1", "2"), state: "waiting-for-dns" as const }))
    .map((key) => formatRecord({ ...key, publicKey: Array.from(key.publicKey).reverse().join("").replace(/^=*/, "") })),
};

/** What another reporter found at our own domain. */
export const received: Buffer = gzipSync(
  JSON.stringify({
    "organization-name": "Company X",
    "date-range": { "start-datetime": "2026-09-01T00:00:00Z", "end-datetime": "2026-09-01T23:59:59Z" },
    "contact-info": "tlsrpt@company-x.example",
    "report-id": "2026-09-01T00:00:00Z_example.com",
    policies: [
      {
        policy: {
          "policy-type": "sts",
          "policy-string": ["version: STSv1", "mode: testing", "mx: mx.example.com", "max_age: 86400"],
          "policy-domain": "example.com",
          "mx-host": ["mx.example.com"],
        },
        summary: { "total-successful-session-count": 5326, "total-failure-session-count": 303 },
        "failure-details": [
          {
            "result-type": "certificate-expired",
            "sending-mta-ip": "192.0.2.25",
            "receiving-mx-hostname": "mx.example.com",
            "receiving-ip": "198.51.100.7",
            "failed-session-count": 303,
          },
        ],
      },
    ],
  }),
);
