/** Line ends and line lengths of a message's text (RFC 5321 §2.3.8, §4.5.3.1.6): octets in, what is wrong with them out. */

export interface LineFlaws {
  readonly nul: boolean;
  /** A CR without LF, or an LF without CR. */
  readonly bareLineEnd: boolean;
  /** A line of more than 998 octets, CRLF not counted. */
  readonly longLine: boolean;
}

const CLEAN: LineFlaws = { nul: false, bareLineEnd: false, longLine: false };
const LONGEST = 998;
const CR = 0x0d;
const LF = 0x0a;

export class LineCheck {
  /** Octets of the line that the text read so far ends in. */
  lineLength = 0;

  /** Reads on. A CR must not be the last octet, since nothing can be said about it yet. */
  read(octets: Buffer): LineFlaws {
    let nul = false;
    let bareLineEnd = false;
    let longLine = false;
    const length = octets.length;
    let lineStart = -this.lineLength;
    for (let at = 0; at < length; at++) {
      const octet = octets[at] as number;
      if (octet > CR) continue;
      if (octet === CR) {
        if (octets[at + 1] === LF) {
          if (at - lineStart > LONGEST) longLine = true;
          at += 1;
          lineStart = at + 1;
        } else {
          bareLineEnd = true;
        }
      } else if (octet === LF) {
        bareLineEnd = true;
      } else if (octet === 0) {
        nul = true;
      }
    }
    this.lineLength = length - lineStart;
    if (this.lineLength > LONGEST) longLine = true;
    return nul || bareLineEnd || longLine ? { nul, bareLineEnd, longLine } : CLEAN;
  }
}

/** A bare LF becomes CRLF, and a bare CR a blank: as a line end it could make a field out of what was none. */
export function mendLineEnds(octets: Buffer): Buffer {
  const mended = Buffer.allocUnsafe(octets.length * 2);
  let to = 0;
  let before = 0;
  for (let at = 0; at < octets.length; at++) {
    let octet = octets[at] as number;
    if (octet === LF && before !== CR) mended[to++] = CR;
    before = octet;
    if (octet === CR && octets[at + 1] !== LF) octet = 0x20;
    mended[to++] = octet;
  }
  return mended.subarray(0, to);
}
