/**
 * Leases given out and not settled, with their end on the monotonic clock. They are void when the process ends, so its own time
 * is the right one: a wall clock set forward would end them all at once, and what is under way would be sent a second time.
 * Kept here, so that one that ran out is found without an index on the hot path; ending it in the database is store.ts.
 */
import type { Clock } from "../../clock.ts";
import type { Lease } from "../../queue/entry.ts";

export class OpenLeases {
  readonly #clock: Pick<Clock, "monotonic">;
  readonly #leases = new Map<number, { readonly lease: Lease; readonly ends: number }>();
  #soonestEnd = Infinity;

  constructor(clock: Pick<Clock, "monotonic">) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#leases.size;
  }

  has({ entryId }: Lease): boolean {
    return this.#leases.has(entryId);
  }

  /** It lasts so many ms from now on. */
  remember(lease: Lease, lasts: number): void {
    const ends = this.#clock.monotonic() + lasts;
    this.#leases.set(lease.entryId, { lease, ends });
    this.#soonestEnd = Math.min(this.#soonestEnd, ends);
  }

  forget(lease: Lease): void {
    if (this.#leases.get(lease.entryId)?.lease.generation === lease.generation) this.#leases.delete(lease.entryId);
  }

  /** Takes out those that ran out. */
  takeEnded(): Lease[] {
    const now = this.#clock.monotonic();
    if (now < this.#soonestEnd) return [];
    const ended: Lease[] = [];
    this.#soonestEnd = Infinity;
    for (const { lease, ends } of this.#leases.values()) {
      if (ends <= now) ended.push(lease);
      else this.#soonestEnd = Math.min(this.#soonestEnd, ends);
    }
    for (const lease of ended) this.#leases.delete(lease.entryId);
    return ended;
  }
}
