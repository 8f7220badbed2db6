/**
 * SMTP replies off the wire (RFC 5321 §4.2): octets in as they come, whole replies out, or the reason why this is no
 * SMTP. A stranger writes here, so line length, number of lines and memory are bounded. Deadlines are delivery/wire.ts.
 */
import { cleanText, findEnhancedStatus, type Reply } from "../mail/reply.ts";

/** RFC 5321 §4.5.3.1.5 says 512 octets; hosts that say more are heard up to here. */
export const LONGEST_LINE = 4096;
export const MOST_LINES = 100;
/**
 * Characters of one reply that are kept; lines behind are empty. No honest reply has more, and each one is stored with every
 * recipient it decides about: a host that answered RCPT with a hundred full lines would fill the disk of whoever writes to it.
 */
export const MOST_TEXT = 4096;

const LF = 10;
const CR = 13;
const SPACE = 32;
const HYPHEN = 45;
const ZERO = 48;

export class ReplyReader {
  /** The EHLO now in force offers ENHANCEDSTATUSCODES: only then is a status read off a reply (RFC 2034 §3). */
  enhancedStatusCodes = false;
  /** Octets behind the reply at which `take` stopped. */
  unread = 0;
  #rest: Buffer | undefined;
  #code = 0;
  #lines: string[] = [];
  #kept = 0;

  /** True while a reply or a line has begun and not ended. */
  get midReply(): boolean {
    return this.#rest !== undefined || this.#lines.length > 0;
  }

  /**
   * Takes octets and hands each reply that is now complete to `take`; gives the reason if this is no SMTP any more.
   * `take` returns false to stop: what follows the reply it was given is then left unread, and counted by `unread`.
   */
  push(chunk: Buffer, take: (reply: Reply) => boolean): string | undefined {
    const data = this.#rest === undefined ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = undefined;
    let start = 0;
    for (;;) {
      const end = data.indexOf(LF, start);
      if (end < 0) break;
      if (end - start >= LONGEST_LINE) return `a reply line is longer than ${LONGEST_LINE} octets`;
      // Only CRLF ends a line (RFC 5321 §2.3.8).
      if (end === start || data[end - 1] !== CR) return "a reply line ends with a bare LF";
      const reply = this.#line(data, start, end - 1);
      start = end + 1;
      if (typeof reply === "string") return reply;
      if (reply !== undefined && !take(reply)) {
        this.unread = data.length - start;
        return undefined;
      }
    }
    if (start < data.length) {
      if (data.length - start >= LONGEST_LINE) return `a reply line is longer than ${LONGEST_LINE} octets`;
      // A copy, not a view: a few octets must not keep the socket's whole chunk alive.
      this.#rest = Buffer.from(data.subarray(start));
    }
    return undefined;
  }

  #line(data: Buffer, start: number, end: number): Reply | string | undefined {
    const code = end - start < 3 ? 0 : digits(data, start);
    if (code === 0)
      return `a reply line without a reply code: ${JSON.stringify(cleanText(data.toString("utf8", start, Math.min(end, start + 80)), 60))}`;
    const separator = end - start === 3 ? SPACE : data[start + 3];
    if (separator !== SPACE && separator !== HYPHEN) return `no space behind the reply code ${code}`;
    // All lines of a reply carry one code (RFC 5321 §4.2.1). Which of two to believe is nobody's to guess.
    if (this.#lines.length > 0 && code !== this.#code) return `one reply with the codes ${this.#code} and ${code}`;
    if (this.#lines.length >= MOST_LINES) return `a reply of more than ${MOST_LINES} lines`;
    if (this.#lines.length === 0) this.#kept = 0;
    const text = end - start <= 4 || this.#kept >= MOST_TEXT ? "" : cleanText(data.toString("utf8", start + 4, end));
    this.#kept += text.length;
    this.#code = code;
    this.#lines.push(text);
    if (separator === HYPHEN) return undefined;
    const lines = this.#lines;
    this.#lines = [];
    const enhanced = this.enhancedStatusCodes ? findEnhancedStatus(code, lines[0] ?? "") : undefined;
    return enhanced === undefined ? { code, lines } : { code, enhanced, lines };
  }
}

/** The reply code, 200 to 599, or 0: 1yz is not for SMTP, and 6yz does not exist (RFC 5321 §4.2.1). */
function digits(data: Buffer, at: number): number {
  const first = (data[at] as number) - ZERO;
  const second = (data[at + 1] as number) - ZERO;
  const third = (data[at + 2] as number) - ZERO;
  if (first < 2 || first > 5 || second < 0 || second > 9 || third < 0 || third > 9) return 0;
  return first * 100 + second * 10 + third;
}
