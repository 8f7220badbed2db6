/**
 * Everything a notice about undelivered mail is written from, as one value. delivery/notice.ts puts it together and writes the
 * message; its parts are written by delivery/notice-text.ts, delivery/notice-status.ts and delivery/notice-return.ts.
 */
import type { EmailAddress } from "../mail/address.ts";
import type { LeasedEntry, QueuedRecipient, QueueId } from "../queue/entry.ts";
import type { AttemptRecord, DeliveryProblem } from "../queue/settlement.ts";
import type { Original } from "./notice-return.ts";

/** A recipient that was given up, and why. */
export interface GivenUp {
  readonly recipient: QueuedRecipient;
  readonly kind: "failed" | "expired";
  readonly problem: DeliveryProblem;
}

/** Everything a notice is written from. */
export interface NoticeFacts {
  readonly id: QueueId;
  /** This relay's name, or an address literal. */
  readonly relay: string;
  readonly from: string;
  readonly to: EmailAddress;
  readonly now: number;
  readonly message: LeasedEntry["message"];
  readonly givenUp: readonly GivenUp[];
  readonly attempt: AttemptRecord;
  /** Attempts made, the last one included. */
  readonly attempts: number;
  readonly original: Original;
  /** The sender's address is internationalised, so whoever receives the notice takes UTF-8 (RFC 6533 §4.5). */
  readonly utf8: boolean;
}
