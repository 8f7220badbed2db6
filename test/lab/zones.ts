/** The common zones: names of many scenarios side by side, so that a zone is signed once. */
import { FIXED } from "./world/addresses.ts";
import type { ZoneOptions } from "./world/zones.ts";

const nsd = FIXED.nsd;

export const ZONES = {
  signed: { name: "sec.test", server: nsd },
  nsec3: { name: "nsec3.test", server: nsd, signing: "nsec3" },
  /** NSEC3 with opt-out: what does not exist is not proven not to. */
  optout: { name: "optout.test", server: nsd, signing: "optout" },
  /** Unsigned, by proof of its signed parent. */
  plain: { name: "plain.test", server: nsd, signing: "none" },
  /** Unsigned, below a gap of the zone with opt-out. */
  plainBelowOptout: { name: "plain.optout.test", server: nsd, signing: "none" },
  /** Signed, and no DS leads there. */
  island: { name: "island.test", server: nsd, ds: "none" },
  expired: { name: "expired.test", server: nsd, expired: true },
  wrongDs: { name: "wrongds.test", server: nsd, ds: "wrong" },
  unknownAlgorithm: { name: "alg.test", server: nsd, ds: "unknown-algorithm" },
  unknownDigest: { name: "digest.test", server: nsd, ds: "unknown-digest" },
  /** More NSEC3 iterations than a validator bears: its denials prove nothing. */
  iterations: { name: "iter.test", server: nsd, signing: "nsec3", iterations: 500 },
  /** A second signed zone and a second unsigned one, for aliases that lead away. */
  other: { name: "other.test", server: nsd },
  otherPlain: { name: "elsewhere.test", server: nsd, signing: "none" },
  /** Signed and unsigned, behind a name server that meddles with what scenarios name. */
  meddled: { name: "meddled.test", server: FIXED.meddler },
  meddledPlain: { name: "meddledplain.test", server: FIXED.meddler, signing: "none" },
} as const satisfies Record<string, { readonly name: string } & ZoneOptions>;

export type BaseZone = keyof typeof ZONES;

/** Names of zones that single scenarios may have for themselves. */
export const OWN_ZONES = Array.from({ length: 90 }, (_, at) => `z${String(at + 1).padStart(2, "0")}.test`);
