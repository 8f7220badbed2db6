/**
 * The writer thread: one connection, one transaction for whatever has queued since the last one (group commit). Requests
 * in, one reply for each group out, after its commit. What the changes are is changes.ts; the other end is writer-link.ts.
 */
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import type Database from "better-sqlite3";
import { messageOf } from "../../thrown.ts";
import { Changes } from "./changes.ts";
import { openForWriting } from "./database.ts";
import { corruptionAdvice, describeError, isCorrupt, judgeCode, type ThreadError } from "./errors.ts";
import { prepareFolder } from "./folder.ts";
import { type FolderLock, takeFolderLock } from "./lock.ts";
import { NOT_FROM_THE_RESERVE, Reserve } from "./reserve.ts";
import type { FromWriter, Statistics, ToWriter, WriterRequest, WriterSettings } from "./wire.ts";

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
  readonly #end: Database.Statement<[]>;
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
      this.#end = this.#database.prepare("COMMIT");
    } catch (error) {
      this.#lock.release();
      const described = describeError(error);
      throw isCorrupt(described.code) ? new Error(corruptionAdvice(files.database, described), { cause: error }) : error;
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

  #send(message: FromWriter, transfer: ArrayBuffer[] = []): void {
    this.#port.postMessage(message, transfer);
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
      const received = receiveMessageOnPort(this.#port);
      if (received === undefined) return;
      this.#take(received.message as ToWriter);
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
    const error = this.#commit(group, reply);
    if (error !== undefined) this.#commitWhatCanBe(group, error, reply);
    this.#answered += group.length;
    const chunks = reply.values
      .map(([, value]) => (value instanceof Uint8Array ? value.buffer : undefined))
      .filter((buffer) => buffer instanceof ArrayBuffer);
    this.#send(reply, chunks);
  }

  /** One transaction, whole or not at all; the error if it was not. */
  #commit(group: readonly Pending[], reply: Results): ThreadError | undefined {
    const abandoned = this.#changes.abandoned.length;
    const results = noResults();
    try {
      this.#begin.run();
      for (const pending of group) this.#apply(pending, results);
      this.#end.run();
    } catch (error) {
      this.#undo(abandoned);
      return describeError(error);
    }
    this.#commits++;
    this.#uncheckpointed++;
    for (const done of results.done) reply.done.push(done);
    for (const value of results.values) reply.values.push(value);
    reply.wrote ||= results.wrote && !this.#reserve.spent;
    return undefined;
  }

  /** One of a group cannot be kept; the others must not suffer for it. */
  #commitWhatCanBe(group: readonly Pending[], error: ThreadError, reply: Results): void {
    const verdict = judgeCode(error.code);
    const noRoom = verdict === "no-room" || verdict === "not-writable";
    const [only] = group;
    if (group.length === 1 && only !== undefined && !noRoom) {
      reply.failed.push([only.number, error]);
      return;
    }
    let others = group;
    const outcomes = group.filter(({ request }) => request.op === "settle");
    if (noRoom && outcomes.length > 0) {
      // Alone they may fit. If not they take the reserve's room, and nothing else may.
      if (this.#commit(outcomes, reply) === undefined || (this.#reserve.spend() && this.#commit(outcomes, reply) === undefined))
        others = group.filter(({ request }) => request.op !== "settle");
    }
    // Room in the write-ahead log is free again once its pages are in the file; but they must not take the reserve's.
    if (noRoom && !this.#reserve.spent) this.#checkpoint();
    for (const pending of others) {
      const failure = this.#commit([pending], reply);
      if (failure !== undefined) reply.failed.push([pending.number, failure]);
    }
  }

  #apply(pending: Pending, reply: Results): void {
    const { request, number } = pending;
    let value: unknown;
    if (this.#reserve.spent && NOT_FROM_THE_RESERVE.has(request.op)) this.#reserve.demand();
    if (request.op === "statistics") value = { commits: this.#commits, requests: this.#answered } satisfies Statistics;
    else if (request.op === "refill-reserve") this.#reserve.refill();
    else value = this.#changes.apply(request, pending.octets);
    // A chunk's memory goes back for the next one: left to the garbage collectors, tens of megabytes would pile up.
    if (request.op === "chunk") value = request.octets;
    if (value === undefined) {
      reply.done.push(number);
      reply.wrote ||= request.op === "enqueue" || request.op === "settle" || request.op === "probe";
    } else {
      reply.values.push([number, value]);
      reply.wrote ||= request.op === "chunk";
    }
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
        this.#end.run();
        if (!more && abandoned[0] === body) abandoned.shift();
        return true;
      }
      // The write-ahead log goes into the file while nobody waits, rather than in the middle of a group.
      if (this.#uncheckpointed >= CHECKPOINT_AFTER && !this.#reserve.spent) {
        this.#checkpoint();
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

  /** Moves the write-ahead log into the file. Its failure loses nothing: the log stays. */
  #checkpoint(): void {
    this.#uncheckpointed = 0;
    try {
      this.#database.pragma("wal_checkpoint(PASSIVE)");
    } catch {
      // Whoever writes next hears of it.
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
    parentPort.postMessage({ kind: "refused", message: messageOf(error) } satisfies FromWriter);
    parentPort.close();
  }
}
