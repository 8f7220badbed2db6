/**
 * The report as RFC 8460 §4.4 writes it, member for member, and the reading of one that we wrote ourselves. Making it is
 * report/build.ts. A stranger's report is read by report/read.ts, which forgives more.
 */
import { z } from "zod";

/** §4.4. What is not known is left out (Appendix B does so too). */
const failureDetails = z.strictObject({
  "result-type": z.string(),
  "sending-mta-ip": z.string().optional(),
  "receiving-mx-hostname": z.string().optional(),
  "receiving-mx-helo": z.string().optional(),
  "receiving-ip": z.string().optional(),
  "failed-session-count": z.int(),
  "failure-reason-code": z.string().optional(),
});

const policy = z.strictObject({
  policy: z.strictObject({
    "policy-type": z.enum(["tlsa", "sts", "no-policy-found"]),
    "policy-string": z.array(z.string()).optional(),
    "policy-domain": z.string(),
    "mx-host": z.array(z.string()).optional(),
  }),
  summary: z.strictObject({
    "total-successful-session-count": z.int(),
    "total-failure-session-count": z.int(),
  }),
  "failure-details": z.array(failureDetails).optional(),
});

const document = z.strictObject({
  "organization-name": z.string(),
  "date-range": z.strictObject({ "start-datetime": z.string(), "end-datetime": z.string() }),
  "contact-info": z.string(),
  "report-id": z.string(),
  policies: z.array(policy),
});

export type ReportDocument = z.output<typeof document>;
export type DocumentPolicy = ReportDocument["policies"][number];
export type DocumentDetail = z.output<typeof failureDetails>;

/** The value of a document of ours. Throws where it is none: it was kept as it was built. */
export function readOwnDocument(text: string): ReportDocument {
  try {
    return document.parse(JSON.parse(text));
  } catch (cause) {
    throw new Error("the text that was kept as a TLS report is none of ours", { cause });
  }
}
