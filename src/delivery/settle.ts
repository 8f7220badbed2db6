/**
 * What an attempt, or a plan that leads to none, means for the queue: who has the message, who waits until when, who is
 * given up (RFC 5321 §4.5.4.1), and the notices that follow (delivery/notice.ts, RFC 3464). One value that the store
 * saves in one transaction, and the events that logs are made from.
 */
import type { PosternEvent } from "../events.ts";
import { describeReply } from "../mail/reply.ts";
import { authenticatedWord, type HostEvidence } from "../policy/evidence.ts";
import type { TlsObservation } from "../policy/observation.ts";
import type { TlsOutcome } from "../policy/outcome.ts";
import type { LeasedEntry, QueueId } from "../queue/entry.ts";
import { nextAttempt, type RetrySchedule } from "../queue/schedule.ts";
import type { AttemptRecord, DeliveryProblem, HostReport, Notice, RecipientOutcome, Settlement } from "../queue/settlement.ts";
import type { AttemptResult } from "./attempt.ts";
import { judgeNotice, makeNotices, NULL_SENDER, type NoticeRules } from "./notice.ts";
import type { DeliveryPlan } from "./plan.ts";
import { inClass, isTlsTrouble, mayBeFinal, tellingness } from "./problems.ts";
import type { RecipientJudgement } from "./undecided.ts";

/** A plan that dials nobody: it defers or fails all recipients alike. */
export interface PlannedResult {
  readonly kind: "planned";
  readonly plan: DeliveryPlan;
  readonly startedAt: number;
  readonly endedAt: number;
  readonly observations?: readonly TlsObservation[];
}

export interface SettleRules extends NoticeRules {
  readonly delivery: NoticeRules["delivery"] & {
    readonly retry: {
      readonly waits: readonly number[];
      readonly longest: number;
      readonly spread: number;
      readonly giveUpAfterNullSender: number;
    };
  };
}

export interface SettleContext {
  readonly now: number;
  readonly random: () => number;
  readonly rules: SettleRules;
  readonly newQueueId: () => QueueId;
}

/** Judges, and writes the notices that are due. */
export async function settle(entry: LeasedEntry, result: AttemptResult | PlannedResult, context: SettleContext): Promise<Settlement> {
  const settlement = judge(entry, result, context);
  // Nearly always everybody has it or waits: then no notice is due, and nothing is read.
  if (!settlement.recipients.some(({ outcome }) => isGivenUp(outcome))) return settlement;
  const notices = await makeNotices(entry, settlement, context);
  return { ...settlement, notices };
}

/** The settlement without its notices. Pure. */
export function judge(
  entry: LeasedEntry,
  result: AttemptResult | PlannedResult,
  context: Pick<SettleContext, "now" | "random" | "rules">,
): Settlement {
  const { now, random, rules } = context;
  const expired = now >= entry.message.expiresAt;
  const recipients = judgementsOf(entry, result).map(({ recipientId, report }) => ({ recipientId, outcome: outcomeOf(report, expired) }));
  const waits = recipients.some(({ outcome }) => outcome.kind === "waiting");
  const schedule: RetrySchedule = {
    first: rules.delivery.retry.waits,
    longest: rules.delivery.retry.longest,
    spread: rules.delivery.retry.spread,
  };
  return {
    attempt: recordOf(result),
    recipients,
    // The last try comes with the end of its time, not hours after it: the sender learns it when it is due.
    ...(waits && { nextAttempt: Math.min(nextAttempt(schedule, entry.attempts + 1, now, random), entry.message.expiresAt) }),
    notices: [],
    ...(result.observations !== undefined && result.observations.length > 0 && { observations: result.observations }),
  };
}

function judgementsOf(entry: LeasedEntry, result: AttemptResult | PlannedResult): AttemptResult["recipients"] {
  if (result.kind === "attempted") return result.recipients;
  const plan = idlePlan(result);
  const report: RecipientJudgement =
    plan.kind === "fail"
      ? { kind: "failed", problem: inClass(plan.problem, "5") }
      : { kind: "waiting", problem: inClass(plan.problem, "4") };
  return entry.recipients.map(({ recipientId }) => ({ recipientId, report }));
}

function idlePlan({ plan }: PlannedResult): Exclude<DeliveryPlan, { kind: "attempt" }> {
  if (plan.kind === "attempt")
    throw new Error(`a plan to ask ${plan.hosts.map(({ host }) => host).join(", ")} was settled without an attempt`);
  return plan;
}

function outcomeOf(report: RecipientJudgement, expired: boolean): RecipientOutcome {
  switch (report.kind) {
    case "delivered":
      return { kind: "delivered", host: report.at.host, reply: report.reply };
    case "failed":
      // Trouble with TLS, DNS or our own settings waits, whoever called it final: an attacker must not be able to make mail bounce.
      return mayBeFinal(report.problem)
        ? { kind: "failed", problem: report.problem }
        : outcomeOf({ kind: "waiting", problem: inClass(report.problem, "4") }, expired);
    case "waiting":
      // A temporary status stays temporary: the time ended, not the reason changed (RFC 3464 §2.3.3).
      return expired ? { kind: "expired", problem: report.problem } : { kind: "waiting", problem: report.problem };
  }
}

function recordOf(result: AttemptResult | PlannedResult): AttemptRecord {
  const { startedAt, endedAt } = result;
  if (result.kind === "planned") {
    const { demanded, policy, problem, skipped = [] } = idlePlan(result);
    return { startedAt, endedAt, hosts: skipped, demanded, policy, problem };
  }
  const { hosts, demanded, policy } = result;
  const problem = mostTelling(result);
  return { startedAt, endedAt, hosts, demanded, policy, ...(problem !== undefined && { problem }) };
}

/** Of those who wait, else of those who failed, the problem of the one that came furthest. */
export function mostTelling({ recipients }: AttemptResult): DeliveryProblem | undefined {
  let best: { problem: DeliveryProblem; score: number } | undefined;
  for (const { report } of recipients) {
    if (report.kind === "delivered") continue;
    const score = tellingness(report.at?.step) + (report.kind === "waiting" ? 100 : 0);
    if (best === undefined || score > best.score) best = { problem: report.problem, score };
  }
  return best?.problem;
}

export function isGivenUp(outcome: RecipientOutcome): outcome is Extract<RecipientOutcome, { kind: "failed" | "expired" }> {
  return outcome.kind === "failed" || outcome.kind === "expired";
}

const LOG_WORDS = { delivered: "delivered", waiting: "deferred", failed: "bounced", expired: "expired" } as const;

/** One event for each recipient, and one for each notice sent or withheld. `result` is absent when nothing was dialled. */
export function eventsOf(entry: LeasedEntry, settlement: Settlement, result: AttemptResult | undefined): PosternEvent[] {
  const { message, attempts } = entry;
  const { startedAt, endedAt } = settlement.attempt;
  const delay = Math.max(0, endedAt - message.receivedAt);
  const { connecting, talking } = result?.phases ?? { connecting: 0, talking: 0 };
  // As other relays log them: before the queue took it up, in the queue, connecting, talking.
  const inQueue = Math.max(0, endedAt - startedAt - connecting - talking);
  const delays = [Math.max(0, startedAt - message.receivedAt), inQueue, Math.round(connecting), Math.round(talking)] as const;
  const events: PosternEvent[] = [];
  settlement.recipients.forEach(({ recipientId, outcome }, index) => {
    const recipient = entry.recipients[index];
    if (recipient?.recipientId !== recipientId) throw new Error(`settlement of ${message.id} has recipient ${recipientId} out of place`);
    const report = result?.recipients[index]?.report;
    const tls = report?.at?.tls === undefined ? undefined : describeTls(report.at.tls, report.at);
    events.push({
      kind: "recipient-settled",
      id: message.id,
      recipient: recipient.address,
      outcome: LOG_WORDS[outcome.kind],
      relay: relayOf(report?.at),
      delay,
      delays,
      ...wordsOf(outcome),
      ...(tls !== undefined && { tls }),
      demanded: settlement.attempt.demanded,
      ...describePublished(report?.at?.policy),
      ...(outcome.kind === "waiting" && settlement.nextAttempt !== undefined && { nextAttempt: settlement.nextAttempt }),
      attempt: attempts + 1,
    });
  });
  if (settlement.recipients.some(({ outcome }) => isGivenUp(outcome))) events.push(...noticeEvents(entry, settlement));
  return events;
}

function wordsOf(outcome: RecipientOutcome): { status: string; text: string; reason?: string; whoActs?: string } {
  if (outcome.kind === "delivered")
    return { status: outcome.reply.enhanced ?? `${Math.floor(outcome.reply.code / 100)}.0.0`, text: describeReply(outcome.reply) };
  const { type, detail, whoActs, status, reply } = outcome.problem;
  // A refusal is told in the refuser's words; where we refused, its reply is only part of the story.
  const text = reply !== undefined && !isTlsTrouble(type) ? describeReply(reply) : detail;
  return { status, text, reason: type, whoActs };
}

function relayOf(at: HostReport | undefined): string {
  if (at === undefined || at.step === "skipped") return "none";
  return `${at.host}${at.address === undefined ? "" : `[${at.address}]`}${at.port === undefined ? "" : `:${at.port}`}`;
}

/**
 * `authenticated (DANE 3 1 1) TLSv1.3 TLS_AES_256_GCM_SHA384`. What proves the peer is said, and where nothing proves that
 * it is the right host, that too (RFC 7672 §2.2.1).
 */
function describeTls(tls: TlsOutcome, { policy }: HostReport): string {
  const said = tlsWords.get(tls);
  if (said !== undefined && said.policy === policy) return said.words;
  const words = tlsText(tls, policy);
  tlsWords.set(tls, { policy, words });
  return words;
}

// A connection serves many messages, and a host's evidence many connections: what is told of them is put together once.
const tlsWords = new WeakMap<TlsOutcome, { readonly policy: HostEvidence | undefined; readonly words: string }>();
const publishedWords = new WeakMap<HostEvidence, { readonly published?: string }>();

function tlsText(tls: TlsOutcome, policy: HostEvidence | undefined): string {
  if (tls.kind === "clear") return "clear";
  const { protocol, cipher, webpki, dane } = tls.session;
  if (tls.kind === "encrypted") return `encrypted ${protocol} ${cipher}`;
  const proofs: string[] = [];
  if (dane?.held === true) proofs.push(`DANE ${dane.record.split(" ").slice(0, 3).join(" ")}`);
  if (webpki.held) proofs.push("WebPKI");
  return `${authenticatedWord(dane?.held, policy?.host)} (${proofs.join(" and ")}) ${protocol} ${cipher}`;
}

/** Why published policy did not bind (RFC 8461 §5, RFC 8689 §3, `tls.published`), and what it would have stopped. */
function describePublished(policy: HostEvidence | undefined): { readonly published?: string } {
  if (policy === undefined) return {};
  let words = publishedWords.get(policy);
  if (words === undefined) {
    words = publishedText(policy);
    publishedWords.set(policy, words);
  }
  return words;
}

function publishedText(policy: HostEvidence): { readonly published?: string } {
  const aside = policy.rules.find(({ source }) => source === "published" || source === "tls-optional");
  const stopped = policy.wouldHaveFailed?.map(({ failure, because }) => `${failure.type} (${because.text})`) ?? [];
  const words = [
    ...(aside === undefined ? [] : [`${aside.text}: ${aside.says}`]),
    ...(stopped.length === 0 ? [] : [`would have stopped this: ${stopped.join(", ")}`]),
  ];
  return words.length === 0 ? {} : { published: words.join("; ") };
}

function noticeEvents(entry: LeasedEntry, settlement: Settlement): PosternEvent[] {
  const { message } = entry;
  const events: PosternEvent[] = settlement.notices.map(({ message: notice }: Notice) => ({
    kind: "notice-enqueued",
    id: notice.id,
    about: message.id,
    to: notice.recipients[0]?.address ?? "",
    action: settlement.recipients.some(({ outcome }) => outcome.kind === "failed") ? "failed" : "expired",
  }));
  const told = new Set<string>();
  for (const { outcome, recipientId } of settlement.recipients) {
    if (!isGivenUp(outcome)) continue;
    const recipient = entry.recipients.find((queued) => queued.recipientId === recipientId);
    const verdict = recipient === undefined ? undefined : judgeNotice(message, recipient.notify);
    if (verdict?.kind !== "none" || told.has(verdict.why) || (verdict.why === NULL_SENDER && settlement.notices.length > 0)) continue;
    told.add(verdict.why);
    events.push({ kind: "notice-suppressed", about: message.id, why: verdict.why });
  }
  return events;
}
