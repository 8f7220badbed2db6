/**
 * The fields that this relay writes itself: Received in front (RFC 5321 §4.4), and Date and Message-ID where the
 * submitter left them out (RFC 6409 §8). Facts in, lines with CRLF out; all of it is ASCII.
 */
import { formatAddressLiteral } from "./domain.ts";
import { cleanText } from "./reply.ts";

export interface ReceivedFacts {
  /** As the client gave it; made harmless here. */
  readonly ehloName: string;
  readonly clientAddress: string;
  readonly mailname: string;
  readonly protocol: TransmissionType;
  readonly id: string;
  /** The only recipient; absent when there are several, since none may learn of another (RFC 5321 §7.2). */
  readonly recipient?: string;
  readonly at: number;
}

/** RFC 3848, and RFC 6531 §3.7.3 with SMTPUTF8. */
export type TransmissionType = "SMTP" | "ESMTP" | "ESMTPS" | "ESMTPA" | "ESMTPSA" | "UTF8SMTP" | "UTF8SMTPS" | "UTF8SMTPA" | "UTF8SMTPSA";

export function transmissionType(session: { esmtp: boolean; tls: boolean; login: boolean; utf8: boolean }): TransmissionType {
  // HELO behind TLS has no name of its own; only an extended client can have got there.
  const suffix: "" | "S" | "A" | "SA" = `${session.tls ? "S" : ""}${session.login ? "A" : ""}`;
  if (session.utf8) return `UTF8SMTP${suffix}`;
  return session.esmtp || suffix !== "" ? `ESMTP${suffix}` : "SMTP";
}

export function formatReceived(facts: ReceivedFacts): string {
  const { recipient } = facts;
  // An internationalised recipient would make a header that only SMTPUTF8 can carry.
  const namesRecipient = recipient !== undefined && !/[^\x20-\x7e]/.test(recipient);
  return (
    `Received: from ${harmlessName(facts.ehloName)} (${formatAddressLiteral(facts.clientAddress)})\r\n` +
    `\tby ${facts.mailname} (Postern) with ${facts.protocol} id ${facts.id}${namesRecipient ? `\r\n\tfor <${recipient}>;` : ";"}\r\n` +
    `\t${formatDate(facts.at)}\r\n`
  );
}

/** Clients call themselves many things; what is no part of a domain or literal becomes a question mark. */
function harmlessName(name: string): string {
  const text = name.slice(0, 255).replace(/[^A-Za-z0-9._:[\]-]/g, "?");
  return text === "" ? "unknown" : text;
}

let lastSecond = -1;
let lastText = "";

/** `Tue, 01 Sep 2026 08:00:00 +0000` (RFC 5322 §3.3). */
export function formatDate(at: number): string {
  const second = Math.floor(at / 1000);
  if (second !== lastSecond) {
    lastText = new Date(second * 1000).toUTCString().replace("GMT", "+0000");
    lastSecond = second;
  }
  return lastText;
}

export function formatMessageId(id: string, mailname: string, random: () => number): string {
  const chance = Math.floor(random() * 0x1_0000_0000)
    .toString(36)
    .padStart(7, "0");
  return `<${id}.${chance}@${cleanText(mailname, 255)}>`;
}
