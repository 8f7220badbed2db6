/** Due times, pauses and suppression as tables (RFC 8460 §4.1, §5.5, and destinations that refuse). */
import { describe, expect, test } from "vitest";
import { type ReportDay, boundsOf } from "../../src/queue/tls-reports.ts";
import { firstDue, nextDayTry, nextLook, nextTry, oldestReported } from "../../src/report/schedule.ts";
import { createSteadyClock } from "../../src/report/steady-clock.ts";
import { afterAcceptance, afterRefusal, isSuppressed } from "../../src/report/suppress.ts";
import { MovedClock } from "../support/moved-clock.ts";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const day = "2026-03-01" as ReportDay;
const over = boundsOf(day).end + 1;
const times = { spread: 4 * HOUR, retryFor: DAY };

describe("the first try", () => {
  const cases: [what: string, now: number, spread: number, from: number, to: number][] = [
    ["right after the day", over, 4 * HOUR, over + 10 * MINUTE, over + 4 * HOUR],
    ["after a start at 02:00", over + 2 * HOUR, 4 * HOUR, over + 2 * HOUR, over + 4 * HOUR],
    ["after a start at 03:30: an hour at least", over + 3.5 * HOUR, 4 * HOUR, over + 3.5 * HOUR, over + 4.5 * HOUR],
    ["after downtime over the whole night", over + 9 * HOUR, 4 * HOUR, over + 9 * HOUR, over + 10 * HOUR],
    ["with a short spread", over, 4 * MINUTE, over + MINUTE, over + 4 * MINUTE],
    ["with none", over, 0, over, over],
  ];
  for (const [what, now, spread, from, to] of cases)
    test(what, () => {
      const at = (chance: number): number => firstDue(day, now, { spread, retryFor: DAY }, () => chance);
      expect([at(0), at(1)]).toEqual([from, to]);
    });
});

describe("the next try", () => {
  const giveUpAt = over + DAY;
  const cases: [what: string, tried: number, wait: number | undefined][] = [
    ["five minutes first", 0, 5 * MINUTE],
    ["as long again", 5 * MINUTE, 5 * MINUTE],
    ["as long again, ten minutes on", 10 * MINUTE, 10 * MINUTE],
    ["as long again, an hour on", HOUR, HOUR],
    ["four hours at most", 10 * HOUR, 4 * HOUR],
    ["the last one right before the end", 21 * HOUR, 3 * HOUR - 7.5 * MINUTE],
    ["none after it", DAY - 7 * MINUTE, undefined],
    ["none when the time is over", DAY + HOUR, undefined],
    ["soon, where the clock went back", -2 * DAY, 5 * MINUTE],
  ];
  for (const [what, tried, wait] of cases)
    test(what, () => {
      const next = nextTry(giveUpAt, over + tried, times, () => 0.5);
      expect(next === undefined ? undefined : next - over - tried).toBe(wait);
    });

  test("varies by a tenth", () => {
    const at = (chance: number): number => (nextTry(giveUpAt, over + HOUR, times, () => chance) ?? 0) - over - HOUR;
    expect([at(0), at(1)]).toEqual([54 * MINUTE, 66 * MINUTE]);
  });
});

test("a mail is looked after at growing pauses, and no longer than an hour past the report's time", () => {
  const look = (queued: number, now: number): number | undefined => {
    const at = nextLook(over + queued, over + DAY, over + now);
    return at === undefined ? undefined : at - over - now;
  };
  expect([look(0, 0), look(0, 5 * MINUTE), look(0, 10 * HOUR), look(0, 24.9 * HOUR), look(0, 25 * HOUR)]).toEqual([
    MINUTE,
    5 * MINUTE,
    30 * MINUTE,
    30 * MINUTE,
    undefined,
  ]);
});

test("what a host has no room for waits for the next day, if its time lasts until then", () => {
  expect(nextDayTry(over + DAY + 2 * HOUR, over + HOUR, () => 0)).toBe(over + DAY);
  expect(nextDayTry(over + DAY - 1, over + HOUR, () => 0)).toBeUndefined();
});

test("days are reported for two days", () => {
  expect(oldestReported(Date.UTC(2026, 2, 3))).toBe("2026-03-01");
});

describe("refusals in a row", () => {
  test("suppress from the third on, for a time that doubles up to thirty days", () => {
    let record = afterRefusal("https://r.test/", undefined, over);
    const spans: (number | undefined)[] = [];
    for (let refusals = 1; refusals <= 9; refusals++) {
      spans.push(record.suppressedUntil === undefined ? undefined : (record.suppressedUntil - over) / DAY);
      record = afterRefusal("https://r.test/", record, over);
    }
    expect(spans).toEqual([undefined, undefined, 1, 2, 4, 8, 16, 30, 30]);
  });
  test("are forgotten with an acceptance", () => {
    const third = { uri: "https://r.test/", refusals: 3, refusedAt: over, suppressedUntil: over + DAY };
    expect(afterAcceptance(third)).toEqual({ uri: "https://r.test/", refusals: 0, refusedAt: over });
    expect(afterAcceptance(undefined)).toBeUndefined();
  });
  test("suppress until that time", () => {
    const record = { uri: "https://r.test/", refusals: 3, refusedAt: over, suppressedUntil: over + DAY };
    expect([isSuppressed(record, over + DAY - 1), isSuppressed(record, over + DAY), isSuppressed(undefined, over)]).toEqual([
      true,
      false,
      false,
    ]);
  });
});

describe("whether a clock is believed", () => {
  const cases: [what: string, leap: number, believed: boolean][] = [
    ["that goes on", 0, true],
    ["that is corrected by half a minute", 30 * SECOND, true],
    ["that leaps ahead", 2 * HOUR, false],
    ["that leaps back", -2 * HOUR, false],
  ];
  for (const [what, leap, believed] of cases)
    test(`${what}: ${believed ? "believed" : "not for ten minutes"}`, async () => {
      const clock = new MovedClock();
      const steady = createSteadyClock(clock);
      await clock.pass(MINUTE);
      clock.set(clock.now() + leap);
      steady.look();
      expect(steady.isBelieved()).toBe(believed);
      await clock.pass(10 * MINUTE);
      steady.look();
      expect(steady.isBelieved()).toBe(true);
    });
});
