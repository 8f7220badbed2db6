/**
 * Two builds side by side: `node bench/compare.ts --base DIR --new DIR [--workload a|b|policy] [--pairs 7]`. Each pair runs
 * both, one after the other, and the one that goes first changes from pair to pair, so that what else the machine does falls
 * on both. Prints messages per CPU second and messages delivered per second of every run, then the ratio new/base of
 * each pair: median, least and most. Exit code 1 where a median is below --least (0.9), or mail was lost, doubled or in clear.
 *
 * Both trees are built (`npm run build`) and are driven through their own bench/peer. `--relay-bench PATH` (or RELAY_BENCH) drives
 * `a` and `b` with another harness, as scripts/bench.js does.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { median } from "./harness/measure.ts";
import { runWorkload } from "./harness/run.ts";
import { workloads } from "./harness/workloads.ts";

/** Of one run. */
interface Figures {
  readonly perCpuSecond: number;
  readonly deliveredPerSecond: number;
  /** Empty unless something happened that makes the figures worthless. */
  readonly faults: readonly string[];
  /** What else is worth a look. */
  readonly aside: string;
}

const SIDES = ["base", "new"] as const;
type Side = (typeof SIDES)[number];

const { values } = parseArgs({
  options: {
    base: { type: "string" },
    new: { type: "string" },
    workload: { type: "string", multiple: true, default: ["a", "b", "policy"] },
    pairs: { type: "string", default: "7" },
    messages: { type: "string" },
    limit: { type: "string", default: "300" },
    least: { type: "string", default: "0.9" },
    "relay-bench": { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const harness = values["relay-bench"] ?? process.env["RELAY_BENCH"];
const trees: Record<Side, string> = { base: treeOf(values.base), new: treeOf(values.new) };
const pairs = Number(values.pairs);
const known = ["a", "b", "policy"];
for (const name of values.workload) if (!known.includes(name)) usage(`no such workload: ${name}`);

let fallen = false;
for (const name of values.workload) fallen = (await compare(name)) || fallen;
process.exitCode = fallen ? 1 : 0;

async function compare(name: string): Promise<boolean> {
  const ran: Record<Side, Figures[]> = { base: [], new: [] };
  if (!values.json) console.log(`\n${name}: ${workloads[name]?.about ?? ""}`);
  for (let pair = 0; pair < pairs; pair++) {
    for (const side of pair % 2 === 0 ? SIDES : SIDES.toReversed()) {
      const figures = await measure(name, side);
      ran[side].push(figures);
      if (values.json) console.log(JSON.stringify({ workload: name, pair, side, ...figures }));
      else console.log(`  ${pair + 1} ${side.padEnd(4)}  ${describe(figures)}`);
    }
  }
  const ratios = (figure: "perCpuSecond" | "deliveredPerSecond") => ran.new.map((run, at) => run[figure] / (ran.base[at]?.[figure] ?? 0));
  const cpu = spread(ratios("perCpuSecond"));
  const delivered = spread(ratios("deliveredPerSecond"));
  const medianOf = (side: Side, figure: "perCpuSecond" | "deliveredPerSecond") => median(ran[side].map((run) => run[figure]));
  const valid = SIDES.every((side) => ran[side].every(({ faults }) => faults.length === 0));
  const held = valid && cpu.median >= Number(values.least) && delivered.median >= Number(values.least);
  const medians = Object.fromEntries(
    SIDES.map((side) => [side, { perCpuSecond: medianOf(side, "perCpuSecond"), deliveredPerSecond: medianOf(side, "deliveredPerSecond") }]),
  );
  if (values.json) console.log(JSON.stringify({ workload: name, pairs, medians, cpu, delivered, valid, held }));
  else {
    for (const [figure, text, { median, least, most }] of [
      ["perCpuSecond", "messages per CPU second", cpu],
      ["deliveredPerSecond", "delivered per second", delivered],
    ] as const)
      console.log(
        `  ${text}: base ${medianOf("base", figure)}, new ${medianOf("new", figure)}; ` +
          `new/base ${median} (${least} to ${most}, ${pairs} ${pairs === 1 ? "pair" : "pairs"})`,
      );
    console.log(held ? "  held" : valid ? `  below ${values.least}` : "  worthless: see above");
  }
  return !held;
}

function measure(name: string, side: Side): Promise<Figures> {
  const peer = join(trees[side], "bench", "peer");
  return harness !== undefined && name !== "policy" ? Promise.resolve(measureElsewhere(harness, name, peer)) : measureHere(name, peer);
}

async function measureHere(name: string, peer: string): Promise<Figures> {
  const workload = workloads[name];
  if (workload === undefined) throw new Error(`no such workload: ${name}`);
  const messages = values.messages === undefined ? workload.messages : Number(values.messages);
  const result = await runWorkload({ ...workload, messages }, { limit: Number(values.limit), peer, quiet: true });
  const { world } = result;
  const asked = Object.entries(world?.questions ?? {}).map(([type, count]) => `${count} ${type}`);
  return {
    perCpuSecond: result.messagesPerCpuSecond,
    deliveredPerSecond: result.deliveredPerSecond,
    faults: faultsOf({ ...result, undelivered: messages - result.delivered }),
    aside: [
      `${result.connectionsOut} connections`,
      `end to end p99 ${result.endToEndMs.p99} ms`,
      `peak ${result.peakRssMb} MB`,
      `${result.warmupCpuMs} CPU ms for ${workload.warmup} before`,
      ...(world === undefined ? [] : [`asked for ${asked.join(", ")} and ${world.policiesServed} policies`]),
    ].join(", "),
  };
}

/** The fields of the other harness's line, as its handbook names them. */
interface ElsewhereLine {
  readonly accepted: number;
  readonly msgs_per_cpu_s: number;
  readonly delivered_s: number;
  readonly undelivered: number;
  readonly duplicates: number;
  readonly plaintext: number;
  readonly out_conns: number;
  readonly e2e_p99_ms: number;
  readonly peak_rss_mb: number;
}

function measureElsewhere(program: string, name: string, peer: string): Figures {
  const messages = values.messages ?? String(workloads[name]?.messages ?? 0);
  const domains = String(workloads[name]?.domains ?? 1);
  const run = spawnSync(program, [peer, "-m", messages, "-d", domains, "--tls", "verify", "--timeout", values.limit], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (run.error !== undefined) throw run.error;
  const last = run.stdout.trim().split("\n").at(-1) ?? "";
  if (run.status !== 0 || !last.startsWith("{")) throw new Error(`${program} ended with ${run.status ?? run.signal ?? "nothing"}`);
  const line = JSON.parse(last) as ElsewhereLine;
  const undelivered = Number(messages) - line.accepted + line.undelivered;
  return {
    perCpuSecond: line.msgs_per_cpu_s,
    deliveredPerSecond: line.delivered_s,
    faults: faultsOf({ undelivered, duplicates: line.duplicates, inClear: line.plaintext, refused: [] }),
    aside: `${line.out_conns} connections, end to end p99 ${line.e2e_p99_ms} ms, peak ${line.peak_rss_mb} MB`,
  };
}

function faultsOf(result: { undelivered: number; duplicates: number; inClear: number; refused: readonly string[] }): string[] {
  const { undelivered, duplicates, inClear, refused } = result;
  return [
    undelivered > 0 && `${undelivered} not delivered`,
    duplicates > 0 && `${duplicates} twice`,
    inClear > 0 && `${inClear} in clear`,
    refused.length > 0 && `refused: ${refused[0]}`,
  ].filter((fault) => fault !== false);
}

function describe({ perCpuSecond, deliveredPerSecond, faults, aside }: Figures): string {
  const odd = faults.length === 0 ? "" : `; WORTHLESS: ${faults.join(", ")}`;
  return `${perCpuSecond} a CPU second, ${deliveredPerSecond} delivered/s; ${aside}${odd}`;
}

function spread(ratios: readonly number[]): { median: number; least: number; most: number } {
  const round = (value: number) => Number(value.toFixed(3));
  return { median: round(median(ratios)), least: round(Math.min(...ratios)), most: round(Math.max(...ratios)) };
}

function treeOf(folder: string | undefined): string {
  if (folder === undefined) return usage("--base and --new are needed");
  const tree = resolve(folder);
  for (const file of ["bench/peer", "dist/main.js"]) if (!existsSync(join(tree, file))) usage(`${tree} has no ${file}: build it first`);
  return tree;
}

function usage(fault: string): never {
  console.error(
    `${fault}\nnode bench/compare.ts --base DIR --new DIR [--workload a|b|policy …] [--pairs 7] [--messages N] [--limit SECONDS]`,
  );
  console.error("  [--least 0.9] [--relay-bench PROGRAM] [--json]");
  process.exit(2);
}
