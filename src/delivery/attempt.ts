/**
 * One attempt: a plan and a leased entry in, what became of each recipient out. Walks hosts and addresses in order (RFC 5321
 * §5.1) for the recipients that are still undecided, and stops when nobody is, or when a host may hold the message. Talking
 * is delivery/session.ts, keeping connections delivery/pool.ts; what follows from it all is delivery/settle.ts.
 */
import type { Clock } from "../clock.ts";
import type { HostAddress } from "../policy/facts.ts";
import type { HostEvidence } from "../policy/evidence.ts";
import type { PolicyVerdict } from "../policy/decision.ts";
import type { TlsObservation } from "../policy/observation.ts";
import type { LeasedEntry } from "../queue/entry.ts";
import { REPORT_LISTENER } from "../mail/own-origins.ts";
import type { DeliveryProblem, HostReport } from "../queue/settlement.ts";
import { errorOf } from "../thrown.ts";
import type { CountedSessions } from "./counted-sessions.ts";
import type { Decided } from "./decide.ts";
import type { HostFindings } from "./gather.ts";
import { happeningOf, isReportable, type ObservationRules, Observations, type Reportable } from "./observations.ts";
import { type DeliveryPlan, loopProblem, type PlannedHost } from "./plan.ts";
import type { Acquired } from "./pool.ts";
import { inClass, mayBeFinal, problem, tellingness } from "./problems.ts";
import type { RecipientReport, Session, SessionTarget, TransactionReport } from "./session.ts";
import { describeRequirement, evidenceOf, skipProblem, targetOf, type TargetRules, type Terms, termsOf } from "./terms.ts";
import { isStale, lastWord, note, problemOf, type RecipientJudgement, type Undecided } from "./undecided.ts";

export interface AttemptRules extends TargetRules, ObservationRules {
  readonly delivery: TargetRules["delivery"] & {
    readonly addressesPerHost: number;
    readonly hostsPerAttempt: number;
    readonly concurrency: { readonly recipientsPerTransaction: number };
  };
}

export interface AttemptIo {
  readonly rules: AttemptRules;
  readonly clock: Clock;
  /** Addresses, then TLSA records (RFC 7672 §2.2.2). */
  findHost(host: PlannedHost): Promise<HostFindings>;
  /** What is demanded of it, with those records known. */
  decide(host: PlannedHost, found: HostFindings): Decided;
  /** An open connection, kept or new; `freshOnly` asks for a new one. */
  acquire(target: SessionTarget, freshOnly: boolean): Promise<Acquired>;
  /** Every acquired session comes back exactly once, usable or not. */
  release(session: Session): void;
  /** Sessions that TLS-RPT has counted. Absent: none is to be, as with a check. */
  readonly counted?: CountedSessions;
  /** No further host is asked once it is aborted. */
  readonly stop?: AbortSignal;
}

export interface AttemptResult {
  readonly kind: "attempted";
  /** Of the last host that was decided on: `authenticated (MTA-STS enforce of example.org)`. */
  readonly demanded: string;
  readonly policy: DeliveryPlan["policy"];
  readonly startedAt: number;
  readonly endedAt: number;
  readonly hosts: readonly HostReport[];
  /** One for each recipient of the entry, in its order. */
  readonly recipients: readonly { readonly recipientId: number; readonly report: RecipientJudgement }[];
  /** The text was sent in full and its reply is missing: that host may deliver the message. */
  readonly mayHoldMessage: boolean;
  /** Some host gave a greeting: the destination is alive. */
  readonly answered: boolean;
  /** Some host had secure TLSA records. */
  readonly daneSeen: boolean;
  /** Milliseconds spent on look-ups and connections, and on transactions. */
  readonly phases: { readonly connecting: number; readonly talking: number };
  /** A fault of our own that ended the attempt after some recipient was decided. */
  readonly fault?: Error;
  /** What TLS-RPT counts of it; absent where nothing was new. */
  readonly observations?: readonly TlsObservation[];
}

export async function attemptDelivery(entry: LeasedEntry, plan: DeliveryPlan & { kind: "attempt" }, io: AttemptIo): Promise<AttemptResult> {
  const walk = new Walk(entry, plan, io);
  await walk.run();
  return walk.result();
}

type Conversation =
  | "ended"
  /** A kept connection had died meanwhile; nothing was said to this host yet. */
  | "stale"
  /** The connection is over, recipients are left that this host has not been asked about. */
  | "more";

class Walk {
  readonly #entry: LeasedEntry;
  readonly #plan: DeliveryPlan & { kind: "attempt" };
  readonly #io: AttemptIo;
  readonly #startedAt: number;
  readonly #recipients: readonly Undecided[];
  readonly #hosts: HostReport[];
  /** Recipients without a judgement. */
  #open: number;
  /** Those not yet spoken of to the host whose turn it is. */
  #pending: Undecided[] = [];
  /** True while nothing was left out that could still have taken the message. */
  #exhaustive = true;
  #mayHoldMessage = false;
  #answered = false;
  #daneSeen = false;
  #demanded: string;
  #connecting = 0;
  #talking = 0;
  #fault: Error | undefined;
  /** Absent where nothing is counted: mail that brings reports is not reported on (RFC 8460 §3). */
  readonly #counted: CountedSessions | undefined;
  #observations: Observations | undefined;

  constructor(entry: LeasedEntry, plan: DeliveryPlan & { kind: "attempt" }, io: AttemptIo) {
    this.#entry = entry;
    this.#plan = plan;
    this.#io = io;
    this.#startedAt = io.clock.now();
    this.#recipients = entry.recipients.map((recipient) => ({ recipient }));
    this.#open = entry.recipients.length;
    this.#demanded = plan.demanded;
    this.#counted = entry.message.origin.listener === REPORT_LISTENER ? undefined : io.counted;
    this.#hosts = plan.skipped === undefined ? [] : [...plan.skipped];
  }

  async run(): Promise<void> {
    try {
      await this.#walk();
    } catch (error) {
      // What some recipients have been told is kept, else they would get the message again; without such, nothing is lost.
      if (this.#open === this.#recipients.length) throw error;
      this.#fault = errorOf(error);
      this.#exhaustive = false;
    }
  }

  async #walk(): Promise<void> {
    const { hosts } = this.#plan;
    const { hostsPerAttempt } = this.#io.rules.delivery;
    for (let index = 0; index < hosts.length; index++) {
      const host = hosts[index] as PlannedHost;
      if (index >= hostsPerAttempt || this.#io.stop?.aborted === true) {
        this.#exhaustive = false;
        return;
      }
      const started = this.#io.clock.monotonic();
      const findings = await this.#io.findHost(host);
      this.#connecting += this.#io.clock.monotonic() - started;
      const found = findings.addresses;
      switch (found.kind) {
        case "addresses":
          await this.#tryDecided(host, findings, found.addresses);
          break;
        case "unusable":
          this.#skip(host, found.problem, found.permanent);
          if (found.bogus !== undefined && this.#counts(host)) this.#observe().noteBogus(host, found.bogus, this.#io.clock.now());
          break;
        case "ourselves": {
          // RFC 5321 §5.1: this host and all that are no better go. Those before it have had their say.
          const first = index === 0;
          const detail = `${host.host} is this relay (${found.address})`;
          const loop = first
            ? loopProblem(this.#entry.nextHop, `${host.host} at ${found.address}`)
            : problem("loop", "receiver", detail, { host: host.host });
          const report: HostReport = { host: host.host, address: found.address, port: host.port, step: "skipped", problem: loop };
          this.#hosts.push(report);
          if (first) this.#noteAll(loop, report, "skipped", true);
          return;
        }
      }
      if (this.#open === 0 || this.#mayHoldMessage) return;
    }
  }

  /** A host whose addresses are known: its verdict first, then a connection if there may be one (RFC 7672 §2.1.2). */
  async #tryDecided(host: PlannedHost, findings: HostFindings, addresses: readonly HostAddress[]): Promise<void> {
    const { decision, evidence } = this.#io.decide(host, findings);
    const { verdict } = decision;
    this.#daneSeen ||= findings.tlsa.kind === "records";
    if (verdict.kind === "skip") {
      this.#demanded = `no connection (${verdict.because.text})`;
      const lost = this.#asRequireTls(skipProblem(host, verdict), verdict);
      this.#skip(host, lost.problem, lost.permanent, evidence);
      if (this.#counts(host)) this.#observe().noteSkipped(host, findings.tlsa, verdict.failure, this.#io.clock.now());
      return;
    }
    this.#demanded = describeRequirement(verdict.requirement);
    await this.#tryHost(host, termsOf(host, findings, verdict.requirement, { decision, evidence }), addresses);
  }

  /** RFC 8689 §4.2.1: a host that can never be proven for such a message is out for good, and the sender is told now. */
  #asRequireTls(found: DeliveryProblem, verdict: PolicyVerdict & { kind: "skip" }): { problem: DeliveryProblem; permanent: boolean } {
    const { message } = this.#entry;
    if (message.tlsTag !== "required" || message.sender === "" || !verdict.lasting) return { problem: found, permanent: false };
    const { detail, host } = found;
    return { problem: problem("requiretls-unmet", "sender", detail, host === undefined ? {} : { host }), permanent: true };
  }

  #skip(host: PlannedHost, found: DeliveryProblem, permanent: boolean, policy?: HostEvidence): void {
    const report: HostReport = {
      host: host.host,
      ...(host.address !== undefined && { address: host.address }),
      port: host.port,
      step: "skipped",
      problem: found,
      ...(policy !== undefined && { policy }),
    };
    this.#hosts.push(report);
    this.#noteAll(found, report, "skipped", permanent);
  }

  /** Each address until one gives a usable connection (RFC 5321 §5.1). A host that has spoken has spoken for all of them. */
  async #tryHost(host: PlannedHost, terms: Terms, addresses: readonly HostAddress[]): Promise<void> {
    this.#pending = this.#recipients.filter(({ judgement }) => judgement === undefined);
    const limit = Math.min(addresses.length, this.#io.rules.delivery.addressesPerHost);
    for (let index = 0; index < limit; index++) {
      if (index > 0 && this.#io.stop?.aborted === true) {
        this.#exhaustive = false;
        return;
      }
      if (await this.#tryAddress(host, terms, addresses[index] as HostAddress)) return;
    }
  }

  /** True once a transaction was tried there, whatever came of it. */
  async #tryAddress(host: PlannedHost, terms: Terms, { address, family }: HostAddress): Promise<boolean> {
    const target = targetOf(host, terms, { address, family }, this.#io.rules);
    if (target === undefined) {
      const detail = `the trust anchors in ${host.rootsFile} could not be read`;
      this.#skip(host, problem("not-configured", "you", detail, { host: host.host }), false);
      return true;
    }
    let spoken = false;
    for (let freshOnly = false; ; freshOnly = true) {
      const started = this.#io.clock.monotonic();
      const acquired = await this.#io.acquire(target, freshOnly);
      this.#connecting += this.#io.clock.monotonic() - started;
      if (acquired.kind === "failed") {
        const { step, tls, problem: found, permanent, answered } = acquired;
        this.#answered ||= answered;
        const report: HostReport = {
          host: host.host,
          address,
          port: host.port,
          step,
          problem: found,
          ...(tls !== undefined && { tls }),
          policy: evidenceOf(terms, tls),
        };
        this.#hosts.push(report);
        this.#noteAll(found, report, step, permanent);
        if (this.#counts(host) && happeningOf(acquired) !== undefined)
          this.#observe().noteFailure(host, terms.tlsa, target, acquired, this.#io.clock.now());
        return spoken;
      }
      this.#answered = true;
      const since = this.#isNew(host, acquired.session) ? this.#io.clock.now() : undefined;
      // Only the first connection may be blamed on its age; a fresh one that dies is the host's doing.
      const conversation = await this.#converse(acquired.session, host, terms, acquired.reused && !freshOnly, since);
      if (conversation === "ended") return true;
      spoken ||= conversation === "more";
    }
  }

  /**
   * Transactions on one connection until nobody is left to ask it about. `since`: TLS-RPT has not counted it yet, and what it is
   * became known then.
   */
  async #converse(
    session: Session,
    planned: PlannedHost,
    terms: Terms,
    maybeStale: boolean,
    since: number | undefined,
  ): Promise<Conversation> {
    const { host, port } = planned;
    const report: { -readonly [K in keyof HostReport]: HostReport[K] } = {
      host,
      address: session.target.address,
      port,
      step: "mail",
      tls: session.tls,
      policy: evidenceOf(terms, session.tls),
    };
    if (session.served > 0) report.reused = true;
    const most = this.#io.rules.delivery.concurrency.recipientsPerTransaction;
    for (let first = true; ; first = false) {
      const pending = this.#pending;
      const batch = pending.length <= most ? pending : pending.slice(0, most);
      const transaction = await this.#transact(session, terms, batch);
      if (first && maybeStale && isStale(transaction, session)) {
        this.#io.release(session);
        return "stale";
      }
      if (first) {
        this.#hosts.push(report);
        if (since === undefined) this.#observations?.rideAlong();
        else this.#noteSession(planned, terms, session, since);
      }
      if (first || tellingness(transaction.step) > tellingness(report.step)) report.step = transaction.step;
      const openBefore = this.#open;
      const portion = this.#judge(batch, transaction, report);
      this.#pending = batch === pending ? portion : [...portion, ...pending.slice(most)];
      if (transaction.mayHoldMessage) {
        // RFC 5321 §4.5.3.2.6: this host may deliver it, so no other may get it now, for anybody.
        this.#mayHoldMessage = true;
        this.#exhaustive = false;
        this.#noteAll(problemOf(transaction), report, "skipped", false);
      }
      if (this.#pending.length > 0 && session.usable && !this.#mayHoldMessage) continue;
      this.#io.release(session);
      if (this.#pending.length === 0 || this.#mayHoldMessage) return "ended";
      if (this.#open < openBefore) return "more";
      const found = problemOf(transaction);
      for (const undecided of this.#pending) note(undecided, found, report, tellingness(transaction.step), false);
      return "ended";
    }
  }

  #counts(host: PlannedHost): host is Reportable {
    return this.#counted !== undefined && isReportable(host);
  }

  /** A session counts once for each domain, however many messages it carries (RFC 8460 §4.2). */
  #isNew(host: PlannedHost, { tls }: Session): boolean {
    return this.#counted !== undefined && isReportable(host) && !this.#counted.has(tls, host.reportDomain);
  }

  #noteSession(host: PlannedHost, { tlsa }: Terms, session: Session, since: number): void {
    if (this.#counted === undefined || !isReportable(host)) return;
    this.#counted.add(session.tls, host.reportDomain);
    this.#observe().noteSession(host, tlsa, session.target, session, since);
  }

  #observe(): Observations {
    this.#observations ??= new Observations(this.#io.rules);
    return this.#observations;
  }

  async #transact(session: Session, { requirement }: Terms, batch: readonly Undecided[]): Promise<TransactionReport> {
    const { message, body } = this.#entry;
    const keyword = requirement.requireTlsKeyword;
    const started = this.#io.clock.monotonic();
    try {
      return await session.deliver({
        sender: message.sender,
        recipients: batch.map(({ recipient }) => recipient),
        needs: message.needs,
        body,
        ...(keyword !== undefined && { requireTls: keyword.mandatory ? "required" : "preferred" }),
        ...(message.returnContent !== undefined && { returnContent: message.returnContent }),
        ...(message.envelopeId !== undefined && { envelopeId: message.envelopeId }),
      });
    } catch (error) {
      this.#io.release(session);
      throw error;
    } finally {
      this.#talking += this.#io.clock.monotonic() - started;
    }
  }

  /** Takes down what a transaction decided. Returns those whom the host wants in a next one (RFC 5321 §4.5.3.1.10). */
  #judge(
    batch: readonly Undecided[],
    { recipients, step }: TransactionReport,
    at: { -readonly [K in keyof HostReport]: HostReport[K] },
  ): Undecided[] {
    const portion: Undecided[] = [];
    for (let index = 0; index < batch.length; index++) {
      const undecided = batch[index] as Undecided;
      const said = recipients[index] as RecipientReport;
      if (said.kind !== "delivered") at.problem ??= said.problem;
      switch (said.kind) {
        case "delivered":
          this.#decide(undecided, { kind: "delivered", reply: said.reply, at });
          break;
        case "failed":
          // 5yz is final; nobody else is asked (RFC 5321 §4.2.1). Trouble with TLS never is, whoever reports it so.
          if (mayBeFinal(said.problem)) this.#decide(undecided, { kind: "failed", problem: inClass(said.problem, "5"), at });
          else note(undecided, said.problem, at, tellingness(step), false);
          break;
        case "later":
          if (said.portion === true) portion.push(undecided);
          else this.#decide(undecided, { kind: "waiting", problem: inClass(said.problem, "4"), at });
          break;
        case "elsewhere":
          note(undecided, said.problem, at, tellingness(step), said.permanent);
          break;
      }
    }
    // A portion is what is left after others were taken. A host that takes nobody would be asked for ever.
    if (portion.length < batch.length) return portion;
    const found = inClass(problemOf({ recipients }), "4");
    for (const undecided of portion) this.#decide(undecided, { kind: "waiting", problem: found, at });
    return [];
  }

  #decide(undecided: Undecided, judgement: RecipientJudgement): void {
    undecided.judgement = judgement;
    this.#open -= 1;
  }

  #noteAll(found: DeliveryProblem, at: HostReport, step: HostReport["step"], permanent: boolean): void {
    const rank = tellingness(step);
    for (const undecided of this.#recipients) if (undecided.judgement === undefined) note(undecided, found, at, rank, permanent);
  }

  result(): AttemptResult {
    return {
      kind: "attempted",
      demanded: this.#demanded,
      policy: this.#plan.policy,
      startedAt: this.#startedAt,
      endedAt: this.#io.clock.now(),
      hosts: this.#hosts,
      recipients: this.#recipients.map((undecided) => ({
        recipientId: undecided.recipient.recipientId,
        report: undecided.judgement ?? lastWord(undecided, this.#exhaustive, this.#fault),
      })),
      mayHoldMessage: this.#mayHoldMessage,
      answered: this.#answered,
      daneSeen: this.#daneSeen,
      phases: { connecting: this.#connecting, talking: this.#talking },
      ...(this.#fault !== undefined && { fault: this.#fault }),
      ...(this.#observations !== undefined && { observations: this.#observations.result() }),
    };
  }
}
