/**
 * What may be asked and ordered of a relay, whoever asks: the control socket (admin/control.ts) when it runs, the
 * command line on the bare database when it does not, the HTTP API later. JSON in, JSON out; requests are checked here.
 */
import { z } from "zod";
import type { Clock } from "../clock.ts";
import type { ResolverStatus } from "../lookup/resolver.ts";
import type { NextHop } from "../mail/domain.ts";
import type { DnssecState } from "../policy/facts.ts";
import type { CheckDestination, PolicyDesk } from "../queue/check.ts";
import type { EntrySummary, MessageStory, QueueAdmin, QueueFilter, QueueStore, StorageTrouble, UserStore } from "../queue/store.ts";
import type { DestinationSummary, QueueTotals } from "../queue/store.ts";
import type { QueueId } from "../queue/entry.ts";
import type { AttemptRecord, ProblemType } from "../queue/settlement.ts";
import { messageOf } from "../thrown.ts";
import { type Advice, advise, findDecisive } from "./advice.ts";
import { BadRequest } from "./bad-request.ts";
import { checkKeys, type KeyIo, keyRecords, type KeyList, type KeyRecords, listKeys, rotateKeys } from "./dkim.ts";
import { listPolicies, type PolicyList, type PolicyRefreshed, type PolicyView, refreshPolicy, showPolicy } from "./policies.ts";
import {
  type CountedDay,
  listCounted,
  listReports,
  type OneReport,
  previewReport,
  type ReportIo,
  type ReportList,
  type ReportPreview,
  type ReportSummary,
  sendReport,
  type SentReport,
  showReport,
  summariseReports,
} from "./tlsrpt.ts";

export interface ListenerStatus {
  readonly name: string;
  readonly address: string;
  /** The port in use, also where the setting says 0. */
  readonly port: number;
  readonly tls: string;
  /** STARTTLS is configured, and cannot be offered. */
  readonly lacksCertificate?: true;
  readonly login: string;
  readonly open: boolean;
}

export interface RelayStatus {
  readonly version: string;
  readonly pid: number;
  readonly startedAt: number;
  readonly dataFolder: string;
  readonly listeners: readonly ListenerStatus[];
  /** True from SIGTERM on: no new mail is taken. */
  readonly draining: boolean;
}

/** `pid`: of the one that Postern started, while it runs. */
export type ShownResolvers = Pick<ResolverStatus, "servers" | "pid">;

export type ReloadResult =
  | {
      readonly ok: true;
      readonly changed: readonly string[];
      /** What of it takes effect at the next start only. */
      readonly needsRestart?: readonly string[];
    }
  | { readonly ok: false; readonly errors: readonly string[] };

/** Everything the handlers work on. Without a running relay there is nothing to wake, reload or report. */
export interface AdminIo extends ReportIo, KeyIo {
  readonly admin: QueueAdmin;
  readonly users: UserStore;
  readonly store: Pick<QueueStore, "probe" | "trouble">;
  /** Tells delivery that entries of these next hops are due now, also where a destination was left alone. */
  wake(nextHops: readonly NextHop[]): void;
  /** Users were changed: remembered logins are forgotten. */
  usersChanged(): void;
  reload(): Promise<ReloadResult>;
  status(): RelayStatus | undefined;
  readonly policies: PolicyDesk;
  readonly check: CheckDestination;
  /** What the resolver is worth; undefined where none is in use. */
  dnssec(): DnssecState | undefined;
  /** Each resolver as it is now; undefined where none is in use. */
  resolvers(): ShownResolvers | undefined;
  /** Why no question at all can be asked of DNS just now, in a clean sentence; undefined while it can. */
  lookupTrouble(): string | undefined;
  readonly clock: Clock;
}

const text = z.string().min(1).max(320);
const day = z.string().max(40);
const after = z.string().max(600).optional();
const page = { limit: z.int().min(1).max(1000).default(100), after };
const filter = z.strictObject({
  ids: z.array(z.string().min(1).max(32)).max(10_000).optional(),
  from: text.optional(),
  to: text.optional(),
  nextHop: text.optional(),
  reason: text.optional(),
  receivedBefore: z.number().optional(),
  state: z.enum(["waiting", "active", "finished"]).optional(),
});
const requests = {
  "queue/list": z.strictObject({
    filter: filter.default({}),
    limit: z.int().min(1).max(1000).default(100),
    after: z.string().max(200).optional(),
  }),
  "queue/summary": z.strictObject({ limit: z.int().min(1).max(1000).default(20) }),
  "queue/story": z.strictObject({ id: z.string().min(1).max(32) }),
  "queue/retry": z.strictObject({ filter, dryRun: z.boolean().default(false) }),
  "users/list": z.strictObject({}),
  "users/save": z.strictObject({
    name: z.string().min(1).max(255),
    passwordHash: z.string().min(1).max(500),
    maySendAs: z.array(text).max(1000).default([]),
  }),
  "users/remove": z.strictObject({ name: z.string().min(1).max(255) }),
  "policy/list": z.strictObject({ limit: z.int().min(1).max(1000).default(100), after: z.string().max(300).optional() }),
  "policy/show": z.strictObject({ domain: text.optional() }),
  "policy/refresh": z.strictObject({ domain: text }),
  "tlsrpt/today": z.strictObject({ domain: text.optional(), day: day.optional(), failed: z.boolean().default(false), ...page }),
  "tlsrpt/list": z.strictObject({
    day: day.optional(),
    domain: text.optional(),
    state: z.enum(["due", "sending", "sent", "not-asked", "failed"]).optional(),
    ...page,
  }),
  "tlsrpt/show": z.strictObject({ domain: text, day: day.optional() }),
  "tlsrpt/send": z.strictObject({ domain: text, day: day.optional() }),
  "tlsrpt/preview": z.strictObject({ domain: text, day: day.optional() }),
  "tlsrpt/summary": z.strictObject({}),
  "dkim/list": z.strictObject({}),
  "dkim/dns": z.strictObject({ domain: text.optional() }),
  "dkim/rotate": z.strictObject({ domain: text }),
  "dkim/check": z.strictObject({}),
  health: z.strictObject({}),
  status: z.strictObject({}),
  reload: z.strictObject({}),
};

export type Verb = keyof typeof requests;
export type Request<V extends Verb> = z.input<(typeof requests)[V]>;

export interface EntryStory extends EntrySummary {
  readonly attemptRecords: readonly AttemptRecord[];
  /** Present when there is a problem to act on. */
  readonly advice?: Advice;
}

export interface Health {
  readonly healthy: boolean;
  /** One line: `ok`, or what is wrong. */
  readonly text: string;
  readonly trouble?: StorageTrouble;
  readonly dnssec?: DnssecState;
}

/** A user as shown: without the hash, which helps nobody but a thief. */
export interface ShownUser {
  readonly name: string;
  readonly maySendAs: readonly string[];
  readonly createdAt: number;
}

export interface Answers {
  "queue/list": { readonly entries: readonly EntrySummary[]; readonly next?: string };
  "queue/summary": {
    readonly now: number;
    readonly totals: QueueTotals;
    readonly destinations: readonly DestinationSummary[];
    readonly reasons: readonly { type: ProblemType; entries: number }[];
  };
  "queue/story": { readonly now: number; readonly message?: MessageStory["message"]; readonly entries: readonly EntryStory[] };
  "queue/retry": { readonly entries: number; readonly nextHops: readonly string[] };
  "users/list": { readonly users: readonly ShownUser[] };
  "users/save": { readonly replaced: boolean };
  "users/remove": { readonly removed: boolean };
  "policy/list": PolicyList;
  "policy/show": PolicyView;
  "policy/refresh": PolicyRefreshed;
  "tlsrpt/today": CountedDay;
  "tlsrpt/list": ReportList;
  "tlsrpt/show": OneReport;
  "tlsrpt/send": SentReport;
  "tlsrpt/preview": ReportPreview;
  "tlsrpt/summary": ReportSummary;
  "dkim/list": KeyList;
  "dkim/dns": KeyRecords;
  "dkim/rotate": KeyRecords;
  "dkim/check": KeyList;
  health: Health;
  status: {
    readonly running: boolean;
    readonly relay?: RelayStatus;
    readonly dnssec?: DnssecState;
    readonly resolvers?: ShownResolvers;
  };
  reload: ReloadResult;
}

type Handlers = { readonly [V in Verb]: (request: z.output<(typeof requests)[V]>, io: AdminIo) => Promise<Answers[V]> };

const handlers: Handlers = {
  "queue/list": ({ filter: wanted, limit, after }, io) =>
    io.admin.list(queueFilter(wanted), { limit, ...(after !== undefined && { after }) }),

  async "queue/summary"({ limit }, io) {
    const now = io.clock.now();
    const [totals, destinations, reasons] = await Promise.all([
      io.admin.totals(),
      io.admin.destinations(now, limit),
      io.admin.countByReason(),
    ]);
    return { now, totals, destinations, reasons };
  },

  async "queue/story"({ id }, io) {
    const story = await io.admin.story(id as QueueId);
    if (story === undefined) return { now: io.clock.now(), entries: [] };
    return { now: io.clock.now(), message: story.message, entries: story.entries.map((entry) => withAdvice(entry, story.message)) };
  },

  async "queue/retry"({ filter: wanted, dryRun }, io) {
    const asked = queueFilter(wanted);
    if (Object.keys(asked).length === 0) throw new BadRequest("say which messages: ids, or a filter");
    if (dryRun) return { entries: await countWaiting(asked, io), nextHops: [] };
    const done = await io.admin.retryNow(asked, io.clock.now());
    if (done.nextHops.length > 0) io.wake(done.nextHops);
    return done;
  },

  async "users/list"(_request, io) {
    const users = await io.users.list();
    return { users: users.map(({ name, maySendAs, createdAt }) => ({ name, maySendAs, createdAt })) };
  },

  async "users/save"({ name, passwordHash, maySendAs }, io) {
    const before = (await io.users.list()).find((user) => user.name === name);
    await io.users.save({ name, passwordHash, maySendAs, createdAt: before?.createdAt ?? io.clock.now() });
    io.usersChanged();
    return { replaced: before !== undefined };
  },

  async "users/remove"({ name }, io) {
    const removed = await io.users.remove(name);
    if (removed) io.usersChanged();
    return { removed };
  },

  async health(_request, io) {
    const status = io.status();
    if (status === undefined) return { healthy: false, text: "the relay is not running" };
    if (status.draining) return { healthy: false, text: "the relay is stopping" };
    const closed = status.listeners.filter((listener) => !listener.open);
    if (status.listeners.length === 0) return { healthy: false, text: "no listener is open" };
    if (closed.length > 0)
      return {
        healthy: false,
        text: `not listening: ${closed.map((listener) => `${listener.name} ${listener.address}:${listener.port}`).join(", ")}`,
      };
    const trouble = io.store.trouble();
    try {
      await io.store.probe();
    } catch (error) {
      return {
        healthy: false,
        text: `the database cannot be written: ${messageOf(error)}`,
        ...(trouble !== undefined && { trouble }),
      };
    }
    if (trouble !== undefined) return { healthy: false, text: TROUBLE[trouble], trouble };
    const dnssec = io.dnssec();
    const seen = dnssec === undefined ? {} : { dnssec };
    const lookups = io.lookupTrouble();
    if (lookups !== undefined) return { healthy: false, text: `nothing can be looked up, so no mail goes out: ${lookups}`, ...seen };
    const listening = `ok: listening on ${status.listeners.map((listener) => listener.name).join(", ")}; the database takes writes`;
    // Mail still goes by MTA-STS and the floors, and what is known to need DANE waits: a warning, no reason for a restart.
    return { healthy: true, text: dnssec?.kind === "blind" ? `${listening}; warning: DNSSEC-blind, ${dnssec.detail}` : listening, ...seen };
  },

  "policy/list": ({ limit, after }, io) => listPolicies({ limit, ...(after !== undefined && { after }) }, io),
  "policy/show": ({ domain }, io) => showPolicy(domain, io),
  "policy/refresh": ({ domain }, io) => refreshPolicy(domain, io),

  "tlsrpt/today": (request, io) => listCounted(request, io),
  "tlsrpt/list": (request, io) => listReports(request, io),
  "tlsrpt/show": ({ domain, day: asked }, io) => showReport(domain, asked, io),
  "tlsrpt/send": ({ domain, day: asked }, io) => sendReport(domain, asked, io),
  "tlsrpt/preview": ({ domain, day: asked }, io) => previewReport(domain, asked, io),
  "tlsrpt/summary": (_request, io) => summariseReports(io),

  "dkim/list": (_request, io) => listKeys(io),
  "dkim/dns": ({ domain }, io) => keyRecords(domain, io),
  "dkim/rotate": ({ domain }, io) => rotateKeys(domain, io),
  "dkim/check": (_request, io) => checkKeys(io),

  status(_request, io) {
    const relay = io.status();
    if (relay === undefined) return Promise.resolve({ running: false });
    const dnssec = io.dnssec();
    const resolvers = io.resolvers();
    return Promise.resolve({
      running: true,
      relay,
      ...(dnssec !== undefined && { dnssec }),
      ...(resolvers !== undefined && { resolvers }),
    });
  },

  reload: (_request, io) => io.reload(),
};

const TROUBLE: Readonly<Record<StorageTrouble, string>> = {
  full: "the disk is nearly full: new mail is refused (data.minimumFree)",
  reserve: "the disk is full: neither mail is taken nor delivered (data.settlementReserve)",
  failed: "the database failed",
};

export function isVerb(name: string): name is Verb {
  return Object.hasOwn(handlers, name);
}

/** Checks the request and does what it asks. Throws BadRequest with a sentence for whoever asked. */
export async function answer<V extends Verb>(verb: V, request: unknown, io: AdminIo): Promise<Answers[V]> {
  const checked = requests[verb].safeParse(request);
  if (!checked.success) {
    throw new BadRequest(checked.error.issues.map((issue) => `${issue.path.join(".") || verb}: ${issue.message}`).join("; "));
  }
  return handlers[verb](checked.data as z.output<(typeof requests)[V]>, io);
}

/** The wire's filter without its undefined members, as the store's type wants it. */
function queueFilter(wanted: z.output<typeof filter>): QueueFilter {
  return Object.fromEntries(Object.entries(wanted).filter(([, value]) => value !== undefined)) as QueueFilter;
}

/** Counts what a retry would touch, page by page, so that a long queue is never in memory at once. */
async function countWaiting(wanted: QueueFilter, io: AdminIo): Promise<number> {
  let entries = 0;
  let after: string | undefined;
  do {
    const page = await io.admin.list({ ...wanted, state: "waiting" }, { limit: 1000, ...(after !== undefined && { after }) });
    entries += page.entries.length;
    after = page.next;
  } while (after !== undefined);
  return entries;
}

function withAdvice(entry: MessageStory["entries"][number], { sender, tlsTag }: MessageStory["message"]): EntryStory {
  if (entry.problem === undefined) return entry;
  const last = entry.attemptRecords.at(-1);
  const report = last === undefined ? undefined : findDecisive(last.hosts, entry.problem);
  const advice = advise(entry.problem, {
    nextHop: entry.nextHop,
    id: entry.id,
    waits: entry.state !== "finished",
    ...(isUntried(entry) && { untried: true }),
    ...(sender === "" && tlsTag === "required" && { neverClear: true }),
    ...(last !== undefined && { demanded: last.demanded }),
    ...(report !== undefined && { report }),
  });
  return { ...entry, advice };
}

/** It waits with its destination: the problem it shows is another message's, and nothing is known of its own demands. */
export function isUntried({ state, attemptRecords }: Pick<EntryStory, "state" | "attemptRecords">): boolean {
  return state !== "finished" && attemptRecords.length === 0;
}
