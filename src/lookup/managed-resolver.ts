/**
 * The validating resolver that Postern starts (unbound) and watches: settings in, a loopback server to ask out, for as
 * long as it runs. It is started again when it dies, each time a little later, and stopped with us. If the root servers
 * cannot be reached it is started again to ask the system's resolvers, and validates what they say.
 *
 * While it does not run there is no server, which is a failed look-up and never an insecure answer. Only where it cannot
 * exist at all (no program, no root key) is it `missing`. Its configuration is lookup/managed-config.ts, its process
 * lookup/managed-process.ts; whether it validates is for lookup/self-test.ts.
 */
import { createSocket } from "node:dgram";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join, resolve } from "node:path";
import type { Clock } from "../clock.ts";
import type { ManagedPlan } from "../config/resolver-words.ts";
import { describeServer, type ServerAddress } from "../config/server-address.ts";
import type { Settings } from "../config/settings.ts";
import { messageOf } from "../thrown.ts";
import { prepareAnchor } from "./managed-anchor.ts";
import { CONFIG_FILE, HINTS_FILE, ROOTS_FILE, writeConfig } from "./managed-config.ts";
import { endOrphan, findProgram, outputOf, startTied, type TiedChild } from "./managed-process.ts";
import type { PemRoots } from "./tls-context.ts";

export interface ManagedOptions {
  readonly settings: Settings["resolver"]["managed"];
  readonly plan: ManagedPlan;
  /** Its own folder, made if it is not there. */
  readonly folder: string;
  readonly clock: Clock;
  /** Who certifies forwarders over TLS. */
  readonly roots: PemRoots;
  readonly ipv6: () => boolean;
  /** The machine's own resolvers, for a net that lets nobody ask the root servers. */
  readonly systemServers: () => readonly ServerAddress[];
  /** Whether a server finds the root's name servers. */
  readonly reaches: (server: ServerAddress) => Promise<boolean>;
  readonly onChange: (change: ManagedChange) => void;
  /** Default: those of the packages. */
  readonly defaultAnchors?: readonly string[];
  /** A free port of 127.0.0.1; for tests. */
  readonly pickPort?: () => Promise<number>;
}

export type ManagedChange =
  | { readonly kind: "up"; readonly pid: number; readonly server: ServerAddress; readonly forwarders: readonly ServerAddress[] }
  | { readonly kind: "down"; readonly detail: string; readonly againIn: number }
  /** It cannot exist here; `detail` names the remedy. */
  | { readonly kind: "missing"; readonly detail: string }
  /** Whom it asks, and whether that works, for the log. */
  | { readonly kind: "reach"; readonly works: boolean; readonly detail: string };

export interface ManagedResolver {
  /** Where to ask now. */
  server(): ServerAddress | undefined;
  readonly pid: number | undefined;
  /** A clean sentence on how it stands. */
  readonly detail: string;
  readonly isMissing: boolean;
  /** Waits for it to run, to be missing, or for so many ms; the server if it runs then. */
  whenUp(patience: number): Promise<ServerAddress | undefined>;
  close(): Promise<void>;
}

const START_PATIENCE = 15_000;
const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 60_000;
/** After so long a life the next death counts as the first. */
const STABLE = 60_000;
/** A missing program may be installed; a net that reaches nothing may come back. */
const LOOK_AGAIN = 60_000;
const PORTS_TRIED = 5;
const PROBES = 2;

type Start =
  | { readonly kind: "up"; readonly child: TiedChild; readonly server: ServerAddress }
  | { readonly kind: "failed" | "port-taken"; readonly detail: string };

export function startManagedResolver(options: ManagedOptions): ManagedResolver {
  const { clock, settings, plan, onChange } = options;
  const folder = resolve(options.folder);
  const configFile = join(folder, CONFIG_FILE);
  const pickPort = options.pickPort ?? findFreePort;
  const waiting = new Set<() => void>();
  let running: { readonly child: TiedChild; readonly server: ServerAddress } | undefined;
  let starting: TiedChild | undefined;
  let detail = "the resolver is being started";
  let missing = findMissing();
  let stopping = false;
  let told = "";
  let wake = (): void => {};

  /** The sentence that says why there can be no resolver here. */
  function findMissing(): string | undefined {
    const anchor = prepareAnchor(folder, settings.trustAnchorFile, options.defaultAnchors);
    const noProgram = findProgram(settings.program) === undefined ? `the program ${settings.program} is not installed` : undefined;
    const noAnchor = anchor.kind === "missing" ? anchor.detail : undefined;
    if (noProgram === undefined) return noAnchor;
    return `${noProgram}; install unbound and dns-root-data, or set resolver.servers: [system] to say that DANE is to be off`;
  }

  const tellWaiting = (): void => {
    for (const tell of [...waiting]) tell();
  };

  const pause = (ms: number): Promise<void> =>
    new Promise((done) => {
      if (stopping) return done();
      const cancel = clock.after(ms, done);
      wake = () => {
        cancel();
        done();
      };
    });

  const startOnce = async (program: string, forwarders: readonly ServerAddress[], extendedErrors: boolean): Promise<Start> => {
    const port = await pickPort();
    const hasHints = settings.rootHints !== undefined;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (settings.rootHints !== undefined) copyFileSync(settings.rootHints, join(folder, HINTS_FILE));
    if (forwarders.some((server) => server.tlsName !== undefined))
      writeFileSync(join(folder, ROOTS_FILE), [options.roots].flat().join("\n"), { mode: 0o600 });
    const config = writeConfig(plan, { port, ipv6: options.ipv6(), extendedErrors, rootHints: hasHints, forwarders });
    writeFileSync(configFile, config, { mode: 0o600 });
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
    const why = child.complaints.join("; ");
    if (/already in use|could not open ports|can't bind/i.test(why)) return { kind: "port-taken", detail: why };
    const how = first === "late" ? "did not start in time" : first === "up" ? "was stopped" : first;
    return { kind: "failed", detail: `unbound ${how}${why === "" ? "" : `: ${why}`}` };
  };

  const start = async (forwarders: readonly ServerAddress[]): Promise<Start> => {
    try {
      const ended = await endOrphan(folder, clock);
      if (ended !== undefined) detail = `the resolver that a former process left behind (${ended}) was ended`;
      const anchor = prepareAnchor(folder, settings.trustAnchorFile, options.defaultAnchors);
      if (anchor.kind !== "ready") return { kind: "failed", detail: anchor.detail };
      const program = findProgram(settings.program);
      if (program === undefined) return { kind: "failed", detail: `the program ${settings.program} is gone` };
      const version = await outputOf(program, ["-V"]);
      const [, major, minor] = /Version (\d+)\.(\d+)/.exec(version.text) ?? [];
      if (major === undefined)
        return { kind: "failed", detail: `${program} does not say that it is unbound: ${version.text.slice(0, 100)}` };
      const extendedErrors = Number(major) > 1 || Number(minor) >= 16;
      let last: Start = { kind: "failed", detail: "no port" };
      for (let tries = 0; tries < PORTS_TRIED && !stopping; tries++) {
        last = await startOnce(program, forwarders, extendedErrors);
        if (last.kind !== "port-taken") break;
      }
      return last;
    } catch (error) {
      return { kind: "failed", detail: `the resolver cannot be started: ${messageOf(error)}` };
    }
  };

  /** Asks until it is clear whether the resolver reaches anybody; undefined if it died meanwhile. */
  const findReach = async (of: { readonly child: TiedChild; readonly server: ServerAddress }): Promise<boolean | undefined> => {
    for (let probe = 0; probe < PROBES; probe++) {
      const reached = await Promise.race([options.reaches(of.server), of.child.exited]);
      if (reached === true) return true;
      if (reached !== false || stopping) return undefined;
    }
    return false;
  };

  const tellReach = (works: boolean, text: string): void => {
    detail = text;
    if (text !== told) onChange({ kind: "reach", works, detail: text });
    told = text;
  };

  /** Whom it is to be started again to ask: the system's resolvers, or after a while the root servers; undefined if it may stay. */
  const findWay = async (
    of: { readonly child: TiedChild; readonly server: ServerAddress },
    asks: string,
    fallback: readonly ServerAddress[],
  ): Promise<readonly ServerAddress[] | undefined> => {
    const areSet = plan.forwarders.length > 0;
    for (;;) {
      const reach = await findReach(of);
      if (reach === undefined) return undefined;
      if (reach) {
        tellReach(true, `unbound ${asks}${fallback.length > 0 ? ", since the root servers cannot be reached" : ""}`);
        return undefined;
      }
      if (!areSet && fallback.length === 0) {
        const others = options.systemServers();
        if (others.length > 0) return others;
      }
      tellReach(false, describeNoReach(areSet ? plan.forwarders : fallback, areSet));
      const next = await Promise.race([pause(LOOK_AGAIN), of.child.exited]);
      if (next !== undefined || stopping) return undefined;
      if (!areSet) return [];
    }
  };

  const run = async (): Promise<void> => {
    let deaths = 0;
    let fallback: readonly ServerAddress[] = [];
    while (!stopping) {
      missing = findMissing();
      if (missing !== undefined) {
        if (detail !== missing) onChange({ kind: "missing", detail: missing });
        detail = missing;
        tellWaiting();
        await pause(LOOK_AGAIN);
        continue;
      }
      const forwarders = plan.forwarders.length > 0 ? plan.forwarders : fallback;
      const started = await start(forwarders);
      if (stopping) {
        if (started.kind === "up") await started.child.stop();
        return;
      }
      let ended: string;
      const began = clock.monotonic();
      if (started.kind === "up") {
        running = started;
        const asks = forwarders.length === 0 ? "asks the root servers" : `asks ${forwarders.map(describeServer).join(", ")}`;
        detail = `unbound ${asks}`;
        onChange({ kind: "up", pid: started.child.pid, server: started.server, forwarders });
        tellWaiting();
        const turn = await findWay(started, asks, fallback);
        if (turn !== undefined && !stopping) {
          fallback = turn;
          running = undefined;
          await started.child.stop();
          continue;
        }
        ended = await started.child.exited;
        running = undefined;
        const why = started.child.complaints.at(-1);
        ended = `unbound ${ended}${why === undefined ? "" : `: ${why}`}`;
      } else {
        ended = started.detail;
      }
      if (stopping) return;
      deaths = clock.monotonic() - began > STABLE ? 1 : deaths + 1;
      const againIn = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (deaths - 1));
      detail = ended;
      onChange({ kind: "down", detail: ended, againIn });
      await pause(againIn);
    }
  };
  if (missing !== undefined) {
    detail = missing;
    onChange({ kind: "missing", detail: missing });
  }
  const over = run();

  return {
    server: () => running?.server,
    get pid() {
      return running?.child.pid;
    },
    get detail() {
      return detail;
    },
    get isMissing() {
      return missing !== undefined;
    },
    whenUp(patience) {
      if (running !== undefined || missing !== undefined || stopping) return Promise.resolve(running?.server);
      return new Promise((done) => {
        const tell = (): void => {
          waiting.delete(tell);
          cancel();
          done(running?.server);
        };
        const cancel = clock.after(patience, tell);
        waiting.add(tell);
      });
    },
    async close() {
      stopping = true;
      wake();
      tellWaiting();
      await Promise.all([running?.child.stop(), starting?.stop()]);
      running = undefined;
      await over;
    },
  };
}

function describeNoReach(forwarders: readonly ServerAddress[], areSet: boolean): string {
  const asked = forwarders.map(describeServer).join(", ");
  if (areSet) return `unbound gets no DNSSEC answers from ${asked}; check resolver.managed.forwarders, and that they pass signatures on`;
  const tried = asked === "" ? "the root servers cannot be reached" : `neither the root servers nor ${asked} give DNSSEC answers`;
  return `${tried}; let this machine send to port 53 (UDP and TCP), or name resolvers that pass signatures on in resolver.managed.forwarders`;
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
