/**
 * What is kept of published policy, and what the operator makes of it, as answers: the desk's values in, plain values for the
 * command line and JSON out. Domains are checked here, as they come from whoever asked.
 */
import type { Domain } from "../mail/domain.ts";
import type { DnssecState } from "../policy/facts.ts";
import {
  type DomainSettings,
  findLocalPolicy,
  type HostFloor,
  type LocalPolicy,
  type PublishedMode,
  relayPolicy,
  type TlsFloor,
} from "../policy/local-policy.ts";
import { parseStsPolicy, type StsMode } from "../policy/sts-policy.ts";
import type { PolicyDesk, PolicyRefresh } from "../queue/check.ts";
import type { KeptStsPolicy } from "../queue/store.ts";
import { askedDomain, askedNextHop } from "./asked.ts";

export interface PolicyIo {
  readonly policies: PolicyDesk;
  dnssec(): DnssecState | undefined;
  readonly clock: { now(): number };
}

/** A policy as it is kept, its text read. */
export interface ShownPolicy {
  readonly policyDomain: string;
  readonly policy?: {
    readonly id: string;
    readonly mode: StsMode;
    readonly mx: readonly string[];
    /** Seconds. */
    readonly maxAge: number;
    readonly fetchedAt: number;
    readonly expires: number;
    /** As it was served. */
    readonly text: string;
  };
  readonly failure?: NonNullable<KeptStsPolicy["failure"]>;
  readonly lastUsed: number;
}

export interface PolicyList {
  readonly now: number;
  readonly policies: readonly ShownPolicy[];
  readonly next?: string;
}

/** The operator's part for one next hop, or for all; and what is kept of the domain. */
export interface PolicyView {
  readonly now: number;
  readonly domain?: string;
  readonly floor: { readonly level: TlsFloor; readonly setting: string };
  readonly host: { readonly level: HostFloor; readonly setting: string };
  readonly published: { readonly mode: PublishedMode; readonly setting: string };
  /** Without a domain: the settings of single domains. */
  readonly domains?: Readonly<Record<string, DomainSettings>>;
  readonly dnssec?: DnssecState;
  readonly kept?: ShownPolicy;
  /** When mail for it last met secure TLSA records. */
  readonly daneSeen?: number;
}

export interface PolicyRefreshed extends PolicyRefresh {
  readonly now: number;
}

export async function listPolicies(page: { limit: number; after?: string }, { policies, clock }: PolicyIo): Promise<PolicyList> {
  const { policies: kept, next } = await policies.list(page);
  return { now: clock.now(), policies: kept.map(shownPolicy), ...(next !== undefined && { next }) };
}

export async function showPolicy(domain: string | undefined, { policies, dnssec, clock }: PolicyIo): Promise<PolicyView> {
  const floors = policies.floors();
  const state = dnssec();
  const common = { now: clock.now(), ...(state !== undefined && { dnssec: state }) };
  if (domain === undefined) return { ...common, ...shownLocal(relayPolicy(floors)), domains: floors.domains };
  const nextHop = askedNextHop(domain);
  const [kept, daneSeen] = await Promise.all([
    // An address literal has no policy (RFC 8461 §3.4).
    nextHop.startsWith("[") ? undefined : policies.show(nextHop as Domain),
    policies.daneSeen(nextHop),
  ]);
  return {
    ...common,
    domain: nextHop,
    ...shownLocal(findLocalPolicy(nextHop, floors)),
    ...(kept !== undefined && { kept: shownPolicy(kept) }),
    ...(daneSeen !== undefined && { daneSeen }),
  };
}

export async function refreshPolicy(domain: string, { policies, clock }: PolicyIo): Promise<PolicyRefreshed> {
  const refreshed = await policies.refresh(askedDomain(domain));
  return { ...refreshed, now: clock.now() };
}

function shownLocal({ floor, host, published }: LocalPolicy): Pick<PolicyView, "floor" | "host" | "published"> {
  return {
    floor: { level: floor.floor, setting: floor.because.text },
    host: { level: host.level, setting: host.because.text },
    published,
  };
}

function shownPolicy({ policyDomain, policy, failure, lastUsed }: KeptStsPolicy): ShownPolicy {
  const read = policy === undefined ? undefined : parseStsPolicy(policy.text);
  return {
    policyDomain,
    ...(policy !== undefined &&
      read?.ok === true && {
        policy: { ...policy, mode: read.value.mode, mx: read.value.mx, maxAge: read.value.maxAge },
      }),
    ...(failure !== undefined && { failure }),
    lastUsed,
  };
}
