/**
 * `npm run lab [-- --json] [-- --only TEXT]`: runs the lab (test/lab) and prints its table of verdicts. As root, on Linux:
 * it lives in a network namespace of its own. Exit code 1 if anything came out otherwise than it must.
 */
import { existsSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { runLab } from "../test/lab/launch.ts";

process.chdir(fileURLToPath(new URL("..", import.meta.url)));
const { values } = parseArgs({ options: { json: { type: "boolean", default: false }, only: { type: "string", default: "" } } });

// bin/postern.js prefers dist/ where there is one: it must be what src/ says now.
if (process.env.POSTERN_LAB_PROGRAM === undefined && existsSync("dist")) {
  if (spawnSync(process.execPath, ["scripts/build.js"], { stdio: "inherit" }).status !== 0) process.exit(1);
}

try {
  let subject = "";
  const verdicts = await runLab(
    values.only,
    (line) => console.error(line),
    (verdict) => {
      if (!values.json) subject = printVerdict(verdict, subject);
    },
  );
  if (values.json) console.log(JSON.stringify(verdicts, null, 1));
  const failed = verdicts.filter(({ wrong }) => wrong.length > 0).length;
  console.error(`\n${verdicts.length - failed} as they should be, ${failed} not`);
  process.exitCode = failed > 0 || verdicts.length === 0 ? 1 : 0;
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}

/** A line or more for one verdict, below its subject's heading; gives the subject. */
function printVerdict(one, subject) {
  if (one.subject !== subject)
    console.log(`
${one.subject}`);
  console.log(`  ${one.wrong.length === 0 ? "ok  " : "FAIL"} ${one.name}  (${one.section}; relay ${one.relay})`);
  console.log(`         ${one.was}`);
  console.log(`         control: ${one.control}`);
  if (one.counted !== undefined) console.log(`         counted: ${one.counted[0]}; control: ${one.counted[1]}`);
  for (const text of one.wrong) console.log(`       ! ${text}`);
  return one.subject;
}
