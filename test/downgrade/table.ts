/**
 * Prints what becomes of a message with each kind of tampering under each floor: `node test/downgrade/table.ts`.
 * With `--json` the same for programs; the environment tests run it that way.
 */
import { makeKit, ROWS } from "./rows.ts";
import { FLOORS, runRow } from "./run-row.ts";

const kit = await makeKit();
const results: Record<string, string>[] = [];
for (const row of ROWS) {
  const line: Record<string, string> = { name: row.name };
  for (const floor of FLOORS) {
    const { verdict, type } = await runRow(row, floor, kit);
    line[floor] = verdict;
    line["reason"] = type ?? "none";
  }
  line["without the fault"] = (await runRow(row, "authenticated", kit, "honest")).verdict;
  results.push(line);
}

if (process.argv.includes("--json")) console.log(JSON.stringify(results));
else {
  const columns = ["name", ...FLOORS, "without the fault", "reason"];
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
