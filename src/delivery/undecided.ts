/**
 * What is known of a recipient while hosts are asked one after the other, and the last word when none is left (RFC 5321 §4.2.1,
 * §5.1). Asking them is delivery/attempt.ts.
 */
import { cleanText, type Reply } from "../mail/reply.ts";
import type { QueuedRecipient } from "../queue/entry.ts";
import type { DeliveryProblem, HostReport } from "../queue/settlement.ts";
import { inClass, mayBeFinal, problem } from "./problems.ts";
import type { Session, TransactionReport } from "./session.ts";

/** The attempt's last word on one recipient; `at` is the host it came from. */
export type RecipientJudgement =
  | { readonly kind: "delivered"; readonly reply: Reply; readonly at: HostReport }
  | { readonly kind: "failed" | "waiting"; readonly problem: DeliveryProblem; readonly at?: HostReport };

/** What was met at a host on behalf of a recipient that stayed undecided; `rank` is how far that host came. */
export interface Sighting {
  readonly problem: DeliveryProblem;
  readonly at: HostReport;
  readonly rank: number;
}

export interface Undecided extends Sightings {
  readonly recipient: QueuedRecipient;
  judgement?: RecipientJudgement;
}

export interface Sightings {
  /** The most telling sightings so far: one temporary is enough to wait. */
  temporary?: Sighting;
  permanent?: Sighting;
}

/**
 * Nobody took the message for this recipient. It fails only if every host of the domain said so for good: `exhaustive` says
 * that none was left out.
 */
export function lastWord({ temporary, permanent }: Sightings, exhaustive: boolean, fault: Error | undefined): RecipientJudgement {
  if (fault !== undefined) {
    const detail = `this relay could not go on: ${cleanText(fault.message, 200)}`;
    return { kind: "waiting", problem: problem("connection-lost", "you", detail, { status: "4.3.0" }) };
  }
  if (temporary === undefined && permanent !== undefined && exhaustive) {
    return { kind: "failed", problem: inClass(permanent.problem, "5"), at: permanent.at };
  }
  const sighting = temporary ?? permanent;
  if (sighting !== undefined) return { kind: "waiting", problem: inClass(sighting.problem, "4"), at: sighting.at };
  return {
    kind: "waiting",
    problem: problem("destination-waiting", "nobody", "this relay stopped before the message was tried", { status: "4.3.2" }),
  };
}

/** Takes down what a host said of a recipient that it left undecided. */
export function note(undecided: Sightings, found: DeliveryProblem, at: HostReport, rank: number, permanent: boolean): void {
  const which = permanent && mayBeFinal(found) ? "permanent" : "temporary";
  const before = undecided[which];
  if (before === undefined || rank > before.rank) undecided[which] = { problem: found, at, rank };
}

/** What ended a transaction for those it did not decide. */
export function problemOf({ recipients }: Pick<TransactionReport, "recipients">): DeliveryProblem {
  let found: DeliveryProblem | undefined;
  for (const report of recipients) {
    if (report.kind === "later" || report.kind === "elsewhere") {
      if (report.problem.type === "outcome-unknown") return report.problem;
      found ??= report.problem;
    }
  }
  return found ?? problem("connection-lost", "nobody", "the connection ended before these recipients were named");
}

/** A kept connection that the host had ended while it was idle: gone, or 421, before anything else was answered. */
export function isStale({ recipients, step, mayHoldMessage }: TransactionReport, session: Session): boolean {
  if (session.usable || mayHoldMessage || step !== "mail") return false;
  let gone = false;
  for (const report of recipients) {
    if (report.kind !== "elsewhere") return false;
    const { type, reply } = report.problem;
    if (reply === undefined ? type === "connection-lost" : reply.code === 421) gone = true;
    else if (reply !== undefined) return false;
  }
  return gone;
}
