/**
 * A scripted resolver over real UDP and TCP on a loopback port. A zone goes in; every question that arrives is kept in
 * `queries`; a name can be told to misbehave in the ways that resolvers and attackers do.
 *
 *   const dns = await startDnsServer({
 *     "example.test": { MX: ["10 mx.example.test"] },
 *     "mx.example.test": { A: ["127.0.0.1"], secure: true },
 *     "bogus.test": { behave: { kind: "rcode", rcode: "SERVFAIL", ede: { code: 7, text: "signature expired" } } },
 *   });
 *
 * A name that is not in the zone does not exist (NXDOMAIN); one that is, or has names below it, but lacks the type
 * gives NODATA. Both carry a SOA. Aliases are followed inside the zone, as a resolver does.
 */
import { createSocket, type RemoteInfo } from "node:dgram";
import { createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import dnsPacket, { type Answer, type DecodedPacket, type Packet, type Question, type RecordType } from "dns-packet";
import { type Behaviour, blank, canonical, edns, RCODES, recordsOf, soa, truncated, type Zone, type ZoneEntry } from "./dns-zone.ts";

export type { Behaviour, Rcode, Zone, ZoneEntry } from "./dns-zone.ts";

export type Transport = "udp" | "tcp" | "tls";

export interface SeenQuery {
  readonly name: string;
  readonly type: string;
  readonly transport: Transport;
  readonly id: number;
  readonly port: number;
  readonly recursionDesired: boolean;
  readonly authenticData: boolean;
  readonly checkingDisabled: boolean;
  /** From the OPT record; absent without EDNS. */
  readonly edns?: { readonly udpPayloadSize: number; readonly dnssecOk: boolean };
}

export interface DnsServer {
  readonly address: string;
  readonly port: number;
  /** `127.0.0.1:40053`, as the setting `resolver.servers` takes it. */
  readonly setting: string;
  readonly queries: SeenQuery[];
  /** TCP or TLS connections accepted so far; over TLS those whose handshake was completed. */
  readonly connections: number;
  /** Closes them all, as a server does that has had enough of an idle client. */
  hangUp(): void;
  /** How often a name (and type) was asked. */
  count(name: string, type?: RecordType): number;
  /** Replaces a name, or removes it. */
  set(name: string, entry: ZoneEntry | undefined): void;
  /** Misbehaviour for every name that has none of its own; undefined ends it. */
  behave(behaviour: Behaviour | undefined): void;
  /** SOA of every denial: its own TTL and its minimum field, in seconds; undefined leaves the SOA out. */
  setNegativeTtl(ttl: { readonly ttl: number; readonly minimum: number } | undefined): void;
  close(): Promise<void>;
}

export interface DnsServerOptions {
  readonly address?: string;
  /** Speaks TLS instead of TCP on its port (RFC 7858). */
  readonly tls?: { readonly certificate: string; readonly key: string; readonly maxVersion?: "TLSv1.1" | "TLSv1.2" | "TLSv1.3" };
}

export async function startDnsServer(initial: Zone = {}, options: DnsServerOptions = {}): Promise<DnsServer> {
  const address = options.address ?? "127.0.0.1";
  const zone = new Map<string, ZoneEntry>(Object.entries(initial).map(([name, entry]) => [canonical(name), entry]));
  const misbehaved = new Map<string, number>();
  const queries: SeenQuery[] = [];
  const open = new Set<Socket>();
  const timers = new Set<NodeJS.Timeout>();
  let general: Behaviour | undefined;
  let negative: { readonly ttl: number; readonly minimum: number } | undefined = { ttl: 300, minimum: 60 };
  let closed = false;

  const { udp, tcp } = await bindBoth(address, options.tls);
  let connections = 0;
  const stranger = createSocket(address.includes(":") ? "udp6" : "udp4");
  await new Promise<void>((done) => stranger.bind(0, address, done));

  const later = (ms: number, action: () => void): void => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      if (!closed) action();
    }, ms);
    timers.add(timer);
  };

  /** The behaviour for this question, used up once where `times` says so. */
  const behaviourFor = (question: Question): Behaviour | undefined => {
    const name = canonical(question.name);
    const entry = zone.get(name);
    if (entry?.behave === undefined) return general;
    if (entry.types !== undefined && !entry.types.includes(question.type)) return general;
    const used = misbehaved.get(name) ?? 0;
    if (entry.times !== undefined && used >= entry.times) return general;
    misbehaved.set(name, used + 1);
    return entry.behave;
  };

  const answer = (
    query: Buffer,
    transport: Transport,
    port: number,
    send: (bytes: Buffer, forged?: boolean) => void,
    hangUp: () => void,
  ): void => {
    let packet: DecodedPacket;
    try {
      packet = dnsPacket.decode(query);
    } catch {
      return;
    }
    const question = packet.questions?.[0];
    if (question === undefined) return;
    queries.push(seen(packet, question, transport, port));
    const right = reply(packet, question);
    const encoded = (): Buffer => dnsPacket.encode(right);
    const behaviour = behaviourFor(question);
    if (behaviour === undefined) return send(encoded());
    switch (behaviour.kind) {
      case "drop":
        return;
      case "rcode":
        return send(dnsPacket.encode({ ...blank(packet, question, RCODES[behaviour.rcode]), additionals: [edns(behaviour.ede)] }));
      case "truncate":
        return send(transport === "udp" ? truncated(packet, question) : encoded());
      case "truncate-then-hang-up":
        if (transport === "udp") return send(truncated(packet, question));
        if (behaviour.partial === true) send(encoded().subarray(0, 14));
        return hangUp();
      case "wrong-id":
        send(dnsPacket.encode({ ...right, id: ((packet.id ?? 0) + 1) & 0xffff }));
        break;
      case "wrong-question":
        send(dnsPacket.encode({ ...right, questions: [{ ...question, name: `not-${question.name}` }] }));
        break;
      case "forged-source":
        send(encoded(), true);
        break;
      case "echo":
        send(query);
        break;
      case "slow":
        return later(behaviour.ms, () => send(encoded()));
      case "bytes":
        return send(behaviour.bytes(query, encoded()));
    }
    // A true answer a moment later, as when an attacker's packet wins the race.
    if (behaviour.thenRight === true) later(5, () => send(encoded()));
  };

  const reply = (packet: DecodedPacket, question: Question): Packet => {
    const answers: Answer[] = [];
    let name = canonical(question.name);
    let secure = true;
    for (let links = 0; links < 30; links++) {
      const entry = zone.get(name);
      secure &&= entry?.secure === true;
      const found = entry === undefined ? [] : recordsOf(name, entry, question.type);
      if (found.length > 0) {
        answers.push(...found);
        return { ...blank(packet, question, 0, secure), answers, additionals: [edns()] };
      }
      if (entry?.CNAME === undefined) {
        const exists = entry !== undefined || [...zone.keys()].some((other) => other.endsWith(`.${name}`));
        const authorities = negative === undefined ? [] : [soa(name, negative)];
        return { ...blank(packet, question, exists ? 0 : 3, secure), answers, authorities, additionals: [edns()] };
      }
      answers.push({ type: "CNAME", name, ttl: entry.ttl ?? 300, data: entry.CNAME });
      if (entry.cutShort === true) break;
      name = canonical(entry.CNAME);
    }
    return { ...blank(packet, question, 0, secure), answers, additionals: [edns()] };
  };

  udp.on("message", (query: Buffer, peer: RemoteInfo) =>
    answer(
      query,
      "udp",
      peer.port,
      (bytes, forged) => {
        if (!closed) (forged === true ? stranger : udp).send(bytes, peer.port, peer.address);
      },
      () => {},
    ),
  );
  tcp.on(options.tls === undefined ? "connection" : "secureConnection", (socket: Socket) => {
    connections++;
    open.add(socket);
    socket.on("close", () => open.delete(socket)).on("error", () => {});
    let pending = Buffer.alloc(0);
    socket.on("data", (chunk) => {
      pending = Buffer.concat([pending, chunk]);
      while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
        const query = pending.subarray(2, 2 + pending.readUInt16BE(0));
        pending = pending.subarray(2 + query.length);
        answer(
          query,
          options.tls === undefined ? "tcp" : "tls",
          socket.remotePort ?? 0,
          (bytes) => {
            const length = Buffer.alloc(2);
            length.writeUInt16BE(bytes.length);
            // In two pieces, since TCP keeps no message bounds; a pipelined answer must not come between them.
            if (options.tls !== undefined) {
              socket.write(Buffer.concat([length, bytes]));
            } else {
              socket.write(length);
              setImmediate(() => socket.write(bytes));
            }
          },
          () => setImmediate(() => socket.end()),
        );
      }
    });
  });

  const port = udp.address().port;
  return {
    address,
    port,
    setting: address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`,
    queries,
    get connections() {
      return connections;
    },
    hangUp() {
      for (const socket of open) socket.destroy();
    },
    count: (name, type) =>
      queries.filter((query) => canonical(query.name) === canonical(name) && (type === undefined || query.type === type)).length,
    set(name, entry) {
      misbehaved.delete(canonical(name));
      if (entry === undefined) zone.delete(canonical(name));
      else zone.set(canonical(name), entry);
    },
    behave(behaviour) {
      general = behaviour;
    },
    setNegativeTtl(ttl) {
      negative = ttl;
    },
    async close() {
      if (closed) return;
      closed = true;
      for (const timer of timers) clearTimeout(timer);
      for (const socket of open) socket.destroy();
      await Promise.all([
        new Promise<void>((done) => udp.close(done)),
        new Promise<void>((done) => stranger.close(done)),
        new Promise<void>((done) => tcp.close(() => done())),
      ]);
    },
  };
}

/** UDP and TCP on the same free port: the kernel picks one for UDP, and another is tried should TCP find it taken. */
async function bindBoth(address: string, tls: DnsServerOptions["tls"]): Promise<{ udp: ReturnType<typeof createSocket>; tcp: Server }> {
  for (let tries = 0; ; tries++) {
    const udp = createSocket(address.includes(":") ? "udp6" : "udp4");
    await new Promise<void>((done, failed) => udp.once("error", failed).bind(0, address, done));
    const tcp =
      tls === undefined
        ? createServer()
        : createTlsServer({
            ...{ cert: tls.certificate, key: tls.key, minVersion: "TLSv1", ciphers: "DEFAULT:@SECLEVEL=0" },
            ...(tls.maxVersion === undefined ? {} : { maxVersion: tls.maxVersion }),
          });
    tcp.on("tlsClientError", () => {});
    try {
      await new Promise<void>((done, failed) => tcp.once("error", failed).listen(udp.address().port, address, done));
      return { udp, tcp };
    } catch (error) {
      udp.close();
      if (tries === 20) throw error;
    }
  }
}

function seen(packet: DecodedPacket, question: Question, transport: Transport, port: number): SeenQuery {
  const opt = packet.additionals?.find((record) => record.type === "OPT");
  return {
    name: question.name,
    type: question.type,
    transport,
    id: packet.id ?? 0,
    port,
    recursionDesired: packet.flag_rd,
    authenticData: packet.flag_ad,
    checkingDisabled: packet.flag_cd,
    ...(opt?.type === "OPT" ? { edns: { udpPayloadSize: opt.udpPayloadSize, dnssecOk: opt.flag_do } } : {}),
  };
}
