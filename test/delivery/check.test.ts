/** A check of a destination against real sockets: every host is met as delivery would meet it, in order, and MAIL is never said. */
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { settingsSchema } from "../../src/config/settings.ts";
import { checkTimeouts, createCheck, type CheckIo } from "../../src/delivery/check.ts";
import type { DeliveryRules } from "../../src/delivery/run.ts";
import type { Domain, NextHop } from "../../src/mail/domain.ts";
import type { DnssecState, Finding, StsFinding, TlsaFinding } from "../../src/policy/facts.ts";
import type { MxRecord } from "../../src/policy/facts.ts";
import type { StsMode } from "../../src/policy/sts-policy.ts";
import type { CheckOptions, CheckStage } from "../../src/queue/check.ts";
import { createTestCa, type IssuedCertificate, type TestCa } from "../support/certificates.ts";
import { MovedClock, settled } from "../support/moved-clock.ts";
import { decide } from "../support/policy-facts.ts";
import { type MxBehaviour, ScriptedMx } from "../support/scripted-mx.ts";
import { connectorFor, defaultTimeouts, leafKeyRecord } from "../support/smtp-session.ts";

const FAR = Date.now() + 3_600_000;
const NEXT_HOP = "dest.test" as NextHop;
const VALIDATING: DnssecState = { kind: "validating", detail: "a test", since: 0 };
const NO_RECORDS: TlsaFinding = { kind: "none", asked: ["_25._tcp"], security: "secure", expires: FAR };
const LOOKUP_FAILED = { kind: "failed", reason: "servfail", detail: "SERVFAIL from 192.0.2.53" } as const;

let ca: TestCa;
const good = new Map<string, IssuedCertificate>();
const open: ScriptedMx[] = [];

beforeAll(async () => {
  ca = await createTestCa();
  for (const host of ["mx1.dest.test", "mx2.dest.test", "mx3.dest.test"]) good.set(host, await ca.issue({ names: [host] }));
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((mx) => mx.close()));
});

const certificateOf = (host: string): IssuedCertificate => {
  const found = good.get(host);
  if (found === undefined) throw new Error(`no certificate for ${host}`);
  return found;
};

interface Host {
  readonly behaviour?: MxBehaviour;
  readonly tlsa?: TlsaFinding;
  /** Stands in for the addresses DNS gives. */
  readonly address?: string;
}

interface World {
  readonly hosts: Readonly<Record<string, Host>>;
  readonly mx?: Finding<MxRecord>;
  readonly sts?: StsFinding;
  readonly dnssec?: DnssecState;
  readonly tls?: object;
  readonly delivery?: object;
  readonly io?: Partial<CheckIo>;
}

function policy(mode: StsMode, mx: readonly string[]): StsFinding {
  const text = "version: STSv1";
  return {
    kind: "policy",
    policyDomain: "dest.test" as Domain,
    policy: { mode, mx, maxAge: 86_400, text },
    id: "1",
    fetchedAt: 0,
    expires: FAR,
  };
}

async function worldOf(world: World) {
  const settings = settingsSchema.parse({
    ...(world.tls !== undefined && { tls: world.tls }),
    delivery: { ipv6: "off", ...world.delivery },
  });
  const names = Object.keys(world.hosts);
  const receivers = new Map<string, ScriptedMx>();
  const addressOf = (host: string): string => world.hosts[host]?.address ?? `192.0.2.${names.indexOf(host) + 1}`;
  for (const host of names) {
    const { behaviour = { certificate: good.get(host) ?? certificateOf("mx1.dest.test") } } = world.hosts[host] ?? {};
    const mx = await ScriptedMx.open(behaviour);
    open.push(mx);
    receivers.set(addressOf(host), mx);
  }
  const connect = connectorFor(ca.pem);
  const dialled: string[] = [];
  const asked: string[] = [];
  const rules: DeliveryRules = {
    delivery: settings.delivery,
    tls: settings.tls,
    mailname: "relay.test",
    postmaster: undefined,
    ownAddresses: new Set(["203.0.113.1"]),
    useIpv6: false,
    forbiddenAddress: () => undefined,
    rootsOf: () => undefined,
  };
  const signed: Finding<MxRecord> = {
    kind: "answer",
    records: names.map((exchange, index) => ({ preference: 10 * (index + 1), exchange })),
    security: "secure",
    canonicalName: NEXT_HOP,
    expires: FAR,
  };
  const io: CheckIo = {
    rules: () => rules,
    lookup: {
      findMx: () => Promise.resolve(world.mx ?? signed),
      findAddresses: (host) =>
        Promise.resolve({
          kind: "answer",
          records: [{ address: addressOf(host), family: 4 }],
          security: "secure",
          canonicalName: host,
          expires: FAR,
        }),
    },
    findConfiguredHost: () => Promise.resolve({ kind: "no-such-name", security: "insecure", expires: FAR }),
    findTlsa: (host) => Promise.resolve(world.hosts[host]?.tlsa ?? NO_RECORDS),
    findStsPolicy: (policyDomain) => Promise.resolve(world.sts ?? { kind: "none", policyDomain }),
    dnssec: () => world.dnssec ?? VALIDATING,
    findDane: () => Promise.resolve(undefined),
    decide,
    findReportingWish: (reportDomain) => {
      asked.push(reportDomain);
      return Promise.resolve({ kind: "none", reason: "absent", detail: "there is no record" });
    },
    open: (target) => {
      dialled.push(target.host);
      // Real sockets, at whatever port the receiver has.
      return connect({ ...target, address: "127.0.0.1", port: receivers.get(target.address)?.port ?? 1 }).then((result) =>
        result.kind === "open" ? { ...result, session: withTarget(result.session, target) } : result,
      );
    },
    clock: systemClock,
    random: () => 0,
    ...world.io,
  };
  const stages: CheckStage[] = [];
  const check = (options: Partial<CheckOptions> = {}, stop = new AbortController().signal): Promise<CheckStage[]> =>
    createCheck(io)(NEXT_HOP, { connect: true, ...options }, (stage) => stages.push(stage), stop).then(() => stages);
  const heard = (host: string): readonly string[] => receivers.get(addressOf(host))?.heard ?? [];
  return { check, stages, heard, dialled, asked };
}

/** The session as it was asked for: where it really went is the test's affair. */
function withTarget<T extends { readonly target: unknown }>(session: T, target: unknown): T {
  return new Proxy(session, { get: (inner, key) => (key === "target" ? target : bound(inner, key)) });
}
function bound(inner: object, key: string | symbol): unknown {
  const value: unknown = Reflect.get(inner, key, inner);
  return typeof value === "function" ? (value.bind(inner) as unknown) : value;
}

const verdictOf = (stages: readonly CheckStage[]) => {
  const last = stages.at(-1);
  if (last?.stage !== "verdict") throw new Error("a check ends in a verdict");
  return last;
};
const order = (stages: readonly CheckStage[]): string[] =>
  stages.map((stage) => ("index" in stage ? `${stage.stage} ${stage.index}` : stage.stage));

const records = (host: string, key = host): TlsaFinding => ({
  kind: "records",
  baseDomain: host as Domain,
  records: [leafKeyRecord(certificateOf(key))],
  expires: FAR,
});

describe("every host is met", () => {
  test("also behind the first good one; that one is used; nobody hears more than EHLO, STARTTLS and QUIT", async () => {
    const world = await worldOf({
      hosts: { "mx1.dest.test": { behaviour: { startTlsKeyword: "" } }, "mx2.dest.test": {}, "mx3.dest.test": {} },
    });
    const stages = await world.check();
    expect(order(stages)).toEqual([
      "destination",
      "resolver",
      "mx",
      "mta-sts",
      "tls-rpt",
      ...["host 0", "connection 0", "host 1", "connection 1", "host 2", "connection 2"],
      "verdict",
    ]);
    const connections = stages.flatMap((stage) => (stage.stage === "connection" ? [[stage.step, stage.used]] : []));
    expect(connections).toEqual([
      ["starttls", false],
      ["done", true],
      ["done", false],
    ]);
    expect(verdictOf(stages)).toMatchObject({
      kind: "deliverable",
      through: { host: "mx2.dest.test", address: "192.0.2.2", level: "authenticated", proof: "dnssec" },
      failed: ["mx1.dest.test"],
    });
    expect(world.heard("mx1.dest.test")).toEqual(["clear EHLO relay.test", "clear QUIT"]);
    expect(world.heard("mx2.dest.test")).toEqual(["clear EHLO relay.test", "clear STARTTLS", "tls EHLO relay.test", "tls QUIT"]);
  });

  test("as many as one attempt tries, and the rest is counted", async () => {
    const names = Array.from({ length: 10 }, (_, index) => `h${index}.dest.test`);
    const world = await worldOf({
      hosts: Object.fromEntries(names.map((name) => [name, { behaviour: {} }])),
      delivery: { hostsPerAttempt: 3 },
    });
    const stages = await world.check();
    expect(stages.find((stage) => stage.stage === "mx")).toMatchObject({ more: 7 });
    expect(world.dialled).toEqual(["h0.dest.test", "h1.dest.test", "h2.dest.test"]);
    // Hosts were left out, so it waits whatever these said.
    expect(verdictOf(stages)).toMatchObject({ kind: "refused", final: false });
  });

  test("told in order, however long the first one takes", async () => {
    let greet = (): void => {};
    const slow: MxBehaviour = {
      certificate: certificateOf("mx1.dest.test"),
      greeting: "",
      answer: (command, { socket }) => {
        if (command === "") greet = () => void socket.write("220 slow.test ESMTP\r\n");
        return undefined;
      },
    };
    const world = await worldOf({ hosts: { "mx1.dest.test": { behaviour: slow }, "mx2.dest.test": {} } });
    const done = world.check();
    while (world.heard("mx2.dest.test").at(-1) !== "tls QUIT") await new Promise((resolve) => setTimeout(resolve, 1));
    expect(order(world.stages).at(-1)).toBe("host 0");
    greet();
    expect(order(await done).slice(5)).toEqual(["host 0", "connection 0", "host 1", "connection 1", "verdict"]);
  });

  test("what is behind this relay itself is not asked for (RFC 5321 §5.1)", async () => {
    const own = { address: "203.0.113.1" };
    const behind = await worldOf({ hosts: { "mx1.dest.test": { behaviour: {} }, "mx2.dest.test": own, "mx3.dest.test": {} } });
    const stages = await behind.check();
    expect(order(stages).slice(5)).toEqual(["host 0", "connection 0", "host 1", "verdict"]);
    expect(verdictOf(stages)).toMatchObject({ kind: "refused", failed: ["mx1.dest.test"], problem: { type: "starttls-not-supported" } });
    const first = await worldOf({ hosts: { "mx1.dest.test": own, "mx2.dest.test": {} } });
    expect(verdictOf(await first.check())).toMatchObject({ kind: "undeliverable", final: true, problem: { type: "loop" } });
  });
});

describe("published policy decides as in delivery", () => {
  test("DANE: a key that is not in DNS is refused there, and the other host used", async () => {
    const world = await worldOf({
      hosts: { "mx1.dest.test": { tlsa: records("mx1.dest.test", "mx2.dest.test") }, "mx2.dest.test": { tlsa: records("mx2.dest.test") } },
    });
    const stages = await world.check();
    expect(stages.find((stage) => stage.stage === "connection")).toMatchObject({
      step: "handshake",
      problem: { type: "validation-failure", detail: expect.stringContaining("dane-no-match") },
    });
    expect(verdictOf(stages).through).toMatchObject({ host: "mx2.dest.test", dane: true });
  });

  test("MTA-STS enforce: a host that it leaves out is not dialled", async () => {
    const world = await worldOf({ hosts: { "mx1.dest.test": {} }, sts: policy("enforce", ["mx9.dest.test"]) });
    const stages = await world.check();
    expect(world.dialled).toEqual([]);
    expect(stages.find((stage) => stage.stage === "host")).toMatchObject({ verdict: "skip", problem: { type: "validation-failure" } });
    expect(verdictOf(stages)).toMatchObject({ kind: "refused", final: false });
  });

  test("MTA-STS testing: what it would have stopped is told", async () => {
    const world = await worldOf({
      hosts: { "mx1.dest.test": {} },
      sts: policy("testing", ["mx9.dest.test"]),
      mx: {
        kind: "answer",
        records: [{ preference: 1, exchange: "mx1.dest.test" }],
        security: "insecure",
        canonicalName: NEXT_HOP,
        expires: FAR,
      },
    });
    const stages = await world.check();
    expect(stages.find((stage) => stage.stage === "connection")).toMatchObject({
      step: "done",
      wouldHaveFailed: [{ because: { source: "mta-sts" }, failure: { type: "validation-failure" } }],
    });
    expect(verdictOf(stages).through).toMatchObject({ proof: "none" });
    expect(verdictOf(stages).through).not.toHaveProperty("dane");
  });

  test("a TLSA look-up that failed is a look-up that failed, not a refusal", async () => {
    const world = await worldOf({
      hosts: { "mx1.dest.test": { tlsa: { kind: "failed", asked: "_25._tcp.mx1.dest.test", failure: LOOKUP_FAILED } } },
    });
    expect(verdictOf(await world.check())).toMatchObject({ kind: "lookup-failed", problem: { type: "dnssec-invalid" } });
    expect(world.dialled).toEqual([]);
  });

  test("MX that cannot be looked up", async () => {
    const world = await worldOf({ hosts: {}, mx: LOOKUP_FAILED });
    expect(verdictOf(await world.check())).toMatchObject({ kind: "lookup-failed", problem: { type: "dns-failure" }, final: false });
  });

  test("a domain that takes no mail fails at once", async () => {
    const world = await worldOf({
      hosts: {},
      mx: { kind: "answer", records: [{ preference: 0, exchange: "" }], security: "secure", canonicalName: NEXT_HOP, expires: FAR },
    });
    expect(verdictOf(await world.check())).toMatchObject({ kind: "undeliverable", problem: { type: "null-mx" }, final: true });
  });
});

describe("as a message with a tag (RFC 8689)", () => {
  test("REQUIRETLS needs a host that offers it inside TLS", async () => {
    const certificate = certificateOf("mx1.dest.test");
    const without = await worldOf({ hosts: { "mx1.dest.test": {} } });
    expect(verdictOf(await without.check({ tag: "required" }))).toMatchObject({
      kind: "refused",
      final: true,
      problem: { type: "requiretls-not-offered", status: "5.7.30" },
    });
    const offering = { certificate, tlsExtensions: ["REQUIRETLS"] };
    const including = await worldOf({ hosts: { "mx1.dest.test": { behaviour: offering } } });
    expect(verdictOf(await including.check({ tag: "required" }))).toMatchObject({ kind: "deliverable" });
  });

  test("TLS-Required: No sets MTA-STS aside, and shows what it would have stopped", async () => {
    const world = await worldOf({ hosts: { "mx1.dest.test": {} }, sts: policy("enforce", ["mx9.dest.test"]) });
    const stages = await world.check({ tag: "optional" });
    expect(stages[0]).toMatchObject({ tag: "optional" });
    expect(verdictOf(stages).kind).toBe("deliverable");
    expect(stages.find((stage) => stage.stage === "connection")).toHaveProperty("wouldHaveFailed");
  });
});

describe("whose TLS reports tell of sessions there is asked (RFC 8460 §3)", () => {
  const one = { "mx1.dest.test": {} };
  const cases: [name: string, world: World, asked: string[]][] = [
    ["the domain", { hosts: one }, ["dest.test"]],
    ["also where nobody may be dialled now", { hosts: {}, mx: LOOKUP_FAILED }, ["dest.test"]],
    [
      "nobody where no mail is taken",
      {
        hosts: {},
        mx: { kind: "answer", records: [{ preference: 0, exchange: "" }], security: "secure", canonicalName: NEXT_HOP, expires: FAR },
      },
      [],
    ],
    ["the relay host", { hosts: {}, delivery: { relayhost: { host: "smtp.relay.test" } } }, ["smtp.relay.test"]],
    ["nobody where it goes without TLS", { hosts: {}, delivery: { relayhost: { host: "smtp.relay.test", tls: "none" } } }, []],
    ["nobody for a name of this network", { hosts: {}, delivery: { relayhost: { host: "relay" } } }, []],
  ];
  for (const [name, world, asked] of cases)
    test(name, async () => {
      const made = await worldOf(world);
      const stages = await made.check({ connect: false });
      expect(made.asked).toEqual(asked);
      const told = stages.flatMap((stage) => (stage.stage === "tls-rpt" ? [stage.reportDomain] : []));
      expect(told).toEqual(asked);
    });

  test("what the record says is told, and nothing else of it", async () => {
    const rua = { kind: "https", uri: "https://dest.test/v1", url: "https://dest.test/v1" } as const;
    const wish = { kind: "destinations", destinations: [rua], ignored: ['"ftp:x": it is neither mailto nor https'] } as const;
    const world = await worldOf({ hosts: one, io: { findReportingWish: () => Promise.resolve(wish) } });
    expect((await world.check({ connect: false }))[4]).toEqual({
      stage: "tls-rpt",
      reportDomain: "dest.test",
      wish: { ...wish, destinations: [{ kind: "https", uri: "https://dest.test/v1" }] },
    });
  });

  test("a question without an answer is told as one, and the check goes on", async () => {
    const world = await worldOf({ hosts: one, io: { findReportingWish: () => Promise.resolve(LOOKUP_FAILED) } });
    const stages = await world.check({ connect: false });
    expect(stages[4]).toMatchObject({ stage: "tls-rpt", wish: { kind: "failed", detail: LOOKUP_FAILED.detail } });
    expect(verdictOf(stages).kind).toBe("deliverable");
  });
});

describe("bounds", () => {
  test("without connections nobody is dialled", async () => {
    const world = await worldOf({ hosts: { "mx1.dest.test": {}, "mx2.dest.test": {} } });
    const stages = await world.check({ connect: false });
    expect(world.dialled).toEqual([]);
    expect(order(stages).slice(5)).toEqual(["host 0", "host 1", "verdict"]);
    expect(verdictOf(stages)).toMatchObject({ kind: "deliverable", through: { host: "mx1.dest.test", proof: "dnssec" }, failed: [] });
    expect(verdictOf(stages).through).not.toHaveProperty("address");
  });

  test("two minutes end it, whatever a host does; a session that opens later is closed", async () => {
    const clock = new MovedClock();
    let late: (result: Awaited<ReturnType<CheckIo["open"]>>) => void = () => {};
    const dialled = Promise.withResolvers<void>();
    let destroyed = 0;
    const world = await worldOf({
      hosts: { "mx1.dest.test": {} },
      io: {
        clock,
        open: () => {
          dialled.resolve();
          return new Promise((resolve) => (late = resolve));
        },
      },
    });
    const done = world.check();
    await dialled.promise;
    await clock.pass(120_000);
    expect(verdictOf(await done)).toMatchObject({ kind: "undeliverable", cutShort: true, problem: { type: "timeout" } });
    late({ kind: "open", session: { destroy: () => destroyed++ } as never });
    await settled();
    expect(destroyed).toBe(1);
  });

  test("whoever goes away is told nothing more, and no further host is dialled", async () => {
    const stop = new AbortController();
    const names = Array.from({ length: 8 }, (_, index) => `h${index}.dest.test`);
    const world = await worldOf({
      hosts: Object.fromEntries(names.map((name) => [name, { behaviour: {} }])),
      io: {
        open: ({ host }) => {
          stop.abort();
          return Promise.resolve({
            kind: "failed",
            step: "connect",
            permanent: false,
            answered: false,
            problem: { type: "timeout", detail: host, whoActs: "nobody", status: "4.4.2" },
          });
        },
      },
    });
    const stages = await world.check({}, stop.signal);
    expect(order(stages)).not.toContain("verdict");
    expect(order(stages)).not.toContain("connection 0");
  });

  test("no step waits longer than half a minute, and none longer than delivery does", () => {
    const shorter = checkTimeouts({ ...defaultTimeouts, quit: 5000 });
    expect(Math.max(...Object.values(shorter))).toBe(30_000);
    expect(shorter.quit).toBe(5000);
    expect(Object.keys(shorter)).toEqual(Object.keys(defaultTimeouts));
  });
});
