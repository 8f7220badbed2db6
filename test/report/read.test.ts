import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { EmailAddress } from "../../src/mail/address.ts";
import { compress } from "../../src/report/compress.ts";
import { composeReportMail } from "../../src/report/mail.ts";
import { type ReceivedReport, readReport } from "../../src/report/read.ts";
import { CONTACT, counted, exampleDocument, mismatch, nothing, REPORT_DOMAIN, sts, tlsa } from "./examples.ts";

/** RFC 8460, Appendix B, as printed; only the URI that the page breaks within its string is on one line. */
const APPENDIX_B = readFileSync(new URL("appendix-b.json", import.meta.url));

function reportIn(octets: Buffer | string): ReceivedReport {
  const read = readReport(Buffer.from(octets));
  if (!read.ok) throw new Error(read.error);
  return read.value;
}
const errorIn = (octets: Buffer | string): string | undefined => {
  const read = readReport(Buffer.from(octets));
  return read.ok ? undefined : read.error;
};
const policyIn = (policy: object) => reportIn(JSON.stringify({ policies: [policy] })).policies[0];

test("RFC 8460, Appendix B, whose mx-host is a string", () =>
  expect(reportIn(APPENDIX_B)).toEqual({
    organization: "Company-X",
    contact: "sts-reporting@company-x.example",
    id: "5065427c-23d3-47ca-b6e0-946ea0e8c4be",
    begin: "2016-04-01T00:00:00Z",
    end: "2016-04-01T23:59:59Z",
    policies: [
      {
        type: "sts",
        domain: "company-y.example",
        strings: ["version: STSv1", "mode: testing", "mx: *.mail.company-y.example", "max_age: 86400"],
        mxHosts: ["*.mail.company-y.example"],
        successes: 5326,
        failures: 303,
        details: [
          {
            resultType: "certificate-expired",
            sendingMtaIp: "2001:db8:abcd:0012::1",
            receivingMxHostname: "mx1.mail.company-y.example",
            sessions: 100,
          },
          {
            resultType: "starttls-not-supported",
            sendingMtaIp: "2001:db8:abcd:0013::1",
            receivingMxHostname: "mx2.mail.company-y.example",
            receivingIp: "203.0.113.56",
            sessions: 200,
            additionalInformation: "https://reports.company-x.example/report_info ? id = 5065427 c - 23 d3# StarttlsNotSupported",
          },
          {
            resultType: "validation-failure",
            sendingMtaIp: "198.51.100.62",
            receivingIp: "203.0.113.58",
            receivingMxHostname: "mx-backup.mail.company-y.example",
            sessions: 3,
            reasonCode: "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED",
          },
        ],
      },
    ],
  }));

/** A mail of two parts, as other reporters write them. */
function mail(part: { type: string; encoding: string; body: string; boundary?: string }, lineEnd = "\r\n"): string {
  const boundary = part.boundary ?? "----=_Part 1";
  return [
    "From: tlsrpt@sender.test",
    "Subject: Report Domain: example.test Submitter: sender.test",
    "content-TYPE: multipart/report;",
    '\treport-type="tlsrpt";',
    ` boundary="${boundary}"`,
    "",
    "preamble {",
    `--${boundary}`,
    "Content-Type: text/plain",
    "",
    "This is a report.",
    `--${boundary}`,
    `Content-Type: ${part.type}`,
    `Content-Transfer-Encoding: ${part.encoding}`,
    "",
    part.body,
    `--${boundary}--`,
    "epilogue",
  ].join(lineEnd);
}

const wrapped = (octets: Buffer) => octets.toString("base64").replace(/.{76}/g, "$&\r\n");
const quotedPrintable = (octets: Buffer) =>
  octets
    .toString("latin1")
    .replace(/[=\n\x80-\xff]/g, (octet) => `=${octet.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`)
    .replace(/(?:=..|[^=]){60}/g, "$&=\r\n");

describe("packagings", () => {
  const expected = reportIn(APPENDIX_B);
  const packed = gzipSync(APPENDIX_B);
  const json = { type: "application/tlsrpt+json", body: APPENDIX_B.toString() };
  const gzip = { type: "application/tlsrpt+gzip", encoding: "base64", body: wrapped(packed) };
  const cases: [what: string, octets: Buffer | string][] = [
    ["gzip", packed],
    ["JSON behind a byte-order mark", Buffer.concat([Buffer.from("\ufeff"), APPENDIX_B])],
    ["JSON behind blank lines", `\r\n  ${APPENDIX_B.toString()}`],
    ["a mail with gzip in base64", mail(gzip)],
    ["the same with LF", mail(gzip, "\n")],
    ["JSON in 7bit", mail({ ...json, encoding: "7bit" })],
    ["JSON in quoted-printable", mail({ ...json, encoding: "Quoted-Printable", body: quotedPrintable(APPENDIX_B) })],
    [
      "the same with blanks that were added at line ends",
      mail({ ...json, encoding: "quoted-printable", body: quotedPrintable(APPENDIX_B).replaceAll("=\r\n", "= \t\r\n") }),
    ],
    ["JSON in base64", mail({ ...json, encoding: "base64", body: wrapped(APPENDIX_B) })],
    ["a type that says little", mail({ ...gzip, type: 'application/octet-stream; name="report.json.gz"' })],
    ["application/gzip", mail({ ...gzip, type: "application/gzip" })],
    ["a boundary that needs no quotes", mail({ ...gzip, boundary: "x" }).replace('boundary="x"', "boundary=x")],
    ["an mbox line in front", `From tlsrpt@sender.test Mon Mar  2 01:02:03 2026\n${mail(gzip, "\n")}`],
    ["no end", mail(gzip).split("------=_Part 1--")[0] ?? ""],
    [
      "a mail that is nothing but the report",
      `Content-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n${wrapped(packed)}`,
    ],
    ["a mail in a mail", `Content-Type: message/rfc822\r\n\r\n${mail(gzip)}`],
    ["a mail attached to a mail", mail({ type: "message/rfc822", encoding: "7bit", body: mail(gzip), boundary: "outer" })],
    [
      "an outer boundary that begins like the inner one",
      mail({ type: "message/rfc822", encoding: "7bit", body: mail({ ...gzip, boundary: "outer2" }), boundary: "outer" }),
    ],
    [
      "JSON of another kind beside it",
      mail({ ...gzip, boundary: "b" }).replace(
        "This is a report.",
        '{"policies": []}\r\n--b\r\nContent-Type: application/json\r\n\r\n{"policies": 1}',
      ),
    ],
  ];
  for (const [what, octets] of cases) test(what, () => expect(reportIn(octets)).toEqual(expected));
});

describe("our own reports come back, whichever way they travelled", () => {
  const counts = [
    counted(sts, 3, [
      [mismatch, 2],
      [{ resultType: "sts-policy-fetch-error", reasonCode: "http-404" }, 1],
    ]),
    counted(tlsa, 5),
    counted(nothing, 1),
  ];
  const document = exampleDocument({ counts, organization: "Bücher & Söhne" });
  const sent = composeReportMail(document, {
    reportDomain: REPORT_DOMAIN,
    from: CONTACT,
    to: ["r@example.test" as EmailAddress],
    messageId: "<1@relay.test>",
    date: 0,
  });
  const packagings: [what: string, octets: Buffer][] = [
    ["JSON", Buffer.from(document)],
    ["gzip", compress(document)],
    ["mail", sent],
  ];
  for (const [what, octets] of packagings)
    test(what, () =>
      expect(reportIn(octets)).toEqual({
        organization: "Bücher & Söhne",
        contact: CONTACT,
        id: "a1b2c3@sender.test",
        begin: "2026-03-01T00:00:00Z",
        end: "2026-03-01T23:59:59Z",
        policies: [
          { type: "no-policy-found", domain: "example.test", strings: [], mxHosts: [], successes: 1, failures: 0, details: [] },
          {
            type: "sts",
            domain: "example.test",
            strings: sts.text,
            mxHosts: sts.mxHost,
            successes: 3,
            failures: 3,
            details: [
              { ...mismatch, sessions: 2 },
              { resultType: "sts-policy-fetch-error", reasonCode: "http-404", sessions: 1 },
            ],
          },
          { type: "tlsa", domain: "mx.example.test", strings: tlsa.text, mxHosts: [], successes: 5, failures: 0, details: [] },
        ],
      }),
    );
});

describe("what reporters get wrong", () => {
  test("policy-string as one string, with semicolons or line ends", () => {
    expect(policyIn({ policy: { "policy-string": "3 1 1 AB; 3 1 1 CD" } })?.strings).toEqual(["3 1 1 AB", "3 1 1 CD"]);
    expect(policyIn({ policy: { "policy-string": "version: STSv1\r\nmode: enforce\n" } })?.strings).toEqual([
      "version: STSv1",
      "mode: enforce",
    ]);
    expect(policyIn({ policy: { "policy-string": ["x: a;b"] } })?.strings).toEqual(["x: a;b"]);
  });
  test("the ABNF's names for members", () =>
    expect(
      policyIn({ policy: { "mx-host-pattern": ["*.x.test"] }, "failure-details": [{ "additional-info-uri": "https://x.test/" }] }),
    ).toMatchObject({
      mxHosts: ["*.x.test"],
      details: [{ additionalInformation: "https://x.test/" }],
    }));
  test("one policy, and one detail, without their lists", () =>
    expect(reportIn('{"policies":{"failure-details":{"result-type":"certificate-expired"}}}').policies[0]?.details).toEqual([
      { resultType: "certificate-expired" },
    ]));
  test("numbers as digits, and numbers that are none", () => {
    expect(policyIn({ summary: { "total-successful-session-count": "12", "total-failure-session-count": 0 } })).toMatchObject({
      successes: 12,
      failures: 0,
    });
    for (const value of [-1, 1.5, "x", null, {}, 1e300])
      expect(policyIn({ summary: { "total-successful-session-count": value } })).not.toHaveProperty("successes");
  });
  test("members that are missing, null, or of another type", () =>
    expect(reportIn('{"organization-name":null,"report-id":7,"contact-info":["x"],"date-range":"x","policies":[null,1,"x",[]]}')).toEqual({
      id: "7",
      policies: Array.from({ length: 4 }, () => ({ strings: [], mxHosts: [], details: [] })),
    }));
});

describe("what is no report", () => {
  const cases: [what: string, octets: Buffer | string, error: string | RegExp][] = [
    ["nothing", "", "it is empty"],
    [
      "a picture",
      Buffer.from("\x89PNG\r\n\x1a\n\0\0", "latin1"),
      "it is neither JSON nor gzip, nor a mail with a part that is one of them",
    ],
    ["a mail without one", "Subject: x\r\n\r\nhello", "it is neither JSON nor gzip, nor a mail with a part that is one of them"],
    ["half a JSON", '{"policies":', /^it is no JSON: /],
    ["JSON of something else", '{"a":1}', "it is JSON, but no TLS report: it has no policies"],
    ["gzip of something else", gzipSync("hello"), /^it is no JSON: /],
    ["gzip cut short", gzipSync(APPENDIX_B).subarray(0, 200), /^it is damaged gzip: /],
    ["JSON whose fault is hostile", '{"\u009b31m', /^it is no JSON: [^\x00-\x1f\x7f-\x9f]+$/],
  ];
  for (const [what, octets, error] of cases) test(what, () => expect(errorIn(octets)).toMatch(error));
});

describe("hostile files", () => {
  test("a gzip bomb is not unpacked", () => {
    const bomb = gzipSync(Buffer.alloc(51 * 1024 ** 2, 0x20));
    expect(bomb.length).toBeLessThan(100_000);
    expect(errorIn(bomb)).toBe("it unpacks to more than 50 MB");
  });
  test("a file beyond all measure is not looked at", () =>
    expect(errorIn(Buffer.alloc(50 * 1024 ** 2 + 1, 0x7b))).toBe("it is larger than 50 MB"));
  test("text is clean and bounded", () => {
    const report = reportIn(
      JSON.stringify({ "organization-name": `\x1b]0;x\x07${"y".repeat(5000)}`, policies: [{ policy: { "policy-domain": "a\u202eb" } }] }),
    );
    expect(report.organization).toHaveLength(1000);
    expect(report.organization?.slice(0, 8)).toBe("?]0;x?yy");
    expect(report.policies[0]?.domain).toBe("a?b");
  });
  test("a list in one text is as bounded as a list", () =>
    expect(policyIn({ policy: { "policy-string": "a;".repeat(200_000) } })?.strings).toHaveLength(100_000));
  test("__proto__ is a member like any other", () =>
    expect(reportIn('{"policies":[],"__proto__":{"report-id":"x"}}')).toEqual({ policies: [] }));

  const slow: [what: string, octets: () => string][] = [
    ["mails in mails without end", () => "Content-Type: message/rfc822\n\n".repeat(100_000)],
    [
      "multiparts in multiparts",
      () => Array.from({ length: 20_000 }, (_, at) => `Content-Type: multipart/mixed; boundary=b${at}\n\n--b${at}\n`).join(""),
    ],
    ["parts without number", () => `Content-Type: multipart/mixed; boundary=b\n\n${"--b\n\n{\n".repeat(500_000)}`],
    ["delimiters that are none", () => `Content-Type: multipart/mixed; boundary=b\n\n${"--bb".repeat(1_000_000)}`],
    ["a header of one field", () => `Content-Type: multipart/mixed${';boundary="'.repeat(500_000)}`],
    ["a header of empty folds", () => `Content-Type:${"\n ".repeat(1_000_000)}`],
    [
      "blanks at line ends",
      () =>
        `Content-Type: application/json\nContent-Transfer-Encoding: quoted-printable\n\n{${" ".repeat(2_000_000)}x${"=".repeat(1_000_000)}`,
    ],
    ["lists in lists", () => `{"policies":${"[".repeat(100_000)}${"]".repeat(100_000)}}`],
  ];
  for (const [what, octets] of slow)
    test(`${what}: an answer, and soon`, () => {
      const file = octets();
      const start = performance.now();
      readReport(Buffer.from(file));
      expect(performance.now() - start).toBeLessThan(3000);
    });

  test("any octets give a report or a clean reason, and never throw", () => {
    const line = fc.constantFrom(
      "Content-Type: multipart/report; boundary=b",
      "Content-Type: application/tlsrpt+json",
      "Content-Transfer-Encoding: base64",
      "--b",
      "--b--",
      "",
      '{"policies":[]}',
      '{"policies":[{"policy":7}]}',
      "eyJwb2xpY2llcyI6W119",
      "\x1f\x8b",
    );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 14 }), fc.uint8Array({ maxLength: 20 }), (lines, tail) => {
        const read = readReport(Buffer.concat([Buffer.from(lines.join("\n"), "latin1"), tail]));
        if (!read.ok) expect(read.error).toMatch(/^it [^\x00-\x1f\x7f-\x9f]+$/);
      }),
      { numRuns: 1000 },
    );
  });
});
