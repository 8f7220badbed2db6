/**
 * A domain under DANE and MTA-STS whose second host has changed its key: what a check of it tells, what is kept of its
 * policy, and an attempt that met it. The same values feed the renderers' tests and the examples in docs/policy.md. What
 * delivery and the resolver would say of it they say here, so that the handbook shows no sentence that the code does not know.
 */
import { createHash, X509Certificate } from "node:crypto";
import { advise } from "../../src/admin/advice.ts";
import type { Answers, EntryStory } from "../../src/admin/handlers.ts";
import type { CheckLine } from "../../src/admin/stream.ts";
import type { PolicyView } from "../../src/admin/policies.ts";
import { createEvidence } from "../../src/delivery/certificate.ts";
import { createDecider } from "../../src/delivery/decide.ts";
import type { PlannedHost } from "../../src/delivery/plan.ts";
import { describeRequirement } from "../../src/delivery/terms.ts";
import { outcomeOf } from "../../src/delivery/tls-outcome.ts";
import { describeUnmet } from "../../src/delivery/unmet.ts";
import type { Wire } from "../../src/delivery/wire.ts";
import { MANAGED, summarise } from "../../src/lookup/resolver-state.ts";
import { concludeSelfTest } from "../../src/lookup/self-test.ts";
import type { EmailAddress } from "../../src/mail/address.ts";
import type { Domain, NextHop } from "../../src/mail/domain.ts";
import { createDaneJudge } from "../../src/policy/dane-match.ts";
import type { HostEvidence, NextHopEvidence } from "../../src/policy/evidence.ts";
import type { DnssecState, TlsaFinding } from "../../src/policy/facts.ts";
import { findLocalPolicy } from "../../src/policy/local-policy.ts";
import type { CertificateEvidence, TlsOutcome } from "../../src/policy/outcome.ts";
import type { StsPolicy } from "../../src/policy/sts-policy.ts";
import type { QueueId } from "../../src/queue/entry.ts";
import type { CheckStage, CheckVerdict, PolicyRefresh } from "../../src/queue/check.ts";
import type { AttemptRecord, DeliveryProblem } from "../../src/queue/settlement.ts";
import type { KeptStsPolicy } from "../../src/queue/store.ts";
import { ISSUER, MX1, MX2 } from "./story-certificates.ts";
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

export const sts = {
  kind: "policy",
  mode: "enforce",
  id: "20260801T0000",
  mx: ["mx1.example.net", "mx2.example.net"],
  fetchedAt: at("2026-09-01T22:10:00"),
  expires: at("2026-09-08T22:10:00"),
} as const;

export const mx: NonNullable<NextHopEvidence["mx"]> = { kind: "records", security: "secure", expires: NOW + 3_300_000 };

/** As a test of the resolver that Postern starts concludes. */
const { belief = "untested", detail } = concludeSelfTest("untested", {
  signed: { name: ".", probe: { kind: "answered", authenticated: true, hasRecords: true } },
  broken: ["a.test", "b.test", "c.test"].map((name) => ({ name, probe: { kind: "refused", detail: "SERVFAIL" } })),
});
const unbound = { key: MANAGED, name: "managed (unbound at 127.0.0.1:41953)", trusted: true };
const dnssec: DnssecState = {
  ...summarise([{ ...unbound, server: { address: "127.0.0.1", port: 41_953 } }], () => ({ belief, detail })),
  since: NOW,
};

const served: StsPolicy = { mode: "enforce", maxAge: 604_800, mx: sts.mx, text: POLICY_TEXT };
const local = findLocalPolicy("example.net" as NextHop, { floor: "authenticated", host: "any", published: "enforce", domains: {} });

/** What delivery makes of one host: its decision, the judgement of what it showed, and what is then said of it. */
async function meet(host: string, leaf: string, record: Buffer) {
  const policyDomain = "example.net" as Domain;
  const { id, fetchedAt, expires } = sts;
  const planned: PlannedHost = {
    host,
    preference: 10,
    port: 25,
    tls: "starttls",
    serverName: host,
    configured: false,
    policy: {
      facts: {
        nextHop: policyDomain,
        host,
        origin: "mx",
        mxSecurity: "secure",
        sts: { kind: "policy", policyDomain, policy: served, id, fetchedAt, expires },
        dnssec,
        certificateName: host,
      },
      local,
    },
  };
  const tlsa: TlsaFinding = {
    kind: "records",
    baseDomain: host as Domain,
    records: [{ usage: 3, selector: 1, matchingType: 1, data: record }],
    expires: NOW + 3_000_000,
  };
  const decided = createDecider(["sha512", "sha256"])(
    planned,
    { addresses: { kind: "addresses", addresses: [] }, security: "secure", tlsa },
    { mayGoBelowFloor: false },
  );
  const { verdict } = decided.decision;
  if (verdict.kind !== "try") throw new Error(`${host} is to be tried`);
  const { requirement } = verdict;
  const outcome = await outcomeOf(
    {
      kind: "secured",
      // Judging does not look at it.
      wire: undefined as unknown as Wire,
      protocol: "TLSv1.3",
      cipher: "TLS_AES_256_GCM_SHA384",
      suite: "TLS_AES_256_GCM_SHA384",
      serverName: host,
      chain: [new X509Certificate(leaf), new X509Certificate(ISSUER)],
      trusted: true,
    },
    { requirement, now: NOW, evidenceOf: createEvidence(), judgeDane: createDaneJudge() },
  );
  return { policy: decided.evidence, outcome, requirement, demanded: describeRequirement(requirement) };
}

const keyOf = (certificate: string): Buffer =>
  createHash("sha256")
    .update(new X509Certificate(certificate).publicKey.export({ format: "der", type: "spki" }))
    .digest();

const mx1 = await meet("mx1.example.net", MX1, keyOf(MX1));
const mx2 = await meet("mx2.example.net", MX2, Buffer.from("41d07be5a83c6d19ef0b42a7d5338c1e6f90b7a24d5e83f06c19ab72d4e59f2c", "hex"));

export const policyOf = (host: string): HostEvidence => (host === "mx1.example.net" ? mx1 : mx2).policy;
export const unmatched: TlsOutcome = mx2.outcome;
export const unmatchedProblem: DeliveryProblem = describeUnmet(
  { outcome: unmatched, lasting: true },
  {
    host: "mx2.example.net",
    address: "192.0.2.2",
    port: 25,
    ehloName: "relay.example.com",
    requirement: mx2.requirement,
    tls: "starttls",
  },
).problem;

const hostStage = (index: number, host: string, address: string): CheckStage => ({
  stage: "host",
  index,
  host,
  preference: 10 * (index + 1),
  addresses: [address],
  policy: policyOf(host),
  verdict: "try",
  demanded: (host === "mx1.example.net" ? mx1 : mx2).demanded,
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
    state: dnssec,
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
  {
    stage: "tls-rpt",
    reportDomain: "example.net" as Domain,
    wish: { kind: "destinations", destinations: [{ kind: "mailto", uri: "mailto:tls@example.net" }], ignored: [] },
  },
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
  { stage: "connection", index: 0, host: "mx1.example.net", address: "192.0.2.1", port: 25, step: "done", tls: mx1.outcome, used: true },
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
  dnssec,
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
  demanded: mx2.demanded,
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
