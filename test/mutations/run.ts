/**
 * Breaks one rule in a copy of the project and runs the tests that are to notice: a mutation in, whether a test turned red
 * out. The list is test/mutations/list.ts; `npm run mutations [-- TEXT…]` goes through those whose names hold a TEXT.
 */
import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { mutations } from "./list.ts";
import type { Mutation } from "./mutation.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
/** The folder of packages, wherever npm has put it. */
const packages = dirname(dirname(fileURLToPath(import.meta.resolve("vitest/package.json"))));
/** What the rooms' tests read. */
const COPIED = ["src", "test", "config", "docs", "scripts", "bin", "package.json", "tsconfig.json", "vitest.config.ts", "README.md"];
/** At a time, each in a copy of its own. */
export const LANES = 2;
/** Milliseconds; far beyond what any of these tests take. */
const LONGEST_RUN = 120_000;

export interface Outcome {
  /** `survived`: no test noticed. `error`: the tests could not be run at all, which proves nothing. */
  readonly kind: "noticed" | "survived" | "error";
  /** The first test that failed, or what went wrong. */
  readonly detail: string;
}

export interface Copy {
  readonly folder: string;
  remove(): void;
}

/** A copy that may be broken; `remove` it afterwards. */
export function copyProject(): Copy {
  const folder = mkdtempSync(join(tmpdir(), "postern-mutation-"));
  for (const name of COPIED) cpSync(join(root, name), join(folder, name), { recursive: true });
  symlinkSync(packages, join(folder, "node_modules"));
  if (existsSync(join(root, ".test-tools"))) symlinkSync(join(root, ".test-tools"), join(folder, ".test-tools"));
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Applies it, runs its tests, and puts the file back. Throws if the rule is not where the list says. */
export async function tryMutation(mutation: Mutation, folder: string): Promise<Outcome> {
  const path = join(folder, mutation.file);
  const text = readFileSync(path, "utf8");
  writeFileSync(path, broken(mutation, text));
  try {
    return await runTests(mutation, folder);
  } finally {
    writeFileSync(path, text);
  }
}

/** A rule that moved has to be found again: a mutation that changes nothing, or something else, proves nothing. */
function broken({ name, file, from, to }: Mutation, text: string): string {
  if (text.split(from).length !== 2) throw new Error(`${name}: ${file} has not exactly one ${JSON.stringify(from)}`);
  return text.replace(from, () => to);
}

/**
 * Runs test files in the copy. `noticed` means that a test of them failed. One file at a time, since vitest may end at the
 * first failure before the file it happened in has been reported.
 */
export function runTests({ tests, only }: Pick<Mutation, "tests" | "only">, folder: string): Promise<Outcome> {
  const report = join(folder, "report.json");
  rmSync(report, { force: true });
  const args = [
    "run",
    "--project=rooms",
    "--bail=1",
    "--maxWorkers=1",
    "--no-cache",
    "--no-fsModuleCache",
    "--reporter=json",
    `--outputFile=${report}`,
  ];
  if (only !== undefined) args.push(`--testNamePattern=${only}`);
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [join(packages, "vitest", "vitest.mjs"), ...args, ...tests], {
      cwd: folder,
      env: outsideVitest(),
      stdio: ["ignore", "pipe", "pipe"],
      timeout: LONGEST_RUN,
      killSignal: "SIGKILL",
    });
    let output = "";
    child.stdout.on("data", (chunk) => (output += chunk));
    child.stderr.on("data", (chunk) => (output += chunk));
    child.on("error", (error) => resolve({ kind: "error", detail: error.message }));
    child.on("close", (code) => {
      try {
        resolve(judge(JSON.parse(readFileSync(report, "utf8")) as Report, code));
      } catch {
        resolve({ kind: "error", detail: output.slice(-2000) || "the tests gave no report in time" });
      }
    });
  });
}

/** What this vitest tells its workers is nothing to another one. */
function outsideVitest(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(?:VITEST|NODE_V8_COVERAGE$)/.test(name)));
}

interface Report {
  readonly numPassedTests: number;
  readonly testResults: readonly {
    readonly message: string;
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
  }[];
}

function judge({ numPassedTests, testResults }: Report, code: number | null): Outcome {
  const failed = testResults.flatMap(({ assertionResults }) => assertionResults).find(({ status }) => status === "failed");
  if (failed !== undefined) return { kind: "noticed", detail: failed.fullName };
  if (code === 0 && numPassedTests > 0) return { kind: "survived", detail: `${numPassedTests} tests passed` };
  // A file that does not even load is no test of the rule.
  const messages = testResults.map(({ message }) => message).filter((message) => message !== "");
  return { kind: "error", detail: messages.join("\n").slice(0, 2000) || "no test ran" };
}

/** Goes through the list by hand. The exit code is 1 if anything was not noticed. */
async function main(wanted: readonly string[]): Promise<void> {
  const chosen = mutations.filter(({ name }) => wanted.length === 0 || wanted.some((text) => name.includes(text)));
  const left = chosen.values();
  let missed = 0;
  const started = performance.now();
  const lane = async (): Promise<void> => {
    const copy = copyProject();
    try {
      for (const mutation of left) {
        const began = performance.now();
        const { kind, detail } = await tryMutation(mutation, copy.folder);
        if (kind !== "noticed") missed += 1;
        const seconds = ((performance.now() - began) / 1000).toFixed(1);
        console.log(`${kind.padEnd(8)}  ${mutation.name} (${seconds} s)\n          ${detail}`);
      }
    } finally {
      copy.remove();
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  console.log(`${chosen.length - missed} of ${chosen.length} noticed in ${Math.round((performance.now() - started) / 1000)} s`);
  process.exitCode = missed === 0 && chosen.length > 0 ? 0 : 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv.slice(2));
