/** Token buckets: so much at once, and so much a time. One bucket a key, the least used forgotten. */
import { LRUCache } from "lru-cache";
import type { Clock } from "../clock.ts";

interface Bucket {
  tokens: number;
  at: number;
}

export class TokenBuckets {
  readonly #capacity: number;
  readonly #perMillisecond: number;
  readonly #clock: Pick<Clock, "monotonic">;
  readonly #buckets: LRUCache<string, Bucket>;

  /** `capacity` tokens a `period` (ms), all of which may go at once; 0 means no limit. */
  constructor(capacity: number, period: number, clock: Pick<Clock, "monotonic">, entries = 10_000) {
    this.#capacity = capacity;
    this.#perMillisecond = capacity / period;
    this.#clock = clock;
    this.#buckets = new LRUCache({ max: entries });
  }

  /** True if there was one to take. */
  take(key: string): boolean {
    if (this.#capacity === 0) return true;
    const now = this.#clock.monotonic();
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      this.#buckets.set(key, { tokens: this.#capacity - 1, at: now });
      return true;
    }
    bucket.tokens = Math.min(this.#capacity, bucket.tokens + (now - bucket.at) * this.#perMillisecond);
    bucket.at = now;
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
  }
}
