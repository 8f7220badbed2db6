/**
 * A message with its DKIM signature in front (RFC 6376 §5.6): a leased entry that is to be signed in; the entry as it is sent, or
 * why there is no signature, out. The store keeps what came in; signatures are made for each attempt, by the keys of the day.
 * Making them is dkim/.
 */
import type { SigningWish, SignMessage } from "../mail/signing.ts";
import type { BodySource, LeasedEntry } from "../queue/entry.ts";
import { END_OF_HEADER, readUpTo } from "./notice-return.ts";

/** Far above what submission takes: only a store that went wrong comes near it. */
const LARGEST_HEADER = 16 * 1024 * 1024;

export type SignedEntry = { readonly kind: "signed"; readonly entry: LeasedEntry } | { readonly kind: "failed"; readonly detail: string };

/** Rejects only if the body cannot be read. */
export async function signEntry(entry: LeasedEntry, wish: SigningWish, sign: SignMessage): Promise<SignedEntry> {
  const header = await readHeader(entry.body);
  if (header === undefined) return { kind: "failed", detail: `its header has more than ${LARGEST_HEADER} octets` };
  const signed = await sign(wish, header);
  if (signed.kind === "failed") return signed;
  return { kind: "signed", entry: { ...entry, body: withFields(entry.body, signed.fields) } };
}

/** The header fields with their line ends, without the empty line; undefined where they do not end. */
async function readHeader(body: BodySource): Promise<Buffer | undefined> {
  const read = await readUpTo(body, (soFar) => soFar.length > LARGEST_HEADER || hasWholeHeader(soFar));
  if (startsWithEmptyLine(read)) return Buffer.alloc(0);
  const end = read.indexOf(END_OF_HEADER);
  if (end === -1) return read.length > LARGEST_HEADER ? undefined : read;
  return read.subarray(0, end + 2);
}

function hasWholeHeader(read: Buffer): boolean {
  return startsWithEmptyLine(read) || read.includes(END_OF_HEADER);
}

function startsWithEmptyLine(read: Buffer): boolean {
  return read[0] === 0x0d && read[1] === 0x0a;
}

function withFields(body: BodySource, fields: string): BodySource {
  const front = Buffer.from(fields);
  return {
    size: front.length + body.size,
    ...(body.inMemory !== undefined && { inMemory: Buffer.concat([front, body.inMemory]) }),
    async *chunks() {
      yield front;
      yield* body.chunks();
    },
  };
}
