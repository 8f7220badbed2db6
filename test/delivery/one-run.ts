/**
 * One message on its way through gather, plan, attempt and settle, as delivery/run.ts strings them together, over hosts that
 * are written down: what DNS and policy hosts say of them, what their channel turns out to be, what they answer. The judging
 * is all real; only sockets and look-ups are scripted.
 */
import { settingsSchema } from "../../src/config/settings.ts";
import { mailCommand } from "../../src/delivery/commands.ts";
import { CountedSessions } from "../../src/delivery/counted-sessions.ts";
import { createDecider } from "../../src/delivery/decide.ts";
import { createPlanner } from "../../src/delivery/planner.ts";
import { type Contact, Destination } from "../../src/delivery/destination.ts";
import { NO_EXTENSIONS } from "../../src/delivery/extensions.ts";
import { findUnfit } from "../../src/delivery/fitness.ts";
import type { Acquired } from "../../src/delivery/pool.ts";
import { problem } from "../../src/delivery/problems.ts";
import { Run, type RunIo } from "../../src/delivery/run.ts";
import type { RecipientReport, Session, SessionTarget, Transaction } from "../../src/delivery/session.ts";
import { eventsOf } from "../../src/delivery/settle.ts";
import { describeUnmet, isLastingFlaw } from "../../src/delivery/unmet.ts";
import type { PosternEvent } from "../../src/events.ts";
import type { Domain, NextHop } from "../../src/mail/domain.ts";
import type { DnssecState, Finding, HostAddress, MxRecord, SecurityStatus, StsFinding, TlsaFinding } from "../../src/policy/facts.ts";
import type { TlsFailure, TlsOutcome, TlsSession } from "../../src/policy/outcome.ts";
import { findUnmet } from "../../src/policy/requirement.ts";
import type { SigningWish, SignMessage } from "../../src/mail/signing.ts";
import type { BodySource, Origin, QueueId } from "../../src/queue/entry.ts";
import type { ProblemType, Settlement } from "../../src/queue/settlement.ts";
import { leasedEntry } from "../support/entries.ts";
import { MovedClock } from "../support/moved-clock.ts";

export const START = Date.UTC(2026, 8, 1, 8);
export const DAY = 86_400_000;

/** What the channel to a host turns out to be. `key` matches its TLSA records, `name` is proven by the WebPKI. */
export type Channel = "clear" | "unverified" | "key" | "name" | "both";

export interface ScriptedHost {
  /** Answered for its addresses; default one address, signed. */
  readonly addresses?: Finding<HostAddress>;
  readonly tlsa?: TlsaFinding;
  /** A problem, and nobody is met there; or the channel. Default `name`. */
  readonly meets?: Channel | ProblemType;
  /** Its EHLO inside TLS lists REQUIRETLS. */
  readonly requireTls?: boolean;
  /** To everybody named to it; default 250. */
  readonly says?: RecipientReport;
}

export interface RunWishes {
  readonly nextHop?: string;
  /** Default: the hosts in the order written, at 10, 20, …, signed. */
  readonly mx?: Finding<MxRecord>;
  readonly mxSecurity?: SecurityStatus;
  readonly hosts: Readonly<Record<string, ScriptedHost>>;
  readonly sts?: StsFinding | ((domain: Domain) => StsFinding);
  readonly dnssec?: DnssecState["kind"];
  /** What the resolver has become by the time that a host's turn comes. */
  readonly dnssecLater?: DnssecState["kind"];
  /** When mail for this next hop last met TLSA records. */
  readonly daneSeen?: number;
  readonly settings?: object;
  readonly tag?: "required" | "optional";
  readonly sender?: string;
  readonly origin?: Partial<Origin>;
  readonly expired?: boolean;
  readonly body?: BodySource;
  /** The message is to be signed for this domain. */
  readonly signing?: SigningWish;
  readonly sign?: SignMessage;
}

export interface Ran {
  readonly settlement: Settlement;
  readonly contact: Contact;
  readonly events: readonly PosternEvent[];
  /** Every question, in order: `MX dest.test`, `STS dest.test`, `A mx1.test`, `TLSA _25._tcp.mx1.test`, `DANE dest.test`. */
  readonly asked: readonly string[];
  /** Hosts that a connection was made to, in order, with the name each was asked by. */
  readonly dialled: readonly string[];
  readonly targets: readonly SessionTarget[];
  /** What was said of the envelope: `mx1.test name MAIL FROM:<app@sender.test> REQUIRETLS`. */
  readonly said: readonly string[];
  /** The octets that each transaction would have sent. */
  readonly bodies: readonly BodySource[];
  /** The next hop was noted to have DANE. */
  readonly notedDane: boolean;
  /** `delivered mx1.test`, `waiting 4.7.4 starttls-not-supported`. */
  readonly outcome: string;
}

export async function run(wishes: RunWishes): Promise<Ran> {
  const { nextHop = "dest.test", hosts, tag, dnssec = "validating" } = wishes;
  const { delivery, tls, mailname } = settingsSchema.parse({ mailname: "relay.test", tls: { floor: "opportunistic" }, ...wishes.settings });
  const asked: string[] = [];
  const targets: SessionTarget[] = [];
  const said: string[] = [];
  const bodies: BodySource[] = [];
  let notedDane = false;
  const plain = leasedEntry({ nextHop, receivedAt: START - DAY, expiresAt: wishes.expired === true ? START - 1 : START + 4 * DAY });
  const entry = {
    ...plain,
    ...(wishes.body !== undefined && { body: wishes.body }),
    message: {
      ...plain.message,
      ...(wishes.sender !== undefined && { sender: wishes.sender as typeof plain.message.sender }),
      ...(tag !== undefined && { tlsTag: tag }),
      ...(wishes.signing !== undefined && { signing: wishes.signing }),
      origin: { ...plain.message.origin, ...wishes.origin },
    },
  };
  const limits = { perDestination: 20, firstContact: 2, downFirst: 60_000, downLongest: DAY };
  const clock = new MovedClock(START);
  const host = (name: string): ScriptedHost => {
    const found = hosts[name];
    if (found === undefined) throw new Error(`nobody wrote down ${name}`);
    return found;
  };
  const io: RunIo = {
    lookup: {
      findMx: async (domain) => {
        asked.push(`MX ${domain}`);
        return wishes.mx ?? mx(wishes.mxSecurity ?? "secure", ...Object.keys(hosts));
      },
      findAddresses: async (name) => {
        asked.push(`A ${name}`);
        return host(name).addresses ?? address();
      },
    },
    findConfiguredHost: async (name) => {
      asked.push(`system ${name}`);
      return address("insecure");
    },
    findTlsa: async (name, port) => {
      asked.push(`TLSA _${port}._tcp.${name}`);
      return host(name).tlsa ?? { kind: "none", asked: [`_${port}._tcp.${name}`], security: "secure", expires: 0 };
    },
    findStsPolicy: async (domain) => {
      asked.push(`STS ${domain}`);
      const { sts } = wishes;
      return (typeof sts === "function" ? sts(domain) : sts) ?? { kind: "none", policyDomain: domain };
    },
    dnssec: () => {
      const kind = asked.length === 0 ? dnssec : (wishes.dnssecLater ?? dnssec);
      return { kind, detail: `the resolver is ${kind}`, since: 0 };
    },
    findDane: async (name) => {
      asked.push(`DANE ${name}`);
      return wishes.daneSeen;
    },
    noteDane: () => (notedDane = true),
    plan: createPlanner(),
    decide: createDecider(tls.daneDigests),
    clock,
    random: () => 0.5,
    newQueueId: () => "0NOTICE001" as QueueId,
    counted: new CountedSessions(),
    ...(wishes.sign !== undefined && { sign: wishes.sign }),
    dispatcher: { isCrowded: false, noteConnected: () => {} },
    pool: {
      acquire: async (target) => {
        targets.push(target);
        return meet(target, host(target.host), said, bodies);
      },
      release: () => {},
      discard: () => {},
    },
    cut: new AbortController().signal,
  };
  const destination = new Destination(nextHop as NextHop, limits);
  const one = new Run({ entry, destination }, rulesOf(), io);
  const attempted = await one.attempt();
  const settlement = await one.settle(attempted);
  const { result, contact } = attempted;
  const settled = settlement.recipients[0]?.outcome;
  return {
    settlement,
    contact,
    events: eventsOf(entry, settlement, result.kind === "attempted" ? result : undefined),
    asked,
    dialled: targets.map((target) => target.host),
    targets,
    said,
    bodies,
    notedDane,
    outcome:
      settled === undefined
        ? "nothing"
        : settled.kind === "delivered"
          ? `delivered ${settled.host}`
          : `${settled.kind} ${settled.problem.status} ${settled.problem.type}`,
  };

  function rulesOf() {
    return {
      delivery,
      tls,
      mailname,
      postmaster: undefined,
      ownAddresses: new Set<string>(),
      useIpv6: true,
      forbiddenAddress: () => undefined,
      rootsOf: () => undefined,
    };
  }
}

export function mx(security: SecurityStatus, ...names: string[]): Finding<MxRecord> {
  const records = names.map((exchange, index) => ({ preference: 10 * (index + 1), exchange }));
  return { kind: "answer", records, security, canonicalName: "dest.test", expires: START + DAY };
}

export function address(security: SecurityStatus = "secure"): Finding<HostAddress> {
  return { kind: "answer", records: [{ address: "192.0.2.1", family: 4 }], security, canonicalName: "", expires: START + DAY };
}

const unproven: TlsFailure = { type: "certificate-host-mismatch", detail: "the certificate is for other.test", whoActs: "receiver" };
const noMatch: TlsFailure = { type: "validation-failure", detail: "dane-no-match", whoActs: "receiver" };

/** The outcome of a handshake, compared with whatever records the requirement brings. */
function outcomeOf(channel: Channel, { requirement, serverName, host }: SessionTarget): TlsOutcome {
  if (channel === "clear")
    return { kind: "clear", because: { type: "starttls-not-supported", detail: `${host} does not offer STARTTLS`, whoActs: "receiver" } };
  const named = channel === "name" || channel === "both";
  const matches = channel === "key" || channel === "both";
  const { dane } = requirement;
  const session: TlsSession = {
    protocol: "TLSv1.3",
    cipher: "TLS_AES_256_GCM_SHA384",
    ...(serverName !== undefined && { serverName }),
    chain: [],
    webpki: named ? { held: true, referenceIdentifier: host } : { held: false, failure: unproven },
    ...(dane !== undefined && {
      dane: matches ? { held: true, baseDomain: dane.baseDomain, record: "3 1 1 0707" } : { held: false, failure: noMatch },
    }),
  };
  if (named || (matches && dane !== undefined)) return { kind: "authenticated", session };
  return { kind: "encrypted", session, because: dane === undefined ? unproven : noMatch };
}

const CHANNELS: ReadonlySet<string> = new Set<Channel>(["clear", "unverified", "key", "name", "both"]);

function meet(
  target: SessionTarget,
  { meets = "name", requireTls = false, says }: ScriptedHost,
  said: string[],
  bodies: BodySource[],
): Acquired {
  const failed = { kind: "failed", reused: false } as const;
  if (!CHANNELS.has(meets)) {
    const found = problem(meets as ProblemType, "receiver", `${meets} at ${target.host}`, { host: target.host });
    return { ...failed, step: "connect", problem: found, permanent: false, answered: false };
  }
  const outcome = outcomeOf(meets as Channel, target);
  const unmet = findUnmet(outcome, target.requirement);
  if (unmet !== undefined) {
    const lasting = outcome.kind === "clear" || isLastingFlaw(unmet, target.requirement);
    const step = outcome.kind === "clear" ? "starttls" : "handshake";
    return { ...failed, step, tls: outcome, answered: true, ...describeUnmet({ outcome, lasting }, target) };
  }
  const extensions = { ...NO_EXTENSIONS, requireTls: requireTls && outcome.kind === "authenticated" };
  const session: Session = {
    target,
    tls: outcome,
    peer: {},
    offersRequireTls: extensions.requireTls,
    served: 0,
    usable: true,
    async deliver(transaction: Transaction) {
      const unfit = findUnfit(transaction, extensions, target.host);
      if (unfit.every((report) => report !== undefined)) return { recipients: unfit, step: "mail", mayHoldMessage: false };
      const mail = mailCommand(transaction, { extensions, loggedIn: false, smtpUtf8: false });
      said.push(`${target.host} ${meets} ${mail.trim()}`);
      bodies.push(transaction.body);
      const report: RecipientReport = says ?? { kind: "delivered", reply: { code: 250, lines: ["2.0.0 taken"] } };
      return { recipients: transaction.recipients.map(() => report), step: says === undefined ? "done" : "mail", mayHoldMessage: false };
    },
    quit: async () => {},
    destroy: () => {},
  };
  return { kind: "open", reused: false, session };
}
