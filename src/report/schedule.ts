/**
 * When reports are sent (RFC 8460 §4.1, §5.5): days, settings, time and chance in; due times out. Pure. Who keeps to them is
 * report/reporter.ts.
 */
import { boundsOf, type ReportDay, reportDayOf } from "../queue/tls-reports.ts";

export interface SendingTimes {
  /** Over how long after the day's end first tries are spread, in milliseconds. */
  readonly spread: number;
  /** For how long a report is tried after its first try was due. */
  readonly retryFor: number;
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Attempts that began before midnight settle until then, and still count for their day. */
const SETTLING = 10 * MINUTE;
/** What was missed is spread over less time: it is late already. */
const CATCH_UP = HOUR;
const FIRST_PAUSE = 5 * MINUTE;
const LONGEST_PAUSE = 4 * HOUR;
/** The last try falls into this last part of the time a report has. */
const LAST_PART = 10 * MINUTE;
const FIRST_LOOK = MINUTE;
const LONGEST_LOOK = 30 * MINUTE;
/** A mail that still waits when its report's time is over leaves the queue within this. */
const LAST_LOOK = HOUR;
/** A mail that waits for longer does not hold up the destinations behind it. */
const MAIL_PATIENCE = 30 * MINUTE;

/** Days before this one are past reporting: what was counted on them is deleted. */
export function oldestReported(now: number): ReportDay {
  return reportDayOf(now - 2 * DAY);
}

/** When the report of a day that is over is sent first. */
export function firstDue(day: ReportDay, now: number, { spread }: SendingTimes, random: () => number): number {
  const begin = boundsOf(day).end + 1;
  const from = Math.max(now, begin + Math.min(SETTLING, spread / 4));
  const to = now < from ? begin + spread : Math.max(begin + spread, from + Math.min(spread, CATCH_UP));
  return Math.floor(from + random() * (to - from));
}

/**
 * The try after one that failed: after as long again as the report has been tried for, so that pauses double. The last one falls
 * right before the report's time is over; undefined if this was it.
 */
export function nextTry(giveUpAt: number, now: number, times: SendingTimes, random: () => number): number | undefined {
  const tried = now - (giveUpAt - times.retryFor);
  const next = now + Math.min(Math.max(tried, FIRST_PAUSE), LONGEST_PAUSE) * (0.9 + 0.2 * random());
  const lastPart = giveUpAt - Math.min(LAST_PART, times.retryFor / 4);
  if (next < lastPart) return Math.floor(next);
  return now < lastPart ? Math.floor(lastPart + (random() * (giveUpAt - lastPart)) / 2) : undefined;
}

/** When to look after a mail again that was queued then; undefined: its time is over, and it is not waited for any more. */
export function nextLook(queuedAt: number, giveUpAt: number, now: number): number | undefined {
  if (now >= giveUpAt + LAST_LOOK) return undefined;
  return now + Math.min(Math.max(now - queuedAt, FIRST_LOOK), LONGEST_LOOK);
}

export function holdsUpOthers(queuedAt: number, now: number): boolean {
  return now - queuedAt < MAIL_PATIENCE;
}

/** After midnight, when hosts have room for other reports; undefined if the report's time is over before. */
export function nextDayTry(giveUpAt: number, now: number, random: () => number): number | undefined {
  const midnight = boundsOf(reportDayOf(now)).end + 1;
  return midnight < giveUpAt ? Math.floor(midnight + (random() * (giveUpAt - midnight)) / 2) : undefined;
}
