/** `postern queue ls`, `queue summary` and `mailq` as text: handlers' answers in, tables out. Pure. */
import { whoActsShort } from "../admin/advice.ts";
import type { Answers } from "../admin/handlers.ts";
import { describeReply } from "../mail/reply.ts";
import type { DeliveryProblem } from "../queue/settlement.ts";
import type { EntrySummary } from "../queue/store.ts";
import { type Column, describeSize, describeSpan, describeWait, plural, renderTable, shown } from "./words.ts";

/** `certificate-expired: ended 2026-08-30`, or what the host said where that decided. */
export function describeProblem(problem: DeliveryProblem, limit = 160): string {
  if (problem.type === "rejected" && problem.reply !== undefined) return shown(describeReply(problem.reply), limit);
  return shown(`${problem.type}: ${problem.detail}`, limit);
}

/** What people call it: an entry that waits after a failure is deferred. */
export function describeState(entry: Pick<EntrySummary, "state" | "problem" | "attempts" | "recipients">): string {
  if (entry.state === "waiting") return entry.attempts > 0 || entry.problem !== undefined ? "deferred" : "waiting";
  if (entry.state === "active") return "active";
  const states = new Set(entry.recipients.map((recipient) => recipient.state));
  return states.size === 1 ? ([...states][0] ?? "finished") : "finished";
}

const LIST_COLUMNS: readonly Column[] = [
  { title: "ID" },
  { title: "STATE" },
  { title: "AGE", align: "right" },
  { title: "SIZE", align: "right" },
  { title: "TRIES", align: "right" },
  { title: "NEXT" },
  { title: "FROM", wrap: 40 },
  { title: "TO", wrap: 40 },
  { title: "REASON", wrap: 60 },
  { title: "WHO ACTS" },
];

export function renderList(answer: Answers["queue/list"], now: number): string {
  if (answer.entries.length === 0) return "No message matches.\n";
  const rows = answer.entries.map((entry) => {
    const [first, ...others] = entry.recipients;
    const to = shown(first?.address ?? entry.nextHop);
    return [
      entry.id,
      describeState(entry),
      describeSpan(now - entry.receivedAt),
      describeSize(entry.size),
      String(entry.attempts),
      entry.state === "waiting" && entry.nextAttempt !== undefined ? describeWait(entry.nextAttempt, now) : "-",
      entry.sender === "" ? "<>" : shown(entry.sender),
      others.length === 0 ? to : `${to} +${others.length}`,
      entry.problem === undefined ? "-" : describeProblem(entry.problem),
      entry.problem === undefined ? "-" : whoActsShort(entry.problem),
    ];
  });
  const more = answer.next === undefined ? "" : `More: add --after ${shown(answer.next)}\n`;
  return renderTable(LIST_COLUMNS, rows) + more;
}

const AGES = ["<5m", "<20m", "<80m", "<5h", "<21h", ">21h"] as const;

export function renderSummary({ now, totals, destinations }: Answers["queue/summary"]): string {
  const facts = [`${totals.waiting} waiting, ${totals.active} active.`];
  if (totals.oldest !== undefined) facts.push(`Oldest ${describeSpan(now - totals.oldest)}.`);
  if (totals.nextAttempt !== undefined)
    facts.push(totals.nextAttempt <= now ? "Next try now." : `Next try in ${describeSpan(totals.nextAttempt - now)}.`);
  const head = `${facts.join("  ")}\n`;
  if (destinations.length === 0) return totals.waiting + totals.active === 0 ? "The queue is empty.\n" : head;
  const columns: Column[] = [
    { title: "DESTINATION", wrap: 40 },
    { title: "MSGS", align: "right" },
    { title: "OLDEST", align: "right" },
    ...AGES.map((title): Column => ({ title, align: "right" })),
    { title: "MOST COMMON REASON", wrap: 50 },
    { title: "WHO ACTS" },
  ];
  const rows = destinations.map((destination) => [
    shown(destination.nextHop),
    String(destination.messages),
    describeSpan(now - destination.oldest),
    ...destination.ages.map(String),
    destination.problem === undefined ? "-" : describeProblem(destination.problem),
    destination.problem === undefined ? "-" : whoActsShort(destination.problem),
  ]);
  return head + renderTable(columns, rows);
}

/** The layout of `postqueue -p`, which many a script reads: id with `*` while active, size, arrival, sender, reason, recipients. */
export function renderMailq(entries: readonly EntrySummary[]): string {
  const messages = new Map<string, EntrySummary[]>();
  for (const entry of entries) {
    if (entry.state === "finished") continue;
    const same = messages.get(entry.id);
    if (same === undefined) messages.set(entry.id, [entry]);
    else same.push(entry);
  }
  if (messages.size === 0) return "Mail queue is empty\n";
  const lines = ["-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------"];
  let octets = 0;
  for (const [id, [first, ...others]] of messages) {
    if (first === undefined) continue;
    const all = [first, ...others];
    octets += first.size;
    const mark = all.some((entry) => entry.state === "active") ? "*" : "";
    lines.push(
      `${`${id}${mark}`.padEnd(11)} ${String(first.size).padStart(7)} ${arrival(first.receivedAt)}  ${first.sender === "" ? "MAILER-DAEMON" : shown(first.sender)}`,
    );
    for (const entry of all) {
      if (entry.problem !== undefined) lines.push(`(${describeProblem(entry.problem, 300)})`.padStart(78));
      for (const recipient of entry.recipients)
        if (recipient.state === "waiting") lines.push(`${" ".repeat(41)}${shown(recipient.address)}`);
    }
    lines.push("");
  }
  lines.push(`-- ${Math.round(octets / 1024)} Kbytes in ${plural(messages.size, "Request")}.`);
  return `${lines.join("\n")}\n`;
}

const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** `Tue Sep  1 08:14:09` in the machine's time zone, as Postfix prints it. */
function arrival(time: number): string {
  const at = new Date(time);
  const clock = [at.getHours(), at.getMinutes(), at.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
  return `${DAYS[at.getDay()]} ${MONTHS[at.getMonth()]} ${String(at.getDate()).padStart(2)} ${clock}`;
}
