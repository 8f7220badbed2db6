/**
 * Brings due entries from the database to the dispatcher: those that memory had no room for, those whose wait is over,
 * those the operator wants tried now. It asks only for next hops that are known or found to have some, and never for more
 * than there is room for, so a queue of any length costs the memory of a short one.
 */
import type { CancelTimer, Clock } from "../clock.ts";
import type { NextHop } from "../mail/domain.ts";
import type { LeasedEntry, Submitter } from "../queue/entry.ts";
import type { QueueStore } from "../queue/store.ts";
import type { Dispatcher } from "./dispatcher.ts";

export interface RefillIo {
  readonly store: Pick<QueueStore, "leaseDue" | "findDueNextHops" | "findNextDue" | "postponeDestination"> & {
    /** Whatever waits in the database is due at `now`. */
    makeAllDue(now: number): Promise<void>;
  };
  readonly dispatcher: Dispatcher;
  readonly clock: Clock;
  readonly random: () => number;
  leaseUntil(): number;
  offer(entries: readonly LeasedEntry[]): void;
  fault(error: unknown): void;
}

/** Next hops looked at in one round; the rest follow in the next. */
const NEXT_HOPS_A_ROUND = 500;
/** No pause between looks at the clock's queue is longer: the wall clock may have been set. */
const LONGEST_PAUSE = 60_000;
/** A wall clock set back by more than this has left due times in a future that is too far. */
const SET_BACK = 60_000;
/** An entry left to the database is looked for after so many ms at the latest. */
const SOON = 200;
/** Postponed entries come back within this share of the wait, and within so many ms at most. */
const POSTPONE_SPREAD = { share: 0.25, longest: 10_000 } as const;

/** What is known of entries left to the database. */
interface Left {
  /** Whose they are; `undefined` stands for anybody's. */
  whose: Set<Submitter> | undefined;
  /** Counts up with every entry that is left. */
  notes: number;
}

export class Refill {
  readonly #io: RefillIo;
  /** Next hops that have due entries in the database, as far as is known. */
  readonly #due = new Map<NextHop, Left>();
  #running = false;
  #soon = false;
  #again = false;
  #lookAgain = true;
  #stopped = false;
  #cancel: CancelTimer | undefined;
  /** How far the wall clock was ahead of the monotonic one. */
  #ahead: number | undefined;
  /** When the armed timer looks; later wishes are served by the look before them. */
  #nextLook = Number.POSITIVE_INFINITY;

  constructor(io: RefillIo) {
    this.#io = io;
  }

  /** An entry was left to the database. Without a submitter it may be anybody's. */
  noteLeft(nextHop: NextHop, submitter?: Submitter): void {
    const left = this.#left(nextHop);
    left.notes += 1;
    if (submitter === undefined) left.whose = undefined;
    else left.whose?.add(submitter);
    if (this.#soon || this.#stopped) return;
    // Many may be left within a moment, and each looks the same from here.
    this.#soon = true;
    this.#io.clock.after(SOON, () => {
      this.#soon = false;
      this.run();
    });
  }

  /** True if entries of this next hop wait in the database, of this submitter if one is named. */
  hasLeft(nextHop: NextHop, submitter?: Submitter): boolean {
    const left = this.#due.get(nextHop);
    return left !== undefined && (submitter === undefined || left.whose === undefined || left.whose.has(submitter));
  }

  #left(nextHop: NextHop): Left {
    let left = this.#due.get(nextHop);
    if (left === undefined) {
      left = { whose: new Set(), notes: 0 };
      this.#due.set(nextHop, left);
    }
    return left;
  }

  /** Entries may have fallen due: at start, after a settlement that waits until `at`, on the operator's word. */
  lookAt(at: number): void {
    if (this.#stopped || at >= this.#nextLook) return;
    this.#cancel?.();
    this.#nextLook = at;
    const pause = Math.min(Math.max(at - this.#io.clock.now(), 0), LONGEST_PAUSE);
    this.#cancel = this.#io.clock.after(pause, () => {
      this.#nextLook = Number.POSITIVE_INFINITY;
      this.#lookAgain = true;
      this.run();
    });
  }

  /** Leases what there is room for. Calls while a round is under way make it go round once more. */
  run(): void {
    if (this.#stopped) return;
    if (this.#running) {
      this.#again = true;
      return;
    }
    this.#running = true;
    this.#round()
      .catch((error: unknown) => {
        this.#io.fault(error);
        this.lookAt(this.#io.clock.now() + 1000);
      })
      .finally(() => {
        this.#running = false;
        if (this.#again) {
          this.#again = false;
          this.run();
        }
      });
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }

  async #round(): Promise<void> {
    const { store, clock, dispatcher } = this.#io;
    if (this.#lookAgain) {
      this.#lookAgain = false;
      await this.#lookAtClock();
      const found = await store.findDueNextHops(clock.now(), NEXT_HOPS_A_ROUND);
      for (const { nextHop } of found) this.#left(nextHop).whose = undefined;
      const more = found.length === NEXT_HOPS_A_ROUND;
      const next = more ? clock.now() + 1000 : await store.findNextDue();
      // What is due already is in hand; the next look is for what falls due later.
      this.lookAt(Math.max(next ?? clock.now() + LONGEST_PAUSE, clock.now() + 1000));
    }
    for (const nextHop of [...this.#due.keys()]) {
      if (this.#stopped) return;
      if (dispatcher.destination(nextHop).isDown(clock.now())) await this.#postpone(nextHop);
      else await this.#lease(nextHop);
    }
  }

  /** A machine that started with a wrong date, and was put right later, must not keep its queue until that date. */
  async #lookAtClock(): Promise<void> {
    const { clock, store } = this.#io;
    const ahead = clock.now() - clock.monotonic();
    if (this.#ahead !== undefined && ahead < this.#ahead - SET_BACK) await store.makeAllDue(clock.now());
    this.#ahead = ahead;
  }

  async #lease(nextHop: NextHop): Promise<void> {
    const { store, clock, dispatcher } = this.#io;
    const room = dispatcher.roomOf(nextHop);
    if (room === 0) return;
    const left = this.#left(nextHop);
    const { notes } = left;
    const entries = await store.leaseDue(nextHop, room, clock.now(), this.#io.leaseUntil());
    // What was left meanwhile may have come too late for this answer: then somebody has to ask again.
    if (entries.length < room && left.notes === notes) this.#due.delete(nextHop);
    this.#io.offer(entries);
  }

  /** The destination failed a moment ago: what waits for it waits on, and says why; an entry whose time is over has its last try. */
  async #postpone(nextHop: NextHop): Promise<void> {
    const { store, clock, dispatcher } = this.#io;
    this.#due.delete(nextHop);
    await this.postpone(nextHop);
    const left = await store.leaseDue(nextHop, dispatcher.roomOf(nextHop), clock.now(), this.#io.leaseUntil());
    this.#io.offer(left);
  }

  /** Makes everything that is due at a destination that is down due when it is up again. Returns how many entries. */
  async postpone(nextHop: NextHop): Promise<number> {
    const { downUntil, lastProblem } = this.#io.dispatcher.destination(nextHop);
    this.lookAt(downUntil);
    if (lastProblem === undefined) return 0;
    const spread = Math.min(Math.max(downUntil - this.#io.clock.now(), 0) * POSTPONE_SPREAD.share, POSTPONE_SPREAD.longest);
    return this.#io.store.postponeDestination(nextHop, downUntil, downUntil + spread, lastProblem);
  }
}
