import { describe, expect, test } from "vitest";
import { ConnectionPool } from "../../src/delivery/pool.ts";
import type { OpenResult, Session, SessionTarget } from "../../src/delivery/session.ts";
import type { Domain } from "../../src/mail/domain.ts";
import { decideHost } from "../../src/policy/decision.ts";
import type { HostFacts } from "../../src/policy/host-facts.ts";
import type { StsFinding, TlsaRecord } from "../../src/policy/facts.ts";
import { findLocalPolicy } from "../../src/policy/local-policy.ts";
import type { DaneVerdict, TlsFailure, TlsOutcome, TlsSession, WebPkiVerdict } from "../../src/policy/outcome.ts";
import type { ChannelLevel } from "../../src/policy/requirement.ts";
import type { StsMode } from "../../src/policy/sts-policy.ts";
import { MovedClock } from "../support/moved-clock.ts";
import { requirementOf, type RequirementWishes } from "../support/smtp-session.ts";

const TLS_SESSION = { protocol: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384", chain: [] } as const;
const NO_STARTTLS: TlsFailure = { type: "starttls-not-supported", detail: "not offered", whoActs: "receiver" };
const UNTRUSTED: TlsFailure = { type: "certificate-not-trusted", detail: "self-signed", whoActs: "receiver" };
const NO_MATCH: TlsFailure = { type: "validation-failure", detail: "no match", whoActs: "receiver" };

const CLEAR: TlsOutcome = { kind: "clear", because: NO_STARTTLS };
const ENCRYPTED = proof({});

/** What a session proved: a name by the WebPKI, and whether the records that it was opened with matched, by a name or by the key alone. */
function proof({ name, dane }: { name?: string; dane?: "no match" | "key" | { name: string } }): TlsOutcome {
  const webpki: WebPkiVerdict = name === undefined ? { held: false, failure: UNTRUSTED } : { held: true, referenceIdentifier: name };
  const match: DaneVerdict | undefined =
    dane === undefined
      ? undefined
      : dane === "no match"
        ? { held: false, failure: NO_MATCH }
        : {
            held: true,
            baseDomain: "mx.test",
            record: "3 1 1 aa",
            ...(dane !== "key" && { referenceIdentifier: dane.name }),
          };
  const session: TlsSession = { ...TLS_SESSION, webpki, ...(match !== undefined && { dane: match }) };
  return webpki.held || match?.held === true ? { kind: "authenticated", session } : { kind: "encrypted", session, because: UNTRUSTED };
}

const authenticatedAs = (name: string) => proof({ name });

const record = (digest: number, usage = 3): TlsaRecord => ({ usage, selector: 1, matchingType: 1, data: Buffer.alloc(32, digest) });

type Wishes = RequirementWishes & Partial<Omit<SessionTarget, "requirement">>;

function target(atLeast: ChannelLevel | undefined, wishes: Wishes = {}): SessionTarget {
  const { names = ["mx.test"], sts, dane, daneUnusable, requireTls, ...rest } = wishes;
  return {
    host: "mx.test",
    address: "127.0.0.1",
    port: 25,
    ehloName: "relay.test",
    tls: "starttls",
    serverName: "mx.test",
    requirement: requirementOf({
      names,
      ...(atLeast !== undefined && { atLeast }),
      ...(sts !== undefined && { sts }),
      ...(dane !== undefined && { dane: { baseDomain: "mx.test", ...dane } }),
      ...(daneUnusable !== undefined && { daneUnusable }),
      ...(requireTls !== undefined && { requireTls }),
    }),
    ...rest,
  };
}

class FakeSession implements Session {
  usable = true;
  served = 0;
  quits = 0;
  readonly peer = {};
  readonly target: SessionTarget;
  readonly tls: TlsOutcome;
  readonly offersRequireTls: boolean;
  constructor(to: SessionTarget, tls: TlsOutcome, offersRequireTls = false) {
    this.target = to;
    this.tls = tls;
    this.offersRequireTls = offersRequireTls;
  }
  deliver(): never {
    throw new Error("the pool sends nothing");
  }
  async quit(): Promise<void> {
    this.quits += 1;
    this.usable = false;
  }
  destroy(): void {
    this.usable = false;
  }
}

function world(outcome: TlsOutcome, limits = { sockets: 10, messagesPerConnection: 100, idle: 10_000 }, offersRequireTls = false) {
  const clock = new MovedClock();
  const opened: FakeSession[] = [];
  const pool = new ConnectionPool(
    async (to): Promise<OpenResult> => {
      const session = new FakeSession(to, outcome, offersRequireTls);
      opened.push(session);
      return { kind: "open", session };
    },
    () => limits,
    clock,
  );
  return { pool, clock, opened };
}

async function open(pool: ConnectionPool, to: SessionTarget): Promise<FakeSession> {
  const acquired = await pool.acquire(to);
  if (acquired.kind !== "open") throw new Error("did not open");
  return acquired.session as FakeSession;
}

test("after a reload no connection serves that was opened under the old trust, idle or in use", async () => {
  const { pool, opened } = world(authenticatedAs("mx.test"));
  const wanted = target("authenticated");
  const [idle, busy] = [await open(pool, wanted), await open(pool, wanted)];
  pool.release(idle);
  pool.retire();
  expect(idle.quits).toBe(1);
  expect(pool.size).toBe(1);
  pool.release(busy);
  expect(busy.quits).toBe(1);
  expect(pool.size).toBe(0);
  const next = await open(pool, wanted);
  expect(opened).toHaveLength(3);
  pool.release(next);
  expect(await open(pool, wanted)).toBe(next);
});

test("a connection that was still being opened at the reload serves its own message and no other", async () => {
  const clock = new MovedClock();
  const started = Promise.withResolvers<undefined>();
  const pool = new ConnectionPool(
    async (to): Promise<OpenResult> => {
      await started.promise;
      return { kind: "open", session: new FakeSession(to, authenticatedAs("mx.test")) };
    },
    () => ({ sockets: 10, messagesPerConnection: 100, idle: 10_000 }),
    clock,
  );
  const opening = open(pool, target("authenticated"));
  pool.retire();
  started.resolve(undefined);
  const session = await opening;
  pool.release(session);
  expect(session.quits).toBe(1);
});

describe("may a message use the connection opened for another?", () => {
  const cases: [opened: TlsOutcome, for_: SessionTarget, wants: SessionTarget, reuse: boolean, why: string][] = [
    [CLEAR, target("clear"), target("clear"), true, "nothing was demanded"],
    [CLEAR, target("clear"), target("encrypted"), false, "it is in clear"],
    [CLEAR, target("clear"), target("authenticated"), false, "it is in clear"],
    [ENCRYPTED, target("clear"), target("encrypted"), true, "any TLS will do"],
    [ENCRYPTED, target("clear"), target("authenticated"), false, "the certificate proved nothing"],
    [authenticatedAs("mx.test"), target("authenticated"), target("authenticated"), true, "the same proof"],
    [authenticatedAs("mx.test"), target("authenticated"), target("clear"), true, "more than is demanded"],
    [
      authenticatedAs("mx.test"),
      target("authenticated"),
      target("authenticated", { names: ["other.test"] }),
      false,
      "proved for another name",
    ],
    [authenticatedAs("mx.test"), target("authenticated"), target("authenticated", { address: "127.0.0.2" }), false, "another address"],
    [authenticatedAs("mx.test"), target("authenticated"), target("authenticated", { port: 26 }), false, "another port"],
    [
      authenticatedAs("mx.test"),
      target("authenticated"),
      target("authenticated", { roots: "other anchors" }),
      false,
      "other trust anchors",
    ],
    [
      authenticatedAs("mx.test"),
      target("authenticated", { login: { username: "a", password: "p" } }),
      target("authenticated", { login: { username: "a", password: "q" } }),
      false,
      "another login",
    ],
  ];
  for (const [outcome, first, second, reuse, why] of cases) {
    test(`${outcome.kind} for ${second.requirement.atLeast}: ${reuse ? "yes" : "no"}, ${why}`, async () => {
      const { pool, opened } = world(outcome);
      pool.release(await open(pool, first));
      await open(pool, second);
      expect(opened).toHaveLength(reuse ? 1 : 2);
    });
  }
});

/** RFC 8461 §4, RFC 7672 §2.2, §3.2: a message may use what proved all that it demands, and nothing else. */
describe("a proof serves those whose demands it covers", () => {
  const X = [record(1), record(2)];
  const Y = [record(1)];
  const ANCHORS = [record(3, 2)];
  const sts: Wishes = { sts: true };
  const byX: Wishes = { dane: { records: X } };
  const watchingX: Wishes = { dane: { records: X, demanded: false } };
  const key = proof({ dane: "key" });
  const keyAndName = proof({ name: "mx.test", dane: "key" });
  const nameOnly = proof({ name: "mx.test", dane: "no match" });
  const cases: [opened: string, outcome: TlsOutcome, for_: Wishes, wants: string, wishes: Wishes, reuse: boolean][] = [
    ["in clear", CLEAR, {}, "nothing", {}, true],
    ["in clear", CLEAR, {}, "unusable TLSA records", { daneUnusable: true }, false],
    ["in clear", CLEAR, {}, "MTA-STS", sts, false],
    ["in clear", CLEAR, {}, "DANE", byX, false],
    ["unverified", ENCRYPTED, {}, "nothing", {}, true],
    ["unverified", ENCRYPTED, {}, "unusable TLSA records", { daneUnusable: true }, true],
    ["unverified", ENCRYPTED, {}, "MTA-STS", sts, false],
    ["unverified", ENCRYPTED, {}, "DANE", byX, false],
    ["unverified, unusable records", ENCRYPTED, { daneUnusable: true }, "DANE", byX, false],

    ["MTA-STS of a.test", authenticatedAs("mx.test"), sts, "MTA-STS of b.test", sts, true],
    ["MTA-STS of a.test", authenticatedAs("mx.test"), sts, "another name", { ...sts, names: ["mx.b.test"] }, false],
    ["MTA-STS", authenticatedAs("mx.test"), sts, "nothing", {}, true],
    ["MTA-STS", authenticatedAs("mx.test"), sts, "DANE", byX, false],
    ["nothing, yet verified", authenticatedAs("mx.test"), {}, "MTA-STS", sts, true],
    ["nothing, yet verified", authenticatedAs("mx.test"), {}, "the floor authenticated", { atLeast: "authenticated" }, true],
    ["nothing, yet verified", authenticatedAs("mx.test"), {}, "DANE", byX, false],

    ["DANE, set X", key, byX, "DANE, set X", byX, true],
    ["DANE, set X", key, byX, "set X in another order", { dane: { records: X.toReversed() } }, true],
    ["DANE, set X", key, byX, "DANE, set Y", { dane: { records: Y } }, false],
    ["DANE, set X", key, byX, "X of another base domain", { dane: { records: X, baseDomain: "other.test" } }, false],
    ["DANE, set X", key, byX, "nothing", {}, true],
    ["DANE, set X", key, byX, "unusable records", { daneUnusable: true }, true],
    ["DANE, set X", key, byX, "MTA-STS", sts, false],
    ["DANE, set X", key, byX, "DANE and MTA-STS", { ...byX, ...sts }, false],
    ["DANE, set X", key, byX, "the floor authenticated, no records", { atLeast: "authenticated" }, false],
    ["DANE, set X", key, byX, "the floor authenticated, X watched", { atLeast: "authenticated", ...watchingX }, true],
    [
      "DANE, set X",
      key,
      byX,
      "the floor authenticated, Y watched",
      { atLeast: "authenticated", dane: { records: Y, demanded: false } },
      false,
    ],
    ["watching X, which matched", key, watchingX, "DANE, set X", byX, true],
    ["watching X, which did not match", nameOnly, watchingX, "DANE, set X", byX, false],
    ["watching X, which did not match", nameOnly, watchingX, "MTA-STS", sts, true],
    ["watching X, which did not match", nameOnly, watchingX, "MTA-STS, watching X", { ...sts, ...watchingX }, true],
    [
      "watching X, which did not match",
      nameOnly,
      watchingX,
      "MTA-STS, watching Y",
      { ...sts, dane: { records: Y, demanded: false } },
      true,
    ],
    ["both", keyAndName, { ...byX, ...sts }, "both", { ...byX, ...sts }, true],
    ["both", keyAndName, { ...byX, ...sts }, "MTA-STS", sts, true],
    ["both", keyAndName, { ...byX, ...sts }, "DANE", byX, true],
    ["both", keyAndName, { ...byX, ...sts }, "both, another name", { ...byX, ...sts, names: ["mx.b.test"] }, false],
    ["both", keyAndName, { ...byX, ...sts }, "both, set Y", { dane: { records: Y }, ...sts }, false],

    [
      "DANE-TA by the name a.test",
      proof({ dane: { name: "a.test" } }),
      { dane: { records: ANCHORS, names: ["mx.test", "a.test"] } },
      "a.test again",
      { dane: { records: ANCHORS, names: ["mx.test", "a.test"] } },
      true,
    ],
    [
      "DANE-TA by the name a.test",
      proof({ dane: { name: "a.test" } }),
      { dane: { records: ANCHORS, names: ["mx.test", "a.test"] } },
      "b.test",
      { dane: { records: ANCHORS, names: ["mx.test", "b.test"] } },
      false,
    ],
    [
      "DANE-TA by the base domain",
      proof({ dane: { name: "mx.test" } }),
      { dane: { records: ANCHORS, names: ["mx.test", "a.test"] } },
      "b.test",
      { dane: { records: ANCHORS, names: ["mx.test", "b.test"] } },
      true,
    ],
  ];
  test.each(cases)("opened: %s %#; wanted: %s", async (_opened, outcome, first, _wants, second, reuse) => {
    const { pool, opened } = world(outcome);
    pool.release(await open(pool, target(first.atLeast, first)));
    await open(pool, target(second.atLeast, second));
    expect(opened).toHaveLength(reuse ? 1 : 2);
  });

  test.each([
    [false, "mandatory", false],
    [true, "mandatory", true],
    [false, "preferred", true],
    [false, undefined, true],
  ] as const)("REQUIRETLS offered: %s; wanted: %s; reuse: %s (RFC 8689 §4.2.1)", async (offers, requireTls, reuse) => {
    const { pool, opened } = world(authenticatedAs("mx.test"), undefined, offers);
    pool.release(await open(pool, target("authenticated")));
    await open(pool, target("authenticated", requireTls === undefined ? {} : { requireTls }));
    expect(opened).toHaveLength(reuse ? 1 : 2);
  });

  test("an unverified suite's proof is none: what is only encrypted serves no demand for a proof", async () => {
    const { session } = authenticatedAs("mx.test") as TlsOutcome & { kind: "authenticated" };
    const { pool, opened } = world({ kind: "encrypted", session, because: NO_MATCH });
    pool.release(await open(pool, target("clear")));
    await open(pool, target(undefined, sts));
    expect(opened).toHaveLength(2);
  });
});

/** Each domain is decided about by itself, and what the other one publishes is as if it did not exist. */
describe("domains that share a mail host and publish different policies", () => {
  const dane: Partial<HostFacts> = {
    mxSecurity: "secure",
    tlsa: { kind: "records", baseDomain: "mx.test" as Domain, records: [record(1)], expires: Number.MAX_SAFE_INTEGER },
  };
  const domains: Record<string, Partial<HostFacts>> = {
    none: {},
    enforce: { sts: policy("enforce", "mx.test") },
    testing: { sts: policy("testing", "mx.test") },
    unlisted: { sts: policy("enforce", "other.test") },
    dane,
    "dane and enforce": { ...dane, sts: policy("enforce", "mx.test") },
  };
  function policy(mode: StsMode, mx: string): StsFinding {
    const policyDomain = "policy.test" as Domain;
    return {
      kind: "policy",
      policyDomain,
      policy: { mode, maxAge: 86_400, mx: [mx], text: "" },
      id: "1",
      fetchedAt: 0,
      expires: 86_400_000,
    };
  }
  function decided(domain: string): SessionTarget | undefined {
    const { verdict } = decideHost(
      {
        nextHop: `${domain.replaceAll(" ", "-")}.test` as Domain,
        host: "mx.test",
        origin: "mx",
        mxSecurity: "insecure",
        sts: { kind: "none", policyDomain: "policy.test" as Domain },
        tlsa: { kind: "not-asked", why: "its addresses are not signed" },
        dnssec: { kind: "validating", detail: "", since: 0 },
        certificateName: "mx.test",
        ...domains[domain],
      },
      {
        local: findLocalPolicy("x.test" as Domain, { floor: "opportunistic", host: "any", published: "enforce", domains: {} }),
        mayGoBelowFloor: false,
        daneDigests: ["sha512", "sha256"],
      },
    );
    return verdict.kind === "skip" ? undefined : { ...target("clear"), requirement: verdict.requirement };
  }

  test("the one whose policy does not list it never gets there, whoever else does", () => {
    expect(Object.keys(domains).filter((domain) => decided(domain) === undefined)).toEqual(["unlisted"]);
  });

  // What the host proves to a domain that has both; a session knows its records only where it was opened with them.
  const reached: [first: string, outcome: TlsOutcome, serves: string[]][] = [
    ["none", CLEAR, ["none", "testing"]],
    ["none", ENCRYPTED, ["none", "testing"]],
    ["none", authenticatedAs("mx.test"), ["none", "testing", "enforce"]],
    ["testing", ENCRYPTED, ["none", "testing"]],
    ["testing", authenticatedAs("mx.test"), ["none", "testing", "enforce"]],
    ["enforce", authenticatedAs("mx.test"), ["none", "testing", "enforce"]],
    ["dane", proof({ dane: "key" }), ["none", "testing", "dane"]],
    ["dane", proof({ name: "mx.test", dane: "key" }), ["none", "testing", "enforce", "dane", "dane and enforce"]],
    ["dane and enforce", proof({ name: "mx.test", dane: "key" }), ["none", "testing", "enforce", "dane", "dane and enforce"]],
  ];
  const pairs = reached.flatMap(([first, outcome, serves]) =>
    Object.keys(domains)
      .filter((second) => second !== "unlisted")
      .map((second) => [first, outcome.kind, second, serves.includes(second), outcome] as const),
  );
  test.each(pairs)("%s (%s), then %s: shared %s", async (first, _kind, second, shared, outcome) => {
    const { pool, opened } = world(outcome);
    const [one, other] = [decided(first), decided(second)];
    if (one === undefined || other === undefined) throw new Error("not asked at all");
    pool.release(await open(pool, one));
    const session = await open(pool, other);
    expect(opened).toHaveLength(shared ? 1 : 2);
    if (!shared) return;
    // And back again: nothing of the first one's demand was lost by the second's use.
    pool.release(session);
    expect(await open(pool, one)).toBe(session);
  });

  test("a message with less to demand keeps no connection from one with more", async () => {
    const { pool, opened } = world(proof({ name: "mx.test", dane: "key" }));
    const [strict, lax] = [decided("dane and enforce"), decided("none")];
    if (strict === undefined || lax === undefined) throw new Error("not asked at all");
    const proven = await open(pool, strict);
    pool.release(proven);
    pool.release(await open(pool, lax));
    expect(await open(pool, strict)).toBe(proven);
    expect(opened).toHaveLength(1);
  });
});

test("a connection serves one message at a time, and the one used last is taken first", async () => {
  const { pool, opened } = world(CLEAR);
  const [one, two] = [await open(pool, target("clear")), await open(pool, target("clear"))];
  expect(opened).toHaveLength(2);
  pool.release(one);
  pool.release(two);
  expect(await open(pool, target("clear"))).toBe(two);
});

test("a connection that the other side closed while it was idle is not handed out", async () => {
  const { pool } = world(CLEAR);
  const first = await open(pool, target("clear"));
  pool.release(first);
  first.usable = false;
  expect(await open(pool, target("clear"))).not.toBe(first);
  expect(pool.size).toBe(1);
});

test("an idle connection is closed with QUIT when its time is over", async () => {
  const { pool, clock } = world(CLEAR);
  const session = await open(pool, target("clear"));
  pool.release(session);
  await clock.pass(9_000);
  expect(session.quits).toBe(0);
  await clock.pass(3_000);
  expect(session.quits).toBe(1);
  expect(pool.size).toBe(0);
  expect(clock.armed).toBe(0);
});

test("after its last allowed message a connection is closed", async () => {
  const { pool } = world(CLEAR, { sockets: 10, messagesPerConnection: 2, idle: 10_000 });
  const session = await open(pool, target("clear"));
  session.served = 2;
  pool.release(session);
  expect(session.quits).toBe(1);
});

test("with all sockets taken the connection that has been idle longest makes room", async () => {
  const { pool, clock } = world(CLEAR, { sockets: 2, messagesPerConnection: 100, idle: 10_000 });
  const oldest = await open(pool, target("clear", { address: "127.0.0.1" }));
  const newer = await open(pool, target("clear", { address: "127.0.0.2" }));
  pool.release(oldest);
  await clock.pass(100);
  pool.release(newer);
  await open(pool, target("clear", { address: "127.0.0.3" }));
  expect([oldest.quits, newer.quits]).toEqual([1, 0]);
  expect(pool.size).toBe(2);
});

test("closing says goodbye to idle connections at once, and to busy ones when they come back", async () => {
  const { pool } = world(CLEAR);
  const idle = await open(pool, target("clear", { address: "127.0.0.1" }));
  const busy = await open(pool, target("clear", { address: "127.0.0.2" }));
  pool.release(idle);
  await pool.close();
  expect([idle.quits, busy.quits]).toEqual([1, 0]);
  pool.release(busy);
  expect(busy.quits).toBe(1);
});
