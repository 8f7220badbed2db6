/**
 * A message with its DKIM signature in front (RFC 6376 §5.6): a leased entry that is to be signed in; the entry as it is sent, or
 * why there is no signature, out. The store keeps what came in; signatures are made for each attempt, by the keys of the day.
 * Making them is dkim/.
 */
import { HEADER_END } from "../mail/header.ts";
import type { SigningWish, SignMessage } from "../mail/signing.ts";
import type { BodySource, LeasedEntry } from "../queue/entry.ts";

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
  if (body.inMemory !== undefined) return body.inMemory.subarray(0, endOfHeader(body.inMemory) ?? body.inMemory.length);
  const parts: Buffer[] = [];
  let length = 0;
  // The last part, behind the end of those before it: an empty line may lie across them.
  let recent: Buffer = Buffer.alloc(0);
  for await (const chunk of body.chunks()) {
    const before = length - recent.length;
    recent = Buffer.concat([recent, chunk]);
    parts.push(Buffer.from(chunk));
    length += chunk.length;
    const end = before === 0 ? endOfHeader(recent) : endOfFields(recent);
    if (end !== undefined) return Buffer.concat(parts, before + end);
    if (length > LARGEST_HEADER) return undefined;
    recent = recent.subarray(-(HEADER_END.length - 1));
  }
  return Buffer.concat(parts);
}

/** Octets in front of the empty line; undefined if there is none. */
function endOfHeader(message: Buffer): number | undefined {
  return message[0] === 0x0d && message[1] === 0x0a ? 0 : endOfFields(message);
}

function endOfFields(message: Buffer): number | undefined {
  const end = message.indexOf(HEADER_END);
  return end === -1 ? undefined : end + 2;
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
