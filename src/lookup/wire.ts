/**
 * One DNS message (RFC 1035 §4, EDNS by RFC 6891): a question in, octets out; octets in, the records that answer it
 * out, or what is wrong with them. The data of a record is lookup/rdata.ts, names are lookup/names.ts, sending is
 * lookup/exchange.ts.
 */
import { bad, good, type Parsed } from "../mail/parsed.ts";
import { cleanText } from "../mail/reply.ts";
import { type Cursor, MalformedMessage, readName } from "./names.ts";
import { advance, type RecordType, readRdata, type SoaData, TYPE } from "./rdata.ts";

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
  readonly authenticData: boolean;
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

/** TC: whatever came along is incomplete and must not be used (RFC 2181 §9). The message answers the query. */
export function isTruncated(message: Buffer): boolean {
  return ((message[2] ?? 0) & 0x02) !== 0;
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
  return {
    rcode,
    authenticData: (message.readUInt16BE(2) & AD) !== 0,
    answers,
    negativeTtl,
    isReferral: sawNs && negativeTtl === undefined && answers.length === 0,
    extendedError,
    octets: message.length,
  };
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
