/** A settlement as the rows that save it: made on the main thread, so that the writer only binds and commits. */
import type { Lease } from "../../queue/entry.ts";
import type { DeliveryProblem, RecipientOutcome, Settlement } from "../../queue/settlement.ts";
import { attemptText } from "./attempt-text.ts";
import { observedSession } from "./observed.ts";
import type { EnqueueRows, Row, SettleRows } from "./wire.ts";

export function settleRows(lease: Lease, settlement: Settlement, notices: readonly EnqueueRows[]): SettleRows {
  const { attempt, recipients, nextAttempt, observations } = settlement;
  const problem = attempt.problem ?? recipients.map(({ outcome }) => problemOf(outcome)).find((found) => found !== undefined);
  const rows: SettleRows = {
    entry: lease.entryId,
    generation: lease.generation,
    dueAt: nextAttempt ?? null,
    problemType: problem?.type ?? null,
    problem: problem === undefined ? null : JSON.stringify(problem),
    recipients: recipients.map(({ recipientId, outcome }) => outcomeRow(lease, recipientId, outcome, attempt.endedAt)),
    final: recipients.reduce((count, { outcome }) => count + (outcome.kind === "waiting" ? 0 : 1), 0),
    startedAt: attempt.startedAt,
    endedAt: attempt.endedAt,
    // Text costs the event loop less than an object that is copied to another thread and written there.
    record: attemptText(attempt),
    notices,
  };
  if (observations !== undefined) rows.observed = observations.map(observedSession);
  return rows;
}

function problemOf(outcome: RecipientOutcome): DeliveryProblem | undefined {
  return outcome.kind === "delivered" ? undefined : outcome.problem;
}

/** State, settled at, outcome, id, entry. */
function outcomeRow(lease: Lease, recipientId: number, outcome: RecipientOutcome, endedAt: number): Row {
  const detail = outcome.kind === "delivered" ? { host: outcome.host, reply: outcome.reply } : outcome.problem;
  return [outcome.kind, outcome.kind === "waiting" ? null : endedAt, JSON.stringify(detail), recipientId, lease.entryId];
}
