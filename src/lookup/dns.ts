/**
 * The resolver client (RFC 1034 §5.3.1, RFC 5321 §5.1): a name and a type in, a `Finding` with its security status and
 * its age out. It asks recursive resolvers one after the other, follows aliases, and keeps answers for their TTL. Names
 * are absolute. One exchange with one resolver is lookup/exchange.ts; reading a response, lookup/answer.ts.
 *
 * An answer counts as secure only if the resolver set AD and is one whose AD is trusted, at every step of an alias
 * chain (RFC 4035 §4.9.3, RFC 7672 §2.1.3).
 */
import { randomInt } from "node:crypto";
import type { Clock } from "../clock.ts";
import { describeServer, type ServerAddress, serverKey } from "../config/server-address.ts";
import { cleanText } from "../mail/reply.ts";
import type { DnsLookup, Finding, HostAddress, LookupFailure, MxRecord, SecurityStatus } from "../policy/facts.ts";
import { combineAddresses, withFamily } from "./addresses.ts";
import { readAnswer } from "./answer.ts";
import type { DotClient } from "./dot.ts";
import { type ExchangeIo, type ExchangeResult, exchange, type Question } from "./exchange.ts";
import { createFindingCache, type Fresh } from "./finding-cache.ts";
import { encodeName } from "./names.ts";
import { extendedErrorName, rcodeName } from "./rcodes.ts";
import { createTurnstile } from "./turnstile.ts";
import { type RecordData, type RecordType, typeNumber } from "./rdata.ts";
import type { DnsResponse } from "./wire.ts";

export interface DnsLookupOptions {
  /**
   * Best first. A function is asked before each question, so that a new resolv.conf counts at once; it may make the
   * question wait, or fail.
   */
  readonly servers: readonly ServerAddress[] | (() => Servers | Promise<Servers>);
  /** Milliseconds for one try of one question. */
  readonly timeout: number;
  /** Tries of one question, over all servers. */
  readonly attempts: number;
  readonly cacheEntries: number;
  /** Milliseconds; no answer is kept longer. */
  readonly longestTtl: number;
  readonly clock: Clock;
  /** The servers whose AD bit is believed, port included; none if absent. A function is asked with the question and with the answer. */
  readonly trustAdFrom?: readonly ServerAddress[] | ((server: ServerAddress) => boolean);
  /** Asks the servers that are named by `tls://`; closed by whoever made it. */
  readonly dot?: DotClient;
  /** Whether IPv6 addresses are of use here; asked for each new look-up. Always, if absent. */
  readonly ipv6?: () => boolean;
  /** Questions on the wire at a time; more wait their turn. */
  readonly concurrent?: number;
  /** 16 unpredictable bits. */
  readonly randomId?: () => number;
}

export type Servers = readonly ServerAddress[] | LookupFailure;

export interface DnsClient extends DnsLookup {
  /** Any type dns-packet decodes. `""` and `"."` are the root. For CNAME the alias itself is the answer. */
  ask<T extends RecordType>(name: string, type: T): Promise<Finding<RecordData<T>>>;
  /** Forgets everything, so that the next question goes out. */
  clear(): void;
  /** Ends what is under way; every question from now on fails. */
  close(): void;
}

/** A TTL of zero still serves the questions of the same moment (RFC 1035 §3.2.1 means the transaction in progress). */
const SHORTEST_TTL = 1_000;
/** RFC 2308 §5: denials beyond one to three hours "have proved to be problematic". */
const LONGEST_DENIAL = 3_600_000;
/** A denial without SOA must not be kept (RFC 2308 §5), an error at most 5 minutes (§7.1), and at least a second (RFC 9520 §3.2). */
const DENIAL_WITHOUT_SOA = SHORTEST_TTL;
const FAILURE_KEPT = 10_000;
/** A server that timed out is asked last for this long, so that a dead first one does not delay every question. */
const REST_AFTER_TIMEOUT = 30_000;
const CONCURRENT = 256;

const NXDOMAIN = 3;

const STOPPED: LookupFailure = { kind: "failed", reason: "unreachable", detail: "the relay stops; no question is asked any more" };

/** Which failure to tell of when several servers failed: the one that says most about the name. */
const TELLING: Readonly<Record<LookupFailure["reason"], number>> = {
  "not-a-name": 7,
  "alias-loop": 6,
  servfail: 5,
  refused: 4,
  malformed: 3,
  timeout: 2,
  unreachable: 1,
};

export interface Answered {
  readonly kind: "response";
  readonly response: DnsResponse;
  readonly server: ServerAddress;
}

interface Heard extends Answered {
  /** Whether its AD bit was believed when it was asked. */
  readonly trusted: boolean;
}

export function createDnsLookup(options: DnsLookupOptions): DnsClient {
  const { clock, attempts, timeout, longestTtl } = options;
  const ipv6 = options.ipv6 ?? (() => true);
  const listServers = typeof options.servers === "function" ? options.servers : () => options.servers as readonly ServerAddress[];
  const trusts = believes(options.trustAdFrom ?? []);
  const cache = createFindingCache(options.cacheEntries, clock);
  const turnstile = createTurnstile(options.concurrent ?? CONCURRENT, clock);
  const resting = new Map<string, number>();
  const io: ExchangeIo = {
    clock,
    timeout,
    randomId: options.randomId ?? (() => randomInt(0x10000)),
    open: new Set(),
    ...(options.dot === undefined ? {} : { dot: options.dot }),
  };
  let closed = false;

  /** The servers in the order of this question: those that timed out lately come last. */
  const inOrder = (servers: readonly ServerAddress[]): readonly ServerAddress[] => {
    if (resting.size === 0) return servers;
    const now = clock.monotonic();
    for (const [key, until] of resting) if (until <= now) resting.delete(key);
    return servers.toSorted((one, other) => Number(resting.has(serverKey(one))) - Number(resting.has(serverKey(other))));
  };

  /** Asks until a server answers or all have failed. One that gave an error is not asked again; a silent one is. */
  const query = async (question: Question): Promise<Heard | LookupFailure> => {
    const servers = await listServers();
    if ("kind" in servers) return closed ? STOPPED : servers;
    const line = [...inOrder(servers)];
    let worst: LookupFailure | undefined;
    for (let attempt = 0; attempt < attempts && !closed; attempt++) {
      const server = line.shift();
      if (server === undefined) break;
      const trusted = trusts(server);
      const verdict = judge(await exchange(server, question, io), server);
      if (verdict.kind === "response") {
        resting.delete(serverKey(server));
        return { ...verdict, trusted };
      }
      if (verdict.reason === "timeout") {
        resting.set(serverKey(server), clock.monotonic() + REST_AFTER_TIMEOUT);
        line.push(server);
      }
      if (worst === undefined || rank(verdict) > rank(worst)) worst = verdict;
    }
    return worst ?? (closed ? STOPPED : { kind: "failed", reason: "unreachable", detail: "no resolver is configured" });
  };

  const resolve = async (name: string, type: number, typeName: RecordType): Promise<Fresh<unknown>> => {
    const visited = new Set<string>();
    let asked = name;
    let secure = true;
    let steady = true;
    let chainTtl = Number.POSITIVE_INFINITY;
    let octets = 0;
    // Ends: every further question is about a name not visited before, and their number is limited.
    for (;;) {
      const wireName = encodeName(asked);
      if (wireName === undefined)
        return failure({ kind: "failed", reason: "not-a-name", detail: `not a name that DNS can be asked for: ${quoted(asked)}` });
      const answered = await turnstile.pass(timeout * attempts, () => query({ name: wireName, type, typeName }));
      if (answered === undefined)
        return failure({ kind: "failed", reason: "timeout", detail: "too many other questions wait for the resolver" });
      if (answered.kind === "failed") return failure(answered);
      const { response, server, trusted } = answered;
      const trustedNow = trusts(server);
      // It was to prove what it says, and nobody knows whether it can: a failed look-up, which must not lower anything.
      if (trusted && !trustedNow) return { finding: notBelievedNow(server), keep: 0, octets: 0 };
      secure &&= response.authenticData && trusted;
      // Asked before it was believed: for those who asked then, and for nobody after them.
      steady &&= trusted === trustedNow;
      octets += response.octets;
      const reading = readAnswer(response, asked, type, visited);
      if (reading.kind === "failed") return failure({ ...reading, detail: cleanText(reading.detail, 500) });
      if (reading.kind === "ask-again") {
        chainTtl = Math.min(chainTtl, reading.ttl);
        asked = reading.name;
        continue;
      }
      const denied = reading.kind === "no-such-name" || reading.records.length === 0;
      const seconds = reading.ttl === undefined ? undefined : Math.min(reading.ttl, chainTtl);
      const lives =
        seconds === undefined
          ? DENIAL_WITHOUT_SOA
          : Math.max(SHORTEST_TTL, Math.min(seconds * 1000, longestTtl, denied ? LONGEST_DENIAL : Number.POSITIVE_INFINITY));
      const keep = steady ? lives : 0;
      const expires = clock.now() + keep;
      const security: SecurityStatus = secure ? "secure" : "insecure";
      const finding: Finding<unknown> =
        reading.kind === "no-such-name"
          ? { kind: "no-such-name", security, expires }
          : { kind: "answer", records: reading.records, security, canonicalName: reading.canonicalName, expires };
      return { finding, keep, octets };
    }
  };

  const failure = (finding: LookupFailure): Fresh<never> => ({ finding, keep: closed ? 0 : FAILURE_KEPT, octets: 256 });

  const ask = <T extends RecordType>(name: string, type: T): Promise<Finding<RecordData<T>>> => {
    const number = typeNumber(type);
    if (number === undefined) throw new Error(`${type} is no type of record that can be asked for`);
    if (closed) return Promise.resolve(STOPPED);
    const absolute = canonical(name);
    // Every decoder above gives what `RecordData` says for its type.
    return cache.get(`${type} ${absolute}`, () => resolve(absolute, number, type)) as Promise<Finding<RecordData<T>>>;
  };

  const addresses = async (host: string): Promise<Fresh<HostAddress>> => {
    if (!ipv6()) return fresh(await fourOnly(host), false);
    const [four, six] = await Promise.all([ask(host, "A"), ask(host, "AAAA")]);
    const { finding, halfMissing } = combineAddresses(four, six);
    return fresh(finding, halfMissing);
  };

  /** Without IPv6 a host that has nothing else cannot be reached, which is no proof that it has no address. */
  const fourOnly = async (host: string): Promise<Finding<HostAddress>> => {
    const four = await ask(host, "A");
    if (four.kind !== "answer" || four.records.length > 0) return withFamily(four, 4);
    const six = await ask(host, "AAAA");
    if (six.kind === "failed") return six;
    if (six.kind === "answer" && six.records.length > 0)
      return { kind: "failed", reason: "unreachable", detail: `${quoted(host)} has IPv6 addresses only, and IPv6 is not used here` };
    return withFamily(four, 4);
  };

  const fresh = (finding: Finding<HostAddress>, halfMissing: boolean): Fresh<HostAddress> => {
    const limit = halfMissing || finding.kind === "failed" ? FAILURE_KEPT : Number.POSITIVE_INFINITY;
    const left = finding.kind === "failed" ? FAILURE_KEPT : finding.expires - clock.now();
    return {
      finding,
      keep: closed ? 0 : Math.min(left, limit),
      octets: finding.kind === "answer" ? 100 + 100 * finding.records.length : 100,
    };
  };

  return {
    ask,
    findMx: (domain) => ask(domain, "MX") satisfies Promise<Finding<MxRecord>>,
    findAddresses: (host) => cache.get(`addresses ${canonical(host)}`, () => addresses(host)),
    clear: () => cache.clear(),
    close() {
      closed = true;
      cache.clear();
      for (const abandon of [...io.open]) abandon();
    },
  };
}

/** A response worth reading, or why it is none (the self-test judges by it too). Only NOERROR and NXDOMAIN say something about the name. */
export function judge(result: ExchangeResult, server: ServerAddress): Answered | LookupFailure {
  if (result.kind === "failed") return result;
  const { response } = result;
  const from = describeServer(server);
  if (response.rcode !== 0 && response.rcode !== NXDOMAIN) {
    const extended = response.extendedError;
    const reason = response.rcode === 1 ? "malformed" : response.rcode === 5 || response.rcode === 4 ? "refused" : "servfail";
    const why =
      extended === undefined ? "" : ` (EDE ${extended.code} ${extended.text === "" ? extendedErrorName(extended.code) : extended.text})`;
    return {
      kind: "failed",
      reason,
      detail: `${rcodeName(response.rcode)} from ${from}${why}`,
      ...(extended === undefined ? {} : { extendedError: extended.code }),
    };
  }
  if (response.isReferral)
    return {
      kind: "failed",
      reason: "refused",
      detail: `${from} refers to other servers instead of asking them: it is no recursive resolver`,
    };
  return { kind: "response", response, server };
}

function notBelievedNow(server: ServerAddress): LookupFailure {
  const detail = `${describeServer(server)} was believed as DNSSEC when it was asked, and is not now that it has answered`;
  return { kind: "failed", reason: "unreachable", detail };
}

function rank(failure: LookupFailure): number {
  return TELLING[failure.reason] * 2 + (failure.extendedError === undefined ? 0 : 1);
}

function believes(trusted: Exclude<DnsLookupOptions["trustAdFrom"], undefined>): (server: ServerAddress) => boolean {
  if (typeof trusted === "function") return trusted;
  const keys = new Set(trusted.map(serverKey));
  return (server) => keys.has(serverKey(server));
}

function canonical(name: string): string {
  const lower = name.toLowerCase();
  return lower.endsWith(".") ? lower.slice(0, -1) : lower;
}

function quoted(name: string): string {
  return JSON.stringify(cleanText(name, 255));
}
