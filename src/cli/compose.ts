/**
 * A minimal message for a quick test (RFC 5322 §3.6): From, To, Subject and a UTF-8 text body. Date and Message-ID are
 * the relay's to add. Pure.
 */
import { cleanText } from "../mail/reply.ts";

export interface Composition {
  /** Empty for the null path: the From field is then the recipient's own address, for a header needs one. */
  readonly sender: string;
  readonly recipients: readonly string[];
  readonly subject: string;
  readonly body: string;
}

export function composeMessage({ sender, recipients, subject, body }: Composition): string {
  const isAscii = /^[\u0000-\u007f]*$/.test(body);
  const fields = [
    `From: <${sender === "" ? (recipients[0] ?? "") : sender}>`,
    `To: ${recipients.map((recipient) => `<${recipient}>`).join(",\r\n ")}`,
    `Subject: ${encodeSubject(subject)}`,
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=utf-8",
    `Content-Transfer-Encoding: ${isAscii ? "7bit" : "8bit"}`,
  ];
  const text = body.replace(/\r\n|\r|\n/g, "\r\n");
  return `${fields.join("\r\n")}\r\n\r\n${text}${text.endsWith("\r\n") ? "" : "\r\n"}`;
}

/** A line of a header holds 78 characters at best (RFC 5322 §2.1.1); what is longer or not ASCII becomes encoded words. */
function encodeSubject(subject: string): string {
  const clean = cleanText(subject, 2000);
  if (/^[\u0020-\u007e]{0,66}$/.test(clean) && !clean.includes("=?")) return clean;
  // RFC 2047 §2: at most 75 characters a word, so 45 octets of text; no character is cut in two (§5).
  const words: string[] = [];
  let word = "";
  for (const char of clean) {
    if (Buffer.byteLength(word) + Buffer.byteLength(char) > 45) {
      words.push(word);
      word = "";
    }
    word += char;
  }
  words.push(word);
  return words.map((part) => `=?utf-8?B?${Buffer.from(part).toString("base64")}?=`).join("\r\n ");
}
