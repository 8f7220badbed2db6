/** Signatures as a verifier that is not ours sees them. */
import { beforeAll, describe, expect, test } from "vitest";
import { signFields } from "../../src/mail/dkim.ts";
import type { Domain } from "../../src/mail/domain.ts";
import { makeTestKeys, type Records, recordsOf, signWhole, type TestKey, verify } from "../dkim/verifier.ts";

const DOMAIN = "example.org" as Domain;
const NOW = Date.UTC(2026, 8, 1, 8);
const GOOD = ["rsa-sha256 pass", "ed25519-sha256 pass"];

let keys: TestKey[];
let records: Records;
beforeAll(async () => {
  keys = await makeTestKeys();
  records = recordsOf(keys, DOMAIN);
});

const HEAD = [
  "Received: from x.test ([192.0.2.1])\r\n\tby relay.test (Postern) with ESMTP id 0TEST00001;\r\n\tTue, 01 Sep 2026 08:00:00 +0000",
  "From: Alice <alice@example.org>",
  "To: bob@example.net",
  "Subject: Hello",
  "Date: Tue, 01 Sep 2026 08:00:00 +0000",
  "Message-ID: <1@example.org>",
].join("\r\n");

const bytes = (text: string, encoding: BufferEncoding = "utf8"): Buffer => Buffer.from(text, encoding);
const sign = (message: Buffer): Promise<Buffer> => signWhole(message, keys, DOMAIN, NOW);

describe("verified, by RSA and by Ed25519", () => {
  const cases: [name: string, message: Buffer][] = [
    ["ASCII", bytes(`${HEAD}\r\n\r\nHello Bob\r\n`)],
    ["a body of 8-bit octets", bytes(`${HEAD}\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\nGr\xfc\xdfe\r\n`, "latin1")],
    ["a header of UTF-8", bytes(`${HEAD.replace("Hello", "Grüße nach 東京")}\r\n\r\nHello\r\n`)],
    // The last octet is A0, which text functions take for a blank.
    ["a header that ends with octet A0", bytes(`${HEAD.replace("Hello", "voilà")}\r\n\r\nHello\r\n`)],
    ["a header that begins with one", bytes(`${HEAD.replace("Subject: Hello", "Subject: \u00a0Hello")}\r\n\r\nHello\r\n`)],
    ["folded fields", bytes(`${HEAD.replace("Hello", "one\r\n two\r\n\t three  \r\n   four")}\r\n\r\nHello\r\n`)],
    ["a value that begins on the next line", bytes(`${HEAD.replace("Hello", "\r\n Hello \t ")}\r\n\r\nHello\r\n`)],
    ["an empty field", bytes(`${HEAD}\r\nReply-To:\r\nCc: \r\n\r\nHello\r\n`)],
    ["a blank in front of the colon", bytes(`${HEAD.replace("Subject:", "Subject :")}\r\n\r\nHello\r\n`)],
    ["names in any case", bytes(`${HEAD.replace("Subject:", "sUBJECT:").replace("From:", "FROM:")}\r\n\r\nHello\r\n`)],
    [
      "fields more than once",
      bytes(`${HEAD}\r\nCc: a@x.test\r\nCc: b@x.test\r\nList-Unsubscribe: <u:1>\r\nList-Unsubscribe: <u:2>\r\n\r\nHello\r\n`),
    ],
    ["another's signature in front", bytes(`DKIM-Signature: v=1; x=y\r\n${HEAD}\r\n\r\nHello\r\n`)],
    ["no body, and no empty line", bytes(`${HEAD}\r\n`)],
    ["an empty body", bytes(`${HEAD}\r\n\r\n`)],
    ["a body of empty lines", bytes(`${HEAD}\r\n\r\n\r\n\r\n\r\n`)],
    ["empty lines at the end", bytes(`${HEAD}\r\n\r\nHello\r\n\r\n\r\n`)],
    ["no line end at the end", bytes(`${HEAD}\r\n\r\nHello`)],
    ["blanks at line ends", bytes(`${HEAD}\r\n\r\nHello  \r\n\t\r\n \r\n`)],
    ["a header of 60 KB", bytes(`${HEAD}\r\nReferences: ${"<0123456789@example.org>\r\n ".repeat(2400)}<z@x.test>\r\n\r\nHello\r\n`)],
    ["a body of a megabyte", bytes(`${HEAD}\r\n\r\n${`${"x".repeat(70)}\r\n`.repeat(15_000)}`)],
  ];
  for (const [name, message] of cases)
    test(name, async () => {
      const results = await verify(await sign(message), records, NOW + 1000);
      expect(results.filter((line) => !line.startsWith("none "))).toEqual(GOOD);
    });

  test("lines that a hop folded anew", async () => {
    const signed = (await sign(bytes(`${HEAD.replace("Hello", "one two three")}\r\n\r\nHello\r\n`))).toString();
    expect(await verify(bytes(signed.replace("one two", "one\r\n\ttwo")), records, NOW)).toEqual(GOOD);
  });
});

describe("a change on the way is noticed", () => {
  const message = `${HEAD}\r\nContent-Type: text/plain\r\n\r\nPay 100 to Bob\r\n`;
  const changes: [name: string, change: (text: string) => string][] = [
    ["another body", (text) => text.replace("Pay 100", "Pay 900")],
    ["a body with more behind it", (text) => `${text}and 900 to Eve\r\n`],
    ["another subject", (text) => text.replace("Subject: Hello", "Subject: Hellp")],
    ["another author", (text) => text.replace("<alice@", "<eve@")],
    ["a subject taken away", (text) => text.replace("Subject: Hello\r\n", "")],
    ["a second From in front", (text) => `From: eve@example.org\r\n${text}`],
    ["a second From behind", (text) => text.replace("Message-ID", "From: eve@example.org\r\nMessage-ID")],
    ["a second Subject", (text) => `Subject: other\r\n${text}`],
    ["a second Date", (text) => `Date: Tue, 01 Sep 2026 09:00:00 +0000\r\n${text}`],
    ["a second Content-Type", (text) => `Content-Type: text/html\r\n${text}`],
    ["a Cc where there was none", (text) => `Cc: eve@example.net\r\n${text}`],
    ["a Reply-To where there was none", (text) => `Reply-To: eve@example.net\r\n${text}`],
    ["a MIME-Version where there was none", (text) => `MIME-Version: 1.0\r\n${text}`],
    ["a Content-Transfer-Encoding where there was none", (text) => `Content-Transfer-Encoding: base64\r\n${text}`],
    ["a later expiry", (text) => text.replaceAll(/x=\d+/g, "x=9999999999")],
  ];
  for (const [name, change] of changes)
    test(name, async () => {
      const signed = (await sign(bytes(message))).toString();
      const changed = change(signed);
      expect(changed).not.toBe(signed);
      const results = await verify(bytes(changed), records, NOW);
      expect(results).toHaveLength(2);
      for (const result of results) expect(result).not.toMatch(/ pass/);
    });

  test("but not what hops add: Received, Return-Path, another signature", async () => {
    const signed = await sign(bytes(message));
    const added = bytes("Return-Path: <alice@example.org>\r\nReceived: from a by b;\r\n\tTue, 01 Sep 2026 08:00:01 +0000\r\n");
    expect(await verify(Buffer.concat([added, signed]), records, NOW)).toEqual(GOOD);
  });

  test("nor what lists add", async () => {
    const signed = await sign(bytes(message));
    expect(await verify(Buffer.concat([bytes("List-Id: <l.example.net>\r\nSender: l@example.net\r\n"), signed]), records, NOW)).toEqual(
      GOOD,
    );
  });
});

test("a signature is good for a week", async () => {
  const signed = await sign(bytes(`${HEAD}\r\n\r\nHello\r\n`));
  const week = 7 * 24 * 3_600_000;
  expect(await verify(signed, records, NOW + week - 1000)).toEqual(GOOD);
  for (const result of await verify(signed, records, NOW + week + 1000)) expect(result).not.toMatch(/ pass/);
});

describe("the field itself", () => {
  const REPORT = `${HEAD}\r\nTLS-Report-Domain: example.net\r\nTLS-Report-Submitter: example.org\r\nTLS-Required: No\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nBcc: x@y.test\r\nX-Other: 1\r\n`;
  const fieldsOf = (header: string, domain = DOMAIN): Promise<string> =>
    signFields(bytes(header), { domain, bodyHash: "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=" }, keys, NOW);
  const tagsOf = (field: string): Map<string, string> =>
    new Map(
      field
        .replace(/^DKIM-Signature:/, "")
        .replace(/\s/g, "")
        .split(";")
        .map((tag): [string, string] => [tag.slice(0, tag.indexOf("=")), tag.slice(tag.indexOf("=") + 1)]),
    );
  const split = (text: string): string[] => text.split(/(?<=\r\n)(?=DKIM-Signature:)/);

  test("has the tags it needs, and no l= (RFC 8460 §3)", async () => {
    for (const [index, field] of split(await fieldsOf(REPORT)).entries()) {
      const tags = tagsOf(field);
      expect([...tags.keys()]).toEqual(["v", "a", "c", "d", "s", "t", "x", "h", "bh", "b"]);
      expect(tags.get("c")).toBe("relaxed/simple");
      expect(tags.get("d")).toBe("example.org");
      expect(tags.get("s")).toBe(keys[index]?.selector);
      expect(tags.get("a")).toBe(keys[index]?.algorithm);
      expect(tags.get("t")).toBe(String(NOW / 1000));
    }
  });

  test("lists what is signed: TLS-Report fields (RFC 8460 §5.3), what is sealed once more, nothing that hops change", async () => {
    const names =
      tagsOf(await fieldsOf(REPORT))
        .get("h")
        ?.split(":") ?? [];
    expect(names).toEqual(expect.arrayContaining(["TLS-Report-Domain", "TLS-Report-Submitter", "TLS-Required", "Auto-Submitted"]));
    const count = (name: string): number => names.filter((other) => other === name).length;
    for (const name of ["From", "To", "Subject", "Date", "Message-ID", "MIME-Version"]) expect([name, count(name)]).toEqual([name, 2]);
    for (const name of ["Cc", "Reply-To", "Content-Type", "Content-Transfer-Encoding"]) expect([name, count(name)]).toEqual([name, 1]);
    for (const name of ["Sender", "References", "Received", "Bcc", "Return-Path", "X-Other"])
      expect([name, count(name)]).toEqual([name, 0]);
  });

  test("is ASCII, ends with CRLF, and no line has more than 76 columns", async () => {
    const text = await fieldsOf(REPORT.replace("Hello", "Grüße"));
    expect(text).toMatch(/^(?:[\x20-\x7e]+\r\n)+$/);
    for (const line of text.split("\r\n")) expect(line.length).toBeLessThanOrEqual(76);
    for (const line of text.trimEnd().split("\r\n")) expect(line).toMatch(/^(?:DKIM-Signature:| )/);
  });

  test("stands its ground with the longest of domains", async () => {
    const domain = `${"a".repeat(63)}.${"b".repeat(63)}.${"c".repeat(63)}.example.org` as Domain;
    const message = bytes(`${HEAD}\r\n\r\nHello\r\n`);
    expect(await verify(await signWhole(message, keys, domain, NOW), recordsOf(keys, domain), NOW)).toEqual(GOOD);
  });

  test("there is none without a key", async () =>
    expect(await signFields(bytes(HEAD), { domain: DOMAIN, bodyHash: "x" }, [], NOW)).toBe(""));
});
