/** That nothing left to the database is forgotten there, whatever arrives while it is asked. */
import { expect, test } from "vitest";
import { Dispatcher } from "../../src/delivery/dispatcher.ts";
import { Refill } from "../../src/delivery/refill.ts";
import type { NextHop } from "../../src/mail/domain.ts";
import type { LeasedEntry } from "../../src/queue/entry.ts";
import { leasedEntry } from "../support/entries.ts";
import { MovedClock } from "../support/moved-clock.ts";

const HOP = "dest.test" as NextHop;
const LIMITS = {
  sockets: 10,
  reserveForAnswering: 0.5,
  perDestination: 20,
  firstContact: 2,
  downFirst: 1000,
  downLongest: 8000,
  memory: 1_000_000,
};

/** A queue in memory that answers a question with what it had when the question was asked. */
function world(known: "its submitter" | "anybody") {
  const clock = new MovedClock();
  const queue: LeasedEntry[] = [];
  const offered: LeasedEntry[] = [];
  let arrival: (() => void) | undefined;
  const madeDue: number[] = [];
  const refill: Refill = new Refill({
    clock,
    dispatcher: new Dispatcher(() => LIMITS),
    random: () => 0.5,
    leaseUntil: () => clock.now() + 60_000,
    offer: (entries) => offered.push(...entries),
    fault: (error) => {
      throw error;
    },
    store: {
      async leaseDue(_, limit) {
        const answer = queue.splice(0, limit);
        arrival?.();
        await Promise.resolve();
        return answer;
      },
      findDueNextHops: () => Promise.resolve([]),
      findNextDue: () => Promise.resolve(undefined),
      postponeDestination: () => Promise.resolve(0),
      makeAllDue: async (now) => void madeDue.push(now),
    },
  });
  const leave = () => {
    queue.push(leasedEntry());
    refill.noteLeft(HOP, known === "anybody" ? undefined : "app");
  };
  return { clock, offered, madeDue, refill, leave, meanwhile: (action: () => void) => (arrival = action) };
}

test.each(["its submitter", "anybody"] as const)("an entry left while the database answers is asked for again (%s)", async (known) => {
  const { clock, offered, refill, leave, meanwhile } = world(known);
  leave();
  let more = 3;
  meanwhile(() => {
    if (more-- > 0) leave();
  });
  await clock.pass(5000);
  expect(offered).toHaveLength(4);
  expect(refill.hasLeft(HOP)).toBe(false);
});

test("a clock that is set back by a day makes what waits due, once; a clock that runs makes nothing due", async () => {
  const { clock, refill, madeDue } = world("anybody");
  refill.lookAt(clock.now());
  await clock.pass(300_000);
  expect(madeDue).toEqual([]);
  const wrong = clock.now();
  clock.set(wrong - 86_400_000);
  await clock.pass(60_000);
  expect(madeDue).toHaveLength(1);
  expect(madeDue[0]).toBeLessThan(wrong);
  await clock.pass(300_000);
  expect(madeDue).toHaveLength(1);
  clock.set(wrong + 3 * 86_400_000);
  await clock.pass(300_000);
  expect(madeDue).toHaveLength(1);
});
