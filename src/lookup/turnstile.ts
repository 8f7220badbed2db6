/**
 * Lets a limited number of questions out at a time; the others wait in line, each only so long. Every question costs a
 * socket, and a queue of thousands of dead domains must not take all that the process may open.
 */
import type { CancelTimer, Clock } from "../clock.ts";

export interface Turnstile {
  /** Runs `action` when its turn comes; undefined if that took longer than `patience` ms. */
  pass<T>(patience: number, action: () => Promise<T>): Promise<T | undefined>;
}

interface Waiter {
  readonly enter: () => void;
  readonly cancelTimer: CancelTimer;
}

export function createTurnstile(places: number, clock: Clock): Turnstile {
  // A Set keeps the order of arrival, and lets one leave from the middle at no cost.
  const line = new Set<Waiter>();
  let inside = 0;

  const leave = (): void => {
    inside--;
    const [next] = line;
    if (next === undefined) return;
    line.delete(next);
    next.cancelTimer();
    inside++;
    next.enter();
  };

  const wait = (patience: number): Promise<boolean> =>
    new Promise((resolve) => {
      const waiter: Waiter = {
        enter: () => resolve(true),
        cancelTimer: clock.after(patience, () => {
          line.delete(waiter);
          resolve(false);
        }),
      };
      line.add(waiter);
    });

  return {
    async pass(patience, action) {
      if (inside < places) inside++;
      else if (!(await wait(patience))) return undefined;
      try {
        return await action();
      } finally {
        leave();
      }
    },
  };
}
