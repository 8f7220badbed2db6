/** TLS reports and what became of their destinations, as rows and back; the order of the columns is said once, here, for both threads. */
import { cleanText } from "../../mail/reply.ts";
import type { Domain } from "../../mail/domain.ts";
import type {
  ClaimedReport,
  ReportDay,
  ReportDestination,
  RuaRecord,
  TlsReport,
  TlsReportChange,
  TlsReportState,
} from "../../queue/tls-reports.ts";
import type { Row } from "./wire.ts";

export interface ReportFilter {
  readonly day?: ReportDay;
  readonly reportDomain?: Domain;
  readonly state?: TlsReportState;
}

/** The document, which may be long, stands last in the table too: who does not ask for it does not read over it. */
const SHORT_COLUMNS = "day, domain, id, state, created_at, due_at, give_up_at, attempts, destinations, detail, ended_at";
export const REPORT_COLUMNS = `${SHORT_COLUMNS}, document`;
export const LISTED_COLUMNS = `${SHORT_COLUMNS}, NULL`;

/** For a report that is added. */
export function reportRow(report: TlsReport): Row {
  return [
    report.day,
    report.reportDomain,
    report.id,
    report.state,
    report.createdAt,
    report.dueAt,
    report.giveUpAt,
    report.attempts,
    destinationsText(report.destinations),
    detailOrNull(report.detail),
    report.endedAt ?? null,
    report.document ?? null,
  ];
}

/** State, due at, destinations, detail, ended at, document; NULL where it stays as it is. */
export function changeRow({ state, dueAt, destinations, detail, endedAt, document }: TlsReportChange): Row {
  return [
    state ?? null,
    dueAt ?? null,
    destinations === undefined ? null : destinationsText(destinations),
    detailOrNull(detail),
    endedAt ?? null,
    document ?? null,
  ];
}

function detailOrNull(detail: string | undefined): string | null {
  return detail === undefined ? null : cleanText(detail);
}

function destinationsText(destinations: readonly ReportDestination[]): string {
  return JSON.stringify(destinations.map((one) => (one.detail === undefined ? one : { ...one, detail: cleanText(one.detail) })));
}

/** Reads a row of REPORT_COLUMNS or LISTED_COLUMNS. */
export function tlsReport(row: Row): TlsReport {
  const [day, reportDomain, id, state, createdAt, dueAt, giveUpAt, attempts, destinations, detail, endedAt, document] =
    row as unknown as readonly [
      ReportDay,
      Domain,
      string,
      TlsReportState,
      number,
      number,
      number,
      number,
      string,
      string | null,
      number | null,
      string | null,
    ];
  return {
    id,
    day,
    reportDomain,
    state,
    createdAt,
    dueAt,
    giveUpAt,
    attempts,
    destinations: JSON.parse(destinations) as ReportDestination[],
    ...(detail !== null && { detail }),
    ...(endedAt !== null && { endedAt }),
    ...(document !== null && { document }),
  };
}

/** Reads a row of REPORT_COLUMNS, then generation. */
export function claimedReport(row: Row, until: number): ClaimedReport {
  return { report: tlsReport(row), generation: Number(row[12]), until };
}

export const RUA_COLUMNS = "uri, refusals, refused_at, suppressed_until";

export function ruaRow({ uri, refusals, refusedAt, suppressedUntil }: RuaRecord): Row {
  return [uri, refusals, refusedAt, suppressedUntil ?? null];
}

export function ruaRecord(row: Row): RuaRecord {
  const [uri, refusals, refusedAt, suppressedUntil] = row as unknown as readonly [string, number, number, number | null];
  return { uri, refusals, refusedAt, ...(suppressedUntil !== null && { suppressedUntil }) };
}
