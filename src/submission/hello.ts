/** EHLO and HELO (RFC 5321 §4.1.1.1): the client's name judged, and what is offered to it, each only if fully served. */
import { cleanText } from "../mail/reply.ts";

export interface Offers {
  readonly messageSize: number;
  readonly startTls: boolean;
  readonly login: boolean;
  /** Inside TLS only: nowhere else may it be used (RFC 8689 §2). */
  readonly requireTls: boolean;
}

/**
 * The name to remember, or undefined for one that is none. A stranger's must be a domain or literal by its looks; what a
 * trusted client says is taken as it is, since containers have underscores and worse in theirs.
 */
export function parseClientName(text: string, trusted: boolean): string | undefined {
  if (text === "") return undefined;
  if (!trusted && !/^(?:[A-Za-z0-9_.-]{1,255}|\[[A-Za-z0-9.:-]{2,250}\])$/.test(text)) return undefined;
  return cleanText(text, 255);
}

export function helloReply(verb: "EHLO" | "HELO", mailname: string, offers: Offers): string {
  if (verb === "HELO") return `250 ${mailname}`;
  const keywords = [`SIZE ${offers.messageSize}`, "8BITMIME", "PIPELINING", "DSN", "SMTPUTF8"];
  if (offers.startTls) keywords.push("STARTTLS");
  if (offers.requireTls) keywords.push("REQUIRETLS");
  if (offers.login) keywords.push("AUTH PLAIN LOGIN");
  return `${[mailname, ...keywords].map((line) => `250-${line}\r\n`).join("")}250 ENHANCEDSTATUSCODES`;
}
