/**
 * Hosts that the operator wrote into routes and `relayhost`: their names may come from /etc/hosts, a search list or a
 * container network, so the system's own resolver (getaddrinfo) finds them. A literal is its own answer. Nothing found
 * here is ever secure, and no address is refused: the operator chose it.
 */
import { lookup as systemLookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { Clock } from "../clock.ts";
import { withoutBrackets } from "../mail/domain.ts";
import { cleanText } from "../mail/reply.ts";
import type { Finding, FindConfiguredHost, HostAddress, LookupFailure } from "../policy/facts.ts";
import { codeOf } from "../thrown.ts";
import { createFindingCache, type Fresh } from "./finding-cache.ts";

export interface ConfiguredHostOptions {
  readonly clock: Clock;
  /** Milliseconds; getaddrinfo itself has no deadline that we could set. */
  readonly timeout: number;
  /** Whether IPv6 addresses are of use here; always, if absent. */
  readonly ipv6?: () => boolean;
  readonly lookup?: (
    host: string,
    options: { readonly all: true; readonly order: "verbatim" },
  ) => Promise<readonly { readonly address: string; readonly family: number }[]>;
}

/** getaddrinfo tells no TTL. Short, since containers come back with other addresses. */
const KEPT = 10_000;
const FAILURE_KEPT = 5_000;
/** The operator's hosts are few. */
const ENTRIES = 200;

export function createConfiguredHostLookup(options: ConfiguredHostOptions): FindConfiguredHost {
  const { clock } = options;
  const lookup = options.lookup ?? ((host, how) => systemLookup(host, how));
  // Single-flight matters here too: each call holds one of libuv's few threads until the system's resolver gives up.
  const cache = createFindingCache(ENTRIES, clock);

  const find = async (host: string): Promise<Fresh<HostAddress>> => {
    const found = await withDeadline(
      clock,
      options.timeout,
      lookup(host, { all: true, order: "verbatim" }).then(
        (addresses): Finding<HostAddress> => answer(host, addresses),
        (error: unknown): Finding<HostAddress> => explain(host, error, clock),
      ),
    );
    const finding = found ?? failed("timeout", `the system's resolver did not find ${quoted(host)} in time`);
    return { finding, keep: finding.kind === "answer" ? KEPT : FAILURE_KEPT, octets: 256 };
  };

  const answer = (host: string, addresses: readonly { readonly address: string; readonly family: number }[]): Finding<HostAddress> => {
    const all = addresses.map(({ address, family }): HostAddress => ({ address, family: family === 6 ? 6 : 4 }));
    const usable = (options.ipv6 ?? (() => true))() ? all : all.filter(({ family }) => family === 4);
    if (usable.length === 0 && all.length > 0)
      return failed("unreachable", `${quoted(host)} has IPv6 addresses only, and IPv6 is not used here`);
    return { kind: "answer", records: usable, security: "insecure", canonicalName: host, expires: clock.now() + KEPT };
  };

  return async (host) => {
    // Kept as written: a link-local address means nothing without its zone.
    const literal = withoutBrackets(host);
    const version = isIP(literal);
    if (version !== 0)
      return {
        kind: "answer",
        records: [{ address: literal, family: version === 6 ? 6 : 4 }],
        security: "insecure",
        canonicalName: host,
        expires: Number.MAX_SAFE_INTEGER,
      };
    return cache.get(host, () => find(host));
  };
}

/** ENOTFOUND is EAI_NONAME or EAI_NODATA, "no such host"; everything else (EAI_AGAIN above all) may be better next time. */
function explain(host: string, error: unknown, clock: Clock): Finding<HostAddress> {
  const code = codeOf(error) ?? "error";
  if (code === "ENOTFOUND") return { kind: "no-such-name", security: "insecure", expires: clock.now() + FAILURE_KEPT };
  return failed("servfail", `the system's resolver could not look up ${quoted(host)} (${cleanText(code, 60)})`);
}

function failed(reason: LookupFailure["reason"], detail: string): LookupFailure {
  return { kind: "failed", reason, detail };
}

function quoted(host: string): string {
  return JSON.stringify(cleanText(host, 255));
}

/** Undefined when the deadline came first; the late result is dropped. */
function withDeadline<T>(clock: Clock, timeout: number, work: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const cancelTimer = clock.after(timeout, () => resolve(undefined));
    work.then(resolve, reject).finally(cancelTimer);
  });
}
