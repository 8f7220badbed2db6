/**
 * Leasing what is due at one next hop, fairly: submitters take turns, oldest first within each, so that one client's
 * hundred thousand messages do not stand before another's one.
 */
import type Database from "better-sqlite3";
import { ENTRY_COLUMNS, entryFacts, MESSAGE_COLUMNS, messagePlace, RECIPIENT_COLUMNS } from "./rows.ts";
import type { LeasedRows, Row } from "./wire.ts";

/** Small bodies come along with the lease, up to so many octets for all of them together. */
const INLINE_BUDGET = 4 * 1024 * 1024;

/** So many submitters without anything due are passed over before an answer with few entries is good enough. */
const PATIENCE = 256;
/** So many next hops' turns are remembered. */
const TURNS = 10_000;

interface Turn {
  readonly submitter: string;
  readonly due: number[];
}

export class DueLeases {
  readonly #nextSubmitter: Database.Statement<[string, string], string>;
  readonly #dueOf: Database.Statement<[string, string, number, number], number>;
  readonly #lease: Database.Statement<[number, number], Row>;
  readonly #message: Database.Statement<[number], Row>;
  readonly #recipients: Database.Statement<[number, number], Row>;
  readonly #body: Database.Statement<[number], Buffer>;
  /** Who was served last, by next hop: the turn goes on behind them. */
  readonly #lastServed = new Map<string, string>();

  constructor(database: Database.Database) {
    const plucked = <Parameters extends unknown[], Result>(sql: string) => database.prepare<Parameters, Result>(sql).pluck();
    this.#nextSubmitter = plucked(
      "SELECT submitter FROM entry INDEXED BY entry_turn WHERE next_hop = ? AND submitter > ? AND due_at IS NOT NULL ORDER BY submitter LIMIT 1",
    );
    this.#dueOf = plucked(
      "SELECT id FROM entry INDEXED BY entry_turn WHERE next_hop = ? AND submitter = ? AND due_at <= ? ORDER BY due_at, id LIMIT ?",
    );
    this.#lease = database
      .prepare<[number, number], Row>(
        `UPDATE entry SET generation = generation + 1, attempts = attempts + 1, due_at = NULL, lease_until = ? WHERE id = ? RETURNING ${ENTRY_COLUMNS}`,
      )
      .raw();
    this.#message = database.prepare<[number], Row>(`SELECT ${MESSAGE_COLUMNS} FROM message WHERE number = ?`).raw();
    this.#recipients = database
      .prepare<[number, number], Row>(
        `SELECT ${RECIPIENT_COLUMNS} FROM recipient WHERE id >= ? AND id < ? AND state = 'waiting' ORDER BY id`,
      )
      .raw();
    this.#body = plucked("SELECT octets FROM body WHERE message = ?");
  }

  lease(nextHop: string, limit: number, now: number, until: number): LeasedRows[] {
    let budget = INLINE_BUDGET;
    const leased: LeasedRows[] = [];
    for (const id of this.#choose(nextHop, limit, now)) {
      const row = this.#lease.get(until, id);
      if (row === undefined) continue;
      const entry = entryFacts(row);
      const message = this.#message.get(entry.message);
      if (message === undefined) throw new Error(`entry ${id} has no message`);
      let body: Buffer | undefined;
      if (messagePlace(message).chunkedBody === null && budget > 0) {
        body = this.#body.get(entry.message);
        budget -= body?.length ?? 0;
      }
      leased.push({
        entry: row,
        message,
        recipients: this.#recipients.all(entry.firstRecipient, entry.firstRecipient + entry.recipients),
        body,
      });
    }
    return leased;
  }

  #choose(nextHop: string, limit: number, now: number): number[] {
    const turns = this.#findTurns(nextHop, limit, now);
    const chosen: number[] = [];
    for (let round = 0; chosen.length < limit; round++) {
      const before = chosen.length;
      for (const turn of turns) {
        const id = turn.due[round];
        if (id === undefined || chosen.length === limit) continue;
        chosen.push(id);
        this.#remember(nextHop, turn.submitter);
      }
      if (chosen.length === before) break;
    }
    return chosen;
  }

  /** Submitters with something due, beginning behind the one served last, each with its oldest entries. */
  #findTurns(nextHop: string, limit: number, now: number): Turn[] {
    const turns: Turn[] = [];
    const last = this.#lastServed.get(nextHop) ?? "";
    let passed = 0;
    let wrapped = last === "";
    for (let submitter = this.#nextSubmitter.get(nextHop, last); ; submitter = this.#nextSubmitter.get(nextHop, submitter)) {
      if (submitter === undefined) {
        if (wrapped) break;
        wrapped = true;
        submitter = this.#nextSubmitter.get(nextHop, "");
        if (submitter === undefined) break;
      }
      // Round the table once: the last served comes last.
      if (wrapped && last !== "" && submitter > last) break;
      const due = this.#dueOf.all(nextHop, submitter, now, limit);
      if (due.length > 0) turns.push({ submitter, due });
      else passed++;
      if (turns.length >= limit || (passed >= PATIENCE && turns.length > 0)) break;
    }
    return turns;
  }

  #remember(nextHop: string, submitter: string): void {
    this.#lastServed.delete(nextHop);
    this.#lastServed.set(nextHop, submitter);
    if (this.#lastServed.size > TURNS) {
      const oldest = this.#lastServed.keys().next();
      if (oldest.done !== true) this.#lastServed.delete(oldest.value);
    }
  }
}
