/**
 * MAIL and RCPT as they are said (RFC 5321 §3.3, §4.1.2): a transaction and what the host offers in, command lines out.
 * A parameter is said only if the EHLO in force offers its extension (§2.2). Whether a host is fit for the message at
 * all is delivery/fitness.ts.
 */
import { needsSmtpUtf8 } from "../mail/address.ts";
import type { NotifyWishes, RecipientEnvelope } from "../mail/envelope.ts";
import { embedUnicode } from "../mail/xtext.ts";
import type { Extensions } from "./extensions.ts";
import type { Transaction } from "./session.ts";

export interface MailOptions {
  readonly extensions: Extensions;
  /** We have logged in here, and vouch for nobody (RFC 4954 §5). */
  readonly loggedIn: boolean;
  /** The message or one of the paths said here is internationalised (RFC 6531 §3.4). */
  readonly smtpUtf8: boolean;
}

export function mailCommand(transaction: Transaction, { extensions, loggedIn, smtpUtf8 }: MailOptions): string {
  let line = `MAIL FROM:<${transaction.sender}>`;
  if (extensions.size) line += ` SIZE=${transaction.body.size}`;
  if (extensions.eightBitMime && transaction.needs.eightBit) line += " BODY=8BITMIME";
  if (smtpUtf8) line += " SMTPUTF8";
  if (loggedIn) line += " AUTH=<>";
  // RFC 8689 §4.2.1: only for a message that asks for it, and only where the EHLO inside authenticated TLS offers it.
  if (extensions.requireTls && transaction.requireTls !== undefined) line += " REQUIRETLS";
  if (extensions.dsn) {
    // RFC 3461 §5.2.1: passed on exactly as received, and neither is added.
    if (transaction.returnContent !== undefined) line += transaction.returnContent === "full" ? " RET=FULL" : " RET=HDRS";
    if (transaction.envelopeId !== undefined) line += ` ENVID=${parameter(transaction.envelopeId)}`;
  }
  return `${line}\r\n`;
}

export function rcptCommand(recipient: RecipientEnvelope, { extensions, smtpUtf8 }: MailOptions): string {
  let line = `RCPT TO:<${recipient.address}>`;
  if (extensions.dsn) {
    if (recipient.notify !== undefined) line += ` NOTIFY=${notifyValue(recipient.notify)}`;
    if (recipient.originalRecipient !== undefined)
      line += ` ORCPT=${parameter(smtpUtf8 ? recipient.originalRecipient : asciiOnly(recipient.originalRecipient))}`;
  }
  return `${line}\r\n`;
}

function notifyValue(notify: NotifyWishes): string {
  if (notify.never) return "NEVER";
  const events = [notify.success && "SUCCESS", notify.failure && "FAILURE", notify.delay && "DELAY"];
  return events.filter((event) => event !== false).join(",");
}

/** Received parameters go out as they came, so they must not be able to end the line (RFC 5321 §4.1.2: esmtp-value). */
function parameter(value: string): string {
  if (!/^[^\u0000-\u0020=\u007f]+$/.test(value)) throw new Error(`not a parameter of MAIL or RCPT: ${JSON.stringify(value)}`);
  return value;
}

/** An internationalised ORCPT for a host without SMTPUTF8: utf-8-addr-xtext (RFC 6533 §3). */
function asciiOnly(value: string): string {
  return value.replace(/[^\u0000-\u007f]/gu, embedUnicode);
}

/** SMTPUTF8 is asked for exactly when it is needed (RFC 6531 §3.4). */
export function asksForSmtpUtf8(transaction: Transaction, recipients: readonly RecipientEnvelope[]): boolean {
  return transaction.needs.utf8Headers || needsSmtpUtf8(transaction.sender) || recipients.some(({ address }) => needsSmtpUtf8(address));
}
