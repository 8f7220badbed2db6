/**
 * The queue in SQLite, seen from the main thread: requests become rows here, rows become leases. What waits for a
 * commit is writer-link.ts; what asks, reader-link.ts; space is room.ts; a new message as rows enqueue-rows.ts; the promises are
 * queue/store.ts.
 */
import type { Clock } from "../../clock.ts";
import type { EmitEvent } from "../../events.ts";
import type { NextHop } from "../../mail/domain.ts";
import type { DkimKeyStore } from "../../queue/dkim-keys.ts";
import type { BodySource, Lease, LeasedEntry, NewMessage, QueueId } from "../../queue/entry.ts";
import type { DeliveryProblem, Settlement } from "../../queue/settlement.ts";
import type { BodyWriter, EnqueueOptions, PolicyStore, QueueAdmin, QueueStore, StorageTrouble, UserStore } from "../../queue/store.ts";
import type { TlsReportStore } from "../../queue/tls-reports.ts";
import { SqliteAdmin } from "./admin.ts";
import { SqliteDkimKeys } from "./dkim-keys.ts";
import { type LastKeys, type PreparedMessage, prepareMessage } from "./enqueue-rows.ts";
import { QueueIds } from "./ids.ts";
import { OpenLeases } from "./open-leases.ts";
import { SqlitePolicies } from "./policies.ts";
import { ReaderLink } from "./reader-link.ts";
import { SqliteReports } from "./reports.ts";
import { Room } from "./room.ts";
import { entryFacts, messageFacts, messagePlace, queuedRecipient } from "./rows.ts";
import { settleRows } from "./settle-rows.ts";
import { bodyInMemory, bodyOnDisk, Spool, type SpooledBody, SpoolWriter } from "./spool.ts";
import { SqliteUsers } from "./users.ts";
import type { LeasedRows, LeaseKey, OpenedFile, Statistics } from "./wire.ts";
import { WriterLink } from "./writer-link.ts";

export interface SqliteOptions {
  /** Where the database lies; made if it is not there. */
  readonly folder: string;
  readonly clock: Clock;
  readonly emit: EmitEvent;
  /** With fewer octets free no mail is taken. */
  readonly minimumFree: number;
  /** With fewer, nothing is delivered either. */
  readonly settlementReserve: number;
  /** One of the store's threads is gone: nothing works any more, and nothing but a restart helps. */
  readonly died?: (error: Error) => void;
  /** Chance, for queue ids. */
  readonly random?: () => number;
  /** Free octets of the file system, instead of asking it. */
  readonly freeOnDisk?: () => Promise<number>;
}

/** A postponement of many entries is done in bites, so that mail waits for milliseconds only. */
const POSTPONE_BITE = 1000;
/** More free pages than this are given back to the file system in small bites. */
const KEEP_FREE_PAGES = 64 * 1024 * 1024;
const VACUUM_BITE = 500;

const LEASE_KEY = (lease: Lease): LeaseKey => [lease.entryId, lease.generation];

export class SqliteStore implements QueueStore {
  readonly admin: QueueAdmin;
  readonly users: UserStore;
  readonly policies: PolicyStore;
  readonly reports: TlsReportStore;
  readonly dkimKeys: DkimKeyStore;
  readonly #clock: Clock;
  readonly #ids: QueueIds;
  readonly #spool: Spool;
  readonly #room: Room;
  readonly #settlementReserve: number;
  readonly #writer: WriterLink;
  readonly #reader: ReaderLink;
  readonly #leases: OpenLeases;
  readonly #keys: LastKeys;
  #lastBody: number;
  #closed: Promise<void> | undefined;

  private constructor(options: SqliteOptions, writer: WriterLink, reader: ReaderLink, room: Room, opened: OpenedFile) {
    this.#clock = options.clock;
    this.#settlementReserve = options.settlementReserve;
    this.#writer = writer;
    this.#reader = reader;
    this.#room = room;
    this.#ids = new QueueIds(options.clock, options.random ?? Math.random, opened.lastNumber);
    this.#leases = new OpenLeases(options.clock);
    this.#keys = { entry: opened.lastEntry, recipient: opened.lastRecipient };
    this.#lastBody = opened.lastBody;
    this.#spool = new Spool({
      newBodyNumber: () => ++this.#lastBody,
      saveChunk: (body, seq, octets) => writer.ask({ op: "chunk", body, seq, octets }),
      forgetBody: (body) => void writer.ask({ op: "forget-body", body }).catch(() => {}), // swept at the next start
      refuseIfFull: () => room.refuseIfFull(),
    });
    this.admin = new SqliteAdmin(reader, writer, () => this.#leases.size);
    this.users = new SqliteUsers(reader, writer);
    this.policies = new SqlitePolicies(reader, writer);
    this.reports = new SqliteReports(reader, writer);
    this.dkimKeys = new SqliteDkimKeys(reader, writer);
  }

  /** Rejects with a sentence for the operator when the file is refused. */
  static async open(options: SqliteOptions): Promise<SqliteStore> {
    const { folder, clock, emit, minimumFree, settlementReserve } = options;
    const later: { room?: Room } = {};
    const { link: writer, opened } = await WriterLink.open(
      { folder, now: clock.now(), minimumFree, settlementReserve },
      {
        succeeded: () => later.room?.succeeded(),
        failed: (error) => later.room?.failed(error),
        died: (error) => {
          later.room?.died(error);
          emit({ kind: "fault", where: "store writer", error });
          options.died?.(error);
        },
      },
    );
    const reader = new ReaderLink(opened.file, (error) => {
      later.room?.died(error);
      emit({ kind: "fault", where: "store reader", error });
      options.died?.(error);
    });
    const room = new Room({
      folder,
      clock,
      emit,
      limits: { minimumFree, settlementReserve },
      freePages: () => reader.ask("freeOctets"),
      probe: () => writer.ask({ op: "probe", now: clock.now() }),
      quiet: (freePages) => {
        if (freePages > KEEP_FREE_PAGES && !writer.busy) void writer.ask({ op: "vacuum", pages: VACUUM_BITE }).catch(() => {});
        void writer.ask({ op: "refill-reserve" }).catch(() => {});
      },
      ...(options.freeOnDisk !== undefined && { freeOnDisk: options.freeOnDisk }),
    });
    later.room = room;
    await room.look();
    return new SqliteStore(options, writer, reader, room, opened);
  }

  newBody(): BodyWriter {
    return this.#spool.newBody();
  }

  newQueueId(): QueueId {
    return this.#ids.next();
  }

  async enqueue(message: NewMessage, body: BodyWriter, options: EnqueueOptions): Promise<LeasedEntry[]> {
    this.#room.refuseIfFull();
    if (!(body instanceof SpoolWriter)) throw new Error("a body of another store was enqueued");
    if (body.size !== message.size)
      throw new Error(`message ${message.id} is said to have ${message.size} octets; its body has ${body.size}`);
    const finished = body.finish();
    try {
      const spooled = finished instanceof Promise ? await finished : finished;
      const prepared = this.#prepare(message, spooled, message.size, options);
      await this.#writer.enqueue(prepared.rows, spooled.kind === "small" ? spooled.octets : undefined);
      for (const entry of prepared.leased) this.#leases.remember(entry.lease, entry.lease.until - this.#clock.now());
      return prepared.leased;
    } catch (error) {
      body.forget();
      throw error;
    }
  }

  async leaseDue(nextHop: NextHop, limit: number, now: number, leaseUntil: number): Promise<LeasedEntry[]> {
    // Their outcomes could not be kept.
    if (this.#room.trouble === "reserve" || limit <= 0) return [];
    // Not awaited: it is before the lease in the writer's queue.
    void this.#expireLeases(now);
    const leased = await this.#writer.ask<LeasedRows[]>({ op: "lease", nextHop, limit, now, until: leaseUntil });
    return leased.map((rows) => this.#leasedEntry(rows, leaseUntil, leaseUntil - now));
  }

  findDueNextHops(now: number, limit: number): Promise<{ nextHop: NextHop; due: number }[]> {
    const expired = this.#expireLeases(now);
    if (expired === undefined) return this.#reader.ask("findDueNextHops", now, limit);
    return expired.then(() => this.#reader.ask("findDueNextHops", now, limit));
  }

  findNextDue(): Promise<number | undefined> {
    return this.#reader.ask("findNextDue");
  }

  async releaseLeases(leases: readonly Lease[], dueAt: number): Promise<void> {
    if (leases.length === 0) return;
    await this.#writer.ask({ op: "release", leases: leases.map(LEASE_KEY), dueAt });
    // Only now: if that failed they are still leased, and come back when the lease ends.
    for (const lease of leases) this.#leases.forget(lease);
  }

  async postponeDestination(nextHop: NextHop, from: number, to: number, problem: DeliveryProblem): Promise<number> {
    const json = JSON.stringify(problem);
    let postponed = 0;
    for (;;) {
      const bite = await this.#writer.ask<number>({
        op: "postpone",
        now: this.#clock.now(),
        nextHop,
        from,
        to,
        problemType: problem.type,
        problem: json,
        bite: POSTPONE_BITE,
      });
      postponed += bite;
      if (bite < POSTPONE_BITE) return postponed;
    }
  }

  async saveSettlement(lease: Lease, settlement: Settlement, options: EnqueueOptions): Promise<LeasedEntry[] | "lease-lost"> {
    const notices = settlement.notices.map((notice) =>
      this.#prepare(notice.message, { kind: "small", octets: notice.body }, notice.body.length, options),
    );
    const rows = settleRows(
      lease,
      settlement,
      notices.map((notice) => notice.rows),
    );
    const saved = await this.#writer.settle(
      { op: "settle", rows },
      settlement.notices.map(({ body }) => body),
    );
    this.#leases.forget(lease);
    if (saved === "lease-lost") return saved;
    const leased = notices.flatMap((notice) => notice.leased);
    for (const entry of leased) this.#leases.remember(entry.lease, entry.lease.until - this.#clock.now());
    return leased;
  }

  trouble(): StorageTrouble | undefined {
    return this.#room.trouble;
  }

  async freeSpace(): Promise<number> {
    return Math.max(0, (await this.#room.free()) - this.#settlementReserve);
  }

  async probe(): Promise<void> {
    await this.#writer.ask({ op: "probe", now: this.#clock.now() });
  }

  /** Looks at free space now; otherwise that happens every few seconds. */
  look(): Promise<void> {
    return this.#room.look();
  }

  /** Commits so far, and how many requests they carried. */
  statistics(): Promise<Statistics> {
    return this.#writer.ask({ op: "statistics" });
  }

  close(): Promise<void> {
    this.#closed ??= (async () => {
      await this.#room.stop();
      await this.#reader.close();
      await this.#writer.close();
    })();
    return this.#closed;
  }

  #prepare(message: NewMessage, body: SpooledBody, size: number, options: EnqueueOptions): PreparedMessage {
    const chunked = body.kind === "chunked" ? body.body : null;
    return prepareMessage(message, { size, chunked, source: () => this.#bodyOf(message.id, size, body) }, this.#keys, options);
  }

  #bodyOf(id: QueueId, size: number, body: SpooledBody): BodySource {
    return body.kind === "small" ? bodyInMemory(body.octets) : bodyOnDisk(size, id, (seq) => this.#reader.ask("readChunk", body.body, seq));
  }

  #leasedEntry(rows: LeasedRows, until: number, lasts: number): LeasedEntry {
    const entry = entryFacts(rows.entry);
    const message = messageFacts(rows.message);
    const { chunkedBody, number } = messagePlace(rows.message);
    const lease: Lease = { entryId: entry.id, generation: entry.generation, until };
    this.#leases.remember(lease, lasts);
    let body: BodySource;
    if (rows.body !== undefined) body = bodyInMemory(Buffer.from(rows.body.buffer, rows.body.byteOffset, rows.body.byteLength));
    else if (chunkedBody !== null) body = bodyOnDisk(message.size, message.id, (seq) => this.#reader.ask("readChunk", chunkedBody, seq));
    else
      body = bodyOnDisk(message.size, message.id, (seq) => (seq === 0 ? this.#reader.ask("readBody", number) : Promise.resolve(undefined)));
    return { lease, message, nextHop: entry.nextHop, recipients: rows.recipients.map(queuedRecipient), attempts: entry.attempts - 1, body };
  }

  /** Entries whose lease ran out are due again; the request is before any lease asked for afterwards. */
  #expireLeases(now: number): Promise<unknown> | undefined {
    const ended = this.#leases.takeEnded();
    if (ended.length === 0) return undefined;
    return this.#writer.ask({ op: "expire-leases", leases: ended.map(LEASE_KEY), now }).catch(() => {
      // Tried again with the next question.
      for (const lease of ended) if (!this.#leases.has(lease)) this.#leases.remember(lease, 0);
    });
  }
}
