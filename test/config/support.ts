/** Loading from text, and the answers as lines: what `config check` would print. */
import { type LoadedSettings, loadSettings, type Machine } from "../../src/config/load.ts";
import { formatConfigError, Origins } from "../../src/config/origin.ts";
import { formatShown, showSettings } from "../../src/config/show.ts";
import type { Settings } from "../../src/config/settings.ts";

export interface Given {
  file?: string;
  environment?: Record<string, string>;
  set?: string[];
  files?: Record<string, string>;
  machine?: Machine;
}

export const CONTAINER: Machine = { autoNetworks: ["127.0.0.0/8", "::1/128", "172.20.0.0/16"], hasIpv6: true };

export function load({ file, environment = {}, set = [], files = {}, machine }: Given): LoadedSettings {
  return loadSettings({
    ...(file === undefined ? {} : { file: { path: "postern.yaml", text: file } }),
    environment,
    overrides: set.map((text) => ({ path: text.slice(0, text.indexOf("=")), value: text.slice(text.indexOf("=") + 1) })),
    readFile: (path) => {
      const text = files[path];
      if (text === undefined) throw Object.assign(new Error(`ENOENT: ${path}`), { code: "ENOENT" });
      return text;
    },
    ...(machine === undefined ? {} : { machine }),
  });
}

/** What is wrong, one line an error; no line when nothing is. */
export function faults(given: Given): string[] {
  const result = load(given);
  return result.ok ? [] : result.errors.map(formatConfigError);
}

export function settingsOf(given: Given): Settings {
  return loaded(given).settings;
}

export function loaded(given: Given): { settings: Settings; origins: Origins; notes: readonly string[] } {
  const result = load(given);
  if (!result.ok) throw new Error(result.errors.map(formatConfigError).join("\n"));
  return result;
}

export function notesOf(given: Given): readonly string[] {
  return loaded(given).notes;
}

/** The origin that `config show --origin` names for a path. */
export function originOf(given: Given, path: string): string | undefined {
  const { settings, origins } = loaded(given);
  return showSettings(settings, origins).find((row) => row.path === path)?.origin;
}

export function shown(given: Given): string {
  const { settings, origins } = loaded(given);
  return formatShown(showSettings(settings, origins), true);
}
