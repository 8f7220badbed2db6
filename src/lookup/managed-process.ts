/**
 * A program that lives no longer than we do: its name and arguments in, a running child with its log lines out. The
 * kernel ends it when we die, however we die (`setpriv --pdeathsig`); where it cannot, a record of the process in the
 * folder lets the next start end it. What the program is, and when it is started again, is lookup/managed-resolver.ts.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { accessSync, constants, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import type { Clock } from "../clock.ts";
import { cleanText } from "../mail/reply.ts";
import { codeOf, messageOf } from "../thrown.ts";

/** Where servers are installed; a user's PATH often lacks them. */
const SYSTEM_PATHS = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
const RECORD_FILE = "unbound.pid";
const LONGEST_LINE = 1_000;

/** The path of a program given by name or by path; undefined if there is none. */
export function findProgram(name: string, path = process.env["PATH"] ?? ""): string | undefined {
  const places = name.includes("/")
    ? [resolve(name)]
    : [...path.split(delimiter), ...SYSTEM_PATHS].filter((at) => at.startsWith("/")).map((at) => join(at, name));
  return places.find((place) => {
    try {
      accessSync(place, constants.X_OK);
      return statSync(place).isFile();
    } catch {
      return false;
    }
  });
}

/** What a program prints, and whether it ended with code 0; the reason in place of the text where it prints nothing and fails, or cannot be run. */
export function outputOf(program: string, args: readonly string[]): Promise<{ readonly ok: boolean; readonly text: string }> {
  return new Promise((done) => {
    execFile(program, [...args], { timeout: 5_000, maxBuffer: 65_536, env: {} }, (error, stdout, stderr) =>
      done({
        ok: error === null,
        text: error !== null && stdout === "" && stderr === "" ? (codeOf(error) ?? messageOf(error)) : stdout + stderr,
      }),
    );
  });
}

let tying: Promise<readonly string[]> | undefined;

/** The words before a command that tie its life to ours; none where util-linux's setpriv is not at hand. */
function tyingWords(): Promise<readonly string[]> {
  tying ??= (async () => {
    const setpriv = findProgram("setpriv");
    if (setpriv === undefined) return [];
    const words = ["--pdeathsig", "KILL"];
    // Busybox has a setpriv that knows no such option.
    const tried = await outputOf(setpriv, [...words, "--", process.execPath, "--version"]);
    return tried.ok ? [setpriv, ...words, "--"] : [];
  })();
  return tying;
}

export interface TiedChild {
  readonly pid: number;
  /** Lines that tell of trouble, clean, oldest first: the first, which often names the cause, and the last two. */
  readonly complaints: readonly string[];
  /** Settles when the process is gone. */
  readonly exited: Promise<string>;
  /** Asks it to end, and ends it if it does not within two seconds. */
  stop(): Promise<void>;
}

export interface TiedOptions {
  readonly program: string;
  readonly args: readonly string[];
  /** The folder it runs in, and where the record is kept. */
  readonly folder: string;
  /** An argument that no other program has, for the record. */
  readonly mark: string;
  readonly clock: Clock;
  readonly onLine: (line: string) => void;
}

export async function startTied(options: TiedOptions): Promise<TiedChild | { readonly error: string }> {
  const [command = options.program, ...args] = [...(await tyingWords()), options.program, ...options.args];
  const child = spawn(command, args, {
    cwd: options.folder,
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: SYSTEM_PATHS.join(delimiter) },
  });
  const { pid } = child;
  const complaints: string[] = [];
  const exited = new Promise<string>((done) => {
    child.once("error", (error) => done(`cannot be started (${codeOf(error) ?? error.message})`));
    child.once("close", (code, signal) => done(signal === null ? `ended with code ${code}` : `was ended by ${signal}`));
  });
  if (pid === undefined) return { error: await exited };
  saveRecord(options.folder, pid, options.mark);
  const onLine = (line: string): void => {
    const text = cleanText(line.replace(/^\[\d+\] \S+\[\d+:\d+\] /, ""), 300);
    if (/\b(warning|error|fatal)\b/.test(text)) complaints.push(text);
    if (complaints.length > 3) complaints.splice(1, 1);
    options.onLine(text);
  };
  readLines(child, onLine);
  let isOver = false;
  void exited.then(() => {
    isOver = true;
    dropRecord(options.folder, pid);
  });
  return {
    pid,
    complaints,
    exited,
    async stop() {
      if (isOver) return;
      child.kill("SIGTERM");
      const cancel = options.clock.after(2_000, () => child.kill("SIGKILL"));
      await exited;
      cancel();
    },
  };
}

function readLines(child: ChildProcess, onLine: (line: string) => void): void {
  for (const stream of [child.stdout, child.stderr]) {
    let pending = "";
    stream?.setEncoding("utf8").on("data", (chunk: string) => {
      const lines = (pending + chunk).split("\n");
      pending = (lines.pop() ?? "").slice(0, LONGEST_LINE);
      for (const line of lines) onLine(line.slice(0, LONGEST_LINE));
    });
  }
}

interface Recorded {
  readonly pid: number;
  readonly since: string;
  readonly mark: string;
  readonly owner: number;
  readonly ownerSince: string;
}

/** When a process began, in the kernel's own count: a later process of the same number has another. */
function beginOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const [state, ...fields] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return state === "Z" || state === "X" ? undefined : fields[18];
  } catch {
    return undefined;
  }
}

function saveRecord(folder: string, pid: number, mark: string): void {
  const since = beginOf(pid);
  const ownerSince = beginOf(process.pid);
  if (since === undefined || ownerSince === undefined) return;
  const record: Recorded = { pid, since, mark, owner: process.pid, ownerSince };
  writeFileSync(join(folder, RECORD_FILE), JSON.stringify(record), { mode: 0o600 });
}

function readRecord(folder: string): Recorded | undefined {
  try {
    const found: unknown = JSON.parse(readFileSync(join(folder, RECORD_FILE), "utf8"));
    if (typeof found !== "object" || found === null) return undefined;
    const { pid, since, mark, owner, ownerSince } = found as Record<string, unknown>;
    if (typeof pid !== "number" || pid <= 1 || typeof since !== "string" || typeof mark !== "string") return undefined;
    if (typeof owner !== "number" || typeof ownerSince !== "string") return undefined;
    return { pid, since, mark, owner, ownerSince };
  } catch {
    return undefined;
  }
}

function dropRecord(folder: string, pid: number): void {
  if (readRecord(folder)?.pid === pid) rmSync(join(folder, RECORD_FILE), { force: true });
}

/** Ends a child of a former process that is gone. Its number alone proves nothing: begin and command line must fit too. */
export async function endOrphan(folder: string, clock: Clock): Promise<number | undefined> {
  const record = readRecord(folder);
  if (record === undefined || beginOf(record.owner) === record.ownerSince) return undefined;
  if (beginOf(record.pid) !== record.since || !hasArgument(record.pid, record.mark)) return undefined;
  try {
    process.kill(record.pid, "SIGKILL");
  } catch {
    return undefined;
  }
  // Ends: a killed process goes; should it hang in the kernel, another port is taken instead.
  for (let tries = 0; tries < 100 && beginOf(record.pid) === record.since; tries++)
    await new Promise<void>((done) => clock.after(20, done));
  return record.pid;
}

function hasArgument(pid: number, mark: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").includes(mark);
  } catch {
    return false;
  }
}
