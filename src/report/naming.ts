/**
 * What a report is called (RFC 8460 §5.1, §5.3): its document in; id, file name, subject and submitter out. The document is the
 * authority (§5.6), so all of them are read from it. It does not say for whom it is where only TLSA records were applied,
 * since `policy-domain` names a mail host there (§1.1); so that is handed in.
 */
import type { Domain } from "../mail/domain.ts";
import { type ReportDocument, readOwnDocument } from "./schema.ts";

export interface ReportName {
  /** `sender.example!example.net!1772323200!1772409599!k3j2.json.gz` */
  readonly fileName: string;
  /** On one line; it may be folded at any of its blanks. */
  readonly subject: string;
  /** The domain of `contact-info`. */
  readonly submitter: string;
  readonly reportDomain: Domain;
  readonly reportId: string;
}

/**
 * Unique, as `id-left@id-right` (RFC 5322 §3.6.4): so that the subject's Report-ID is the document's, character for character.
 * `random` as Math.random.
 */
export function newReportId(contactDomain: string, random: () => number): string {
  const chance = Array.from({ length: 4 }, () =>
    Math.floor(random() * 0x1_0000_0000)
      .toString(36)
      .padStart(7, "0"),
  );
  return `${chance.join("")}@${contactDomain}`;
}

export function nameOf(document: string, reportDomain: Domain): ReportName {
  return nameDocument(readOwnDocument(document), reportDomain);
}

/** The same for a document that was read already. */
export function nameDocument(document: ReportDocument, reportDomain: Domain): ReportName {
  const contact = document["contact-info"];
  const submitter = contact.slice(contact.lastIndexOf("@") + 1);
  const { "start-datetime": begin, "end-datetime": end } = document["date-range"];
  const reportId = document["report-id"];
  const unique = reportId.slice(0, reportId.lastIndexOf("@")).replace(/[^A-Za-z0-9]/g, "");
  return {
    fileName: `${[submitter, reportDomain, seconds(begin), seconds(end), unique].join("!")}.json.gz`,
    subject: `Report Domain: ${reportDomain} Submitter: ${submitter} Report-ID: <${reportId}>`,
    submitter,
    reportDomain,
    reportId,
  };
}

function seconds(dateTime: string): number {
  return Date.parse(dateTime) / 1000;
}
