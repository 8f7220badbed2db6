/**
 * `postern check`: what delivery would do for a destination just now, without a message. It is delivery that runs here: the
 * same route, facts, plan, decisions and connections (delivery/attempt.ts), each host walked by itself so that all are seen;
 * only the transaction is replaced, so that MAIL is never said. What it tells on the way is queue/check.ts.
 */
import type { Clock } from "../clock.ts";
import type { DeliverySettings } from "../config/settings.ts";
import type { EmailAddress } from "../mail/address.ts";
import type { Domain, NextHop } from "../mail/domain.ts";
import { findLocalPolicy } from "../policy/local-policy.ts";
import type { CheckDestination, CheckOptions, CheckStage, CheckStart, CheckVerdict } from "../queue/check.ts";
import type { LeasedEntry, QueueId, QueuedRecipient } from "../queue/entry.ts";
import { type FindReportingWish, showWish } from "../queue/reporting-wish.ts";
import type { DeliveryProblem } from "../queue/settlement.ts";
import { type AttemptIo, attemptDelivery } from "./attempt.ts";
import {
  connectionStage,
  type HostStage,
  hostStage,
  kindOf,
  lastWordOf,
  ruledOut,
  type Through,
  Turns,
  type Walked,
} from "./check-stages.ts";
import type { Decided, DecideHost } from "./decide.ts";
import { NO_EXTENSIONS } from "./extensions.ts";
import { findUnfit } from "./fitness.ts";
import { type FactsIo, findHost, gatherFacts, type HostFindings, type HostIo } from "./gather.ts";
import { type DeliveryPlan, type MessageDemands, type PlannedHost, planDelivery, type Route } from "./plan.ts";
import { problem } from "./problems.ts";
import { findRoute } from "./route.ts";
import type { DeliveryRules } from "./run.ts";
import type { OpenResult, OpenSession, Session, SessionTarget, Transaction, TransactionReport } from "./session.ts";

export interface CheckIo extends FactsIo, HostIo {
  readonly lookup: FactsIo["lookup"] & HostIo["lookup"];
  rules(): DeliveryRules;
  readonly decide: DecideHost;
  /** Made with `checkTimeouts`: a person waits for the answer. */
  readonly open: OpenSession;
  readonly findReportingWish: FindReportingWish;
  readonly clock: Clock;
  readonly random: () => number;
}

/** In ms, for the whole question; whatever is not known by then is told as such. */
const DEADLINE = 120_000;
/** Hosts that are asked at once. */
const AT_ONCE = 4;
/** In ms. */
const LONGEST_STEP = 30_000;

/** A check waits for no step longer than half a minute, where delivery has RFC 5321 §4.5.3.2's patience. */
export function checkTimeouts(timeouts: DeliverySettings["timeouts"]): DeliverySettings["timeouts"] {
  return Object.fromEntries(
    Object.entries(timeouts).map(([step, wait]) => [step, Math.min(wait, LONGEST_STEP)]),
  ) as DeliverySettings["timeouts"];
}

export function createCheck(io: CheckIo): CheckDestination {
  return (nextHop, options, emit, stop) => new Check(nextHop, options, emit, stop, io).run();
}

class Check {
  readonly #nextHop: NextHop;
  readonly #options: CheckOptions;
  readonly #emit: (stage: CheckStage) => void;
  readonly #io: CheckIo;
  readonly #rules: DeliveryRules;
  readonly #message: MessageDemands;
  readonly #end = new AbortController();
  readonly #goodbyes: Promise<void>[] = [];
  #cutShort = false;
  /** A good connection has been told of: delivery would go no further. */
  #used = false;

  constructor(nextHop: NextHop, options: CheckOptions, emit: (stage: CheckStage) => void, stop: AbortSignal, io: CheckIo) {
    this.#nextHop = nextHop;
    this.#options = options;
    this.#emit = (stage) => {
      if (!stop.aborted) emit(stage);
    };
    this.#io = io;
    this.#rules = io.rules();
    // Whose message it would be is not known, so nobody's TLS-Required: No goes below the floor here.
    this.#message = { mayGoBelowFloor: false, ...(options.tag !== undefined && { tag: options.tag }) };
    if (stop.aborted) this.#end.abort();
    else stop.addEventListener("abort", () => this.#end.abort(), { once: true });
  }

  async run(): Promise<void> {
    const cancel = this.#io.clock.after(DEADLINE, () => {
      this.#cutShort = true;
      this.#end.abort();
    });
    try {
      await this.#tell();
      await Promise.all(this.#goodbyes);
    } finally {
      cancel();
      this.#end.abort();
    }
  }

  async #tell(): Promise<void> {
    const { clock, random } = this.#io;
    const route = findRoute(this.#nextHop, this.#rules.delivery);
    this.#emit(this.#start(route));
    this.#emit({ stage: "resolver", state: this.#io.dnssec() });
    const facts = await gatherFacts(this.#nextHop, route, this.#message, this.#rules.tls, clock.now(), this.#io);
    const plan = planDelivery(facts, this.#message, this.#rules, random);
    const all = plan.kind === "attempt" ? plan.hosts : [];
    const hosts = all.slice(0, this.#rules.delivery.hostsPerAttempt);
    const more = all.length - hosts.length;
    const inOrder = hosts.map(({ host, preference }) => ({ host, preference }));
    this.#emit({ stage: "mx", ...(plan.policy.mx !== undefined && { mx: plan.policy.mx }), hosts: inOrder, more });
    const { sts } = facts;
    this.#emit({ stage: "mta-sts", ...("policyDomain" in sts && { policyDomain: sts.policyDomain }), sts: plan.policy.sts });
    await this.#tellOfReports(reportDomainOf(plan, route, this.#nextHop));
    for (const report of plan.skipped ?? []) this.#emit(ruledOut(report));
    if (plan.kind !== "attempt") {
      this.#conclude({ failed: [], problem: plan.problem, final: plan.kind === "fail" });
      return;
    }
    const walked = await this.#walkAll(plan, hosts);
    const ours = walked.findIndex(({ ourselves }) => ourselves);
    // The first host being ourselves is the last word; a later one ends the list (RFC 5321 §5.1).
    const counted = ours === -1 ? walked : walked.slice(0, Math.max(ours, 1));
    this.#conclude(lastWordOf(hosts, counted, more === 0));
  }

  #start(route: Route): CheckStart {
    const { tag } = this.#options;
    return {
      stage: "destination",
      nextHop: this.#nextHop,
      at: this.#io.clock.now(),
      ...(tag !== undefined && { tag }),
      route: route.kind === "configured" ? { kind: "configured", setting: route.setting, host: route.host } : { kind: route.kind },
      published: findLocalPolicy(this.#nextHop, this.#rules.tls).published,
    };
  }

  /** Nothing depends on it: it is left out if the time is over first. */
  async #tellOfReports(reportDomain: Domain | undefined): Promise<void> {
    if (reportDomain === undefined) return;
    const found = await this.#inTime(this.#io.findReportingWish(reportDomain));
    if (found !== undefined) this.#emit({ stage: "tls-rpt", reportDomain, wish: showWish(found) });
  }

  async #walkAll(plan: DeliveryPlan & { kind: "attempt" }, hosts: readonly PlannedHost[]): Promise<Walked[]> {
    const turns = new Turns(hosts.length, (stage) => this.#tellOfHost(stage));
    const walked: Walked[] = [];
    let next = 0;
    const work = async (): Promise<void> => {
      for (let index = next++; index < hosts.length; index = next++) {
        const host = hosts[index] as PlannedHost;
        const result = await this.#walk({ ...plan, hosts: [host], skipped: [] }, host, (stage) => turns.say(index, { ...stage, index }));
        walked[index] = result;
        // What is behind ourselves is not told, and nothing more of it is begun.
        if (result.ourselves) next = hosts.length;
        else turns.finish(index);
      }
    };
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, hosts.length) }, work));
    return walked;
  }

  #tellOfHost(stage: CheckStage): void {
    if (stage.stage !== "connection") return this.#emit(stage);
    const used = stage.step === "done" && !this.#used;
    this.#used ||= used;
    this.#emit({ ...stage, used });
  }

  /** Delivery's own walk over the addresses of one host, with a transaction that says nothing. */
  async #walk(plan: DeliveryPlan & { kind: "attempt" }, host: PlannedHost, say: (stage: HostStage) => void): Promise<Walked> {
    let found: HostFindings | undefined;
    let decided: Decided | undefined;
    let open: Session | undefined;
    const describe = (why?: DeliveryProblem): HostStage => ({
      ...hostStage(host, found, decided, this.#rules.delivery.addressesPerHost),
      ...(why !== undefined && { problem: why }),
    });
    const io: AttemptIo = {
      rules: this.#rules,
      clock: this.#io.clock,
      stop: this.#end.signal,
      findHost: async (asked) => (found = await findHost(asked, this.#rules, this.#io)),
      decide: (asked, findings) => {
        decided = this.#io.decide(asked, findings, this.#message);
        if (decided.decision.verdict.kind === "try") say(describe());
        return decided;
      },
      acquire: async (target) => {
        const result = await this.#open(target);
        if (result.kind === "failed") return { ...result, reused: false };
        const { session } = result;
        return { kind: "open", session: withoutTransaction(session, () => (open ??= session)), reused: false };
      },
      release: (session) => void this.#goodbyes.push(session.quit()),
    };
    const result = await attemptDelivery(this.#entry(), plan, io);
    const report = result.recipients[0]?.report;
    if (report === undefined) throw new Error("the walk judged nobody");
    const proof = decided?.evidence.host;
    const known = { host: host.host, ...(proof !== undefined && { proof }) };
    const ourselves = found?.addresses.kind === "ourselves";
    if (decided?.decision.verdict.kind !== "try") {
      say(describe(result.hosts.at(-1)?.problem));
      return { report, ourselves };
    }
    if (!this.#options.connect) return { report, ourselves, through: known };
    for (const met of result.hosts) say(connectionStage(met, open));
    if (open === undefined) return { report, ourselves };
    return { report, ourselves, through: { ...known, address: open.target.address, ...channelOf(open) } };
  }

  /** A connection, unless none is wanted or the time is over first. */
  async #open(target: SessionTarget): Promise<OpenResult> {
    if (!this.#options.connect) return notOpened(target, "no connection was asked for");
    const opening = this.#io.open(target);
    const result = await this.#inTime(opening);
    if (result !== undefined) return result;
    void opening.then((late) => (late.kind === "open" ? late.session.destroy() : undefined));
    return notOpened(target, `the check ended before ${target.host} had answered`);
  }

  /** Undefined: the check has ended before. */
  #inTime<T>(answer: Promise<T>): Promise<T | undefined> {
    const { signal } = this.#end;
    const ended = new Promise<undefined>((resolve) => {
      if (signal.aborted) resolve(undefined);
      else signal.addEventListener("abort", () => resolve(undefined), { once: true });
    });
    return Promise.race([answer, ended]);
  }

  /** A message as far as an attempt looks at one. Nothing of it is ever said. */
  #entry(): LeasedEntry {
    const now = this.#io.clock.now();
    const { tag } = this.#options;
    const recipient: QueuedRecipient = { recipientId: 0, address: `postmaster@${this.#nextHop}` as EmailAddress, nextHop: this.#nextHop };
    return {
      lease: { entryId: 0, generation: 0, until: now },
      message: {
        id: "CHECK" as QueueId,
        sender: recipient.address,
        origin: { submitter: "check", listener: "check" },
        needs: { eightBit: false, utf8Headers: false },
        ...(tag !== undefined && { tlsTag: tag }),
        receivedAt: now,
        expiresAt: now,
        size: 0,
      },
      nextHop: this.#nextHop,
      recipients: [recipient],
      attempts: 0,
      body: { size: 0, inMemory: Buffer.alloc(0), chunks: () => [] as unknown as AsyncIterable<Buffer> },
    };
  }

  #conclude(word: Pick<CheckVerdict, "failed" | "through" | "problem" | "final">): void {
    this.#emit({
      stage: "verdict",
      kind: word.through !== undefined ? "deliverable" : kindOf(word.problem),
      nextHop: this.#nextHop,
      ...word,
      ...(this.#cutShort && { cutShort: true }),
    });
  }
}

/** Whose reports tell of sessions there, also where no host may be tried now. */
function reportDomainOf(plan: DeliveryPlan, route: Route, nextHop: NextHop): Domain | undefined {
  if (plan.kind === "attempt") return plan.hosts[0]?.reportDomain;
  return plan.kind === "defer" && route.kind === "mx" ? (nextHop as Domain) : undefined;
}

function channelOf({ tls }: Session): Pick<Through, "level" | "dane"> {
  const dane = tls.kind === "clear" ? undefined : tls.session.dane;
  return { level: tls.kind, ...(dane !== undefined && { dane: dane.held }) };
}

/** The session with a transaction that only asks whether this message could begin: another host is then always asked. */
function withoutTransaction(session: Session, good: () => void): Session {
  const deliver = (transaction: Transaction): Promise<TransactionReport> => {
    const offers = { ...NO_EXTENSIONS, eightBitMime: true, smtpUtf8: true, requireTls: session.offersRequireTls };
    const unfit = findUnfit(transaction, offers, session.target.host);
    if (unfit.every((report) => report === undefined)) good();
    const undecided = problem("destination-waiting", "nobody", "a check delivers nothing");
    const recipients = unfit.map((report) => report ?? ({ kind: "elsewhere", problem: undecided, permanent: false } as const));
    return Promise.resolve({ recipients, step: "mail", mayHoldMessage: false });
  };
  return {
    target: session.target,
    tls: session.tls,
    peer: session.peer,
    offersRequireTls: session.offersRequireTls,
    served: 0,
    usable: true,
    deliver,
    quit: () => session.quit(),
    destroy: () => session.destroy(),
  };
}

function notOpened({ host }: SessionTarget, detail: string): OpenResult {
  return { kind: "failed", step: "connect", problem: problem("timeout", "nobody", detail, { host }), permanent: false, answered: false };
}
