/**
 * TLS reports in the queue's database, seen from the main thread. Counting is done with the settlements (observed.ts,
 * count-sessions.ts); the orders are carried out in report-changes.ts, the questions answered in report-answers.ts.
 */
import type { Domain } from "../../mail/domain.ts";
import type {
  ClaimedReport,
  CountedDomain,
  PolicyCount,
  ReportDay,
  RuaRecord,
  TlsReport,
  TlsReportChange,
  TlsReportStore,
} from "../../queue/tls-reports.ts";
import type { ReaderLink } from "./reader-link.ts";
import { changeRow, claimedReport, type ReportFilter, reportRow, ruaRow, tlsReport } from "./report-rows.ts";
import type { ReportChange, Row } from "./wire.ts";
import type { WriterLink } from "./writer-link.ts";

/** Added in one transaction: mail waits for milliseconds only. */
const ADD_BITE = 500;
const FORGET_BITE = 500;
/** Longer pages are cut: a page must fit in memory. Claims come with their documents. */
const LONGEST_PAGE = 1000;
const MOST_CLAIMS = 100;

export class SqliteReports implements TlsReportStore {
  readonly #reader: ReaderLink;
  readonly #writer: WriterLink;

  constructor(reader: ReaderLink, writer: WriterLink) {
    this.#reader = reader;
    this.#writer = writer;
  }

  async listCounted(
    day: ReportDay,
    page: { readonly limit: number; readonly after?: string },
  ): Promise<{ domains: CountedDomain[]; next?: string }> {
    const limit = within(page.limit, LONGEST_PAGE);
    const domains = await this.#reader.ask("listCounted", day, limit, page.after ?? "");
    const last = domains.length < limit ? undefined : domains.at(-1);
    return last === undefined ? { domains } : { domains, next: last.reportDomain };
  }

  counts(day: ReportDay, reportDomain: Domain): Promise<PolicyCount[]> {
    return this.#reader.ask("counts", day, reportDomain);
  }

  failedDomains(day: ReportDay): Promise<Domain[]> {
    return this.#reader.ask("failedDomains", day);
  }

  daysWithoutReports(before: ReportDay): Promise<ReportDay[]> {
    return this.#reader.ask("daysWithoutReports", before);
  }

  domainsWithoutReport(day: ReportDay, limit: number): Promise<Domain[]> {
    return this.#reader.ask("domainsWithoutReport", day, within(limit, LONGEST_PAGE));
  }

  async add(reports: readonly TlsReport[]): Promise<number> {
    let added = 0;
    for (let at = 0; at < reports.length; at += ADD_BITE)
      added += await this.#change<number>({ what: "add", rows: reports.slice(at, at + ADD_BITE).map(reportRow) });
    return added;
  }

  async claimDue(now: number, until: number, limit: number): Promise<ClaimedReport[]> {
    if (limit <= 0) return [];
    const rows = await this.#change<Row[]>({ what: "claim", now, until, limit: within(limit, MOST_CLAIMS) });
    return rows.map((row) => claimedReport(row, until));
  }

  save({ report, generation }: ClaimedReport, change: TlsReportChange): Promise<boolean> {
    return this.#change({ what: "save", day: report.day, domain: report.reportDomain, generation, values: changeRow(change) });
  }

  async makeDue(day: ReportDay, reportDomain: Domain, now: number, giveUpAt: number): Promise<TlsReport | undefined> {
    const row = await this.#change<Row | undefined>({ what: "make-due", day, domain: reportDomain, now, giveUpAt });
    return row === undefined ? undefined : tlsReport(row);
  }

  nextDue(): Promise<number | undefined> {
    return this.#reader.ask("nextReportDue");
  }

  async list(
    filter: ReportFilter,
    page: { readonly limit: number; readonly after?: string },
  ): Promise<{ reports: TlsReport[]; next?: string }> {
    const limit = within(page.limit, LONGEST_PAGE);
    const reports = await this.#reader.ask("listReports", filter, limit, page.after);
    const last = reports.length < limit ? undefined : reports.at(-1);
    return last === undefined ? { reports } : { reports, next: `${last.day} ${last.reportDomain}` };
  }

  find(day: ReportDay, reportDomain: Domain): Promise<TlsReport | undefined> {
    return this.#reader.ask("findReport", day, reportDomain);
  }

  findRua(uri: string): Promise<RuaRecord | undefined> {
    return this.#reader.ask("findRua", uri);
  }

  async saveRua(record: RuaRecord): Promise<void> {
    await this.#change({ what: "save-rua", row: ruaRow(record) });
  }

  async forget(countsBefore: ReportDay, reportsBefore: number): Promise<number> {
    let forgotten = 0;
    for (;;) {
      const gone = await this.#writer.ask<number>({ op: "forget-reports", countsBefore, reportsBefore, bite: FORGET_BITE });
      forgotten += gone;
      if (gone < FORGET_BITE) return forgotten;
    }
  }

  #change<Value>(change: ReportChange): Promise<Value> {
    return this.#writer.ask<Value>({ op: "reports", change });
  }
}

function within(limit: number, most: number): number {
  return Math.max(1, Math.min(limit, most));
}
