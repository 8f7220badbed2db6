/**
 * `npm test [-- vitest's arguments]`: the Debian packages that the tests need, then vitest, then one plain closing line
 * `N passed, N failed`. POSTERN_TEST_SCALE=5 makes the long proofs five times as long.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensureTestPackages } from "./test-packages.js";

process.chdir(fileURLToPath(new URL("..", import.meta.url)));

try {
  const installed = ensureTestPackages();
  if (installed.length > 0) console.log(`installed for the tests: ${installed.join(", ")}`);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}

// bin/postern.js prefers dist/ where there is one, and the system tests run that: it must be what src/ says now.
if (existsSync("dist") && spawnSync(process.execPath, ["scripts/build.js"], { stdio: "inherit" }).status !== 0) process.exit(1);

const scratch = mkdtempSync(join(tmpdir(), "postern-test-"));
const counts = join(scratch, "counts.json");
const vitest = fileURLToPath(new URL("../node_modules/vitest/vitest.mjs", import.meta.url));
const args = ["run", "--reporter=default", "--reporter=./scripts/count-reporter.js", ...process.argv.slice(2)];
const child = spawn(process.execPath, [vitest, ...args], { stdio: "inherit", env: { ...process.env, POSTERN_TEST_COUNTS: counts } });
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
child.on("error", (error) => console.error(`vitest cannot be run: ${error.message}`));
child.on("close", (code) => {
  let result;
  try {
    result = JSON.parse(readFileSync(counts, "utf8"));
  } catch {
    result = { passed: 0, failed: 1, skipped: 0 };
  }
  rmSync(scratch, { recursive: true, force: true });
  // vitest may fail without a failed test, by a threshold or a crash: the line must not look like success.
  if (code !== 0 && result.failed === 0) result.failed = 1;
  console.log(`\n${result.passed} passed, ${result.failed} failed${result.skipped > 0 ? `, ${result.skipped} skipped` : ""}`);
  process.exitCode = code === 0 && result.failed === 0 ? 0 : 1;
});
