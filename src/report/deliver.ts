/**
 * One claimed report, one step further (RFC 8460 §3, §5): the report in; what is to be saved, and told once it is, out. Each step
 * ends in a save, so that a crash repeats one at most: a report is looked up and built, then sent, then its mail is looked after.
 * The record is asked for when sending, so one that was published during the day is served. Who calls is report/reporter.ts.
 */
import type { PosternEvent } from "../events.ts";
import { findByDomain, canonicalPattern } from "../mail/domain-pattern.ts";
import type { EmailAddress } from "../mail/address.ts";
import type { Domain } from "../mail/domain.ts";
import { cleanText } from "../mail/reply.ts";
import type { FindTxt } from "../policy/facts.ts";
import type { ReportDestination, TlsReport, TlsReportChange, TlsReportStore } from "../queue/tls-reports.ts";
import { buildReport } from "./build.ts";
import { type DestinationsIo, type Tried, tryInOrder } from "./destinations.ts";
import { findReportingPolicy } from "./find-policy.ts";
import { lookAfterMail } from "./mail-out.ts";
import { holdsUpOthers, nextDayTry, nextLook, nextTry, type SendingTimes } from "./schedule.ts";

export interface ReporterSettings extends SendingTimes {
  /** Why no reports are sent at all; absent: they are. */
  readonly offBecause?: string;
  /** `contact-info`. */
  readonly from: EmailAddress;
  /** `organization-name`. */
  readonly organization: string;
  /** `example.org`, `.example.org`. */
  readonly exclude: readonly string[];
  readonly perHost: number;
  /** How long ended reports are kept, in milliseconds. */
  readonly keep: number;
}

export interface DeliverIo extends Omit<DestinationsIo, "perHost"> {
  readonly reports: Pick<TlsReportStore, "findRua" | "counts">;
  readonly findTxt: FindTxt;
}

export interface Step {
  readonly change: TlsReportChange;
  /** To be told when the change is saved. */
  readonly events: readonly PosternEvent[];
}

export async function deliver(claimed: TlsReport, now: number, ordered: boolean, settings: ReporterSettings, io: DeliverIo): Promise<Step> {
  const destinations = await lookAfterMail(claimed.destinations, now, io);
  const report = { ...claimed, destinations };
  const arrived = destinations.find(({ state }) => state === "accepted");
  if (arrived !== undefined) return sent(report, arrived, now);

  const queuedAt = newestQueued(destinations);
  if (queuedAt !== undefined) {
    const look = nextLook(queuedAt, report.giveUpAt, now);
    if (look === undefined) return failed(report, "its mail still waits in the queue", now);
    if (now >= report.giveUpAt || holdsUpOthers(queuedAt, now))
      return { change: { state: "sending", destinations, dueAt: look }, events: [] };
  } else if (now >= report.giveUpAt) return failed(report, `its time is over: ${lastWord(report)}`, now);

  const why = whyNotSent(report.reportDomain, settings);
  if (why !== undefined) return notAsked(report, why, now);
  const policy = await findReportingPolicy(report.reportDomain, io.findTxt);
  if (policy.kind === "failed") return later(report, `its record could not be found: ${policy.detail}`, now, settings, io);
  if (policy.kind === "none") return notAsked(report, `it asks for no reports: ${policy.detail}`, now);

  const { document } = report;
  if (document === undefined) return build(report, policy.ignored, now, settings, io);
  const tried = await tryInOrder(
    policy.destinations,
    { report: { ...report, document }, now, ordered },
    { ...io, perHost: settings.perHost },
  );
  return conclude({ ...report, destinations: tried.destinations }, tried, now, settings, io);
}

function whyNotSent(domain: Domain, { offBecause, exclude }: ReporterSettings): string | undefined {
  if (offBecause !== undefined) return offBecause;
  const excluded = findByDomain(domain, new Map(exclude.map((pattern) => [canonicalPattern(pattern), pattern])));
  return excluded === undefined ? undefined : `${excluded} gets no reports from here (tlsReports.exclude)`;
}

/** Kept before anything is sent: the same octets for every try and every destination (RFC 8460 §5.6). */
async function build(
  report: TlsReport,
  ignored: readonly string[],
  now: number,
  { organization, from }: ReporterSettings,
  io: Pick<DeliverIo, "reports">,
): Promise<Step> {
  const { id, day, reportDomain, destinations } = report;
  const counts = await io.reports.counts(day, reportDomain);
  if (counts.length === 0) return failed(report, "what was counted that day is deleted", now);
  const document = buildReport({ day, reportDomain, id, organization, contact: from, counts });
  const text = `not used of the TLS-RPT record of ${reportDomain}: ${cleanText(ignored.join(", "), 500)}`;
  return { change: { document, destinations, dueAt: now }, events: ignored.length === 0 ? [] : [{ kind: "notice", level: "info", text }] };
}

function conclude(report: TlsReport, { verdicts, events }: Tried, now: number, settings: ReporterSettings, io: DeliverIo): Step {
  const { giveUpAt, destinations } = report;
  const withEvents = (step: Step): Step => ({ ...step, events: [...events, ...step.events] });
  const accepted = destinations.find(({ state }) => state === "accepted");
  if (accepted !== undefined) return withEvents(sent(report, accepted, now));
  const queuedAt = newestQueued(destinations);
  if (verdicts.has("stopped")) {
    const state = queuedAt === undefined ? "due" : "sending";
    return withEvents({ change: { state, destinations, dueAt: now }, events: [] });
  }
  const detail = lastWord(report);
  if (queuedAt !== undefined) {
    const look = nextLook(queuedAt, giveUpAt, now) ?? now;
    const retry = verdicts.has("again") ? nextTry(giveUpAt, now, settings, io.random) : undefined;
    return withEvents({ change: { state: "sending", destinations, detail, dueAt: Math.min(look, retry ?? look) }, events: [] });
  }
  if (verdicts.has("again")) return withEvents(later(report, detail, now, settings, io));
  const tomorrow = verdicts.has("tomorrow") ? nextDayTry(giveUpAt, now, io.random) : undefined;
  if (tomorrow !== undefined) return withEvents({ change: { state: "due", destinations, detail, dueAt: tomorrow }, events: [] });
  return withEvents(failed(report, detail, now));
}

function later(report: TlsReport, detail: string, now: number, settings: ReporterSettings, { random }: Pick<DeliverIo, "random">): Step {
  const dueAt = nextTry(report.giveUpAt, now, settings, random);
  if (dueAt === undefined) return failed(report, detail, now);
  // The same trouble is told of once.
  const events = detail === report.detail ? [] : [failureEvent(report, detail, false)];
  return { change: { state: "due", destinations: report.destinations, detail, dueAt }, events };
}

function sent(report: TlsReport, accepted: ReportDestination, now: number): Step {
  const { reportDomain, day, id, destinations } = report;
  return {
    change: { state: "sent", destinations, endedAt: now, detail: accepted.detail ?? "accepted" },
    events: [{ kind: "tls-report-sent", reportDomain, day, to: accepted.uri, reportId: id }],
  };
}

function notAsked({ destinations }: TlsReport, detail: string, now: number): Step {
  return { change: { state: "not-asked", destinations, endedAt: now, detail: cleanText(detail, 500) }, events: [] };
}

function failed(report: TlsReport, detail: string, now: number): Step {
  const { destinations } = report;
  return { change: { state: "failed", destinations, endedAt: now, detail }, events: [failureEvent(report, detail, true)] };
}

function failureEvent({ reportDomain, day }: TlsReport, detail: string, final: boolean): PosternEvent {
  return { kind: "tls-report-failed", reportDomain, day, detail, final };
}

/** What there is to say of where a report stands: of one destination what it answered, of several which one did. */
function lastWord({ destinations, detail }: TlsReport): string {
  const told = destinations.filter((destination) => destination.detail !== undefined);
  const [only] = told;
  if (only === undefined) return detail ?? "it was never tried";
  const words = destinations.length === 1 ? [only.detail] : told.map(({ uri, detail: word }) => `${uri}: ${word}`);
  return cleanText(words.join("; "), 500);
}

function newestQueued(destinations: readonly ReportDestination[]): number | undefined {
  const queued = destinations.filter(({ state }) => state === "queued").map(({ at }) => at ?? 0);
  return queued.length === 0 ? undefined : Math.max(...queued);
}
