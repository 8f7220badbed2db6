import { describe, expect, test } from "vitest";
import { formatDate, formatMessageId, formatReceived, type ReceivedFacts, transmissionType } from "../../src/mail/received.ts";

const facts: ReceivedFacts = {
  ehloName: "client.test",
  clientAddress: "192.0.2.7",
  mailname: "relay.test",
  protocol: "ESMTPSA",
  id: "0KF3V7Q2M9",
  at: Date.UTC(2026, 8, 1, 8, 0, 5, 600),
};

// RFC 5321 §4.4: from, TCP-info, by, with, id, for, and the date with a numeric zone.
const ABNF =
  /^Received: from (?:[A-Za-z0-9.-]+|\[[A-Za-z0-9.:]+\]) \(\[(?:[0-9.]+|IPv6:[0-9a-f:]+)\]\)\r\n\tby [a-z0-9.-]+ \(Postern\) with (?:UTF8SMTP|E?SMTP)S?A? id \w+(?:\r\n\tfor <[!-~]+@[!-~]+>)?;\r\n\t[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} \+0000\r\n$/;

describe("Received", () => {
  test("says from, by, with, id and when", () => {
    expect(formatReceived(facts)).toBe(
      "Received: from client.test ([192.0.2.7])\r\n\tby relay.test (Postern) with ESMTPSA id 0KF3V7Q2M9;\r\n\tTue, 01 Sep 2026 08:00:05 +0000\r\n",
    );
    expect(formatReceived(facts)).toMatch(ABNF);
  });

  test("names the only recipient", () => {
    expect(formatReceived({ ...facts, recipient: "bob@example.test" })).toMatch(/\r\n\tfor <bob@example\.test>;\r\n/);
    expect(formatReceived({ ...facts, recipient: "bob@example.test" })).toMatch(ABNF);
  });

  test("leaves out a recipient that would need SMTPUTF8", () =>
    expect(formatReceived({ ...facts, recipient: "jürgen@example.test" })).not.toContain("for"));

  test("writes IPv6 as RFC 5321 §4.1.3 has it", () => {
    const text = formatReceived({ ...facts, clientAddress: "2001:db8::7", ehloName: "[IPv6:2001:db8::7]" });
    expect(text).toContain("from [IPv6:2001:db8::7] ([IPv6:2001:db8::7])");
    expect(text).toMatch(ABNF);
  });

  test.each([
    ["app_web_1", "app_web_1"],
    ["a b\r\nBcc: x", "a?b??Bcc:?x"],
    ["x) by evil.test", "x??by?evil.test"],
    ["", "unknown"],
  ])("the name %j appears as %j", (name, shown) => expect(formatReceived({ ...facts, ehloName: name })).toContain(`from ${shown} (`));
});

test.each([
  [{ esmtp: false, tls: false, login: false, utf8: false }, "SMTP"],
  [{ esmtp: true, tls: false, login: false, utf8: false }, "ESMTP"],
  [{ esmtp: true, tls: true, login: false, utf8: false }, "ESMTPS"],
  [{ esmtp: true, tls: false, login: true, utf8: false }, "ESMTPA"],
  [{ esmtp: true, tls: true, login: true, utf8: false }, "ESMTPSA"],
  [{ esmtp: true, tls: false, login: false, utf8: true }, "UTF8SMTP"],
  [{ esmtp: true, tls: true, login: true, utf8: true }, "UTF8SMTPSA"],
])("%j is %s", (session, type) => expect(transmissionType(session)).toBe(type));

test("dates have a numeric zone and a four-digit year", () =>
  expect(formatDate(Date.UTC(2027, 0, 3))).toBe("Sun, 03 Jan 2027 00:00:00 +0000"));

test("a Message-ID has our name and differs with chance", () => {
  expect(formatMessageId("0KF3V7Q2M9", "relay.test", () => 0)).toBe("<0KF3V7Q2M9.0000000@relay.test>");
  expect(formatMessageId("0KF3V7Q2M9", "relay.test", () => 0.9)).not.toBe(formatMessageId("0KF3V7Q2M9", "relay.test", () => 0.8));
});
