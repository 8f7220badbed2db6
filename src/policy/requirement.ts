/**
 * What must be true of a connection before the envelope may be said, and who demands it. Published policy (MTA-STS,
 * DANE) raises these demands later; today the operator's floor is the first and only source.
 */
import type { NextHop } from "../mail/domain.ts";
import { canonicalPattern, findByDomain } from "../mail/domain-pattern.ts";
import type { TlsOutcome } from "./outcome.ts";

/** The scale "is this the right peer on the wire?", lowest first. */
const CHANNEL_LEVELS = ["clear", "encrypted", "authenticated"] as const;
export type ChannelLevel = (typeof CHANNEL_LEVELS)[number];

/** The operator's words for the lowest acceptable channel; `opportunistic` means `clear` will do. */
export type TlsFloor = "authenticated" | "encrypted" | "opportunistic";

/** Who raised a demand, for people: `tls.floor of this relay`, `tls.domains: example.org`, `relayhost`. */
export interface Because {
  readonly source: "floor" | "domain-floor" | "route" | "mta-sts" | "dane" | "requiretls";
  readonly text: string;
}

/** A certificate that leads to a trusted root and is for one of these names (RFC 6125 §6, RFC 8461 §4.2). */
export interface WebPkiRequirement {
  /** A-labels; any one of them suffices. */
  readonly referenceIdentifiers: readonly string[];
  readonly because: Because;
}

export interface TlsRequirement {
  /** The least the channel must be. Every part present must hold. */
  readonly atLeast: ChannelLevel;
  readonly because: Because;
  /** Names to verify against. Present whenever a name is known, so that every handshake is judged in full. */
  readonly webpki: WebPkiRequirement;
}

export function levelOfFloor(floor: TlsFloor): ChannelLevel {
  return floor === "opportunistic" ? "clear" : floor;
}

/** True if what the channel is reaches what is demanded. */
export function meetsRequirement(outcome: TlsOutcome, requirement: TlsRequirement): boolean {
  return CHANNEL_LEVELS.indexOf(outcome.kind) >= CHANNEL_LEVELS.indexOf(requirement.atLeast);
}

/** What the operator asks of hosts that publish nothing: `tls.floor` and `tls.domains`. */
export interface FloorSettings {
  readonly floor: TlsFloor;
  /** `example.org`, `.example.org` for its subdomains, or an address literal. */
  readonly domains: Readonly<Record<string, { readonly floor: TlsFloor }>>;
}

export interface FloorDemand {
  readonly floor: TlsFloor;
  readonly because: Because;
}

const OF_RELAY = "tls.floor of this relay";

// Compiled once for each configuration: floors are asked for with every attempt, and change only with a reload.
const compiledFloors = new WeakMap<FloorSettings["domains"], ReadonlyMap<string, FloorDemand>>();

/** The floor for mail to this next hop: its own, else that of the nearest `.parent`, else the relay's. */
export function findFloor(nextHop: NextHop, settings: FloorSettings): FloorDemand {
  const floors = floorsOf(settings.domains);
  const found = floors.size === 0 ? undefined : findByDomain(nextHop, floors);
  return found ?? { floor: settings.floor, because: { source: "floor", text: OF_RELAY } };
}

function floorsOf(domains: FloorSettings["domains"]): ReadonlyMap<string, FloorDemand> {
  let floors = compiledFloors.get(domains);
  if (floors === undefined) {
    floors = new Map(
      Object.entries(domains).map(([pattern, { floor }]) => [
        canonicalPattern(pattern),
        { floor, because: { source: "domain-floor", text: `tls.domains: ${pattern}` } },
      ]),
    );
    compiledFloors.set(domains, floors);
  }
  return floors;
}

/** The demand on one host. Without a floor that asks for proof its certificate is verified all the same, for the record. */
export function requirementFor(demand: FloorDemand, referenceIdentifiers: readonly string[]): TlsRequirement {
  const { because } = demand;
  return { atLeast: levelOfFloor(demand.floor), because, webpki: { referenceIdentifiers, because } };
}

/** `authenticated (tls.floor of this relay)`: the demand in the operator's own words. */
export function describeDemand(demand: FloorDemand): string {
  return `${demand.floor} (${demand.because.text})`;
}
