/**
 * One afternoon of a relay, as the store would tell it: the same values feed the tests of every renderer and the
 * examples in docs/queue.md. Times are UTC.
 */
import type { Answers, EntryStory } from "../../src/admin/handlers.ts";
import { advise } from "../../src/admin/advice.ts";
import type { EmailAddress } from "../../src/mail/address.ts";
import type { NextHop } from "../../src/mail/domain.ts";
import type { CertificateEvidence, TlsOutcome } from "../../src/policy/outcome.ts";
import type { QueueId } from "../../src/queue/entry.ts";
import type { AttemptRecord, DeliveryProblem } from "../../src/queue/settlement.ts";
import type { DestinationSummary, EntrySummary } from "../../src/queue/store.ts";

export const at = (time: string): number => Date.parse(`${time}Z`);
export const NOW = at("2026-09-02T10:24:22");

const address = (text: string): EmailAddress => text as EmailAddress;

export const expiredProblem: DeliveryProblem = {
  type: "certificate-expired",
  detail: "certificate ended 2026-08-30 11:02 UTC",
  whoActs: "receiver",
  status: "4.7.5",
  host: "mx1.example.org",
};

export const greylisted: DeliveryProblem = {
  type: "rejected",
  detail: "450 4.7.1 greylisted, come back in 5 minutes",
  whoActs: "nobody",
  status: "4.7.1",
  reply: { code: 450, enhanced: "4.7.1", lines: ["4.7.1 greylisted, come back in 5 minutes"] },
  host: "mail.univ.example",
};

export const unreachable: DeliveryProblem = {
  type: "connect-failed",
  detail: "no connection to any of 5 hosts: timed out after 30 s",
  whoActs: "you",
  status: "4.4.1",
  host: "mx.big.example",
};

const leaf: CertificateEvidence = {
  subject: "CN=mx1.example.org",
  issuer: "CN=R11, O=Let's Encrypt, C=US",
  names: ["mx1.example.org"],
  validFrom: "2026-06-01T11:02:00Z",
  validTo: "2026-08-30T11:02:00Z",
  sha256: "9f2c41d07be5a83c6d19ef0b42a7d5338c1e6f90b7a24d5e83f06c19ab72d4e5",
  key: "EC prime256v1",
};

const expiredTls: TlsOutcome = {
  kind: "encrypted",
  session: {
    protocol: "TLSv1.3",
    cipher: "TLS_AES_256_GCM_SHA384",
    serverName: "mx1.example.org",
    chain: [leaf],
    webpki: { held: false, failure: { type: "certificate-expired", detail: expiredProblem.detail, whoActs: "receiver" } },
  },
  because: { type: "certificate-expired", detail: expiredProblem.detail, whoActs: "receiver" },
};

const attempt = (startedAt: number): AttemptRecord => ({
  startedAt,
  endedAt: startedAt + 212,
  demanded: "authenticated (tls.floor of this relay)",
  hosts: [{ host: "mx1.example.org", address: "203.0.113.5", port: 25, step: "handshake", tls: expiredTls, problem: expiredProblem }],
  problem: expiredProblem,
});

export const waiting: EntrySummary = {
  id: "0KF3V7Q2M9" as QueueId,
  state: "waiting",
  sender: address("app@example.com"),
  recipients: [{ address: address("jo@example.org"), state: "waiting" }],
  nextHop: "example.org" as NextHop,
  size: 14_310,
  receivedAt: at("2026-09-02T08:14:09"),
  attempts: 4,
  nextAttempt: at("2026-09-02T11:04:40"),
  expiresAt: at("2026-09-07T08:14:09"),
  problem: expiredProblem,
};

export const greylistedEntry: EntrySummary = {
  id: "0KF45GX1TB" as QueueId,
  state: "waiting",
  sender: address("app@example.com"),
  recipients: [
    { address: address("ada@univ.example"), state: "waiting" },
    { address: address("bo@univ.example"), state: "delivered" },
  ],
  nextHop: "univ.example" as NextHop,
  size: 2048,
  receivedAt: at("2026-09-02T10:21:02"),
  attempts: 1,
  nextAttempt: at("2026-09-02T10:25:58"),
  expiresAt: at("2026-09-07T10:21:02"),
  problem: greylisted,
};

export const active: EntrySummary = {
  id: "0KF45M03ZA" as QueueId,
  state: "active",
  sender: "",
  recipients: [{ address: address("shop@example.net"), state: "waiting" }],
  nextHop: "example.net" as NextHop,
  size: 3400,
  receivedAt: at("2026-09-02T10:24:21"),
  attempts: 1,
  expiresAt: at("2026-09-04T10:24:21"),
};

export const list: Answers["queue/list"] = { entries: [waiting, greylistedEntry, active] };

const destinations: DestinationSummary[] = [
  {
    nextHop: "big.example" as NextHop,
    messages: 1200,
    oldest: NOW - 38 * 60_000,
    nextAttempt: NOW + 41_000,
    ages: [0, 3, 1197, 0, 0, 0],
    problem: unreachable,
  },
  {
    nextHop: "example.org" as NextHop,
    messages: 610,
    oldest: NOW - 51 * 3_600_000,
    nextAttempt: NOW + 2_418_000,
    ages: [2, 8, 40, 90, 120, 350],
    problem: expiredProblem,
  },
  {
    nextHop: "univ.example" as NextHop,
    messages: 20,
    oldest: NOW - 5 * 3_600_000,
    nextAttempt: NOW + 96_000,
    ages: [1, 0, 4, 15, 0, 0],
    problem: greylisted,
  },
];

export const summary: Answers["queue/summary"] = {
  now: NOW,
  totals: { waiting: 1830, active: 12, oldest: NOW - 51 * 3_600_000, nextAttempt: NOW + 41_000 },
  destinations,
  reasons: [],
};

const attemptRecords = ["08:14:09", "08:19:12", "08:34:40", "09:04:40"].map((time) => attempt(at(`2026-09-02T${time}`)));

export const entryStory: EntryStory = {
  ...waiting,
  attemptRecords,
  advice: advise(expiredProblem, {
    nextHop: waiting.nextHop,
    id: waiting.id,
    demanded: "authenticated (tls.floor of this relay)",
    waits: true,
  }),
};

export const story: Answers["queue/story"] = {
  now: NOW,
  message: {
    id: waiting.id,
    sender: waiting.sender,
    origin: { submitter: "net:172.20.0.4", listener: "smtp", clientAddress: "172.20.0.4", ehloName: "wordpress" },
    needs: { eightBit: false, utf8Headers: false },
    messageId: "<a1@example.com>",
    receivedAt: waiting.receivedAt,
    expiresAt: waiting.expiresAt,
    size: waiting.size,
  },
  entries: [entryStory],
};
