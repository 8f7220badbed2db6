/**
 * What people select by, as SQL: fixed pieces with bound values. A filter reads the aliases `m` (message) and `r`
 * (recipient), and for entries still in the queue `e`.
 */
import type { QueueFilter } from "../../queue/store.ts";
import { numberOfQueueId } from "./ids.ts";

export interface Condition {
  /** Begins with " AND " or is empty. */
  readonly sql: string;
  readonly values: readonly (string | number)[];
}

/** Conditions on an entry in the queue: FROM entry e JOIN message m. */
export function liveCondition(filter: QueueFilter): Condition {
  const condition = new ConditionBuilder();
  if (filter.nextHop !== undefined) condition.add("e.next_hop = ?", filter.nextHop.toLowerCase());
  if (filter.reason !== undefined) condition.add("e.problem_type = ?", filter.reason);
  if (filter.state === "waiting") condition.add("e.due_at IS NOT NULL");
  if (filter.state === "active") condition.add("e.due_at IS NULL");
  if (filter.receivedBefore !== undefined) condition.add("e.received_at < ?", filter.receivedBefore);
  if (filter.from !== undefined) condition.addAddress("m.sender", filter.from);
  if (filter.to !== undefined)
    condition.addAddress(
      "r.address",
      filter.to,
      (test) =>
        `EXISTS (SELECT 1 FROM recipient r WHERE r.id >= e.first_recipient AND r.id < e.first_recipient + e.recipients AND ${test})`,
    );
  return condition;
}

/** Conditions on a finished entry: FROM message m JOIN recipient r, grouped by r.entry. */
export function finishedCondition(filter: QueueFilter): Condition {
  const condition = new ConditionBuilder();
  if (filter.nextHop !== undefined) condition.add("r.next_hop = ?", filter.nextHop.toLowerCase());
  if (filter.reason !== undefined) condition.add("r.outcome ->> '$.type' = ?", filter.reason);
  if (filter.receivedBefore !== undefined) condition.add("m.received_at < ?", filter.receivedBefore);
  if (filter.from !== undefined) condition.addAddress("m.sender", filter.from);
  if (filter.to !== undefined) condition.addAddress("r.address", filter.to);
  return condition;
}

/** The messages a filter names, in order; undefined when it names none and all are meant. */
export function namedMessages(filter: QueueFilter): number[] | undefined {
  if (filter.ids === undefined) return undefined;
  const numbers = filter.ids.map(numberOfQueueId).filter((number) => number !== undefined);
  return [...new Set(numbers)].sort((a, b) => a - b);
}

class ConditionBuilder implements Condition {
  sql = "";
  readonly values: (string | number)[] = [];

  add(sql: string, ...values: (string | number)[]): void {
    this.sql += ` AND ${sql}`;
    this.values.push(...values);
  }

  /** `*@example.org` or `example.org` is a domain, `a@example.org` an address, `<>` or nothing the null path. Case does not matter. */
  addAddress(column: string, pattern: string, around: (test: string) => string = (test) => test): void {
    const wanted = pattern.replace(/^<(.*)>$/, "$1").toLowerCase();
    if (wanted === "") return this.add(around(`${column} = ''`));
    const domain = /^(?:\*?@)?([^@]+)$/.exec(wanted)?.[1];
    // The domain is what follows the last @; a quoted local part may hold others (RFC 5321 §4.1.2).
    if (domain !== undefined) this.add(around(`lower(substr(${column}, -length(?))) = ?`), `@${domain}`, `@${domain}`);
    else this.add(around(`lower(${column}) = ?`), wanted);
  }
}
