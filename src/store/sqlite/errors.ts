/**
 * What went wrong with the database, in three words: no room, not writable, or broken. SQLite's and the system's codes
 * in; the errors of queue/store.ts out.
 */
import { StorageFailed, StorageFull, type StorageTrouble } from "../../queue/store.ts";
import { codeOf, messageOf } from "../../thrown.ts";

/** An error as it crosses from a thread to the main one. */
export interface ThreadError {
  readonly code: string;
  readonly message: string;
}

/** Our own broken promise, noticed inside a transaction: thrown as it is, no trouble of the disk. */
export const BROKEN_PROMISE = "POSTERN_BROKEN_PROMISE";

export function describeError(error: unknown): ThreadError {
  return { code: codeOf(error) ?? "UNKNOWN", message: messageOf(error) };
}

type Verdict = "no-room" | "not-writable" | "broken" | "promise";

export function judgeCode(code: string): Verdict {
  switch (code) {
    case BROKEN_PROMISE:
      return "promise";
    case "SQLITE_FULL":
    case "SQLITE_IOERR_SHMSIZE":
    case "ENOSPC":
    case "EDQUOT":
      return "no-room";
    // A write that the system refuses without saying ENOSPC: a file size limit, a quota, a file made immutable.
    case "SQLITE_IOERR_WRITE":
    case "SQLITE_IOERR_TRUNCATE":
    case "SQLITE_IOERR_DELETE":
    case "SQLITE_IOERR_SHMOPEN":
    case "SQLITE_PERM":
    case "SQLITE_CANTOPEN":
    case "EFBIG":
    case "EROFS":
    case "EACCES":
    case "EPERM":
      return "not-writable";
    // A value or statement that SQLite does not take, or an error of our own code: the disk has no part in it.
    case "UNKNOWN":
    case "SQLITE_ERROR":
    case "SQLITE_MISMATCH":
    case "SQLITE_RANGE":
    case "SQLITE_TOOBIG":
      return "promise";
    default:
      if (code.startsWith("SQLITE_CONSTRAINT")) return "promise";
      return code.startsWith("SQLITE_READONLY") || code.startsWith("SQLITE_CANTOPEN") ? "not-writable" : "broken";
  }
}

export function troubleOf(error: ThreadError): StorageTrouble | undefined {
  switch (judgeCode(error.code)) {
    case "no-room":
      return "full";
    case "not-writable":
    case "broken":
      return "failed";
    case "promise":
      return undefined;
  }
}

/** The error a caller sees. `file` is named, since whoever reads it must find it. */
export function storageError(error: ThreadError, file: string): Error {
  switch (judgeCode(error.code)) {
    case "no-room":
      return new StorageFull(`no room left for ${file} (${error.code}: ${error.message})`);
    case "not-writable":
      return new StorageFull(`${file} cannot be written (${error.code}: ${error.message})`);
    case "broken":
      return new StorageFailed(isCorrupt(error.code) ? corruptionAdvice(file, error) : `${file}: ${error.message} (${error.code})`);
    case "promise":
      return new Error(`${file}: ${error.message}`);
  }
}

export function isCorrupt(code: string): boolean {
  return code.startsWith("SQLITE_CORRUPT") || code === "SQLITE_NOTADB";
}

export function corruptionAdvice(file: string, error: ThreadError): string {
  const what = error.code === "SQLITE_NOTADB" ? "is not a SQLite database" : "is damaged";
  return (
    `${file} ${what} (${error.code}: ${error.message}). Nothing was changed. Restore the data folder from a backup, ` +
    `or save what can be read with: sqlite3 ${file} .recover | sqlite3 recovered.db; or move the file away to start with an empty queue`
  );
}
