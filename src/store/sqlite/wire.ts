/**
 * What the threads say to each other. The main thread prepares rows, so that the writer only binds and commits; rows
 * are arrays in the order of rows.ts, because names would cross with every message.
 */
import type { DkimKey } from "../../queue/dkim-keys.ts";
import type { DestinationSummary, EntrySummary, KeptStsPolicy, MessageStory, QueueFilter, QueueTotals, User } from "../../queue/store.ts";
import type { ProblemType } from "../../queue/settlement.ts";
import type { Domain, NextHop } from "../../mail/domain.ts";
import type { CountedDomain, PolicyCount, ReportDay, RuaRecord, TlsReport } from "../../queue/tls-reports.ts";
import type { ThreadError } from "./errors.ts";
import type { ObservedSession } from "./observed.ts";
import type { ReportFilter } from "./report-rows.ts";

export type SqlValue = string | number | null;
export type Row = readonly SqlValue[];

/** A message to insert. A small body lies in its batch's `octets`. */
export interface EnqueueRows {
  readonly message: Row;
  readonly recipients: readonly Row[];
  readonly entries: readonly Row[];
  /** Where the body begins in the batch's octets; -1 when it was stored in chunks. */
  bodyAt: number;
  readonly bodySize: number;
}

export interface SettleRows {
  readonly entry: number;
  readonly generation: number;
  /** Absent when nobody waits: the entry is finished. */
  readonly dueAt: number | null;
  readonly problemType: string | null;
  readonly problem: string | null;
  /** State, settled at, outcome, id, entry: bound as they are. */
  readonly recipients: readonly Row[];
  /** How many of them are final. */
  readonly final: number;
  readonly startedAt: number;
  readonly endedAt: number;
  readonly record: string;
  readonly notices: readonly EnqueueRows[];
  /** Absent with most: a session is counted once, whatever it carries. */
  observed?: readonly ObservedSession[];
}

/** A lease as the writer needs it: entry, generation. */
export type LeaseKey = readonly [entry: number, generation: number];

export type ReportChange =
  | { readonly what: "add"; readonly rows: readonly Row[] }
  | { readonly what: "claim"; readonly now: number; readonly until: number; readonly limit: number }
  /** `values`: state, due at, destinations, detail, ended at, document; NULL where it stays as it is. */
  | { readonly what: "save"; readonly day: string; readonly domain: string; readonly generation: number; readonly values: Row }
  | { readonly what: "make-due"; readonly day: string; readonly domain: string; readonly now: number; readonly giveUpAt: number }
  | { readonly what: "save-rua"; readonly row: Row };

export type DkimKeyChange =
  | { readonly what: "add"; readonly row: Row }
  /** `values`: state, changed at, checked at; NULL where it stays as it is. */
  | {
      readonly what: "update";
      readonly domain: string;
      readonly selector: string;
      readonly values: Row;
      readonly problem: { readonly text: string | null } | undefined;
    }
  | { readonly what: "remove"; readonly domain: string; readonly selector: string };

export type WriterRequest =
  | { readonly op: "enqueue"; readonly rows: EnqueueRows }
  | { readonly op: "settle"; readonly rows: SettleRows }
  | { readonly op: "lease"; readonly nextHop: string; readonly limit: number; readonly now: number; readonly until: number }
  | { readonly op: "release"; readonly leases: readonly LeaseKey[]; readonly dueAt: number }
  | { readonly op: "expire-leases"; readonly leases: readonly LeaseKey[]; readonly now: number }
  | { readonly op: "chunk"; readonly body: number; readonly seq: number; readonly octets: Uint8Array }
  | { readonly op: "forget-body"; readonly body: number }
  | {
      readonly op: "postpone";
      readonly now: number;
      readonly nextHop: string;
      readonly from: number;
      readonly to: number;
      readonly problemType: string;
      readonly problem: string;
      readonly bite: number;
    }
  | { readonly op: "make-due"; readonly entries: readonly number[]; readonly now: number }
  | { readonly op: "forget-messages"; readonly messages: readonly number[] }
  | { readonly op: "save-user"; readonly row: Row }
  | { readonly op: "remove-user"; readonly name: string }
  | { readonly op: "save-sts"; readonly row: Row }
  | { readonly op: "forget-sts"; readonly domain: string }
  | { readonly op: "note-dane"; readonly nextHop: string; readonly at: number }
  | { readonly op: "reports"; readonly change: ReportChange }
  | { readonly op: "forget-reports"; readonly countsBefore: string; readonly reportsBefore: number; readonly bite: number }
  | { readonly op: "dkim-keys"; readonly change: DkimKeyChange }
  | { readonly op: "probe"; readonly now: number }
  | { readonly op: "vacuum"; readonly pages: number }
  | { readonly op: "refill-reserve" }
  | { readonly op: "statistics" };

/** Everything the main thread asked for within one turn of its loop. */
export interface WriterBatch {
  readonly kind: "batch";
  /** The number of the first request; the others count up from it. */
  readonly first: number;
  readonly requests: readonly WriterRequest[];
  readonly octets: Uint8Array | undefined;
}

export type ToWriter = WriterBatch | { readonly kind: "close" };

/** What became of some requests. Those in `done` have no value. */
export interface WriterReply {
  readonly kind: "reply";
  readonly done: readonly number[];
  readonly values: readonly (readonly [request: number, value: unknown])[];
  readonly failed: readonly (readonly [request: number, error: ThreadError])[];
  /** True if something was written: the disk works. */
  readonly wrote: boolean;
}

/** An entry as leased: rows in the order of rows.ts, body where it was small and there was room. */
export interface LeasedRows {
  readonly entry: Row;
  readonly message: Row;
  readonly recipients: readonly Row[];
  readonly body: Uint8Array | undefined;
}

export interface Statistics {
  /** Transactions committed since the start. */
  readonly commits: number;
  /** Requests answered by them. */
  readonly requests: number;
}

/** What the writer learned while opening. */
export interface OpenedFile {
  readonly kind: "opened";
  readonly file: string;
  readonly lastNumber: number;
  readonly lastEntry: number;
  readonly lastRecipient: number;
  readonly lastBody: number;
}

export type FromWriter = WriterReply | OpenedFile | { readonly kind: "refused"; readonly message: string } | { readonly kind: "closed" };

export interface WriterSettings {
  readonly folder: string;
  readonly now: number;
  readonly minimumFree: number;
  readonly settlementReserve: number;
}

/** A page of entries found; `next` continues where it ended. */
export interface FoundPage {
  readonly entries: EntrySummary[];
  readonly next: string | undefined;
}

export interface ReaderQueries {
  list(filter: QueueFilter, limit: number, after: string | undefined): FoundPage;
  match(filter: QueueFilter): { id: number; nextHop: NextHop }[];
  totals(): Omit<QueueTotals, "active">;
  destinations(now: number, limit: number): DestinationSummary[];
  story(id: string): MessageStory | undefined;
  countByReason(): { type: ProblemType; entries: number }[];
  findFinished(before: number, after: number, limit: number): { messages: number[]; next: number | undefined };
  findDueNextHops(now: number, limit: number): { nextHop: NextHop; due: number }[];
  findNextDue(): number | undefined;
  readChunk(body: number, seq: number): Uint8Array | undefined;
  readBody(message: number): Uint8Array | undefined;
  users(): User[];
  findSts(policyDomain: string): KeptStsPolicy | undefined;
  listSts(limit: number, after: string): KeptStsPolicy[];
  findDane(nextHop: string): number | undefined;
  listCounted(day: string, limit: number, after: string): CountedDomain[];
  counts(day: string, domain: string): PolicyCount[];
  failedDomains(day: string): Domain[];
  daysWithoutReports(before: string): ReportDay[];
  domainsWithoutReport(day: string, limit: number): Domain[];
  nextReportDue(): number | undefined;
  listReports(filter: ReportFilter, limit: number, after: string | undefined): TlsReport[];
  findReport(day: string, domain: string): TlsReport | undefined;
  findRua(uri: string): RuaRecord | undefined;
  dkimKeys(): DkimKey[];
  freeOctets(): number;
}

export interface ReaderRequest {
  readonly request: number;
  readonly query: keyof ReaderQueries | "close";
  readonly args: readonly unknown[];
}

export interface ReaderReply {
  readonly request: number;
  readonly value?: unknown;
  readonly error?: ThreadError;
}
