/** Notices read back by a splitter of MIME that knows nothing of how they were written (RFC 3461, 3464, 6522, 6533). */
import { describe, expect, test } from "vitest";
import { settingsSchema } from "../../src/config/settings.ts";
import { judgeNotice, makeNotices, noticeRecipient } from "../../src/delivery/notice.ts";
import { LARGEST_RETURNED, quotedPrintable } from "../../src/delivery/notice-return.ts";
import { PROBLEMS, problem } from "../../src/delivery/problems.ts";
import type { NotifyWishes } from "../../src/mail/envelope.ts";
import type { LeasedEntry, NewRecipient, QueueId } from "../../src/queue/entry.ts";
import type { DeliveryProblem, Notice, ProblemType, RecipientOutcome } from "../../src/queue/settlement.ts";
import { leasedEntry } from "../support/entries.ts";

const RECEIVED = Date.UTC(2026, 8, 1, 8, 14, 9);
const ENDED = Date.UTC(2026, 8, 1, 10, 31, 40);
const { delivery } = settingsSchema.parse({});

const noSuchUser: DeliveryProblem = {
  type: "rejected",
  detail: "mx1.dest.test refused the recipient",
  whoActs: "sender",
  status: "5.1.1",
  host: "mx1.dest.test",
  reply: { code: 550, enhanced: "5.1.1", lines: ["5.1.1 mailbox unavailable", "5.1.1 user has moved"] },
};

interface Story {
  readonly sender?: string;
  readonly recipients?: readonly (Partial<NewRecipient> & { readonly outcome?: RecipientOutcome })[];
  readonly body?: Buffer;
  readonly message?: Partial<LeasedEntry["message"]>;
  readonly postmaster?: string;
  readonly mailname?: undefined;
}

async function notices(story: Story): Promise<Notice[]> {
  const recipients = story.recipients ?? [{}];
  const plain = leasedEntry({
    receivedAt: RECEIVED,
    attempts: 4,
    recipients: recipients.map(({ address }) => address ?? "jo@dest.test"),
    ...(story.sender !== undefined && { sender: story.sender }),
    ...(story.body !== undefined && { body: story.body }),
  });
  const entry: LeasedEntry = {
    ...plain,
    message: { ...plain.message, id: "0KF3V7Q2M9" as QueueId, ...story.message },
    recipients: plain.recipients.map((recipient, index) => {
      const { outcome: _, ...more } = recipients[index] ?? {};
      return { ...recipient, ...more };
    }),
  };
  const settlement = {
    attempt: { startedAt: ENDED - 300, endedAt: ENDED, hosts: [], demanded: "authenticated (tls.floor of this relay)" },
    recipients: entry.recipients.map(({ recipientId }, index) => ({
      recipientId,
      outcome: recipients[index]?.outcome ?? ({ kind: "failed", problem: noSuchUser } as const),
    })),
  };
  const mailname = "mailname" in story ? undefined : "relay.test";
  return await makeNotices(entry, settlement, {
    now: ENDED,
    rules: { delivery, mailname, postmaster: story.postmaster, ownAddresses: new Set(["127.0.0.1", "203.0.113.1"]) },
    newQueueId: () => "0NOTICE001" as QueueId,
  });
}

async function notice(story: Story): Promise<Notice> {
  const all = await notices(story);
  expect(all).toHaveLength(1);
  return all[0] as Notice;
}

/** What RFC 2045 and 2046 say of an entity, and no more. */
interface Entity {
  readonly fields: Map<string, string>;
  readonly type: string;
  readonly body: string;
  readonly parts: readonly Entity[];
}

function readEntity(octets: string): Entity {
  const end = octets.startsWith("\r\n") ? 0 : octets.indexOf("\r\n\r\n") + 2;
  const fields = new Map<string, string>();
  for (const field of octets
    .slice(0, end)
    .replace(/\r\n[ \t]/g, " ")
    .split("\r\n")
    .filter((line) => line !== "")) {
    const colon = field.indexOf(":");
    expect(field.slice(0, colon)).toMatch(/^[\x21-\x7e]+$/);
    const name = field.slice(0, colon).toLowerCase();
    expect(fields.has(name), `${name} twice`).toBe(false);
    fields.set(name, field.slice(colon + 1).trim());
  }
  const body = octets.slice(end + 2);
  const contentType = fields.get("content-type") ?? "text/plain";
  const boundary = /boundary="([^"]+)"/.exec(contentType)?.[1];
  const pieces = boundary === undefined ? [] : `\r\n${body}`.split(`\r\n--${boundary}`);
  if (boundary !== undefined) expect(pieces.at(-1)).toBe("--\r\n");
  return { fields, type: contentType.split(";")[0] ?? "", body, parts: pieces.slice(1, -1).map((piece) => readEntity(piece.slice(2))) };
}

function decoded({ fields, body }: Entity): string {
  switch (fields.get("content-transfer-encoding")) {
    case "quoted-printable":
      return Buffer.from(
        body.replace(/=\r\n/g, "").replace(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
        "latin1",
      ).toString("utf8");
    case "base64":
      return Buffer.from(body, "base64").toString("latin1");
    default:
      return body;
  }
}

/** Entity with its octets as Latin-1, one character an octet; parts: text, status, returned. */
function read({ body }: Notice): {
  entity: Entity;
  text: string;
  groups: Map<string, string>[];
  returned: Entity | undefined;
  octets: string;
} {
  const octets = body.toString("latin1");
  const bad = octets.split("\r\n").filter((line) => line.length > 998 || /[\r\n\0]/.test(line));
  expect(bad).toEqual([]);
  const entity = readEntity(octets);
  const [text, status, returned] = entity.parts;
  if (text === undefined || status === undefined) throw new Error("parts are missing");
  const groups = status.body
    .replace(/\r\n[ \t]/g, "\n")
    .split("\r\n\r\n")
    .filter((group) => group !== "")
    .map(
      (group) =>
        new Map(
          group
            .split("\r\n")
            .filter((line) => line !== "")
            .map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]),
        ),
    );
  return { entity, text: decoded(text), groups, returned, octets };
}

const wishes = (...asked: (keyof NotifyWishes)[]): NotifyWishes => ({
  never: asked.includes("never"),
  success: asked.includes("success"),
  failure: asked.includes("failure"),
  delay: asked.includes("delay"),
});

describe("is a notice due for a failure?", () => {
  const cases: [notify: NotifyWishes | undefined, due: boolean][] = [
    [undefined, true],
    [wishes("never"), false],
    [wishes("success"), false],
    [wishes("failure"), true],
    [wishes("delay"), false],
    [wishes("failure", "delay"), true],
    [wishes("success", "failure"), true],
  ];
  for (const [notify, due] of cases) {
    const said =
      notify === undefined
        ? "absent"
        : Object.entries(notify)
            .flatMap(([wish, asked]) => (asked ? [wish] : []))
            .join(",");
    for (const outcome of [
      { kind: "failed", problem: noSuchUser },
      { kind: "expired", problem: problem("connect-failed", "receiver", "refused") },
    ] as const)
      test(`NOTIFY ${said}, ${outcome.kind}: ${due ? "failed" : "none"}`, async () => {
        expect(judgeNotice({ sender: "app@sender.test" as never, origin: { submitter: "app", listener: "smtp" } }, notify).kind).toBe(
          due ? "due" : "none",
        );
        expect(await notices({ recipients: [{ ...(notify !== undefined && { notify }), outcome }] })).toHaveLength(due ? 1 : 0);
      });
    test(`NOTIFY ${said}, return path <>: none`, async () =>
      expect(await notices({ sender: "", recipients: [{ ...(notify !== undefined && { notify }) }] })).toEqual([]));
  }
  for (const outcome of [
    { kind: "delivered", host: "mx", reply: { code: 250, lines: [] } },
    { kind: "waiting", problem: noSuchUser },
  ] as const)
    test(`${outcome.kind}: none`, async () =>
      expect(await notices({ recipients: [{ outcome, notify: wishes("failure", "delay") }] })).toEqual([]));
});

test("only those for whom a notice is due are named in it", async () => {
  const { groups, text } = read(
    await notice({
      recipients: [
        { address: "a@dest.test" as never },
        { address: "b@dest.test" as never, notify: wishes("never") },
        { address: "c@dest.test" as never, outcome: { kind: "expired", problem: problem("timeout", "receiver", "no greeting") } },
        { address: "d@dest.test" as never, outcome: { kind: "waiting", problem: noSuchUser } },
      ],
    }),
  );
  expect(groups.slice(1).map((group) => group.get("Final-Recipient"))).toEqual(["rfc822; a@dest.test", "rfc822; c@dest.test"]);
  expect(text).toContain("a@dest.test");
  expect(text).not.toMatch(/[bd]@dest\.test/);
});

describe("the envelope", () => {
  test("null sender, the return path, nothing asked for, our own submitter", async () => {
    const { message, body } = await notice({ message: { returnContent: "full", envelopeId: "QQ" } });
    expect(message).toMatchObject({
      id: "0NOTICE001",
      sender: "",
      recipients: [{ address: "app@sender.test", nextHop: "sender.test", notify: wishes("never") }],
      origin: { submitter: "local", listener: "postern" },
      receivedAt: ENDED,
      expiresAt: ENDED + 2 * 86_400_000,
      size: body.length,
      needs: { eightBit: false, utf8Headers: false },
    });
    expect(message.returnContent).toBe(undefined);
    expect(message.envelopeId).toBe(undefined);
  });
  const paths: [path: string, to: string | undefined][] = [
    ["user@d.test", "user@d.test"],
    ["@a.test,@b.test:user@d.test", "user@d.test"],
    ['"a:b"@d.test', '"a:b"@d.test'],
    ["", undefined],
  ];
  for (const [path, to] of paths) test(`<${path}> is told at ${to ?? "nowhere"}`, () => expect(noticeRecipient(path)).toBe(to));
});

describe("the message", () => {
  test("three parts in a report, with the fields of an automatic reply", async () => {
    const { entity } = read(await notice({ message: { messageId: "<a1@example.com>" } }));
    expect(Object.fromEntries(entity.fields)).toMatchObject({
      date: "Tue, 01 Sep 2026 10:31:40 +0000",
      from: "Mail Delivery System <MAILER-DAEMON@relay.test>",
      to: "<app@sender.test>",
      subject: "Undelivered: your message to jo@dest.test",
      "message-id": "<0NOTICE001.notice@relay.test>",
      "in-reply-to": "<a1@example.com>",
      references: "<a1@example.com>",
      "auto-submitted": "auto-replied",
      "mime-version": "1.0",
      "content-transfer-encoding": "7bit",
      "content-type": expect.stringMatching(/^multipart\/report; report-type=delivery-status; boundary="/),
    });
    expect(entity.parts.map(({ type }) => type)).toEqual(["text/plain", "message/delivery-status", "text/rfc822-headers"]);
  });
  test("comes from the postmaster where one is set", async () => {
    expect(read(await notice({ postmaster: "post@example.com" })).entity.fields.get("from")).toBe(
      "Mail Delivery System <post@example.com>",
    );
  });
  test("names an address literal where there is no mailname", async () => {
    const { entity, groups } = read(await notice({ mailname: undefined }));
    expect(entity.fields.get("from")).toBe("Mail Delivery System <MAILER-DAEMON@[203.0.113.1]>");
    expect(groups[0]?.get("Reporting-MTA")).toBe("dns; [203.0.113.1]");
  });
  for (const messageId of ["a1@example.com", "<a b@c>", "<a>\r\nX: y<b>", "<ä@x.test>"])
    test(`a Message-ID that is none is not repeated: ${JSON.stringify(messageId)}`, async () => {
      const { entity } = read(await notice({ message: { messageId } }));
      expect(entity.fields.has("in-reply-to")).toBe(false);
      expect(entity.fields.has("references")).toBe(false);
    });
  test("says of itself what it is for people: who, what, who must act, what to do", async () => {
    const expired = {
      kind: "expired",
      problem: { ...problem("certificate-expired", "receiver", "certificate ended 2026-08-30 11:02 UTC", { host: "mx1.dest.test" }) },
    } as const;
    const { text } = read(await notice({ recipients: [{ outcome: expired }] }));
    for (const words of [
      "jo@dest.test",
      "certificate of the receiving mail server is out of date",
      "certificate ended 2026-08-30 11:02 UTC",
      "This relay. dest.test has not seen your message.",
      "authenticated (tls.floor of this relay)",
      "The mail administrators of dest.test.",
      "Renew the certificate of that server.",
      "kept trying from 2026-09-01 08:14 UTC",
      "0KF3V7Q2M9",
      "Questions go to the administrator of this relay;",
      "subject hello",
      "certificate-expired (4.7.5)",
    ])
      expect(text.replace(/\s+/g, " ")).toContain(words);
    for (const line of text.split("\r\n")) expect(line.length).toBeLessThanOrEqual(78);
  });
  for (const [field, shown] of [
    ["Subject: Invoice 17\r\n of May", "subject       Invoice 17 of May"],
    ["Subject: =?utf-8?Q?gr=C3=BC=C3=9Fe?=", undefined],
    ["Subject: gr\u00fc\u00dfe", undefined],
    ["X: 1\r\n\r\nSubject: in the text", undefined],
    [`Subject: ${"long ".repeat(50)}`, `subject       ${"long ".repeat(11)}long…`],
  ] as const)
    test(`the message is named by its Subject where that can be read: ${field.slice(0, 30)}`, async () => {
      const { text } = read(await notice({ body: Buffer.from(`${field}\r\n\r\ntext\r\n`) }));
      if (shown === undefined) expect(text).not.toContain("subject ");
      else expect(text).toContain(shown);
    });
  test("says that nobody refused where nobody did", async () => {
    const unreachable = {
      kind: "expired",
      problem: problem("connect-failed", "receiver", "connection refused", { host: "mx1.dest.test" }),
    } as const;
    const { text } = read(await notice({ recipients: [{ outcome: unreachable }] }));
    expect(text).toContain("Who refused:\r\n    Nobody: no connection came about.\r\n");
  });
  test("shows the server's words as the server's", async () => {
    const { text } = read(await notice({}));
    expect(text).toContain(
      "    The server mx1.dest.test said:\r\n    > 550 5.1.1 mailbox unavailable\r\n    > 550 5.1.1 user has moved\r\n",
    );
    expect(text).not.toContain("Under which rule");
  });
  test("tells recipients of one fate once", async () => {
    const { text } = read(await notice({ recipients: [{ address: "a@dest.test" as never }, { address: "b@dest.test" as never }] }));
    expect(text.match(/What happened:/g)).toHaveLength(1);
    expect(text).toContain("    a@dest.test\r\n    b@dest.test\r\n");
  });
});

describe("the fields for machines", () => {
  test("of the message and of each recipient", async () => {
    const { groups } = read(
      await notice({
        message: { envelopeId: "QQ+2B314+20x" },
        recipients: [{ originalRecipient: "RFC822;Bob+2Bx@example.test" }, { address: "Ann@dest.test" as never }],
      }),
    );
    expect(groups.map((group) => Object.fromEntries(group))).toEqual([
      {
        "Original-Envelope-Id": "QQ+314 x",
        "Reporting-MTA": "dns; relay.test",
        "Arrival-Date": "Tue, 01 Sep 2026 08:14:09 +0000",
        "X-Postern-Queue-ID": "0KF3V7Q2M9",
      },
      {
        "Original-Recipient": "RFC822;Bob+x@example.test",
        "Final-Recipient": "rfc822; jo@dest.test",
        Action: "failed",
        Status: "5.1.1",
        "Remote-MTA": "dns; mx1.dest.test",
        "Diagnostic-Code": "smtp; 550-5.1.1 mailbox unavailable\n550 5.1.1 user has moved",
        "Last-Attempt-Date": "Tue, 01 Sep 2026 10:31:40 +0000",
      },
      expect.objectContaining({ "Final-Recipient": "rfc822; Ann@dest.test" }),
    ]);
    expect(groups[2]?.has("Original-Recipient")).toBe(false);
    expect(groups[1]?.has("Will-Retry-Until")).toBe(false);
  });

  const own: [type: ProblemType, host: string | undefined, remote: string | undefined][] = [
    ["certificate-expired", "mx1.dest.test", undefined], // we refused it
    ["dns-failure", undefined, undefined],
    ["connect-failed", "mx1.dest.test", undefined], // it never spoke
    ["outcome-unknown", "mx1.dest.test", "dns; mx1.dest.test"],
  ];
  for (const [type, host, remote] of own)
    test(`${type}: our own diagnosis, ${remote === undefined ? "no" : "a"} Remote-MTA`, async () => {
      const { groups } = read(
        await notice({
          recipients: [
            { outcome: { kind: "expired", problem: problem(type, "receiver", "a sentence", host === undefined ? {} : { host }) } },
          ],
        }),
      );
      expect(groups[1]?.get("Diagnostic-Code")).toBe(`X-Postern; ${type}: a sentence`);
      expect(groups[1]?.get("Remote-MTA")).toBe(remote);
    });
  test("a reply that only led to our refusal is not the diagnosis", async () => {
    const found = {
      ...problem("starttls-not-supported", "receiver", "STARTTLS was answered with 454", { host: "mx1.dest.test" }),
      reply: { code: 454, lines: ["later"] },
    };
    const { groups } = read(await notice({ recipients: [{ outcome: { kind: "expired", problem: found } }] }));
    expect(groups[1]?.get("Diagnostic-Code")).toBe("X-Postern; starttls-not-supported: STARTTLS was answered with 454");
    expect(groups[1]?.has("Remote-MTA")).toBe(false);
  });
});

describe("status by cause", () => {
  const cases: [type: ProblemType, final: string][] = [
    ["domain-not-found", "5.1.2"],
    ["null-mx", "5.1.10"],
    ["dns-failure", "4.4.3"],
    ["connect-failed", "4.4.1"],
    ["connection-lost", "4.4.2"],
    ["timeout", "4.4.2"],
    ["loop", "5.4.6"],
    ["expired", "4.4.7"],
    ["starttls-not-supported", "4.7.4"],
    ["certificate-host-mismatch", "4.7.5"],
    ["certificate-expired", "4.7.5"],
    ["certificate-not-trusted", "4.7.5"],
    ["validation-failure", "4.7.5"],
    ["dnssec-invalid", "4.7.0"],
    ["message-too-big", "5.3.4"],
    ["needs-8bitmime", "5.6.3"],
    ["needs-smtputf8", "5.6.7"],
    ["protocol-error", "4.5.0"],
    ["not-configured", "4.3.5"],
    ["requiretls-not-offered", "5.7.30"],
    ["requiretls-unmet", "5.7.10"],
    ["resolver-blind", "4.7.0"],
  ];
  for (const [type, final] of cases)
    test(`${type}: ${final}, Action failed`, async () => {
      expect(PROBLEMS[type].status).toBe(final);
      const { groups } = read(await notice({ recipients: [{ outcome: { kind: "expired", problem: problem(type, "receiver", "x") } }] }));
      expect([groups[1]?.get("Status"), groups[1]?.get("Action")]).toEqual([final, "failed"]);
    });
  for (const [odd, shown] of [
    ["5.01.1", "5.0.0"],
    ["4.7", "4.0.0"],
    ["5.1.1\r\nX: y", "5.0.0"],
  ] as const)
    test(`${JSON.stringify(odd)} is written ${shown}`, async () => {
      const { groups } = read(await notice({ recipients: [{ outcome: { kind: "failed", problem: { ...noSuchUser, status: odd } } }] }));
      expect(groups[1]?.get("Status")).toBe(shown);
    });
});

describe("nothing a stranger says adds a field, a part or an octet above 127", () => {
  const evil = "È\r\nX-Evil: y\r\n\r\nAction: delivered\r\n--=_postern_0NOTICE001_0--\r\n\u2028\u202e\0";
  const story: Story = {
    message: { returnContent: "full", messageId: `<a>${evil}`, envelopeId: `Q${evil}+0D+0AX-Evil:+20y` },
    recipients: [
      {
        originalRecipient: `rfc822;bob+0D+0AX-Evil:+20y+C8@x.test${evil}`,
        outcome: {
          kind: "failed",
          problem: {
            ...noSuchUser,
            host: `mx${evil}`,
            detail: evil,
            reply: { code: 550, lines: [evil, "È".repeat(5000), ...Array.from({ length: 500 }, () => evil)] },
          },
        },
      },
      { outcome: { kind: "expired", problem: problem("certificate-expired", "receiver", evil.repeat(30)) } },
    ],
    body: Buffer.from("Subject: hi\r\n\r\n--=_postern_0NOTICE001_0\r\n\r\ntext\r\n--=_postern_0NOTICE001_0--\r\nmore\r\n"),
  };
  test("in the machine part", async () => {
    const { entity, groups } = read(await notice(story));
    expect(entity.parts).toHaveLength(3);
    expect(groups).toHaveLength(3);
    for (const group of groups) expect([...group.keys()].filter((name) => name === "X-Evil")).toEqual([]);
    expect(groups.slice(1).map((group) => group.get("Action"))).toEqual(["failed", "failed"]);
    expect(entity.parts[1]?.body).toMatch(/^[\x20-\x7e\r\n]*$/);
  });
  test("in the text", async () => {
    const { text } = read(await notice(story));
    expect(text.split("\r\n").filter((line) => line.startsWith("X-Evil") || line.startsWith("Action") || line.startsWith("--"))).toEqual(
      [],
    );
  });
  test("and the notice as a whole stays 7-bit and bounded", async () => {
    const { body, message } = await notice(story);
    expect(body.every((octet) => octet < 128)).toBe(true);
    expect(body.length).toBeLessThan(64 * 1024);
    expect(message.needs).toEqual({ eightBit: false, utf8Headers: false });
  });
});

describe("what is returned", () => {
  const header = "From: app@sender.test\r\nSubject: hello\r\n";
  const original = Buffer.from(`${header}\r\n.dots\r\nand text\r\n`);
  const latin = (text: string) => Buffer.from(text, "latin1");
  const eightBit = latin(`${header}\r\nna\xefve\r\n`);
  const utf8Header = Buffer.from("Subject: grüße\r\n\r\nhallo\r\n");
  const full = { returnContent: "full" } as const;
  const headers = { returnContent: "headers" } as const;

  // biome-ignore format: one case, one row
  const cases: [title: string, body: Buffer, message: object, type: string, encoding: string, content: string | Buffer, eightBit: boolean][] = [
    ["no RET", original, {}, "text/rfc822-headers", "7bit", header, false],
    ["RET=HDRS", original, headers, "text/rfc822-headers", "7bit", header, false],
    ["RET=FULL", original, full, "message/rfc822", "7bit", original, false],
    ["RET=FULL, 1 MiB", Buffer.concat([original, Buffer.from("x\r\n".repeat(349_510))]).subarray(0, LARGEST_RETURNED), full, "message/rfc822", "7bit", "", false],
    ["RET=FULL, more", Buffer.concat([original, Buffer.from("x\r\n".repeat(349_540))]).subarray(0, LARGEST_RETURNED + 1), full, "text/rfc822-headers", "7bit", header, false],
    ["RET=FULL, 8-bit body", eightBit, full, "message/rfc822", "8bit", eightBit, true],
    ["RET=HDRS, 8-bit body", eightBit, headers, "text/rfc822-headers", "7bit", header, false],
    ["RET=HDRS, UTF-8 header", utf8Header, headers, "message/global-headers", "quoted-printable", "Subject: grüße\r\n", false],
    ["RET=FULL, UTF-8 header", utf8Header, full, "message/global", "base64", utf8Header, false],
    ["RET=FULL, header of another charset", latin("Subject: gr\xfc\xdfe\r\n\r\nx\r\n"), full, "text/rfc822-headers", "quoted-printable", "", false],
    ["no body at all", Buffer.from(header), {}, "text/rfc822-headers", "7bit", header, false],
    ["no header at all", Buffer.from("\r\ntext\r\n"), {}, "text/rfc822-headers", "7bit", "", false],
    ["a header line beyond 998 octets", Buffer.from(`X: ${"y".repeat(1200)}\r\n\r\n`), {}, "text/rfc822-headers", "quoted-printable", `X: ${"y".repeat(1200)}\r\n`, false],
  ];
  for (const [title, body, message, type, encoding, content, needs8bit] of cases)
    test(`${title}: ${type}, ${encoding}`, async () => {
      const made = await notice({ body, message });
      const { entity, returned, octets } = read(made);
      expect([returned?.type, returned?.fields.get("content-transfer-encoding")]).toEqual([type, encoding]);
      const got = encoding === "quoted-printable" ? decoded(returned as Entity) : decoded(returned as Entity);
      if (content.length > 0) expect(got).toBe(Buffer.isBuffer(content) ? content.toString("latin1") : content);
      expect(made.message.needs.eightBit).toBe(needs8bit);
      expect(/[\x80-\xff]/.test(octets)).toBe(needs8bit);
      expect(entity.fields.get("content-transfer-encoding")).toBe(needs8bit ? "8bit" : "7bit");
    });

  test("is read in chunks, and no more than needed", async () => {
    let read = 0;
    const entry = leasedEntry();
    const body = {
      size: 50_000_000,
      async *chunks() {
        yield Buffer.from("Subject: he");
        yield Buffer.from("llo\r\n\r");
        yield Buffer.from("\ntext");
        for (;;) {
          read += 1;
          yield Buffer.alloc(256 * 1024, "x");
        }
      },
    };
    const settlement = {
      attempt: { startedAt: 0, endedAt: 0, hosts: [], demanded: "" },
      recipients: entry.recipients.map(({ recipientId }) => ({ recipientId, outcome: { kind: "failed", problem: noSuchUser } as const })),
    };
    const [made] = await makeNotices({ ...entry, body }, settlement, {
      now: 0,
      rules: { delivery, mailname: "relay.test", postmaster: undefined, ownAddresses: new Set() },
      newQueueId: () => "0NOTICE001" as QueueId,
    });
    expect(made?.body.toString()).toContain("\r\n\r\nSubject: hello\r\n\r\n--");
    expect(read).toBeLessThan(2);
  });

  test("a notice with an 8-bit original that no host takes goes again with the header only", async () => {
    const first = await notice({ body: eightBit, message: full });
    const [again] = await notices({
      sender: "",
      body: first.body,
      message: { origin: first.message.origin, needs: first.message.needs },
      recipients: [
        {
          address: "app@sender.test" as never,
          notify: wishes("never"),
          outcome: { kind: "failed", problem: problem("needs-8bitmime", "receiver", "no 8BITMIME") },
        },
      ],
    });
    expect(again?.message).toMatchObject({
      sender: "",
      recipients: [{ address: "app@sender.test" }],
      needs: { eightBit: false, utf8Headers: false },
      size: again?.body.length,
    });
    const { entity, groups, returned, octets } = read(again as Notice);
    expect(entity.fields.get("content-transfer-encoding")).toBe("7bit");
    expect([returned?.type, returned?.body]).toEqual(["text/rfc822-headers", header]);
    expect(groups).toEqual(read(first).groups);
    expect(octets).toMatch(/^[\x00-\x7f]*$/);
  });
  test("but no notice is sent about a stranger's notice", async () => {
    const first = await notice({ body: eightBit, message: full });
    const outcome = { kind: "failed", problem: problem("needs-8bitmime", "receiver", "no 8BITMIME") } as const;
    expect(await notices({ sender: "", body: first.body, recipients: [{ outcome }] })).toEqual([]);
  });
});

describe("a notice about a message that requires TLS (RFC 8689 §5)", () => {
  const required = { returnContent: "full", tlsTag: "required" } as const;
  const text = Buffer.from("Subject: hello\r\n\r\nthe secret\r\n");
  test("is itself tagged so", async () => expect((await notice({ message: required })).message.tlsTag).toBe("required"));
  test.each<[string, Partial<LeasedEntry["message"]>, string]>([
    ["RET=FULL", required, "text/rfc822-headers"],
    ["RET=HDRS", { ...required, returnContent: "headers" }, "text/rfc822-headers"],
    ["no RET", { tlsTag: "required" }, "text/rfc822-headers"],
    ["RET=FULL without REQUIRETLS", { returnContent: "full" }, "message/rfc822"],
    ["RET=FULL and TLS-Required: No", { returnContent: "full", tlsTag: "optional" }, "message/rfc822"],
  ])("%s", async (_what, message, type) => {
    const made = await notice({ message, body: text });
    const { entity, returned } = read(made);
    expect(returned?.type).toBe(type);
    expect(made.body.includes("the secret")).toBe(type === "message/rfc822");
    expect(entity.fields.get("tls-required")).toBe(message.tlsTag === "optional" ? "No" : undefined);
  });
  test("with 8-bit text too, and whatever the failure was", async () => {
    const outcome = { kind: "expired", problem: problem("connect-failed", "receiver", "refused") } as const;
    const made = await notice({ message: required, body: Buffer.from("Subject: x\r\n\r\nsécret\r\n"), recipients: [{ outcome }] });
    expect(read(made).returned?.type).toBe("text/rfc822-headers");
    expect(made.message).toMatchObject({ tlsTag: "required", needs: { eightBit: false } });
  });
  test.each([
    ["requiretls-not-offered", "5.7.30", "mx1.dest.test does not offer REQUIRETLS inside TLS"],
    ["requiretls-unmet", "5.7.10", "the MX records of dest.test are not signed"],
  ] as const)("%s: status %s, and it was this relay that refused", async (type, status, detail) => {
    const refused = {
      kind: "failed",
      problem: { ...problem(type, "sender", detail, { host: "mx1.dest.test" }), reply: { code: 250, lines: ["hello"] } },
    } as const;
    const { groups, text: words } = read(await notice({ message: required, recipients: [{ outcome: refused }] }));
    expect(groups[1]?.get("Status")).toBe(status);
    expect(groups[1]?.get("Diagnostic-Code")).toBe(`X-Postern; ${type}: ${detail}`);
    expect(groups[1]?.has("Remote-MTA")).toBe(false);
    expect(words.replace(/\s+/g, " ")).toContain("REQUIRETLS");
    expect(words).toContain("This relay. dest.test has not seen your message.");
    expect(words).toContain("You, who sent the message.");
  });
});

describe("a notice about a message with TLS-Required: No (RFC 8689 §6)", () => {
  const optional = { tlsTag: "optional" } as const;
  test("carries tag and field", async () => {
    const made = await notice({ message: optional });
    expect(made.message.tlsTag).toBe("optional");
    expect(read(made).entity.fields.get("tls-required")).toBe("No");
  });
  test("as it does when it goes again with the header only", async () => {
    const first = await notice({ message: { ...optional, returnContent: "full" }, body: Buffer.from("Subject: x\r\n\r\nsé\r\n") });
    const { origin, needs, tlsTag } = first.message;
    const [again] = await notices({
      sender: "",
      body: first.body,
      message: { origin, needs, ...(tlsTag !== undefined && { tlsTag }) },
      recipients: [{ outcome: { kind: "failed", problem: problem("needs-8bitmime", "receiver", "no 8BITMIME") } }],
    });
    expect(again?.message.tlsTag).toBe("optional");
    expect(read(again as Notice).entity.fields.get("tls-required")).toBe("No");
  });
  test("a field in a message without the tag changes nothing", async () => {
    const made = await notice({ body: Buffer.from("TLS-Required: No\r\nSubject: x\r\n\r\ntext\r\n") });
    expect(made.message).not.toHaveProperty("tlsTag");
    expect(read(made).entity.fields.has("tls-required")).toBe(false);
    expect(read(made).returned?.body).toContain("TLS-Required: No");
  });
});

describe("internationalised addresses", () => {
  const jose = "josé+x@dest.test" as never;
  test("to a sender who takes UTF-8: the global form", async () => {
    const made = await notice({
      sender: "ünal@sender.test",
      recipients: [{ address: jose, originalRecipient: "utf-8;jos\\x{E9}@old.test" }],
    });
    const { entity, octets } = read(made);
    expect(entity.parts[1]?.type).toBe("message/global-delivery-status");
    const status = Buffer.from(entity.parts[1]?.body ?? "", "latin1").toString();
    expect(status).toContain("\r\nFinal-Recipient: utf-8; josé+x@dest.test\r\n");
    expect(status).toContain("\r\nOriginal-Recipient: utf-8;josé@old.test\r\n");
    expect(made.message.needs).toEqual({ eightBit: true, utf8Headers: true });
    expect(Buffer.from(octets, "latin1").toString()).toContain("\r\nTo: <ünal@sender.test>\r\n");
  });
  test("to any other sender: 7-bit, unitext", async () => {
    const made = await notice({ recipients: [{ address: jose, originalRecipient: "utf-8;jos\\x{E9}@old.test" }] });
    const { entity, groups, text } = read(made);
    expect(entity.parts[1]?.type).toBe("message/delivery-status");
    expect(groups[1]?.get("Final-Recipient")).toBe("utf-8; jos\\x{E9}\\x{2B}x@dest.test");
    expect(groups[1]?.get("Original-Recipient")).toBe("utf-8;jos\\x{E9}@old.test");
    expect(text).toContain("josé+x@dest.test");
    expect(entity.fields.get("subject")).toBe("Undelivered: your message");
    expect(made.body.every((octet) => octet < 128)).toBe(true);
  });
});

test("quoted-printable lines are short and survive", () => {
  const text = `${"ü".repeat(200)} = end \r\n${"x".repeat(76)}\r\n${"=".repeat(100)}\r\n`;
  const encoded = quotedPrintable(Buffer.from(text));
  for (const line of encoded.split("\r\n")) expect(line).toMatch(/^[\x20-\x7e]{0,75}[\x21-\x7e]?$/);
  expect(decoded({ fields: new Map([["content-transfer-encoding", "quoted-printable"]]), type: "", body: encoded, parts: [] })).toBe(text);
});
