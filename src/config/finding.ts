/** What a check finds: a fault or a remark, and the paths it speaks of, the first being where to look. */
import type { Path } from "./keys.ts";

export interface CheckFacts {
  /** What `auto` in submission.networks stands for on this machine. */
  readonly autoNetworks: readonly string[];
  /** The text of a file, or an exception. */
  readonly readFile: (path: string) => string;
}

export interface Finding {
  readonly level: "error" | "note";
  readonly paths: readonly [Path, ...Path[]];
  readonly message: string;
}

export function error(message: string, ...paths: [Path, ...Path[]]): Finding {
  return { level: "error", paths, message };
}

export function note(message: string, ...paths: [Path, ...Path[]]): Finding {
  return { level: "note", paths, message };
}
