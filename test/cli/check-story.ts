/**
 * A domain under DANE and MTA-STS whose second host has changed its key: what a check of it tells, what is kept of its
 * policy, and an attempt that met it. The same values feed the renderers' tests and the examples in docs/policy.md.
 */
import { advise } from "../../src/admin/advice.ts";
import type { Answers, EntryStory } from "../../src/admin/handlers.ts";
import type { CheckLine } from "../../src/admin/stream.ts";
import type { PolicyView } from "../../src/admin/policies.ts";
import type { EmailAddress } from "../../src/mail/address.ts";
import type { Domain, NextHop } from "../../src/mail/domain.ts";
import type { Rule } from "../../src/policy/decision.ts";
import type { HostEvidence, NextHopEvidence } from "../../src/policy/evidence.ts";
import type { CertificateEvidence, TlsFailure, TlsOutcome } from "../../src/policy/outcome.ts";
import type { QueueId } from "../../src/queue/entry.ts";
import type { CheckStage, CheckVerdict, PolicyRefresh } from "../../src/queue/check.ts";
import type { AttemptRecord, DeliveryProblem } from "../../src/queue/settlement.ts";
import type { KeptStsPolicy } from "../../src/queue/store.ts";
import { at, entryStory, NOW, story } from "./story.ts";

export const POLICY_TEXT = "version: STSv1\r\nmode: enforce\r\nmx: mx1.example.net\r\nmx: mx2.example.net\r\nmax_age: 604800\r\n";

export const leafOf = (host: string): CertificateEvidence => ({
  subject: `CN=${host}`,
  issuer: "CN=R11, O=Let's Encrypt, C=US",
  names: [host],
  validFrom: "2026-08-01T11:02:00Z",
  validTo: "2026-10-30T11:02:00Z",
  sha256: "9f2c41d07be5a83c6d19ef0b42a7d5338c1e6f90b7a24d5e83f06c19ab72d4e5",
  key: "EC prime256v1",
});

const RECORD = "3 1 1 41d07be5a83c6d19ef0b42a7d5338c1e6f90b7a24d5e83f06c19ab72d4e59f2c";
const STS = "MTA-STS enforce of example.net";

export const sts = {
  kind: "policy",
  mode: "enforce",
  id: "20260801T0000",
  mx: ["mx1.example.net", "mx2.example.net"],
  fetchedAt: at("2026-09-01T22:10:00"),
  expires: at("2026-09-08T22:10:00"),
} as const;

export const mx: NonNullable<NextHopEvidence["mx"]> = { kind: "records", security: "secure", expires: NOW + 3_300_000 };

const daneRule = (host: string, effect: Rule["effect"]): Rule => ({
  source: "dane",
  text: `the TLSA records of ${host} (DANE)`,
  section: "RFC 7672 §2.2",
  effect,
  says: "a certificate that matches one of 1 usable TLSA records",
});

export const rulesOf = (host: string): readonly Rule[] => [
  daneRule(host, "won"),
  { source: "mta-sts", text: STS, section: "RFC 8461 §5", effect: "holds", says: `a certificate of a trusted CA for ${host}` },
  { source: "floor", text: "tls.floor of this relay", section: "", effect: "holds", says: "authenticated TLS" },
];

export const policyOf = (host: string): HostEvidence => ({
  addresses: "secure",
  host: "dnssec",
  tlsa: { kind: "records", baseDomain: host, records: [RECORD], expires: NOW + 3_000_000 },
  rules: rulesOf(host),
});

const session = {
  protocol: "TLSv1.3",
  cipher: "TLS_AES_256_GCM_SHA384",
} as const;

const good: TlsOutcome = {
  kind: "authenticated",
  session: {
    ...session,
    serverName: "mx1.example.net",
    chain: [leafOf("mx1.example.net"), { ...leafOf("R11"), subject: "CN=R11, O=Let's Encrypt, C=US", validTo: "2027-03-12T23:59:59Z" }],
    webpki: { held: true, referenceIdentifier: "mx1.example.net" },
    dane: { held: true, baseDomain: "mx1.example.net", record: RECORD },
  },
};

const noMatch: TlsFailure = {
  type: "validation-failure",
  detail: "the certificate matches none of 1 usable TLSA records of mx2.example.net (dane-no-match)",
  whoActs: "receiver",
};

export const unmatched: TlsOutcome = {
  kind: "authenticated",
  session: {
    ...session,
    serverName: "mx2.example.net",
    chain: [leafOf("mx2.example.net")],
    webpki: { held: true, referenceIdentifier: "mx2.example.net" },
    dane: { held: false, failure: noMatch },
  },
};

export const unmatchedProblem: DeliveryProblem = {
  type: "validation-failure",
  detail: `${noMatch.detail}; authenticated TLS is demanded by the TLSA records of mx2.example.net (DANE)`,
  whoActs: "receiver",
  status: "4.7.5",
  host: "mx2.example.net",
};

const hostStage = (index: number, host: string, address: string): CheckStage => ({
  stage: "host",
  index,
  host,
  preference: 10 * (index + 1),
  addresses: [address],
  policy: policyOf(host),
  verdict: "try",
  demanded: `authenticated (the TLSA records of ${host} (DANE))`,
});

const opening: readonly CheckStage[] = [
  {
    stage: "destination",
    nextHop: "example.net" as NextHop,
    at: NOW,
    route: { kind: "mx" },
    published: { mode: "enforce", setting: "tls.published of this relay" },
  },
  {
    stage: "resolver",
    state: { kind: "validating", detail: "127.0.0.1 validates DNSSEC: a signed name came with AD, broken names were refused", since: NOW },
  },
  {
    stage: "mx",
    mx,
    hosts: [
      { host: "mx1.example.net", preference: 10 },
      { host: "mx2.example.net", preference: 20 },
    ],
    more: 0,
  },
  { stage: "mta-sts", policyDomain: "example.net" as Domain, sts },
];

const badHost: readonly CheckStage[] = [
  hostStage(1, "mx2.example.net", "192.0.2.2"),
  {
    stage: "connection",
    index: 1,
    host: "mx2.example.net",
    address: "192.0.2.2",
    port: 25,
    step: "handshake",
    tls: unmatched,
    problem: unmatchedProblem,
    used: false,
  },
];

export const deliverable: readonly CheckLine[] = [
  ...opening,
  hostStage(0, "mx1.example.net", "192.0.2.1"),
  { stage: "connection", index: 0, host: "mx1.example.net", address: "192.0.2.1", port: 25, step: "done", tls: good, used: true },
  ...badHost,
  {
    stage: "verdict",
    kind: "deliverable",
    nextHop: "example.net" as NextHop,
    through: { host: "mx1.example.net", address: "192.0.2.1", level: "authenticated", dane: true, proof: "dnssec" },
    failed: ["mx2.example.net"],
  },
];

/** The same with the bad host alone. */
export const checkStages: readonly CheckStage[] = [...opening, ...badHost];
export const refusedVerdict: CheckVerdict = {
  stage: "verdict",
  kind: "refused",
  nextHop: "example.net" as NextHop,
  failed: ["mx2.example.net"],
  problem: unmatchedProblem,
  final: false,
};

export const keptPolicy: KeptStsPolicy = {
  policyDomain: "example.net" as Domain,
  policy: { id: sts.id, text: POLICY_TEXT, fetchedAt: sts.fetchedAt, expires: sts.expires },
  lastUsed: NOW - 600_000,
};

const served = {
  mode: "enforce",
  maxAge: 604_800,
  mx: ["mx1.example.net", "mx2.example.net"],
  text: POLICY_TEXT,
} as const;

export const refreshed: PolicyRefresh = {
  policyDomain: "example.net" as Domain,
  record: { kind: "record", id: "20260902T0900" },
  fetch: { ok: true, policy: served },
  before: { id: sts.id, policy: served, fetchedAt: sts.fetchedAt, expires: sts.expires },
  finding: {
    kind: "policy",
    policyDomain: "example.net" as Domain,
    policy: served,
    id: "20260902T0900",
    fetchedAt: NOW,
    expires: NOW + 604_800_000,
  },
};

export const view: PolicyView = {
  now: NOW,
  domain: "example.net",
  floor: { level: "authenticated", setting: "tls.floor of this relay" },
  host: { level: "any", setting: "tls.host of this relay" },
  published: { mode: "enforce", setting: "tls.published of this relay" },
  dnssec: { kind: "validating", detail: "", since: NOW },
  kept: {
    policyDomain: "example.net",
    policy: {
      id: sts.id,
      mode: "enforce",
      mx: served.mx,
      maxAge: served.maxAge,
      fetchedAt: sts.fetchedAt,
      expires: sts.expires,
      text: POLICY_TEXT,
    },
    lastUsed: NOW - 600_000,
  },
  daneSeen: NOW - 600_000,
};

export const refusedAttempt: AttemptRecord = {
  startedAt: NOW - 60_000,
  endedAt: NOW - 59_000,
  demanded: "authenticated (the TLSA records of mx2.example.net (DANE))",
  policy: { dnssec: "validating", mx, sts },
  hosts: [
    {
      host: "mx2.example.net",
      address: "192.0.2.2",
      port: 25,
      step: "handshake",
      tls: unmatched,
      problem: unmatchedProblem,
      policy: policyOf("mx2.example.net"),
    },
  ],
  problem: unmatchedProblem,
};

export const refusedEntry: EntryStory = {
  ...entryStory,
  id: "0KF47QZM90" as QueueId,
  nextHop: "example.net" as NextHop,
  recipients: [{ address: "ann@example.net" as EmailAddress, state: "waiting" }],
  attempts: 1,
  problem: unmatchedProblem,
  attemptRecords: [refusedAttempt],
  advice: advise(unmatchedProblem, {
    nextHop: "example.net",
    id: "0KF47QZM90",
    waits: true,
    demanded: refusedAttempt.demanded,
    ...(refusedAttempt.hosts[0] !== undefined && { report: refusedAttempt.hosts[0] }),
  }),
};

export const refusedStory: Answers["queue/story"] = {
  ...story,
  ...(story.message !== undefined && { message: { ...story.message, id: "0KF47QZM90" as QueueId, messageId: "<a7@example.com>" } }),
  entries: [refusedEntry],
};

/** What the command prints when the bad host is the only one. */
export const refused: readonly CheckLine[] = [
  ...checkStages,
  {
    ...refusedVerdict,
    advice: advise(unmatchedProblem, {
      nextHop: "example.net",
      waits: false,
      checked: true,
      report: { step: "handshake", tls: unmatched, policy: policyOf("mx2.example.net") },
    }),
  },
];
