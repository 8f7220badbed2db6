/**
 * One attempt under way: a leased entry in; by gather → plan → attempt → settle, the settlement that the database is to keep
 * out. It knows how far it has come, so that the end of the process can tell whom to wait for. Which entry is attempted when,
 * and what becomes of its settlement, is delivery/worker.ts.
 */
import type { Clock } from "../clock.ts";
import type { DeliverySettings, TlsSettings } from "../config/settings.ts";
import type { DnsLookup } from "../policy/facts.ts";
import type { NextHop } from "../mail/domain.ts";
import type { SignMessage } from "../mail/signing.ts";
import { observeBogus } from "../policy/observe.ts";
import type { LeasedEntry, QueueId } from "../queue/entry.ts";
import { REPORT_LISTENER } from "../mail/own-origins.ts";
import type { Settlement } from "../queue/settlement.ts";
import { type AttemptResult, attemptDelivery } from "./attempt.ts";
import type { CountedSessions } from "./counted-sessions.ts";
import type { Contact } from "./destination.ts";
import type { Dispatcher, Job } from "./dispatcher.ts";
import type { DecideHost } from "./decide.ts";
import { type FactsIo, findHost, gatherFacts, type HostIo } from "./gather.ts";
import { isHonoured } from "./honoured.ts";
import type { PublicAddresses } from "./observations.ts";
import type { DeliveryPlan, MessageDemands } from "./plan.ts";
import type { PlanDelivery } from "./planner.ts";
import { isTlsTrouble, problem } from "./problems.ts";
import type { Acquired, ConnectionPool } from "./pool.ts";
import { findRoute } from "./route.ts";
import type { Session, SessionTarget } from "./session.ts";
import { mostTelling, type PlannedResult, settle } from "./settle.ts";
import { signEntry } from "./signed-body.ts";

/** What an attempt obeys; read anew for each, so that a reload takes effect at once. */
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
  readonly tlsReports?: PublicAddresses;
}

export interface RunIo extends HostIo, FactsIo {
  readonly lookup: DnsLookup;
  readonly plan: PlanDelivery;
  readonly decide: DecideHost;
  /** A host of this next hop had secure TLSA records. */
  noteDane(nextHop: NextHop): void;
  readonly clock: Clock;
  readonly random: () => number;
  readonly newQueueId: () => QueueId;
  readonly dispatcher: Pick<Dispatcher, "isCrowded" | "noteConnected">;
  readonly pool: Pick<ConnectionPool, "acquire" | "release" | "discard">;
  /** Sessions that TLS-RPT has counted. */
  readonly counted: CountedSessions;
  /** Absent: nothing is signed. */
  readonly sign?: SignMessage;
  /** Aborted when the time of a stopping process is over: no host hears another first word. */
  readonly cut: AbortSignal;
}

/** What was met on the way, and what it says of the destination as a whole. */
export interface Attempted {
  readonly result: AttemptResult | PlannedResult;
  readonly contact: Contact;
}

export class Run {
  readonly job: Job;
  readonly #rules: DeliveryRules;
  readonly #io: RunIo;
  readonly #message: MessageDemands;
  /** `opening`: it waits for a connection, and nothing has been said to anybody there. */
  #state: "busy" | "opening" | "given-up" = "busy";
  /** It has had an open connection. */
  #connected = false;
  #session: Session | undefined;

  constructor(job: Job, rules: DeliveryRules, io: RunIo) {
    this.job = job;
    this.#rules = rules;
    this.#io = io;
    this.#message = demandsOf(job.entry.message, rules);
  }

  get state(): "busy" | "opening" | "given-up" {
    return this.#state;
  }

  /** It holds a connection just now. */
  get talks(): boolean {
    return this.#session !== undefined;
  }

  /** Its lease goes back: whoever holds it next says the first word. */
  giveUp(): void {
    this.#state = "given-up";
  }

  /** Ends the connection it talks on. */
  cutOff(): void {
    this.#session?.destroy();
  }

  /** Throws for our own faults, and where the process ends before anything was said to a host. */
  async attempt(): Promise<Attempted> {
    const startedAt = this.#io.clock.now();
    const plan = await this.#plan();
    if (plan.kind !== "attempt") return this.#idle(plan, startedAt);
    let { entry } = this.job;
    const { signing } = entry.message;
    if (signing !== undefined && this.#io.sign !== undefined) {
      const signed = await signEntry(entry, signing, this.#io.sign);
      if (signed.kind === "failed") return this.#idle(unsignedPlan(plan, signed.detail), startedAt);
      ({ entry } = signed);
    }
    const result = await this.#follow(entry, plan);
    if (result.daneSeen) this.#io.noteDane(entry.nextHop);
    return { result, contact: this.#contact(result) };
  }

  /** Nobody is dialled. */
  #idle(plan: DeliveryPlan, startedAt: number): Attempted {
    const endedAt = this.#io.clock.now();
    const isTold = plan.kind === "defer" && plan.bogus !== undefined && this.job.entry.message.origin.listener !== REPORT_LISTENER;
    const observations = isTold ? [observeBogus(plan.bogus.reportDomain, plan.bogus.reportDomain, plan.bogus.failure, endedAt)] : [];
    return { result: { kind: "planned", plan, startedAt, endedAt, observations }, contact: { kind: "nothing-learnt" } };
  }

  settle({ result }: Attempted): Promise<Settlement> {
    const { clock, random, newQueueId } = this.#io;
    return settle(this.job.entry, result, { now: clock.now(), random, rules: this.#rules, newQueueId });
  }

  async #plan(): Promise<DeliveryPlan> {
    const { nextHop } = this.job.entry;
    const route = findRoute(nextHop, this.#rules.delivery);
    const facts = await gatherFacts(nextHop, route, this.#message, this.#rules.tls, this.#io.clock.now(), this.#io);
    return this.#io.plan(facts, this.#message, this.#rules, this.#io.random);
  }

  async #follow(entry: LeasedEntry, plan: DeliveryPlan & { kind: "attempt" }): Promise<AttemptResult> {
    const { clock, cut, dispatcher, pool } = this.#io;
    try {
      return await attemptDelivery(entry, plan, {
        rules: this.#rules,
        clock,
        stop: cut,
        findHost: (host) => findHost(host, this.#rules, this.#io),
        decide: (host, found) => this.#io.decide(host, found, this.#message),
        counted: this.#io.counted,
        acquire: (target, freshOnly) => this.#acquire(target, freshOnly),
        release: (session) => {
          this.#session = undefined;
          pool.release(session);
        },
      });
    } finally {
      if (this.#connected) dispatcher.noteConnected(this.job, false);
    }
  }

  async #acquire(target: SessionTarget, freshOnly: boolean): Promise<Acquired> {
    const { dispatcher, pool } = this.#io;
    const crowded = !this.job.destination.answers && dispatcher.isCrowded;
    const hurried = crowded ? { ...target, greetingWait: this.#rules.delivery.timeouts.greetingWhenCrowded } : target;
    if (this.#ends()) throw new Error("the process ends");
    if (!this.#connected) this.#state = "opening";
    const acquired = await pool.acquire(hurried, freshOnly);
    if (this.#ends()) {
      // Its lease went back, or ends with the process: whoever holds it next says the first word.
      if (acquired.kind === "open") pool.discard(acquired.session);
      throw new Error("the process ends");
    }
    this.#state = "busy";
    if (acquired.kind === "open") {
      this.#session = acquired.session;
      if (!this.#connected) dispatcher.noteConnected(this.job, true);
      this.#connected = true;
    }
    return acquired;
  }

  #ends(): boolean {
    // Once something has been said to some host, the attempt must be settled, or the next would say it again.
    if (this.#io.cut.aborted && !this.#connected) this.#state = "given-up";
    return this.#io.cut.aborted || this.#state === "given-up";
  }

  #contact(result: AttemptResult): Contact {
    if (this.#connected) return { kind: "usable" };
    // The same as the attempt's own last word: what waits behind it must not be told of another host.
    const problem = mostTelling(result);
    // What a look-up did not tell, or one message asks more than others, says nothing of the destination.
    if (problem === undefined || problem.type === "dns-failure" || problem.type === "dnssec-invalid" || problem.type === "resolver-blind")
      return { kind: "nothing-learnt" };
    if (this.#message.tag !== undefined && isTlsTrouble(problem.type)) return { kind: "nothing-learnt" };
    return { kind: "unusable", problem };
  }
}

/** A message that is to be signed is never sent without; its sender was promised that receivers can tell it from a forgery. */
function unsignedPlan({ demanded, policy }: DeliveryPlan, why: string): DeliveryPlan {
  const detail = `the message could not be signed with DKIM, and is not sent without: ${why}`;
  return { kind: "defer", demanded, policy, problem: problem("dkim-failed", "you", detail) };
}

/**
 * What the message asks of every host (RFC 8689). Without a return path REQUIRETLS is kept where it can be (§5). A TLS report
 * goes as though it said TLS-Required: No, whether or not it does (RFC 8460 §3).
 */
function demandsOf({ tlsTag, sender, origin }: LeasedEntry["message"], { tls }: DeliveryRules): MessageDemands {
  if (origin.listener === REPORT_LISTENER) return REPORT_DEMANDS;
  if (tlsTag === undefined) return NO_DEMANDS;
  if (tlsTag === "optional") return { tag: "optional", mayGoBelowFloor: isHonoured(origin, tls.honourTlsOptional) };
  return { tag: sender === "" ? "preferred" : "required", mayGoBelowFloor: false };
}

const NO_DEMANDS: MessageDemands = { mayGoBelowFloor: false };
const REPORT_DEMANDS: MessageDemands = { tag: "optional", mayGoBelowFloor: true };
