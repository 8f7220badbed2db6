/** Users who may log in, in the queue's database: so one backup has them, and one process changes them. */
import type { User, UserStore } from "../../queue/store.ts";
import type { ReaderLink } from "./reader-link.ts";
import type { WriterLink } from "./writer-link.ts";

export class SqliteUsers implements UserStore {
  readonly #reader: ReaderLink;
  readonly #writer: WriterLink;

  constructor(reader: ReaderLink, writer: WriterLink) {
    this.#reader = reader;
    this.#writer = writer;
  }

  list(): Promise<User[]> {
    return this.#reader.ask("users");
  }

  async save(user: User): Promise<void> {
    await this.#writer.ask({ op: "save-user", row: [user.name, user.passwordHash, JSON.stringify(user.maySendAs), user.createdAt] });
  }

  remove(name: string): Promise<boolean> {
    return this.#writer.ask({ op: "remove-user", name });
  }
}
