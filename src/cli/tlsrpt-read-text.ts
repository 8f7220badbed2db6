/** `postern tlsrpt read` as text: what report/read.ts made of a file in, words out. Pure. */
import { type AppliedPolicyType, POLICY_NAMES } from "../policy/observation.ts";
import type { ReceivedDetail, ReceivedPolicy, ReceivedReport } from "../report/read.ts";
import { type Column, plural, renderFields, renderTable, shown } from "./words.ts";

const MOST_POLICIES = 100;
const MOST_DETAILS = 200;
const MOST_LINES = 30;

export function renderReceived(report: ReceivedReport): string {
  const { organization, contact, id, policies } = report;
  const card = renderFields([
    ["from", [[organization ?? "does not say", contact === undefined ? "" : `<${contact}>`].join(" ").trim()].map((text) => shown(text))],
    ["period", [describePeriod(report)]],
    ["report", [id === undefined ? "has no id" : shown(id)]],
    ["sessions", [describeTotals(policies)]],
  ]);
  const sections = policies.slice(0, MOST_POLICIES).map(renderPolicy);
  const more = policies.length > MOST_POLICIES ? [`and ${plural(policies.length - MOST_POLICIES, "more policy", "more policies")}\n`] : [];
  return [card, ...sections, ...more].join("\n");
}

const DAY_BEGINS = /^\d{4}-\d\d-\d\dT00:00:00(?:\.0+)?(?:Z|\+00:00)$/;
const DAY_ENDS = /^\d{4}-\d\d-\d\dT23:59:59(?:\.\d+)?(?:Z|\+00:00)$/;

/** A whole UTC day is what reports are to cover (RFC 8460 §4.1); anything else is shown as it stands. */
function describePeriod({ begin = "?", end = "?" }: ReceivedReport): string {
  const day = begin.slice(0, 10);
  if (DAY_BEGINS.test(begin) && DAY_ENDS.test(end) && end.startsWith(day)) return `${day}, the whole day in UTC`;
  return shown(`${begin} to ${end}`);
}

/** Added up over policies, under each of which a session counts. */
function describeTotals(policies: readonly ReceivedPolicy[]): string {
  if (policies.length === 0) return "none: it names no policy";
  const sum = (member: "successes" | "failures"): number => policies.reduce((total, policy) => total + (policy[member] ?? 0), 0);
  return `${sum("successes")} succeeded, ${sum("failures")} failed, under ${plural(policies.length, "policy", "policies")}`;
}

const COLUMNS: readonly Column[] = [
  { title: "FAILURE", wrap: 28 },
  { title: "SESSIONS", align: "right" },
  { title: "MX", wrap: 36 },
  { title: "FROM", wrap: 39 },
  { title: "TO", wrap: 39 },
  { title: "REASON", wrap: 40 },
];

function renderPolicy({ type, domain, strings, mxHosts, successes, failures, details }: ReceivedPolicy): string {
  const kind = type === undefined ? "policy of no type" : isOurType(type) ? POLICY_NAMES[type] : shown(type, 60);
  const head = renderFields([
    ["policy", [`${kind} for ${domain === undefined ? "a domain it does not name" : shown(domain, 255)}`]],
    ["published", listed(strings)],
    ["mx", listed(mxHosts)],
    ["succeeded", [described(successes)]],
    ["failed", [described(failures)]],
  ]);
  if (details.length === 0) return head;
  const sorted = details.toSorted((a, b) => (b.sessions ?? 0) - (a.sessions ?? 0));
  const table = renderTable(COLUMNS, sorted.slice(0, MOST_DETAILS).map(detailRow));
  return (
    `${head}\n${table}` + (details.length > MOST_DETAILS ? `and ${plural(details.length - MOST_DETAILS, "more kind")} of failure\n` : "")
  );
}

function isOurType(type: string): type is AppliedPolicyType {
  return Object.hasOwn(POLICY_NAMES, type);
}

function detailRow(detail: ReceivedDetail): string[] {
  const { resultType, sessions, receivingMxHostname: mx, receivingMxHelo: helo, sendingMtaIp, receivingIp } = detail;
  const calledItself = helo !== undefined && helo !== mx ? `calls itself ${helo}` : undefined;
  const reason = [detail.reasonCode, detail.additionalInformation].filter((text) => text !== undefined);
  return [
    shown(resultType ?? "-", 100),
    described(sessions),
    shown([mx ?? "-", calledItself].filter((text) => text !== undefined).join(", "), 255),
    shown(sendingMtaIp ?? "-", 60),
    shown(receivingIp ?? "-", 60),
    reason.length === 0 ? "-" : shown(reason.join(", "), 300),
  ];
}

function listed(lines: readonly string[]): string[] {
  const some = lines.slice(0, MOST_LINES).map((line) => shown(line, 200));
  return lines.length > MOST_LINES ? [...some, `and ${lines.length - MOST_LINES} more`] : some;
}

function described(count: number | undefined): string {
  return count === undefined ? "-" : String(count);
}
