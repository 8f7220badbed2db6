/** Runs the stories, each with a relay of its own, a few side by side, once the table is done with the machine. */
import { join } from "node:path";
import { messageOf } from "../../src/thrown.ts";
import type { RelayConfiguration } from "../support/relay.ts";
import { RelayClock } from "../support/relay-clock.ts";
import { keepLog, relayConfiguration, startLabRelay } from "./relays.ts";
import { settingsFor } from "./relay-settings.ts";
import type { Verdict } from "./run.ts";
import type { Story } from "./scenario.ts";
import type { Site } from "./site.ts";
import { siteOf, Stage } from "./stage.ts";
import type { World } from "./world/world.ts";

export interface Play {
  readonly story: Story;
  readonly sites: Map<string, Site>;
}

export async function preparePlays(stories: readonly Story[], makeSite: (id: string) => Site): Promise<Play[]> {
  const plays: Play[] = [];
  for (const [at, story] of stories.entries()) {
    const sites = new Map<string, Site>();
    await story.prepare((label) => {
      const site = makeSite(`t${String(at + 1).padStart(2, "0")}${label}`);
      sites.set(label, site);
      return site;
    });
    plays.push({ story, sites });
  }
  return plays;
}

export async function runPlays(
  plays: readonly Play[],
  world: World,
  { report, emit }: { report: (line: string) => void; emit: (verdict: Verdict) => void },
): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let at = next++; at < plays.length; at = next++) {
      const play = plays[at] as Play;
      emit(await runPlay(play, world));
      report(`story: ${play.story.name}`);
    }
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
}

let clocks = 0;

function settingsOf({ settings = {} }: Story, sites: ReadonlyMap<string, Site>): RelayConfiguration {
  return typeof settings === "function" ? settings((label) => siteOf(sites, label)) : settings;
}

async function runPlay({ story, sites }: Play, world: World): Promise<Verdict> {
  const settings = await settingsFor(world, [...sites.values()]);
  const clock = story.begins === undefined ? undefined : new RelayClock(join(world.ground.folder, `clock-${++clocks}`), story.begins());
  await using relay = await startLabRelay(relayConfiguration(settings, settingsOf(story, sites)), clock);
  const stage = new Stage({ relay, world, sites, ...(clock !== undefined && { clock }) });
  try {
    await story.run(stage);
  } catch (error) {
    stage.wrong.push(messageOf(error));
  }
  await keepLog(relay, `story ${story.name}`);
  return {
    subject: "Stories",
    name: story.name,
    section: story.section,
    relay: "its own",
    was: stage.course.filter((step, at, all) => step !== all[at - 1]).join(", then "),
    control: "among its steps",
    wrong: stage.wrong,
  };
}
