/** Every promise of queue/tls-reports.ts and queue/dkim-keys.ts, for whichever backend: a way to open one in, tests out. */
import { describe, expect, test } from "vitest";
import type { Domain } from "../../src/mail/domain.ts";
import type { AppliedPolicy, FailureDetail } from "../../src/policy/observation.ts";
import type { DkimKey } from "../../src/queue/dkim-keys.ts";
import type { NewMessage } from "../../src/queue/entry.ts";
import type { QueueStore } from "../../src/queue/store.ts";
import {
  boundsOf,
  type ClaimedReport,
  type ReportDay,
  reportDayOf,
  type TlsReport,
  type TlsReportState,
} from "../../src/queue/tls-reports.ts";
import type { Backend } from "./contract.ts";
import {
  DAY,
  DELIVERED,
  domain,
  HOUR,
  leaseOne,
  newMessage,
  NO_LEASE,
  observe,
  observation,
  report,
  settlementOf,
  SMALL,
  STS,
  submit,
  T0,
  TestClock,
  TODAY,
  WAITING,
} from "./make.ts";

const NONE: AppliedPolicy = { type: "no-policy-found", domain: "a.test", text: [] };
const TLSA: AppliedPolicy = { type: "tlsa", domain: "mx.a.test", text: ["3 1 1 9f2c"] };
const A = domain("a.test");
const MISMATCH: FailureDetail = { resultType: "certificate-host-mismatch", receivingMxHostname: "mx.a.test", receivingIp: "192.0.2.1" };
const EXPIRED: FailureDetail = { resultType: "certificate-expired", receivingMxHostname: "mx.a.test", receivingIp: "192.0.2.1" };

export function describeReports(name: string, backend: Backend): void {
  const open = async () => {
    const clock = new TestClock();
    return { clock, ...(await backend.open(clock)) };
  };

  describe(`${name}: counting TLS sessions (RFC 8460 §4.2)`, () => {
    test("sessions add up by policy, failures by everything that identifies them, and it lasts", async () => {
      const { store, reopen } = await open();
      for (let n = 0; n < 3; n++) await observe(store, observation());
      for (let n = 0; n < 2; n++) await observe(store, observation({ failures: [MISMATCH] }));
      await observe(store, observation({ failures: [{ ...MISMATCH, receivingIp: "192.0.2.2" }] }));
      const counted = [
        {
          policy: STS,
          successes: 3,
          failures: 3,
          details: [
            { detail: MISMATCH, sessions: 2 },
            { detail: { ...MISMATCH, receivingIp: "192.0.2.2" }, sessions: 1 },
          ],
        },
      ];
      expect(await store.reports.counts(TODAY, A)).toEqual(counted);
      expect(await (await reopen()).reports.counts(TODAY, A)).toEqual(counted);
    });

    test("one that had two policies is in each, and a failure under one is none under the other (RFC 8460 §4.2)", async () => {
      const { store } = await open();
      await observe(store, observation({ policy: TLSA }), observation({ failures: [MISMATCH] }));
      await observe(store, observation({ policy: TLSA }), observation());
      expect(await store.reports.counts(TODAY, A)).toEqual([
        { policy: STS, successes: 1, failures: 1, details: [{ detail: MISMATCH, sessions: 1 }] },
        { policy: TLSA, successes: 2, failures: 0, details: [] },
      ]);
      expect((await store.reports.listCounted(TODAY, { limit: 5 })).domains).toEqual([{ reportDomain: A, successes: 3, failures: 1 }]);
    });

    test("two details of one session are one failed session; the same twice counts once", async () => {
      const { store } = await open();
      await observe(store, observation({ failures: [EXPIRED, MISMATCH, { ...EXPIRED }] }));
      await observe(store, observation({ failures: [MISMATCH] }));
      const [counted] = await store.reports.counts(TODAY, A);
      expect(counted).toEqual({
        policy: STS,
        successes: 0,
        failures: 2,
        details: [
          { detail: MISMATCH, sessions: 2 },
          { detail: EXPIRED, sessions: 1 },
        ],
      });
    });

    test("several sessions of one attempt each count: two hosts skipped, the third good (RFC 8460 §4.2)", async () => {
      const { store } = await open();
      const skipped = (mx: string) => observation({ failures: [{ resultType: "validation-failure", receivingMxHostname: mx }] });
      await observe(store, skipped("x.test"), skipped("y.test"), observation());
      expect(await store.reports.counts(TODAY, A)).toMatchObject([
        { successes: 1, failures: 2, details: [{ sessions: 1 }, { sessions: 1 }] },
      ]);
    });

    test("the same policy is the same, whatever object tells of it; another text, domain, pattern or type is another", async () => {
      const { store } = await open();
      const { text, type, mxHost = [] } = STS;
      await observe(store, observation(), observation({ policy: { mxHost: [...mxHost], text: [...text], domain: "a.test", type } }));
      for (const change of [{ text: [...text, "x"] }, { domain: "b.test" }, { mxHost: ["*.b.test"] }, { type: "tlsa" as const }])
        await observe(store, observation({ policy: { ...STS, ...change } }));
      const counted = await store.reports.counts(TODAY, A);
      expect(counted.map(({ policy, successes }) => [policy.type, policy.domain, successes])).toEqual([
        ["sts", "a.test", 2],
        ["sts", "a.test", 1],
        ["sts", "a.test", 1],
        ["sts", "b.test", 1],
        ["tlsa", "a.test", 1],
      ]);
    });

    test("a policy and a detail come back as they were, with anything in them", async () => {
      const { store } = await open();
      const policy: AppliedPolicy = { type: "sts", domain: "a.test", text: ["\0\r\n'\";ü\u001b[2J\ud800", ""], mxHost: ["*.a.test"] };
      const detail: FailureDetail = {
        resultType: "certificate-not-trusted",
        sendingMtaIp: "2001:db8::1",
        receivingMxHostname: "mx.a.test",
        receivingMxHelo: "[192.0.2.1]",
        receivingIp: "192.0.2.1",
        reasonCode: "self-signed",
      };
      await observe(
        store,
        observation({ policy, failures: [detail] }),
        observation({ policy: NONE, failures: [{ resultType: "dane-required" }] }),
      );
      const counted = await store.reports.counts(TODAY, A);
      expect(counted.map((one) => one.policy)).toEqual([NONE, policy]);
      expect(counted.flatMap(({ details }) => details.map((one) => one.detail))).toEqual([{ resultType: "dane-required" }, detail]);
    });

    test("a session belongs to the UTC day in which its outcome became known (RFC 8460 §4.1, §4.4)", async () => {
      const { store } = await open();
      const midnight = boundsOf(TODAY).end + 1;
      await observe(store, observation({ at: midnight - 100, failures: [MISMATCH] }));
      await observe(store, observation({ at: midnight }), observation({ at: midnight, reportDomain: domain("b.test") }));
      const tomorrow = reportDayOf(midnight);
      expect([TODAY, tomorrow]).toEqual(["2026-09-01", "2026-09-02"]);
      expect(await store.reports.counts(TODAY, A)).toMatchObject([{ successes: 0, failures: 1 }]);
      expect(await store.reports.counts(tomorrow, A)).toMatchObject([{ successes: 1, failures: 0 }]);
      expect(await store.reports.counts(reportDayOf(midnight + DAY), A)).toEqual([]);
      expect(await store.reports.failedDomains(TODAY)).toEqual(["a.test"]);
      expect(await store.reports.failedDomains(tomorrow)).toEqual([]);
    });

    test("a lost lease counts nothing; one that ran out and that nobody took does", async () => {
      const { store, clock } = await open();
      await submit(store);
      const lost = await leaseOne(store, "dane.test", T0, T0 + 1000);
      clock.pass(2000);
      const late = await leaseOne(store, "dane.test", T0 + 2000, T0 + 3000);
      clock.pass(2000);
      const settlement = { ...settlementOf(lost, [DELIVERED]), observations: [observation({ failures: [MISMATCH] })] };
      expect(await store.saveSettlement(lost.lease, settlement, NO_LEASE)).toBe("lease-lost");
      expect(await store.reports.counts(TODAY, A)).toEqual([]);
      expect(await store.saveSettlement(late.lease, settlement, NO_LEASE)).toEqual([]);
      expect(await store.saveSettlement(late.lease, settlement, NO_LEASE)).toBe("lease-lost");
      expect(await store.reports.counts(TODAY, A)).toMatchObject([{ failures: 1 }]);
    });

    test("a settlement that cannot be saved counts nothing", async () => {
      const { store } = await open();
      const { leased } = await submit(store, { lease: true, to: ["a@one.test", "b@one.test"] });
      const whole = { ...settlementOf(leased[0]!, [DELIVERED]), observations: [observation()] };
      const half = { ...whole, recipients: whole.recipients.slice(1) };
      await expect(store.saveSettlement(leased[0]!.lease, half, NO_LEASE)).rejects.toThrow(/leaves 1 recipients waiting/);
      expect(await store.reports.counts(TODAY, A)).toEqual([]);
      expect(await store.saveSettlement(leased[0]!.lease, whole, NO_LEASE)).toEqual([]);
      expect(await store.reports.counts(TODAY, A)).toMatchObject([{ successes: 1 }]);
    });

    test("an attempt that leaves the message waiting counts as well; a settlement without observations counts nothing", async () => {
      const { store } = await open();
      const { leased } = await submit(store, { lease: true });
      const waits = { ...settlementOf(leased[0]!, [WAITING], T0 + HOUR), observations: [observation({ failures: [EXPIRED] })] };
      expect(await store.saveSettlement(leased[0]!.lease, waits, NO_LEASE)).toEqual([]);
      const again = await leaseOne(store, "dane.test", T0 + HOUR);
      expect(await store.saveSettlement(again.lease, settlementOf(again, [DELIVERED]), NO_LEASE)).toEqual([]);
      expect(await store.reports.counts(TODAY, A)).toMatchObject([{ successes: 0, failures: 1 }]);
    });

    test("many sessions stay a few rows, in one settlement as in many", async () => {
      const { store } = await open();
      const sessions = Array.from({ length: 20_000 }, (_, n) => observation({ failures: n % 4 === 0 ? [MISMATCH, EXPIRED] : [] }));
      await observe(store, ...sessions);
      await Promise.all(Array.from({ length: 100 }, () => observe(store, observation())));
      expect(await store.reports.counts(TODAY, A)).toEqual([
        {
          policy: STS,
          successes: 15_100,
          failures: 5000,
          details: [
            { detail: EXPIRED, sessions: 5000 },
            { detail: MISMATCH, sessions: 5000 },
          ],
        },
      ]);
    });
  });

  describe(`${name}: what a hostile domain makes of the counts (RFC 8460 §5.2)`, () => {
    const sum = (counted: { readonly details: readonly { readonly sessions: number }[] }) =>
      counted.details.reduce((all, { sessions }) => all + sessions, 0);

    test("of a thousand kinds of failures the next are told in fewer words, and none is left out", async () => {
      const { store } = await open();
      const failure = (n: number): FailureDetail => ({
        resultType: "validation-failure",
        receivingMxHostname: `mx${n % 20}.a.test`,
        receivingMxHelo: `helo-${n}.a.test`,
        receivingIp: `192.0.2.${n % 250}`,
        reasonCode: "dane-no-match",
      });
      await observe(store, ...Array.from({ length: 3000 }, (_, n) => observation({ failures: [failure(n)] })));
      const [counted] = await store.reports.counts(TODAY, A);
      expect(counted!.failures).toBe(3000);
      expect(sum(counted!)).toBe(3000);
      expect(counted!.details).toHaveLength(920);
      const short = counted!.details.filter(({ detail }) => detail.receivingMxHelo === undefined);
      expect(short.map(({ detail }) => detail)).toContainEqual({
        resultType: "validation-failure",
        receivingMxHostname: "mx7.a.test",
        reasonCode: "dane-no-match",
      });
      expect(short).toHaveLength(20);
      expect(sum({ details: short })).toBe(2100);
    });

    test("host names and codes of any number end as result types, at most a thousand kinds in all", async () => {
      const { store } = await open();
      const types = ["validation-failure", "certificate-expired", "dnssec-invalid"] as const;
      const sessions = Array.from({ length: 4000 }, (_, n) =>
        observation({ failures: [{ resultType: types[n % 3]!, receivingMxHostname: `mx${n}.a.test`, reasonCode: `code-${n}` }] }),
      );
      await observe(store, ...sessions);
      const [counted] = await store.reports.counts(TODAY, A);
      expect(counted!.failures).toBe(4000);
      expect(sum(counted!)).toBe(4000);
      expect(counted!.details.length).toBeLessThanOrEqual(1000);
      // Each of the four wordings is there, and the last took all that came later.
      const members = new Set(counted!.details.map(({ detail }) => Object.keys(detail).join(" ")));
      expect([...members].toSorted()).toEqual(["resultType", "resultType reasonCode", "resultType receivingMxHostname reasonCode"]);
      expect(
        counted!.details
          .slice(0, 3)
          .map(({ detail }) => detail.resultType)
          .toSorted(),
      ).toEqual([...types].toSorted());
    });

    test("two details of a session that become the same in fewer words are one", async () => {
      const { store } = await open();
      const long = "x".repeat(2000);
      const failures = ["a", "b"].map(
        (n): FailureDetail => ({ resultType: "dnssec-invalid", receivingMxHelo: `${n}${long}`, reasonCode: "bogus" }),
      );
      await observe(store, observation({ failures }));
      expect(await store.reports.counts(TODAY, A)).toMatchObject([
        { failures: 1, details: [{ detail: { resultType: "dnssec-invalid", reasonCode: "bogus" }, sessions: 1 }] },
      ]);
    });

    test("of two hundred policies on a day the next count as one of their type without text", async () => {
      const { store } = await open();
      const policy = (n: number): AppliedPolicy => ({ ...STS, text: [`version: STSv1`, `n: ${n}`] });
      const failures = [EXPIRED];
      await observe(
        store,
        ...Array.from({ length: 250 }, (_, n) => observation({ policy: policy(n), failures: n % 2 === 0 ? failures : [] })),
      );
      await observe(store, observation({ policy: { ...TLSA, domain: "deep.mx.a.test" } }), observation({ policy: policy(3) }));
      await observe(store, observation({ policy: policy(3), reportDomain: domain("b.test") }));
      const counted = await store.reports.counts(TODAY, A);
      expect(counted).toHaveLength(202);
      expect(counted.filter((one) => one.policy.text.length === 0)).toEqual([
        { policy: { type: "sts", domain: "a.test", text: [] }, successes: 25, failures: 25, details: [{ detail: EXPIRED, sessions: 25 }] },
        { policy: { type: "tlsa", domain: "a.test", text: [] }, successes: 1, failures: 0, details: [] },
      ]);
      // One that has its row goes on in it, and another domain has room of its own.
      expect(counted.find((one) => one.policy.text[1] === "n: 3")?.successes).toBe(2);
      expect(await store.reports.counts(TODAY, domain("b.test"))).toMatchObject([{ policy: { text: ["version: STSv1", "n: 3"] } }]);
    });

    test("policies of a megabyte have no room either, and failures under many policies share theirs", async () => {
      const { store } = await open();
      const large = (n: number): AppliedPolicy => ({ ...STS, text: [`${n}`, "x".repeat(200_000)] });
      await observe(store, ...Array.from({ length: 10 }, (_, n) => observation({ policy: large(n) })));
      const counted = await store.reports.counts(TODAY, A);
      expect(counted.map(({ policy, successes }) => [policy.text.length, successes])).toEqual([
        [2, 1],
        [2, 1],
        [0, 8],
      ]);
      const many = Array.from({ length: 12_000 }, (_, n) =>
        observation({
          reportDomain: domain("b.test"),
          policy: { ...STS, text: [`${n % 20}`] },
          failures: [{ resultType: "dnssec-invalid", receivingMxHostname: `mx${n}.test` }],
        }),
      );
      await observe(store, ...many);
      const shared = await store.reports.counts(TODAY, domain("b.test"));
      expect(shared.reduce((all, { details }) => all + details.length, 0)).toBeLessThanOrEqual(5020);
      expect(shared.reduce((all, one) => all + sum(one), 0)).toBe(12_000);
    });
  });

  describe(`${name}: counted domains`, () => {
    test("are listed in order of the domain, in pages, each once", async () => {
      const { store } = await open();
      const names = Array.from({ length: 23 }, (_, n) => `d${String((n * 7) % 23).padStart(2, "0")}.test`);
      await observe(
        store,
        ...names.flatMap((one) => [observation({ reportDomain: domain(one) }), observation({ reportDomain: domain(one), policy: TLSA })]),
      );
      const seen: string[] = [];
      let after: string | undefined;
      do {
        const page = await store.reports.listCounted(TODAY, { limit: 5, ...(after !== undefined && { after }) });
        expect(page.domains.length).toBeLessThanOrEqual(5);
        seen.push(...page.domains.map(({ reportDomain, successes }) => `${reportDomain} ${successes}`));
        after = page.next;
      } while (after !== undefined);
      expect(seen).toEqual(names.toSorted().map((one) => `${one} 2`));
    });

    test("those without a report are found, by day, until they have one", async () => {
      const { store } = await open();
      const yesterday = reportDayOf(T0 - DAY);
      const before = reportDayOf(T0 - 2 * DAY);
      for (const at of [T0, T0 - DAY, T0 - 2 * DAY])
        await observe(store, ...["b.test", "a.test"].map((one) => observation({ reportDomain: domain(one), at })));
      expect(await store.reports.daysWithoutReports(TODAY)).toEqual([before, yesterday]);
      expect(await store.reports.domainsWithoutReport(yesterday, 1)).toEqual(["a.test"]);
      expect(
        await store.reports.add([
          report("a.test", { day: yesterday }),
          report("a.test", { day: before }),
          report("b.test", { day: before }),
        ]),
      ).toBe(3);
      expect(await store.reports.daysWithoutReports(TODAY)).toEqual([yesterday]);
      expect(await store.reports.domainsWithoutReport(yesterday, 10)).toEqual(["b.test"]);
      expect(await store.reports.domainsWithoutReport(before, 10)).toEqual([]);
    });
  });

  describe(`${name}: TLS reports`, () => {
    test("come back as they were added, also after a restart; a day and domain has one", async () => {
      const { store, reopen } = await open();
      const destinations = [
        { uri: "mailto:r@x.test", state: "queued", at: T0, queueId: store.newQueueId() },
        { uri: "https://r.test/in?k=v", state: "failed", detail: "503", at: T0 },
      ] as const;
      const full = report("a.test", { state: "sending", attempts: 3, destinations, detail: "503", document: '{"ü":1}' });
      expect(await store.reports.add([full, report("b.test")])).toBe(2);
      expect(await store.reports.add([report("a.test", { id: "other" }), report("c.test"), report("c.test", { id: "third" })])).toBe(1);
      const again = (await reopen()).reports;
      expect(await again.find(TODAY, A)).toEqual(full);
      expect(await again.find(TODAY, domain("c.test"))).toEqual(report("c.test"));
      expect(await again.find(reportDayOf(T0 + DAY), A)).toBeUndefined();
    });

    test("two who claim at once never have the same; what is not due, ended or held is not claimed", async () => {
      const { store } = await open();
      await store.reports.add([
        ...Array.from({ length: 30 }, (_, n) => report(`d${n}.test`, { dueAt: T0 - n, state: n % 2 === 0 ? "due" : "sending" })),
        report("later.test", { dueAt: T0 + 1 }),
        ...(["sent", "not-asked", "failed"] as const).map((state) => report(`${state}.test`, { state, endedAt: T0 })),
      ]);
      const claims = (await Promise.all([0, 1, 2].map(() => store.reports.claimDue(T0, T0 + HOUR, 12)))).flat();
      expect(claims.map(({ report: { reportDomain } }) => reportDomain)).toEqual(Array.from({ length: 30 }, (_, n) => `d${29 - n}.test`));
      for (const claim of claims) expect(claim).toMatchObject({ generation: 1, until: T0 + HOUR, report: { attempts: 1 } });
      expect(await store.reports.claimDue(T0, T0 + HOUR, 12)).toEqual([]);
      expect(await store.reports.claimDue(T0, T0 + HOUR, 0)).toEqual([]);
    });

    test("a claim that ran out is given again, and who had it before changes nothing", async () => {
      const { store } = await open();
      await store.reports.add([report("a.test", { document: "{}" })]);
      const [first] = await store.reports.claimDue(T0, T0 + 1000, 5);
      expect(first?.report.document).toBe("{}");
      expect(await store.reports.claimDue(T0 + 999, T0 + 2000, 5)).toEqual([]);
      const [second] = await store.reports.claimDue(T0 + 1000, T0 + 2000, 5);
      expect(second).toMatchObject({ generation: 2, report: { attempts: 2 } });
      expect(await store.reports.save(first!, { state: "failed", endedAt: T0 })).toBe(false);
      expect(await store.reports.find(TODAY, A)).toEqual({ ...report("a.test", { document: "{}" }), attempts: 2 });
      expect(await store.reports.save(second!, { state: "sent", endedAt: T0 + 1500 })).toBe(true);
      expect(await store.reports.save(second!, { state: "failed" })).toBe(false);
      expect((await store.reports.find(TODAY, A))?.state).toBe("sent");
      expect(await store.reports.claimDue(T0 + DAY, T0 + 2 * DAY, 5)).toEqual([]);
    });

    test("a claim that ran out and that nobody took may still be saved: better late than sent twice", async () => {
      const { store } = await open();
      await store.reports.add([report("a.test")]);
      const [claim] = await store.reports.claimDue(T0, T0 + 1000, 5);
      expect(await store.reports.save(claim!, { state: "sent", endedAt: T0 + DAY })).toBe(true);
    });

    test("a claim of a former process is void after a restart, and its report is due at once (RFC 8460 §5.3)", async () => {
      const { store, reopen } = await open();
      await store.reports.add([report("a.test")]);
      const [former] = await store.reports.claimDue(T0, T0 + DAY, 5);
      const again = (await reopen()).reports;
      expect(await again.save(former!, { state: "failed" })).toBe(false);
      expect(await again.nextDue()).toBe(T0);
      const [claim] = await again.claimDue(T0, T0 + DAY, 5);
      expect(claim).toMatchObject({ generation: 2, report: { id: former!.report.id, attempts: 2 } });
    });

    test("a change changes what it names and nothing else; the report may be claimed again", async () => {
      const { store } = await open();
      await store.reports.add([report("a.test")]);
      const [first] = await store.reports.claimDue(T0, T0 + HOUR, 5);
      const destinations = [{ uri: "mailto:r@x.test", state: "queued", at: T0 }] as const;
      await store.reports.save(first!, { state: "sending", dueAt: T0 + HOUR, destinations, document: "{}" });
      const sending = report("a.test", { state: "sending", dueAt: T0 + HOUR, destinations, document: "{}", attempts: 1 });
      expect(await store.reports.find(TODAY, A)).toEqual(sending);
      const [second] = await store.reports.claimDue(T0 + HOUR, T0 + 2 * HOUR, 5);
      await store.reports.save(second!, { detail: "x\u001b[2J", endedAt: T0 + HOUR, state: "failed" });
      expect(await store.reports.find(TODAY, A)).toEqual({ ...sending, attempts: 2, detail: "x?[2J", endedAt: T0 + HOUR, state: "failed" });
    });

    test("the next one is due when it is due, or when its claim ends", async () => {
      const { store } = await open();
      expect(await store.reports.nextDue()).toBeUndefined();
      await store.reports.add([
        report("a.test", { dueAt: T0 + 5 }),
        report("b.test", { dueAt: T0 + HOUR }),
        report("c.test", { dueAt: T0, state: "sent", endedAt: T0 }),
      ]);
      expect(await store.reports.nextDue()).toBe(T0 + 5);
      const [claim] = await store.reports.claimDue(T0 + 5, T0 + 1000, 5);
      expect(await store.reports.nextDue()).toBe(T0 + 1000);
      await store.reports.save(claim!, { state: "sent", endedAt: T0 + 10 });
      expect(await store.reports.nextDue()).toBe(T0 + HOUR);
    });

    test.each<[state: TlsReportState]>([["sent"], ["not-asked"], ["failed"]])(
      "one that was %s can be made due: it begins anew, the same report",
      async (state) => {
        const { store } = await open();
        const destinations = [{ uri: "mailto:r@x.test", state: "accepted", at: T0 }] as const;
        const ended = report("a.test", { state, endedAt: T0, attempts: 7, detail: "over", destinations, document: "{}" });
        await store.reports.add([ended]);
        const due = report("a.test", { id: ended.id, dueAt: T0 + HOUR, giveUpAt: T0 + 2 * DAY, document: "{}" });
        expect(await store.reports.makeDue(TODAY, A, T0 + HOUR, T0 + 2 * DAY)).toEqual(due);
        const [claim] = await store.reports.claimDue(T0 + HOUR, T0 + 2 * HOUR, 5);
        expect(claim?.report).toEqual({ ...due, attempts: 1 });
      },
    );

    test("one that waits is made due with what is known of it; one that is held stays with its holder", async () => {
      const { store } = await open();
      const destinations = [{ uri: "mailto:r@x.test", state: "failed", at: T0 }] as const;
      await store.reports.add([report("a.test", { dueAt: T0 + DAY, attempts: 2, destinations, detail: "503" }), report("b.test")]);
      const [held] = await store.reports.claimDue(T0, T0 + HOUR, 5);
      expect(await store.reports.makeDue(TODAY, A, T0 + 1, T0 + DAY)).toMatchObject({
        state: "due",
        dueAt: T0 + 1,
        attempts: 2,
        destinations,
        detail: "503",
      });
      expect(await store.reports.makeDue(TODAY, domain("b.test"), T0 + 1, T0 + 3 * DAY)).toMatchObject({ giveUpAt: T0 + 3 * DAY });
      expect((await store.reports.claimDue(T0 + 1, T0 + HOUR, 5)).map((claim) => claim.report.reportDomain)).toEqual(["a.test"]);
      expect(await store.reports.save(held!, { state: "sent", endedAt: T0 + 2 })).toBe(true);
      expect(await store.reports.makeDue(TODAY, domain("none.test"), T0, T0 + DAY)).toBeUndefined();
    });

    test("are listed newest day first, then by domain, by every filter, in pages, without their documents", async () => {
      const { store } = await open();
      const days = [TODAY, reportDayOf(T0 - DAY), reportDayOf(T0 - 40 * DAY)];
      const all = days.flatMap((day) =>
        ["c.test", "a.test", "b.test"].map((one) =>
          report(one, { day, document: "{}", ...(one === "b.test" && { state: "sent", endedAt: T0 }) }),
        ),
      );
      await store.reports.add(all.toReversed());
      const pages = async (filter: Parameters<QueueStore["reports"]["list"]>[0]) => {
        const seen: TlsReport[] = [];
        let after: string | undefined;
        do {
          const page = await store.reports.list(filter, { limit: 2, ...(after !== undefined && { after }) });
          expect(page.reports.length).toBeLessThanOrEqual(2);
          seen.push(...page.reports);
          after = page.next;
        } while (after !== undefined);
        return seen;
      };
      const expected = (keep: (one: TlsReport) => boolean) =>
        days.flatMap((day) =>
          all
            .filter((one) => one.day === day && keep(one))
            .toSorted((x, y) => (x.reportDomain < y.reportDomain ? -1 : 1))
            .map(({ document: _document, ...rest }) => rest),
        );
      expect(await pages({})).toEqual(expected(() => true));
      expect(await pages({ day: TODAY })).toEqual(expected(({ day }) => day === TODAY));
      expect(await pages({ reportDomain: A })).toEqual(expected(({ reportDomain }) => reportDomain === A));
      expect(await pages({ state: "sent" })).toEqual(expected(({ state }) => state === "sent"));
      expect(await pages({ day: TODAY, reportDomain: A, state: "due" })).toHaveLength(1);
      expect(await pages({ day: TODAY, reportDomain: A, state: "sent" })).toEqual([]);
    });
  });

  describe(`${name}: destinations of reports`, () => {
    test("are remembered as saved last, also after a restart", async () => {
      const { store, reopen } = await open();
      const uri = "https://r.test/in?k=v";
      expect(await store.reports.findRua(uri)).toBeUndefined();
      await store.reports.saveRua({ uri, refusals: 1, refusedAt: T0, suppressedUntil: T0 + DAY });
      await store.reports.saveRua({ uri: "mailto:r@x.test", refusals: 2, refusedAt: T0, suppressedUntil: T0 + DAY });
      await store.reports.saveRua({ uri, refusals: 0, refusedAt: T0 + HOUR });
      const again = (await reopen()).reports;
      expect(await again.findRua(uri)).toEqual({ uri, refusals: 0, refusedAt: T0 + HOUR });
      expect(await again.findRua("mailto:r@x.test")).toEqual({
        uri: "mailto:r@x.test",
        refusals: 2,
        refusedAt: T0,
        suppressedUntil: T0 + DAY,
      });
    });
  });

  describe(`${name}: what is over is forgotten (RFC 8460 §8)`, () => {
    test("counts by their day, ended reports and refusals by their time; nothing else", async () => {
      const { store } = await open();
      const old = reportDayOf(T0 - 3 * DAY);
      const many = Array.from({ length: 1200 }, (_, n) =>
        observation({ at: T0 - 3 * DAY, reportDomain: domain(`d${n}.test`), failures: [EXPIRED, MISMATCH] }),
      );
      await observe(store, ...many);
      await observe(store, observation({ failures: [EXPIRED] }));
      const ended = { state: "sent", endedAt: T0 - 3 * DAY } as const;
      await store.reports.add([
        ...Array.from({ length: 600 }, (_, n) => report(`d${n}.test`, { day: old, ...ended })),
        report("due.test", { day: old }),
        report("late.test", { day: old, state: "failed", endedAt: T0 }),
        report("a.test", { ...ended }),
      ]);
      await store.reports.saveRua({ uri: "mailto:old@x.test", refusals: 1, refusedAt: T0 - 3 * DAY });
      await store.reports.saveRua({ uri: "mailto:still@x.test", refusals: 1, refusedAt: T0 - 3 * DAY, suppressedUntil: T0 + DAY });
      // Counts, with two kinds of failures each; reports; a refusal.
      expect(await store.reports.forget(TODAY, T0)).toBe(1200 * 3 + 600 + 1);
      expect((await store.reports.listCounted(old, { limit: 5 })).domains).toEqual([]);
      expect(await store.reports.counts(TODAY, A)).toMatchObject([{ failures: 1, details: [{ sessions: 1 }] }]);
      const left = (await store.reports.list({}, { limit: 100 })).reports.map(({ reportDomain }) => reportDomain);
      expect(left).toEqual(["a.test", "due.test", "late.test"]);
      expect(await store.reports.findRua("mailto:old@x.test")).toBeUndefined();
      expect(await store.reports.findRua("mailto:still@x.test")).toBeDefined();
      expect(await store.reports.forget(TODAY, T0)).toBe(0);
    });

    test("what a report is still to be built from stays until then, or until its time is over", async () => {
      const { store } = await open();
      await observe(store, observation({ failures: [EXPIRED] }));
      await store.reports.add([report("a.test")]);
      const tomorrow = reportDayOf(T0 + DAY);
      expect(await store.reports.forget(tomorrow, 0)).toBe(0);
      expect(await store.reports.counts(TODAY, A)).toMatchObject([{ failures: 1, details: [{ sessions: 1 }] }]);
      const [claim] = await store.reports.claimDue(T0 + DAY, T0 + 2 * DAY, 1);
      expect(await store.reports.save(claim as ClaimedReport, { document: "{}" })).toBe(true);
      expect(await store.reports.forget(tomorrow, 0)).toBe(2);
      expect(await store.reports.counts(TODAY, A)).toEqual([]);
    });

    test("a report stays as long as its counts: they are never reported a second time", async () => {
      const { store } = await open();
      await observe(store, observation());
      await store.reports.add([report("a.test", { state: "sent", endedAt: T0 })]);
      expect(await store.reports.forget("2000-01-01" as ReportDay, T0 + DAY)).toBe(0);
      expect(await store.reports.domainsWithoutReport(TODAY, 5)).toEqual([]);
      expect(await store.reports.forget(reportDayOf(T0 + DAY), T0 + DAY)).toBe(2);
    });
  });

  describe(`${name}: DKIM`, () => {
    const key = (name: string, selector: string, more: Partial<DkimKey> = {}): DkimKey => ({
      domain: domain(name),
      selector,
      algorithm: "rsa-sha256",
      privateKey: `-----BEGIN PRIVATE KEY-----\n${name} ${selector}\n-----END PRIVATE KEY-----\n`,
      publicKey: "MIIB",
      state: "waiting-for-dns",
      createdAt: T0,
      changedAt: T0,
      ...more,
    });

    test("keys come back by domain, then selector, also after a restart; a selector is given once", async () => {
      const { store, reopen } = await open();
      const checked = key("a.test", "postern1r", { algorithm: "ed25519-sha256", checkedAt: T0, problem: "no record", state: "active" });
      const keys = [key("b.test", "postern1r"), key("a.test", "postern2r"), checked];
      for (const one of keys) expect(await store.dkimKeys.add(one)).toBe(true);
      expect(await store.dkimKeys.add(key("a.test", "postern1r"))).toBe(false);
      const again = (await reopen()).dkimKeys;
      expect(await again.list()).toEqual([checked, keys[1], keys[0]]);
    });

    test("a change changes what it names; a problem is cleared when it says so, and kept when it says nothing", async () => {
      const { store } = await open();
      const { dkimKeys } = store;
      await dkimKeys.add(key("a.test", "s"));
      await dkimKeys.add(key("b.test", "s"));
      const first = async () => (await dkimKeys.list())[0];
      expect(await dkimKeys.update(A, "s", { checkedAt: T0 + 1, problem: "another\u001b key" })).toBe(true);
      expect(await first()).toEqual(key("a.test", "s", { checkedAt: T0 + 1, problem: "another? key" }));
      expect(await dkimKeys.update(A, "s", { checkedAt: T0 + 2 })).toBe(true);
      expect(await first()).toEqual(key("a.test", "s", { checkedAt: T0 + 2, problem: "another? key" }));
      expect(await dkimKeys.update(A, "s", { state: "active", changedAt: T0 + 3, problem: undefined })).toBe(true);
      expect(await first()).toEqual(key("a.test", "s", { checkedAt: T0 + 2, state: "active", changedAt: T0 + 3 }));
      expect((await dkimKeys.list())[1]).toEqual(key("b.test", "s"));
      expect(await dkimKeys.update(A, "other", { state: "active" })).toBe(false);
    });

    test("a key is removed once", async () => {
      const { store } = await open();
      await store.dkimKeys.add(key("a.test", "s"));
      expect(await store.dkimKeys.remove(A, "s")).toBe(true);
      expect(await store.dkimKeys.remove(A, "s")).toBe(false);
      expect(await store.dkimKeys.list()).toEqual([]);
    });

    test.each([{ domain: "sender.test" as Domain, bodyHash: "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" }, undefined])(
      "whose signature a message gets comes back with each lease, in the story and in a notice: %j",
      async (signing) => {
        const { store, reopen } = await open();
        const wish = signing === undefined ? {} : { signing };
        const message: NewMessage = { ...newMessage(store, { to: ["a@one.test", "c@two.test"] }), ...wish };
        const body = store.newBody();
        await body.write(Buffer.from(SMALL));
        const [first] = await store.enqueue(message, body, { leaseNow: (nextHop) => nextHop === "one.test", leaseUntil: T0 + HOUR });
        const notice = { ...newMessage(store, { from: "", to: ["alice@sender.test"] }), ...wish };
        await store.saveSettlement(
          first!.lease,
          { ...settlementOf(first!, [WAITING], T0 + 1), notices: [{ message: notice, body: SMALL }] },
          NO_LEASE,
        );
        const again = await reopen();
        const leases = [
          first!,
          ...(await Promise.all(["one.test", "two.test", "sender.test"].map((nextHop) => leaseOne(again, nextHop, T0 + 1)))),
        ];
        for (const { message: leased } of leases) expect([leased.signing, "signing" in leased]).toEqual([signing, signing !== undefined]);
        expect((await again.admin.story(message.id))?.message.signing).toEqual(signing);
      },
    );
  });
}
