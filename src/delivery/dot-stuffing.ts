/**
 * Message text as it goes over the wire after 354 (RFC 5321 §4.5.2): stored octets in, dots doubled at line starts and
 * the final dot out. The store holds CRLF line ends only; a bare CR or LF here would let a message end early at some
 * hosts (§2.3.8), so it is our own broken promise and is thrown.
 */

const CR = 13;
const LF = 10;
const DOT = 46;
const END = Buffer.from(".\r\n");
const END_WITHOUT_LINE_END = Buffer.from("\r\n.\r\n");
const FIRST_SLOTS = 16;

/** Stuffs one message, handed in piece by piece; octets at the seams count as if there were none. */
export class DotStuffer {
  /** Octets taken so far, before stuffing. */
  taken = 0;
  #previous = LF;
  #lineStart = true;
  #dots = new Uint32Array(FIRST_SLOTS);

  /** The piece with its dots doubled: the same Buffer when it has none at a line start, as most have. */
  push(piece: Buffer): Buffer {
    const found = this.#scan(piece);
    this.taken += piece.length;
    if (found === 0) return piece;
    const stuffed = Buffer.allocUnsafe(piece.length + found);
    this.#copy(piece, found, stuffed);
    return stuffed;
  }

  /** A whole message in one Buffer: stuffed, and with its final dot. */
  whole(body: Buffer): Buffer {
    const found = this.#scan(body);
    this.taken += body.length;
    const end = this.end();
    const stuffed = Buffer.allocUnsafe(body.length + found + end.length);
    end.copy(stuffed, this.#copy(body, found, stuffed));
    return stuffed;
  }

  /** What ends the text. A last line without its CRLF gets one. */
  end(): Buffer {
    if (this.#previous === CR) throw bareLineEnd("CR", this.taken - 1);
    return this.#lineStart ? END : END_WITHOUT_LINE_END;
  }

  /** Notes where dots stand at line starts and how the piece ends; gives the number of such dots. */
  #scan(piece: Buffer): number {
    const { length } = piece;
    if (length === 0) return 0;
    let found = 0;
    if (this.#previous === CR && piece[0] !== LF) throw bareLineEnd("CR", this.taken - 1);
    if (this.#lineStart && piece[0] === DOT) found = this.#note(found, 0);
    // Two native searches, a line at a time: some five times as fast as looking at every octet here.
    for (let at = piece.indexOf(LF); at !== -1; at = piece.indexOf(LF, at + 1)) {
      if ((at === 0 ? this.#previous : piece[at - 1]) !== CR) throw bareLineEnd("LF", this.taken + at);
      if (piece[at + 1] === DOT) found = this.#note(found, at + 1);
    }
    for (let at = piece.indexOf(CR); at !== -1; at = piece.indexOf(CR, at + 1)) {
      if (at + 1 < length && piece[at + 1] !== LF) throw bareLineEnd("CR", this.taken + at);
    }
    this.#previous = piece[length - 1] as number;
    this.#lineStart = this.#previous === LF;
    return found;
  }

  #note(found: number, at: number): number {
    if (found === this.#dots.length) {
      const more = new Uint32Array(found * 2);
      more.set(this.#dots);
      this.#dots = more;
    }
    this.#dots[found] = at;
    return found + 1;
  }

  /** Copies the piece and doubles the noted dots; gives the octets written. */
  #copy(piece: Buffer, found: number, target: Buffer): number {
    let from = 0;
    let written = 0;
    for (let index = 0; index < found; index += 1) {
      const dot = this.#dots[index] as number;
      written += piece.copy(target, written, from, dot);
      target[written] = DOT;
      written += 1;
      from = dot;
    }
    return written + piece.copy(target, written, from);
  }
}

function bareLineEnd(what: "CR" | "LF", offset: number): Error {
  return new Error(`the stored message has a bare ${what} at octet ${offset}; only CRLF may be sent`);
}
