/**
 * A day of mail and the reports of it, to real receivers: what was counted beside what hosts saw, the mail in a mailbox of
 * Postfix, the document at an HTTPS collector, and both read back.
 */
import { gunzipSync } from "node:zlib";
import type { Story } from "../scenario.ts";
import type { Site } from "../site.ts";
import type { Stage } from "../stage.ts";
import { FIXED } from "../world/addresses.ts";
import { waitUntil } from "../../support/temp.ts";
import { judgeDane, judgeFailing, judgeJson, judgeMail, judgeReadBack, judgeSignature, sessionsAt } from "./day-judge.ts";
import { readMail } from "./mail.ts";
import {
  ask,
  askForReports,
  Collector,
  collectorOf,
  command,
  endDay,
  endOf,
  HOUR,
  later,
  makeSender,
  MINUTE,
  noon,
  open,
  publishKeys,
  readDocument,
  reportsFrom,
  reportsOf,
  same,
  settledOf,
  today,
  totalsOf,
} from "./reporting.ts";

/** Its Postfix is the lab's, and its policy lists another host: mail that policy binds cannot go there. */
function makeMailbox(makeSite: (label: string) => Site): Site {
  const box = makeSite("box").use("signed");
  box.real = "postfix";
  const name = box.name("mx");
  box.record(box.domain, "MX", `10 ${name}.`);
  box.record(name, "A", FIXED.postfix);
  box.sts({ mx: ["mx.nowhere.test"] });
  return box;
}

const DAY_NAMES = ["failing", "dane", "plain", "unasked"];

async function prepareDay(makeSite: (label: string) => Site): Promise<void> {
  const sender = makeSender(makeSite);
  const box = makeMailbox(makeSite);
  const collector = new Collector(sender);
  const failing = makeSite("failing").use("plain");
  failing.mx("mx", { certificate: await failing.issue({ names: ["other.test"] }) });
  failing.sts();
  askForReports(failing, `mailto:reports@${box.domain}`);
  const dane = makeSite("dane").use("signed");
  dane.daneMx();
  askForReports(dane, collector.uri("/v1/in?domain=dane&k=v"));
  const plain = makeSite("plain").use("plain");
  plain.mx();
  const refusing = makeSite("refusing").use("plain");
  // Takes the whole mail before it refuses, so that what was in it can be seen.
  refusing.mx("mx", { answer: (line) => (line === "." ? "554 5.7.1 not here\r\n" : undefined) });
  askForReports(plain, `mailto:reports@${refusing.domain}`, collector.uri("/second"));
  makeSite("unasked").use("plain").mx();
}

async function mailOfTheDay(stage: Stage): Promise<void> {
  const failing = await stage.send("failing");
  stage.deferred(failing, "certificate-host-mismatch", "a certificate of another name");
  const box = await stage.send("box");
  stage.deferred(box, "validation-failure", "ordinary mail to the reports' mailbox, whose policy lists another host");
  stage.delivered(await stage.send("dane"), "authenticated", "DANE");
  // The connection is closed by then, so that there is another session.
  await stage.pass(5000);
  stage.delivered(await stage.send("dane"), "authenticated", "DANE, once more");
  stage.delivered(await stage.send("plain"), "authenticated", "no policy");
  stage.delivered(await stage.send("unasked"), "authenticated", "no policy and no wish for reports");
  // What waits is given up before midnight, or its retries would be of the next day.
  for (const { id } of [failing, box]) {
    const outcomes = () => settledOf(stage, id).map(({ outcome }) => outcome);
    while (!outcomes().includes("expired")) {
      const told = outcomes().length;
      await later(stage, HOUR + MINUTE);
      // Time must not pass in the middle of an attempt, or its handshake would take hours.
      await waitUntil(`the next attempt of ${id}`, () => outcomes().length > told);
    }
  }
}

async function lookAtTheDay(stage: Stage): Promise<void> {
  const { domain: failing } = stage.site("failing");
  const counted = await ask(stage, "tlsrpt/today", { limit: 100 });
  same(
    stage,
    "domains that were counted",
    counted.domains.map(({ reportDomain }) => reportDomain).sort(),
    [...DAY_NAMES, "box"].map((label) => stage.site(label).domain).sort(),
  );
  await command(stage, ["tlsrpt", "today", failing], 0, /\bsts\b/, "certificate-host-mismatch", "mode: enforce");
  await command(stage, ["tlsrpt", "preview", failing], 0, "nothing was sent", `mailto:reports@${stage.site("box").domain}`);
  await command(stage, ["tlsrpt", "preview", stage.site("unasked").domain], 1, "asks for no reports");
  const early = await stage.relay.run(["tlsrpt", "send", failing, today(stage)]);
  stage.expect(`a day that is not over is not sent: ${early.stderr}`, early.status !== 0 && early.stderr.includes("is not over"));
  const seen = stage.relay.events.filter(({ event }) => event === "tls-failure-seen").map(({ reportDomain }) => reportDomain);
  same(stage, "alarms, one a domain", seen.map(String).sort(), [failing, stage.site("box").domain].sort());
}

const day: Story = {
  name: "a day is counted as hosts saw it, and reported to a mailbox of Postfix and to an HTTPS collector",
  section: "RFC 8460 §3, §4, §5",
  settings: (site) => ({
    ...open,
    ...reportsFrom(site),
    delivery: { retry: { waits: ["1h"], longest: "1h", spread: 0, giveUpAfter: "2h", giveUpAfterNullSender: "2h" } },
  }),
  begins: noon,
  prepare: prepareDay,
  async run(stage) {
    await publishKeys(stage, "sender");
    await command(stage, ["dkim", "check"], 0, "active");
    await mailOfTheDay(stage);
    await lookAtTheDay(stage);
    const over = await endDay(stage);
    const mailbox = stage.world.real.get("postfix")?.mailbox;
    await later(stage, 4 * HOUR);
    const [failing, dane, plain, unasked] = await Promise.all(
      ["failing", "dane", "plain", "unasked"].map((label) => endOf(stage, label, over)),
    );
    same(
      stage,
      "states",
      [failing, dane, plain, unasked].map((report) => report?.state),
      ["sent", "sent", "sent", "not-asked"],
    );

    const mails = (await mailbox?.waitFor(`TLS-Report-Domain: ${stage.site("failing").domain}`)) ?? [];
    const content = mails[0]?.content ?? Buffer.alloc(0);
    same(
      stage,
      "where the mail went",
      mails.map(({ recipient }) => recipient),
      [`reports@${stage.site("box").domain}`],
    );
    same(
      stage,
      "its return path",
      /^Return-Path: (\S+)/.exec(mails[0]?.trace.join("\n") ?? "")?.[1],
      `<tls@${stage.site("sender").domain}>`,
    );
    const mail = await readMail(content);
    const document = readDocument(mail.document);
    judgeMail(stage, mail, document, over);
    judgeFailing(stage, document);
    await judgeSignature(stage, content);
    await judgeReadBack(stage, "mail.eml", content, document);

    const collector = collectorOf(stage, "sender");
    const posted = (url: string) => collector.posts.filter((post) => post.url === url);
    const [post, ...more] = posted("/v1/in?domain=dane&k=v");
    same(stage, "posts of dane's report", more.length, 0);
    same(stage, "how it was posted", [post?.method, post?.type, post?.encoding], ["POST", "application/tlsrpt+gzip", undefined]);
    const daneText = gunzipSync(post?.body ?? Buffer.alloc(0)).toString("utf8");
    judgeDane(stage, readDocument(daneText));
    await judgeReadBack(stage, "posted.json.gz", post?.body ?? Buffer.alloc(0), readDocument(daneText));

    const [refused] = stage.site("refusing").receivers.flatMap(({ messages }) => messages);
    const [second] = posted("/second");
    const refusedMail = await readMail(Buffer.from(`${refused?.text}`, "latin1"));
    same(
      stage,
      "the document that the collector took once the mailbox had refused it",
      gunzipSync(second?.body ?? Buffer.alloc(0)).toString(),
      refusedMail.document,
    );
    same(stage, "and its counts", totalsOf(readDocument(refusedMail.document)), { "no-policy-found": [sessionsAt(stage, "plain"), 0] });
    same(
      stage,
      "its destinations",
      plain?.destinations.map(({ state, refused: no }) => [state, no ?? false]),
      [
        ["failed", true],
        ["accepted", false],
      ],
    );
    stage.expect(
      "no notice of the refusal",
      !stage.relay.events.some(({ event, about }) => event === "notice-enqueued" && about === plain?.destinations[0]?.queueId),
    );

    await command(stage, ["tlsrpt", "list", "--day", over], 0, stage.site("dane").domain, "not asked for", collector.uri("/second"));
    await command(stage, ["tlsrpt", "show", stage.site("dane").domain], 0, /state +sent/, "200 from", "DANE (TLSA)");
    const shown = await command(stage, ["tlsrpt", "show", stage.site("failing").domain, over, "--document"], 0);
    same(stage, "the document that is kept", shown.stdout.trimEnd(), mail.document);
    await command(stage, ["tlsrpt", "send", stage.site("dane").domain, over], 0, /state +sent/);
    const again = posted("/v1/in?domain=dane&k=v");
    stage.expect(
      `sent again, octet for octet (${again.length})`,
      again.length === 2 && again[1]?.body.equals(post?.body ?? Buffer.alloc(0)) === true,
    );

    await judgeJson(stage, over);

    // Only the reports' own mail went to these since midnight: it is counted nowhere (§3), so that nothing follows it.
    const next = await ask(stage, "tlsrpt/today", { limit: 100 });
    same(stage, "what was counted of the reports' own mail", next.domains, []);
    same(stage, "reports of that day", await reportsOf(stage, next.day), []);
  },
};

export const dayStories: readonly Story[] = [day];
