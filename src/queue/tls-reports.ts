/**
 * What is kept for TLS-RPT (RFC 8460): counts by UTC day, report domain and policy; one report for each day and domain, from
 * the end of the day until it is sent, was not asked for, or is given up. Promises in words, as in queue/store.ts.
 */
import type { Domain } from "../mail/domain.ts";
import type { AppliedPolicy, FailureDetail } from "../policy/observation.ts";
import type { QueueId } from "./entry.ts";

/** A UTC day, `2026-11-24` (RFC 8460 §4.1). */
export type ReportDay = string & { readonly brand: "ReportDay" };

export function reportDayOf(time: number): ReportDay {
  return new Date(time).toISOString().slice(0, 10) as ReportDay;
}

/** First and last millisecond of the day, ms since 1970. */
export function boundsOf(day: ReportDay): { readonly begin: number; readonly end: number } {
  const begin = Date.parse(`${day}T00:00:00Z`);
  return { begin, end: begin + 86_400_000 - 1 };
}

/** One policy of one domain on one day, added up. */
export interface PolicyCount {
  readonly policy: AppliedPolicy;
  readonly successes: number;
  readonly failures: number;
  /** Most frequent first. Their sum may exceed `failures`, and is never below it (RFC 8460 §4). */
  readonly details: readonly { readonly detail: FailureDetail; readonly sessions: number }[];
}

/** All policies of a domain on one day together. */
export interface CountedDomain {
  readonly reportDomain: Domain;
  /** Sessions by policy, so one that had two is in it twice. */
  readonly successes: number;
  readonly failures: number;
}

/**
 * - `due`: to be looked up and sent at `dueAt`;
 * - `sending`: a mail with it is in the queue (`destinations` say which), and its end is looked for at `dueAt`;
 * - `sent`: some destination took it;
 * - `not-asked`: the domain asks for no reports, or the operator excluded it;
 * - `failed`: its time is over (RFC 8460 §5.5), `detail` says why.
 */
export type TlsReportState = "due" | "sending" | "sent" | "not-asked" | "failed";

/** What became of one `rua` URI. */
export interface ReportDestination {
  /** As published, clean. */
  readonly uri: string;
  readonly state: "untried" | "queued" | "accepted" | "failed" | "suppressed";
  /** A clean sentence: `201 from reports.example.net`. */
  readonly detail?: string;
  readonly at?: number;
  /** Its last answer was a refusal: 5yz at delivery, or an HTTP status from 400 that no waiting mends. */
  readonly refused?: true;
  /** Of the mail, for `postern queue why`. */
  readonly queueId?: QueueId;
}

export interface TlsReport {
  /** `report-id`: the same through all tries and for all destinations (RFC 8460 §4.4). Letters, digits, `.`, `-`, `@`. */
  readonly id: string;
  readonly day: ReportDay;
  readonly reportDomain: Domain;
  readonly state: TlsReportState;
  readonly createdAt: number;
  readonly dueAt: number;
  /** Nothing is sent after this. */
  readonly giveUpAt: number;
  /** How often it was claimed: to be prepared, to be sent, to look after its mail; the one under way included. */
  readonly attempts: number;
  readonly destinations: readonly ReportDestination[];
  /** The last word, clean. */
  readonly detail?: string;
  readonly endedAt?: number;
  /** The JSON text, once it was built: from then on the same octets are sent (RFC 8460 §5.6). */
  readonly document?: string;
}

/** A report that this process alone may work on until then. `generation` counts up with every claim. */
export interface ClaimedReport {
  readonly report: TlsReport;
  readonly generation: number;
  readonly until: number;
}

export type TlsReportChange = Partial<Pick<TlsReport, "state" | "dueAt" | "destinations" | "detail" | "endedAt" | "document">>;

/** How often a destination has refused for good, over all reports. */
export interface RuaRecord {
  /** As published; behind that of an https destination stands the domain whose reports it refused. */
  readonly uri: string;
  /** 5yz in a row, at delivery. */
  readonly refusals: number;
  readonly refusedAt: number;
  readonly suppressedUntil?: number;
}

export interface TlsReportStore {
  /** Domains with anything counted on that day, in order of the domain. */
  listCounted(
    day: ReportDay,
    page: { readonly limit: number; readonly after?: string },
  ): Promise<{ domains: CountedDomain[]; next?: string }>;
  /** In order of type, then domain. Empty if nothing was counted. */
  counts(day: ReportDay, reportDomain: Domain): Promise<PolicyCount[]>;
  /** Domains of which a failure has been counted on that day. */
  failedDomains(day: ReportDay): Promise<Domain[]>;
  /** Days before `day` on which some domain was counted that has no report yet, oldest first. */
  daysWithoutReports(before: ReportDay): Promise<ReportDay[]>;
  /** Domains of that day that were counted and have no report yet. */
  domainsWithoutReport(day: ReportDay, limit: number): Promise<Domain[]>;
  /** Adds those whose day and domain have none yet; returns how many. */
  add(reports: readonly TlsReport[]): Promise<number>;
  /** Claims up to `limit` reports in state `due` or `sending` with `dueAt <= now` that nobody holds, counting the attempt. One transaction, so that of several nodes one has it. */
  claimDue(now: number, until: number, limit: number): Promise<ClaimedReport[]>;
  /** Changes it and ends the claim. False if the claim is lost, in which case nothing changed. */
  save(claim: ClaimedReport, change: TlsReportChange): Promise<boolean>;
  /**
   * Makes it due now, whatever its state; `undefined` if there is none. One that had ended begins anew, without attempts and
   * destinations; a claim stays with its holder. For `tlsrpt send`.
   */
  makeDue(day: ReportDay, reportDomain: Domain, now: number, giveUpAt: number): Promise<TlsReport | undefined>;
  /** When the next one falls due, if any. */
  nextDue(): Promise<number | undefined>;
  /** Newest day first, then by domain; without their documents. */
  list(
    filter: { readonly day?: ReportDay; readonly reportDomain?: Domain; readonly state?: TlsReportState },
    page: { readonly limit: number; readonly after?: string },
  ): Promise<{ reports: TlsReport[]; next?: string }>;
  find(day: ReportDay, reportDomain: Domain): Promise<TlsReport | undefined>;
  findRua(uri: string): Promise<RuaRecord | undefined>;
  saveRua(record: RuaRecord): Promise<void>;
  /** Removes counts of days before `countsBefore` of which no report is still to be built, and ended reports that ended before `reportsBefore`, in small bites. Returns how many rows went. */
  forget(countsBefore: ReportDay, reportsBefore: number): Promise<number>;
}
