/** Settings as rows for people and programs: path, value as it would be written, and who set it. No secret gets out. */
import { formatPath, type Key, type Path, rootKey } from "./keys.ts";
import { type Origin, type Origins, formatOrigin } from "./origin.ts";
import { redactValue, secretsIn } from "./redact.ts";
import type { Settings } from "./settings.ts";
import { stepInto } from "./tree.ts";
import { formatDuration, formatSize } from "./units.ts";

export interface ShownSetting {
  readonly path: string;
  /** As in the file; null when it is not set and has no default. */
  readonly value: unknown;
  /** `default`, `postern.yaml:14`, `env MAILNAME`, `compat RELAY_HOST+RELAY_PORT`, `--set`. */
  readonly origin: string;
}

export function showSettings(settings: Settings, origins: Origins): ShownSetting[] {
  const secrets = secretsIn(settings, rootKey);
  return rowsOf(settings, rootKey, []).map(({ path, value, key }) => ({
    path: formatPath(path),
    value: redactValue(value, key, secrets) ?? null,
    origin: formatOrigin(originOf(path, value, origins)),
  }));
}

/** `path = value`, with the origin behind it if asked for. */
export function formatShown(rows: readonly ShownSetting[], withOrigin: boolean): string {
  const lines = rows.map(({ path, value, origin }) => ({ text: `${path} = ${formatValue(value)}`, origin }));
  // Most lines are short; a long list is not worth pushing every origin off the screen.
  const width = Math.min(64, Math.max(0, ...lines.map(({ text }) => text.length)));
  return lines.map(({ text, origin }) => (withOrigin ? `${text.padEnd(width)}  # ${origin}\n` : `${text}\n`)).join("");
}

function formatValue(value: unknown): string {
  if (value === null) return "(not set)";
  if (Array.isArray(value)) return `[${value.map(formatValue).join(", ")}]`;
  return typeof value === "string" ? value : JSON.stringify(value);
}

export interface Row {
  readonly path: Path;
  readonly key: Key;
  readonly value: unknown;
}

/** One row a value; a list of plain values is one value, a list of sections is a row for each of their keys. */
export function rowsOf(value: unknown, key: Key, path: Path): Row[] {
  switch (key.kind) {
    case "value":
      return [{ path, key, value: written(value, key) }];
    case "list":
      if (key.item.kind === "value" || !Array.isArray(value) || value.length === 0) return [{ path, key, value: written(value, key) }];
      return value.flatMap((item, index) => rowsOf(item, key.item, [...path, index]));
    case "table": {
      const names = typeof value === "object" && value !== null ? Object.keys(value) : [];
      if (names.length === 0) return [{ path, key, value: {} }];
      return names.flatMap((name) => rowsOf(stepInto(value, name), key.value, [...path, name]));
    }
    case "group":
      if (value === undefined) return [{ path, key, value }];
      return [...key.keys].flatMap(([name, child]) => rowsOf(stepInto(value, name), child, [...path, name]));
  }
}

/** Milliseconds and octets in the units of the file. */
function written(value: unknown, key: Key): unknown {
  if (key.kind === "list" && Array.isArray(value)) return value.map((item) => written(item, key.item));
  if (key.kind === "value" && typeof value === "number") {
    if (key.type === "duration") return formatDuration(value);
    if (key.type === "size") return formatSize(value);
  }
  return value;
}

/** One item of a list may come from elsewhere than the list; the item is what somebody wrote last. */
function originOf(path: Path, value: unknown, origins: Origins): Origin {
  const own = origins.of(path);
  if (own.kind !== "default" || !Array.isArray(value)) return own;
  return value.map((_, index) => origins.of([...path, index])).find((origin) => origin.kind !== "default") ?? own;
}
