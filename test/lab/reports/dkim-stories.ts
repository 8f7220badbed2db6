/** Relayed mail that is signed (RFC 6376, RFC 8463), at a real Postfix: both keys, large bodies, a key that is broken, a new key. */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import Database from "better-sqlite3";
import { waitUntil } from "../../support/temp.ts";
import type { Story } from "../scenario.ts";
import type { Site } from "../site.ts";
import type { Stage } from "../stage.ts";
import { FIXED } from "../world/addresses.ts";
import { signaturesOf, verifyInLab } from "./mail.ts";
import { ask, command, handIn, HOUR, makeSender, noon, open, publishKeys, same } from "./reporting.ts";

const BOTH = ["ed25519-sha256 pass", "rsa-sha256 pass"];
const DAY = 24 * HOUR;

/** Takes mail at the lab's Postfix. */
function makeMailbox(makeSite: (label: string) => Site): void {
  const box = makeSite("box").use("plain");
  box.real = "postfix";
  const name = box.name("mx");
  box.record(box.domain, "MX", `10 ${name}.`);
  box.record(name, "A", FIXED.postfix);
}

function messageFrom(domain: string, subject: string, size: number): string {
  const head = [
    `From: Alice <alice@${domain}>`,
    "To: jo@box.test",
    `Subject: ${subject}`,
    "Date: Tue, 24 Nov 2026 10:00:00 +0000",
    `Message-ID: <${subject}@${domain}>`,
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=us-ascii",
  ];
  // Trailing empty lines and blanks are where canonicalization can go wrong (RFC 6376 §3.4).
  const lines = Array.from({ length: Math.ceil(size / 66) }, () => randomBytes(32).toString("hex")).join("\r\n");
  return `${head.join("\r\n")}\r\n\r\n${lines} \t \r\n.. dots\r\n\r\n\r\n`;
}

/** SmtpClient sends as it stands. */
const stuffed = (content: string): string => content.replace(/^\./gm, "..");

/** Hands it in and gives it as it stands in the mailbox. */
async function through(stage: Stage, content: string, subject: string, from: string): Promise<Buffer> {
  await handIn(stage, `alice@${from}`, `jo@${stage.site("box").domain}`, stuffed(content));
  return received(stage, subject);
}

async function received(stage: Stage, subject: string): Promise<Buffer> {
  const mails = (await stage.world.real.get("postfix")?.mailbox.waitFor(`Subject: ${subject}\r\n`)) ?? [];
  same(stage, `messages ${subject}`, mails.length, 1);
  return mails[0]?.content ?? Buffer.alloc(0);
}

/** The stories run side by side, and have one mailbox. */
const subjectOf = (stage: Stage, name: string): string => `${name}-${stage.site("sender").id}`;

/** A relay that signs for one domain, whose mail goes to a mailbox of Postfix. */
const signing: Pick<Story, "settings" | "begins" | "prepare"> = {
  settings: (site) => ({ ...open, dkim: { domains: [site("sender").domain] }, tlsReports: { send: "off" } }),
  begins: noon,
  prepare(makeSite) {
    makeSender(makeSite);
    makeMailbox(makeSite);
  },
};

const signed: Story = {
  name: "relayed mail of dkim.domains arrives with two signatures that verify, small and large; other mail with none",
  section: "RFC 6376 §5, RFC 8463",
  ...signing,
  async run(stage) {
    const { domain } = stage.site("sender");
    const now = (): number => stage.clock.now();
    const before = await through(stage, messageFrom(domain, subjectOf(stage, "before"), 2000), subjectOf(stage, "before"), domain);
    same(stage, "control: signatures before the records are in DNS", signaturesOf(before).length, 0);
    await publishKeys(stage, "sender");
    await command(stage, ["dkim", "check"], 0, domain, "active");
    for (const [name, size] of [
      ["small", 2000],
      ["large", 1_000_000],
    ] as const) {
      const subject = subjectOf(stage, name);
      const content = messageFrom(domain, subject, size);
      const mail = await through(stage, content, subject, domain);
      same(stage, `mailauth's verdict on ${name}`, await verifyInLab(mail, now()), BOTH);
      stage.expect(`${name}: the message below is what was handed in`, mail.toString("latin1").endsWith(content));
      same(
        stage,
        `${name}: d=`,
        signaturesOf(mail).map((signature) => signature.domain),
        [domain, domain],
      );
      stage.expect(
        `${name}: no l=`,
        signaturesOf(mail).every(({ tags }) => tags["l"] === undefined),
      );
      const changed = Buffer.from(mail);
      changed[changed.length - 40] = (changed[changed.length - 40] ?? 0) ^ 1;
      const verdicts = await verifyInLab(changed, now());
      stage.expect(
        `control: ${name} with one bit changed: ${verdicts.join(", ")}`,
        verdicts.every((verdict) => !verdict.includes(" pass")),
      );
      const another = Buffer.from(`From: mallory@${domain}\r\n${mail.toString("latin1")}`, "latin1");
      const sealed = await verifyInLab(another, now());
      stage.expect(
        `control: ${name} with a second From: ${sealed.join(", ")}`,
        sealed.every((verdict) => !verdict.includes(" pass")),
      );
    }
    const elsewhere = subjectOf(stage, "elsewhere");
    const other = await through(stage, messageFrom("sender.test", elsewhere, 2000), elsewhere, "sender.test");
    same(stage, "control: signatures on mail of another author", signaturesOf(other).length, 0);
  },
};

/** As a disk or a careless hand does it, while no relay runs. */
function setPrivateKeys(stage: Stage, change: (pem: string) => string): void {
  const database = new Database(join(stage.relay.dataFolder, "postern.db"));
  try {
    const keys = database.prepare("SELECT selector, private_key FROM dkim_key").all() as { selector: string; private_key: string }[];
    for (const { selector, private_key: pem } of keys)
      database.prepare("UPDATE dkim_key SET private_key = ? WHERE selector = ?").run(change(pem), selector);
  } finally {
    database.close();
  }
}

const broken: Story = {
  name: "with a key that cannot sign, mail of its domain waits and is never sent unsigned; other mail goes",
  section: "RFC 6376 §5.1",
  ...signing,
  async run(stage) {
    const { domain } = stage.site("sender");
    await publishKeys(stage, "sender");
    await command(stage, ["dkim", "check"], 0);
    await stage.relay.stop();
    const pems: string[] = [];
    setPrivateKeys(stage, (pem) => {
      pems.push(pem);
      return pem.replace(/[A-Za-z0-9+/]{40}/, "A".repeat(40));
    });
    await stage.relay.start();
    const subject = subjectOf(stage, "held");
    const id = await handIn(stage, `alice@${domain}`, `jo@${stage.site("box").domain}`, stuffed(messageFrom(domain, subject, 2000)));
    const settled = await stage.next(id);
    stage.deferred(settled, "dkim-failed", "mail of the domain");
    const alarm = await stage.relay.waitForEvent("dkim-failed");
    same(stage, "the alarm", [alarm["domain"], alarm["level"]], [domain, "error"]);
    stage.expect("no private key in the log", !JSON.stringify(stage.relay.events).includes("PRIVATE KEY"));
    await command(stage, ["queue", "why", id], 0, "dkim");
    // What came later is through: so would the held one be, if it had been sent.
    const other = subjectOf(stage, "other");
    await through(stage, messageFrom("sender.test", other, 2000), other, "sender.test");
    const mails = (await stage.world.real.get("postfix")?.mailbox.read()) ?? [];
    stage.expect("the mailbox has not got it", !mails.some(({ content }) => content.includes(`Subject: ${subject}\r\n`)));
    await stage.relay.stop();
    setPrivateKeys(stage, () => pems.shift() ?? "");
    await stage.relay.start();
    stage.delivered(await stage.retry(id), "authenticated", "once the key is whole again");
    same(stage, "mailauth's verdict", await verifyInLab(await received(stage, subject), stage.clock.now()), BOTH);
  },
};

const rotated: Story = {
  name: "keys are rotated: the old ones sign until the new records are seen, and stay published for the overlap",
  section: "RFC 6376 §3.1",
  ...signing,
  async run(stage) {
    const { domain } = stage.site("sender");
    const states = async (): Promise<Record<string, string>> =>
      Object.fromEntries((await ask(stage, "dkim/list")).keys.map(({ selector, state }) => [selector, state]));
    const selectors = async (name: string): Promise<string[]> => {
      const subject = subjectOf(stage, name);
      const mail = await through(stage, messageFrom(domain, subject, 2000), subject, domain);
      same(stage, `mailauth's verdict on ${name}`, await verifyInLab(mail, stage.clock.now()), BOTH);
      return signaturesOf(mail)
        .map(({ tags }) => tags["s"] ?? "")
        .sort();
    };
    await publishKeys(stage, "sender");
    await command(stage, ["dkim", "check"], 0);
    same(stage, "selectors at first", await selectors("first"), ["postern1e", "postern1r"]);
    await command(stage, ["dkim", "rotate", domain], 0, "postern2r._domainkey", "postern2e._domainkey", "go on signing");
    const again = JSON.parse((await command(stage, ["dkim", "rotate", domain, "--json"], 0)).stdout) as { records: { selector: string }[] };
    same(stage, "asked twice, it is the same keys", again.records.map(({ selector }) => selector).sort(), ["postern2e", "postern2r"]);
    await command(stage, ["dkim", "check"], 1);
    same(stage, "selectors while the new records are not seen", await selectors("meanwhile"), ["postern1e", "postern1r"]);
    await publishKeys(stage, "sender");
    await command(stage, ["dkim", "check"], 0, "retiring");
    same(stage, "states", await states(), { postern1e: "retiring", postern1r: "retiring", postern2e: "active", postern2r: "active" });
    same(stage, "selectors once they are", await selectors("second"), ["postern2e", "postern2r"]);
    await command(stage, ["dkim", "dns", domain], 0, "postern1r._domainkey", "no longer signs; leave it in DNS");
    await stage.pass(9 * DAY);
    await ask(stage, "dkim/check");
    same(stage, "keys within the overlap", Object.keys(await states()).length, 4);
    await stage.pass(DAY + HOUR);
    await waitUntil("the old keys go", async () => Object.keys(await states()).join() === "postern2e,postern2r");
    for (const selector of ["postern1e", "postern1r"])
      await stage.relay.waitForEvent("dkim-key", (event) => event["state"] === "removed" && event["selector"] === selector);
    await command(stage, ["dkim", "rotate", "other.test"], 64, "not signed for");
  },
};

export const dkimStories: readonly Story[] = [signed, broken, rotated];
