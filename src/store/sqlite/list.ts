/**
 * Pages of entries and the story of a message, for people. A page is looked for in slices, so that a filter that
 * matches nothing among a hundred thousand entries lets other questions through in between.
 */
import type { EmailAddress, ReversePath } from "../../mail/address.ts";
import type { NextHop } from "../../mail/domain.ts";
import type { RecipientState } from "../../queue/entry.ts";
import type { AttemptRecord, DeliveryProblem, RecipientOutcome } from "../../queue/settlement.ts";
import type { EntrySummary, MessageStory, QueueFilter } from "../../queue/store.ts";
import { type Condition, finishedCondition, liveCondition, namedMessages } from "./filter.ts";
import { numberOfQueueId } from "./ids.ts";
import { MESSAGE_COLUMNS, type MessageFacts, messageFacts, messagePlace } from "./rows.ts";
import type { Statements } from "./statements.ts";
import type { FoundPage, Row } from "./wire.ts";

/** Entries looked at in one statement. */
const SLICE = 2000;

interface LiveRow {
  readonly id: number;
  readonly message: number;
  readonly next_hop: NextHop;
  readonly attempts: number;
  readonly due_at: number | null;
  readonly problem: string | null;
}

interface RecipientRow {
  readonly entry: number;
  readonly address: EmailAddress;
  readonly next_hop: NextHop;
  readonly state: RecipientState;
  readonly outcome: string | null;
}

const LIVE = "SELECT e.id, e.message, e.next_hop, e.attempts, e.due_at, e.problem FROM entry e JOIN message m ON m.number = e.message";

export class Listing {
  readonly #sql: Statements;

  constructor(sql: Statements) {
    this.#sql = sql;
  }

  /** Lets the caller do other things between slices: a generator that yields nothing and returns the page. */
  *list(filter: QueueFilter, limit: number, after: string | undefined): Generator<undefined, FoundPage> {
    if (filter.state === "finished") return yield* this.#listFinished(filter, limit, after);
    const entries: EntrySummary[] = [];
    for (const found of this.#findLive(filter, Number(after ?? 0))) {
      if (found === undefined) {
        yield;
        continue;
      }
      entries.push(this.#liveSummary(found));
      if (entries.length === limit) return { entries, next: String(found.id) };
    }
    return { entries, next: undefined };
  }

  /** Every match's key and next hop, for orders. */
  *match(filter: QueueFilter): Generator<undefined, { id: number; nextHop: NextHop }[]> {
    const found: { id: number; nextHop: NextHop }[] = [];
    for (const row of this.#findLive(filter, 0)) {
      if (row === undefined) yield;
      else found.push({ id: row.id, nextHop: row.next_hop });
    }
    return found;
  }

  story(id: string): MessageStory | undefined {
    const number = numberOfQueueId(id);
    const row = number === undefined ? undefined : this.#messageRow(number);
    if (row === undefined) return undefined;
    const place = messagePlace(row);
    const message = messageFacts(row);
    const entries: (EntrySummary & { attemptRecords: AttemptRecord[] })[] = [];
    for (let entry = place.firstEntry; entry < place.firstEntry + place.entries; entry++) {
      const live = this.#sql.get<LiveRow>(`${LIVE} WHERE e.id = ?`, entry);
      const summary = live === undefined ? this.#finishedSummary(row, message, entry) : this.#liveSummary(live);
      entries.push({ ...summary, attemptRecords: this.#attempts(entry) });
    }
    return { message, entries };
  }

  /** Matches in order of their keys; `undefined` marks the end of a slice. */
  *#findLive(filter: QueueFilter, after: number): Generator<LiveRow | undefined> {
    const condition = liveCondition(filter);
    const named = namedMessages(filter);
    if (named !== undefined) {
      const ranges = named
        .map((number) => this.#messageRow(number))
        .filter((row) => row !== undefined)
        .map(messagePlace)
        .sort((a, b) => a.firstEntry - b.firstEntry);
      for (const { firstEntry, entries } of ranges)
        yield* this.#slice(condition, Math.max(after, firstEntry - 1), firstEntry + entries - 1);
      return;
    }
    for (let from = after; ; ) {
      const to = this.#sql.pluck<number | null>("SELECT max(id) FROM (SELECT id FROM entry WHERE id > ? ORDER BY id LIMIT ?)", from, SLICE);
      if (to === null || to === undefined) return;
      yield* this.#slice(condition, from, to);
      yield undefined;
      from = to;
    }
  }

  #slice(condition: Condition, after: number, to: number): LiveRow[] {
    return this.#sql.all<LiveRow>(`${LIVE} WHERE e.id > ? AND e.id <= ?${condition.sql} ORDER BY e.id`, after, to, ...condition.values);
  }

  /** Finished entries have no row of their own: they are what recipients name and the queue does not hold. */
  *#listFinished(filter: QueueFilter, limit: number, after: string | undefined): Generator<undefined, FoundPage> {
    const condition = finishedCondition(filter);
    const named = namedMessages(filter);
    const [afterMessage = -1, afterEntry = 0] = (after ?? "-1").split(".").map(Number);
    const entries: EntrySummary[] = [];
    for (let from = afterMessage; ; ) {
      const slice =
        named === undefined
          ? this.#sql
              .all<{ number: number }>("SELECT number FROM message WHERE number >= ? ORDER BY number LIMIT ?", from, SLICE)
              .map(({ number }) => number)
          : named.filter((number) => number >= from).slice(0, SLICE);
      for (const number of slice) {
        const found = this.#sql.all<{ entry: number }>(
          "SELECT DISTINCT r.entry FROM message m JOIN recipient r ON r.id >= m.first_recipient AND r.id < m.first_recipient + m.recipients " +
            `WHERE m.number = ? AND r.entry > ? AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.id = r.entry)${condition.sql} ORDER BY r.entry`,
          number,
          number === afterMessage ? afterEntry : 0,
          ...condition.values,
        );
        const row = found.length === 0 ? undefined : this.#messageRow(number);
        if (row === undefined) continue;
        const message = messageFacts(row);
        for (const { entry } of found) {
          entries.push(this.#finishedSummary(row, message, entry));
          if (entries.length === limit) return { entries, next: `${number}.${entry}` };
        }
      }
      const last = slice.at(-1);
      if (last === undefined || slice.length < SLICE) return { entries, next: undefined };
      from = last + 1;
      yield;
    }
  }

  #messageRow(number: number): Row | undefined {
    return this.#sql.raw(`SELECT ${MESSAGE_COLUMNS} FROM message WHERE number = ?`, number)[0];
  }

  #recipientsOf(row: Row, entry: number): RecipientRow[] {
    const { firstRecipient, recipients } = messagePlace(row);
    return this.#sql.all<RecipientRow>(
      "SELECT entry, address, next_hop, state, outcome FROM recipient WHERE id >= ? AND id < ? AND entry = ? ORDER BY id",
      firstRecipient,
      firstRecipient + recipients,
      entry,
    );
  }

  #liveSummary(entry: LiveRow): EntrySummary {
    const row = this.#messageRow(entry.message);
    if (row === undefined) throw new Error(`entry ${entry.id} has no message`);
    const message = messageFacts(row);
    return {
      ...shared(message),
      state: entry.due_at === null ? "active" : "waiting",
      recipients: this.#recipientsOf(row, entry.id).map(recipientLine),
      nextHop: entry.next_hop,
      attempts: entry.attempts,
      ...(entry.due_at !== null && { nextAttempt: entry.due_at }),
      ...(entry.problem !== null && { problem: JSON.parse(entry.problem) as DeliveryProblem }),
    };
  }

  #finishedSummary(row: Row, message: MessageFacts, entry: number): EntrySummary {
    const recipients = this.#recipientsOf(row, entry);
    const undelivered = recipients.findLast(({ state, outcome }) => state !== "delivered" && outcome !== null);
    return {
      ...shared(message),
      state: "finished",
      recipients: recipients.map(recipientLine),
      nextHop: recipients[0]?.next_hop ?? ("" as NextHop),
      attempts: this.#sql.pluck<number>("SELECT count(*) FROM attempt WHERE entry = ?", entry) ?? 0,
      ...(undelivered !== undefined && { problem: JSON.parse(undelivered.outcome ?? "") as DeliveryProblem }),
    };
  }

  #attempts(entry: number): AttemptRecord[] {
    return this.#sql
      .all<{ record: string }>("SELECT record FROM attempt WHERE entry = ? ORDER BY id", entry)
      .map(({ record }) => JSON.parse(record) as AttemptRecord);
  }
}

function shared(
  message: MessageFacts,
): Pick<EntrySummary, "id" | "sender" | "size" | "receivedAt" | "expiresAt"> & { sender: ReversePath } {
  const { id, sender, size, receivedAt, expiresAt } = message;
  return { id, sender, size, receivedAt, expiresAt };
}

function recipientLine({ address, state, outcome }: RecipientRow): EntrySummary["recipients"][number] {
  return { address, state, ...outcomeOf(state, outcome) };
}

function outcomeOf(state: RecipientState, outcome: string | null): { outcome?: RecipientOutcome } {
  if (outcome === null || state === "dropped") return {};
  const detail: unknown = JSON.parse(outcome);
  if (state === "delivered") return { outcome: { kind: state, ...(detail as Omit<RecipientOutcome & { kind: "delivered" }, "kind">) } };
  return { outcome: { kind: state, problem: detail as DeliveryProblem } };
}
