/**
 * Settings from all their sources: command line over environment over file over default. Everything that is wrong is
 * told at once, with its place, and nothing is taken from a configuration that has a fault. Pure over what is handed in.
 */
import type { z } from "zod";
import { checkSettings } from "./check.ts";
import { readCompat, readHostname } from "./compat.ts";
import { type ConfigDocument, readDocument } from "./document.ts";
import { readEnvironment, readOverrides } from "./environment.ts";
import type { Finding } from "./finding.ts";
import type { CompatContext } from "./friendly-names.ts";
import { expectation, formatPath, holdsSecret, type Key, keyAt, nearest, type Path, pathsEndingIn, rootKey } from "./keys.ts";
import { type Assignment, comparePaths, type ConfigError, formatOrigin, Origins, relatedPaths, samePath } from "./origin.ts";
import { quote, scrub, secretsIn } from "./redact.ts";
import { type Settings, settingsSchema } from "./settings.ts";
import { placeholderFor, removeAt, setAt, type Tree, valueAt } from "./tree.ts";
import type { Environment, ReadFile } from "./variables.ts";

/** What must be known of this machine to judge settings for it. */
export interface Machine {
  /** What `auto` in submission.networks stands for here. */
  readonly autoNetworks: readonly string[];
  /** An IPv6 socket can be opened here. */
  readonly hasIpv6: boolean;
}

export const PLAIN_MACHINE: Machine = { autoNetworks: ["127.0.0.0/8", "::1/128"], hasIpv6: false };

export interface ConfigSources {
  readonly file?: { readonly path: string; readonly text: string };
  readonly environment: Environment;
  /** `--set section.key=value`, in the order given. */
  readonly overrides: readonly { readonly path: string; readonly value: string }[];
  readonly readFile: ReadFile;
  readonly machine?: Machine;
}

export type LoadedSettings =
  | { readonly ok: true; readonly settings: Settings; readonly origins: Origins; readonly notes: readonly string[] }
  | { readonly ok: false; readonly errors: readonly ConfigError[] };

export function loadSettings(sources: ConfigSources): LoadedSettings {
  const machine = sources.machine ?? PLAIN_MACHINE;
  const file = sources.file;
  const document = readDocument(file?.text ?? "");
  const layers = new Layers(document, file?.path ?? "");

  const direct = readEnvironment(sources.environment, sources.readFile);
  const overrides = readOverrides(sources.overrides);
  const compat = readCompat(
    sources.environment,
    sources.readFile,
    compatContext(document, [...direct.assignments, ...overrides.assignments], machine),
  );
  const fromEnvironment = [...direct.assignments, ...compat.assignments];
  layers.errors.push(...direct.errors, ...compat.errors, ...disagreements(fromEnvironment), ...overrides.errors);
  layers.apply([...fromEnvironment].sort((a, b) => comparePaths(a.path, b.path)));
  layers.apply(overrides.assignments);

  const notes = [...compat.notes];
  const hostname = readHostname(sources.environment);
  if (hostname !== undefined && valueAt(layers.tree, hostname.path) === undefined) {
    layers.apply([hostname]);
    notes.push(`compat: HOSTNAME read as MAILNAME=${String(hostname.value)}`);
  }

  const judged = layers.judge((settings) => checkSettings(settings, { autoNetworks: machine.autoNetworks, readFile: sources.readFile }));
  const secrets = [
    ...secretsIn(layers.tree, rootKey),
    ...[...fromEnvironment, ...overrides.assignments].flatMap(({ path, value }) => secretsIn(value, keyAt(path) ?? rootKey)),
  ];
  if (layers.errors.length > 0 || judged.settings === undefined) {
    return { ok: false, errors: inOrder(layers.errors).map((error) => ({ ...error, message: scrub(error.message, secrets) })) };
  }
  notes.push(...judged.notes);
  return { ok: true, settings: judged.settings, origins: layers.origins, notes: notes.map((note) => scrub(note, secrets)) };
}

/** What the short names depend on: file and `POSTERN__` names as far as they go without them. */
export function compatContext(document: ConfigDocument, assignments: readonly Assignment[], machine: Machine): CompatContext {
  const tree = structuredClone(document.tree) as Tree;
  for (const { path, value } of [...assignments].sort((a, b) => comparePaths(a.path, b.path))) setAt(tree, path, structuredClone(value));
  const listeners = valueAt(tree, ["submission", "listeners"]) ?? keyAt(["submission", "listeners"])?.default;
  const senderDomains = valueAt(tree, ["submission", "senderDomains"]);
  return {
    allAddresses: machine.hasIpv6 ? "::" : "0.0.0.0",
    // A file that cannot be read may have one; its own error is enough.
    hasRelayhost: !document.readable || valueAt(tree, ["delivery", "relayhost"]) !== undefined,
    listeners: Array.isArray(listeners) ? listeners : [],
    senderDomains: Array.isArray(senderDomains) ? senderDomains : [],
    hasDkimDomains: valueAt(tree, ["dkim", "domains"]) !== undefined,
  };
}

/** Two names of the environment that set one key to different values. Neither has a better claim than the other. */
function disagreements(assignments: readonly Assignment[]): ConfigError[] {
  return assignments.flatMap((assignment, index) => {
    const earlier = assignments.slice(0, index).find((other) => samePath(other.path, assignment.path));
    if (earlier === undefined || JSON.stringify(earlier.value) === JSON.stringify(assignment.value)) return [];
    const [a, b] = [earlier, assignment].map(({ origin }) => formatOrigin(origin).replace(/^(?:env|compat) /, ""));
    return [{ path: formatPath(assignment.path), source: a ?? "", message: `${a} and ${b} disagree about it; keep one` }];
  });
}

function inOrder(errors: readonly ConfigError[]): ConfigError[] {
  const rank = (error: ConfigError): number => (error.line === undefined ? 2 : 1);
  return [...errors].sort((a, b) => rank(a) - rank(b) || (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0));
}

class Layers {
  readonly tree: Tree;
  readonly origins = new Origins();
  readonly errors: ConfigError[] = [];
  readonly #document: ConfigDocument;
  readonly #file: string;

  constructor(document: ConfigDocument, file: string) {
    this.#document = document;
    this.#file = file;
    this.tree = structuredClone(document.tree) as Tree;
    this.origins.record([], this.tree, (path) => ({ kind: "file", file, line: document.placeOf(path).line }));
    for (const { path, message, line, column } of document.errors)
      this.errors.push({ path: formatPath(path), message, file, line, column });
  }

  apply(assignments: readonly Assignment[]): void {
    for (const { path, value, origin } of assignments) {
      const fault = setAt(this.tree, path, structuredClone(value));
      if (fault === undefined) this.origins.record(path, value, () => origin);
      else this.errors.push({ path: formatPath(path), message: fault, source: sourceName(origin) });
    }
  }

  /**
   * The schema's judgement, then the check's. Faulty values are set aside for the check, so that one mistake hides no
   * other; what the check then says about a value that was set aside is not believed.
   */
  judge(check: (settings: Settings) => Finding[]): { settings?: Settings; notes: string[] } {
    const sound: Tree = structuredClone(this.tree);
    const setAside: Path[] = [];
    let result = settingsSchema.safeParse(sound);
    for (let round = 0; !result.success && round < 10; round++) {
      for (const issue of result.error.issues) {
        for (const { path, message } of this.#explain(issue, sound)) {
          if (setAside.some((other) => samePath(other, path))) continue;
          // What a file that cannot be read may well contain is not missing.
          if (this.#document.readable || valueAt(sound, path) !== undefined) this.#report(path, message, [path]);
          setAside.push(path);
          const key = keyAt(path);
          if (key !== undefined && (key.required || typeof path.at(-1) === "number")) setAt(sound, path, placeholderFor(key));
          else removeAt(sound, path);
        }
      }
      result = settingsSchema.safeParse(sound);
    }
    if (!result.success) {
      if (setAside.length === 0) throw new Error("the settings schema found a fault that could not be explained", { cause: result.error });
      return { notes: [] };
    }
    const notes: string[] = [];
    for (const { level, paths, message } of this.#document.readable ? check(result.data) : []) {
      if (paths.some((path) => setAside.some((other) => relatedPaths(path, other)))) continue;
      if (level === "error") this.#report(paths[0], message, paths);
      // What follows from defaults that nobody touched is no remark on anybody's configuration.
      else if (paths.some((path) => this.#isWritten(path))) notes.push(`${formatPath(paths[0])}: ${message}`);
    }
    return setAside.length === 0 ? { settings: result.data, notes } : { notes };
  }

  #isWritten(path: Path): boolean {
    return this.origins.around(path).kind !== "default" || this.origins.within(path).kind !== "default";
  }

  #explain(issue: z.core.$ZodIssue, tree: Tree): { path: Path; message: string }[] {
    const path: Path = issue.path.map((step) => (typeof step === "symbol" ? String(step) : step));
    if (issue.code === "unrecognized_keys") return issue.keys.map((name) => ({ path: [...path, name], message: unknownKey(path, name) }));
    const key = keyAt(path);
    const value = valueAt(tree, path);
    if (key === undefined) return [{ path, message: "does not belong here" }];
    if (value === undefined) return [{ path, message: `is missing: ${key.description ?? expectation(key)}` }];
    if (Array.isArray(value) && key.kind === "list") return [{ path, message: "needs at least one item" }];
    return [{ path, message: `expected ${expectation(key)}, got ${describe(value, key)}` }];
  }

  /** The place is that of the first of these paths that somebody has written. */
  #report(path: Path, message: string, about: readonly Path[]): void {
    const written = about.find((one) => this.origins.around(one).kind !== "default");
    const origin = written === undefined ? this.origins.within(path.slice(0, -1)) : this.origins.around(written);
    const shown = formatPath(path);
    switch (origin.kind) {
      case "file": {
        const at = written ?? path;
        const place = keyAt(at) === undefined ? this.#document.placeOf(at) : this.#document.placeOfValue(at);
        this.errors.push({ path: shown, message, file: this.#file, ...place });
        return;
      }
      case "default":
        this.errors.push({ path: shown, message });
        return;
      default:
        this.errors.push({ path: shown, message, source: sourceName(origin) });
    }
  }
}

function sourceName(origin: Assignment["origin"]): string {
  return origin.kind === "environment" || origin.kind === "compat" ? origin.name : formatOrigin(origin);
}

function unknownKey(at: Path, name: string): string {
  const group = keyAt(at);
  const siblings = group?.kind === "group" ? [...group.keys.keys()] : [];
  const near = nearest(name, siblings);
  if (near !== undefined) return `unknown key, did you mean ${JSON.stringify(near)}?`;
  const elsewhere = pathsEndingIn(name).map(formatPath)[0];
  if (elsewhere !== undefined) return `unknown key, did you mean ${elsewhere}?`;
  return siblings.length <= 16 ? `unknown key; known here: ${siblings.join(", ")}` : "unknown key";
}

/** What was found instead, without a word of what may be a secret. */
function describe(value: unknown, key: Key): string {
  if (value === null) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a section";
  const kind = typeof value === "string" ? "text" : typeof value === "number" ? "a number" : "true or false";
  if (holdsSecret(key)) return kind;
  if (key.kind !== "value") return typeof value === "string" && value.includes(":") ? kind : JSON.stringify(value);
  const quotes = key.type === "text" && typeof value !== "string" ? "; put it in quotes" : "";
  if (typeof value !== "string") return `${JSON.stringify(value)}${quotes}`;
  const near = key.type === "choice" ? nearest(value, key.options) : undefined;
  return `${quote(value)}${near === undefined ? "" : `, did you mean ${near}?`}`;
}
