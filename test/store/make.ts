/** Messages, outcomes and stores for the store's tests. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { onTestFinished } from "vitest";
import { type Clock, systemClock } from "../../src/clock.ts";
import type { PosternEvent } from "../../src/events.ts";
import type { EmailAddress, ReversePath } from "../../src/mail/address.ts";
import { domainOf } from "../../src/mail/address.ts";
import type { Domain, NextHop } from "../../src/mail/domain.ts";
import type { AppliedPolicy, TlsObservation } from "../../src/policy/observation.ts";
import type { LeasedEntry, NewMessage } from "../../src/queue/entry.ts";
import type { AttemptRecord, DeliveryProblem, RecipientOutcome, Settlement } from "../../src/queue/settlement.ts";
import type { QueueStore } from "../../src/queue/store.ts";
import { reportDayOf, type TlsReport } from "../../src/queue/tls-reports.ts";
import { openSqliteStore, type SqliteOptions, type SqliteStore } from "../../src/store/sqlite/open.ts";

export const T0 = Date.UTC(2026, 8, 1, 8, 0, 0);
export const HOUR = 3_600_000;
export const DAY = 24 * HOUR;

/** A clock that a test moves; timers run on the system's. */
export class TestClock implements Clock {
  time = T0;
  #passed = 0;
  /** Time goes by; setting `time` alone is a clock that jumps. */
  pass(ms: number): void {
    this.time += ms;
    this.#passed += ms;
  }
  now(): number {
    return this.time;
  }
  monotonic(): number {
    return systemClock.monotonic() + this.#passed;
  }
  after(delay: number, action: () => void): () => void {
    return systemClock.after(delay, action);
  }
}

export function newFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), "postern-store-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface Opened {
  readonly store: SqliteStore;
  readonly folder: string;
  readonly clock: TestClock;
  readonly events: PosternEvent[];
}

export async function openTestStore(options: Partial<SqliteOptions> = {}): Promise<Opened> {
  const folder = options.folder ?? newFolder();
  const clock = (options.clock as TestClock | undefined) ?? new TestClock();
  const events: PosternEvent[] = [];
  const store = await openSqliteStore({
    minimumFree: 0,
    settlementReserve: 0,
    emit: (event) => events.push(event),
    ...options,
    folder,
    clock,
  });
  onTestFinished(() => store.close());
  return { store, folder, clock, events };
}

export function address(text: string): EmailAddress {
  return text as EmailAddress;
}

export function hop(text: string): NextHop {
  return text as NextHop;
}

export function domain(text: string): Domain {
  return text as Domain;
}

export interface Submission {
  readonly from?: string;
  readonly to?: readonly string[];
  readonly submitter?: string;
  readonly body?: Buffer;
  readonly receivedAt?: number;
  readonly expiresAt?: number;
  readonly lease?: boolean;
  readonly leaseUntil?: number;
}

export function newMessage(
  store: QueueStore,
  {
    from = "alice@sender.test",
    to = ["bob@dane.test"],
    submitter = "net:192.0.2.7",
    body = SMALL,
    receivedAt = T0,
    expiresAt = receivedAt + 5 * DAY,
  }: Submission = {},
): NewMessage {
  return {
    id: store.newQueueId(),
    sender: from as ReversePath,
    recipients: to.map((recipient) => ({ address: address(recipient), nextHop: domainOf(address(recipient)) })),
    origin: { submitter, listener: "submission" },
    needs: { eightBit: false, utf8Headers: false },
    receivedAt,
    expiresAt,
    size: body.length,
  };
}

export const SMALL = Buffer.from("Subject: hello\r\n\r\nHello.\r\n");

/** Enqueues one message; unless `lease` is set its entries are due in the database. */
export async function submit(store: QueueStore, submission: Submission = {}): Promise<{ message: NewMessage; leased: LeasedEntry[] }> {
  const message = newMessage(store, submission);
  const octets = submission.body ?? SMALL;
  const body = store.newBody();
  for (let at = 0; at < octets.length; at += 65_536) await body.write(Buffer.from(octets.subarray(at, at + 65_536)));
  const leased = await store.enqueue(message, body, {
    leaseNow: () => submission.lease ?? false,
    leaseUntil: submission.leaseUntil ?? T0 + HOUR,
  });
  return { message, leased };
}

export const NO_LEASE = { leaseNow: () => false, leaseUntil: 0 };

export function problem(type: DeliveryProblem["type"] = "connect-failed"): DeliveryProblem {
  return { type, detail: `${type} for a reason`, whoActs: "receiver", status: "4.4.1" };
}

export const DELIVERED: RecipientOutcome = {
  kind: "delivered",
  host: "mx.dane.test",
  reply: { code: 250, lines: ["2.0.0 taken as 4711"] },
};
export const WAITING: RecipientOutcome = { kind: "waiting", problem: problem() };
export const FAILED: RecipientOutcome = { kind: "failed", problem: { ...problem("rejected"), status: "5.1.1" } };

export function attempt(endedAt = T0 + 1000, last?: DeliveryProblem): AttemptRecord {
  return {
    startedAt: endedAt - 500,
    endedAt,
    hosts: [{ host: "mx.dane.test", address: "192.0.2.1", port: 25, step: last === undefined ? "done" : "connect" }],
    demanded: "authenticated (tls.floor of this relay)",
    ...(last !== undefined && { problem: last }),
  };
}

/** One outcome for each recipient of the entry, in order; the last is for the rest. */
export function settlementOf(
  entry: LeasedEntry,
  outcomes: readonly RecipientOutcome[],
  nextAttempt?: number,
  endedAt?: number,
): Settlement {
  const recipients = entry.recipients.map(({ recipientId }, index) => ({
    recipientId,
    outcome: outcomes[index] ?? outcomes.at(-1) ?? DELIVERED,
  }));
  const waits = recipients.find(({ outcome }) => outcome.kind === "waiting")?.outcome;
  return {
    attempt: attempt(endedAt, waits?.kind === "waiting" ? waits.problem : undefined),
    recipients,
    ...(nextAttempt !== undefined && { nextAttempt }),
    notices: [],
  };
}

export async function readBody(entry: LeasedEntry): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of entry.body.chunks()) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

/** Leases one entry that must be there. */
export async function leaseOne(store: QueueStore, nextHop: string, now = T0, until = now + HOUR): Promise<LeasedEntry> {
  const [entry] = await store.leaseDue(hop(nextHop), 1, now, until);
  if (entry === undefined) throw new Error(`nothing is due at ${nextHop}`);
  return entry;
}

export const TODAY = reportDayOf(T0);

export const STS: AppliedPolicy = {
  type: "sts",
  domain: "a.test",
  text: ["version: STSv1", "mode: enforce", "mx: *.a.test", "max_age: 604800"],
  mxHost: ["*.a.test"],
};

/** A good session under MTA-STS, unless told otherwise. */
export function observation(more: Partial<TlsObservation> = {}): TlsObservation {
  return { reportDomain: domain("a.test"), at: T0, policy: STS, failures: [], ...more };
}

/** A delivery that brings these along. */
export async function observe(store: QueueStore, ...observations: readonly TlsObservation[]): Promise<void> {
  const { leased } = await submit(store, { lease: true });
  const [entry] = leased;
  if (entry === undefined) throw new Error("not leased");
  if ((await store.saveSettlement(entry.lease, { ...settlementOf(entry, [DELIVERED]), observations }, NO_LEASE)) === "lease-lost")
    throw new Error("the lease was lost");
}

export function report(reportDomain: string, more: Partial<TlsReport> = {}): TlsReport {
  return {
    id: `${reportDomain}.1@sender.test`,
    day: TODAY,
    reportDomain: domain(reportDomain),
    state: "due",
    createdAt: T0,
    dueAt: T0,
    giveUpAt: T0 + DAY,
    attempts: 0,
    destinations: [],
    ...more,
  };
}
