/** What a new configuration changes, and which of it a running relay cannot take up. Two settings in, changes out. */
import { formatPath, type Path, rootKey } from "./keys.ts";
import { HIDDEN, redactValue, secretsIn } from "./redact.ts";
import type { Settings } from "./settings.ts";
import { type Row, rowsOf } from "./show.ts";

export interface SettingChange {
  readonly path: string;
  /** As they may be shown; undefined where there is no value. */
  readonly before: unknown;
  readonly after: unknown;
  /** Takes effect at the next start only. */
  readonly needsRestart: boolean;
}

export interface SettingsComparison {
  readonly changes: readonly SettingChange[];
  /** The paths of all changes. */
  readonly changed: readonly string[];
  /** Those that wait for a restart; many changes within one list or section are one. */
  readonly needsRestart: readonly string[];
}

// Sockets are bound, the database and the resolver are open: none of them moves under a relay that holds mail.
const FIXED: readonly Path[] = [
  ["submission", "listeners"],
  ["data", "folder"],
  ["data", "minimumFree"],
  ["data", "settlementReserve"],
  ["resolver"],
];
const fixedPart = (path: Path): Path | undefined => FIXED.find((fixed) => fixed.every((step, index) => path[index] === step));

export function compareSettings(before: Settings, after: Settings): SettingsComparison {
  const [old, current] = [byPath(before), byPath(after)];
  const secrets = [...secretsIn(before, rootKey), ...secretsIn(after, rootKey)];
  const changes: SettingChange[] = [];
  const waiting = new Set<string>();
  for (const path of new Set([...old.keys(), ...current.keys()])) {
    const [from, to] = [old.get(path), current.get(path)];
    if (JSON.stringify(from?.value) === JSON.stringify(to?.value)) continue;
    const row = to ?? from;
    if (row === undefined) continue;
    const fixed = fixedPart(row.path);
    if (fixed !== undefined) waiting.add(formatPath(fixed));
    changes.push({
      path: formatPath(row.path),
      before: redactValue(from?.value, row.key, secrets),
      after: redactValue(to?.value, row.key, secrets),
      needsRestart: fixed !== undefined,
    });
  }
  return {
    changes,
    changed: changes.map(({ path }) => path),
    needsRestart: [...waiting],
  };
}

function byPath(settings: Settings): Map<string, Row> {
  return new Map(rowsOf(settings, rootKey, []).map((row) => [JSON.stringify(row.path), row]));
}

/** One line a change, for the log. */
export function formatChange({ path, before, after, needsRestart }: SettingChange): string {
  const [from, to] = [before, after].map((value) =>
    value === undefined ? "(not set)" : typeof value === "string" ? value : JSON.stringify(value),
  );
  const change = from === HIDDEN && to === HIDDEN ? `${path} changed` : `${path}: ${from} → ${to}`;
  return needsRestart ? `${change} (at the next start)` : change;
}
