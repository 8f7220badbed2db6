/**
 * A message's text on its way into the store: octets in as they come, dots unstuffed; header judged and edited, our own
 * fields in front, line ends mended where that is allowed, out in blocks. Memory is bounded by the header's limit and one
 * block, whatever the message's size. What cannot be sent on is refused here (RFC 5321 §4.5.3.1.6, RFC 5322 §2.1.1). The
 * body of a message that will be signed is hashed as it goes into the store, so that nobody needs to read it again.
 */
import { isAscii, isUtf8 } from "node:buffer";
import { type BodyHash, createBodyHash } from "../mail/dkim-body.ts";
import type { ContentNeeds } from "../mail/envelope.ts";
import { HEADER_END, type HeaderScan, scanHeader } from "../mail/header.ts";
import type { BodyWriter } from "../queue/store.ts";
import { LineCheck, mendLineEnds } from "./lines.ts";

export interface SpoolOptions {
  readonly limits: {
    readonly messageSize: number;
    readonly headerSize: number;
    readonly headerFields: number;
    readonly receivedFields: number;
  };
  /** A bare LF becomes CRLF and a bare CR a blank; else both are refused. */
  readonly mendLineEnds: boolean;
  newBody(): BodyWriter;
  /** Our fields for this header, ASCII, and whether its body is to be hashed; or the reply that refuses it. */
  readonly judge: (
    block: Buffer,
    scan: HeaderScan,
  ) => { readonly prelude: string; readonly hashBody?: boolean } | { readonly refusal: string };
  /** The reply for an error of the store. */
  readonly storageReply: (error: unknown) => string;
}

/** Written to the store at once; small messages are one such block. */
const BLOCK = 64 * 1024;
const FIRST_BLOCK = 8 * 1024;
const EMPTY_LINE = 2;

export class Spool {
  /** Why the message is not taken; once set, the rest is read and forgotten. */
  refusal: string | undefined;
  /** Octets that came, dots unstuffed (RFC 1870 §3). */
  received = 0;
  body: BodyWriter | undefined;
  /** `bh=` of DKIM, once everything is in; only where `judge` asked for it. */
  bodyHash: string | undefined;
  readonly #options: SpoolOptions;
  readonly #lines = new LineCheck();
  /** A CR at the end of what came: only the next octet tells whether it is bare. */
  #heldCr = false;
  #head = Buffer.alloc(0);
  #headLength = 0;
  #inBody = false;
  #eightBit = false;
  #utf8Headers = false;
  #hash: BodyHash | undefined;
  #block: Buffer | undefined;
  #used = 0;

  constructor(options: SpoolOptions) {
    this.#options = options;
  }

  get needs(): ContentNeeds {
    return { eightBit: this.#eightBit, utf8Headers: this.#utf8Headers };
  }

  /** Takes more octets; a promise means that the store asks to wait. */
  take(octets: Buffer): void | Promise<void> {
    const clean = this.#clean(octets);
    return clean === undefined ? undefined : this.#pass(clean, false);
  }

  /** Takes the last octets. Afterwards `refusal` says no, or `body` holds the whole message. */
  end(octets: Buffer): void | Promise<void> {
    let clean = this.#clean(octets);
    if (clean === undefined) return undefined;
    if (this.#heldCr) {
      this.#heldCr = false;
      clean = this.#check(Buffer.concat([clean, Buffer.from("\r")]));
      if (clean === undefined) return undefined;
    }
    return this.#pass(clean, true);
  }

  /** Forgets everything; nothing of it will be stored. */
  abandon(): void {
    this.refusal ??= "451 4.3.0 abandoned";
    this.body?.abandon();
    this.body = undefined;
    this.#block = undefined;
    this.#head = Buffer.alloc(0);
  }

  #refuse(reply: string): void {
    if (this.refusal === undefined) this.refusal = reply;
    this.abandon();
  }

  /** The octets fit to be stored, or undefined when there is no use for them. */
  #clean(octets: Buffer): Buffer | undefined {
    this.received += octets.length;
    if (this.refusal === undefined && this.received > this.#options.limits.messageSize) {
      this.#refuse(`552 5.3.4 message size exceeds the limit of ${this.#options.limits.messageSize} octets. [relay/size]`);
    }
    if (this.refusal !== undefined) return undefined;
    let whole = octets;
    if (this.#heldCr && octets.length > 0) {
      whole = Buffer.concat([Buffer.from("\r"), octets]);
      this.#heldCr = false;
    }
    if (whole[whole.length - 1] === 0x0d) {
      whole = whole.subarray(0, -1);
      this.#heldCr = true;
    }
    return this.#check(whole);
  }

  #check(octets: Buffer): Buffer | undefined {
    const before = this.#lines.lineLength;
    let checked = octets;
    let flaws = this.#lines.read(checked);
    if (flaws.bareLineEnd && !flaws.nul) {
      if (!this.#options.mendLineEnds) {
        this.#refuse("554 5.6.0 the message has a bare CR or LF; every line must end with CRLF. [relay/line-ends]");
        return undefined;
      }
      checked = mendLineEnds(octets);
      this.#lines.lineLength = before;
      flaws = this.#lines.read(checked);
    }
    if (flaws.nul) this.#refuse("554 5.6.0 the message has NUL octets, which mail cannot carry. [relay/nul]");
    else if (flaws.longLine) this.#refuse("554 5.6.0 the message has a line of more than 998 octets. [relay/line-length]");
    return this.refusal === undefined ? checked : undefined;
  }

  #pass(octets: Buffer, last: boolean): void | Promise<void> {
    if (this.#inBody) {
      this.#hashBody(octets, last);
      if (!this.#eightBit && !isAscii(octets)) this.#eightBit = true;
      return this.#store(octets, last);
    }
    if (this.#headLength === 0) {
      // The common case: the whole header, and often the whole message, in one piece that needs no copy.
      const end = headerEnd(octets, 0);
      if (end !== undefined || last) return this.#passHeader(octets, end ?? octets.length, last);
    }
    const searchFrom = Math.max(0, this.#headLength - HEADER_END.length);
    this.#keepHead(octets);
    const head = this.#head.subarray(0, this.#headLength);
    const end = headerEnd(head, searchFrom);
    if (end !== undefined || last) return this.#passHeader(head, end ?? head.length, last);
    if (this.#headLength > this.#options.limits.headerSize) this.#refuse(this.#headerTooLarge());
    return undefined;
  }

  #headerTooLarge(): string {
    const { headerSize, headerFields } = this.#options.limits;
    return `552 5.3.4 the header is limited to ${headerSize} octets and ${headerFields} fields. [relay/header]`;
  }

  #keepHead(octets: Buffer): void {
    const needed = this.#headLength + octets.length;
    if (needed > this.#head.length) {
      const grown = Buffer.allocUnsafe(Math.max(needed, this.#head.length * 2, 4096));
      this.#head.copy(grown, 0, 0, this.#headLength);
      this.#head = grown;
    }
    octets.copy(this.#head, this.#headLength);
    this.#headLength = needed;
  }

  /** `octets` begins with the header; what lies behind `end` is the empty line and the body, or nothing. */
  #passHeader(octets: Buffer, end: number, last: boolean): void | Promise<void> {
    const header = octets.subarray(0, end);
    const { limits, judge } = this.#options;
    const scan = scanHeader(header);
    if (header.length > limits.headerSize || scan.fields > limits.headerFields) return this.#refuse(this.#headerTooLarge());
    if (!scan.startsWithField) return this.#refuse("554 5.6.0 the message does not begin with a header field. [relay/header]");
    if (scan.receivedFields >= limits.receivedFields) {
      return this.#refuse(`554 5.4.6 the message has ${scan.receivedFields} Received fields: it goes in a circle. [relay/loop]`);
    }
    if (!isAscii(header)) {
      this.#utf8Headers = true;
      // RFC 6532 §3.2: neither old nor new mail has another encoding in its header.
      if (!isUtf8(header)) return this.#refuse("554 5.6.0 the header is neither ASCII nor UTF-8. [relay/header]");
    }
    const verdict = judge(header, scan);
    if ("refusal" in verdict) return this.#refuse(verdict.refusal);
    const rest = octets.subarray(end);
    if (!isAscii(rest)) this.#eightBit = true;
    const removed = scan.unwanted.reduce((sum, range) => sum + range.end - range.start, 0);
    const total = verdict.prelude.length + octets.length - removed;
    this.#inBody = true;
    if (verdict.hashBody === true) this.#hash = createBodyHash();
    this.#hashBody(rest.subarray(EMPTY_LINE), last);
    this.body = this.#newBody();
    if (this.body === undefined) return undefined;
    // Small messages get a block of exactly their size: the read buffer, which may be much larger, is not kept alive.
    this.#block = Buffer.allocUnsafeSlow(last && total <= BLOCK ? total : Math.min(Math.max(FIRST_BLOCK, total), BLOCK));
    this.#used = 0;
    const pieces: Buffer[] = [Buffer.from(verdict.prelude, "latin1")];
    let from = 0;
    for (const range of scan.unwanted) {
      pieces.push(octets.subarray(from, range.start));
      from = range.end;
    }
    pieces.push(octets.subarray(from));
    this.#headLength = 0;
    return this.#storeAll(pieces, 0, last);
  }

  #hashBody(octets: Buffer, last: boolean): void {
    if (this.#hash === undefined) return;
    this.#hash.update(octets);
    if (last) this.bodyHash = this.#hash.digest();
  }

  #newBody(): BodyWriter | undefined {
    try {
      return this.#options.newBody();
    } catch (error) {
      this.#refuse(this.#options.storageReply(error));
      return undefined;
    }
  }

  #storeAll(pieces: readonly Buffer[], from: number, last: boolean): void | Promise<void> {
    for (let at = from; at < pieces.length; at++) {
      const piece = pieces[at];
      const pause = piece === undefined ? undefined : this.#store(piece, last && at === pieces.length - 1);
      if (pause !== undefined) return pause.then(() => this.#storeAll(pieces, at + 1, last));
    }
    this.#head = Buffer.alloc(0);
    return undefined;
  }

  #store(octets: Buffer, last: boolean): void | Promise<void> {
    let rest = octets;
    while (rest.length > 0) {
      if (this.refusal !== undefined) return undefined;
      this.#block ??= Buffer.allocUnsafeSlow(BLOCK);
      const copied = rest.copy(this.#block, this.#used);
      this.#used += copied;
      rest = rest.subarray(copied);
      if (this.#used === this.#block.length) {
        const pause = this.#flush();
        if (pause !== undefined) {
          const left = rest;
          return pause.then(() => this.#store(left, last));
        }
      }
    }
    return last ? this.#flush() : undefined;
  }

  /** Hands the block over to the store, which owns it from then on. */
  #flush(): void | Promise<void> {
    const block = this.#block;
    const used = this.#used;
    this.#block = undefined;
    this.#used = 0;
    if (block === undefined || used === 0 || this.body === undefined) return undefined;
    let whole = block;
    if (used < block.length) {
      whole = Buffer.allocUnsafeSlow(used);
      block.copy(whole, 0, 0, used);
    }
    try {
      const pause = this.body.write(whole);
      return pause?.catch((error: unknown) => this.#refuse(this.#options.storageReply(error)));
    } catch (error) {
      return this.#refuse(this.#options.storageReply(error));
    }
  }
}

/** Behind the last field's line end, where the empty line begins; undefined when it has not come yet. */
function headerEnd(octets: Buffer, from: number): number | undefined {
  // An empty line at the very start leaves no header at all (RFC 5322 §3.5).
  if (octets[0] === 0x0d && octets[1] === 0x0a) return 0;
  const at = octets.indexOf(HEADER_END, from);
  return at < 0 ? undefined : at + 2;
}
