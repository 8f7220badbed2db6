/**
 * The data of one record (RFC 1035 §3.3, RFC 3596 §2.2, RFC 6698 §2.1): octets in, the value that its type stands for
 * out. The types that mail needs are read here, and strictly: each must fill its RDLENGTH exactly. All others are left
 * to dns-packet. The message around them is lookup/wire.ts.
 */
import dnsPacket, { type RecordType, type SoaData, type TlsaData } from "dns-packet";
import ipaddr from "ipaddr.js";
import type { MxRecord } from "../policy/facts.ts";
import { type Cursor, MalformedMessage, readName } from "./names.ts";

export type { RecordType, SoaData, TlsaData } from "dns-packet";

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

/** Moves on by `octets` and gives where it stood before. */
export function advance(message: Buffer, cursor: Cursor, octets: number): number {
  const before = cursor.at;
  cursor.at = before + octets;
  if (cursor.at > message.length) throw new MalformedMessage("a record runs past the end");
  return before;
}

export function readRdata(message: Buffer, start: number, length: number, type: number, typeName: RecordType): unknown {
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
