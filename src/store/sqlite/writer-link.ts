/**
 * The main thread's end of the writer: requests of one turn of the event loop go over as one batch, small bodies in one
 * transferred piece. Settlements may wait a little for company, since an outcome that is lost in a crash means a second
 * delivery and never a loss (RFC 5321 §6.1); the thread itself is writer.ts.
 */
import { Worker } from "node:worker_threads";
import { errorOf } from "../../thrown.ts";
import { storageError, type ThreadError, troubleOf } from "./errors.ts";
import type { EnqueueRows, FromWriter, OpenedFile, ToWriter, WriterRequest, WriterSettings } from "./wire.ts";

/** So long may a settlement wait for a commit that happens anyway. */
const COMPANY_WAIT = 20;
/** So many are company enough. */
const COMPANY = 8;
/** Mail came in so recently that more is likely to; with no mail coming in nobody is waited for. */
const TRAFFIC = 250;

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export interface WriterWatch {
  /** A commit succeeded. */
  succeeded(): void;
  failed(error: ThreadError): void;
  /** The thread is gone; nothing can be written any more. */
  died(error: Error): void;
}

/** The script beside this one: .ts in the sources, .js once built. */
export function threadScript(name: string): URL {
  return new URL(`./${name}${import.meta.url.endsWith(".ts") ? ".ts" : ".js"}`, import.meta.url);
}

export class WriterLink {
  readonly #worker: Worker;
  readonly #file: string;
  readonly #watch: WriterWatch;
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;
  #requests: WriterRequest[] = [];
  #callers: Waiting[] = [];
  /** Bodies of this batch, with the rows that say where each lies. */
  #bodies: Buffer[] = [];
  #bodyOctets = 0;
  #scheduled = false;
  #company: NodeJS.Timeout | undefined;
  #lastMail = -TRAFFIC;
  #ended: Error | undefined;
  #closed: { promise: Promise<void>; resolve: () => void } | undefined;

  private constructor(worker: Worker, file: string, watch: WriterWatch) {
    this.#worker = worker;
    this.#file = file;
    this.#watch = watch;
    worker.on("message", (message: FromWriter) => this.#receive(message));
    worker.on("error", (error) => this.#end(errorOf(error)));
    worker.on("exit", () => this.#end(new Error("the writer thread ended")));
  }

  /** Starts the thread and opens the file. Rejects with a sentence for the operator when the file is refused. */
  static open(settings: WriterSettings, watch: WriterWatch): Promise<{ link: WriterLink; opened: OpenedFile }> {
    return new Promise((resolve, reject) => {
      const worker = new Worker(threadScript("writer"), { workerData: settings, name: "postern-writer" });
      const ended = () => reject(new Error("the writer thread ended while opening the database"));
      worker.once("message", (message: FromWriter) => {
        worker.off("error", reject);
        worker.off("exit", ended);
        if (message.kind === "opened") resolve({ link: new WriterLink(worker, message.file, watch), opened: message });
        else reject(new Error(message.kind === "refused" ? message.message : "the writer thread did not open the database"));
      });
      worker.once("error", reject);
      worker.once("exit", ended);
    });
  }

  /** Asks for something; it is in the next group. */
  ask<Value>(request: WriterRequest): Promise<Value> {
    const promise = this.#add<Value>(request);
    this.#soon();
    return promise;
  }

  enqueue(rows: EnqueueRows, body: Buffer | undefined): Promise<undefined> {
    if (body !== undefined) this.#addBody(rows, body);
    this.#lastMail = performance.now();
    return this.ask({ op: "enqueue", rows });
  }

  settle(request: WriterRequest & { op: "settle" }, bodies: readonly Buffer[]): Promise<"lease-lost" | undefined> {
    bodies.forEach((body, index) => {
      const rows = request.rows.notices[index];
      if (rows !== undefined) this.#addBody(rows, body);
    });
    const promise = this.#add<"lease-lost" | undefined>(request);
    if (this.#scheduled || this.#requests.length >= COMPANY || performance.now() - this.#lastMail > TRAFFIC) this.#soon();
    else this.#company ??= setTimeout(() => this.#flush(), COMPANY_WAIT);
    return promise;
  }

  /** True while requests are under way. */
  get busy(): boolean {
    return this.#waiting.size > 0 || this.#requests.length > 0;
  }

  /** Finishes what was asked for, then ends the thread. */
  close(): Promise<void> {
    if (this.#closed === undefined) {
      let resolve = () => {};
      const promise = new Promise<void>((done) => {
        resolve = done;
      });
      this.#closed = { promise, resolve };
      this.#flush();
      if (this.#ended === undefined) this.#worker.postMessage({ kind: "close" } satisfies ToWriter);
      else resolve();
      this.#ended ??= new Error("the store is closed");
    }
    return this.#closed.promise;
  }

  #add<Value>(request: WriterRequest): Promise<Value> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    return new Promise<Value>((resolve, reject) => {
      this.#requests.push(request);
      this.#callers.push({ resolve, reject });
    });
  }

  #addBody(rows: EnqueueRows, body: Buffer): void {
    rows.bodyAt = this.#bodyOctets;
    this.#bodies.push(body);
    this.#bodyOctets += body.length;
  }

  #soon(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#flush());
  }

  #flush(): void {
    this.#scheduled = false;
    clearTimeout(this.#company);
    this.#company = undefined;
    if (this.#requests.length === 0) return;
    const requests = this.#requests;
    const first = this.#next;
    this.#next += requests.length;
    this.#callers.forEach((caller, index) => this.#waiting.set(first + index, caller));
    const transfer: ArrayBuffer[] = [];
    let octets: Uint8Array | undefined;
    if (this.#bodies.length > 0) {
      // One copy into one piece: the caller keeps its buffer for the first attempt, and pooled buffers cannot be transferred.
      octets = new Uint8Array(this.#bodyOctets);
      let at = 0;
      for (const body of this.#bodies) {
        octets.set(body, at);
        at += body.length;
      }
      transfer.push(octets.buffer as ArrayBuffer);
    }
    for (const request of requests) if (request.op === "chunk") transfer.push(request.octets.buffer as ArrayBuffer);
    this.#requests = [];
    this.#callers = [];
    this.#bodies = [];
    this.#bodyOctets = 0;
    this.#worker.postMessage({ kind: "batch", first, requests, octets } satisfies ToWriter, transfer);
  }

  #receive(message: FromWriter): void {
    if (message.kind === "closed") this.#closed?.resolve();
    if (message.kind !== "reply") return;
    // An error of the disk is reported before its callers hear of it, so that they find the store's trouble set.
    if (message.wrote) this.#watch.succeeded();
    for (const [, error] of message.failed) if (troubleOf(error) !== undefined) this.#watch.failed(error);
    for (const request of message.done) this.#take(request)?.resolve(undefined);
    for (const [request, value] of message.values) this.#take(request)?.resolve(value);
    for (const [request, error] of message.failed) this.#take(request)?.reject(storageError(error, this.#file));
  }

  #take(request: number): Waiting | undefined {
    const waiting = this.#waiting.get(request);
    this.#waiting.delete(request);
    return waiting;
  }

  #end(error: Error): void {
    if (this.#closed !== undefined) {
      this.#closed.resolve();
    } else if (this.#ended === undefined) {
      this.#ended = storageError({ code: "THREAD", message: `the writer thread ended: ${error.message}` }, this.#file);
      this.#watch.died(error);
    }
    const reason = this.#ended ?? error;
    for (const waiting of [...this.#waiting.values(), ...this.#callers]) waiting.reject(reason);
    this.#waiting.clear();
    this.#callers = [];
    this.#requests = [];
  }
}
