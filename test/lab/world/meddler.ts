/**
 * A name server that meddles: it hands questions on to another server and its answers back, octet for octet, except where a
 * rule says otherwise for a name and type. So a signed zone can answer everything but TLSA, lose its signatures on the way,
 * or need TCP. The same before a resolver makes one that hides the AD bit.
 */
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from "node:dgram";
import { connect, createServer, type Server, type Socket } from "node:net";
import dnsPacket, { type DecodedPacket, type Question } from "dns-packet";

export type Meddling =
  | "servfail"
  | "refused"
  | "notimp"
  | "formerr"
  | "drop"
  /** Octets that are no DNS message. */
  | "malformed"
  /** The answer cut in the middle of a record. */
  | "cut"
  /** TC over UDP, the whole answer over TCP. */
  | "truncate"
  /** TC over UDP, and no answer over TCP. */
  | "truncate-only"
  /** The answer without its signatures. */
  | "strip-signatures"
  /** "No such name", without proof. */
  | "forged-nxdomain"
  /** "No such record", without proof. */
  | "forged-nodata";

export interface MeddlerOptions {
  readonly address: string;
  /** The server behind it. */
  readonly upstream: string;
  /** What is changed in every question and answer: nothing, or what a resolver does that does not validate. */
  readonly blind?: boolean;
  /** Undefined hands on. Names are lower case, without final dot. */
  readonly rule?: (name: string, type: string) => Meddling | undefined;
}

export interface Meddler extends AsyncDisposable {
  /** Meddles with one name and type from now on; undefined ends it. Type `*` stands for all. */
  set(name: string, type: string, how: Meddling | undefined): void;
  /** Hides the AD bit and asks for no validation from now on, or no longer. */
  blind(now: boolean): void;
}

export async function startMeddler({ address, upstream, rule, ...options }: MeddlerOptions): Promise<Meddler> {
  const rules = new Map<string, Meddling>();
  let blind = options.blind === true;
  const open = new Set<Socket>();
  const udp = createSocket("udp4");
  await new Promise<void>((done, failed) => udp.once("error", failed).bind(53, address, done));
  const tcp = createServer((socket) => {
    open.add(socket);
    socket.on("error", () => undefined).on("close", () => open.delete(socket));
    readFrames(
      socket,
      (query) =>
        void take(
          query,
          "tcp",
          (answer) => socket.write(framed(answer)),
          () => socket.destroy(),
        ),
    );
  });
  await listen(tcp, address);

  const find = ({ name, type }: Question): Meddling | undefined => {
    const asked = name.toLowerCase();
    return rules.get(`${asked} ${type}`) ?? rules.get(`${asked} *`) ?? rule?.(asked, type);
  };

  async function take(query: Buffer, transport: "udp" | "tcp", send: (answer: Buffer) => void, hangUp: () => void): Promise<void> {
    let packet: DecodedPacket;
    try {
      packet = dnsPacket.decode(query);
    } catch {
      return;
    }
    const question = packet.questions?.[0];
    if (question === undefined) return;
    const how = find(question);
    if (how === "drop") return;
    const simple = how === undefined ? undefined : simpleAnswer(how, packet, question, transport);
    if (simple === "hang-up") return hangUp();
    if (simple !== undefined) return send(simple);
    const asked = blind ? withFlags(query, 0x0010, 0x0020) : query;
    const answer = await (transport === "udp" ? askUdp(asked, upstream) : askTcp(asked, upstream)).catch(() => undefined);
    if (answer === undefined) return;
    send(afterwards(blind ? withFlags(answer, 0, 0x0030) : answer, how));
  }

  udp.on("message", (query: Buffer, from: RemoteInfo) => {
    void take(
      query,
      "udp",
      (answer) => udp.send(answer, from.port, from.address),
      () => undefined,
    );
  });

  return {
    set(name, type, how) {
      if (how === undefined) rules.delete(`${name} ${type}`);
      else rules.set(`${name} ${type}`, how);
    },
    blind(now) {
      blind = now;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy();
      await Promise.all([new Promise<void>((done) => tcp.close(() => done())), new Promise<void>((done) => closeUdp(udp, done))]);
    },
  };
}

const RCODES: Partial<Record<Meddling, number>> = {
  formerr: 1,
  servfail: 2,
  "forged-nxdomain": 3,
  notimp: 4,
  refused: 5,
  "forged-nodata": 0,
};

/** An answer that needs no look behind; undefined where the real one is wanted. */
function simpleAnswer(how: Meddling, query: DecodedPacket, question: Question, transport: "udp" | "tcp"): Buffer | "hang-up" | undefined {
  const authoritative = dnsPacket.AUTHORITATIVE_ANSWER;
  const rcode = RCODES[how];
  if (rcode !== undefined) return dnsPacket.encode({ type: "response", id: query.id, flags: authoritative | rcode, questions: [question] });
  if (how === "malformed") return Buffer.from("this is no answer at all");
  if (how !== "truncate" && how !== "truncate-only") return undefined;
  if (transport === "tcp") return how === "truncate-only" ? "hang-up" : undefined;
  return dnsPacket.encode({ type: "response", id: query.id, flags: authoritative | dnsPacket.TRUNCATED_RESPONSE, questions: [question] });
}

function afterwards(answer: Buffer, how: Meddling | undefined): Buffer {
  if (how === "cut") return answer.subarray(0, Math.max(20, answer.length - 20));
  if (how !== "strip-signatures") return answer;
  const packet = dnsPacket.decode(answer);
  const without = (records: DecodedPacket["answers"]) => (records ?? []).filter(({ type }) => type !== "RRSIG");
  return dnsPacket.encode({ ...packet, answers: without(packet.answers), authorities: without(packet.authorities) });
}

/** Sets and clears flags of a message (RFC 1035 §4.1.1). */
function withFlags(message: Buffer, set: number, clear: number): Buffer {
  const changed = Buffer.from(message);
  changed.writeUInt16BE((changed.readUInt16BE(2) & ~clear) | set, 2);
  return changed;
}

function askUdp(query: Buffer, upstream: string): Promise<Buffer> {
  const socket = createSocket("udp4");
  return new Promise<Buffer>((done, failed) => {
    const timer = setTimeout(() => failed(new Error("no answer")), 15_000);
    socket.once("error", failed).once("message", (answer: Buffer) => {
      clearTimeout(timer);
      done(answer);
    });
    socket.send(query, 53, upstream);
  }).finally(() => socket.close());
}

function askTcp(query: Buffer, upstream: string): Promise<Buffer> {
  const socket = connect(53, upstream);
  return new Promise<Buffer>((done, failed) => {
    socket.once("error", failed).once("close", () => failed(new Error("closed")));
    readFrames(socket, done);
    socket.write(framed(query));
  }).finally(() => socket.destroy());
}

/** RFC 1035 §4.2.2. */
function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}

function readFrames(socket: Socket, take: (message: Buffer) => void): void {
  let waiting = Buffer.alloc(0);
  socket.on("data", (chunk: Buffer) => {
    waiting = Buffer.concat([waiting, chunk]);
    while (waiting.length >= 2 && waiting.length >= 2 + waiting.readUInt16BE()) {
      const end = 2 + waiting.readUInt16BE();
      take(waiting.subarray(2, end));
      waiting = waiting.subarray(end);
    }
  });
}

function listen(server: Server, address: string): Promise<void> {
  return new Promise((done, failed) => server.once("error", failed).listen(53, address, done));
}

function closeUdp(socket: UdpSocket, done: () => void): void {
  socket.close(done);
}
