/**
 * The way from a command to the data: through the control socket when a relay runs, else on the database file with the
 * very same handlers. A relay that runs and does not answer is an error: nobody else may touch its file.
 */
import { request as httpRequest } from "node:http";
import { StringDecoder } from "node:string_decoder";
import { BadRequest } from "../admin/bad-request.ts";
import { controlPath } from "../admin/control.ts";
import { type AdminIo, type Answers, answer, type Request, type Verb } from "../admin/handlers.ts";
import { type CheckLine, type CheckRequest, runCheck } from "../admin/stream.ts";
import type { FloorSettings } from "../policy/local-policy.ts";
import type { PolicyStore, QueueStore } from "../queue/store.ts";
import { codeOf, messageOf } from "../thrown.ts";
import { CliFailure, type CliIo, EXIT } from "./io.ts";
import { keysOnFile } from "./keys-on-file.ts";
import type { Probe } from "./probe.ts";

export interface Connection {
  /** True when the answers come from a running relay. */
  readonly running: boolean;
  ask<V extends Verb>(verb: V, request: Request<V>): Promise<Answers[V]>;
  /** Tells each stage as it comes; resolves after the verdict. */
  check(request: CheckRequest, onLine: (line: CheckLine) => void): Promise<void>;
  close(): Promise<void>;
}

/**
 * `relay`: only a running one can do it. `either`: the file will do, if it is there. `create`: it may be made. `probe`: DNS and
 * hosts are asked from here, with what a file keeps if there is one.
 */
export type Need = "relay" | "either" | "create" | "probe";

export interface ConnectOptions {
  readonly dataFolder: string;
  readonly need: Need;
  /** How long an answer may take, in ms. */
  readonly timeout: number;
  /** Opens the database of a relay that is down; undefined when there is none and it may not be made. */
  openStore(mayCreate: boolean): Promise<QueueStore | undefined>;
  /** Asks DNS, policy hosts and mail hosts from here; `kept` is what the file keeps of policies. */
  openProbe(kept: PolicyStore | undefined): Promise<Probe>;
  /** The operator's part of the policy. */
  readonly floors: FloorSettings;
}

/** Answers are bounded by their paging; this is the last fence. */
const ANSWER_LIMIT = 64 * 1024 ** 2;
/** Between two stages of a check; the whole of it ends by itself sooner. */
const STAGE_TIMEOUT = 180_000;

/** These ask the world before they answer. */
const SLOW_VERBS: ReadonlySet<Verb> = new Set<Verb>(["policy/refresh", "tlsrpt/preview", "dkim/check"]);
const SLOW_TIMEOUT = 180_000;

class NobodyThere extends Error {}

export async function connectRelay(options: ConnectOptions, io: CliIo): Promise<Connection> {
  const { dataFolder, need, timeout } = options;
  const running = await connectRunning(dataFolder, timeout);
  if (running !== undefined) return running;
  if (need !== "relay") return openFile(options, io);
  throw new CliFailure(
    EXIT.tempFail,
    `no relay runs with data folder ${dataFolder} (nobody answers at ${controlPath(dataFolder)}). Start one: postern serve`,
  );
}

/** The relay that runs with this data folder; undefined where none does. */
export async function connectRunning(dataFolder: string, timeout: number): Promise<Connection | undefined> {
  const path = controlPath(dataFolder);
  try {
    await post(path, "status", {}, timeout);
  } catch (error) {
    if (error instanceof NobodyThere) return undefined;
    throw error;
  }
  return {
    running: true,
    ask: (verb, request) => post(path, verb, request, SLOW_VERBS.has(verb) ? Math.max(timeout, SLOW_TIMEOUT) : timeout),
    check: (request, onLine) => postStream(path, request, onLine),
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
  let probe: Promise<Probe> | undefined;
  const probing = (): Promise<Probe> => (probe ??= options.openProbe(store?.policies));
  const check: Connection["check"] = (request, onLine) =>
    asUsage(async () => runCheck(request, (await probing()).check, onLine, new AbortController().signal));
  const close = async (): Promise<void> => {
    try {
      // One that could not be opened has been told of by whoever asked it; there is nothing of it to close.
      const opened = await probe?.catch(() => undefined);
      await opened?.close();
    } finally {
      await store?.close();
    }
  };
  if (store === undefined) {
    const nobody = new CliFailure(
      EXIT.tempFail,
      `no relay runs and no queue is in ${options.dataFolder}. Start one: postern serve, or name its folder: --data`,
    );
    if (options.need !== "probe") throw nobody;
    return { running: false, ask: () => Promise.reject(nobody), check, close };
  }
  const { admin, users, policies, reports, dkimKeys } = store;
  const adminIo: AdminIo = {
    admin,
    users,
    store,
    wake: () => {},
    usersChanged: () => {},
    reload: () => Promise.resolve({ ok: false, errors: ["no relay runs"] }),
    status: () => undefined,
    policies: {
      floors: () => options.floors,
      list: (page) => policies.listSts(page),
      show: (domain) => policies.findSts(domain),
      refresh: async (domain) => (await probing()).refresh(domain),
      daneSeen: (nextHop) => policies.findDane(nextHop),
    },
    check: async (...asked) => (await probing()).check(...asked),
    dnssec: () => undefined,
    resolvers: () => undefined,
    lookupTrouble: () => undefined,
    reports,
    keyring: keysOnFile(dkimKeys),
    clock: io.clock,
  };
  return { running: false, ask: (verb, request) => asUsage(() => answer(verb, request, adminIo)), check, close };
}

async function asUsage<T>(action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof BadRequest) throw new CliFailure(EXIT.usage, error.message, error);
    throw error;
  }
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
          reject(refusalOf(response.statusCode, answered));
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
      reject(failureOf(error, socketPath));
    }
    request.on("error", fail);
    request.end(text);
  });
}

/** A check's stages, one JSON value a line, handed on as they come. */
function postStream(socketPath: string, body: CheckRequest, onLine: (line: CheckLine) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const text = JSON.stringify(body);
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
    const request = httpRequest(
      { socketPath, path: "/check", method: "POST", agent: false, headers, timeout: STAGE_TIMEOUT },
      (response) => {
        const decoder = new StringDecoder("utf8");
        let rest = "";
        let ended = false;
        const take = (line: string): void => {
          const value = parseAnswer(line);
          if (value === undefined) return fail(new CliFailure(EXIT.software, "the relay's answer cannot be read"));
          if (response.statusCode !== 200 || typeof value["error"] === "string") return fail(refusalOf(response.statusCode, value));
          ended ||= value["stage"] === "verdict";
          onLine(value as unknown as CheckLine);
        };
        response.on("data", (chunk: Buffer) => {
          rest += decoder.write(chunk);
          if (rest.length > ANSWER_LIMIT) return fail(new CliFailure(EXIT.software, "the relay's answer is too large"));
          const lines = rest.split("\n");
          rest = lines.pop() ?? "";
          for (const line of lines) take(line);
        });
        response.on("error", fail);
        response.on("end", () => {
          if (rest !== "") take(rest);
          if (ended) resolve();
          else fail(new Error("it ended without a verdict"));
        });
      },
    );
    function fail(error: Error): void {
      request.destroy();
      reject(failureOf(error, socketPath));
    }
    request.on("timeout", () =>
      fail(new CliFailure(EXIT.tempFail, `the relay at ${socketPath} has said nothing for ${STAGE_TIMEOUT / 1000} s`)),
    );
    request.on("error", fail);
    request.end(text);
  });
}

function failureOf(error: NodeJS.ErrnoException, socketPath: string): Error {
  if (error instanceof CliFailure) return error;
  if (error.code === "ENOENT" || error.code === "ECONNREFUSED") return new NobodyThere(error.message, { cause: error });
  if (error.code === "EACCES")
    return new CliFailure(EXIT.noPermission, `${socketPath} is not yours to open: run this as the user that runs the relay`, error);
  return new CliFailure(EXIT.tempFail, `the relay at ${socketPath} broke off: ${error.message}`, error);
}

function refusalOf(status: number | undefined, answered: Record<string, unknown> | undefined): CliFailure {
  const said = typeof answered?.["error"] === "string" ? answered["error"] : `status ${status}`;
  return new CliFailure(status === 400 ? EXIT.usage : status === 503 ? EXIT.tempFail : EXIT.software, `the relay says: ${said}`);
}

function parseAnswer(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
