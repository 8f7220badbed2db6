/** What an attempt means for the queue, and what the log is told (RFC 5321 §4.5.4.1, RFC 3464 §2.3.3). */
import { describe, expect, test } from "vitest";
import { settingsSchema } from "../../src/config/settings.ts";
import type { AttemptResult } from "../../src/delivery/attempt.ts";
import type { DeliveryPlan } from "../../src/delivery/plan.ts";
import { PROBLEMS, problem } from "../../src/delivery/problems.ts";
import type { RecipientJudgement } from "../../src/delivery/undecided.ts";
import { eventsOf, judge, type PlannedResult, settle } from "../../src/delivery/settle.ts";
import type { HostEvidence } from "../../src/policy/evidence.ts";
import type { LeasedEntry, QueueId } from "../../src/queue/entry.ts";
import type { DeliveryProblem, HostReport, ProblemType, Settlement } from "../../src/queue/settlement.ts";
import { leasedEntry } from "../support/entries.ts";
import { authenticatedAs, NO_EVIDENCE } from "../support/policy-facts.ts";

const START = Date.UTC(2026, 8, 1, 8);
const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

const { delivery } = settingsSchema.parse({});
const rules = { delivery, mailname: "relay.test", postmaster: undefined, ownAddresses: new Set<string>() };

function context(now: number, random = () => 0.5) {
  let ids = 0;
  return { now, random, rules, newQueueId: () => `0NOTICE${String(++ids).padStart(3, "0")}` as QueueId };
}

const tls = authenticatedAs("mx1.test");
const policy: HostEvidence = { host: "none", tlsa: { kind: "not-asked", why: "a test" }, rules: [] };
const at: HostReport = { host: "mx1.test", address: "192.0.2.1", port: 25, step: "done", tls, policy };
const rejected = (code: number, status: string): DeliveryProblem => ({
  type: "rejected",
  detail: "refused",
  whoActs: "receiver",
  status,
  host: "mx1.test",
  reply: { code, enhanced: status, lines: [`${status} no`, "really"] },
});
const delivered: RecipientJudgement = { kind: "delivered", at, reply: { code: 250, enhanced: "2.6.0", lines: ["2.6.0 queued", "as 42"] } };
const waiting = (found: DeliveryProblem): RecipientJudgement => ({ kind: "waiting", problem: found, at: { ...at, step: "rcpt" } });
const failed = (found: DeliveryProblem): RecipientJudgement => ({ kind: "failed", problem: found, at: { ...at, step: "rcpt" } });

function attempted(entry: LeasedEntry, reports: readonly RecipientJudgement[], more: Partial<AttemptResult> = {}): AttemptResult {
  return {
    kind: "attempted",
    demanded: "authenticated (tls.floor of this relay)",
    startedAt: START + 1000,
    endedAt: START + 1300,
    hosts: [at],
    recipients: entry.recipients.map(({ recipientId }, index) => ({ recipientId, report: reports[index] ?? delivered })),
    mayHoldMessage: false,
    answered: true,
    daneSeen: false,
    policy: NO_EVIDENCE,
    phases: { connecting: 200, talking: 60 },
    ...more,
  };
}

function planned(plan: Omit<Extract<DeliveryPlan, { kind: "defer" | "fail" }>, "demanded" | "policy">): PlannedResult {
  return {
    kind: "planned",
    plan: { ...plan, demanded: "authenticated (tls.floor of this relay)", policy: NO_EVIDENCE },
    startedAt: START,
    endedAt: START + 5,
  };
}

const kinds = ({ recipients }: Settlement): string =>
  recipients.map(({ outcome }) => (outcome.kind === "delivered" ? "delivered" : `${outcome.kind} ${outcome.problem.status}`)).join(", ");

describe("the next attempt", () => {
  const waits: [attempts: number, minutes: number][] = [
    [0, 5],
    [1, 15],
    [2, 30],
    [3, 60],
    [4, 120],
    [5, 240],
    [9, 240],
  ];
  for (const [attempts, minutes] of waits)
    test(`after ${attempts + 1} failures comes ${minutes} minutes later`, () => {
      const entry = leasedEntry({ attempts, receivedAt: START });
      expect(judge(entry, attempted(entry, [waiting(rejected(450, "4.2.0"))]), context(START)).nextAttempt).toBe(START + minutes * MINUTE);
    });

  test("varies by a tenth", () => {
    const entry = leasedEntry({ receivedAt: START });
    const result = attempted(entry, [waiting(rejected(450, "4.2.0"))]);
    expect(
      judge(
        entry,
        result,
        context(START, () => 0),
      ).nextAttempt,
    ).toBe(START + 4.5 * MINUTE);
    expect(
      judge(
        entry,
        result,
        context(START, () => 1),
      ).nextAttempt,
    ).toBe(START + 5.5 * MINUTE);
  });
  test("is not later than the end of its time", () => {
    const entry = leasedEntry({ attempts: 9, receivedAt: START, expiresAt: START + 10 * MINUTE });
    expect(judge(entry, attempted(entry, [waiting(rejected(450, "4.2.0"))]), context(START)).nextAttempt).toBe(START + 10 * MINUTE);
  });
  test("does not exist when nobody waits", () => {
    const entry = leasedEntry({ recipients: ["a@dest.test", "b@dest.test"], receivedAt: START });
    const settlement = judge(entry, attempted(entry, [delivered, failed(rejected(550, "5.1.1"))]), context(START));
    expect("nextAttempt" in settlement).toBe(false);
  });
});

describe("recipients are settled apart", () => {
  const entry = leasedEntry({ recipients: ["a@dest.test", "b@dest.test", "c@dest.test"], receivedAt: START, expiresAt: START + 5 * DAY });
  const result = attempted(entry, [delivered, waiting(rejected(450, "4.2.0")), failed(rejected(550, "5.1.1"))]);
  const cases: [title: string, now: number, expected: string][] = [
    ["in time", START + 5 * DAY - 1, "delivered, waiting 4.2.0, failed 5.1.1"],
    ["at the end of its time: the temporary status stays", START + 5 * DAY, "delivered, expired 4.2.0, failed 5.1.1"],
    ["after three days' sleep past it", START + 8 * DAY, "delivered, expired 4.2.0, failed 5.1.1"],
  ];
  for (const [title, now, expected] of cases) test(title, () => expect(kinds(judge(entry, result, context(now)))).toBe(expected));
  test("the attempt's problem is that of those who wait", () =>
    expect(judge(entry, result, context(START)).attempt.problem?.status).toBe("4.2.0"));
  test("ids are kept", () =>
    expect(judge(entry, result, context(START)).recipients.map(({ recipientId }) => recipientId)).toEqual(
      entry.recipients.map(({ recipientId }) => recipientId),
    ));
});

describe("never final before the time is over, whoever says so", () => {
  const never: ProblemType[] = [
    "starttls-not-supported",
    "certificate-host-mismatch",
    "certificate-expired",
    "certificate-not-trusted",
    "validation-failure",
    "tlsa-invalid",
    "dnssec-invalid",
    "dane-required",
    "sts-policy-fetch-error",
    "sts-policy-invalid",
    "sts-webpki-invalid",
    "dns-failure",
    "connect-failed",
    "connection-lost",
    "timeout",
    "protocol-error",
    "outcome-unknown",
    "authentication-failed",
    "dkim-failed",
    "not-configured",
    "resolver-blind",
    "destination-waiting",
  ];
  for (const type of never)
    test(type, () => {
      const entry = leasedEntry({ receivedAt: START });
      const found = problem(type, "receiver", "said to be permanent", { status: "5.7.5" });
      expect(kinds(judge(entry, attempted(entry, [failed(found)]), context(START)))).toBe("waiting 4.7.5");
      expect(kinds(judge(entry, planned({ kind: "fail", problem: found }), context(START)))).toBe("waiting 4.7.5");
      expect(kinds(judge(entry, attempted(entry, [failed(found)]), context(START + 5 * DAY)))).toBe("expired 4.7.5");
    });
  test("and every other problem may be", () => {
    const others = (Object.keys(PROBLEMS) as ProblemType[]).filter((type) => !never.includes(type));
    for (const type of others) {
      const entry = leasedEntry({ receivedAt: START });
      expect(
        judge(entry, planned({ kind: "fail", problem: problem(type, "receiver", "x") }), context(START)).recipients[0]?.outcome.kind,
      ).toBe("failed");
    }
  });
});

describe("plans that dial nobody", () => {
  const entry = leasedEntry({ recipients: ["a@dest.test", "b@dest.test"], receivedAt: START });
  test("fail all recipients", () =>
    expect(kinds(judge(entry, planned({ kind: "fail", problem: problem("null-mx", "sender", "takes no mail") }), context(START)))).toBe(
      "failed 5.1.10, failed 5.1.10",
    ));
  test("or let all wait, and say why", () => {
    const skipped: HostReport[] = [{ host: "bad", step: "skipped" }];
    const settlement = judge(
      entry,
      planned({ kind: "defer", problem: problem("dns-failure", "receiver", "SERVFAIL"), skipped }),
      context(START),
    );
    expect(kinds(settlement)).toBe("waiting 4.4.3, waiting 4.4.3");
    expect(settlement.attempt).toMatchObject({ startedAt: START, endedAt: START + 5, hosts: skipped, problem: { type: "dns-failure" } });
  });
});

describe("notices", () => {
  test("one for all recipients given up together, in the settlement", async () => {
    const entry = leasedEntry({ recipients: ["a@dest.test", "b@dest.test", "c@dest.test"], receivedAt: START });
    const settlement = await settle(
      entry,
      attempted(entry, [failed(rejected(550, "5.1.1")), delivered, failed(rejected(551, "5.1.6"))]),
      context(START),
    );
    expect(settlement.notices.map(({ message }) => [message.sender, message.recipients.map(({ address }) => address)])).toEqual([
      ["", ["app@sender.test"]],
    ]);
  });
  test("none while everybody has it or waits, and the body is not read", async () => {
    const entry = { ...leasedEntry({ recipients: ["a@dest.test", "b@dest.test"], receivedAt: START }), body: unreadable() };
    expect((await settle(entry, attempted(entry, [delivered, waiting(rejected(450, "4.2.0"))]), context(START))).notices).toEqual([]);
  });
  test("even if the body is lost", async () => {
    const entry = { ...leasedEntry(), body: unreadable() };
    expect((await settle(entry, attempted(entry, [failed(rejected(550, "5.1.1"))]), context(START))).notices).toHaveLength(1);
  });
});

function unreadable(): LeasedEntry["body"] {
  return {
    size: 10,
    chunks: () => ({ [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(new Error("chunk 0 is missing")) }) }),
  };
}

describe("what the log is told", () => {
  const entry = leasedEntry({ recipients: ["a@dest.test", "b@dest.test"], receivedAt: START, attempts: 2 });

  test("delivered: the other side's full reply, the relay, the delays", () => {
    const result = attempted(entry, [delivered, waiting(rejected(450, "4.2.0"))]);
    const settlement = judge(entry, result, context(START + 1300));
    expect(eventsOf(entry, settlement, result)).toEqual([
      {
        kind: "recipient-settled",
        id: entry.message.id,
        recipient: "a@dest.test",
        outcome: "delivered",
        relay: "mx1.test[192.0.2.1]:25",
        delay: 1300,
        delays: [1000, 40, 200, 60],
        status: "2.6.0",
        text: "250 2.6.0 queued / as 42",
        demanded: "authenticated (tls.floor of this relay)",
        tls: "authenticated, MX unproven (WebPKI) TLSv1.3 TLS_AES_256_GCM_SHA384",
        attempt: 3,
      },
      expect.objectContaining({
        recipient: "b@dest.test",
        outcome: "deferred",
        status: "4.2.0",
        text: "450 4.2.0 no / really",
        reason: "rejected",
        whoActs: "receiver",
        nextAttempt: settlement.nextAttempt,
      }),
    ]);
  });

  // biome-ignore format: one case, one row
  const words: [title: string, report: RecipientJudgement, now: number, outcome: string, relay: string, text: string][] = [
    ["5yz", failed(rejected(550, "5.1.1")), START, "bounced", "mx1.test[192.0.2.1]:25", "550 5.1.1 no / really"],
    ["time over", waiting(rejected(450, "4.2.0")), START + 6 * DAY, "expired", "mx1.test[192.0.2.1]:25", "450 4.2.0 no / really"],
    ["our refusal", waiting({ ...problem("starttls-not-supported", "receiver", "does not offer STARTTLS"), reply: { code: 454, lines: ["no"] } }), START, "deferred", "mx1.test[192.0.2.1]:25", "does not offer STARTTLS"],
    ["nobody dialled", { kind: "waiting", problem: problem("dns-failure", "receiver", "SERVFAIL"), at: { host: "mx1.test", step: "skipped" } }, START, "deferred", "none", "SERVFAIL"],
  ];
  for (const [title, report, now, outcome, relay, text] of words)
    test(`${title}: ${outcome}`, () => {
      const one = leasedEntry({ receivedAt: START });
      const result = attempted(one, [report]);
      expect(eventsOf(one, judge(one, result, context(now)), result)[0]).toMatchObject({ outcome, relay, text });
    });

  test("a plan without hosts: relay none, no delays of a connection", () => {
    const one = leasedEntry({ receivedAt: START });
    const settlement = judge(one, planned({ kind: "fail", problem: problem("null-mx", "sender", "takes no mail") }), context(START + 5));
    expect(eventsOf(one, settlement, undefined)[0]).toMatchObject({
      relay: "none",
      delay: 5,
      delays: [0, 5, 0, 0],
      status: "5.1.10",
      outcome: "bounced",
    });
  });

  test("a relayhost's name was given by the operator: it is not called unproven", () => {
    const one = leasedEntry({ receivedAt: START });
    const result = attempted(one, [{ ...delivered, at: { ...at, policy: { ...policy, host: "named" } } }]);
    expect(eventsOf(one, judge(one, result, context(START)), result)[0]).toMatchObject({
      tls: "authenticated (WebPKI) TLSv1.3 TLS_AES_256_GCM_SHA384",
    });
  });

  // biome-ignore format: one case, one row
  const notices: [title: string, wishes: Parameters<typeof leasedEntry>[0], notify: { never: boolean; failure: boolean } | undefined, expected: object][] = [
    ["a notice is due", {}, undefined, { kind: "notice-enqueued", id: "0NOTICE001", to: "app@sender.test", action: "failed" }],
    ["null sender", { sender: "" }, undefined, { kind: "notice-suppressed", why: expect.stringContaining("null") }],
    ["NOTIFY=NEVER", {}, { never: true, failure: false }, { kind: "notice-suppressed", why: "NOTIFY=NEVER" }],
    ["NOTIFY=DELAY", {}, { never: false, failure: false }, { kind: "notice-suppressed", why: "NOTIFY does not ask for failures" }],
  ];
  for (const [title, wishes, notify, expected] of notices)
    test(title, async () => {
      const plain = leasedEntry({ ...wishes, receivedAt: START });
      const one: LeasedEntry = {
        ...plain,
        recipients: plain.recipients.map((recipient) =>
          notify === undefined ? recipient : { ...recipient, notify: { ...notify, success: false, delay: true } },
        ),
      };
      const result = attempted(one, [failed(rejected(550, "5.1.1"))]);
      const [, ...rest] = eventsOf(one, await settle(one, result, context(START)), result);
      expect(rest).toEqual([expect.objectContaining({ ...expected, about: one.message.id })]);
    });
  test("an expired message's notice is called so", async () => {
    const one = leasedEntry({ receivedAt: START });
    const result = attempted(one, [waiting(rejected(450, "4.2.0"))]);
    const events = eventsOf(one, await settle(one, result, context(START + 6 * DAY)), result);
    expect(events[1]).toMatchObject({ kind: "notice-enqueued", action: "expired" });
  });
});

test("a plan to dial is not settled without an attempt", () => {
  const entry = leasedEntry();
  const plan: DeliveryPlan = { kind: "attempt", hosts: [], demanded: "", policy: NO_EVIDENCE };
  expect(() => judge(entry, { kind: "planned", plan, startedAt: 0, endedAt: 0 }, context(START))).toThrow("settled without an attempt");
});

test("the log says why published policy did not bind, and what it would have stopped", () => {
  const one = leasedEntry({ receivedAt: START });
  const because = { source: "mta-sts", text: "MTA-STS enforce of dest.test" } as const;
  const rules = [{ source: "published", text: "tls.published of this relay", section: "", effect: "won", says: "report" }] as const;
  const wouldHaveFailed = [{ because, failure: { type: "certificate-expired", detail: "ended", whoActs: "receiver" } }] as const;
  const watched = { ...at, policy: { ...policy, rules, wouldHaveFailed } };
  const result = attempted(one, [{ kind: "delivered", at: watched, reply: { code: 250, lines: ["2.0.0 Ok"] } }]);
  expect(eventsOf(one, judge(one, result, context(START)), result)[0]).toMatchObject({
    outcome: "delivered",
    published: "tls.published of this relay: report; would have stopped this: certificate-expired (MTA-STS enforce of dest.test)",
  });
  const plain = attempted(one, [delivered]);
  expect(eventsOf(one, judge(one, plain, context(START)), plain)[0]).not.toHaveProperty("published");
});
