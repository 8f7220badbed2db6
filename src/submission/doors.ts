/**
 * Who comes in: connections counted in all and per address from the first packet on, so that clients which never finish
 * a handshake count too (RFC 5321 §7.8). The refusal is a greeting; which listener says it is guarded-server.ts's.
 */
import type { Clock } from "../clock.ts";
import type { SubmissionSettings } from "../config/settings.ts";
import { TokenBuckets } from "./rates.ts";

export interface Admission {
  readonly admitted: true;
  /** Gives the place back; calling it twice does nothing. */
  release(): void;
}

export interface Rejection {
  readonly admitted: false;
  readonly reason: "connections" | "connections-per-address" | "connection-rate";
  readonly detail: string;
}

type Limits = Pick<SubmissionSettings["limits"], "connections" | "connectionsPerAddress" | "connectionsPerMinutePerAddress">;

export class Doors {
  readonly #clock: Clock;
  #limits: Limits;
  #rate: TokenBuckets;
  #inside = 0;
  readonly #perAddress = new Map<string, number>();

  constructor(limits: Limits, clock: Clock) {
    this.#clock = clock;
    this.#limits = limits;
    this.#rate = new TokenBuckets(limits.connectionsPerMinutePerAddress, 60_000, clock);
  }

  /** New limits hold for new connections; nobody inside is thrown out. */
  reload(limits: Limits): void {
    if (limits.connectionsPerMinutePerAddress !== this.#limits.connectionsPerMinutePerAddress) {
      this.#rate = new TokenBuckets(limits.connectionsPerMinutePerAddress, 60_000, this.#clock);
    }
    this.#limits = limits;
  }

  get inside(): number {
    return this.#inside;
  }

  admit(who: string): Admission | Rejection {
    const already = this.#perAddress.get(who) ?? 0;
    if (this.#inside >= this.#limits.connections)
      return { admitted: false, reason: "connections", detail: `${this.#inside} clients are connected` };
    if (already >= this.#limits.connectionsPerAddress) {
      return { admitted: false, reason: "connections-per-address", detail: `${already} connections from this address` };
    }
    if (!this.#rate.take(who)) {
      return {
        admitted: false,
        reason: "connection-rate",
        detail: `more than ${this.#limits.connectionsPerMinutePerAddress} connections a minute`,
      };
    }
    this.#inside += 1;
    this.#perAddress.set(who, already + 1);
    let held = true;
    return {
      admitted: true,
      release: () => {
        if (!held) return;
        held = false;
        this.#inside -= 1;
        const left = (this.#perAddress.get(who) ?? 1) - 1;
        if (left > 0) this.#perAddress.set(who, left);
        else this.#perAddress.delete(who);
      },
    };
  }
}
