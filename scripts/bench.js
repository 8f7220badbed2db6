/**
 * `npm run bench [-- WORKLOAD… --runs 3 --messages 5000 --json]`: what a message costs, see docs/performance.md.
 * RELAY_BENCH=/path/to/a/relay-bench runs that harness instead, with bench/peer and whatever arguments follow.
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const top = fileURLToPath(new URL("..", import.meta.url));
const peer = fileURLToPath(new URL("../bench/peer", import.meta.url));

// What is measured is what is shipped: sources run too, but take some 40 MB more.
const build = spawnSync(process.execPath, [fileURLToPath(new URL("build.js", import.meta.url))], { stdio: "inherit" });
if (build.status !== 0) process.exit(1);

if (process.env.RELAY_BENCH) {
  const run = spawnSync(process.env.RELAY_BENCH, [peer, ...process.argv.slice(2)], { stdio: "inherit", cwd: top });
  if (run.error !== undefined) console.error(`RELAY_BENCH cannot be run: ${run.error.message}`);
  process.exit(run.status ?? 1);
}

const { runWorkload } = await import("../bench/harness/run.ts");
const { workloads } = await import("../bench/harness/workloads.ts");
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: "string", default: "1" },
    messages: { type: "string" },
    limit: { type: "string", default: "300" },
    peer: { type: "string", default: peer },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
// Workload `policy` needs port 443, so it runs only when it is asked for.
const names = positionals.length > 0 ? positionals : Object.keys(workloads).filter((name) => workloads[name].published !== true);
const unknown = names.filter((name) => workloads[name] === undefined);
if (values.help || unknown.length > 0) {
  for (const { name, about } of Object.values(workloads)) console.log(`${name}  ${about}`);
  console.log("--runs N  --messages N  --limit SECONDS  --peer EXECUTABLE  --json");
  if (unknown.length > 0) console.error(`no such workload: ${unknown.join(", ")}`);
  process.exit(unknown.length > 0 ? 2 : 0);
}

for (const name of names) {
  for (let run = 0; run < Number(values.runs); run++) {
    const workload = { ...workloads[name], ...(values.messages === undefined ? {} : { messages: Number(values.messages) }) };
    if (!values.json && run === 0) console.log(`\n${workload.name}: ${workload.about}`);
    const result = await runWorkload(workload, { limit: Number(values.limit), peer: values.peer });
    if (values.json) console.log(JSON.stringify(result));
    else {
      const { submissionMs: sub, endToEndMs: e2e } = result;
      console.log(
        `  ${result.acceptedPerSecond} accepted/s, ${result.deliveredPerSecond} delivered/s, ${result.cpuMsPerMessage} CPU ms a message ` +
          `(${result.messagesPerCpuSecond} a CPU second), submission p50 ${sub.p50} p99 ${sub.p99} ms, end to end p50 ${e2e.p50} p99 ${e2e.p99} ms, peak ${result.peakRssMb} MB`,
      );
      const odd = [
        result.delivered < result.accepted && `${result.accepted - result.delivered} not delivered`,
        result.duplicates > 0 && `${result.duplicates} twice`,
        result.inClear > 0 && workload.tls !== "none" && `${result.inClear} in clear`,
        result.refused.length > 0 && `refused: ${result.refused[0]}`,
      ].filter(Boolean);
      if (odd.length > 0) console.log(`  ${odd.join(", ")}`);
    }
  }
}
