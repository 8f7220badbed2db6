/** All scenarios, by subject. */
import type { ScenarioGroup } from "./scenario.ts";
import { mtaSts } from "./scenarios/mta-sts.ts";

export const TABLE: readonly ScenarioGroup[] = [mtaSts];

/** Scenarios whose subject or name has this text. */
export function select(pattern: string): ScenarioGroup[] {
  const wanted = pattern.toLowerCase();
  return TABLE.map(({ subject, scenarios }) => ({
    subject,
    scenarios: scenarios.filter(({ name }) => `${subject}: ${name}`.toLowerCase().includes(wanted)),
  })).filter(({ scenarios }) => scenarios.length > 0);
}
