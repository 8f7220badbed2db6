/**
 * A TLS report as RFC 8460 §4.4 describes it, written from the RFC and from nothing else: the
 * independent judge of what report/build.ts makes. Strict: a member that the RFC does not name is a fault.
 */
import { isIP } from "node:net";
import { z } from "zod";

/** RFC 3339 §5.6 with `Z`. */
const dateTime = z.string().regex(/^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?Z$/);
/** RFC 5322 §3.4.1. */
const addrSpec = z.string().regex(/^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[a-z0-9.-]+$/);
/** A-labels, lower case. */
const domain = z.string().regex(/^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/);
const DEC_OCTET = "(?:[0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])";
const IPV4 = new RegExp(`^${DEC_OCTET}(?:\\.${DEC_OCTET}){3}$`);
/** RFC 5952 §4: lower case, no leading zeros; the rest is for `isIP`. */
const ipAddress = z
  .string()
  .refine((text) => IPV4.test(text) || (isIP(text) === 6 && text === text.toLowerCase() && !/(?:^|:)0[0-9a-f]/.test(text)));
const count = z.int().min(0);

const RESULT_TYPES = [
  "starttls-not-supported",
  "certificate-host-mismatch",
  "certificate-expired",
  "certificate-not-trusted",
  "validation-failure",
  "tlsa-invalid",
  "dnssec-invalid",
  "dane-required",
  "sts-policy-fetch-error",
  "sts-policy-invalid",
  "sts-webpki-invalid",
] as const;

const policy = z.discriminatedUnion("policy-type", [
  z.strictObject({
    "policy-type": z.literal("sts"),
    "policy-string": z.array(z.string()),
    "policy-domain": domain,
    "mx-host": z.array(z.string()),
  }),
  z.strictObject({ "policy-type": z.literal("tlsa"), "policy-string": z.array(z.string()), "policy-domain": domain }),
  z.strictObject({ "policy-type": z.literal("no-policy-found"), "policy-domain": domain }),
]);

export const rfcSchema = z.strictObject({
  "organization-name": z.string(),
  "date-range": z.strictObject({ "start-datetime": dateTime, "end-datetime": dateTime }),
  "contact-info": addrSpec,
  "report-id": z.string().min(1),
  policies: z.array(
    z.strictObject({
      policy,
      summary: z.strictObject({ "total-successful-session-count": count, "total-failure-session-count": count }),
      "failure-details": z
        .array(
          z.strictObject({
            "result-type": z.enum(RESULT_TYPES),
            "sending-mta-ip": ipAddress.optional(),
            "receiving-mx-hostname": domain.optional(),
            "receiving-mx-helo": z.string().optional(),
            "receiving-ip": ipAddress.optional(),
            "failed-session-count": z.int().min(1),
            "additional-information": z.url().optional(),
            "failure-reason-code": z.string().optional(),
          }),
        )
        .min(1)
        .optional(),
    }),
  ),
});

export const resultTypes = RESULT_TYPES;
