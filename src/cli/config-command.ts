/**
 * `postern config check|show|schema|explain-env`, and how every command finds its configuration. What the sources mean
 * is config/load.ts; here are the files, the environment and the terminal.
 */
import { existsSync, readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { readFile as readFileLater } from "node:fs/promises";
import type { Command } from "commander";
import { explainEnvironment } from "../config/explain.ts";
import { configJsonSchemaText } from "../config/json-schema.ts";
import { type ConfigSources, type LoadedSettings, loadSettings, type Machine, PLAIN_MACHINE } from "../config/load.ts";
import { type ConfigError, formatConfigError } from "../config/origin.ts";
import { formatShown, showSettings } from "../config/show.ts";
import { whyUnreadable } from "../config/unreadable.ts";
import type { Environment } from "../config/variables.ts";
import { parseNetworks, readSurroundings } from "../submission/networks.ts";
import { findDataFolder } from "./data-folder.ts";
import { type CliIo, FaultySettings, print } from "./io.ts";

export interface ConfigurationOptions {
  /** `--config FILE`. */
  readonly configFile?: string;
  /** `--set section.key=value`, in the order given. */
  readonly set?: readonly string[];
}

export type Configuration = LoadedSettings & {
  /** The file that was read, if there was one. */
  readonly file?: string;
};

/** The files a configuration is made from; replaced in tests. */
export interface ConfigFiles {
  exists(path: string): boolean;
  read(path: string): string;
  machine(): Promise<Machine>;
}

const systemFiles: ConfigFiles = {
  exists: existsSync,
  read: (path) => readFileSync(path, "utf8"),
  machine: readMachine,
};

/** Where a configuration is looked for when nobody names one. */
const USUAL_FILES = ["/etc/postern/postern.yaml", "postern.yaml", "config/postern.yaml"] as const;

/** The settings by command line, environment, file and default. Without any file the defaults will do. */
export async function readConfiguration(
  options: ConfigurationOptions,
  environment: Environment,
  files: ConfigFiles = systemFiles,
): Promise<Configuration> {
  const found = await findSources(options, environment, files);
  if (!found.ok) return found;
  const { file } = found.sources;
  return { ...loadSettings(found.sources), ...(file === undefined ? {} : { file: file.path }) };
}

/** The data folder of a configuration that has faults, as far as anybody can say; undefined where the command line is at fault. */
export async function readDataFolder(
  options: ConfigurationOptions,
  environment: Environment,
  files: ConfigFiles = systemFiles,
): Promise<string | undefined> {
  const found = await findSources(options, environment, files);
  if (found.ok) return findDataFolder(found.sources);
  if (found.errors.some(({ source }) => source === "--set")) return undefined;
  return findDataFolder({ file: "unread", environment, overrides: found.overrides, readFile: files.read });
}

type FoundSources =
  | { readonly ok: true; readonly sources: ConfigSources }
  | { readonly ok: false; readonly errors: readonly ConfigError[]; readonly overrides: ConfigSources["overrides"] };

async function findSources(options: ConfigurationOptions, environment: Environment, files: ConfigFiles): Promise<FoundSources> {
  const errors: ConfigError[] = [];
  const overrides: { path: string; value: string }[] = [];
  for (const text of options.set ?? []) {
    const equals = text.indexOf("=");
    if (equals > 0) overrides.push({ path: text.slice(0, equals).trim(), value: text.slice(equals + 1) });
    else errors.push({ path: "", source: "--set", message: "expected section.key=value, such as tls.floor=encrypted" });
  }

  const named = nonEmpty(options.configFile) ?? nonEmpty(environment["POSTERN_CONFIG"]);
  const path = named ?? USUAL_FILES.find((usual) => files.exists(usual));
  let file: { path: string; text: string } | undefined;
  if (path !== undefined) {
    try {
      file = { path, text: files.read(path) };
    } catch (error) {
      errors.push({ path: "", file: path, message: `cannot be read (${whyUnreadable(error)})` });
    }
  }
  if (errors.length > 0) return { ok: false, errors, overrides };
  const machine = await files.machine();
  return { ok: true, sources: { ...(file === undefined ? {} : { file }), environment, overrides, readFile: files.read, machine } };
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}

/** What `auto` means here, by the same look around that decides who may relay. */
async function readMachine(): Promise<Machine> {
  const interfaces = networkInterfaces();
  const networks = parseNetworks(["auto"], await readSurroundings(readFileLater, interfaces));
  const attached = networks.ok ? networks.value.described.map((text) => text.replace(/ .*$/, "")) : [];
  const hasIpv6 = Object.values(interfaces).some((addresses) => addresses?.some(({ family }) => family === "IPv6") === true);
  return { autoNetworks: [...PLAIN_MACHINE.autoNetworks, ...attached], hasIpv6 };
}

export function faultySettings(errors: readonly ConfigError[]): FaultySettings {
  const [first] = errors;
  return new FaultySettings(describeConfigErrors(errors), first === undefined ? "" : formatConfigError(first));
}

/** All errors as one text, for people. */
export function describeConfigErrors(errors: readonly ConfigError[]): string {
  const count = errors.length === 1 ? "one error" : `${errors.length} errors`;
  return `the configuration has ${count}:\n${errors.map((error) => `  ${formatConfigError(error)}`).join("\n")}`;
}

interface CommandOptions {
  readonly config?: string;
  readonly data?: string;
  readonly set?: string[];
  readonly json?: boolean;
  readonly origin?: boolean;
}

/** Adds `config …` to a program whose global options are --config, --data, --set and --json. */
export function registerConfigCommand(program: Command, io: CliIo, files: ConfigFiles = systemFiles): void {
  const config = program.command("config").description("check, show and explain the configuration");
  const optionsOf = (command: Command, file?: string): ConfigurationOptions & { json: boolean; origin: boolean } => {
    const { config: named, data, set = [], json, origin } = command.optsWithGlobals<CommandOptions>();
    const configFile = file ?? named;
    return {
      ...(configFile === undefined ? {} : { configFile }),
      set: data === undefined ? set : [...set, `data.folder=${data}`],
      json: json === true,
      origin: origin === true,
    };
  };

  config
    .command("check")
    .argument("[file]", "the file to check, instead of the one that would be used")
    .description("say what is wrong with the configuration, all of it; exit code 78 if anything is")
    .action(async (file: string | undefined, _: unknown, command: Command) => {
      const options = optionsOf(command, file);
      const result = await readConfiguration(options, io.environment, files);
      if (options.json)
        await print(
          io.stdout,
          json(
            result.ok
              ? { ok: true, file: result.file ?? null, notes: result.notes }
              : { ok: false, file: result.file ?? null, errors: result.errors },
          ),
        );
      if (!result.ok) throw faultySettings(result.errors);
      if (options.json) return;
      for (const note of result.notes) await print(io.stderr, `note: ${note}\n`);
      await print(io.stdout, result.file === undefined ? "ok (no file: defaults and environment)\n" : `ok ${result.file}\n`);
    });

  config
    .command("show")
    .option("--origin", "say where each value comes from")
    .description("every setting as it is in force; secrets are hidden")
    .action(async (_: unknown, command: Command) => {
      const options = optionsOf(command);
      const result = await readConfiguration(options, io.environment, files);
      if (!result.ok) throw faultySettings(result.errors);
      const rows = showSettings(result.settings, result.origins);
      await print(io.stdout, options.json ? json(rows) : formatShown(rows, options.origin));
    });

  config
    .command("schema")
    .description("the JSON Schema of the configuration file")
    .action(() => print(io.stdout, configJsonSchemaText()));

  config
    .command("explain-env")
    .description("what each environment variable that is set means to Postern")
    .action(async (_: unknown, command: Command) => {
      const options = optionsOf(command);
      const found = await findSources(options, io.environment, files);
      if (!found.ok) throw faultySettings(found.errors);
      const rows = explainEnvironment(found.sources);
      const width = Math.max(0, ...rows.map(({ name }) => name.length));
      const text = rows.map(({ name, meaning }) => `${name.padEnd(width)}  ${meaning}\n`).join("");
      await print(io.stdout, options.json ? json(rows) : rows.length === 0 ? "No environment variable says anything to Postern.\n" : text);
    });
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
