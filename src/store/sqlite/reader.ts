/**
 * The reader thread: a connection of its own, so that no question blocks the event loop or the writer. Long questions
 * are generators that pause between slices; others are answered meanwhile. The other end is reader-link.ts.
 */
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import type { User } from "../../queue/store.ts";
import { openForReading } from "./database.ts";
import { findDkimKeys } from "./dkim-keys.ts";
import { describeError } from "./errors.ts";
import { firstNumberAt } from "./ids.ts";
import { Listing } from "./list.ts";
import { findDane, findSts, listSts } from "./policies.ts";
import * as reports from "./report-answers.ts";
import { Statements } from "./statements.ts";
import { Summaries } from "./summaries.ts";
import type { ReaderQueries, ReaderReply, ReaderRequest } from "./wire.ts";

/** Either an answer, or a long question that pauses. */
type Answer<Value> = Value | Generator<undefined, Value>;
type Answers = { [Query in keyof ReaderQueries]: (...args: Parameters<ReaderQueries[Query]>) => Answer<ReturnType<ReaderQueries[Query]>> };

function makeAnswers(sql: Statements): Answers {
  const listing = new Listing(sql);
  const summaries = new Summaries(sql);
  return {
    list: (filter, limit, after) => listing.list(filter, limit, after),
    match: (filter) => listing.match(filter),
    story: (id) => listing.story(id),
    totals: () => summaries.totals(),
    destinations: (now, limit) => summaries.destinations(now, limit),
    countByReason: () => summaries.countByReason(),
    findDueNextHops: (now, limit) => summaries.findDueNextHops(now, limit),
    findNextDue: () => summaries.findNextDue(),
    findFinished: (before, after, limit) => findFinished(sql, before, after, limit),
    readChunk: (body, seq) => sql.pluck<Uint8Array>("SELECT octets FROM body_chunk WHERE body = ? AND seq = ?", body, seq),
    readBody: (message) => sql.pluck<Uint8Array>("SELECT octets FROM body WHERE message = ?", message),
    users: () => findUsers(sql),
    findSts: (policyDomain) => findSts(sql, policyDomain),
    listSts: (limit, after) => listSts(sql, limit, after),
    findDane: (nextHop) => findDane(sql, nextHop),
    listCounted: (day, limit, after) => reports.listCounted(sql, day, limit, after),
    counts: (day, domain) => reports.counts(sql, day, domain),
    failedDomains: (day) => reports.failedDomains(sql, day),
    daysWithoutReports: (before) => reports.daysWithoutReports(sql, before),
    domainsWithoutReport: (day, limit) => reports.domainsWithoutReport(sql, day, limit),
    nextReportDue: () => reports.nextReportDue(sql),
    listReports: (filter, limit, after) => reports.listReports(sql, filter, limit, after),
    findReport: (day, domain) => reports.findReport(sql, day, domain),
    findRua: (uri) => reports.findRua(sql, uri),
    dkimKeys: () => findDkimKeys(sql),
    freeOctets: () => (sql.pluck<number>("PRAGMA freelist_count") ?? 0) * (sql.pluck<number>("PRAGMA page_size") ?? 0),
  };
}

/** Messages without an entry in the queue whose last recipient was settled before then. One slice of the oldest. */
function findFinished(sql: Statements, before: number, after: number, limit: number): { messages: number[]; next: number | undefined } {
  const slice = sql.all<{ number: number; finished: number }>(
    "SELECT number, NOT EXISTS (SELECT 1 FROM entry e WHERE e.id >= m.first_entry AND e.id < m.first_entry + m.entries) AND " +
      "(SELECT max(settled_at) FROM recipient r WHERE r.id >= m.first_recipient AND r.id < m.first_recipient + m.recipients) < ? AS finished " +
      // No message is finished before it was made, and its number tells when that was.
      "FROM message m WHERE number > ? AND number < ? ORDER BY number LIMIT ?",
    before,
    after,
    firstNumberAt(before),
    limit,
  );
  const last = slice.at(-1);
  return {
    messages: slice.filter(({ finished }) => finished === 1).map(({ number }) => number),
    next: slice.length < limit ? undefined : last?.number,
  };
}

function findUsers(sql: Statements): User[] {
  return sql
    .all<{ name: string; password_hash: string; may_send_as: string; created_at: number }>(
      "SELECT name, password_hash, may_send_as, created_at FROM user ORDER BY name",
    )
    .map((row) => ({
      name: row.name,
      passwordHash: row.password_hash,
      maySendAs: JSON.parse(row.may_send_as) as string[],
      createdAt: row.created_at,
    }));
}

function isGenerator(answer: unknown): answer is Generator<undefined, unknown> {
  return typeof answer === "object" && answer !== null && Symbol.iterator in answer && "next" in answer;
}

function serve(port: MessagePort, file: string): void {
  const database = openForReading(file);
  const answers = makeAnswers(new Statements(database)) as Record<string, (...args: readonly unknown[]) => unknown>;

  const reply = (message: ReaderReply) => {
    const { value } = message;
    // Chunks are given away; their memory is their own when it has their size.
    const octets =
      value instanceof Uint8Array && value.buffer instanceof ArrayBuffer && value.byteLength === value.buffer.byteLength
        ? [value.buffer]
        : [];
    port.postMessage(message, octets);
  };
  const fail = (request: number, error: unknown) => reply({ request, error: describeError(error) });
  const goOn = (request: number, answer: Generator<undefined, unknown>) => {
    try {
      const step = answer.next();
      if (step.done === true) reply({ request, value: step.value });
      else setImmediate(goOn, request, answer);
    } catch (error) {
      fail(request, error);
    }
  };

  port.on("message", ({ request, query, args }: ReaderRequest) => {
    try {
      if (query === "close") {
        database.close();
        reply({ request });
        port.close();
        return;
      }
      const answer = answers[query]?.(...args);
      if (isGenerator(answer)) goOn(request, answer);
      else reply({ request, value: answer });
    } catch (error) {
      fail(request, error);
    }
  });
}

if (parentPort !== null) serve(parentPort, (workerData as { file: string }).file);
