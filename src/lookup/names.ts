/**
 * Domain names on the wire and in text (RFC 1035 §3.1, §4.1.4, §5.1): octets in, an unambiguous text out, and back.
 * The text is lower case, without the final dot, `""` for the root. Octets that could be mistaken for something else
 * are escaped as in zone files: a dot inside a label becomes `\.`, a NUL `\000`. So two different names never read
 * alike, and a name with such a label is no host name (mail/domain.ts) and never becomes one.
 */

/** The message breaks RFC 1035; thrown while one is read, and caught by `decodeResponse`. */
export class MalformedMessage extends Error {}

/** Where reading has got to. */
export interface Cursor {
  at: number;
}

const LONGEST_NAME = 255;
const LONGEST_LABEL = 63;
// A name has at most 127 labels, so no honest one needs more jumps. Longer chains only cost time.
const MOST_POINTERS = 127;

const PLAIN_LABEL = /^[a-z0-9_-]+$/;
const NEEDS_ESCAPE = /[^!-~]|[.\\]/g;

/** Reads the name at the cursor, following compression pointers, and moves the cursor behind it. */
export function readName(message: Buffer, cursor: Cursor): string {
  let at = cursor.at;
  let start = at;
  let jumps = 0;
  let octets = 1;
  let name = "";
  for (;;) {
    const length = message[at];
    if (length === undefined) throw new MalformedMessage("a name runs past the end");
    if (length === 0) {
      if (jumps === 0) cursor.at = at + 1;
      return name;
    }
    if (length <= LONGEST_LABEL) {
      const end = at + 1 + length;
      octets += length + 1;
      if (end > message.length) throw new MalformedMessage("a name runs past the end");
      if (octets > LONGEST_NAME) throw new MalformedMessage("a name is longer than 255 octets");
      const label = message.toString("latin1", at + 1, end);
      name += (name === "" ? "" : ".") + (PLAIN_LABEL.test(label) ? label : escapeLabel(label));
      at = end;
      continue;
    }
    const low = message[at + 1];
    if (length < 0xc0) throw new MalformedMessage("a label of unknown kind");
    if (low === undefined) throw new MalformedMessage("a name runs past the end");
    const target = ((length & 0x3f) << 8) | low;
    // "A prior occurrence of the same name" (RFC 1035 §4.1.4): pointing ever further back, it cannot loop.
    if (target >= start) throw new MalformedMessage("a compression pointer does not point back");
    if (++jumps > MOST_POINTERS) throw new MalformedMessage("too many compression pointers");
    if (jumps === 1) cursor.at = at + 2;
    at = target;
    start = target;
  }
}

// Lower case in ASCII only (RFC 4343 §3): toLowerCase would also change octets above 127.
function escapeLabel(label: string): string {
  return label
    .replace(/[A-Z]/g, (letter) => letter.toLowerCase())
    .replace(NEEDS_ESCAPE, (octet) =>
      octet === "." || octet === "\\" ? `\\${octet}` : `\\${octet.charCodeAt(0).toString().padStart(3, "0")}`,
    );
}

/** The wire form of a name in the text form above; undefined if it is none: an empty or over-long label, not ASCII. */
export function encodeName(name: string): Buffer | undefined {
  const text = name.endsWith(".") && !name.endsWith("\\.") ? name.slice(0, -1) : name;
  if (text === "") return name.length <= 1 ? Buffer.from([0]) : undefined;
  // Every octet of the wire form is at most four characters here.
  if (text.length > LONGEST_NAME * 4) return undefined;
  const wire = Buffer.allocUnsafe(LONGEST_NAME);
  let lengthAt = 0;
  let at = 1;
  for (let index = 0; index <= text.length; index++) {
    let code = text.charCodeAt(index);
    if (index === text.length || code === 0x2e) {
      const length = at - lengthAt - 1;
      // The last octet is kept for the root.
      if (length === 0 || length > LONGEST_LABEL || at >= LONGEST_NAME) return undefined;
      wire[lengthAt] = length;
      lengthAt = at++;
      continue;
    }
    if (code === 0x5c) {
      const digits = text.slice(index + 1, index + 4);
      if (/^\d{3}$/.test(digits)) {
        code = Number(digits);
        index += 3;
        if (code > 0xff) return undefined;
      } else {
        code = text.charCodeAt(++index);
        // Also at the end of the text, where there is nothing to escape.
        if (!(code > 0x20 && code <= 0x7e)) return undefined;
      }
    } else if (code <= 0x20 || code > 0x7e) {
      return undefined;
    }
    if (at >= LONGEST_NAME) return undefined;
    wire[at++] = code;
  }
  wire[lengthAt] = 0;
  return wire.subarray(0, lengthAt + 1);
}
