/**
 * What people ask and order. Questions go to the reader; orders are looked up there and carried out by the writer in
 * bites, so that neither mail nor the event loop waits for a hundred thousand entries.
 */
import type { NextHop } from "../../mail/domain.ts";
import type { QueueId } from "../../queue/entry.ts";
import type { ProblemType } from "../../queue/settlement.ts";
import type { DestinationSummary, EntrySummary, MessageStory, QueueAdmin, QueueFilter, QueueTotals } from "../../queue/store.ts";
import type { ReaderLink } from "./reader-link.ts";
import type { WriterLink } from "./writer-link.ts";

const BITE = 500;
const FORGET_BITE = 200;
/** Longer pages are cut: a page must fit in memory. */
const LONGEST_PAGE = 5000;

export class SqliteAdmin implements QueueAdmin {
  readonly #reader: ReaderLink;
  readonly #writer: WriterLink;
  readonly #active: () => number;

  constructor(reader: ReaderLink, writer: WriterLink, active: () => number) {
    this.#reader = reader;
    this.#writer = writer;
    this.#active = active;
  }

  async list(filter: QueueFilter, page: { limit: number; after?: string }): Promise<{ entries: EntrySummary[]; next?: string }> {
    const { entries, next } = await this.#reader.ask("list", filter, Math.max(1, Math.min(page.limit, LONGEST_PAGE)), page.after);
    return next === undefined ? { entries } : { entries, next };
  }

  async totals(): Promise<QueueTotals> {
    return { ...(await this.#reader.ask("totals")), active: this.#active() };
  }

  destinations(now: number, limit: number): Promise<DestinationSummary[]> {
    return this.#reader.ask("destinations", now, limit);
  }

  story(id: QueueId): Promise<MessageStory | undefined> {
    return this.#reader.ask("story", id);
  }

  async retryNow(filter: QueueFilter, now: number): Promise<{ entries: number; nextHops: NextHop[] }> {
    const found = await this.#reader.ask("match", { ...filter, state: "waiting" });
    const nextHops = new Set<NextHop>();
    let entries = 0;
    for (let at = 0; at < found.length; at += BITE) {
      const bite = found.slice(at, at + BITE);
      entries += await this.#writer.ask<number>({ op: "make-due", entries: bite.map(({ id }) => id), now });
      for (const { nextHop } of bite) nextHops.add(nextHop);
    }
    return { entries, nextHops: [...nextHops] };
  }

  countByReason(): Promise<{ type: ProblemType; entries: number }[]> {
    return this.#reader.ask("countByReason");
  }

  async forgetFinished(before: number): Promise<number> {
    let forgotten = 0;
    let after: number | undefined = -1;
    while (after !== undefined) {
      const found: { messages: number[]; next: number | undefined } = await this.#reader.ask("findFinished", before, after, FORGET_BITE);
      if (found.messages.length > 0) forgotten += await this.#writer.ask<number>({ op: "forget-messages", messages: found.messages });
      after = found.next;
    }
    return forgotten;
  }
}
