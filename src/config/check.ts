/**
 * What a schema cannot see: names that are none, networks that are none, keys that need each other, waits that cannot
 * work. Settings in, faults and remarks out; the rules are in the check-… files beside this one.
 */
import { checkNames } from "./check-names.ts";
import { checkListeners, checkNetworks } from "./check-networks.ts";
import { checkPolicy } from "./check-policy.ts";
import { checkDkim, checkReports } from "./check-reports.ts";
import { checkResolver } from "./check-resolver.ts";
import { checkCertificates, checkRoutes } from "./check-routes.ts";
import { checkSizes, checkWaits } from "./check-waits.ts";
import type { CheckFacts, Finding } from "./finding.ts";
import type { Settings } from "./settings.ts";

export function checkSettings(settings: Settings, facts: CheckFacts): Finding[] {
  return [
    ...checkNames(settings),
    ...checkNetworks(settings, facts),
    ...checkListeners(settings),
    ...checkCertificates(settings, facts),
    ...checkRoutes(settings, facts),
    ...checkPolicy(settings),
    ...checkResolver(settings, facts),
    ...checkReports(settings, facts),
    ...checkDkim(settings),
    ...checkWaits(settings),
    ...checkSizes(settings),
  ];
}
