/** Reports by mail where something stands in their way: no published key, policies that their mailbox's host fails, null MX. */
import { generateKeyPairSync } from "node:crypto";
import type { LogEvent } from "../../support/relay.ts";
import { simpleMessage } from "../../support/submit.ts";
import { waitUntil } from "../../support/temp.ts";
import type { Story } from "../scenario.ts";
import { readMail, verifyInLab } from "./mail.ts";
import {
  ask,
  askForReports,
  command,
  endDay,
  endOf,
  handIn,
  HOUR,
  later,
  makeSender,
  MINUTE,
  noon,
  open,
  publishKeys,
  reportOf,
  reportsFrom,
  reportsOf,
  same,
  settledOf,
} from "./reporting.ts";

const unpublished: Story = {
  name: "while the record of its key is not in DNS, or is another key's, no report goes by mail",
  section: "RFC 8460 §3",
  settings: (site) => ({ ...open, ...reportsFrom(site) }),
  begins: noon,
  prepare(makeSite) {
    makeSender(makeSite);
    const box = makeSite("box").use("plain");
    box.mx();
    const counted = makeSite("counted").use("plain");
    counted.mx();
    askForReports(counted, `mailto:r%2Btls@${box.domain}`);
  },
  async run(stage) {
    const sender = stage.site("sender").domain;
    const box = stage.site("box").receivers[0];
    stage.delivered(await stage.send("counted"), "authenticated", "what is counted");
    await command(stage, ["dkim", "list"], 0, "postern1r", "postern1e", "waiting for DNS", "2 keys wait");
    await command(stage, ["dkim", "check"], 1, "waiting for DNS");
    const day = await endDay(stage);
    await later(stage, 4 * HOUR);
    const waiting = await waitUntil("a first try", async () => {
      const report = await reportOf(stage, "counted", day);
      return report?.detail !== undefined && report;
    });
    stage.expect(
      `it waits for a key: ${waiting.state} ${waiting.detail}`,
      waiting.state === "due" && /DKIM key of/.test(waiting.detail ?? ""),
    );
    await stage.relay.waitForEvent("tls-report-failed", ({ final }) => final === false);

    const other = generateKeyPairSync("rsa", { modulusLength: 2048 }).publicKey.export({ type: "spki", format: "der" }).toString("base64");
    const strings = `v=DKIM1; k=rsa; p=${other}`.match(/.{1,255}/g) ?? [];
    await stage.changeZone("sender", `postern1r._domainkey.${sender}`, "TXT", [strings.map((text) => `"${text}"`).join(" ")]);
    await command(stage, ["dkim", "check"], 1, "waiting for DNS");
    await command(stage, ["tlsrpt", "send", stage.site("counted").domain, day], 75, "DKIM key of");
    same(stage, "messages at the mailbox", box?.messages.length, 0);

    await publishKeys(stage, "sender");
    await command(stage, ["dkim", "check"], 0);
    const keys = (await ask(stage, "dkim/list")).keys;
    same(
      stage,
      "keys",
      keys.map(({ selector, state }) => [selector, state]),
      [
        ["postern1e", "active"],
        ["postern1r", "active"],
      ],
    );
    await later(stage, 6 * HOUR);
    same(stage, "once the records are right", (await endOf(stage, "counted", day)).state, "sent");
    const message = box?.messages[0];
    same(stage, "its recipient, decoded", message?.rcpts, [`RCPT TO:<r+tls@${stage.site("box").domain}> NOTIFY=NEVER`]);
    const octets = Buffer.from(message?.text ?? "", "latin1");
    same(stage, "mailauth's verdict", await verifyInLab(octets, stage.clock.now()), ["ed25519-sha256 pass", "rsa-sha256 pass"]);
  },
};

const inTheWay: Story = {
  name: "a report's mail goes whatever policy says, in clear if need be; null MX holds, and nobody gets a notice",
  section: "RFC 8460 §3, RFC 7505",
  // The relay's own floor is authenticated, and reports go below it too.
  settings: reportsFrom,
  begins: noon,
  prepare(makeSite) {
    const sender = makeSender(makeSite);
    // Notices to its people, and bounces of reports, would come here.
    sender.mx();
    const clear = makeSite("clear").use("signed");
    clear.tlsa(clear.mx("mx", { startTlsKeyword: "" }), `3 1 1 ${"ab".repeat(32)}`);
    clear.sts();
    const nullMx = makeSite("nullmx").use("plain");
    nullMx.record(nullMx.domain, "MX", "0 .");
    for (const [label, box] of [
      ["first", clear],
      ["second", nullMx],
    ] as const) {
      const counted = makeSite(label).use("plain");
      counted.mx();
      askForReports(counted, `mailto:tls@${box.domain}`);
    }
  },
  async run(stage) {
    const sender = stage.site("sender");
    const clear = stage.site("clear");
    await publishKeys(stage, "sender");
    await command(stage, ["dkim", "check"], 0);
    for (const label of ["first", "second"]) stage.delivered(await stage.send(label), "authenticated", label);
    const day = await endDay(stage);
    await later(stage, 4 * HOUR);
    const [first, second] = await Promise.all([endOf(stage, "first", day), endOf(stage, "second", day)]);

    same(stage, "the report to the host without TLS", first.state, "sent");
    const [message, ...more] = clear.receivers[0]?.messages ?? [];
    same(stage, "messages there", more.length, 0);
    same(stage, "under TLS", message?.underTls, false);
    stage.expect(`its return path is somebody's: ${message?.mail}`, message?.mail.startsWith(`MAIL FROM:<tls@${sender.domain}>`) === true);
    const mail = await readMail(Buffer.from(message?.text ?? "", "latin1"));
    same(stage, "TLS-Required", mail.fields["tls-required"], ["No"]);
    const ordinary = await stage.send("clear");
    stage.deferred(ordinary, "starttls-not-supported|validation-failure", "control: ordinary mail to the same host");

    same(stage, "the report to null MX", second.state, "failed");
    stage.expect(`its reason is told: ${second.detail}`, /accepts no mail|null MX/i.test(second.detail ?? ""));
    const given = await stage.relay.waitForEvent("tls-report-failed", ({ final }) => final === true);
    same(stage, "what is logged as given up", given["reportDomain"], stage.site("second").domain);
    const queueId = second.destinations[0]?.queueId ?? "";
    stage.expect(
      "it was in the queue, and bounced",
      settledOf(stage, queueId).some(({ outcome }) => outcome === "bounced"),
    );
    // What might have been made of it by now has been: this bounce comes later, and its notice arrives.
    const people = await handIn(stage, `bob@${sender.domain}`, `jo@${stage.site("nullmx").domain}`, simpleMessage("nowhere"));
    const host = sender.receivers[0];
    const notice = await waitUntil("control: the notice of ordinary mail to null MX", () => host?.messages[0], 20_000);
    stage.expect("control: it is about that mail", notice.text.includes("Subject: nowhere"));
    const made = await stage.relay.waitForEvent("notice-enqueued", ({ about }) => about === people);
    await waitUntil("the notice is settled", () => settledOf(stage, String(made["id"])).length > 0);
    same(stage, "messages to the sender's domain", host?.messages.length, 1);
    same(
      stage,
      "who got notices",
      stage.relay.events.filter(({ event }) => event === "notice-enqueued").map(({ to }) => to),
      [`bob@${sender.domain}`],
    );

    // Of all that was sent since midnight, the ordinary message and the notice were counted, and the reports were not.
    const counted = await ask(stage, "tlsrpt/today", { limit: 100 });
    same(
      stage,
      "domains counted since midnight",
      counted.domains.map(({ reportDomain }) => reportDomain).sort(),
      [clear.domain, sender.domain].sort(),
    );
    const { policies = [] } = counted.domains.find(({ reportDomain }) => reportDomain === clear.domain) ?? {};
    stage.expect(
      `the ordinary message's session, and no other (${JSON.stringify(policies)})`,
      policies.length > 0 && policies.every(({ successes, failures }) => successes === 0 && failures === 1),
    );
    same(stage, "reports of that day so far", await reportsOf(stage, counted.day), []);
  },
};

const atHome: Story = {
  name: "a domain whose policy fails gets its report at its own mailbox, past the ordinary mail that waits for the same host",
  section: "RFC 8460 §3",
  settings: reportsFrom,
  begins: noon,
  prepare(makeSite) {
    makeSender(makeSite);
    const home = makeSite("home").use("plain");
    home.mx("mx", { startTlsKeyword: "" });
    home.sts();
    askForReports(home, `mailto:tls@${home.domain}`);
  },
  async run(stage) {
    const home = stage.site("home");
    const downs = (): LogEvent[] => stage.relay.events.filter(({ event }) => event === "destination-down");
    await publishKeys(stage, "sender");
    await command(stage, ["dkim", "check"], 0);
    const waiting = await stage.send("home");
    stage.deferred(waiting, "starttls-not-supported", "ordinary mail");
    for (let more = 0; more < 8; more += 1) await stage.submit("home");
    const day = await endDay(stage);
    await waitUntil("ordinary mail was tried again, and the host is left alone", () => downs().length > 1);
    await command(stage, ["tlsrpt", "send", home.domain, day], 0, "queued as");
    const queueId = (await reportOf(stage, "home", day))?.destinations[0]?.queueId ?? "";
    // Nine ordinary messages are older. Each time that the host is tried anew, one message goes first.
    const began = stage.clock.now();
    for (let count = downs().length; settledOf(stage, queueId).length === 0; count = downs().length) {
      const until = Date.parse(String(downs().at(-1)?.["until"]));
      await stage.pass(until - stage.clock.now() + MINUTE);
      await waitUntil("the host is tried anew", () => downs().length > count || settledOf(stage, queueId).length > 0);
    }
    const hours = (stage.clock.now() - began) / HOUR;
    stage.expect(`within the day that a report has, by far (${hours} hours)`, hours < 8);
    same(stage, "its report", (await endOf(stage, "home", day)).state, "sent");
    const [message, ...others] = home.receivers[0]?.messages ?? [];
    same(stage, "more messages there", others.length, 0);
    stage.expect("the one is the report", message?.text.includes(`TLS-Report-Domain: ${home.domain}`) === true);
  },
};

export const mailStories: readonly Story[] = [unpublished, inTheWay, atHome];
