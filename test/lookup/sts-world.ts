/** A policy host, a resolver that leads to it, and what fetches from it, under a clock that is moved. */
import type { FetchStsPolicy, StsFetchSettings } from "../../src/lookup/sts-fetch.ts";
import { createStsFetch } from "../../src/lookup/sts-fetch.ts";
import { createAddressGuard } from "../../src/lookup/special-addresses.ts";
import type { PosternEvent } from "../../src/events.ts";
import { createStsLookup, type StsLookup, type StsLookupSettings } from "../../src/lookup/sts-lookup.ts";
import type { StsFinding } from "../../src/policy/facts.ts";
import type { Domain } from "../../src/mail/domain.ts";
import type { KeptStsPolicy, PolicyStore } from "../../src/queue/store.ts";
import { createTestCa, type IssuedCertificate } from "../support/certificates.ts";
import type { DnsServer, Zone } from "../support/dns-server.ts";
import { MovedClock } from "../support/moved-clock.ts";
import { type PolicyHost, type PolicyHostOptions, policyText, type PolicyWishes, startPolicyHost } from "../support/policy-host.ts";
import type { DnsClient } from "../../src/lookup/dns.ts";
import { open, world } from "./world.ts";

export const EXAMPLE = "example.test" as Domain;

export interface FetchWorld {
  readonly host: PolicyHost;
  readonly server: DnsServer;
  readonly dns: DnsClient;
  readonly clock: MovedClock;
  readonly fetch: FetchStsPolicy;
}

export interface FetchWishes extends Partial<StsFetchSettings> {
  readonly certificate?: IssuedCertificate;
  readonly tls?: PolicyHostOptions["tls"];
  readonly zone?: Zone;
  /** Networks that may be dialled beside the public ones; loopback, if absent. */
  readonly allowed?: readonly string[];
  readonly clock?: MovedClock;
}

/** The policy host of example.test and of every other name that the zone sends to it. */
export async function fetchWorld(wishes: FetchWishes = {}): Promise<FetchWorld> {
  const ca = await createTestCa();
  const certificate = wishes.certificate ?? (await ca.issue({ names: ["mta-sts.example.test", "*.many.test", "mta-sts.b.test"] }));
  const host = await startPolicyHost({ certificate, ...(wishes.tls !== undefined && { tls: wishes.tls }) });
  open.push(host);
  const clock = wishes.clock ?? new MovedClock();
  const { dns, server } = await world({ "mta-sts.example.test": { A: ["127.0.0.1"] }, ...wishes.zone }, { attempts: 1, clock });
  const settings = { fetchTimeout: 60_000, policySize: 65_536, roots: ca.pem, ...wishes };
  const fetch = createStsFetch({
    findAddresses: dns.findAddresses,
    guard: createAddressGuard(wishes.allowed ?? ["127.0.0.0/8"]),
    settings: () => settings,
    clock,
    port: host.port,
  });
  return { host, server, dns, clock, fetch };
}

/** What survives a restart, in memory. */
export class MemoryPolicies implements PolicyStore {
  readonly rows = new Map<string, KeptStsPolicy>();
  reads = 0;
  writes = 0;
  /** Every call fails meanwhile. */
  broken: Error | undefined;

  async findSts(policyDomain: Domain): Promise<KeptStsPolicy | undefined> {
    this.reads += 1;
    this.#check();
    return this.rows.get(policyDomain);
  }
  async saveSts(kept: KeptStsPolicy): Promise<void> {
    this.writes += 1;
    this.#check();
    this.rows.set(kept.policyDomain, structuredClone(kept));
  }
  async forgetSts(policyDomain: Domain): Promise<boolean> {
    this.#check();
    return this.rows.delete(policyDomain);
  }
  async listSts({ limit, after = "" }: { limit: number; after?: string }): Promise<{ policies: KeptStsPolicy[]; next?: string }> {
    this.#check();
    const later = [...this.rows.values()]
      .filter((kept) => kept.policyDomain > after)
      .sort((a, b) => (a.policyDomain < b.policyDomain ? -1 : 1));
    const policies = later.slice(0, limit);
    const last = policies.at(-1);
    return later.length > limit && last !== undefined ? { policies, next: last.policyDomain } : { policies };
  }
  async noteDane(): Promise<void> {}
  async findDane(): Promise<number | undefined> {
    return undefined;
  }

  #check(): void {
    if (this.broken !== undefined) throw this.broken;
  }
}

const MINUTE = 60_000;
const DAY = 86_400_000;

export const settings: StsLookupSettings = {
  fetchTimeout: MINUTE,
  retryAfter: 5 * MINUTE,
  refreshEvery: DAY,
  refreshUnused: 30 * DAY,
  concurrentFetches: 20,
};

export interface StsWorld extends FetchWorld {
  readonly sts: StsLookup;
  readonly store: MemoryPolicies;
  readonly events: PosternEvent[];
  /** What is found for example.test, in short: `enforce 1`, `enforce 1 (sts-policy-fetch-error)`, `none`, `unavailable (…)`. */
  find(policyDomain?: string): Promise<string>;
  /** Publishes a TXT record and a policy under it. */
  publish(id: string, wishes?: PolicyWishes): void;
  /** The TXT record alone; undefined takes it away. */
  record(...texts: string[]): void;
  /** Lets the TXT record's TTL run out. */
  ttl(): Promise<void>;
  /** The same store behind a new process. */
  restart(): StsWorld;
}

/** The whole service. The TXT record's TTL is one second, and denials are kept as long. */
export async function stsWorld(
  wishes: FetchWishes & { store?: MemoryPolicies; most?: number; settings?: Partial<StsLookupSettings> } = {},
): Promise<StsWorld> {
  const fetching = await fetchWorld(wishes);
  fetching.server.setNegativeTtl({ ttl: 1, minimum: 1 });
  return serviceOver(fetching, wishes.store ?? new MemoryPolicies(), { ...settings, ...wishes.settings }, wishes.most);
}

function serviceOver(fetching: FetchWorld, store: MemoryPolicies, rules: StsLookupSettings, most: number | undefined): StsWorld {
  const { host, server, dns, clock, fetch } = fetching;
  const events: PosternEvent[] = [];
  const sts = createStsLookup({
    findTxt: (name) => dns.ask(name, "TXT"),
    fetch,
    store,
    clock,
    random: () => 0.5,
    emit: (event) => void events.push(event),
    settings: () => rules,
    ...(most !== undefined && { most }),
  });
  open.push({ close: () => sts.stop() });
  const record = (...texts: string[]): void => server.set("_mta-sts.example.test", texts.length === 0 ? undefined : { TXT: texts, ttl: 1 });
  return {
    ...fetching,
    sts,
    store,
    events,
    record,
    find: async (policyDomain = EXAMPLE) => inShort(await sts.find(policyDomain as Domain)),
    publish(id, policy) {
      record(`v=STSv1; id=${id};`);
      host.serve(EXAMPLE, policyText(policy));
    },
    ttl: () => clock.pass(10_000),
    restart: () => serviceOver(fetching, store, rules, most),
  };
}

export function inShort(finding: StsFinding): string {
  switch (finding.kind) {
    case "not-asked":
      return finding.kind;
    case "none":
      return finding.trouble === undefined ? finding.kind : `none (${finding.trouble.type})`;
    case "unavailable":
      return `unavailable (${finding.failure.type})`;
    case "policy":
      return `${finding.policy.mode} ${finding.id}${finding.trouble === undefined ? "" : ` (${finding.trouble.type})`}`;
  }
}
