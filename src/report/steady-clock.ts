/**
 * Whether the wall clock can be believed. One that leapt may leap back: NTP corrects it, or a person does. Days that are not over
 * must not be reported, nor counts be deleted, because it was wrong for some minutes.
 */
import type { Clock } from "../clock.ts";

export interface SteadyClock {
  /** To be called often: a leap between two looks is what it notices. */
  look(): void;
  /** Milliseconds since the last leap, or since the beginning. */
  steadyFor(): number;
  /** No leap was seen, or it is long ago. */
  isBelieved(): boolean;
}

const TOLERANCE = 60_000;
const BELIEVED_AFTER = 10 * 60_000;

export function createSteadyClock(clock: Clock): SteadyClock {
  let offset = clock.now() - clock.monotonic();
  let since = clock.monotonic();
  let leapt = false;
  const steadyFor = (): number => clock.monotonic() - since;
  return {
    look() {
      const present = clock.now() - clock.monotonic();
      if (Math.abs(present - offset) > TOLERANCE) {
        leapt = true;
        since = clock.monotonic();
      }
      offset = present;
    },
    steadyFor,
    isBelieved: () => !leapt || steadyFor() >= BELIEVED_AFTER,
  };
}
