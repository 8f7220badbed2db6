/**
 * Everything that asks the outside before a connection is made, put together: the resolvers, TLSA records, MTA-STS policies, and
 * who asks for TLS reports. Used by the running relay (relay.ts), and by `postern check` when none runs.
 */
import type { Clock } from "./clock.ts";
import type { Settings } from "./config/settings.ts";
import { loadRoots, trustAnchors } from "./delivery/tls-options.ts";
import type { EmitEvent } from "./events.ts";
import { openResolver, type Resolver } from "./lookup/resolver.ts";
import { createAddressGuard } from "./lookup/special-addresses.ts";
import { createStsFetch } from "./lookup/sts-fetch.ts";
import { createStsLookup, type StsLookup } from "./lookup/sts-lookup.ts";
import type { PemRoots } from "./lookup/tls-context.ts";
import { createFindTlsa } from "./lookup/tlsa-lookup.ts";
import type { FindTlsa, FindTxt } from "./policy/facts.ts";
import type { FindReportingWish } from "./queue/reporting-wish.ts";
import type { PolicyStore } from "./queue/store.ts";
import { findReportingPolicy } from "./report/find-policy.ts";

export interface LookupsIo {
  readonly clock: Clock;
  readonly random: () => number;
  readonly emit: EmitEvent;
  readonly policies: PolicyStore;
  /** Where the managed resolver has its folder. */
  readonly dataFolder: string;
  /** Whether IPv6 addresses are of use here. */
  readonly ipv6: () => boolean;
  readonly readText: (path: string) => string;
}

export interface Lookups {
  readonly resolver: Resolver;
  readonly findTlsa: FindTlsa;
  readonly sts: StsLookup;
  readonly findReportingWish: FindReportingWish;
  /** Reads what other settings name; throws where a file of trust anchors cannot be read. What it returns puts them in force. */
  prepare(settings: Settings): () => void;
  close(): Promise<void>;
}

interface StsSettings {
  readonly rules: Settings["tls"]["mtaSts"];
  readonly roots: PemRoots;
  readonly guard: (address: string) => string | undefined;
}

export async function openLookups(first: Settings, io: LookupsIo): Promise<Lookups> {
  const { clock, emit, random, readText } = io;
  const anchors = (setting: string): PemRoots => trustAnchors(loadRoots(setting, readText));
  const readSts = ({ tls, delivery }: Settings): StsSettings => ({
    rules: tls.mtaSts,
    roots: anchors(tls.mtaSts.roots ?? tls.roots),
    guard: createAddressGuard(delivery.allowedAddresses),
  });
  let sts = readSts(first);
  const resolver = await openResolver(first.resolver, {
    clock,
    emit,
    dataFolder: io.dataFolder,
    roots: anchors(first.resolver.roots ?? first.tls.roots),
    ipv6: io.ipv6,
  });
  const { client } = resolver;
  const findTxt: FindTxt = (name) => client.ask(name, "TXT");
  const stsLookup = createStsLookup({
    findTxt,
    fetch: createStsFetch({
      findAddresses: (host) => client.findAddresses(host),
      guard: (address) => sts.guard(address),
      settings: () => ({ fetchTimeout: sts.rules.fetchTimeout, policySize: sts.rules.policySize, roots: sts.roots }),
      clock,
    }),
    store: io.policies,
    clock,
    random,
    emit,
    settings: () => sts.rules,
  });
  return {
    resolver,
    findTlsa: createFindTlsa(client, () => resolver.dnssec()),
    sts: stsLookup,
    findReportingWish: (reportDomain) => findReportingPolicy(reportDomain, findTxt),
    prepare(settings) {
      const next = readSts(settings);
      return () => {
        sts = next;
        client.clear();
      };
    },
    async close() {
      await stsLookup.stop();
      await resolver.close();
    },
  };
}
