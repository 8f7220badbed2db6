/**
 * TLS-RPT as it is seen here (RFC 8460): what was counted, which reports wait, went out or failed, and what one would say now.
 * Requests in, plain values for the command line and JSON out. Days and domains are checked here, as they come from whoever asked.
 */
import type { Domain } from "../mail/domain.ts";
import { bad, good, type Parsed } from "../mail/parsed.ts";
import type { LookupFailure } from "../policy/facts.ts";
import { type ReportingWish, type ShownWish, showWish } from "../queue/reporting-wish.ts";
import {
  type CountedDomain,
  type PolicyCount,
  type ReportDay,
  reportDayOf,
  type TlsReport,
  type TlsReportState,
  type TlsReportStore,
} from "../queue/tls-reports.ts";
import { askedDomain } from "./asked.ts";
import { BadRequest } from "./bad-request.ts";

/** What the running relay can do beyond looking: report/reporter.ts. */
export interface ReportDesk {
  /** Makes it due, sends it, and gives what became of it; undefined if nothing was counted for that domain on that day. */
  sendNow(day: ReportDay, reportDomain: Domain): Promise<TlsReport | undefined>;
  /** The document as it would be sent now, and where to; nothing is kept or sent. */
  preview(reportDomain: Domain, day: ReportDay): Promise<{ readonly document: string; readonly policy: ReportingWish | LookupFailure }>;
}

export interface ReportIo {
  readonly reports: Pick<TlsReportStore, "listCounted" | "counts" | "failedDomains" | "list" | "find">;
  /** Absent where no relay runs. */
  readonly reporter?: ReportDesk;
  readonly clock: { now(): number };
}

/** A report without its text. */
export type ShownReport = Omit<TlsReport, "document">;

export interface CountedDay {
  readonly now: number;
  readonly day: ReportDay;
  /** `policies`: where anything failed, or one domain was asked for. */
  readonly domains: readonly (CountedDomain & { readonly policies?: readonly PolicyCount[] })[];
  readonly next?: string;
}

export interface ReportList {
  readonly now: number;
  readonly reports: readonly ShownReport[];
  readonly next?: string;
}

/** `report` with its document, if it was built; absent where there is none for that day and domain. */
export interface OneReport {
  readonly now: number;
  readonly day: ReportDay;
  readonly domain: string;
  readonly report?: TlsReport;
}

export interface SentReport {
  readonly now: number;
  readonly day: ReportDay;
  readonly domain: string;
  readonly report?: ShownReport;
}

export interface ReportPreview {
  readonly now: number;
  readonly day: ReportDay;
  readonly domain: string;
  /** Absent: nothing was counted, so there would be no report. */
  readonly document?: string;
  readonly to: ShownWish;
}

/** For `postern status`: today as far as it went, and what is the matter with reports. */
export interface ReportSummary {
  readonly now: number;
  readonly day: ReportDay;
  readonly domains: number;
  readonly failedDomains: number;
  /** Sessions by policy. */
  readonly successes: number;
  readonly failures: number;
  /** There are more domains than were looked through. */
  readonly more: boolean;
  /** Due or under way. */
  readonly due: number;
  /** Given up within the last two days. */
  readonly failed: number;
}

export interface CountedRequest {
  readonly domain?: string | undefined;
  readonly day?: string | undefined;
  /** Only domains of which a failure was counted. */
  readonly failed: boolean;
  readonly limit: number;
  readonly after?: string | undefined;
}

export interface ListRequest {
  readonly day?: string | undefined;
  readonly domain?: string | undefined;
  readonly state?: TlsReportState | undefined;
  readonly limit: number;
  readonly after?: string | undefined;
}

const DAY_MS = 86_400_000;
/** Domains that are looked through for a summary. */
const SUMMARY_PAGES = 10;
const SUMMARY_PAGE = 1000;

/** `2026-09-01`, a day that there is. */
export function parseReportDay(text: string): Parsed<ReportDay> {
  const time = /^\d{4}-\d\d-\d\d$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : Number.NaN;
  if (!Number.isNaN(time) && reportDayOf(time) === text) return good(text as ReportDay);
  return bad(`not a day like 2026-09-01: ${JSON.stringify(text.slice(0, 40))}`);
}

export async function listCounted(request: CountedRequest, { reports, clock }: ReportIo): Promise<CountedDay> {
  const now = clock.now();
  const day = dayOf(request.day) ?? reportDayOf(now);
  const { domain, limit, after, failed } = request;
  if (domain !== undefined) {
    const reportDomain = askedDomain(domain);
    const policies = await reports.counts(day, reportDomain);
    return { now, day, domains: policies.length === 0 ? [] : [addUp(reportDomain, policies)] };
  }
  if (failed) {
    const all = (await reports.failedDomains(day)).sort();
    const rest = after === undefined ? all : all.filter((one) => one > after);
    const page = rest.slice(0, limit);
    const domains = await Promise.all(page.map(async (one) => addUp(one, await reports.counts(day, one))));
    return { now, day, domains, ...next(rest.length > limit ? page.at(-1) : undefined) };
  }
  const page = await reports.listCounted(day, { limit, ...(after !== undefined && { after }) });
  const domains = await Promise.all(
    page.domains.map(async (one) => (one.failures === 0 ? one : { ...one, policies: await reports.counts(day, one.reportDomain) })),
  );
  return { now, day, domains, ...next(page.next) };
}

export async function listReports({ day, domain, state, limit, after }: ListRequest, { reports, clock }: ReportIo): Promise<ReportList> {
  const asked = {
    ...(day !== undefined && { day: dayOf(day) }),
    ...(domain !== undefined && { reportDomain: askedDomain(domain) }),
    ...(state !== undefined && { state }),
  };
  const page = await reports.list(asked, { limit, ...(after !== undefined && { after }) });
  return { now: clock.now(), reports: page.reports.map(withoutDocument), ...next(page.next) };
}

export async function showReport(domain: string, day: string | undefined, { reports, clock }: ReportIo): Promise<OneReport> {
  const asked = askedFor(domain, day, clock.now());
  const report = await reports.find(asked.day, asked.domain);
  return { ...asked, ...(report !== undefined && { report }) };
}

export async function sendReport(domain: string, day: string | undefined, { reporter, clock }: ReportIo): Promise<SentReport> {
  const asked = askedFor(domain, day, clock.now());
  if (asked.day >= reportDayOf(asked.now))
    throw new BadRequest(
      `the UTC day ${asked.day} is not over, and a report is of a whole day; postern tlsrpt preview shows what it would say`,
    );
  const report = await deskOf(reporter).sendNow(asked.day, asked.domain);
  return { ...asked, ...(report !== undefined && { report: withoutDocument(report) }) };
}

/** Of today, unless a day is named. */
export async function previewReport(domain: string, day: string | undefined, io: ReportIo): Promise<ReportPreview> {
  const now = io.clock.now();
  const asked = { now, day: dayOf(day) ?? reportDayOf(now), domain: askedDomain(domain) };
  const desk = deskOf(io.reporter);
  const [counted, { document, policy }] = await Promise.all([
    io.reports.counts(asked.day, asked.domain),
    desk.preview(asked.domain, asked.day),
  ]);
  return { ...asked, ...(counted.length > 0 && { document }), to: showWish(policy) };
}

export async function summariseReports({ reports, clock }: ReportIo): Promise<ReportSummary> {
  const now = clock.now();
  const day = reportDayOf(now);
  let [domains, successes, failures] = [0, 0, 0];
  let after: string | undefined;
  for (let page = 0; page === 0 || (after !== undefined && page < SUMMARY_PAGES); page++) {
    const read = await reports.listCounted(day, { limit: SUMMARY_PAGE, ...(after !== undefined && { after }) });
    for (const one of read.domains) {
      domains += 1;
      successes += one.successes;
      failures += one.failures;
    }
    after = read.next;
  }
  const [failedDomains, due, sending, failed] = await Promise.all([
    reports.failedDomains(day),
    reports.list({ state: "due" }, { limit: SUMMARY_PAGE }),
    reports.list({ state: "sending" }, { limit: SUMMARY_PAGE }),
    reports.list({ state: "failed" }, { limit: SUMMARY_PAGE }),
  ]);
  return {
    now,
    day,
    domains,
    failedDomains: failedDomains.length,
    successes,
    failures,
    more: after !== undefined,
    due: due.reports.length + sending.reports.length,
    failed: failed.reports.filter(({ endedAt }) => endedAt !== undefined && endedAt > now - 2 * DAY_MS).length,
  };
}

/** A day and a domain; yesterday's report is the one that people mean. */
function askedFor(domain: string, day: string | undefined, now: number): { now: number; day: ReportDay; domain: Domain } {
  return { now, day: dayOf(day) ?? reportDayOf(now - DAY_MS), domain: askedDomain(domain) };
}

function dayOf<T extends string | undefined>(text: T): ReportDay | (T extends string ? never : undefined) {
  type Given = ReportDay | (T extends string ? never : undefined);
  if (text === undefined) return undefined as Given;
  const day = parseReportDay(text);
  if (!day.ok) throw new BadRequest(day.error);
  return day.value;
}

function deskOf(reporter: ReportDesk | undefined): ReportDesk {
  if (reporter === undefined) throw new BadRequest("only a running relay can look up where a report goes, and send it: postern serve");
  return reporter;
}

function addUp(reportDomain: Domain, policies: readonly PolicyCount[]): CountedDay["domains"][number] {
  const sum = (of: "successes" | "failures"): number => policies.reduce((total, policy) => total + policy[of], 0);
  return { reportDomain, successes: sum("successes"), failures: sum("failures"), policies };
}

function withoutDocument({ document: _document, ...report }: TlsReport): ShownReport {
  return report;
}

function next(cursor: string | undefined): { next?: string } {
  return cursor === undefined ? {} : { next: cursor };
}
