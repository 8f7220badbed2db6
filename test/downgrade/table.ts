/**
 * Prints what becomes of a message with each kind of tampering under each demand: `node test/downgrade/table.ts`.
 * With `--json` the same for programs; the environment tests run it that way.
 */
import { makeKit, ROWS } from "./rows.ts";
import { DEMANDS, runRow } from "./run-row.ts";

const kit = await makeKit();
const results: Record<string, string>[] = [];
for (const row of ROWS) {
  const line: Record<string, string> = { name: row.name };
  for (const demand of DEMANDS) {
    const { verdict, type } = await runRow(row, demand, kit);
    line[demand] = verdict;
    // By TLSA records a certificate is wrong in one way only.
    if (demand !== "dane") line["reason"] = type ?? "none";
  }
  const honest = await Promise.all((["authenticated", "dane"] as const).map((demand) => runRow(row, demand, kit, "honest")));
  line["without the fault"] = honest.every(({ verdict }) => verdict === "authenticated") ? "authenticated" : "refused";
  results.push(line);
}

if (process.argv.includes("--json")) console.log(JSON.stringify(results));
else {
  const columns = ["name", ...DEMANDS, "without the fault", "reason"];
  const widths = columns.map((column) => Math.max(column.length, ...results.map((line) => (line[column] ?? "").length)));
  const print = (cells: string[]) =>
    console.log(
      cells
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join("  ")
        .trimEnd(),
    );
  print(columns);
  print(widths.map((width) => "-".repeat(width)));
  for (const line of results) print(columns.map((column) => line[column] ?? ""));
}
