/**
 * Where the running relay's control socket is when the configuration has faults: command line, environment and file as they
 * are in, the data folder out, or undefined where nobody can say. A relay keeps its old settings until a sound file replaces
 * them, and its admin must be able to ask it meanwhile. Everything else waits for sound settings (config/load.ts).
 */
import { readDocument } from "../config/document.ts";
import { readEnvironment, readOverrides } from "../config/environment.ts";
import type { ConfigSources } from "../config/load.ts";
import { valueAt } from "../config/tree.ts";

const FOLDER = ["data", "folder"] as const;
const DEFAULT = "data";

export interface FolderSources extends Pick<ConfigSources, "environment" | "overrides" | "readFile"> {
  /** `unread`: there is one, and its text is not to be had. */
  readonly file?: { readonly text: string } | "unread";
}

export function findDataFolder({ file, environment, overrides, readFile }: FolderSources): string | undefined {
  const assigned = [...readEnvironment(environment, readFile).assignments, ...readOverrides(overrides).assignments];
  const last = assigned.findLast(({ path }) => path.join(".") === FOLDER.join("."))?.value ?? nonEmpty(environment["DATA_FOLDER"]);
  if (last !== undefined) return typeof last === "string" ? last : undefined;
  if (file === undefined) return DEFAULT;
  if (file === "unread") return undefined;
  const { tree, readable } = readDocument(file.text);
  const written = readable ? (valueAt(tree, FOLDER) ?? DEFAULT) : folderLine(file.text);
  return typeof written === "string" ? written : undefined;
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}

/** Of a text that is no YAML, the line `folder:` below `data:`; a default would be a guess there. */
function folderLine(text: string): unknown {
  const lines = text.split(/\r?\n/);
  const section = lines.findIndex((line) => /^data:\s*(?:#.*)?$/.test(line));
  if (section < 0) return undefined;
  for (const line of lines.slice(section + 1)) {
    if (/^\S/.test(line) && !line.startsWith("#")) return undefined;
    if (/^\s+folder:/.test(line)) return readDocument(line.trim()).tree["folder"];
  }
  return undefined;
}
