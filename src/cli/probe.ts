/**
 * `postern check` and `policy refresh` without a running relay: the same look-ups, rules and connections, made from the
 * settings for one question and closed after it. Settings and what is kept of policies in, `Probe` out.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Clock } from "../clock.ts";
import type { Settings } from "../config/settings.ts";
import { checkTimeouts, createCheck } from "../delivery/check.ts";
import { createConnector } from "../delivery/connect.ts";
import { createDecider } from "../delivery/decide.ts";
import { loadRoots } from "../delivery/tls-options.ts";
import type { EmitEvent } from "../events.ts";
import { createConfiguredHostLookup } from "../lookup/configured-host.ts";
import { openLookups } from "../lookups.ts";
import type { Domain, NextHop } from "../mail/domain.ts";
import { createDaneJudge } from "../policy/dane-match.ts";
import type { DnssecState } from "../policy/facts.ts";
import type { CheckDestination, PolicyDesk } from "../queue/check.ts";
import type { KeptStsPolicy, PolicyStore } from "../queue/store.ts";
import { makeRules } from "../relay.ts";

export interface Probe {
  readonly check: CheckDestination;
  readonly refresh: PolicyDesk["refresh"];
  dnssec(): DnssecState;
  close(): Promise<void>;
}

/** `kept`: what a relay of this data folder keeps of policies; without it nothing is known and nothing is kept. */
export async function openProbe(settings: Settings, kept: PolicyStore | undefined, clock: Clock): Promise<Probe> {
  // There is no log here: what matters of an event is in the answer.
  const emit: EmitEvent = () => {};
  const store = kept ?? forgetfulStore();
  const rules = makeRules(settings);
  const readText = (path: string): string => readFileSync(path, "utf8");
  const roots = loadRoots(settings.tls.roots, readText);
  const folder = resolve(settings.data.folder);
  const scratch = existsSync(folder) ? undefined : mkdtempSync(join(tmpdir(), "postern-check-"));
  const clean = (): void => {
    if (scratch !== undefined) rmSync(scratch, { recursive: true, force: true });
  };
  const lookups = await openLookups(settings, {
    clock,
    random: Math.random,
    emit,
    policies: store,
    dataFolder: scratch ?? folder,
    ipv6: () => rules.useIpv6,
    readText,
  }).catch((error: unknown) => {
    clean();
    throw error;
  });
  const { resolver, findTlsa, sts, findReportingWish } = lookups;
  // What the resolver is worth is asked once, now: afterwards it is a fact like any other.
  await resolver.testNow();
  const check = createCheck({
    rules: () => rules,
    lookup: resolver.client,
    findConfiguredHost: createConfiguredHostLookup({
      clock,
      timeout: settings.resolver.timeout * settings.resolver.attempts,
      ipv6: () => rules.useIpv6,
    }),
    findTlsa,
    findStsPolicy: sts.find,
    dnssec: () => resolver.dnssec(),
    findDane: (nextHop) => store.findDane(nextHop),
    decide: createDecider(settings.tls.daneDigests),
    open: createConnector({
      timeouts: checkTimeouts(settings.delivery.timeouts),
      roots,
      clock,
      judgeDane: createDaneJudge(),
    }),
    findReportingWish,
    clock,
    random: Math.random,
  });
  return {
    check,
    refresh: (policyDomain) => sts.refresh(policyDomain),
    dnssec: () => resolver.dnssec(),
    async close() {
      await lookups.close();
      clean();
    },
  };
}

/** For one question only. */
function forgetfulStore(): PolicyStore {
  const kept = new Map<Domain, KeptStsPolicy>();
  const seen = new Map<NextHop, number>();
  return {
    findSts: (domain) => Promise.resolve(kept.get(domain)),
    saveSts: (policy) => Promise.resolve(void kept.set(policy.policyDomain, policy)),
    forgetSts: (domain) => Promise.resolve(kept.delete(domain)),
    listSts: () => Promise.resolve({ policies: [...kept.values()] }),
    noteDane: (nextHop, at) => Promise.resolve(void seen.set(nextHop, at)),
    findDane: (nextHop) => Promise.resolve(seen.get(nextHop)),
  };
}
