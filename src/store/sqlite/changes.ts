/**
 * Every change the writer makes, as prepared statements inside somebody else's transaction. Grouping, retries and
 * replies are writer.ts; choosing what to lease is lease-due.ts.
 */
import type Database from "better-sqlite3";
import { SessionCounts } from "./count-sessions.ts";
import { changeDkimKeys } from "./dkim-keys.ts";
import { BROKEN_PROMISE } from "./errors.ts";
import { DueLeases } from "./lease-due.ts";
import { STS_COLUMNS } from "./policies.ts";
import { changeReports, forgetReports, voidClaims } from "./report-changes.ts";
import { ENTRY_COLUMNS, MESSAGE_COLUMNS, messagePlace, placeholders, RECIPIENT_COLUMNS } from "./rows.ts";
import { Statements } from "./statements.ts";
import type { EnqueueRows, LeaseKey, Row, SettleRows, WriterRequest } from "./wire.ts";

/** Chunks taken out in one bite: about a megabyte, so that other mail waits a few milliseconds at most. */
const CHUNKS_PER_BITE = 4;

/** What an entry leaves behind when it is settled. */
interface Settled {
  readonly message: number;
  readonly attempts: number;
  readonly waiting: number;
  readonly first_sibling: number;
  readonly siblings: number;
  readonly chunked_body: number | null;
}

class BrokenPromise extends Error {
  readonly code = BROKEN_PROMISE;
}

export class Changes {
  readonly #database: Database.Database;
  readonly #due: DueLeases;
  readonly #counts: SessionCounts;
  readonly #sql: Statements;
  readonly #insertMessage: Database.Statement<[Row]>;
  readonly #insertBody: Database.Statement<[number, Uint8Array]>;
  readonly #insertRecipient: Database.Statement<[Row]>;
  readonly #insertEntry: Database.Statement<[Row]>;
  readonly #finish: Database.Statement<[number, number], Settled>;
  readonly #wait: Database.Statement<unknown[], Settled>;
  readonly #settleRecipient: Database.Statement<[Row]>;
  readonly #insertAttempt: Database.Statement<unknown[]>;
  readonly #siblingLives: Database.Statement<[number, number]>;
  readonly #deleteBody: Database.Statement<[number]>;
  /** Large bodies without a message, to be taken out when nothing else is to be done. */
  readonly abandoned: number[] = [];

  constructor(database: Database.Database) {
    this.#database = database;
    this.#sql = new Statements(database);
    this.#due = new DueLeases(database);
    this.#counts = new SessionCounts(database);
    this.#insertMessage = database.prepare(`INSERT INTO message (${MESSAGE_COLUMNS}) VALUES (${placeholders(MESSAGE_COLUMNS)})`);
    this.#insertBody = database.prepare("INSERT INTO body (message, octets) VALUES (?, ?)");
    this.#insertRecipient = database.prepare(`INSERT INTO recipient (${RECIPIENT_COLUMNS}) VALUES (${placeholders(RECIPIENT_COLUMNS)})`);
    this.#insertEntry = database.prepare(`INSERT INTO entry (${ENTRY_COLUMNS}) VALUES (${placeholders(ENTRY_COLUMNS)})`);
    // A lease that ran out while nobody else took the entry still counts: better a late outcome than a second delivery.
    const leased = "id = ? AND generation = ? AND lease_until IS NOT NULL";
    const left = "RETURNING message, attempts, waiting, first_sibling, siblings, chunked_body";
    this.#finish = database.prepare(`DELETE FROM entry WHERE ${leased} ${left}`);
    this.#wait = database.prepare(
      `UPDATE entry SET due_at = ?, lease_until = NULL, waiting = waiting - ?, problem_type = ?, problem = ? WHERE ${leased} ${left}`,
    );
    // A final state never changes (RFC 5321 §4.2.5).
    this.#settleRecipient = database.prepare(
      "UPDATE recipient SET state = ?, settled_at = ?, outcome = ? WHERE id = ? AND entry = ? AND state = 'waiting'",
    );
    this.#insertAttempt = database.prepare(
      "INSERT INTO attempt (entry, number, started_at, ended_at, problem_type, record) VALUES (?, ?, ?, ?, ?, ?)",
    );
    this.#siblingLives = database.prepare("SELECT 1 FROM entry WHERE id >= ? AND id < ? LIMIT 1");
    this.#deleteBody = database.prepare("DELETE FROM body WHERE message = ?");
  }

  /** Carries out one request; the value goes back to whoever asked. `octets` are the small bodies of its batch. */
  apply(request: WriterRequest, octets: Uint8Array | undefined): unknown {
    switch (request.op) {
      case "enqueue":
        return this.#enqueue(request.rows, octets);
      case "settle":
        return this.#settle(request.rows, octets);
      case "lease":
        return this.#due.lease(request.nextHop, request.limit, request.now, request.until);
      case "release":
        return this.#forLeases("UPDATE entry SET due_at = ?, lease_until = NULL, attempts = attempts - 1", request.leases, [request.dueAt]);
      case "expire-leases":
        return this.#forLeases("UPDATE entry SET due_at = min(lease_until, ?)", request.leases, [request.now]);
      case "chunk":
        this.#sql.run("INSERT INTO body_chunk (body, seq, octets) VALUES (?, ?, ?)", request.body, request.seq, request.octets);
        return undefined;
      case "forget-body":
        this.abandoned.push(request.body);
        return undefined;
      case "postpone":
        return this.#postpone(request);
      case "make-due":
        return this.#makeDue(request.entries, request.now);
      case "forget-messages":
        return this.#forgetMessages(request.messages);
      case "save-user":
        this.#sql.run("INSERT OR REPLACE INTO user (name, password_hash, may_send_as, created_at) VALUES (?, ?, ?, ?)", ...request.row);
        return undefined;
      case "remove-user":
        return this.#sql.run("DELETE FROM user WHERE name = ?", request.name) > 0;
      case "save-sts":
        this.#sql.run(`INSERT OR REPLACE INTO sts_policy (${STS_COLUMNS}) VALUES (${placeholders(STS_COLUMNS)})`, ...request.row);
        return undefined;
      case "forget-sts":
        return this.#sql.run("DELETE FROM sts_policy WHERE domain = ?", request.domain) > 0;
      case "note-dane":
        this.#sql.run(
          "INSERT INTO dane_next_hop (next_hop, seen_at) VALUES (?, ?) ON CONFLICT (next_hop) DO UPDATE SET seen_at = max(seen_at, excluded.seen_at)",
          request.nextHop,
          request.at,
        );
        return undefined;
      case "reports":
        return changeReports(this.#sql, request.change);
      case "forget-reports":
        return forgetReports(this.#sql, request);
      case "dkim-keys":
        return changeDkimKeys(this.#sql, request.change);
      case "probe":
        return this.#probe(request.now);
      case "vacuum":
        this.#database.pragma(`incremental_vacuum(${request.pages})`);
        return undefined;
      case "refill-reserve":
      case "statistics":
        return undefined; // the writer's own
    }
  }

  #enqueue(rows: EnqueueRows, octets: Uint8Array | undefined): undefined {
    this.#insertMessage.run(rows.message);
    if (rows.bodyAt >= 0) {
      if (octets === undefined) throw new BrokenPromise("a small body did not come with its batch");
      const [number] = rows.message;
      this.#insertBody.run(Number(number), octets.subarray(rows.bodyAt, rows.bodyAt + rows.bodySize));
    }
    for (const row of rows.recipients) this.#insertRecipient.run(row);
    for (const row of rows.entries) this.#insertEntry.run(row);
    return undefined;
  }

  #settle(rows: SettleRows, octets: Uint8Array | undefined): "lease-lost" | undefined {
    const entry =
      rows.dueAt === null
        ? this.#finish.get(rows.entry, rows.generation)
        : this.#wait.get(rows.dueAt, rows.final, rows.problemType, rows.problem, rows.entry, rows.generation);
    if (entry === undefined) return "lease-lost";
    // Whoever is not named would be lost with the entry.
    const left = rows.dueAt === null ? entry.waiting - rows.final : entry.waiting;
    if (rows.dueAt === null ? left !== 0 : left <= 0)
      throw new BrokenPromise(
        `the settlement of entry ${rows.entry} leaves ${left} recipients waiting but ${rows.dueAt === null ? "no" : "a"} next attempt`,
      );
    for (const row of rows.recipients)
      if (this.#settleRecipient.run(row).changes !== 1)
        throw new BrokenPromise(`entry ${rows.entry} settles recipient ${String(row[3])}, who does not wait there`);
    this.#insertAttempt.run(rows.entry, entry.attempts, rows.startedAt, rows.endedAt, rows.problemType, rows.record);
    if (rows.dueAt === null) this.#dropBodyAfter(entry);
    for (const notice of rows.notices) this.#enqueue(notice, octets);
    if (rows.observed !== undefined) for (const session of rows.observed) this.#counts.add(session);
    return undefined;
  }

  /** A body goes with its message's last settlement; a large one in bites afterwards, being nobody's from now on. */
  #dropBodyAfter(entry: Settled): void {
    if (entry.siblings > 1 && this.#siblingLives.get(entry.first_sibling, entry.first_sibling + entry.siblings) !== undefined) return;
    if (entry.chunked_body === null) this.#deleteBody.run(entry.message);
    else this.abandoned.push(entry.chunked_body);
  }

  #forLeases(change: string, leases: readonly LeaseKey[], parameters: readonly unknown[]): number {
    const still = change.includes("lease_until = NULL") ? "" : " AND due_at IS NULL";
    let changed = 0;
    for (const [entry, generation] of leases)
      changed += this.#sql.run(
        `${change} WHERE id = ? AND generation = ? AND lease_until IS NOT NULL${still}`,
        ...parameters,
        entry,
        generation,
      );
    return changed;
  }

  /**
   * One bite. What would be due before `from` moves behind it; an entry that expires sooner is due at its expiry, and one
   * that has expired stays due, so that its sender hears of it. One that was tried keeps what its own attempt met.
   */
  #postpone(request: WriterRequest & { op: "postpone" }): number {
    return this.#sql.run(
      "UPDATE entry SET due_at = min(expires_at, ? + abs(random() % ?)), " +
        "problem_type = CASE WHEN attempts > 0 AND problem IS NOT NULL THEN problem_type ELSE ? END, " +
        "problem = CASE WHEN attempts > 0 AND problem IS NOT NULL THEN problem ELSE ? END WHERE id IN (" +
        "SELECT id FROM entry INDEXED BY entry_next_hop WHERE next_hop = ? AND due_at < ? AND due_at < expires_at AND expires_at > ? LIMIT ?)",
      request.from,
      Math.max(1, request.to - request.from + 1),
      request.problemType,
      request.problem,
      request.nextHop,
      request.from,
      request.now,
      request.bite,
    );
  }

  #makeDue(entries: readonly number[], now: number): number {
    let changed = 0;
    for (const entry of entries)
      changed += this.#sql.run("UPDATE entry SET due_at = min(due_at, ?) WHERE id = ? AND due_at IS NOT NULL", now, entry);
    return changed;
  }

  #forgetMessages(messages: readonly number[]): number {
    this.rememberHighest();
    let forgotten = 0;
    for (const number of messages) {
      const row = this.#sql.raw(`SELECT ${MESSAGE_COLUMNS} FROM message WHERE number = ?`, number)[0];
      if (row === undefined) continue;
      const place = messagePlace(row);
      if (this.#siblingLives.get(place.firstEntry, place.firstEntry + place.entries) !== undefined) continue;
      this.#sql.run("DELETE FROM attempt WHERE entry >= ? AND entry < ?", place.firstEntry, place.firstEntry + place.entries);
      this.#sql.run("DELETE FROM recipient WHERE id >= ? AND id < ?", place.firstRecipient, place.firstRecipient + place.recipients);
      forgotten += this.#sql.run("DELETE FROM message WHERE number = ?", number);
    }
    return forgotten;
  }

  /** Keys are never given twice, also when the rows that had them are gone. */
  rememberHighest(): void {
    for (const [key, query] of HIGHEST)
      this.#sql.run(
        `INSERT INTO meta (key, value) SELECT ?, n FROM (${query}) WHERE n IS NOT NULL ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)`,
        key,
      );
  }

  /** The highest key ever given, by name. */
  highest(key: (typeof HIGHEST)[number][0]): number {
    const query = HIGHEST.find(([name]) => name === key)?.[1] ?? "";
    const now = this.#database.prepare<[], number | null>(query).pluck().get() ?? 0;
    const remembered = this.#database.prepare<[string], number>("SELECT value FROM meta WHERE key = ?").pluck().get(key) ?? 0;
    return Math.max(now, remembered);
  }

  #probe(now: number): undefined {
    this.#sql.run("INSERT OR REPLACE INTO meta (key, value) VALUES ('probe', ?)", now);
    const read = this.#sql.pluck<number>("SELECT value FROM meta WHERE key = 'probe'");
    if (read !== now) throw new Error(`wrote ${now} and read ${String(read)} back`);
    return undefined;
  }

  /** At the start: leases and claims of a former process are void, and what was under way is due at once. */
  voidLeases(now: number): number {
    voidClaims(this.#sql);
    return this.#sql.run("UPDATE entry SET due_at = ?, lease_until = NULL WHERE due_at IS NULL", now);
  }

  /** At the start: the next large body behind `after`, up to `last`, that no live message names. */
  findOrphan(after: number, last: number): number | undefined {
    return this.#sql.pluck<number>(
      "WITH RECURSIVE stored (body) AS (SELECT min(body) FROM body_chunk WHERE body > ? UNION ALL " +
        "SELECT (SELECT min(body) FROM body_chunk WHERE body > stored.body) FROM stored WHERE body IS NOT NULL) " +
        "SELECT body FROM stored WHERE body <= ? AND NOT EXISTS (SELECT 1 FROM message m JOIN entry e " +
        "ON e.id >= m.first_entry AND e.id < m.first_entry + m.entries WHERE m.chunked_body = stored.body) LIMIT 1",
      after,
      last,
    );
  }

  /** Takes a few chunks of a body out; false when none was left. */
  bite(body: number): boolean {
    return (
      this.#sql.run(
        "DELETE FROM body_chunk WHERE body = ? AND seq IN (SELECT seq FROM body_chunk WHERE body = ? ORDER BY seq LIMIT ?)",
        body,
        body,
        CHUNKS_PER_BITE,
      ) > 0
    );
  }
}

const HIGHEST = [
  ["highest number", "SELECT max(number) AS n FROM message"],
  // The last recipient belongs to the last entry: both are numbered in the order of enqueueing.
  ["highest entry", "SELECT entry AS n FROM recipient ORDER BY id DESC LIMIT 1"],
  ["highest recipient", "SELECT max(id) AS n FROM recipient"],
  [
    "highest body",
    "SELECT max(coalesce((SELECT max(body) FROM body_chunk), 0), coalesce((SELECT max(chunked_body) FROM message), 0)) AS n",
  ],
] as const;
