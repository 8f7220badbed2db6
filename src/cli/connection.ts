/**
 * The way from a command to the data: through the control socket when a relay runs, else on the database file with the
 * very same handlers. A relay that runs and does not answer is an error: nobody else may touch its file.
 */
import { request as httpRequest } from "node:http";
import { controlPath } from "../admin/control.ts";
import { type AdminIo, type Answers, answer, BadRequest, type Request, type Verb } from "../admin/handlers.ts";
import type { QueueStore } from "../queue/store.ts";
import { codeOf, messageOf } from "../thrown.ts";
import { CliFailure, type CliIo, EXIT } from "./io.ts";

export interface Connection {
  /** True when the answers come from a running relay. */
  readonly running: boolean;
  ask<V extends Verb>(verb: V, request: Request<V>): Promise<Answers[V]>;
  close(): Promise<void>;
}

/** `relay`: only a running one can do it. `either`: the file will do, if it is there. `create`: it may be made. */
export type Need = "relay" | "either" | "create";

export interface ConnectOptions {
  readonly dataFolder: string;
  readonly need: Need;
  /** How long an answer may take, in ms. */
  readonly timeout: number;
  /** Opens the database of a relay that is down; undefined when there is none and it may not be made. */
  openStore(mayCreate: boolean): Promise<QueueStore | undefined>;
}

/** Answers are bounded by their paging; this is the last fence. */
const ANSWER_LIMIT = 64 * 1024 ** 2;

class NobodyThere extends Error {}

export async function connectRelay(options: ConnectOptions, io: CliIo): Promise<Connection> {
  const path = controlPath(options.dataFolder);
  try {
    await post(path, "status", {}, options.timeout);
  } catch (error) {
    if (!(error instanceof NobodyThere)) throw error;
    if (options.need === "relay") {
      throw new CliFailure(
        EXIT.tempFail,
        `no relay runs with data folder ${options.dataFolder} (nobody answers at ${path}). Start one: postern serve`,
      );
    }
    return openFile(options, io);
  }
  return {
    running: true,
    ask: (verb, request) => post(path, verb, request, options.timeout),
    close: () => Promise.resolve(),
  };
}

async function openFile(options: ConnectOptions, io: CliIo): Promise<Connection> {
  let store: QueueStore | undefined;
  try {
    store = await options.openStore(options.need === "create");
  } catch (error) {
    const text = messageOf(error);
    const isPermission = codeOf(error) === "EACCES";
    throw new CliFailure(
      isPermission ? EXIT.noPermission : EXIT.tempFail,
      `no relay answers, and its database cannot be opened: ${text}`,
      error,
    );
  }
  if (store === undefined) {
    throw new CliFailure(
      EXIT.tempFail,
      `no relay runs and no queue is in ${options.dataFolder}. Start one: postern serve, or name its folder: --data`,
    );
  }
  const opened = store;
  const adminIo: AdminIo = {
    admin: opened.admin,
    users: opened.users,
    store: opened,
    wake: () => {},
    usersChanged: () => {},
    reload: () => Promise.resolve({ ok: false, errors: ["no relay runs"] }),
    status: () => undefined,
    clock: io.clock,
  };
  return {
    running: false,
    async ask(verb, request) {
      try {
        return await answer(verb, request, adminIo);
      } catch (error) {
        if (error instanceof BadRequest) throw new CliFailure(EXIT.usage, error.message, error);
        throw error;
      }
    },
    close: () => opened.close(),
  };
}

function post<V extends Verb>(socketPath: string, verb: V, body: Request<V>, timeout: number): Promise<Answers[V]> {
  return new Promise((resolve, reject) => {
    const text = JSON.stringify(body);
    const request = httpRequest(
      {
        socketPath,
        path: `/${verb}`,
        method: "POST",
        agent: false,
        headers: { "content-type": "application/json", "content-length": Buffer.byteLength(text) },
      },
      (response) => {
        const chunks: Buffer[] = [];
        let size = 0;
        response.on("data", (chunk: Buffer) => {
          size += chunk.length;
          if (size > ANSWER_LIMIT) request.destroy(new CliFailure(EXIT.software, "the relay's answer is too large"));
          else chunks.push(chunk);
        });
        response.on("error", fail);
        response.on("end", () => {
          clearTimeout(timer);
          const answered = parseAnswer(Buffer.concat(chunks).toString("utf8"));
          if (response.statusCode === 200 && answered !== undefined) return resolve(answered as Answers[V]);
          const said = typeof answered?.["error"] === "string" ? answered["error"] : `status ${response.statusCode}`;
          const code = response.statusCode === 400 ? EXIT.usage : response.statusCode === 503 ? EXIT.tempFail : EXIT.software;
          reject(new CliFailure(code, `the relay says: ${said}`));
        });
      },
    );
    // One deadline for the whole answer: a stopped process accepts connections and says nothing.
    const timer = setTimeout(
      () =>
        request.destroy(
          new CliFailure(
            EXIT.tempFail,
            `a relay holds ${socketPath} and does not answer within ${timeout / 1000} s. Is it stopped or overloaded?`,
          ),
        ),
      timeout,
    );
    function fail(error: NodeJS.ErrnoException): void {
      clearTimeout(timer);
      if (error instanceof CliFailure) return reject(error);
      if (error.code === "ENOENT" || error.code === "ECONNREFUSED") return reject(new NobodyThere(error.message, { cause: error }));
      if (error.code === "EACCES")
        return reject(
          new CliFailure(EXIT.noPermission, `${socketPath} is not yours to open: run this as the user that runs the relay`, error),
        );
      reject(new CliFailure(EXIT.tempFail, `the relay at ${socketPath} broke off: ${error.message}`, error));
    }
    request.on("error", fail);
    request.end(text);
  });
}

function parseAnswer(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
