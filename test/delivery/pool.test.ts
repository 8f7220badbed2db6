import { describe, expect, test } from "vitest";
import { ConnectionPool } from "../../src/delivery/pool.ts";
import type { OpenResult, Session, SessionTarget } from "../../src/delivery/session.ts";
import type { TlsOutcome } from "../../src/policy/outcome.ts";
import type { ChannelLevel } from "../../src/policy/requirement.ts";
import { MovedClock } from "../support/moved-clock.ts";

const BECAUSE = { source: "floor", text: "a test" } as const;
const TLS_SESSION = { protocol: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384", chain: [] } as const;
const NO_STARTTLS = { type: "starttls-not-supported", detail: "not offered", whoActs: "receiver" } as const;

const CLEAR: TlsOutcome = { kind: "clear", because: NO_STARTTLS };
const ENCRYPTED: TlsOutcome = { kind: "encrypted", session: TLS_SESSION, because: { ...NO_STARTTLS, type: "certificate-not-trusted" } };
function authenticatedAs(referenceIdentifier: string): TlsOutcome {
  return { kind: "authenticated", session: TLS_SESSION, referenceIdentifier };
}

function target(atLeast: ChannelLevel, changes: Partial<SessionTarget> & { names?: string[] } = {}): SessionTarget {
  const { names = ["mx.test"], ...rest } = changes;
  return {
    host: "mx.test",
    address: "127.0.0.1",
    port: 25,
    ehloName: "relay.test",
    tls: "starttls",
    serverName: "mx.test",
    requirement: { atLeast, because: BECAUSE, webpki: { referenceIdentifiers: names, because: BECAUSE } },
    ...rest,
  };
}

class FakeSession implements Session {
  usable = true;
  served = 0;
  quits = 0;
  readonly target: SessionTarget;
  readonly tls: TlsOutcome;
  constructor(to: SessionTarget, tls: TlsOutcome) {
    this.target = to;
    this.tls = tls;
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

function world(outcome: TlsOutcome, limits = { sockets: 10, messagesPerConnection: 100, idle: 10_000 }) {
  const clock = new MovedClock();
  const opened: FakeSession[] = [];
  const pool = new ConnectionPool(
    async (to): Promise<OpenResult> => {
      const session = new FakeSession(to, outcome);
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
