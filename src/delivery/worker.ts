/**
 * The delivery worker: leased entries in, settlements out. For each it runs gather → plan → attempt → settle and saves
 * what came of it; the judging is in those files, the order of attempts in delivery/dispatcher.ts, and what the database
 * still holds in delivery/refill.ts. This file obeys them, and knows how to start and stop.
 */
import type { Clock } from "../clock.ts";
import type { DeliverySettings, TlsSettings } from "../config/settings.ts";
import type { EmitEvent } from "../events.ts";
import type { NextHop } from "../mail/domain.ts";
import type { DnsLookup, FindConfiguredHost } from "../policy/facts.ts";
import type { LeasedEntry, Submitter } from "../queue/entry.ts";
import type { Settlement } from "../queue/settlement.ts";
import { type EnqueueOptions, type QueueStore, StorageFailed, StorageFull } from "../queue/store.ts";
import type { AttemptResult } from "./attempt.ts";
import { attemptDelivery } from "./attempt.ts";
import type { Contact } from "./destination.ts";
import { Dispatcher, type Job, READY_LIMITS } from "./dispatcher.ts";
import { findHostAddresses, gatherFacts } from "./gather.ts";
import { type DeliveryPlan, type PlannedHost, planDelivery } from "./plan.ts";
import { type Acquired, ConnectionPool } from "./pool.ts";
import { Refill } from "./refill.ts";
import { findRoute } from "./route.ts";
import type { OpenSession, Session, SessionTarget } from "./session.ts";
import { eventsOf, settle } from "./settle.ts";

/** What the worker obeys; read anew for every attempt, so that a reload takes effect at once. */
export interface DeliveryRules {
  readonly delivery: DeliverySettings;
  readonly tls: TlsSettings;
  /** This relay's public name, if it has one. */
  readonly mailname: string | undefined;
  /** Postmaster's address for notices, if set. */
  readonly postmaster: string | undefined;
  /** Addresses of this machine, and whether it reaches IPv6 hosts. */
  readonly ownAddresses: ReadonlySet<string>;
  readonly useIpv6: boolean;
  /** Says which special-use block a stranger's address is in, or undefined if mail may go there. */
  readonly forbiddenAddress: (address: string) => string | undefined;
  /** Trust anchors (PEM) of a route's `rootsFile`; undefined if the file cannot be read. */
  readonly rootsOf: (file: string) => string | undefined;
}

export interface DeliveryIo {
  rules(): DeliveryRules;
  readonly store: QueueStore;
  readonly lookup: DnsLookup;
  readonly findConfiguredHost: FindConfiguredHost;
  readonly open: OpenSession;
  readonly clock: Clock;
  readonly random: () => number;
  readonly emit: EmitEvent;
}

/** A lease outlasts the longest attempt: eight hosts with four addresses, each silent for its five minutes. */
const LEASE_MS = 12 * 3_600_000;
/** An entry that met a host with all connections taken is tried again at once so many times before it is deferred. */
const CROWDED_RETRIES = 3;
/** What the database could not take is offered to it again after so long; while it is in trouble delivery pauses. */
const STORAGE_PAUSE = 5000;

/** After its connections were cut an attempt needs no longer to settle. */
const AFTER_CUT = 2000;
/** An entry whose attempt failed by our own fault is tried again so much later. */
const AFTER_FAULT = 60_000;

/** An attempt under way. `opening`: it waits for a connection, and nothing has been said to anybody there. */
interface Run {
  readonly entry: LeasedEntry;
  state: "busy" | "opening" | "given-up";
  ended: Promise<void>;
}

/** A function, since the state changes behind the back of whoever awaits. */
function isGivenUp(run: Run): boolean {
  return run.state === "given-up";
}

export class DeliveryWorker {
  readonly #io: DeliveryIo;
  readonly #dispatcher: Dispatcher;
  readonly #pool: ConnectionPool;
  readonly #refill: Refill;
  readonly #runs = new Set<Run>();
  /** What must still reach the database. */
  readonly #saving = new Set<Promise<void>>();
  readonly #crowded = new WeakMap<LeasedEntry, number>();
  readonly #sessions = new Set<Session>();
  #stopping = false;
  /** The time of a stopping process is over: no host hears another first word, and nothing is offered to the database again. */
  readonly #cut = new AbortController();
  /** On the monotonic clock: the other one may be set back. */
  #pausedUntil = 0;
  readonly #enqueueOptions: EnqueueOptions;

  constructor(io: DeliveryIo) {
    this.#io = io;
    this.#dispatcher = new Dispatcher(() => {
      const { concurrency, retry } = io.rules().delivery;
      return { ...concurrency, downFirst: retry.destinationDown, downLongest: retry.longest };
    });
    this.#pool = new ConnectionPool(
      io.open,
      () => {
        const { concurrency, timeouts } = io.rules().delivery;
        return { sockets: concurrency.sockets, messagesPerConnection: concurrency.messagesPerConnection, idle: timeouts.idle };
      },
      io.clock,
    );
    const leaseUntil = () => io.clock.now() + LEASE_MS;
    this.#refill = new Refill({
      store: io.store,
      dispatcher: this.#dispatcher,
      clock: io.clock,
      random: io.random,
      leaseUntil,
      offer: (entries) => this.offer(entries),
      fault: (error) => this.#fault("refill", error),
    });
    this.#enqueueOptions = {
      leaseNow: (nextHop, submitter) => this.leaseNow(nextHop, submitter),
      get leaseUntil() {
        return leaseUntil();
      },
    };
  }

  /** How freshly enqueued messages go on: handed over at once where there is room. */
  get enqueueOptions(): EnqueueOptions {
    return this.#enqueueOptions;
  }

  leaseNow(nextHop: NextHop, submitter: Submitter): boolean {
    // Behind what the same client left to the database nothing of it goes first; others are not held up by that.
    if (
      !this.#stopping &&
      this.#dispatcher.hasRoomFor(nextHop, submitter, this.#io.clock.now()) &&
      !this.#refill.hasLeft(nextHop, submitter)
    )
      return true;
    this.#refill.noteLeft(nextHop, submitter);
    return false;
  }

  /** Looks at what the database holds and begins. */
  start(): void {
    this.#refill.lookAt(this.#io.clock.now());
  }

  /** Takes entries that were leased for this worker. */
  offer(entries: readonly LeasedEntry[]): void {
    const now = this.#io.clock.now();
    const down = new Map<NextHop, LeasedEntry[]>();
    for (const entry of entries) {
      // Leased a moment before the destination went down. One whose time is over is tried all the same: it is its last try.
      if (this.#dispatcher.destination(entry.nextHop).isDown(now) && entry.message.expiresAt > now) {
        const aside = down.get(entry.nextHop);
        if (aside === undefined) down.set(entry.nextHop, [entry]);
        else aside.push(entry);
      } else this.#dispatcher.offer(entry);
    }
    for (const [nextHop, aside] of down) this.#putAside(nextHop, aside);
    if (this.#stopping) this.#track(this.#giveBack(this.#dispatcher.withdrawAll()));
    else this.#pump();
  }

  /** The operator wants these tried now, whatever their destination did lately. */
  wake(nextHops: readonly NextHop[]): void {
    for (const nextHop of nextHops) {
      this.#dispatcher.destination(nextHop).forgive();
      this.#refill.noteLeft(nextHop);
    }
    this.#refill.lookAt(this.#io.clock.now());
    this.#refill.run();
  }

  /** Other settings are in force: what is open was opened, and trusted, by the old ones. */
  reloaded(): void {
    this.#pool.retire();
  }

  /** Figures for `status` and the health check. */
  snapshot(): { ready: number; active: number; connections: number } {
    return { ready: this.#dispatcher.ready, active: this.#dispatcher.active, connections: this.#pool.size };
  }

  /**
   * Starts nothing new, gives leases back, and lets attempts that talk to a host finish for `grace` ms; what is left then is
   * cut off and waits. Those that have not got a connection yet are not waited for. Returns how many were cut off.
   */
  async stop(grace: number): Promise<number> {
    this.#stopping = true;
    this.#refill.stop();
    const closed = this.#pool.close();
    const opening = [...this.#runs].filter(({ state }) => state === "opening");
    for (const run of opening) run.state = "given-up";
    await this.#giveBack([...this.#dispatcher.withdrawAll(), ...opening.map(({ entry }) => entry)]);
    if (await this.#endsWithin(grace)) {
      await closed;
      return 0;
    }
    const leftInFlight = this.#sessions.size;
    this.#cut.abort();
    for (const session of this.#sessions) session.destroy();
    await this.#endsWithin(AFTER_CUT);
    return leftInFlight;
  }

  /** True if all that matters came to its end in time: attempts with a connection, and what is being saved. */
  async #endsWithin(wait: number): Promise<boolean> {
    let timeIsUp = false;
    let ring = (): void => {};
    const bell = new Promise<void>((resolve) => {
      ring = resolve;
    });
    const cancel = this.#io.clock.after(wait, () => {
      timeIsUp = true;
      ring();
    });
    while (!timeIsUp) {
      const busy = [...this.#runs].filter(({ state }) => state === "busy").map(({ ended }) => ended);
      if (busy.length + this.#saving.size === 0) break;
      await Promise.race([bell, Promise.all([...busy, ...this.#saving])]);
    }
    cancel();
    return !timeIsUp;
  }

  #pump(): void {
    if (this.#stopping || this.#io.clock.monotonic() < this.#pausedUntil) return;
    for (let job = this.#dispatcher.next(); job !== undefined; job = this.#dispatcher.next()) this.#begin(job);
  }

  #begin(job: Job): void {
    const run: Run = { entry: job.entry, state: "busy", ended: Promise.resolve() };
    this.#runs.add(run);
    run.ended = this.#run(job, run)
      .catch((error: unknown) => this.#fault("delivery", error))
      .finally(() => this.#runs.delete(run));
  }

  /** The end of the process waits for it. It must not reject. */
  #track(work: Promise<void>): void {
    this.#saving.add(work);
    void work.finally(() => this.#saving.delete(work));
  }

  async #run(job: Job, run: Run): Promise<void> {
    const { entry } = job;
    const rules = this.#io.rules();
    let contact: Contact = { kind: "nothing-learnt" };
    let settlement: Settlement;
    let result: AttemptResult | undefined;
    try {
      const startedAt = this.#io.clock.now();
      const plan = await this.#plan(entry, rules);
      if (plan.kind === "attempt") {
        const connection = { open: false };
        result = await this.#attempt(job, run, plan, rules, connection);
        contact = contactOf(result, connection.open);
        if (contact.kind === "unusable" && this.#isCrowded(job)) {
          this.#finish(job, contact);
          this.#dispatcher.offerAgain(entry);
          this.#pump();
          return;
        }
      }
      settlement = await settle(entry, result ?? { kind: "planned", plan, startedAt, endedAt: this.#io.clock.now() }, {
        now: this.#io.clock.now(),
        random: this.#io.random,
        rules,
        newQueueId: () => this.#io.store.newQueueId(),
      });
    } catch (error) {
      if (isGivenUp(run)) return;
      // Our own fault, or a body that could not be read: the entry is given back and tried later, never lost.
      this.#finish(job, { kind: "nothing-learnt" });
      this.#fault(`attempt of ${entry.message.id}`, error);
      await this.#giveBack([entry], AFTER_FAULT);
      return;
    }
    this.#finish(job, contact);
    this.#pump();
    await this.#save(entry, settlement, result);
  }

  async #plan(entry: LeasedEntry, rules: DeliveryRules): Promise<DeliveryPlan> {
    const route = findRoute(entry.nextHop, rules.delivery);
    const facts = await gatherFacts(entry.nextHop, route, this.#io);
    return planDelivery(facts, rules, this.#io.random);
  }

  async #attempt(
    job: Job,
    run: Run,
    plan: DeliveryPlan & { kind: "attempt" },
    rules: DeliveryRules,
    connection: { open: boolean },
  ): Promise<AttemptResult> {
    try {
      return await attemptDelivery(job.entry, plan, {
        rules,
        clock: this.#io.clock,
        stop: this.#cut.signal,
        findAddresses: (host: PlannedHost) => findHostAddresses(host, rules, this.#io),
        acquire: async (target: SessionTarget, freshOnly: boolean): Promise<Acquired> => {
          const crowded = !job.destination.answers && this.#dispatcher.isCrowded;
          const hurried = crowded ? { ...target, greetingWait: rules.delivery.timeouts.greetingWhenCrowded } : target;
          const ends = (): boolean => {
            // Once something has been said to some host, the attempt must be settled, or the next would say it again.
            if (this.#cut.signal.aborted && !connection.open) run.state = "given-up";
            return this.#cut.signal.aborted || isGivenUp(run);
          };
          if (ends()) throw new Error("the process ends");
          if (!connection.open) run.state = "opening";
          const acquired = await this.#pool.acquire(hurried, freshOnly);
          if (ends()) {
            // Its lease went back, or ends with the process: whoever holds it next says the first word.
            if (acquired.kind === "open") this.#pool.discard(acquired.session);
            throw new Error("the process ends");
          }
          run.state = "busy";
          if (acquired.kind === "open") {
            this.#sessions.add(acquired.session);
            if (!connection.open) this.#dispatcher.noteConnected(job, true);
            connection.open = true;
          }
          return acquired;
        },
        release: (session: Session) => {
          this.#sessions.delete(session);
          this.#pool.release(session);
        },
      });
    } finally {
      if (connection.open) this.#dispatcher.noteConnected(job, false);
    }
  }

  /** True if others have connections there just now, so that this entry only came when all were taken. */
  #isCrowded(job: Job): boolean {
    if (job.destination.connected === 0 || this.#stopping) return false;
    const before = this.#crowded.get(job.entry) ?? 0;
    this.#crowded.set(job.entry, before + 1);
    return before < CROWDED_RETRIES;
  }

  #finish(job: Job, contact: Contact): void {
    const { destination } = job;
    const change = this.#dispatcher.finished(job, contact, this.#io.clock.now());
    if (change === "came-up") this.#io.emit({ kind: "destination-up", nextHop: destination.nextHop });
    if (change === "went-down") this.#putAside(destination.nextHop, this.#dispatcher.withdraw(destination.nextHop), true);
    else if (this.#refill.hasLeft(destination.nextHop) && this.#dispatcher.readyOf(destination.nextHop) < READY_LIMITS.perLane / 2)
      this.#refill.run();
  }

  /** Entries for a destination that is down go back to the database and wait there, with all others for it. */
  #putAside(nextHop: NextHop, entries: readonly LeasedEntry[], wentDown = false): void {
    const { downUntil, lastProblem } = this.#dispatcher.destination(nextHop);
    const work = async (): Promise<void> => {
      await this.#giveBack(entries);
      const postponed = await this.#refill.postpone(nextHop);
      if (!wentDown || lastProblem === undefined) return;
      this.#io.emit({
        kind: "destination-down",
        nextHop,
        until: downUntil,
        reason: lastProblem.type,
        detail: lastProblem.detail,
        postponed,
      });
    };
    this.#track(work().catch((error: unknown) => this.#fault("postponing", error)));
  }

  /** Never rejects: what the database does not take back now it is offered again, and a process that ends leaves it void. */
  async #giveBack(entries: readonly LeasedEntry[], later = 0): Promise<void> {
    if (entries.length === 0) return;
    const leases = entries.map(({ lease }) => lease);
    for (;;) {
      try {
        return await this.#io.store.releaseLeases(leases, this.#io.clock.now() + later);
      } catch (error) {
        this.#fault("giving leases back", error);
      }
      if (this.#stopping) return;
      await this.#pause(STORAGE_PAUSE);
    }
  }

  /** Waits, but not beyond the end of the process. */
  #pause(wait: number): Promise<void> {
    return new Promise((resolve) => {
      const { signal } = this.#cut;
      if (signal.aborted) return resolve();
      const end = (): void => {
        cancel();
        signal.removeEventListener("abort", end);
        resolve();
      };
      const cancel = this.#io.clock.after(wait, end);
      signal.addEventListener("abort", end);
    });
  }

  /**
   * Keeps the outcome, whatever it takes: while it waits the lease keeps the entry from being tried again. Only the end of the
   * process ends that, and then what was delivered is delivered once more (RFC 5321 §6.1).
   */
  async #save(entry: LeasedEntry, settlement: Settlement, result: AttemptResult | undefined): Promise<void> {
    for (;;) {
      let leased: LeasedEntry[] | "lease-lost" | undefined;
      try {
        leased = await this.#io.store.saveSettlement(entry.lease, settlement, this.#enqueueOptions);
      } catch (error) {
        this.#fault("settling", error);
        // Going on would only make more of these. An error that is not the disk's is this one entry's, and stops nobody else.
        if (error instanceof StorageFailed || error instanceof StorageFull) {
          this.#pausedUntil = this.#io.clock.monotonic() + STORAGE_PAUSE;
          this.#io.clock.after(STORAGE_PAUSE + 1, () => this.#pump());
        }
      }
      if (leased !== undefined) return this.#tellSaved(entry, settlement, result, leased);
      if (this.#cut.signal.aborted) return;
      await this.#pause(STORAGE_PAUSE);
    }
  }

  #tellSaved(entry: LeasedEntry, settlement: Settlement, result: AttemptResult | undefined, leased: LeasedEntry[] | "lease-lost"): void {
    if (leased === "lease-lost") {
      this.#fault("settling", new Error(`the lease of ${entry.message.id} for ${entry.nextHop} was lost before its attempt settled`));
      return;
    }
    if (leased.length > 0) this.offer(leased);
    if (settlement.nextAttempt !== undefined) this.#refill.lookAt(settlement.nextAttempt);
    if (result?.fault !== undefined) this.#fault(`attempt of ${entry.message.id}`, result.fault);
    for (const event of eventsOf(entry, settlement, result)) this.#io.emit(event);
  }

  #fault(where: string, error: unknown): void {
    this.#io.emit({ kind: "fault", where, error: error instanceof Error ? error : new Error(String(error)) });
  }
}

/** What an attempt says of the destination as a whole. */
function contactOf(result: AttemptResult, connected: boolean): Contact {
  if (connected) return { kind: "usable" };
  const problem = result.hosts.findLast((host) => host.problem !== undefined)?.problem;
  return problem === undefined || problem.type === "dns-failure" ? { kind: "nothing-learnt" } : { kind: "unusable", problem };
}
