/**
 * What must be true of a connection before the envelope may be said, and who demands it; and whether an outcome meets it.
 * Which demands a host is under is policy/decision.ts; what the operator asks is policy/local-policy.ts.
 */
import type { Domain } from "../mail/domain.ts";
import type { TlsaRecord } from "./facts.ts";
import type { TlsFailure, TlsOutcome } from "./outcome.ts";

/** The scale "is this the right peer on the wire?", lowest first. */
const CHANNEL_LEVELS = ["clear", "encrypted", "authenticated"] as const;
export type ChannelLevel = (typeof CHANNEL_LEVELS)[number];

/** Who raised a demand, for people: `tls.floor of this relay`, `MTA-STS enforce of example.org`, `relayhost`. */
export interface Because {
  readonly source: "floor" | "domain-floor" | "route" | "mta-sts" | "dane" | "requiretls" | "host-floor";
  readonly text: string;
}

/** A certificate that leads to a trusted root and is for one of these names (RFC 6125 §6, RFC 8461 §4.2). */
export interface WebPkiRequirement {
  /** A-labels; any one of them suffices. */
  readonly referenceIdentifiers: readonly string[];
  /** False: judged for the record only, unless `atLeast` asks for a proof and no other is there. */
  readonly demanded: boolean;
  readonly because: Because;
}

/** A session that matches one of these records (RFC 7672 §3). */
export interface DaneRequirement {
  /** RFC 7672 §2.2.3; also the name that goes out as SNI (§8.1). */
  readonly baseDomain: Domain;
  /** The usable records that digest agility leaves (RFC 7671 §9); never empty. */
  readonly records: readonly TlsaRecord[];
  /** Names that a certificate below a usage 2 anchor may carry (RFC 7672 §3.2.2). */
  readonly referenceIdentifiers: readonly string[];
  /** False: judged for the record only. */
  readonly demanded: boolean;
  readonly because: Because;
  /** The same for the same base domain and records: what one session proved holds for another message of the same key. */
  readonly key: string;
}

export interface TlsRequirement {
  /** The least the channel must be. Every part that is demanded must hold besides. */
  readonly atLeast: ChannelLevel;
  readonly because: Because;
  /** Names to verify against. Present whenever a name is known, so that every handshake is judged in full. */
  readonly webpki: WebPkiRequirement;
  readonly dane?: DaneRequirement;
  /** MAIL says REQUIRETLS (RFC 8689 §4.2.1). `mandatory`: the EHLO inside TLS must offer it, or the host is out. */
  readonly requireTlsKeyword?: { readonly mandatory: boolean; readonly because: Because };
}

/** A demand that an outcome does not meet, and who made it. */
export interface Unmet {
  readonly failure: TlsFailure;
  readonly because: Because;
}

/** True if the first level is as high as the second, or higher. */
export function isAtLeast(level: ChannelLevel, least: ChannelLevel): boolean {
  return CHANNEL_LEVELS.indexOf(level) >= CHANNEL_LEVELS.indexOf(least);
}

/**
 * The first demand that the outcome does not meet; undefined if it may carry the message. All demands must hold: a passing
 * MTA-STS check never rescues a failing DANE check (RFC 8461 §2), nor the other way round (§5 knows no exception).
 */
export function findUnmet(outcome: TlsOutcome, requirement: TlsRequirement): Unmet | undefined {
  const { atLeast, because, dane, webpki } = requirement;
  if (outcome.kind === "clear") {
    if (dane?.demanded === true) return { failure: outcome.because, because: dane.because };
    if (webpki.demanded) return { failure: outcome.because, because: webpki.because };
    return atLeast === "clear" ? undefined : { failure: outcome.because, because };
  }
  const { session } = outcome;
  if (dane?.demanded === true && session.dane?.held !== true) {
    return { failure: session.dane?.failure ?? notJudged(dane), because: dane.because };
  }
  if (webpki.demanded && !session.webpki.held) return { failure: session.webpki.failure, because: webpki.because };
  if (outcome.kind === "authenticated") return undefined;
  // Here a proof may hold on its own, over a suite that does not count: the outcome says so.
  if (dane?.demanded === true) return { failure: outcome.because, because: dane.because };
  if (webpki.demanded) return { failure: outcome.because, because: webpki.because };
  return isAtLeast("encrypted", atLeast) ? undefined : { failure: outcome.because, because };
}

/** True if what the channel is reaches everything that is demanded. */
export function meetsRequirement(outcome: TlsOutcome, requirement: TlsRequirement): boolean {
  return findUnmet(outcome, requirement) === undefined;
}

/** A session that was opened before these records were known has shown nothing about them. */
function notJudged({ baseDomain }: DaneRequirement): TlsFailure {
  return { type: "validation-failure", detail: `the session was not compared with the TLSA records of ${baseDomain}`, whoActs: "you" };
}
