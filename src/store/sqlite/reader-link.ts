/**
 * The main thread's end of the reader: questions over, answers back, in order. The thread itself is reader.ts.
 */
import { Worker } from "node:worker_threads";
import { storageError } from "./errors.ts";
import type { ReaderQueries, ReaderReply, ReaderRequest } from "./wire.ts";
import { threadScript } from "./writer-link.ts";

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export class ReaderLink {
  readonly #worker: Worker;
  readonly #file: string;
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;
  #ended: Error | undefined;

  constructor(file: string, died: (error: Error) => void) {
    this.#file = file;
    this.#worker = new Worker(threadScript("reader"), { workerData: { file }, name: "postern-reader" });
    this.#worker.on("message", (reply: ReaderReply) => {
      const waiting = this.#waiting.get(reply.request);
      this.#waiting.delete(reply.request);
      if (reply.error === undefined) waiting?.resolve(reply.value);
      else waiting?.reject(storageError(reply.error, this.#file));
    });
    const end = (error: Error) => {
      if (this.#ended === undefined) {
        this.#ended = storageError({ code: "THREAD", message: `the reader thread ended: ${error.message}` }, this.#file);
        died(error);
      }
      for (const waiting of this.#waiting.values()) waiting.reject(this.#ended);
      this.#waiting.clear();
    };
    this.#worker.on("error", end);
    this.#worker.on("exit", () => end(new Error("it exited")));
  }

  ask<Query extends keyof ReaderQueries>(
    query: Query,
    ...args: Parameters<ReaderQueries[Query]>
  ): Promise<ReturnType<ReaderQueries[Query]>> {
    return this.#post(query, args) as Promise<ReturnType<ReaderQueries[Query]>>;
  }

  async close(): Promise<void> {
    if (this.#ended !== undefined) return;
    const closed = this.#post("close", []);
    this.#ended = new Error("the store is closed");
    await closed;
  }

  #post(query: ReaderRequest["query"], args: readonly unknown[]): Promise<unknown> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      const request = this.#next++;
      this.#waiting.set(request, { resolve, reject });
      this.#worker.postMessage({ request, query, args } satisfies ReaderRequest);
    });
  }
}
