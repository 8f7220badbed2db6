import { describe, expect, test } from "vitest";
import {
  afterFetch,
  correctedFor,
  isUnused,
  judgeSts,
  type KnownSts,
  mayFetch,
  nextRefresh,
  type StsDiscovery,
  validPolicy,
} from "../../src/policy/sts-freshness.ts";
import type { StsMode, StsPolicy } from "../../src/policy/sts-policy.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const DAY = 86_400 * SECOND;
const RETRY = 5 * MINUTE;
const T0 = Date.UTC(2026, 8, 1);

const policy = (maxAge = 86_400, mode: StsMode = "enforce"): StsPolicy => ({ mode, maxAge, mx: ["mx.test"], text: "" });
const kept = (id: string, maxAge = 86_400, mode: StsMode = "enforce"): KnownSts => ({
  fetched: { policy: policy(maxAge, mode), id, fetchedAt: T0, expires: T0 + maxAge * SECOND },
});
const failure = { type: "sts-policy-fetch-error", detail: "it answered 404", whoActs: "receiver" } as const;
const failedAt = (at: number, id = "1"): KnownSts => ({ failed: { id, at, failures: 1, failure } });
const record = (id: string): StsDiscovery => ({ kind: "record", id });
const GONE = { type: "sts-policy-fetch-error", code: "no-txt-record" };
const absent: StsDiscovery = { kind: "none", reason: "absent", detail: "there is no record" };
const judge = (known: KnownSts, found: StsDiscovery, now = T0) => judgeSts(known, found, "_mta-sts.example.test", now, RETRY);

describe("age, RFC 8461 §5.1", () => {
  const cases: [age: number, holds: boolean][] = [
    [0, true],
    [86_400 * SECOND, true],
    [86_400 * SECOND + 1, false],
    [86_401 * SECOND, false],
  ];
  for (const [age, holds] of cases)
    test(`max_age 86400 ${holds ? "holds" : "is over"} at age ${age} ms`, () =>
      expect(validPolicy(kept("1"), T0 + age) !== undefined).toBe(holds));

  test("runs from the last fetch, with the max_age that came with it, also under the same id", () => {
    const known = afterFetch(kept("1", 7 * 86_400), "1", { ok: true, policy: policy(86_400) }, T0 + 5 * DAY);
    expect(known.fetched).toMatchObject({ id: "1", fetchedAt: T0 + 5 * DAY, expires: T0 + 6 * DAY });
    expect(afterFetch(kept("1", 86_400), "1", { ok: true, policy: policy(9 * 86_400) }, T0).fetched?.expires).toBe(T0 + 9 * DAY);
  });
});

describe("discovery: record, and what is kept, RFC 8461 §3.1, §3.3", () => {
  const failing: StsDiscovery = { kind: "failed", detail: "SERVFAIL" };
  const doubled: StsDiscovery = { kind: "none", reason: "several", detail: "2 records" };
  const broken: StsDiscovery = { kind: "none", reason: "malformed", detail: "no id" };
  const cases: [what: string, known: KnownSts, found: StsDiscovery, expected: object][] = [
    ["nothing kept, no record", {}, absent, { do: "nothing" }],
    ["nothing kept, two records", {}, doubled, { do: "nothing" }],
    ["nothing kept, a broken record", {}, broken, { do: "nothing" }],
    [
      "nothing kept, DNS fails",
      {},
      failing,
      {
        do: "nothing",
        trouble: {
          type: "sts-policy-fetch-error",
          detail: "the look-up of _mta-sts.example.test failed: SERVFAIL",
          whoActs: "receiver",
          code: "dns",
        },
      },
    ],
    ["nothing kept, a record", {}, record("1"), { do: "fetch", id: "1" }],
    ["kept, same id", kept("1"), record("1"), { do: "apply" }],
    ["kept, other id", kept("2"), record("1"), { do: "fetch", id: "1" }],
    ["kept, an id that differs in case", kept("aB"), record("ab"), { do: "fetch", id: "ab" }],
    ["kept, no record", kept("1"), absent, { do: "apply", trouble: GONE }],
    ["kept, two records", kept("1"), doubled, { do: "apply", trouble: GONE }],
    ["kept, a broken record", kept("1"), broken, { do: "apply", trouble: GONE }],
    ["kept, DNS fails", kept("1"), failing, { do: "apply", trouble: { detail: "the look-up of _mta-sts.example.test failed: SERVFAIL" } }],
    ["failed lately, same id, nothing kept", failedAt(T0), record("1"), { do: "unavailable", failure }],
    ["failed lately, same id, kept another", { ...kept("0"), ...failedAt(T0) }, record("1"), { do: "apply", trouble: failure }],
    ["the refresh failed, same id", { ...kept("1"), ...failedAt(T0) }, record("1"), { do: "apply", trouble: failure }],
    ["failed lately, nothing kept, no record any more", failedAt(T0), absent, { do: "nothing" }],
  ];
  for (const [what, known, found, expected] of cases) test(what, () => expect(judge(known, found)).toMatchObject(expected));

  test("of a policy with mode none no trouble is told, RFC 8461 §6", () => {
    for (const found of [absent, failing, record("1")])
      expect(judge({ ...kept("1", 86_400, "none"), ...failedAt(T0, "2") }, found)).toEqual({
        do: "apply",
        fetched: kept("1", 86_400, "none").fetched,
      });
  });

  test("a policy that is over counts for nothing", () => {
    const late = T0 + 2 * DAY;
    expect(judge(kept("1"), record("1"), late)).toEqual({ do: "fetch", id: "1" });
    expect(judge(kept("1"), absent, late)).toEqual({ do: "nothing" });
    expect(judge({ ...kept("1"), ...failedAt(late) }, record("1"), late)).toMatchObject({ do: "unavailable" });
  });
});

describe("a failed fetch binds its own id for five minutes, RFC 8461 §3.3", () => {
  const cases: [what: string, id: string, after: number, may: boolean][] = [
    ["same id, at once", "1", 0, false],
    ["same id, after 4 min", "1", 4 * MINUTE, false],
    ["same id, a moment before 5 min", "1", 5 * MINUTE - 1, false],
    ["same id, after 5 min", "1", 5 * MINUTE, true],
    ["new id, after 1 min", "2", MINUTE, true],
    ["same id, the clock was set back since", "1", -DAY, true],
  ];
  for (const [what, id, after, may] of cases) test(what, () => expect(mayFetch(failedAt(T0), id, T0 + after, RETRY)).toBe(may));
});

describe("after a fetch", () => {
  test("a valid policy replaces what is kept, whatever the other's life, also with mode none (§8.3)", () => {
    for (const mode of ["enforce", "testing", "none"] as const)
      expect(afterFetch(kept("1", 31_557_600), "2", { ok: true, policy: policy(60, mode) }, T0)).toEqual({
        fetched: { policy: policy(60, mode), id: "2", fetchedAt: T0, expires: T0 + MINUTE },
      });
  });

  test("a failure changes nothing of what is kept, and is counted", () => {
    const once = afterFetch(kept("1"), "2", { ok: false, failure }, T0);
    const twice = afterFetch(once, "2", { ok: false, failure }, T0 + RETRY);
    expect(twice).toEqual({ ...kept("1"), failed: { id: "2", at: T0 + RETRY, failures: 2, failure } });
    expect(afterFetch({}, "2", { ok: false, failure }, T0)).toEqual(failedAt(T0, "2"));
    expect(afterFetch(twice, "2", { ok: true, policy: policy() }, T0).failed).toBeUndefined();
  });

  test("of max_age 0 nothing is kept, nor of what was before", () =>
    expect(afterFetch(kept("1"), "2", { ok: true, policy: policy(0) }, T0)).toEqual({}));
});

describe("a clock that was wrong", () => {
  test("a policy fetched in the future holds from now on for its max_age, not until then", () => {
    const now = T0 - 3_650 * DAY;
    expect(correctedFor(kept("1"), now).fetched).toMatchObject({ fetchedAt: now, expires: now + DAY });
  });
  test("a correction of seconds changes nothing", () => {
    const known = kept("1");
    expect(correctedFor(known, T0 - 2_000)).toBe(known);
    expect(correctedFor(known, T0 + DAY)).toBe(known);
  });
});

describe("the next refresh, RFC 8461 §10.2", () => {
  const rules = { refreshEvery: DAY, refreshUnused: 30 * DAY, retryAfter: RETRY };
  const week = kept("1", 7 * 86_400);
  const next = (known: KnownSts, chance = 1, now = T0) => nextRefresh(known, rules, now, () => chance);

  test("is about a day after the fetch, and chance spreads it", () => {
    expect(next(week, 0)).toBe(T0 + 0.75 * DAY);
    expect(next(week, 1)).toBe(T0 + DAY);
  });
  test("is well before a short life ends", () => {
    expect(next(kept("1", 86_400))).toBe(T0 + DAY / 2);
    expect(next(kept("1", 3_600), 0)).toBe(T0 + 22.5 * MINUTE);
    expect(next(kept("1", 400))).toBe(T0 + RETRY);
  });
  test("does not come where the policy is over before a fetch may be made", () => {
    expect(next(kept("1", 300))).toBeUndefined();
    expect(next(week, 1, T0 + 8 * DAY)).toBeUndefined();
    expect(next({})).toBeUndefined();
  });
  test("comes more often the less of its life is left to a failing one, never within five minutes", () => {
    const failing = (at: number): KnownSts => ({ ...week, ...failedAt(at) });
    expect(next(failing(T0 + DAY))).toBe(T0 + 2 * DAY);
    expect(next(failing(T0 + 6.5 * DAY))).toBe(T0 + 6.625 * DAY);
    expect(next(failing(T0 + 7 * DAY - 10 * MINUTE))).toBe(T0 + 7 * DAY - 5 * MINUTE);
    expect(next(failing(T0 + 7 * DAY - 4 * MINUTE))).toBeUndefined();
  });
  test("is for domains that somebody mails", () => {
    expect(isUnused(T0, T0 + 30 * DAY, rules)).toBe(false);
    expect(isUnused(T0, T0 + 30 * DAY + 1, rules)).toBe(true);
  });
});
