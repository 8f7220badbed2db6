/** Where the command line meets the rooms below it and main.ts. Each is loaded only by the command that needs it. */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { systemClock } from "../clock.ts";
import { formatConfigError } from "../config/origin.ts";
import type { EmitEvent } from "../events.ts";
import type { ServeOptions } from "../main.ts";
import { DATABASE_NAME } from "../store/sqlite/folder.ts";
import { type ConfigurationOptions, faultySettings, readConfiguration, readDataFolder, registerConfigCommand } from "./config-command.ts";
import { type CliIo, print } from "./io.ts";
import { openLog } from "./log.ts";
import type { GlobalOptions, Rooms } from "./shared.ts";
import { renderStart } from "./start-text.ts";
import { readVersion } from "./version.ts";

/** An answer of the running relay that takes longer is none. */
const ANSWER_TIMEOUT = 30_000;

export const rooms: Rooms = {
  async readSettings(options, io) {
    const read = await readAll(options, io);
    if (!read.ok) throw faultySettings(read.errors);
    return read.settings;
  },

  findDataFolder: (options, io) => readDataFolder(configurationOf(options), io.environment),

  async openStore(settings, mayCreate) {
    const folder = resolve(settings.data.folder);
    // The database's presence says whether a relay has ever run there.
    if (!mayCreate && !existsSync(join(folder, DATABASE_NAME))) return undefined;
    const { openSqliteStore } = await import("../store/sqlite/open.ts");
    // A fault of the store reaches whoever asked as a rejected promise; there is no log here.
    const emit: EmitEvent = () => {};
    return openSqliteStore({
      folder,
      clock: systemClock,
      emit,
      minimumFree: settings.data.minimumFree,
      settlementReserve: settings.data.settlementReserve,
    });
  },

  async openProbe(settings, kept) {
    const { openProbe } = await import("./probe.ts");
    return openProbe(settings, kept, systemClock);
  },

  async serve(options, io) {
    const read = await readAll(options, io);
    if (!read.ok) throw faultySettings(read.errors);
    const { runRelay } = await import("../main.ts");
    const log = openLog(read.settings.log, { to: 1, isTerminal: io.stdout.isTTY === true, now: Date.now });
    let latest = read.settings.log;
    const reread: ServeOptions["reread"] = async () => {
      const again = await readAll(options, io);
      if (again.ok) latest = again.settings.log;
      return again.ok ? again : { ok: false, errors: again.errors.map((error) => formatConfigError(error)) };
    };
    const emit: EmitEvent = (event) => {
      log.emit(event);
      // For people, beside the log; who asked for JSON alone gets nothing else.
      if (event.kind === "started" && read.settings.log.format !== "json") {
        const hints = { hasCertificate: read.settings.submission.certificateFile !== undefined, command: commandHere(options, io) };
        void print(io.stderr, renderStart(event, hints));
      }
      if (event.kind === "reloaded") log.configure(latest);
    };
    try {
      return await runRelay({
        version: readVersion(),
        settings: read.settings,
        notes: read.notes,
        reread,
        emit,
        flushLog: log.flush,
      });
    } finally {
      log.close();
    }
  },

  async hashPassword(password) {
    const { hashPassword } = await import("../submission/password.ts");
    return hashPassword(password);
  },

  registerConfig: registerConfigCommand,
  answerTimeout: ANSWER_TIMEOUT,
};

/** How to call the command from where `serve` was started, so that it finds the same relay. */
export function commandHere(options: GlobalOptions, io: Pick<CliIo, "environment">): string {
  const quote = (text: string): string => (/^[\w./=@:+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  const parts = [io.environment["npm_lifecycle_event"] === undefined ? "postern" : "npx postern"];
  if (options.config !== undefined) parts.push(`--config ${quote(options.config)}`);
  if (options.data !== undefined) parts.push(`--data ${quote(options.data)}`);
  return parts.join(" ");
}

function readAll(options: GlobalOptions, io: CliIo): ReturnType<typeof readConfiguration> {
  return readConfiguration(configurationOf(options), io.environment);
}

function configurationOf(options: GlobalOptions): ConfigurationOptions {
  const set = [...(options.set ?? []), ...(options.data === undefined ? [] : [`data.folder=${options.data}`])];
  return { ...(options.config !== undefined && { configFile: options.config }), set };
}
