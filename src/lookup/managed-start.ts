/**
 * One start of the resolver that Postern runs: whom it is to ask in, a child that serves on loopback, or why there is none,
 * out. It writes what unbound needs into its folder (lookup/managed-config.ts, lookup/managed-anchor.ts) and tries another port
 * if one is taken. When to start, and again, is lookup/managed-resolver.ts; the process itself lookup/managed-process.ts.
 */
import { createSocket } from "node:dgram";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import type { Clock } from "../clock.ts";
import type { ManagedPlan } from "../config/resolver-words.ts";
import type { ServerAddress } from "../config/server-address.ts";
import type { Settings } from "../config/settings.ts";
import { messageOf } from "../thrown.ts";
import { prepareAnchor } from "./managed-anchor.ts";
import { CONFIG_FILE, HINTS_FILE, ROOTS_FILE, writeConfig } from "./managed-config.ts";
import { endOrphan, findProgram, outputOf, startTied, type TiedChild } from "./managed-process.ts";
import type { PemRoots } from "./tls-context.ts";

export interface StartOptions {
  readonly settings: Settings["resolver"]["managed"];
  readonly plan: ManagedPlan;
  /** Its own folder, absolute; made if it is not there. */
  readonly folder: string;
  readonly clock: Clock;
  /** Who certifies forwarders over TLS. */
  readonly roots: PemRoots;
  readonly ipv6: () => boolean;
  /** Default: those of the packages. */
  readonly defaultAnchors?: readonly string[];
  /** A free port of 127.0.0.1; for tests. */
  readonly pickPort?: () => Promise<number>;
}

export interface Running {
  readonly child: TiedChild;
  readonly server: ServerAddress;
}

export type Start = ({ readonly kind: "up" } & Running) | { readonly kind: "failed"; readonly detail: string };

export interface Starter {
  /** Puts the root's keys in place; the sentence that says why there can be no resolver here, if there can be none. */
  checkFit(): string | undefined;
  /** Never rejects. */
  start(forwarders: readonly ServerAddress[]): Promise<Start>;
  /** Ends the start under way, and takes no other. */
  stop(): Promise<void>;
}

/** Milliseconds until its sockets are open. */
const START_PATIENCE = 15_000;
const PORTS_TRIED = 5;

export function createStarter(options: StartOptions): Starter {
  const { settings, plan, folder, clock, pickPort = findFreePort } = options;
  const configFile = join(folder, CONFIG_FILE);
  let starting: TiedChild | undefined;
  let stopping = false;

  const prepare = (): ReturnType<typeof prepareAnchor> => prepareAnchor(folder, settings.trustAnchorFile, options.defaultAnchors);

  const writeFiles = (port: number, forwarders: readonly ServerAddress[], extendedErrors: boolean): void => {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (settings.rootHints !== undefined) copyFileSync(settings.rootHints, join(folder, HINTS_FILE));
    if (forwarders.some((server) => server.tlsName !== undefined))
      writeFileSync(join(folder, ROOTS_FILE), [options.roots].flat().join("\n"), { mode: 0o600 });
    const rootHints = settings.rootHints !== undefined;
    writeFileSync(configFile, writeConfig(plan, { port, ipv6: options.ipv6(), extendedErrors, rootHints, forwarders }), { mode: 0o600 });
  };

  const startAt = async (port: number, program: string): Promise<Start | "port-taken"> => {
    let isUp = (): void => {};
    const up = new Promise<"up">((done) => (isUp = () => done("up")));
    const child = await startTied({
      program,
      args: ["-d", "-c", configFile],
      folder,
      mark: configFile,
      clock,
      // It says so when its sockets are open.
      onLine: (line) => line.includes("start of service") && isUp(),
    });
    if ("error" in child) return { kind: "failed", detail: `${program} ${child.error}` };
    starting = child;
    let cancelPatience = (): void => {};
    const late = new Promise<"late">((done) => (cancelPatience = clock.after(START_PATIENCE, () => done("late"))));
    const first = await Promise.race([up, late, child.exited]);
    cancelPatience();
    starting = undefined;
    if (first === "up" && !stopping) return { kind: "up", child, server: { address: "127.0.0.1", port } };
    await child.stop();
    if (/already in use|could not open ports|can't bind/i.test(child.complaints.join("; "))) return "port-taken";
    const how = first === "late" ? "did not start in time" : first === "up" ? "was stopped" : first;
    return { kind: "failed", detail: describeEnd(how, child.complaints, folder) };
  };

  const start = async (forwarders: readonly ServerAddress[]): Promise<Start> => {
    await endOrphan(folder, clock);
    const anchor = prepare();
    if (anchor.kind !== "ready") return { kind: "failed", detail: anchor.detail };
    const program = findProgram(settings.program);
    if (program === undefined) return { kind: "failed", detail: `the program ${settings.program} is gone` };
    const version = await outputOf(program, ["-V"]);
    const [, major, minor] = /Version (\d+)\.(\d+)/.exec(version.text) ?? [];
    if (major === undefined) return { kind: "failed", detail: `${program} does not say that it is unbound: ${version.text.slice(0, 100)}` };
    const extendedErrors = Number(major) > 1 || Number(minor) >= 16;
    for (let tries = 0; tries < PORTS_TRIED && !stopping; tries++) {
      const port = await pickPort();
      writeFiles(port, forwarders, extendedErrors);
      const started = await startAt(port, program);
      if (started !== "port-taken") return started;
    }
    return { kind: "failed", detail: stopping ? "the relay stops" : `${PORTS_TRIED} ports were taken before unbound could have them` };
  };

  return {
    checkFit() {
      const anchor = prepare();
      if (findProgram(settings.program) === undefined)
        return `the program ${settings.program} is not installed; install unbound and dns-root-data, or set resolver.servers: [system] to say that DANE is to be off`;
      return anchor.kind === "missing" ? anchor.detail : undefined;
    },
    start: (forwarders) =>
      start(forwarders).catch((error: unknown) => ({
        kind: "failed",
        detail: `the resolver cannot be started: ${messageOf(error)}`,
      })),
    async stop() {
      stopping = true;
      await starting?.stop();
    },
  };
}

/** How unbound ended, with its last words. What keeps it from its files is named, since unbound does not know it. */
export function describeEnd(how: string, complaints: readonly string[], folder: string): string {
  const words = complaints.length === 0 ? "" : `: ${complaints.join("; ")}`;
  const refused = complaints.some((line) => /(?:could not|unable to) open (?!ports).*permission denied/i.test(line));
  if (!refused) return `unbound ${how}${words}`;
  return `unbound ${how}, for it may not use its files in ${folder}; if they are this user's, AppArmor confines it (Debian, Ubuntu): see docs/resolver.md#apparmor${words}`;
}

/** Free for UDP and TCP at this moment; should somebody take it before unbound does, another is tried. */
function findFreePort(): Promise<number> {
  return new Promise((done, failed) => {
    const udp = createSocket("udp4");
    udp.once("error", failed);
    udp.bind(0, "127.0.0.1", () => {
      const { port } = udp.address();
      const tcp = createServer();
      const end = (): void => {
        udp.close();
        done(port);
      };
      // Taken for TCP: unbound will say so, and the next port is tried.
      tcp.once("error", end);
      tcp.listen(port, "127.0.0.1", () => tcp.close(end));
    });
  });
}
