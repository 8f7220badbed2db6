/**
 * A demand on the channel that a host does not meet, as a problem (RFC 8460 §4.3, RFC 8689 §4.2.1): what fell short, who
 * demands it and whether time may heal it in; the problem, and whether it may be the last word, out. Pure. The demands
 * themselves are policy/requirement.ts; meeting them is delivery/connect.ts.
 */
import type { TlsFailure, TlsOutcome } from "../policy/outcome.ts";
import { findUnmet, type TlsRequirement, type Unmet } from "../policy/requirement.ts";
import type { DeliveryProblem } from "../queue/settlement.ts";
import { problem } from "./problems.ts";
import type { SessionTarget } from "./session.ts";

export interface Shortfall {
  /** What the channel is. Where a handshake came to nothing it is clear, however much was tried. */
  readonly outcome: TlsOutcome;
  /** The host as it is set up falls short: nothing that may be over in an hour. */
  readonly lasting: boolean;
}

export function describeUnmet({ outcome, lasting }: Shortfall, target: SessionTarget): { problem: DeliveryProblem; permanent: boolean } {
  const { host, requirement, tls } = target;
  const unmet = findUnmet(outcome, requirement);
  const { type, detail, whoActs } = unmet?.failure ?? reasonOf(outcome);
  const demand =
    unmet === undefined
      ? tls === "implicit"
        ? "this host is set to implicit TLS"
        : "a login needs authenticated TLS"
      : `${unmet.because === requirement.because ? requirement.atLeast : "authenticated"} TLS is demanded by ${unmet.because.text}`;
  const text = `${detail}; ${demand}`;
  // RFC 8689 §4.2.1: such a message is not kept back for days. Everything else waits: whoever breaks TLS must not make mail bounce.
  return lasting && requirement.requireTlsKeyword?.mandatory === true
    ? { problem: problem("requiretls-unmet", "sender", requireTlsText(text, target), { host }), permanent: true }
    : { problem: problem(type, whoActs, text, { host }), permanent: false };
}

/**
 * After a handshake that came to its end: a certificate that is wrong today, or matches no TLSA record, is so tomorrow. What a
 * handshake fails of before may pass.
 */
export function isLastingFlaw({ failure, because }: Unmet, { dane }: TlsRequirement): boolean {
  const { type, whoActs } = failure;
  if (type === "certificate-host-mismatch" || type === "certificate-expired" || type === "certificate-not-trusted") return true;
  // Where our own judging failed, nothing is known of the host.
  return dane?.demanded === true && because === dane.because && whoActs === "receiver";
}

function reasonOf(outcome: TlsOutcome): TlsFailure {
  if (outcome.kind === "authenticated") throw new Error("an authenticated session falls short of no demand on its channel");
  return outcome.because;
}

function requireTlsText(text: string, { requirement }: SessionTarget): string {
  const because = requirement.requireTlsKeyword?.because.text ?? "";
  return text.includes(because) ? text : `${text}; and no less will do for ${because}`;
}
