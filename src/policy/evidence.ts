/**
 * Facts and rules as they are kept with an attempt and shown by `queue why` and `check`: findings in, small plain values
 * out. Bounded: DNS and policy hosts can name thousands, and what is told is stored with every attempt.
 */
import type { Rule } from "./decision.ts";
import type { HostProof } from "./host-facts.ts";
import type { DnssecState, Finding, MxRecord, SecurityStatus, StsFinding, TlsaFinding } from "./facts.ts";
import type { TlsFailure } from "./outcome.ts";
import type { Unmet } from "./requirement.ts";
import type { StsMode } from "./sts-policy.ts";
import { describeTlsa } from "./tlsa.ts";

export type StsEvidence =
  | { readonly kind: "not-asked"; readonly why: string }
  /** `trouble`: the look-up of the record had no answer, which counts as none (RFC 8461 §3.1). */
  | { readonly kind: "none"; readonly trouble?: TlsFailure }
  | {
      readonly kind: "policy";
      readonly mode: StsMode;
      readonly id: string;
      readonly mx: readonly string[];
      readonly fetchedAt: number;
      readonly expires: number;
      readonly trouble?: TlsFailure;
    }
  | { readonly kind: "unavailable"; readonly failure: TlsFailure };

export type TlsaEvidence =
  | { readonly kind: "not-asked"; readonly why: string }
  | { readonly kind: "none"; readonly asked: readonly string[]; readonly security: SecurityStatus; readonly expires: number }
  | { readonly kind: "records"; readonly baseDomain: string; readonly records: readonly string[]; readonly expires: number }
  | { readonly kind: "failed"; readonly asked: string; readonly detail: string; readonly extendedError?: number };

/** What one next hop published, and what DNS was worth just then. */
export interface NextHopEvidence {
  readonly dnssec: DnssecState["kind"];
  /** Absent where the route left nothing to ask. */
  readonly mx?:
    | { readonly kind: "records" | "none" | "no-such-name"; readonly security: SecurityStatus; readonly expires: number }
    | { readonly kind: "failed"; readonly detail: string };
  readonly sts: StsEvidence;
}

export interface HostEvidence {
  /** Of the host's addresses; absent where they were not asked of our resolver. */
  readonly addresses?: SecurityStatus;
  /** What proves that it is the right host, whoever answers there. */
  readonly host: HostProof;
  readonly tlsa: TlsaEvidence;
  readonly rules: readonly Rule[];
  /** What published policy would have stopped here, where it does not bind. */
  readonly wouldHaveFailed?: readonly Unmet[];
}

/**
 * What an authenticated session is called, wherever it is told of. A certificate proves the name that DNS gave, not that DNS
 * gave the right one (RFC 7672 §2.2.1). `daneHeld`: undefined where no TLSA records were compared.
 */
export function authenticatedWord(daneHeld: boolean | undefined, proof: HostProof | undefined): string {
  if (proof === "none") return daneHeld === true ? "host authenticated, MX unsigned" : "authenticated, MX unproven";
  return daneHeld === false ? "authenticated, but not by DANE" : "authenticated";
}

const MOST_SHOWN = 10;
/** 32 octets and a bit: a digest in full, a certificate by its beginning. */
const LONGEST_RECORD = 160;

export function stsEvidence(sts: StsFinding): StsEvidence {
  switch (sts.kind) {
    case "not-asked":
      return { kind: "not-asked", why: sts.why };
    case "none":
      return { kind: "none", ...(sts.trouble !== undefined && { trouble: withoutServed(sts.trouble) }) };
    case "unavailable":
      return { kind: "unavailable", failure: withoutServed(sts.failure) };
    case "policy": {
      const { policy, id, fetchedAt, expires, trouble } = sts;
      const mx = policy.mx.slice(0, MOST_SHOWN);
      return {
        kind: "policy",
        mode: policy.mode,
        id,
        mx,
        fetchedAt,
        expires,
        ...(trouble !== undefined && { trouble: withoutServed(trouble) }),
      };
    }
  }
}

/** What was served is kept once for its domain; with each attempt it would be 4 KB. */
function withoutServed({ served: _served, ...failure }: TlsFailure): TlsFailure {
  return failure;
}

export function tlsaEvidence(tlsa: TlsaFinding): TlsaEvidence {
  switch (tlsa.kind) {
    case "not-asked":
    case "none":
      return tlsa;
    case "records": {
      const records = tlsa.records.slice(0, MOST_SHOWN).map((record) => describeTlsa(record).slice(0, LONGEST_RECORD));
      return { kind: "records", baseDomain: tlsa.baseDomain, records, expires: tlsa.expires };
    }
    case "failed": {
      const { detail, extendedError } = tlsa.failure;
      return { kind: "failed", asked: tlsa.asked, detail, ...(extendedError !== undefined && { extendedError }) };
    }
  }
}

export function mxEvidence(mx: Finding<MxRecord>): NonNullable<NextHopEvidence["mx"]> {
  switch (mx.kind) {
    case "failed":
      return { kind: "failed", detail: mx.detail };
    case "no-such-name":
      return { kind: "no-such-name", security: mx.security, expires: mx.expires };
    case "answer":
      return { kind: mx.records.length === 0 ? "none" : "records", security: mx.security, expires: mx.expires };
  }
}
