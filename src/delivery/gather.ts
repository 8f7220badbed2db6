/**
 * What DNS and policy hosts say of a next hop: MX and MTA-STS before the plan, and the addresses and TLSA records of a host
 * when its turn comes, so that a backup whose name servers hang delays nobody. A failed question is a finding, not an
 * exception. Judging is delivery/plan.ts and policy/decision.ts; an address is judged here, since only here it is known
 * (RFC 5321 §5.1, §5.2).
 */
import ipaddr from "ipaddr.js";
import { type Domain, isHostname, type NextHop } from "../mail/domain.ts";
import { isBogus } from "../policy/dnssec-errors.ts";
import type {
  DnsLookup,
  DnssecState,
  Finding,
  FindConfiguredHost,
  FindStsPolicy,
  FindTlsa,
  HostAddress,
  LookupFailure,
  MxRecord,
  StsFinding,
  TlsaFinding,
} from "../policy/facts.ts";
import { findLocalPolicy, type FloorSettings } from "../policy/local-policy.ts";
import type { DeliveryProblem } from "../queue/settlement.ts";
import type { MessageDemands, PlannedHost, Route } from "./plan.ts";
import { problem } from "./problems.ts";

/** Everything a plan is made from: one snapshot, each part within its TTL (RFC 7672 §2.2). */
export interface RoutingFacts {
  readonly nextHop: NextHop;
  readonly route: Route;
  /** Asked only when the route is `mx`. */
  readonly mx?: Finding<MxRecord>;
  readonly sts: StsFinding;
  readonly dnssec: DnssecState;
  /** The resolver is blind, or has shown nothing yet, and this next hop was lately met with DANE; when, in ms since 1970. */
  readonly daneSeen?: number;
}

export interface FactsIo {
  readonly lookup: Pick<DnsLookup, "findMx">;
  readonly findStsPolicy: FindStsPolicy;
  dnssec(): DnssecState;
  /** When mail for this next hop last met secure TLSA records. */
  findDane(nextHop: NextHop): Promise<number | undefined>;
}

/** What was known so long ago says nothing of today. */
const DANE_REMEMBERED = 90 * 86_400_000;

/** Asks what the route leaves open. The next hop is a name where the route is `mx`. `now` in ms since 1970. */
export async function gatherFacts(
  nextHop: NextHop,
  route: Route,
  message: MessageDemands,
  tls: FloorSettings,
  now: number,
  io: FactsIo,
): Promise<RoutingFacts> {
  const dnssec = io.dnssec();
  const [mx, sts, seen] = await Promise.all([
    route.kind === "mx" ? io.lookup.findMx(nextHop as Domain) : undefined,
    findSts(nextHop, route, message, tls, io),
    dnssec.kind === "blind" || dnssec.kind === "untested" ? io.findDane(nextHop) : undefined,
  ]);
  return {
    nextHop,
    route,
    ...(mx !== undefined && { mx }),
    sts,
    dnssec,
    ...(seen !== undefined && seen > now - DANE_REMEMBERED && { daneSeen: seen }),
  };
}

/** The policy domain is the next hop's, or that of the smart host the operator named (RFC 8461 §3.4). */
function findSts(
  nextHop: NextHop,
  route: Route,
  { tag }: MessageDemands,
  tls: FloorSettings,
  { findStsPolicy }: FactsIo,
): Promise<StsFinding> | StsFinding {
  const { published, host } = findLocalPolicy(nextHop, tls);
  // A policy that binds nobody may still prove the host, for whoever asks for that (RFC 8689 §2).
  const proves = tag === "required" || tag === "preferred" || host.level === "proven";
  if (published.mode === "off" && !proves) return { kind: "not-asked", why: `${published.setting}: off` };
  switch (route.kind) {
    case "mx":
      return findStsPolicy(nextHop as Domain);
    case "literal":
      return { kind: "not-asked", why: "an address literal has no policy (RFC 8461 §3.4)" };
    case "configured":
      if (route.tls === "none") return { kind: "not-asked", why: `${route.setting} uses no TLS` };
      return isFullyQualified(route.host)
        ? findStsPolicy(route.host.toLowerCase() as Domain)
        : { kind: "not-asked", why: `${route.host} is no name that the public DNS knows` };
  }
}

/** `smtp.example.com`, not `relay` of a container network: single labels mean something to this machine only. */
export function isFullyQualified(host: string): boolean {
  const name = host.toLowerCase();
  return name.includes(".") && isHostname(name);
}

/** The addresses of one host, or why it has none that may be used. */
export type HostAddresses =
  | { readonly kind: "addresses"; readonly addresses: readonly HostAddress[] }
  /** The host is this relay: it and all worse ones are out of the list (RFC 5321 §5.1). */
  | { readonly kind: "ourselves"; readonly address: string }
  /** `permanent`: should every host of the domain be so, the mail cannot be delivered. */
  | {
      readonly kind: "unusable";
      readonly problem: DeliveryProblem;
      readonly permanent: boolean;
      /** The look-up whose answer DNSSEC says does not hold. */
      readonly bogus?: LookupFailure;
    };

/** What DNS says of one host when its turn comes. */
export interface HostFindings {
  readonly addresses: HostAddresses;
  /** Whether DNSSEC proves them; absent where our resolver was not asked. */
  readonly security?: "secure" | "insecure";
  readonly tlsa: TlsaFinding;
}

/** What addresses are measured by. */
export interface AddressRules {
  readonly delivery: { readonly ipv4: boolean };
  readonly useIpv6: boolean;
  /** This machine's addresses. */
  readonly ownAddresses: ReadonlySet<string>;
  /** The special-use block an address is in, undefined if mail may go there. */
  readonly forbiddenAddress: (address: string) => string | undefined;
}

export interface HostRules extends AddressRules {
  readonly tls: { readonly daneWithUnsignedMx: boolean };
}

export interface HostIo {
  readonly lookup: Pick<DnsLookup, "findAddresses">;
  readonly findConfiguredHost: FindConfiguredHost;
  readonly findTlsa: FindTlsa;
  /** As it is now; the plan was made with the state of its beginning. */
  dnssec(): DnssecState;
}

/** Asks for a host's addresses, then for its TLSA records: without secure addresses there is nothing to ask (RFC 7672 §2.2.2). */
export async function findHost(host: PlannedHost, rules: HostRules, io: HostIo): Promise<HostFindings> {
  if (host.address !== undefined) {
    const family = host.address.includes(":") ? 6 : 4;
    const tlsa = notAsked("an address has no TLSA records (RFC 7672 §2.2)");
    return { addresses: judgeAddresses(host, [{ address: host.address, family }], rules), tlsa };
  }
  if (host.configured) return findNamedByOperator(host, rules, io);
  const found = await io.lookup.findAddresses(host.host as Domain);
  const addresses = judgeFinding(host, found, rules);
  if (addresses.kind !== "addresses" || found.kind !== "answer") return { addresses, tlsa: notAsked("no address of the host may be used") };
  return { addresses, security: found.security, tlsa: await findTlsaOf(host, found, rules, io) };
}

/** The system's resolver finds it, whatever ours says; DANE applies if ours proves the name (RFC 7672 §2.2.2). */
async function findNamedByOperator(host: PlannedHost, rules: HostRules, io: HostIo): Promise<HostFindings> {
  const { facts } = host.policy;
  const dane = host.tls !== "never" && facts.dnssec.kind !== "untrusted" && facts.dnssec.kind !== "blind" && isFullyQualified(host.host);
  const asked = dane ? io.lookup.findAddresses(host.host.toLowerCase() as Domain) : undefined;
  const addresses = judgeFinding(host, await io.findConfiguredHost(host.host), rules);
  if (addresses.kind !== "addresses") return { addresses, tlsa: notAsked("no address of the host may be used") };
  const found = await asked;
  if (found === undefined) return { addresses, tlsa: notAsked(`${host.host} is named by ${host.policy.local.floor.because.text}`) };
  if (found.kind === "answer") return { addresses, security: found.security, tlsa: await findTlsaOf(host, found, rules, io) };
  // The operator's demand on this host stands by itself. Only where it asks for less than a proof would a dropped answer lower anything.
  if (found.kind === "failed" && facts.dnssec.kind === "validating" && host.policy.local.floor.floor !== "authenticated")
    return { addresses, tlsa: { kind: "failed", asked: host.host, failure: found } };
  return { addresses, tlsa: notAsked(`our resolver does not know ${host.host}`) };
}

async function findTlsaOf(host: PlannedHost, found: Finding<HostAddress>, rules: HostRules, io: HostIo): Promise<TlsaFinding> {
  const { facts, local } = host.policy;
  if (facts.dnssec.kind === "untrusted" || facts.dnssec.kind === "blind") return notAsked(facts.dnssec.detail);
  if (local.published.mode === "off" && local.host.level !== "dnssec") return notAsked(`${local.published.setting}: off`);
  if (facts.origin === "mx" && facts.mxSecurity === "insecure" && !rules.tls.daneWithUnsignedMx)
    return notAsked(`the MX records of ${facts.nextHop} are not signed (tls.daneWithUnsignedMx: false)`);
  const tlsa = await io.findTlsa(host.host.toLowerCase() as Domain, host.port, found);
  return tlsa.kind === "not-asked" || (tlsa.kind === "none" && tlsa.security === "insecure") ? withoutProof(host, tlsa, io.dnssec()) : tlsa;
}

/**
 * No TLSA records, and nobody has proved that there are none. That stands, unless the resolver lost its worth meanwhile, or has
 * shown none yet for a next hop that was met with DANE: whoever can do that to a resolver must not switch DANE off.
 */
function withoutProof({ host, port, policy: { facts } }: PlannedHost, tlsa: TlsaFinding, now: DnssecState): TlsaFinding {
  const lost = now.kind === "blind" || now.kind === "untrusted";
  if (!lost && facts.daneSeen === undefined) return tlsa;
  const detail = `nothing proves that it has no TLSA records, and this relay's resolver cannot tell: ${now.detail}`;
  return { kind: "failed", asked: `_${port}._tcp.${host}`, failure: { kind: "failed", reason: "unreachable", detail } };
}

function notAsked(why: string): TlsaFinding {
  return { kind: "not-asked", why };
}

/** Keeps the addresses that may be used, in the order DNS gave them (RFC 5321 §5.1). */
function judgeFinding(host: PlannedHost, found: Finding<HostAddress>, rules: AddressRules): HostAddresses {
  switch (found.kind) {
    case "failed": {
      const lookup = lookupProblem(found, `the addresses of ${host.host}`, host.policy.facts.dnssec, host);
      return { kind: "unusable", problem: lookup, permanent: false, ...(lookup.type === "dnssec-invalid" && { bogus: found }) };
    }
    case "no-such-name":
      return noAddresses(host, "does not exist");
    case "answer":
      return found.records.length === 0 ? noAddresses(host, "has no address") : judgeAddresses(host, found.records, rules);
  }
}

/** The name surely has no address: final, unless the operator wrote it, whose slip must not bounce everybody's mail. */
function noAddresses(host: PlannedHost, what: string): HostAddresses {
  if (host.configured) {
    const detail = `${host.host}, set as ${host.policy.local.floor.because.text}, ${what}`;
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

/** A question without an answer: the message waits (RFC 5321 §5.1, RFC 7672 §2.1.2). */
export function lookupProblem(
  failure: LookupFailure,
  what: string,
  dnssec: DnssecState,
  host?: { readonly host: string },
): DeliveryProblem {
  const detail = `the DNS question for ${what} failed: ${failure.detail}`;
  const more = host === undefined ? {} : { host: host.host };
  // A resolver that cannot even say what the root says is this relay's own trouble, not that of every domain it is asked about.
  if (dnssec.kind === "untested" && failure.reason !== "not-a-name")
    return problem("dns-failure", "you", `${detail}; this relay's resolver has answered no test yet: ${dnssec.detail}`, more);
  return isBogus(failure)
    ? problem("dnssec-invalid", "receiver", detail, more)
    : problem("dns-failure", whoActsOnLookup(failure.reason), detail, more);
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
