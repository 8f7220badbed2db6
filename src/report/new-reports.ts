/**
 * One report for each domain that was counted on a day that is over (RFC 8460 §4.1): what the store has counted in, reports that are
 * due out. Page by page, so that ten thousand domains block nothing. A day that passed while nobody ran is caught up with.
 */
import type { Domain } from "../mail/domain.ts";
import { type ReportDay, reportDayOf, type TlsReport, type TlsReportStore } from "../queue/tls-reports.ts";
import { firstDue, oldestReported, type SendingTimes } from "./schedule.ts";

export interface NewReportsIo {
  readonly reports: Pick<TlsReportStore, "daysWithoutReports" | "domainsWithoutReport" | "add">;
  readonly times: SendingTimes;
  readonly newId: () => string;
  readonly random: () => number;
  readonly isStopped: () => boolean;
}

const PAGE = 200;

export async function addReports(now: number, io: NewReportsIo): Promise<void> {
  const { reports, times, random } = io;
  const oldest = oldestReported(now);
  for (const day of await reports.daysWithoutReports(reportDayOf(now))) {
    if (day < oldest) continue;
    for (;;) {
      const domains = io.isStopped() ? [] : await reports.domainsWithoutReport(day, PAGE);
      if (domains.length === 0) break;
      const added = await reports.add(
        domains.map((reportDomain) => newReport({ day, reportDomain, id: io.newId() }, now, firstDue(day, now, times, random), times)),
      );
      // Another node adds them at this moment, and goes on with it.
      if (added === 0) break;
    }
  }
}

export function newReport(
  of: { readonly day: ReportDay; readonly reportDomain: Domain; readonly id: string },
  now: number,
  dueAt: number,
  { retryFor }: SendingTimes,
): TlsReport {
  return { ...of, state: "due", createdAt: now, dueAt, giveUpAt: dueAt + retryFor, attempts: 0, destinations: [] };
}
