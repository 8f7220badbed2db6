/**
 * What the operator asks, whatever a domain publishes: the floors on both scales, and how far published policy counts
 * (`tls.floor`, `tls.host`, `tls.published`, and the same by domain in `tls.domains`). Settings and next hop in, demands out.
 */
import type { NextHop } from "../mail/domain.ts";
import { canonicalPattern, findByDomain } from "../mail/domain-pattern.ts";
import type { Because, ChannelLevel } from "./requirement.ts";

/** The operator's words for the lowest acceptable channel; `opportunistic` means `clear` will do. */
export type TlsFloor = "authenticated" | "encrypted" | "opportunistic";

/**
 * The floor on the scale "is this the right host?": `proven` by an MTA-STS list or DNSSEC; `dnssec`, which together with
 * the floor `authenticated` is mandatory DANE (RFC 7672 §6).
 */
export type HostFloor = "any" | "proven" | "dnssec";

/** `report`: deliver at the floor, and show what published policy would have stopped. */
export type PublishedMode = "enforce" | "report" | "off";

export interface DomainSettings {
  readonly floor?: TlsFloor | undefined;
  readonly host?: HostFloor | undefined;
  readonly published?: PublishedMode | undefined;
}

export interface FloorSettings {
  readonly floor: TlsFloor;
  readonly host: HostFloor;
  readonly published: PublishedMode;
  /** `example.org`, `.example.org` for its subdomains, or an address literal. Each setting is looked for by itself. */
  readonly domains: Readonly<Record<string, DomainSettings>>;
}

export interface FloorDemand {
  readonly floor: TlsFloor;
  readonly because: Because;
}

export interface LocalPolicy {
  readonly floor: FloorDemand;
  readonly host: { readonly level: HostFloor; readonly because: Because };
  readonly published: { readonly mode: PublishedMode; readonly setting: string };
}

export function levelOfFloor(floor: TlsFloor): ChannelLevel {
  return floor === "opportunistic" ? "clear" : floor;
}

interface Compiled {
  readonly floors: ReadonlyMap<string, FloorDemand>;
  readonly hosts: ReadonlyMap<string, LocalPolicy["host"]>;
  readonly published: ReadonlyMap<string, LocalPolicy["published"]>;
  readonly ofRelay: LocalPolicy;
}

// Compiled once for each configuration: it is asked for with every attempt, and changes only with a reload.
const compiledSettings = new WeakMap<FloorSettings, Compiled>();

/** For each setting the value of the next hop itself, else that of the nearest `.parent`, else the relay's. */
export function findLocalPolicy(nextHop: NextHop, settings: FloorSettings): LocalPolicy {
  let compiled = compiledSettings.get(settings);
  if (compiled === undefined) {
    compiled = compile(settings);
    compiledSettings.set(settings, compiled);
  }
  const { floors, hosts, published, ofRelay } = compiled;
  if (floors.size + hosts.size + published.size === 0) return ofRelay;
  return {
    floor: findByDomain(nextHop, floors) ?? ofRelay.floor,
    host: findByDomain(nextHop, hosts) ?? ofRelay.host,
    published: findByDomain(nextHop, published) ?? ofRelay.published,
  };
}

function compile(settings: FloorSettings): Compiled {
  const floors = new Map<string, FloorDemand>();
  const hosts = new Map<string, LocalPolicy["host"]>();
  const published = new Map<string, LocalPolicy["published"]>();
  for (const [pattern, domain] of Object.entries(settings.domains)) {
    const name = canonicalPattern(pattern);
    const setting = `tls.domains: ${pattern}`;
    if (domain.floor !== undefined) floors.set(name, { floor: domain.floor, because: { source: "domain-floor", text: setting } });
    if (domain.host !== undefined) hosts.set(name, { level: domain.host, because: { source: "host-floor", text: setting } });
    if (domain.published !== undefined) published.set(name, { mode: domain.published, setting });
  }
  return {
    floors,
    hosts,
    published,
    ofRelay: relayPolicy(settings),
  };
}

/** What holds for domains of which `tls.domains` says nothing. */
export function relayPolicy({ floor, host, published }: Omit<FloorSettings, "domains">): LocalPolicy {
  return {
    floor: { floor, because: { source: "floor", text: "tls.floor of this relay" } },
    host: { level: host, because: { source: "host-floor", text: "tls.host of this relay" } },
    published: { mode: published, setting: "tls.published of this relay" },
  };
}

/** `authenticated (tls.floor of this relay)`: the demand in the operator's own words. */
export function describeDemand(demand: FloorDemand): string {
  return `${demand.floor} (${demand.because.text})`;
}
