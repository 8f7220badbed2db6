/**
 * What an attempt will do, decided before anything is dialled: which hosts, in which order, under which demand, or why
 * none. `postern queue why`, and later `check` and the web page, show this very value.
 */
import { isIP } from "node:net";
import type { DeliverySettings } from "../config/settings.ts";
import { isHostname, type NextHop } from "../mail/domain.ts";
import { cleanText } from "../mail/reply.ts";
import type { MxRecord } from "../policy/facts.ts";
import {
  describeDemand,
  type FloorDemand,
  type FloorSettings,
  findFloor,
  requirementFor,
  type TlsRequirement,
} from "../policy/requirement.ts";
import type { DeliveryProblem, HostReport } from "../queue/settlement.ts";
import { type AddressRules, isOurselves, lookupProblem, type RoutingFacts } from "./gather.ts";
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
  readonly requirement: TlsRequirement;
  readonly rootsFile?: string;
  readonly login?: { readonly username: string; readonly password: string };
  /** Configured hosts use the system's resolver and may be at any address. */
  readonly configured: boolean;
  /** The domain has no MX records and is its own host (RFC 5321 §5.1). */
  readonly implicit?: true;
}

export type DeliveryPlan = {
  /** What was demanded of a host, in words: `authenticated (tls.floor of this relay)`. */
  readonly demanded: string;
  /** Hosts that were ruled out without asking them, with the reason. */
  readonly skipped?: readonly HostReport[];
} & (
  | { readonly kind: "attempt"; readonly hosts: readonly PlannedHost[] }
  | { readonly kind: "defer"; readonly problem: DeliveryProblem }
  | { readonly kind: "fail"; readonly problem: DeliveryProblem }
);

/** What the operator's settings have to say about it. */
export interface PlanRules extends Pick<AddressRules, "ownAddresses" | "forbiddenAddress"> {
  readonly delivery: Pick<DeliverySettings, "port" | "ownNames">;
  readonly tls: FloorSettings;
  /** This relay's public name, if it has one. */
  readonly mailname: string | undefined;
}

/** Decides from what is known; asks nothing. `random` shuffles hosts of equal preference (RFC 5321 §5.1). */
export function planDelivery(facts: RoutingFacts, rules: PlanRules, random: () => number): DeliveryPlan {
  const { nextHop, route } = facts;
  switch (route.kind) {
    case "configured":
      return planConfigured(route);
    case "literal":
      return planLiteral(nextHop, route.address, rules);
    case "mx": {
      const demand = findFloor(nextHop, rules.tls);
      return { ...planMx(facts, demand, rules, random), demanded: describeDemand(demand) };
    }
  }
}

/** A host that the operator named: its own setting is the demand, and floors for strangers do not apply. */
function planConfigured(route: Extract<Route, { kind: "configured" }>): DeliveryPlan {
  const { host, port, setting, tls } = route;
  const floor = tls === "implicit" ? "authenticated" : tls === "none" ? "opportunistic" : tls;
  const demand: FloorDemand = { floor, because: { source: "route", text: setting } };
  const demanded = describeDemand(demand);
  const address = isIP(host) === 0 ? undefined : host;
  const name = route.tlsName ?? (address === undefined ? host : undefined);
  if (floor === "authenticated" && name === undefined) {
    const detail = `${setting} names the address ${host}, which no certificate can be compared with: set its tlsName, or lower its tls`;
    return { kind: "defer", demanded, problem: problem("not-configured", "you", detail, { host }) };
  }
  return {
    kind: "attempt",
    demanded,
    hosts: [
      {
        host,
        preference: 0,
        port,
        tls: tls === "implicit" ? "implicit" : tls === "none" ? "never" : "starttls",
        requirement: requirementFor(demand, name === undefined ? [] : [name.toLowerCase()]),
        configured: true,
        ...(address !== undefined && { address }),
        ...(name !== undefined && { serverName: name }),
        ...(route.rootsFile !== undefined && { rootsFile: route.rootsFile }),
        // `none` allows no login: it would travel in clear text (RFC 4954 §14).
        ...(route.login !== undefined && tls !== "none" && { login: route.login }),
      },
    ],
  };
}

/** RFC 5321 §4.1.3, §5.1: the address itself, no MX. */
function planLiteral(nextHop: NextHop, address: string, rules: PlanRules): DeliveryPlan {
  const demand = findFloor(nextHop, rules.tls);
  const demanded = describeDemand(demand);
  if (isOurselves(address, rules)) {
    return { kind: "fail", demanded, problem: problem("loop", "sender", `${nextHop} is this relay itself`, { host: nextHop }) };
  }
  if (demand.floor === "authenticated") {
    const detail =
      `${nextHop} is an address without a name, so no certificate can prove who is there, and ${demand.because.text} asks for proof. ` +
      `The sender can write to a domain instead; or set tls.domains "${nextHop}" to encrypted`;
    return { kind: "defer", demanded, problem: problem("not-configured", "sender", detail, { status: "4.7.0", host: nextHop }) };
  }
  const host: PlannedHost = {
    host: nextHop,
    preference: 0,
    address,
    port: rules.delivery.port,
    tls: "starttls",
    requirement: requirementFor(demand, []),
    configured: false,
  };
  return { kind: "attempt", demanded, hosts: [host] };
}

type Verdict =
  | { readonly kind: "attempt"; readonly hosts: readonly PlannedHost[]; readonly skipped?: readonly HostReport[] }
  | { readonly kind: "defer" | "fail"; readonly problem: DeliveryProblem; readonly skipped?: readonly HostReport[] };

function planMx({ nextHop, mx }: RoutingFacts, demand: FloorDemand, rules: PlanRules, random: () => number): Verdict {
  if (rules.mailname === undefined) {
    const detail = "this relay has no public name to say in EHLO: set mailname (MAILNAME) to the name that its sending address resolves to";
    return { kind: "defer", problem: problem("not-configured", "you", detail) };
  }
  if (mx === undefined) throw new Error(`the MX of ${nextHop} was not asked, but its route needs them`);
  switch (mx.kind) {
    case "failed":
      return { kind: "defer", problem: lookupProblem(mx, `the MX of ${nextHop}`) };
    case "no-such-name":
      return { kind: "fail", problem: problem("domain-not-found", "sender", `the domain ${nextHop} does not exist`) };
    case "answer": {
      // RFC 5321 §5.1: without MX records the domain is its own host; with any, its own addresses are never used.
      if (mx.records.length === 0) {
        if (isOwnName(nextHop, rules)) return { kind: "fail", problem: loopProblem(nextHop, nextHop) };
        return { kind: "attempt", hosts: [{ ...mxHost(nextHop, 0, demand, rules), implicit: true }] };
      }
      // RFC 7505 §3. The preference should be 0; whoever writes the root means it whatever the number.
      if (mx.records.every(({ exchange }) => exchange === "")) {
        return { kind: "fail", problem: problem("null-mx", "sender", `${nextHop} says that it takes no mail (null MX, RFC 7505)`) };
      }
      return planHosts(nextHop, mx.records, demand, rules, random);
    }
  }
}

function planHosts(nextHop: NextHop, records: readonly MxRecord[], demand: FloorDemand, rules: PlanRules, random: () => number): Verdict {
  const skipped: HostReport[] = [];
  const hosts = inOrder(usableRecords(records, skipped), random);
  // RFC 5321 §5.1: a host that is ourselves goes, with all of its preference and all worse: they are no nearer the goal.
  const own = hosts.find(({ exchange }) => isOwnName(exchange, rules));
  if (own === undefined) {
    if (hosts.length > 0) return attempt(hosts, skipped, demand, rules);
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
  return attempt(nearer, skipped, demand, rules);
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

/** Lowest preference first, equal ones in random order (RFC 5321 §5.1). */
function inOrder(records: MxRecord[], random: () => number): MxRecord[] {
  for (let last = records.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    const moved = records[last];
    const chosen = records[other];
    if (moved === undefined || chosen === undefined) continue;
    records[last] = chosen;
    records[other] = moved;
  }
  // The sort is stable, so the shuffle decides among equals.
  return records.sort((a, b) => a.preference - b.preference);
}

function attempt(records: readonly MxRecord[], skipped: readonly HostReport[], demand: FloorDemand, rules: PlanRules): Verdict {
  const hosts = records.map(({ exchange, preference }) => mxHost(exchange, preference, demand, rules));
  return skipped.length === 0 ? { kind: "attempt", hosts } : { kind: "attempt", hosts, skipped };
}

function mxHost(host: string, preference: number, demand: FloorDemand, rules: PlanRules): PlannedHost {
  return {
    host,
    preference,
    port: rules.delivery.port,
    tls: "starttls",
    serverName: host,
    // The name as written in the MX record, never that of an alias behind it (RFC 6125 §6.2.1).
    requirement: requirementFor(demand, [host]),
    configured: false,
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
