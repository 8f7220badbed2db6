/**
 * What the rest of Postern may expect of a database, in words; one contract suite (test/store) holds for every backend.
 * Every promise resolves only when the change is on stable storage, unless it says otherwise.
 */
import type { EmailAddress, ReversePath } from "../mail/address.ts";
import type { Domain, NextHop } from "../mail/domain.ts";
import type { TlsFailure } from "../policy/outcome.ts";
import type { DkimKeyStore } from "./dkim-keys.ts";
import type { LeasedEntry, Lease, NewMessage, QueueId, RecipientState, Submitter } from "./entry.ts";
import type { AttemptRecord, DeliveryProblem, ProblemType, RecipientOutcome, Settlement } from "./settlement.ts";
import type { TlsReportStore } from "./tls-reports.ts";

/** The disk has no room, or the file cannot be written: the client keeps its message (452 4.3.1). */
export class StorageFull extends Error {
  override readonly name = "StorageFull";
}

/** The database answered with an error that is not about room; the health check fails until it works again. */
export class StorageFailed extends Error {
  override readonly name = "StorageFailed";
}

/** Why the store takes no mail just now: `reserve` means that even outcomes could not be kept, so delivery stops too. */
export type StorageTrouble = "full" | "reserve" | "failed";

/** A body on its way in. Small ones stay in memory until `enqueue`; larger ones leave memory chunk by chunk. */
export interface BodyWriter {
  /** Octets taken so far. */
  readonly size: number;
  /** Resolves when more may be written. Takes ownership of the buffer. Throws StorageFull. */
  write(chunk: Buffer): void | Promise<void>;
  /** Forgets everything written. Safe to call at any time, also after `enqueue`. */
  abandon(): void;
}

/** How a freshly enqueued message goes on. */
export interface EnqueueOptions {
  /** Asks for the lease at once, entry by entry: an entry is leased only if this says so; the others are due in the database. */
  leaseNow(nextHop: NextHop, submitter: Submitter): boolean;
  /** Until when such a lease holds. */
  readonly leaseUntil: number;
}

export interface QueueStore {
  newBody(): BodyWriter;
  /** A fresh queue id; unique without asking the database. */
  newQueueId(): QueueId;
  /**
   * Makes message, recipients, entries and body durable in one transaction; many callers share one commit. Returns the
   * entries that were leased on the way, attempt counted, body at hand when it was small.
   */
  enqueue(message: NewMessage, body: BodyWriter, options: EnqueueOptions): Promise<LeasedEntry[]>;

  /**
   * Leases up to `limit` due entries of one next hop, fairly: submitters take turns, oldest first within each.
   * The attempt is counted and the next try set before this resolves.
   */
  leaseDue(nextHop: NextHop, limit: number, now: number, leaseUntil: number): Promise<LeasedEntry[]>;
  /** Next hops that have entries due and not leased, with how many (exact to 10,000); at most `limit`, those due longest first. */
  findDueNextHops(now: number, limit: number): Promise<{ nextHop: NextHop; due: number }[]>;
  /** When the next entry falls due, if any waits. */
  findNextDue(): Promise<number | undefined>;
  /** Gives leases back unattempted; the entries are due at `dueAt`, and the attempt is not counted. */
  releaseLeases(leases: readonly Lease[], dueAt: number): Promise<void>;
  /**
   * Postpones every unleased entry that would be due before `from` at a next hop that has just failed, so that a dead host
   * is not dialled for each of them (RFC 5321 §4.5.4.1). `random` spreads them between the two times. Entries that would expire before are due at
   * their expiry. Returns how many.
   */
  postponeDestination(nextHop: NextHop, from: number, to: number, problem: DeliveryProblem): Promise<number>;
  /**
   * One transaction: recipient states, attempt, next try, notices. A finished message costs no commit of its own. Returns
   * the notices' entries that were leased, or "lease-lost", in which case nothing changed.
   */
  saveSettlement(lease: Lease, settlement: Settlement, options: EnqueueOptions): Promise<LeasedEntry[] | "lease-lost">;

  /** What is wrong as last seen (looked at every few seconds, and after every error), for an early 452 at MAIL. */
  trouble(): StorageTrouble | undefined;
  /** Octets free for messages: file system plus free pages, less the reserve for settlements. */
  freeSpace(): Promise<number>;
  /** Writes and reads back; throws StorageFull or StorageFailed. For the health check. */
  probe(): Promise<void>;

  readonly admin: QueueAdmin;
  readonly users: UserStore;
  readonly policies: PolicyStore;
  readonly reports: TlsReportStore;
  readonly dkimKeys: DkimKeyStore;
  /** Finishes what is under way and closes; later calls reject. */
  close(): Promise<void>;
}

export interface QueueFilter {
  readonly ids?: readonly QueueId[];
  /** `*@example.org` or `example.org` match a domain, `a@example.org` one address. */
  readonly from?: string;
  readonly to?: string;
  readonly nextHop?: string;
  readonly reason?: string;
  /** Received before then. */
  readonly receivedBefore?: number;
  /** Without it: what is in the queue, waiting or active. */
  readonly state?: "waiting" | "active" | "finished";
}

/** One line of `queue ls`: an entry. */
export interface EntrySummary {
  readonly id: QueueId;
  readonly state: "active" | "waiting" | "finished";
  readonly sender: ReversePath;
  readonly recipients: readonly {
    readonly address: EmailAddress;
    readonly state: RecipientState;
    /** What was last heard about this one: who took it, or why not. */
    readonly outcome?: RecipientOutcome;
  }[];
  readonly nextHop: NextHop;
  readonly size: number;
  readonly receivedAt: number;
  readonly attempts: number;
  readonly nextAttempt?: number;
  readonly expiresAt: number;
  readonly problem?: DeliveryProblem;
}

export interface DestinationSummary {
  readonly nextHop: NextHop;
  readonly messages: number;
  readonly oldest: number;
  readonly nextAttempt?: number;
  /** Entries by age: under 5 min, 20 min, 80 min, 5 h, 21 h, and older. */
  readonly ages: readonly [number, number, number, number, number, number];
  /** The most common reason among them. */
  readonly problem?: DeliveryProblem;
}

export interface QueueTotals {
  readonly waiting: number;
  readonly active: number;
  readonly oldest?: number;
  readonly nextAttempt?: number;
}

/** Everything known about one message, for `queue why`. */
export interface MessageStory {
  readonly message: Omit<NewMessage, "recipients">;
  readonly entries: readonly (EntrySummary & { readonly attemptRecords: readonly AttemptRecord[] })[];
}

/** What people ask and order; never on the hot path, never blocking it. */
export interface QueueAdmin {
  list(filter: QueueFilter, page: { limit: number; after?: string }): Promise<{ entries: EntrySummary[]; next?: string }>;
  totals(): Promise<QueueTotals>;
  destinations(now: number, limit: number): Promise<DestinationSummary[]>;
  story(id: QueueId): Promise<MessageStory | undefined>;
  /** Makes matching entries due now. Returns the next hops touched and how many entries. */
  retryNow(filter: QueueFilter, now: number): Promise<{ entries: number; nextHops: NextHop[] }>;
  countByReason(): Promise<{ type: ProblemType; entries: number }[]>;
  /** Removes finished messages and their attempts that ended before then. Works in small bites. */
  forgetFinished(before: number): Promise<number>;
}

export interface User {
  readonly name: string;
  /** `scrypt$N$r$p$salt$hash`, see submission/password.ts. */
  readonly passwordHash: string;
  /** Addresses or `@domain` or `@.domain` (with subdomains) the user may send as; empty means any allowed sender domain. */
  readonly maySendAs: readonly string[];
  readonly createdAt: number;
}

export interface UserStore {
  list(): Promise<User[]>;
  /** Adds or replaces. */
  save(user: User): Promise<void>;
  /** False when there was none. */
  remove(name: string): Promise<boolean>;
}

/** A domain's MTA-STS policy as it is kept over restarts, with what became of the latest fetch (RFC 8461 §3.3, §10.2). */
export interface KeptStsPolicy {
  readonly policyDomain: Domain;
  /** The last policy that was fetched and valid; it stays until it expires, whatever fails since. */
  readonly policy?: {
    /** `id` of the TXT record that led to the fetch. */
    readonly id: string;
    /** As served; parsed again when it is read. */
    readonly text: string;
    readonly fetchedAt: number;
    readonly expires: number;
  };
  /** The latest fetch failed: nothing is fetched for the same `id` until its time has passed. */
  readonly failure?: { readonly id: string; readonly at: number; readonly failures: number; readonly failure: TlsFailure };
  /** When mail last asked for it; the daily refresh stops for domains long unused. */
  readonly lastUsed: number;
}

/** What published policy is remembered by. Small, and off the hot path: callers keep what they use in memory. */
export interface PolicyStore {
  findSts(policyDomain: Domain): Promise<KeptStsPolicy | undefined>;
  /** Adds or replaces. */
  saveSts(kept: KeptStsPolicy): Promise<void>;
  /** False when there was none. */
  forgetSts(policyDomain: Domain): Promise<boolean>;
  /** In order of the domain. */
  listSts(page: { readonly limit: number; readonly after?: string }): Promise<{ policies: KeptStsPolicy[]; next?: string }>;
  /** Mail for this next hop met a host with secure TLSA records; the latest time is kept. */
  noteDane(nextHop: NextHop, at: number): Promise<void>;
  /** When that was last so, if ever. */
  findDane(nextHop: NextHop): Promise<number | undefined>;
}
