/**
 * The lab as part of the tests: the whole table runs once, in its own network namespace, and each scenario and story is one
 * claim here. `npm run lab` prints what became of each. It needs Linux and root, and says so where they are lacking.
 */
import { beforeAll, describe, expect, test } from "vitest";
import { nobodyElse, REPORT_DOMAINS } from "./expected-reports.ts";
import { runLab } from "./launch.ts";
import type { Verdict } from "./run.ts";
import { ALL_STORIES, TABLE } from "./table.ts";

const verdicts = new Map<string, Verdict>();
const progress: string[] = [];

beforeAll(async () => {
  const all = await runLab("", (line) => progress.push(line)).catch((error: unknown) => {
    throw new Error(`the lab did not come to its end:\n${progress.slice(-40).join("\n")}`, { cause: error });
  });
  for (const verdict of all) verdicts.set(`${verdict.subject}: ${verdict.name}`, verdict);
}, 600_000);

const named = (subject: string, list: readonly { readonly name: string; readonly section: string }[]) =>
  list.map(({ name, section }) => ({ title: `${name} (${section})`, key: `${subject}: ${name}` }));

describe.each(TABLE)("$subject", ({ subject, scenarios }) => {
  test.each(named(subject, scenarios))("$title", ({ key }) => {
    expect(verdicts.get(key)?.wrong ?? "no verdict").toEqual([]);
  });
});

describe(REPORT_DOMAINS, () => {
  const relays = TABLE.flatMap(({ scenarios }) => scenarios.flatMap(({ relay = "strict", controlRelay = relay }) => [relay, controlRelay]));
  test.each([...new Set(relays)].map(nobodyElse))("%s", (name) => {
    expect(verdicts.get(`${REPORT_DOMAINS}: ${name}`)?.wrong ?? "no verdict").toEqual([]);
  });
});

describe("Stories", () => {
  test.each(named("Stories", ALL_STORIES))("$title", ({ key }) => {
    expect(verdicts.get(key)?.wrong ?? "no verdict").toEqual([]);
  });
});

test("every scenario has a name of its own, and there are at least 150 of them", () => {
  const keys = TABLE.flatMap(({ subject, scenarios }) => scenarios.map(({ name }) => `${subject}: ${name}`));
  expect(new Set(keys).size).toBe(keys.length);
  expect(keys.length).toBeGreaterThanOrEqual(150);
});
