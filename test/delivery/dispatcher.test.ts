import { describe, expect, test } from "vitest";
import { Dispatcher, type DispatchLimits, type Job, READY_LIMITS } from "../../src/delivery/dispatcher.ts";
import type { DeliveryProblem } from "../../src/queue/settlement.ts";
import { leasedEntry } from "../support/entries.ts";

const LIMITS: DispatchLimits = {
  sockets: 100,
  reserveForAnswering: 0.5,
  perDestination: 20,
  firstContact: 2,
  downFirst: 1000,
  downLongest: 8000,
  memory: 1_000_000,
};
const REFUSED: DeliveryProblem = { type: "connect-failed", detail: "refused", whoActs: "receiver", status: "4.4.1" };
const USABLE = { kind: "usable" } as const;
const UNUSABLE = { kind: "unusable", problem: REFUSED } as const;

function dispatcher(limits: Partial<DispatchLimits> = {}): Dispatcher {
  return new Dispatcher(() => ({ ...LIMITS, ...limits }));
}

function startAll(from: Dispatcher): Job[] {
  const jobs: Job[] = [];
  for (let job = from.next(); job !== undefined; job = from.next()) jobs.push(job);
  return jobs;
}

function names(jobs: readonly Job[]): string[] {
  return jobs.map(({ entry }) => `${entry.message.origin.submitter} ${entry.nextHop}`);
}

describe("who is next", () => {
  test("submitters take turns at one destination, however much one of them has waiting", () => {
    const subject = dispatcher({ firstContact: 4 });
    for (let n = 0; n < 50; n++) subject.offer(leasedEntry({ nextHop: "a.test", submitter: "heavy" }));
    subject.offer(leasedEntry({ nextHop: "a.test", submitter: "light" }));
    expect(names(startAll(subject))).toEqual(["heavy a.test", "light a.test", "heavy a.test", "heavy a.test"]);
  });

  test("a submitter with many destinations does not come before one with a single message", () => {
    const subject = dispatcher({ sockets: 3, reserveForAnswering: 0 });
    for (let n = 0; n < 50; n++) subject.offer(leasedEntry({ nextHop: `d${n}.test`, submitter: "heavy" }));
    subject.offer(leasedEntry({ nextHop: "z.test", submitter: "light" }));
    expect(names(startAll(subject))).toContain("light z.test");
  });

  test("turns are kept while the destination is full and lets one in at a time", () => {
    const subject = dispatcher({ firstContact: 1, perDestination: 1 });
    for (let n = 0; n < 10; n++) subject.offer(leasedEntry({ nextHop: "a.test", submitter: "heavy" }));
    const served: string[] = [];
    for (let n = 0; n < 6; n++) {
      if (n === 1) for (let m = 0; m < 2; m++) subject.offer(leasedEntry({ nextHop: "a.test", submitter: "light" }));
      const [job] = startAll(subject);
      served.push(job?.entry.message.origin.submitter ?? "nobody");
      subject.finished(job as Job, USABLE, 0);
    }
    expect(served).toEqual(["heavy", "heavy", "light", "heavy", "light", "heavy"]);
  });

  test("within a lane the first in is the first out, and one put back is first again", () => {
    const subject = dispatcher({ firstContact: 1 });
    const [one, two, three] = [1, 2, 3].map((entryId) => leasedEntry({ nextHop: "a.test", entryId }));
    for (const entry of [one, two, three]) if (entry !== undefined) subject.offer(entry);
    const first = subject.next() as Job;
    expect(first.entry).toBe(one);
    subject.finished(first, USABLE, 0);
    subject.offerAgain(first.entry);
    expect(startAll(subject).map(({ entry }) => entry.lease.entryId)).toEqual([1, 2]);
  });
});

describe("how many at once", () => {
  test("a destination that has not answered gets its first contacts only, and more with each success", () => {
    const subject = dispatcher();
    for (let n = 0; n < 100; n++) subject.offer(leasedEntry({ nextHop: "a.test" }));
    let jobs = startAll(subject);
    expect(jobs).toHaveLength(2);
    const seen: number[] = [];
    for (let round = 0; round < 6; round++) {
      for (const job of jobs) subject.finished(job, USABLE, 0);
      jobs = startAll(subject);
      seen.push(jobs.length);
    }
    expect(seen).toEqual([4, 8, 16, 20, 20, 20]);
  });

  test("destinations that do not answer leave the reserve to those that do", () => {
    const subject = dispatcher({ sockets: 10 });
    subject.offer(leasedEntry({ nextHop: "good.test" }));
    const [first] = startAll(subject);
    subject.finished(first as Job, USABLE, 0);
    for (let n = 0; n < 20; n++) subject.offer(leasedEntry({ nextHop: `silent${n}.test` }));
    expect(startAll(subject)).toHaveLength(5);
    subject.offer(leasedEntry({ nextHop: "good.test" }));
    expect(names(startAll(subject))).toEqual(["app good.test"]);
  });

  test("it is crowded once those that do not answer hold more than half of their share", () => {
    const subject = dispatcher({ sockets: 8 });
    for (let n = 0; n < 2; n++) subject.offer(leasedEntry({ nextHop: `silent${n}.test` }));
    startAll(subject);
    expect(subject.isCrowded).toBe(false);
    subject.offer(leasedEntry({ nextHop: "silent9.test" }));
    startAll(subject);
    expect(subject.isCrowded).toBe(true);
  });

  test("all sockets taken means nobody starts, and one that ends lets the next one in", () => {
    const subject = dispatcher({ sockets: 3, reserveForAnswering: 0, firstContact: 10 });
    for (let n = 0; n < 5; n++) subject.offer(leasedEntry({ nextHop: "a.test" }));
    const jobs = startAll(subject);
    expect(jobs).toHaveLength(3);
    subject.finished(jobs[0] as Job, USABLE, 0);
    expect(startAll(subject)).toHaveLength(1);
  });

  test("a refusal while others are connected halves the window and does not call the destination down", () => {
    const subject = dispatcher({ firstContact: 8 });
    for (let n = 0; n < 30; n++) subject.offer(leasedEntry({ nextHop: "a.test" }));
    const jobs = startAll(subject);
    expect(jobs).toHaveLength(8);
    subject.noteConnected(jobs[0] as Job, true);
    expect(subject.finished(jobs[1] as Job, UNUSABLE, 0)).toBe("same");
    expect(subject.destination(jobs[0]?.entry.nextHop as never).window).toBe(4);
    expect(subject.next()).toBeUndefined();
  });
});

describe("a destination that cannot be used", () => {
  test("goes down once for attempts that fail together, longer each time, and comes up again with a success", () => {
    const subject = dispatcher();
    for (let n = 0; n < 9; n++) subject.offer(leasedEntry({ nextHop: "a.test" }));
    const [one, two] = startAll(subject) as [Job, Job];
    expect(subject.finished(one, UNUSABLE, 100)).toBe("went-down");
    expect(subject.finished(two, UNUSABLE, 100)).toBe("same");
    expect(one.destination.downUntil).toBe(1100);
    const again = subject.next() as Job;
    expect(subject.finished(again, UNUSABLE, 2000)).toBe("went-down");
    expect(one.destination.downUntil).toBe(4000);
    const third = subject.next() as Job;
    expect(subject.next()).toBeUndefined(); // one contact at a time after a failure
    expect(subject.finished(third, USABLE, 5000)).toBe("came-up");
    expect(one.destination.isDown(5000)).toBe(false);
  });

  test("is not left alone for a day because the clock was set back by one", () => {
    const subject = dispatcher();
    const now = 86_400_000;
    subject.offer(leasedEntry({ nextHop: "a.test" }));
    const job = subject.next() as Job;
    expect(subject.finished(job, UNUSABLE, now)).toBe("went-down");
    expect(job.destination.isDown(now + 999)).toBe(true);
    expect(job.destination.isDown(now - 60_000)).toBe(false);
  });

  test("takes no fresh entries while it is down, and gives up those that wait", () => {
    const subject = dispatcher();
    for (let n = 0; n < 9; n++) subject.offer(leasedEntry({ nextHop: "a.test" }));
    const job = subject.next() as Job;
    subject.finished(job, UNUSABLE, 0);
    const { nextHop } = job.entry;
    expect(subject.hasRoomFor(nextHop, "app", 500)).toBe(false);
    expect(subject.withdraw(nextHop)).toHaveLength(8);
    expect(subject.ready).toBe(0);
    expect(subject.hasRoomFor(nextHop, "app", 1001)).toBe(true);
  });
});

describe("what memory holds", () => {
  test("a lane, a submitter and all together have their limits; the rest waits in the database", () => {
    const subject = dispatcher({ firstContact: 1 });
    const { nextHop } = leasedEntry({ nextHop: "a.test" });
    for (let n = 0; n < READY_LIMITS.perLane; n++) subject.offer(leasedEntry({ nextHop: "a.test" }));
    expect(subject.hasRoomFor(nextHop, "app", 0)).toBe(false);
    expect(subject.hasRoomFor(nextHop, "other", 0)).toBe(true);
    expect(subject.roomOf(nextHop)).toBe(0);
  });

  /** As the worker does: what has no room stays in the database. */
  function offerMany(subject: Dispatcher, destinations: number, each: number, body: Buffer): void {
    for (let n = 0; n < destinations * each; n++) {
      const entry = leasedEntry({ nextHop: `silent${n % destinations}.test`, body });
      if (subject.hasRoomFor(entry.nextHop, "app", 0)) subject.offer(entry);
      startAll(subject);
    }
  }

  const backlogs: [name: string, destinations: number, bodySize: number][] = [
    ["many small messages", 100, 100],
    ["bodies that fill memory", 20, 100_000],
    ["more destinations than places", 3000, 100],
  ];
  test.each(backlogs)("a backlog for destinations that do not answer, %s, leaves room for one that does", (_, destinations, bodySize) => {
    const subject = dispatcher({ memory: 4_000_000 });
    subject.offer(leasedEntry({ nextHop: "answers.test" }));
    subject.finished(subject.next() as Job, USABLE, 0);
    offerMany(subject, destinations, destinations > 1000 ? 1 : 50, Buffer.alloc(bodySize));
    const { nextHop } = leasedEntry({ nextHop: "answers.test" });
    expect(subject.hasRoomFor(nextHop, "app", 0)).toBe(true);
    expect(subject.roomOf(nextHop)).toBe(READY_LIMITS.perLane);
  });

  test("bodies in memory are counted, and given back when their entry starts", () => {
    const subject = dispatcher({ memory: 1000 });
    const entry = leasedEntry({ nextHop: "a.test", body: Buffer.alloc(1000) });
    subject.offer(entry);
    expect(subject.hasRoomFor(entry.nextHop, "app", 0)).toBe(false);
    startAll(subject);
    expect(subject.hasRoomFor(entry.nextHop, "app", 0)).toBe(true);
  });

  test("a thousand submitters that came and went are not remembered", () => {
    const subject = dispatcher();
    for (let n = 0; n < 1000; n++) {
      subject.offer(leasedEntry({ nextHop: "a.test", submitter: `net:${n}` }));
      const job = subject.next() as Job;
      subject.finished(job, USABLE, 0);
    }
    subject.next();
    expect(subject.submitterCount).toBeLessThan(5);
  });
});
