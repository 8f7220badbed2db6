/**
 * The mail that carries a report (RFC 8460 §5.3, RFC 6522): the document and who writes to whom in, the message out, with CRLF
 * line ends and without a signature. All that can be read from the document is read from it (§5.6). The part for people is
 * report/mail-text.ts's; signing and the queue are the caller's.
 */
import type { EmailAddress } from "../mail/address.ts";
import type { Domain } from "../mail/domain.ts";
import { formatDate } from "../mail/received.ts";
import { compress, REPORT_MEDIA_TYPE } from "./compress.ts";
import { reportText } from "./mail-text.ts";
import { nameDocument } from "./naming.ts";
import { readOwnDocument } from "./schema.ts";

export interface ReportEnvelope {
  readonly reportDomain: Domain;
  /** An address that people can answer (RFC 5322 §3.6.2). */
  readonly from: EmailAddress;
  readonly to: readonly EmailAddress[];
  /** With its angle brackets. */
  readonly messageId: string;
  /** ms since 1970. */
  readonly date: number;
}

/**
 * ASCII throughout, except where an address is not: then the message needs SMTPUTF8 (RFC 6532). The same arguments give the same
 * octets.
 */
export function composeReportMail(document: string, { reportDomain, from, to, messageId, date }: ReportEnvelope): Buffer {
  const report = readOwnDocument(document);
  const name = nameDocument(report, reportDomain);
  const text = reportText(report, name, to);
  const boundary = `=_postern_${name.reportId.replace(/[^A-Za-z0-9]/g, "").slice(0, 40)}`;
  const lines = [
    `Date: ${formatDate(date)}`,
    `From: <${from}>`,
    `To: ${to.map((address) => `<${address}>`).join(",\r\n ")}`,
    // FWS is allowed between the words, and nowhere else (RFC 8460 §5.3).
    `Subject: ${name.subject.replace(/ (?=Submitter: |Report-ID: )/g, "\r\n ")}`,
    `Message-ID: ${messageId}`,
    `TLS-Report-Domain: ${name.reportDomain}`,
    `TLS-Report-Submitter: ${name.submitter}`,
    // A report is no answer to a message (RFC 3834 §5.2).
    "Auto-Submitted: auto-generated",
    // What is told of must not stop the telling, on later hops neither (RFC 8460 §3, RFC 8689 §3).
    "TLS-Required: No",
    "MIME-Version: 1.0",
    'Content-Type: multipart/report; report-type="tlsrpt";',
    ` boundary="${boundary}"`,
    "",
    "This is a TLS report in MIME format.",
    "",
    `--${boundary}`,
    ...textPart(text),
    `--${boundary}`,
    `Content-Type: ${REPORT_MEDIA_TYPE}`,
    "Content-Transfer-Encoding: base64",
    "Content-Disposition: attachment;",
    ` filename="${name.fileName}"`,
    "",
    base64(compress(document)),
    `--${boundary}--`,
    "",
  ];
  return Buffer.from(lines.join("\r\n"));
}

function textPart(text: string): string[] {
  const ascii = !/[^\x00-\x7f]/.test(text);
  return [
    `Content-Type: text/plain; charset=${ascii ? "us-ascii" : "utf-8"}`,
    `Content-Transfer-Encoding: ${ascii ? "7bit" : "base64"}`,
    "",
    ascii ? text : base64(Buffer.from(text)),
  ];
}

/** Lines of 76 characters (RFC 2045 §6.8). */
function base64(octets: Buffer): string {
  return octets.toString("base64").replace(/.{76}(?=.)/g, "$&\r\n");
}
