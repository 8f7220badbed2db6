/**
 * One HTTPS request to a host that a stranger's zone named: an MTA-STS policy host (lookup/sts-fetch.ts), a collector of TLS
 * reports (report/post.ts). The request in; what its reader made of the response, or why there was none, out. The host must be
 * proven, by a certificate that holds for its name; it is asked at the first of its addresses that takes a connection, none of
 * them of special use; nothing is followed, and everything has its limit.
 *
 * Whatever the environment could turn (NODE_OPTIONS, NODE_TLS_REJECT_UNAUTHORIZED, proxies) is set by hand. No TLS session is
 * resumed, since a resumed one is called authorized with no certificate at all.
 */
import type { ClientRequest, IncomingMessage, OutgoingHttpHeaders } from "node:http";
import { type RequestOptions, request } from "node:https";
import type { LookupFunction } from "node:net";
import { type ConnectionOptions, type PeerCertificate, type SecureContext, TLSSocket } from "node:tls";
import type { Clock } from "../clock.ts";
import type { Domain } from "../mail/domain.ts";
import { cleanText } from "../mail/reply.ts";
import type { DnsLookup, Finding, HostAddress } from "../policy/facts.ts";
import type { WhoActs } from "../policy/outcome.ts";
import { connectionCode, verificationCode } from "../policy/reason-code.ts";
import { codeOf, messageOf } from "../thrown.ts";
import type { AddressGuard } from "./special-addresses.ts";
import { describeTrustError, findNameFault, trustErrorOf } from "./https-trust.ts";

export const HTTPS_PORT = 443;

/** Why there was no response to read. */
export interface HttpsFailure {
  readonly stage: /** The host was not found, must not be asked, or did not answer: it never heard the request. */
    | "reaching"
    /** It could not prove that it is this host. */
    | "certificate"
    /** Behind the handshake: it may have heard the request. */
    | "exchange"
    | "time"
    | "stopped";
  /** A clean sentence that names the host. */
  readonly detail: string;
  readonly whoActs: WhoActs;
  /** As a reason code (RFC 8460 §4.4). */
  readonly code: string;
}

export interface HttpsRequest<T> {
  readonly host: Domain;
  /** What it is to us, for sentences: `policy host`. */
  readonly role: string;
  readonly port: number;
  readonly method: "GET" | "POST";
  /** Path and query. */
  readonly path: string;
  /** Beside Host, User-Agent and Connection. */
  readonly headers: OutgoingHttpHeaders;
  readonly body?: Buffer;
  readonly context: SecureContext;
  /** Milliseconds for the whole exchange, the look-up of the host's addresses included. */
  readonly timeout: number;
  /** Ends it at once; its reason may be a clause that says why. */
  readonly stop?: AbortSignal;
  /** Takes the response, as much of it as it wants to; with `done` the connection is closed. */
  readonly read: (response: IncomingMessage, done: (result: T) => void) => void;
  readonly failed: (failure: HttpsFailure) => T;
}

export interface HttpsIo {
  readonly findAddresses: DnsLookup["findAddresses"];
  /** Names the special-use block of an address that a stranger's zone may not send us to. */
  readonly guard: AddressGuard;
  readonly clock: Clock;
}

/** A zone may name hundreds of addresses. */
const MOST_ADDRESSES = 8;
/** Milliseconds for one address to come to a finished handshake, while others are left. */
const CONNECT_LIMIT = 10_000;
const HEADER_LIMIT = 16_384;
/** A host may send 1xx responses for ever. */
const MOST_INTERIM = 8;
const FORBIDDEN = "special-use-address";

/** Never rejects, and ends by its deadline. */
export async function askHttps<T>(wanted: HttpsRequest<T>, io: HttpsIo): Promise<T> {
  const { host, timeout, stop } = wanted;
  const end = io.clock.monotonic() + timeout;
  const abort = new AbortController();
  const giveUp = (...failure: Parameters<typeof failureOf>): void => abort.abort(failureOf(...failure));
  const cancelTimer = io.clock.after(timeout, () => giveUp("time", `${host} gave no whole answer within ${timeout / 1000} s`, "timeout"));
  const onStop = (): void => {
    if (typeof stop?.reason === "string") giveUp("stopped", `${host}: ${stop.reason}`, "stopped", "nobody");
    else giveUp("stopped", "the relay stops", "stopped", "nobody");
  };
  stop?.addEventListener("abort", onStop);
  if (stop?.aborted === true) onStop();
  try {
    return await Promise.race([ask(wanted, io, end, abort.signal), aborted(wanted, abort.signal)]);
  } finally {
    cancelTimer();
    stop?.removeEventListener("abort", onStop);
  }
}

/** Resolves with what the failure is that the signal carries. */
function aborted<T>({ failed }: HttpsRequest<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve) => {
    const give = (): void => resolve(failed(signal.reason as HttpsFailure));
    if (signal.aborted) give();
    else signal.addEventListener("abort", give, { once: true });
  });
}

async function ask<T>(wanted: HttpsRequest<T>, io: HttpsIo, end: number, stop: AbortSignal): Promise<T> {
  const { host, failed } = wanted;
  const choice = choose(await io.findAddresses(host), wanted, io.guard);
  if ("stage" in choice) return failed(choice);
  let last = failureOf("reaching", `${host} has no address`, "dns");
  for (const [index, address] of choice.entries()) {
    if (stop.aborted) break;
    const left = choice.length - index;
    const limit = left === 1 ? undefined : Math.min(CONNECT_LIMIT, (end - io.clock.monotonic()) / left);
    const answer = await askAt(wanted, { address, limit, stop, clock: io.clock });
    if (answer.kind === "final") return answer.result;
    last = answer.failure;
  }
  return failed(last);
}

function choose(
  found: Finding<HostAddress>,
  { host, role }: Pick<HttpsRequest<unknown>, "host" | "role">,
  guard: AddressGuard,
): readonly HostAddress[] | HttpsFailure {
  if (found.kind === "no-such-name") return failureOf("reaching", `${host} does not exist`, "dns");
  if (found.kind === "failed") return failureOf("reaching", `the addresses of ${host} could not be found: ${found.detail}`, "dns");
  const allowed = found.records.filter(({ address }) => guard(address) === undefined).slice(0, MOST_ADDRESSES);
  if (allowed.length > 0) return allowed;
  const [refused] = found.records;
  if (refused === undefined) return failureOf("reaching", `${host} has no address`, "dns");
  return failureOf("reaching", `${host} is at ${forbidden(refused.address, role, guard(refused.address))}`, FORBIDDEN);
}

/** A stranger's zone must not make us talk to our own network. */
export function forbidden(address: string, role: string, block = ""): string {
  return `${address}, where no ${role} can be: ${block}`;
}

type Answer<T> =
  | { readonly kind: "final"; readonly result: T }
  /** Nothing was heard of the host here; its next address may do. */
  | { readonly kind: "unreachable"; readonly failure: HttpsFailure };

interface Where {
  readonly address: HostAddress;
  /** Milliseconds to a finished handshake. */
  readonly limit: number | undefined;
  readonly stop: AbortSignal;
  readonly clock: Clock;
}

function askAt<T>(wanted: HttpsRequest<T>, { address, limit, stop, clock }: Where): Promise<Answer<T>> {
  const { host, port, failed } = wanted;
  return new Promise((resolve) => {
    let nameFault: string | undefined;
    let nameChecked = false;
    let shaken = false;
    let interim = 0;
    const at = `${address.address} port ${port}`;

    const options: RequestOptions & Pick<ConnectionOptions, "secureContext"> = {
      host,
      port,
      path: wanted.path,
      method: wanted.method,
      agent: false,
      lookup: pinned(address),
      family: address.family,
      servername: host,
      // The name as it is, also where a test host listens elsewhere.
      setHost: false,
      headers: { Host: host, ...wanted.headers, "User-Agent": "Postern", Connection: "close" },
      maxHeaderSize: HEADER_LIMIT,
      insecureHTTPParser: false,
      secureContext: wanted.context,
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

    const unreachable = (why: string, code: string, whoActs: WhoActs = "receiver"): void =>
      settle({ kind: "unreachable", failure: failureOf("reaching", `${host}: ${at}${why}`, code, whoActs) });
    const cancelLimit = limit === undefined ? () => {} : clock.after(limit, () => unreachable(" does not answer", "timeout"));
    const settle = (answer: Answer<T>): void => {
      cancelLimit();
      stop.removeEventListener("abort", onAbort);
      asked.destroy();
      resolve(answer);
    };
    const final = (result: T): void => settle({ kind: "final", result });
    const fail = (stage: HttpsFailure["stage"], detail: string, code: string): void => final(failed(failureOf(stage, detail, code)));
    const untrusted = (why: string, code: string): void => fail("certificate", `the certificate of ${host} does not hold: ${why}`, code);
    const onAbort = (): void => final(failed(stop.reason as HttpsFailure));
    stop.addEventListener("abort", onAbort);
    if (stop.aborted) return onAbort();

    asked.on("socket", (socket) =>
      socket.once("secureConnect", () => {
        shaken = true;
        cancelLimit();
        // What rejectUnauthorized has seen to already, seen to once more: nothing is read from an unproven host.
        if (!(socket instanceof TLSSocket) || !socket.authorized || socket.isSessionReused() || !nameChecked || nameFault !== undefined)
          untrusted("it was not verified", "not-verified");
      }),
    );
    asked.on("information", () => {
      interim += 1;
      if (interim > MOST_INTERIM) fail("exchange", `${host} sends one interim response after another`, "interim-responses");
    });
    asked.on("upgrade", ({ statusCode = 101 }, socket) => {
      socket.destroy();
      fail("exchange", `${host}: it answered ${statusCode}, and would speak another protocol`, `http-${statusCode}`);
    });
    asked.on("response", (response) => wanted.read(response, final));
    asked.on("error", (error) => {
      if (nameFault !== undefined) return untrusted(nameFault, "certificate-host-mismatch");
      const trust = asked.socket instanceof TLSSocket ? trustErrorOf(asked.socket) : undefined;
      if (trust !== undefined) return untrusted(describeTrustError(trust), verificationCode(trust));
      const code = codeOf(error);
      const what = cleanText(messageOf(error), 200);
      if (shaken) return fail("exchange", `${host}: the exchange broke off: ${what}`, codeOfBreak(error));
      const noWay = code === "ENETUNREACH" || code === "EHOSTUNREACH" || code === "EADDRNOTAVAIL" || code === "EACCES" || code === "EPERM";
      return unreachable(`: ${what}`, codeOfBreak(error), noWay ? "you" : "receiver");
    });
    // Of what breaks off behind the handshake an error has told before: no other address is asked the same.
    asked.on("close", () => unreachable(": the connection ended without an answer", connectionCode(undefined)));
    asked.end(wanted.body);
  });
}

/** Where a handshake fails under a request that waits to go out, Node says EPROTO, and OpenSSL's reason stands in the message. */
export function codeOfBreak(error: Error): string {
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

function failureOf(stage: HttpsFailure["stage"], detail: string, code: string, whoActs: WhoActs = "receiver"): HttpsFailure {
  return { stage, detail: cleanText(detail, 500), whoActs, code };
}
