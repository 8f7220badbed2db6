/** The rest of the project's own tools: what they say when something is missing, what they count, what lint must catch. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { countResults } from "../../scripts/count-reporter.js";
import { explainMissing, missingPackages } from "../../scripts/test-packages.js";

const top = fileURLToPath(new URL("../..", import.meta.url));

test("a missing package is found, and named with its purpose and the remedy", () => {
  const here = { name: "bash", command: "bash", why: "a shell" };
  const missing = missingPackages([
    here,
    { name: "no-such-package", command: "no-such-command", why: "a purpose" },
    { ...here, name: "x", user: "no-such-user" },
  ]);
  expect(missing.map((one) => one.name)).toEqual(["no-such-package", "x"]);
  const said = explainMissing(missing);
  expect(said).toMatch(/no-such-package\s+a purpose/);
  expect(said).toContain("node scripts/test-packages.js");
});

test("broken files and errors outside tests count as failures", () => {
  const suite = (errors: number) => ({ errors: () => Array<Error>(errors).fill(new Error("broken")) });
  const module = (states: string[], errors = 0, suites = [suite(0)]) => ({
    ...suite(errors),
    children: { allTests: () => states.map((state) => ({ result: () => ({ state }) })), allSuites: () => suites },
  });
  expect(countResults([module(["passed", "failed", "skipped", "pending"])], [])).toEqual({ passed: 1, failed: 2, skipped: 1 });
  expect(countResults([module([], 1), module(["passed"], 0, [suite(1)])], [new Error("stray")])).toEqual({
    passed: 1,
    failed: 3,
    skipped: 0,
  });
});

const faults: [rule: string, code: string][] = [
  ["no-floating-promises", "async function f(): Promise<void> {}\nf();\n"],
  ["no-misused-promises", "async function f(): Promise<boolean> { return true; }\nif (f()) console.log(1);\n"],
  ["await-thenable", "export async function f(x: number): Promise<number> { return await x; }\n"],
  ["no-explicit-any", "export function f(x: any): unknown { return x; }\n"],
  ["no-non-null-assertion", "export function f(x: string | undefined): string { return x!; }\n"],
  ["switch-exhaustiveness-check", "export function f(x: 'a' | 'b'): void { switch (x) { case 'a': break; } }\n"],
  ["eqeqeq", "export function f(x: number): boolean { return x == 1; }\n"],
];

test("lint catches what it is there for", { timeout: 60_000 }, () => {
  // Inside the project, so that its own configuration and types hold, where no other test looks.
  const folder = mkdtempSync(join(top, "scripts", "lint-sample-"));
  try {
    for (const [rule, code] of faults) writeFileSync(join(folder, `${rule}.ts`), code);
    const run = spawnSync("oxlint", ["--type-aware", "--format=unix", folder], {
      cwd: top,
      encoding: "utf8",
      env: { ...process.env, PATH: `${top}/node_modules/.bin:${process.env["PATH"]}` },
    });
    expect(run.status).toBe(1);
    for (const [rule] of faults) expect(run.stdout, rule).toMatch(new RegExp(`${rule}\\.ts:.*[(/]${rule}\\b`));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
