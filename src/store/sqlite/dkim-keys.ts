/** DKIM keys in the queue's database: so one backup has them, and the file, which is its owner's alone, keeps them private. */
import type { Domain } from "../../mail/domain.ts";
import { cleanText } from "../../mail/reply.ts";
import type { DkimAlgorithm } from "../../mail/signing.ts";
import type { DkimKey, DkimKeyState, DkimKeyStore } from "../../queue/dkim-keys.ts";
import type { ReaderLink } from "./reader-link.ts";
import { placeholders } from "./rows.ts";
import type { Statements } from "./statements.ts";
import type { DkimKeyChange, Row } from "./wire.ts";
import type { WriterLink } from "./writer-link.ts";

const COLUMNS = "domain, selector, algorithm, private_key, public_key, state, created_at, changed_at, checked_at, problem";

export class SqliteDkimKeys implements DkimKeyStore {
  readonly #reader: ReaderLink;
  readonly #writer: WriterLink;

  constructor(reader: ReaderLink, writer: WriterLink) {
    this.#reader = reader;
    this.#writer = writer;
  }

  list(): Promise<DkimKey[]> {
    return this.#reader.ask("dkimKeys");
  }

  add(key: DkimKey): Promise<boolean> {
    return this.#change({ what: "add", row: keyRow(key) });
  }

  update(domain: Domain, selector: string, change: Parameters<DkimKeyStore["update"]>[2]): Promise<boolean> {
    return this.#change({
      what: "update",
      domain,
      selector,
      values: [change.state ?? null, change.changedAt ?? null, change.checkedAt ?? null],
      problem: "problem" in change ? { text: change.problem === undefined ? null : cleanText(change.problem) } : undefined,
    });
  }

  remove(domain: Domain, selector: string): Promise<boolean> {
    return this.#change({ what: "remove", domain, selector });
  }

  #change(change: DkimKeyChange): Promise<boolean> {
    return this.#writer.ask<boolean>({ op: "dkim-keys", change });
  }
}

function keyRow(key: DkimKey): Row {
  return [
    key.domain,
    key.selector,
    key.algorithm,
    key.privateKey,
    key.publicKey,
    key.state,
    key.createdAt,
    key.changedAt,
    key.checkedAt ?? null,
    key.problem === undefined ? null : cleanText(key.problem),
  ];
}

function dkimKey(row: Row): DkimKey {
  const [domain, selector, algorithm, privateKey, publicKey, state, createdAt, changedAt, checkedAt, problem] = row as unknown as readonly [
    Domain,
    string,
    DkimAlgorithm,
    string,
    string,
    DkimKeyState,
    number,
    number,
    number | null,
    string | null,
  ];
  return {
    domain,
    selector,
    algorithm,
    privateKey,
    publicKey,
    state,
    createdAt,
    changedAt,
    ...(checkedAt !== null && { checkedAt }),
    ...(problem !== null && { problem }),
  };
}

/** The reader thread's answer. */
export function findDkimKeys(sql: Statements): DkimKey[] {
  return sql.raw(`SELECT ${COLUMNS} FROM dkim_key ORDER BY domain, selector`).map(dkimKey);
}

/** What the writer changes. True if there was something to change. */
export function changeDkimKeys(sql: Statements, change: DkimKeyChange): boolean {
  switch (change.what) {
    case "add":
      return sql.run(`INSERT INTO dkim_key (${COLUMNS}) VALUES (${placeholders(COLUMNS)}) ON CONFLICT DO NOTHING`, ...change.row) > 0;
    case "update":
      return (
        sql.run(
          "UPDATE dkim_key SET state = coalesce(?, state), changed_at = coalesce(?, changed_at), checked_at = coalesce(?, checked_at), " +
            "problem = CASE ? WHEN 1 THEN ? ELSE problem END WHERE domain = ? AND selector = ?",
          ...change.values,
          change.problem === undefined ? 0 : 1,
          change.problem?.text ?? null,
          change.domain,
          change.selector,
        ) > 0
      );
    case "remove":
      return sql.run("DELETE FROM dkim_key WHERE domain = ? AND selector = ?", change.domain, change.selector) > 0;
  }
}
