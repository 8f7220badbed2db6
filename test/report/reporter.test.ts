/** When reports are made, sent, tried again and given up (RFC 8460 §3, §4, §4.1, §4.4, §5.3, §5.5, §7, §8). */
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { reportDayOf, type TlsReportStore } from "../../src/queue/tls-reports.ts";
import {
  ACCEPTED,
  answered,
  COLLECTOR,
  DAY,
  domain,
  FIRST,
  HOUR,
  MAILBOX,
  MIDNIGHT,
  MINUTE,
  NOON,
  ReporterWorld,
  reportsWith,
  SECOND_DAY,
  SERVFAIL,
} from "./reporter-world.ts";

/** A domain that was counted at noon and wants reports at the collector, and a reporter that runs. */
async function counted(...uris: string[]): Promise<ReporterWorld> {
  const world = await ReporterWorld.open();
  await world.count();
  world.publish("example.test", ...(uris.length === 0 ? [COLLECTOR] : uris));
  world.reporter().start();
  return world;
}

const idOf = (body: Buffer): unknown => (JSON.parse(gunzipSync(body).toString()) as Record<string, unknown>)["report-id"];

describe("midnight UTC, RFC 8460 §4.1", () => {
  test("nothing is sent of a day that is not over, and each of its domains gets one report in the hours after it", async () => {
    const world = await counted();
    await world.count("second.test");
    world.publish("second.test", "https://second.test/");
    await world.passUntil(MIDNIGHT - MINUTE);
    expect([world.posted.length, await world.state()]).toEqual([0, "absent"]);
    await world.passUntil(MIDNIGHT + 5 * HOUR);
    expect(world.posted.map(({ url }) => url).toSorted()).toEqual([COLLECTOR, "https://second.test/"]);
    expect([await world.state(), await world.state("second.test")]).toEqual(["sent", "sent"]);
    const times = world.posted.map(({ at }) => at - MIDNIGHT);
    for (const at of times) expect(at).toBeGreaterThan(0);
    for (const at of times) expect(at).toBeLessThanOrEqual(4 * HOUR + MINUTE);
    expect(times[0]).not.toBe(times[1]);
    expect(world.told("tls-report-sent")).toMatchObject([{ day: FIRST }, { day: FIRST }]);
    await world.passUntil(MIDNIGHT + DAY + 6 * HOUR, 10 * MINUTE);
    expect(world.posted).toHaveLength(2);
  });

  test("a day without sessions has no report, and the next one with some has", async () => {
    const world = await counted();
    await world.passUntil(MIDNIGHT + DAY + HOUR, 10 * MINUTE);
    await world.count();
    await world.passUntil(MIDNIGHT + 2 * DAY + 5 * HOUR, 10 * MINUTE);
    expect([await world.state("example.test", SECOND_DAY), world.posted.length]).toEqual(["absent", 2]);
  });

  test("a session that settles after midnight still counts for its day", async () => {
    const world = await counted();
    await world.passUntil(MIDNIGHT + 5 * MINUTE);
    await world.count("late.test", { at: MIDNIGHT - 1 });
    await world.count("example.test", { at: MIDNIGHT - 1 });
    world.publish("late.test", "https://late.test/");
    await world.passUntil(MIDNIGHT + 6 * HOUR);
    expect(await world.state("late.test")).toBe("sent");
    expect((await world.report())?.document).toContain('"total-successful-session-count":2');
  });

  test("thousands of domains are made in pages and all sent", { timeout: 60_000 }, async () => {
    const world = await ReporterWorld.open();
    const names = Array.from({ length: 450 }, (_, n) => `d${n}.test`);
    for (const name of names) await world.count(name);
    for (const name of names) world.publish(name, `https://${name}/`);
    world.reporter().start();
    await world.passUntil(MIDNIGHT + 5 * HOUR, 5 * MINUTE);
    expect(new Set(world.posted.map(({ url }) => url)).size).toBe(450);
    expect(world.posted).toHaveLength(450);
  });
});

describe("downtime", () => {
  test("over midnight: the report is sent within an hour of the start", async () => {
    const world = await ReporterWorld.open();
    await world.count();
    world.publish("example.test", COLLECTOR);
    world.clock.set(MIDNIGHT + 9 * HOUR);
    world.reporter().start();
    await world.pass(HOUR + MINUTE);
    expect([world.posted.length, await world.state()]).toEqual([1, "sent"]);
  });

  test("of three days: what is older than two days is not reported any more", async () => {
    const world = await ReporterWorld.open();
    await world.count("old.test");
    for (const name of ["old.test", "example.test"]) world.publish(name, `https://${name}/`);
    await world.count("example.test", { at: MIDNIGHT + HOUR });
    world.clock.set(MIDNIGHT + 2 * DAY + HOUR);
    world.reporter().start();
    await world.pass(3 * HOUR);
    expect(world.posted.map(({ url }) => url)).toEqual(["https://example.test/"]);
    expect([await world.state("old.test"), await world.state("example.test", SECOND_DAY)]).toEqual(["absent", "sent"]);
    expect(await world.store.reports.counts(FIRST, domain("old.test"))).toEqual([]);
  });

  test("longer than a report has time: it is given up and told of, and nothing is sent", async () => {
    const world = await ReporterWorld.open();
    await world.count();
    world.publish("example.test", COLLECTOR);
    world.answer(COLLECTOR, answered(503));
    const first = world.reporter();
    first.start();
    await world.passUntil(MIDNIGHT + 5 * HOUR);
    const tries = world.posted.length;
    await world.stop(first);
    world.clock.set(MIDNIGHT + 2 * DAY);
    world.reporter().start();
    await world.pass(MINUTE);
    expect([world.posted.length, await world.state()]).toEqual([tries, "failed"]);
    expect(world.told("tls-report-failed").at(-1)).toMatchObject({ final: true, detail: expect.stringContaining("503 from") });
  });
});

describe("a clock that leaps", () => {
  test("to the next day and back: the day that is not over is not reported", async () => {
    const world = await counted();
    await world.pass(MINUTE);
    world.clock.set(NOON + DAY);
    await world.pass(5 * MINUTE);
    world.clock.set(NOON + 5 * MINUTE);
    await world.pass(20 * MINUTE);
    expect([await world.state(), world.posted.length]).toEqual(["absent", 0]);
    await world.count();
    await world.passUntil(MIDNIGHT + 5 * HOUR, 10 * MINUTE);
    expect(world.posted).toHaveLength(1);
    expect((await world.report())?.document).toContain('"total-successful-session-count":2');
  });

  test("over midnight for good, as after a sleep: the day is reported once", async () => {
    const world = await counted();
    await world.pass(MINUTE);
    world.clock.set(MIDNIGHT + 9 * HOUR);
    await world.pass(2 * HOUR);
    expect(world.posted).toHaveLength(1);
    await world.pass(DAY, 10 * MINUTE);
    expect(world.posted).toHaveLength(1);
  });

  test("back over midnight: no day is sent twice, and none is skipped", async () => {
    const world = await counted();
    await world.passUntil(MIDNIGHT + 5 * HOUR, 5 * MINUTE);
    expect(world.posted).toHaveLength(1);
    world.clock.set(MIDNIGHT - 3 * HOUR);
    await world.pass(MINUTE);
    await world.count("example.test", { at: MIDNIGHT + HOUR });
    await world.passUntil(MIDNIGHT + DAY + 5 * HOUR, 10 * MINUTE);
    expect([await world.state(), await world.state("example.test", SECOND_DAY), world.posted.length]).toEqual(["sent", "sent", 2]);
  });

  test("far ahead for some minutes: nothing due is given up, nothing counted is deleted", async () => {
    const world = await counted();
    world.answer(COLLECTOR, answered(503), ACCEPTED);
    await world.passUntil(MIDNIGHT + 4 * HOUR);
    const before = world.clock.now();
    world.posted.splice(0);
    await world.count("later.test");
    world.clock.set(before + 40 * DAY);
    await world.pass(8 * MINUTE);
    world.clock.set(before + 8 * MINUTE);
    await world.pass(6 * HOUR, 5 * MINUTE);
    expect(await world.state()).toBe("sent");
    expect(await world.store.reports.counts(SECOND_DAY, domain("later.test"))).toHaveLength(1);
  });
});

test("a clock that is wrong at the start, and corrected soon: nothing counted is deleted", async () => {
  const world = await ReporterWorld.open();
  await world.count();
  world.clock.set(NOON + 40 * DAY);
  world.reporter().start();
  await world.pass(5 * MINUTE);
  world.clock.set(NOON + 5 * MINUTE);
  await world.pass(2 * HOUR, 5 * MINUTE);
  expect(await world.store.reports.counts(FIRST, domain("example.test"))).toHaveLength(1);
});

describe("the record, RFC 8460 §3", () => {
  test("is asked for when the report is sent: one published after the sessions gets the whole day", async () => {
    const world = await ReporterWorld.open();
    await world.count();
    world.reporter().start();
    await world.passUntil(MIDNIGHT - HOUR, 10 * MINUTE);
    expect(world.asked).toEqual([]);
    world.publish("example.test", COLLECTOR);
    await world.passUntil(MIDNIGHT + 5 * HOUR, 5 * MINUTE);
    expect(new Set(world.asked.map(({ name }) => name))).toEqual(new Set(["_smtp._tls.example.test"]));
    expect(world.posted).toHaveLength(1);
  });

  test("that cannot be found is asked for again; found later it is used", async () => {
    const world = await counted();
    world.records.set("example.test", SERVFAIL);
    await world.passUntil(MIDNIGHT + 5 * HOUR, 5 * MINUTE);
    expect([await world.state(), world.posted.length]).toEqual(["due", 0]);
    expect(world.told("tls-report-failed")).toMatchObject([{ final: false, detail: expect.stringContaining("SERVFAIL") }]);
    world.publish("example.test", COLLECTOR);
    await world.pass(5 * HOUR, 5 * MINUTE);
    expect([await world.state(), world.posted.length]).toEqual(["sent", 1]);
  });

  test("that does not exist: not asked for, and told to nobody", async () => {
    const world = await counted();
    world.records.clear();
    await world.passUntil(MIDNIGHT + 5 * HOUR, 5 * MINUTE);
    expect(await world.report()).toMatchObject({ state: "not-asked", detail: "it asks for no reports: there is no record" });
    expect(world.events).toEqual([]);
  });

  const off: [what: string, change: object, detail: string][] = [
    ["excluded", { exclude: ["example.test"] }, "tlsReports.exclude"],
    ["below one excluded", { exclude: [".test"] }, "tlsReports.exclude"],
    ["reports are switched off", { offBecause: "reports are switched off here (tlsReports.send)" }, "tlsReports.send"],
  ];
  for (const [what, change, detail] of off)
    test(`${what}: not sent, and DNS is not even asked`, async () => {
      const world = await counted();
      world.settings = { ...world.settings, ...change };
      await world.passUntil(MIDNIGHT + 5 * HOUR, 5 * MINUTE);
      expect(await world.report()).toMatchObject({ state: "not-asked", detail: expect.stringContaining(detail) });
      expect([world.asked.length, world.posted.length]).toEqual([0, 0]);
    });

  test("what is not used of it is logged once", async () => {
    const world = await counted("ftp://r.test/", COLLECTOR);
    await world.passUntil(MIDNIGHT + 5 * HOUR, 5 * MINUTE);
    expect(world.told("notice")).toMatchObject([{ text: expect.stringContaining("ftp://r.test/") }]);
  });
});

describe("retries, RFC 8460 §5.5", () => {
  test("503, then 200: the same octets and the same id", async () => {
    const world = await counted();
    world.answer(COLLECTOR, answered(503), ACCEPTED);
    await world.passUntil(MIDNIGHT + 5 * HOUR);
    const [first] = world.posted;
    expect(world.posted).toHaveLength(2);
    expect(world.posted[1]?.body.equals(first!.body)).toBe(true);
    expect(idOf(first!.body)).toBe((await world.report())?.id);
  });

  test("another contact in between changes neither octets nor id", async () => {
    const world = await counted();
    world.answer(COLLECTOR, answered(503), ACCEPTED);
    await world.passUntil(MIDNIGHT + 10 * MINUTE);
    while (world.posted.length === 0) await world.pass(MINUTE);
    world.settings = { ...world.settings, organization: "Another" };
    await world.count("example.test", { at: MIDNIGHT - 1 });
    await world.pass(HOUR);
    expect(world.posted).toHaveLength(2);
    expect(world.posted[1]?.body.equals(world.posted[0]!.body)).toBe(true);
  });

  test("pauses grow from minutes to hours", async () => {
    const world = await counted();
    world.answer(COLLECTOR, answered(503));
    await world.passUntil(MIDNIGHT + 30 * HOUR);
    const pauses = world.posted.slice(1).map(({ at }, index) => at - world.posted[index]!.at);
    expect(pauses[0]).toBeLessThan(7 * MINUTE);
    // The last one ends with the report's time.
    for (const [index, pause] of pauses.slice(1, -1).entries()) expect(pause).toBeGreaterThan(pauses[index]! * 0.7);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(4.5 * HOUR);
    expect(pauses.length).toBeLessThan(16);
  });

  for (const [hours, state] of [
    [23, "sent"],
    [25, "failed"],
  ] as const)
    test(`a collector that is down for ${hours} h: ${state}`, async () => {
      const world = await counted();
      let first: number | undefined;
      world.answers.set(COLLECTOR, () => {
        first ??= world.clock.now();
        return world.clock.now() < first + hours * HOUR ? answered(503) : ACCEPTED;
      });
      await world.passUntil(MIDNIGHT + 34 * HOUR, 2 * MINUTE);
      expect(await world.state()).toBe(state);
      expect(world.posted.at(-1)!.at).toBeLessThan(first! + DAY);
      expect(world.told("tls-report-failed").map((event) => "final" in event && event.final)).toEqual(
        state === "sent" ? [false] : [false, true],
      );
    });
});

describe("several destinations, RFC 8460 §3", () => {
  const SECOND = "https://second.example.test/";

  test("in order; the first that accepts is the last that is tried", async () => {
    const world = await counted(COLLECTOR, SECOND, "https://third.example.test/");
    world.answer(COLLECTOR, answered(503));
    await world.passUntil(MIDNIGHT + 10 * HOUR, 5 * MINUTE);
    expect(world.posted.map(({ url }) => url)).toEqual([COLLECTOR, SECOND]);
    expect(world.posted[0]?.body.equals(world.posted[1]!.body)).toBe(true);
    expect((await world.report())?.destinations.map(({ state }) => state)).toEqual(["failed", "accepted", "untried"]);
    expect(world.told("tls-report-sent")).toMatchObject([{ to: SECOND }]);
  });

  test("a record that names another one meanwhile is followed", async () => {
    const world = await counted();
    world.answer(COLLECTOR, answered(503));
    await world.passUntil(MIDNIGHT + 5 * HOUR, 5 * MINUTE);
    world.publish("example.test", SECOND);
    await world.pass(5 * HOUR, 5 * MINUTE);
    expect([await world.state(), world.posted.at(-1)?.url]).toEqual(["sent", SECOND]);
  });
});

describe("a mail", () => {
  test("counts when it was delivered; until then its report is on its way", async () => {
    const world = await counted(MAILBOX);
    await world.passUntil(MIDNIGHT + 4 * HOUR + 5 * MINUTE);
    expect(world.mails).toMatchObject([{ sender: "tlsrpt@sender.test", to: ["tls@example.test"] }]);
    const waiting = await world.report();
    expect(waiting).toMatchObject({ state: "sending", destinations: [{ state: "queued", queueId: "MAIL1" }] });
    expect(world.mails[0]?.expiresAt).toBe(waiting?.giveUpAt);
    world.outcomes.set(world.mails[0]!.id, "delivered");
    await world.pass(40 * MINUTE);
    expect(await world.report()).toMatchObject({ state: "sent", destinations: [{ state: "accepted", queueId: "MAIL1" }] });
    expect(world.told("tls-report-sent")).toHaveLength(1);
    expect(world.mails).toHaveLength(1);
  });

  test("that is refused leaves the turn to the next destination", async () => {
    const world = await counted(MAILBOX, COLLECTOR);
    while (world.mails.length === 0) await world.pass(MINUTE);
    world.outcomes.set(world.mails[0]!.id, { failed: "550 no such user", refused: true });
    await world.passUntil(MIDNIGHT + 6 * HOUR);
    expect(await world.report()).toMatchObject({
      state: "sent",
      destinations: [{ state: "failed", refused: true }, { state: "accepted" }],
    });
    expect(world.mails).toHaveLength(1);
  });

  test("that is refused, and nothing else is left: the report has failed at once, and is not queued again", async () => {
    const world = await counted(MAILBOX);
    while (world.mails.length === 0) await world.pass(MINUTE);
    world.outcomes.set(world.mails[0]!.id, { failed: "550 no such user", refused: true });
    await world.passUntil(MIDNIGHT + 9 * HOUR, 5 * MINUTE);
    expect(await world.report()).toMatchObject({ state: "failed", detail: "550 no such user" });
    expect([world.mails.length, world.told("tls-report-failed").length]).toEqual([1, 1]);
  });

  test("that waits for long does not hold up what stands behind it", async () => {
    const world = await counted(MAILBOX, COLLECTOR);
    while (world.mails.length === 0) await world.pass(MINUTE);
    await world.pass(20 * MINUTE);
    expect(world.posted).toEqual([]);
    await world.pass(HOUR);
    expect(world.posted).toHaveLength(1);
    expect(await world.report()).toMatchObject({ state: "sent", destinations: [{ state: "queued" }, { state: "accepted" }] });
  });

  test("that never ends is not waited for longer than an hour past its time", async () => {
    const world = await counted(MAILBOX);
    await world.passUntil(MIDNIGHT + 30 * HOUR, 5 * MINUTE);
    expect(await world.report()).toMatchObject({ state: "failed", detail: "its mail still waits in the queue" });
  });

  test("is not queued without a key that signs: the operator is told once, and it goes out when there is one", async () => {
    const world = await counted(MAILBOX);
    world.signs = false;
    await world.passUntil(MIDNIGHT + 6 * HOUR);
    expect([world.mails.length, await world.state()]).toEqual([0, "due"]);
    expect(world.told("tls-report-failed")).toMatchObject([{ final: false, detail: expect.stringContaining("postern dkim dns") }]);
    world.signs = true;
    await world.pass(5 * HOUR, 5 * MINUTE);
    expect(world.mails).toHaveLength(1);
  });

  test("without a key the next destination is used at once", async () => {
    const world = await counted(MAILBOX, COLLECTOR);
    world.signs = false;
    await world.passUntil(MIDNIGHT + 5 * HOUR);
    expect([await world.state(), world.posted.length]).toEqual(["sent", 1]);
  });

  test("carries the document that was kept", async () => {
    const world = await counted(MAILBOX);
    while (world.mails.length === 0) await world.pass(MINUTE);
    const base64 = /base64\r\n(?:.+\r\n)*\r\n([A-Za-z0-9+/=\r\n]+)\r\n--/.exec(world.mails[0]!.octets.toString())?.[1] ?? "";
    expect(gunzipSync(Buffer.from(base64, "base64")).toString()).toBe((await world.report())?.document);
  });
});

describe("destinations that refuse for good", () => {
  const KNOWN_AS = `${COLLECTOR} example.test`;

  test("the third report in a row that is refused: left alone for a day, and forgiven when one is accepted", async () => {
    const world = await counted();
    world.answer(COLLECTOR, answered(404, true));
    const { reports } = world.store;
    await reports.saveRua({ uri: KNOWN_AS, refusals: 2, refusedAt: NOON });
    await world.passUntil(MIDNIGHT + 29 * HOUR, 5 * MINUTE);
    // Once for the report, however often it was tried.
    expect(world.posted.length).toBeGreaterThan(5);
    const { endedAt = 0 } = (await world.report()) ?? {};
    expect(await reports.findRua(KNOWN_AS)).toEqual({ uri: KNOWN_AS, refusals: 3, refusedAt: endedAt, suppressedUntil: endedAt + DAY });
    await world.passUntil(endedAt + DAY);
    await world.count();
    world.posted.splice(0);
    world.answer(COLLECTOR, ACCEPTED);
    await world.pass(DAY, 5 * MINUTE);
    expect([world.posted.length, (await reports.findRua(KNOWN_AS))?.refusals]).toEqual([1, 0]);
  });

  test("what waits for its turn is not sent there, unless it is asked for by name", async () => {
    const world = await counted();
    await world.store.reports.saveRua({ uri: KNOWN_AS, refusals: 3, refusedAt: NOON, suppressedUntil: MIDNIGHT + 2 * DAY });
    await world.passUntil(MIDNIGHT + 5 * HOUR, 5 * MINUTE);
    expect(await world.report()).toMatchObject({ state: "failed", destinations: [{ state: "suppressed" }] });
    expect(world.posted).toEqual([]);
    const reporter = world.reporter();
    reporter.start();
    await reporter.sendNow(FIRST, domain("example.test"));
    await world.pass(MINUTE);
    expect([await world.state(), world.posted.length]).toEqual(["sent", 1]);
  });

  test("a collector that knows some domains only gets the reports of the others", async () => {
    const world = await counted();
    const strangers = ["a.test", "b.test", "c.test"];
    world.answers.set(COLLECTOR, (body) => (strangers.some((name) => gunzipSync(body).includes(name)) ? answered(404, true) : ACCEPTED));
    const count = async (name: string): Promise<void> => {
      world.publish(name, COLLECTOR);
      await world.count(name, { policy: { type: "no-policy-found", domain: name, text: [] } });
    };
    for (const name of strangers) await count(name);
    await world.passUntil(MIDNIGHT + 29 * HOUR, 5 * MINUTE);
    expect(await world.state("a.test")).toBe("failed");
    await count("example.test");
    await world.pass(DAY, 5 * MINUTE);
    expect(await world.state("example.test", reportDayOf(MIDNIGHT + 29 * HOUR))).toBe("sent");
  });

  test("a 503 is no refusal", async () => {
    const world = await counted();
    world.answer(COLLECTOR, answered(503));
    await world.passUntil(MIDNIGHT + 30 * HOUR, 5 * MINUTE);
    expect(await world.state()).toBe("failed");
    expect(await world.store.reports.findRua(KNOWN_AS)).toBeUndefined();
  });
});

describe("the limit for one host, RFC 8460 §7", () => {
  test("what exceeds it waits until the next day, and the log says so once", async () => {
    const world = await ReporterWorld.open();
    world.settings = { ...world.settings, perHost: 3 };
    for (let n = 0; n < 6; n++) {
      await world.count(`d${n}.test`);
      world.publish(`d${n}.test`, `https://victim.test/${n}`);
    }
    world.reporter().start();
    await world.passUntil(MIDNIGHT + 20 * HOUR, 5 * MINUTE);
    expect(world.posted).toHaveLength(3);
    expect(world.told("notice")).toMatchObject([{ level: "warn", text: expect.stringContaining("victim.test got 3 reports today") }]);
    await world.passUntil(MIDNIGHT + 29 * HOUR, 5 * MINUTE);
    expect(world.posted).toHaveLength(6);
  });

  test("tries of one report count once", async () => {
    const world = await counted();
    world.settings = { ...world.settings, perHost: 1 };
    world.answer(COLLECTOR, answered(503), answered(503), ACCEPTED);
    await world.passUntil(MIDNIGHT + 6 * HOUR);
    expect([world.posted.length, await world.state()]).toEqual([3, "sent"]);
  });

  test("counts the domains of mailboxes too", async () => {
    const world = await ReporterWorld.open();
    world.settings = { ...world.settings, perHost: 1 };
    for (const name of ["a.test", "b.test"]) {
      await world.count(name);
      world.publish(name, `mailto:${name}@victim.test`);
    }
    world.reporter().start();
    await world.passUntil(MIDNIGHT + 5 * HOUR, 5 * MINUTE);
    expect(world.mails).toHaveLength(1);
  });
});

describe("nodes that share a store, and ends of processes", () => {
  test("of two reporters one sends", async () => {
    const world = await counted();
    for (let n = 0; n < 20; n++) {
      await world.count(`d${n}.test`);
      world.publish(`d${n}.test`, `https://d${n}.test/`);
    }
    world.reporter().start();
    await world.passUntil(MIDNIGHT + 5 * HOUR, 5 * MINUTE);
    expect(world.posted).toHaveLength(21);
    expect(new Set(world.posted.map(({ url }) => url)).size).toBe(21);
    expect(world.told("tls-report-sent")).toHaveLength(21);
  });

  test("what a node did whose claim was lost is told by the one that has it", async () => {
    const world = await ReporterWorld.open();
    await world.count();
    world.publish("example.test", COLLECTOR);
    world.answer(COLLECTOR, answered(404, true));
    const { reports } = world.store;
    const save: TlsReportStore["save"] = async (claim, change) =>
      change.document === undefined ? (await reports.save(claim, { dueAt: MIDNIGHT + DAY }), false) : reports.save(claim, change);
    world.reporter(reportsWith(reports, (name) => (name === "save" ? save : undefined))).start();
    await world.passUntil(MIDNIGHT + 5 * HOUR, 5 * MINUTE);
    expect([world.posted.length, world.events]).toEqual([1, []]);
  });

  test("an end between POST and save repeats it once, with the same octets", async () => {
    const world = await ReporterWorld.open();
    await world.count();
    world.publish("example.test", COLLECTOR);
    let dead = false;
    const { reports } = world.store;
    const save: TlsReportStore["save"] = async (claim, change) => {
      if (change.state !== "sent") return reports.save(claim, change);
      dead = true;
      throw new Error("the process is gone");
    };
    const dying = reportsWith(reports, (name) => (name === "save" ? save : undefined));
    const first = world.reporter(dying);
    first.start();
    await world.passUntil(MIDNIGHT + 5 * MINUTE);
    while (!dead) await world.pass(MINUTE);
    await world.stop(first);
    expect([world.posted.length, await world.state()]).toEqual([1, "due"]);
    world.reporter().start();
    await world.pass(8 * HOUR, 5 * MINUTE);
    expect([world.posted.length, await world.state()]).toEqual([2, "sent"]);
    expect(world.posted[1]?.body.equals(world.posted[0]!.body)).toBe(true);
    expect(world.told("tls-report-sent")).toHaveLength(1);
  });

  test("a restart sends nothing again that was sent", async () => {
    const world = await ReporterWorld.open();
    await world.count();
    world.publish("example.test", COLLECTOR);
    const first = world.reporter();
    first.start();
    await world.passUntil(MIDNIGHT + 5 * HOUR, 5 * MINUTE);
    await world.stop(first);
    world.reporter().start();
    await world.pass(DAY, 10 * MINUTE);
    expect(world.posted).toHaveLength(1);
  });

  test("the end of the relay cuts off what hangs; it is due again, and nothing is said to have failed", async () => {
    const world = await ReporterWorld.open();
    await world.count();
    world.publish("example.test", COLLECTOR);
    world.answers.set(
      COLLECTOR,
      (_body, stop) =>
        new Promise((resolve) =>
          stop.addEventListener("abort", () => resolve({ ok: false, detail: "the relay stops", refused: false, stopped: true })),
        ),
    );
    const reporter = world.reporter();
    reporter.start();
    await world.passUntil(MIDNIGHT + 4 * HOUR + 5 * MINUTE);
    expect(world.posted).toHaveLength(1);
    await world.stop(reporter);
    expect(await world.report()).toMatchObject({ state: "due", destinations: [{ state: "untried" }] });
    expect(world.events).toEqual([]);
  });
});

describe("what the operator asks for", () => {
  test("sendNow sends at once, also what was sent already, with the same id and octets", async () => {
    const world = await ReporterWorld.open();
    await world.count();
    world.publish("example.test", COLLECTOR);
    const reporter = world.reporter();
    reporter.start();
    await world.passUntil(MIDNIGHT + MINUTE);
    expect(await reporter.sendNow(FIRST, domain("example.test"))).toMatchObject({ state: "due" });
    await world.quiet();
    expect(world.posted).toHaveLength(1);
    await reporter.sendNow(FIRST, domain("example.test"));
    await world.quiet();
    expect(world.posted).toHaveLength(2);
    expect(world.posted[1]?.body.equals(world.posted[0]!.body)).toBe(true);
    await world.pass(DAY, 10 * MINUTE);
    expect(world.posted).toHaveLength(2);
  });

  test("sendNow has nothing to send of a day without sessions, and of a day that is not over", async () => {
    const world = await ReporterWorld.open();
    await world.count();
    const reporter = world.reporter();
    reporter.start();
    expect(await reporter.sendNow(FIRST, domain("example.test"))).toBeUndefined();
    await world.passUntil(MIDNIGHT + MINUTE);
    expect(await reporter.sendNow(FIRST, domain("other.test"))).toBeUndefined();
  });

  test("preview shows the day so far and where it would go, and sends nothing", async () => {
    const world = await ReporterWorld.open();
    await world.count();
    world.publish("example.test", COLLECTOR);
    const reporter = world.reporter();
    reporter.start();
    const { document, policy } = await reporter.preview(domain("example.test"), FIRST);
    expect(JSON.parse(document)).toMatchObject({ "contact-info": "tlsrpt@sender.test", policies: [{ policy: { "policy-type": "sts" } }] });
    expect(policy).toMatchObject({ kind: "destinations", destinations: [{ uri: COLLECTOR }] });
    world.records.set("example.test", SERVFAIL);
    expect((await reporter.preview(domain("example.test"), FIRST)).policy).toEqual(SERVFAIL);
    expect([world.posted.length, await world.state()]).toEqual([0, "absent"]);
  });

  test("preview of a report that was built shows what was sent", async () => {
    const world = await counted();
    await world.passUntil(MIDNIGHT + 5 * HOUR, 5 * MINUTE);
    const { document } = await world.reporter().preview(domain("example.test"), FIRST);
    expect(document).toBe((await world.report())?.document);
  });
});

test("counts go two days after their day, ended reports when they were kept for long enough", { timeout: 60_000 }, async () => {
  const world = await counted();
  await world.passUntil(MIDNIGHT + DAY + 23 * HOUR, 10 * MINUTE);
  expect(await world.store.reports.counts(FIRST, domain("example.test"))).toHaveLength(1);
  await world.passUntil(MIDNIGHT + 2 * DAY + 2 * HOUR, 10 * MINUTE);
  expect([await world.store.reports.counts(FIRST, domain("example.test")), await world.state()]).toEqual([[], "sent"]);
  await world.passUntil(MIDNIGHT + 31 * DAY, HOUR);
  expect(await world.state()).toBe("absent");
});

test("a store in trouble is told of, and the report goes out when it is well again", async () => {
  const world = await ReporterWorld.open();
  await world.count();
  world.publish("example.test", COLLECTOR);
  let broken = true;
  const fails = (): Promise<never> => Promise.reject(new Error("disk I/O error"));
  const troubled = reportsWith(world.store.reports, (name) => (broken && name === "claimDue" ? fails : undefined));
  world.reporter(troubled).start();
  await world.passUntil(MIDNIGHT + 5 * HOUR, 5 * MINUTE);
  expect(world.told("fault").length).toBeGreaterThan(0);
  broken = false;
  await world.pass(MINUTE * 3);
  expect(await world.state()).toBe("sent");
});
