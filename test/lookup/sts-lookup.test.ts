import { describe, expect, test, vi } from "vitest";
import { createTestCa } from "../support/certificates.ts";
import type { ZoneEntry } from "../support/dns-zone.ts";
import { policyText } from "../support/policy-host.ts";
import { settled } from "../support/moved-clock.ts";
import { EXAMPLE, MemoryPolicies, type StsWorld, stsWorld } from "./sts-world.ts";

const MINUTE = 60_000;
const DAY = 86_400_000;
const fetchError = "sts-policy-fetch-error";

describe("discovery: live record, fetch, and what is kept (RFC 8461 §3.1, §3.3)", () => {
  type Txt = "absent" | "invalid" | "two records" | "SERVFAIL" | "timeout" | "refused" | "same id" | "other id";
  type Host = "ok" | "404" | "no policy" | "not asked";
  interface Row {
    readonly kept: "nothing" | "enforce" | "testing" | "none" | "expired";
    readonly txt: Txt;
    readonly host: Host;
    readonly found: string;
    /** The id that is kept and valid afterwards. */
    readonly after: string | undefined;
  }
  const rows: Row[] = [
    { kept: "nothing", txt: "absent", host: "not asked", found: "none", after: undefined },
    { kept: "nothing", txt: "invalid", host: "not asked", found: "none", after: undefined },
    { kept: "nothing", txt: "two records", host: "not asked", found: "none", after: undefined },
    { kept: "nothing", txt: "SERVFAIL", host: "not asked", found: `none (${fetchError})`, after: undefined },
    { kept: "nothing", txt: "timeout", host: "not asked", found: `none (${fetchError})`, after: undefined },
    { kept: "nothing", txt: "other id", host: "ok", found: "testing 2", after: "2" },
    { kept: "nothing", txt: "other id", host: "404", found: `unavailable (${fetchError})`, after: undefined },
    { kept: "nothing", txt: "other id", host: "no policy", found: "unavailable (sts-policy-invalid)", after: undefined },
    { kept: "enforce", txt: "same id", host: "not asked", found: "enforce 1", after: "1" },
    { kept: "enforce", txt: "other id", host: "ok", found: "testing 2", after: "2" },
    { kept: "enforce", txt: "other id", host: "404", found: `enforce 1 (${fetchError})`, after: "1" },
    { kept: "enforce", txt: "other id", host: "no policy", found: "enforce 1 (sts-policy-invalid)", after: "1" },
    { kept: "enforce", txt: "absent", host: "not asked", found: `enforce 1 (${fetchError})`, after: "1" },
    { kept: "enforce", txt: "invalid", host: "not asked", found: `enforce 1 (${fetchError})`, after: "1" },
    { kept: "enforce", txt: "two records", host: "not asked", found: `enforce 1 (${fetchError})`, after: "1" },
    { kept: "enforce", txt: "SERVFAIL", host: "not asked", found: `enforce 1 (${fetchError})`, after: "1" },
    { kept: "enforce", txt: "timeout", host: "not asked", found: `enforce 1 (${fetchError})`, after: "1" },
    { kept: "enforce", txt: "refused", host: "not asked", found: `enforce 1 (${fetchError})`, after: "1" },
    { kept: "testing", txt: "absent", host: "not asked", found: `testing 1 (${fetchError})`, after: "1" },
    { kept: "none", txt: "absent", host: "not asked", found: "none 1", after: "1" },
    { kept: "none", txt: "other id", host: "404", found: "none 1", after: "1" },
    { kept: "expired", txt: "same id", host: "ok", found: "testing 1", after: "1" },
    { kept: "expired", txt: "same id", host: "404", found: `unavailable (${fetchError})`, after: undefined },
    { kept: "expired", txt: "absent", host: "not asked", found: "none", after: undefined },
  ];

  const publishTxt = (world: StsWorld, txt: Txt): void => {
    const { server, record } = world;
    const name = "_mta-sts.example.test";
    switch (txt) {
      case "absent":
        return record();
      case "invalid":
        return record("v=STSv1; id=");
      case "two records":
        return record("v=STSv1; id=1", "v=STSv1; id=1");
      case "SERVFAIL":
        return server.set(name, { behave: { kind: "rcode", rcode: "SERVFAIL" } });
      case "refused":
        return server.set(name, { behave: { kind: "rcode", rcode: "REFUSED" } });
      case "timeout":
        return server.set(name, { behave: { kind: "drop" } });
      case "same id":
        return record("v=STSv1; id=1");
      case "other id":
        return record("v=STSv1; id=2");
    }
  };

  for (const { kept, txt, host: answer, found, after } of rows)
    test(`${kept} kept, TXT ${txt}, policy host ${answer}: ${found}`, async () => {
      const world = await stsWorld();
      const { host, clock, find, publish, ttl, server } = world;
      if (kept !== "nothing") {
        publish("1", { mode: kept === "expired" ? "enforce" : kept, maxAge: kept === "expired" ? 60 : 604_800 });
        await find();
        if (kept === "expired") await clock.pass(61_000);
      }
      publishTxt(world, txt);
      await ttl();
      host.serve(EXAMPLE, answer === "404" ? { status: 404 } : answer === "no policy" ? "<html>" : policyText({ mode: "testing" }));
      const before = host.requests.length;
      const asked = server.count("_mta-sts.example.test");
      const finding = find();
      if (txt === "timeout") {
        await vi.waitFor(() => expect(server.count("_mta-sts.example.test")).toBeGreaterThan(asked));
        await clock.pass(5_000);
      }
      expect(await finding).toBe(found);
      expect(host.requests.length - before).toBe(answer === "not asked" ? 0 : 1);
      const now = await world.sts.show(EXAMPLE);
      expect(now?.policy !== undefined && now.policy.expires >= clock.now() ? now.policy.id : undefined).toBe(after);
    });
});

describe("which domain (RFC 8461 §3.4)", () => {
  test("the policy domain alone is asked, never its parent", async () => {
    const { server, find, publish } = await stsWorld();
    publish("1");
    expect(await find("mail.example.test")).toBe("none");
    expect(server.queries.map(({ name, type }) => `${name} ${type}`)).toEqual(["_mta-sts.mail.example.test TXT"]);
  });

  test("where the domain is an alias, its own name stays the policy domain", async () => {
    const { find, publish, server } = await stsWorld({ zone: { "alias.test": { CNAME: "example.test" } } });
    publish("1");
    expect(await find("alias.test")).toBe("none");
    expect(server.count("_mta-sts.example.test")).toBe(0);
  });

  test("an alias from _mta-sts leads to the provider's id, and the policy is fetched from the domain's own host", async () => {
    const { host, find } = await stsWorld({
      zone: { "_mta-sts.example.test": { CNAME: "_mta-sts.provider.test" }, "_mta-sts.provider.test": { TXT: ["v=STSv1; id=77"] } },
    });
    host.serve(EXAMPLE, policyText());
    expect(await find()).toBe("enforce 77");
    expect(host.count("provider.test")).toBe(0);
  });

  test("a name too long to have a record has none", async () => {
    const { find, store } = await stsWorld();
    const label = "a".repeat(60);
    expect(await find([label, label, label, label.slice(0, 57), "test"].join("."))).toBe("none");
    expect(store.writes).toBe(0);
  });
});

describe("how often the policy host is asked", () => {
  test("once for the first mail, and never for a hundred messages after it (§3)", async () => {
    const { host, server, clock, store, find, publish } = await stsWorld();
    publish("1");
    expect(await find()).toBe("enforce 1");
    const [reads, writes] = [store.reads, store.writes];
    for (let message = 0; message < 100; message += 1) {
      await clock.pass(36_000);
      expect(await find()).toBe("enforce 1");
    }
    expect([host.requests.length, server.count("mta-sts.example.test", "A")]).toEqual([1, 1]);
    // Neither is the database.
    expect([store.reads, store.writes]).toEqual([reads, writes]);
  });

  test("once for fifty messages at once", async () => {
    const { host, server, find, publish } = await stsWorld();
    publish("1");
    expect(new Set(await Promise.all(Array.from({ length: 50 }, () => find())))).toEqual(new Set(["enforce 1"]));
    expect([host.requests.length, server.count("_mta-sts.example.test")]).toEqual([1, 1]);
  });

  test("within the TTL of the record the same answer is used, and not read again", async () => {
    const { server, sts, publish } = await stsWorld();
    publish("1");
    server.set("_mta-sts.example.test", { TXT: ["v=STSv1; id=1"], ttl: 300 });
    const first = await sts.find(EXAMPLE);
    const concat = vi.spyOn(Buffer, "concat");
    try {
      expect(await sts.find(EXAMPLE)).toEqual(first);
      expect(concat).not.toHaveBeenCalled();
    } finally {
      concat.mockRestore();
    }
    expect(server.count("_mta-sts.example.test")).toBe(1);
  });

  test("after a failure not again for five minutes, unless the id is new (§3.3)", async () => {
    const { host, clock, find, record, publish } = await stsWorld();
    record("v=STSv1; id=1");
    expect(await find()).toBe(`unavailable (${fetchError})`);
    await clock.pass(4 * MINUTE);
    expect(await find()).toBe(`unavailable (${fetchError})`);
    expect(host.requests).toHaveLength(1);
    await clock.pass(MINUTE);
    await find();
    expect(host.requests).toHaveLength(2);
    await clock.pass(MINUTE);
    publish("2");
    await clock.pass(10_000);
    expect(await find()).toBe("enforce 2");
    expect(host.requests).toHaveLength(3);
  });

  test("a failure is remembered over a restart", async () => {
    const world = await stsWorld();
    world.record("v=STSv1; id=1");
    await world.find();
    await world.sts.stop();
    expect(await world.restart().find()).toBe(`unavailable (${fetchError})`);
    expect(world.host.requests).toHaveLength(1);
  });
});

describe("a policy is replaced", () => {
  test("by a new one at once, whatever was left of the old one's life (§5)", async () => {
    const { find, publish, ttl, events } = await stsWorld();
    publish("1", { maxAge: 31_557_600 });
    await find();
    publish("2", { mode: "testing" });
    await ttl();
    expect(await find()).toBe("testing 2");
    expect(events).toEqual([
      { kind: "policy-changed", policyDomain: "example.test", to: { mode: "enforce", id: "1" } },
      { kind: "policy-changed", policyDomain: "example.test", from: { mode: "enforce", id: "1" }, to: { mode: "testing", id: "2" } },
    ]);
  });

  test("by mode none, which is kept for its own max_age (§8.3)", async () => {
    const { host, find, publish, record, ttl } = await stsWorld();
    publish("1");
    await find();
    publish("2", { mode: "none", mx: [] });
    await ttl();
    expect(await find()).toBe("none 2");
    record();
    host.serve(EXAMPLE, { status: 404 });
    await ttl();
    expect(await find()).toBe("none 2");
  });

  test("by a policy with max_age 0, which serves those who waited for it and is not kept (§3.2)", async () => {
    const { host, find, publish, ttl, sts, store } = await stsWorld();
    publish("1");
    await find();
    publish("2", { maxAge: 0 });
    await ttl();
    expect(await Promise.all([find(), find()])).toEqual(["enforce 2", "enforce 2"]);
    expect(await sts.show(EXAMPLE)).toBeUndefined();
    expect(store.rows.size).toBe(0);
    host.serve(EXAMPLE, { status: 500 });
    expect(await find()).toBe(`unavailable (${fetchError})`);
  });

  test("and a max_age beyond the maximum is told of", async () => {
    const { find, publish, events, clock, sts } = await stsWorld();
    publish("1", { maxAge: 9_999_999_999 });
    expect(await find()).toBe("enforce 1");
    expect((await sts.show(EXAMPLE))?.policy?.expires).toBe(clock.now() + 31_557_600_000);
    expect(events[0]).toMatchObject({ kind: "notice", text: expect.stringContaining("asks to be kept for 9999999999 s") });
  });

  test("while a fetch for the old record is under way, by the one of the new record", async () => {
    const { host, find, publish, record, ttl } = await stsWorld();
    let finish = (): void => {};
    record("v=STSv1; id=1");
    host.serve(EXAMPLE, (_socket, _request, response) => {
      finish = () => response.writeHead(200, { "content-type": "text/plain", "content-length": policyText().length }).end(policyText());
    });
    const first = find();
    await vi.waitFor(() => expect(host.requests).toHaveLength(1));
    publish("2", { mode: "testing" });
    await ttl();
    const second = find();
    await settled();
    finish();
    expect([await first, await second]).toEqual(["enforce 1", "testing 2"]);
  });

  test("HTTP caching has no say in its life (§3.3)", async () => {
    const { host, find, record, clock, sts } = await stsWorld();
    record("v=STSv1; id=1");
    host.serve(EXAMPLE, { headers: { "cache-control": "max-age=60", expires: "0" }, body: policyText({ maxAge: 604_800 }) });
    await find();
    expect((await sts.show(EXAMPLE))?.policy?.expires).toBe(clock.now() + 604_800_000);
  });
});

describe("over a restart (RFC 8461 §10.2)", () => {
  test("a policy is kept, with DNS and the policy host dead, until it expires", async () => {
    const world = await stsWorld();
    world.publish("1", { maxAge: 86_400 });
    await world.find();
    await world.sts.stop();
    await world.host.close();
    world.server.behave({ kind: "rcode", rcode: "SERVFAIL" });
    world.server.set("_mta-sts.example.test", { behave: { kind: "rcode", rcode: "SERVFAIL" } });
    await world.clock.pass(DAY - 10_000);
    const again = world.restart();
    await again.sts.start();
    expect(await again.find()).toBe(`enforce 1 (${fetchError})`);
    await world.clock.pass(10_001);
    expect(await again.find()).toBe(`none (${fetchError})`);
  });

  test("the control: without the store nothing is known", async () => {
    const world = await stsWorld();
    world.publish("1");
    await world.find();
    await world.sts.stop();
    world.store.rows.clear();
    world.record();
    await world.ttl();
    expect(await world.restart().find()).toBe("none");
  });

  test("a kept text that cannot be read any more is no policy, and is fetched again", async () => {
    const store = new MemoryPolicies();
    const { find, publish, events, clock } = await stsWorld({ store });
    const now = clock.now();
    store.rows.set(EXAMPLE, {
      policyDomain: EXAMPLE,
      policy: { id: "1", text: "garbage", fetchedAt: now, expires: now + DAY },
      lastUsed: now,
    });
    publish("1");
    expect(await find()).toBe("enforce 1");
    expect(events[0]).toMatchObject({
      kind: "notice",
      level: "warn",
      text: expect.stringContaining("cannot be read and is fetched again"),
    });
  });

  test("a policy fetched by a clock that ran years ahead holds from now on for its max_age", async () => {
    const store = new MemoryPolicies();
    const { find, clock, sts } = await stsWorld({ store });
    const ahead = clock.now() + 3_650 * DAY;
    const policy = { id: "1", text: policyText({ maxAge: 3_600 }), fetchedAt: ahead, expires: ahead + 3_600_000 };
    store.rows.set(EXAMPLE, { policyDomain: EXAMPLE, policy, lastUsed: ahead });
    expect(await find()).toBe(`enforce 1 (${fetchError})`);
    expect((await sts.show(EXAMPLE))?.policy).toMatchObject({ fetchedAt: clock.now(), expires: clock.now() + 3_600_000 });
    await clock.pass(3_600_001);
    expect(await find()).toBe("none");
  });

  test("a clock that is set ahead and back again takes no policy away", async () => {
    const { find, publish, record, clock, ttl } = await stsWorld();
    publish("1");
    await find();
    record();
    await ttl();
    const right = clock.now();
    clock.set(right + 3_650 * DAY);
    expect(await find()).toBe("none");
    clock.set(right);
    expect(await find()).toBe(`enforce 1 (${fetchError})`);
  });
});

describe("our own trouble is not the domain's", () => {
  test("a store that cannot say what is kept makes no policy vanish: the question fails", async () => {
    const { find, publish, store } = await stsWorld();
    publish("1");
    store.broken = new Error("disk I/O error");
    await expect(find()).rejects.toThrow("disk I/O error");
    store.broken = undefined;
    expect(await find()).toBe("enforce 1");
  });

  test("a store that takes nothing is told again, and memory holds meanwhile", async () => {
    const { find, publish, store, sts, clock, events } = await stsWorld();
    await sts.start();
    publish("1");
    await find();
    await settled();
    store.broken = new Error("disk full");
    publish("2");
    await clock.pass(10_000);
    expect(await find()).toBe("enforce 2");
    await settled();
    expect(events.at(-1)).toMatchObject({ kind: "fault", where: "keeping the MTA-STS policy of example.test" });
    store.broken = undefined;
    await clock.pass(MINUTE);
    expect(store.rows.get(EXAMPLE)?.policy?.id).toBe("2");
  });

  test("the end of the process is no failure of the policy host, and nobody is told that there is no policy", async () => {
    const { find, host, record, sts, store } = await stsWorld();
    record("v=STSv1; id=1");
    host.serve(EXAMPLE, () => {});
    const finding = find();
    await vi.waitFor(() => expect(host.requests).toHaveLength(1));
    await Promise.all([sts.stop(), expect(finding).rejects.toThrow("the relay stops")]);
    await expect(find()).rejects.toThrow("the relay stops");
    expect(store.rows.size).toBe(0);
  });

  test("a rejection that nobody looks at yet is not unhandled", async () => {
    const { sts, store } = await stsWorld();
    store.broken = new Error("disk I/O error");
    const unhandled = vi.fn<() => void>();
    process.on("unhandledRejection", unhandled);
    try {
      const finding = sts.find(EXAMPLE);
      await settled();
      await expect(finding).rejects.toThrow();
      expect(unhandled).not.toHaveBeenCalled();
    } finally {
      process.off("unhandledRejection", unhandled);
    }
  });
});

describe("policy hosts that hang", () => {
  test("hold up their own domain only, and that no longer than a fetch may take", async () => {
    const zone: Record<string, ZoneEntry> = {};
    for (const name of ["n0.test", "n1.test"]) {
      zone[`_mta-sts.${name}`] = { TXT: ["v=STSv1; id=1"] };
      zone[`mta-sts.${name}`] = { A: ["127.0.0.1"] };
    }
    const names = ["mta-sts.example.test", "mta-sts.n0.test", "mta-sts.n1.test"];
    const certificate = await (await createTestCa()).issue({ names });
    const { host, clock, find, publish } = await stsWorld({ zone, certificate, settings: { concurrentFetches: 2 } });
    for (const index of [0, 1]) host.serve(`n${index}.test`, () => {});
    publish("1");
    const hanging = [0, 1].map((index) => find(`n${index}.test`));
    await vi.waitFor(() => expect(host.requests).toHaveLength(2));
    // Both places are taken; after a few seconds those who hang go on aside.
    const finding = find();
    await settled();
    expect(host.requests).toHaveLength(2);
    await clock.pass(3_000);
    expect(await finding).toBe("enforce 1");
    await clock.pass(MINUTE - 3_000);
    expect(await Promise.all(hanging)).toEqual([`unavailable (${fetchError})`, `unavailable (${fetchError})`]);
  });

  test("keep nobody waiting whose policy is known", async () => {
    const { host, find, publish, record, ttl, clock } = await stsWorld();
    publish("1");
    await find();
    record("v=STSv1; id=2");
    host.serve(EXAMPLE, () => {});
    await ttl();
    const finding = find();
    await vi.waitFor(() => expect(host.requests).toHaveLength(2));
    await clock.pass(MINUTE);
    expect(await finding).toBe(`enforce 1 (${fetchError})`);
    // From then on it is not even asked, for a while.
    expect(await find()).toBe(`enforce 1 (${fetchError})`);
    expect(host.requests).toHaveLength(2);
  });
});

describe("a forced refresh", () => {
  test("fetches whatever failed lately, and tells what was and what is", async () => {
    const { sts, host, find, record, publish } = await stsWorld();
    record("v=STSv1; id=1");
    await find();
    publish("1");
    expect(await sts.refresh(EXAMPLE)).toMatchObject({
      record: { kind: "record", id: "1" },
      fetch: { ok: true, policy: { mode: "enforce" } },
      finding: { kind: "policy", id: "1" },
    });
    expect(host.requests).toHaveLength(2);
    expect(await sts.refresh(EXAMPLE)).toMatchObject({ before: { id: "1" }, fetch: { ok: true } });
  });

  test("fetches without a record while a policy is kept, and nothing where none is (§3.1)", async () => {
    const { sts, host, find, record, publish, ttl } = await stsWorld();
    expect(await sts.refresh(EXAMPLE)).toEqual({
      policyDomain: EXAMPLE,
      record: { kind: "none", reason: "absent", detail: "there is no record" },
      finding: { kind: "none", policyDomain: EXAMPLE },
    });
    await ttl();
    publish("1");
    await find();
    record();
    await ttl();
    const report = await sts.refresh(EXAMPLE);
    expect(report).toMatchObject({ record: { kind: "none" }, fetch: { ok: true }, finding: { kind: "policy", id: "1" } });
    expect(host.requests).toHaveLength(2);
  });

  test("that fails leaves what is kept", async () => {
    const { sts, host, find, publish } = await stsWorld();
    publish("1");
    await find();
    host.serve(EXAMPLE, { status: 503 });
    expect(await sts.refresh(EXAMPLE)).toMatchObject({
      fetch: { ok: false, failure: { type: fetchError } },
      finding: { kind: "policy", id: "1", trouble: { type: fetchError } },
    });
  });
});

test("memory is bounded: a domain pushed out is read from the store again", async () => {
  const { find, publish, store, host } = await stsWorld({ most: 10 });
  publish("1");
  await find();
  await settled();
  for (let index = 0; index < 30; index += 1) await find(`n${index}.test`);
  const reads = store.reads;
  expect(await find()).toBe("enforce 1");
  expect([store.reads - reads, host.requests.length]).toEqual([1, 1]);
});

test("that mail asked is told to the store once a day", async () => {
  const { find, publish, store, clock } = await stsWorld();
  publish("1");
  for (let hour = 0; hour < 72; hour += 1) {
    await find();
    await clock.pass(60 * MINUTE);
  }
  await settled();
  expect(store.writes).toBe(3);
  expect(store.rows.get(EXAMPLE)?.lastUsed).toBeGreaterThan(clock.now() - 2 * DAY);
});
