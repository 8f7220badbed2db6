/**
 * The TXT record that announces an MTA-STS policy (RFC 8461 §3.1): the records found at `_mta-sts.` and the policy
 * domain in, the `id`, or why there is none, out. Pure, and total over whatever octets DNS can carry. A record that is
 * no good means "no record": it stops no mail, and takes no kept policy away (policy/sts-freshness.ts).
 */
import { cleanText } from "../mail/reply.ts";

export type StsRecord =
  /** Compared for equality only; no order is implied (RFC 8461 §3.1). */
  | { readonly kind: "record"; readonly id: string }
  /** `detail` is a clean clause: `two records begin with v=STSv1`. */
  | { readonly kind: "none"; readonly reason: "absent" | "several" | "malformed"; readonly detail: string };

/**
 * The words say that a record must begin with `v=STSv1;`, the grammar allows blanks before the delimiter. Whatever begins
 * like this satisfies both for every sane record, and `v=STSv12;` neither.
 */
const OURS = /^v=STSv1[ \t]*;/;
const ID = /^[A-Za-z0-9]{1,32}$/;
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$/;
/** Visible ASCII without `=` and `;`. */
const VALUE = /^[\x21-\x3a\x3c\x3e-\x7e]+$/;

/** Each TXT record is the list of its character-strings, which are joined without anything between them. */
export function parseStsRecords(txts: readonly (readonly Buffer[])[]): StsRecord {
  const ours = txts.map((strings) => Buffer.concat(strings).toString("latin1")).filter((text) => OURS.test(text));
  const [text] = ours;
  if (text === undefined)
    return { kind: "none", reason: "absent", detail: txts.length === 0 ? "there is no record" : "no record begins with v=STSv1;" };
  if (ours.length > 1) return { kind: "none", reason: "several", detail: `${ours.length} records begin with v=STSv1, and one is allowed` };
  return parseRecord(text);
}

function parseRecord(text: string): StsRecord {
  const [, ...fields] = text.split(";");
  // One delimiter at the end, with blanks around it, is optional; a blank without it is not part of the grammar.
  if (fields.length > 1 && withoutBlanks(fields.at(-1) ?? "") === "") fields.pop();
  else if (/[ \t]$/.test(text)) return malformed("it ends in a blank");
  let id: string | undefined;
  for (const field of fields) {
    const written = withoutBlanks(field);
    const equals = written.indexOf("=");
    const [name, value] = [written.slice(0, Math.max(0, equals)), written.slice(equals + 1)];
    if (equals < 0 || !NAME.test(name) || !VALUE.test(value))
      return malformed(`this is no field: ${JSON.stringify(cleanText(written, 60))}`);
    // A field that is there twice counts once, the first (RFC 8461 §3.2, last paragraph).
    if (name === "id") id ??= value;
  }
  if (id === undefined) return malformed("it has no id");
  return ID.test(id) ? { kind: "record", id } : malformed(`its id is not 1 to 32 letters and digits: ${JSON.stringify(cleanText(id, 60))}`);
}

function malformed(detail: string): StsRecord {
  return { kind: "none", reason: "malformed", detail };
}

function withoutBlanks(text: string): string {
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
