/**
 * The reporter (RFC 8460 §4.1, §5.5): what was counted in, reports on their way out. After midnight UTC it makes one report for each
 * domain of the days that are over, takes each one up when it is due, and looks after the house. Which step follows for a
 * report is report/deliver.ts's; when, report/schedule.ts's.
 *
 * All of its memory is the store. Of several nodes that share it each makes the same reports, and one has the claim.
 */
import type { Clock } from "../clock.ts";
import type { EmitEvent } from "../events.ts";
import { domainOf } from "../mail/address.ts";
import type { Domain } from "../mail/domain.ts";
import type { FindTxt, LookupFailure } from "../policy/facts.ts";
import { boundsOf, type ClaimedReport, type ReportDay, reportDayOf, type TlsReport, type TlsReportStore } from "../queue/tls-reports.ts";
import { errorOf } from "../thrown.ts";
import { buildReport } from "./build.ts";
import { type DeliverIo, deliver, type ReporterSettings } from "./deliver.ts";
import { findReportingPolicy } from "./find-policy.ts";
import { createHostLimit } from "./host-limit.ts";
import type { MailOutIo } from "./mail-out.ts";
import { newReportId } from "./naming.ts";
import { addReports, newReport } from "./new-reports.ts";
import type { PostReport } from "./post.ts";
import type { ReportingPolicy } from "./rua.ts";
import { oldestReported } from "./schedule.ts";
import { createSteadyClock } from "./steady-clock.ts";
import { afterAcceptance, afterRefusal, knownAs } from "./suppress.ts";

export type { ReporterSettings } from "./deliver.ts";

export interface ReporterIo extends MailOutIo {
  readonly reports: TlsReportStore;
  readonly findTxt: FindTxt;
  readonly post: PostReport;
  /** Asked for each step, so that a reload counts at once. */
  readonly settings: () => ReporterSettings;
  readonly clock: Clock;
  readonly emit: EmitEvent;
}

export interface Reporter {
  start(): void;
  /** What is under way gets a few seconds to end; the rest is taken up at the next start. */
  stop(): Promise<void>;
  /**
   * Sends the report of a day that is over now, once more if it was sent already, with the same id; also to destinations that are
   * suppressed. Undefined if nothing was counted, or the day is not over: it would be two reports of one day.
   */
  sendNow(day: ReportDay, reportDomain: Domain): Promise<TlsReport | undefined>;
  /** The document as it is, or as it would be now, and where it would go. Nothing is sent. */
  preview(reportDomain: Domain, day: ReportDay): Promise<{ readonly document: string; readonly policy: ReportingPolicy | LookupFailure }>;
  /** Looks at once for what is due. */
  wake(): void;
}

/** The clock is looked at this often, whatever is due: it may leap. */
const STEP = 60_000;
/** Reports under way at a time. */
const CONCURRENT = 16;
/** Longer than eight destinations may take. A claim that was left by a crash is free after this. */
const CLAIM = 15 * 60_000;
/** What settles after midnight may be of the day before. */
const LOOK_FOR_NEW = 3_600_000;
const FORGET_EVERY = 3_600_000;
const FORGET_AFTER = 10 * 60_000;
const GRACE = 5_000;

export function createReporter(io: ReporterIo): Reporter {
  const { reports, clock, random, emit, settings } = io;
  const steady = createSteadyClock(clock);
  const stopping = new AbortController();
  const deliverIo: DeliverIo = { ...io, hostLimit: createHostLimit(), stop: stopping.signal };
  const running = new Set<Promise<void>>();
  /** Asked for by name. */
  const ordered = new Set<string>();
  let state: "new" | "running" | "stopped" = "new";
  let round: Promise<void> | undefined;
  let wanted = false;
  let cancelTimer = (): void => {};
  let madeFor: ReportDay | undefined;
  let nextMaking = 0;
  let nextForgetting = 0;

  const newId = (): string => newReportId(domainOf(settings().from), random);
  const fault = (where: string, thrown: unknown): void => {
    // From then on the store may be closed, and claims run out by themselves.
    if (state !== "stopped") emit({ kind: "fault", where, error: errorOf(thrown) });
  };

  const wake = (): void => {
    wanted = true;
    if (state !== "running" || round !== undefined) return;
    round = goRounds().finally(() => {
      round = undefined;
      if (wanted) wake();
    });
  };

  const goRounds = async (): Promise<void> => {
    cancelTimer();
    let wait = STEP;
    while (wanted && state === "running") {
      wanted = false;
      try {
        wait = await goRound();
      } catch (error) {
        wait = STEP;
        fault("looking for TLS reports that are due", error);
      }
    }
    if (state === "running") cancelTimer = clock.after(wait, wake);
  };

  /** Milliseconds to the next one. */
  const goRound = async (): Promise<number> => {
    steady.look();
    if (!steady.isBelieved()) return STEP;
    await makeNew();
    await forgetOld();
    const free = CONCURRENT - running.size;
    // Each that ends wakes the next one.
    if (free <= 0) return STEP;
    const now = clock.now();
    for (const claim of await reports.claimDue(now, now + CLAIM, free)) take(claim);
    const due = await reports.nextDue();
    const midnight = boundsOf(reportDayOf(now)).end + 1;
    const next = Math.min(due ?? midnight, midnight) - clock.now();
    // What is due and was not claimed is held by another node.
    return next > 0 ? Math.min(next, STEP) : STEP;
  };

  const makeNew = async (): Promise<void> => {
    const now = clock.now();
    if (madeFor === reportDayOf(now) && clock.monotonic() < nextMaking) return;
    await addReports(now, { reports, times: settings(), newId, random, isStopped: () => state === "stopped" });
    madeFor = reportDayOf(now);
    nextMaking = clock.monotonic() + LOOK_FOR_NEW;
  };

  const forgetOld = async (): Promise<void> => {
    // Nothing is deleted by a clock that may yet be corrected.
    if (clock.monotonic() < nextForgetting || steady.steadyFor() < FORGET_AFTER) return;
    nextForgetting = clock.monotonic() + FORGET_EVERY;
    const now = clock.now();
    await reports.forget(oldestReported(now), now - settings().keep);
  };

  const take = (claim: ClaimedReport): void => {
    const { day, reportDomain } = claim.report;
    const work = followUp(claim)
      .catch((error: unknown) => fault(`the TLS report of ${day} to ${reportDomain}`, error))
      .finally(() => {
        running.delete(work);
        wake();
      });
    running.add(work);
  };

  const followUp = async (claim: ClaimedReport): Promise<void> => {
    const { report } = claim;
    const now = clock.now();
    const { change, events } = await deliver(report, now, ordered.has(report.id), settings(), deliverIo);
    // Another node has it, and tells of it.
    if (!(await reports.save(claim, change))) return;
    for (const event of events) emit(event);
    if (change.endedAt === undefined) return;
    ordered.delete(report.id);
    await rememberAnswers({ ...report, ...change }, now);
  };

  /** At its end a report counts once for each of its destinations, however often it was tried. */
  const rememberAnswers = async ({ reportDomain, destinations }: TlsReport, now: number): Promise<void> => {
    for (const { uri, state: became, refused } of destinations) {
      if (became !== "accepted" && refused !== true) continue;
      const known = knownAs(uri, reportDomain);
      const before = await reports.findRua(known);
      const after = became === "accepted" ? afterAcceptance(before) : afterRefusal(known, before, now);
      if (after !== undefined) await reports.saveRua(after);
    }
  };

  return {
    start() {
      if (state !== "new") return;
      state = "running";
      wake();
    },
    async stop() {
      state = "stopped";
      cancelTimer();
      const ended = Promise.allSettled([round, ...running]);
      const cancels: (() => void)[] = [];
      const passed = (delay: number): Promise<void> => new Promise((resolve) => cancels.push(clock.after(delay, resolve)));
      await Promise.race([ended, passed(GRACE)]);
      stopping.abort();
      // What now hears of it has still to be saved.
      await Promise.race([ended, passed(GRACE)]);
      for (const cancel of cancels) cancel();
    },
    async sendNow(day, reportDomain) {
      const now = clock.now();
      if (day >= reportDayOf(now)) return undefined;
      const { retryFor } = settings();
      if ((await reports.find(day, reportDomain)) === undefined) {
        if ((await reports.counts(day, reportDomain)).length === 0) return undefined;
        await reports.add([newReport({ day, reportDomain, id: newId() }, now, now, settings())]);
      }
      const due = await reports.makeDue(day, reportDomain, now, now + retryFor);
      if (due !== undefined) ordered.add(due.id);
      wake();
      return due;
    },
    async preview(reportDomain, day) {
      const [report, policy] = await Promise.all([reports.find(day, reportDomain), findReportingPolicy(reportDomain, io.findTxt)]);
      if (report?.document !== undefined) return { document: report.document, policy };
      const { organization, from } = settings();
      const counts = await reports.counts(day, reportDomain);
      const id = report?.id ?? newId();
      return { document: buildReport({ day, reportDomain, id, organization, contact: from, counts }), policy };
    },
    wake,
  };
}
