/**
 * One question to one resolver (RFC 1035 §4.2, RFC 7766): over UDP from a fresh socket, over TCP if the answer was
 * truncated; over TLS alone (lookup/dot.ts) where the server is named so. Out comes the response that answers this very
 * query, or the reason there is none. Packets that do not fit are passed over until the deadline, so that the first
 * forgery does not decide (RFC 5452 §9). Which resolver is asked next, and what the response means, is lookup/dns.ts.
 */
import { createSocket } from "node:dgram";
import { connect, isIPv6 } from "node:net";
import type { Clock } from "../clock.ts";
import type { ServerAddress } from "../config/server-address.ts";
import type { LookupFailure } from "../policy/facts.ts";
import type { DotClient } from "./dot.ts";
import type { RecordType } from "./rdata.ts";
import { errorText, failed, type Raw } from "./trouble.ts";
import { answersQuery, type DnsResponse, decodeResponse, encodeQuery, isTruncated } from "./wire.ts";

export interface Question {
  readonly name: Buffer;
  readonly type: number;
  readonly typeName: RecordType;
}

export interface ExchangeIo {
  readonly clock: Clock;
  /** Milliseconds for one try, both transports together. */
  readonly timeout: number;
  /** 16 unpredictable bits (RFC 5452 §9.2). */
  readonly randomId: () => number;
  /** Gains a function that ends this exchange early, while it lasts. */
  readonly open: Set<() => void>;
  /** Asks the servers that are named by `tls://`; without it they cannot be asked. */
  readonly dot?: DotClient;
}

export type ExchangeResult = { readonly kind: "response"; readonly response: DnsResponse } | LookupFailure;

const FORMERR = 1;
const NOTIMP = 4;
const BADVERS = 16;

export async function exchange(server: ServerAddress, question: Question, io: ExchangeIo): Promise<ExchangeResult> {
  const until = io.clock.monotonic() + io.timeout;
  const first = await ask(server, question, true, until, io);
  // A server from before EDNS cannot read the question (RFC 6891 §7); without it there is no DO, and AD still asks.
  if (first.kind === "response" && [FORMERR, NOTIMP, BADVERS].includes(first.response.rcode))
    return ask(server, question, false, until, io);
  return first;
}

async function ask(server: ServerAddress, question: Question, edns: boolean, until: number, io: ExchangeIo): Promise<ExchangeResult> {
  const query = encodeQuery(io.randomId(), question.name, question.type, edns);
  const questionEnd = 12 + question.name.length + 4;
  if (server.tlsName !== undefined) {
    const overTls = await (io.dot?.ask(server, query, questionEnd, until) ??
      failed("unreachable", server, "cannot be asked: nobody is trusted to certify resolvers"));
    if (!Buffer.isBuffer(overTls)) return overTls;
    return isTruncated(overTls) ? failed("malformed", server, "gave a truncated answer over TLS") : decoded(server, overTls, question);
  }
  const overUdp = await askOverUdp(server, query, questionEnd, until, io);
  if (!Buffer.isBuffer(overUdp)) return overUdp;
  if (!isTruncated(overUdp)) return decoded(server, overUdp, question);
  const overTcp = await askOverTcp(server, query, questionEnd, until, io);
  if (!Buffer.isBuffer(overTcp)) return overTcp;
  if (isTruncated(overTcp)) return failed("malformed", server, "gave a truncated answer over TCP");
  return decoded(server, overTcp, question);
}

function decoded(server: ServerAddress, message: Buffer, question: Question): ExchangeResult {
  const response = decodeResponse(message, question.type, question.typeName);
  return response.ok
    ? { kind: "response", response: response.value }
    : failed("malformed", server, `gave an answer that cannot be read: ${response.error}`);
}

interface Wait {
  readonly isOver: boolean;
  end(result: Raw): void;
}

/** One wait for an answer. It ends once, at the latest at the deadline or when the relay stops, and lets go of its socket. */
function startWait(
  { server, until, io }: { readonly server: ServerAddress; readonly until: number; readonly io: ExchangeIo },
  socket: { readonly letGo: () => void; readonly tooLate: () => string },
  resolve: (result: Raw) => void,
): Wait {
  let isOver = false;
  const end = (result: Raw): void => {
    if (isOver) return;
    isOver = true;
    cancelTimer();
    io.open.delete(abandon);
    socket.letGo();
    resolve(result);
  };
  const abandon = (): void => end(failed("unreachable", server, "was not waited for: the relay stops"));
  const cancelTimer = io.clock.after(Math.max(0, until - io.clock.monotonic()), () => end(failed("timeout", server, socket.tooLate())));
  io.open.add(abandon);
  return {
    get isOver() {
      return isOver;
    },
    end,
  };
}

/**
 * A fresh connected socket a query: the kernel picks the port at random, and drops what does not come from the
 * resolver's own address and port (RFC 5452 §9.2).
 */
function askOverUdp(server: ServerAddress, query: Buffer, questionEnd: number, until: number, io: ExchangeIo): Promise<Raw> {
  return new Promise((resolve) => {
    const socket = createSocket(isIPv6(server.address) ? "udp6" : "udp4");
    let strangers = 0;
    const wait = startWait(
      { server, until, io },
      {
        letGo: () => socket.close(),
        tooLate: () =>
          strangers === 0
            ? "did not answer in time"
            : `did not answer in time; ${strangers} packets that did not fit the question were passed over`,
      },
      resolve,
    );
    // ICMP's "port unreachable" arrives as an error of the connected socket: nobody listens there.
    const fail = (error: Error): void => wait.end(failed("unreachable", server, `cannot be reached (${errorText(error)})`));
    socket.on("error", fail);
    socket.on("message", (message: Buffer) => {
      if (answersQuery(query, questionEnd, message)) wait.end(message);
      else strangers++;
    });
    socket.connect(server.port, server.address, (error?: Error) => {
      if (wait.isOver) return;
      if (error) return fail(error);
      socket.send(query, (sendError) => {
        if (sendError !== null) fail(sendError);
      });
    });
  });
}

/** RFC 7766: a two-octet length, then the message, in however many pieces they come. */
function askOverTcp(server: ServerAddress, query: Buffer, questionEnd: number, until: number, io: ExchangeIo): Promise<Raw> {
  return new Promise((resolve) => {
    const socket = connect({ host: server.address, port: server.port, noDelay: true });
    const chunks: Buffer[] = [];
    let received = 0;
    const wait = startWait(
      { server, until, io },
      { letGo: () => socket.destroy(), tooLate: () => "truncated its answer and did not answer over TCP in time" },
      resolve,
    );
    socket.on("error", (error) =>
      wait.end(failed("unreachable", server, `truncated its answer and cannot be reached over TCP (${errorText(error)})`)),
    );
    socket.on("close", () => wait.end(failed("malformed", server, "truncated its answer and closed the TCP connection without one")));
    socket.on("connect", () => {
      const framed = Buffer.allocUnsafe(query.length + 2);
      framed.writeUInt16BE(query.length);
      query.copy(framed, 2);
      socket.write(framed);
    });
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      received += chunk.length;
      if (received < 2) return;
      if (chunks.length > 1 && (chunks[0]?.length ?? 0) < 2) chunks.splice(0, chunks.length, Buffer.concat(chunks));
      // Bounded by the length's own two octets; a chunk beyond it is dropped with the connection.
      const wanted = (chunks[0]?.readUInt16BE(0) ?? 0) + 2;
      if (received < wanted) return;
      const message = Buffer.concat(chunks).subarray(2, wanted);
      wait.end(answersQuery(query, questionEnd, message) ? message : failed("malformed", server, "answered another question over TCP"));
    });
  });
}
