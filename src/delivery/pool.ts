/**
 * Open connections between messages. One serves another message only if it goes to the same host in the same way and
 * has proved at least what that message demands (RFC 8461 §4, RFC 7672 §3.2: a proof for one name is not one for another).
 */
import type { Clock } from "../clock.ts";
import { type DaneRequirement, meetsRequirement, type WebPkiRequirement } from "../policy/requirement.ts";
import type { OpenResult, OpenSession, Session, SessionTarget } from "./session.ts";

export interface PoolLimits {
  /** Open connections, in use and idle together. */
  readonly sockets: number;
  readonly messagesPerConnection: number;
  /** An idle connection is closed after so many ms, well before a server's five minutes (RFC 5321 §4.5.3.2.7). */
  readonly idle: number;
}

export type Acquired = OpenResult & { readonly reused: boolean };

interface Idle {
  readonly session: Session;
  readonly since: number;
}

/** Everything but the proof that must be the same: where the connection goes, from where, as whom. */
function wayOf(target: SessionTarget): string {
  const { address, port, localAddress = "", host, tls, serverName = "", login, ehloName } = target;
  return [address, port, localAddress, host, tls, serverName, login?.username ?? "", ehloName].join("\n");
}

/** True if what the open connection proved is at least what the new message demands. */
function mayServe(session: Session, target: SessionTarget): boolean {
  const { requirement } = target;
  if (session.target.roots !== target.roots || session.target.login?.password !== target.login?.password) return false;
  if (!meetsRequirement(session.tls, requirement)) return false;
  if (requirement.requireTlsKeyword?.mandatory === true && !session.offersRequireTls) return false;
  const named = provedName(session, requirement.webpki);
  const matched = requirement.dane !== undefined && provedRecords(session, requirement.dane);
  if (requirement.webpki.demanded && !named) return false;
  if (requirement.dane?.demanded === true && !matched) return false;
  return requirement.atLeast !== "authenticated" || named || matched;
}

/** By the WebPKI it is one of the names that this message looks for. */
function provedName({ tls }: Session, { referenceIdentifiers }: WebPkiRequirement): boolean {
  return tls.kind === "authenticated" && tls.session.webpki.held && referenceIdentifiers.includes(tls.session.webpki.referenceIdentifier);
}

/** It matched these very records, and where a name was part of that (usage 2), by a name that this message accepts, too. */
function provedRecords({ tls, target }: Session, { key, referenceIdentifiers }: DaneRequirement): boolean {
  if (tls.kind !== "authenticated" || tls.session.dane?.held !== true || target.requirement.dane?.key !== key) return false;
  const { referenceIdentifier } = tls.session.dane;
  return referenceIdentifier === undefined || referenceIdentifiers.includes(referenceIdentifier);
}

export class ConnectionPool {
  readonly #open: OpenSession;
  readonly #limits: () => PoolLimits;
  readonly #clock: Clock;
  readonly #idle = new Map<string, Idle[]>();
  #idleCount = 0;
  #inUse = 0;
  /** Opened before the last `retire`, or while it happened. */
  readonly #retired = new WeakSet<Session>();
  readonly #busy = new Set<Session>();
  #era = 0;
  #closing = false;
  #sweepArmed = false;

  constructor(open: OpenSession, limits: () => PoolLimits, clock: Clock) {
    this.#open = open;
    this.#limits = limits;
    this.#clock = clock;
  }

  get size(): number {
    return this.#inUse + this.#idleCount;
  }

  /** An idle connection that will do, or a new one. Give it back with `release`. */
  async acquire(target: SessionTarget, freshOnly = false): Promise<Acquired> {
    if (!freshOnly) {
      const session = this.#takeIdle(target);
      if (session !== undefined) {
        this.#inUse += 1;
        this.#busy.add(session);
        return { kind: "open", session, reused: true };
      }
    }
    if (this.size >= this.#limits().sockets) this.#closeOldestIdle();
    this.#inUse += 1;
    const era = this.#era;
    const result = await this.#open(target);
    if (result.kind === "failed") {
      this.#inUse -= 1;
      return { ...result, reused: false };
    }
    this.#busy.add(result.session);
    if (era !== this.#era) this.#retired.add(result.session);
    return { kind: "open", session: result.session, reused: false };
  }

  release(session: Session): void {
    this.#inUse -= 1;
    this.#busy.delete(session);
    if (!session.usable) return;
    const limits = this.#limits();
    if (this.#closing || this.#retired.has(session) || session.served >= limits.messagesPerConnection) {
      void session.quit();
      return;
    }
    const way = wayOf(session.target);
    const idle = this.#idle.get(way);
    const entry = { session, since: this.#clock.monotonic() };
    if (idle === undefined) this.#idle.set(way, [entry]);
    else idle.push(entry);
    this.#idleCount += 1;
    this.#armSweep();
  }

  /** Gives back a connection on which nothing may be said any more. */
  discard(session: Session): void {
    session.destroy();
    this.release(session);
  }

  /** Says goodbye on every idle connection; those in use follow when they are released. */
  async close(): Promise<void> {
    this.#closing = true;
    await this.#quitIdle();
  }

  /**
   * What connections proved, they proved to settings that are no more: trust anchors may be others now. None of them serves
   * another message; those in use end with theirs.
   */
  retire(): void {
    this.#era += 1;
    for (const session of this.#busy) this.#retired.add(session);
    void this.#quitIdle();
  }

  async #quitIdle(): Promise<void> {
    const sessions = [...this.#idle.values()].flat();
    this.#idle.clear();
    this.#idleCount = 0;
    await Promise.all(sessions.map(({ session }) => session.quit()));
  }

  #takeIdle(target: SessionTarget): Session | undefined {
    const way = wayOf(target);
    const idle = this.#idle.get(way);
    if (idle === undefined) return undefined;
    // The one used last is the least likely to have been closed by the other side.
    for (let index = idle.length - 1; index >= 0; index--) {
      const { session } = idle[index] as Idle;
      if (session.usable && !mayServe(session, target)) continue;
      idle.splice(index, 1);
      this.#idleCount -= 1;
      if (idle.length === 0) this.#idle.delete(way);
      if (session.usable) return session;
    }
    return undefined;
  }

  #closeOldestIdle(): void {
    let oldest: { way: string; since: number } | undefined;
    for (const [way, [first]] of this.#idle) {
      if (first !== undefined && (oldest === undefined || first.since < oldest.since)) oldest = { way, since: first.since };
    }
    if (oldest === undefined) return;
    const idle = this.#idle.get(oldest.way);
    const entry = idle?.shift();
    if (idle?.length === 0) this.#idle.delete(oldest.way);
    if (entry === undefined) return;
    this.#idleCount -= 1;
    void entry.session.quit();
  }

  /** One coarse timer for all of them: a timer for each release would cost more than the message. */
  #armSweep(): void {
    if (this.#sweepArmed) return;
    this.#sweepArmed = true;
    this.#clock.after(Math.max(50, Math.min(1000, this.#limits().idle / 4)), () => {
      this.#sweepArmed = false;
      this.#sweep();
      if (this.#idleCount > 0) this.#armSweep();
    });
  }

  #sweep(): void {
    const before = this.#clock.monotonic() - this.#limits().idle;
    for (const [way, idle] of this.#idle) {
      const kept = idle.filter(({ session, since }) => session.usable && since > before);
      for (const { session } of idle) if (session.usable && !kept.some((entry) => entry.session === session)) void session.quit();
      this.#idleCount -= idle.length - kept.length;
      if (kept.length === 0) this.#idle.delete(way);
      else this.#idle.set(way, kept);
    }
  }
}
