import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { z } from "zod";
import type { AppliedPolicy, FailureDetail } from "../../src/policy/observation.ts";
import type { PolicyCount, ReportDay } from "../../src/queue/tls-reports.ts";
import { buildReport } from "../../src/report/build.ts";
import { compress } from "../../src/report/compress.ts";
import { counted, facts, mismatch, nothing, sts, tlsa } from "./examples.ts";
import { resultTypes, rfcSchema } from "./rfc-schema.ts";

type Report = z.output<typeof rfcSchema>;

/** Strict: what JSON.parse would forgive or drop (a second key of one name, 1.0 for 1) does not come back the same. */
function read(text: string): Report {
  const value: unknown = JSON.parse(text);
  expect(JSON.stringify(value)).toBe(text);
  return rfcSchema.parse(value);
}

const built = (...counts: PolicyCount[]): Report => read(buildReport(facts({ counts })));
const detailsOf = (report: Report) => report.policies[0]?.["failure-details"] ?? [];
const detailOf = (detail: FailureDetail) => detailsOf(built(counted(sts, 0, [[detail, 1]])))[0];

test("the whole document, RFC 7493 and member for member as RFC 8460 §4.4 has it", () => {
  expect(read(buildReport(facts()))).toEqual({
    "organization-name": "Sender Ltd",
    "date-range": { "start-datetime": "2026-03-01T00:00:00Z", "end-datetime": "2026-03-01T23:59:59Z" },
    "contact-info": "tlsrpt@sender.test",
    "report-id": "a1b2c3@sender.test",
    policies: [
      {
        policy: {
          "policy-type": "sts",
          "policy-string": ["version: STSv1", "mode: enforce", "mx: *.example.test", "mx: mx.example.test", "max_age: 86400"],
          "policy-domain": "example.test",
          "mx-host": ["*.example.test", "mx.example.test"],
        },
        summary: { "total-successful-session-count": 3, "total-failure-session-count": 2 },
        "failure-details": [
          {
            "result-type": "certificate-host-mismatch",
            "sending-mta-ip": "198.51.100.7",
            "receiving-mx-hostname": "mx.example.test",
            "receiving-mx-helo": "box.hosting.test",
            "receiving-ip": "2001:db8::25",
            "failed-session-count": 2,
          },
        ],
      },
      {
        policy: {
          "policy-type": "tlsa",
          "policy-string": [`3 1 1 ${"ab".repeat(32)}`, `2 0 1 ${"cd".repeat(32)}`],
          "policy-domain": "mx.example.test",
        },
        summary: { "total-successful-session-count": 5, "total-failure-session-count": 0 },
      },
    ],
  });
});

describe("the policy object (RFC 8460 §1.1, §4.4, §4.5)", () => {
  const cases: [what: string, policy: AppliedPolicy, expected: object][] = [
    [
      "one mx pattern is a list too",
      { ...sts, mxHost: ["*.example.test"] },
      { "mx-host": ["*.example.test"], "policy-domain": "example.test" },
    ],
    [
      "faults in a policy are kept",
      { ...sts, text: ["version: STSv1", "mode: tseting"], mxHost: [] },
      { "policy-string": ["version: STSv1", "mode: tseting"], "mx-host": [] },
    ],
    [
      "a TLSA look-up that failed",
      { type: "tlsa", domain: "_25._tcp.mx.example.test", text: [] },
      { "policy-string": [], "policy-domain": "_25._tcp.mx.example.test" },
    ],
  ];
  for (const [what, policy, expected] of cases)
    test(what, () => expect(built(counted(policy, 1)).policies[0]?.policy).toMatchObject(expected));
  test("DANE: policy-domain is the TLSA base domain, and there is no mx-host", () =>
    expect(Object.keys(built(counted(tlsa, 1)).policies[0]?.policy ?? {})).toEqual(["policy-type", "policy-string", "policy-domain"]));
  test("nothing found: neither policy-string nor mx-host", () =>
    expect(built(counted(nothing, 1)).policies[0]?.policy).toEqual({ "policy-type": "no-policy-found", "policy-domain": "example.test" }));
  test("names in A-labels, lower case (RFC 8460 §4.4)", () => {
    const report = built(
      counted({ ...nothing, domain: "Bücher.Test" }, 0, [
        [{ resultType: "starttls-not-supported", receivingMxHostname: "MX.Bücher.test." }, 1],
      ]),
    );
    expect(report.policies[0]?.policy["policy-domain"]).toBe("xn--bcher-kva.test");
    expect(detailsOf(report)[0]?.["receiving-mx-hostname"]).toBe("mx.xn--bcher-kva.test");
  });
});

describe("the details", () => {
  const addresses: [given: string, written: string | undefined][] = [
    ["2001:DB8:0:0:0:0:0:1", "2001:db8::1"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["192.0.2.1", "192.0.2.1"],
    ["fe80::1%eth0", "fe80::1"],
    ["mx.example.test", undefined],
  ];
  for (const [given, written] of addresses)
    test(`${given} is ${written ?? "left out"} (RFC 8460 §4.4)`, () => {
      const detail = detailOf({ resultType: "validation-failure", sendingMtaIp: given, receivingIp: given });
      expect([detail?.["sending-mta-ip"], detail?.["receiving-ip"]]).toEqual([written, written]);
    });

  test("no failure, no failure-details (RFC 8460 §4.2.1)", () =>
    expect(built(counted(sts, 3)).policies[0]).not.toHaveProperty("failure-details"));

  test("what is not known is left out (RFC 8460 §4.4)", () =>
    expect(detailOf({ resultType: "sts-policy-fetch-error", reasonCode: "http-404" })).toEqual({
      "result-type": "sts-policy-fetch-error",
      "failed-session-count": 1,
      "failure-reason-code": "http-404",
    }));

  test("the MX host and what it calls itself are two members (RFC 8460 §4.4)", () =>
    expect(detailOf(mismatch)).toMatchObject({ "receiving-mx-hostname": "mx.example.test", "receiving-mx-helo": "box.hosting.test" }));

  test("equal ones add up, another receiving IP is another one, the most frequent comes first (RFC 8460 §4.4)", () => {
    const other = { ...mismatch, receivingIp: "192.0.2.9" };
    const report = built(counted(sts, 0, [[other, 2], ...Array.from({ length: 100 }, () => [mismatch, 1] as const)]));
    expect(detailsOf(report).map((detail) => [detail["receiving-ip"], detail["failed-session-count"]])).toEqual([
      ["2001:db8::25", 100],
      ["192.0.2.9", 2],
    ]);
  });

  test("a policy that changed gives two entries, equal ones give one (RFC 8460 §4.4)", () => {
    const testing = { ...sts, text: ["version: STSv1", "mode: testing", "mx: *.example.test", "max_age: 86400"] };
    const report = built(counted(sts, 1), counted(testing, 2), counted(sts, 4, [[mismatch, 1]]));
    expect(report.policies.map(({ summary }) => Object.values(summary))).toEqual([
      [5, 1],
      [2, 0],
    ]);
  });
});

describe("the day (RFC 8460 §4.1, §4.4)", () => {
  const days: [day: string, begin: string, end: string][] = [
    ["2026-03-01", "2026-03-01T00:00:00Z", "2026-03-01T23:59:59Z"],
    ["2028-02-29", "2028-02-29T00:00:00Z", "2028-02-29T23:59:59Z"],
    ["2026-12-31", "2026-12-31T00:00:00Z", "2026-12-31T23:59:59Z"],
  ];
  for (const [day, begin, end] of days)
    test(day, () =>
      expect(read(buildReport(facts({ day: day as ReportDay })))["date-range"]).toEqual({ "start-datetime": begin, "end-datetime": end }),
    );
});

describe("nothing of strangers' words (RFC 8460 §8)", () => {
  const cases: [what: string, detail: FailureDetail][] = [
    ["a greeting for a host name", { resultType: "validation-failure", receivingMxHelo: "mx ready, jo@example.test" }],
    ["a reply for a code", { resultType: "validation-failure", reasonCode: "550 jo@example.test unknown" }],
    ["a mailbox for a host", { resultType: "validation-failure", receivingMxHostname: "jo@example.test" }],
    ["a mailbox for an address", { resultType: "validation-failure", receivingIp: "jo@example.test" }],
  ];
  for (const [what, detail] of cases)
    test(what, () => expect(detailOf(detail)).toEqual({ "result-type": "validation-failure", "failed-session-count": 1 }));
  test("an address literal is a name that hosts give themselves", () =>
    expect(detailOf({ ...mismatch, receivingMxHelo: "[IPv6:2001:db8::1]" })?.["receiving-mx-helo"]).toBe("[IPv6:2001:db8::1]"));
});

test("I-JSON has neither lone surrogates nor noncharacters, and needs no byte-order mark (RFC 8460 §4, RFC 7493)", () => {
  const text = buildReport(
    facts({ organization: "\ufeffA\ud800\uffff\u{1fffe}\u{1f600}", counts: [counted({ ...sts, text: ["mode: \udfff\ufdd0"] }, 1)] }),
  );
  expect(text.charCodeAt(0)).toBe(0x7b);
  expect(read(text)["organization-name"]).toBe("?A\ufffd\ufffd\ufffd\u{1f600}");
  expect(read(text).policies[0]?.policy).toMatchObject({ "policy-string": ["mode: \ufffd\ufffd"] });
});

describe("ten megabytes (RFC 8460 §5.2)", () => {
  const LIMIT = 10_000_000;
  const sumOf = (report: Report) => detailsOf(report).reduce((total, detail) => total + detail["failed-session-count"], 0);
  /** Details that differ in one member alone. */
  const differing = (count: number, member: (at: number) => Partial<FailureDetail>) =>
    counted(
      sts,
      1,
      Array.from({ length: count }, (_, at) => [{ ...mismatch, reasonCode: "x".repeat(60), ...member(at) }, 1] as const),
    );
  const address = (at: number) => `2001:db8::${(at >> 16).toString(16)}:${(at & 0xffff).toString(16)}`;

  const cases: [count: number, what: string, member: (at: number) => Partial<FailureDetail>, left: string[]][] = [
    [
      100_000,
      "names that hosts call themselves",
      (at) => ({ receivingMxHelo: `h${at}.hosting.test` }),
      ["sending-mta-ip", "receiving-mx-hostname", "receiving-ip"],
    ],
    [60_000, "addresses of hosts", (at) => ({ receivingIp: address(at) }), ["sending-mta-ip", "receiving-mx-hostname"]],
    [60_000, "our own addresses", (at) => ({ sendingMtaIp: address(at) }), ["receiving-mx-hostname"]],
    [60_000, "names of hosts", (at) => ({ receivingMxHostname: `mx${at}.${"a".repeat(60)}.example.test` }), []],
    [100_000, "codes", (at) => ({ reasonCode: `${"y".repeat(50)}${at}` }), []],
  ];
  for (const [count, what, member, left] of cases)
    test(`${count} distinct ${what}: what tells least goes first, and no session is lost`, () => {
      const text = buildReport(facts({ counts: [differing(count, member)] }));
      expect(Buffer.byteLength(text)).toBeLessThan(LIMIT);
      const report = read(text);
      expect(sumOf(report)).toBe(count);
      expect(detailsOf(report)).toHaveLength(1);
      const [first = {}] = detailsOf(report);
      for (const key of left) expect(first).toHaveProperty(key);
    });

  test("what fits is left whole", () => {
    const some = counted(
      sts,
      1,
      Array.from({ length: 1000 }, (_, at) => [{ ...mismatch, receivingMxHelo: `h${at}.test` }, 1] as const),
    );
    expect(detailsOf(built(some))).toHaveLength(1000);
  });

  test("a domain that changes its policy all day long is told the one that most sessions met", () => {
    const large = (at: number): AppliedPolicy => ({ ...sts, text: [`x: ${at}`, "y".repeat(60_000)] });
    const counts = [...Array.from({ length: 300 }, (_, at) => counted(large(at), at === 77 ? 9 : 1)), counted(nothing, 1)];
    const text = buildReport(facts({ counts }));
    expect(Buffer.byteLength(text)).toBeLessThan(LIMIT);
    const report = read(text);
    expect(report.policies.map(({ policy, summary }) => [policy["policy-type"], summary["total-successful-session-count"]])).toEqual([
      ["no-policy-found", 1],
      ["sts", 308],
    ]);
    expect(report.policies[1]?.policy).toMatchObject({ "policy-string": ["x: 77", "y".repeat(60_000)] });
  });
});

test("the same octets for the same counts, in whatever order they come (RFC 8460 §4.4, §5.3)", () => {
  const one = facts({
    counts: [
      counted(sts, 3, [
        [mismatch, 2],
        [{ resultType: "certificate-expired" }, 2],
      ]),
      counted(tlsa, 5),
      counted(nothing, 1),
    ],
  });
  const other = facts({
    counts: [
      counted(nothing, 1),
      counted(tlsa, 5),
      counted(sts, 3, [
        [{ resultType: "certificate-expired" }, 2],
        [mismatch, 2],
      ]),
    ],
  });
  expect(buildReport(other)).toBe(buildReport(one));
  const packed = compress(buildReport(one));
  expect(packed.equals(compress(buildReport(one)))).toBe(true);
  // RFC 8460 §5.2, and RFC 1952 §2.3.1: the magic number, and no time.
  expect([...packed.subarray(0, 2), ...packed.subarray(4, 8)]).toEqual([0x1f, 0x8b, 0, 0, 0, 0]);
});

test("whatever is counted, the document holds what RFC 8460 says, and no @ but in who we are", () => {
  const word = fc.oneof(
    fc.string({ unit: "binary", maxLength: 12 }),
    fc.constantFrom("jo@example.test", "mx.example.test", "192.0.2.1", "2001:DB8::A", "\ud800"),
  );
  const detail = fc.record(
    {
      resultType: fc.constantFrom(...resultTypes),
      sendingMtaIp: word,
      receivingMxHostname: word,
      receivingMxHelo: word,
      receivingIp: word,
      reasonCode: word,
    },
    { requiredKeys: ["resultType"] },
  );
  const line = fc.string({ unit: "binary", maxLength: 20 }).map((text) => text.replaceAll("@", ""));
  const policy: fc.Arbitrary<AppliedPolicy> = fc.record({
    type: fc.constantFrom("sts" as const, "tlsa" as const, "no-policy-found" as const),
    domain: word,
    text: fc.array(line, { maxLength: 3 }),
    mxHost: fc.array(line, { maxLength: 2 }),
  });
  const count = fc
    .record({
      policy,
      successes: fc.nat(),
      failing: fc.array(fc.tuple(detail, fc.integer({ min: 1, max: 1e6 })), { maxLength: 6 }),
      overlap: fc.double({ min: 0, max: 1, noNaN: true }),
    })
    .map(({ failing, overlap, ...rest }) => {
      const sum = failing.reduce((total, [, sessions]) => total + sessions, 0);
      const failures = Math.max(Math.ceil(sum * overlap), Math.min(1, sum));
      return { ...rest, failures, details: failing.map(([one, sessions]) => ({ detail: one, sessions })) };
    });
  fc.assert(
    fc.property(fc.array(count, { maxLength: 5 }), (counts) => {
      const text = buildReport(facts({ counts }));
      const report = read(text);
      expect(text.isWellFormed()).toBe(true);
      expect(text).not.toMatch(/\\ud[89a-f]|\p{Noncharacter_Code_Point}/u);
      expect(text.match(/@/g)).toHaveLength(2);
      let total = 0;
      for (const { summary, "failure-details": details = [] } of report.policies) {
        const sum = details.reduce((sessions, one) => sessions + one["failed-session-count"], 0);
        expect(sum).toBeGreaterThanOrEqual(summary["total-failure-session-count"]);
        // RFC 8460 §4.2
        expect(summary["total-failure-session-count"] > 0).toBe(details.length > 0);
        total += summary["total-failure-session-count"] + summary["total-successful-session-count"];
      }
      expect(total).toBe(counts.reduce((sessions, one) => sessions + one.successes + one.failures, 0));
    }),
    { numRuns: 500 },
  );
});
