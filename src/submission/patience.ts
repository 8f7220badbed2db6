/**
 * How long a client is borne with (RFC 5321 §4.5.3.2.7, §7.8): bad commands, talk that leads to nothing, silence, a session
 * without end. What happened in, the reason to part out; how fast a message must come is reception.ts's.
 */
import type { Clock } from "../clock.ts";
import type { SubmissionSettings } from "../config/settings.ts";

type Limits = Pick<SubmissionSettings["limits"], "badCommands" | "idle" | "session">;

/** Commands of a client that may not send, before it is told to go. */
const IDLE_TALK = 100;
/** Deadlines are looked at no less often. */
const LONGEST_TICK = 15_000;

export class Patience {
  readonly #limits: () => Limits;
  readonly #clock: Clock;
  readonly #started: number;
  #lastHeard: number;
  #badCommands = 0;
  #idleTalk = 0;

  constructor(limits: () => Limits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
    this.#started = clock.monotonic();
    this.#lastHeard = this.#started;
  }

  heard(): void {
    this.#lastHeard = this.#clock.monotonic();
  }

  loggedIn(): void {
    this.#idleTalk = 0;
  }

  /** It has handed in a message, as it is here for. */
  delivered(): void {
    this.#badCommands = 0;
    this.#idleTalk = 0;
  }

  /** A command that was malformed or out of order; the reason to part if it was one too many. */
  countBad(): string | undefined {
    this.#badCommands += 1;
    return this.#badCommands < this.#limits().badCommands ? undefined : `${this.#badCommands} bad commands`;
  }

  /** NOOPs keep a connection alive for ever; whoever may not send has little to say. */
  countIdleTalk(): string | undefined {
    this.#idleTalk += 1;
    return this.#idleTalk <= IDLE_TALK ? undefined : `${IDLE_TALK} commands without a login`;
  }

  get tickLength(): number {
    const { idle, session } = this.#limits();
    return Math.max(10, Math.min(LONGEST_TICK, idle, session));
  }

  /** The reply that ends a session in which nothing is under way. A transaction may end first, but not by lasting for ever. */
  whyOver(inTransaction: boolean): string | undefined {
    const now = this.#clock.monotonic();
    const { idle, session } = this.#limits();
    if (now - this.#lastHeard >= idle) return "421 4.4.2 you said nothing for too long";
    return now - this.#started >= session + (inTransaction ? idle : 0) ? "421 4.4.2 this session has lasted too long" : undefined;
  }
}
