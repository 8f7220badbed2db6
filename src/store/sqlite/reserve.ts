/**
 * A few megabytes kept back on the disk, given up when a settlement finds no room: what a host took must be recorded, or
 * it would be sent again (RFC 5321 §6.1), and another program may fill the disk at any time.
 */
import { closeSync, existsSync, fsyncSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import path from "node:path";
import type { WriterRequest } from "./wire.ts";

const LARGEST = 8 * 1024 * 1024;
const BLOCK = Buffer.alloc(1024 * 1024);

/** What may not take the room that is kept for settlements; they bring their counts (RFC 8460 §4.2) along. */
export const NOT_FROM_THE_RESERVE: ReadonlySet<WriterRequest["op"]> = new Set([
  "enqueue",
  "chunk",
  "probe",
  "save-sts",
  "note-dane",
  // A report that is sent again has the same id, and receivers drop it (RFC 8460 §5.3); a document may be megabytes.
  "reports",
  "dkim-keys",
]);

export class Reserve {
  readonly #file: string;
  readonly #size: number;
  readonly #minimumFree: number;
  /** True from the time it was given up until there is room for it again: until then only outcomes are kept. */
  spent = false;

  constructor(file: string, settlementReserve: number, minimumFree: number) {
    this.#file = file;
    this.#size = Math.min(LARGEST, settlementReserve);
    this.#minimumFree = minimumFree;
  }

  /** Puts the file there if there is room to spare. Never throws: without it the queue is no worse than others. */
  refill(): void {
    if (this.#size === 0 || existsSync(this.#file)) return;
    try {
      const { bavail, bsize } = statfsSync(path.dirname(this.#file));
      if (bavail * bsize < this.#minimumFree + 2 * this.#size) return;
      const file = openSync(this.#file, "wx", 0o600);
      try {
        // Written, not just sized: a sparse file would keep nothing back.
        for (let left = this.#size; left > 0; left -= BLOCK.length) writeSync(file, BLOCK, 0, Math.min(left, BLOCK.length));
        fsyncSync(file);
        this.spent = false;
      } finally {
        closeSync(file);
      }
    } catch {
      rmSync(this.#file, { force: true });
    }
  }

  /** For whatever is not an outcome: throws until there is room for the reserve again. */
  demand(): void {
    this.refill();
    if (this.spent) throw Object.assign(new Error("the reserve for outcomes is in use"), { code: "ENOSPC" });
  }

  /** Gives the room up; true if there was some. */
  spend(): boolean {
    if (!existsSync(this.#file)) return false;
    try {
      rmSync(this.#file);
      this.spent = true;
      return true;
    } catch {
      return false;
    }
  }
}
