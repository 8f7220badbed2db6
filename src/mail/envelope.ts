/**
 * The envelope of a message on its way (RFC 5321 §2.3.1), with what its submitter asked for: notices (RFC 3461),
 * the body's kind (RFC 1652), internationalised headers (RFC 6531).
 */
import type { EmailAddress, ReversePath } from "./address.ts";

/** NOTIFY of one recipient: absent means "failure, and delay at our discretion" (RFC 3461 §4.1). */
export interface NotifyWishes {
  readonly never: boolean;
  readonly success: boolean;
  readonly failure: boolean;
  readonly delay: boolean;
}

export interface RecipientEnvelope {
  readonly address: EmailAddress;
  readonly notify?: NotifyWishes;
  /** ORCPT exactly as received, `type;xtext`, case kept (RFC 3461 §4.2, §5.2.1 d). */
  readonly originalRecipient?: string;
}

export interface Envelope {
  readonly sender: ReversePath;
  readonly recipients: readonly RecipientEnvelope[];
  /** RET (RFC 3461 §4.3). */
  readonly returnContent?: "full" | "headers";
  /** ENVID exactly as received, xtext (RFC 3461 §4.4). */
  readonly envelopeId?: string;
}

/** What the message's octets demand of the next host; read off the message itself, not off what the client said. */
export interface ContentNeeds {
  /** Some octet of the body is above 127 (RFC 1652 §3). */
  readonly eightBit: boolean;
  /** Some header field is not ASCII, so only SMTPUTF8 carries it (RFC 6531 §3.2). */
  readonly utf8Headers: boolean;
}
