/**
 * Queue ids: ten characters of Crockford's base 32, fifty bits: milliseconds since 2025 and nine bits within one. As a
 * number the id is the message's key in the database, so mail in order of arrival is appended and never searched for.
 */
import type { Clock } from "../../clock.ts";
import type { QueueId } from "../../queue/entry.ts";

const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LENGTH = 10;
const EPOCH = Date.UTC(2025, 0, 1);
const PER_MILLISECOND = 512;
/** The first number that needs eleven characters; reached in 2094. */
const LIMIT = 2 ** 50;

const VALUES = new Int8Array(128).fill(-1);
for (let value = 0; value < 32; value++) {
  VALUES[ALPHABET.charCodeAt(value)] = value;
  VALUES[ALPHABET.toLowerCase().charCodeAt(value)] = value;
}

export function queueIdOf(number: number): QueueId {
  // Two halves of 25 bits: bit operations are 32 bits wide.
  const high = Math.floor(number / 2 ** 25);
  const low = number % 2 ** 25;
  let id = "";
  for (let shift = 20; shift >= 0; shift -= 5) id += ALPHABET[(high >>> shift) & 31];
  for (let shift = 20; shift >= 0; shift -= 5) id += ALPHABET[(low >>> shift) & 31];
  return id as QueueId;
}

/** The number of a queue id, or undefined for text that is none. Small letters are taken too: people type them. */
export function numberOfQueueId(id: string): number | undefined {
  if (id.length !== LENGTH) return undefined;
  let number = 0;
  for (let at = 0; at < LENGTH; at++) {
    const value = VALUES[id.charCodeAt(at)] ?? -1;
    if (value < 0) return undefined;
    number = number * 32 + value;
  }
  return number;
}

/** The smallest number that an id made at `time` or later can have, as long as the clock did not step back. */
export function firstNumberAt(time: number): number {
  return Math.max(0, time - EPOCH) * PER_MILLISECOND;
}

/** Makes ids that only ever grow: after a restart (`last` is the highest in the database), and when the clock steps back. */
export class QueueIds {
  readonly #clock: Clock;
  readonly #random: () => number;
  #last: number;

  constructor(clock: Clock, random: () => number, last: number) {
    this.#clock = clock;
    this.#random = random;
    this.#last = last;
  }

  next(): QueueId {
    // The lower half of a millisecond's numbers is drawn from, the upper half leaves room for the ids that follow in it.
    const drawn = firstNumberAt(Math.floor(this.#clock.now())) + Math.floor(this.#random() * (PER_MILLISECOND / 2));
    // A clock that is decades wrong must not use the numbers up.
    this.#last = drawn > this.#last && drawn < LIMIT / 2 + this.#last / 2 ? drawn : this.#last + 1;
    return queueIdOf(this.#last);
  }
}
