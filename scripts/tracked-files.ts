/** What no tracked file may hold: paths of one machine, hosts of a package registry. And which sources grew too long. */
import type { SourceText } from "./import-direction.ts";

/** Files in; one line for each trace out. The lock file names where its packages come from, so it is left out. */
export function findMachineTraces(files: readonly SourceText[]): string[] {
  const traces: readonly (readonly [pattern: RegExp, what: string])[] = [
    // Absolute paths into somebody's home or workplace.
    [/(?<![\w.:/-])\/(?:work|home|root|Users|mnt|private)\/[\w.-]+/, "a path of one machine"],
    [
      /(?<![\w.-])(?:registry|npm|mirrors?|deb|artifactory|nexus|verdaccio|pypi)\.[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:org|com|net|io|dev|local|internal)(?![\w.-])/i,
      "a registry's host",
    ],
  ];
  const found: string[] = [];
  for (const [name, text] of files) {
    if (name === "package-lock.json" || text.includes("\0")) continue;
    const lines = text.split("\n");
    for (const [index, line] of lines.entries())
      for (const [pattern, what] of traces) {
        const match = pattern.exec(line);
        if (match !== null) found.push(`${name}:${index + 1}: ${what}: ${match[0]}`);
      }
  }
  return found;
}

export function findLongFiles(files: readonly SourceText[], limit = 350): string[] {
  return files
    .filter(([name]) => /^(?:src|scripts|bench|test)\/.*\.[jt]s$/.test(name))
    .map(([name, text]) => [name, text.split("\n").length - 1] as const)
    .filter(([, lines]) => lines > limit)
    .map(([name, lines]) => `${name} has ${lines} lines; perhaps it holds more than one idea`);
}
