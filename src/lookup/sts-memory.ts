/**
 * What is kept of policy domains (RFC 8461 §3.3): the domains in use in memory, all of them in the store, so that a
 * restart is no downgrade. A domain in memory costs no look at the database; what changes is written behind. How long a
 * policy holds is policy/sts-freshness.ts.
 */
import { LRUCache } from "lru-cache";
import type { EmitEvent } from "../events.ts";
import type { Domain } from "../mail/domain.ts";
import type { Finding } from "../policy/facts.ts";
import { expiryOf, type KnownSts, type StsDiscovery } from "../policy/sts-freshness.ts";
import { parseStsPolicy } from "../policy/sts-policy.ts";
import type { KeptStsPolicy, PolicyStore } from "../queue/store.ts";
import { errorOf } from "../thrown.ts";

/** One policy domain in memory. */
export interface StsEntry {
  readonly policyDomain: Domain;
  /** Nothing, for a domain of which nothing is kept. */
  known: KnownSts;
  lastUsed: number;
  savedLastUsed: number;
  /** The answer for the TXT record that was read last, and what it says: the same answer is not read twice. */
  read?: { readonly answer: Finding<readonly Buffer[]>; readonly says: StsDiscovery };
}

export interface StsMemory {
  /** The domain if it is in memory: always the same object until it is forgotten. */
  peek(policyDomain: Domain): StsEntry | undefined;
  /** From memory or the store. Rejects if the store does: not to know is not to have none. */
  load(policyDomain: Domain): Promise<StsEntry>;
  /** Mail asks for the domain now; told to the store about once a day. */
  noteUse(entry: StsEntry, now: number): void;
  /** Keeps `known` from now on, and writes it behind. */
  keep(entry: StsEntry, known: KnownSts): void;
  /** As it is now, whatever the store has of it yet. */
  show(policyDomain: Domain): Promise<KeptStsPolicy | undefined>;
  forget(policyDomain: Domain): Promise<void>;
  /** Writes again what could not be written. */
  retry(): void;
  /** Resolves when every write under way has ended, well or not. */
  flush(): Promise<void>;
}

export interface StsMemoryIo {
  readonly store: PolicyStore;
  readonly emit: EmitEvent;
  readonly now: () => number;
  /** Domains in memory; their policies together may take 2 KB for each. */
  readonly most?: number;
}

const MOST = 10_000;
const OCTETS_EACH = 2_048;
const DAY = 86_400_000;

export function createStsMemory({ store, emit, now, most = MOST }: StsMemoryIo): StsMemory {
  const entries = new LRUCache<Domain, StsEntry>({ max: most, maxSize: most * OCTETS_EACH });
  const loading = new Map<Domain, Promise<StsEntry>>();
  /** What the store does not have yet; it answers before the store does. */
  const unsaved = new Map<Domain, StsEntry>();
  const writing = new Map<Domain, Promise<void>>();
  const changed = new Set<Domain>();

  const peek = (policyDomain: Domain): StsEntry | undefined => entries.get(policyDomain) ?? unsaved.get(policyDomain);

  const remember = (entry: StsEntry): StsEntry => {
    const { fetched, failed } = entry.known;
    const characters = (fetched?.policy.text.length ?? 0) + (failed?.failure.served?.length ?? 0);
    entries.set(entry.policyDomain, entry, { size: 500 + 2 * characters });
    return entry;
  };

  const read = async (policyDomain: Domain): Promise<StsEntry> => {
    try {
      const kept = await store.findSts(policyDomain);
      return peek(policyDomain) ?? remember(fromKept(policyDomain, kept, now(), emit));
    } finally {
      loading.delete(policyDomain);
    }
  };

  const write = async (entry: StsEntry): Promise<void> => {
    const { policyDomain } = entry;
    try {
      do {
        changed.delete(policyDomain);
        const kept = toKept(entry);
        if (kept === undefined) await store.forgetSts(policyDomain);
        else await store.saveSts(kept);
      } while (changed.has(policyDomain));
      unsaved.delete(policyDomain);
    } catch (error) {
      emit({ kind: "fault", where: `keeping the MTA-STS policy of ${policyDomain}`, error: errorOf(error) });
    } finally {
      writing.delete(policyDomain);
    }
  };

  const save = (entry: StsEntry): void => {
    const { policyDomain } = entry;
    entry.savedLastUsed = entry.lastUsed;
    unsaved.set(policyDomain, entry);
    changed.add(policyDomain);
    if (!writing.has(policyDomain)) writing.set(policyDomain, write(entry));
    // With a store that takes nothing any more memory must not grow without end.
    const [oldest] = unsaved.keys();
    if (unsaved.size > most && oldest !== undefined) unsaved.delete(oldest);
  };

  return {
    peek,
    async load(policyDomain) {
      const known = peek(policyDomain);
      if (known !== undefined) return known;
      const under = loading.get(policyDomain) ?? read(policyDomain);
      if (!loading.has(policyDomain)) loading.set(policyDomain, under);
      return under;
    },
    noteUse(entry, at) {
      entry.lastUsed = at;
      // A clock that was set back must not keep the store from hearing of it for years.
      if (Math.abs(at - entry.savedLastUsed) >= DAY && (entry.known.fetched ?? entry.known.failed) !== undefined) save(entry);
    },
    keep(entry, known) {
      entry.known = known;
      remember(entry);
      save(entry);
    },
    async show(policyDomain) {
      const entry = peek(policyDomain);
      return entry === undefined ? store.findSts(policyDomain) : toKept(entry);
    },
    async forget(policyDomain) {
      entries.delete(policyDomain);
      unsaved.delete(policyDomain);
      await writing.get(policyDomain);
      await store.forgetSts(policyDomain);
    },
    retry() {
      for (const entry of [...unsaved.values()]) if (!writing.has(entry.policyDomain)) save(entry);
    },
    async flush() {
      await Promise.all(writing.values());
    },
  };
}

/** A text that cannot be read any more is no policy, and no reason to stop. */
function fromKept(policyDomain: Domain, kept: KeptStsPolicy | undefined, now: number, emit: EmitEvent): StsEntry {
  if (kept === undefined) return { policyDomain, known: {}, lastUsed: now, savedLastUsed: now };
  const { failure: failed, lastUsed } = kept;
  const entry = { policyDomain, lastUsed, savedLastUsed: lastUsed };
  const nothing = failed === undefined ? {} : { failed };
  if (kept.policy === undefined) return { ...entry, known: nothing };
  const { id, text, fetchedAt, expires } = kept.policy;
  const policy = parseStsPolicy(text);
  if (!policy.ok) {
    const told = `the MTA-STS policy kept of ${policyDomain} cannot be read and is fetched again: ${policy.error}`;
    emit({ kind: "notice", level: "warn", text: told });
    return { ...entry, known: nothing };
  }
  const end = Math.min(expires, expiryOf(fetchedAt, policy.value));
  return { ...entry, known: { ...nothing, fetched: { policy: policy.value, id, fetchedAt, expires: end } } };
}

/** Undefined where there is nothing worth a row. */
function toKept({ policyDomain, known: { fetched, failed }, lastUsed }: StsEntry): KeptStsPolicy | undefined {
  if (fetched === undefined && failed === undefined) return undefined;
  return {
    policyDomain,
    ...(fetched !== undefined && {
      policy: { id: fetched.id, text: fetched.policy.text, fetchedAt: fetched.fetchedAt, expires: fetched.expires },
    }),
    ...(failed !== undefined && { failure: failed }),
    lastUsed,
  };
}
