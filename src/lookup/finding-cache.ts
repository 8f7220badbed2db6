/**
 * What was found, kept for as long as it may be (RFC 1035 §3.2.1, RFC 2308): the same question asked by many messages
 * goes out once, also while the first asker still waits. Bounded by entries and by the octets they stand for.
 */
import { LRUCache } from "lru-cache";
import type { Clock } from "../clock.ts";
import type { Finding } from "../policy/facts.ts";

/** A finding with how long it may be kept, in ms, and what keeping it costs. */
export interface Fresh<T> {
  readonly finding: Finding<T>;
  readonly keep: number;
  readonly octets: number;
}

interface Kept {
  readonly finding: Finding<unknown>;
  readonly until: number;
  readonly monotonicUntil: number;
}

export interface FindingCache {
  /** The kept finding, or what `find` gives, which then must not throw. A key has one type. */
  get<T>(key: string, find: () => Promise<Fresh<T>>): Promise<Finding<T>>;
  clear(): void;
  readonly size: number;
}

/** A zone's owner decides how large its answers are, so entries alone would not bound memory. */
const OCTETS_PER_ENTRY = 2048;

export function createFindingCache(entries: number, clock: Clock): FindingCache {
  const kept = new LRUCache<string, Kept>({ max: entries, maxSize: entries * OCTETS_PER_ENTRY });
  const underWay = new Map<string, Promise<Finding<unknown>>>();

  let generation = 0;

  const find = async <T>(key: string, ask: () => Promise<Fresh<T>>): Promise<Finding<T>> => {
    const born = generation;
    try {
      const { finding, keep, octets } = await ask();
      // After `clear` an old question may still be under way; its answer is its askers' alone.
      if (keep > 0 && born === generation)
        kept.set(key, { finding, until: clock.now() + keep, monotonicUntil: clock.monotonic() + keep }, { size: Math.max(1, octets) });
      return finding;
    } finally {
      if (born === generation) underWay.delete(key);
    }
  };

  return {
    get<T>(key: string, ask: () => Promise<Fresh<T>>): Promise<Finding<T>> {
      const known = kept.get(key);
      if (known !== undefined) {
        // Both clocks must agree: one stands still while the machine sleeps, the other may be set back.
        if (clock.monotonic() < known.monotonicUntil && clock.now() < known.until) return Promise.resolve(known.finding as Finding<T>);
        kept.delete(key);
      }
      const waiting = underWay.get(key);
      if (waiting !== undefined) return waiting as Promise<Finding<T>>;
      const asked = find(key, ask);
      underWay.set(key, asked);
      return asked;
    },
    clear() {
      generation++;
      kept.clear();
      underWay.clear();
    },
    get size() {
      return kept.size;
    },
  };
}
