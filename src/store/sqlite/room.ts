/**
 * Whether the store can take mail: free space against the operator's limits, and the last write's fate. The judgement is
 * pure; the watch around it looks every few seconds and after every error, and says so once when the answer changes.
 */
import { statfs } from "node:fs/promises";
import type { CancelTimer, Clock } from "../../clock.ts";
import type { EmitEvent } from "../../events.ts";
import { StorageFailed, StorageFull, type StorageTrouble } from "../../queue/store.ts";
import { isCorrupt, type ThreadError, troubleOf } from "./errors.ts";

export interface Limits {
  /** With less free no mail is taken. */
  readonly minimumFree: number;
  /** With less, nothing is delivered either. */
  readonly settlementReserve: number;
}

/** Which limit free space is under. One is left only with an eighth to spare, or it would be crossed with every message. */
export function judgeSpace(
  free: number,
  { minimumFree, settlementReserve }: Limits,
  before: "full" | "reserve" | undefined,
): "full" | "reserve" | undefined {
  if (free < settlementReserve * (before === "reserve" ? 1.125 : 1)) return "reserve";
  if (free < minimumFree * (before === undefined ? 1 : 1.125)) return "full";
  return undefined;
}

export interface RoomOptions {
  readonly folder: string;
  readonly clock: Clock;
  readonly emit: EmitEvent;
  readonly limits: Limits;
  /** Octets in free pages of the database. */
  readonly freePages: () => Promise<number>;
  /** Writes and reads back: how recovery is noticed when nobody else writes. */
  readonly probe: () => Promise<void>;
  /** After each look without trouble, for housekeeping. */
  readonly quiet: (freePages: number) => void;
  /** Free octets of the file system; tests hand in their own. */
  readonly freeOnDisk?: () => Promise<number>;
}

const LOOK_EVERY = 3000;

export class Room {
  readonly #options: RoomOptions;
  readonly #freeOnDisk: () => Promise<number>;
  #free: number | undefined;
  /** The limit that free space was under at the last look. */
  #short: "full" | "reserve" | undefined;
  /** The last write's error, until one succeeds. */
  #writeError: ThreadError | undefined;
  #dead: Error | undefined;
  #trouble: StorageTrouble | undefined;
  #cancel: CancelTimer = () => {};
  #looking: Promise<void> | undefined;
  #stopped = false;

  constructor(options: RoomOptions) {
    this.#options = options;
    this.#freeOnDisk =
      options.freeOnDisk ??
      (async () => {
        const { bavail, bsize } = await statfs(options.folder);
        return bavail * bsize;
      });
  }

  get trouble(): StorageTrouble | undefined {
    return this.#trouble;
  }

  /** Before a body or a message is taken. Errors of the last write alone do not refuse: the next one may succeed. */
  refuseIfFull(): void {
    if (this.#dead !== undefined) throw new StorageFailed(`the store has stopped: ${this.#dead.message}`);
    if (this.#short !== undefined) throw new StorageFull(this.#describe(this.#short));
  }

  succeeded(): void {
    if (this.#writeError === undefined) return;
    this.#writeError = undefined;
    this.#judge();
  }

  failed(error: ThreadError): void {
    this.#writeError = error;
    this.#judge();
    void this.look();
  }

  died(error: Error): void {
    this.#dead = error;
    this.#writeError = { code: "THREAD", message: error.message };
    this.#judge();
  }

  /** Octets free for messages. */
  async free(): Promise<number> {
    const [disk, pages] = await Promise.all([this.#freeOnDisk(), this.#options.freePages()]);
    return disk + pages;
  }

  /** Looks now; one look at a time. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
      this.#cancel();
      if (!this.#stopped) this.#cancel = this.#options.clock.after(LOOK_EVERY, () => void this.look());
    });
    return this.#looking;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    await this.#looking;
  }

  async #look(): Promise<void> {
    try {
      const [disk, pages] = await Promise.all([this.#freeOnDisk(), this.#options.freePages()]);
      this.#free = disk + pages;
      this.#short = judgeSpace(this.#free, this.#options.limits, this.#short);
      this.#judge();
      // A failed probe comes back through `failed`, a good one through `succeeded`.
      if (this.#writeError !== undefined && this.#dead === undefined && !this.#stopped) await this.#options.probe();
      else if (this.#trouble === undefined) this.#options.quiet(pages);
    } catch {
      this.#judge();
    }
  }

  #judge(): void {
    const before = this.#trouble;
    const error = this.#writeError;
    const now = this.#short === "reserve" || error === undefined ? this.#short : (troubleOf(error) ?? "failed");
    this.#trouble = now;
    if (now === before) return;
    if (now === undefined) this.#options.emit({ kind: "storage-recovered" });
    else
      this.#options.emit({
        kind: "storage-trouble",
        what: now,
        detail: now === this.#short || error === undefined ? this.#describe(now) : describeWriteError(this.#options.folder, error),
      });
  }

  #describe(trouble: StorageTrouble): string {
    const { folder, limits } = this.#options;
    const limit = trouble === "reserve" ? limits.settlementReserve : limits.minimumFree;
    return `${folder} has ${inMegabytes(this.#free ?? 0)} free, under the limit of ${inMegabytes(limit)}`;
  }
}

function describeWriteError(folder: string, { code, message }: ThreadError): string {
  const advice = isCorrupt(code) ? "; the database is damaged: stop Postern and restore the data folder from a backup" : "";
  return `the last write to ${folder} failed (${code}: ${message})${advice}`;
}

function inMegabytes(octets: number): string {
  return `${(octets / 1e6).toFixed(octets < 1e7 ? 1 : 0)} MB`;
}
