/**
 * One message from DATA to its reply: the spool is fed, the envelope joins it, the store makes both durable, and only then
 * is there a 250 (RFC 5321 §6.1). Also watches how fast the octets come. The dialogue around it is session.ts.
 */
import { domainOf, parseAddress, type ReversePath } from "../mail/address.ts";
import { type Domain, literalAddress } from "../mail/domain.ts";
import { fieldText, type HeaderScan, readMailboxes, readMessageId, saysTlsRequiredNo } from "../mail/header.ts";
import { formatDate, formatMessageId, formatReceived, type TransmissionType } from "../mail/received.ts";
import type { NewMessage, NewRecipient, Origin, QueueId } from "../queue/entry.ts";
import type { Desk } from "./desk.ts";
import type { DataSink } from "./guarded-stream.ts";
import { Spool } from "./spool.ts";
import { storageReply } from "./storage-replies.ts";

export interface Submittal {
  readonly sender: ReversePath;
  readonly recipients: readonly NewRecipient[];
  readonly returnContent?: "full" | "headers";
  readonly envelopeId?: string;
  readonly origin: Origin;
  readonly ehloName: string;
  readonly clientAddress: string;
  readonly protocol: TransmissionType;
  /** Of a trusted network or logged in: bare line ends are mended if the settings say so. */
  readonly trusted: boolean;
  /** MAIL said REQUIRETLS. */
  readonly requireTls: boolean;
  /** May the submitter put this address into From? The reply that refuses, if not. */
  readonly judgeSender: (address: ReversePath) => string | undefined;
}

export interface Outcome {
  readonly reply: string;
  readonly accepted: boolean;
}

/** How long a rate is measured (RFC 5321 knows no rate; a client that drips octets must not hold its place for hours). */
const RATE_WINDOW = 60_000;

export class Reception implements DataSink {
  readonly #desk: Desk;
  readonly #submittal: Submittal;
  readonly #id: QueueId;
  readonly #receivedAt: number;
  readonly #spool: Spool;
  readonly #settled: (outcome: Outcome, done: () => void) => void;
  #messageId: string | undefined;
  #tlsTag: NewMessage["tlsTag"];
  #signingDomain: Domain | undefined;
  #windowStart: number;
  #windowOctets = 0;
  /** The store holds the client back, so its slowness is ours. */
  #held = false;
  #ended = false;

  constructor(desk: Desk, submittal: Submittal, settled: (outcome: Outcome, done: () => void) => void) {
    this.#desk = desk;
    this.#submittal = submittal;
    this.#settled = settled;
    this.#id = desk.store.newQueueId();
    this.#receivedAt = desk.clock.now();
    this.#windowStart = desk.clock.monotonic();
    const { settings } = desk.rules;
    this.#spool = new Spool({
      limits: settings.limits,
      mendLineEnds: submittal.trusted && settings.bareLineEnds === "normalise",
      newBody: () => desk.store.newBody(),
      judge: (block, scan) => this.#judge(block, scan),
      storageReply: (error) => storageReply(error, desk.minimumFree),
    });
  }

  take(octets: Buffer): void | Promise<void> {
    this.#windowOctets += octets.length;
    const pause = this.#spool.take(octets);
    if (pause === undefined) return undefined;
    this.#held = true;
    return pause.then(() => {
      this.#held = false;
      this.#windowStart = this.#desk.clock.monotonic();
      this.#windowOctets = 0;
    });
  }

  end(octets: Buffer, done: () => void): void {
    this.#ended = true;
    const pause = this.#spool.end(octets);
    if (pause === undefined) this.#finish(done);
    else
      void pause
        .then(() => this.#finish(done))
        .catch((error: unknown) => this.#settled({ reply: storageReply(error, this.#desk.minimumFree), accepted: false }, done));
  }

  /** Why the client must go: it sends too slowly, or nothing, or without end. */
  whyTooSlow(): string | undefined {
    if (this.#ended || this.#held) return undefined;
    const { limits } = this.#desk.rules.settings;
    if (this.#spool.received > limits.messageSize * 10 + 2 ** 20) return "421 4.3.0 the message has no end";
    const now = this.#desk.clock.monotonic();
    const elapsed = now - this.#windowStart;
    if (limits.minimumRate === 0) {
      if (this.#windowOctets === 0 && elapsed >= limits.idle) return "421 4.4.2 nothing came for too long";
    } else if (elapsed < RATE_WINDOW) {
      return undefined;
    } else if (this.#windowOctets * 1000 < limits.minimumRate * elapsed) {
      return `421 4.4.2 fewer than ${limits.minimumRate} octets a second came`;
    }
    if (this.#windowOctets > 0) {
      this.#windowStart = now;
      this.#windowOctets = 0;
    }
    return undefined;
  }

  /** The final dot has come: from here on the reply is ours to give. */
  get ended(): boolean {
    return this.#ended;
  }

  /** The client went away. Before the dot there is no message; after it, what is under way is kept (RFC 5321 §6.1). */
  lose(): void {
    if (!this.#ended) this.#spool.abandon();
  }

  /** Our fields: Received in front, then what the submitter left out (RFC 6409 §8.2, §8.3). */
  #judge(block: Buffer, scan: HeaderScan): { prelude: string; hashBody: boolean } | { refusal: string } {
    const { settings } = this.#desk.rules;
    if (settings.checkFromHeader) {
      const refusal = this.#judgeFrom(block, scan);
      if (refusal !== undefined) return { refusal };
    }
    const submittal = this.#submittal;
    const { mailname } = this.#desk;
    const tag = submittal.requireTls ? "required" : tagOf(block, scan);
    if (typeof tag === "object") return tag;
    this.#tlsTag = tag;
    const only = submittal.recipients.length === 1 ? submittal.recipients[0]?.address : undefined;
    let prelude = formatReceived({
      ehloName: settings.hideClient ? "localhost" : submittal.ehloName,
      clientAddress: settings.hideClient ? "127.0.0.1" : submittal.clientAddress,
      mailname,
      protocol: submittal.protocol,
      id: this.#id,
      at: this.#receivedAt,
      ...(only !== undefined && { recipient: only }),
    });
    if (scan.messageId === undefined) {
      this.#messageId = formatMessageId(this.#id, mailname, this.#desk.random);
      prelude += `Message-ID: ${this.#messageId}\r\n`;
    } else {
      this.#messageId = readMessageId(block, scan.messageId);
    }
    if (!scan.hasDate) prelude += `Date: ${formatDate(this.#receivedAt)}\r\n`;
    this.#signingDomain = this.#findSigningDomain(block, scan);
    return { prelude, hashBody: this.#signingDomain !== undefined };
  }

  /**
   * Whose DKIM signature the message gets: one of its first author, where that is plain and this client may send as all of them,
   * for we vouch for it (RFC 6376 §1.1). A message with two From fields shows some readers another author (§8.15). One that bears
   * a signature gets ours too: it may be of anybody, and what we or those before us changed may have broken it (§4.1).
   */
  #findSigningDomain(block: Buffer, scan: HeaderScan): Domain | undefined {
    const { findSigningDomain } = this.#desk;
    const [field, second] = scan.from;
    if (findSigningDomain === undefined || field === undefined || second !== undefined) return undefined;
    const authors = (readMailboxes(fieldText(block, field)) ?? []).map((mailbox) => parseAddress(mailbox));
    const [first] = authors;
    if (first?.ok !== true) return undefined;
    // Readers may see any of several authors, so the client must be free to send as each.
    if (!authors.every((author) => author.ok && this.#submittal.judgeSender(author.value) === undefined)) return undefined;
    const domain = domainOf(first.value);
    return literalAddress(domain) === undefined ? findSigningDomain(domain as Domain) : undefined;
  }

  /** RFC 6409 §6.1: whoever may not send as an address may not claim to be it either. */
  #judgeFrom(block: Buffer, scan: HeaderScan): string | undefined {
    const [field, second] = scan.from;
    if (field === undefined) return "554 5.6.0 the message has no From field, which this relay checks. [relay/from]";
    if (second !== undefined) return "554 5.6.0 the message has two From fields. [relay/from]";
    const mailboxes = readMailboxes(fieldText(block, field));
    if (mailboxes === undefined || mailboxes.length === 0)
      return "554 5.6.0 the From field cannot be read as a list of addresses. [relay/from]";
    for (const mailbox of mailboxes) {
      const address = parseAddress(mailbox);
      if (!address.ok) return "554 5.6.0 the From field has an address that cannot be read. [relay/from]";
      const refusal = this.#submittal.judgeSender(address.value);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  }

  #finish(done: () => void): void {
    const { body, bodyHash, refusal } = this.#spool;
    if (refusal !== undefined || body === undefined) {
      this.#settled({ reply: refusal ?? "451 4.3.0 the message could not be kept", accepted: false }, done);
      return;
    }
    const submittal = this.#submittal;
    const desk = this.#desk;
    const message: NewMessage = {
      id: this.#id,
      sender: submittal.sender,
      recipients: submittal.recipients,
      origin: submittal.origin,
      needs: this.#spool.needs,
      receivedAt: this.#receivedAt,
      expiresAt: this.#receivedAt + (submittal.sender === "" ? desk.giveUpAfterNullSender : desk.giveUpAfter),
      size: body.size,
      ...(submittal.returnContent !== undefined && { returnContent: submittal.returnContent }),
      ...(submittal.envelopeId !== undefined && { envelopeId: submittal.envelopeId }),
      ...(this.#tlsTag !== undefined && { tlsTag: this.#tlsTag }),
      ...(this.#signingDomain !== undefined && bodyHash !== undefined && { signing: { domain: this.#signingDomain, bodyHash } }),
      ...(this.#messageId !== undefined && { messageId: this.#messageId }),
    };
    const options = { leaseNow: desk.leaseNow, leaseUntil: desk.leaseUntil() };
    desk.store.enqueue(message, body, options).then(
      (entries) => {
        // It is durable, so it will be delivered, whether or not the client is still there to hear it.
        try {
          desk.accepted(entries);
        } catch (cause) {
          // The leases run out, and it is delivered then; the client must not send it again.
          desk.emit({
            kind: "fault",
            where: "submission",
            error: new Error(`${message.id} was stored, but its delivery could not be started`, { cause }),
          });
        }
        this.#tellAccepted(message);
        this.#settled({ reply: `250 2.0.0 Ok: queued as ${message.id}`, accepted: true }, done);
      },
      (error: unknown) => {
        body.abandon();
        this.#settled({ reply: storageReply(error, desk.minimumFree), accepted: false }, done);
      },
    );
  }

  #tellAccepted(message: NewMessage): void {
    const { origin } = message;
    this.#desk.emit({
      kind: "message-accepted",
      id: message.id,
      listener: origin.listener,
      client: this.#submittal.clientAddress,
      sender: message.sender,
      recipients: message.recipients.length,
      size: message.size,
      ...(origin.user !== undefined && { user: origin.user }),
      ...(message.messageId !== undefined && { messageId: message.messageId }),
      ...(origin.tls !== undefined && { tls: origin.tls }),
    });
  }
}

/**
 * What the header asks of TLS where MAIL said nothing (RFC 8689 §4.1). The field must not stand there twice (§3), and readers
 * on the way might differ about which counts, so the message is not taken.
 */
function tagOf(block: Buffer, { tlsRequired }: HeaderScan): "optional" | undefined | { refusal: string } {
  const [field, second] = tlsRequired;
  if (second !== undefined) return { refusal: "554 5.6.0 the message has more than one TLS-Required field. [relay/tls-required]" };
  return field !== undefined && saysTlsRequiredNo(block, field) ? "optional" : undefined;
}
