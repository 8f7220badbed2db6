/**
 * An open connection as the rest of delivery knows it: transactions one after the other, then QUIT. Opening it is
 * delivery/connect.ts, one transaction is delivery/transaction.ts, keeping it for the next message delivery/pool.ts.
 */
import type { TlsOutcome } from "../policy/outcome.ts";
import type { PeerFacts, Session, SessionTarget, Transaction, TransactionReport } from "./session.ts";
import { type Peer, runTransaction } from "./transaction.ts";

export class SmtpSession implements Session {
  readonly target: SessionTarget;
  readonly tls: TlsOutcome;
  readonly peer: PeerFacts;
  readonly #peer: Peer;
  #served = 0;
  #busy = false;
  #ending = false;

  constructor(target: SessionTarget, tls: TlsOutcome, facts: PeerFacts, peer: Peer) {
    this.target = target;
    this.tls = tls;
    this.peer = facts;
    this.#peer = peer;
  }

  get served(): number {
    return this.#served;
  }

  get offersRequireTls(): boolean {
    return this.#peer.extensions.requireTls;
  }

  get usable(): boolean {
    return !this.#ending && this.#peer.wire.loss === undefined;
  }

  async deliver(transaction: Transaction): Promise<TransactionReport> {
    if (this.#busy) throw new Error(`the connection to ${this.target.host} has a transaction already`);
    this.#busy = true;
    try {
      const report = await runTransaction(transaction, this.#peer);
      this.#served += 1;
      return report;
    } finally {
      this.#busy = false;
    }
  }

  async quit(): Promise<void> {
    if (this.#ending) return;
    this.#ending = true;
    const { wire, timeouts } = this.#peer;
    if (wire.loss !== undefined) return;
    wire.send("QUIT\r\n", 1);
    // Whatever is answered, delivered messages stay delivered (RFC 5321 §4.1.1.10).
    await wire.read(timeouts.quit, "the reply to QUIT");
    wire.close();
  }

  destroy(): void {
    this.#ending = true;
    this.#peer.wire.destroy();
  }
}
