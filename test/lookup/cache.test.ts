import { describe, expect, test, vi } from "vitest";
import type { DnsClient, DnsLookupOptions } from "../../src/lookup/dns.ts";
import type { Domain } from "../../src/mail/domain.ts";
import type { DnsServer, Zone } from "../support/dns-server.ts";
import { MovedClock } from "../support/moved-clock.ts";
import { world as openWorld } from "./world.ts";

async function world(
  zone: Zone,
  options: Partial<DnsLookupOptions> = {},
): Promise<{ dns: DnsClient; server: DnsServer; clock: MovedClock; ask: (name: string) => Promise<string> }> {
  const clock = new MovedClock();
  const { dns, server } = await openWorld(zone, { attempts: 1, clock, ...options });
  const ask = async (name: string): Promise<string> => {
    const finding = await dns.findMx(name as Domain);
    return finding.kind === "answer" ? finding.records.map((record) => record.exchange).join(" ") : finding.kind;
  };
  return { dns, server, clock, ask };
}

describe("an answer is kept for its TTL", () => {
  test("and not a moment longer", async () => {
    const { server, clock, ask } = await world({ "example.test": { MX: ["10 old.test"], ttl: 60 } });
    expect(await ask("example.test")).toBe("old.test");
    server.set("example.test", { MX: ["10 new.test"], ttl: 60 });
    await clock.pass(59_999);
    expect(await ask("Example.TEST")).toBe("old.test");
    expect(server.queries).toHaveLength(1);
    await clock.pass(1);
    expect(await ask("example.test")).toBe("new.test");
    expect(server.queries).toHaveLength(2);
  });

  test("but no longer than the longest that is allowed", async () => {
    const { server, clock, ask, dns } = await world({ "example.test": { MX: ["10 a.test"], ttl: 604_800 } }, { longestTtl: 3_600_000 });
    expect(await dns.findMx("example.test" as Domain)).toMatchObject({ expires: clock.now() + 3_600_000 });
    await clock.pass(3_600_000);
    await ask("example.test");
    expect(server.queries).toHaveLength(2);
  });

  test("with TTL 0 for the same second only", async () => {
    const { server, clock, ask } = await world({ "example.test": { MX: ["10 a.test"], ttl: 0 } });
    await ask("example.test");
    await ask("example.test");
    expect(server.queries).toHaveLength(1);
    await clock.pass(1_000);
    await ask("example.test");
    expect(server.queries).toHaveLength(2);
  });

  test("with an alias for the least TTL of the chain", async () => {
    const { server, clock, ask } = await world({
      "alias.test": { CNAME: "example.test", ttl: 30 },
      "example.test": { MX: ["10 a.test"], ttl: 600 },
    });
    await ask("alias.test");
    await clock.pass(30_000);
    await ask("alias.test");
    expect(server.count("alias.test")).toBe(2);
  });

  test("also when the wall clock is set back, and not when it is set past it", async () => {
    const { server, clock, ask } = await world({ "example.test": { MX: ["10 a.test"], ttl: 60 } });
    await ask("example.test");
    clock.set(clock.now() - 86_400_000);
    await clock.pass(60_000);
    await ask("example.test");
    expect(server.queries).toHaveLength(2);
    clock.set(clock.now() + 3_600_000);
    await ask("example.test");
    expect(server.queries).toHaveLength(3);
  });
});

describe("a denial is kept as its SOA says (RFC 2308 §5)", () => {
  const cases: [ttl: number, minimum: number, seconds: number][] = [
    [300, 60, 60],
    [60, 300, 60],
    [86_400, 86_400, 3_600], // days are too long
  ];
  for (const [ttl, minimum, seconds] of cases)
    for (const [what, name] of [
      ["NXDOMAIN", "gone.test"],
      ["NODATA", "empty.test"],
    ] as const)
      test(`${what} with SOA TTL ${ttl} and minimum ${minimum}: ${seconds} s`, async () => {
        const { server, clock, ask } = await world({ "empty.test": { A: ["192.0.2.1"] } });
        server.setNegativeTtl({ ttl, minimum });
        await ask(name);
        await clock.pass(seconds * 1000 - 1);
        await ask(name);
        expect(server.queries).toHaveLength(1);
        await clock.pass(1);
        await ask(name);
        expect(server.queries).toHaveLength(2);
      });

  test("without SOA it is not kept beyond the moment", async () => {
    const { server, clock, ask } = await world({});
    server.setNegativeTtl(undefined);
    expect(await ask("gone.test")).toBe("no-such-name");
    await clock.pass(1_000);
    await ask("gone.test");
    expect(server.queries).toHaveLength(2);
  });
});

test("a failure is kept for seconds, so that a domain's backlog does not hammer a resolver (RFC 9520)", async () => {
  const { server, clock, ask } = await world({
    "example.test": { MX: ["10 a.test"], behave: { kind: "rcode", rcode: "SERVFAIL" }, times: 1 },
  });
  expect(await ask("example.test")).toBe("failed");
  await clock.pass(9_999);
  expect(await ask("example.test")).toBe("failed");
  expect(server.queries).toHaveLength(1);
  await clock.pass(1);
  expect(await ask("example.test")).toBe("a.test");
});

describe("one question at a time", () => {
  test("many askers of the same send it once", async () => {
    const { server, ask, dns } = await world({ "example.test": { MX: ["10 a.test"] }, "a.test": { A: ["192.0.2.1"] } });
    const answers = await Promise.all(Array.from({ length: 100 }, () => ask("example.test")));
    expect(new Set(answers)).toEqual(new Set(["a.test"]));
    expect(server.queries).toHaveLength(1);
    await Promise.all(Array.from({ length: 100 }, () => dns.findAddresses("a.test" as Domain)));
    expect(
      server.queries
        .slice(1)
        .map((query) => query.type)
        .toSorted(),
    ).toEqual(["A", "AAAA"]);
  });

  test("another type or name is another question", async () => {
    const { server, dns } = await world({ "example.test": { MX: ["10 a.test"], A: ["192.0.2.1"] } });
    await Promise.all([dns.ask("example.test", "MX"), dns.ask("example.test", "A"), dns.ask("a.example.test", "MX")]);
    expect(server.queries).toHaveLength(3);
  });
});

test("the cache is bounded, and what was used last stays", async () => {
  const { server, ask } = await world({}, { cacheEntries: 10 });
  await ask("kept.test");
  for (let index = 0; index < 50; index++) {
    await ask(`n${index}.test`);
    await ask("kept.test");
  }
  expect(server.count("kept.test")).toBe(1);
  await ask("n0.test");
  expect(server.count("n0.test")).toBe(2);
  await ask("n0.test");
  expect(server.count("n0.test")).toBe(2);
});

test("the cache is bounded in octets too: a giant answer does not push everything out, nor stay", async () => {
  const giant = Array.from({ length: 1_500 }, (_, index) => `10 mx${index}.giant.test`);
  const { server, ask } = await world({ "giant.test": { MX: giant, behave: { kind: "truncate" } } }, { cacheEntries: 10 });
  await ask("small.test");
  await ask("giant.test");
  await ask("giant.test");
  await ask("small.test");
  expect(server.count("giant.test")).toBe(4);
  expect(server.count("small.test")).toBe(1);
});

test("clear forgets what is known, and what is under way is not remembered", async () => {
  const { server, ask, dns } = await world({
    "example.test": { MX: ["10 old.test"] },
    "slow.test": { MX: ["10 old.test"], behave: { kind: "slow", ms: 60 }, times: 1 },
  });
  await ask("example.test");
  const slow = ask("slow.test");
  await vi.waitFor(() => expect(server.count("slow.test")).toBe(1));
  dns.clear();
  server.set("slow.test", { MX: ["10 new.test"] });
  expect(await ask("slow.test")).toBe("new.test");
  expect(await slow).toBe("old.test");
  expect(await ask("slow.test")).toBe("new.test");
  await ask("example.test");
  expect(server.count("example.test")).toBe(2);
});
