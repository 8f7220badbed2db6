/** `postern tlsrpt today|list|show|send|preview` as text: admin/tlsrpt.ts's answers in, words out. Pure. */
import type { CountedDay, OneReport, ReportList, ReportPreview, ReportSummary, SentReport, ShownReport } from "../admin/tlsrpt.ts";
import type { AppliedPolicy, FailureDetail } from "../policy/observation.ts";
import { type PolicyCount, type ReportDestination, reportDayOf } from "../queue/tls-reports.ts";
import { readReport } from "../report/read.ts";
import { describeWish } from "./evidence-text.ts";
import { renderReceived } from "./tlsrpt-read-text.ts";
import { type Column, describeMinute, describeWait, plural, renderFields, renderTable, shown } from "./words.ts";

const COUNT_COLUMNS: readonly Column[] = [
  { title: "DOMAIN", wrap: 40 },
  { title: "POLICY", wrap: 44 },
  { title: "OK", align: "right" },
  { title: "FAILED", align: "right" },
  { title: "SESSIONS", align: "right" },
  { title: "FAILURE", wrap: 44 },
  { title: "MX", wrap: 40 },
  { title: "ADDRESS" },
];

/** `alone`: one domain was asked for, so its policies are told in full. */
export function renderCounted({ now, day, domains, next }: CountedDay, { alone }: { readonly alone: boolean }): string {
  const when = day === reportDayOf(now) ? `${day}, the UTC day so far` : `${day}, the UTC day`;
  if (domains.length === 0) return `${when}: nothing was counted.\n`;
  const rows = domains.flatMap(({ reportDomain, successes, failures, policies }) =>
    policies === undefined
      ? [[shown(reportDomain, 255), "-", String(successes), String(failures), "-", "-", "-", "-"]]
      : policies.flatMap((policy, at) => countRows(at === 0 ? reportDomain : "", reportDomain, policy)),
  );
  const told = alone ? (domains[0]?.policies ?? []).map(({ policy }) => policy).filter(({ text }) => text.length > 0) : [];
  const texts = told.map(
    (policy) =>
      `\n${renderFields([
        ["policy", [describePolicy(policy)]],
        ["published", published(policy)],
      ])}`,
  );
  return `${when}\n${renderTable(COUNT_COLUMNS, rows)}${texts.join("")}${next === undefined ? "" : `More: add --after ${shown(next, 600)}\n`}`;
}

/** One row, and one more for each further kind of failure. */
function countRows(domain: string, reportDomain: string, { policy, successes, failures, details }: PolicyCount): string[][] {
  const head = [shown(domain, 255), describePolicy(policy, reportDomain), String(successes), String(failures)];
  const [first, ...others] = details.map(({ detail, sessions }) => [
    String(sessions),
    describeFailure(detail),
    shown(detail.receivingMxHostname ?? "-", 255),
    shown(detail.receivingIp ?? "-", 60),
  ]);
  return [[...head, ...(first ?? ["-", "-", "-", "-"])], ...others.map((detail) => ["", "", "", "", ...detail])];
}

/** `sts`, `tlsa mx2.example.net`: the words of RFC 8460; the domain where it is not the one that is spoken of. */
function describePolicy({ type, domain }: AppliedPolicy, spokenOf?: string): string {
  return domain === spokenOf ? type : `${type} ${shown(domain, 255)}`;
}

function describeFailure({ resultType, reasonCode }: FailureDetail): string {
  return reasonCode === undefined ? resultType : `${resultType} (${shown(reasonCode, 64)})`;
}

const MOST_LINES = 20;

function published({ text }: AppliedPolicy): string[] {
  const lines = text.slice(0, MOST_LINES).map((line) => shown(line, 200));
  return text.length > MOST_LINES ? [...lines, `and ${text.length - MOST_LINES} more`] : lines;
}

const LIST_COLUMNS: readonly Column[] = [
  { title: "DAY" },
  { title: "DOMAIN", wrap: 40 },
  { title: "STATE" },
  { title: "TRIES", align: "right" },
  { title: "NEXT" },
  { title: "WHAT BECAME OF IT", wrap: 70 },
];

export function renderReports({ now, reports, next }: ReportList): string {
  if (reports.length === 0) return "No report matches.\n";
  const rows = reports.map((report) => [
    report.day,
    shown(report.reportDomain, 255),
    describeState(report),
    String(report.attempts),
    report.endedAt === undefined ? describeWait(report.dueAt, now) : "-",
    [
      ...report.destinations.map((one) => `${shown(one.uri, 200)} ${one.state}`),
      ...(report.detail === undefined ? [] : [shown(report.detail, 300)]),
    ].join("; ") || "-",
  ]);
  return renderTable(LIST_COLUMNS, rows) + (next === undefined ? "" : `More: add --after ${shown(next, 600)}\n`);
}

function describeState({ state }: Pick<ShownReport, "state">): string {
  return state === "not-asked" ? "not asked for" : state;
}

/** The report as a card, then what it says. */
export function renderReport(answer: OneReport): string {
  const { now, day, domain, report } = answer;
  if (report === undefined) return `${renderNone(answer)}\n`;
  const card = renderCard(report, now);
  return report.document === undefined
    ? `${card}\nIt is built when it is sent; postern tlsrpt preview ${shown(domain, 255)} --day ${day} shows what it would say now.\n`
    : `${card}\n${renderDocument(report.document)}`;
}

export function renderSent(answer: SentReport): string {
  return answer.report === undefined ? `${renderNone(answer)}\n` : renderCard(answer.report, answer.now);
}

/** Why there is no report of that day. */
export function renderNone({ now, day, domain }: Pick<OneReport, "now" | "day" | "domain">): string {
  const until =
    day >= reportDayOf(now)
      ? `the UTC day is not over; postern tlsrpt preview ${shown(domain, 255)} shows what it would say so far`
      : "nothing was counted for it, or its time is past (tlsReports.keep)";
  return `No report of ${day} for ${shown(domain, 255)}: ${until}.`;
}

/** Why there is nothing to preview. */
export function renderUncounted({ day, domain }: Pick<ReportPreview, "day" | "domain">): string {
  return `Nothing was counted for ${shown(domain, 255)} on ${day}, so there is no report.`;
}

function renderCard(report: ShownReport, now: number): string {
  const { day, reportDomain, id, attempts, dueAt, giveUpAt, endedAt, destinations, detail } = report;
  const next =
    endedAt === undefined ? `; next ${describeWait(dueAt, now)}, given up ${describeMinute(giveUpAt)}` : ` ${describeMinute(endedAt)}`;
  return renderFields([
    ["report", [`of ${day} for ${shown(reportDomain, 255)}, id ${shown(id, 200)}`]],
    ["state", [`${describeState(report)}${next}; ${plural(attempts, "try", "tries")}`]],
    ["to", destinations.flatMap(describeDestination)],
    // What a destination answered stands with it.
    ["detail", detail === undefined || destinations.some((one) => one.detail === detail) ? [] : [shown(detail)]],
  ]);
}

function describeDestination({ uri, state, detail, at, queueId }: ReportDestination): string[] {
  const when = at === undefined ? "" : ` ${describeMinute(at)}`;
  const lines = [`${shown(uri, 300)}  ${state}${when}${detail === undefined ? "" : `: ${shown(detail)}`}`];
  return queueId === undefined ? lines : [...lines, `  postern queue why ${queueId}`];
}

export function renderPreview({ now, day, domain, document, to }: ReportPreview): string {
  const so = day === reportDayOf(now) ? ", as far as the day went" : "";
  const card = renderFields([
    ["report", [`of ${day} for ${shown(domain, 255)}${so}; nothing was sent`]],
    ["goes to", describeWish(domain, to)],
  ]);
  return document === undefined ? `${card}\n${renderUncounted({ day, domain })}\n` : `${card}\n${renderDocument(document)}`;
}

/** A report of ours is read as anybody's would be. */
function renderDocument(document: string): string {
  const read = readReport(Buffer.from(document));
  return read.ok ? renderReceived(read.value) : `The document cannot be read: ${shown(read.error)}\n`;
}

/** For `postern status`. */
export function describeSummary({ domains, failedDomains, successes, failures, more, due, failed }: ReportSummary): string {
  const today =
    domains === 0
      ? "nothing counted today"
      : `today ${more ? "more than " : ""}${successes} ok and ${failures} failed at ${plural(domains, "domain")}${failedDomains === 0 ? "" : `, failures at ${failedDomains}: postern tlsrpt today --failed`}`;
  const reports = [
    due === 0 ? [] : [`${plural(due, "report")} to be sent`],
    failed === 0 ? [] : [`${failed} failed: postern tlsrpt list --state failed`],
  ];
  return [today, ...reports.flat()].join("; ");
}
