/**
 * Which next hops were met with DANE, so that a resolver gone blind cannot make us forget it. Written to the store at most
 * once a day for each, off the hot path; read only while the resolver is blind.
 */
import { LRUCache } from "lru-cache";
import type { Clock } from "../clock.ts";
import type { NextHop } from "../mail/domain.ts";
import type { PolicyStore } from "../queue/store.ts";

const NOTED_AGAIN_AFTER = 86_400_000;
const NEXT_HOPS = 20_000;

export class DaneMemory {
  readonly #store: Pick<PolicyStore, "noteDane" | "findDane">;
  readonly #clock: Clock;
  readonly #fault: (error: unknown) => void;
  readonly #noted = new LRUCache<NextHop, number>({ max: NEXT_HOPS });

  constructor(store: Pick<PolicyStore, "noteDane" | "findDane">, clock: Clock, fault: (error: unknown) => void) {
    this.#store = store;
    this.#clock = clock;
    this.#fault = fault;
  }

  note(nextHop: NextHop): void {
    const now = this.#clock.now();
    if (now < (this.#noted.get(nextHop) ?? Number.NEGATIVE_INFINITY) + NOTED_AGAIN_AFTER) return;
    this.#noted.set(nextHop, now);
    this.#store.noteDane(nextHop, now).catch((error: unknown) => {
      this.#noted.delete(nextHop);
      this.#fault(error);
    });
  }

  find(nextHop: NextHop): Promise<number | undefined> {
    return this.#store.findDane(nextHop);
  }
}
