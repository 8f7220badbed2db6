/** All scenarios, by subject. */
import type { ScenarioGroup, Story } from "./scenario.ts";
import { REPORT_STORIES } from "./reports/stories.ts";
import { both } from "./scenarios/both.ts";
import { dane, tlsaRecords } from "./scenarios/dane.ts";
import { dnssec } from "./scenarios/dnssec.ts";
import { downgrade } from "./scenarios/downgrade.ts";
import { floorsGroup, rolloutGroup } from "./scenarios/local.ts";
import { mtaSts } from "./scenarios/mta-sts.ts";
import { names } from "./scenarios/names.ts";
import { realReceivers } from "./scenarios/real.ts";
import { requireTls, tlsRequiredNo } from "./scenarios/requiretls.ts";
import { resolvers } from "./scenarios/resolvers.ts";
import { STORIES } from "./stories.ts";

export const ALL_STORIES: readonly Story[] = [...REPORT_STORIES, ...STORIES];

export const TABLE: readonly ScenarioGroup[] = [
  mtaSts,
  names,
  dane,
  tlsaRecords,
  dnssec,
  both,
  requireTls,
  tlsRequiredNo,
  floorsGroup,
  rolloutGroup,
  downgrade,
  resolvers,
  realReceivers,
];

/** Scenarios whose subject or name has this text. */
export function select(pattern: string): ScenarioGroup[] {
  const wanted = pattern.toLowerCase();
  return TABLE.map(({ subject, scenarios }) => ({
    subject,
    scenarios: scenarios.filter(({ name }) => `${subject}: ${name}`.toLowerCase().includes(wanted)),
  })).filter(({ scenarios }) => scenarios.length > 0);
}

export function selectStories(pattern: string): readonly Story[] {
  return ALL_STORIES.filter(({ name }) => `stories: ${name}`.toLowerCase().includes(pattern.toLowerCase()));
}
