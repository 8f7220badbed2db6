/** A server program that the lab starts in the foreground and ends itself; its log is quoted when it ends too early. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { findCommand } from "../../../scripts/test-packages.js";

export interface Program {
  readonly pid: number;
  /** Throws with the end of its log if it has ended. */
  mustRun(): Promise<void>;
  signal(signal: NodeJS.Signals): void;
  end(): Promise<void>;
}

export function startProgram(command: string, args: readonly string[], log: string): Program {
  const path = findCommand(command);
  if (path === undefined) throw new Error(`${command} is missing: as root, once, node scripts/test-packages.js`);
  const child = spawn(path, args, { stdio: ["ignore", "ignore", "pipe"] });
  let complaint = "";
  child.stderr.on("data", (chunk: Buffer) => (complaint = (complaint + chunk.toString()).slice(-4000)));
  const ended = () => child.exitCode !== null || child.signalCode !== null;
  return {
    get pid() {
      return child.pid ?? 0;
    },
    async mustRun() {
      if (!ended()) return;
      const text = await readFile(log, "utf8").catch(() => "");
      throw new Error(`${command} ended with ${child.exitCode ?? child.signalCode}: ${complaint}\n${text.slice(-4000)}`);
    },
    signal(signal) {
      child.kill(signal);
    },
    async end() {
      if (ended()) return;
      child.kill("SIGKILL");
      await once(child, "exit");
    },
  };
}
