import { spawnSync } from "node:child_process";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { EmailAddress } from "../../src/mail/address.ts";
import type { Domain } from "../../src/mail/domain.ts";
import type { AppliedPolicy } from "../../src/policy/observation.ts";
import { composeReportMail, type ReportEnvelope } from "../../src/report/mail.ts";
import { nameOf } from "../../src/report/naming.ts";
import { CONTACT, counted, exampleDocument, mismatch, nothing, REPORT_DOMAIN, sts, tlsa } from "./examples.ts";
import { rfcSchema } from "./rfc-schema.ts";

const envelope = (changed: Partial<ReportEnvelope> = {}): ReportEnvelope => ({
  reportDomain: REPORT_DOMAIN,
  from: CONTACT,
  to: ["reports@example.test" as EmailAddress],
  messageId: "<0KF3V7Q2M9@relay.sender.test>",
  date: Date.UTC(2026, 2, 2, 1, 2, 3),
  ...changed,
});

/** Python's own reader of mail, gzip and JSON, which refuses a key that is there twice: it knows nothing of ours. */
const READER = `
import sys, json, gzip, email, email.policy
def once(pairs):
    keys = [key for key, _ in pairs]
    if len(keys) != len(set(keys)): raise ValueError("a key is there twice")
    return dict(pairs)
mail = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
text, report = list(mail.iter_parts())
packed = report.get_payload(decode=True)
faults = [str(fault) for part in mail.walk() for fault in part.defects]
faults += [name + ": " + str(fault) for name, value in mail.items() for fault in value.defects]
json.dump({
    "fields": [[name, str(value)] for name, value in mail.items()],
    "type": mail.get_content_type(), "reportType": mail.get_param("report-type"),
    "text": text.get_content(), "textType": text.get_content_type(),
    "partType": report.get_content_type(), "encoding": report["Content-Transfer-Encoding"],
    "disposition": report.get_content_disposition(), "fileName": report.get_filename(),
    "magic": packed[:2].hex(), "document": gzip.decompress(packed).decode("utf-8"),
    "report": json.loads(gzip.decompress(packed), object_pairs_hook=once), "faults": faults,
}, sys.stdout)
`;
const readerSays = z.object({
  fields: z.array(z.tuple([z.string(), z.string()])),
  type: z.string(),
  reportType: z.string(),
  text: z.string(),
  textType: z.string(),
  partType: z.string(),
  encoding: z.string(),
  disposition: z.string(),
  fileName: z.string(),
  magic: z.string(),
  document: z.string(),
  report: rfcSchema,
  faults: z.array(z.string()),
});

function readIndependently(mail: Buffer): z.output<typeof readerSays> {
  const { status, stdout, stderr } = spawnSync("python3", ["-c", READER], { input: mail, encoding: "utf8", maxBuffer: 2 ** 28 });
  if (status !== 0) throw new Error(`python3 could not read it: ${stderr}`);
  return readerSays.parse(JSON.parse(stdout));
}

test("an independent reader finds the parts, the gzip and the very document in it (RFC 8460 §5.2, §5.3)", () => {
  const document = exampleDocument();
  const read = readIndependently(composeReportMail(document, envelope()));
  expect(read).toMatchObject({
    type: "multipart/report",
    reportType: "tlsrpt",
    textType: "text/plain",
    partType: "application/tlsrpt+gzip",
    encoding: "base64",
    disposition: "attachment",
    fileName: nameOf(document, REPORT_DOMAIN).fileName,
    magic: "1f8b",
    document,
    faults: [],
  });
});

test("each header field is there once and right (RFC 8460 §4.4, §5.1, §5.3, §5.6, RFC 5322 §3.6, RFC 3834 §5.2, RFC 8689 §3)", () => {
  const { fields } = readIndependently(composeReportMail(exampleDocument(), envelope()));
  expect(Object.fromEntries(fields)).toMatchObject({
    Date: "Mon, 02 Mar 2026 01:02:03 +0000",
    From: "tlsrpt@sender.test",
    To: "reports@example.test",
    Subject: "Report Domain: example.test Submitter: sender.test Report-ID: <a1b2c3@sender.test>",
    "Message-ID": "<0KF3V7Q2M9@relay.sender.test>",
    "TLS-Report-Domain": "example.test",
    "TLS-Report-Submitter": "sender.test",
    "Auto-Submitted": "auto-generated",
    "TLS-Required": "No",
    "MIME-Version": "1.0",
  });
  expect(new Set(fields.map(([name]) => name.toLowerCase())).size).toBe(fields.length);
});

test("report-type as the RFC writes it, since receivers look for it (RFC 8460 §5.3)", () =>
  expect(composeReportMail(exampleDocument(), envelope()).toString()).toContain(
    '\r\nContent-Type: multipart/report; report-type="tlsrpt";\r\n',
  ));

test("the subject is folded between its words (RFC 8460 §5.3)", () =>
  expect(composeReportMail(exampleDocument(), envelope()).toString()).toContain(
    "\r\nSubject: Report Domain: example.test\r\n Submitter: sender.test\r\n Report-ID: <a1b2c3@sender.test>\r\n",
  ));

test("the same arguments give the same octets (RFC 8460 §4.4, §5.3)", () => {
  const document = exampleDocument();
  expect(composeReportMail(document, envelope()).equals(composeReportMail(document, envelope()))).toBe(true);
});

describe("lines", () => {
  const long = ["a".repeat(60), "b".repeat(60), "c".repeat(60), "d".repeat(50), "test"].join(".") as Domain;
  const many: AppliedPolicy[] = Array.from({ length: 60 }, (_, at) => ({ ...tlsa, domain: `mx${at}.${long}` }));
  const mails: [what: string, mail: () => Buffer][] = [
    ["a small one", () => composeReportMail(exampleDocument(), envelope())],
    [
      "the longest names, many policies, many recipients",
      () =>
        composeReportMail(
          exampleDocument({
            reportDomain: long,
            contact: `${"x".repeat(10)}@${long}` as EmailAddress,
            organization: "ü".repeat(3000),
            counts: many.map((policy) => counted(policy, 1, [[mismatch, 1]])),
          }),
          envelope({ reportDomain: long, to: Array.from({ length: 8 }, (_, at) => `r${at}@${long}` as EmailAddress) }),
        ),
    ],
  ];
  for (const [what, compose] of mails)
    test(`${what}: CRLF alone, ASCII, at most 998 octets (RFC 5322 §2.1.1), and still readable`, () => {
      const mail = compose();
      const text = mail.toString("latin1");
      expect(text.replaceAll("\r\n", "")).not.toMatch(/[\r\n]/);
      expect(text).not.toMatch(/[^\x00-\x7f]/);
      expect(text.endsWith("--\r\n")).toBe(true);
      expect(Math.max(...text.split("\r\n").map((line) => line.length))).toBeLessThanOrEqual(998);
      expect(readIndependently(mail).faults).toEqual([]);
    });
});

describe("the part for people", () => {
  test("says what it is, who sent it, the totals by policy, and where to ask", () => {
    const counts = [
      counted(sts, 40, [
        [mismatch, 2],
        [{ resultType: "certificate-expired" }, 3],
        [{ ...mismatch, receivingIp: "192.0.2.9" }, 2],
      ]),
      counted(nothing, 2),
    ];
    const { text } = readIndependently(composeReportMail(exampleDocument({ counts }), envelope()));
    expect(text.replaceAll("\r\n", "\n")).toBe(
      [
        "This is a TLS report (SMTP TLS Reporting, RFC 8460) about mail to",
        "example.test: how TLS went when it was sent there.",
        "",
        "  from       Sender Ltd (sender.test)",
        "  day        2026-03-01, 00:00 to 24:00 UTC",
        "  report     a1b2c3@sender.test",
        "  succeeded  42",
        "  failed     7",
        "",
        "Sessions by the policy that was applied; one that had two is in both:",
        "",
        "  no policy found, example.test: 2 succeeded, 0 failed",
        "  MTA-STS, example.test: 40 succeeded, 7 failed",
        "      certificate-host-mismatch: 4",
        "      certificate-expired: 3",
        "",
        "The attachment says more: which servers, which failures, how often. It is",
        "JSON in gzip; `postern tlsrpt read FILE` shows it as a table.",
        "",
        "You get this because the DNS record at _smtp._tls.example.test",
        "asks for reports to",
        "  reports@example.test",
        "Whoever keeps that record can send them elsewhere, or end them.",
        "",
        "Questions about this report go to tlsrpt@sender.test.",
        "",
      ].join("\n"),
    );
  });
  test("an organization beyond ASCII arrives as it is", () =>
    expect(readIndependently(composeReportMail(exampleDocument({ organization: "Bücher & Söhne" }), envelope())).text).toContain(
      "Bücher & Söhne (sender.test)",
    ));
  test("an organization that would write lines of its own does not", () => {
    const mail = composeReportMail(
      exampleDocument({ organization: "X\r\n--=_postern_a1b2c3sendertest--\r\nBcc: jo@example.test" }),
      envelope(),
    );
    expect(readIndependently(mail).text).toContain("from       X??--=_postern_");
  });
});

test("what was attached is the gzip that is posted", () => {
  const text = composeReportMail(exampleDocument(), envelope()).toString();
  const base64 = /filename="[^"]+"\r\n\r\n([A-Za-z0-9+/=\r\n]+)\r\n--/.exec(text)?.[1] ?? "";
  expect(gunzipSync(Buffer.from(base64, "base64")).toString()).toBe(exampleDocument());
});
