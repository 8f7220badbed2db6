import { describe, expect, test } from "vitest";
import { parseMail, parseRcpt } from "../../src/submission/path.ts";

const strict = { blankAfterColon: false, smtpUtf8: false };
const lenient = { blankAfterColon: true, smtpUtf8: false };
const L64 = "l".repeat(64);

describe("MAIL", () => {
  const taken: [argument: string, sender: string][] = [
    [" FROM:<a@b.test>", "a@b.test"],
    [" from:<A.b+c@B.TEST>", "A.b+c@b.test"],
    [" FROM:<>", ""],
    [" FROM:<a@b.test> ", "a@b.test"],
    [' FROM:<"a b"@b.test>', '"a b"@b.test'],
    [' FROM:<"a@b"@b.test>', '"a@b"@b.test'],
    [' FROM:<"a>b"@b.test>', '"a>b"@b.test'],
    [' FROM:<"a\\"b"@b.test>', '"a\\"b"@b.test'],
    [" FROM:<@one.test,@two.test:a@b.test>", "a@b.test"],
    [" FROM:<a@[192.0.2.1]>", "a@[192.0.2.1]"],
    [" FROM:<a@[IPv6:2001:DB8::1]>", "a@[IPv6:2001:db8::1]"],
    [" FROM:<a@xn--bcher-kva.test>", "a@xn--bcher-kva.test"],
    [` FROM:<${L64}@b.test>`, `${L64}@b.test`],
    [" FROM:<a@bücher.test> SMTPUTF8", "a@xn--bcher-kva.test"],
    [" FROM:<jürgen@b.test> SMTPUTF8", "jürgen@b.test"],
  ];
  for (const [argument, sender] of taken)
    test(`${argument.slice(0, 80)} is from ${sender.slice(0, 40)}`, () =>
      expect(parseMail(argument, strict)).toMatchObject({ ok: true, sender }));

  test("blanks after the colon only for those we trust", () => {
    expect(parseMail(" FROM:  <a@b.test>", lenient)).toMatchObject({ ok: true, sender: "a@b.test" });
    expect(parseMail(" FROM: <a@b.test>", strict)).toMatchObject({ ok: false, reply: expect.stringMatching(/^501 5\.5\.4 /) as string });
  });

  const refused: [argument: string, reply: RegExp][] = [
    ["", /^501 5\.5\.4/],
    [" FROM:", /^501 5\.5\.4/],
    [" FROM:a@b.test", /^501 5\.5\.4/],
    [" FROM:<a@b.test", /^501 5\.5\.4/],
    [" FROM :<a@b.test>", /^501 5\.5\.4/],
    [" TO:<a@b.test>", /^501 5\.5\.4/],
    ["FROM:<a@b.test>", /^501 5\.5\.4/],
    [" FROM:<a@b.test>SIZE=1", /^501 5\.5\.4/],
    [" FROM:<a@b.test>>", /^501 5\.5\.4/],
    [" FROM:<a b@b.test>", /^501 5\.1\.7/],
    [" FROM:<a..b@b.test>", /^501 5\.1\.7/],
    [" FROM:<a@b@c.test>", /^501 5\.1\.7/],
    [" FROM:<a@b_c.test>", /^501 5\.1\.7/],
    [" FROM:<root>", /^501 5\.1\.7/],
    [` FROM:<l${L64}@b.test>`, /^501 5\.1\.7/],
    [` FROM:<a@${"d".repeat(60)}.${"d".repeat(60)}.${"d".repeat(60)}.${"d".repeat(60)}.${"d".repeat(20)}>`, /^501 5\./],
    [" FROM:<a\ufffd@b.test> SMTPUTF8", /^501 5\.1\.7/],
    [" FROM:<jürgen@b.test>", /^550 5\.6\.7/],
    [" FROM:<a@bücher.test>", /^550 5\.6\.7/],
  ];
  for (const [argument, reply] of refused)
    test(`${argument.slice(0, 80) || "nothing"} is refused with ${reply.source}`, () =>
      expect(parseMail(argument, strict)).toMatchObject({ ok: false, reply: expect.stringMatching(reply) as string }));
});

describe("parameters of MAIL", () => {
  const mail = (parameters: string) => parseMail(` FROM:<a@b.test> ${parameters}`, strict);
  test.each([
    ["SIZE=1000", { size: 1000 }],
    ["size=0", { size: 0 }],
    ["BODY=7BIT", {}],
    ["body=8bitmime", {}],
    ["RET=hdrs", { returnContent: "headers" }],
    ["RET=FULL", { returnContent: "full" }],
    ["ENVID=QQ+20314", { envelopeId: "QQ+20314" }],
    [`ENVID=${"x".repeat(100)}`, { envelopeId: "x".repeat(100) }],
    ["AUTH=<>", {}],
    ["AUTH=e+3Dmc2@x.test", {}],
    ["SMTPUTF8", { smtpUtf8: true }],
    ["REQUIRETLS", { requireTls: true }],
    ["requiretls", { requireTls: true }],
    ["SIZE=1 RET=FULL", { requireTls: false }],
    ["SIZE=1  BODY=7BIT RET=FULL ENVID=a AUTH=<> SMTPUTF8", { size: 1, smtpUtf8: true }],
  ])("%s is understood", (parameters, values) => expect(mail(parameters)).toMatchObject({ ok: true, ...values }));

  test("what AUTH= says is not passed on", () => expect(JSON.stringify(mail("AUTH=e+3Dmc2@x.test"))).not.toContain("mc2"));

  test.each([
    ["FOO", /^555 5\.5\.4/],
    ["HOLDFOR=30", /^555 5\.5\.4/],
    ["MT-PRIORITY=3", /^555 5\.5\.4/],
    ["REQUIRETLS=1", /^501 5\.5\.4/],
    ["REQUIRETLS=", /^501 5\.5\.4/],
    ["REQUIRETLS REQUIRETLS", /^501 5\.5\.4/],
    ["REQUIRETLSX", /^555 5\.5\.4/],
    ["BODY=BINARYMIME", /^555 5\.5\.4/],
    ["NOTIFY=NEVER", /^555 5\.5\.4/],
    ["BODY=9BIT", /^501 5\.5\.4/],
    ["BODY", /^501 5\.5\.4/],
    ["SIZE", /^501 5\.5\.4/],
    ["SIZE=", /^501 5\.5\.4/],
    ["SIZE=-1", /^501 5\.5\.4/],
    ["SIZE=1e3", /^501 5\.5\.4/],
    ["SMTPUTF8=yes", /^501 5\.5\.4/],
    ["RET=SOME", /^501 5\.5\.4/],
    ["ENVID=+zz", /^501 5\.5\.4/],
    ["ENVID=+2", /^501 5\.5\.4/],
    ["ENVID==", /^501 5\.5\.4/],
    ["ENVID=", /^501 5\.5\.4/],
    ["ENVID=a+0D+0Ab", /^501 5\.5\.4/],
    [`ENVID=${"x".repeat(101)}`, /^501 5\.5\.4/],
    ["ENVID=a ENVID=b", /^501 5\.5\.4/],
    ["SIZE=1 size=2", /^501 5\.5\.4/],
    ["AUTH=", /^501 5\.5\.4/],
    ["AUTH=+zz", /^501 5\.5\.4/],
    ["=x", /^501 5\.5\.4/],
  ])("%s is refused", (parameters, reply) =>
    expect(mail(parameters)).toMatchObject({ ok: false, reply: expect.stringMatching(reply) as string }),
  );
});

describe("RCPT", () => {
  test.each([
    [" TO:<b@c.test>", "b@c.test"],
    [" to:<BOB@c.test>", "BOB@c.test"],
    [" TO:<postmaster>", "postmaster"],
    [" TO:<PostMaster>", "postmaster"],
    [" TO:<@r.test:b@c.test>", "b@c.test"],
    [' TO:<"Bob X"@c.test>', '"Bob X"@c.test'],
    [" TO:<b@[192.0.2.9]>", "b@[192.0.2.9]"],
  ])("%s goes to %s", (argument, recipient) => expect(parseRcpt(argument, strict)).toMatchObject({ ok: true, recipient }));

  test.each([
    [" TO:<>", /^501 5\.1\.3/],
    [" TO:<bob>", /^550 5\.1\.2/],
    [" TO:<b c@d.test>", /^501 5\.1\.3/],
    [" TO:b@c.test", /^501 5\.5\.4/],
    [" FROM:<b@c.test>", /^501 5\.5\.4/],
    [" TO:<b@[300.1.1.1]>", /^501 5\.1\.3/],
    [" TO:<b@[IPv6:fe80::1%eth0]>", /^501 5\.1\.3/],
    [" TO:<jürgen@c.test>", /^553 5\.6\.7/],
    [" TO:<b@c.test> SIZE=1", /^555 5\.5\.4/],
    [" TO:<b@c.test> FOO=1", /^555 5\.5\.4/],
  ])("%s is refused", (argument, reply) =>
    expect(parseRcpt(argument, strict)).toMatchObject({ ok: false, reply: expect.stringMatching(reply) as string }),
  );

  test("UTF-8 is taken when MAIL said SMTPUTF8", () =>
    expect(parseRcpt(" TO:<jürgen@bücher.test>", { ...strict, smtpUtf8: true })).toMatchObject({
      ok: true,
      recipient: "jürgen@xn--bcher-kva.test",
    }));
});

describe("parameters of RCPT", () => {
  const rcpt = (parameters: string) => parseRcpt(` TO:<b@c.test> ${parameters}`, strict);
  test.each([
    ["NOTIFY=never", { notify: { never: true, success: false, failure: false, delay: false } }],
    ["NOTIFY=success,DELAY", { notify: { never: false, success: true, failure: false, delay: true } }],
    ["NOTIFY=FAILURE", { notify: { never: false, success: false, failure: true, delay: false } }],
    ["ORCPT=rfc822;Bob+2Bx@example.test", { originalRecipient: "rfc822;Bob+2Bx@example.test" }],
    ["orcpt=RFC822;Bob@X.test", { originalRecipient: "RFC822;Bob@X.test" }],
    [`ORCPT=rfc822;${"x".repeat(493)}`, { originalRecipient: `rfc822;${"x".repeat(493)}` }],
  ])("%s is kept as received", (parameters, values) => expect(rcpt(parameters)).toMatchObject({ ok: true, ...values }));

  test.each([
    ["NOTIFY=NEVER,FAILURE"],
    ["NOTIFY="],
    ["NOTIFY"],
    ["NOTIFY=FOO"],
    ["NOTIFY=SUCCESS,"],
    ["NOTIFY=SUCCESS NOTIFY=DELAY"],
    ["ORCPT=bob@example.test"],
    ["ORCPT=rfc822;"],
    ["ORCPT=rfc822;a+2b"],
    ["ORCPT=rfc822;a=b"],
    ["ORCPT=rfc822;a+0Ab"],
    [`ORCPT=rfc822;${"x".repeat(494)}`],
  ])("%s is bad syntax", (parameters) =>
    expect(rcpt(parameters)).toMatchObject({ ok: false, reply: expect.stringMatching(/^501 5\.5\.4/) as string }),
  );

  test("xtext carries every octet, lower-case hexadecimal is refused", () => {
    for (let octet = 0x20; octet < 0x7f; octet++) {
      const hex = octet.toString(16).toUpperCase().padStart(2, "0");
      expect(rcpt(`ORCPT=rfc822;x+${hex}`).ok, hex).toBe(true);
      if (/[a-f]/i.test(hex)) expect(rcpt(`ORCPT=rfc822;x+${hex.toLowerCase()}`).ok, hex).toBe(false);
    }
  });
});

test("no reply carries anything but printable ASCII", () => {
  for (const argument of [" FROM:<\u{1f600}x@b c.test> SMTPUTF8", " FROM:<a@ü\r\n.test> SMTPUTF8", " FROM:<a@b.test> F\u0007=1"]) {
    const parsed = parseMail(argument, strict);
    if (!parsed.ok) expect(parsed.reply).toMatch(/^[ -~]+$/);
  }
});
