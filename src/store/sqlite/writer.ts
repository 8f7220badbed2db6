/**
 * The writer thread: one connection, one transaction for whatever has queued since the last one (group commit). Requests
 * in, one reply for each group out, after its commit. What the changes are is changes.ts; the other end is writer-link.ts.
 */
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import type Database from "better-sqlite3";
import { Changes } from "./changes.ts";
import { openForWriting } from "./database.ts";
import { describeError, judgeCode, type ThreadError } from "./errors.ts";
import { prepareFolder } from "./folder.ts";
import { type FolderLock, takeFolderLock } from "./lock.ts";
import { Reserve } from "./reserve.ts";
import type { FromWriter, Statistics, ToWriter, WriterReply, WriterRequest, WriterSettings } from "./wire.ts";

/** A reply in the making. */
interface Results {
  readonly kind: "reply";
  readonly done: number[];
  readonly values: [number, unknown][];
  readonly failed: [number, ThreadError][];
  wrote: boolean;
}

interface Pending {
  readonly number: number;
  readonly request: WriterRequest;
  readonly octets: Uint8Array | undefined;
}

/** A group is not larger, so that the first in it does not wait for a thousand others. */
const GROUP_REQUESTS = 500;
const GROUP_OCTETS = 8 * 1024 * 1024;
/** Chunks of large bodies have transactions of their own between the groups, about a megabyte each. */
const CHUNK_GROUP = 4;
/** After a failed bite of housekeeping, wait before the next. */
const HOUSEKEEPING_PAUSE = 5000;

function noResults(): Results {
  return { kind: "reply", done: [], values: [], failed: [], wrote: false };
}

class Writer {
  readonly #port: MessagePort;
  readonly #database: Database.Database;
  readonly #changes: Changes;
  readonly #lock: FolderLock;
  readonly #reserve: Reserve;
  readonly #begin: Database.Statement<[]>;
  readonly #commit: Database.Statement<[]>;
  readonly #work: Pending[] = [];
  readonly #chunks: Pending[] = [];
  readonly #lastOldBody: number;
  #sweptTo = 0;
  #sweeping = true;
  #pausedUntil = 0;
  #uncheckpointed = 0;
  #commits = 0;
  #answered = 0;
  #closing = false;

  constructor(port: MessagePort, settings: WriterSettings) {
    const files = prepareFolder(settings.folder);
    this.#port = port;
    this.#lock = takeFolderLock(files.lock, files.owner, settings.folder);
    try {
      this.#database = openForWriting(files.database);
      this.#changes = new Changes(this.#database);
      this.#changes.voidLeases(settings.now);
      this.#lastOldBody = this.#changes.highest("highest body");
      this.#begin = this.#database.prepare("BEGIN IMMEDIATE");
      this.#commit = this.#database.prepare("COMMIT");
    } catch (error) {
      this.#lock.release();
      throw error;
    }
    this.#reserve = new Reserve(files.reserve, settings.settlementReserve, settings.minimumFree);
    this.#reserve.refill();
    this.#send({
      kind: "opened",
      file: files.database,
      lastNumber: this.#changes.highest("highest number"),
      lastEntry: this.#changes.highest("highest entry"),
      lastRecipient: this.#changes.highest("highest recipient"),
      lastBody: this.#lastOldBody,
    });
    port.on("message", (message: ToWriter) => {
      this.#take(message);
      this.#run();
    });
    this.#run();
  }

  #send(message: FromWriter): void {
    this.#port.postMessage(message);
  }

  #take(message: ToWriter): void {
    if (message.kind === "close") {
      this.#closing = true;
      return;
    }
    let number = message.first;
    for (const request of message.requests) {
      const pending = { number: number++, request, octets: message.octets };
      if (request.op === "chunk") this.#chunks.push(pending);
      else this.#work.push(pending);
    }
  }

  #drain(): void {
    for (;;) {
      const received = receiveMessageOnPort(this.#port) as { message: ToWriter } | undefined;
      if (received === undefined) return;
      this.#take(received.message);
    }
  }

  /** Works until nothing is left: first what waits, then chunks, then housekeeping, looking for mail between all of them. */
  #run(): void {
    for (;;) {
      this.#drain();
      if (this.#work.length > 0) this.#commitGroup(this.#takeGroup());
      if (this.#chunks.length > 0) this.#commitGroup(this.#chunks.splice(0, CHUNK_GROUP));
      else if (this.#work.length === 0) {
        this.#drain();
        if (this.#work.length > 0 || this.#chunks.length > 0) continue;
        if (this.#closing) return this.#close();
        if (!this.#keepHouse()) return;
      }
    }
  }

  #takeGroup(): Pending[] {
    if (this.#work.length <= GROUP_REQUESTS && this.#work[0]?.octets === this.#work.at(-1)?.octets) return this.#work.splice(0);
    let octets = 0;
    let taken = 0;
    let batch: Uint8Array | undefined;
    for (const { octets: of } of this.#work) {
      if (of !== batch) octets += of?.length ?? 0;
      batch = of;
      if (taken > 0 && (taken >= GROUP_REQUESTS || octets > GROUP_OCTETS)) break;
      taken++;
    }
    return this.#work.splice(0, taken);
  }

  #commitGroup(group: readonly Pending[]): void {
    const reply = noResults();
    const abandoned = this.#changes.abandoned.length;
    try {
      this.#begin.run();
      for (const pending of group) this.#apply(pending, reply);
      this.#commit.run();
      this.#commits++;
      this.#uncheckpointed++;
    } catch (error) {
      this.#undo(abandoned);
      reply.done.length = 0;
      reply.values.length = 0;
      reply.wrote = false;
      const first = group[0];
      if (group.length === 1 && first !== undefined) this.#failOrRetry(first, error, reply);
      // One of them cannot be kept; the others must not suffer for it.
      else for (const pending of group) this.#commitSingly(pending, reply);
    }
    this.#answered += group.length;
    this.#send(reply satisfies WriterReply);
  }

  #apply(pending: Pending, reply: Results): void {
    const { request, number } = pending;
    let value: unknown;
    if (request.op === "statistics") value = { commits: this.#commits, requests: this.#answered } satisfies Statistics;
    else if (request.op === "refill-reserve") this.#reserve.refill();
    else value = this.#changes.apply(request, pending.octets);
    if (value === undefined) {
      reply.done.push(number);
      reply.wrote ||= request.op === "enqueue" || request.op === "settle" || request.op === "chunk" || request.op === "probe";
    } else reply.values.push([number, value]);
  }

  #commitSingly(pending: Pending, reply: Results): void {
    const abandoned = this.#changes.abandoned.length;
    const single = noResults();
    try {
      this.#begin.run();
      this.#apply(pending, single);
      this.#commit.run();
      this.#commits++;
      reply.done.push(...single.done);
      reply.values.push(...single.values);
      reply.wrote ||= single.wrote;
    } catch (error) {
      this.#undo(abandoned);
      this.#failOrRetry(pending, error, reply);
    }
  }

  /** An outcome that finds no room takes the reserve's. Nothing else may. */
  #failOrRetry(pending: Pending, error: unknown, reply: Results): void {
    const described = describeError(error);
    const verdict = judgeCode(described.code);
    if (pending.request.op === "settle" && (verdict === "no-room" || verdict === "not-writable") && this.#reserve.spend())
      this.#commitSingly(pending, reply);
    else reply.failed.push([pending.number, described]);
  }

  #undo(abandoned: number): void {
    this.#changes.abandoned.length = abandoned;
    try {
      // SQLite ends the transaction by itself after some errors.
      if (this.#database.inTransaction) this.#database.exec("ROLLBACK");
    } catch {
      // Nothing was committed; the next BEGIN says what is wrong.
    }
  }

  /** One bite of what can wait; false when there is nothing to do now. */
  #keepHouse(): boolean {
    if (performance.now() < this.#pausedUntil) return false;
    try {
      const { abandoned } = this.#changes;
      const body = abandoned[0] ?? this.#findOrphan();
      if (body !== undefined) {
        this.#begin.run();
        const more = this.#changes.bite(body);
        this.#commit.run();
        if (!more && abandoned[0] === body) abandoned.shift();
        return true;
      }
      // The write-ahead log goes into the file while nobody waits, rather than in the middle of a group.
      if (this.#uncheckpointed >= CHECKPOINT_AFTER) {
        this.#uncheckpointed = 0;
        this.#database.pragma("wal_checkpoint(PASSIVE)");
        return true;
      }
      return false;
    } catch {
      this.#undo(this.#changes.abandoned.length);
      this.#pausedUntil = performance.now() + HOUSEKEEPING_PAUSE;
      setTimeout(() => this.#run(), HOUSEKEEPING_PAUSE + 1).unref();
      return false;
    }
  }

  #findOrphan(): number | undefined {
    if (!this.#sweeping) return undefined;
    const orphan = this.#changes.findOrphan(this.#sweptTo, this.#lastOldBody);
    if (orphan === undefined) this.#sweeping = false;
    else this.#sweptTo = orphan - 1;
    return orphan;
  }

  #close(): void {
    try {
      this.#changes.rememberHighest();
      this.#database.pragma("wal_checkpoint(TRUNCATE)");
    } catch {
      // The log stays and is read at the next start.
    }
    this.#database.close();
    this.#lock.release();
    this.#send({ kind: "closed" });
    this.#port.close();
  }
}

/** Fewer commits than this are not worth a checkpoint of their own; SQLite makes one by itself at 2000 pages. */
const CHECKPOINT_AFTER = 200;

if (parentPort !== null) {
  try {
    new Writer(parentPort, workerData as WriterSettings);
  } catch (error) {
    parentPort.postMessage({ kind: "refused", message: error instanceof Error ? error.message : String(error) } satisfies FromWriter);
    parentPort.close();
  }
}
