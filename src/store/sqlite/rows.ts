/**
 * Messages, recipients, entries as rows and back. The order of the columns is said once, here; both threads use it.
 */
import type { EmailAddress, ReversePath } from "../../mail/address.ts";
import type { Domain, NextHop } from "../../mail/domain.ts";
import type { NotifyWishes } from "../../mail/envelope.ts";
import type { NewMessage, Origin, QueuedRecipient, QueueId } from "../../queue/entry.ts";
import type { Row, SqlValue } from "./wire.ts";

/** A message without its recipients: what a lease and a story carry. */
export type MessageFacts = Omit<NewMessage, "recipients">;

export const MESSAGE_COLUMNS =
  "number, id, sender, submitter, listener, client_address, ehlo_name, user_name, submission_tls, return_content, envelope_id, tls_tag, " +
  "signing_domain, body_hash, eight_bit, utf8_headers, message_id, received_at, expires_at, size, chunked_body, first_entry, entries, first_recipient, recipients";

export const RECIPIENT_COLUMNS = "id, message, entry, address, next_hop, notify, original_recipient, state";

export const ENTRY_COLUMNS =
  "id, message, next_hop, submitter, first_recipient, recipients, waiting, first_sibling, siblings, chunked_body, received_at, expires_at, " +
  "attempts, generation, due_at, lease_until";

/** `?, ?, …` for a list of columns. */
export function placeholders(columns: string): string {
  return columns.replace(/[a-z_0-9]+/g, "?");
}

/** Where a message's rows lie. */
export interface MessagePlace {
  readonly number: number;
  readonly chunkedBody: number | null;
  readonly firstEntry: number;
  readonly entries: number;
  readonly firstRecipient: number;
}

export function messageRow(message: NewMessage, size: number, place: MessagePlace): Row {
  const { origin } = message;
  return [
    place.number,
    message.id,
    message.sender,
    origin.submitter,
    origin.listener,
    origin.clientAddress ?? null,
    origin.ehloName ?? null,
    origin.user ?? null,
    origin.tls ?? null,
    message.returnContent ?? null,
    message.envelopeId ?? null,
    message.tlsTag ?? null,
    message.signing?.domain ?? null,
    message.signing?.bodyHash ?? null,
    message.needs.eightBit ? 1 : 0,
    message.needs.utf8Headers ? 1 : 0,
    message.messageId ?? null,
    message.receivedAt,
    message.expiresAt,
    size,
    place.chunkedBody,
    place.firstEntry,
    place.entries,
    place.firstRecipient,
    message.recipients.length,
  ];
}

type MessageTuple = readonly [
  number: number,
  id: QueueId,
  sender: ReversePath,
  submitter: string,
  listener: string,
  clientAddress: string | null,
  ehloName: string | null,
  user: string | null,
  tls: string | null,
  returnContent: "full" | "headers" | null,
  envelopeId: string | null,
  tlsTag: "required" | "optional" | null,
  signingDomain: Domain | null,
  bodyHash: string | null,
  eightBit: number,
  utf8Headers: number,
  messageId: string | null,
  receivedAt: number,
  expiresAt: number,
  size: number,
  chunkedBody: number | null,
  firstEntry: number,
  entries: number,
  firstRecipient: number,
  recipients: number,
];

export function messageFacts(row: Row): MessageFacts {
  const [
    ,
    id,
    sender,
    submitter,
    listener,
    clientAddress,
    ehloName,
    user,
    tls,
    returnContent,
    envelopeId,
    tlsTag,
    signingDomain,
    bodyHash,
    eightBit,
    utf8Headers,
    messageId,
    receivedAt,
    expiresAt,
    size,
  ] = row as unknown as MessageTuple;
  const origin: Origin = {
    submitter,
    listener,
    ...(clientAddress !== null && { clientAddress }),
    ...(ehloName !== null && { ehloName }),
    ...(user !== null && { user }),
    ...(tls !== null && { tls }),
  };
  return {
    id,
    sender,
    origin,
    ...(returnContent !== null && { returnContent }),
    ...(envelopeId !== null && { envelopeId }),
    ...(tlsTag !== null && { tlsTag }),
    ...(signingDomain !== null && bodyHash !== null && { signing: { domain: signingDomain, bodyHash } }),
    needs: { eightBit: eightBit === 1, utf8Headers: utf8Headers === 1 },
    ...(messageId !== null && { messageId }),
    receivedAt,
    expiresAt,
    size,
  };
}

export function messagePlace(row: Row): MessagePlace & { readonly recipients: number } {
  const tuple = row as unknown as MessageTuple;
  return {
    number: tuple[0],
    chunkedBody: tuple[20],
    firstEntry: tuple[21],
    entries: tuple[22],
    firstRecipient: tuple[23],
    recipients: tuple[24],
  };
}

const NEVER = 1;
const SUCCESS = 2;
const FAILURE = 4;
const DELAY = 8;

export function notifyBits(notify: NotifyWishes | undefined): SqlValue {
  if (notify === undefined) return null;
  return (notify.never ? NEVER : 0) | (notify.success ? SUCCESS : 0) | (notify.failure ? FAILURE : 0) | (notify.delay ? DELAY : 0);
}

/** Reads a row of RECIPIENT_COLUMNS. */
export function queuedRecipient(row: Row): QueuedRecipient {
  const [id, , , address, nextHop, notify, originalRecipient] = row as unknown as readonly [
    number,
    number,
    number,
    EmailAddress,
    NextHop,
    number | null,
    string | null,
  ];
  return {
    recipientId: id,
    address,
    nextHop,
    ...(notify !== null && {
      notify: {
        never: (notify & NEVER) !== 0,
        success: (notify & SUCCESS) !== 0,
        failure: (notify & FAILURE) !== 0,
        delay: (notify & DELAY) !== 0,
      },
    }),
    ...(originalRecipient !== null && { originalRecipient }),
  };
}

/** Reads a row of ENTRY_COLUMNS. */
export interface EntryFacts {
  readonly id: number;
  readonly message: number;
  readonly nextHop: NextHop;
  readonly firstRecipient: number;
  readonly recipients: number;
  readonly chunkedBody: number | null;
  readonly receivedAt: number;
  readonly expiresAt: number;
  readonly attempts: number;
  readonly generation: number;
  readonly dueAt: number | null;
}

export function entryFacts(row: Row): EntryFacts {
  const [id, message, nextHop, , firstRecipient, recipients, , , , chunkedBody, receivedAt, expiresAt, attempts, generation, dueAt] =
    row as unknown as readonly [
      number,
      number,
      NextHop,
      string,
      number,
      number,
      number,
      number,
      number,
      number | null,
      number,
      number,
      number,
      number,
      number | null,
      number | null,
    ];
  return { id, message, nextHop, firstRecipient, recipients, chunkedBody, receivedAt, expiresAt, attempts, generation, dueAt };
}
