/**
 * The envelope of one mail transaction (RFC 5321 §3.3): MAIL opens it, RCPT adds to it, each judged by the rules in force.
 * Arguments in, a transaction or the reply that refuses out. The order of commands is session.ts's; the text reception.ts's.
 */
import { domainOf, type EmailAddress } from "../mail/address.ts";
import type { NewRecipient } from "../queue/entry.ts";
import { type ClientFacts, judgeClient, judgeRecipient, judgeSender } from "./accept.ts";
import type { Client } from "./client.ts";
import type { Desk, Peer, Rules } from "./desk.ts";
import { type MailCommand, parseMail, parseRcpt } from "./path.ts";
import type { Submittal } from "./reception.ts";
import { troubleReply } from "./storage-replies.ts";

export interface Transaction {
  readonly mail: MailCommand;
  /** By address exactly as given: local parts that differ in case are two mailboxes to us (RFC 5321 §2.4). */
  readonly recipients: Map<EmailAddress, NewRecipient>;
}

/** `malformed` counts against the client; what rules or state refuse does not. */
export interface CommandRefusal {
  readonly reply: string;
  readonly malformed: boolean;
}

export interface Submitting {
  readonly desk: Desk;
  readonly peer: Peer;
  readonly client: ClientFacts;
}

const refuse = (reply: string): CommandRefusal => ({ reply, malformed: false });

export function openTransaction(argument: string, { desk, peer, client }: Submitting, inTls: boolean): Transaction | CommandRefusal {
  const { rules, store, minimumFree } = desk;
  const barred = judgeClient(client, { name: peer.listener.name, loginRequired: peer.listener.login === "required" });
  if (barred !== undefined) return refuse(barred);
  const mail = parseMail(argument, { blankAfterColon: client.trusted || client.loggedIn, smtpUtf8: false });
  if (!mail.ok) return { reply: mail.reply, malformed: true };
  if (mail.requireTls && !inTls) return refuse("530 5.7.0 REQUIRETLS is for TLS only: say STARTTLS first. [relay/requiretls]");
  const { messageSize } = rules.settings.limits;
  if (mail.size !== undefined && mail.size > messageSize)
    return refuse(`552 5.3.4 message size exceeds the limit of ${messageSize} octets. [relay/size]`);
  const unwelcome = judgeSender(client, mail.sender, rules.accept);
  if (unwelcome !== undefined) return refuse(unwelcome);
  const trouble = store.trouble();
  if (trouble !== undefined) return refuse(troubleReply(trouble, minimumFree));
  const inTime = client.user === undefined ? rules.messagesPerAddress.take(peer.who) : rules.messagesPerUser.take(client.user.name);
  if (!inTime) return refuse("451 4.7.1 too many messages within a minute, try again later. [relay/rate]");
  return { mail, recipients: new Map() };
}

/** Undefined when the recipient is taken. */
export function addRecipient(transaction: Transaction, argument: string, { desk, client }: Submitting): CommandRefusal | undefined {
  const { rules } = desk;
  const { recipients, mail } = transaction;
  const parsed = parseRcpt(argument, { blankAfterColon: client.trusted || client.loggedIn, smtpUtf8: mail.smtpUtf8 });
  if (!parsed.ok) return { reply: parsed.reply, malformed: true };
  const isPostmaster = parsed.recipient === "postmaster";
  const address = parsed.recipient === "postmaster" ? rules.postmaster : parsed.recipient;
  if (address === undefined) return refuse("550 5.1.1 this relay has no postmaster: submission.postmaster is not set");
  const unwelcome = judgeRecipient(address, rules.accept, isPostmaster);
  if (unwelcome !== undefined) return refuse(unwelcome);
  const { limits } = rules.settings;
  if (recipients.size >= limits.recipients && !recipients.has(address)) {
    return refuse(`452 4.5.3 too many recipients: a message may have ${limits.recipients}`);
  }
  if (client.user !== undefined && !rules.recipientsPerUser.take(client.user.name)) {
    return refuse("450 4.7.1 too many recipients within an hour, try again later. [relay/rate]");
  }
  recipients.set(address, {
    address,
    nextHop: domainOf(address),
    ...(parsed.notify !== undefined && { notify: parsed.notify }),
    ...(parsed.originalRecipient !== undefined && { originalRecipient: parsed.originalRecipient }),
  });
  return undefined;
}

/** The envelope as it stands at DATA, and who hands it in. */
export function submittalOf({ mail, recipients }: Transaction, client: Client, rules: Rules): Submittal {
  const facts = client.facts();
  return {
    sender: mail.sender,
    recipients: [...recipients.values()],
    origin: client.origin(),
    ehloName: client.ehloName ?? "",
    clientAddress: facts.address,
    protocol: client.protocol(mail.smtpUtf8),
    trusted: facts.trusted || facts.loggedIn,
    requireTls: mail.requireTls,
    judgeSender: (address) => judgeSender(facts, address, rules.accept),
    ...(mail.returnContent !== undefined && { returnContent: mail.returnContent }),
    ...(mail.envelopeId !== undefined && { envelopeId: mail.envelopeId }),
  };
}
