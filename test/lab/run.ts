/** Runs the table: builds a domain for every scenario and its control, mails to all of them at once, and judges. */
import { cp } from "node:fs/promises";
import { reportDayOf } from "../../src/queue/tls-reports.ts";
import type { LogEvent, Relay } from "../support/relay.ts";
import { waitUntil } from "../support/temp.ts";
import { askRelay, checkSite, compareCheck, isCheckable } from "./check.ts";
import { readCounted } from "./counts.ts";
import { type Counted, describeCounted, findStrangers, judgeCounted, nobodyElse, REPORT_DOMAINS } from "./expected-reports.ts";
import { describeOutcome, judge, judgeSecrecy, type Outcome } from "./judge.ts";
import { keepLog, RELAYS, type RelayName, relayConfiguration, startLabRelay } from "./relays.ts";
import type { Expected, Scenario, ScenarioGroup, Story } from "./scenario.ts";
import { Site } from "./site.ts";
import { Submitter } from "./submit.ts";
import { settingsFor } from "./relay-settings.ts";
import { preparePlays, runPlays } from "./run-stories.ts";
import { openWorld, prepareGround, type World } from "./world/world.ts";

/** One line of the table. */
export interface Verdict {
  readonly subject: string;
  readonly name: string;
  readonly section: string;
  readonly relay: RelayName | "its own";
  /** What became of the message, and of the control's. */
  readonly was: string;
  readonly control: string;
  /** What was counted of either for reports; absent for stories. */
  readonly counted?: readonly [was: string, control: string];
  /** Empty: as it should be. */
  readonly wrong: readonly string[];
}

interface Trial {
  readonly site: Site;
  readonly relay: RelayName;
  readonly expected: Expected;
  /** What reports must tell of it. */
  readonly told: string;
}

interface Case {
  readonly subject: string;
  readonly scenario: Scenario;
  readonly trial: Trial;
  readonly control: Trial;
}

/** A message that nothing becomes of in this time is a failure. The slowest of them wait for a server that never answers. */
const PATIENCE = Number(process.env["POSTERN_LAB_PATIENCE"] ?? 100) * 1000;

export async function runTable(
  groups: readonly ScenarioGroup[],
  stories: readonly Story[],
  folder: string,
  { report, emit }: { report: (line: string) => void; emit: (verdict: Verdict) => void },
): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const began = reportDayOf(Date.now());
  const ground = await prepareGround(folder);
  const cases = await buildCases(groups, (id) => new Site(id, ground));
  const plays = await preparePlays(stories, (id) => new Site(id, ground));
  const trials = cases.flatMap(({ trial, control }) => [trial, control]);
  report(`${cases.length} scenarios, ${trials.length} domains`);
  const sites = [...trials.map(({ site }) => site), ...plays.flatMap((play) => [...play.sites.values()])];
  const world = stack.use(await openWorld(ground, sites));
  report("zones, resolvers, receivers and policy hosts are up");
  const names = [...new Set(trials.map(({ relay }) => relay))];
  const relays = new Map<RelayName, Relay>();
  await inTurn(names, 4, async (name) => {
    const own = trials.filter(({ relay }) => relay === name).map(({ site }) => site);
    relays.set(name, stack.use(await startLabRelay(relayConfiguration(await settingsFor(world, own), RELAYS[name]))));
  });
  report(`${relays.size} relays are up`);
  const outcomes = new Map<Trial, Outcome>();
  const accounts = new Map<Trial, string>();
  await Promise.all(
    [...relays].map(async ([name, relay]) => {
      const own = trials.filter((trial) => trial.relay === name);
      await mailAll(relay, own, outcomes);
      for (const trial of own) accounts.set(trial, await storyOf(relay, outcomes.get(trial)));
    }),
  );
  await readMailboxes(world, trials, outcomes);
  report("every message is settled");
  const kept = process.env["POSTERN_LAB_LOGS"];
  if (kept !== undefined) await cp(folder, kept, { recursive: true });
  for (const [name, relay] of relays) await keepLog(relay, name);
  const questions = await world.resolver.questions();
  const wrong = new Map<Trial, string[]>();
  for (const trial of trials) {
    const seen = { questions, story: accounts.get(trial) ?? "" };
    wrong.set(trial, judge(trial.site, trial.expected, outcomes.get(trial) ?? {}, seen));
  }
  await Promise.all(
    [...relays].map(([name, relay]) =>
      inTurn(
        trials.filter((trial) => trial.relay === name),
        6,
        async (trial) => {
          const outcome = outcomes.get(trial) ?? {};
          if (!isCheckable(outcome, trial.site, name)) return;
          const before = new Set(judgeSecrecy(trial.site, trial.expected));
          const differences = compareCheck(await checkSite(relay, trial.site), outcome);
          const told = judgeSecrecy(trial.site, trial.expected).filter((text) => !before.has(text));
          wrong.get(trial)?.push(...differences, ...told.map((text) => `after check: ${text}`));
        },
      ),
    ),
  );
  report("every domain is checked");
  // Behind the checks: they send nothing, and must not count.
  const counts = new Map<RelayName, Counted>();
  await Promise.all([...relays].map(async ([name, relay]) => counts.set(name, await readCounted(relay, began))));
  const countedOf = ({ relay }: Trial): Counted => counts.get(relay) ?? new Map();
  for (const trial of trials) wrong.get(trial)?.push(...judgeCounted(trial.site, trial.told, countedOf(trial)));
  report("what is counted for reports is read");
  const judged = (trial: Trial): string[] => wrong.get(trial) ?? [];
  for (const { subject, scenario, trial, control } of cases) {
    const [what] = scenario.control;
    emit({
      subject,
      name: scenario.name,
      section: scenario.section,
      relay: trial.relay,
      was: describeOutcome(trial.site, outcomes.get(trial) ?? {}),
      control: `${what}: ${describeOutcome(control.site, outcomes.get(control) ?? {})}`,
      counted: [describeCounted(trial.site, countedOf(trial)), describeCounted(control.site, countedOf(control))],
      wrong: [...judged(trial), ...judged(control).map((text) => `control (${what}): ${text}`)],
    });
  }
  for (const [name, counted] of counts) {
    const own = trials.filter(({ relay }) => relay === name).map(({ site }) => site);
    emit({
      subject: REPORT_DOMAINS,
      name: nobodyElse(name),
      section: "RFC 8460 §3",
      relay: name,
      was: `counted for ${counted.size} domains`,
      control: `mail went to ${own.length}`,
      wrong: findStrangers(own, counted).map((domain) => `counted for ${domain}`),
    });
  }
  await runPlays(plays, world, { report, emit });
}

async function buildCases(groups: readonly ScenarioGroup[], makeSite: (id: string) => Site): Promise<Case[]> {
  const cases: Case[] = [];
  const all = groups.flatMap(({ subject, scenarios }) => scenarios.map((scenario) => ({ subject, scenario })));
  await inTurn(all, 3, async ({ subject, scenario }, at) => {
    const id = `s${String(at + 1).padStart(3, "0")}`;
    const { relay = "strict", controlRelay = relay } = scenario;
    const trial = { site: makeSite(id), relay, expected: scenario.must, told: scenario.told[0] };
    const control = { site: makeSite(`${id}c`), relay: controlRelay, expected: scenario.control[1], told: scenario.told[1] };
    await scenario.set(trial.site, true);
    await scenario.set(control.site, false);
    cases[at] = { subject, scenario, trial, control };
  });
  return cases;
}

async function mailAll(relay: Relay, trials: readonly Trial[], outcomes: Map<Trial, Outcome>): Promise<void> {
  const submitter = await Submitter.open(relay);
  const waiting = new Map<string, Trial>();
  for (const trial of trials) {
    const handed = await submitter.submit(trial.site);
    if ("id" in handed) waiting.set(handed.id, trial);
    else outcomes.set(trial, handed);
  }
  submitter.close();
  let at = 0;
  const take = (event: LogEvent): void => {
    const id = event["id"];
    const trial = event.event === "recipient-settled" && typeof id === "string" ? waiting.get(id) : undefined;
    if (trial === undefined) return;
    outcomes.set(trial, { settled: event });
    waiting.delete(String(id));
  };
  await waitUntil(
    `what becomes of ${waiting.size} messages`,
    () => {
      for (; at < relay.events.length; at += 1) take(relay.events[at] as LogEvent);
      return waiting.size === 0;
    },
    PATIENCE,
  ).catch(() => undefined);
}

async function storyOf(relay: Relay, outcome: Outcome | undefined): Promise<string> {
  const id = outcome?.settled?.["id"];
  return typeof id === "string" ? askRelay(relay, "queue/story", { id }) : "";
}

async function readMailboxes(world: World, trials: readonly Trial[], outcomes: Map<Trial, Outcome>): Promise<void> {
  for (const trial of trials) {
    const { real, recipient, id } = trial.site;
    const outcome = outcomes.get(trial);
    if (real === undefined || outcome?.settled?.["outcome"] !== "delivered") continue;
    const mails = await world.real.get(real)?.mailbox.waitFor(`Subject: ${id}\r\n`);
    outcomes.set(trial, { ...outcome, inMailbox: mails?.some((mail) => mail.recipient === recipient) === true });
  }
}

/** So many at once, in order. */
async function inTurn<T>(list: readonly T[], width: number, work: (one: T, at: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let at = next++; at < list.length; at = next++) await work(list[at] as T, at);
  };
  await Promise.all(Array.from({ length: width }, worker));
}
