/**
 * The part of a notice for people (RFC 3464 §2 b): what happened, to whom, under which rule, who must act and how. Facts
 * in, lines of plain text out. What a stranger's server said is marked as its words.
 */
import { displayDomain } from "../mail/domain.ts";
import { cleanText } from "../mail/reply.ts";
import type { DeliveryProblem } from "../queue/settlement.ts";
import type { GivenUp, NoticeFacts } from "./notice-facts.ts";
import { isTlsTrouble, PROBLEMS } from "./problems.ts";

const WIDTH = 74;
/** Octets of the header in which the Subject is looked for. */
const HEADER_READ = 16 * 1024;

/** `Undelivered: your message to jo@example.org`, in ASCII. */
export function noticeSubject({ givenUp }: NoticeFacts): string {
  const [first] = givenUp;
  const address = first?.recipient.address ?? "";
  if (givenUp.length > 1) return `Undelivered: your message to ${givenUp.length} recipients`;
  return /^[\x21-\x7e]+$/.test(address) ? `Undelivered: your message to ${address}` : "Undelivered: your message";
}

export function noticeText(facts: NoticeFacts): string {
  const { relay, message } = facts;
  const paragraphs = [
    wrap(`This is the mail relay ${relay}. The following message could not be delivered, and no more attempts will be made.`, ""),
    messageLines(facts).join("\r\n"),
  ];
  for (const group of groupByProblem(facts.givenUp)) paragraphs.push(groupText(group, facts));
  paragraphs.push(wrap(`Questions go to ${administrator(facts.from)}; please name the queue id ${message.id}.`, ""));
  return `${paragraphs.join("\r\n\r\n")}\r\n`;
}

function messageLines({ message, attempt, attempts, original }: NoticeFacts): string[] {
  const lines = [`  received      ${when(message.receivedAt)}`, `  queue id      ${message.id}`];
  const subject = original.kind === "none" ? undefined : findSubject(original.octets);
  // What the sender knows the message by.
  if (subject !== undefined) lines.unshift(`  subject       ${subject}`);
  if (message.messageId !== undefined) lines.push(`  Message-ID    ${cleanText(message.messageId, 200)}`);
  lines.push(`  attempts      ${attempts}, the last one at ${when(attempt.endedAt)}`);
  return lines;
}

/** The Subject as it stands, if a person can read it that way: bounded, cleaned, without encoded words (RFC 2047). */
function findSubject(octets: Buffer): string | undefined {
  const header = octets.subarray(0, HEADER_READ).toString("latin1").split("\r\n\r\n", 1)[0] ?? "";
  const text = /^subject:(.*(?:\r\n[ \t].*)*)/im.exec(header)?.[1]?.replace(/\s+/g, " ").trim();
  if (text === undefined || text === "" || text.includes("=?") || /[^\x20-\x7e]/.test(text)) return undefined;
  return cleanText(text, 60);
}

/** An address that nobody set up reaches nobody. */
function administrator(from: string): string {
  return from.startsWith("MAILER-DAEMON@") ? "the administrator of this relay" : from;
}

/** Recipients that share one fate are told of together. */
function groupByProblem(givenUp: readonly GivenUp[]): GivenUp[][] {
  const groups = new Map<string, GivenUp[]>();
  for (const one of givenUp) {
    const { type, detail, status } = one.problem;
    const key = [one.kind, type, status, detail].join("\n");
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [one]);
    else group.push(one);
  }
  return [...groups.values()];
}

function groupText(group: readonly GivenUp[], facts: NoticeFacts): string {
  const [first] = group;
  if (first === undefined) return "";
  const { problem, kind, recipient } = first;
  const words = PROBLEMS[problem.type];
  const lines = ["To:", ...group.map((one) => `    ${cleanText(one.recipient.address, 300)}`)];
  lines.push("What happened:", wrap(words.meaning, "    "), ...evidence(problem));
  if (kind === "expired") lines.push(wrap(`This relay kept trying from ${when(facts.message.receivedAt)} on; that time is over.`, "    "));
  lines.push("Who refused:", wrap(whoRefused(problem, displayDomain(recipient.nextHop)), "    "));
  if (isTlsTrouble(problem.type))
    lines.push("Under which rule:", wrap(`This relay asks of this mail's way: ${facts.attempt.demanded}.`, "    "));
  lines.push("Who must act:", wrap(whoMustAct(problem, displayDomain(recipient.nextHop), facts.from), "    "));
  lines.push("What to do:", wrap(words.todo, "    "));
  if (problem.whoActs === "receiver")
    lines.push(
      wrap(
        "They may not know of it: if you can reach the recipient in another way, pass this notice on. Then send your message again.",
        "    ",
      ),
    );
  lines.push(`Reason: ${problem.type} (${problem.status})`);
  return lines.join("\r\n");
}

/** Our own sentence, or the other side's words, marked as such so that they cannot pass for ours. */
function evidence(problem: DeliveryProblem): string[] {
  const { reply, host, detail } = problem;
  if (reply === undefined || isTlsTrouble(problem.type)) return [wrap(`${cleanText(detail, 600)}.`.replace(/([.!?])\.$/, "$1"), "    ")];
  const words = reply.lines.slice(0, 20).map((line) => wrap(`${reply.code} ${cleanText(line, 300)}`.trimEnd(), "    > "));
  return [`    The server${host === undefined ? "" : ` ${cleanText(host, 255)}`} said:`, ...words];
}

/** Trouble that is nobody's decision, in words. */
const NOBODY_REFUSED: Partial<Readonly<Record<DeliveryProblem["type"], string>>> = {
  "outcome-unknown": "the receiving server broke off without an answer",
  "connect-failed": "no connection came about",
  timeout: "the receiving server fell silent",
  "connection-lost": "the connection broke",
  "dns-failure": "DNS gave no answer",
};

function whoRefused(problem: DeliveryProblem, domain: string): string {
  const nobody = NOBODY_REFUSED[problem.type];
  if (nobody !== undefined && problem.reply === undefined) return `Nobody: ${nobody}.`;
  if (problem.reply !== undefined && !isTlsTrouble(problem.type))
    return `The mail server ${problem.host === undefined ? `of ${domain}` : cleanText(problem.host, 255)}.`;
  return `This relay. ${domain} has not seen your message.`;
}

function whoMustAct({ whoActs }: DeliveryProblem, domain: string, from: string): string {
  switch (whoActs) {
    case "you":
      return from.startsWith("MAILER-DAEMON@") ? "The administrator of this relay." : `The administrator of this relay (${from}).`;
    case "receiver":
      return `The mail administrators of ${domain}.`;
    case "sender":
      return "You, who sent the message.";
    case "nobody":
      return "Nobody in particular. You can send the message again later.";
  }
}

/** `2026-09-01 08:14 UTC` */
function when(time: number): string {
  return `${new Date(time).toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

/** Lines of at most WIDTH characters; a word that is longer is broken, since a line must not exceed 998 octets. */
function wrap(text: string, indent: string): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ").flatMap(shortWords)) {
    if (line !== "" && indent.length + line.length + 1 + word.length > WIDTH) {
      lines.push(indent + line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  lines.push(indent + line);
  return lines.join("\r\n");
}

function shortWords(word: string): string[] {
  return word.length <= 200 ? [word] : (word.match(/.{1,200}/gsu) ?? []);
}
