/** Temporary folders and free ports for tests that start whole programs. */
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface TempFolder extends AsyncDisposable {
  readonly path: string;
}

/** A folder that other users may enter, since mail programs drop their privileges. */
export async function makeTempFolder(name: string): Promise<TempFolder> {
  const path = await mkdtemp(join(tmpdir(), `postern-${name}-`));
  await chmod(path, 0o755);
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }) };
}

/** A port free on every given loopback address, for programs that cannot report the one they took. */
export async function findFreePort(addresses: readonly string[] = ["127.0.0.1"]): Promise<number> {
  for (let tries = 0; tries < 20; tries++) {
    const servers = [];
    let port = 0;
    try {
      for (const address of addresses) {
        const server = createServer();
        servers.push(server);
        await new Promise<void>((done, failed) => server.once("error", failed).listen(port, address, done));
        const bound = server.address();
        if (bound !== null && typeof bound === "object") port = bound.port;
      }
      return port;
    } catch {
      // taken on one of the addresses
    } finally {
      await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
    }
  }
  throw new Error(`no port is free on all of ${addresses.join(", ")}`);
}

/** Asks again and again until there is an answer. The limit is for a broken program, not for a slow machine. */
export async function waitUntil<T>(
  what: string,
  ask: () => T | undefined | false | Promise<T | undefined | false>,
  limit = 60_000,
): Promise<T> {
  const end = performance.now() + limit;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > end) throw new Error(`still not: ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}
