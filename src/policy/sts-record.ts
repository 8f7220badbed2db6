/**
 * The TXT record that announces an MTA-STS policy (RFC 8461 §3.1): the records found at `_mta-sts.` and the policy
 * domain in, the `id`, or why there is none, out. Pure, and total over whatever octets DNS can carry. A record that is
 * no good means "no record": it stops no mail, and takes no kept policy away (policy/sts-freshness.ts).
 */
import { cleanText } from "../mail/reply.ts";
import { isPlainValue, joinStrings, noField, parseTxtFields } from "./txt-fields.ts";

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

/** Each TXT record is the list of its character-strings. */
export function parseStsRecords(txts: readonly (readonly Buffer[])[]): StsRecord {
  const ours = txts.map(joinStrings).filter((text) => OURS.test(text));
  const [text] = ours;
  if (text === undefined)
    return { kind: "none", reason: "absent", detail: txts.length === 0 ? "there is no record" : "no record begins with v=STSv1;" };
  if (ours.length > 1) return { kind: "none", reason: "several", detail: `${ours.length} records begin with v=STSv1, and one is allowed` };
  return parseRecord(text);
}

function parseRecord(text: string): StsRecord {
  const fields = parseTxtFields(text);
  if (!fields.ok) return malformed(fields.error);
  let id: string | undefined;
  for (const { name, value } of fields.value) {
    if (!isPlainValue(value)) return malformed(noField(`${name}=${value}`));
    // A field that is there twice counts once, the first (RFC 8461 §3.2, last paragraph).
    if (name === "id") id ??= value;
  }
  if (id === undefined) return malformed("it has no id");
  return ID.test(id) ? { kind: "record", id } : malformed(`its id is not 1 to 32 letters and digits: ${JSON.stringify(cleanText(id, 60))}`);
}

function malformed(detail: string): StsRecord {
  return { kind: "none", reason: "malformed", detail };
}
