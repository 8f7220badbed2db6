/**
 * Imports point down: src/main.ts and cli/ may use everything, mail/ nothing of ours. Folders of one floor do not import
 * each other; what a stage needs from its neighbour is handed to it by main.ts.
 */
import { globSync, readFileSync } from "node:fs";
import { dirname, join, normalize, sep } from "node:path";

/** Highest floor first. */
export const floors: readonly (readonly string[])[] = [
  ["main.ts", "relay.ts", "lookups.ts", "reporting.ts", "cli"],
  ["submission", "delivery", "report", "dkim", "admin"],
  ["store", "lookup"],
  ["queue"],
  ["policy", "config"],
  ["mail", "clock.ts", "events.ts", "thrown.ts"],
];

/** Rooms of the top and bottom floor may use their neighbours: main assembles cli, and the bottom is one vocabulary. */
const open = new Set([0, floors.length - 1]);

const importing =
  /(?:^|[\s;}])(?:import|export)\s[^"'`;]*?from\s*["']([^"']+)["']|(?:^|[\s;}])import\s*["']([^"']+)["']|\bimport\(\s*["']([^"']+)["']|new URL\(\s*["']([^"']+\.[jt]s)["']\s*,\s*import\.meta\.url/g;

/** Comments hold examples, and a string in one would count as an import. */
const withoutComments = (text: string): string => text.replace(/\/\*[^]*?\*\/|(^|[^:"'])\/\/[^\n]*/g, "$1");

const roomOf = (file: string): string => file.split(sep)[0] ?? file;
const floorOf = (room: string): number => floors.findIndex((rooms) => rooms.includes(room));

/** A path, and the text of the file. */
export type SourceText = readonly [path: string, text: string];

/** Sources below src/ in; one sentence for each import that does not point down out. */
export function findUpwardImports(files: readonly SourceText[]): string[] {
  const problems: string[] = [];
  for (const [file, text] of files) {
    const from = roomOf(file);
    if (floorOf(from) === -1) {
      problems.push(`src/${file}: ${from} has no floor; give it one in scripts/import-direction.ts`);
      continue;
    }
    for (const match of withoutComments(text).matchAll(importing)) {
      const specifier = match[1] ?? match[2] ?? match[3] ?? match[4];
      if (specifier === undefined || !specifier.startsWith(".")) continue;
      const target = normalize(join(dirname(file), specifier));
      const to = roomOf(target);
      if (to === "..") {
        // package.json, for the version, is nobody's room.
        if (/\.[jt]s$/.test(specifier)) problems.push(`src/${file} imports ${specifier}, outside src/`);
        continue;
      }
      if (to === from) continue;
      const here = floorOf(from);
      const there = floorOf(to);
      if (there === -1) problems.push(`src/${file} imports src/${target}, which has no floor`);
      else if (there < here) problems.push(`src/${file} imports src/${target}: up from ${from} to ${to}`);
      else if (there === here && !open.has(here)) problems.push(`src/${file} imports src/${target}: ${from} and ${to} are on one floor`);
    }
  }
  return problems;
}

export function readSources(folder: string): SourceText[] {
  return globSync("**/*.ts", { cwd: folder }).map((file) => [file, readFileSync(join(folder, file), "utf8")]);
}
