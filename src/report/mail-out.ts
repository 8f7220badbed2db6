/**
 * A report by mail, through our own queue (RFC 8460 §5.3): a document and addresses in, a mail that waits in the queue out; and
 * what became of it there. A mail needs a signature (§3): without a key that signs, none is queued. Making the message is
 * report/mail.ts; how it is delivered, whatever TLS says, is delivery's.
 */
import { domainOf, type EmailAddress } from "../mail/address.ts";
import { literalAddress, type Domain } from "../mail/domain.ts";
import { cleanText } from "../mail/reply.ts";
import type { FindSigningDomain } from "../mail/signing.ts";
import type { QueueId } from "../queue/entry.ts";
import type { ReportDestination, TlsReport } from "../queue/tls-reports.ts";
import { messageOf } from "../thrown.ts";
import { composeReportMail } from "./mail.ts";
import { readOwnDocument } from "./schema.ts";

export interface ReportMail {
  /** The return path: somebody reads what comes back (RFC 5321 §4.5.5). */
  readonly sender: EmailAddress;
  readonly to: readonly EmailAddress[];
  /** Header and body, CRLF line ends, unsigned. */
  readonly octets: Buffer;
  readonly expiresAt: number;
}

export type MailOutcome = "waiting" | "delivered" | "unknown" | { readonly failed: string; readonly refused: boolean };

export interface MailOutIo {
  /** Makes it durable in the queue, with REPORT_LISTENER as its origin. Throws if the queue takes nothing. */
  readonly enqueue: (mail: ReportMail) => Promise<QueueId>;
  /** `delivered`: to all of its addresses that it was not given up for, one at least. `unknown`: the queue has forgotten it. */
  readonly outcomeOf: (id: QueueId) => Promise<MailOutcome>;
  readonly findSigningDomain: FindSigningDomain;
  readonly random: () => number;
}

/** The destination as it stands then: `queued`, or `failed` with what is to be done. */
export async function queueMail(
  { uri, addresses }: { readonly uri: string; readonly addresses: readonly EmailAddress[] },
  { id, reportDomain, giveUpAt, document }: Pick<TlsReport, "id" | "reportDomain" | "giveUpAt"> & { readonly document: string },
  now: number,
  io: MailOutIo,
): Promise<ReportDestination> {
  // The document is the authority (§5.6): settings may name another contact by now.
  const from = readOwnDocument(document)["contact-info"] as EmailAddress;
  const submitter = domainOf(from);
  const failed = (detail: string): ReportDestination => ({ uri, state: "failed", detail: cleanText(detail, 500), at: now });
  if (literalAddress(submitter) !== undefined || io.findSigningDomain(submitter as Domain) === undefined) {
    const remedy = "`postern dkim dns` shows the records to publish";
    return failed(`no DKIM key of ${submitter} is in use, and a report by mail must be signed (RFC 8460 §3): ${remedy}`);
  }
  // Another one for each mail, or a mailbox would take a repeat that was asked for as known.
  const chance = Math.floor(io.random() * 0x1_0000_0000).toString(36);
  const messageId = `<${id.replace("@", `.${chance}@`)}>`;
  const octets = composeReportMail(document, { reportDomain, from, to: addresses, messageId, date: now });
  try {
    const queueId = await io.enqueue({ sender: from, to: addresses, octets, expiresAt: giveUpAt });
    return { uri, state: "queued", detail: `queued as ${queueId}`, at: now, queueId };
  } catch (error) {
    return failed(`it could not be queued: ${messageOf(error)}`);
  }
}

/** What was queued, as it stands now; the rest as it was. */
export async function lookAfterMail(
  destinations: readonly ReportDestination[],
  now: number,
  io: Pick<MailOutIo, "outcomeOf">,
): Promise<ReportDestination[]> {
  return Promise.all(
    destinations.map(async (destination): Promise<ReportDestination> => {
      const { uri, state, queueId } = destination;
      if (state !== "queued" || queueId === undefined) return destination;
      const outcome = await io.outcomeOf(queueId);
      if (outcome === "waiting") return destination;
      if (outcome === "delivered") return { uri, state: "accepted", detail: `delivered as ${queueId}`, at: now, queueId };
      if (outcome === "unknown") return { uri, state: "failed", detail: `${queueId} is no longer in the queue`, at: now, queueId };
      const { failed, refused } = outcome;
      return { uri, state: "failed", detail: cleanText(failed, 500), at: now, queueId, ...(refused && { refused }) };
    }),
  );
}
