/** The reader thread's answers about TLS reports: what was counted, and what became of it. */
import type { Domain } from "../../mail/domain.ts";
import type { AppliedPolicy, FailureDetail } from "../../policy/observation.ts";
import type { CountedDomain, PolicyCount, ReportDay, RuaRecord, TlsReport } from "../../queue/tls-reports.ts";
import { LISTED_COLUMNS, REPORT_COLUMNS, type ReportFilter, RUA_COLUMNS, ruaRecord, tlsReport } from "./report-rows.ts";
import type { Statements } from "./statements.ts";

const NO_REPORT = "NOT EXISTS (SELECT 1 FROM tls_report r WHERE r.day = c.day AND r.domain = c.domain)";

export function listCounted(sql: Statements, day: string, limit: number, after: string): CountedDomain[] {
  return sql.all<CountedDomain>(
    "SELECT domain AS reportDomain, sum(successes) AS successes, sum(failures) AS failures FROM tls_count " +
      "WHERE day = ? AND domain > ? GROUP BY domain ORDER BY domain LIMIT ?",
    day,
    after,
    limit,
  );
}

export function counts(sql: Statements, day: string, domain: string): PolicyCount[] {
  return sql
    .all<{ id: number; policy: string; successes: number; failures: number }>(
      "SELECT id, policy, successes, failures FROM tls_count WHERE day = ? AND domain = ? " +
        "ORDER BY policy ->> '$.type', policy ->> '$.domain', id",
      day,
      domain,
    )
    .map(({ id, policy, successes, failures }) => ({
      policy: JSON.parse(policy) as AppliedPolicy,
      successes,
      failures,
      details: details(sql, id),
    }));
}

function details(sql: Statements, count: number): PolicyCount["details"] {
  return sql
    .all<{ detail: string; sessions: number }>(
      "SELECT detail, sessions FROM tls_failure WHERE count = ? ORDER BY sessions DESC, detail",
      count,
    )
    .map(({ detail, sessions }) => ({ detail: JSON.parse(detail) as FailureDetail, sessions }));
}

export function failedDomains(sql: Statements, day: string): Domain[] {
  return sql
    .all<{ domain: Domain }>("SELECT DISTINCT domain FROM tls_count WHERE day = ? AND failures > 0 ORDER BY domain", day)
    .map(({ domain }) => domain);
}

export function daysWithoutReports(sql: Statements, before: string): ReportDay[] {
  return sql
    .all<{ day: ReportDay }>(`SELECT DISTINCT day FROM tls_count c WHERE day < ? AND ${NO_REPORT} ORDER BY day`, before)
    .map(({ day }) => day);
}

export function domainsWithoutReport(sql: Statements, day: string, limit: number): Domain[] {
  return sql
    .all<{ domain: Domain }>(`SELECT DISTINCT domain FROM tls_count c WHERE day = ? AND ${NO_REPORT} ORDER BY domain LIMIT ?`, day, limit)
    .map(({ domain }) => domain);
}

/** One that is claimed falls due when its claim ends, not before. */
export function nextReportDue(sql: Statements): number | undefined {
  const free = sql.pluck<number | null>(
    "SELECT min(due_at) FROM tls_report INDEXED BY tls_report_due WHERE state IN ('due', 'sending') AND claimed_until IS NULL",
  );
  const claimed = sql.pluck<number | null>(
    "SELECT min(max(due_at, claimed_until)) FROM tls_report INDEXED BY tls_report_claimed WHERE claimed_until IS NOT NULL AND state IN ('due', 'sending')",
  );
  const next = Math.min(free ?? Infinity, claimed ?? Infinity);
  return next === Infinity ? undefined : next;
}

/** `after` is the day and the domain of the page before's last, with a blank between. */
export function listReports(
  sql: Statements,
  { day, reportDomain, state }: ReportFilter,
  limit: number,
  after: string | undefined,
): TlsReport[] {
  const conditions: string[] = [];
  const values: string[] = [];
  const demand = (condition: string, ...of: string[]) => {
    conditions.push(condition);
    values.push(...of);
  };
  if (day !== undefined) demand("day = ?", day);
  if (reportDomain !== undefined) demand("domain = ?", reportDomain);
  if (state !== undefined) demand("state = ?", state);
  if (after !== undefined) {
    const [afterDay = "", afterDomain = ""] = after.split(" ");
    demand("day <= ? AND (day < ? OR domain > ?)", afterDay, afterDay, afterDomain);
  }
  const where = conditions.length === 0 ? "" : `WHERE ${conditions.join(" AND ")}`;
  return sql.raw(`SELECT ${LISTED_COLUMNS} FROM tls_report ${where} ORDER BY day DESC, domain LIMIT ?`, ...values, limit).map(tlsReport);
}

export function findReport(sql: Statements, day: string, domain: string): TlsReport | undefined {
  return sql.raw(`SELECT ${REPORT_COLUMNS} FROM tls_report WHERE day = ? AND domain = ?`, day, domain).map(tlsReport)[0];
}

export function findRua(sql: Statements, uri: string): RuaRecord | undefined {
  return sql.raw(`SELECT ${RUA_COLUMNS} FROM tls_rua WHERE uri = ?`, uri).map(ruaRecord)[0];
}
