/** What every command shares: the global options, the settings they lead to, and a connection that is closed in any case. */
import { resolve } from "node:path";
import type { Command } from "commander";
import type { Settings } from "../config/settings.ts";
import type { PolicyStore, QueueStore } from "../queue/store.ts";
import { type Connection, connectRelay, connectRunning, type Need } from "./connection.ts";
import { type CliIo, FaultySettings, print } from "./io.ts";
import type { Probe } from "./probe.ts";

export interface GlobalOptions {
  config?: string;
  data?: string;
  set?: string[];
  json?: true;
}

/** What commands need of the rooms below and of main.ts; real ones in cli/assembly.ts. */
export interface Rooms {
  /** The settings by command line, environment, file and default; throws a FaultySettings that lists every error. */
  readSettings(options: GlobalOptions, io: CliIo): Promise<Settings>;
  /** The data folder where the settings have faults, as far as it can be told. */
  findDataFolder(options: GlobalOptions, io: CliIo): Promise<string | undefined>;
  /** Opens the database of a relay that is down; undefined when there is none and it may not be made. */
  openStore(settings: Settings, mayCreate: boolean): Promise<QueueStore | undefined>;
  /** Look-ups and connections made from the settings, for a question that no running relay answers. */
  openProbe(settings: Settings, kept: PolicyStore | undefined): Promise<Probe>;
  serve(options: GlobalOptions, io: CliIo): Promise<number>;
  hashPassword(password: string): Promise<string>;
  registerConfig(program: Command, io: CliIo): Promise<void> | void;
  /** How long the running relay may take to answer, in ms. */
  readonly answerTimeout: number;
}

/** What `program.ts` hands to the files of single commands. */
export interface Shared {
  readonly io: CliIo;
  json(): boolean;
  /** Runs an action with a connection and keeps its exit code. */
  withConnection(need: Need, action: (connection: Connection) => Promise<number>): Promise<void>;
  /** For commands without a connection. */
  run(action: () => Promise<number>): Promise<void>;
  serve(): Promise<number>;
  hashPassword(password: string): Promise<string>;
}

export interface SharedOptions {
  readonly io: CliIo;
  readonly rooms: Rooms;
  options(): GlobalOptions;
  exit(code: number): void;
}

export function share({ io, rooms, options, exit }: SharedOptions): Shared {
  async function connect(need: Need): Promise<Connection> {
    let settings: Settings;
    try {
      settings = await rooms.readSettings(options(), io);
    } catch (error) {
      const running = error instanceof FaultySettings ? await connectDespite(error) : undefined;
      if (running === undefined) throw error;
      return running;
    }
    return connectRelay(
      {
        dataFolder: resolve(settings.data.folder),
        need,
        timeout: rooms.answerTimeout,
        openStore: (mayCreate) => rooms.openStore(settings, mayCreate),
        openProbe: (kept) => rooms.openProbe(settings, kept),
        floors: settings.tls,
      },
      io,
    );
  }

  /** A relay that runs keeps its sound settings, and whoever wrote the fault needs its answers now. */
  async function connectDespite({ first }: FaultySettings): Promise<Connection | undefined> {
    const folder = await rooms.findDataFolder(options(), io);
    const running = folder === undefined ? undefined : await connectRunning(resolve(folder), rooms.answerTimeout);
    if (running !== undefined)
      await print(
        io.stderr,
        `postern: the configuration has errors; the running relay keeps its old one: ${first}; see postern config check\n`,
      );
    return running;
  }

  return {
    io,
    json: () => options().json === true,
    async withConnection(need, action) {
      const connection = await connect(need);
      try {
        exit(await action(connection));
      } finally {
        await connection.close();
      }
    },
    async run(action) {
      exit(await action());
    },
    serve: () => rooms.serve(options(), io),
    hashPassword: (password) => rooms.hashPassword(password),
  };
}
