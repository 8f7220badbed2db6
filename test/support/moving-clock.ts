/**
 * Loaded into the program before anything else (`node --import`): its clock is the machine's, moved on by what a file says. On
 * SIGUSR2 the file is read again, and timers that have fallen due by it run, in order. The test's end is relay-clock.ts.
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { isMainThread } from "node:worker_threads";
import { isBuildFresh } from "../../bin/launch.js";
import type { CancelTimer, Clock } from "../../src/clock.ts";
import type { ClockMoves } from "./relay-clock.ts";

interface Timer {
  /** By the moved monotonic clock. */
  readonly at: number;
  readonly action: () => void;
  cancel: CancelTimer;
}

/** Moves the clock, and gives what reads the file again. */
function moveClock(clock: Clock, file: string): () => void {
  const { now, monotonic, after } = { ...clock };
  const timers = new Set<Timer>();
  let moves = readMoves(file);
  clock.now = () => now() + moves.passed + moves.leapt;
  clock.monotonic = () => monotonic() + moves.passed;
  const arm = (timer: Timer): void => {
    timer.cancel = after(Math.max(0, timer.at - clock.monotonic()), () => {
      timers.delete(timer);
      timer.action();
    });
  };
  clock.after = (delay, action) => {
    const timer: Timer = { at: clock.monotonic() + delay, action, cancel: () => undefined };
    timers.add(timer);
    arm(timer);
    return () => {
      timers.delete(timer);
      timer.cancel();
    };
  };
  return () => {
    moves = readMoves(file);
    for (const timer of [...timers].sort((a, b) => a.at - b.at)) {
      timer.cancel();
      arm(timer);
    }
    process.stdout.write(`${JSON.stringify({ event: "clock-moved", ...moves })}\n`);
  };
}

function readMoves(file: string): ClockMoves {
  return JSON.parse(readFileSync(file, "utf8")) as ClockMoves;
}

const file = process.env["TEST_CLOCK_FILE"];
// The threads of the store have no clock.
if (file !== undefined && isMainThread) {
  const root = fileURLToPath(new URL("../..", import.meta.url));
  // The very module that bin/postern.js is about to run with.
  const program = isBuildFresh(root) ? "../../dist/clock.js" : "../../src/clock.ts";
  const { systemClock } = (await import(new URL(program, import.meta.url).href)) as { systemClock: Clock };
  process.on("SIGUSR2", moveClock(systemClock, file));
}
