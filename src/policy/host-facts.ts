/**
 * What is known of one host when its turn comes, and what is asked of it beside what its domain publishes: the facts that
 * policy/decision.ts decides from, and what they prove about the host itself.
 */
import type { Domain, NextHop } from "../mail/domain.ts";
import type { DnssecState, SecurityStatus, StsFinding, TlsaFinding } from "./facts.ts";
import type { LocalPolicy } from "./local-policy.ts";
import type { TlsFailure } from "./outcome.ts";
import type { Because, ChannelLevel, DaneRequirement } from "./requirement.ts";
import { allowsHost } from "./sts-policy.ts";
import type { DigestName } from "./tlsa.ts";

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
  /** While the resolver has shown nothing: when this next hop was last met with DANE, ms since 1970. */
  readonly daneSeen?: number;
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

/** One demand on this host, from wherever it comes. */
export interface Demand {
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

/**
 * The scale "is this the right host?", lowest first. `named` stands beside it: by the operator, or it is the recipient's own
 * domain or address literal.
 */
export type HostProof = "none" | "sts-listed" | "dnssec" | "named";

/** What proves that this is the right host. A session with a host of proof `none` is "authenticated, MX unproven". */
export function hostProof(facts: Omit<HostFacts, "tlsa">): HostProof {
  const { origin, mxSecurity, sts, host } = facts;
  if (origin === "configured" || origin === "literal") return "named";
  if (mxSecurity === "secure") return "dnssec";
  // The sender wrote this very name; a forged denial of MX records leads to no other.
  if (origin === "implicit") return "named";
  return sts.kind === "policy" && sts.policy.mode !== "none" && allowsHost(sts.policy, host) ? "sts-listed" : "none";
}

/** `sts-listed` or above. A policy in testing mode proves the name if it lists it (RFC 8689 §2); an address proves nothing. */
export function isProvenHost(facts: HostFacts): boolean {
  return facts.origin !== "literal" && hostProof(facts) !== "none";
}

/** Whether another look would show the same: without a resolver that validates, or a policy that could be had, it may not. */
export function isSettled({ dnssec, sts }: HostFacts): boolean {
  if (dnssec.kind !== "validating" || sts.kind === "unavailable") return false;
  return sts.kind === "not-asked" || sts.trouble === undefined;
}

/** The sentence, and that this relay cannot see DNSSEC where that is so. */
export function withDnssec(detail: string, { kind, detail: state }: DnssecState): string {
  return kind === "blind" || kind === "untrusted" ? `${detail}, as far as this relay can see: ${state}` : detail;
}

/** Whose move it is where proof by DNSSEC is missing. */
export function whoOf({ kind }: DnssecState): TlsFailure["whoActs"] {
  return kind === "blind" || kind === "untrusted" ? "you" : "receiver";
}
