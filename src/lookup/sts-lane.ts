/**
 * Lets a limited number of policy fetches out at a time, in such a way that hosts which hang hold up nobody but their
 * own domain: a fetch keeps its place for a few seconds, then goes on aside, and the next one takes the place. Where too many
 * are aside the one that has hung longest makes room, so that many slow hosts end no fetch of another but their own.
 */
import type { Clock } from "../clock.ts";
import { createTurnstile, type Turnstile } from "./turnstile.ts";

export interface FetchLane {
  /**
   * Runs `start` when its turn comes; undefined if that took longer than `patience` ms, or if it was ended by `stop` to make room:
   * neither says anything about the host.
   */
  run<T>(patience: number, start: (stop: AbortSignal) => Promise<T>): Promise<T | undefined>;
}

/** Milliseconds; nearly every policy host answers within one second. */
const QUICK = 3_000;
/** Slow ones for each place: they cost a socket and a little memory, so even they are not without number. */
const SLOW_FOR_EACH = 10;

/** `places` is asked each time, so that a new setting counts at once. */
export function createFetchLane(places: () => number, clock: Clock): FetchLane {
  let made: { readonly places: number; readonly turnstile: Turnstile } | undefined;
  /** Longest aside first. */
  const aside = new Set<AbortController>();

  const turnstile = (): Turnstile => {
    const wanted = places();
    if (made?.places !== wanted) made = { places: wanted, turnstile: createTurnstile(wanted, clock) };
    return made.turnstile;
  };

  return {
    async run<T>(patience: number, start: (stop: AbortSignal) => Promise<T>): Promise<T | undefined> {
      const stop = new AbortController();
      let work: Promise<T> | undefined;
      let ended = false;
      await turnstile().pass(patience, async () => {
        work = start(stop.signal).finally(() => {
          ended = true;
        });
        await quicklyOrNot(work, clock);
      });
      if (work === undefined) return undefined;
      if (ended) return work;
      aside.add(stop);
      const [oldest] = aside;
      if (aside.size > places() * SLOW_FOR_EACH && oldest !== undefined) {
        aside.delete(oldest);
        oldest.abort("it is slow, and so are too many other policy hosts");
      }
      try {
        const result = await work;
        return stop.signal.aborted ? undefined : result;
      } finally {
        aside.delete(stop);
      }
    },
  };
}

/** Resolves when the work ends, however it does, or when it has had its time at the front. */
function quicklyOrNot(work: Promise<unknown>, clock: Clock): Promise<void> {
  return new Promise((resolve) => {
    const cancel = clock.after(QUICK, resolve);
    const end = (): void => {
      cancel();
      resolve();
    };
    work.then(end, end);
  });
}
