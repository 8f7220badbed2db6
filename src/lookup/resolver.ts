/**
 * The resolvers of this relay, whatever the settings make of them: the section `resolver` in, a DNS client and what its
 * answers are worth for DANE out (RFC 7672 §2.1.1, RFC 4035 §4.9.3). AD is believed from the resolver that Postern
 * starts, from one that proved its name over TLS, and from addresses that the operator says validate; from no other,
 * loopback included, and from none that the self-test has caught not validating. What that makes of all of them together
 * is lookup/resolver-state.ts.
 *
 * While one is believed only believed ones are asked: an answer that comes without proof, because another did not
 * answer, would be what an attacker wants.
 */
import { randomInt } from "node:crypto";
import { join } from "node:path";
import type { CancelTimer, Clock } from "../clock.ts";
import { formatPath } from "../config/keys.ts";
import { type ResolverWords, readResolverWords } from "../config/resolver-words.ts";
import { describeServer, type ServerAddress } from "../config/server-address.ts";
import type { Settings } from "../config/settings.ts";
import type { EmitEvent } from "../events.ts";
import { cleanText } from "../mail/reply.ts";
import type { DnssecState, LookupFailure } from "../policy/facts.ts";
import { createDnsLookup, type DnsClient, judge, type Servers } from "./dns.ts";
import { createDotClient, type DotOptions } from "./dot.ts";
import { exchange, type ExchangeIo } from "./exchange.ts";
import { prepareAnchor } from "./managed-anchor.ts";
import { type ManagedChange, type ManagedOptions, type ManagedResolver, startManagedResolver } from "./managed-resolver.ts";
import { encodeName } from "./names.ts";
import { type RecordType, typeNumber } from "./rdata.ts";
import { createRoster, type Standing } from "./resolver-roster.ts";
import { describeBelief, MANAGED, type ResolverServer, type Source, summarise } from "./resolver-state.ts";
import { type Belief, concludeSelfTest, type Probe, readProbe, runSelfTest } from "./self-test.ts";
import { watchSystemServers } from "./system-servers.ts";
import type { PemRoots } from "./tls-context.ts";

export interface ResolverIo {
  readonly clock: Clock;
  readonly emit: EmitEvent;
  /** The resolver that Postern starts has the folder `resolver` in it. */
  readonly dataFolder: string;
  /** Who certifies `tls://` resolvers. */
  readonly roots: PemRoots;
  readonly ipv6: () => boolean;
  /** 16 bits that nobody can predict (RFC 5452 §9.2), which Math.random does not give; default: the system's. */
  readonly randomId?: () => number;
  /** Default: /etc/resolv.conf. */
  readonly resolvConf?: string;
  /** How `tls://name` becomes an address; default: the system's resolver. */
  readonly lookup?: DotOptions["lookup"];
  /** For tests: other key files than those of the packages, ports, and the system's resolvers. */
  readonly managed?: Pick<ManagedOptions, "defaultAnchors" | "pickPort"> & Partial<Pick<ManagedOptions, "systemServers">>;
}

export interface ResolverStatus {
  readonly state: DnssecState;
  readonly servers: readonly ResolverServer[];
  /** The process that Postern started, while it runs. */
  readonly pid?: number;
}

export interface Resolver {
  readonly client: DnsClient;
  dnssec(): DnssecState;
  status(): ResolverStatus;
  /** Why no question at all can be asked just now: the resolver that Postern starts does not run. */
  trouble(): string | undefined;
  /** Tests every believed resolver; resolves when all have been judged. */
  testNow(): Promise<void>;
  close(): Promise<void>;
}

/** Milliseconds after a test without a conclusion until the next. */
const TEST_AGAIN = 60_000;
/** Milliseconds: unbound gives up on root servers that do not answer only after a while. */
const REACH_TIMEOUT = 10_000;

/** Throws where the settings cannot be meant; does not wait for anything else. */
export async function openResolver(settings: Settings["resolver"], io: ResolverIo): Promise<Resolver> {
  const { clock, emit } = io;
  const words = mustRead(settings);
  const parts = words.servers;
  const patience = settings.timeout * settings.attempts;
  const randomId = io.randomId ?? (() => randomInt(0x10000));
  const dot = createDotClient({
    clock,
    timeout: settings.timeout,
    roots: io.roots,
    ...(io.lookup === undefined ? {} : { lookup: io.lookup }),
  });
  const testIo: ExchangeIo = { clock, timeout: settings.timeout, randomId, open: new Set(), dot };
  const systemServers = io.managed?.systemServers ?? watchSystemServers(clock, io.resolvConf);
  const folder = join(io.dataFolder, "resolver");
  let managed: ManagedResolver | undefined;
  let state: DnssecState = { kind: "untested", detail: "", since: clock.now() };
  let reviewed: Standing | undefined;
  let cancelTest: CancelTimer | undefined;
  let wasMissing = false;
  /** Why the managed resolver, though it runs, finds out nothing: what the net lacks, and the remedies. */
  let noReach: string | undefined;
  let closed = false;

  const roster = createRoster({
    words,
    systemServers,
    managedServer: () => managed?.server(),
    onTurn: () => {
      // What another said, or this one while it was worth something else, decides nothing any more: neither what could not be
      // proven then, nor what was called secure by a resolver that does not validate. Nor is what is under way kept.
      dns.clear();
      const isNew = roster.now().sources.some((source) => source.trusted && source.server !== undefined && isUntried(source));
      if (isNew) void (testing ?? Promise.resolve()).then(testNow);
    },
  });
  const { beliefIn } = roster;
  const isUntried = (source: Source): boolean => beliefIn(source).testedAt === undefined;

  /** Whom to ask now. A question may wait for the managed resolver to run, and fails if it does not; it goes to no other. */
  const serversNow = (): Servers | Promise<Servers> => {
    const { toAsk } = roster.now();
    if (toAsk.length > 0) return toAsk;
    if (managed === undefined) return [];
    if (managed.isMissing) return systemServers();
    return managed.whenUp(patience).then((server): Servers => {
      if (server !== undefined) return [server];
      if (managed?.isMissing === true) return systemServers();
      return {
        kind: "failed",
        reason: "unreachable",
        detail: `the managed resolver does not run: ${managed?.detail ?? ""}`,
      } satisfies LookupFailure;
    });
  };

  const dns = createDnsLookup({
    servers: serversNow,
    trustAdFrom: (server) => roster.now().believes(server),
    timeout: settings.timeout,
    attempts: settings.attempts,
    cacheEntries: settings.cacheEntries,
    longestTtl: settings.longestTtl,
    clock,
    ipv6: io.ipv6,
    randomId,
    dot,
  });

  /** Says what all of them together are worth, and tells of a change. /etc/resolv.conf may have changed who is asked. */
  const review = (): void => {
    const standing = roster.now();
    if (closed || standing === reviewed) return;
    reviewed = standing;
    const { kind, detail } = summarise(standing.sources, beliefIn, words.validating.length > 0);
    const changed = kind !== state.kind;
    state = { kind, detail, since: changed ? clock.now() : state.since };
    if (changed) emit({ kind: "dnssec-state", state: kind, detail });
  };

  /** What is kept was found by those who are asked now, also where the answer needs no question. */
  const client: DnsClient = {
    ...dns,
    ask(name, type) {
      review();
      return dns.ask(name, type);
    },
    findMx(domain) {
      review();
      return dns.findMx(domain);
    },
    findAddresses(host) {
      review();
      return dns.findAddresses(host);
    },
  };

  const believe = (source: Pick<Source, "key">, belief: Belief, detail: string, tested: boolean): void => {
    const testedAt = tested ? clock.now() : beliefIn(source).testedAt;
    roster.note(source, { belief, detail: cleanText(detail, 500), ...(testedAt === undefined ? {} : { testedAt }) });
  };

  const askOne = async (server: ServerAddress, name: string, type: RecordType, using: ExchangeIo): Promise<Probe> => {
    const wireName = encodeName(name === "." ? "" : name);
    if (wireName === undefined) return { kind: "silent", detail: `${JSON.stringify(name)} is no name` };
    let probe: Probe = { kind: "silent", detail: "was not asked" };
    for (let attempt = 0; attempt < settings.attempts && !closed; attempt++) {
      probe = readProbe(judge(await exchange(server, { name: wireName, type: typeNumber(type) ?? 0, typeName: type }, using), server));
      if (probe.kind !== "silent") break;
    }
    return probe;
  };

  const testOne = async (source: Source): Promise<void> => {
    const server = source.server ?? (source.key === MANAGED ? await managed?.whenUp(settings.timeout) : undefined);
    // A resolver that does not run says nothing about whether it validates.
    if (server === undefined) return;
    const reading = await runSelfTest(words.selfTest, (name, type) => askOne(server, name, type, testIo));
    if (closed || (source.key === MANAGED && managed?.isMissing === true)) return;
    const before = beliefIn(source);
    const conclusion = concludeSelfTest(before.belief, reading);
    const { belief = before.belief } = conclusion;
    const isOpen = conclusion.belief === undefined && belief === "untested" && source.key === MANAGED;
    const detail = (isOpen ? noReach : undefined) ?? conclusion.detail;
    const isNews = conclusion.belief === "blind" && before.belief !== "blind";
    believe(source, belief, conclusion.belief === undefined && belief === "blind" ? before.detail : detail, true);
    review();
    // The state as a whole may hold, by another one.
    if (isNews && state.kind !== "blind") emit({ kind: "notice", level: "warn", text: `resolver ${source.name} ${detail}` });
  };

  let testing: Promise<void> | undefined;
  const testNow = (): Promise<void> => {
    testing ??= (async () => {
      cancelTest?.();
      const trustedNow = (): readonly Source[] => roster.now().sources.filter((source) => source.trusted);
      await Promise.all(trustedNow().map(testOne));
      testing = undefined;
      if (closed) return;
      const trusted = trustedNow();
      const isOpen = trusted.some((source) => beliefIn(source).belief === "untested");
      if (trusted.length > 0)
        cancelTest = clock.after(isOpen ? Math.min(TEST_AGAIN, settings.selfTest.every) : settings.selfTest.every, () => void testNow());
    })();
    return testing;
  };

  const onChange = (change: ManagedChange): void => {
    if (closed) return;
    const source = { key: MANAGED };
    switch (change.kind) {
      case "up":
        if (wasMissing) believe(source, "untested", "has just been started", false);
        wasMissing = false;
        emit({
          kind: "resolver-started",
          pid: change.pid,
          address: describeServer(change.server),
          forwarders: change.forwarders.map(describeServer),
        });
        // Of what it validated before, nothing is known any more; the test that may be under way asked the one before it.
        void (testing ?? Promise.resolve()).then(testNow);
        break;
      case "down":
        emit({ kind: "resolver-died", detail: cleanText(change.detail, 500), againIn: change.againIn });
        break;
      case "missing":
        wasMissing = true;
        believe(source, "blind", change.detail, false);
        break;
      case "reach":
        noReach = change.works ? undefined : `asks in vain: ${change.detail}`;
        if (noReach !== undefined && beliefIn(source).belief === "untested") believe(source, "untested", noReach, false);
        emit({ kind: "notice", level: change.works ? "info" : "warn", text: `resolver: ${cleanText(change.detail, 500)}` });
        break;
    }
    review();
  };

  if (parts.includes("managed")) {
    // A key file that was named and is no use is a slip to be told at once; one that vanishes later keeps mail waiting.
    const anchor = prepareAnchor(folder, settings.managed.trustAnchorFile, io.managed?.defaultAnchors);
    if (anchor.kind === "failed") throw new Error(anchor.detail);
    managed = startManagedResolver({
      settings: settings.managed,
      plan: words.managed,
      folder,
      clock,
      roots: io.roots,
      ipv6: io.ipv6,
      systemServers,
      reaches: async (server) => (await askOne(server, ".", "NS", { ...testIo, timeout: REACH_TIMEOUT })).kind === "answered",
      onChange,
      ...io.managed,
    });
  }
  review();
  void testNow();

  return {
    client,
    dnssec: () => {
      review();
      return state;
    },
    status() {
      review();
      return {
        state,
        servers: roster.now().sources.map((source) => ({
          name: source.name,
          trusted: source.trusted,
          ...describeBelief(source, beliefIn(source), source.key === MANAGED && managed?.isMissing === false ? managed.detail : undefined),
        })),
        ...(managed?.pid === undefined ? {} : { pid: managed.pid }),
      };
    },
    trouble: () =>
      managed === undefined || managed.isMissing || managed.server() !== undefined
        ? undefined
        : `the managed resolver does not run: ${managed.detail}`,
    testNow,
    async close() {
      closed = true;
      cancelTest?.();
      dns.close();
      dot.close();
      for (const abandon of [...testIo.open]) abandon();
      await managed?.close();
    },
  };
}

function mustRead(settings: Settings["resolver"]): ResolverWords {
  const { words, faults } = readResolverWords(settings);
  if (faults.length === 0) return words;
  throw new Error(faults.map(({ path, text }) => `${formatPath(path)}: ${text}`).join("; "));
}
