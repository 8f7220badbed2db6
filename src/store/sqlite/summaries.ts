/**
 * The queue at a glance: what is due where, destinations by age, reasons by number. What the scheduler asks jumps from
 * key to key in an index (a "loose scan"), so deferred mail costs it nothing; what people ask is added up in slices.
 */
import type { NextHop } from "../../mail/domain.ts";
import type { DeliveryProblem, ProblemType } from "../../queue/settlement.ts";
import type { DestinationSummary, QueueTotals } from "../../queue/store.ts";
import type { Statements } from "./statements.ts";

const SLICE = 5000;
/** Counting further tells a scheduler nothing. */
const COUNT_TO = 10_000;
const MINUTE = 60_000;
/** Upper ends of the age columns, as qshape has them. */
const AGES = [5 * MINUTE, 20 * MINUTE, 80 * MINUTE, 300 * MINUTE, 1260 * MINUTE];

const DUE_NEXT_HOPS = `
WITH RECURSIVE hop (name) AS (
  SELECT min(next_hop) FROM entry WHERE due_at IS NOT NULL
  UNION ALL
  SELECT (SELECT min(next_hop) FROM entry WHERE due_at IS NOT NULL AND next_hop > hop.name) FROM hop WHERE name IS NOT NULL
), first (name, due_at) AS MATERIALIZED (
  SELECT name, (SELECT min(due_at) FROM entry INDEXED BY entry_next_hop WHERE next_hop = name AND due_at IS NOT NULL) FROM hop WHERE name IS NOT NULL
), chosen (name, due_at) AS MATERIALIZED (
  SELECT name, due_at FROM first WHERE due_at <= @now ORDER BY due_at LIMIT @limit
)
SELECT name AS nextHop,
       (SELECT count(*) FROM (SELECT 1 FROM entry INDEXED BY entry_next_hop WHERE next_hop = name AND due_at <= @now LIMIT ${COUNT_TO})) AS due
  FROM chosen ORDER BY due_at`;

interface Destination {
  messages: number;
  oldest: number;
  nextAttempt: number | undefined;
  readonly ages: [number, number, number, number, number, number];
  readonly reasons: Map<string, number>;
}

interface EntryRow {
  readonly id: number;
  readonly next_hop: NextHop;
  readonly received_at: number;
  readonly due_at: number | null;
  readonly problem_type: string | null;
}

export class Summaries {
  readonly #sql: Statements;

  constructor(sql: Statements) {
    this.#sql = sql;
  }

  findDueNextHops(now: number, limit: number): { nextHop: NextHop; due: number }[] {
    return this.#sql.all(DUE_NEXT_HOPS, { now, limit });
  }

  findNextDue(): number | undefined {
    return this.#sql.pluck<number | null>("SELECT min(due_at) FROM entry WHERE due_at IS NOT NULL") ?? undefined;
  }

  totals(): Omit<QueueTotals, "active"> {
    const waiting = this.#sql.pluck<number>("SELECT count(*) FROM entry INDEXED BY entry_due WHERE due_at IS NOT NULL") ?? 0;
    const oldest = this.#sql.pluck<number>("SELECT received_at FROM entry ORDER BY id LIMIT 1");
    const nextAttempt = this.findNextDue();
    return { waiting, ...(oldest !== undefined && { oldest }), ...(nextAttempt !== undefined && { nextAttempt }) };
  }

  *destinations(now: number, limit: number): Generator<undefined, DestinationSummary[]> {
    const destinations = new Map<NextHop, Destination>();
    for (const entry of this.#entries()) {
      if (entry === undefined) yield;
      else addEntry(destinations, entry, now);
    }
    const largest = [...destinations].sort(([, a], [, b]) => b.messages - a.messages || a.oldest - b.oldest).slice(0, limit);
    return largest.map(([nextHop, { messages, oldest, nextAttempt, ages, reasons }]) => {
      const problem = this.#exampleOf(nextHop, mostCommon(reasons));
      return {
        nextHop,
        messages,
        oldest,
        ages,
        ...(nextAttempt !== undefined && { nextAttempt }),
        ...(problem !== undefined && { problem }),
      };
    });
  }

  *countByReason(): Generator<undefined, { type: ProblemType; entries: number }[]> {
    const reasons = new Map<string, number>();
    for (const entry of this.#entries()) {
      if (entry === undefined) yield;
      else if (entry.problem_type !== null) reasons.set(entry.problem_type, (reasons.get(entry.problem_type) ?? 0) + 1);
    }
    return [...reasons].sort(([, a], [, b]) => b - a).map(([type, entries]) => ({ type: type as ProblemType, entries }));
  }

  /** All entries in the queue; `undefined` marks the end of a slice. */
  *#entries(): Generator<EntryRow | undefined> {
    for (let after = 0; ; ) {
      const slice = this.#sql.all<EntryRow>(
        "SELECT id, next_hop, received_at, due_at, problem_type FROM entry WHERE id > ? ORDER BY id LIMIT ?",
        after,
        SLICE,
      );
      yield* slice;
      const last = slice.at(-1);
      if (last === undefined) return;
      yield undefined;
      after = last.id;
    }
  }

  /** One problem of that type at that next hop, in full. */
  #exampleOf(nextHop: NextHop, type: string | undefined): DeliveryProblem | undefined {
    if (type === undefined) return undefined;
    const example =
      this.#sql.pluck<string>(
        "SELECT problem FROM entry INDEXED BY entry_next_hop WHERE next_hop = ? AND due_at IS NOT NULL AND problem_type = ? LIMIT 1",
        nextHop,
        type,
      ) ?? this.#sql.pluck<string>("SELECT problem FROM entry WHERE next_hop = ? AND problem_type = ? LIMIT 1", nextHop, type);
    return example === undefined ? undefined : (JSON.parse(example) as DeliveryProblem);
  }
}

function addEntry(destinations: Map<NextHop, Destination>, entry: EntryRow, now: number): void {
  let destination = destinations.get(entry.next_hop);
  if (destination === undefined) {
    destination = { messages: 0, oldest: entry.received_at, nextAttempt: undefined, ages: [0, 0, 0, 0, 0, 0], reasons: new Map() };
    destinations.set(entry.next_hop, destination);
  }
  destination.messages++;
  destination.oldest = Math.min(destination.oldest, entry.received_at);
  if (entry.due_at !== null) destination.nextAttempt = Math.min(destination.nextAttempt ?? Infinity, entry.due_at);
  const age = AGES.findIndex((end) => now - entry.received_at < end);
  destination.ages[age < 0 ? 5 : (age as 0 | 1 | 2 | 3 | 4)]++;
  if (entry.problem_type !== null) destination.reasons.set(entry.problem_type, (destination.reasons.get(entry.problem_type) ?? 0) + 1);
}

function mostCommon(counts: Map<string, number>): string | undefined {
  let best: string | undefined;
  for (const [value, count] of counts) if (best === undefined || count > (counts.get(best) ?? 0)) best = value;
  return best;
}
