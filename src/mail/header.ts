/**
 * The header of a message as it is handed in (RFC 5322 §2.2, §3.6): its octets in, what they contain and which of them
 * must not travel on out. Nothing is decoded and nothing is judged but the shape; submission/spool.ts decides.
 */
import { cleanText } from "./reply.ts";

/** One field's octets in the block: from its name to behind its last line end, folded lines included. */
export interface FieldRange {
  readonly start: number;
  readonly end: number;
}

export interface HeaderScan {
  /** Lines that begin with a field name and a colon. */
  readonly fields: number;
  /** The first line is one of them: the least that makes a block of lines a header. */
  readonly startsWithField: boolean;
  readonly receivedFields: number;
  readonly hasDate: boolean;
  readonly from: readonly FieldRange[];
  readonly messageId?: FieldRange;
  /** TLS-Required (RFC 8689 §3); what they say is for `saysTlsRequiredNo`. */
  readonly tlsRequired: readonly FieldRange[];
  /** Bcc, Resent-Bcc and Return-Path, in order (RFC 5322 §3.6.3, RFC 5321 §4.4). */
  readonly unwanted: readonly FieldRange[];
}

/** The last line end of a header, and the empty line behind it. */
export const HEADER_END = Buffer.from("\r\n\r\n");

const COLON = 0x3a;
const LF = 0x0a;

/** Lengths of the names below: a name of another length is not even looked at. */
const INTERESTING = new Set([3, 4, 8, 10, 11, 12]);

/** Reads a block of header lines, each ended by CRLF, without the empty line behind them. */
export function scanHeader(block: Buffer): HeaderScan {
  let fields = 0;
  let startsWithField = false;
  let receivedFields = 0;
  let hasDate = false;
  let messageId: FieldRange | undefined;
  const from: FieldRange[] = [];
  const tlsRequired: FieldRange[] = [];
  const unwanted: FieldRange[] = [];
  let at = 0;
  while (at < block.length) {
    const end = endOfField(block, at);
    const name = fieldName(block, at, end);
    if (name !== undefined) {
      fields += 1;
      if (at === 0) startsWithField = true;
      switch (name) {
        case "received":
          receivedFields += 1;
          break;
        case "date":
          hasDate = true;
          break;
        case "message-id":
          messageId ??= { start: at, end };
          break;
        case "from":
          from.push({ start: at, end });
          break;
        case "tls-required":
          tlsRequired.push({ start: at, end });
          break;
        case "bcc":
        case "resent-bcc":
        case "return-path":
          unwanted.push({ start: at, end });
          break;
      }
    }
    at = end;
  }
  return { fields, startsWithField, receivedFields, hasDate, from, tlsRequired, unwanted, ...(messageId !== undefined && { messageId }) };
}

/** Behind the line end of the last line that belongs to the field: lines after it begin with a blank (RFC 5322 §2.2.3). */
function endOfField(block: Buffer, start: number): number {
  let at = start;
  for (;;) {
    const lf = block.indexOf(LF, at);
    if (lf < 0) return block.length;
    at = lf + 1;
    const next = block[at];
    if (next !== 0x20 && next !== 0x09) return at;
  }
}

/** A field and its name, in lower case. */
export interface NamedField extends FieldRange {
  readonly name: string;
}

/** Every field of the block, in order; lines that are none are left out. */
export function listFields(block: Buffer): NamedField[] {
  const fields: NamedField[] = [];
  for (let start = 0; start < block.length; ) {
    const end = endOfField(block, start);
    const length = nameLength(block, start, end);
    if (length > 0) fields.push({ name: block.toString("latin1", start, start + length).toLowerCase(), start, end });
    start = end;
  }
  return fields;
}

/** The field's name in lower case if it is one that matters here, "" for any other name, undefined where the line is no field. */
function fieldName(block: Buffer, start: number, end: number): string | undefined {
  const length = nameLength(block, start, end);
  if (length === 0) return undefined;
  return INTERESTING.has(length) ? block.toString("latin1", start, start + length).toLowerCase() : "";
}

/**
 * Octets of the field's name; 0 where the line is no field. Blanks before the colon are taken too (RFC 5322 §4.5): a reader
 * down the line may take them.
 */
function nameLength(block: Buffer, start: number, end: number): number {
  let at = start;
  while (at < end) {
    const octet = block[at] ?? 0;
    if (octet === COLON || octet <= 0x20 || octet > 0x7e) break;
    at += 1;
  }
  const length = at - start;
  while (block[at] === 0x20 || block[at] === 0x09) at += 1;
  return block[at] === COLON ? length : 0;
}

/** The text behind the colon, unfolded, without blanks around it. */
export function fieldText(block: Buffer, { start, end }: FieldRange): string {
  const text = block.toString("utf8", start, end);
  return text
    .slice(text.indexOf(":") + 1)
    .replace(/\r\n(?=[ \t])/g, "")
    .trim();
}

/** The Message-ID as logs and `queue why` show it. */
export function readMessageId(block: Buffer, range: FieldRange): string | undefined {
  const text = cleanText(fieldText(block, range), 250);
  return text === "" ? undefined : text;
}

/**
 * True only for what the grammar allows (RFC 8689 §3): nothing but `No`, in any case, behind blanks and folds. Anything else
 * asks for nothing, since the field takes protection away.
 */
export function saysTlsRequiredNo(block: Buffer, { start, end }: FieldRange): boolean {
  return /^tls-required:[ \t]*(?:\r\n[ \t]+)*no(?:\r\n)?$/i.test(block.toString("latin1", start, end));
}

/**
 * The addresses of a From field (RFC 5322 §3.4), without names, comments and group names. Undefined when the text is no
 * list of mailboxes: then nobody can say whom it claims to be from.
 */
export function readMailboxes(text: string): string[] | undefined {
  const found: string[] = [];
  let words = "";
  let angle: string | undefined;
  const finish = (): boolean => {
    const address = (angle ?? words).trim();
    if (angle === undefined && address === "") return true;
    words = "";
    angle = undefined;
    // Without brackets there is nothing but the address: blanks would be a phrase with no address behind it.
    if (!/^(?:"(?:[^"\\]|\\.)*"|[^\s"<>()]+)@[^\s"<>()@]+$/.test(address)) return false;
    found.push(address);
    return true;
  };
  for (let at = 0; at < text.length; at++) {
    const char = text.charAt(at);
    if (char === "(") {
      const end = endOfComment(text, at);
      if (end === undefined) return undefined;
      at = end;
    } else if (char === '"') {
      const end = endOfQuoted(text, at);
      if (end === undefined || angle !== undefined) return undefined;
      words += text.slice(at, end + 1);
      at = end;
    } else if (char === "<") {
      const end = endOfAngle(text, at);
      if (end === undefined || angle !== undefined) return undefined;
      // An obsolete route in front of the address says nothing about its author (RFC 5322 §4.4).
      angle = text.slice(at + 1, end).replace(/^\s*@[^:"]*:/, "");
      words = "";
      at = end;
    } else if (char === "," || char === ";") {
      if (!finish()) return undefined;
    } else if (char === ":") {
      words = "";
    } else {
      if (angle !== undefined && !/\s/.test(char)) return undefined;
      if (angle === undefined) words += char;
    }
  }
  return finish() ? found : undefined;
}

function endOfQuoted(text: string, start: number): number | undefined {
  for (let at = start + 1; at < text.length; at++) {
    if (text[at] === "\\") at += 1;
    else if (text[at] === '"') return at;
  }
  return undefined;
}

function endOfAngle(text: string, start: number): number | undefined {
  for (let at = start + 1; at < text.length; at++) {
    if (text[at] === "<") return undefined;
    if (text[at] === ">") return at;
    if (text[at] === '"') {
      const end = endOfQuoted(text, at);
      if (end === undefined) return undefined;
      at = end;
    }
  }
  return undefined;
}

function endOfComment(text: string, start: number): number | undefined {
  let depth = 0;
  for (let at = start; at < text.length; at++) {
    if (text[at] === "\\") at += 1;
    else if (text[at] === "(") depth += 1;
    else if (text[at] === ")" && --depth === 0) return at;
  }
  return undefined;
}
