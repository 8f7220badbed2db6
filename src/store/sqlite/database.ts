/**
 * Opening the file: what it must be, how it writes, and its schema. Refusals are sentences for the operator.
 */
import { readdirSync, readFileSync } from "node:fs";
import Database from "better-sqlite3";
import { corruptionAdvice, describeError, isCorrupt } from "./errors.ts";
import { createPrivately } from "./folder.ts";

/** `PSTN`, so that file(1) and a wrong path are told apart. */
const APPLICATION_ID = 0x5053544e;

const FULL = 2;

interface Migration {
  readonly version: number;
  readonly sql: string;
}

/** `0001-queue.sql`, … beside this file, in src as in dist. */
function readMigrations(): Migration[] {
  const folder = new URL("./migrations/", import.meta.url);
  return readdirSync(folder)
    .filter((name) => /^\d{4}-.*\.sql$/.test(name))
    .sort()
    .map((name) => ({ version: Number(name.slice(0, 4)), sql: readFileSync(new URL(name, folder), "utf8") }));
}

/** The writer's connection: made if it is not there, brought to the newest schema, every commit on stable storage. */
export function openForWriting(file: string): Database.Database {
  createPrivately(file);
  let database: Database.Database | undefined;
  try {
    database = new Database(file, { timeout: 2000 });
    refuseForeignFile(database, file);
    // Before the first table, or it has no effect: free pages can be given back to the file system in small bites.
    database.pragma("auto_vacuum = INCREMENTAL");
    if (database.pragma("journal_mode = WAL", { simple: true }) !== "wal")
      throw new Error(`${file}: this file system cannot share memory between connections, which SQLite's WAL mode needs; use a local disk`);
    demandFullSync(database);
    database.pragma("foreign_keys = ON");
    database.pragma("cache_size = -8000");
    database.pragma("temp_store = MEMORY");
    database.pragma("wal_autocheckpoint = 2000");
    migrate(database, file);
    return database;
  } catch (error) {
    database?.close();
    const described = describeError(error);
    if (isCorrupt(described.code)) throw new Error(corruptionAdvice(file, described), { cause: error });
    if (described.code.startsWith("SQLITE_"))
      throw new Error(`${file} cannot be opened for writing: ${described.message} (${described.code})`, { cause: error });
    throw error;
  }
}

/** A connection that cannot change anything, for questions. */
export function openForReading(file: string): Database.Database {
  const database = new Database(file, { readonly: true, fileMustExist: true, timeout: 2000 });
  database.pragma("cache_size = -4000");
  database.pragma("temp_store = MEMORY");
  return database;
}

/**
 * Without this a commit is not on the disk when it returns: this build of SQLite opens an existing WAL file with
 * synchronous=NORMAL, whatever it was made with, so what was answered with 250 could be lost (RFC 5321 §6.1).
 */
export function demandFullSync(database: Database.Database): void {
  database.pragma("synchronous = FULL");
  const got: unknown = database.pragma("synchronous", { simple: true });
  if (got !== FULL)
    throw new Error(
      `${database.name}: SQLite did not take synchronous=FULL (it says ${String(got)}); commits would not survive a power cut`,
    );
}

function refuseForeignFile(database: Database.Database, file: string): void {
  const application = Number(database.pragma("application_id", { simple: true }));
  if (application === APPLICATION_ID) return;
  const tables = database.prepare<[], { n: number }>("SELECT count(*) AS n FROM sqlite_schema").get()?.n ?? 0;
  if (application !== 0 || tables > 0) throw new Error(`${file} is a database of another program; move it away or use another data folder`);
}

function migrate(database: Database.Database, file: string): void {
  const migrations = readMigrations();
  const newest = migrations.at(-1)?.version ?? 0;
  const version = Number(database.pragma("user_version", { simple: true }));
  if (version > newest)
    throw new Error(
      `${file} was written by a newer Postern (schema ${version}; this one knows ${newest}). Nothing was changed: start the newer version, or restore a backup made before the upgrade`,
    );
  for (const migration of migrations) {
    if (migration.version <= version) continue;
    // One transaction each: a crash leaves a whole schema, the old one or the new one.
    database
      .transaction(() => {
        database.exec(migration.sql);
        database.pragma(`application_id = ${APPLICATION_ID}`);
        database.pragma(`user_version = ${migration.version}`);
      })
      .immediate();
  }
}
