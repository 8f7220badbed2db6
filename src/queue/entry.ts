/**
 * What lies in the queue: a message, and one entry for each next hop its recipients need. An entry is what is leased,
 * attempted and settled; a recipient's state never goes back once it is final (RFC 5321 §4.2.5).
 */
import type { EmailAddress, ReversePath } from "../mail/address.ts";
import type { NextHop } from "../mail/domain.ts";
import type { ContentNeeds, NotifyWishes } from "../mail/envelope.ts";
import type { SigningWish } from "../mail/signing.ts";

/** Ten characters of Crockford's base 32: the queue id people see, `0KF3V7Q2M9`. Sorts by time of creation. */
export type QueueId = string & { readonly brand: "QueueId" };

/** Who handed the message in: the unit of fairness. `user:alice`, `net:192.0.2.7`, `local` (our own notices). */
export type Submitter = string;

/** How the message came in, for Received, `queue why` and the auditor. Text is clean. */
export interface Origin {
  readonly submitter: Submitter;
  /** Listener name; NOTICE_LISTENER or REPORT_LISTENER for what the relay itself sends (mail/own-origins.ts). */
  readonly listener: string;
  readonly clientAddress?: string;
  readonly ehloName?: string;
  readonly user?: string;
  /** TLS of the submission, `TLSv1.3 TLS_AES_256_GCM_SHA384`; absent when it came in clear. */
  readonly tls?: string;
}

export interface NewRecipient {
  readonly address: EmailAddress;
  readonly nextHop: NextHop;
  readonly notify?: NotifyWishes;
  readonly originalRecipient?: string;
}

/** A message about to be made durable. Its body is stored beside it (see `SpooledBody`). */
export interface NewMessage {
  readonly id: QueueId;
  readonly sender: ReversePath;
  readonly recipients: readonly NewRecipient[];
  readonly origin: Origin;
  readonly returnContent?: "full" | "headers";
  readonly envelopeId?: string;
  readonly needs: ContentNeeds;
  /** RFC 8689: `required` by the MAIL parameter REQUIRETLS (§2), `optional` by the header field TLS-Required: No (§3). */
  readonly tlsTag?: "required" | "optional";
  /** DKIM: whose signature it gets when it is sent. Absent: none of ours. */
  readonly signing?: SigningWish;
  /** Message-ID field, clean, for `queue why` and the log. */
  readonly messageId?: string;
  readonly receivedAt: number;
  /** From then on a recipient that cannot be delivered is given up. */
  readonly expiresAt: number;
  /** Octets of the stored body: our fields in front included, dots not stuffed. */
  readonly size: number;
}

export type RecipientState = "waiting" | "delivered" | "failed" | "expired" | "dropped";

export interface QueuedRecipient extends NewRecipient {
  /** Unique in the whole store. */
  readonly recipientId: number;
}

/** Proof that this process alone may attempt and settle the entry until then. A lost lease changes nothing. */
export interface Lease {
  readonly entryId: number;
  /** Counts up with every lease of the entry; a settlement with an old one is refused. */
  readonly generation: number;
  readonly until: number;
}

/** The stored octets: CRLF line ends, our header fields in front, dots not stuffed. */
export interface BodySource {
  readonly size: number;
  /** The whole body when it is at hand in memory (small bodies of the first attempt). */
  readonly inMemory?: Buffer;
  /**
   * Chunks of at most 128 KB, each good until the second one after it is asked for: whoever keeps it longer copies it. May
   * be called again, for the next host. Rejects if the body cannot be read in full; never ends early without an error.
   */
  chunks(): AsyncIterable<Buffer>;
}

/** A leased entry, with everything an attempt needs. */
export interface LeasedEntry {
  readonly lease: Lease;
  readonly message: Omit<NewMessage, "recipients">;
  readonly nextHop: NextHop;
  /** Recipients still waiting at this next hop. */
  readonly recipients: readonly QueuedRecipient[];
  /** Attempts made before this one. */
  readonly attempts: number;
  readonly body: BodySource;
}
