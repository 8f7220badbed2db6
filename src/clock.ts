/**
 * Time, handed in. Everything that waits or looks at the time takes a `Clock`, so that tests move it by hand.
 * Times are milliseconds since 1970 (as `Date.now()`); durations are milliseconds.
 */

/** Cancels a timer; calling it late or twice does nothing. */
export type CancelTimer = () => void;

export interface Clock {
  /** Wall-clock time in milliseconds; may jump in both directions. */
  now(): number;
  /** Milliseconds that never run backwards, for measuring how long something took. */
  monotonic(): number;
  /** Runs `action` once after `delay` ms. The timer does not keep the process alive. */
  after(delay: number, action: () => void): CancelTimer;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(delay, action) {
    const timer = setTimeout(action, delay);
    timer.unref();
    return () => clearTimeout(timer);
  },
};
