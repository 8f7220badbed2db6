/** When a waiting entry is tried again (RFC 5321 §4.5.4.1). Pure: time and chance are handed in. */

export interface RetrySchedule {
  /** Waits after the first failures, in ms; the last one doubles from then on. */
  readonly first: readonly number[];
  /** No wait is longer than this, in ms. */
  readonly longest: number;
  /** A tenth means ±10 %: a host that recovers is not met by its whole backlog at once. */
  readonly spread: number;
}

/** The time of the next attempt after `failures` failed ones (1 or more). */
export function nextAttempt(schedule: RetrySchedule, failures: number, now: number, random: () => number): number {
  // The first tries come sooner than RFC 5321 §4.5.4.1's 30 minutes: a greylisting host is usually ready by then.
  const last = schedule.first.at(-1) ?? schedule.longest;
  const beyond = failures - schedule.first.length;
  const wait = schedule.first[failures - 1] ?? last * 2 ** Math.min(beyond, 30);
  return Math.round(now + Math.min(wait, schedule.longest) * (1 - schedule.spread + 2 * schedule.spread * random()));
}
