/** Prepared statements of a connection by their text. Each is run to its end at once: an open one would pin the log. */
import type Database from "better-sqlite3";
import type { Row } from "./wire.ts";

export class Statements {
  readonly #database: Database.Database;
  readonly #prepared = new Map<string, Database.Statement<unknown[]>>();

  constructor(database: Database.Database) {
    this.#database = database;
  }

  all<Result>(sql: string, ...values: unknown[]): Result[] {
    return this.#prepare(sql).all(...values) as Result[];
  }

  get<Result>(sql: string, ...values: unknown[]): Result | undefined {
    return this.#prepare(sql).get(...values) as Result | undefined;
  }

  /** The first column of the first row. */
  pluck<Result>(sql: string, ...values: unknown[]): Result | undefined {
    return this.#prepare(sql, "pluck").get(...values) as Result | undefined;
  }

  raw(sql: string, ...values: unknown[]): Row[] {
    return this.#prepare(sql, "raw").all(...values) as Row[];
  }

  /** How many rows it changed. */
  run(sql: string, ...values: readonly unknown[]): number {
    return this.#prepare(sql).run(...values).changes;
  }

  #prepare(sql: string, mode: "rows" | "pluck" | "raw" = "rows"): Database.Statement<unknown[]> {
    const key = `${mode} ${sql}`;
    let statement = this.#prepared.get(key);
    if (statement === undefined) {
      statement = this.#database.prepare(sql);
      if (mode === "pluck") statement.pluck();
      if (mode === "raw") statement.raw();
      this.#prepared.set(key, statement);
    }
    return statement;
  }
}
