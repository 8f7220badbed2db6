/**
 * smtp-server's parser with our own reading of the octets: only CRLF ends a command line (RFC 5321 §2.3.8), a line that
 * is too long is skipped to its end (§4.5.3.1.9), only CRLF.CRLF ends a message, and only a dot behind CRLF is taken off
 * (§4.5.2). Octets in, command lines and message octets out, one at a time, in order; what they mean is session.ts's.
 * With guarded-connection.ts and guarded-server.ts this is all that touches the library's inner surface.
 */
import { SMTPStream } from "smtp-server/lib/smtp-stream.js";

/** RFC 4954 §4: the longest line there is, a response of AUTH. Limits of other commands are session.ts's. */
export const LONGEST_LINE = 12_288;

/** `bare-lf`: the line goes on to its CRLF and is not looked at any more. */
export type LineFlaw = "too-long" | "bare-lf";

/** Takes a message's octets, dots unstuffed. Must not throw or reject. */
export interface DataSink {
  /** A promise holds the client back until it resolves. */
  take(octets: Buffer): void | Promise<void>;
  /** The last octets; commands go on when `done` is called. */
  end(octets: Buffer, done: () => void): void;
}

const CR = 0x0d;
const LF = 0x0a;
const DOT = 0x2e;
const EMPTY = Buffer.alloc(0);
const LINE_START_DOT = Buffer.from("\r\n.");
/** Commands that are read at a stretch before others get a turn. */
const STRETCH = 100;

/** Where the end of the message may be beginning. */
type DotState = "text" | "cr" | "line-start" | "dot" | "dot-cr";

export class GuardedStream extends SMTPStream {
  /** A whole command line, without its CRLF. */
  online: (line: Buffer, done: () => void) => void = (_line, done) => done();
  onflaw: (flaw: LineFlaw, done: () => void) => void = (_flaw, done) => done();
  /** Everything that came has been dealt with, or waits for someone: replies can go out. `next`, if given, asks for more. */
  onrest: (next?: () => void) => void = (next) => next?.();

  /** The client has said its last, and all of it has been dealt with. */
  onend: () => void = () => {};
  /** Our own mistake while octets were read: it must not get into the socket's event, where it would end the process. */
  onfault: (error: unknown) => void = () => {};

  /** Octets that came, in whatever mode. */
  octets = 0;
  #chunk: Buffer = EMPTY;
  #at = 0;
  #next: (() => void) | undefined;
  #partial: Buffer | undefined;
  /** The rest of a flawed line is being skipped; the flaw is told at its end, unless it was told at once. */
  #skipping: "silently" | "too-long" | undefined;
  #lastOctet = 0;
  #sink: DataSink | undefined;
  #dot: DotState = "text";
  #running = false;
  #waiting = false;
  readonly #resume = () => this.#goOn();

  /** From the next octet on, until CRLF.CRLF. */
  receiveData(sink: DataSink): void {
    this.#sink = sink;
    // The CRLF of DATA counts: a message may begin with its final dot (RFC 5321 §4.1.1.4).
    this.#dot = "line-start";
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding | "buffer", next: () => void): void {
    this.octets += chunk.length;
    this.#chunk = chunk;
    this.#at = 0;
    this.#next = next;
    this.#run();
  }

  /** Called at the end of the input. What is left of a line then is no command. */
  override _flushData(): void {
    if (!this.isClosed) this.onend();
  }

  #goOn(): void {
    this.#waiting = false;
    if (!this.#running) this.#run();
  }

  #run(): void {
    this.#running = true;
    try {
      this.#readOn();
    } catch (error) {
      this.isClosed = true;
      this.#waiting = false;
      this.onfault(error);
    } finally {
      this.#running = false;
    }
    if (this.#waiting) {
      this.onrest();
      return;
    }
    this.#chunk = EMPTY;
    const next = this.#next;
    this.#next = undefined;
    if (next !== undefined) this.onrest(next);
  }

  /** Until the chunk is used up, or something has to be waited for. */
  #readOn(): void {
    for (let steps = 0; !this.#waiting; steps++) {
      // Closed, or retired by STARTTLS: what came in clear behind it must never run (RFC 3207 §4.2).
      if (this.isClosed || this.#at >= this.#chunk.length) return;
      if (steps === STRETCH) {
        this.#waiting = true;
        setImmediate(this.#resume);
      } else if (this.#sink !== undefined) {
        this.#readData(this.#sink);
      } else {
        this.#readLine();
      }
    }
  }

  #readLine(): void {
    const chunk = this.#chunk;
    const start = this.#at;
    const lf = chunk.indexOf(LF, start);
    const end = lf < 0 ? chunk.length : lf;
    const endsInCr = end > start ? chunk[end - 1] === CR : this.#lastOctet === CR;
    this.#at = lf < 0 ? end : lf + 1;
    this.#lastOctet = chunk[this.#at - 1] ?? 0;
    if (this.#skipping !== undefined) {
      if (lf < 0 || !endsInCr) return;
      const flaw = this.#skipping;
      this.#skipping = undefined;
      if (flaw === "too-long") this.#tell(flaw);
      return;
    }
    const length = (this.#partial?.length ?? 0) + end - start;
    if (length > LONGEST_LINE + 1) {
      this.#partial = undefined;
      if (lf >= 0 && endsInCr) this.#tell("too-long");
      else this.#skipping = "too-long";
      return;
    }
    let line = chunk.subarray(start, end);
    if (this.#partial !== undefined) line = Buffer.concat([this.#partial, line], length);
    if (lf < 0) {
      this.#partial = this.#partial === undefined ? Buffer.from(line) : line;
      return;
    }
    this.#partial = undefined;
    if (endsInCr) {
      this.#waiting = true;
      this.online(line.subarray(0, length - 1), this.#resume);
    } else {
      // Told at once, so that a person with `nc` sees why nothing happens; what follows up to CRLF belongs to this line.
      this.#skipping = "silently";
      this.#tell("bare-lf");
    }
  }

  #tell(flaw: LineFlaw): void {
    this.#waiting = true;
    this.onflaw(flaw, this.#resume);
  }

  #readData(sink: DataSink): void {
    const chunk = this.#chunk;
    const length = chunk.length;
    const start = this.#at;
    let at = start;
    /** Octets before here are final; after a dot was taken off, later ones move down to it. */
    let kept = start;
    /** Start of the octets that follow `kept` and have not been moved yet. */
    let from = start;
    let strayCr = false;
    let state = this.#dot;
    let ended = false;

    while (at < length) {
      const octet = chunk[at];
      if (state === "text") {
        const found = chunk.indexOf(LINE_START_DOT, at);
        if (found < 0) {
          state = tailState(chunk, at);
          at = length;
          break;
        }
        at = found + 2;
        state = "line-start";
      } else if (state === "cr") {
        if (octet === LF) at += 1;
        state = octet === LF ? "line-start" : "text";
      } else if (state === "line-start") {
        if (octet === DOT) {
          // Not part of the text in any case: it is either stuffed or the end.
          kept = this.#keep(kept, from, at);
          from = at + 1;
          at += 1;
          state = "dot";
        } else {
          state = "text";
        }
      } else if (state === "dot") {
        if (octet === CR) {
          at += 1;
          state = "dot-cr";
        } else {
          state = "text";
        }
      } else if (octet === LF) {
        at += 1;
        ended = true;
        break;
      } else {
        // `.CR` and no LF: the dot was a stuffed one after all, and its CR is text, whichever chunk it came in.
        if (from === at) strayCr = true;
        state = "text";
      }
    }
    this.#at = at;
    this.#dot = state;
    let octets: Buffer;
    if (ended) {
      octets = chunk.subarray(start, kept);
    } else {
      // A CR behind a dot at the end of the chunk waits for what follows.
      kept = this.#keep(kept, from, state === "dot-cr" ? Math.max(from, length - 1) : length);
      octets = chunk.subarray(start, kept);
    }
    if (strayCr) octets = Buffer.concat([Buffer.from("\r"), octets]);
    if (ended) {
      this.#sink = undefined;
      this.#lastOctet = 0;
      this.#waiting = true;
      sink.end(octets, this.#resume);
      return;
    }
    if (octets.length === 0) return;
    const pause = sink.take(octets);
    if (pause === undefined) return;
    this.#waiting = true;
    pause.then(this.#resume, (error: unknown) => {
      this.isClosed = true;
      this.onfault(error);
      this.#resume();
    });
  }

  /** Moves octets down over the dots taken off before them. The chunk is ours alone: nobody else reads this socket. */
  #keep(kept: number, from: number, to: number): number {
    if (kept !== from) this.#chunk.copyWithin(kept, from, to);
    return kept + (to - from);
  }
}

/** How far the end of a chunk without CRLF-dot has come towards one. */
function tailState(chunk: Buffer, at: number): DotState {
  const last = chunk[chunk.length - 1];
  if (last === CR) return "cr";
  return last === LF && chunk.length - 2 >= at && chunk[chunk.length - 2] === CR ? "line-start" : "text";
}
