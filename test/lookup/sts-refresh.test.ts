import { afterEach, describe, expect, test } from "vitest";
import type { PosternEvent } from "../../src/events.ts";
import { createStsMemory } from "../../src/lookup/sts-memory.ts";
import { createStsRefresher } from "../../src/lookup/sts-refresh.ts";
import { createFetchLane } from "../../src/lookup/sts-lane.ts";
import { createStsLookup, type StsLookup, type StsLookupSettings } from "../../src/lookup/sts-lookup.ts";
import type { Domain } from "../../src/mail/domain.ts";
import type { StsFetchResult } from "../../src/policy/sts-freshness.ts";
import { parseStsPolicy } from "../../src/policy/sts-policy.ts";
import { MovedClock, settled } from "../support/moved-clock.ts";
import { policyText, type PolicyWishes } from "../support/policy-host.ts";
import { MemoryPolicies, settings } from "./sts-world.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const services: StsLookup[] = [];
afterEach(async () => {
  for (const service of services.splice(0)) await service.stop();
});

const served = (wishes?: PolicyWishes): StsFetchResult => {
  const policy = parseStsPolicy(policyText(wishes));
  if (!policy.ok) throw new Error(policy.error);
  return { ok: true, policy: policy.value };
};
const down: StsFetchResult = { ok: false, failure: { type: "sts-policy-fetch-error", detail: "it answered 503", whoActs: "receiver" } };

/** Records and policy hosts that answer without a network, so that days pass in moments. */
function world(options: { store?: MemoryPolicies; clock?: MovedClock; settings?: Partial<StsLookupSettings>; random?: () => number } = {}) {
  const { store = new MemoryPolicies(), clock = new MovedClock(), random = () => 0.5 } = options;
  const events: PosternEvent[] = [];
  const fetches: { domain: string; at: number }[] = [];
  const state = { record: "1" as string | undefined, answer: served(), hang: false };
  const sts = createStsLookup({
    findTxt: async (name) =>
      state.record === undefined
        ? { kind: "no-such-name", security: "insecure", expires: 0 }
        : {
            kind: "answer",
            records: [[Buffer.from(`v=STSv1; id=${state.record}`)]],
            security: "insecure",
            canonicalName: name,
            expires: 0,
          },
    async fetch(domain, stop) {
      fetches.push({ domain, at: clock.now() });
      if (state.hang) await new Promise((done) => stop?.addEventListener("abort", done));
      return state.answer;
    },
    store,
    clock,
    random,
    emit: (event) => void events.push(event),
    settings: () => ({ ...settings, ...options.settings }),
  });
  services.push(sts);
  return { sts, store, clock, events, fetches, state, find: (name = "example.test") => sts.find(name as Domain) };
}

describe("policies are refreshed before they are needed (RFC 8461 §3.3, §10.2)", () => {
  test("about once a day without any mail, also with the record gone, so that a policy of a week lives on", async () => {
    const { sts, clock, find, fetches, state } = world();
    await sts.start();
    await find();
    state.record = undefined;
    await clock.pass(8 * DAY);
    expect(await find()).toMatchObject({ kind: "policy", id: "1" });
    expect(fetches.length).toBeGreaterThanOrEqual(9);
    expect(fetches.length).toBeLessThanOrEqual(11);
  });

  test("the control: without the refresh it is gone on day 8", async () => {
    const { clock, find, state } = world();
    await find();
    state.record = undefined;
    await clock.pass(8 * DAY);
    expect(await find()).toMatchObject({ kind: "none" });
  });

  test("a body that was old when the id was new is repaired by the next one (§8.1)", async () => {
    const { sts, clock, find, state } = world();
    await sts.start();
    await find();
    state.answer = served({ mode: "testing" });
    expect(await find()).toMatchObject({ id: "1", policy: { mode: "enforce" } });
    await clock.pass(DAY);
    expect(await find()).toMatchObject({ id: "1", policy: { mode: "testing" } });
  });

  test("the live record's id is what is kept from then on", async () => {
    const { sts, clock, store, find, state } = world();
    await sts.start();
    await find();
    state.record = "2";
    await clock.pass(DAY);
    expect(store.rows.get("example.test")?.policy?.id).toBe("2");
  });

  test("a policy of an hour is refreshed within the hour", async () => {
    const { sts, clock, find, state } = world();
    await sts.start();
    state.answer = served({ maxAge: 3_600 });
    await find();
    state.record = undefined;
    await clock.pass(5 * HOUR);
    expect(await find()).toMatchObject({ kind: "policy" });
  });

  test("not for domains that no mail has asked for in thirty days; and again when it does", async () => {
    const { sts, clock, find, fetches, state } = world({ settings: { refreshUnused: 3 * DAY } });
    await sts.start();
    await find();
    await clock.pass(5 * DAY);
    const count = fetches.length;
    expect(count).toBeLessThanOrEqual(5);
    await clock.pass(DAY);
    expect(fetches).toHaveLength(count);
    state.record = undefined;
    expect(await find()).toMatchObject({ kind: "policy" });
    await clock.pass(2 * DAY);
    expect(fetches.length).toBeGreaterThan(count);
  });

  test("what is kept in the store is refreshed after a start, spread, and before it expires", async () => {
    const store = new MemoryPolicies();
    const clock = new MovedClock();
    const now = clock.now();
    for (let index = 0; index < 40; index += 1)
      store.rows.set(`n${index}.test`, {
        policyDomain: `n${index}.test` as Domain,
        policy: { id: "1", text: policyText(), fetchedAt: now - 5 * DAY, expires: now + 2 * DAY },
        lastUsed: now - DAY,
      });
    let chance = 0;
    const { sts, fetches } = world({ store, clock, random: () => (chance = (chance + 0.37) % 1) });
    await sts.start();
    await clock.pass(HOUR + MINUTE);
    expect(new Set(fetches.map(({ domain }) => domain)).size).toBe(40);
    expect(new Set(fetches.map(({ at }) => Math.floor((at - now) / (10 * MINUTE)))).size).toBeGreaterThan(3);
    expect(fetches.map(({ domain }) => domain)).not.toEqual(Array.from({ length: 40 }, (_, index) => `n${index}.test`));
  });

  test("a domain mailed before, whose policy ran out while we were away, is known again before mail comes", async () => {
    const store = new MemoryPolicies();
    const clock = new MovedClock();
    const policy = { id: "1", text: policyText(), fetchedAt: clock.now() - 9 * DAY, expires: clock.now() - 2 * DAY };
    store.rows.set("example.test", { policyDomain: "example.test" as Domain, policy, lastUsed: clock.now() - 9 * DAY });
    const { sts, find, fetches, state } = world({ store, clock });
    await sts.start();
    await clock.pass(HOUR + MINUTE);
    expect(fetches).toHaveLength(1);
    state.record = undefined;
    expect(await find()).toMatchObject({ kind: "policy" });
  });

  test("hosts that hang take a quarter of the places at most, and mail's own fetches go on", async () => {
    const store = new MemoryPolicies();
    const clock = new MovedClock();
    const now = clock.now();
    for (let index = 0; index < 20; index += 1)
      store.rows.set(`n${index}.test`, {
        policyDomain: `n${index}.test` as Domain,
        policy: { id: "1", text: policyText(), fetchedAt: now - 5 * DAY, expires: now + 2 * DAY },
        lastUsed: now,
      });
    const { sts, find, fetches, state } = world({ store, clock, settings: { concurrentFetches: 8 } });
    await sts.start();
    state.hang = true;
    await clock.pass(2 * HOUR);
    expect(fetches).toHaveLength(2);
    state.hang = false;
    expect(await find()).toMatchObject({ kind: "policy" });
  });

  test("what is long of no use and has expired is forgotten, what holds is not", async () => {
    const store = new MemoryPolicies();
    const clock = new MovedClock();
    const now = clock.now();
    const row = (name: string, expires: number, lastUsed: number) => {
      const policyDomain = name as Domain;
      store.rows.set(name, { policyDomain, policy: { id: "1", text: policyText(), fetchedAt: now - 60 * DAY, expires }, lastUsed });
    };
    row("gone.test", now - 20 * DAY, now - 40 * DAY);
    row("holds.test", now + 300 * DAY, now - 40 * DAY);
    row("used.test", now - 20 * DAY, now - 10 * DAY);
    const failure = { id: "1", at: now - 40 * DAY, failures: 1, failure: down.ok ? (undefined as never) : down.failure };
    store.rows.set("failed.test", { policyDomain: "failed.test" as Domain, failure, lastUsed: now - 40 * DAY });
    const { sts, state } = world({ store, clock });
    state.answer = down;
    await sts.start();
    expect(store.rows.size).toBe(4);
    await clock.pass(DAY + MINUTE);
    expect([...store.rows.keys()]).toEqual(["holds.test", "used.test"]);
  });
});

test("a day under a clock that is years ahead takes no kept policy away", async () => {
  const store = new MemoryPolicies();
  const clock = new MovedClock();
  const policyDomain = "example.test" as Domain;
  const policy = { id: "1", text: policyText(), fetchedAt: clock.now() - DAY, expires: clock.now() + 6 * DAY };
  store.rows.set(policyDomain, { policyDomain, policy, lastUsed: clock.now() - 40 * DAY });
  const { sts } = world({ store, clock });
  await sts.start();
  await clock.pass(DAY - HOUR);
  clock.set(clock.now() + 3_650 * DAY);
  await clock.pass(2 * HOUR);
  clock.set(clock.now() - 3_650 * DAY);
  expect([...store.rows.keys()]).toEqual(["example.test"]);
  await clock.pass(DAY);
  expect([...store.rows.keys()]).toEqual(["example.test"]);
});

describe("refreshes that fail", () => {
  test("are told with the date until when the policy holds, long before it (§10.2)", async () => {
    const { sts, clock, find, state, events } = world();
    await sts.start();
    await find();
    const expires = clock.now() + 7 * DAY;
    state.answer = down;
    await clock.pass(3.5 * DAY);
    const told = events.filter((event) => event.kind === "policy-refresh-failed");
    expect(told.length).toBeGreaterThanOrEqual(3);
    expect(told[2]).toEqual({
      kind: "policy-refresh-failed",
      policyDomain: "example.test",
      mode: "enforce",
      failures: 3,
      expires,
      reason: "sts-policy-fetch-error",
      detail: "it answered 503",
    });
    expect(await find()).toMatchObject({ kind: "policy", expires, trouble: { detail: "it answered 503" } });
  });

  test("of mode none are told to nobody (§8.3)", async () => {
    const { sts, clock, find, state, events } = world();
    await sts.start();
    state.answer = served({ mode: "none", mx: [] });
    await find();
    state.answer = down;
    await clock.pass(6 * DAY);
    expect(events.map(({ kind }) => kind)).toEqual(["policy-changed"]);
  });

  test("become more frequent to the end of the policy's life, and then are one a day", async () => {
    const { sts, clock, find, fetches, state } = world();
    await sts.start();
    state.answer = served({ maxAge: 86_400 });
    await find();
    state.answer = down;
    await clock.pass(2 * DAY);
    const count = fetches.length;
    expect(count).toBeGreaterThan(3);
    await clock.pass(4 * DAY);
    expect(fetches.length - count).toBeLessThanOrEqual(4);
  });
});

test("a refresh of which nothing came, not even a failure, is not made again at once", async () => {
  const store = new MemoryPolicies();
  const clock = new MovedClock();
  const policyDomain = "example.test" as Domain;
  const policy = { id: "1", text: policyText(), fetchedAt: clock.now() - 5 * DAY, expires: clock.now() + 2 * DAY };
  store.rows.set(policyDomain, { policyDomain, policy, lastUsed: clock.now() });
  let refreshes = 0;
  const refresher = createStsRefresher({
    ...{ memory: createStsMemory({ store, emit: () => {}, now: () => clock.now() }), store, clock, random: () => 0, emit: () => {} },
    rules: () => settings,
    async refresh() {
      refreshes += 1;
    },
  });
  await refresher.start();
  await clock.pass(HOUR);
  refresher.stop();
  expect(refreshes).toBeGreaterThan(8);
  expect(refreshes).toBeLessThan(13);
});

describe("the places of fetches", () => {
  test("beyond a number of slow ones the slowest is ended, neither the next nor those in line; that it was says nothing of its host", async () => {
    const clock = new MovedClock();
    const lane = createFetchLane(() => 1, clock);
    const ended: number[] = [];
    const hang = (index: number) =>
      lane.run(10 * MINUTE, (stop) => new Promise<number>((done) => stop.addEventListener("abort", () => done(ended.push(index)))));
    const hanging = Array.from({ length: 12 }, (_, index) => hang(index));
    await clock.pass(11 * 3_000 - 1);
    expect(ended).toEqual([]);
    await clock.pass(3_002);
    expect(ended).toEqual([0, 1]);
    expect(await lane.run(MINUTE, async () => "quick")).toBe("quick");
    expect(await Promise.all(hanging.slice(0, 2))).toEqual([undefined, undefined]);
  });

  test("a fetch that made room for others is made again with the next mail, not minutes later", async () => {
    const { find, clock, state, fetches, store } = world({ settings: { concurrentFetches: 1 } });
    state.hang = true;
    const first = find();
    await settled();
    for (let index = 0; index < 10; index += 1) void find(`slow${index}.test`);
    await clock.pass(11 * 3_000);
    expect(await first).toMatchObject({ kind: "unavailable", failure: { whoActs: "nobody" } });
    expect(store.rows.size).toBe(0);
    state.hang = false;
    expect(await find()).toMatchObject({ kind: "policy" });
    expect(fetches.filter(({ domain }) => domain === "example.test")).toHaveLength(2);
  });

  test("who waits too long hears that the turn did not come, and nothing was started", async () => {
    const clock = new MovedClock();
    const lane = createFetchLane(() => 1, clock);
    void lane.run(MINUTE, () => new Promise(() => {}));
    let started = false;
    const waiting = lane.run(2_000, async () => (started = true));
    await clock.pass(2_000);
    expect([await waiting, started]).toEqual([undefined, false]);
  });

  test("mail whose turn did not come goes by what is kept", async () => {
    const { find, clock, state, fetches } = world({ settings: { concurrentFetches: 1, fetchTimeout: 2_000 } });
    await find("kept.test");
    state.record = "2";
    state.hang = true;
    void find("hangs.test");
    await settled();
    const kept = find("kept.test");
    const unknown = find("unknown.test");
    await settled();
    await clock.pass(2_000);
    expect(await kept).toMatchObject({ kind: "policy", id: "1", trouble: { type: "sts-policy-fetch-error" } });
    expect(await unknown).toMatchObject({ kind: "unavailable", failure: { whoActs: "nobody" } });
    expect(fetches.map(({ domain }) => domain)).toEqual(["kept.test", "hangs.test"]);
  });
});
