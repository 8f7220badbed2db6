/** The first failure of a domain on a UTC day is told at once, and once. */
import { expect, test } from "vitest";
import { TlsAlarm } from "../../src/delivery/tls-alarm.ts";
import type { PosternEvent } from "../../src/events.ts";
import type { Domain } from "../../src/mail/domain.ts";
import type { FailureDetail, TlsObservation } from "../../src/policy/observation.ts";
import { reportDayOf } from "../../src/queue/tls-reports.ts";

const NOON = Date.UTC(2026, 2, 1, 12);
const DAY = 86_400_000;
const mismatch: FailureDetail = { resultType: "validation-failure", receivingMxHostname: "mx.a.test", reasonCode: "dane-no-match" };

function observed(domain: string, at: number, failures: readonly FailureDetail[] = [mismatch]): TlsObservation {
  return { reportDomain: domain as Domain, at, policy: { type: "tlsa", domain: `mx.${domain}`, text: [] }, failures };
}

function alarm(most?: number) {
  const events: PosternEvent[] = [];
  const one = new TlsAlarm((event) => events.push(event), most);
  return { one, events, told: () => events.map((event) => (event.kind === "tls-failure-seen" ? event.reportDomain : event.kind)) };
}

test("it says what failed, where, and under which policy", () => {
  const { one, events } = alarm();
  one.note([observed("a.test", NOON)]);
  expect(events).toEqual([
    {
      kind: "tls-failure-seen",
      reportDomain: "a.test",
      policyType: "tlsa",
      resultType: "validation-failure",
      reasonCode: "dane-no-match",
      host: "mx.a.test",
    },
  ]);
});
test("what is not known is not told", () => {
  const { one, events } = alarm();
  one.note([observed("a.test", NOON, [{ resultType: "sts-policy-fetch-error" }])]);
  expect(events).toEqual([{ kind: "tls-failure-seen", reportDomain: "a.test", policyType: "tlsa", resultType: "sts-policy-fetch-error" }]);
});
test("once for each domain and day, however many failures there are", () => {
  const { one, told } = alarm();
  one.note([observed("a.test", NOON), observed("a.test", NOON), observed("b.test", NOON)]);
  one.note([observed("a.test", NOON + 1)]);
  expect(told()).toEqual(["a.test", "b.test"]);
  one.note([observed("a.test", NOON + DAY)]);
  expect(told()).toEqual(["a.test", "b.test", "a.test"]);
  // What was met before midnight and is saved after it belongs to its own day.
  one.note([observed("a.test", NOON)]);
  expect(told()).toHaveLength(3);
});
test("a success is no alarm", () => {
  const { one, told } = alarm();
  one.note([observed("a.test", NOON, [])]);
  expect(told()).toEqual([]);
});
test("what had failed before this process began is known", () => {
  const { one, told } = alarm();
  one.seed(reportDayOf(NOON), ["a.test" as Domain]);
  one.note([observed("a.test", NOON), observed("b.test", NOON), observed("a.test", NOON + DAY)]);
  expect(told()).toEqual(["b.test", "a.test"]);
});
test("its memory has an end: the domain met longest ago may be told of again", () => {
  const { one, told } = alarm(2);
  one.note(["a.test", "b.test", "c.test"].map((domain) => observed(domain, NOON)));
  one.note([observed("c.test", NOON), observed("a.test", NOON)]);
  expect(told()).toEqual(["a.test", "b.test", "c.test", "a.test"]);
});
