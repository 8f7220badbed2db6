/**
 * `postern queue why`: one message's story as a card for each destination. What was decided, from which facts, under
 * which demand, and whose move it is. Pure: the handlers' answer in, text out.
 */
import type { Answers, EntryStory } from "../admin/handlers.ts";
import { describeReply } from "../mail/reply.ts";
import type { CertificateEvidence, TlsOutcome } from "../policy/outcome.ts";
import type { AttemptRecord, DeliveryProblem, HostReport } from "../queue/settlement.ts";
import { describeProblem, describeState } from "./list-text.ts";
import {
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
    fields.push(["detail", wrapText(shown(problem.detail), 110)]);
    fields.push(["said by", [saidBy(problem, last, entry.nextHop)]]);
  }
  fields.push(["taken by", describeTaken(entry)]);
  if (last !== undefined) {
    fields.push(["demanded", [shown(last.demanded)]]);
    fields.push(["evidence", last.hosts.length === 0 ? ["no host was reached"] : describeHosts(last.hosts, problem)]);
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
  return `${since}; ${tries}${next}; ${end} ${describeTime(entry.expiresAt).slice(0, 16)} UTC`;
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

/** Who said no, and whether the other side has seen the message: the first thing its postmaster asks. */
function saidBy(problem: DeliveryProblem, last: AttemptRecord | undefined, nextHop: string): string {
  const host = shown(problem.host ?? nextHop);
  if (problem.type === "outcome-unknown") return `nobody: ${host} did not answer after the whole message; it may have it`;
  if (problem.reply !== undefined) return `${host}: ${shown(describeReply(problem.reply))}`;
  if (problem.type === "destination-waiting") return "this relay: it did not try, another message had just failed there";
  const report = last?.hosts.findLast((candidate) => candidate.host === problem.host) ?? last?.hosts.at(-1);
  if (report === undefined || report.step === "skipped")
    return `this relay: it did not connect, ${shown(nextHop)} has not seen the message`;
  if (report.step === "connect") return `this relay: it got no connection, ${shown(nextHop)} has not seen the message`;
  if (
    report.step === "starttls" ||
    report.step === "handshake" ||
    problem.type === "starttls-not-supported" ||
    problem.type.startsWith("certificate-")
  ) {
    return `this relay: it refused the connection, ${shown(nextHop)} has not seen the message`;
  }
  return `this relay: it gave up at ${report.step}, ${shown(nextHop)} has not taken the message`;
}

function describeHosts(hosts: readonly HostReport[], told: DeliveryProblem | undefined): string[] {
  return hosts.flatMap((report) => describeHost(report, told));
}

/** One host: where, how far, what TLS was, whose certificate, what it answered. */
function describeHost(report: HostReport, told: DeliveryProblem | undefined): string[] {
  const address =
    report.address === undefined
      ? ""
      : ` [${shown(report.address)}]${report.port === undefined || report.port === 25 ? "" : `:${report.port}`}`;
  const step = report.step === "done" ? "done" : report.step === "skipped" ? "not tried" : `failed at ${report.step}`;
  const lines = [`${shown(report.host)}${address}  ${step}${report.reused === true ? ", on an open connection" : ""}`];
  if (report.tls !== undefined) lines.push(...describeTls(report.tls).map((line) => `  ${line}`));
  // The problem that heads the card is not said twice.
  const isTold = told !== undefined && report.problem?.type === told.type && report.problem.detail === told.detail;
  if (report.problem !== undefined && !isTold)
    lines.push(...wrapText(describeProblem(report.problem, 300), 108).map((line) => `  ${line}`));
  return lines;
}

function describeTls(outcome: TlsOutcome): string[] {
  switch (outcome.kind) {
    case "clear":
      return [`no TLS: ${shown(outcome.because.detail)}`];
    case "encrypted":
      return [
        `encrypted, not authenticated: ${outcome.session.protocol} ${outcome.session.cipher}; ${shown(outcome.because.type)}`,
        ...describeLeaf(outcome.session.chain[0]),
      ];
    case "authenticated":
      return [
        `authenticated as ${shown(outcome.referenceIdentifier)}: ${outcome.session.protocol} ${outcome.session.cipher}`,
        ...describeLeaf(outcome.session.chain[0]),
      ];
  }
}

function describeLeaf(leaf: CertificateEvidence | undefined): string[] {
  if (leaf === undefined) return ["no certificate was shown"];
  const names = leaf.names.slice(0, 5).join(", ") || "no DNS name";
  const more = leaf.names.length > 5 ? ` and ${leaf.names.length - 5} more` : "";
  return [
    `certificate for ${shown(names, 200)}${more}; ${day(leaf.validFrom)} to ${day(leaf.validTo)}; issuer ${shown(leaf.issuer, 100)}; ${shown(leaf.key, 40)}`,
    `sha256 ${shown(leaf.sha256, 64)}`,
  ];
}

/** The certificate's own date text when it is no date we can read. */
function day(text: string): string {
  const time = Date.parse(text);
  return Number.isNaN(time) ? shown(text, 40) : `${describeTime(time).slice(0, 16)} UTC`;
}

/** Every attempt; what its hosts showed only where it is not what they showed the last time. */
function describeAttempts(attempts: readonly AttemptRecord[]): string[] {
  let before = "";
  return attempts.flatMap((attempt, at) => {
    const verdict = attempt.problem === undefined ? "delivered" : describeProblem(attempt.problem, 200);
    const evidence = describeHosts(attempt.hosts, attempt.problem);
    const isSame = at > 0 && evidence.join("\n") === before;
    before = evidence.join("\n");
    return [
      `${at + 1}. ${describeTime(attempt.startedAt)} UTC, ${attempt.endedAt - attempt.startedAt} ms, demanded ${shown(attempt.demanded)}`,
      ...wrapText(verdict, 106).map((line) => `   ${line}`),
      ...(isSame ? ["   hosts and evidence as before"] : evidence.map((line) => `   ${line}`)),
    ];
  });
}
