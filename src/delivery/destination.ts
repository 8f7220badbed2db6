/**
 * What is remembered of one destination between attempts: how many connections it bears, whether it answers, and until
 * when it is left alone (RFC 5321 §4.5.4.1: hosts that cannot be reached are not tried for every message). Pure state;
 * delivery/dispatcher.ts asks it, delivery/worker.ts tells it what happened.
 */
import type { NextHop } from "../mail/domain.ts";
import type { DeliveryProblem } from "../queue/settlement.ts";

export interface DestinationLimits {
  /** Most connections at once. */
  readonly perDestination: number;
  /** Connections to a destination that has not answered yet. */
  readonly firstContact: number;
  /** First time it is left alone after nobody there could be used, in ms; doubles each time. */
  readonly downFirst: number;
  readonly downLongest: number;
}

/** How an attempt ended, as far as the destination as a whole is concerned. */
export type Contact =
  /** A connection was usable up to MAIL: whatever became of the message, the destination works. */
  | { readonly kind: "usable" }
  /** No host could be used for any message: unreachable, silent, unwilling, or not good enough for what is demanded. */
  | { readonly kind: "unusable"; readonly problem: DeliveryProblem }
  /** Nothing was learnt: DNS failed, the domain does not exist, we stopped. */
  | { readonly kind: "nothing-learnt" };

export class Destination {
  readonly nextHop: NextHop;
  /** Attempts under way. */
  active = 0;
  /** Of those, attempts that have an open connection. */
  connected = 0;
  /** Attempts allowed at once; grows by one with each success, halves with each refusal. */
  window: number;
  /** True once a connection there was usable, until none is. */
  answers = false;
  downUntil = 0;
  #downSince = 0;
  failuresInARow = 0;
  lastProblem: DeliveryProblem | undefined;

  constructor(nextHop: NextHop, limits: DestinationLimits) {
    this.nextHop = nextHop;
    this.window = limits.firstContact;
  }

  isDown(now: number): boolean {
    // Before it went down: the clock has been set back, and would keep it down for as long as it was wrong.
    return now >= this.#downSince && now < this.downUntil;
  }

  hasRoom(limits: DestinationLimits): boolean {
    return this.active < Math.min(this.window, limits.perDestination);
  }

  /** Takes note of an attempt's end. Returns "went-down", "came-up" or "same". */
  learn(contact: Contact, now: number, limits: DestinationLimits): "went-down" | "came-up" | "same" {
    switch (contact.kind) {
      case "nothing-learnt":
        return "same";
      case "usable": {
        const wasDown = this.failuresInARow > 0;
        this.answers = true;
        this.failuresInARow = 0;
        this.downUntil = 0;
        this.lastProblem = undefined;
        this.window = Math.min(this.window + 1, limits.perDestination);
        return wasDown ? "came-up" : "same";
      }
      case "unusable":
        this.lastProblem = contact.problem;
        // Others have a connection there just now: it works, but bears no more of them.
        if (this.connected > 0) {
          this.window = Math.max(1, Math.floor(this.window / 2));
          return "same";
        }
        this.answers = false;
        this.window = 1;
        // Attempts that ended together are one failure, not one each.
        if (this.isDown(now)) return "same";
        this.failuresInARow += 1;
        this.#downSince = now;
        this.downUntil = now + Math.min(limits.downFirst * 2 ** Math.min(this.failuresInARow - 1, 30), limits.downLongest);
        return "went-down";
    }
  }

  /** The operator wants it tried now. */
  forgive(): void {
    this.downUntil = 0;
  }
}
