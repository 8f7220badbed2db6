/**
 * Real clients hand in mail at the running relay, and it arrives at a real Postfix and a real Exim, octet for octet, over
 * TLS that was authenticated for their MX names.
 */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { clients, type Connection } from "../support/clients.ts";
import type { ReceivedMail } from "../support/mailbox.ts";
import { login, openRealWorld, type RealWorld } from "../support/real-world.ts";

let world: RealWorld;
const folder = mkdtempSync(join(tmpdir(), "postern-clients-"));
beforeAll(async () => {
  world = await openRealWorld();
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const LISTENERS = { plain: "smtp", starttls: "submission", implicit: "submissions" } as const;
let count = 0;

function newMarker(): string {
  return `marker-${(count += 1)}-${randomBytes(6).toString("hex")}`;
}

function fields(marker: string, more: readonly string[] = []): string {
  return [
    "From: Alice <alice@sender.test>",
    "To: somebody@postfix.test",
    `Subject: ${marker}`,
    "Date: Tue, 01 Sep 2026 10:00:00 +0000",
    `Message-ID: <${marker}@sender.test>`,
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=utf-8",
    "Content-Transfer-Encoding: 8bit",
    ...more,
    "",
    "",
  ].join("\r\n");
}

/** Everything that relays have got wrong with bodies: dots, eight bits, long lines, white space at the end. */
function difficultContent(marker: string): Buffer {
  const lines = [
    ".",
    "..",
    ".a line that begins with a dot",
    "..and one with two",
    "trailing spaces   ",
    "trailing tab\t",
    " ",
    "",
    "From the left margin",
    "Grüße, 你好, \u{1f4ee}",
    "x".repeat(998),
    "é".repeat(499),
    ".".repeat(998),
    "the last lines are empty",
    "",
    "",
  ];
  const latin1 = Buffer.from("not UTF-8: \xe9\xe8\xff\xfe\x80\r\n", "latin1");
  return Buffer.concat([Buffer.from(fields(marker)), latin1, Buffer.from(`${lines.join("\r\n")}\r\n`)]);
}

/** Says where two bodies part; a diff of 20 MB helps nobody. */
function expectSame(got: Buffer, sent: Buffer): void {
  if (got.equals(sent)) return;
  let at = 0;
  while (got[at] === sent[at] && at < Math.min(got.length, sent.length)) at += 1;
  const around = (octets: Buffer) => JSON.stringify(octets.toString("latin1", Math.max(0, at - 30), at + 50));
  expect.fail(`${got.length} octets for ${sent.length}; from ${at} on got ${around(got)} for ${around(sent)}`);
}

interface Wishes {
  readonly connection: Connection;
  readonly content?: (marker: string) => Buffer;
  readonly sender?: string;
  readonly recipients?: readonly string[];
  readonly smtpUtf8?: boolean;
}

async function deliver(name: keyof typeof clients, wishes: Wishes): Promise<ReceivedMail[]> {
  const marker = newMarker();
  const content = (wishes.content ?? difficultContent)(marker);
  const recipients = wishes.recipients ?? ["jo@postfix.test", "jo@exim.test"];
  const sender = wishes.sender ?? "alice@sender.test";
  const { relay, ca, postfix, exim } = world;
  await clients[name]({
    port: relay.port(LISTENERS[wishes.connection]),
    connection: wishes.connection,
    sender,
    recipients,
    content,
    roots: ca.file,
    folder,
    ...(wishes.connection === "plain" ? {} : { login }),
    ...(wishes.smtpUtf8 === undefined ? {} : { smtpUtf8: wishes.smtpUtf8 }),
  });
  const got: ReceivedMail[] = [];
  for (const receiver of [postfix, exim]) {
    const domain = receiver === postfix ? "@postfix.test" : "@exim.test";
    const expected = recipients.filter((one) => one.endsWith(domain));
    if (expected.length > 0) got.push(...(await receiver.mailbox.waitFor(marker, expected.length)));
  }
  expect(got.map((mail) => mail.recipient).toSorted()).toEqual(recipients.toSorted());
  for (const mail of got) {
    expectSame(mail.content, content);
    expect(mail.trace[0]?.toLowerCase()).toBe(`return-path: <${sender}>`);
    const received = mail.trace.filter((field) => field.startsWith("Received:"));
    // The receiver's own field says TLS, ours below it names the client.
    expect(received[0]).toMatch(/using TLSv1\.[23]|\bTLS1\.[23]|esmtps/i);
    expect(received).toHaveLength(2);
  }
  const { id } = await relay.waitForEvent("message-accepted", (event) => event["messageId"] === `<${marker}@sender.test>`);
  for (const recipient of recipients) {
    const settled = await relay.waitForEvent("recipient-settled", (event) => event["id"] === id && event["recipient"] === recipient);
    expect(settled["outcome"]).toBe("delivered");
    expect(settled["tls"]).toMatch(/^authenticated\b.* TLSv1\.[23] /);
  }
  return got;
}

describe.each(Object.keys(clients) as (keyof typeof clients)[])("%s", (name) => {
  test.each(["plain", "starttls", "implicit"] as const)("over %s, to Postfix and Exim, octet for octet", async (connection) => {
    await deliver(name, { connection });
  });

  test("several recipients of one domain", async () => {
    await deliver(name, {
      connection: "plain",
      recipients: ["a@postfix.test", "b@postfix.test", "c@postfix.test", "d@exim.test", "e@exim.test"],
    });
  });
});

// swaks knows no SMTPUTF8.
test.each(["curl", "smtplib", "nodemailer"] as const)("%s: addresses in UTF-8", async (name) => {
  const content = (marker: string) => Buffer.from(`${fields(marker, ["X-Place: Grüße aus München"])}Grüße\r\n`);
  await deliver(name, {
    connection: "starttls",
    sender: "jürgen@sender.test",
    recipients: ["bücher@postfix.test", "bücher@exim.test"],
    content,
    smtpUtf8: true,
  });
});

test.each(["curl", "smtplib", "nodemailer", "swaks"] as const)("%s: 20 MB", async (name) => {
  const content = (marker: string) => {
    // Dots at line starts all along, so that some stand where two pieces of the message meet.
    const lines = `${randomBytes(57).toString("base64")}\r\n.\r\n..\r\n`;
    return Buffer.from(fields(marker) + lines.repeat(Math.ceil(20_000_000 / lines.length)));
  };
  await deliver(name, { connection: "starttls", content });
});
