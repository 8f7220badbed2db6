/**
 * A certificate chain against usable TLSA records (RFC 7672 §3, RFC 6698 §2.1): the chain as it was sent and the demand
 * in, the record that matched or why none did out. Which records are usable is policy/tlsa.ts.
 */
import type { X509Certificate } from "node:crypto";
import type { DaneVerdict } from "./outcome.ts";
import type { DaneRequirement } from "./requirement.ts";

/** Judges; asks nobody. `chain` is as sent, leaf first; `now` in ms since 1970. */
export type JudgeDane = (chain: readonly X509Certificate[], dane: DaneRequirement, now: number) => Promise<DaneVerdict>;
