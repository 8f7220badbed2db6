/**
 * The relay itself as its users run it: `node bin/postern.js serve` as a process of its own, with a configuration
 * written for the test, on free ports. Its JSON log is collected as events.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { makeTempFolder, waitUntil, type TempFolder } from "./temp.ts";

export const program = fileURLToPath(new URL("../../bin/postern.js", import.meta.url));

/** The configuration file's content; JSON is YAML. */
export type RelayConfiguration = Readonly<Record<string, unknown>>;

/** A line of the JSON log: `event` names its kind. */
export interface LogEvent {
  readonly event: string;
  readonly [field: string]: unknown;
}

/** What tests look at of an entry in `queue ls --json`. */
export interface QueueLine {
  readonly id: string;
  readonly state: "active" | "waiting" | "finished";
  readonly nextHop: string;
  readonly recipients: readonly { readonly address: string }[];
  readonly problem?: { readonly type: string; readonly whoActs: string; readonly detail: string };
}

export interface CommandResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RelayOptions {
  readonly configuration?: RelayConfiguration;
  readonly environment?: Readonly<Record<string, string>>;
  /** Put in front of node: `strace -f …`. */
  readonly wrapper?: readonly string[];
  /** Another copy of bin/postern.js. */
  readonly program?: string;
}

/** Three listeners on free loopback ports, every loopback network allowed as destination. */
function baseConfiguration(dataFolder: string): RelayConfiguration {
  return {
    mailname: "relay.test",
    data: { folder: dataFolder, minimumFree: "10M", settlementReserve: "5M" },
    submission: {
      listeners: [
        { name: "smtp", address: "127.0.0.1", port: 0, tls: "starttls" },
        { name: "submission", address: "127.0.0.1", port: 0, tls: "starttls" },
        { name: "submissions", address: "127.0.0.1", port: 0, tls: "implicit" },
      ],
    },
    delivery: { allowedAddresses: ["127.0.0.0/8"] },
    // No resolver is started, and the internet not asked: tests that look names up name a resolver of theirs.
    resolver: { servers: ["system"] },
    log: { format: "json", level: "debug" },
  };
}

/** Objects merge, anything else is replaced. */
export function merge(base: RelayConfiguration, over: RelayConfiguration): RelayConfiguration {
  const merged: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const below = merged[key];
    merged[key] = isObject(below) && isObject(value) ? merge(below, value) : value;
  }
  return merged;
}

function isObject(value: unknown): value is RelayConfiguration {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export class Relay implements AsyncDisposable {
  readonly folder: string;
  readonly configurationFile: string;
  readonly dataFolder: string;
  /** Of all runs, oldest first. */
  readonly events: LogEvent[] = [];
  /** What it wrote to standard error, and lines that are no events. */
  readonly output: string[] = [];
  readonly #temp: TempFolder;
  readonly #options: RelayOptions;
  #configuration: RelayConfiguration;
  #child: ChildProcess | undefined;
  /** Events before this run. */
  #since = 0;

  constructor(temp: TempFolder, options: RelayOptions) {
    this.#temp = temp;
    this.#options = options;
    this.folder = temp.path;
    this.dataFolder = join(temp.path, "data");
    this.configurationFile = join(temp.path, "postern.yaml");
    this.#configuration = merge(baseConfiguration(this.dataFolder), options.configuration ?? {});
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error("the relay does not run");
    return pid;
  }

  get running(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Changes the configuration file; the relay rereads it on SIGHUP or at its next start. */
  async configure(over: RelayConfiguration): Promise<void> {
    this.#configuration = merge(this.#configuration, over);
    await writeFile(this.configurationFile, JSON.stringify(this.#configuration, null, 1));
  }

  async start(): Promise<this> {
    await this.configure({});
    this.#since = this.events.length;
    const [command, ...args] = [
      ...(this.#options.wrapper ?? []),
      process.execPath,
      this.#options.program ?? program,
      "serve",
      "--config",
      this.configurationFile,
    ];
    const child = spawn(command, args, { cwd: this.folder, env: this.#environment(), stdio: ["ignore", "pipe", "pipe"], detached: true });
    this.#child = child;
    this.#collect(child.stdout);
    this.#collect(child.stderr);
    await waitUntil("the relay listens", () => {
      if (!this.running) {
        const faults = this.events.slice(this.#since).map((event) => JSON.stringify(event));
        throw new Error(`the relay ended at once:\n${[...this.output.slice(-40), ...faults].join("\n")}`);
      }
      return this.#started() !== undefined;
    });
    return this;
  }

  #environment(): NodeJS.ProcessEnv {
    const inherited = Object.entries(process.env).filter(([name]) => !/^(?:POSTERN|VITEST|NODE_OPTIONS|NODE_EXTRA)/.test(name));
    return { ...Object.fromEntries(inherited), ...this.#options.environment };
  }

  #collect(stream: NodeJS.ReadableStream): void {
    let rest = "";
    stream.setEncoding("utf8");
    stream.on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#takeLine(line);
    });
  }

  #takeLine(line: string): void {
    if (line.startsWith("{")) {
      try {
        const event = JSON.parse(line) as LogEvent;
        if (typeof event.event === "string") {
          this.events.push(event);
          return;
        }
      } catch {
        // no event, then
      }
    }
    this.output.push(line);
  }

  #started(): LogEvent | undefined {
    return this.events.slice(this.#since).find((event) => event.event === "started");
  }

  port(listener: "smtp" | "submission" | "submissions" = "smtp"): number {
    const listeners = (this.#started()?.["listeners"] ?? []) as { name: string; port: number }[];
    const found = listeners.find((one) => one.name === listener);
    if (found === undefined) throw new Error(`the relay has no listener ${listener}`);
    return found.port;
  }

  /** The first event of this kind that fits, already seen or yet to come. */
  waitForEvent(kind: string, fits: (event: LogEvent) => boolean = () => true, limit?: number): Promise<LogEvent> {
    return waitUntil(`event ${kind}`, () => this.events.find((event) => event.event === kind && fits(event)), limit);
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal);
  }

  /** Ends it, politely by default. */
  stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number | string> {
    // A wrapper passes no signal on, so the whole group gets it.
    if (this.running) process.kill(this.#options.wrapper === undefined ? this.pid : -this.pid, signal);
    return this.ended();
  }

  /** Its exit code, or the name of the signal that ended it. */
  async ended(): Promise<number | string> {
    const child = this.#child;
    if (child === undefined) throw new Error("the relay was never started");
    await waitUntil("the relay ends", () => !this.running);
    return child.exitCode ?? child.signalCode ?? "";
  }

  /** Processes of its group that live on. */
  leftBehind(): string[] {
    return processesOfGroup(this.pid);
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** Runs another command of the program against this relay's configuration. */
  run(args: readonly string[], input?: string | Buffer): Promise<CommandResult> {
    return runProgram([...args, "--config", this.configurationFile], this.#environment(), input);
  }

  async json<T>(...args: string[]): Promise<T> {
    const result = await this.run([...args, "--json"]);
    if (result.status !== 0) throw new Error(`postern ${args.join(" ")} ended with ${result.status}: ${result.stderr}`);
    return JSON.parse(result.stdout) as T;
  }

  /** All of `queue ls`, page by page. */
  async listQueue(...filter: string[]): Promise<QueueLine[]> {
    const lines: QueueLine[] = [];
    for (let after: string | undefined = ""; after !== undefined; ) {
      const page: { entries: QueueLine[]; next?: string } = await this.json(
        "queue",
        "ls",
        "--limit",
        "1000",
        ...filter,
        ...(after === "" ? [] : ["--after", after]),
      );
      lines.push(...page.entries);
      after = page.next;
    }
    return lines;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.running) await this.stop("SIGKILL");
    await this.#temp[Symbol.asyncDispose]();
  }
}

export async function startRelay(options: RelayOptions = {}): Promise<Relay> {
  const relay = new Relay(await makeTempFolder("relay"), options);
  try {
    return await relay.start();
  } catch (error) {
    await relay[Symbol.asyncDispose]();
    throw error;
  }
}

export function runProgram(args: readonly string[], environment: NodeJS.ProcessEnv, input?: string | Buffer): Promise<CommandResult> {
  return new Promise((done, failed) => {
    const child = spawn(process.execPath, [program, ...args], { env: environment, stdio: ["pipe", "pipe", "pipe"] });
    const out: Buffer[] = [];
    const complaints: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => complaints.push(chunk));
    child.stdin.on("error", () => {}).end(input ?? "");
    child
      .once("error", failed)
      .once("close", (status) => done({ status, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(complaints).toString() }));
  });
}

/** Living processes of a process group, zombies left out: `1234 node`. */
export function processesOfGroup(group: number): string[] {
  const found: string[] = [];
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      // proc(5): the name is in parentheses and may hold anything; state, parent and group follow it.
      const [state, , inGroup] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (Number(inGroup) === group && state !== "Z") found.push(`${pid} ${stat.slice(stat.indexOf("(") + 1, stat.lastIndexOf(")"))}`);
    } catch {
      // it ended meanwhile
    }
  }
  return found;
}
