/** What every command shares: the global options, the settings they lead to, and a connection that is closed in any case. */
import { resolve } from "node:path";
import type { Command } from "commander";
import type { Settings } from "../config/settings.ts";
import type { PolicyStore, QueueStore } from "../queue/store.ts";
import { type Connection, connectRelay, type Need } from "./connection.ts";
import type { CliIo } from "./io.ts";
import type { Probe } from "./probe.ts";

export interface GlobalOptions {
  config?: string;
  data?: string;
  set?: string[];
  json?: true;
}

/** What commands need of the rooms below and of main.ts; real ones in cli/assembly.ts. */
export interface Rooms {
  /** The settings by command line, environment, file and default; throws a CliFailure that lists every error. */
  readSettings(options: GlobalOptions, io: CliIo): Promise<Settings>;
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
  return {
    io,
    json: () => options().json === true,
    async withConnection(need, action) {
      const settings = await rooms.readSettings(options(), io);
      const connection = await connectRelay(
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
