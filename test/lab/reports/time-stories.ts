/** Time and trouble: kill -9, a night without a relay, a clock that leaps, collectors that fail. Each on the whole relay. */
import type { Stage } from "../stage.ts";
import { waitUntil } from "../../support/temp.ts";
import { boundsOf } from "../../../src/queue/tls-reports.ts";
import type { Story } from "../scenario.ts";
import type { Site } from "../site.ts";
import {
  ask,
  askForReports,
  Collector,
  collectorOf,
  endDay,
  endOf,
  HOUR,
  later,
  MINUTE,
  noon,
  open,
  type Post,
  reportOf,
  reportsOf,
  same,
  today,
  totalsOf,
  unpack,
} from "./reporting.ts";

const DAY = 24 * HOUR;
/** After a leap the clock is believed again when it has been steady for ten minutes. */
const STEADY = 11 * MINUTE;

/** A domain with one good host that wants its reports by HTTPS, and the collector in its zone. */
function makeCounted(makeSite: (label: string) => Site, label = "counted", address?: string): Collector {
  const site = makeSite(label).use("plain");
  site.mx();
  const collector = new Collector(site, address);
  askForReports(site, collector.uri(`/${label}`));
  return collector;
}

/** One more session: the connection before it is closed by then. */
async function session(stage: Stage, label = "counted"): Promise<void> {
  await stage.pass(5000);
  stage.delivered(await stage.send(label), "authenticated", "a session");
}

const sessionsSeen = (stage: Stage): number => stage.site("counted").receivers[0]?.connections.length ?? 0;

const summary = (post: Post | undefined) => (post === undefined ? undefined : totalsOf(unpack(post.body)));

/** The last word of a story: what the collector got is one document, octet for octet. */
function oneDocument(stage: Stage, posts: readonly Post[], count: number): void {
  same(stage, "posts", posts.length, count);
  stage.expect(
    "the same octets each time",
    posts.every(({ body }) => body.equals(posts[0]?.body ?? Buffer.alloc(0))),
  );
}

/** A story with one domain that is counted, and its collector. */
function withCollector(
  story: Pick<Story, "name" | "section"> & { readonly run: (stage: Stage, collector: Collector) => Promise<void> },
): Story {
  return {
    ...story,
    settings: open,
    begins: noon,
    prepare: (makeSite) => void makeCounted(makeSite),
    run: (stage) => story.run(stage, collectorOf(stage, "counted")),
  };
}

const killed = withCollector({
  name: "kill -9 between a settlement and its report, and in the middle of a post: no session lost or counted twice",
  section: "RFC 8460 §4.2, §5.3",
  async run(stage, collector) {
    await session(stage);
    await session(stage);
    // The event comes when the settlement is kept.
    await stage.relay.stop("SIGKILL");
    await stage.relay.start();
    await session(stage);
    same(stage, "sessions that the host saw", sessionsSeen(stage), 3);
    const counted = await ask(stage, "tlsrpt/today", { limit: 100 });
    same(stage, "counted by now", counted.domains[0]?.successes, 3);
    // The collector takes it, and the relay dies before it hears of that.
    collector.answer = async () => {
      await stage.relay.stop("SIGKILL");
      return 200;
    };
    const day = await endDay(stage);
    await later(stage, 4 * HOUR);
    await waitUntil("the post", () => collector.posts.length > 0 && !stage.relay.running);
    collector.answer = () => 200;
    await stage.relay.start();
    same(stage, "in the end", (await endOf(stage, "counted", day)).state, "sent");
    oneDocument(stage, collector.posts, 2);
    same(stage, "what it says", summary(collector.posts[0]), { "no-policy-found": [3, 0] });
    await stage.relay.restart();
    await later(stage, 5 * HOUR);
    await reportsOf(stage, day);
    oneDocument(stage, collector.posts, 2);
  },
});

const night = withCollector({
  name: "a relay that was down over midnight catches up within an hour, once",
  section: "RFC 8460 §4.1",
  async run(stage, collector) {
    await session(stage);
    const day = today(stage);
    await stage.relay.stop();
    await later(stage, boundsOf(day).end + 6 * HOUR - stage.clock.now());
    await stage.relay.start();
    const due = await waitUntil("the report of the night", () => reportOf(stage, "counted", day));
    const wait = due.dueAt - stage.clock.now();
    stage.expect(`it is due within the hour (${wait} ms)`, wait <= HOUR);
    await later(stage, HOUR + MINUTE);
    same(stage, "in the end", (await endOf(stage, "counted", day)).state, "sent");
    same(stage, "what it says", summary(collector.posts[0]), { "no-policy-found": [1, 0] });
    // What came after midnight is another day's.
    await session(stage);
    await stage.relay.restart();
    await later(stage, 2 * HOUR);
    oneDocument(stage, collector.posts, 1);
    const next = await endDay(stage);
    await later(stage, 4 * HOUR);
    same(stage, "the report of the next day", (await endOf(stage, "counted", next)).state, "sent");
    same(stage, "what that says", summary(collector.posts[1]), { "no-policy-found": [1, 0] });
    // Counts go two days after their day, and the relay was down for the first of them.
    await later(stage, 2 * DAY);
    const gone = await waitUntil("counts of the first day are deleted", async () => {
      await later(stage, HOUR);
      const { domains } = await ask(stage, "tlsrpt/today", { day, limit: 100 });
      return domains.length === 0;
    });
    same(stage, "counts are deleted", gone, true);
  },
});

const leap = withCollector({
  name: "a clock that leaps a day on and back makes no report of a day that is not over; real midnight does",
  section: "RFC 8460 §4.1",
  async run(stage, collector) {
    await session(stage);
    const day = today(stage);
    await stage.clock.leap(DAY, stage.relay);
    for (let minutes = 0; minutes < 5; minutes += 1) await later(stage, MINUTE);
    same(stage, "reports of a day that is not over", await reportsOf(stage, day), []);
    await stage.clock.leap(-DAY, stage.relay);
    await later(stage, STEADY);
    await session(stage);
    same(stage, "reports once it is set right", await reportsOf(stage, day), []);
    const over = await endDay(stage);
    same(stage, "the day that ends", over, day);
    await later(stage, 4 * HOUR);
    same(stage, "its report", (await endOf(stage, "counted", day)).state, "sent");
    same(stage, "what it says", summary(collector.posts[0]), { "no-policy-found": [2, 0] });
    oneDocument(stage, collector.posts, 1);
    // Control: a leap that stays is believed, and the day before it is over.
    await session(stage);
    const skipped = today(stage);
    await stage.clock.leap(DAY, stage.relay);
    await later(stage, MINUTE);
    same(stage, "at once", await reportsOf(stage, skipped), []);
    await waitUntil("control: a leap that stays makes the report", async () => {
      await later(stage, MINUTE);
      return (await reportsOf(stage, skipped)).length > 0;
    });
  },
});

const retried = withCollector({
  name: "a collector that answers 503, breaks off, and then 200 gets the same octets each time; one that is down is given up after a day",
  section: "RFC 8460 §5.5, §5.6",
  async run(stage, collector) {
    await session(stage);
    let status = 503;
    collector.answer = () => status;
    const day = await endDay(stage);
    await later(stage, 4 * HOUR);
    const first = await waitUntil("the first try", async () => {
      const report = await reportOf(stage, "counted", day);
      return report?.detail !== undefined && report;
    });
    stage.expect(`it says why: ${first.detail}`, first.state === "due" && /503/.test(first.detail ?? ""));
    stage.expect(
      "not for good",
      stage.relay.events.filter(({ event }) => event === "tls-report-failed").every(({ final }) => final === false),
    );
    status = 0;
    await stage.relay.restart();
    await later(stage, first.dueAt - stage.clock.now() + MINUTE);
    await waitUntil("the second try", () => collector.posts.length > 1);
    const second = await waitUntil("its end", async () => {
      const report = await reportOf(stage, "counted", day);
      return report?.detail !== first.detail && report;
    });
    stage.expect(`nothing is known of it: ${second.detail}`, second.state === "due" && second.destinations[0]?.refused === undefined);
    // The settings that a report is built by are others now; the octets are not.
    await stage.relay.configure({ tlsReports: { organization: "Another" } });
    await stage.relay.restart();
    status = 200;
    await later(stage, second.dueAt - stage.clock.now() + MINUTE);
    const sent = await endOf(stage, "counted", day);
    same(stage, "in the end", sent.state, "sent");
    same(stage, "its id", unpack(collector.posts[0]?.body ?? Buffer.alloc(0))["report-id"], sent.id);
    oneDocument(stage, collector.posts, 3);

    status = 503;
    await session(stage);
    const next = await endDay(stage);
    await later(stage, 4 * HOUR);
    await waitUntil("tries", () => collector.posts.length > 3);
    const failed = await waitUntil("it is given up", async () => {
      const report = await reportOf(stage, "counted", next);
      if (report?.endedAt !== undefined) return report;
      if (report !== undefined && report.dueAt > stage.clock.now()) await later(stage, report.dueAt - stage.clock.now() + 1000);
      return undefined;
    });
    same(stage, "its state", failed.state, "failed");
    const tried = (failed.endedAt ?? 0) - (failed.giveUpAt - DAY);
    stage.expect(`after a day (${tried / HOUR} hours)`, tried > 23 * HOUR && tried <= 24 * HOUR + MINUTE);
    const posts = collector.posts.length;
    status = 200;
    await later(stage, 5 * HOUR);
    await reportsOf(stage, next);
    same(stage, "posts after that", collector.posts.length, posts);
  },
});

const distrusted: Story = {
  name: "a collector whose certificate does not hold, that sends us elsewhere, or is at our own address gets no report",
  section: "RFC 8460 §3, §5.4, §7",
  settings: open,
  begins: noon,
  async prepare(makeSite) {
    makeCounted(makeSite, "redirecting");
    makeCounted(makeSite, "inside", "127.0.0.1");
    const stranger = makeCounted(makeSite, "stranger");
    const { certificates } = makeSite("ca").io;
    stranger.certificate = await certificates.stranger.issue({ names: [stranger.name] });
  },
  async run(stage) {
    const labels = ["redirecting", "inside", "stranger"];
    const [moved, stranger] = [collectorOf(stage, "redirecting"), collectorOf(stage, "stranger")];
    moved.answer = () => 307;
    for (const label of labels) await session(stage, label);
    const day = await endDay(stage);
    await later(stage, 4 * HOUR);
    const details = new Map<string, string>();
    for (const label of labels) {
      const report = await waitUntil(`a try for ${label}`, async () => {
        const found = await reportOf(stage, label, day);
        return found?.detail !== undefined && found;
      });
      same(stage, `the report for ${label}`, report.state, "due");
      details.set(label, report.detail ?? "");
    }
    stage.expect(`the certificate: ${details.get("stranger")}`, /certificate of .* does not hold/.test(details.get("stranger") ?? ""));
    stage.expect(`the redirect: ${details.get("redirecting")}`, /307 .*no redirect is followed/.test(details.get("redirecting") ?? ""));
    stage.expect(`the address: ${details.get("inside")}`, /127\.0\.0\.1/.test(details.get("inside") ?? ""));
    same(stage, "posts to the stranger", stranger.posts.length, 0);
    stage.expect("nobody went where the redirect led", moved.posts.length > 0 && moved.posts.every(({ url }) => url === "/redirecting"));
    stranger.certificate = undefined;
    await later(stage, 5 * HOUR);
    same(stage, "control: with a certificate that holds", (await endOf(stage, "stranger", day)).state, "sent");
    same(stage, "posts then", stranger.posts.length, 1);
  },
};

export const timeStories: readonly Story[] = [killed, night, leap, retried, distrusted];
