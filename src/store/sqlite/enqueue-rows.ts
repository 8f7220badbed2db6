/**
 * A message as the rows that enqueue it: everything numbered, recipients grouped by next hop into entries, and which of these
 * are leased on the way. Pure but for the numbers given out; the order of the columns is rows.ts.
 */
import type { NextHop } from "../../mail/domain.ts";
import type { BodySource, LeasedEntry, NewMessage, NewRecipient, QueuedRecipient } from "../../queue/entry.ts";
import type { EnqueueOptions } from "../../queue/store.ts";
import { numberOfQueueId } from "./ids.ts";
import { messageRow, notifyBits } from "./rows.ts";
import type { EnqueueRows, Row } from "./wire.ts";

/** The last keys given out; they count up in the order of enqueueing. */
export interface LastKeys {
  entry: number;
  recipient: number;
}

export interface PreparedBody {
  /** Octets as stored; what the message says of its size is not asked. */
  readonly size: number;
  /** The number of a body that was stored in chunks. */
  readonly chunked: number | null;
  /** For the first attempt of a leased entry. */
  source(): BodySource;
}

export interface PreparedMessage {
  readonly rows: EnqueueRows;
  readonly leased: LeasedEntry[];
}

/** Advances the keys. Throws for a message that breaks our own promises. */
export function prepareMessage(message: NewMessage, body: PreparedBody, keys: LastKeys, options: EnqueueOptions): PreparedMessage {
  const number = numberOfQueueId(message.id);
  if (number === undefined) throw new Error(`not a queue id: ${message.id}`);
  if (message.recipients.length === 0) throw new Error(`message ${message.id} has no recipients`);
  const { submitter } = message.origin;
  if (submitter === "") throw new Error(`message ${message.id} has no submitter`);
  const hops = groupByNextHop(message.recipients);
  const firstEntry = keys.entry + 1;
  const firstRecipient = keys.recipient + 1;
  keys.entry += hops.length;
  keys.recipient += message.recipients.length;
  const { size, chunked: chunkedBody } = body;
  const row = messageRow(message, size, { number, chunkedBody, firstEntry, entries: hops.length, firstRecipient });
  const recipients: Row[] = [];
  const entries: Row[] = [];
  const leased: LeasedEntry[] = [];
  let entryId = firstEntry;
  let recipientId = firstRecipient;
  for (const [nextHop, of] of hops) {
    const lease = options.leaseNow(nextHop, submitter) ? { entryId, generation: 1, until: options.leaseUntil } : undefined;
    const queued: QueuedRecipient[] = [];
    const first = recipientId;
    for (const recipient of of) {
      recipients.push([
        recipientId,
        number,
        entryId,
        recipient.address,
        nextHop,
        notifyBits(recipient.notify),
        recipient.originalRecipient ?? null,
        "waiting",
      ]);
      if (lease !== undefined) queued.push({ ...recipient, recipientId });
      recipientId++;
    }
    const tries = lease === undefined ? 0 : 1;
    const { receivedAt, expiresAt } = message;
    entries.push([
      entryId,
      number,
      nextHop,
      submitter,
      first,
      of.length,
      of.length,
      firstEntry,
      hops.length,
      chunkedBody,
      receivedAt,
      expiresAt,
      tries,
      tries,
      lease === undefined ? receivedAt : null,
      lease?.until ?? null,
    ]);
    if (lease !== undefined) {
      const { recipients: _, ...facts } = message;
      leased.push({ lease, message: facts, nextHop, recipients: queued, attempts: 0, body: body.source() });
    }
    entryId++;
  }
  return { rows: { message: row, recipients, entries, bodyAt: -1, bodySize: size }, leased };
}

function groupByNextHop(recipients: readonly NewRecipient[]): [NextHop, readonly NewRecipient[]][] {
  const [first] = recipients;
  if (first !== undefined && recipients.length === 1) return [[first.nextHop, recipients]];
  const hops = new Map<NextHop, NewRecipient[]>();
  for (const recipient of recipients) {
    const of = hops.get(recipient.nextHop);
    if (of === undefined) hops.set(recipient.nextHop, [recipient]);
    else of.push(recipient);
  }
  return [...hops];
}
