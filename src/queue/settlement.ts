/**
 * What an attempt led to, as one value that the store saves in one transaction: who has the message, who waits until
 * when, which notices are due. Made by delivery/settle.ts; obeyed by store/.
 */
import type { Reply } from "../mail/reply.ts";
import type { HostEvidence, NextHopEvidence } from "../policy/evidence.ts";
import type { TlsObservation } from "../policy/observation.ts";
import type { TlsFailure, TlsOutcome, WhoActs } from "../policy/outcome.ts";
import type { NewMessage } from "./entry.ts";

/** Why a recipient was not delivered. `type` is stable and countable; `detail` is a clean sentence. */
export interface DeliveryProblem {
  /** An RFC 8460 type, or one of ours: see docs/reasons.md. */
  readonly type: ProblemType;
  readonly detail: string;
  readonly whoActs: WhoActs;
  /** RFC 3463 status for logs and notices: `4.7.5`. */
  readonly status: string;
  /** What the other side said, where it was a reply that decided. */
  readonly reply?: Reply;
  /** The host that said it or was refused, where there was one. */
  readonly host?: string;
}

export type ProblemType =
  | TlsFailure["type"]
  | "dns-failure" // a question had no answer
  | "domain-not-found" // RFC 5321 §5.1: NXDOMAIN, or no mail host
  | "null-mx" // RFC 7505
  | "loop" // the best host is ourselves, RFC 5321 §5.1
  | "forbidden-address" // special-use address named by a stranger
  | "connect-failed" // refused, unreachable, timed out
  | "connection-lost"
  | "timeout" // connected, then silent past RFC 5321 §4.5.3.2
  | "protocol-error"
  | "rejected" // a 4yz or 5yz reply
  | "requiretls-not-offered" // RFC 8689 §4.2.1 step 5: 5.7.30
  | "requiretls-unmet" // RFC 8689 §4.2.1 steps 2 to 4: 5.7.10
  | "resolver-blind" // this relay's resolver does not validate DNSSEC, and the domain is known to use DANE
  | "outcome-unknown" // lost after the final dot
  | "message-too-big"
  | "needs-8bitmime"
  | "needs-smtputf8"
  | "authentication-failed" // our login at a relay host
  | "dkim-failed" // the message is to be signed, and its key does not sign
  | "not-configured" // this relay lacks a setting, e.g. mailname
  | "destination-waiting" // another message's failure there has just been seen
  | "expired"
  | "dropped-by-operator";

export type RecipientOutcome =
  | { readonly kind: "delivered"; readonly host: string; readonly reply: Reply }
  | { readonly kind: "waiting"; readonly problem: DeliveryProblem }
  | { readonly kind: "failed"; readonly problem: DeliveryProblem }
  | { readonly kind: "expired"; readonly problem: DeliveryProblem };

/** One host as this attempt met it; the auditor's evidence. */
export interface HostReport {
  /** The MX name, or the configured or literal host. */
  readonly host: string;
  readonly address?: string;
  readonly port?: number;
  /** How far it came: the step that failed, or `done`. */
  readonly step:
    | "skipped"
    | "connect"
    | "greeting"
    | "ehlo"
    | "starttls"
    | "handshake"
    | "auth"
    | "mail"
    | "rcpt"
    | "data"
    | "final-dot"
    | "done";
  readonly tls?: TlsOutcome;
  readonly problem?: DeliveryProblem;
  /** True when an open connection served this message. */
  readonly reused?: boolean;
  /** What was known of this host, the rules that followed, and what published policy would have stopped. */
  readonly policy?: HostEvidence;
}

/** An attempt as it is kept for `queue why`. */
export interface AttemptRecord {
  readonly startedAt: number;
  readonly endedAt: number;
  readonly hosts: readonly HostReport[];
  /** What was demanded, in words: `authenticated (tls.floor of this relay)`. */
  readonly demanded: string;
  /** What the next hop published, and what DNS was worth, when the attempt began. */
  readonly policy?: NextHopEvidence;
  /** The last word for those not delivered; absent when all were. */
  readonly problem?: DeliveryProblem;
}

export interface Notice {
  readonly message: NewMessage;
  readonly body: Buffer;
}

export interface Settlement {
  readonly attempt: AttemptRecord;
  /** One for each recipient of the entry. */
  readonly recipients: readonly { readonly recipientId: number; readonly outcome: RecipientOutcome }[];
  /** When the waiting ones are tried again; absent when none waits. */
  readonly nextAttempt?: number;
  /** Enqueued in the same transaction (RFC 5321 §6.1: a failure and its notice are one fact). */
  readonly notices: readonly Notice[];
  /** What TLS-RPT counts of this attempt, in the same transaction (RFC 8460 §4.2). Absent: nothing new, as with a session that was counted before. */
  readonly observations?: readonly TlsObservation[];
}
