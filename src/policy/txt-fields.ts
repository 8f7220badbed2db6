/**
 * TXT records of the kind `v=…; name=value; …` (RFC 8461 §3.1, RFC 8460 §3): character-strings in, fields out. What the fields
 * mean is for policy/sts-record.ts and report/rua.ts to say. Linear in the length of the record.
 */
import { bad, good, type Parsed } from "../mail/parsed.ts";
import { cleanText } from "../mail/reply.ts";

export interface TxtField {
  readonly name: string;
  /** Without blanks around it; its characters are not judged yet. */
  readonly value: string;
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$/;
/** What a field that nobody knows may hold: visible ASCII without `=` and `;`. */
const PLAIN_VALUE = /^[\x21-\x3a\x3c\x3e-\x7e]+$/;

/** A record's character-strings are joined without anything between them (RFC 8461 §3.1, RFC 8460 §3). */
export function joinStrings(strings: readonly Buffer[]): string {
  return Buffer.concat(strings).toString("latin1");
}

/** The fields behind the version, or a clean clause that says what is none. */
export function parseTxtFields(text: string): Parsed<TxtField[]> {
  const [, ...fields] = text.split(";");
  // One delimiter at the end, with blanks around it, is optional; a blank without it is not part of the grammar.
  if (fields.length > 1 && withoutBlanks(fields.at(-1) ?? "") === "") fields.pop();
  else if (/[ \t]$/.test(text)) return bad("it ends in a blank");
  const parsed: TxtField[] = [];
  for (const field of fields) {
    const written = withoutBlanks(field);
    const equals = written.indexOf("=");
    const name = written.slice(0, Math.max(0, equals));
    if (equals < 0 || !NAME.test(name)) return bad(noField(written));
    parsed.push({ name, value: written.slice(equals + 1) });
  }
  return good(parsed);
}

export function isPlainValue(value: string): boolean {
  return PLAIN_VALUE.test(value);
}

/** `this is no field: "x"` */
export function noField(written: string): string {
  return `this is no field: ${JSON.stringify(cleanText(written, 60))}`;
}

export function withoutBlanks(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(text, start)) start += 1;
  while (end > start && isBlank(text, end - 1)) end -= 1;
  return text.slice(start, end);
}

function isBlank(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  return code === 0x20 || code === 0x09;
}
