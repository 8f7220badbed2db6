/**
 * What DNS says about a next hop: the MX question before the plan, and the addresses of a host when its turn comes, so
 * that a backup whose name servers hang delays nobody. A failed question is a finding, not an exception. Judging the MX
 * records is delivery/plan.ts; an address is judged here, since only here it is known (RFC 5321 §5.1, §5.2).
 */
import ipaddr from "ipaddr.js";
import type { Domain, NextHop } from "../mail/domain.ts";
import type { DnsLookup, Finding, FindConfiguredHost, HostAddress, LookupFailure, MxRecord } from "../policy/facts.ts";
import type { DeliveryProblem } from "../queue/settlement.ts";
import type { PlannedHost, Route } from "./plan.ts";
import { problem } from "./problems.ts";

/** Everything a plan is made from. */
export interface RoutingFacts {
  readonly nextHop: NextHop;
  readonly route: Route;
  /** Asked only when the route is `mx`. */
  readonly mx?: Finding<MxRecord>;
}

/** Asks what the route leaves open. The next hop is a name where the route is `mx`. */
export async function gatherFacts(
  nextHop: NextHop,
  route: Route,
  io: { readonly lookup: Pick<DnsLookup, "findMx"> },
): Promise<RoutingFacts> {
  if (route.kind !== "mx") return { nextHop, route };
  return { nextHop, route, mx: await io.lookup.findMx(nextHop as Domain) };
}

/** The addresses of one host, or why it has none that may be used. */
export type HostAddresses =
  | { readonly kind: "addresses"; readonly addresses: readonly HostAddress[] }
  /** The host is this relay: it and all worse ones are out of the list (RFC 5321 §5.1). */
  | { readonly kind: "ourselves"; readonly address: string }
  /** `permanent`: should every host of the domain be so, the mail cannot be delivered. */
  | { readonly kind: "unusable"; readonly problem: DeliveryProblem; readonly permanent: boolean };

/** What addresses are measured by. */
export interface AddressRules {
  readonly delivery: { readonly ipv4: boolean };
  readonly useIpv6: boolean;
  /** This machine's addresses. */
  readonly ownAddresses: ReadonlySet<string>;
  /** The special-use block an address is in, undefined if mail may go there. */
  readonly forbiddenAddress: (address: string) => string | undefined;
}

export interface AddressIo {
  readonly lookup: Pick<DnsLookup, "findAddresses">;
  readonly findConfiguredHost: FindConfiguredHost;
}

/** Asks for a host's addresses and keeps those that may be used, in the order DNS gave them (RFC 5321 §5.1). */
export async function findHostAddresses(host: PlannedHost, rules: AddressRules, io: AddressIo): Promise<HostAddresses> {
  if (host.address !== undefined) {
    return judgeAddresses(host, [{ address: host.address, family: host.address.includes(":") ? 6 : 4 }], rules);
  }
  const found = host.configured ? await io.findConfiguredHost(host.host) : await io.lookup.findAddresses(host.host as Domain);
  switch (found.kind) {
    case "failed":
      return { kind: "unusable", problem: lookupProblem(found, `the addresses of ${host.host}`, host), permanent: false };
    case "no-such-name":
      return noAddresses(host, "does not exist");
    case "answer":
      return found.records.length === 0 ? noAddresses(host, "has no address") : judgeAddresses(host, found.records, rules);
  }
}

/** The name surely has no address: final, unless the operator wrote it, whose slip must not bounce everybody's mail. */
function noAddresses(host: PlannedHost, what: string): HostAddresses {
  if (host.configured) {
    const detail = `${host.host}, set as ${host.requirement.because.text}, ${what}`;
    return {
      kind: "unusable",
      problem: problem("domain-not-found", "you", detail, { status: "4.4.4", host: host.host }),
      permanent: false,
    };
  }
  const implicit = host.implicit === true;
  const detail = implicit ? `${host.host} has neither a mail host nor an address` : `the mail host ${host.host} ${what}`;
  // A domain that is nobody's address is the sender's slip; an MX record that leads nowhere is the receiver's (RFC 5321 §5.1).
  const found = problem("domain-not-found", implicit ? "sender" : "receiver", detail, {
    status: implicit ? "5.1.2" : "5.4.4",
    host: host.host,
  });
  return { kind: "unusable", problem: found, permanent: true };
}

function judgeAddresses(host: PlannedHost, addresses: readonly HostAddress[], rules: AddressRules): HostAddresses {
  const useful: HostAddress[] = [];
  let forbidden: string | undefined;
  let wrongFamily = false;
  for (const candidate of addresses) {
    const { address } = candidate;
    if (!host.configured) {
      if (isOurselves(address, rules)) return { kind: "ourselves", address };
      const block = rules.forbiddenAddress(address);
      if (block !== undefined) {
        forbidden ??= `${address} (${block})`;
        continue;
      }
    }
    if (candidate.family === 6 ? rules.useIpv6 : rules.delivery.ipv4) useful.push(candidate);
    else wrongFamily = true;
  }
  if (useful.length > 0) return { kind: "addresses", addresses: useful };
  if (wrongFamily || forbidden === undefined) {
    // RFC 5321 §5.2: the host is not dead for good because this machine speaks only the other family.
    const detail = rules.delivery.ipv4
      ? `${host.host} has IPv6 addresses only, and this relay uses none (delivery.ipv6)`
      : `${host.host} has no address of a family this relay uses (delivery.ipv4, delivery.ipv6)`;
    return { kind: "unusable", problem: problem("connect-failed", "you", detail, { host: host.host }), permanent: false };
  }
  // What a sender wrote as an address stays what it is; a name's records may be put right while the message waits.
  const written = host.address !== undefined;
  const detail = written
    ? `mail to the address ${forbidden} is not sent`
    : `${host.host} is at ${forbidden}, where mail for strangers is not sent`;
  const found = problem("forbidden-address", written ? "sender" : "receiver", detail, {
    host: host.host,
    ...(written && { status: "5.4.4" }),
  });
  return { kind: "unusable", problem: found, permanent: written };
}

/**
 * True if mail to this address would come back to this relay (RFC 5321 §5.1). Loopback and `0.0.0.0` are this machine as
 * well, whatever a stranger's DNS means by them, unless the operator allowed mail to go there.
 */
export function isOurselves(address: string, rules: Pick<AddressRules, "ownAddresses" | "forbiddenAddress">): boolean {
  const own = rules.ownAddresses.has(unmapped(address));
  return rules.forbiddenAddress(address) === undefined ? own && !isLoopback(address) : own || isLoopback(address);
}

/** `192.0.2.1` for `::ffff:192.0.2.1`, which the system dials as the same (RFC 4291 §2.5.5.2). */
function unmapped(address: string): string {
  return address.startsWith("::ffff:") && ipaddr.isValid(address) ? ipaddr.process(address).toString() : address;
}

function isLoopback(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  const range = ipaddr.process(address).range();
  return range === "loopback" || range === "unspecified";
}

/** A question without an answer: the message waits (RFC 5321 §5.1). */
export function lookupProblem(failure: LookupFailure, what: string, host?: { readonly host: string }): DeliveryProblem {
  const detail = `the DNS question for ${what} failed: ${failure.detail}`;
  return problem("dns-failure", whoActsOnLookup(failure.reason), detail, host === undefined ? {} : { host: host.host });
}

function whoActsOnLookup(reason: LookupFailure["reason"]): DeliveryProblem["whoActs"] {
  switch (reason) {
    case "servfail":
    case "malformed":
    case "alias-loop":
      return "receiver";
    case "refused":
    case "unreachable":
      return "you";
    case "timeout":
      return "nobody";
    case "not-a-name":
      return "sender";
  }
}
