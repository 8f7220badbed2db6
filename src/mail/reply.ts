/**
 * SMTP replies as data (RFC 5321 §4.2), and the one place where a stranger's text is made harmless.
 * Reading them off a socket is delivery/reply-reader.ts.
 */

/** A complete reply. `lines` hold the text after code and separator, cleaned once by `cleanText`. */
export interface Reply {
  /** Three digits, 200 to 599. */
  readonly code: number;
  /** Enhanced status (`5.1.1`) where the host offered ENHANCEDSTATUSCODES and its class agrees (RFC 2034 §4). */
  readonly enhanced?: string;
  readonly lines: readonly string[];
}

const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/**
 * Text from outside, fit for a log line, a terminal and a header: controls, line ends and direction marks become
 * `?`, and what exceeds `limit` characters is cut with an ellipsis.
 */
export function cleanText(text: string, limit = 1000): string {
  const harmless = text.replace(CONTROLS, "?");
  return harmless.length > limit ? `${harmless.slice(0, limit - 1)}…` : harmless;
}

/** `550 5.1.1 no such user / ask elsewhere`: the reply on one line of at most 1000 characters, as logs, `queue why` and notices show it. */
export function describeReply(reply: Reply): string {
  return cleanText(`${reply.code} ${reply.lines.join(" / ")}`.trimEnd());
}

const ENHANCED = /^([245])\.(\d{1,3})\.(\d{1,3})(?: |$)/;

/** The enhanced status at the start of a reply's text, if its class agrees with the code (RFC 2034 §4). */
export function findEnhancedStatus(code: number, firstLine: string): string | undefined {
  const match = ENHANCED.exec(firstLine);
  if (match === null || Number(match[1]) !== Math.floor(code / 100)) return undefined;
  return `${match[1]}.${Number(match[2])}.${Number(match[3])}`;
}
