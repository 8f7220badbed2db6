/**
 * The decision for one host: what its domain publishes, what DNS proves, what the operator and the message ask in; whether
 * the host may be asked, under which requirement, and which rules led there out. Total, and pure: delivery obeys this value,
 * `postern check` and `queue why` show it.
 *
 * A published policy, REQUIRETLS and the operator each raise the demand; nothing lowers it but what the operator set.
 */
import type { Domain, NextHop } from "../mail/domain.ts";
import type { DnssecState, SecurityStatus, StsFinding, TlsaFinding } from "./facts.ts";
import { type LocalPolicy, levelOfFloor } from "./local-policy.ts";
import type { TlsFailure } from "./outcome.ts";
import { type Because, type ChannelLevel, type DaneRequirement, isAtLeast, type TlsRequirement } from "./requirement.ts";
import { allowsHost } from "./sts-policy.ts";
import { type DigestName, judgeTlsa, tlsaKey } from "./tlsa.ts";

/**
 * RFC 8689: `required` by the MAIL parameter REQUIRETLS, `optional` by the header field TLS-Required: No. `preferred` is what
 * `required` means for a message without return path: the parameter where it can be given, and never in clear (§4.2.1, §5).
 */
export type TlsTag = "required" | "preferred" | "optional";

/** Everything known of one host when its turn comes. */
export interface HostFacts {
  readonly nextHop: NextHop;
  /** The MX name as written, the configured host, or an address literal. */
  readonly host: string;
  /** `implicit`: the domain has no MX records and is its own host (RFC 5321 §5.1). */
  readonly origin: "mx" | "implicit" | "configured" | "literal";
  /** Of the MX set, or of its denial; "insecure" where none was asked for. */
  readonly mxSecurity: SecurityStatus;
  /** Where the next hop's name securely leads by aliases, if that is another name (RFC 7672 §3.2.2). */
  readonly expandedNextHop?: Domain;
  readonly sts: StsFinding;
  readonly tlsa: TlsaFinding;
  readonly dnssec: DnssecState;
  /** The name to find in the certificate; absent where there is none to compare with. */
  readonly certificateName?: string;
}

/** What the operator and the message ask. */
export interface Demands {
  readonly local: LocalPolicy;
  readonly tag?: TlsTag;
  /** `TLS-Required: No` lowers the operator's floor too: he named this submitter in `tls.honourTlsOptional`. */
  readonly mayGoBelowFloor: boolean;
  /** Digests of TLSA records, strongest first (RFC 7671 §9). */
  readonly daneDigests: readonly DigestName[];
}

export type PolicyVerdict =
  | { readonly kind: "try"; readonly requirement: TlsRequirement }
  /** No connection is made. `lasting`: time alone will not change it, so a REQUIRETLS message bounces (RFC 8689 §4.2.1). */
  | { readonly kind: "skip"; readonly failure: TlsFailure; readonly because: Because; readonly lasting: boolean };

/** The scale "is this the right host?", lowest first; `named`: the operator, or the address itself, says so. */
export type HostProof = "none" | "sts-listed" | "dnssec" | "named";

/** One rule as it came out for a host, for people. */
export interface Rule {
  readonly source: Because["source"] | "published";
  /** `MTA-STS enforce of example.org`. */
  readonly text: string;
  /** `RFC 8461 §5`. */
  readonly section: string;
  /** `won`: this demand was the highest; `holds`: it must hold besides; `watched`: counted and shown only; `idle`: asks nothing here. */
  readonly effect: "won" | "holds" | "watched" | "idle";
  /** What it says of this host: `authenticated TLS for mx1.example.org`. */
  readonly says: string;
}

export interface HostDecision {
  readonly verdict: PolicyVerdict;
  /** What published policy would demand where it does not bind: testing mode, `report`, TLS-Required: No. */
  readonly watched: readonly PolicyVerdict[];
  readonly rules: readonly Rule[];
}

type TlsaCase = "failed" | "usable" | "unusable" | "absent";
type StsCase = "none" | "testing" | "enforce-listed" | "enforce-unlisted";

/** What published policy asks: of DANE, and of MTA-STS. */
interface Cell {
  readonly dane: "skip" | "match" | "encrypt" | "nothing";
  readonly sts: "skip" | "webpki" | "watch" | "nothing";
}

/** RFC 7672 §2.2 and RFC 8461 §5 side by side: both must hold, and neither overrules the other (RFC 8461 §2). */
const PUBLISHED: Readonly<Record<TlsaCase, Readonly<Record<StsCase, Cell>>>> = {
  // §2.1.2: a failed look-up makes the host unreachable, whatever else it could show.
  failed: {
    none: { dane: "skip", sts: "nothing" },
    testing: { dane: "skip", sts: "watch" },
    "enforce-listed": { dane: "skip", sts: "webpki" },
    "enforce-unlisted": { dane: "skip", sts: "skip" },
  },
  usable: {
    none: { dane: "match", sts: "nothing" },
    testing: { dane: "match", sts: "watch" },
    "enforce-listed": { dane: "match", sts: "webpki" },
    "enforce-unlisted": { dane: "match", sts: "skip" },
  },
  // §2.2: a secure set binds even when none of its records can be used.
  unusable: {
    none: { dane: "encrypt", sts: "nothing" },
    testing: { dane: "encrypt", sts: "watch" },
    "enforce-listed": { dane: "encrypt", sts: "webpki" },
    "enforce-unlisted": { dane: "encrypt", sts: "skip" },
  },
  absent: {
    none: { dane: "nothing", sts: "nothing" },
    testing: { dane: "nothing", sts: "watch" },
    "enforce-listed": { dane: "nothing", sts: "webpki" },
    "enforce-unlisted": { dane: "nothing", sts: "skip" },
  },
};

/** One demand on this host, from wherever it comes. */
interface Demand {
  readonly because: Because;
  readonly atLeast: ChannelLevel;
  readonly section: string;
  readonly says: string;
  /** The host may not be asked at all. */
  readonly skip?: { readonly failure: TlsFailure; readonly lasting: boolean };
  readonly dane?: DaneRequirement;
  readonly webpki?: true;
  /** MAIL says REQUIRETLS. */
  readonly keyword?: true;
  /** Published, yet binding nobody: MTA-STS in testing mode. */
  readonly watch?: true;
}

export function decideHost(facts: HostFacts, demands: Demands): HostDecision {
  const { local, tag } = demands;
  const tlsa = readTlsa(facts, demands);
  const stsCase = stsCaseOf(facts);
  const cell = PUBLISHED[tlsa.kind][stsCase];
  const belowFloor = tag === "optional" && demands.mayGoBelowFloor;
  const binding: Demand[] = [];
  const watched: Demand[] = [];
  const rules: Rule[] = [];

  const requireTls = requireTlsDemand(facts, stsCase, tag);
  if (requireTls !== undefined) binding.push(requireTls);
  // Mandatory DANE is the operator's demand (RFC 7672 §6), so it binds also where published policy does not.
  const hostFloor = belowFloor ? [] : hostFloorDemands(facts, local, stsCase, tlsa);
  binding.push(...hostFloor);
  if (local.published.mode === "off") {
    rules.push({
      source: "published",
      text: local.published.setting,
      section: "",
      effect: "won",
      says: "published policy is not looked at",
    });
  } else {
    const setAside = local.published.mode === "report" || tag === "optional";
    for (const demand of [daneDemand(facts, tlsa, cell), stsDemand(facts, cell)]) {
      if (demand === undefined) continue;
      if (setAside || demand.watch === true) watched.push(demand);
      else binding.push(demand);
    }
    if (setAside && watched.length > 0) rules.push(asideRule(demands));
    rules.push(...idleRules(facts, cell));
  }
  const floor = floorDemand(demands, belowFloor);
  binding.push(floor);

  const verdict = verdictOf(facts, binding, tlsa.dane);
  const won = verdict.because;
  for (const demand of binding) {
    const idle = demand.atLeast === "clear" && demand.skip === undefined;
    rules.push(ruleOf(demand, demand.because === won ? "won" : idle ? "idle" : "holds"));
  }
  for (const demand of watched) rules.push(ruleOf(demand, "watched"));
  return { verdict: verdict.verdict, watched: watched.map((demand) => verdictOf(facts, [demand], tlsa.dane).verdict), rules };
}

/** All demands together. The first of the highest gives its name; a skip goes before everything. */
function verdictOf(
  facts: HostFacts,
  demands: readonly Demand[],
  dane: DaneRequirement | undefined,
): { verdict: PolicyVerdict; because: Because } {
  const skipping = demands.find(({ skip }) => skip !== undefined);
  if (skipping?.skip !== undefined) {
    const { because, skip } = skipping;
    return { verdict: { kind: "skip", failure: skip.failure, because, lasting: skip.lasting }, because };
  }
  let highest = demands[0] as Demand;
  for (const demand of demands) if (!isAtLeast(highest.atLeast, demand.atLeast)) highest = demand;
  const { because, atLeast } = highest;
  const webpki = demands.find((demand) => demand.webpki === true);
  const matching = demands.find((demand) => demand.dane !== undefined);
  const keyword = demands.find((demand) => demand.keyword === true);
  const requirement: TlsRequirement = {
    atLeast,
    because,
    webpki: {
      referenceIdentifiers: facts.certificateName === undefined ? [] : [facts.certificateName],
      demanded: webpki !== undefined,
      because: webpki?.because ?? because,
    },
    // Usable records are compared also where they bind nobody: what would have failed is shown.
    ...(dane !== undefined && { dane: { ...dane, demanded: matching !== undefined, because: matching?.because ?? dane.because } }),
    ...(keyword !== undefined && { requireTlsKeyword: { mandatory: keyword.atLeast === "authenticated", because: keyword.because } }),
  };
  return { verdict: { kind: "try", requirement }, because };
}

function floorDemand({ local, tag }: Demands, belowFloor: boolean): Demand {
  const { floor, because } = local.floor;
  if (belowFloor)
    return {
      because: { ...because, text: "tls.honourTlsOptional" },
      atLeast: "clear",
      section: "RFC 8689 §4.2.2",
      says: "TLS if it can be had",
    };
  const atLeast = levelOfFloor(floor);
  // A bounce of a protected message is itself protected (RFC 8689 §5).
  if (tag === "preferred" && atLeast === "clear")
    return {
      because: { source: "requiretls", text: "REQUIRETLS of the message it tells of" },
      atLeast: "encrypted",
      section: "RFC 8689 §5",
      says: "never in clear",
    };
  return { because, atLeast, section: "", says: atLeast === "clear" ? "TLS if it can be had" : `${atLeast} TLS` };
}

/** RFC 8689 §4.2.1, steps 1, 2 and 4: the host must be the right one, and prove that it is that host. */
function requireTlsDemand(facts: HostFacts, sts: StsCase, tag: TlsTag | undefined): Demand | undefined {
  if (tag !== "required" && tag !== "preferred") return undefined;
  const proven = isProvenHost(facts, sts);
  // A notice is sent all the same; the parameter is only given where all of it holds (§2, §5).
  if (tag === "preferred" && !proven) return undefined;
  const because: Because = { source: "requiretls", text: "REQUIRETLS of the message" };
  const demand = {
    because,
    section: "RFC 8689 §4.2.1",
    says: "authenticated TLS with REQUIRETLS, for a host that is proven to be the right one",
    keyword: true,
  } as const;
  if (tag === "preferred") return { ...demand, atLeast: "clear", says: "the parameter REQUIRETLS, where it is offered" };
  if (proven) return { ...demand, atLeast: "authenticated" };
  const { host, nextHop, origin, dnssec } = facts;
  if (origin === "literal") {
    const detail = `${host} is an address, and nothing proves who answers there`;
    const failure: TlsFailure = { type: "validation-failure", detail, whoActs: "sender" };
    return { ...demand, atLeast: "authenticated", skip: { failure, lasting: true } };
  }
  const detail = `nothing proves that ${host} is a mail host of ${nextHop}: its MX records are not signed, and no MTA-STS policy lists it`;
  const failure: TlsFailure = { type: "validation-failure", detail: withDnssec(detail, dnssec), whoActs: whoOf(dnssec) };
  return { ...demand, atLeast: "authenticated", skip: { failure, lasting: isSettled(facts) } };
}

/** Whether another look would show the same: without a resolver that validates, or a policy that could be had, it may not. */
function isSettled({ dnssec, sts }: HostFacts): boolean {
  return dnssec.kind === "validating" && sts.kind !== "unavailable" && (sts.kind !== "policy" || sts.trouble === undefined);
}

/** `tls.host`: is this the right host? Routes and address literals name it themselves. */
function hostFloorDemands(facts: HostFacts, { host: { level, because }, floor }: LocalPolicy, sts: StsCase, tlsa: ReadTlsa): Demand[] {
  const { host, nextHop, origin, mxSecurity, dnssec } = facts;
  if (level === "any" || origin === "configured" || origin === "literal") return [];
  const demand = {
    because,
    atLeast: "clear",
    section: "",
    says: level === "dnssec" ? "MX records signed by DNSSEC" : "a host proven by MTA-STS or DNSSEC",
  } as const;
  const skip = (type: TlsFailure["type"], detail: string): Demand[] => [
    { ...demand, skip: { failure: { type, detail: withDnssec(detail, dnssec), whoActs: whoOf(dnssec) }, lasting: isSettled(facts) } },
  ];
  if (level === "proven") {
    if (isProvenHost(facts, sts)) return [demand];
    return skip("validation-failure", `nothing proves that ${host} is a mail host of ${nextHop} (mx-unproven)`);
  }
  if (mxSecurity !== "secure") return skip("dane-required", `the MX records of ${nextHop} are not signed`);
  if (floor.floor !== "authenticated") return [demand];
  // RFC 7672 §6, mandatory DANE: every row but "usable" is out.
  switch (tlsa.kind) {
    case "failed":
      return [daneLookupFailed(facts, because)];
    case "usable":
      return [
        {
          ...demand,
          section: "RFC 7672 §6",
          says: "mandatory DANE",
          atLeast: "authenticated",
          ...(tlsa.dane !== undefined && { dane: tlsa.dane }),
        },
      ];
    case "unusable":
      return skip("dane-required", `none of the TLSA records of ${host} is usable`);
    case "absent":
      return skip("dane-required", `${host} has no TLSA records that DNSSEC proves`);
  }
}

function daneDemand(facts: HostFacts, tlsa: ReadTlsa, { dane: says }: Cell): Demand | undefined {
  const because: Because = { source: "dane", text: `the TLSA records of ${tlsa.baseDomain ?? facts.host} (DANE)` };
  switch (says) {
    case "nothing":
      return undefined;
    case "skip":
      return daneLookupFailed(facts, because);
    case "encrypt":
      return { because, atLeast: "encrypted", section: "RFC 7672 §2.2", says: "TLS, since its TLSA records are all unusable" };
    case "match":
      return {
        because,
        atLeast: "authenticated",
        section: "RFC 7672 §2.2",
        says: `a certificate that matches one of ${tlsa.dane?.records.length ?? 0} usable TLSA records`,
        ...(tlsa.dane !== undefined && { dane: tlsa.dane }),
      };
  }
}

/** RFC 7672 §2.1.2: whoever can make a look-up fail must not be able to switch DANE off. */
function daneLookupFailed({ host, tlsa }: HostFacts, because: Because): Demand {
  const detail =
    tlsa.kind === "failed"
      ? `the TLSA look-up for ${host} failed, so DANE cannot be ruled out: ${tlsa.failure.detail}`
      : `the TLSA look-up for ${host} failed`;
  // A resolver that cannot be reached is this relay's own.
  const whoActs = tlsa.kind === "failed" && tlsa.failure.reason === "unreachable" ? "you" : "receiver";
  const failure: TlsFailure = { type: "dnssec-invalid", detail, whoActs };
  return { because, atLeast: "authenticated", section: "RFC 7672 §2.1.2", says: "no connection", skip: { failure, lasting: false } };
}

function stsDemand({ sts, host }: HostFacts, { sts: says }: Cell): Demand | undefined {
  if (sts.kind !== "policy" || says === "nothing") return undefined;
  const { mode } = sts.policy;
  const because: Because = { source: "mta-sts", text: `MTA-STS ${mode} of ${sts.policyDomain}` };
  const watch = says === "watch" ? ({ watch: true } as const) : {};
  if (allowsHost(sts.policy, host)) {
    return {
      because,
      atLeast: "authenticated",
      webpki: true,
      section: "RFC 8461 §5",
      says: `a certificate of a trusted CA for ${host}`,
      ...watch,
    };
  }
  const failure: TlsFailure = {
    type: "validation-failure",
    detail: `${host} is not among the mail hosts that the MTA-STS policy of ${sts.policyDomain} lists (mx-not-in-policy)`,
    whoActs: "receiver",
  };
  return {
    because,
    atLeast: "authenticated",
    section: "RFC 8461 §4.1",
    says: `no mail to ${host}`,
    // A policy that could not be refreshed may be an old one.
    skip: { failure, lasting: sts.trouble === undefined },
    ...watch,
  };
}

interface ReadTlsa {
  readonly kind: TlsaCase;
  readonly baseDomain?: Domain;
  /** For `usable` only. */
  readonly dane?: DaneRequirement;
}

function readTlsa(facts: HostFacts, { daneDigests }: Demands): ReadTlsa {
  const { tlsa } = facts;
  switch (tlsa.kind) {
    case "not-asked":
    case "none":
      return { kind: "absent" };
    case "failed":
      return { kind: "failed" };
    case "records": {
      const { baseDomain, records } = tlsa;
      const { usable } = judgeTlsa(records, daneDigests);
      if (usable.length === 0) return { kind: "unusable", baseDomain };
      const because: Because = { source: "dane", text: `the TLSA records of ${baseDomain} (DANE)` };
      const referenceIdentifiers = daneIdentifiers(facts, baseDomain);
      const dane = { baseDomain, records: usable, referenceIdentifiers, demanded: false, because, key: tlsaKey(baseDomain, usable) };
      return { kind: "usable", baseDomain, dane };
    }
  }
}

/** Names for usage 2 (RFC 7672 §3.2.2): the base domain; the next hop, aliases resolved too, where nobody can have forged the way. */
function daneIdentifiers({ nextHop, host, origin, mxSecurity, expandedNextHop }: HostFacts, baseDomain: Domain): string[] {
  const names = new Set<string>([baseDomain]);
  // The operator's own word for where to go is the next hop here, whatever domain the message is for.
  if (origin === "configured") names.add(host);
  if (origin === "implicit" || (origin === "mx" && mxSecurity === "secure")) names.add(nextHop);
  if (origin === "mx" && mxSecurity === "secure" && expandedNextHop !== undefined) names.add(expandedNextHop);
  return [...names];
}

function stsCaseOf({ sts, host }: HostFacts): StsCase {
  if (sts.kind !== "policy" || sts.policy.mode === "none") return "none";
  if (sts.policy.mode === "testing") return "testing";
  return allowsHost(sts.policy, host) ? "enforce-listed" : "enforce-unlisted";
}

/** What proves that this is the right host. A session with a host of proof `none` is "authenticated, MX unproven". */
export function hostProof(facts: Omit<HostFacts, "tlsa">): HostProof {
  const { origin, mxSecurity, sts, host } = facts;
  if (origin === "configured" || origin === "literal") return "named";
  if (mxSecurity === "secure") return "dnssec";
  // The sender wrote this very name; a forged denial of MX records leads to no other.
  if (origin === "implicit") return "named";
  return sts.kind === "policy" && sts.policy.mode !== "none" && allowsHost(sts.policy, host) ? "sts-listed" : "none";
}

/** The scale "is this the right host?" at `sts-listed` or above. A policy in testing mode proves the name if it lists it (RFC 8689 §2). */
function isProvenHost({ origin, mxSecurity, sts, host }: HostFacts, stsCase: StsCase): boolean {
  if (origin === "literal") return false;
  // A configured name is trusted as it stands; a domain that is its own host has no other name to be led astray by.
  if (origin !== "mx" || mxSecurity === "secure") return true;
  return stsCase === "enforce-listed" || (stsCase === "testing" && sts.kind === "policy" && allowsHost(sts.policy, host));
}

function withDnssec(detail: string, { kind, detail: state }: DnssecState): string {
  return kind === "blind" || kind === "untrusted" ? `${detail}, as far as this relay can see: ${state}` : detail;
}

function whoOf({ kind }: DnssecState): TlsFailure["whoActs"] {
  return kind === "blind" || kind === "untrusted" ? "you" : "receiver";
}

/** What published policy has to say where it asks nothing. */
function idleRules({ host, sts, tlsa, nextHop }: HostFacts, cell: Cell): Rule[] {
  const rules: Rule[] = [];
  if (cell.dane === "nothing") {
    const says =
      tlsa.kind === "not-asked"
        ? tlsa.why
        : tlsa.kind === "none"
          ? `no TLSA records that DNSSEC proves (asked: ${tlsa.asked.join(", ")})`
          : "";
    rules.push({ source: "dane", text: `DANE of ${host}`, section: "RFC 7672 §2.2", effect: "idle", says });
  }
  if (cell.sts === "nothing")
    rules.push({ source: "mta-sts", text: `MTA-STS of ${nextHop}`, section: "RFC 8461 §3.3", effect: "idle", says: describeNoSts(sts) });
  return rules;
}

function describeNoSts(sts: StsFinding): string {
  switch (sts.kind) {
    case "not-asked":
      return sts.why;
    case "none":
      return "publishes no policy";
    case "policy":
      return `mode ${sts.policy.mode}`;
    case "unavailable":
      return `a policy is announced and could not be had: ${sts.failure.detail}`;
  }
}

function asideRule({ local }: Demands): Rule {
  return local.published.mode === "report"
    ? {
        source: "published",
        text: local.published.setting,
        section: "",
        effect: "won",
        says: "report: published policy is watched, not enforced",
      }
    : {
        source: "requiretls",
        text: "TLS-Required: No of the message",
        section: "RFC 8689 §3",
        effect: "won",
        says: "published policy is set aside for this message",
      };
}

function ruleOf({ because, section, says }: Demand, effect: Rule["effect"]): Rule {
  return { source: because.source, text: because.text, section, effect, says };
}
