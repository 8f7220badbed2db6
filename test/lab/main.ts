/**
 * The lab's own program, inside its network namespace: runs the table and the stories and prints verdicts, one JSON object
 * a line, on standard output; progress goes to standard error. Started by scripts/lab.js and by lab.test.ts.
 */
import { makeTempFolder } from "../support/temp.ts";
import { runTable } from "./run.ts";
import { select, selectStories } from "./table.ts";
import { furnishNamespace } from "./world/namespace.ts";

const only = process.argv[2] ?? "";
const began = performance.now();
const report = (line: string): void => console.error(`${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s  ${line}`);

process.stdin
  .resume()
  .once("end", () => process.exit(1))
  .unref();

await using folder = await makeTempFolder("lab");
furnishNamespace(folder.path);
await runTable(select(only), selectStories(only), folder.path, { report, emit: (verdict) => console.log(JSON.stringify(verdict)) });
