/**
 * DNS over TLS (RFC 7858): queries in, the messages that answer them out, over one connection a server that is kept,
 * verified and pipelined (RFC 7766 §6.2.1). The resolver must prove the name it is configured by (RFC 8310 §8.1), since
 * its AD bit is believed; if it does not, nothing is asked. What a message says is lookup/wire.ts; which server is asked
 * next, lookup/dns.ts.
 */
import { type LookupFunction, isIP } from "node:net";
import { checkServerIdentity, connect, type SecureContext, type TLSSocket } from "node:tls";
import type { CancelTimer, Clock } from "../clock.ts";
import { type ServerAddress, serverKey } from "../config/server-address.ts";
import type { LookupFailure } from "../policy/facts.ts";
import { codeOf } from "../thrown.ts";
import { createContextKeeper, type PemRoots } from "./tls-context.ts";
import { errorText, failed, type Raw } from "./trouble.ts";
import { answersQuery } from "./wire.ts";

export interface DotOptions {
  readonly clock: Clock;
  /** Milliseconds for a connection with its handshake. */
  readonly timeout: number;
  readonly roots: PemRoots;
  /** How the name of a `tls://name` server becomes an address; the system's resolver if absent, for the operator named it. */
  readonly lookup?: LookupFunction;
}

export interface DotClient {
  /** Sends a query whose question ends at `questionEnd`, under an id of its own, and waits for the answer until then. */
  ask(server: ServerAddress, query: Buffer, questionEnd: number, until: number): Promise<Raw>;
  /** Ends every connection and every wait. */
  close(): void;
}

/** More questions to one server wait until an answer has come. */
const MOST_IN_FLIGHT = 100;
/** Milliseconds. RFC 7766 §6.2.3 wants idle connections closed by the client; a server closes them after some ten seconds anyway. */
const IDLE = 10_000;
/** Milliseconds after a connection that could not be had: so long every question fails at once, instead of one handshake each. */
const REST_AFTER_FAILURE = 2_000;

interface Job {
  readonly query: Buffer;
  readonly questionEnd: number;
  /** How many connections it has been sent over. */
  sent: number;
  sentAt: number;
  end(result: Raw): void;
}

export function createDotClient(options: DotOptions): DotClient {
  const links = new Map<string, Link>();
  let closed = false;
  const contextFor = createContextKeeper();
  const secure = (): SecureContext => contextFor(options.roots);
  return {
    ask(server, query, questionEnd, until) {
      if (closed) return Promise.resolve(stopped(server));
      const key = serverKey(server);
      const link = links.get(key) ?? createLink(server, options, secure);
      links.set(key, link);
      return link.ask(query, questionEnd, until);
    },
    close() {
      closed = true;
      for (const link of links.values()) link.close();
    },
  };
}

interface Link {
  ask(query: Buffer, questionEnd: number, until: number): Promise<Raw>;
  close(): void;
}

function createLink(server: ServerAddress, { clock, timeout, lookup }: DotOptions, secure: () => SecureContext): Link {
  const line = new Set<Job>();
  const flying = new Map<number, Job>();
  let socket: TLSSocket | undefined;
  let isOpen = false;
  let lastArrival = Number.NEGATIVE_INFINITY;
  let trouble: { readonly until: number; readonly failure: LookupFailure } | undefined;
  let cancelIdle: CancelTimer | undefined;

  const pump = (): void => {
    if (line.size > 0 && socket === undefined) {
      if (trouble !== undefined && clock.monotonic() < trouble.until) return failAll(trouble.failure);
      socket = open();
    }
    if (!isOpen || socket === undefined) return;
    for (const job of line) {
      if (flying.size >= MOST_IN_FLIGHT) break;
      line.delete(job);
      send(socket, job);
    }
    cancelIdle?.();
    cancelIdle = undefined;
    if (flying.size === 0) cancelIdle = clock.after(IDLE, () => socket?.destroy());
  };

  const send = (to: TLSSocket, job: Job): void => {
    let id = job.query.readUInt16BE(0);
    // Ends: far fewer are in flight than there are ids.
    while (flying.has(id)) id = (id + 1) & 0xffff;
    job.query.writeUInt16BE(id, 0);
    job.sent++;
    job.sentAt = clock.monotonic();
    flying.set(id, job);
    const framed = Buffer.allocUnsafe(job.query.length + 2);
    framed.writeUInt16BE(job.query.length);
    job.query.copy(framed, 2);
    to.write(framed);
  };

  const failAll = (failure: LookupFailure): void => {
    for (const job of [...line, ...flying.values()]) job.end(failure);
  };

  /** Out of order as they may come (RFC 7766 §7); one that answers no question of ours is passed over. */
  const take = (message: Buffer): void => {
    if (message.length < 2) return;
    const id = message.readUInt16BE(0);
    const job = flying.get(id);
    if (job === undefined || !answersQuery(job.query, job.questionEnd, message)) return;
    job.end(message);
  };

  const open = (): TLSSocket => {
    const identity = server.tlsName ?? server.address;
    const made = connect({
      host: server.address,
      port: server.port,
      ...(lookup === undefined ? {} : { lookup }),
      secureContext: secure(),
      rejectUnauthorized: true,
      // No SNI for addresses (RFC 6066 §3).
      ...(isIP(identity) === 0 ? { servername: identity } : { servername: "" }),
      checkServerIdentity: (_host, certificate) =>
        // A common name proves nothing (RFC 8310 §8.1 asks for subjectAltName).
        certificate.subjectaltname === undefined
          ? Object.assign(new Error("no subjectAltName"), { code: "ERR_TLS_CERT_ALTNAME_INVALID" })
          : checkServerIdentity(identity, certificate),
    });
    made.setNoDelay(true);
    let error: Error | undefined;
    let pending: Buffer[] = [];
    let held = 0;
    const cancelDeadline = clock.after(timeout, () => {
      error ??= new Error("no TLS connection in time");
      made.destroy();
    });
    made.on("error", (thrown: Error) => (error ??= thrown));
    made.once("secureConnect", () => {
      cancelDeadline();
      isOpen = true;
      trouble = undefined;
      pump();
    });
    made.on("data", (chunk: Buffer) => {
      lastArrival = clock.monotonic();
      pending.push(chunk);
      held += chunk.length;
      // Bounded by the length's own two octets and the chunk that completes it.
      while (held >= 2) {
        if ((pending[0]?.length ?? 0) < 2) pending = [Buffer.concat(pending)];
        const wanted = (pending[0]?.readUInt16BE(0) ?? 0) + 2;
        if (held < wanted) break;
        const all = Buffer.concat(pending);
        pending = [all.subarray(wanted)];
        held -= wanted;
        take(all.subarray(2, wanted));
      }
      pump();
    });
    made.once("close", () => {
      cancelDeadline();
      cancelIdle?.();
      const wasOpen = isOpen;
      socket = undefined;
      isOpen = false;
      if (!wasOpen) {
        const failure = failed("unreachable", server, connectTrouble(error, identity));
        trouble = { until: clock.monotonic() + REST_AFTER_FAILURE, failure };
        return failAll(failure);
      }
      // A kept connection may close just as a question sets out (RFC 7766 §6.2.4): once more, over a new one.
      const lost = [...flying.values()];
      flying.clear();
      for (const job of lost) {
        if (job.sent < 2) line.add(job);
        else job.end(failed("unreachable", server, "closed the TLS connection without an answer"));
      }
      pump();
    });
    return made;
  };

  return {
    ask: (query, questionEnd, until) =>
      new Promise((resolve) => {
        const job: Job = {
          query: Buffer.from(query),
          questionEnd,
          sent: 0,
          sentAt: 0,
          end(result) {
            cancelTimer();
            line.delete(job);
            const id = job.query.readUInt16BE(0);
            if (flying.get(id) === job) flying.delete(id);
            resolve(result);
          },
        };
        const cancelTimer = clock.after(Math.max(0, until - clock.monotonic()), () => {
          const wasFlying = [...flying.values()].includes(job);
          job.end(failed("timeout", server, isOpen ? "did not answer over TLS in time" : "gave no TLS connection in time"));
          // Nothing at all has come since: the path may be dead without a word, and the next question should not learn it too.
          if (wasFlying && lastArrival < job.sentAt) socket?.destroy();
          else pump();
        });
        line.add(job);
        pump();
      }),
    close() {
      failAll(stopped(server));
      socket?.destroy();
    },
  };
}

function stopped(server: ServerAddress): LookupFailure {
  return failed("unreachable", server, "was not waited for: the relay stops");
}

/** Why there is no connection, in words: a certificate that proves nothing is another matter than a closed port. */
function connectTrouble(error: Error | undefined, identity: string): string {
  const code = error === undefined ? undefined : codeOf(error);
  if (error === undefined) return "closed the connection before TLS was agreed";
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") return `is not believed: its certificate does not name ${identity}`;
  if (code === "CERT_HAS_EXPIRED") return "is not believed: its certificate has expired";
  if (code === "CERT_NOT_YET_VALID") return "is not believed: its certificate is not valid yet";
  if (code !== undefined && /CERT|SIGNATURE|ISSUER|CHAIN/.test(code)) return `is not believed: its certificate is not trusted (${code})`;
  return `cannot be reached over TLS (${errorText(error)})`;
}
