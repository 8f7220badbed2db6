/**
 * `postern queue why`: one message's story as a card for each destination. What was decided, from which facts, under
 * which demand, and whose move it is. Pure: the handlers' answer in, text out.
 */
import { findDecisive } from "../admin/advice.ts";
import { type Answers, type EntryStory, isUntried } from "../admin/handlers.ts";
import { describeReply } from "../mail/reply.ts";
import type { AttemptRecord, DeliveryProblem, HostReport } from "../queue/settlement.ts";
import {
  BLIND_WATCHED,
  describeDnssec,
  describeMx,
  describeProof,
  describeRules,
  describeSts,
  describeTls,
  describeTlsaEvidence,
  describeWatched,
} from "./evidence-text.ts";
import { describeProblem, describeState } from "./list-text.ts";
import {
  describeMinute,
  describeSize,
  describeSpan,
  describeTime,
  describeTimeNear,
  describeWait,
  plural,
  renderFields,
  shown,
  wrapText,
} from "./words.ts";

export function renderWhy(story: Answers["queue/story"], options: { readonly all: boolean }): string {
  const { message, entries, now } = story;
  if (message === undefined) return "";
  const recipients = entries.flatMap((entry) => entry.recipients);
  const [first, ...others] = recipients;
  const to =
    first === undefined
      ? "nobody"
      : others.length === 0
        ? shown(first.address)
        : `${shown(first.address)} and ${plural(others.length, "other")}`;
  const { origin } = message;
  // `[127.0.0.1]` says nothing that the address beside it does not.
  const who = origin.user ?? (origin.ehloName === `[${origin.clientAddress}]` ? undefined : origin.ehloName);
  const by =
    origin.clientAddress === undefined
      ? `by this relay itself (${shown(origin.listener)})`
      : `by ${shown(origin.clientAddress)}${who === undefined ? "" : ` (${shown(who)})`}, ${origin.tls === undefined ? "in clear" : shown(origin.tls)}`;
  const head = [
    `${message.id}  from ${message.sender === "" ? "<>" : shown(message.sender)} to ${to}   ${describeSize(message.size)}`,
    `submitted ${describeTime(message.receivedAt)} UTC ${by}${message.messageId === undefined ? "" : `   Message-ID ${shown(message.messageId)}`}`,
  ];
  return `${head.join("\n")}\n${entries.map((entry) => `\n${renderEntry(entry, now, options.all)}`).join("")}`;
}

function renderEntry(entry: EntryStory, now: number, all: boolean): string {
  const last = entry.attemptRecords.at(-1);
  const fields: [string, string[]][] = [
    ["to", entry.recipients.map((recipient) => `${shown(recipient.address)}${entry.recipients.length > 1 ? `   ${recipient.state}` : ""}`)],
    ["state", [describeProgress(entry, now)]],
  ];
  const { problem } = entry;
  if (problem !== undefined) {
    const meaning = entry.advice === undefined ? "" : `: ${entry.advice.meaning}`;
    fields.push(["reason", wrapText(`${problem.type} (${problem.status})${meaning}`, 110)]);
    fields.push(["detail", wrapText(shown(problem.detail), 110, 6)]);
    fields.push(["said by", [isUntried(entry) ? UNTRIED : saidBy(problem, last, entry.nextHop)]]);
  }
  fields.push(["taken by", describeTaken(entry)]);
  if (last !== undefined) {
    fields.push(["demanded", [shown(last.demanded)]]);
    fields.push(["published", describePublished(last)]);
    fields.push(["rules", describeDecision(last, problem)]);
    fields.push(["evidence", last.hosts.length === 0 ? ["no host was reached"] : describeHosts(last, problem)]);
  }
  if (entry.advice !== undefined) {
    fields.push(["who acts", wrapText(shown(entry.advice.whoActs), 110)]);
    fields.push(["meanwhile", entry.advice.meanwhile.map((line) => shown(line))]);
    fields.push(["read", [entry.advice.docs]]);
  }
  if (all) fields.push(["attempts", describeAttempts(entry.attemptRecords)]);
  else if (entry.attemptRecords.length > 1)
    fields.push(["attempts", [`the last of ${entry.attemptRecords.length} is shown; all of them: postern queue why ${entry.id} --all`]]);
  return renderFields(fields);
}

function describeProgress(entry: EntryStory, now: number): string {
  const state = describeState(entry);
  const tries = plural(entry.attempts, "try", "tries");
  const last = entry.attemptRecords.at(-1);
  if (entry.state === "finished")
    return `${state}${last === undefined ? "" : ` at ${describeTime(last.endedAt)} UTC (after ${describeSpan(last.endedAt - entry.receivedAt)})`}; ${tries}`;
  const since = `${state} since ${describeTimeNear(entry.receivedAt, now)} (${describeSpan(now - entry.receivedAt)})`;
  const next =
    entry.state === "active" || entry.nextAttempt === undefined
      ? ""
      : `; next ${describeTimeNear(entry.nextAttempt, now)} (${describeWait(entry.nextAttempt, now)})`;
  const end = entry.sender === "" ? "given up" : "bounces to the sender";
  return `${since}; ${tries}${next}; ${end} ${describeMinute(entry.expiresAt)}`;
}

/** Who has the message now, with the reply that holds its id there: what the other side's log is searched for. */
function describeTaken({ recipients }: EntryStory): string[] {
  const taken = new Map<string, string[]>();
  for (const { address, outcome } of recipients) {
    if (outcome?.kind !== "delivered") continue;
    const line = `${shown(outcome.host)}: ${shown(describeReply(outcome.reply))}`;
    taken.set(line, [...(taken.get(line) ?? []), shown(address)]);
  }
  return [...taken].map(([line, addresses]) => (taken.size === 1 ? line : `${line}   (${addresses.join(", ")})`));
}

const UNTRIED = "this relay did not try it: another message had just failed there";

/** Who said no, and whether the other side has seen the message: the first thing its postmaster asks. */
function saidBy(problem: DeliveryProblem, last: AttemptRecord | undefined, nextHop: string): string {
  const host = shown(problem.host ?? nextHop);
  if (problem.type === "outcome-unknown") return `nobody: ${host} did not answer after the whole message; it may have it`;
  if (problem.reply !== undefined) return `${host}: ${shown(describeReply(problem.reply))}`;
  if (problem.type === "destination-waiting") return UNTRIED;
  const report = findDecisive(last?.hosts ?? [], problem);
  if (report === undefined || report.step === "skipped")
    return `this relay: it did not connect, ${shown(nextHop)} has not seen the message`;
  if (report.step === "connect") return `this relay: it got no connection, ${shown(nextHop)} has not seen the message`;
  if (
    report.step === "starttls" ||
    report.step === "handshake" ||
    problem.type === "starttls-not-supported" ||
    problem.type.startsWith("certificate-") ||
    problem.type.startsWith("requiretls-")
  ) {
    return `this relay: it refused the connection, ${shown(nextHop)} has not seen the message`;
  }
  return `this relay: it gave up at ${report.step}, ${shown(nextHop)} has not taken the message`;
}

/** What the next hop published, with its security status and its age when the attempt began. */
function describePublished({ policy, startedAt, hosts }: AttemptRecord): string[] {
  if (policy === undefined) return [];
  const [sts = "", ...more] = describeSts(policy.sts, startedAt);
  const lines = [`MTA-STS ${sts}`, ...more.map((line) => `  ${line}`)];
  if (policy.mx !== undefined) lines.push(`MX ${describeMx(policy.mx, startedAt)}`);
  if (policy.dnssec !== "validating") lines.push(`DNSSEC ${describeDnssec(policy.dnssec)}`);
  const isWatched = hosts.some((host) =>
    host.policy?.rules.some(({ source, says }) => source === "published" && says.startsWith("report")),
  );
  if (policy.dnssec === "blind" && isWatched) lines.push(BLIND_WATCHED);
  return lines.flatMap((line) => wrapText(line, 130));
}

/** The rules for the host that decided: the one of the problem, else the one that took the message. */
function describeDecision({ hosts }: AttemptRecord, problem: DeliveryProblem | undefined): string[] {
  const report = findDecisive(hosts, problem);
  if (report?.policy === undefined) return [];
  const rules = describeRules(report.policy.rules);
  return hosts.some(({ host }) => host !== report.host) ? [`for ${shown(report.host)}:`, ...rules] : rules;
}

function describeHosts({ hosts, startedAt }: AttemptRecord, told: DeliveryProblem | undefined): string[] {
  return hosts.flatMap((report) => describeHost(report, startedAt, told));
}

/** One host: where, how far, what DNS proved, what TLS was, whose certificate, what it answered. */
function describeHost(report: HostReport, startedAt: number, told: DeliveryProblem | undefined): string[] {
  const address =
    report.address === undefined
      ? ""
      : ` [${shown(report.address)}]${report.port === undefined || report.port === 25 ? "" : `:${report.port}`}`;
  const step = report.step === "done" ? "done" : report.step === "skipped" ? "not tried" : `failed at ${report.step}`;
  const lines = [`${shown(report.host)}${address}  ${step}${report.reused === true ? ", on an open connection" : ""}`];
  const { policy, tls } = report;
  const facts = policy === undefined ? [] : [describeProof(policy), ...describeTlsaEvidence(policy.tlsa, startedAt)];
  const session = tls === undefined ? [] : describeTls(tls, policy?.host, report.problem?.detail);
  lines.push(...[...facts, ...session, ...describeWatched(policy?.wouldHaveFailed)].map((line) => `  ${line}`));
  // The problem that heads the card is not said twice.
  const isTold = told !== undefined && report.problem?.type === told.type && report.problem.detail === told.detail;
  if (report.problem !== undefined && !isTold)
    lines.push(...wrapText(describeProblem(report.problem, 300), 108).map((line) => `  ${line}`));
  return lines;
}

/** Every attempt; what its hosts showed only where it is not what they showed the last time. */
function describeAttempts(attempts: readonly AttemptRecord[]): string[] {
  let before = "";
  return attempts.flatMap((attempt, at) => {
    const verdict = attempt.problem === undefined ? "delivered" : describeProblem(attempt.problem, 200);
    const evidence = describeHosts(attempt, attempt.problem);
    const isSame = at > 0 && evidence.join("\n") === before;
    before = evidence.join("\n");
    return [
      `${at + 1}. ${describeTime(attempt.startedAt)} UTC, ${attempt.endedAt - attempt.startedAt} ms, demanded ${shown(attempt.demanded)}`,
      ...wrapText(verdict, 106).map((line) => `   ${line}`),
      ...(isSame ? ["   hosts and evidence as before"] : evidence.map((line) => `   ${line}`)),
    ];
  });
}
