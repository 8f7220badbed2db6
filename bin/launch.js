/**
 * Which Node.js runs Postern. Plain JavaScript that old versions parse, too, for it decides what to do on those: before
 * better-sqlite3 is loaded, which would crash there.
 */
import { spawn } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

export const OLDEST = [22, 19];

/** @param {string} version as `process.version` says it: `v20.20.2` */
export function isNewEnough(version) {
  const [major = 0, minor = 0] = version.replace(/^v/, "").split(".").map(Number);
  return major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
}

/**
 * The project's own Node.js, installed by `npm ci` beside the other packages.
 * @param {string} root the folder of package.json
 * @param {(path: string) => boolean} exists
 * @param {(folder: string) => string[]} list
 */
export function findOwnNode(root, exists = existsSync, list = listFolder) {
  const modules = join(root, "node_modules");
  const packaged = list(modules)
    .filter((name) => name.startsWith(`node-${process.platform}-${process.arch}`))
    .map((name) => join(modules, name, "bin", "node"));
  return [...packaged, join(modules, ".bin", "node")].find((path) => exists(path));
}

function listFolder(folder) {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/**
 * True if dist/ is at least as new as every source: a stale build must not run in place of what was changed since.
 * @param {string} root the folder of package.json
 */
export function isBuildFresh(root) {
  const built = modified(join(root, "dist", "cli", "program.js"));
  if (built === undefined) return false;
  const sources = join(root, "src");
  if (!existsSync(sources)) return true;
  return readdirSync(sources, { recursive: true, encoding: "utf8" }).every((file) => (modified(join(sources, file)) ?? 0) <= built);
}

function modified(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs;
}

/**
 * @param {string} version
 * @param {string | undefined} ownNode
 * @param {boolean} isChild true when an old Node.js has started us already
 * @returns {{ kind: "run" } | { kind: "restart", node: string } | { kind: "refuse", text: string }}
 */
export function planLaunch(version, ownNode, isChild) {
  if (isNewEnough(version)) return { kind: "run" };
  if (ownNode !== undefined && !isChild) return { kind: "restart", node: ownNode };
  return {
    kind: "refuse",
    text: `postern: Node.js ${OLDEST.join(".")} or newer is needed, and this is ${version}. In a clone, npm ci installs one that Postern uses by itself; else see https://nodejs.org`,
  };
}

const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"];
const CHILD_MARK = "POSTERN_STARTED_BY_OLD_NODE";

export function isStartedByOldNode() {
  return process.env[CHILD_MARK] === "1";
}

/** Runs the same command line under another Node.js: signals go there, its end is ours. */
export function restart(node, script, args) {
  const child = spawn(node, [script, ...args], {
    stdio: ["inherit", "inherit", "inherit", "ipc"],
    env: { ...process.env, [CHILD_MARK]: "1" },
  });
  // At a terminal Ctrl-C reaches the child by itself, and a second SIGINT would cut its draining short.
  const isAtTerminal = [process.stdin, process.stdout, process.stderr].some((stream) => stream.isTTY);
  for (const signal of SIGNALS)
    process.on(signal, () => {
      if (signal !== "SIGINT" || !isAtTerminal) child.kill(signal);
    });
  child.on("error", (error) => {
    console.error(`postern: ${node} cannot be run: ${error.message}`);
    process.exitCode = 70;
  });
  child.on("exit", (code, signal) => {
    if (signal === null) process.exit(code ?? 70);
    for (const name of SIGNALS) process.removeAllListeners(name);
    process.kill(process.pid, signal);
  });
}

/** The child's side: should the old Node.js be killed, nothing may stay behind. */
export function followParent() {
  if (!process.channel) return;
  process.once("disconnect", () => process.kill(process.pid, "SIGTERM"));
  process.channel.unref();
}
