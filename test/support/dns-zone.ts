/** What the scripted DNS server knows and how it may misbehave, and the packets made from it. */
import dnsPacket, { type Answer, type DecodedPacket, type Packet, type Question, type RecordType, type TlsaData } from "dns-packet";

export type Rcode = "NOERROR" | "FORMERR" | "SERVFAIL" | "NXDOMAIN" | "NOTIMP" | "REFUSED";

export const RCODES: Record<Rcode, number> = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5 };

export type Behaviour =
  | { readonly kind: "rcode"; readonly rcode: Rcode; readonly ede?: { readonly code: number; readonly text?: string } }
  | { readonly kind: "drop" }
  /** TC over UDP; the whole answer over TCP. */
  | { readonly kind: "truncate" }
  /** TC over UDP, and TCP connections that ask are closed without an answer, or given an answer cut short. */
  | { readonly kind: "truncate-then-hang-up"; readonly partial?: boolean }
  | { readonly kind: "wrong-id"; readonly thenRight?: boolean }
  | { readonly kind: "wrong-question"; readonly thenRight?: boolean }
  /** The same, sent from another port of the same address. */
  | { readonly kind: "forged-source"; readonly thenRight?: boolean }
  /** A query instead of a response (QR clear). */
  | { readonly kind: "echo"; readonly thenRight?: boolean }
  | { readonly kind: "slow"; readonly ms: number }
  /** Octets of your own; `right` is the answer that would have been sent. */
  | { readonly kind: "bytes"; readonly bytes: (query: Buffer, right: Buffer) => Buffer };

export interface ZoneEntry {
  /** `"10 mx.example.test"`; `"0 ."` is the null MX. */
  readonly MX?: readonly string[];
  readonly A?: readonly string[];
  readonly AAAA?: readonly string[];
  readonly CNAME?: string;
  /** One string a record; an array is one record of several strings. */
  readonly TXT?: readonly (string | readonly string[])[];
  readonly TLSA?: readonly TlsaData[];
  readonly PTR?: readonly string[];
  readonly NS?: readonly string[];
  /** Has a SOA record. */
  readonly SOA?: true;
  /** Seconds; 300 if absent. */
  readonly ttl?: number;
  /** Sets the AD bit: the resolver says that this name's answers, and denials, are validated. */
  readonly secure?: boolean;
  /** With a CNAME: answers with the alias alone, so that the client has to ask again. */
  readonly cutShort?: boolean;
  readonly behave?: Behaviour;
  /** Misbehaves this many times only, then is right. */
  readonly times?: number;
  /** Misbehaves for these types only. */
  readonly types?: readonly RecordType[];
}

export type Zone = Readonly<Record<string, ZoneEntry>>;

export const canonical = (name: string): string => name.toLowerCase().replace(/\.$/, "");

export function blank(query: DecodedPacket, question: Question, rcode: number, secure = false): Packet {
  const flags = dnsPacket.RECURSION_DESIRED | dnsPacket.RECURSION_AVAILABLE | (secure ? dnsPacket.AUTHENTIC_DATA : 0) | rcode;
  return { type: "response", id: query.id, flags, questions: [question] };
}

export function truncated(query: DecodedPacket, question: Question): Buffer {
  const packet = blank(query, question, 0);
  return dnsPacket.encode({ ...packet, flags: (packet.flags ?? 0) | dnsPacket.TRUNCATED_RESPONSE });
}

/** RFC 8914 §2: option 15, a two-octet code and text. */
export function edns(ede?: { readonly code: number; readonly text?: string }): Answer {
  const options =
    ede === undefined
      ? []
      : [{ code: 15, data: Buffer.concat([Buffer.from([ede.code >> 8, ede.code & 255]), Buffer.from(ede.text ?? "")]) }];
  // The package's types know no extended errors.
  return {
    type: "OPT",
    name: ".",
    udpPayloadSize: 1232,
    extendedRcode: 0,
    ednsVersion: 0,
    flags: 0,
    flag_do: false,
    options: options as never,
  };
}

export function soa(name: string, negative: { readonly ttl: number; readonly minimum: number }): Answer {
  const zone = name.split(".").slice(-2).join(".");
  return {
    type: "SOA",
    name: zone,
    ttl: negative.ttl,
    data: { mname: `ns.${zone}`, rname: `admin.${zone}`, serial: 1, refresh: 3600, retry: 600, expire: 86400, minimum: negative.minimum },
  };
}

export function recordsOf(name: string, entry: ZoneEntry, type: RecordType): Answer[] {
  const ttl = entry.ttl ?? 300;
  switch (type) {
    case "MX":
      return (entry.MX ?? []).map((text) => {
        const [preference = "0", exchange = "."] = text.split(" ");
        return { type, name, ttl, data: { preference: Number(preference), exchange } };
      });
    case "A":
    case "AAAA":
    case "PTR":
    case "NS":
      return (entry[type] ?? []).map((data) => ({ type, name, ttl, data }));
    case "CNAME":
      return entry.CNAME === undefined ? [] : [{ type, name, ttl, data: entry.CNAME }];
    case "TXT":
      return (entry.TXT ?? []).map((text) => ({ type, name, ttl, data: typeof text === "string" ? [text] : [...text] }));
    case "SOA":
      return entry.SOA === true ? [{ ...soa(name, { ttl, minimum: 60 }), name }] : [];
    case "TLSA":
      return (entry.TLSA ?? []).map((data) => ({ type, name, ttl, data }));
    default:
      return [];
  }
}
