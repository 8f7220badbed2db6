/**
 * The delivery worker: leased entries in, settlements saved. It starts what delivery/dispatcher.ts says is next, tells what
 * became of it, and knows how to begin and to end. One attempt is delivery/run.ts, what must reach the database
 * delivery/safekeeping.ts, and what the database still holds delivery/refill.ts.
 */
import type { Clock } from "../clock.ts";
import type { EmitEvent } from "../events.ts";
import type { NextHop } from "../mail/domain.ts";
import type { SignMessage } from "../mail/signing.ts";
import type { DnsLookup, DnssecState, FindConfiguredHost, FindStsPolicy, FindTlsa } from "../policy/facts.ts";
import type { TlsObservation } from "../policy/observation.ts";
import type { LeasedEntry, Submitter } from "../queue/entry.ts";
import type { Settlement } from "../queue/settlement.ts";
import type { EnqueueOptions, QueueStore } from "../queue/store.ts";
import { reportDayOf, type TlsReportStore } from "../queue/tls-reports.ts";
import { errorOf } from "../thrown.ts";
import { CountedSessions } from "./counted-sessions.ts";
import type { Contact } from "./destination.ts";
import { createDecider, type DecideHost } from "./decide.ts";
import { createPlanner } from "./planner.ts";
import { DaneMemory } from "./dane-memory.ts";
import { Dispatcher, type Job, READY_LIMITS } from "./dispatcher.ts";
import { ConnectionPool } from "./pool.ts";
import { Refill } from "./refill.ts";
import { type Attempted, type DeliveryRules, Run, type RunIo } from "./run.ts";
import { Safekeeping, STORAGE_PAUSE } from "./safekeeping.ts";
import type { OpenSession } from "./session.ts";
import { eventsOf } from "./settle.ts";
import { TlsAlarm } from "./tls-alarm.ts";

export interface DeliveryIo {
  rules(): DeliveryRules;
  readonly store: QueueStore;
  readonly lookup: DnsLookup;
  readonly findConfiguredHost: FindConfiguredHost;
  readonly findTlsa: FindTlsa;
  readonly findStsPolicy: FindStsPolicy;
  dnssec(): DnssecState;
  readonly open: OpenSession;
  readonly clock: Clock;
  readonly random: () => number;
  readonly emit: EmitEvent;
  /** DKIM. Absent: nothing is signed. */
  readonly sign?: SignMessage;
  /** Who has failed today, so that a restart does not tell of it anew. */
  readonly reports?: Pick<TlsReportStore, "failedDomains">;
}

/** A lease outlasts the longest attempt: eight hosts with four addresses, each silent for its five minutes. */
const LEASE_MS = 12 * 3_600_000;
/** An entry that met a host with all connections taken is tried again at once so many times before it is deferred. */
const CROWDED_RETRIES = 3;
/** After its connections were cut an attempt needs no longer to settle. */
const AFTER_CUT = 2000;
/** An entry whose attempt failed by our own fault is tried again so much later. */
const AFTER_FAULT = 60_000;

export class DeliveryWorker {
  readonly #io: DeliveryIo;
  readonly #dispatcher: Dispatcher;
  readonly #pool: ConnectionPool;
  readonly #refill: Refill;
  readonly #safekeeping: Safekeeping;
  readonly #runIo: RunIo;
  #decide: DecideHost;
  /** Attempts under way, and when each is over. */
  readonly #runs = new Map<Run, Promise<void>>();
  readonly #crowded = new WeakMap<LeasedEntry, number>();
  /** What TLS-RPT counts of attempts that did not settle: it goes with the one that does. */
  readonly #observed = new WeakMap<LeasedEntry, readonly TlsObservation[]>();
  readonly #alarm: TlsAlarm;
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
      store: {
        leaseDue: (...asked) => io.store.leaseDue(...asked),
        findDueNextHops: (...asked) => io.store.findDueNextHops(...asked),
        findNextDue: () => io.store.findNextDue(),
        postponeDestination: (...asked) => io.store.postponeDestination(...asked),
        makeAllDue: async (now) => void (await io.store.admin.retryNow({}, now)),
      },
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
    this.#safekeeping = new Safekeeping({
      store: io.store,
      clock: io.clock,
      enqueueOptions: this.#enqueueOptions,
      cut: this.#cut.signal,
      isStopping: () => this.#stopping,
      fault: (where, error) => this.#fault(where, error),
      diskFailed: () => {
        this.#pausedUntil = io.clock.monotonic() + STORAGE_PAUSE;
        io.clock.after(STORAGE_PAUSE + 1, () => this.#pump());
      },
    });
    const memory = new DaneMemory(io.store.policies, io.clock, (error) => this.#fault("remembering DANE", error));
    this.#decide = createDecider(io.rules().tls.daneDigests);
    this.#alarm = new TlsAlarm(io.emit);
    this.#runIo = {
      lookup: io.lookup,
      findConfiguredHost: io.findConfiguredHost,
      findTlsa: io.findTlsa,
      findStsPolicy: io.findStsPolicy,
      dnssec: () => io.dnssec(),
      findDane: (nextHop) => memory.find(nextHop),
      noteDane: (nextHop) => memory.note(nextHop),
      plan: createPlanner(),
      decide: (...asked) => this.decide(...asked),
      clock: io.clock,
      random: io.random,
      newQueueId: () => io.store.newQueueId(),
      dispatcher: this.#dispatcher,
      pool: this.#pool,
      counted: new CountedSessions(),
      ...(io.sign !== undefined && { sign: io.sign }),
      cut: this.#cut.signal,
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
    this.#safekeeping.track(this.#seedAlarm().catch((error: unknown) => this.#fault("reading today's TLS failures", error)));
    this.#refill.lookAt(this.#io.clock.now());
  }

  async #seedAlarm(): Promise<void> {
    const today = reportDayOf(this.#io.clock.now());
    this.#alarm.seed(today, (await this.#io.reports?.failedDomains(today)) ?? []);
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
    if (this.#stopping) this.#safekeeping.track(this.#safekeeping.giveBack(this.#dispatcher.withdrawAll()));
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
    this.#decide = createDecider(this.#io.rules().tls.daneDigests);
  }

  /** What is demanded of a host, as attempts decide it. */
  decide(...asked: Parameters<DecideHost>): ReturnType<DecideHost> {
    return this.#decide(...asked);
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
    const opening = [...this.#runs.keys()].filter(({ state }) => state === "opening");
    for (const run of opening) run.giveUp();
    await this.#safekeeping.giveBack([...this.#dispatcher.withdrawAll(), ...opening.map(({ job }) => job.entry)]);
    if (await this.#endsWithin(grace)) {
      await closed;
      return 0;
    }
    const talking = [...this.#runs.keys()].filter(({ talks }) => talks);
    this.#cut.abort();
    for (const run of talking) run.cutOff();
    await this.#endsWithin(AFTER_CUT);
    return talking.length;
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
      const busy = [...this.#runs].filter(([{ state }]) => state === "busy").map(([, ended]) => ended);
      const { tracked } = this.#safekeeping;
      if (busy.length + tracked.size === 0) break;
      await Promise.race([bell, Promise.all([...busy, ...tracked])]);
    }
    cancel();
    return !timeIsUp;
  }

  #pump(): void {
    if (this.#stopping || this.#io.clock.monotonic() < this.#pausedUntil) return;
    for (let job = this.#dispatcher.next(); job !== undefined; job = this.#dispatcher.next()) this.#begin(job);
  }

  #begin(job: Job): void {
    const run = new Run(job, this.#io.rules(), this.#runIo);
    const ended = this.#carryOut(run)
      .catch((error: unknown) => this.#fault("delivery", error))
      .finally(() => this.#runs.delete(run));
    this.#runs.set(run, ended);
  }

  async #carryOut(run: Run): Promise<void> {
    const { job } = run;
    const { entry } = job;
    let attempted: Attempted;
    let settlement: Settlement;
    try {
      attempted = await run.attempt();
      if (attempted.contact.kind === "unusable" && this.#isCrowded(job)) {
        this.#keepObserved(entry, attempted.result.observations);
        this.#finish(job, attempted.contact);
        this.#dispatcher.offerAgain(entry);
        this.#pump();
        return;
      }
      settlement = this.#withObserved(entry, await run.settle(attempted));
    } catch (error) {
      if (run.state === "given-up") return;
      // Our own fault, or a body that could not be read: the entry is given back and tried later, never lost.
      this.#finish(job, { kind: "nothing-learnt" });
      this.#fault(`attempt of ${entry.message.id}`, error);
      await this.#safekeeping.giveBack([entry], AFTER_FAULT);
      return;
    }
    this.#finish(job, attempted.contact);
    this.#pump();
    const leased = await this.#safekeeping.save(entry, settlement);
    if (leased !== undefined) this.#saved(entry, settlement, attempted, leased);
  }

  /** Hosts that were passed over are met again by the next attempt, and told of by that one alone. */
  #keepObserved(entry: LeasedEntry, observations: readonly TlsObservation[] = []): void {
    const met = observations.filter(({ failures: [first] }) => first === undefined || first.receivingIp !== undefined);
    if (met.length > 0) this.#observed.set(entry, [...(this.#observed.get(entry) ?? []), ...met]);
  }

  #withObserved(entry: LeasedEntry, settlement: Settlement): Settlement {
    const before = this.#observed.get(entry);
    return before === undefined ? settlement : { ...settlement, observations: [...before, ...(settlement.observations ?? [])] };
  }

  #saved(entry: LeasedEntry, settlement: Settlement, { result }: Attempted, leased: LeasedEntry[] | "lease-lost"): void {
    if (leased === "lease-lost") {
      this.#fault("settling", new Error(`the lease of ${entry.message.id} for ${entry.nextHop} was lost before its attempt settled`));
      return;
    }
    const talk = result.kind === "attempted" ? result : undefined;
    if (leased.length > 0) this.offer(leased);
    if (settlement.nextAttempt !== undefined) this.#refill.lookAt(settlement.nextAttempt);
    if (talk?.fault !== undefined) this.#fault(`attempt of ${entry.message.id}`, talk.fault);
    for (const event of eventsOf(entry, settlement, talk)) this.#io.emit(event);
    if (settlement.observations !== undefined) this.#alarm.note(settlement.observations);
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
      await this.#safekeeping.giveBack(entries);
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
    this.#safekeeping.track(work().catch((error: unknown) => this.#fault("postponing", error)));
  }

  #fault(where: string, error: unknown): void {
    this.#io.emit({ kind: "fault", where, error: errorOf(error) });
  }
}
