/**
 * How long an MTA-STS policy stays good (RFC 8461 §3.3, §5.1, §10.2): what is kept of a domain, what its TXT record says
 * now and the time in; whether to apply, to fetch, or to wait, and what is kept afterwards, out. Pure. Keeping is
 * lookup/sts-memory.ts, and lookup/sts-lookup.ts does what is decided here.
 */
import type { TlsFailure } from "./outcome.ts";
import type { StsPolicy } from "./sts-policy.ts";
import type { StsRecord } from "./sts-record.ts";

export interface FetchedPolicy {
  readonly policy: StsPolicy;
  /** `id` of the TXT record that led to the fetch. */
  readonly id: string;
  readonly fetchedAt: number;
  /** `fetchedAt` and `max_age`; the policy still holds in that very millisecond. */
  readonly expires: number;
}

export interface FailedFetch {
  readonly id: string;
  readonly at: number;
  /** In a row. */
  readonly failures: number;
  readonly failure: TlsFailure;
}

/** What is kept of one policy domain. */
export interface KnownSts {
  readonly fetched?: FetchedPolicy;
  readonly failed?: FailedFetch;
}

/** What DNS says of the TXT record now; `failed` is a question without an answer. */
export type StsDiscovery = StsRecord | { readonly kind: "failed"; readonly detail: string; readonly whoActs?: TlsFailure["whoActs"] };

export type StsFetchResult = { readonly ok: true; readonly policy: StsPolicy } | { readonly ok: false; readonly failure: TlsFailure };

export function expiryOf(fetchedAt: number, { maxAge }: Pick<StsPolicy, "maxAge">): number {
  return fetchedAt + maxAge * 1000;
}

/** The policy that applies whatever DNS and the policy host say now: its age has not exceeded `max_age`. */
export function validPolicy(known: KnownSts, now: number): FetchedPolicy | undefined {
  return known.fetched !== undefined && now <= known.fetched.expires ? known.fetched : undefined;
}

/**
 * Whether the policy host may be asked for this `id` now. The first failure binds for `retryAfter` ms and for its own `id`
 * only: a domain that publishes a new one has done something about it.
 */
export function mayFetch({ failed }: KnownSts, id: string, now: number, retryAfter: number): boolean {
  // A failure of the future was noted by a clock that was wrong.
  return failed === undefined || failed.id !== id || now < failed.at || now - failed.at >= retryAfter;
}

export type StsStep =
  /** Ask the policy host first; what is kept holds until a valid policy came. */
  | { readonly do: "fetch"; readonly id: string }
  | { readonly do: "apply"; readonly fetched: FetchedPolicy; readonly trouble?: TlsFailure }
  | { readonly do: "unavailable"; readonly failure: TlsFailure }
  /** `trouble` where nobody knows whether there is a record. */
  | { readonly do: "nothing"; readonly trouble?: TlsFailure };

/** The next step for mail to a domain. `name` is where the record was looked for. */
export function judgeSts(known: KnownSts, found: StsDiscovery, name: string, now: number, retryAfter: number): StsStep {
  const valid = validPolicy(known, now);
  if (found.kind === "record") {
    // The same id says that nothing has changed, and asks for no fetch (RFC 8461 §3).
    if (valid?.id !== found.id && mayFetch(known, found.id, now, retryAfter)) return { do: "fetch", id: found.id };
    if (valid !== undefined) return apply(valid, known.failed?.failure);
    return known.failed === undefined ? { do: "nothing" } : { do: "unavailable", failure: known.failed.failure };
  }
  const trouble = discoveryTrouble(found, name);
  // Without a record nothing is fetched, and nothing applied (RFC 8461 §3.1).
  if (valid === undefined) return found.kind === "failed" ? { do: "nothing", trouble } : { do: "nothing" };
  // Neither a record that is gone, broken or double nor a failing DNS takes a valid policy away (RFC 8461 §3.3).
  return apply(valid, trouble);
}

function discoveryTrouble(found: Exclude<StsDiscovery, { kind: "record" }>, name: string): TlsFailure {
  if (found.kind === "none")
    return { type: "sts-policy-fetch-error", detail: `${name}: ${found.detail}`, whoActs: "receiver", code: "no-txt-record" };
  const detail = `the look-up of ${name} failed: ${found.detail}`;
  return { type: "sts-policy-fetch-error", detail, whoActs: found.whoActs ?? "receiver", code: "dns" };
}

/** Of mode none nothing is told: that is how a domain takes its policy away (RFC 8461 §6, §8.3). */
function apply(fetched: FetchedPolicy, trouble: TlsFailure | undefined): StsStep {
  return trouble === undefined || fetched.policy.mode === "none" ? { do: "apply", fetched } : { do: "apply", fetched, trouble };
}

/**
 * What is kept after a fetch. A valid policy replaces the old one whatever that one's remaining life, and starts its age
 * anew; a failed fetch changes nothing of a policy that is kept. `max_age` 0 is for the attempt that fetched it alone.
 */
export function afterFetch(known: KnownSts, id: string, result: StsFetchResult, now: number): KnownSts {
  if (result.ok) {
    const { policy } = result;
    return policy.maxAge === 0 ? {} : { fetched: { policy, id, fetchedAt: now, expires: expiryOf(now, policy) } };
  }
  const failed = { id, at: now, failures: (known.failed?.failures ?? 0) + 1, failure: result.failure };
  return known.fetched === undefined ? { failed } : { fetched: known.fetched, failed };
}

/** Clocks are corrected by seconds all the time. */
const TOLERATED = 60_000;

/**
 * A policy fetched in the future was fetched under a clock that was wrong. It holds, since it was valid, but from now on and for
 * `max_age`: not for as many years as the clock was ahead.
 */
export function correctedFor(known: KnownSts, now: number): KnownSts {
  const { fetched } = known;
  if (fetched === undefined || fetched.fetchedAt <= now + TOLERATED) return known;
  return { ...known, fetched: { ...fetched, fetchedAt: now, expires: expiryOf(now, fetched.policy) } };
}

/** The times of what is kept. */
export interface KnownTimes {
  readonly fetched?: Pick<FetchedPolicy, "fetchedAt" | "expires">;
  readonly failed?: Pick<FailedFetch, "at">;
}

export interface RefreshRules {
  /** Milliseconds, all three. */
  readonly refreshEvery: number;
  readonly refreshUnused: number;
  readonly retryAfter: number;
}

/**
 * When the policy is to be fetched again, whatever the record says: about once in `refreshEvery`, and well before a
 * policy of short life expires. Undefined where no fetch can be due while it is valid.
 */
export function nextRefresh(
  known: KnownTimes,
  { refreshEvery, retryAfter }: RefreshRules,
  now: number,
  random: () => number,
): number | undefined {
  const { fetched, failed } = known;
  if (fetched === undefined || now > fetched.expires) return undefined;
  // Spread, so that policies fetched together do not stay together.
  const spread = 0.75 + 0.25 * random();
  const life = fetched.expires - fetched.fetchedAt;
  const usual = Math.max(retryAfter, Math.min(refreshEvery, life / 2)) * spread;
  // The less of its life is left, the more often a failing one is tried.
  const at =
    failed === undefined || failed.at < fetched.fetchedAt
      ? fetched.fetchedAt + Math.max(retryAfter, usual)
      : failed.at + Math.max(retryAfter, Math.min(usual, ((fetched.expires - failed.at) / 4) * spread));
  return at < fetched.expires ? at : undefined;
}

/** Nobody mails the domain any more; its policy may expire. */
export function isUnused(lastUsed: number, now: number, { refreshUnused }: RefreshRules): boolean {
  return now - lastUsed > refreshUnused;
}
