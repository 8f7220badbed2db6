/**
 * Notices to senders about mail that was given up (RFC 3464, RFC 6522): a settlement in, messages for the queue out, to be
 * enqueued in the settlement's own transaction. One notice tells of all recipients given up together. The part for people
 * is delivery/notice-text.ts, the one for machines delivery/notice-status.ts, what goes back delivery/notice-return.ts.
 */
import { domainOf, type EmailAddress, needsSmtpUtf8, parseAddress } from "../mail/address.ts";
import type { NotifyWishes } from "../mail/envelope.ts";
import { formatDate } from "../mail/received.ts";
import type { LeasedEntry, NewMessage, QueueId } from "../queue/entry.ts";
import { NOTICE_LISTENER, REPORT_LISTENER } from "../mail/own-origins.ts";
import type { Notice, Settlement } from "../queue/settlement.ts";
import type { GivenUp, NoticeFacts } from "./notice-facts.ts";
import { quotedPrintable, type Returned, readOriginal, reduceNotice, returnedPart } from "./notice-return.ts";
import { statusPart } from "./notice-status.ts";
import { noticeSubject, noticeText } from "./notice-text.ts";
import { ourHostName, type RelayAddresses } from "./relay-name.ts";

export interface NoticeRules extends RelayAddresses {
  readonly mailname: string | undefined;
  /** The address a notice comes from; without it MAILER-DAEMON at this relay. */
  readonly postmaster: string | undefined;
  readonly delivery: RelayAddresses["delivery"] & { readonly retry: { readonly giveUpAfterNullSender: number } };
}

export interface NoticeContext {
  readonly now: number;
  readonly rules: NoticeRules;
  readonly newQueueId: () => QueueId;
}

export type NoticeVerdict = { readonly kind: "due" } | { readonly kind: "none"; readonly why: string };

/** Why a notice about a notice is never sent (RFC 5321 §6.1). */
export const NULL_SENDER = "the reverse path is null: nobody is told about a notice";

/** Is the sender to hear of a failure? (RFC 3461 §5.2.2, §5.2.6; RFC 5321 §6.1) */
export function judgeNotice({ sender, origin }: Pick<NewMessage, "sender" | "origin">, notify: NotifyWishes | undefined): NoticeVerdict {
  // Its sender is this relay, which keeps what became of it with the report.
  if (origin.listener === REPORT_LISTENER) return { kind: "none", why: "it is a TLS report of this relay" };
  if (sender === "") return { kind: "none", why: NULL_SENDER };
  if (notify?.never === true) return { kind: "none", why: "NOTIFY=NEVER" };
  if (notify !== undefined && !notify.failure) return { kind: "none", why: "NOTIFY does not ask for failures" };
  return { kind: "due" };
}

/** The notices that a settlement calls for; the original is read only when one is due. */
export async function makeNotices(
  entry: LeasedEntry,
  settlement: Pick<Settlement, "recipients" | "attempt">,
  context: NoticeContext,
): Promise<Notice[]> {
  const { message } = entry;
  const givenUp: GivenUp[] = [];
  for (const { recipientId, outcome } of settlement.recipients) {
    if (outcome.kind !== "failed" && outcome.kind !== "expired") continue;
    const recipient = entry.recipients.find((queued) => queued.recipientId === recipientId);
    if (recipient !== undefined) givenUp.push({ recipient, kind: outcome.kind, problem: outcome.problem });
  }
  const told = givenUp.filter(({ recipient }) => judgeNotice(message, recipient.notify).kind === "due");
  const to = noticeRecipient(message.sender);
  if (to === undefined) return await reducedNotices(entry, givenUp, context);
  if (told.length === 0) return [];
  const { rules, now } = context;
  const relay = rules.mailname ?? ourHostName(rules, 4);
  // RFC 8689 §5: RET=FULL is disregarded, since a notice may have to go where REQUIRETLS is not offered.
  const original = await readOriginal(entry.body, message.returnContent === "full" && message.tlsTag !== "required");
  const facts: NoticeFacts = {
    id: context.newQueueId(),
    relay,
    from: postmasterOf(rules, relay),
    to,
    now,
    message,
    givenUp: told,
    attempt: settlement.attempt,
    attempts: entry.attempts + 1,
    original,
    utf8: needsSmtpUtf8(to),
  };
  return [buildNotice(facts, now + rules.delivery.retry.giveUpAfterNullSender)];
}

/** The last part of a reverse path, without a source route (RFC 5321 §6.1); undefined for the null path. */
export function noticeRecipient(sender: string): EmailAddress | undefined {
  const colon = sender.startsWith("@") ? sender.indexOf(":") : -1;
  const parsed = parseAddress(sender.slice(colon + 1));
  return parsed.ok ? parsed.value : undefined;
}

function postmasterOf({ postmaster }: NoticeRules, relay: string): string {
  const parsed = postmaster === undefined ? undefined : parseAddress(postmaster);
  // A From field beyond ASCII would make the notice undeliverable at many hosts.
  return parsed?.ok === true && !needsSmtpUtf8(parsed.value) ? parsed.value : `MAILER-DAEMON@${relay}`;
}

/** Writes the notice. Pure. */
function buildNotice(facts: NoticeFacts, expiresAt: number): Notice {
  const { id, relay, to, now, utf8 } = facts;
  const returned = returnedPart(facts.original);
  const boundary = boundaryFor(id, returned);
  const messageId = `<${id}.notice@${relay}>`;
  const text = textPart(noticeText(facts));
  const status = statusPart(facts);
  // Only UTF-8 status fields or a whole 8-bit original need more than 7 bits; everything else is encoded.
  const eightBit = returned?.eightBit === true || !isAscii(status);
  const head = [
    `Date: ${formatDate(now)}`,
    `From: Mail Delivery System <${facts.from}>`,
    `To: <${to}>`,
    `Subject: ${noticeSubject(facts)}`,
    `Message-ID: ${messageId}`,
    ...threadFields(facts.message.messageId),
    "Auto-Submitted: auto-replied",
    // The sender wants mail about this to arrive rather than to be protected; servers on the way shall know it too (RFC 8689 §6).
    ...(facts.message.tlsTag === "optional" ? ["TLS-Required: No"] : []),
    "MIME-Version: 1.0",
    "Content-Type: multipart/report; report-type=delivery-status;",
    ` boundary="${boundary}"`,
    `Content-Transfer-Encoding: ${eightBit ? "8bit" : "7bit"}`,
    "",
    "This is a notice in MIME format about mail that could not be delivered.",
    "",
    `--${boundary}`,
    text,
    `--${boundary}`,
    `Content-Type: message/${utf8 && !isAscii(status) ? "global-" : ""}delivery-status`,
    `Content-Transfer-Encoding: ${isAscii(status) ? "7bit" : "8bit"}`,
    "",
    status,
  ].join("\r\n");
  const parts: Buffer[] = [Buffer.from(head)];
  if (returned !== undefined) parts.push(Buffer.from(`\r\n--${boundary}\r\n${returned.fields}\r\n\r\n`), returned.octets);
  parts.push(Buffer.from(`\r\n--${boundary}--\r\n`));
  const body = Buffer.concat(parts);
  const message: NewMessage = {
    ...noticeEnvelope(facts.message, id, to, now, expiresAt),
    needs: { eightBit, utf8Headers: utf8 },
    messageId,
    size: body.length,
  };
  return { message, body };
}

type NoticeEnvelope = Omit<NewMessage, "needs" | "messageId" | "size">;

/** `MAIL FROM:<>`, no notice about the notice (RFC 3461 §6.1), and protected in the same manner as the original (RFC 8689 §5, §6). */
function noticeEnvelope(
  { tlsTag }: Pick<NewMessage, "tlsTag">,
  id: QueueId,
  to: EmailAddress,
  now: number,
  expiresAt: number,
): NoticeEnvelope {
  return {
    id,
    sender: "",
    recipients: [{ address: to, nextHop: domainOf(to), notify: { never: true, success: false, failure: false, delay: false } }],
    origin: { submitter: "local", listener: NOTICE_LISTENER },
    receivedAt: now,
    expiresAt,
    ...(tlsTag !== undefined && { tlsTag }),
  };
}

/**
 * A notice of ours that returns an 8-bit message met a host without 8BITMIME: it goes out again with the header alone
 * (RFC 1652 §3 allows no other way, and a notice has nobody to be told that it failed).
 */
async function reducedNotices(
  entry: LeasedEntry,
  givenUp: readonly GivenUp[],
  { now, rules, newQueueId }: NoticeContext,
): Promise<Notice[]> {
  const { message } = entry;
  const [first] = givenUp;
  if (message.origin.listener !== NOTICE_LISTENER || first?.problem.type !== "needs-8bitmime") return [];
  const body = await reduceNotice(entry.body);
  if (body === undefined) return [];
  const reduced: NewMessage = {
    ...noticeEnvelope(message, newQueueId(), first.recipient.address, now, now + rules.delivery.retry.giveUpAfterNullSender),
    needs: { eightBit: false, utf8Headers: message.needs.utf8Headers },
    ...(message.messageId !== undefined && { messageId: message.messageId }),
    size: body.length,
  };
  return [{ message: reduced, body }];
}

/** The part for people: plain ASCII as it is, anything else encoded, so that every host can carry it. */
function textPart(text: string): string {
  const ascii = isAscii(text);
  const fields = `Content-Type: text/plain; charset=${ascii ? "us-ascii" : "utf-8"}\r\nContent-Transfer-Encoding: ${ascii ? "7bit" : "quoted-printable"}`;
  return `${fields}\r\n\r\n${ascii ? text : quotedPrintable(Buffer.from(text))}`;
}

/** The original's Message-ID, if it is one: ties the notice to what the sender wrote (RFC 5322 §3.6.4). */
function threadFields(messageId: string | undefined): string[] {
  if (messageId === undefined || !/^<[\x21-\x3b\x3d\x3f-\x7e]{1,900}>$/.test(messageId)) return [];
  return [`In-Reply-To: ${messageId}`, `References: ${messageId}`];
}

/** A boundary that does not occur in what is returned, whoever wrote that (RFC 2046 §5.1.1). */
function boundaryFor(id: QueueId, returned: Returned | undefined): string {
  for (let count = 0; ; count++) {
    const boundary = `=_postern_${id}_${count}`;
    if (returned === undefined || !returned.octets.includes(boundary)) return boundary;
  }
}

function isAscii(text: string): boolean {
  return !/[^\x00-\x7f]/.test(text);
}
