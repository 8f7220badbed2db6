/**
 * `POSTERN__SECTION__KEY` and `--set section.key=value`: names in, paths and values out. Steps of a name are told apart
 * by two underscores; case and single underscores inside a step do not matter. Names of other relays are compat.ts.
 */
import { childOf, formatPath, type Key, nearest, type Path, pathsEndingIn, plainName, rootKey } from "./keys.ts";
import type { Assignment, ConfigError } from "./origin.ts";
import { bad, good, type Parsed } from "../mail/parsed.ts";
import { type Environment, type ReadFile, readVariableFile, valueFromText } from "./variables.ts";

const PREFIX = /^postern__/i;

/** `submission.limits.messageSize` is `POSTERN__SUBMISSION__LIMITS__MESSAGE_SIZE`. */
export function environmentName(path: Path): string {
  const steps = path.map((step) =>
    String(step)
      .replace(/([a-z])(?=[A-Z0-9])/g, "$1_")
      .toUpperCase(),
  );
  return ["POSTERN", ...steps].join("__");
}

export interface EnvironmentReading {
  readonly assignments: readonly Assignment[];
  readonly errors: readonly ConfigError[];
}

export function readEnvironment(environment: Environment, readFile: ReadFile): EnvironmentReading {
  const assignments: Assignment[] = [];
  const errors: ConfigError[] = [];
  const directly = new Map<string, string>();
  const fromFile: { name: string; path: Path; key: Key; file: string }[] = [];

  function assign(name: string, path: Path, key: Key, text: string): void {
    const value = valueFromText(text, key);
    if (value.ok) assignments.push({ path, value: value.value, origin: { kind: "environment", name } });
    else errors.push({ source: name, path: formatPath(path), message: value.error });
  }

  for (const [name, text] of Object.entries(environment).sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (text === undefined || text === "") continue;
    if (!PREFIX.test(name)) {
      const meant = singleUnderscores(name);
      if (meant !== undefined)
        errors.push({ source: name, path: "", message: `not read: sections are told apart by two underscores, did you mean ${meant}?` });
      continue;
    }
    const found = findName(name);
    if (!found.ok) {
      errors.push({ source: name, path: "", message: found.error });
    } else if (found.value.file) {
      fromFile.push({ name, ...found.value, file: text });
    } else {
      directly.set(JSON.stringify(found.value.path), name);
      assign(name, found.value.path, found.value.key, text);
    }
  }
  for (const { name, path, key, file } of fromFile) {
    const other = directly.get(JSON.stringify(path));
    if (other !== undefined) {
      errors.push({ source: name, path: formatPath(path), message: `${other} and ${name} are both set; keep one` });
      continue;
    }
    const variable = readVariableFile(name, file, readFile);
    if (!variable.ok) errors.push({ source: name, path: formatPath(path), message: variable.error });
    else if (variable.value !== undefined) assign(name, path, key, variable.value.text);
  }
  return { assignments, errors };
}

interface FoundName {
  readonly path: Path;
  readonly key: Key;
  /** The variable names a file that holds the value. */
  readonly file: boolean;
}

/** The key that a `POSTERN__` name stands for. A key of that very name wins over the `_FILE` of a shorter one. */
export function findName(name: string): Parsed<FoundName> {
  const steps = name.replace(PREFIX, "").split("__");
  const exact = findSteps(steps);
  if (exact.ok) return good({ ...exact.value, file: false });
  const last = steps.at(-1) ?? "";
  if (/_file$/i.test(last)) {
    const shorter = findSteps([...steps.slice(0, -1), last.replace(/_file$/i, "")]);
    if (shorter.ok) return good({ ...shorter.value, file: true });
  }
  return exact;
}

function findSteps(steps: readonly string[]): Parsed<{ path: Path; key: Key }> {
  let key: Key = rootKey;
  const path: (string | number)[] = [];
  for (const step of steps) {
    const here: Path = [...path];
    let found: string | number;
    switch (key.kind) {
      case "value":
        return bad(`${formatPath(here)} has no keys of its own`);
      case "list":
        if (!/^\d{1,4}$/.test(step)) return bad(`items of ${formatPath(here)} are numbered from 0: ${environmentName([...here, 0])}`);
        found = Number(step);
        break;
      case "table":
        // Shells allow no dots in names, and host names have no underscores.
        if (step === "") return bad("a name is missing between the underscores");
        found = step.toLowerCase().replaceAll("_", ".");
        break;
      case "group": {
        const name = [...key.keys.keys()].find((candidate) => plainName(candidate) === plainName(step));
        if (name === undefined) return bad(unknownName(here, step, key.keys.keys()));
        found = name;
      }
    }
    const child = childOf(key, found);
    if (child === undefined) return bad(`${formatPath(here)} has no ${JSON.stringify(step)}`);
    path.push(found);
    key = child;
  }
  return good({ path, key });
}

function unknownName(at: Path, step: string, siblings: Iterable<string>): string {
  const near = nearest(step, siblings);
  const meant = near === undefined ? pathsEndingIn(step)[0] : [...at, near];
  return `there is no such setting${meant === undefined ? "" : `, did you mean ${environmentName(meant)}?`}`;
}

/** `POSTERN_TLS_FLOOR` looks like a setting and would be none; a floor must not be lost to an underscore. */
function singleUnderscores(name: string): string | undefined {
  if (!/^POSTERN_[A-Z]/i.test(name)) return undefined;
  const wanted = plainName(name.slice("POSTERN_".length).replace(/_FILE$/, ""));
  const path = valuePaths(rootKey, []).find((candidate) => plainName(candidate.join("")) === wanted);
  return path === undefined ? undefined : environmentName(path);
}

function valuePaths(key: Key, at: Path): Path[] {
  if (key.kind !== "group") return [at];
  return [...key.keys].flatMap(([name, child]) => valuePaths(child, [...at, name]));
}

/** `tls.floor`, `submission.listeners[0].port` or `submission.listeners.0.port`, `tls.domains.example.org.floor`. */
export function parsePath(text: string): Parsed<{ path: Path; key: Key }> {
  // A name in brackets and quotes is one step, whatever it contains.
  const steps = [...text.matchAll(/\["([^"]*)"\]|\[(\d+)\]|([^.[]+)|(?<=^|\.)(?=\.)/g)].map(
    (match) => match[1] ?? match[2] ?? match[3] ?? "",
  );
  let key: Key = rootKey;
  const path: (string | number)[] = [];
  while (steps.length > 0) {
    const here: Path = [...path];
    let found: string | number = steps.shift() ?? "";
    if (key.kind === "list") {
      if (!/^\d{1,4}$/.test(found)) return bad(`items of ${formatPath(here)} are numbered from 0`);
      found = Number(found);
    } else if (key.kind === "table") {
      // The name's own dots: all steps belong to it but a last one that is a key of the value.
      const { value } = key;
      const last = steps.at(-1);
      const inValue = last !== undefined && childOf(value, last) !== undefined ? 1 : 0;
      found = [found, ...steps.splice(0, steps.length - inValue)].join(".").toLowerCase();
    } else if (key.kind === "group") {
      const siblings = [...key.keys.keys()];
      const name = siblings.find((candidate) => plainName(candidate) === plainName(String(found)));
      if (name === undefined) {
        const near = nearest(found, siblings);
        const meant = near === undefined ? pathsEndingIn(found)[0] : [...here, near];
        return bad(`there is no such setting${meant === undefined ? "" : `, did you mean ${formatPath(meant)}?`}`);
      }
      found = name;
    }
    const child = childOf(key, found);
    if (child === undefined) return bad(`${formatPath(here)} has no keys of its own`);
    path.push(found);
    key = child;
  }
  return path.length === 0 ? bad("a setting's name is missing") : good({ path, key });
}

/** The values of `--set`. */
export function readOverrides(overrides: readonly { readonly path: string; readonly value: string }[]): EnvironmentReading {
  const assignments: Assignment[] = [];
  const errors: ConfigError[] = [];
  for (const override of overrides) {
    const found = parsePath(override.path);
    const value = found.ok ? valueFromText(override.value, found.value.key) : found;
    if (found.ok && value.ok) assignments.push({ path: found.value.path, value: value.value, origin: { kind: "set" } });
    else if (!value.ok) errors.push({ source: "--set", path: override.path, message: value.error });
  }
  return { assignments, errors };
}
