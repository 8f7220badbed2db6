/**
 * Who can be asked, who is, and who is believed: the servers of the settings, the system's list and the managed resolver as they
 * are now, with what is known of each, in; whom to ask out. What that makes of all of them together is lookup/resolver-state.ts;
 * finding out about one, lookup/self-test.ts.
 *
 * It is looked at several times for each message, so it is made anew only when something has changed.
 */
import type { ResolverWords } from "../config/resolver-words.ts";
import { describeServer, type ServerAddress, serverKey } from "../config/server-address.ts";
import { type Judged, MANAGED, type Source } from "./resolver-state.ts";
import type { ServerList } from "./system-servers.ts";

/** How it stands; the same object for as long as nothing changes. */
export interface Standing {
  readonly sources: readonly Source[];
  /** While one is believed only believed ones are asked. */
  readonly toAsk: readonly ServerAddress[];
  readonly believes: (server: ServerAddress) => boolean;
}

export interface RosterIo {
  readonly words: Pick<ResolverWords, "servers" | "validating">;
  /** Gives the same list while it has not changed. */
  readonly systemServers: ServerList;
  /** Where the managed resolver runs now. */
  readonly managedServer: () => ServerAddress | undefined;
  /** Others are asked than before, or are worth something else. */
  readonly onTurn: () => void;
}

export interface Roster {
  now(): Standing;
  beliefIn(source: Pick<Source, "key">): Judged;
  note(source: Pick<Source, "key">, judged: Judged): void;
}

const NOT_TESTED: Judged = { belief: "untested", detail: "has not been tested yet" };
const NONE: readonly ServerAddress[] = [];

export function createRoster({ words, systemServers, managedServer, onTurn }: RosterIo): Roster {
  const validating = new Set(words.validating.map(serverKey));
  const usesSystem = words.servers.includes("system");
  const judged = new Map<string, Judged>();
  let seen:
    | { readonly system: readonly ServerAddress[]; readonly managed: ServerAddress | undefined; readonly standing: Standing }
    | undefined;
  let turn: string | undefined;

  const beliefIn = ({ key }: Pick<Source, "key">): Judged => judged.get(key) ?? NOT_TESTED;
  const isBelieved = (source: Source): boolean => source.trusted && beliefIn(source).belief !== "blind";

  const sourcesOf = (
    part: ResolverWords["servers"][number],
    system: readonly ServerAddress[],
    managed: ServerAddress | undefined,
  ): Source[] => {
    if (part === "managed") {
      const name = managed === undefined ? MANAGED : `${MANAGED} (unbound at ${describeServer(managed)})`;
      return [{ key: MANAGED, name, trusted: true, ...(managed === undefined ? {} : { server: managed }) }];
    }
    return (part === "system" ? system : [part]).map((server) => ({
      key: serverKey(server),
      name: describeServer(server),
      server,
      trusted: server.tlsName !== undefined || validating.has(serverKey(server)),
    }));
  };

  return {
    beliefIn,
    note(source, now) {
      judged.set(source.key, now);
      seen = undefined;
    },
    now() {
      const system = usesSystem ? systemServers() : NONE;
      const managed = managedServer();
      if (seen !== undefined && seen.system === system && seen.managed === managed) return seen.standing;
      const sources = words.servers.flatMap((part) => sourcesOf(part, system, managed));
      const believed = sources.filter(isBelieved);
      const asked = believed.length > 0 ? believed : sources;
      const keys = new Set(believed.flatMap(({ server }) => (server === undefined ? [] : serverKey(server))));
      const standing: Standing = {
        sources,
        toAsk: asked.flatMap(({ server }) => server ?? []),
        believes: (server) => keys.has(serverKey(server)),
      };
      seen = { system, managed, standing };
      // The managed one is the same wherever it runs: what it proved before it was started again is proven.
      const before = turn;
      turn = asked
        .map((source) => `${source.key} ${isBelieved(source)}`)
        .toSorted()
        .join();
      if (before !== undefined && before !== turn) onTurn();
      return standing;
    },
  };
}
