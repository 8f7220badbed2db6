/**
 * What the writer changes about TLS reports, inside somebody else's transaction: added, claimed, saved, made due, forgotten. A
 * claim has a number that counts up, as a lease has, so that of several who worked on a report one is believed.
 */
import { REPORT_COLUMNS, RUA_COLUMNS } from "./report-rows.ts";
import { placeholders } from "./rows.ts";
import type { Statements } from "./statements.ts";
import type { ReportChange, Row, WriterRequest } from "./wire.ts";

const OPEN = "state IN ('due', 'sending')";

export function changeReports(sql: Statements, change: ReportChange): unknown {
  switch (change.what) {
    case "add": {
      const insert = `INSERT INTO tls_report (${REPORT_COLUMNS}, generation) VALUES (${placeholders(REPORT_COLUMNS)}, 0) ON CONFLICT (day, domain) DO NOTHING`;
      return change.rows.reduce((added, row) => added + sql.run(insert, ...row), 0);
    }
    case "claim":
      return claim(sql, change);
    case "save":
      // A claim that ran out while nobody else took the report still counts: better a late word than a second sending.
      return (
        sql.run(
          "UPDATE tls_report SET state = coalesce(?, state), due_at = coalesce(?, due_at), destinations = coalesce(?, destinations), " +
            "detail = coalesce(?, detail), ended_at = coalesce(?, ended_at), document = coalesce(?, document), claimed_until = NULL " +
            "WHERE day = ? AND domain = ? AND generation = ? AND claimed_until IS NOT NULL",
          ...change.values,
          change.day,
          change.domain,
          change.generation,
        ) > 0
      );
    case "make-due":
      return makeDue(sql, change);
    case "save-rua":
      sql.run(`INSERT OR REPLACE INTO tls_rua (${RUA_COLUMNS}) VALUES (${placeholders(RUA_COLUMNS)})`, ...change.row);
      return undefined;
  }
}

/** Those whose claim ran out come first: they have waited longest. Both look-ups stop at the limit, however many are due. */
function claim(sql: Statements, { now, until, limit }: ReportChange & { what: "claim" }): Row[] {
  const found = sql.all<{ number: number }>(
    `SELECT number FROM tls_report INDEXED BY tls_report_claimed WHERE claimed_until <= ? AND ${OPEN} AND due_at <= ? ORDER BY claimed_until LIMIT ?`,
    now,
    now,
    limit,
  );
  const free = sql.all<{ number: number }>(
    `SELECT number FROM tls_report INDEXED BY tls_report_due WHERE ${OPEN} AND claimed_until IS NULL AND due_at <= ? ORDER BY due_at, number LIMIT ?`,
    now,
    limit - found.length,
  );
  return [...found, ...free].flatMap(({ number }) =>
    sql.raw(
      "UPDATE tls_report SET generation = generation + 1, attempts = attempts + 1, claimed_until = ? WHERE number = ? " +
        `RETURNING ${REPORT_COLUMNS}, generation`,
      until,
      number,
    ),
  );
}

/** One that had ended begins anew, with its id and its document. Whoever has a claim keeps it, so that nobody sends beside them. */
function makeDue(sql: Statements, { day, domain, now, giveUpAt }: ReportChange & { what: "make-due" }): Row | undefined {
  sql.run(
    `UPDATE tls_report SET attempts = 0, destinations = '[]', detail = NULL, ended_at = NULL WHERE day = ? AND domain = ? AND NOT ${OPEN}`,
    day,
    domain,
  );
  return sql.raw(
    `UPDATE tls_report SET state = 'due', due_at = ?, give_up_at = ? WHERE day = ? AND domain = ? RETURNING ${REPORT_COLUMNS}`,
    now,
    giveUpAt,
    day,
    domain,
  )[0];
}

/** One bite; how many rows went. A report stays as long as its counts: without it they would be reported again. */
/** Counts whose day is over, and of which no report is still to be built: however late it is, it tells of them (RFC 8460 §5.5). */
const PAST =
  "c.day < ? AND NOT EXISTS (SELECT 1 FROM tls_report r WHERE r.day = c.day AND r.domain = c.domain " +
  `AND r.${OPEN} AND r.document IS NULL)`;

export function forgetReports(sql: Statements, { countsBefore, reportsBefore, bite }: WriterRequest & { op: "forget-reports" }): number {
  let gone = sql.run(
    "DELETE FROM tls_failure WHERE (count, detail) IN " +
      `(SELECT f.count, f.detail FROM tls_count c JOIN tls_failure f ON f.count = c.id WHERE ${PAST} LIMIT ?)`,
    countsBefore,
    bite,
  );
  if (gone < bite)
    gone += sql.run(`DELETE FROM tls_count WHERE id IN (SELECT c.id FROM tls_count c WHERE ${PAST} LIMIT ?)`, countsBefore, bite - gone);
  if (gone < bite)
    gone += sql.run(
      `DELETE FROM tls_report WHERE number IN (SELECT number FROM tls_report r WHERE ended_at < ? AND NOT ${OPEN} ` +
        "AND NOT EXISTS (SELECT 1 FROM tls_count c WHERE c.day = r.day AND c.domain = r.domain) LIMIT ?)",
      reportsBefore,
      bite - gone,
    );
  // Nobody has asked for a report there since.
  if (gone < bite)
    gone += sql.run(
      "DELETE FROM tls_rua WHERE uri IN (SELECT uri FROM tls_rua WHERE max(refused_at, coalesce(suppressed_until, 0)) < ? LIMIT ?)",
      reportsBefore,
      bite - gone,
    );
  return gone;
}

/** At the start: who had a claim is gone. */
export function voidClaims(sql: Statements): void {
  sql.run("UPDATE tls_report SET claimed_until = NULL WHERE claimed_until IS NOT NULL");
}
