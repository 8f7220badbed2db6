/**
 * What an attempt will do, decided before anything is dialled: which hosts, in which order, or why none. What is demanded of
 * a host is decided when its turn comes and its TLSA records are known (delivery/decide.ts).
 */
import { isIP } from "node:net";
import type { DeliverySettings } from "../config/settings.ts";
import { type Domain, isHostname } from "../mail/domain.ts";
import { cleanText } from "../mail/reply.ts";
import type { LookupFailure, MxRecord } from "../policy/facts.ts";
import type { HostFacts, TlsTag } from "../policy/host-facts.ts";
import { mxEvidence, type NextHopEvidence, stsEvidence } from "../policy/evidence.ts";
import { describeDemand, findLocalPolicy, type FloorSettings, type LocalPolicy } from "../policy/local-policy.ts";
import type { DeliveryProblem, HostReport } from "../queue/settlement.ts";
import { type HostRules, isOurselves, isFullyQualified, lookupProblem, type RoutingFacts } from "./gather.ts";
import { problem } from "./problems.ts";

/** Where the mail of a next hop goes. */
export type Route =
  | { readonly kind: "mx" }
  | { readonly kind: "literal"; readonly address: string }
  | {
      readonly kind: "configured";
      readonly host: string;
      readonly port: number;
      readonly tls: "authenticated" | "encrypted" | "opportunistic" | "implicit" | "none";
      readonly tlsName?: string;
      readonly rootsFile?: string;
      readonly login?: { readonly username: string; readonly password: string };
      /** `relayhost` or `delivery.routes[2]`, for people. */
      readonly setting: string;
    };

/** One host, in the order it is tried. Its addresses are looked up when its turn comes. */
export interface PlannedHost {
  /** The MX name as written, the configured host, or an address literal. */
  readonly host: string;
  readonly preference: number;
  /** Present for literals only: no question is asked. */
  readonly address?: string;
  readonly port: number;
  readonly tls: "starttls" | "implicit" | "never";
  readonly serverName?: string;
  /** What its verdict is made from, but for its TLSA records. */
  readonly policy: { readonly facts: Omit<HostFacts, "tlsa">; readonly local: LocalPolicy };
  readonly rootsFile?: string;
  readonly login?: { readonly username: string; readonly password: string };
  /** Configured hosts use the system's resolver and may be at any address. */
  readonly configured: boolean;
  /** The domain has no MX records and is its own host (RFC 5321 §5.1). */
  readonly implicit?: true;
  /**
   * Whose TLS reports tell of sessions with it (RFC 8460 §3): the next hop, or the host that the operator named. Absent where
   * there is nobody to tell: an address, a name of this network, a route without TLS.
   */
  readonly reportDomain?: Domain;
}

export type DeliveryPlan = {
  /** What the operator demands of a host, in words: `authenticated (tls.floor of this relay)`. */
  readonly demanded: string;
  /** What was known of the next hop, to be kept with the attempt. */
  readonly policy: NextHopEvidence;
  /** Hosts that were ruled out without asking them, with the reason. */
  readonly skipped?: readonly HostReport[];
} & (
  | { readonly kind: "attempt"; readonly hosts: readonly PlannedHost[] }
  | { readonly kind: "defer"; readonly problem: DeliveryProblem; readonly bogus?: BogusMx }
  | { readonly kind: "fail"; readonly problem: DeliveryProblem }
);

/** A domain whose MX records do not hold, as DNSSEC says: what its TLS reports tell of. */
export interface BogusMx {
  readonly reportDomain: Domain;
  readonly failure: LookupFailure;
}

/** What the operator's settings have to say about it. */
export interface PlanRules extends Pick<HostRules, "ownAddresses" | "forbiddenAddress"> {
  readonly delivery: Pick<DeliverySettings, "port" | "ownNames">;
  readonly tls: FloorSettings;
  /** This relay's public name, if it has one. */
  readonly mailname: string | undefined;
}

/** What one message asks of every host (RFC 8689), beside what its next hop publishes. */
export interface MessageDemands {
  readonly tag?: TlsTag;
  /** Its TLS-Required: No lowers the operator's floor too. */
  readonly mayGoBelowFloor: boolean;
}

/** Decides from what is known; asks nothing. `random` shuffles hosts of equal preference (RFC 5321 §5.1). */
export function planDelivery(facts: RoutingFacts, message: MessageDemands, rules: PlanRules, random: () => number): DeliveryPlan {
  return shuffleEquals(prepareDelivery(facts, message, rules), random);
}

/** The plan with the hosts of each preference in an order of chance (RFC 5321 §5.1), as each attempt needs it anew. */
export function shuffleEquals(plan: DeliveryPlan, random: () => number): DeliveryPlan {
  if (plan.kind !== "attempt" || plan.hosts.length === 1) return plan;
  const hosts = [...plan.hosts];
  for (let last = hosts.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    const moved = hosts[last];
    const chosen = hosts[other];
    if (moved === undefined || chosen === undefined) continue;
    hosts[last] = chosen;
    hosts[other] = moved;
  }
  // The sort is stable, so the shuffle decides among equals.
  return { ...plan, hosts: hosts.sort((a, b) => a.preference - b.preference) };
}

/** The same without chance: hosts of equal preference are in the order of DNS. */
export function prepareDelivery(facts: RoutingFacts, message: MessageDemands, rules: PlanRules): DeliveryPlan {
  const local = localPolicy(facts, rules);
  const demanded = describeDemand(local.floor);
  const { dnssec, mx, sts } = facts;
  const policy: NextHopEvidence = { dnssec: dnssec.kind, ...(mx !== undefined && { mx: mxEvidence(mx) }), sts: stsEvidence(sts) };
  return { ...verdictOf(facts, local, message, rules), demanded, policy };
}

function verdictOf(facts: RoutingFacts, local: LocalPolicy, message: MessageDemands, rules: PlanRules): Verdict {
  const { nextHop, route, dnssec } = facts;
  if (facts.daneSeen !== undefined && dnssec.kind === "blind" && local.published.mode === "enforce" && message.tag !== "optional") {
    const seen = new Date(facts.daneSeen).toISOString().slice(0, 10);
    const detail = `${nextHop} was protected by DANE on ${seen}, which this relay cannot see now: ${dnssec.detail}`;
    return { kind: "defer", problem: problem("resolver-blind", "you", detail) };
  }
  switch (route.kind) {
    case "configured":
      return planConfigured(facts, route, local);
    case "literal":
      return planLiteral(facts, route.address, local, message, rules);
    case "mx":
      return planMx(facts, local, rules);
  }
}

/** A host that the operator named: its own setting is the floor, and floors for strangers do not apply. */
function localPolicy({ nextHop, route }: RoutingFacts, rules: PlanRules): LocalPolicy {
  const local = findLocalPolicy(nextHop, rules.tls);
  if (route.kind !== "configured") return local;
  const { tls, setting } = route;
  const floor = tls === "implicit" ? "authenticated" : tls === "none" ? "opportunistic" : tls;
  const because = { source: "route", text: setting } as const;
  return { floor: { floor, because }, host: { level: "any", because }, published: local.published };
}

function planConfigured(facts: RoutingFacts, route: Extract<Route, { kind: "configured" }>, local: LocalPolicy): Verdict {
  const { host, port, setting, tls } = route;
  const address = isIP(host) === 0 ? undefined : host;
  const name = route.tlsName ?? (address === undefined ? host : undefined);
  if (local.floor.floor === "authenticated" && name === undefined) {
    const detail = `${setting} names the address ${host}, which no certificate can be compared with: set its tlsName, or lower its tls`;
    return { kind: "defer", problem: problem("not-configured", "you", detail, { host }) };
  }
  return {
    kind: "attempt",
    hosts: [
      {
        host,
        preference: 0,
        port,
        tls: tls === "implicit" ? "implicit" : tls === "none" ? "never" : "starttls",
        policy: { facts: hostFacts(facts, host, "configured", name?.toLowerCase()), local },
        configured: true,
        ...(address !== undefined && { address }),
        ...(name !== undefined && { serverName: name }),
        ...(route.rootsFile !== undefined && { rootsFile: route.rootsFile }),
        // `none` allows no login: it would travel in clear text (RFC 4954 §14).
        ...(route.login !== undefined && tls !== "none" && { login: route.login }),
        ...(tls !== "none" && isFullyQualified(host) && { reportDomain: host.toLowerCase() as Domain }),
      },
    ],
  };
}

/** RFC 5321 §4.1.3, §5.1: the address itself, no MX. */
function planLiteral(facts: RoutingFacts, address: string, local: LocalPolicy, message: MessageDemands, rules: PlanRules): Verdict {
  const { nextHop } = facts;
  if (isOurselves(address, rules)) {
    return { kind: "fail", problem: problem("loop", "sender", `${nextHop} is this relay itself`, { host: nextHop }) };
  }
  // A message with REQUIRETLS is told so by its own rule, at once (RFC 8689 §4.2.1).
  if (local.floor.floor === "authenticated" && message.tag !== "required" && !message.mayGoBelowFloor) {
    const detail =
      `${nextHop} is an address without a name, so no certificate can prove who is there, and ${local.floor.because.text} asks for proof. ` +
      `The sender can write to a domain instead; or set tls.domains "${nextHop}" to encrypted`;
    return { kind: "defer", problem: problem("not-configured", "sender", detail, { status: "4.7.0", host: nextHop }) };
  }
  const host: PlannedHost = {
    host: nextHop,
    preference: 0,
    address,
    port: rules.delivery.port,
    tls: "starttls",
    policy: { facts: hostFacts(facts, nextHop, "literal", undefined), local },
    configured: false,
  };
  return { kind: "attempt", hosts: [host] };
}

/** What is known of one host before its own records are asked for. */
function hostFacts(
  { nextHop, mx, sts, dnssec, daneSeen }: RoutingFacts,
  host: string,
  origin: HostFacts["origin"],
  certificateName: string | undefined,
): Omit<HostFacts, "tlsa"> {
  const answer = mx?.kind === "answer" ? mx : undefined;
  const mxSecurity = answer?.security ?? "insecure";
  const expanded = answer !== undefined && mxSecurity === "secure" && answer.canonicalName !== nextHop ? answer.canonicalName : undefined;
  return {
    nextHop,
    host,
    origin,
    mxSecurity,
    sts,
    dnssec,
    ...(daneSeen !== undefined && { daneSeen }),
    ...(expanded !== undefined && expanded !== "" && { expandedNextHop: expanded as Domain }),
    ...(certificateName !== undefined && { certificateName }),
  };
}

type Verdict =
  | { readonly kind: "attempt"; readonly hosts: readonly PlannedHost[]; readonly skipped?: readonly HostReport[] }
  | { readonly kind: "defer"; readonly problem: DeliveryProblem; readonly bogus?: BogusMx }
  | { readonly kind: "fail"; readonly problem: DeliveryProblem; readonly skipped?: readonly HostReport[] };

function planMx(facts: RoutingFacts, local: LocalPolicy, rules: PlanRules): Verdict {
  const { nextHop, mx } = facts;
  if (rules.mailname === undefined) {
    const detail = "this relay has no public name to say in EHLO: set mailname (MAILNAME) to the name that its sending address resolves to";
    return { kind: "defer", problem: problem("not-configured", "you", detail) };
  }
  if (mx === undefined) throw new Error(`the MX of ${nextHop} was not asked, but its route needs them`);
  switch (mx.kind) {
    case "failed": {
      const lookup = lookupProblem(mx, `the MX of ${nextHop}`, facts.dnssec);
      const isTold = lookup.type === "dnssec-invalid" && local.published.mode !== "off";
      return { kind: "defer", problem: lookup, ...(isTold && { bogus: { reportDomain: nextHop as Domain, failure: mx } }) };
    }
    case "no-such-name":
      return { kind: "fail", problem: problem("domain-not-found", "sender", `the domain ${nextHop} does not exist`) };
    case "answer": {
      // RFC 5321 §5.1: without MX records the domain is its own host; with any, its own addresses are never used.
      if (mx.records.length === 0) {
        if (isOwnName(nextHop, rules)) return { kind: "fail", problem: loopProblem(nextHop, nextHop) };
        return { kind: "attempt", hosts: [mxHost(facts, nextHop, 0, local, rules)] };
      }
      // RFC 7505 §3. The preference should be 0; whoever writes the root means it whatever the number.
      if (mx.records.every(({ exchange }) => exchange === "")) {
        return { kind: "fail", problem: problem("null-mx", "sender", `${nextHop} says that it takes no mail (null MX, RFC 7505)`) };
      }
      return planHosts(facts, mx.records, local, rules);
    }
  }
}

function planHosts(facts: RoutingFacts, records: readonly MxRecord[], local: LocalPolicy, rules: PlanRules): Verdict {
  const { nextHop } = facts;
  const skipped: HostReport[] = [];
  const hosts = usableRecords(records, skipped).sort((a, b) => a.preference - b.preference);
  // RFC 5321 §5.1: a host that is ourselves goes, with all of its preference and all worse: they are no nearer the goal.
  const own = hosts.find(({ exchange }) => isOwnName(exchange, rules));
  if (own === undefined) {
    if (hosts.length > 0) return attempt(facts, hosts, skipped, local, rules);
    const detail = `the MX records of ${nextHop} name no host: ${skipped.map(({ host }) => host).join(", ")}`;
    return { kind: "fail", problem: problem("domain-not-found", "receiver", detail, { status: "5.4.4" }), skipped };
  }
  const nearer = hosts.filter(({ preference }) => preference < own.preference);
  for (const { exchange, preference } of hosts.slice(nearer.length)) {
    const isUs = isOwnName(exchange, rules);
    if (skipped.length >= MOST_SKIPPED) break;
    const detail = isUs ? `${exchange} is this relay` : `its preference ${preference} is not better than this relay's own`;
    skipped.push({ host: exchange, step: "skipped", problem: problem("loop", "receiver", detail, { host: exchange }) });
  }
  if (nearer.length === 0) return { kind: "fail", problem: loopProblem(nextHop, own.exchange), skipped };
  return attempt(facts, nearer, skipped, local, rules);
}

/** Hosts ruled out that are told of. DNS can name thousands, and what is told is stored with every attempt. */
const MOST_SKIPPED = 20;

/** Records whose exchange is a host name, each once at its best preference; the others are put down as skipped. */
function usableRecords(records: readonly MxRecord[], skipped: HostReport[]): MxRecord[] {
  const best = new Map<string, MxRecord>();
  for (const record of records) {
    const { exchange, preference } = record;
    // RFC 7505 §3 forbids the root beside others; where it is there all the same, the others are meant.
    if (exchange === "") continue;
    if (!isHostname(exchange)) {
      if (skipped.length >= MOST_SKIPPED) continue;
      const host = cleanText(exchange, 255);
      skipped.push({
        host,
        step: "skipped",
        problem: problem("domain-not-found", "receiver", `${host} is not a host name`, { status: "5.4.4", host }),
      });
      continue;
    }
    const before = best.get(exchange);
    if (before === undefined || preference < before.preference) best.set(exchange, record);
  }
  return [...best.values()];
}

function attempt(
  facts: RoutingFacts,
  records: readonly MxRecord[],
  skipped: readonly HostReport[],
  local: LocalPolicy,
  rules: PlanRules,
): Verdict {
  const hosts = records.map(({ exchange, preference }) => mxHost(facts, exchange, preference, local, rules));
  return skipped.length === 0 ? { kind: "attempt", hosts } : { kind: "attempt", hosts, skipped };
}

function mxHost(facts: RoutingFacts, host: string, preference: number, local: LocalPolicy, rules: PlanRules): PlannedHost {
  const isItself = facts.mx?.kind === "answer" && facts.mx.records.length === 0;
  return {
    host,
    preference,
    port: rules.delivery.port,
    tls: "starttls",
    serverName: host,
    // The name as written in the MX record, never that of an alias behind it (RFC 6125 §6.2.1).
    policy: { facts: hostFacts(facts, host, isItself ? "implicit" : "mx", host), local },
    configured: false,
    ...(isItself && { implicit: true }),
    reportDomain: facts.nextHop as Domain,
  };
}

function isOwnName(name: string, { mailname, delivery }: PlanRules): boolean {
  if (name === mailname?.toLowerCase() || name === "localhost" || name.endsWith(".localhost")) return true;
  return delivery.ownNames.length > 0 && delivery.ownNames.some((own) => own.toLowerCase() === name);
}

/** The best host is this relay: sending there would only bring the message back (RFC 5321 §5.1). */
export function loopProblem(nextHop: string, host: string): DeliveryProblem {
  const detail = `the best mail host of ${nextHop} is this relay itself (${host}), and it keeps no mail: give it a route, or correct the MX records`;
  return problem("loop", "receiver", detail, { host });
}
