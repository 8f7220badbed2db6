/**
 * What must reach the database: settlements, and leases that are given back. It is offered again and again while the database
 * is in trouble, until it is taken or the process ends. What a settlement says is delivery/settle.ts.
 */
import type { Clock } from "../clock.ts";
import type { LeasedEntry } from "../queue/entry.ts";
import type { Settlement } from "../queue/settlement.ts";
import { type EnqueueOptions, type QueueStore, StorageFailed, StorageFull } from "../queue/store.ts";

export interface SafekeepingIo {
  readonly store: Pick<QueueStore, "saveSettlement" | "releaseLeases">;
  readonly clock: Clock;
  readonly enqueueOptions: EnqueueOptions;
  /** Aborted when the time of a stopping process is over: nothing is offered again. */
  readonly cut: AbortSignal;
  isStopping(): boolean;
  fault(where: string, error: unknown): void;
  /** The disk does not take an outcome: more of them would be of no use. */
  diskFailed(): void;
}

/** What the database could not take is offered to it again after so long. */
export const STORAGE_PAUSE = 5000;

export class Safekeeping {
  readonly #io: SafekeepingIo;
  readonly #tracked = new Set<Promise<void>>();

  constructor(io: SafekeepingIo) {
    this.#io = io;
  }

  /** What the end of the process waits for. */
  get tracked(): ReadonlySet<Promise<void>> {
    return this.#tracked;
  }

  /** The end of the process waits for it. It must not reject. */
  track(work: Promise<void>): void {
    this.#tracked.add(work);
    void work.finally(() => this.#tracked.delete(work));
  }

  /** Never rejects: what the database does not take back now it is offered again, and a process that ends leaves it void. */
  async giveBack(entries: readonly LeasedEntry[], later = 0): Promise<void> {
    if (entries.length === 0) return;
    const { store, clock } = this.#io;
    const leases = entries.map(({ lease }) => lease);
    for (;;) {
      try {
        return await store.releaseLeases(leases, clock.now() + later);
      } catch (error) {
        this.#io.fault("giving leases back", error);
      }
      if (this.#io.isStopping()) return;
      await this.#pause();
    }
  }

  /**
   * Keeps the outcome, whatever it takes: while it waits the lease keeps the entry from being tried again. Undefined when the
   * process ended before: then what was delivered is delivered once more (RFC 5321 §6.1).
   */
  async save({ lease }: LeasedEntry, settlement: Settlement): Promise<LeasedEntry[] | "lease-lost" | undefined> {
    const { store, enqueueOptions, cut } = this.#io;
    for (;;) {
      try {
        return await store.saveSettlement(lease, settlement, enqueueOptions);
      } catch (error) {
        this.#io.fault("settling", error);
        // An error that is not the disk's is this one entry's, and stops nobody else.
        if (error instanceof StorageFailed || error instanceof StorageFull) this.#io.diskFailed();
      }
      if (cut.aborted) return undefined;
      await this.#pause();
    }
  }

  /** Waits, but not beyond the end of the process. */
  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const { cut, clock } = this.#io;
      if (cut.aborted) return resolve();
      const end = (): void => {
        cancel();
        cut.removeEventListener("abort", end);
        resolve();
      };
      const cancel = clock.after(STORAGE_PAUSE, end);
      cut.addEventListener("abort", end);
    });
  }
}
