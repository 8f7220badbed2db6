/**
 * A reporter over a real store, under a clock that is moved. DNS, collectors and the mail queue are scripted: what is asked of
 * them, and when, is kept.
 */
import { onTestFinished } from "vitest";
import type { PosternEvent } from "../../src/events.ts";
import type { EmailAddress } from "../../src/mail/address.ts";
import type { Domain } from "../../src/mail/domain.ts";
import type { TlsObservation } from "../../src/policy/observation.ts";
import type { Finding } from "../../src/policy/facts.ts";
import type { QueueId } from "../../src/queue/entry.ts";
import { type ReportDay, reportDayOf, type TlsReport, type TlsReportStore } from "../../src/queue/tls-reports.ts";
import type { MailOutcome, ReportMail } from "../../src/report/mail-out.ts";
import type { PostResult } from "../../src/report/post.ts";
import { createReporter, type Reporter, type ReporterIo, type ReporterSettings } from "../../src/report/reporter.ts";
import type { SqliteStore } from "../../src/store/sqlite/open.ts";
import { newFolder, observation, observe, openTestStore, type TestClock } from "../store/make.ts";
import { MovedClock, settled } from "../support/moved-clock.ts";

export const SECOND = 1_000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** 1 September 2026, 12:00 UTC: the day that is counted, unless a test says otherwise. */
export const NOON = Date.UTC(2026, 8, 1, 12);
export const MIDNIGHT = Date.UTC(2026, 8, 2);
export const FIRST = reportDayOf(NOON);
export const SECOND_DAY = reportDayOf(MIDNIGHT);

export const COLLECTOR = "https://reports.example.test/in";
export const MAILBOX = "mailto:tls@example.test";

export interface Posted {
  readonly url: string;
  readonly body: Buffer;
  readonly at: number;
}

export interface Queued extends ReportMail {
  readonly id: QueueId;
  readonly at: number;
}

export const ACCEPTED: PostResult = { ok: true, detail: "200 from reports.example.test" };
export const answered = (status: number, refused = false): PostResult => ({
  ok: false,
  detail: `${status} from reports.example.test`,
  refused,
  stopped: false,
});
export const SERVFAIL: Finding<readonly Buffer[]> = { kind: "failed", reason: "servfail", detail: "SERVFAIL from 127.0.0.1" };

/** The store with some of its promises kept otherwise. */
export function reportsWith(reports: TlsReportStore, change: (name: keyof TlsReportStore) => unknown): TlsReportStore {
  return new Proxy(reports, {
    get: (target, name) => {
      const found: unknown = change(name as keyof TlsReportStore) ?? Reflect.get(target, name);
      return typeof found === "function" ? (...given: unknown[]): unknown => Reflect.apply(found, target, given) : found;
    },
  });
}

export const domain = (name: string): Domain => name as Domain;

export class ReporterWorld {
  readonly clock: MovedClock;
  readonly store: SqliteStore;
  readonly events: PosternEvent[] = [];
  readonly posted: Posted[] = [];
  readonly mails: Queued[] = [];
  readonly asked: { readonly name: string; readonly at: number }[] = [];
  /** By report domain: the texts of its records, or what the look-up gives. */
  readonly records = new Map<string, string | Finding<readonly Buffer[]>>();
  /** By URL; what is not named here accepts. */
  readonly answers = new Map<string, (body: Buffer, stop: AbortSignal) => PostResult | Promise<PostResult>>();
  readonly outcomes = new Map<QueueId, MailOutcome>();
  signs = true;
  settings: ReporterSettings = {
    from: "tlsrpt@sender.test" as EmailAddress,
    organization: "Sender",
    exclude: [],
    spread: 4 * HOUR,
    retryFor: DAY,
    perHost: 1000,
    keep: 30 * DAY,
  };
  /** Reporters under way. */
  readonly #reporters = new Set<Reporter>();
  #pending = 0;
  #random = 1;

  private constructor(clock: MovedClock, store: SqliteStore) {
    this.clock = clock;
    this.store = store;
  }

  static async open(now = NOON): Promise<ReporterWorld> {
    const clock = new MovedClock(now);
    const { store } = await openTestStore({ folder: newFolder(), clock: clock as unknown as TestClock });
    const world = new ReporterWorld(clock, store);
    onTestFinished(() => Promise.all([...world.#reporters].map((reporter) => world.stop(reporter))).then(() => undefined));
    return world;
  }

  /** Chance, the same in each run. */
  readonly random = (): number => {
    this.#random = (this.#random * 48_271) % 2_147_483_647;
    return this.#random / 2_147_483_647;
  };

  /** One session with that domain, at this moment unless told otherwise. */
  async count(reportDomain = "example.test", more: Partial<TlsObservation> = {}): Promise<void> {
    await observe(this.store, observation({ at: this.clock.now(), reportDomain: domain(reportDomain), ...more }));
  }

  publish(reportDomain: string, ...uris: string[]): void {
    this.records.set(reportDomain, `v=TLSRPTv1; rua=${uris.join(",")}`);
  }

  answer(url: string, ...results: PostResult[]): void {
    let next = 0;
    this.answers.set(url, () => results[Math.min(next++, results.length - 1)] ?? ACCEPTED);
  }

  /** A node: another one each time. `reports` may stand in for the store's own. */
  reporter(reports: TlsReportStore = this.store.reports, more: Partial<ReporterIo> = {}): Reporter {
    const made = createReporter({
      reports: this.#watched(reports),
      findTxt: async (name) => {
        this.asked.push({ name, at: this.clock.now() });
        const found = this.records.get(name.replace(/^_smtp\._tls\./, ""));
        if (typeof found === "object") return found;
        const known = { security: "insecure", expires: this.clock.now() } as const;
        if (found === undefined) return { kind: "no-such-name", ...known };
        return { kind: "answer", records: [[Buffer.from(found)]], canonicalName: name, ...known };
      },
      post: async (url, body, stop) => {
        this.posted.push({ url, body, at: this.clock.now() });
        return (await this.answers.get(url)?.(body, stop)) ?? ACCEPTED;
      },
      enqueue: async (mail) => {
        const id = `MAIL${this.mails.length + 1}` as QueueId;
        this.mails.push({ ...mail, id, at: this.clock.now() });
        return id;
      },
      outcomeOf: async (id) => this.outcomes.get(id) ?? "waiting",
      findSigningDomain: (author) => (this.signs ? author : undefined),
      settings: () => this.settings,
      clock: this.clock,
      random: this.random,
      emit: (event) => void this.events.push(event),
      ...more,
    });
    this.#reporters.add(made);
    return made;
  }

  async stop(reporter: Reporter): Promise<void> {
    this.#reporters.delete(reporter);
    const stopped = reporter.stop();
    // What does not end by itself gets its grace, twice.
    await this.pass(10 * SECOND, 5 * SECOND);
    await stopped;
  }

  /** Moves time on in steps, and lets the reporters come to rest after each. */
  async pass(milliseconds: number, step = MINUTE): Promise<void> {
    for (let left = milliseconds; left > 0; left -= step) {
      await this.quiet();
      await this.clock.pass(Math.min(step, left));
    }
    await this.quiet();
  }

  /** In large steps through the first day, on which nothing is due. */
  async passUntil(time: number, step?: number): Promise<void> {
    await this.pass(Math.min(time, MIDNIGHT - MINUTE) - this.clock.now(), HOUR);
    await this.pass(time - this.clock.now(), step);
  }

  /** Until nobody waits for the store any more. */
  async quiet(): Promise<void> {
    for (let calm = 0; calm < 2; ) {
      await settled();
      calm = this.#pending === 0 ? calm + 1 : 0;
    }
  }

  async report(reportDomain = "example.test", day: ReportDay = FIRST): Promise<TlsReport | undefined> {
    return this.store.reports.find(day, domain(reportDomain));
  }

  async state(reportDomain?: string, day?: ReportDay): Promise<string> {
    return (await this.report(reportDomain, day))?.state ?? "absent";
  }

  told(kind: PosternEvent["kind"]): PosternEvent[] {
    return this.events.filter((event) => event.kind === kind);
  }

  /** Knows when an answer of the store is outstanding. */
  #watched(reports: TlsReportStore): TlsReportStore {
    return new Proxy(reports, {
      get: (target, name) => {
        const found: unknown = Reflect.get(target, name);
        if (typeof found !== "function") return found;
        return async (...given: unknown[]): Promise<unknown> => {
          this.#pending += 1;
          try {
            return (await Reflect.apply(found, target, given)) as unknown;
          } finally {
            this.#pending -= 1;
          }
        };
      },
    });
  }
}
