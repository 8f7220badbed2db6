/**
 * The validating resolver that Postern starts (unbound) and watches: settings in, a loopback server to ask out, for as
 * long as it runs. It is started again when it dies, each time a little later, and stopped with us. If the root servers
 * cannot be reached it is started again to ask the system's resolvers, and validates what they say.
 *
 * While it does not run there is no server, which is a failed look-up and never an insecure answer. Only where it cannot
 * exist at all (no program, no root key) is it `missing`. One start of it is lookup/managed-start.ts; whether it
 * validates is for lookup/self-test.ts.
 */
import { resolve } from "node:path";
import { describeServer, type ServerAddress } from "../config/server-address.ts";
import { createStarter, describeEnd, type Running, type StartOptions } from "./managed-start.ts";

export interface ManagedOptions extends StartOptions {
  /** The machine's own resolvers, for a net that lets nobody ask the root servers. */
  readonly systemServers: () => readonly ServerAddress[];
  /** Whether a server finds the root's name servers. */
  readonly reaches: (server: ServerAddress) => Promise<boolean>;
  readonly onChange: (change: ManagedChange) => void;
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

/** Milliseconds before the first new start; each death doubles it. */
const FIRST_PAUSE = 250;
/** Milliseconds; no pause is longer. */
const LONGEST_PAUSE = 60_000;
/** Milliseconds; after so long a life the next death counts as the first. */
const STABLE = 60_000;
/** Milliseconds: a missing program may be installed; a net that reaches nothing may come back. */
const LOOK_AGAIN = 60_000;
const PROBES = 2;

export function startManagedResolver(options: ManagedOptions): ManagedResolver {
  const { clock, plan, onChange } = options;
  const folder = resolve(options.folder);
  const starter = createStarter({ ...options, folder });
  const waiting = new Set<() => void>();
  let running: Running | undefined;
  let detail = "the resolver is being started";
  let missing = starter.checkFit();
  let stopping = false;
  let told = "";
  let wake = (): void => {};

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

  /** Asks until it is clear whether the resolver reaches anybody; undefined if it died meanwhile. */
  const findReach = async (of: Running): Promise<boolean | undefined> => {
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
  const findWay = async (of: Running, asks: string, fallback: readonly ServerAddress[]): Promise<readonly ServerAddress[] | undefined> => {
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
      missing = starter.checkFit();
      if (missing !== undefined) {
        if (detail !== missing) onChange({ kind: "missing", detail: missing });
        detail = missing;
        tellWaiting();
        await pause(LOOK_AGAIN);
        continue;
      }
      const forwarders = plan.forwarders.length > 0 ? plan.forwarders : fallback;
      const started = await starter.start(forwarders);
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
        // The first start says whom it asks; that it works is no news then.
        if (told === "") told = detail;
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
        ended = describeEnd(ended, started.child.complaints.slice(-1), folder);
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
      await Promise.all([running?.child.stop(), starter.stop()]);
      running = undefined;
      await over;
    },
  };
}

function describeNoReach(forwarders: readonly ServerAddress[], areSet: boolean): string {
  const asked = forwarders.map(describeServer).join(", ");
  if (areSet)
    return (
      `unbound gets no DNSSEC answers from ${asked} and tries again; until then all mail to MX hosts waits: ` +
      "check resolver.managed.forwarders, and that they pass signatures on"
    );
  const tried = asked === "" ? "the root servers cannot be reached" : `neither the root servers nor ${asked} give DNSSEC answers`;
  return (
    `${tried}; they are tried again, and until then all mail to MX hosts waits: open port 53, set resolver.managed.forwarders, ` +
    "or resolver.servers: [system] (DNS_RESOLVER=system, without DANE)"
  );
}
