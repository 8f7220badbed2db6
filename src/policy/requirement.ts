/**
 * What must be true of a connection before the envelope may be said, and who demands it. Published policy (MTA-STS,
 * DANE) raises these demands later; today the operator's floor is the first and only source.
 */
import type { TlsOutcome } from "./outcome.ts";

/** The scale "is this the right peer on the wire?", lowest first. */
export const CHANNEL_LEVELS = ["clear", "encrypted", "authenticated"] as const;
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

/** The first of two levels that is not lower than the other. */
export function higherLevel(a: ChannelLevel, b: ChannelLevel): ChannelLevel {
  return CHANNEL_LEVELS.indexOf(a) >= CHANNEL_LEVELS.indexOf(b) ? a : b;
}

/** True if what the channel is reaches what is demanded. */
export function meetsRequirement(outcome: TlsOutcome, requirement: TlsRequirement): boolean {
  return CHANNEL_LEVELS.indexOf(outcome.kind) >= CHANNEL_LEVELS.indexOf(requirement.atLeast);
}
