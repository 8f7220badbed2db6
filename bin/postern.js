#!/usr/bin/env node
/** The command `postern`: the sources in a clone, where Node.js runs them directly and no stale build can hide; else the built program. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { findOwnNode, followParent, isStartedByOldNode, planLaunch, restart } from "./launch.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const plan = planLaunch(process.version, findOwnNode(root), isStartedByOldNode());

if (plan.kind === "restart") restart(plan.node, fileURLToPath(import.meta.url), process.argv.slice(2));
else if (plan.kind === "refuse") {
  console.error(plan.text);
  process.exitCode = 70;
} else {
  if (isStartedByOldNode()) followParent();
  const built = new URL("../dist/cli/program.js", import.meta.url);
  const source = new URL("../src/cli/program.ts", import.meta.url);
  const { main } = await import((existsSync(source) ? source : built).href);
  await main();
}
