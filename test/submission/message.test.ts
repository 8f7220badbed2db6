import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { MESSAGE, World } from "./world.ts";

let world: World;
beforeAll(async () => {
  world = await World.open({ submission: { limits: { messageSize: "100K", headerSize: "8K", headerFields: 150 } } });
});
afterAll(() => world[Symbol.asyncDispose]());
beforeEach(() => {
  world.store.kept.length = 0;
});

const HEAD = "From: a@b.test\r\nDate: Tue, 01 Sep 2026 08:00:00 +0000\r\nMessage-ID: <1@b.test>\r\n";

/** What was stored behind our Received field. */
function stored(): string {
  return world.store.last.text.replace(/^Received: [^\r]*\r\n(?:\t[^\r]*\r\n)*/, "");
}

async function submit(message: string, from?: string): Promise<string> {
  await using client = await world.client(from === undefined ? {} : { from });
  return await client.submit(message);
}

describe("line ends and forbidden octets, from a trusted client", () => {
  const cases: [name: string, sent: string, stored: string | RegExp][] = [
    ["a bare LF becomes CRLF", `${HEAD}\r\none\ntwo`, `${HEAD}\r\none\r\ntwo\r\n`],
    ["a bare CR becomes a blank", `${HEAD}\r\none\rtwo`, `${HEAD}\r\none two\r\n`],
    ["a bare CR makes no field", `Subject: x\rBcc: y@z.test\r\n${HEAD}\r\nbody`, `Subject: x Bcc: y@z.test\r\n${HEAD}\r\nbody\r\n`],
    ["bare LF everywhere", `${HEAD}\r\nbody\n`.replaceAll("\r\n", "\n"), `${HEAD}\r\nbody\r\n\r\n`],
    ["LF.LF ends nothing", `${HEAD}\r\na\n.\nMAIL FROM:<e@x.test>`, `${HEAD}\r\na\r\n.\r\nMAIL FROM:<e@x.test>\r\n`],
    ["LF.CRLF ends nothing", `${HEAD}\r\na\n.\r\nMAIL FROM:<e@x.test>`, `${HEAD}\r\na\r\n.\r\nMAIL FROM:<e@x.test>\r\n`],
    ["CRLF.LF ends nothing", `${HEAD}\r\na\r\n.\nMAIL FROM:<e@x.test>`, `${HEAD}\r\na\r\n\r\nMAIL FROM:<e@x.test>\r\n`],
    ["CR.CR ends nothing", `${HEAD}\r\na\r.\rMAIL FROM:<e@x.test>`, `${HEAD}\r\na . MAIL FROM:<e@x.test>\r\n`],
    ["CRLF.CR ends nothing", `${HEAD}\r\na\r\n.\rMAIL FROM:<e@x.test>`, `${HEAD}\r\na\r\n MAIL FROM:<e@x.test>\r\n`],
    ["a dot behind a bare LF is text", `${HEAD}\r\na\n..\r\nb`, `${HEAD}\r\na\r\n..\r\nb\r\n`],
    ["a stuffed dot is taken off", `${HEAD}\r\n..\r\n..a`, `${HEAD}\r\n.\r\n.a\r\n`],
    ["NUL is refused", `${HEAD}\r\na\0b`, /^554 5\.6\.0/],
    ["CRLF NUL . CRLF is refused", `${HEAD}\r\na\r\n\0.\r\nb`, /^554 5\.6\.0/],
  ];
  for (const [name, sent, result] of cases)
    test(name, async () => {
      const reply = await submit(sent);
      if (typeof result === "string") {
        expect(reply).toMatch(/^250 2\.0\.0 Ok: queued as /);
        expect(stored()).toBe(result);
      } else {
        expect(reply).toMatch(result);
        expect(world.store.kept).toHaveLength(0);
      }
    });

  test("the same octet by octet", async () => {
    await using client = await world.client();
    await client.pipeline("MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA");
    for (const octet of `${HEAD}\r\none\ntwo\rthree\r\n..\r\n.\r\n`) await client.sent(octet);
    expect((await client.reply()).text).toMatch(/^250/);
    expect(stored()).toBe(`${HEAD}\r\none\r\ntwo three\r\n.\r\n`);
  });
});

describe("line ends where they are not mended", () => {
  const bare = ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\n", "\r"];
  for (const sequence of bare)
    test(`${JSON.stringify(sequence)} is refused after the dot`, async () => {
      await using strict = await World.open({ submission: { bareLineEnds: "reject" } });
      await using client = await strict.client();
      expect(await client.submit(`${HEAD}\r\nbody${sequence}MAIL FROM:<e@x.test>`)).toMatch(/^554 5\.6\.0 the message has a bare CR or LF/);
      expect(await client.command("NOOP")).toBe("250 2.0.0 Ok");
      expect(strict.store.kept).toHaveLength(0);
    });
});

describe("lengths and limits", () => {
  test.each([
    [998, true],
    [999, false],
    [5000, false],
  ])("a text line of %i octets is taken: %s", async (length, taken) => {
    expect(await submit(`${HEAD}\r\n${"x".repeat(length)}\r\nend`)).toMatch(
      taken ? /^250/ : /^554 5\.6\.0 the message has a line of more than 998/,
    );
  });

  test("a dot that is taken off does not count", async () => expect(await submit(`${HEAD}\r\n..${"x".repeat(997)}`)).toMatch(/^250/));

  test("5 MB without a line end cost no memory to speak of and are refused", async () => {
    await using client = await world.client();
    await client.pipeline("MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA");
    client.send(`${HEAD}\r\n`);
    for (let n = 0; n < 10; n++) await client.sent(Buffer.alloc(50_000, "x"));
    client.send("\r\n.\r\n");
    expect((await client.reply()).text).toMatch(/^55[24] 5\./);
  });

  test.each([
    [8000, true],
    [9000, false],
  ])("a header of %i octets is taken: %s", async (octets, taken) => {
    const line = `X-Filler: ${"x".repeat(88)}\r\n`;
    expect(await submit(`${line.repeat(Math.floor(octets / line.length))}\r\nbody`)).toMatch(taken ? /^250/ : /^552 5\.3\.4/);
  });

  test("a header without end is refused while it comes", async () => {
    expect(await submit(`X: ${"y".repeat(70)}\r\n`.repeat(500))).toMatch(/^552 5\.3\.4/);
  });

  test.each([
    [150, true],
    [151, false],
  ])("%i header fields are taken: %s", async (count, taken) =>
    expect(await submit(`${"X: y\r\n".repeat(count)}\r\nbody`)).toMatch(taken ? /^250/ : /^552 5\.3\.4/),
  );

  test.each([
    [99, true],
    [100, false],
  ])("%i Received fields are taken: %s", async (count, taken) => {
    expect(await submit(`${"Received: x\r\n".repeat(count)}${HEAD}\r\nbody`)).toMatch(taken ? /^250/ : /^554 5\.4\.6/);
  });

  test("SIZE above the limit is refused at MAIL, at the limit it is not", async () => {
    await using client = await world.client();
    expect(await client.pipeline("MAIL FROM:<a@b.test> SIZE=102401", "MAIL FROM:<a@b.test> SIZE=102400")).toEqual([
      expect.stringMatching(/^552 5\.3\.4/),
      "250 2.1.0 Ok",
    ]);
  });

  test("a message above the limit is read to its dot, not stored, and refused", async () => {
    await using client = await world.client();
    expect(await client.submit(`${HEAD}\r\n${"x".repeat(98)}\r\n${`${"y".repeat(98)}\r\n`.repeat(1100)}`)).toMatch(/^552 5\.3\.4/);
    expect(world.store.bodies.at(-1)?.abandoned).toBe(true);
    expect(await client.submit(MESSAGE)).toMatch(/^250/);
  });
});

describe("shape", () => {
  test.each([
    ["nothing at all", ""],
    ["only a body", "Hello there"],
    ["an empty line first", "\r\nFrom: a@b.test\r\n\r\nbody"],
    ["a folded line first", " x\r\nFrom: a@b.test\r\n\r\nbody"],
    ["an mbox line first", "From a@b.test Tue Sep  1\r\nFrom: a@b.test\r\n\r\nbody"],
  ])("%s is no message: 554 5.6.0", async (_name, text) =>
    expect(await submit(text)).toMatch(/^554 5\.6\.0 the message does not begin with a header field/),
  );

  test("a lone dot is the shortest message, and none", async () => {
    await using client = await world.client();
    await client.pipeline("MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA");
    expect(await client.command(".")).toMatch(/^554 5\.6\.0/);
  });

  test("a header without body is a message", async () => {
    expect(await submit(HEAD.slice(0, -2))).toMatch(/^250/);
    expect(stored()).toBe(HEAD);
  });
});

describe("what we change", () => {
  test("nothing but the Received field in front, if the submitter left nothing out", async () => {
    await submit(`${HEAD}X-Odd:   kept \r\n\tas it is\r\nReceived: older\r\n\r\n body  \r\n\r\n`);
    expect(stored()).toBe(`${HEAD}X-Odd:   kept \r\n\tas it is\r\nReceived: older\r\n\r\n body  \r\n\r\n\r\n`);
    expect(world.store.last.text).toMatch(
      /^Received: from client\.test \(\[127\.0\.0\.1\]\)\r\n\tby relay\.test \(Postern\) with ESMTP id 0TEST\d+\r\n\tfor <bob@example\.test>;\r\n\t/,
    );
    expect(world.store.last.message.size).toBe(world.store.last.body.length);
    expect(world.store.last.message.messageId).toBe("<1@b.test>");
  });

  test("Date and Message-ID are added where they are missing, with our name", async () => {
    await submit("From: a@b.test\r\n\r\nbody");
    expect(stored()).toMatch(
      /^Message-ID: <(0TEST\d+)\.\w+@relay\.test>\r\nDate: \w{3}, \d\d \w{3} \d{4} [\d:]{8} \+0000\r\nFrom: a@b\.test\r\n\r\nbody\r\n$/,
    );
    expect(stored()).toContain(world.store.last.message.messageId ?? "nothing");
  });

  test("Bcc and Return-Path go, whatever their form", async () => {
    await submit(`Return-Path: <x@y.test>\r\nBcc: a@x.test,\r\n b@x.test\r\n${HEAD}bcc : c@x.test\r\n\r\nBcc: text`);
    expect(stored()).toBe(`${HEAD}\r\nBcc: text\r\n`);
  });

  test("with several recipients nobody is named", async () => {
    await using client = await world.client();
    await client.submit(MESSAGE, { to: ["one@x.test", "two@y.test"] });
    expect(world.store.last.text).not.toMatch(/one@x|two@y|for </);
  });

  test("HELO gives SMTP, SMTPUTF8 gives UTF8SMTP", async () => {
    await using helo = await world.client({ ehlo: "HELO old.test" });
    await helo.submit(MESSAGE);
    expect(world.store.last.text).toContain("with SMTP id");
    await using utf8 = await world.client();
    await utf8.pipeline("MAIL FROM:<a@b.test> SMTPUTF8", "RCPT TO:<c@d.test>", "DATA");
    utf8.send(`${MESSAGE}\r\n.\r\n`);
    await utf8.reply();
    expect(world.store.last.text).toContain("with UTF8SMTP id");
  });

  test("hideClient leaves no trace of the client", async () => {
    await using hiding = await World.open({ submission: { hideClient: true } });
    await using client = await hiding.client({ ehlo: "EHLO secret-host.test" });
    await client.submit(MESSAGE);
    expect(hiding.store.last.text).toMatch(/^Received: from localhost \(\[127\.0\.0\.1\]\)\r\n/);
    expect(hiding.store.last.text).not.toContain("secret-host");
    // The operator still knows.
    expect(hiding.store.last.message.origin.ehloName).toBe("secret-host.test");
  });
});

describe("what the octets need", () => {
  const cases: [name: string, message: string, needs: { eightBit: boolean; utf8Headers: boolean }][] = [
    ["ASCII", MESSAGE, { eightBit: false, utf8Headers: false }],
    ["an 8-bit body", `${HEAD}\r\nGr\xc3\xbc\xc3\x9fe`, { eightBit: true, utf8Headers: false }],
    ["a body in Latin-1", `${HEAD}\r\nGr\xfc\xdfe`, { eightBit: true, utf8Headers: false }],
    ["a UTF-8 header", `${HEAD}Subject: Gr\xc3\xbc\xc3\x9fe\r\n\r\nascii`, { eightBit: false, utf8Headers: true }],
    ["both", `${HEAD}Subject: \xc3\xbc\r\n\r\n\xc3\xbc`, { eightBit: true, utf8Headers: true }],
  ];
  for (const [name, message, needs] of cases)
    test(`${name}: ${JSON.stringify(needs)}, whatever BODY said`, async () => {
      await using client = await world.client();
      await client.pipeline("MAIL FROM:<a@b.test> BODY=7BIT", "RCPT TO:<c@d.test>", "DATA");
      client.send(`${message}\r\n.\r\n`);
      expect((await client.reply()).text).toMatch(/^250/);
      expect(world.store.last.message.needs).toEqual(needs);
    });

  test("8-bit text far behind the header is found", async () => {
    await submit(`${HEAD}\r\n${`${"x".repeat(70)}\r\n`.repeat(1000)}\xc3\xbc`);
    expect(world.store.last.message.needs.eightBit).toBe(true);
  });

  test("a header in neither ASCII nor UTF-8 is refused", async () =>
    expect(await submit(`${HEAD}Subject: Gr\xfc\xdfe\r\n\r\nx`)).toMatch(/^554 5\.6\.0 the header is neither/));
});

test("however a message is cut, the same is stored", async () => {
  await using client = await world.client();
  const message = `${HEAD}Bcc: x@y.test\r\nSubject: cut\r\n\r\none\ntwo\r\n..three\rfour\r\n`;
  const octets = Buffer.from(`${message}.\r\n`, "latin1");
  const texts = new Set<string>();
  for (let cut = 1; cut < octets.length; cut += 7) {
    await client.pipeline("MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA");
    await client.sent(octets.subarray(0, cut));
    await new Promise((resolve) => setImmediate(resolve));
    client.send(octets.subarray(cut));
    await client.reply();
    texts.add(stored());
  }
  expect([...texts]).toEqual([`${HEAD}Subject: cut\r\n\r\none\r\ntwo\r\n.three four\r\n`]);
});
