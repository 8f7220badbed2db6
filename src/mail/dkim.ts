/**
 * DKIM signatures (RFC 6376, RFC 8463): a message's header fields, the hash of its body and the keys in, one
 * DKIM-Signature field for each key out. Header relaxed, body simple: relays on the way fold lines anew, but a body that
 * changed is another body, and simple costs least. No `l=`: it would let anybody add text below ours (§8.2; RFC 8460 §3
 * forbids it besides). The body's hash is dkim-body.ts.
 */
import { hash, type KeyObject, sign } from "node:crypto";
import { listFields, type NamedField } from "./header.ts";
import type { DkimAlgorithm, SigningWish } from "./signing.ts";

export interface SigningKey {
  readonly selector: string;
  readonly algorithm: DkimAlgorithm;
  readonly key: KeyObject;
}

/**
 * Signed as often as they stand there and once more, so that nobody can add another (§8.15): readers differ about which of
 * two they show, and a second Content-Type makes another message of the same body.
 */
const SEALED = [
  "From",
  "Reply-To",
  "To",
  "Cc",
  "Subject",
  "Date",
  "Message-ID",
  "MIME-Version",
  "Content-Type",
  "Content-Transfer-Encoding",
];

/**
 * Signed as often as they stand there (§5.4.1). Left out is what hops add or take away on the way: Received, Return-Path,
 * Bcc, DKIM-Signature. The last two of TLS reports are RFC 8460 §5.3.
 */
const SIGNED = [
  "Sender",
  "In-Reply-To",
  "References",
  "Content-Disposition",
  "Resent-Date",
  "Resent-From",
  "Resent-Sender",
  "Resent-To",
  "Resent-Cc",
  "Resent-Message-ID",
  "List-Id",
  "List-Help",
  "List-Unsubscribe",
  "List-Unsubscribe-Post",
  "List-Subscribe",
  "List-Post",
  "List-Owner",
  "List-Archive",
  "Auto-Submitted",
  "Feedback-ID",
  "TLS-Required",
  "TLS-Report-Domain",
  "TLS-Report-Submitter",
];

/**
 * `x=`, in seconds after `t=`: a week. A signature is made for each attempt, so it need only outlive the queues behind the
 * next host, which give up after five days (RFC 5321 §4.5.4.1); whoever collects our mail to send it again has a week only.
 * `dkim.overlap` should be longer, so that a key goes when its last signatures have expired.
 */
export const SIGNATURE_LIFETIME = 7 * 24 * 3600;

/** Lines of the field, without CRLF (RFC 5322 §2.1.1 asks for 78). */
const COLUMNS = 76;

/**
 * `header`: the fields as stored, ASCII or UTF-8, without the empty line; `now` in ms. Rejects if a key does not sign. Keys
 * work in the thread pool, all at once.
 */
export async function signFields(header: Buffer, wish: SigningWish, keys: readonly SigningKey[], now: number): Promise<string> {
  const { names, text } = selectFields(header);
  const seconds = Math.floor(now / 1000);
  const made = await Promise.all(
    keys.map(async ({ selector, algorithm, key }) => {
      const unsigned = foldTags([
        "v=1;",
        `a=${algorithm};`,
        "c=relaxed/simple;",
        `d=${wish.domain};`,
        `s=${selector};`,
        `t=${seconds};`,
        `x=${seconds + SIGNATURE_LIFETIME};`,
        ...names.map((name, index) => (index === 0 ? `h=${name}` : name) + (index === names.length - 1 ? ";" : ":")),
        `bh=${wish.bodyHash};`,
        "b=",
      ]);
      // §3.7: the field itself comes last, with nothing behind `b=` and no line end.
      const signed = `${text}dkim-signature:${relaxValue(unsigned)}`;
      return `DKIM-Signature: ${unsigned}${foldBase64(await signText(Buffer.from(signed, "latin1"), algorithm, key), lastLine(unsigned))}\r\n`;
    }),
  );
  return made.join("");
}

/** RFC 8463 §3: Ed25519 signs the hash of the text, not the text; RSA hashes by itself. */
function signText(text: Buffer, algorithm: DkimAlgorithm, key: KeyObject): Promise<string> {
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, signature: Buffer): void => (error === null ? resolve(signature.toString("base64")) : reject(error));
    if (algorithm === "rsa-sha256") sign("sha256", text, key, done);
    else sign(null, hash("sha256", text, "buffer"), key, done);
  });
}

/** The names for `h=`, and the fields themselves as they are signed. Of equal fields the lowest is named first (§5.4.2). */
function selectFields(header: Buffer): { names: string[]; text: string } {
  const found = new Map<string, NamedField[]>();
  for (const field of listFields(header)) {
    const same = found.get(field.name);
    if (same === undefined) found.set(field.name, [field]);
    else same.push(field);
  }
  const names: string[] = [];
  let text = "";
  const take = (name: string): void => {
    const key = name.toLowerCase();
    for (const field of found.get(key)?.toReversed() ?? []) {
      names.push(name);
      text += `${key}:${relaxValue(valueOf(header, field))}\r\n`;
    }
  };
  for (const name of SEALED) {
    take(name);
    names.push(name);
  }
  for (const name of SIGNED) take(name);
  return { names, text };
}

/** What stands behind the colon. Octets as characters, since the text need not be ASCII and must not change. */
function valueOf(header: Buffer, { start, end }: NamedField): string {
  return header.toString("latin1", header.indexOf(0x3a, start) + 1, end);
}

/** §3.4.2: unfolded, runs of blanks one blank, none at either end. Not `trim`, which takes octet A0 of UTF-8 for a blank. */
function relaxValue(value: string): string {
  return value
    .replaceAll("\r\n", "")
    .replace(/[ \t]+/g, " ")
    .replace(/^ | $/g, "");
}

/** Tags and names of `h=` set into lines; a name joins the one before without a blank, a tag with one. */
function foldTags(pieces: readonly string[]): string {
  let text = "";
  let column = "DKIM-Signature: ".length;
  for (const piece of pieces) {
    const gap = text === "" || text.endsWith(":") ? "" : " ";
    if (text !== "" && column + gap.length + piece.length > COLUMNS) {
      text += `\r\n ${piece}`;
      column = 1 + piece.length;
    } else {
      text += gap + piece;
      column += gap.length + piece.length;
    }
  }
  return text;
}

function lastLine(text: string): number {
  return text.length - text.lastIndexOf("\n") - 1;
}

/** Blanks within `b=` are ignored (§3.5). */
function foldBase64(text: string, column: number): string {
  const first = COLUMNS - column;
  let folded = text.slice(0, first);
  for (let at = first; at < text.length; at += COLUMNS - 1) folded += `\r\n ${text.slice(at, at + COLUMNS - 1)}`;
  return folded;
}
