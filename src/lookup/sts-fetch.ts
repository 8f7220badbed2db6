/**
 * Fetches an MTA-STS policy over HTTPS (RFC 8461 §3.3): a policy domain in; its policy, or a failure in RFC 8460's words,
 * out. One GET to `https://mta-sts.` and the domain, by the first of its addresses that takes a connection. When to
 * fetch is lookup/sts-lookup.ts; what counts as a policy among responses, lookup/sts-response.ts; whether the host's
 * certificate holds, lookup/sts-trust.ts.
 *
 * Whatever the environment could turn (NODE_OPTIONS, NODE_TLS_REJECT_UNAUTHORIZED, proxies) is set by hand. No TLS session is
 * resumed, since a resumed one is called authorized with no certificate at all.
 */
import type { ClientRequest, IncomingMessage } from "node:http";
import { type RequestOptions, request } from "node:https";
import type { LookupFunction } from "node:net";
import { type ConnectionOptions, type PeerCertificate, type SecureContext, TLSSocket } from "node:tls";
import type { Clock } from "../clock.ts";
import type { Domain } from "../mail/domain.ts";
import { cleanText } from "../mail/reply.ts";
import type { DnsLookup, Finding, HostAddress } from "../policy/facts.ts";
import type { TlsFailure, WhoActs } from "../policy/outcome.ts";
import { connectionCode, verificationCode } from "../policy/reason-code.ts";
import type { StsFetchResult } from "../policy/sts-freshness.ts";
import { parseStsPolicy } from "../policy/sts-policy.ts";
import { codeOf, messageOf } from "../thrown.ts";
import type { AddressGuard } from "./special-addresses.ts";
import { findFault, noPolicyWith, type ResponseFault, servedText, tooLong } from "./sts-response.ts";
import { describeTrustError, findNameFault, trustErrorOf, untrusted } from "./sts-trust.ts";
import { createContextKeeper, type PemRoots } from "./tls-context.ts";

export interface StsFetchSettings {
  /** Milliseconds for the whole exchange, the look-up of the host's addresses included. */
  readonly fetchTimeout: number;
  /** Octets; a longer policy is none. */
  readonly policySize: number;
  readonly roots: PemRoots;
}

export interface StsFetchIo {
  readonly findAddresses: DnsLookup["findAddresses"];
  /** Names the special-use block of an address that a stranger's zone may not send us to. */
  readonly guard: AddressGuard;
  /** Asked for each fetch. */
  readonly settings: () => StsFetchSettings;
  readonly clock: Clock;
  /** Where test hosts listen; policies are served at 443 (RFC 8461 §3.2). */
  readonly port?: number;
}

/** Never rejects, and ends by its deadline. `stop` ends it at once; its reason may be a clause that says why. */
export type FetchStsPolicy = (policyDomain: Domain, stop?: AbortSignal) => Promise<StsFetchResult>;

const HTTPS_PORT = 443;
/** A zone may name hundreds of addresses. */
const MOST_ADDRESSES = 8;
/** Milliseconds for one address to come to a finished handshake, while others are left. */
const CONNECT_LIMIT = 10_000;
const HEADER_LIMIT = 16_384;
/** A host may send 1xx responses for ever. */
const MOST_INTERIM = 8;

export function createStsFetch(io: StsFetchIo): FetchStsPolicy {
  const contextFor = createContextKeeper();
  return async (policyDomain, stop) => {
    const settings = io.settings();
    // RFC 8461 §3.3: the name of the policy host is made from the policy domain, whatever aliases lead to.
    const host = `mta-sts.${policyDomain}` as Domain;
    const end = io.clock.monotonic() + settings.fetchTimeout;
    const abort = new AbortController();
    const cancelTimer = io.clock.after(settings.fetchTimeout, () =>
      abort.abort(failed(`${host} gave no whole policy within ${settings.fetchTimeout / 1000} s`, "timeout")),
    );
    const onStop = (): void =>
      abort.abort(failed(typeof stop?.reason === "string" ? `${host}: ${stop.reason}` : "the relay stops", "stopped", "nobody"));
    stop?.addEventListener("abort", onStop);
    if (stop?.aborted === true) onStop();
    try {
      const work = fetchFrom(host, { ...io, settings: () => settings }, contextFor(settings.roots), end, abort.signal);
      return await Promise.race([work, aborted(abort.signal)]);
    } finally {
      cancelTimer();
      stop?.removeEventListener("abort", onStop);
    }
  };
}

/** Resolves with the failure that the signal carries. */
function aborted(signal: AbortSignal): Promise<StsFetchResult> {
  return new Promise((resolve) => {
    const give = (): void => resolve(signal.reason as StsFetchResult);
    if (signal.aborted) give();
    else signal.addEventListener("abort", give, { once: true });
  });
}

async function fetchFrom(host: Domain, io: StsFetchIo, context: SecureContext, end: number, stop: AbortSignal): Promise<StsFetchResult> {
  const choice = choose(await io.findAddresses(host), host, io.guard);
  if (!choice.ok) return choice;
  let last: StsFetchResult = failed(`${host} has no address`, "dns");
  for (const [index, address] of choice.addresses.entries()) {
    if (stop.aborted) break;
    const left = choice.addresses.length - index;
    const limit = left === 1 ? undefined : Math.min(CONNECT_LIMIT, (end - io.clock.monotonic()) / left);
    const answer = await getPolicy({ host, address, context, limit, stop, io });
    if (answer.kind === "final") return answer.result;
    last = failed(`${host}: ${answer.why}`, answer.code, answer.whoActs);
  }
  return last;
}

type Choice = { readonly ok: true; readonly addresses: readonly HostAddress[] } | (StsFetchResult & { ok: false });

function choose(found: Finding<HostAddress>, host: Domain, guard: AddressGuard): Choice {
  if (found.kind === "no-such-name") return failed(`${host} does not exist`, "dns");
  if (found.kind === "failed") return failed(`the addresses of ${host} could not be found: ${found.detail}`, "dns");
  const allowed = found.records.filter(({ address }) => guard(address) === undefined).slice(0, MOST_ADDRESSES);
  if (allowed.length > 0) return { ok: true, addresses: allowed };
  const [refused] = found.records;
  if (refused === undefined) return failed(`${host} has no address`, "dns");
  // A stranger's zone must not make us talk to our own network.
  return failed(`${host} is at ${refused.address}, where no policy host can be: ${guard(refused.address) ?? ""}`, "special-use-address");
}

type Answer =
  | { readonly kind: "final"; readonly result: StsFetchResult }
  /** Nothing was heard of the host here; its next address may do. */
  | { readonly kind: "unreachable"; readonly why: string; readonly code: string; readonly whoActs: WhoActs };

interface Get {
  readonly host: Domain;
  readonly address: HostAddress;
  readonly context: SecureContext;
  /** Milliseconds to a finished handshake. */
  readonly limit: number | undefined;
  readonly stop: AbortSignal;
  readonly io: StsFetchIo;
}

function getPolicy({ host, address, context, limit, stop, io }: Get): Promise<Answer> {
  return new Promise((resolve) => {
    let nameFault: string | undefined;
    let nameChecked = false;
    let shaken = false;
    let interim = 0;
    const { policySize } = io.settings();
    const at = `${address.address} port ${io.port ?? HTTPS_PORT}`;

    const options: RequestOptions & Pick<ConnectionOptions, "secureContext"> = {
      host,
      port: io.port ?? HTTPS_PORT,
      path: "/.well-known/mta-sts.txt",
      method: "GET",
      agent: false,
      lookup: pinned(address),
      family: address.family,
      servername: host,
      // The name as it is, also where a test host listens elsewhere.
      setHost: false,
      headers: { Host: host, Accept: "text/plain", "Accept-Encoding": "identity", "User-Agent": "Postern", Connection: "close" },
      maxHeaderSize: HEADER_LIMIT,
      insecureHTTPParser: false,
      secureContext: context,
      minVersion: "TLSv1.2",
      rejectUnauthorized: true,
      // Runs only for a chain that holds; that it ran is looked at below.
      checkServerIdentity: (_name: string, certificate: PeerCertificate) => {
        nameChecked = true;
        nameFault = findNameFault(certificate, host);
        return nameFault === undefined ? undefined : new Error(nameFault);
      },
    };
    const asked: ClientRequest = request(options);

    const cancelLimit = limit === undefined ? () => {} : io.clock.after(limit, () => unreachable(`${at} does not answer`, "timeout"));
    const settle = (answer: Answer): void => {
      cancelLimit();
      stop.removeEventListener("abort", onAbort);
      asked.destroy();
      resolve(answer);
    };
    const final = (result: StsFetchResult): void => settle({ kind: "final", result });
    const unreachable = (why: string, code: string, whoActs: WhoActs = "receiver"): void =>
      settle({ kind: "unreachable", why, code, whoActs });
    const onAbort = (): void => final(stop.reason as StsFetchResult);
    stop.addEventListener("abort", onAbort);
    if (stop.aborted) return onAbort();

    asked.on("socket", (socket) =>
      socket.once("secureConnect", () => {
        shaken = true;
        cancelLimit();
        // What rejectUnauthorized has seen to already, seen to once more: nothing is read from an unproven host.
        if (!(socket instanceof TLSSocket) || !socket.authorized || socket.isSessionReused() || !nameChecked || nameFault !== undefined)
          final(untrusted(host, "it was not verified", "not-verified"));
      }),
    );
    asked.on("information", () => {
      interim += 1;
      if (interim > MOST_INTERIM) final(failed(`${host} sends one interim response after another`, "interim-responses"));
    });
    asked.on("upgrade", (response, socket) => {
      socket.destroy();
      final(faulty(host, noPolicyWith(response.statusCode ?? 101)));
    });
    asked.on("response", (response) => readPolicy(response, host, policySize, final));
    asked.on("error", (error) => {
      if (nameFault !== undefined) return final(untrusted(host, nameFault, "certificate-host-mismatch"));
      const trust = asked.socket instanceof TLSSocket ? trustErrorOf(asked.socket) : undefined;
      if (trust !== undefined) return final(untrusted(host, describeTrustError(trust), verificationCode(trust)));
      const code = codeOf(error);
      if (shaken) return final(failed(`${host}: the exchange broke off: ${cleanText(messageOf(error), 200)}`, codeOfBreak(error)));
      const noWay = code === "ENETUNREACH" || code === "EHOSTUNREACH" || code === "EADDRNOTAVAIL" || code === "EACCES" || code === "EPERM";
      return unreachable(`${at}: ${cleanText(messageOf(error), 200)}`, codeOfBreak(error), noWay ? "you" : "receiver");
    });
    asked.on("close", () => unreachable(`${at}: the connection ended without an answer`, connectionCode(undefined)));
    asked.end();
  });
}

/** Reads the body up to its limit; a longer one is cut off with its connection and is no policy. */
function readPolicy(response: IncomingMessage, host: Domain, policySize: number, final: (result: StsFetchResult) => void): void {
  const fault = findFault({ status: response.statusCode ?? 0, headers: response.headers }, policySize);
  if (fault !== undefined) return final(faulty(host, fault));
  const chunks: Buffer[] = [];
  let size = 0;
  response.on("data", (chunk: Buffer) => {
    size += chunk.length;
    if (size > policySize) return final(faulty(host, tooLong(policySize)));
    chunks.push(chunk);
  });
  response.on("error", (error) => final(failed(`${host}: the policy broke off: ${cleanText(messageOf(error), 200)}`, codeOfBreak(error))));
  response.on("end", () => {
    if (!response.complete) return final(failed(`${host}: the policy broke off`, connectionCode(undefined)));
    const body = Buffer.concat(chunks);
    const policy = parseStsPolicy(body);
    if (policy.ok) return final({ ok: true, policy: policy.value });
    const detail = `the policy that ${host} serves is invalid: ${policy.error}`;
    const failure: TlsFailure = {
      type: "sts-policy-invalid",
      detail,
      whoActs: "receiver",
      code: policy.fault,
      served: servedText(body),
    };
    return final({ ok: false, failure });
  });
}

/** Where a handshake fails under a request that waits to go out, Node says EPROTO, and OpenSSL's reason stands in the message. */
function codeOfBreak(error: Error): string {
  const reason = /:SSL routines:[^:]*:([^:]+):/.exec(error.message)?.[1];
  return connectionCode(reason === undefined ? codeOf(error) : reason.toUpperCase().replaceAll(" ", "_"));
}

/** The address that our own client found and the guard let pass, and no other. */
function pinned({ address, family }: HostAddress): LookupFunction {
  return (_host, options, callback) => {
    if (options.all === true) callback(null, [{ address, family }]);
    else callback(null, address, family);
  };
}

function faulty(host: Domain, { why, code }: ResponseFault): StsFetchResult & { ok: false } {
  return failed(`${host}: ${why}`, code);
}

function failed(detail: string, code: string, whoActs: WhoActs = "receiver"): StsFetchResult & { ok: false } {
  const failure: TlsFailure = { type: "sts-policy-fetch-error", detail: cleanText(detail, 500), whoActs, code };
  return { ok: false, failure };
}
