/**
 * The parts of a mail, for finding a report in it (RFC 2045, RFC 2046): octets as a mail program saved them in, decoded leaves
 * out. Bounded in depth and number; faults end a part early and never throw. This is no general reader of mail: names and
 * comments are not decoded.
 */

export interface MimeLeaf {
  /** `application/tlsrpt+gzip`, lower case, without parameters. */
  readonly type: string;
  readonly octets: Buffer;
}

const MOST_LEAVES = 50;
const DEEPEST = 8;
const LONGEST_HEADER = 256 * 1024;

/** Line ends may be CRLF or LF; an mbox line or empty lines in front are passed over. */
export function findLeaves(mail: Buffer): MimeLeaf[] {
  const leaves: MimeLeaf[] = [];
  const text = mail.toString("latin1").replace(/\r\n/g, "\n");
  walk(text.replace(/^\n+/, "").replace(/^From [^\n]*\n/, ""), 0, leaves);
  return leaves;
}

function walk(entity: string, depth: number, leaves: MimeLeaf[]): void {
  if (leaves.length >= MOST_LEAVES || depth > DEEPEST) return;
  const blank = entity.startsWith("\n") ? 0 : entity.indexOf("\n\n");
  const header = blank < 0 ? entity : entity.slice(0, blank);
  const body = blank < 0 ? "" : entity.slice(blank + (blank === 0 ? 1 : 2));
  const field = findField(header, "content-type") ?? "text/plain";
  const type = (field.split(";", 1)[0] ?? "").trim().toLowerCase();
  const boundary = type.startsWith("multipart/") ? findBoundary(field) : undefined;
  if (boundary !== undefined) {
    for (const part of splitParts(body, boundary)) walk(part, depth + 1, leaves);
    return;
  }
  const octets = decode(body, (findField(header, "content-transfer-encoding") ?? "7bit").trim().toLowerCase());
  // A report that somebody passed on as an attachment.
  if (type === "message/rfc822") walk(octets.toString("latin1").replace(/\r\n/g, "\n"), depth + 1, leaves);
  else leaves.push({ type, octets });
}

/** The first field of that name, unfolded (RFC 5322 §2.2.3). */
function findField(header: string, name: string): string | undefined {
  const lines = header.slice(0, LONGEST_HEADER).split("\n");
  const start = lines.findIndex((line) => line.slice(0, name.length + 1).toLowerCase() === `${name}:`);
  const first = lines[start];
  if (first === undefined) return undefined;
  const folded = lines.slice(start + 1).findIndex((line) => !/^[ \t]/.test(line));
  const rest = lines.slice(start + 1, folded < 0 ? undefined : start + 1 + folded);
  return [first.slice(name.length + 1), ...rest].join("");
}

function findBoundary(contentType: string): string | undefined {
  const match = /;[ \t]*boundary[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))/i.exec(contentType);
  return match?.[1]?.replace(/\\(.)/g, "$1") ?? match?.[2];
}

/** What stands between the delimiter lines (RFC 2046 §5.1.1); where the last one is missing, the text's end is as good. */
function splitParts(body: string, boundary: string): string[] {
  const parts: string[] = [];
  let start: number | undefined;
  for (const { at, end, closes } of delimiters(body, boundary)) {
    // The line end in front of a delimiter is the delimiter's.
    if (start !== undefined) parts.push(body.slice(start, Math.max(start, at - 1)));
    start = closes ? undefined : end;
    if (closes || parts.length >= MOST_LEAVES) return parts;
  }
  return start === undefined ? parts : [...parts, body.slice(start)];
}

/** Only a line of nothing but the delimiter and blanks is one: an outer boundary may begin like an inner one. */
function* delimiters(body: string, boundary: string): Generator<{ at: number; end: number; closes: boolean }> {
  const delimiter = `--${boundary}`;
  for (let at = body.indexOf(delimiter); at >= 0; at = body.indexOf(delimiter, at + 1)) {
    if (at > 0 && body[at - 1] !== "\n") continue;
    const behind = at + delimiter.length;
    const rest = /^(--)?[ \t]*(?:\n|$)/.exec(body.slice(behind, behind + 80));
    if (rest !== null) yield { at, end: behind + rest[0].length, closes: rest[1] !== undefined };
  }
}

function decode(body: string, encoding: string): Buffer {
  switch (encoding) {
    case "base64":
      return Buffer.from(body, "base64");
    case "quoted-printable":
      return Buffer.from(decodeQuotedPrintable(body), "latin1");
    default:
      return Buffer.from(body, "latin1");
  }
}

/** RFC 2045 §6.7. Blanks at a line's end were added on the way. */
function decodeQuotedPrintable(body: string): string {
  return body
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n")
    .replace(/=\n/g, "")
    .replace(/=([0-9A-Fa-f]{2})/g, (_whole, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
}
