#!/usr/bin/env node
/** The command `postern`: the built program, or in a clone without a fresh build the sources, which Node.js runs directly. */
import { fileURLToPath } from "node:url";
import { findOwnNode, followParent, isBuildFresh, isStartedByOldNode, planLaunch, restart } from "./launch.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const plan = planLaunch(process.version, findOwnNode(root), isStartedByOldNode());

if (plan.kind === "restart") restart(plan.node, fileURLToPath(import.meta.url), process.argv.slice(2));
else if (plan.kind === "refuse") {
  console.error(plan.text);
  process.exitCode = 70;
} else {
  if (isStartedByOldNode()) followParent();
  const program = isBuildFresh(root) ? "../dist/cli/program.js" : "../src/cli/program.ts";
  const { main } = await import(new URL(program, import.meta.url).href);
  await main();
}
