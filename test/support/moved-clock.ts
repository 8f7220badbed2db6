/** A clock that stands still until it is moved; timers fire in order as it passes them. */
import type { Clock } from "../../src/clock.ts";

export class MovedClock implements Clock {
  #now: number;
  #elapsed = 0;
  #timers: { at: number; action: () => void }[] = [];

  constructor(now = Date.UTC(2026, 8, 1, 8)) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#elapsed;
  }

  after(delay: number, action: () => void): () => void {
    const timer = { at: this.#elapsed + Math.max(0, delay), action };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** How many timers are armed. */
  get armed(): number {
    return this.#timers.length;
  }

  /** Moves time on, firing what falls due; lets promises settle between timers. */
  async pass(milliseconds: number): Promise<void> {
    const end = this.#elapsed + milliseconds;
    for (;;) {
      await settled();
      const [next] = this.#timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.#timers = this.#timers.filter((other) => other !== next);
      this.#now += next.at - this.#elapsed;
      this.#elapsed = Math.max(this.#elapsed, next.at);
      next.action();
    }
    this.#now += end - this.#elapsed;
    this.#elapsed = end;
    await settled();
  }

  /** The wall clock is set, as NTP or a person does; nothing elapses. */
  set(now: number): void {
    this.#now = now;
  }
}

/** Lets everything that waits only for promises and immediate callbacks come to rest. */
export async function settled(): Promise<void> {
  for (let round = 0; round < 5; round++) await new Promise((resolve) => setImmediate(resolve));
}
