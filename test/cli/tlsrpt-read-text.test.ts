import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { renderReceived } from "../../src/cli/tlsrpt-read-text.ts";
import { type ReceivedDetail, type ReceivedPolicy, type ReceivedReport, readReport } from "../../src/report/read.ts";

const policy = (changed: Partial<ReceivedPolicy> = {}): ReceivedPolicy => ({ strings: [], mxHosts: [], details: [], ...changed });
const render = (changed: Partial<ReceivedReport>): string => renderReceived({ policies: [], ...changed });
const lineOf = (text: string, label: string) =>
  text
    .split("\n")
    .find((line) => line.startsWith(label))
    ?.slice(11);

test("RFC 8460's example, as the admin of company-y.example sees it", () => {
  const read = readReport(readFileSync(new URL("../report/appendix-b.json", import.meta.url)));
  if (!read.ok) throw new Error(read.error);
  expect(renderReceived(read.value)).toBe(
    `from       Company-X <sts-reporting@company-x.example>
period     2016-04-01, the whole day in UTC
report     5065427c-23d3-47ca-b6e0-946ea0e8c4be
sessions   5326 succeeded, 303 failed, under 1 policy

policy     MTA-STS for company-y.example
published  version: STSv1
           mode: testing
           mx: *.mail.company-y.example
           max_age: 86400
mx         *.mail.company-y.example
succeeded  5326
failed     303

FAILURE                 SESSIONS  MX                                FROM                   TO            REASON
starttls-not-supported       200  mx2.mail.company-y.example        2001:db8:abcd:0013::1  203.0.113.56  https://reports.company-x.example/report
                                                                                                         _info ? id = 5065427 c - 23 d3#
                                                                                                         StarttlsNotSupported
certificate-expired          100  mx1.mail.company-y.example        2001:db8:abcd:0012::1  -             -
validation-failure             3  mx-backup.mail.company-y.example  198.51.100.62          203.0.113.58  X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED
`,
  );
});

test("a report that says nothing says so", () =>
  expect(render({})).toBe("from       does not say\nperiod     ? to ?\nreport     has no id\nsessions   none: it names no policy\n"));

describe("the period", () => {
  const cases: [begin: string, end: string, shown: string][] = [
    ["2026-03-01T00:00:00Z", "2026-03-01T23:59:59Z", "2026-03-01, the whole day in UTC"],
    ["2026-03-01T00:00:00.000Z", "2026-03-01T23:59:59.999Z", "2026-03-01, the whole day in UTC"],
    ["2026-03-01T00:00:00+00:00", "2026-03-01T23:59:59+00:00", "2026-03-01, the whole day in UTC"],
    ["2026-03-01T00:00:00Z", "2026-03-02T23:59:59Z", "2026-03-01T00:00:00Z to 2026-03-02T23:59:59Z"],
    ["2026-03-01T00:00:00-08:00", "2026-03-01T23:59:59-08:00", "2026-03-01T00:00:00-08:00 to 2026-03-01T23:59:59-08:00"],
    ["yesterday", "today", "yesterday to today"],
  ];
  for (const [begin, end, shown] of cases) test(`${begin} to ${end}`, () => expect(lineOf(render({ begin, end }), "period")).toBe(shown));
});

describe("policies", () => {
  const types: [type: string | undefined, shown: string][] = [
    ["sts", "MTA-STS for x.test"],
    ["tlsa", "DANE (TLSA) for x.test"],
    ["no-policy-found", "no policy found for x.test"],
    ["toString", "toString for x.test"],
    [undefined, "policy of no type for x.test"],
  ];
  for (const [type, shown] of types)
    test(String(type), () =>
      expect(lineOf(render({ policies: [policy({ domain: "x.test", ...(type !== undefined && { type }) })] }), "policy")).toBe(shown),
    );
  test("sessions add up, and a number that is missing is a dash", () => {
    const text = render({ policies: [policy({ successes: 2, failures: 1 }), policy({ successes: 3 })] });
    expect(lineOf(text, "sessions")).toBe("5 succeeded, 1 failed, under 2 policies");
    expect(text.endsWith("succeeded  3\nfailed     -\n")).toBe(true);
  });
  test("the hundred and first is counted", () =>
    expect(render({ policies: Array.from({ length: 101 }, () => policy()) })).toMatch(/\nand 1 more policy\n$/));
  test("a policy of many lines ends in their number", () =>
    expect(render({ policies: [policy({ strings: Array.from({ length: 40 }, (_, at) => `mx: mx${at}.test`) })] })).toContain(
      "           mx: mx29.test\n           and 10 more\n",
    ));
});

describe("failures", () => {
  const failing = (...details: ReceivedDetail[]) => render({ policies: [policy({ details })] });
  test("the most frequent first", () =>
    expect(failing({ resultType: "a", sessions: 1 }, { resultType: "b" }, { resultType: "c", sessions: 20 })).toMatch(
      /\nc +20.*\na +1.*\nb +-/,
    ));
  test("what a host calls itself is told where it is not its name", () => {
    expect(failing({ receivingMxHostname: "mx.test", receivingMxHelo: "box.test" })).toContain("mx.test, calls itself box.test");
    expect(failing({ receivingMxHostname: "mx.test", receivingMxHelo: "mx.test" })).not.toContain("calls itself");
  });
  test("code and further information", () =>
    expect(failing({ reasonCode: "x", additionalInformation: "https://a.test/" })).toContain("x, https://a.test/"));
  test("the two hundred and first is counted", () =>
    expect(failing(...Array.from({ length: 202 }, () => ({ resultType: "a" })))).toMatch(/\nand 2 more kinds of failure\n$/));
});

test("nothing of it moves the terminal", () => {
  const evil = "\x1b[2J\u202e\u009b";
  const detail = {
    resultType: evil,
    receivingMxHostname: evil,
    receivingMxHelo: `x${evil}`,
    sendingMtaIp: evil,
    receivingIp: evil,
    reasonCode: evil,
  };
  const text = render({
    organization: evil,
    contact: evil,
    id: evil,
    begin: evil,
    end: evil,
    policies: [policy({ type: evil, domain: evil, strings: [evil], mxHosts: [evil], details: [detail] })],
  });
  expect(text).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/);
});
