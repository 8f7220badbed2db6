/**
 * The part of a notice for machines (RFC 3464 §2; RFC 6533 §3 for internationalised addresses): facts in, the text of a
 * message/delivery-status body out. No field can be added by what a stranger said: every value is one clean line.
 */
import { type EmailAddress, needsSmtpUtf8 } from "../mail/address.ts";
import { formatDate } from "../mail/received.ts";
import type { Reply } from "../mail/reply.ts";
import { decodeXtext, embedUnicode, readEmbeddedUnicode } from "../mail/xtext.ts";
import type { DeliveryProblem } from "../queue/settlement.ts";
import type { GivenUp, NoticeFacts } from "./notice-facts.ts";
import { isTlsTrouble } from "./problems.ts";

/** Lines of one reply, and characters of one line, that go into a notice. */
const MOST_LINES = 20;
const LONGEST_LINE = 400;

/** The per-message fields, then a group for each recipient after an empty line (RFC 3464 §2.1). */
export function statusPart(facts: NoticeFacts): string {
  const groups = facts.givenUp.map((givenUp) => recipientFields(givenUp, facts).join("\r\n"));
  return [messageFields(facts).join("\r\n"), ...groups].join("\r\n\r\n").concat("\r\n");
}

function messageFields({ message, relay, givenUp }: NoticeFacts): string[] {
  const fields: string[] = [];
  if (message.envelopeId !== undefined) fields.push(`Original-Envelope-Id: ${oneLine(decodeXtext(message.envelopeId))}`);
  fields.push(`Reporting-MTA: dns; ${relay}`, `Arrival-Date: ${formatDate(message.receivedAt)}`, `X-Postern-Queue-ID: ${message.id}`);
  if (givenUp.length === 0) throw new Error(`a notice about ${message.id} has no recipient to tell of`);
  return fields;
}

function recipientFields({ recipient, problem }: GivenUp, { attempt, utf8 }: NoticeFacts): string[] {
  const fields: string[] = [];
  const original = originalRecipient(recipient.originalRecipient, utf8);
  if (original !== undefined) fields.push(`Original-Recipient: ${original}`);
  fields.push(`Final-Recipient: ${typedAddress(recipient.address, utf8)}`, "Action: failed", `Status: ${statusOf(problem)}`);
  const { reply, host } = problem;
  // A reply counts as the diagnosis where it decided. Where we refused, its absence and that of Remote-MTA say so (RFC 3464 §2.3.6).
  const replyDecided = reply !== undefined && !isTlsTrouble(problem.type);
  if (host !== undefined && (replyDecided || problem.type === "outcome-unknown")) fields.push(`Remote-MTA: dns; ${oneLine(host)}`);
  fields.push(
    replyDecided ? `Diagnostic-Code: smtp; ${replyText(reply)}` : `Diagnostic-Code: X-Postern; ${problem.type}: ${oneLine(problem.detail)}`,
  );
  fields.push(`Last-Attempt-Date: ${formatDate(attempt.endedAt)}`);
  return fields;
}

/** RFC 3464 §2.3.4: three numbers without leading zeros. A temporary status stays so when only the time ended. */
function statusOf({ status }: DeliveryProblem): string {
  if (/^[245]\.(?:0|[1-9]\d{0,2})\.(?:0|[1-9]\d{0,2})$/.test(status)) return status;
  return status.startsWith("4") ? "4.0.0" : "5.0.0";
}

/** The reply as received; lines after the first are continuation lines of the field (RFC 3461 §9.2). */
function replyText({ code, lines }: Reply): string {
  const shown = lines.length === 0 ? [""] : lines.slice(0, MOST_LINES);
  return shown.map((line, index) => `${code}${index === shown.length - 1 ? " " : "-"}${oneLine(line)}`.trimEnd()).join("\r\n ");
}

/** `rfc822; jo@example.org`, or the utf-8 type where the local part is not ASCII (RFC 6533 §3). */
function typedAddress(address: EmailAddress, utf8: boolean): string {
  if (!needsSmtpUtf8(address)) return `rfc822; ${oneLine(address)}`;
  return `utf-8; ${utf8 ? oneLine(address, true) : toUnitext(address)}`;
}

/** ORCPT decoded, its type kept (RFC 3461 §6.3 d); undefined without one, or where it is malformed. */
function originalRecipient(orcpt: string | undefined, utf8: boolean): string | undefined {
  const match = orcpt === undefined ? null : /^([A-Za-z0-9-]{1,64});(.+)$/s.exec(orcpt);
  if (match === null) return undefined;
  const [, type = "", encoded = ""] = match;
  if (type.toLowerCase() !== "utf-8") return `${type};${oneLine(decodeXtext(encoded))}`;
  const address = readEmbeddedUnicode(decodeXtext(encoded));
  return `${type};${utf8 ? oneLine(address, true) : toUnitext(address)}`;
}

/** RFC 6533 §3, utf-8-addr-xtext: `\x{E9}` for everything that is not plain printable ASCII. */
function toUnitext(address: string): string {
  return Array.from(address, (character) =>
    /[\x21-\x7e]/.test(character) && !/[+=\\]/.test(character) ? character : embedUnicode(character),
  ).join("");
}

/** One line of bounded length; 7-bit unless the form allows UTF-8 (RFC 3464 §2.1). */
function oneLine(text: string, utf8 = false): string {
  const clean = text.replace(utf8 ? /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g : /[^\x20-\x7e]/g, "?");
  return clean.length > LONGEST_LINE ? `${clean.slice(0, LONGEST_LINE - 3)}...` : clean;
}
