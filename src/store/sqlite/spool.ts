/**
 * Bodies on their way in and out. Small ones stay in memory until their message is enqueued; larger ones leave it chunk
 * by chunk, and whoever writes faster than the disk waits. Memory does not grow with the size of a message.
 */
import type { BodySource } from "../../queue/entry.ts";
import type { BodyWriter } from "../../queue/store.ts";
import { StorageFailed } from "../../queue/store.ts";
import { errorOf } from "../../thrown.ts";
import { noteLargeOctets } from "./collect.ts";

/** Small bodies are at most one chunk. */
const CHUNK = 128 * 1024;
const SMALLEST_BUFFER = 8 * 1024;
/** Chunks of one body, and of all of them, that may be on their way to the disk. */
const IN_FLIGHT = 4;
const IN_FLIGHT_TOGETHER = 32;
/** Used chunks kept for the next ones. */
const SPARE_CHUNKS = 16;

/** What the spool needs of the store. */
export interface SpoolOutlet {
  /** A number for a large body. */
  newBodyNumber(): number;
  /** Takes the chunk's memory away, and gives it back once it is on the disk. */
  saveChunk(body: number, seq: number, octets: Uint8Array): Promise<Uint8Array>;
  /** Chunks already written are nobody's. */
  forgetBody(body: number): void;
  /** Throws StorageFull when no mail can be taken. */
  refuseIfFull(): void;
}

/** A finished body: in memory, or in chunks on the disk. */
export type SpooledBody = { readonly kind: "small"; readonly octets: Buffer } | { readonly kind: "chunked"; readonly body: number };

export class Spool {
  readonly outlet: SpoolOutlet;
  inFlight = 0;
  readonly #waiting: (() => void)[] = [];
  readonly #spare: Buffer[] = [];

  constructor(outlet: SpoolOutlet) {
    this.outlet = outlet;
  }

  newBody(): SpoolWriter {
    return new SpoolWriter(this);
  }

  /** Sends a chunk; `arrived` hears what became of it before anybody who waits goes on. */
  send(body: number, seq: number, octets: Uint8Array, arrived: (failure?: Error) => void): void {
    this.inFlight++;
    noteLargeOctets(octets.length);
    const settle = (failure?: Error) => {
      this.inFlight--;
      arrived(failure);
      for (const resume of this.#waiting.splice(0)) resume();
    };
    this.outlet.saveChunk(body, seq, octets).then(
      (back) => {
        if (back.byteLength === CHUNK && this.#spare.length < SPARE_CHUNKS) this.#spare.push(Buffer.from(back.buffer, 0, CHUNK));
        settle();
      },
      (error: unknown) => settle(errorOf(error)),
    );
  }

  newChunk(): Buffer {
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(CHUNK);
  }

  /** Resolves when some chunk of any body has arrived. */
  nextArrival(): Promise<void> {
    return new Promise((resume) => this.#waiting.push(resume));
  }
}

export class SpoolWriter implements BodyWriter {
  readonly #spool: Spool;
  #size = 0;
  #buffer: Buffer | undefined;
  #filled = 0;
  /** The buffer is ours to give away. */
  #owned = false;
  /** Present once the body is larger than a chunk. */
  #body: number | undefined;
  #seq = 0;
  #inFlight = 0;
  #failure: Error | undefined;
  #state: "open" | "finished" | "abandoned" = "open";

  constructor(spool: Spool) {
    this.#spool = spool;
  }

  get size(): number {
    return this.#size;
  }

  write(chunk: Buffer): void | Promise<void> {
    if (this.#state !== "open") throw new Error(`a body was written to after it was ${this.#state}`);
    if (this.#failure !== undefined) throw this.#failure;
    this.#spool.outlet.refuseIfFull();
    this.#size += chunk.length;
    if (this.#buffer === undefined && chunk.length <= CHUNK) {
      // A slice of a socket's read buffer would keep all of that alive (64 KB for a message of 2).
      this.#buffer = chunk.buffer.byteLength > 2 * chunk.length + 64 ? Buffer.from(chunk) : chunk;
      this.#filled = chunk.length;
      return;
    }
    for (let at = 0; at < chunk.length; ) at += this.#append(chunk, at);
    return this.#mustWait() ? this.#wait() : undefined;
  }

  abandon(): void {
    if (this.#state !== "open") return;
    this.#state = "abandoned";
    this.forget();
  }

  /** For `enqueue`: no more comes; resolves when all chunks are on the disk. Small bodies are there at once. */
  finish(): SpooledBody | Promise<SpooledBody> {
    if (this.#state !== "open") throw new Error(`a body was enqueued after it was ${this.#state}`);
    if (this.#failure !== undefined) throw this.#failure;
    this.#state = "finished";
    if (this.#body !== undefined) return this.#finishChunks(this.#body);
    const octets = this.#buffer?.subarray(0, this.#filled) ?? Buffer.alloc(0);
    this.#buffer = undefined;
    return { kind: "small", octets };
  }

  /** Drops memory and chunks. */
  forget(): void {
    this.#buffer = undefined;
    if (this.#body !== undefined) this.#spool.outlet.forgetBody(this.#body);
    this.#body = undefined;
  }

  /** Copies what fits; returns how much that was. */
  #append(chunk: Buffer, at: number): number {
    if (this.#filled === CHUNK) this.#send();
    const room = this.#makeRoom(Math.min(CHUNK, this.#filled + chunk.length - at));
    const taken = chunk.copy(room, this.#filled, at, Math.min(chunk.length, at + CHUNK - this.#filled));
    this.#filled += taken;
    return taken;
  }

  #makeRoom(needed: number): Buffer {
    const before = this.#buffer;
    // A buffer of its own from the second chunk on: what the caller gave may be a slice of something larger.
    if (before !== undefined && this.#owned && before.length >= needed) return before;
    let capacity = this.#body === undefined ? Math.max(SMALLEST_BUFFER, this.#filled * 2) : CHUNK;
    while (capacity < needed) capacity *= 2;
    const buffer = capacity >= CHUNK ? this.#spool.newChunk() : Buffer.allocUnsafeSlow(capacity);
    before?.copy(buffer, 0, 0, this.#filled);
    this.#owned = true;
    this.#buffer = buffer;
    return buffer;
  }

  #send(): void {
    const buffer = this.#buffer;
    if (buffer === undefined) return;
    this.#body ??= this.#spool.outlet.newBodyNumber();
    // Only memory of our own is given away.
    const octets =
      this.#owned && this.#filled === buffer.length ? buffer : Buffer.allocUnsafeSlow(this.#filled).fill(buffer.subarray(0, this.#filled));
    this.#buffer = undefined;
    this.#owned = false;
    this.#filled = 0;
    this.#inFlight++;
    this.#spool.send(this.#body, this.#seq++, new Uint8Array(octets.buffer, octets.byteOffset, octets.byteLength), (failure) => {
      this.#inFlight--;
      if (failure !== undefined) this.#failure ??= failure;
    });
  }

  #mustWait(): boolean {
    return this.#failure === undefined && this.#inFlight > 0 && (this.#inFlight >= IN_FLIGHT || this.#spool.inFlight >= IN_FLIGHT_TOGETHER);
  }

  async #wait(): Promise<void> {
    while (this.#mustWait()) await this.#spool.nextArrival();
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #finishChunks(body: number): Promise<SpooledBody> {
    if (this.#filled > 0) this.#send();
    while (this.#inFlight > 0 && this.#failure === undefined) await this.#spool.nextArrival();
    if (this.#failure !== undefined) throw this.#failure;
    return { kind: "chunked", body };
  }
}

/** A body that is at hand. */
export function bodyInMemory(octets: Buffer): BodySource {
  return {
    size: octets.length,
    inMemory: octets,
    async *chunks() {
      // Our own notices may be larger than a chunk.
      for (let at = 0; at < octets.length; at += CHUNK) yield octets.subarray(at, at + CHUNK);
    },
  };
}

/** A body on the disk, one statement a chunk, so that no reader is held open while a slow host takes it. */
export function bodyOnDisk(size: number, queueId: string, read: (seq: number) => Promise<Uint8Array | undefined>): BodySource {
  return {
    size,
    async *chunks() {
      let left = size;
      let last: Uint8Array | undefined;
      let beforeLast: Uint8Array | undefined;
      for (let seq = 0; left > 0; seq++) {
        // The collector would let some 60 MB of these gather before it looked.
        if (beforeLast?.buffer instanceof ArrayBuffer) beforeLast.buffer.transfer(0);
        beforeLast = last;
        const chunk = await read(seq);
        last = chunk;
        if (chunk === undefined || chunk.length > left)
          throw new StorageFailed(`the body of ${queueId} is not whole: ${left} of ${size} octets cannot be read`);
        left -= chunk.length;
        noteLargeOctets(chunk.length);
        yield Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
      }
    },
  };
}
