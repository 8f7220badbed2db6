/** The worker on a real database, with scripted hosts in place of sockets: who is tried when, and what the queue holds then. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { settingsSchema } from "../../src/config/settings.ts";
import type { DeliveryRules } from "../../src/delivery/run.ts";
import type { OpenResult, RecipientReport, Session, SessionTarget, Transaction } from "../../src/delivery/session.ts";
import { DeliveryWorker } from "../../src/delivery/worker.ts";
import type { PosternEvent } from "../../src/events.ts";
import type { EmailAddress } from "../../src/mail/address.ts";
import type { Domain, NextHop } from "../../src/mail/domain.ts";
import type { TlsFailure } from "../../src/policy/outcome.ts";
import type { DeliveryProblem } from "../../src/queue/settlement.ts";
import { type QueueStore, StorageFailed } from "../../src/queue/store.ts";
import { reportDayOf } from "../../src/queue/tls-reports.ts";
import { openSqliteStore } from "../../src/store/sqlite/open.ts";
import { leasedEntry } from "../support/entries.ts";
import { asksNothing, authenticatedAs } from "../support/policy-facts.ts";

const REFUSED: DeliveryProblem = { type: "connect-failed", detail: "connection refused", whoActs: "receiver", status: "4.4.1" };
const DELIVERED: RecipientReport = { kind: "delivered", reply: { code: 250, lines: ["2.0.0 taken"] } };

/** How a scripted destination behaves, by domain. */
interface Script {
  open?(target: SessionTarget): OpenResult | Promise<OpenResult> | undefined;
  take?(transaction: Transaction): RecipientReport | Promise<RecipientReport>;
}

class World {
  readonly folder: string;
  readonly store: QueueStore;
  readonly worker: DeliveryWorker;
  readonly events: PosternEvent[] = [];
  readonly scripts = new Map<string, Script>();
  /** Hosts dialled, in order. */
  readonly dialled: string[] = [];
  /** `sender → recipient` of every transaction, in order. */
  readonly taken: string[] = [];
  /** Added to the wall clock, which may jump. */
  jump = 0;
  /** Every MX question waits for it. */
  beforeMx: Promise<void> | undefined;

  private constructor(folder: string, store: QueueStore, settings: object, failedToday: readonly string[]) {
    this.folder = folder;
    this.store = store;
    const { delivery, tls } = settingsSchema.parse(settings);
    const rules: DeliveryRules = {
      delivery,
      tls,
      mailname: "relay.test",
      postmaster: undefined,
      ownAddresses: new Set(),
      useIpv6: false,
      forbiddenAddress: () => undefined,
      rootsOf: () => undefined,
    };
    this.worker = new DeliveryWorker({
      rules: () => rules,
      store,
      lookup: {
        findMx: async (domain) => {
          await this.beforeMx;
          return {
            kind: "answer",
            records: [{ preference: 10, exchange: `mx.${domain}` }],
            security: "insecure",
            canonicalName: domain,
            expires: Number.MAX_SAFE_INTEGER,
          };
        },
        findAddresses: async (host) => ({
          kind: "answer",
          records: [{ address: "192.0.2.1", family: 4 }],
          security: "insecure",
          canonicalName: host,
          expires: Number.MAX_SAFE_INTEGER,
        }),
      },
      ...asksNothing,
      findStsPolicy: async (policyDomain) => ({ kind: "none", policyDomain }),
      reports: { failedDomains: async (day) => (day === reportDayOf(systemClock.now()) ? (failedToday as Domain[]) : []) },
      findConfiguredHost: async () => ({ kind: "failed", reason: "not-a-name", detail: "none here" }),
      open: (target) => this.#open(target),
      clock: { ...systemClock, now: () => systemClock.now() + this.jump },
      random: Math.random,
      emit: (event) => this.events.push(event),
    });
  }

  static async open(settings: object = {}, failedToday: readonly string[] = []): Promise<World> {
    const folder = await mkdtemp(join(tmpdir(), "postern-worker-"));
    const store = await openSqliteStore({ folder, clock: systemClock, emit: () => {}, minimumFree: 0, settlementReserve: 0 });
    return new World(folder, store, settings, failedToday);
  }

  async close(): Promise<void> {
    await this.worker.stop(0);
    await this.store.close();
    await rm(this.folder, { recursive: true, force: true });
  }

  async submit(domain: string, submitter = "app", lifetime = 86_400_000): Promise<string> {
    const body = this.store.newBody();
    const text = Buffer.from(`Subject: to ${domain}\r\n\r\nHello.\r\n`);
    await body.write(text);
    const nextHop = domain as NextHop;
    const id = this.store.newQueueId();
    const now = Date.now();
    const leased = await this.store.enqueue(
      {
        id,
        sender: `${submitter}@sender.test` as EmailAddress,
        recipients: [{ address: `jo@${domain}` as EmailAddress, nextHop }],
        origin: { submitter, listener: "smtp" },
        needs: { eightBit: false, utf8Headers: false },
        receivedAt: now,
        expiresAt: now + lifetime,
        size: text.length,
      },
      body,
      this.worker.enqueueOptions,
    );
    this.worker.offer(leased);
    return id;
  }

  async #open(target: SessionTarget): Promise<OpenResult> {
    const domain = target.host.replace(/^mx\./, "");
    const script = this.scripts.get(domain) ?? {};
    this.dialled.push(domain);
    const opened = await script.open?.(target);
    return opened ?? { kind: "open", session: this.#session(target, script) };
  }

  #session(target: SessionTarget, script: Script): Session {
    const { taken } = this;
    return {
      target,
      tls: authenticatedAs(target.host),
      peer: {},
      offersRequireTls: false,
      served: 0,
      usable: true,
      async deliver(transaction) {
        const recipients: RecipientReport[] = [];
        for (const recipient of transaction.recipients) {
          taken.push(`${transaction.sender} → ${recipient.address}`);
          recipients.push((await script.take?.(transaction)) ?? DELIVERED);
        }
        return { recipients, step: "done", mayHoldMessage: false };
      },
      quit: async () => {},
      destroy: () => {},
    };
  }
}

const refuse = (): OpenResult => ({ kind: "failed", step: "connect", problem: REFUSED, permanent: false, answered: false });

let world: World;
async function begin(settings?: object, failedToday?: readonly string[]): Promise<void> {
  world = await World.open(settings, failedToday);
  world.worker.start();
}
afterEach(() => world.close());

function eventually(claim: () => void | Promise<void>): Promise<void> {
  return vi.waitFor(claim, { timeout: 10_000, interval: 20 });
}

/** The next settlement is refused by the database. Resolves when it was. */
function refuseSettlement(error: Error): Promise<void> {
  const refused = Promise.withResolvers<undefined>();
  const save = world.store.saveSettlement.bind(world.store);
  world.store.saveSettlement = () => {
    world.store.saveSettlement = save;
    refused.resolve(undefined);
    return Promise.reject(error);
  };
  return refused.promise;
}

async function waiting(): Promise<number> {
  const totals = await world.store.admin.totals();
  return totals.waiting + totals.active;
}

test("a message that is delivered leaves the queue, and its log line says to whom", async () => {
  await begin();
  const id = await world.submit("good.test");
  await eventually(async () => expect(await waiting()).toBe(0));
  await eventually(() =>
    expect(world.events).toContainEqual(
      expect.objectContaining({ kind: "recipient-settled", id, outcome: "delivered", recipient: "jo@good.test" }),
    ),
  );
  expect(world.taken).toEqual(["app@sender.test → jo@good.test"]);
});

describe("a destination that cannot be reached", () => {
  const SETTINGS = { delivery: { retry: { destinationDown: "400ms", waits: ["300ms"], spread: 0 } } };

  test("is not dialled for every message, and takes them all when it is back", async () => {
    await begin(SETTINGS);
    world.scripts.set("dead.test", { open: refuse });
    for (let n = 0; n < 300; n++) await world.submit("dead.test");
    await eventually(() => expect(world.events.some(({ kind }) => kind === "destination-down")).toBe(true));
    // Two first contacts, and one a round from then on: far from one for each message.
    expect(world.dialled.length).toBeLessThan(20);
    expect(await waiting()).toBe(300);
    world.scripts.delete("dead.test");
    await eventually(async () => expect(await waiting()).toBe(0));
    expect(new Set(world.taken).size).toBe(1);
    expect(world.taken).toHaveLength(300);
    expect(world.events.some(({ kind }) => kind === "destination-up")).toBe(true);
  }, 20_000);

  test("each of its waiting messages tells why it waits", async () => {
    await begin(SETTINGS);
    world.scripts.set("dead.test", { open: refuse });
    const ids = [
      await world.submit("dead.test"),
      await world.submit("dead.test"),
      await world.submit("dead.test"),
      await world.submit("dead.test"),
    ];
    await eventually(async () => {
      for (const id of ids) {
        const { entries } = await world.store.admin.list({ ids: [id as never] }, { limit: 10 });
        expect(entries[0]?.problem).toMatchObject({ type: "connect-failed" });
      }
    });
  });

  test("does not delay mail for another", async () => {
    await begin({ delivery: { concurrency: { sockets: 20, firstContact: 2 } } });
    for (let n = 0; n < 4; n++) world.scripts.set(`silent${n}.test`, { open: () => new Promise(() => {}) });
    for (let n = 0; n < 100; n++) await world.submit(`silent${n % 4}.test`);
    await world.submit("good.test");
    await eventually(() => expect(world.taken).toEqual(["app@sender.test → jo@good.test"]));
  });

  test("is waited for less long while silent ones hold most of the connections that strangers may have", async () => {
    await begin({ delivery: { concurrency: { sockets: 8 }, timeouts: { greetingWhenCrowded: "7s" } } });
    const waits: (number | undefined)[] = [];
    for (let n = 0; n < 4; n++) {
      world.scripts.set(`silent${n}.test`, {
        open: (target) => {
          waits.push(target.greetingWait);
          return new Promise(() => {});
        },
      });
      await world.submit(`silent${n}.test`);
    }
    await eventually(() => expect(waits).toEqual([undefined, undefined, 7000, 7000]));
  });

  test("is tried at once when the operator says so", async () => {
    await begin({ delivery: { retry: { destinationDown: "1h", waits: ["1h"] } } });
    world.scripts.set("dead.test", { open: refuse });
    await world.submit("dead.test");
    await eventually(() => expect(world.events.some(({ kind }) => kind === "destination-down")).toBe(true));
    world.scripts.delete("dead.test");
    const { nextHops } = await world.store.admin.retryNow({ nextHop: "dead.test" }, Date.now());
    world.worker.wake(nextHops);
    await eventually(() => expect(world.taken).toHaveLength(1));
  });

  test("gives up a message whose time is over, even while it is left alone", async () => {
    await begin({ delivery: { retry: { destinationDown: "1h", waits: ["1h"] } } });
    world.scripts.set("dead.test", { open: refuse });
    const id = await world.submit("dead.test", "app", 1500);
    await eventually(() =>
      expect(world.events).toContainEqual(expect.objectContaining({ kind: "recipient-settled", id, outcome: "expired" })),
    );
    // The sender hears of it.
    await eventually(() => expect(world.taken).toEqual([" → app@sender.test"]));
  });
});

test("one client's thousands do not hold up another's single message to the same place", async () => {
  await begin({ delivery: { concurrency: { perDestination: 2 } } });
  world.scripts.set("busy.test", { take: async () => (await new Promise((resolve) => setTimeout(resolve, 2)), DELIVERED) });
  await Promise.all(Array.from({ length: 1500 }, () => world.submit("busy.test", "heavy")));
  await world.submit("busy.test", "light");
  await eventually(() => expect(world.taken.some((line) => line.startsWith("light"))).toBe(true));
  // It was handed in when hardly any of the thousands had left, and had its turn at once.
  expect(world.taken.findIndex((line) => line.startsWith("light"))).toBeLessThan(100);
}, 20_000);

test("what memory had no room for follows from the database, every message once", async () => {
  await begin({ delivery: { concurrency: { memory: 2000 } } });
  await Promise.all(Array.from({ length: 500 }, (_, n) => world.submit(`d${n % 7}.test`)));
  await eventually(async () => expect(await waiting()).toBe(0));
  expect(world.taken).toHaveLength(500);
}, 20_000);

test("a host with all its connections taken does not cost the messages that came too many a wait", async () => {
  await begin({ delivery: { concurrency: { firstContact: 8 } } });
  let open = 0;
  world.scripts.set("crowded.test", {
    open: () => (open >= 2 ? { ...refuse(), step: "greeting", answered: true } : void (open += 1)),
    take: async () => (await new Promise((resolve) => setTimeout(resolve, 5)), DELIVERED),
  });
  await Promise.all(Array.from({ length: 40 }, () => world.submit("crowded.test")));
  await eventually(async () => expect(await waiting()).toBe(0));
  expect(world.events.filter((event) => event.kind === "recipient-settled" && event.outcome === "deferred")).toEqual([]);
});

test("what TLS failed of on connections that came too many is counted, each once", async () => {
  await begin({ delivery: { concurrency: { firstContact: 8 } }, tls: { floor: "opportunistic" } });
  let open = 0;
  let broken = 0;
  const tlsFailure: TlsFailure = { type: "validation-failure", detail: "broke off", whoActs: "receiver", code: "handshake-reset" };
  world.scripts.set("crowded.test", {
    open: () => {
      if (open++ < 2) return undefined;
      broken += 1;
      return { kind: "failed", step: "starttls", problem: REFUSED, permanent: false, answered: true, tlsFailure };
    },
    take: async () => (await new Promise((resolve) => setTimeout(resolve, 5)), DELIVERED),
  });
  await Promise.all(Array.from({ length: 8 }, () => world.submit("crowded.test")));
  await eventually(async () => expect((await world.store.admin.totals()).active).toBe(0));
  const counts = await world.store.reports.counts(reportDayOf(Date.now()), "crowded.test" as Domain);
  expect(broken).toBeGreaterThan(0);
  expect(counts.map(({ failures }) => failures)).toEqual([broken]);
});

describe("the end of the process", () => {
  test("gives back what has not been tried, so that the next one finds it due", async () => {
    await begin({ delivery: { concurrency: { firstContact: 1 } } });
    let letGo = (): void => {};
    world.scripts.set("slow.test", { take: () => new Promise((resolve) => (letGo = () => resolve(DELIVERED))) });
    for (let n = 0; n < 5; n++) await world.submit("slow.test");
    await eventually(() => expect(world.taken).toHaveLength(1));
    const stopped = world.worker.stop(5000);
    letGo();
    expect(await stopped).toBe(0);
    const due = await world.store.findDueNextHops(Date.now() + 1000, 10);
    expect(due).toEqual([{ nextHop: "slow.test", due: 4 }]);
  });
});

test("does not wait for a host that never greets, and its message is due at the next start, untried", async () => {
  await begin();
  world.scripts.set("silent.test", { open: () => new Promise(() => {}) });
  await world.submit("silent.test");
  await eventually(() => expect(world.dialled).toEqual(["silent.test"]));
  expect(await world.worker.stop(60_000)).toBe(0);
  const [entry] = await world.store.leaseDue("silent.test" as NextHop, 1, Date.now() + 1000, Date.now() + 60_000);
  expect(entry?.attempts).toBe(0);
});

test("an outcome that the database could not take is saved later, and the message is not sent twice", async () => {
  await begin();
  void refuseSettlement(new StorageFailed("input/output error"));
  await world.submit("good.test");
  await eventually(async () => expect(await waiting()).toBe(0));
  expect(world.taken).toHaveLength(1);
}, 20_000);

describe("a database in trouble", () => {
  test("an outcome that it refused is saved before the process ends", async () => {
    await begin();
    const refused = refuseSettlement(new StorageFailed("input/output error"));
    await world.submit("good.test");
    await refused;
    expect(await world.worker.stop(60_000)).toBe(0);
    expect(await waiting()).toBe(0);
  }, 20_000);

  test("one outcome that can never be kept holds up nobody else's mail", async () => {
    await begin();
    const refused = refuseSettlement(new Error("a broken promise of ours"));
    await world.submit("poison.test");
    await refused;
    await world.submit("good.test");
    // Well before the refused outcome is offered again.
    await vi.waitFor(() => expect(world.taken).toContain("app@sender.test → jo@good.test"), { timeout: 2500, interval: 20 });
  });

  test("leases that it did not take back are offered to it again", async () => {
    await begin({ delivery: { concurrency: { firstContact: 1 } } });
    const release = world.store.releaseLeases.bind(world.store);
    let refusals = 1;
    world.store.releaseLeases = (...args) => (refusals-- > 0 ? Promise.reject(new StorageFailed("input/output error")) : release(...args));
    let letGo = (): void => {};
    world.scripts.set("down.test", { open: () => new Promise((resolve) => (letGo = () => resolve(refuse()))) });
    await world.submit("down.test");
    await world.submit("down.test");
    await eventually(() => expect(world.dialled).toHaveLength(1));
    letGo();
    // Both wait in the database then; one that is still leased would wait for its lease's end.
    await eventually(async () => expect(await world.store.admin.totals()).toMatchObject({ waiting: 2, active: 0 }));
  }, 20_000);

  test("the end of the process comes though it takes no lease back", async () => {
    await begin({ delivery: { concurrency: { firstContact: 1 } } });
    world.scripts.set("silent.test", { open: () => new Promise(() => {}) });
    for (let n = 0; n < 3; n++) await world.submit("silent.test");
    await eventually(() => expect(world.dialled).toHaveLength(1));
    world.store.releaseLeases = () => Promise.reject(new StorageFailed("input/output error"));
    expect(await world.worker.stop(200)).toBe(0);
  });
});

test("what is handed over while the process ends goes back, and a database that is closed is no crash", async () => {
  await begin();
  await world.worker.stop(0);
  const unhandled: unknown[] = [];
  const note = (error: unknown): unknown => unhandled.push(error);
  process.on("unhandledRejection", note);
  world.store.releaseLeases = () => Promise.reject(new Error("the store is closed"));
  world.worker.offer([leasedEntry({ nextHop: "late.test" })]);
  await new Promise((resolve) => setTimeout(resolve, 20));
  process.off("unhandledRejection", note);
  expect(unhandled).toEqual([]);
});

test("an attempt that still looks for its host when the time is over says nothing to anybody", async () => {
  await begin();
  const found = Promise.withResolvers<undefined>();
  world.beforeMx = found.promise;
  await world.submit("late.test");
  await eventually(() => expect(world.worker.snapshot().active).toBe(1));
  expect(await world.worker.stop(10)).toBe(0);
  found.resolve(undefined);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(world.dialled).toEqual([]);
}, 20_000);

test("a clock that is set back does not stretch the pause after a refused outcome", async () => {
  await begin();
  const refused = refuseSettlement(new StorageFailed("input/output error"));
  await world.submit("good.test");
  await refused;
  await eventually(() => expect(world.events).toContainEqual(expect.objectContaining({ kind: "fault", where: "settling" })));
  world.jump = -86_400_000;
  await world.submit("other.test");
  await eventually(() => expect(world.taken).toContain("app@sender.test → jo@other.test"));
}, 20_000);

test("550 to MAIL is this message's alone: the next one is tried as ever (RFC 5321 §4.5.4.1)", async () => {
  await begin();
  const no = { code: 550, lines: ["5.7.1 not from you"] };
  const refused: RecipientReport = {
    kind: "failed",
    problem: { type: "rejected", detail: "mx.picky.test answered MAIL with 550", whoActs: "sender", status: "5.7.1", reply: no },
  };
  world.scripts.set("picky.test", { take: ({ sender }) => (sender.startsWith("bad@") ? refused : DELIVERED) });
  await world.submit("picky.test", "bad");
  await eventually(() => expect(world.taken).toContain("bad@sender.test → jo@picky.test"));
  await world.submit("picky.test", "good");
  await eventually(() => expect(world.taken).toContain("good@sender.test → jo@picky.test"));
  expect(world.events.some(({ kind }) => kind === "destination-down")).toBe(false);
});

test("a queue that waits for a date far ahead is tried when the clock is put right", async () => {
  let up = false;
  await begin({ delivery: { retry: { destinationDown: "1h" } } });
  world.jump = 12 * 3_600_000;
  world.scripts.set("down.test", { open: () => (up ? undefined : refuse()) });
  await world.submit("down.test");
  await eventually(async () => expect(await world.store.admin.totals()).toMatchObject({ waiting: 1, active: 0 }));
  // The relay has seen the wrong date in the meantime.
  world.worker.wake([]);
  await eventually(() => expect(world.dialled.length).toBeGreaterThan(0));
  world.jump = 0;
  up = true;
  world.worker.wake([]);
  await eventually(async () => expect(await waiting()).toBe(0));
}, 20_000);

describe("a failure of TLS", () => {
  const cut = (): OpenResult => ({
    kind: "failed",
    step: "handshake",
    tlsFailure: { type: "validation-failure", detail: "cut", whoActs: "receiver", code: "handshake-reset" },
    problem: { type: "validation-failure", detail: "cut", whoActs: "receiver", status: "4.7.5" },
    permanent: false,
    answered: true,
  });
  const alarms = (): PosternEvent[] => world.events.filter(({ kind }) => kind === "tls-failure-seen");
  const settled = (): number => world.events.filter(({ kind }) => kind === "recipient-settled").length;

  test("is told once a day for its domain, when its settlement is saved", async () => {
    await begin();
    for (const domain of ["cut.test", "other.test"]) world.scripts.set(domain, { open: cut });
    await world.submit("cut.test");
    await eventually(() => expect(settled()).toBe(1));
    expect(alarms()).toEqual([
      {
        kind: "tls-failure-seen",
        reportDomain: "cut.test",
        policyType: "no-policy-found",
        resultType: "validation-failure",
        reasonCode: "handshake-reset",
        host: "mx.cut.test",
      },
    ]);
    world.worker.wake(["cut.test" as NextHop]);
    await world.submit("cut.test", "another");
    await world.submit("other.test");
    await eventually(() => expect(settled()).toBe(3));
    expect(alarms()).toHaveLength(2);
  });
  test("is not told again after a restart", async () => {
    await begin({}, ["cut.test"]);
    world.scripts.set("cut.test", { open: cut });
    await world.submit("cut.test");
    await eventually(() => expect(settled()).toBe(1));
    expect(alarms()).toEqual([]);
  });
  test("is kept with the settlement", async () => {
    await begin();
    const saved: unknown[] = [];
    const save = world.store.saveSettlement.bind(world.store);
    world.store.saveSettlement = (...given) => {
      saved.push(given[1].observations?.map(({ reportDomain, failures }) => [reportDomain, failures.length]));
      return save(...given);
    };
    world.scripts.set("cut.test", { open: cut });
    await world.submit("cut.test");
    await world.submit("good.test");
    await eventually(() => expect(settled()).toBe(2));
    expect(saved).toContainEqual([["cut.test", 1]]);
    expect(saved).toContainEqual([["good.test", 0]]);
  });
});
