/**
 * One DNS message (RFC 1035 §4, EDNS by RFC 6891): a question in, octets out; octets in, the records that answer it
 * out, or what is wrong with them. Framing, names and the types that mail needs are read here, strictly: every record
 * must fill its RDLENGTH exactly. RDATA of all other types is left to dns-packet. Sending is lookup/exchange.ts.
 */
import dnsPacket, { type RecordType, type SoaData, type TlsaData } from "dns-packet";
import ipaddr from "ipaddr.js";
import { bad, good, type Parsed } from "../mail/parsed.ts";
import { cleanText } from "../mail/reply.ts";
import type { MxRecord } from "../policy/facts.ts";
import { type Cursor, MalformedMessage, readName } from "./names.ts";

export type { RecordType, TlsaData } from "dns-packet";

/** What `ask` gives for each type; whatever is not named here is as dns-packet decodes it. */
export interface RecordDataByType {
  A: string;
  AAAA: string;
  CNAME: string;
  DNAME: string;
  NS: string;
  PTR: string;
  MX: MxRecord;
  SOA: SoaData;
  TXT: readonly Buffer[];
  TLSA: TlsaData;
}

export type RecordData<T extends RecordType> = T extends keyof RecordDataByType ? RecordDataByType[T] : unknown;

export interface ResourceRecord {
  readonly name: string;
  readonly type: number;
  /** Seconds. */
  readonly ttl: number;
  readonly data: unknown;
}

export interface DnsResponse {
  /** With EDNS's upper bits (RFC 6891 §6.1.3). */
  readonly rcode: number;
  readonly truncated: boolean;
  readonly authenticData: boolean;
  readonly recursionAvailable: boolean;
  /** Records of the asked type, and the aliases that lead to them. */
  readonly answers: readonly ResourceRecord[];
  /** Seconds that a denial may be kept (RFC 2308 §5): the least of the SOA's TTL and its minimum. Absent without SOA. */
  readonly negativeTtl: number | undefined;
  /** NS records and no SOA: somebody else is to be asked, so this says nothing about the name (RFC 2308 §2.2). */
  readonly isReferral: boolean;
  /** RFC 8914, the first one given, clean. */
  readonly extendedError: { readonly code: number; readonly text: string } | undefined;
  /** Length of the message, as a measure of what keeping it costs. */
  readonly octets: number;
}

export const TYPE = { A: 1, NS: 2, CNAME: 5, SOA: 6, PTR: 12, MX: 15, TXT: 16, AAAA: 28, DNAME: 39, OPT: 41, TLSA: 52 } as const;

/** dns-packet exports its RDATA codecs and its list of types, but has no declarations for them. */
interface RdataCodec {
  readonly decode: ((message: Buffer, offset: number) => unknown) & { readonly bytes: number };
}
const { record: codecOf } = dnsPacket as unknown as { record(type: string): RdataCodec };

const KNOWN: Readonly<Record<string, number>> = {
  ...TYPE,
  ...{
    HINFO: 13,
    RP: 17,
    AFSDB: 18,
    SIG: 24,
    KEY: 25,
    LOC: 29,
    SRV: 33,
    NAPTR: 35,
    KX: 36,
    CERT: 37,
    APL: 42,
    DS: 43,
    SSHFP: 44,
    IPSECKEY: 45,
    RRSIG: 46,
    NSEC: 47,
  },
  ...{
    DNSKEY: 48,
    DHCID: 49,
    NSEC3: 50,
    NSEC3PARAM: 51,
    HIP: 55,
    CDS: 59,
    CDNSKEY: 60,
    NULL: 10,
    URI: 256,
    CAA: 257,
    TA: 32768,
    DLV: 32769,
  },
};

/** The number of a type that can be asked for; undefined for what is no record, such as OPT and AXFR. */
export function typeNumber(type: RecordType): number | undefined {
  return type === "OPT" ? undefined : KNOWN[type];
}

const HEADER = 12;
const CLASS_IN = 1;
/** What fits an unfragmented packet on any path (RFC 9715 §3.2 names 1232 to 1400). */
const UDP_PAYLOAD = 1232;
const RD = 0x0100;
const AD = 0x0020;
const DO = 0x8000;
const EXTENDED_ERROR = 15;

/**
 * A question for a recursive resolver. AD and DO ask for the security status (RFC 6840 §5.7, RFC 4035 §4.9.1), CD
 * stays clear so that the resolver's validation counts (§4.9.2).
 */
export function encodeQuery(id: number, wireName: Buffer, type: number, edns: boolean): Buffer {
  const questionEnd = HEADER + wireName.length + 4;
  const query = Buffer.alloc(questionEnd + (edns ? 11 : 0));
  query.writeUInt16BE(id, 0);
  query.writeUInt16BE(RD | AD, 2);
  query.writeUInt16BE(1, 4);
  wireName.copy(query, HEADER);
  query.writeUInt16BE(type, questionEnd - 4);
  query.writeUInt16BE(CLASS_IN, questionEnd - 2);
  if (edns) {
    query.writeUInt16BE(1, 10);
    // Root name, type OPT, payload size as class, rcode and version 0, flags, no options.
    query.writeUInt16BE(TYPE.OPT, questionEnd + 1);
    query.writeUInt16BE(UDP_PAYLOAD, questionEnd + 3);
    query.writeUInt16BE(DO, questionEnd + 7);
  }
  return query;
}

/**
 * True if the message answers this very query: id, QR, opcode, and the question (RFC 5452 §9.1). The peer's address is
 * the connected socket's business. Only an error may come without the question, since some servers do not get that far.
 */
export function answersQuery(query: Buffer, questionEnd: number, message: Buffer): boolean {
  if (message.length < HEADER || message[0] !== query[0] || message[1] !== query[1]) return false;
  // QR set and opcode 0.
  if (((message[2] ?? 0) & 0xf8) !== 0x80) return false;
  const questions = message.readUInt16BE(4);
  if (questions === 0) return [1, 2, 4, 5].includes((message[3] ?? 0) & 15) && message.readUInt16BE(6) === 0;
  if (questions !== 1 || message.length < questionEnd) return false;
  for (let at = HEADER; at < questionEnd; at++) {
    const ours = query[at] ?? 0;
    const theirs = message[at] ?? 0;
    if (ours === theirs) continue;
    // Names match in any case (RFC 4343); length octets stay below 64, so folding cannot confuse them with letters.
    if (at >= questionEnd - 4 || lower(ours) !== lower(theirs)) return false;
  }
  return true;
}

function lower(octet: number): number {
  return octet >= 0x41 && octet <= 0x5a ? octet | 0x20 : octet;
}

/** Reads a response to a question of this type; the error says what is wrong, for people. */
export function decodeResponse(message: Buffer, type: number, typeName: RecordType): Parsed<DnsResponse> {
  try {
    return good(readResponse(message, type, typeName));
  } catch (error) {
    // dns-packet throws plain errors on RDATA that it cannot read.
    return bad(error instanceof MalformedMessage ? error.message : "a record cannot be read");
  }
}

function readResponse(message: Buffer, type: number, typeName: RecordType): DnsResponse {
  if (message.length < HEADER) throw new MalformedMessage("shorter than a header");
  const cursor: Cursor = { at: HEADER };
  for (let left = message.readUInt16BE(4); left > 0; left--) {
    readName(message, cursor);
    advance(message, cursor, 4);
  }
  const answers: ResourceRecord[] = [];
  let rcode = (message[3] ?? 0) & 15;
  let negativeTtl: number | undefined;
  let sawNs = false;
  let extendedError: DnsResponse["extendedError"];
  const counts = [message.readUInt16BE(6), message.readUInt16BE(8), message.readUInt16BE(10)] as const;
  for (let section = 0; section < 3; section++) {
    for (let left = counts[section] ?? 0; left > 0; left--) {
      const name = readName(message, cursor);
      const head = advance(message, cursor, 10);
      const recordType = message.readUInt16BE(head);
      const recordClass = message.readUInt16BE(head + 2);
      const rawTtl = message.readUInt32BE(head + 4);
      const length = message.readUInt16BE(head + 8);
      const start = advance(message, cursor, length);
      if (section === 2) {
        if (recordType !== TYPE.OPT || name !== "") continue;
        rcode |= (rawTtl >>> 24) << 4;
        extendedError ??= findExtendedError(message, start, start + length);
        continue;
      }
      if (recordClass !== CLASS_IN) continue;
      // A TTL with the top bit set counts as zero (RFC 2181 §8).
      const ttl = rawTtl > 0x7fffffff ? 0 : rawTtl;
      if (section === 0) {
        if (recordType === type || recordType === TYPE.CNAME)
          answers.push({ name, type: recordType, ttl, data: readRdata(message, start, length, recordType, typeName) });
      } else if (recordType === TYPE.SOA) {
        const soa = readRdata(message, start, length, TYPE.SOA, "SOA") as SoaData;
        negativeTtl = Math.min(ttl, soa.minimum ?? 0, negativeTtl ?? Number.POSITIVE_INFINITY);
      } else if (recordType === TYPE.NS) {
        sawNs = true;
      }
    }
  }
  const flags = message.readUInt16BE(2);
  return {
    rcode,
    truncated: (flags & 0x0200) !== 0,
    authenticData: (flags & AD) !== 0,
    recursionAvailable: (flags & 0x0080) !== 0,
    answers,
    negativeTtl,
    isReferral: sawNs && negativeTtl === undefined && answers.length === 0,
    extendedError,
    octets: message.length,
  };
}

/** Moves on by `octets` and gives where it stood before. */
function advance(message: Buffer, cursor: Cursor, octets: number): number {
  const before = cursor.at;
  cursor.at = before + octets;
  if (cursor.at > message.length) throw new MalformedMessage("a record runs past the end");
  return before;
}

function readRdata(message: Buffer, start: number, length: number, type: number, typeName: RecordType): unknown {
  const end = start + length;
  const cursor: Cursor = { at: start };
  switch (type) {
    case TYPE.A:
      if (length !== 4) throw new MalformedMessage("an A record is not 4 octets long");
      return `${message[start]}.${message[start + 1]}.${message[start + 2]}.${message[start + 3]}`;
    case TYPE.AAAA:
      if (length !== 16) throw new MalformedMessage("an AAAA record is not 16 octets long");
      return new ipaddr.IPv6([...message.subarray(start, end)]).toRFC5952String();
    case TYPE.NS:
    case TYPE.CNAME:
    case TYPE.PTR:
    case TYPE.DNAME: {
      const name = readName(message, cursor);
      return fills(cursor, end, name);
    }
    case TYPE.MX: {
      if (length < 3) throw new MalformedMessage("an MX record is too short");
      const preference = message.readUInt16BE(advance(message, cursor, 2));
      const exchange = readName(message, cursor);
      return fills(cursor, end, { preference, exchange } satisfies MxRecord);
    }
    case TYPE.SOA: {
      const mname = readName(message, cursor);
      const rname = readName(message, cursor);
      const at = advance(message, cursor, 20);
      const [serial, refresh, retry, expire, minimum] = [0, 4, 8, 12, 16].map((field) => message.readUInt32BE(at + field));
      return fills(cursor, end, { mname, rname, serial, refresh, retry, expire, minimum } satisfies SoaData);
    }
    case TYPE.TXT: {
      const strings: Buffer[] = [];
      for (let at = start; at < end; ) {
        const next = at + 1 + (message[at] ?? 0);
        if (next > end) throw new MalformedMessage("a TXT string runs past its record");
        // A copy: the answer is kept longer than the message should be.
        strings.push(Buffer.from(message.subarray(at + 1, next)));
        at = next;
      }
      return strings;
    }
    case TYPE.TLSA: {
      const [usage, selector, matchingType] = message.subarray(start, end);
      if (usage === undefined || selector === undefined || matchingType === undefined)
        throw new MalformedMessage("a TLSA record is too short");
      return { usage, selector, matchingType, certificate: Buffer.from(message.subarray(start + 3, end)) } satisfies TlsaData;
    }
    default: {
      const codec = codecOf(typeName);
      // It takes RDLENGTH along, and reads from a message that ends with this record: names may point back, not on.
      const data = codec.decode(message.subarray(0, end), start - 2);
      if (codec.decode.bytes !== length + 2) throw new MalformedMessage("a record does not fill its length");
      return data;
    }
  }
}

function fills<T>(cursor: Cursor, end: number, data: T): T {
  if (cursor.at !== end) throw new MalformedMessage("a record does not fill its length");
  return data;
}

/** EDNS options are code, length, data (RFC 6891 §6.1.2). A broken list costs us the explanation, not the answer. */
function findExtendedError(message: Buffer, start: number, end: number): DnsResponse["extendedError"] {
  for (let at = start; at + 4 <= end; ) {
    const code = message.readUInt16BE(at);
    const next = at + 4 + message.readUInt16BE(at + 2);
    if (next > end) return undefined;
    if (code === EXTENDED_ERROR && next - at >= 6)
      return { code: message.readUInt16BE(at + 4), text: cleanText(message.toString("utf8", at + 6, next).replace(/\0+$/, ""), 200) };
    at = next;
  }
  return undefined;
}
