/**
 * The clock of a relay that runs as a process of its own, moved from outside: time may pass, and the wall clock may leap. While
 * the relay does not run, time passes all the same. Commands of the program see the same time. How: moving-clock.ts.
 */
import { renameSync, writeFileSync } from "node:fs";
import type { Relay } from "./relay.ts";
import { waitUntil } from "./temp.ts";

/** In milliseconds, in all. */
export interface ClockMoves {
  /** Went by, for the wall clock and for timers. */
  readonly passed: number;
  /** What the wall clock alone was set on by. */
  readonly leapt: number;
}

export class RelayClock {
  readonly environment: Readonly<Record<string, string>>;
  readonly #file: string;
  #moves: ClockMoves;

  /** `file` is written; what the relay believes the time is when it first starts is `begin`. */
  constructor(file: string, begin: number) {
    this.#file = file;
    this.#moves = { passed: 0, leapt: begin - Date.now() };
    const preload = new URL("./moving-clock.ts", import.meta.url).href;
    this.environment = { NODE_OPTIONS: `--import=${preload}`, TEST_CLOCK_FILE: file };
    this.#write();
  }

  /** The relay's time. */
  now(): number {
    return Date.now() + this.#moves.passed + this.#moves.leapt;
  }

  pass(milliseconds: number, relay: Relay): Promise<void> {
    return this.#move({ ...this.#moves, passed: this.#moves.passed + milliseconds }, relay);
  }

  /** Forwards or back, as NTP or a person does it: no timer hears of it. */
  leap(milliseconds: number, relay: Relay): Promise<void> {
    return this.#move({ ...this.#moves, leapt: this.#moves.leapt + milliseconds }, relay);
  }

  async #move(moves: ClockMoves, relay: Relay): Promise<void> {
    this.#moves = moves;
    this.#write();
    if (!relay.running) return;
    const heard = (): number => relay.events.filter(({ event }) => event === "clock-moved").length;
    const before = heard();
    relay.signal("SIGUSR2");
    await waitUntil("the relay's clock is moved", () => heard() > before);
  }

  #write(): void {
    // Whole or not at all: the relay, or a command, may read it at this moment.
    writeFileSync(`${this.#file}.new`, JSON.stringify(this.#moves));
    renameSync(`${this.#file}.new`, this.#file);
  }
}
