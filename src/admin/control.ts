/**
 * The control socket: HTTP over `postern.sock` in the data folder, for the command line of the same machine.
 * `POST /<verb>` with a JSON body, answered by admin/handlers.ts; `POST /check` is answered line by line as its stages
 * come (admin/stream.ts). Who may open the socket (mode 0600) may do everything.
 */
import { chmodSync, lstatSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { connect } from "node:net";
import { join, relative } from "node:path";
import { codeOf, messageOf } from "../thrown.ts";
import { BadRequest } from "./bad-request.ts";
import { type AdminIo, answer, isVerb } from "./handlers.ts";
import { runCheck } from "./stream.ts";

const SOCKET_NAME = "postern.sock";

const STREAM = "check";
/** Each asks DNS and dials hosts for up to minutes. */
const MOST_CHECKS = 8;

/** Largest request: ids of a bulk retry. */
const REQUEST_LIMIT = 1024 ** 2;
/** Linux's sun_path holds 108 octets with the final zero. */
const PATH_LIMIT = 107;

export interface Control {
  readonly path: string;
  /** Stops listening, ends open requests and removes the socket. */
  close(): Promise<void>;
}

/** Another relay answers at the socket. */
export class AlreadyRunning extends Error {
  override readonly name = "AlreadyRunning";
}

/** The socket's path as the kernel takes it: relative to here when the absolute one is too long for a socket's name. */
export function controlPath(dataFolder: string): string {
  const full = join(dataFolder, SOCKET_NAME);
  if (Buffer.byteLength(full) <= PATH_LIMIT) return full;
  const near = relative(process.cwd(), full);
  if (Buffer.byteLength(near) <= PATH_LIMIT) return near;
  throw new Error(`the path of the control socket is longer than ${PATH_LIMIT} octets: ${full}. Choose a data folder with a shorter path`);
}

export async function openControl(dataFolder: string, io: AdminIo): Promise<Control> {
  const path = controlPath(dataFolder);
  const checks = { running: 0 };
  const server = createServer({ requestTimeout: 10_000, headersTimeout: 10_000, keepAliveTimeout: 1000 }, (request, response) => {
    serveRequest(request, response, io, checks).catch((error: unknown) => send(response, 500, { error: messageOf(error) }));
  });
  server.maxConnections = 64;
  try {
    await listen(server, path);
  } catch (error) {
    if (codeOf(error) !== "EADDRINUSE") throw error;
    if (!lstatSync(path, { throwIfNoEntry: false })?.isSocket())
      throw new Error(`${path} is in the way and is no socket; move it`, { cause: error });
    // A socket file stays after kill -9. It is replaced only when nobody answers at it.
    if (await somebodyAnswers(path)) throw new AlreadyRunning(`another Postern answers at ${path}`, { cause: error });
    rmSync(path, { force: true });
    await listen(server, path);
  }
  // Never the reason that the process stays alive.
  server.unref();
  return {
    path,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const refuse = (error: Error): void => reject(error);
    server.once("error", refuse);
    // The socket is made with mode 0600 from its first moment: listen() binds before it returns.
    const umask = setUmask(0o177);
    server.listen(path, () => {
      server.off("error", refuse);
      chmodSync(path, 0o600);
      resolve();
    });
    if (umask !== undefined) setUmask(umask);
  });
}

/** Not to be had in a worker thread, where tests may run. */
function setUmask(mask: number): number | undefined {
  try {
    return process.umask(mask);
  } catch {
    return undefined;
  }
}

function somebodyAnswers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.setTimeout(2000);
    const settle = (answers: boolean): void => {
      socket.destroy();
      resolve(answers);
    };
    socket.once("connect", () => settle(true));
    // A full backlog (EAGAIN) or silence is still somebody; only a refusal is nobody.
    socket.once("timeout", () => settle(true));
    socket.once("error", (error: NodeJS.ErrnoException) => settle(error.code !== "ECONNREFUSED" && error.code !== "ENOENT"));
  });
}

async function serveRequest(request: IncomingMessage, response: ServerResponse, io: AdminIo, checks: { running: number }): Promise<void> {
  const verb = (request.url ?? "").slice(1);
  if (verb !== STREAM && !isVerb(verb))
    return send(response, 404, { error: `nothing here is called ${JSON.stringify(verb.slice(0, 100))}` });
  if (request.method !== "POST") return send(response, 405, { error: "use POST" });
  const body = await readBody(request);
  if (body === undefined) return send(response, 413, { error: `the request is larger than ${REQUEST_LIMIT} octets` });
  try {
    if (verb === STREAM) return await streamCheck(body, response, io, checks);
    send(response, 200, await answer(verb, body === "" ? {} : JSON.parse(body), io));
  } catch (error) {
    if (error instanceof BadRequest || error instanceof SyntaxError) return send(response, 400, { error: error.message });
    send(response, 503, { error: messageOf(error) });
  }
}

/** One JSON value a line, each sent as soon as it is known. What goes wrong on the way is the last line: `{"error": …}`. */
async function streamCheck(body: string, response: ServerResponse, io: AdminIo, checks: { running: number }): Promise<void> {
  if (checks.running >= MOST_CHECKS) return send(response, 503, { error: `${MOST_CHECKS} checks are under way already` });
  // Whoever asked and went away needs no answer, and no host is dialled for them.
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  const line = (value: object): void => {
    if (response.destroyed) return;
    if (!response.headersSent) response.writeHead(200, { "content-type": "application/x-ndjson" });
    response.write(`${JSON.stringify(value)}\n`);
  };
  checks.running += 1;
  try {
    await runCheck(body === "" ? {} : JSON.parse(body), io.check, line, gone.signal);
  } catch (error) {
    if (!response.headersSent) throw error;
    line({ error: messageOf(error) });
  } finally {
    checks.running -= 1;
  }
  response.end();
}

async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > REQUEST_LIMIT) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function send(response: ServerResponse, code: number, value: object): void {
  if (response.headersSent || response.destroyed) return;
  const text = JSON.stringify(value);
  response.writeHead(code, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
    ...(code === 413 && { connection: "close" }),
  });
  response.end(text);
}
