/** Others are asked than before: what was found by whom, and for how long it counts (RFC 7672 §2.1.2, RFC 4035 §4.9.3). */
import { afterEach, beforeAll, expect, test, vi } from "vitest";
import type { ServerAddress } from "../../src/config/server-address.ts";
import { settingsSchema } from "../../src/config/settings.ts";
import { openResolver, type Resolver } from "../../src/lookup/resolver.ts";
import { type DnsServer, startDnsServer, type Zone } from "../support/dns-server.ts";
import { MovedClock } from "../support/moved-clock.ts";
import { makeTempFolder, type TempFolder } from "../support/temp.ts";

let folder: TempFolder;
beforeAll(async () => {
  folder = await makeTempFolder("resolver-switch");
  return () => folder[Symbol.asyncDispose]();
});
const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).toReversed()) await thing.close();
});

const root: Zone = { ".": { SOA: true, secure: true } };

async function serve(zone: Zone): Promise<DnsServer> {
  const server = await startDnsServer(zone);
  open.push(server);
  return server;
}

interface World {
  readonly resolver: Resolver;
  /** Rewrites the system's list of resolvers. */
  readonly become: (...servers: DnsServer[]) => void;
  /** Times that the list was asked for. */
  readonly looks: () => number;
}

async function world(first: DnsServer, listed: readonly DnsServer[]): Promise<World> {
  const listOf = (servers: readonly DnsServer[]): readonly ServerAddress[] => servers.map(({ address, port }) => ({ address, port }));
  let now = listOf([first]);
  let looks = 0;
  const section = { servers: ["system"], validating: listed.map(({ setting }) => setting), attempts: 1, selfTest: { broken: [] } };
  const resolver = await openResolver(settingsSchema.parse({ resolver: section }).resolver, {
    clock: new MovedClock(),
    emit: () => {},
    dataFolder: folder.path,
    roots: "bundled",
    ipv6: () => true,
    managed: { systemServers: () => (looks++, now) },
  });
  open.push(resolver);
  await resolver.testNow();
  return { resolver, become: (...servers) => void (now = listOf(servers)), looks: () => looks };
}

const mx = async ({ client }: Resolver): Promise<string> => {
  const finding = await client.findMx("dest.test" as never);
  return finding.kind === "answer" ? `${finding.security} ${finding.records.map(({ exchange }) => exchange).join()}` : finding.kind;
};

test("from one that is not believed to one that is: what the first one said decides nothing any more, and the second is tested", async () => {
  const other = await serve({ "dest.test": { MX: ["10 mx.other.test"], ttl: 86_400 } });
  const good = await serve({ ...root, "dest.test": { MX: ["10 mx.dest.test"], secure: true } });
  const { resolver, become } = await world(other, [good]);
  expect(resolver.dnssec().kind).toBe("blind");
  expect(await mx(resolver)).toBe("insecure mx.other.test");
  become(good);
  expect(await mx(resolver)).toBe("secure mx.dest.test");
  await vi.waitFor(() => expect(resolver.dnssec().kind).toBe("validating"));
});

test("and back: nothing that is kept is called secure", async () => {
  const other = await serve({ "dest.test": { MX: ["10 mx.other.test"] } });
  const good = await serve({ ...root, "dest.test": { MX: ["10 mx.dest.test"], secure: true } });
  const { resolver, become } = await world(good, [good]);
  expect(await mx(resolver)).toBe("secure mx.dest.test");
  become(other);
  expect(await mx(resolver)).toBe("insecure mx.other.test");
  expect(resolver.dnssec().kind).toBe("blind");
});

test("from a believed one to another while a question is out: its proven answer is not called insecure, nor kept", async () => {
  const zone: Zone = { ...root, "dest.test": { MX: ["10 mx.dest.test"], secure: true } };
  const one = await serve({ ...root, "dest.test": { MX: ["10 mx.dest.test"], secure: true, behave: { kind: "slow", ms: 50 } } });
  const two = await serve(zone);
  const { resolver, become } = await world(one, [one, two]);
  const asked = mx(resolver);
  await vi.waitFor(() => expect(one.count("dest.test")).toBe(1), { interval: 1 });
  become(two);
  expect(await asked).toBe("failed");
  expect(await mx(resolver)).toBe("secure mx.dest.test");
});

test("from one that is not believed to one that is while a question is out: the answer is for who asked, and not kept", async () => {
  const other = await serve({ "dest.test": { MX: ["10 mx.other.test"], behave: { kind: "slow", ms: 50 } } });
  const good = await serve({ ...root, "dest.test": { MX: ["10 mx.dest.test"], secure: true } });
  const { resolver, become } = await world(other, [good]);
  const asked = mx(resolver);
  await vi.waitFor(() => expect(other.count("dest.test")).toBe(1), { interval: 1 });
  become(good);
  expect(await asked).toBe("insecure mx.other.test");
  expect(await mx(resolver)).toBe("secure mx.dest.test");
});

test("while nothing changes, the state is the same object however often it is asked for, and what is kept stays", async () => {
  const good = await serve({ ...root, "dest.test": { MX: ["10 mx.dest.test"], secure: true } });
  const { resolver, become, looks } = await world(good, [good]);
  const state = resolver.dnssec();
  const before = looks();
  for (let message = 0; message < 10; message += 1) {
    expect(resolver.dnssec()).toBe(state);
    await mx(resolver);
  }
  expect(looks()).toBeGreaterThan(before);
  become(good);
  expect(await mx(resolver)).toBe("secure mx.dest.test");
  expect(good.count("dest.test")).toBe(1);
});
