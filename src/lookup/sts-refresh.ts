/**
 * Policies are fetched again before they are needed (RFC 8461 §3.3, §10.2): about once a day, in random order over the
 * day, whatever their TXT records say, for as long as somebody mails the domain. So an attacker must stand in the way of
 * every refresh for the whole life of a policy, not of one look-up. When one is due is policy/sts-freshness.ts.
 */
import type { CancelTimer, Clock } from "../clock.ts";
import type { EmitEvent } from "../events.ts";
import type { Domain } from "../mail/domain.ts";
import { isUnused, type KnownTimes, nextRefresh, type RefreshRules } from "../policy/sts-freshness.ts";
import type { KeptStsPolicy, PolicyStore } from "../queue/store.ts";
import { errorOf } from "../thrown.ts";
import type { StsMemory } from "./sts-memory.ts";

export interface StsRefresher {
  /** Sets the time of the next refresh by what is kept now. */
  plan(policyDomain: Domain, known: KnownTimes): void;
  isPlanned(policyDomain: Domain): boolean;
  /** Plans for what the store has, and begins. */
  start(): Promise<void>;
  stop(): void;
}

export interface StsRefresherIo {
  readonly memory: StsMemory;
  readonly store: Pick<PolicyStore, "listSts">;
  readonly clock: Clock;
  readonly random: () => number;
  readonly emit: EmitEvent;
  readonly rules: () => RefreshRules & { readonly concurrentFetches: number };
  /** Fetches the policy of a domain again. Never rejects. */
  readonly refresh: (policyDomain: Domain) => Promise<void>;
}

const TICK = 60_000;
const HOUR = 3_600_000;
const DAY = 86_400_000;
const PAGE = 200;
/** Domains planned for; those beyond live until they expire, and are fetched when mail asks. */
const MOST_PLANNED = 100_000;
/** Fetches of the background never take more than this part of all places. */
const SHARE = 4;

export function createStsRefresher(io: StsRefresherIo): StsRefresher {
  const { memory, store, clock, random, emit, rules } = io;
  const planned = new Map<Domain, number>();
  const running = new Set<Domain>();
  let cancelTick: CancelTimer = () => {};
  let stopped = false;
  let nextWalk = 0;
  /** What the walk before this one found of no use. */
  let useless: ReadonlySet<Domain> = new Set();

  const set = (policyDomain: Domain, at: number | undefined): void => {
    if (at === undefined) planned.delete(policyDomain);
    else if (planned.has(policyDomain) || planned.size < MOST_PLANNED) planned.set(policyDomain, at);
  };

  const plan = (policyDomain: Domain, known: KnownTimes): void => set(policyDomain, nextRefresh(known, rules(), clock.now(), random));

  const refreshOne = async (policyDomain: Domain): Promise<void> => {
    running.add(policyDomain);
    try {
      const entry = await memory.load(policyDomain);
      if (isUnused(entry.lastUsed, clock.now(), rules())) {
        planned.delete(policyDomain);
        return;
      }
      await io.refresh(policyDomain);
      plan(policyDomain, (await memory.load(policyDomain)).known);
      // Nothing may have come of it, not even a failure: its turn did not come, or it failed only just now.
      const soonest = clock.now() + rules().retryAfter;
      if ((planned.get(policyDomain) ?? soonest) < soonest) set(policyDomain, soonest);
    } catch (error) {
      // The store is in trouble, not the domain: again in a while.
      set(policyDomain, clock.now() + rules().retryAfter);
      emit({ kind: "fault", where: `refreshing the MTA-STS policy of ${policyDomain}`, error: errorOf(error) });
    } finally {
      running.delete(policyDomain);
      if (!stopped) begin();
    }
  };

  /** Starts what is due, at random among all that is. */
  const begin = (): void => {
    const now = clock.now();
    const free = Math.max(1, Math.floor(rules().concurrentFetches / SHARE)) - running.size;
    if (free <= 0) return;
    const due = [...planned].filter(([policyDomain, at]) => at <= now && !running.has(policyDomain)).map(([policyDomain]) => policyDomain);
    for (let started = 0; started < free && due.length > 0; started += 1) {
      const [chosen] = due.splice(Math.min(due.length - 1, Math.floor(random() * due.length)), 1);
      if (chosen !== undefined) void refreshOne(chosen);
    }
  };

  const tick = (): void => {
    if (stopped) return;
    memory.retry();
    begin();
    if (clock.monotonic() >= nextWalk) {
      nextWalk = clock.monotonic() + DAY;
      void walk();
    }
    cancelTick = clock.after(TICK, tick);
  };

  /**
   * Goes through the store: plans for what is in use, and forgets what two walks, a day apart, found long of no use. A clock that
   * was wrong for a while must not take every policy away.
   */
  const walk = async (): Promise<void> => {
    const found = new Set<Domain>();
    try {
      let after: string | undefined;
      do {
        const page = await store.listSts({ limit: PAGE, ...(after !== undefined && { after }) });
        for (const kept of page.policies) if (!stopped) await look(kept, found);
        after = stopped ? undefined : page.next;
      } while (after !== undefined);
    } catch (error) {
      emit({ kind: "fault", where: "going through the kept MTA-STS policies", error: errorOf(error) });
    }
    useless = found;
  };

  const look = async (kept: KeptStsPolicy, found: Set<Domain>): Promise<void> => {
    const { policyDomain, policy, failure } = kept;
    const now = clock.now();
    const lastUsed = Math.max(kept.lastUsed, memory.peek(policyDomain)?.lastUsed ?? 0);
    if (isUnused(lastUsed, now, rules())) {
      // Only what has expired is dropped: mail may come again, and then finds the policy of before (RFC 8461 §10.2).
      if (policy !== undefined && policy.expires >= now) return;
      if (useless.has(policyDomain)) await memory.forget(policyDomain);
      else if (found.size < MOST_PLANNED) found.add(policyDomain);
      return;
    }
    if (policy === undefined || planned.has(policyDomain)) return;
    const at = nextRefresh({ fetched: policy, ...(failure !== undefined && { failed: failure }) }, rules(), now, random);
    // We were away when it was due: soon, yet not all at once, and before it expires.
    const left = policy.expires > now ? (policy.expires - now) / 2 : HOUR;
    if (at === undefined ? policy.expires < now : at <= now) set(policyDomain, now + random() * Math.min(HOUR, left));
    else set(policyDomain, at);
  };

  return {
    plan,
    isPlanned: (policyDomain) => planned.has(policyDomain),
    async start() {
      nextWalk = clock.monotonic() + DAY;
      cancelTick = clock.after(TICK, tick);
      await walk();
    },
    stop() {
      stopped = true;
      cancelTick();
    },
  };
}
