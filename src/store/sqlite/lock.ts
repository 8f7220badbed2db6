/**
 * One process for one queue: an exclusive transaction on a database of its own, held as long as we live. The system
 * drops it when the process ends, however it ends, so no stale lock needs to be judged.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import Database from "better-sqlite3";
import { codeOf } from "../../thrown.ts";
import { createPrivately } from "./folder.ts";

export interface FolderLock {
  release(): void;
}

/** Throws a sentence that names the process in possession. `owner` is where each holder writes who it is. */
export function takeFolderLock(file: string, owner: string, folder: string): FolderLock {
  createPrivately(file);
  const database = new Database(file, { timeout: 0 });
  try {
    database.pragma("journal_mode = MEMORY");
    database.exec("BEGIN EXCLUSIVE");
  } catch (error) {
    database.close();
    if (codeOf(error)?.startsWith("SQLITE_BUSY") === true)
      throw new Error(
        `the queue in ${folder} is in use by ${describeOwner(owner)}; stop that process, or give this one another data folder`,
        { cause: error },
      );
    throw error;
  }
  writeFileSync(owner, `${JSON.stringify({ pid: process.pid, host: hostname(), since: new Date().toISOString() })}\n`, { mode: 0o600 });
  return {
    release() {
      rmSync(owner, { force: true });
      database.exec("ROLLBACK");
      database.close();
    },
  };
}

function describeOwner(owner: string): string {
  try {
    const { pid, host, since } = JSON.parse(readFileSync(owner, "utf8")) as { pid?: unknown; host?: unknown; since?: unknown };
    // In another container the number means nothing here; the host name tells.
    return `process ${String(pid)} on ${String(host)} (since ${String(since)})`;
  } catch {
    return "another process";
  }
}
