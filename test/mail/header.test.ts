import { describe, expect, test } from "vitest";
import { fieldText, readMailboxes, readMessageId, saysTlsRequiredNo, scanHeader } from "../../src/mail/header.ts";

const block = (...lines: string[]) => Buffer.from(lines.map((line) => `${line}\r\n`).join(""));

describe("a header is scanned", () => {
  test("fields are counted, folded lines belong to the field before", () => {
    const scan = scanHeader(block("From: a@b.test", "Subject: one", "\ttwo", "  three", "Received: x", "Received: y"));
    expect(scan).toMatchObject({ fields: 4, receivedFields: 2, hasDate: false, startsWithField: true });
  });

  test("Date and Message-ID are found in any case, also with blanks before the colon", () => {
    const header = block("dAtE : Tue, 01 Sep 2026 08:00:00 +0000", "MESSAGE-ID:", " <x@y.test>");
    const scan = scanHeader(header);
    expect(scan.hasDate).toBe(true);
    expect(scan.messageId && readMessageId(header, scan.messageId)).toBe("<x@y.test>");
  });

  const unwanted: [name: string, lines: string[], left: string][] = [
    ["Bcc", ["From: a@b.test", "Bcc: secret@x.test", "To: c@d.test"], "From: a@b.test\r\nTo: c@d.test\r\n"],
    ["a folded Bcc", ["Bcc: one@x.test,", " two@x.test", "To: c@d.test"], "To: c@d.test\r\n"],
    ["bCC with a blank before the colon", ["bCC : secret@x.test", "To: c@d.test"], "To: c@d.test\r\n"],
    ["Resent-Bcc", ["To: c@d.test", "Resent-Bcc: s@x.test"], "To: c@d.test\r\n"],
    ["Return-Path", ["Return-Path: <a@b.test>", "To: c@d.test"], "To: c@d.test\r\n"],
    ["two Bcc", ["Bcc: a@x.test", "To: c@d.test", "Bcc: b@x.test"], "To: c@d.test\r\n"],
    ["a Bcc behind a line that is no field", ["To: c@d.test", "garbage", "Bcc: b@x.test"], "To: c@d.test\r\ngarbage\r\n"],
    ["nothing from names that only look alike", ["Bccx: a", "X-Bcc: b", "Return-Pathx: c"], "Bccx: a\r\nX-Bcc: b\r\nReturn-Pathx: c\r\n"],
  ];
  for (const [name, lines, left] of unwanted)
    test(`${name} is taken out`, () => {
      const header = block(...lines);
      let rest = "";
      let from = 0;
      for (const range of scanHeader(header).unwanted) {
        rest += header.toString("latin1", from, range.start);
        from = range.end;
      }
      expect(rest + header.toString("latin1", from)).toBe(left);
    });

  test.each([["Hello world"], [" folded first"], [": no name"], ["From a@b.test Tue Sep  1 08:00:00 2026"]])(
    "%j is no field to begin with",
    (line) => {
      expect(scanHeader(block(line, "To: x@y.test")).startsWithField).toBe(false);
    },
  );

  test("field text is unfolded", () => {
    const header = block("Subject: one", "\ttwo");
    expect(fieldText(header, { start: 0, end: header.length })).toBe("one\ttwo");
  });

  test("a Message-ID is made harmless", () => {
    const header = block("Message-ID: <a\u001b[31m@b.test>");
    const scan = scanHeader(header);
    expect(scan.messageId && readMessageId(header, scan.messageId)).toBe("<a?[31m@b.test>");
  });
});

describe("TLS-Required (RFC 8689 §3)", () => {
  const cases: [lines: string[], fields: number, says: boolean][] = [
    [["TLS-Required: No"], 1, true],
    [["tls-required: NO"], 1, true],
    [["TLS-REQUIRED:no"], 1, true],
    [["TLS-Required:\tnO"], 1, true],
    [["TLS-Required:   No"], 1, true],
    [["TLS-Required:", " No"], 1, true],
    [["TLS-Required: ", "\t ", " No"], 1, true],
    [["TLS-Required: Yes"], 1, false],
    [["TLS-Required: No (x)"], 1, false],
    [["TLS-Required: (x) No"], 1, false],
    [["TLS-Required: No, please"], 1, false],
    [['TLS-Required: "No"'], 1, false],
    [["TLS-Required: None"], 1, false],
    [["TLS-Required: N o"], 1, false],
    [["TLS-Required: N", " o"], 1, false],
    [["TLS-Required: No", " No"], 1, false],
    // The grammar has nothing behind the word, and nothing before the colon.
    [["TLS-Required: No "], 1, false],
    [["TLS-Required : No"], 1, false],
    [["TLS-Required:"], 1, false],
    [["TLS-Required: =?us-ascii?Q?No?="], 1, false],
    [["X-TLS-Required: No"], 0, false],
    [["TLS-Requiredx: No"], 0, false],
    [["TLS_Required: No"], 0, false],
    [["TLS-Required No"], 0, false],
    [["Subject: x", " TLS-Required: No"], 0, false],
    [["TLS-Required: No", "Subject: x", "tls-required : Yes"], 2, true],
  ];
  for (const [lines, fields, says] of cases)
    test(`${JSON.stringify(lines)}: ${fields} of them, the first ${says ? "says No" : "asks for nothing"}`, () => {
      const header = block("From: a@b.test", ...lines, "To: c@d.test");
      const found = scanHeader(header).tlsRequired;
      expect(found).toHaveLength(fields);
      expect(found[0] !== undefined && saysTlsRequiredNo(header, found[0])).toBe(says);
    });
});

describe("mailboxes of From", () => {
  const cases: [text: string, addresses: string[] | undefined][] = [
    ["a@b.test", ["a@b.test"]],
    ["Alice <a@b.test>", ["a@b.test"]],
    ['"Doe, Jane <x@evil.test>" <j@b.test>', ["j@b.test"]],
    ["a@b.test, Bob <c@d.test>", ["a@b.test", "c@d.test"]],
    ["(comment <x@y.test>) a@b.test (more)", ["a@b.test"]],
    ["a@b.test (nested (comment) here)", ["a@b.test"]],
    ["Group: a@b.test, c@d.test;", ["a@b.test", "c@d.test"]],
    ["<@route.test:a@b.test>", ["a@b.test"]],
    ['"a b"@b.test', ['"a b"@b.test']],
    ["=?utf-8?q?J=C3=BCrgen?= <j@b.test>", ["j@b.test"]],
    ["", []],
    ["Alice", undefined],
    ["Alice a@b.test", undefined],
    ["<a@b.test> <c@d.test>", undefined],
    ["<a@b.test> trailing", undefined],
    ['"unfinished <a@b.test>', undefined],
    ["<a@b.test", undefined],
  ];
  for (const [text, addresses] of cases)
    test(`${JSON.stringify(text)} names ${JSON.stringify(addresses)}`, () => expect(readMailboxes(text)).toEqual(addresses));
});
