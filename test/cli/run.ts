/** Runs a command line inside the test: streams in memory, rooms that are fakes, a folder of its own. */
import { PassThrough, Writable } from "node:stream";
import type { Settings } from "../../src/config/settings.ts";
import { settingsSchema } from "../../src/config/settings.ts";
import type { CliIo } from "../../src/cli/io.ts";
import { runProgram } from "../../src/cli/program.ts";
import type { Rooms } from "../../src/cli/shared.ts";
import { NOW } from "./story.ts";

export interface RunOptions {
  readonly folder: string;
  readonly rooms?: Partial<Rooms>;
  readonly input?: string;
  /** As if a person sat there. */
  readonly terminal?: boolean;
}

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export async function run(argv: readonly string[], { folder, rooms = {}, input = "", terminal = false }: RunOptions): Promise<Ran> {
  let out = "";
  let err = "";
  const collect = (take: (text: string) => void): Writable =>
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        take(chunk.toString());
        done();
      },
    });
  const stdin = Object.assign(new PassThrough(), { isTTY: terminal, setRawMode: () => {} });
  stdin.end(input);
  const io: CliIo = {
    stdin,
    stdout: collect((text) => (out += text)),
    stderr: collect((text) => (err += text)),
    environment: {},
    clock: { now: () => NOW, monotonic: () => performance.now(), after: () => () => {} },
  };
  const settings: Settings = settingsSchema.parse({ data: { folder } });
  const code = await runProgram(argv, io, {
    readSettings: () => Promise.resolve(settings),
    findDataFolder: () => Promise.resolve(folder),
    openStore: () => Promise.resolve(undefined),
    openProbe: () => Promise.reject(new Error("nobody probes here")),
    serve: () => Promise.resolve(0),
    hashPassword: (password) => Promise.resolve(`hash of ${password}`),
    registerConfig: () => {},
    answerTimeout: 5000,
    ...rooms,
  });
  return { code, out, err };
}
