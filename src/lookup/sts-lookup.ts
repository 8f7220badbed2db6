/**
 * The MTA-STS policy to apply to mail for a domain (RFC 8461 §3, §5.1): a policy domain in, a `StsFinding` out. It asks
 * for the TXT record each time, through a DNS client that keeps answers for their TTL; fetches where
 * policy/sts-freshness.ts says so, once for all who wait; and keeps what it learns in lookup/sts-memory.ts. A domain whose
 * policy is known and whose record is in the DNS client's cache costs no database, no parsing and no connection.
 */
import type { Clock } from "../clock.ts";
import type { EmitEvent } from "../events.ts";
import type { Domain } from "../mail/domain.ts";
import type { Finding, FindStsPolicy, FindTxt, StsFinding } from "../policy/facts.ts";
import type { TlsFailure } from "../policy/outcome.ts";
import {
  afterFetch,
  correctedFor,
  expiryOf,
  type FetchedPolicy,
  judgeSts,
  mayFetch,
  type RefreshRules,
  type StsDiscovery,
  type StsFetchResult,
  type StsStep,
  validPolicy,
} from "../policy/sts-freshness.ts";
import { parseStsRecords } from "../policy/sts-record.ts";
import type { PolicyRefresh } from "../queue/check.ts";
import type { KeptStsPolicy, PolicyStore } from "../queue/store.ts";
import { tellOfFetch } from "./sts-events.ts";
import type { FetchStsPolicy } from "./sts-fetch.ts";
import { createFetchLane } from "./sts-lane.ts";
import { createStsMemory, type StsEntry } from "./sts-memory.ts";
import { createStsRefresher } from "./sts-refresh.ts";

export interface StsLookupSettings extends RefreshRules {
  /** Milliseconds; mail waits for a fetch no longer. */
  readonly fetchTimeout: number;
  readonly concurrentFetches: number;
}

export interface StsLookupIo {
  readonly findTxt: FindTxt;
  readonly fetch: FetchStsPolicy;
  readonly store: PolicyStore;
  readonly clock: Clock;
  readonly random: () => number;
  readonly emit: EmitEvent;
  /** Asked each time, so that a new configuration counts at once. */
  readonly settings: () => StsLookupSettings;
  /** Domains in memory. */
  readonly most?: number;
}

export interface StsLookup {
  /**
   * Rejects only where our own store cannot say what is kept, or the process ends: then nobody knows that there is no
   * policy, and the attempt must not be made.
   */
  readonly find: FindStsPolicy;
  /** Fetches now, whatever failed lately. */
  refresh(policyDomain: Domain): Promise<PolicyRefresh>;
  show(policyDomain: Domain): Promise<KeptStsPolicy | undefined>;
  list(page: { readonly limit: number; readonly after?: string }): Promise<{ policies: KeptStsPolicy[]; next?: string }>;
  /** Begins to refresh in the background. Resolves when the store has been gone through. */
  start(): Promise<void>;
  /** Ends what is under way; resolves when all that was learnt is written. */
  stop(): Promise<void>;
}

/** Milliseconds that mail waits beyond the time of a fetch, so that the fetch is what ends. */
const SLACK = 5_000;

/** A fetch under way, for all who wait for it. Undefined where its turn did not come. */
interface Flight {
  readonly id: string;
  readonly done: Promise<StsFetchResult | undefined>;
}

export function createStsLookup(io: StsLookupIo): StsLookup {
  const { clock, settings, emit } = io;
  const memory = createStsMemory({ store: io.store, emit, now: () => clock.now(), ...(io.most !== undefined && { most: io.most }) });
  const lane = createFetchLane(() => settings().concurrentFetches, clock);
  const flights = new Map<Domain, Flight>();
  const stopping = new AbortController();

  const discover = async (policyDomain: Domain): Promise<{ entry: StsEntry; record: StsDiscovery }> => {
    const loading = memory.peek(policyDomain) === undefined ? memory.load(policyDomain) : undefined;
    // Its failure is met below, when DNS has answered.
    loading?.catch(() => {});
    const answer = await io.findTxt(recordName(policyDomain));
    await loading;
    const entry = memory.peek(policyDomain) ?? (await memory.load(policyDomain));
    if (stopping.signal.aborted) throw new Error("the relay stops, and asks for no policy any more");
    if (entry.read?.answer !== answer) entry.read = { answer, says: whatItSays(answer) };
    const corrected = correctedFor(entry.known, clock.now());
    if (corrected !== entry.known) memory.keep(entry, corrected);
    return { entry, record: entry.read.says };
  };

  const launch = (policyDomain: Domain, id: string): Flight => {
    const fetching = async (): Promise<StsFetchResult | undefined> => {
      try {
        const result = await lane.run(settings().fetchTimeout, (slow) => io.fetch(policyDomain, AbortSignal.any([slow, stopping.signal])));
        // What the end of the process broke off says nothing of the host.
        if (result !== undefined && !stopping.signal.aborted) await note(policyDomain, id, result);
        return result;
      } finally {
        flights.delete(policyDomain);
      }
    };
    const flight = { id, done: fetching() };
    flights.set(policyDomain, flight);
    return flight;
  };

  const note = async (policyDomain: Domain, id: string, result: StsFetchResult): Promise<void> => {
    const entry = await memory.load(policyDomain);
    const before = entry.known;
    const now = clock.now();
    memory.keep(entry, afterFetch(before, id, result, now));
    refresher.plan(policyDomain, entry.known);
    tellOfFetch({ policyDomain, id, result, before, after: entry.known, now }, emit);
  };

  const find = async (policyDomain: Domain): Promise<StsFinding> => {
    const { entry, record } = await discover(policyDomain);
    const end = clock.monotonic() + settings().fetchTimeout + SLACK;
    memory.noteUse(entry, clock.now());
    for (;;) {
      const { known } = memory.peek(policyDomain) ?? (await memory.load(policyDomain));
      if (known.fetched !== undefined && !refresher.isPlanned(policyDomain)) refresher.plan(policyDomain, known);
      const step = judgeSts(known, record, recordName(policyDomain), clock.now(), settings().retryAfter);
      if (step.do !== "fetch") return findingOf(policyDomain, step);
      const flight = flights.get(policyDomain) ?? launch(policyDomain, step.id);
      const result = await within(flight.done, end - clock.monotonic(), clock);
      if (stopping.signal.aborted) throw new Error("the relay stops, and asks for no policy any more");
      if (result === undefined) return withoutFetch(policyDomain, validPolicy(known, clock.now()));
      // Of max_age 0 nothing was kept: it is for those who waited for it.
      if (result.ok && flight.id === step.id)
        return findingOf(policyDomain, { do: "apply", fetched: fetchedNow(result, step.id, clock.now()) });
      // Otherwise what is kept now says how to go on: also with a flight for another id, of before the record changed.
    }
  };

  /** Fetches whatever the record says, as long as there is a record or a policy (RFC 8461 §3.3, §10.2). */
  const refetch = async (policyDomain: Domain, patient: boolean): Promise<PolicyRefresh> => {
    const { entry, record } = await discover(policyDomain);
    const before = validPolicy(entry.known, clock.now());
    const id = record.kind === "record" ? record.id : before?.id;
    const report = { policyDomain, record, ...(before !== undefined && { before }) };
    const held = id === undefined || (patient && !mayFetch(entry.known, id, clock.now(), settings().retryAfter));
    if (!held) await flights.get(policyDomain)?.done;
    const result = held ? undefined : await (flights.get(policyDomain) ?? launch(policyDomain, id)).done;
    const { known } = await memory.load(policyDomain);
    const finding: StsFinding =
      result?.ok === true && id !== undefined
        ? findingOf(policyDomain, { do: "apply", fetched: fetchedNow(result, id, clock.now()) })
        : settled(policyDomain, judgeSts(known, record, recordName(policyDomain), clock.now(), settings().retryAfter), known.fetched);
    return { ...report, finding, ...(result !== undefined && { fetch: result }) };
  };

  const settled = (policyDomain: Domain, step: StsStep, fetched: FetchedPolicy | undefined): StsFinding =>
    step.do === "fetch"
      ? withoutFetch(policyDomain, fetched === undefined ? undefined : validPolicy({ fetched }, clock.now()))
      : findingOf(policyDomain, step);

  const refresher = createStsRefresher({
    memory,
    store: io.store,
    clock,
    random: io.random,
    emit,
    rules: settings,
    refresh: async (policyDomain) => {
      if (!stopping.signal.aborted) await refetch(policyDomain, true);
    },
  });

  return {
    find(policyDomain) {
      const finding = find(policyDomain);
      // Whoever asks may have other questions out and come back to this one later: no rejection is unhandled meanwhile.
      finding.catch(() => {});
      return finding;
    },
    refresh: (policyDomain) => refetch(policyDomain, false),
    show: (policyDomain) => memory.show(policyDomain),
    list: (page) => io.store.listSts(page),
    start: () => refresher.start(),
    async stop() {
      refresher.stop();
      stopping.abort("the relay stops");
      await Promise.allSettled([...flights.values()].map(({ done }) => done));
      await memory.flush();
    },
  };
}

function recordName(policyDomain: Domain): string {
  return `_mta-sts.${policyDomain}`;
}

/** Whatever is no answer means that no live policy was found now (RFC 8461 §3.1). */
function whatItSays(answer: Finding<readonly Buffer[]>): StsDiscovery {
  switch (answer.kind) {
    case "answer":
      return parseStsRecords(answer.records);
    case "no-such-name":
      return { kind: "none", reason: "absent", detail: "there is no record" };
    case "failed":
      // No record can stand at a name that cannot be. A resolver that cannot be reached is this relay's own.
      if (answer.reason === "not-a-name") return { kind: "none", reason: "absent", detail: answer.detail };
      return { kind: "failed", detail: answer.detail, whoActs: answer.reason === "unreachable" ? "you" : "receiver" };
  }
}

function findingOf(policyDomain: Domain, step: Exclude<StsStep, { do: "fetch" }>): StsFinding {
  switch (step.do) {
    case "nothing":
      return { kind: "none", policyDomain, ...(step.trouble !== undefined && { trouble: step.trouble }) };
    case "unavailable":
      return { kind: "unavailable", policyDomain, failure: step.failure };
    case "apply":
      return { kind: "policy", policyDomain, ...step.fetched, ...(step.trouble !== undefined && { trouble: step.trouble }) };
  }
}

/** No fetch came to its end in time: not for want of a policy, so what is kept holds. */
function withoutFetch(policyDomain: Domain, valid: FetchedPolicy | undefined): StsFinding {
  const failure: TlsFailure = {
    type: "sts-policy-fetch-error",
    detail: `the policy of ${policyDomain} was not fetched in time, since too many others are being fetched`,
    whoActs: "nobody",
    code: "too-many-fetches",
  };
  if (valid === undefined) return { kind: "unavailable", policyDomain, failure };
  return findingOf(policyDomain, { do: "apply", fetched: valid, ...(valid.policy.mode !== "none" && { trouble: failure }) });
}

function fetchedNow({ policy }: StsFetchResult & { ok: true }, id: string, now: number): FetchedPolicy {
  return { policy, id, fetchedAt: now, expires: expiryOf(now, policy) };
}

/** What a promise gives, or undefined once `limit` ms have passed. */
function within<T>(promise: Promise<T>, limit: number, clock: Clock): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(Math.max(0, limit), () => resolve(undefined));
    promise.then(resolve, reject).finally(cancel);
  });
}
