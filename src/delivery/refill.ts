/**
 * Brings due entries from the database to the dispatcher: those that memory had no room for, those whose wait is over,
 * those the operator wants tried now. It asks only for next hops that are known or found to have some, and never for more
 * than there is room for, so a queue of any length costs the memory of a short one.
 */
import type { CancelTimer, Clock } from "../clock.ts";
import type { NextHop } from "../mail/domain.ts";
import type { LeasedEntry } from "../queue/entry.ts";
import type { QueueStore } from "../queue/store.ts";
import type { Dispatcher } from "./dispatcher.ts";

export interface RefillIo {
  readonly store: Pick<QueueStore, "leaseDue" | "findDueNextHops" | "findNextDue" | "postponeDestination">;
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
/** Postponed entries come back within so many ms of each other. */
const POSTPONE_SPREAD = 10_000;

export class Refill {
  readonly #io: RefillIo;
  /** Next hops that have due entries in the database, as far as is known. */
  readonly #due = new Set<NextHop>();
  #running = false;
  #again = false;
  #lookAgain = true;
  #stopped = false;
  #cancel: CancelTimer | undefined;
  /** When the armed timer looks; later wishes are served by the look before them. */
  #nextLook = Number.POSITIVE_INFINITY;

  constructor(io: RefillIo) {
    this.#io = io;
  }

  /** An entry of this next hop was left to the database. */
  noteLeft(nextHop: NextHop): void {
    this.#due.add(nextHop);
  }

  /** True if entries of this next hop wait in the database. */
  hasLeft(nextHop: NextHop): boolean {
    return this.#due.has(nextHop);
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
      const found = await store.findDueNextHops(clock.now(), NEXT_HOPS_A_ROUND);
      for (const { nextHop } of found) this.#due.add(nextHop);
      const more = found.length === NEXT_HOPS_A_ROUND;
      const next = more ? clock.now() + 1000 : await store.findNextDue();
      // What is due already is in hand; the next look is for what falls due later.
      this.lookAt(Math.max(next ?? clock.now() + LONGEST_PAUSE, clock.now() + 1000));
    }
    for (const nextHop of this.#due) {
      if (this.#stopped) return;
      if (dispatcher.destination(nextHop).isDown(clock.now())) await this.#postpone(nextHop);
      else await this.#lease(nextHop);
    }
  }

  async #lease(nextHop: NextHop): Promise<void> {
    const { store, clock, dispatcher } = this.#io;
    const room = dispatcher.roomOf(nextHop);
    if (room === 0) return;
    const entries = await store.leaseDue(nextHop, room, clock.now(), this.#io.leaseUntil());
    if (entries.length === 0) this.#due.delete(nextHop);
    this.#io.offer(entries);
  }

  /** The destination failed a moment ago: what waits for it waits on, except entries whose time is over. */
  async #postpone(nextHop: NextHop): Promise<void> {
    const { store, clock, dispatcher } = this.#io;
    const destination = dispatcher.destination(nextHop);
    const problem = destination.lastProblem;
    if (problem !== undefined) await store.postponeDestination(nextHop, destination.downUntil, destination.downUntil + POSTPONE_SPREAD, problem);
    this.#due.delete(nextHop);
    this.lookAt(destination.downUntil);
    const expired = await store.leaseDue(nextHop, dispatcher.roomOf(nextHop), clock.now(), this.#io.leaseUntil());
    this.#io.offer(expired);
  }
}
