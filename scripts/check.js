/**
 * `npm run check`: types, lint, format, import direction, nothing of one machine in tracked files, length of files.
 * Everything runs and reports; the exit code is 1 if anything failed.
 */
import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { findUpwardImports, readSources } from "./import-direction.ts";
import { findLongFiles, findMachineTraces } from "./tracked-files.ts";

process.chdir(fileURLToPath(new URL("..", import.meta.url)));

/** The tracked and the about-to-be-tracked; without git (a release archive) there is nothing to look at. */
function trackedFiles() {
  const listed = spawnSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], { encoding: "utf8" });
  return listed.status === 0 ? listed.stdout.split("\0").filter((name) => name !== "") : [];
}

function readTracked() {
  const files = [];
  for (const name of trackedFiles()) {
    try {
      files.push([name, readFileSync(name, "utf8")]);
    } catch {
      // deleted but not yet committed
    }
  }
  return files;
}

function runTool(command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    child.stdout.on("data", (chunk) => (output += chunk));
    child.stderr.on("data", (chunk) => (output += chunk));
    child.on("error", (error) => resolve({ ok: false, output: `${command} cannot be run (${error.message}); npm ci first` }));
    child.on("close", (code) => resolve({ ok: code === 0, output }));
  });
}

/** Names only: `npm run format` does the rest. */
async function findUnformatted() {
  const { ok, output } = await runTool("biome", ["format", "--max-diagnostics=200", "--colors=off"]);
  const files = [...output.matchAll(/^(\S+) (?:format|parse) ━/gm)].map((match) => match[1]);
  return { ok, output: files.length === 0 ? output : `npm run format would change:\n${files.join("\n")}` };
}

const problemsOf = (problems) => ({ ok: problems.length === 0, output: problems.join("\n") });

const checks = {
  types: () => runTool("tsc", ["-p", "."]),
  lint: () => runTool("oxlint", ["--type-aware", "--deny-warnings"]),
  format: findUnformatted,
  imports: async () => problemsOf(findUpwardImports(readSources("src"))),
  machine: async () => problemsOf(findMachineTraces(readTracked())),
  // A hint only: some tables are long for good reason.
  length: async () => ({ ok: true, output: findLongFiles(readTracked()).join("\n") }),
};

const wanted = process.argv.slice(2);
const names = Object.keys(checks).filter((name) => wanted.length === 0 || wanted.includes(name));
let failed = 0;
await Promise.all(
  names.map(async (name) => {
    const started = performance.now();
    const { ok, output } = await checks[name]();
    if (!ok) failed += 1;
    const text = output.trim();
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    console.log(
      `${ok ? "ok  " : "FAIL"} ${name} (${seconds} s)${text !== "" && (!ok || name === "length") ? `\n${text.replace(/^/gm, "     ")}` : ""}`,
    );
  }),
);
if (failed > 0) console.log(`${failed} of ${names.length} checks failed`);
process.exitCode = failed > 0 ? 1 : 0;
