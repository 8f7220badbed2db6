/**
 * What a notice gives back of the message it is about (RFC 3464 §2, RFC 6522 §3, RFC 6533 §4): the stored octets in, a body
 * part out. The header, or the whole message where RET=FULL asks for it and it is not too large (RFC 3461 §6.2).
 */
import { isAscii, isUtf8 } from "node:buffer";
import { HEADER_END } from "../mail/header.ts";
import type { BodySource } from "../queue/entry.ts";

/** A message larger than this comes back as its header, whatever RET says. */
export const LARGEST_RETURNED = 1024 * 1024;
/** No more of a header comes back. */
const LARGEST_HEADER = 128 * 1024;

/** What was read of the original. `none`: it could not be read, and the notice goes without. */
export type Original = { readonly kind: "none" } | { readonly kind: "headers" | "message"; readonly octets: Buffer };

/** A body part: its fields, its octets, and whether these need 8BITMIME. */
export interface Returned {
  readonly fields: string;
  readonly octets: Buffer;
  readonly eightBit: boolean;
}

/** Reads as much as is to be returned. Never rejects: the sender must hear of the failure though the body is lost. */
export async function readOriginal(body: BodySource, wantsFull: boolean): Promise<Original> {
  try {
    if (wantsFull && body.size <= LARGEST_RETURNED) return { kind: "message", octets: await readUpTo(body, () => false) };
    return {
      kind: "headers",
      octets: headerOf(await readUpTo(body, (read) => read.length > LARGEST_HEADER || read.includes(HEADER_END))),
    };
  } catch {
    return { kind: "none" };
  }
}

async function readUpTo(body: BodySource, enough: (read: Buffer) => boolean): Promise<Buffer> {
  if (body.inMemory !== undefined) return body.inMemory;
  let read: Buffer = Buffer.alloc(0);
  for await (const chunk of body.chunks()) {
    read = Buffer.concat([read, chunk]);
    if (enough(read)) break;
  }
  return read;
}

/** The header fields with their line ends, cut at a line where they are very long. */
function headerOf(message: Buffer): Buffer {
  if (message.subarray(0, 2).equals(HEADER_END.subarray(0, 2))) return Buffer.alloc(0);
  const end = message.indexOf(HEADER_END);
  const header = message.subarray(0, end === -1 ? message.length : end + 2);
  if (header.length <= LARGEST_HEADER) return header;
  return header.subarray(0, header.lastIndexOf("\r\n", LARGEST_HEADER) + 2);
}

/** The third part of the notice, in a form that arrives as it is. */
export function returnedPart(original: Original): Returned | undefined {
  if (original.kind === "none") return undefined;
  const { octets } = original;
  const header = original.kind === "headers" ? octets : headerOf(octets);
  if (original.kind === "headers") return headerPart(header);
  if (isPlain(octets)) return part("message/rfc822", "7bit", octets);
  if (isAscii(header)) return part("message/rfc822", "8bit", octets);
  // RFC 6532 §3.7: message/global may be encoded, so that hosts without 8BITMIME and SMTPUTF8 carry it.
  if (isUtf8(header)) return part("message/global", "base64", Buffer.from(lines(octets.toString("base64"))));
  return headerPart(header);
}

function headerPart(header: Buffer): Returned {
  if (isPlain(header)) return part("text/rfc822-headers", "7bit", header);
  // RFC 6533 §4.4 allows the encoding, and asks for it where the next host may lack SMTPUTF8.
  const type = !isAscii(header) && isUtf8(header) ? "message/global-headers" : "text/rfc822-headers";
  return part(type, "quoted-printable", Buffer.from(quotedPrintable(header)));
}

function part(type: string, encoding: "7bit" | "8bit" | "quoted-printable" | "base64", octets: Buffer): Returned {
  return { fields: `Content-Type: ${type}\r\nContent-Transfer-Encoding: ${encoding}`, octets, eightBit: encoding === "8bit" };
}

/** 7-bit lines that need no encoding: at most 998 octets each (RFC 2045 §2.7). */
function isPlain(octets: Buffer): boolean {
  let start = 0;
  while (start <= octets.length) {
    const end = octets.indexOf("\r\n", start);
    if ((end === -1 ? octets.length : end) - start > 998) return false;
    if (end === -1) break;
    start = end + 2;
  }
  return isAscii(octets);
}

function lines(base64: string): string {
  return base64.replace(/.{76}/g, "$&\r\n");
}

/** Quoted-printable of CRLF lines (RFC 2045 §6.7). */
export function quotedPrintable(octets: Buffer): string {
  return octets
    .toString("latin1")
    .split("\r\n")
    .map((line) =>
      softLines(
        line.replace(/[^\x20-\x3c\x3e-\x7e]| $/g, (octet) => `=${octet.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`),
      ),
    )
    .join("\r\n");
}

/** At most 76 characters a line, and no break inside the three characters of an encoded octet. */
function softLines(encoded: string): string {
  let out = "";
  let start = 0;
  while (encoded.length - start > 76) {
    const escape = encoded.lastIndexOf("=", start + 74);
    const end = escape > start + 72 ? escape : start + 75;
    out += `${encoded.slice(start, end)}=\r\n`;
    start = end;
  }
  return out + encoded.slice(start);
}

const EIGHT_BIT_PART = "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n";

/** A notice of ours that returns an 8-bit message, rewritten to return its header only; undefined if it is no such notice. */
export async function reduceNotice(source: BodySource): Promise<Buffer | undefined> {
  let notice: Buffer;
  try {
    notice = await readUpTo(source, () => false);
  } catch {
    return undefined;
  }
  const head = headerOf(notice).toString("latin1");
  const boundary = /\r\n boundary="([^"]+)"\r\n/.exec(head)?.[1];
  if (boundary === undefined) return undefined;
  const opening = `\r\n--${boundary}\r\n${EIGHT_BIT_PART}`;
  const start = notice.indexOf(opening);
  const end = notice.lastIndexOf(`\r\n--${boundary}--\r\n`);
  if (start === -1 || end < start + opening.length) return undefined;
  const reduced = headerPart(headerOf(notice.subarray(start + opening.length, end)));
  const before = notice
    .subarray(0, start)
    .toString("latin1")
    .replace("\r\nContent-Transfer-Encoding: 8bit\r\n", "\r\nContent-Transfer-Encoding: 7bit\r\n");
  return Buffer.concat([
    Buffer.from(`${before}\r\n--${boundary}\r\n${reduced.fields}\r\n\r\n`, "latin1"),
    reduced.octets,
    notice.subarray(end),
  ]);
}
