/**
 * The way in: a data folder in, the queue's store out, or an error whose message is a sentence for the operator (in use
 * by another process, of a newer version, of another program, damaged, on a network file system, not writable).
 */
import { SqliteStore, type SqliteOptions } from "./store.ts";

export type { SqliteOptions, SqliteStore } from "./store.ts";

export function openSqliteStore(options: SqliteOptions): Promise<SqliteStore> {
  return SqliteStore.open(options);
}
