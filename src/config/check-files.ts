/** Files that settings name: can they be read, and do they hold what they are named for? Paths in, findings out. */
import { type CheckFacts, error, type Finding } from "./finding.ts";
import { nearest, type Path } from "./keys.ts";
import { quote } from "./redact.ts";
import { whyUnreadable } from "./unreadable.ts";

/** `CERTIFICATE`, `PRIVATE KEY`: what stands before the dashes of a PEM header. */
export function pemFaults(file: string, what: string, path: Path, facts: CheckFacts): Finding[] {
  return fileFaults(file, (text) => (text.includes(`${what}-----`) ? undefined : `no ${what.toLowerCase()} in PEM form`), path, facts);
}

/** Who is trusted to certify: `bundled`, `system`, or the path of a PEM file. */
export function rootsFaults(roots: string, path: Path, facts: CheckFacts): Finding[] {
  if (roots === "bundled" || roots === "system") return [];
  const near = /[./]/.test(roots) ? undefined : nearest(roots, ["bundled", "system"]);
  if (near !== undefined) return [error(`expected bundled, system or the path of a PEM file, did you mean ${near}?`, path)];
  return pemFaults(roots, "CERTIFICATE", path, facts);
}

/** `missing` says what the text lacks, if it lacks something. */
export function fileFaults(file: string, missing: (text: string) => string | undefined, path: Path, { readFile }: CheckFacts): Finding[] {
  try {
    const fault = missing(readFile(file));
    return fault === undefined ? [] : [error(`${fault} in ${quote(file)}`, path)];
  } catch (thrown) {
    return [error(`cannot read ${quote(file)} (${whyUnreadable(thrown)})`, path)];
  }
}
