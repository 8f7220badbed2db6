/** One attempt over scripted hosts: which are asked, in which order, for whom, and what the last word is (RFC 5321 §5.1, §4.2.1). */
import { describe, expect, test } from "vitest";
import { type AttemptResult, type AttemptRules, attemptDelivery } from "../../src/delivery/attempt.ts";
import { CountedSessions } from "../../src/delivery/counted-sessions.ts";
import type { HostAddresses } from "../../src/delivery/gather.ts";
import type { DeliveryPlan, MessageDemands, PlannedHost } from "../../src/delivery/plan.ts";
import type { Acquired } from "../../src/delivery/pool.ts";
import { problem } from "../../src/delivery/problems.ts";
import type { RecipientReport, Session, SessionStep, SessionTarget, Transaction, TransactionReport } from "../../src/delivery/session.ts";
import type { Reply } from "../../src/mail/reply.ts";
import type { Domain } from "../../src/mail/domain.ts";
import type { StsFinding, TlsaFinding } from "../../src/policy/facts.ts";
import type { LeasedEntry } from "../../src/queue/entry.ts";
import type { ProblemType } from "../../src/queue/settlement.ts";
import { leasedEntry } from "../support/entries.ts";
import { MovedClock } from "../support/moved-clock.ts";
import { authenticatedAs, decide, NO_DEMANDS, NO_EVIDENCE, NO_TLSA, policyOf, requirementOf } from "../support/policy-facts.ts";

function host(name: string, more: Partial<PlannedHost> = {}): PlannedHost {
  return {
    host: name,
    preference: 10,
    port: 25,
    tls: "starttls",
    serverName: name,
    policy: policyOf(name),
    configured: false,
    ...more,
  };
}

const reply = (code: number, text = "said so"): Reply => ({ code, lines: [text] });
const delivered: RecipientReport = { kind: "delivered", reply: reply(250, "2.0.0 Ok: queued as 42") };
const refused = (code: number): RecipientReport => {
  const found = { ...problem("rejected", "receiver", `${code}`, { status: code >= 500 ? "5.1.1" : "4.2.0" }), reply: reply(code) };
  return code >= 500 ? { kind: "failed", problem: found } : { kind: "elsewhere", problem: found, permanent: false };
};
const portion: RecipientReport = {
  kind: "later",
  portion: true,
  problem: { ...problem("rejected", "receiver", "452", { status: "4.5.3" }), reply: reply(452) },
};
const unknown: RecipientReport = { kind: "later", problem: problem("outcome-unknown", "nobody", "lost after the dot") };
const lost: RecipientReport = { kind: "elsewhere", problem: problem("connection-lost", "receiver", "closed"), permanent: false };
const gone421: RecipientReport = {
  kind: "elsewhere",
  problem: { ...problem("rejected", "receiver", "421", { status: "4.4.2" }), reply: reply(421, "idle") },
  permanent: false,
};
const no8bit: RecipientReport = { kind: "elsewhere", problem: problem("needs-8bitmime", "sender", "no 8BITMIME"), permanent: true };

/** What a session says to a transaction: a report for each recipient by its local part, or the same for all. */
interface Said {
  readonly to?: Readonly<Record<string, RecipientReport>>;
  readonly all?: RecipientReport;
  readonly step?: SessionStep;
  readonly mayHold?: boolean;
  /** The connection is over afterwards. */
  readonly ends?: boolean;
  readonly throws?: Error;
}

/** What an address does when it is dialled: fail, or open a session that says these things, one a transaction. */
type Dialled =
  | { fail: ProblemType; step?: SessionStep; permanent?: boolean; answered?: boolean }
  | { says: readonly Said[]; reused?: boolean };

interface World {
  readonly addresses?: Readonly<Record<string, HostAddresses>>;
  /** By address; a further dial takes the next. */
  readonly dials: Readonly<Record<string, readonly Dialled[]>>;
  readonly rules?: Partial<AttemptRules["delivery"]> & { perTransaction?: number; mailname?: undefined };
  readonly tlsa?: Readonly<Record<string, TlsaFinding>>;
  readonly message?: MessageDemands;
  readonly stop?: AbortSignal;
  readonly onDial?: (address: string) => void;
}

const tls = authenticatedAs("mx.test");

async function attempt(entry: LeasedEntry, hosts: readonly PlannedHost[], world: World) {
  const log: string[] = [];
  const targets: SessionTarget[] = [];
  const dialled = new Map<string, number>();
  let held = 0;
  const clock = new MovedClock();
  const plan: DeliveryPlan & { kind: "attempt" } = {
    kind: "attempt",
    hosts,
    demanded: "authenticated (tls.floor of this relay)",
    policy: NO_EVIDENCE,
  };
  const { perTransaction = 100, mailname: _, ...settings } = world.rules ?? {};
  const result = attemptDelivery(entry, plan, {
    rules: {
      delivery: { addressesPerHost: 4, hostsPerAttempt: 8, concurrency: { recipientsPerTransaction: perTransaction }, ...settings },
      mailname: world.rules !== undefined && "mailname" in world.rules ? undefined : "relay.test",
      ownAddresses: new Set(["::1", "127.0.0.1", "203.0.113.1"]),
      rootsOf: (file) => (file === "ca.pem" ? "PEM" : undefined),
      tls: { daneDigests: ["sha512", "sha256"] },
    },
    clock,
    counted: new CountedSessions(),
    findHost: async ({ host: name, address }) => {
      const family = (address ?? name).includes(":") ? 6 : 4;
      const found: HostAddresses = world.addresses?.[name] ?? { kind: "addresses", addresses: [{ address: address ?? name, family }] };
      return { addresses: found, tlsa: world.tlsa?.[name] ?? NO_TLSA };
    },
    decide: (planned, found) => decide(planned, found, world.message ?? NO_DEMANDS),
    acquire: async (target, freshOnly): Promise<Acquired> => {
      targets.push(target);
      const count = dialled.get(target.address) ?? 0;
      dialled.set(target.address, count + 1);
      log.push(`dial ${target.address}${freshOnly ? " fresh" : ""}`);
      world.onDial?.(target.address);
      await clock.pass(7);
      const next = world.dials[target.address]?.[count];
      if (next === undefined) throw new Error(`nobody expected ${target.address} to be dialled again`);
      if ("fail" in next) {
        const { fail, step = "connect", permanent = false, answered = false } = next;
        return {
          kind: "failed",
          step,
          problem: problem(fail, "receiver", `${fail} at ${target.address}`),
          permanent,
          answered,
          reused: false,
        };
      }
      held += 1;
      return { kind: "open", reused: next.reused === true, session: scripted(target, next.says, next.reused === true, log, clock) };
    },
    release: () => {
      held -= 1;
    },
    ...(world.stop !== undefined && { stop: world.stop }),
  });
  return { result: await result, log, targets, held: () => held };
}

function scripted(target: SessionTarget, says: readonly Said[], reused: boolean, log: string[], clock: MovedClock): Session {
  let count = 0;
  let usable = true;
  return {
    target,
    tls,
    peer: {},
    offersRequireTls: false,
    get served() {
      return count + (reused ? 5 : 0);
    },
    get usable() {
      return usable;
    },
    async deliver(transaction: Transaction): Promise<TransactionReport> {
      const said = says[count];
      const locals = transaction.recipients.map(({ address }) => address.slice(0, address.indexOf("@")));
      log.push(`${target.address} ${locals.length > 5 ? locals.length : locals.join(",")}`);
      if (said === undefined) throw new Error("nobody expected another transaction");
      count += 1;
      await clock.pass(11);
      if (said.ends === true || said.throws !== undefined) usable = false;
      if (said.throws !== undefined) throw said.throws;
      const recipients = locals.map((local) => {
        const report = said.to?.[local] ?? said.all;
        if (report === undefined) throw new Error(`nothing is said to ${local}`);
        return report;
      });
      return { recipients, step: said.step ?? "done", mayHoldMessage: said.mayHold === true };
    },
    async quit() {},
    destroy() {},
  };
}

const jo = () => leasedEntry();
const three = () => leasedEntry({ recipients: ["a@dest.test", "b@dest.test", "c@dest.test"] });
const list = (...addresses: string[]): HostAddresses => ({
  kind: "addresses",
  addresses: addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 })),
});
const noHost = (permanent: boolean): HostAddresses => ({
  kind: "unusable",
  permanent,
  problem: problem(permanent ? "domain-not-found" : "dns-failure", "receiver", "no address", permanent ? { status: "5.4.4" } : {}),
});

/** `a delivered, b failed 5.1.1 rejected` */
function inShort({ recipients }: AttemptResult): string {
  return recipients
    .map(({ report }) =>
      report.kind === "delivered" ? `delivered ${report.at.host}` : `${report.kind} ${report.problem.status} ${report.problem.type}`,
    )
    .join(", ");
}

interface Case {
  readonly title: string;
  readonly entry?: LeasedEntry;
  readonly hosts: readonly string[];
  readonly world: World;
  readonly log: readonly string[];
  readonly result: string;
}

const ok: Dialled = { says: [{ all: delivered }] };

// biome-ignore format: one case, one row
const cases: Case[] = [
  { title: "one host takes it", hosts: ["mx1"], world: { dials: { mx1: [ok] } }, log: ["dial mx1", "mx1 jo"], result: "delivered mx1" },
  // connect, greeting, EHLO
  { title: "refused at the first address: the second", hosts: ["mx1"], world: { addresses: { mx1: list("1.1.1.1", "1.1.1.2") }, dials: { "1.1.1.1": [{ fail: "connect-failed" }], "1.1.1.2": [ok] } }, log: ["dial 1.1.1.1", "dial 1.1.1.2", "1.1.1.2 jo"], result: "delivered mx1" },
  { title: "greeting 421: the next host", hosts: ["mx1", "mx2"], world: { dials: { mx1: [{ fail: "rejected", step: "greeting", answered: true }], mx2: [ok] } }, log: ["dial mx1", "dial mx2", "mx2 jo"], result: "delivered mx2" },
  { title: "greeting 554 at one of two: the other", hosts: ["mx1", "mx2"], world: { dials: { mx1: [{ fail: "rejected", step: "greeting", permanent: true }], mx2: [ok] } }, log: ["dial mx1", "dial mx2", "mx2 jo"], result: "delivered mx2" },
  { title: "greeting 554 at all: permanent", hosts: ["mx1", "mx2"], world: { dials: { mx1: [{ fail: "rejected", step: "greeting", permanent: true }], mx2: [{ fail: "rejected", step: "greeting", permanent: true }] } }, log: ["dial mx1", "dial mx2"], result: "failed 5.0.0 rejected" },
  { title: "greeting 554 at one, the other dead: waits for the dead one", hosts: ["mx1", "mx2"], world: { dials: { mx1: [{ fail: "rejected", step: "greeting", permanent: true }], mx2: [{ fail: "connect-failed" }] } }, log: ["dial mx1", "dial mx2"], result: "waiting 4.4.1 connect-failed" },
  { title: "greeting 554 at one address, the other dead: waits", hosts: ["mx1"], world: { addresses: { mx1: list("1.1.1.1", "1.1.1.2") }, dials: { "1.1.1.1": [{ fail: "rejected", step: "greeting", permanent: true }], "1.1.1.2": [{ fail: "connect-failed" }] } }, log: ["dial 1.1.1.1", "dial 1.1.1.2"], result: "waiting 4.4.1 connect-failed" },
  // TLS never bounces
  { title: "TLS trouble waits, even where a session calls it permanent", hosts: ["mx1"], world: { dials: { mx1: [{ fail: "certificate-expired", step: "handshake", permanent: true }] } }, log: ["dial mx1"], result: "waiting 4.7.5 certificate-expired" },
  { title: "TLS trouble at one, the other unreachable: the more telling reason is kept", hosts: ["mx1", "mx2"], world: { dials: { mx1: [{ fail: "certificate-expired", step: "handshake" }], mx2: [{ fail: "connect-failed" }] } }, log: ["dial mx1", "dial mx2"], result: "waiting 4.7.5 certificate-expired" },
  { title: "TLS trouble that a transaction calls final: the next host", hosts: ["mx1", "mx2"], world: { dials: { mx1: [{ says: [{ all: { kind: "failed", problem: problem("validation-failure", "receiver", "TLS broke", { status: "5.7.5" }) }, step: "mail", ends: true }] }], mx2: [ok] } }, log: ["dial mx1", "mx1 jo", "dial mx2", "mx2 jo"], result: "delivered mx2" },
  // MAIL, RCPT, DATA, dot
  { title: "MAIL 4yz: the next host", hosts: ["mx1", "mx2"], world: { dials: { mx1: [{ says: [{ all: refused(451), step: "mail" }] }], mx2: [ok] } }, log: ["dial mx1", "mx1 jo", "dial mx2", "mx2 jo"], result: "delivered mx2" },
  { title: "a host that has spoken speaks for all its addresses", hosts: ["mx1"], world: { addresses: { mx1: list("1.1.1.1", "1.1.1.2") }, dials: { "1.1.1.1": [{ says: [{ all: refused(451), step: "mail" }] }] } }, log: ["dial 1.1.1.1", "1.1.1.1 jo"], result: "waiting 4.2.0 rejected" },
  { title: "5yz is final: no other host is asked", hosts: ["mx1", "mx2"], world: { dials: { mx1: [{ says: [{ all: refused(550), step: "rcpt" }] }] } }, log: ["dial mx1", "mx1 jo"], result: "failed 5.1.1 rejected" },
  { title: "250, 450, 550: only the second goes to the next host", entry: three(), hosts: ["mx1", "mx2"], world: { dials: { mx1: [{ says: [{ to: { a: delivered, b: refused(450), c: refused(550) } }] }], mx2: [{ says: [{ all: delivered }] }] } }, log: ["dial mx1", "mx1 a,b,c", "dial mx2", "mx2 b"], result: "delivered mx1, delivered mx2, failed 5.1.1 rejected" },
  { title: "450 at the only host: that one waits", entry: three(), hosts: ["mx1"], world: { dials: { mx1: [{ says: [{ to: { a: delivered, b: refused(450), c: refused(550) } }] }] } }, log: ["dial mx1", "mx1 a,b,c"], result: "delivered mx1, waiting 4.2.0 rejected, failed 5.1.1 rejected" },
  { title: "lost in the text: the next host", hosts: ["mx1", "mx2"], world: { dials: { mx1: [{ says: [{ all: lost, step: "data", ends: true }] }], mx2: [ok] } }, log: ["dial mx1", "mx1 jo", "dial mx2", "mx2 jo"], result: "delivered mx2" },
  { title: "lost after the dot: nobody else is asked", hosts: ["mx1", "mx2"], world: { dials: { mx1: [{ says: [{ all: unknown, step: "final-dot", mayHold: true, ends: true }] }] } }, log: ["dial mx1", "mx1 jo"], result: "waiting 4.4.2 outcome-unknown" },
  { title: "lost after the dot: a 4yz recipient of the same transaction is not taken elsewhere either", entry: three(), hosts: ["mx1", "mx2"], world: { dials: { mx1: [{ says: [{ to: { a: unknown, b: refused(450), c: refused(550) }, step: "final-dot", mayHold: true, ends: true }] }] } }, log: ["dial mx1", "mx1 a,b,c"], result: "waiting 4.4.2 outcome-unknown, waiting 4.2.0 rejected, failed 5.1.1 rejected" },
  { title: "lost after the dot: recipients not yet named wait", entry: three(), hosts: ["mx1", "mx2"], world: { rules: { perTransaction: 2 }, dials: { mx1: [{ says: [{ to: { a: unknown, b: refused(550) }, step: "final-dot", mayHold: true, ends: true }] }] } }, log: ["dial mx1", "mx1 a,b"], result: "waiting 4.4.2 outcome-unknown, failed 5.1.1 rejected, waiting 4.4.2 outcome-unknown" },
  // content
  { title: "no 8BITMIME at the first: the next", hosts: ["mx1", "mx2"], world: { dials: { mx1: [{ says: [{ all: no8bit, step: "mail" }] }], mx2: [ok] } }, log: ["dial mx1", "mx1 jo", "dial mx2", "mx2 jo"], result: "delivered mx2" },
  { title: "no 8BITMIME anywhere: permanent", hosts: ["mx1", "mx2"], world: { dials: { mx1: [{ says: [{ all: no8bit, step: "mail" }] }], mx2: [{ says: [{ all: no8bit, step: "mail" }] }] } }, log: ["dial mx1", "mx1 jo", "dial mx2", "mx2 jo"], result: "failed 5.6.3 needs-8bitmime" },
  { title: "no 8BITMIME at one, 451 at the other: waits for that one", hosts: ["mx1", "mx2"], world: { dials: { mx1: [{ says: [{ all: no8bit, step: "mail" }] }], mx2: [{ says: [{ all: refused(451), step: "mail" }] }] } }, log: ["dial mx1", "mx1 jo", "dial mx2", "mx2 jo"], result: "waiting 4.2.0 rejected" },
  // portions
  { title: "more recipients than a transaction takes", entry: three(), hosts: ["mx1"], world: { rules: { perTransaction: 2 }, dials: { mx1: [{ says: [{ all: delivered }, { all: delivered }] }] } }, log: ["dial mx1", "mx1 a,b", "mx1 c"], result: "delivered mx1, delivered mx1, delivered mx1" },
  { title: "452 after others: in the next transaction of the same connection", entry: three(), hosts: ["mx1", "mx2"], world: { dials: { mx1: [{ says: [{ to: { a: delivered, b: portion, c: portion } }, { to: { b: delivered, c: portion } }, { all: delivered }] }] } }, log: ["dial mx1", "mx1 a,b,c", "mx1 b,c", "mx1 c"], result: "delivered mx1, delivered mx1, delivered mx1" },
  { title: "452 for everybody ends the matter", entry: three(), hosts: ["mx1"], world: { dials: { mx1: [{ says: [{ to: { a: delivered, b: portion, c: portion } }, { all: portion }] }] } }, log: ["dial mx1", "mx1 a,b,c", "mx1 b,c"], result: "delivered mx1, waiting 4.5.3 rejected, waiting 4.5.3 rejected" },
  { title: "a host that closes after each message gets the rest over a new connection", entry: three(), hosts: ["mx1"], world: { rules: { perTransaction: 2 }, dials: { mx1: [{ says: [{ all: delivered, ends: true }] }, { says: [{ all: delivered, ends: true }] }] } }, log: ["dial mx1", "mx1 a,b", "dial mx1 fresh", "mx1 c"], result: "delivered mx1, delivered mx1, delivered mx1" },
  { title: "a connection that dies without deciding anybody: the next host gets all", entry: three(), hosts: ["mx1", "mx2"], world: { rules: { perTransaction: 2 }, dials: { mx1: [{ says: [{ all: lost, step: "rcpt", ends: true }] }], mx2: [{ says: [{ all: delivered }, { all: delivered }] }] } }, log: ["dial mx1", "mx1 a,b", "dial mx2", "mx2 a,b", "mx2 c"], result: "delivered mx2, delivered mx2, delivered mx2" },
  // kept connections
  { title: "a kept connection that had died is replaced, once, without blame", hosts: ["mx1"], world: { dials: { mx1: [{ reused: true, says: [{ all: lost, step: "mail", ends: true }] }, ok] } }, log: ["dial mx1", "mx1 jo", "dial mx1 fresh", "mx1 jo"], result: "delivered mx1" },
  { title: "421 on a kept connection likewise", hosts: ["mx1"], world: { dials: { mx1: [{ reused: true, says: [{ all: gone421, step: "mail", ends: true }] }, ok] } }, log: ["dial mx1", "mx1 jo", "dial mx1 fresh", "mx1 jo"], result: "delivered mx1" },
  { title: "one that dies later is the host's doing", hosts: ["mx1", "mx2"], world: { dials: { mx1: [{ reused: true, says: [{ all: lost, step: "rcpt", ends: true }] }], mx2: [ok] } }, log: ["dial mx1", "mx1 jo", "dial mx2", "mx2 jo"], result: "delivered mx2" },
  { title: "a fresh one that dies at MAIL as well", hosts: ["mx1", "mx2"], world: { dials: { mx1: [{ reused: true, says: [{ all: lost, step: "mail", ends: true }] }, { reused: true, says: [{ all: lost, step: "mail", ends: true }] }], mx2: [ok] } }, log: ["dial mx1", "mx1 jo", "dial mx1 fresh", "mx1 jo", "dial mx2", "mx2 jo"], result: "delivered mx2" },
  // addresses
  { title: "mx1 SERVFAIL, mx2 has addresses", hosts: ["mx1", "mx2"], world: { addresses: { mx1: noHost(false) }, dials: { mx2: [ok] } }, log: ["dial mx2", "mx2 jo"], result: "delivered mx2" },
  { title: "mx NXDOMAIN: permanent", hosts: ["mx1"], world: { addresses: { mx1: noHost(true) }, dials: {} }, log: [], result: "failed 5.4.4 domain-not-found" },
  { title: "mx1 NXDOMAIN, mx2 SERVFAIL: waits", hosts: ["mx1", "mx2"], world: { addresses: { mx1: noHost(true), mx2: noHost(false) }, dials: {} }, log: [], result: "waiting 4.4.3 dns-failure" },
  { title: "the best host is at our address: loop, nobody is dialled", hosts: ["mx1", "mx2"], world: { addresses: { mx1: { kind: "ourselves", address: "203.0.113.1" } }, dials: {} }, log: [], result: "failed 5.4.6 loop" },
  { title: "the second host is at our address, the first is dead: waits for the first, and the third is not asked", hosts: ["mx1", "mx2", "mx3"], world: { addresses: { mx2: { kind: "ourselves", address: "203.0.113.1" } }, dials: { mx1: [{ fail: "connect-failed" }] } }, log: ["dial mx1"], result: "waiting 4.4.1 connect-failed" },
  // limits
  { title: "no more addresses than the limit", hosts: ["mx1"], world: { rules: { addressesPerHost: 2 }, addresses: { mx1: list("1.1.1.1", "1.1.1.2", "1.1.1.3") }, dials: { "1.1.1.1": [{ fail: "connect-failed" }], "1.1.1.2": [{ fail: "connect-failed" }] } }, log: ["dial 1.1.1.1", "dial 1.1.1.2"], result: "waiting 4.4.1 connect-failed" },
  { title: "no more hosts than the limit, and then nothing is final", hosts: ["mx1", "mx2", "mx3"], world: { rules: { hostsPerAttempt: 2 }, addresses: { mx1: noHost(true), mx2: noHost(true) }, dials: {} }, log: [], result: "waiting 4.4.4 domain-not-found" },
];

describe("who is asked, and what the last word is", () => {
  for (const { title, entry = jo(), hosts, world, log, result } of cases)
    test(title, async () => {
      const done = await attempt(
        entry,
        hosts.map((name) => host(name)),
        world,
      );
      expect(done.log).toEqual(log);
      expect(inShort(done.result)).toBe(result);
      expect(done.held()).toBe(0);
      expect(done.result.recipients.map(({ recipientId }) => recipientId)).toEqual(entry.recipients.map(({ recipientId }) => recipientId));
    });
});

test("250 recipients go in transactions of 100, 100 and 50", async () => {
  const entry = leasedEntry({ recipients: Array.from({ length: 250 }, (_, index) => `r${index}@dest.test`) });
  const { log, result } = await attempt(entry, [host("mx1")], {
    dials: { mx1: [{ says: [{ all: delivered }, { all: delivered }, { all: delivered }] }] },
  });
  expect(log).toEqual(["dial mx1", "mx1 100", "mx1 100", "mx1 50"]);
  expect(result.recipients.every(({ report }) => report.kind === "delivered")).toBe(true);
});

test("the evidence: each host as it was met, and how long it took", async () => {
  const { result } = await attempt(jo(), [host("mx1"), host("mx2"), host("mx3")], {
    addresses: { mx1: noHost(false) },
    dials: {
      mx2: [{ fail: "certificate-host-mismatch", step: "handshake", answered: true }],
      mx3: [{ reused: true, says: [{ all: delivered }] }],
    },
  });
  const policy = expect.objectContaining({ host: "none", tlsa: NO_TLSA });
  expect(result.hosts).toEqual([
    { host: "mx1", port: 25, step: "skipped", problem: expect.objectContaining({ type: "dns-failure" }) },
    {
      host: "mx2",
      address: "mx2",
      port: 25,
      step: "handshake",
      problem: expect.objectContaining({ type: "certificate-host-mismatch" }),
      policy,
    },
    { host: "mx3", address: "mx3", port: 25, step: "done", tls, reused: true, policy },
  ]);
  expect(result).toMatchObject({ phases: { connecting: 14, talking: 11 }, answered: true, mayHoldMessage: false, policy: NO_EVIDENCE });
});

describe("answered", () => {
  test("is false while nobody greeted", async () =>
    expect((await attempt(jo(), [host("mx1")], { dials: { mx1: [{ fail: "connect-failed" }] } })).result.answered).toBe(false));
  test("is true after any greeting", async () => {
    const { result } = await attempt(jo(), [host("mx1")], { dials: { mx1: [{ fail: "rejected", step: "greeting", answered: true }] } });
    expect(result.answered).toBe(true);
  });
});

describe("the target of a connection", () => {
  const dials = { "192.0.2.1": [ok], "2001:db8::1": [ok] };
  test("has the name, the source address of its family, and the host's own trust anchors", async () => {
    const planned = host("mx1", {
      address: "2001:db8::1",
      rootsFile: "ca.pem",
      login: { username: "me", password: "x" },
      configured: true,
    });
    const { targets, result } = await attempt(jo(), [planned], {
      dials,
      rules: { sourceAddress4: "192.0.2.99", sourceAddress6: "2001:db8::99" },
    });
    expect(targets).toEqual([
      {
        host: "mx1",
        address: "2001:db8::1",
        port: 25,
        ehloName: "relay.test",
        requirement: requirementOf(planned),
        tls: "starttls",
        serverName: "mx1",
        localAddress: "2001:db8::99",
        roots: "PEM",
        login: { username: "me", password: "x" },
      },
    ]);
    expect(result.daneSeen).toBe(false);
  });
  test("says an address literal where there is no mailname", async () => {
    const { targets } = await attempt(jo(), [host("smart", { address: "192.0.2.1", configured: true })], {
      dials,
      rules: { mailname: undefined },
    });
    expect(targets[0]?.ehloName).toBe("[203.0.113.1]");
  });
  test("is not dialled with other trust anchors than the operator's", async () => {
    const { log, result } = await attempt(jo(), [host("smart", { rootsFile: "missing.pem", configured: true })], { dials: {} });
    expect(log).toEqual([]);
    expect(inShort(result)).toBe("waiting 4.3.5 not-configured");
  });
});

describe("when this relay stops", () => {
  test("no further host is asked, and nothing becomes final by it", async () => {
    const stop = new AbortController();
    const { log, result } = await attempt(jo(), [host("mx1"), host("mx2")], {
      stop: stop.signal,
      onDial: () => stop.abort(),
      dials: { mx1: [{ fail: "rejected", step: "greeting", permanent: true }] },
    });
    expect(log).toEqual(["dial mx1"]);
    expect(inShort(result)).toBe("waiting 4.0.0 rejected");
  });
  test("before the first host: waits, and says so", async () => {
    const { result } = await attempt(jo(), [host("mx1")], { stop: AbortSignal.abort(), dials: {} });
    expect(inShort(result)).toBe("waiting 4.3.2 destination-waiting");
  });
});

describe("a body that cannot be read", () => {
  const broken = new Error("chunk 3 is missing");
  test("is thrown while nobody is decided", async () => {
    await expect(attempt(jo(), [host("mx1")], { dials: { mx1: [{ says: [{ throws: broken }] }] } })).rejects.toThrow("chunk 3 is missing");
  });
  test("does not undo what others were told", async () => {
    const { result, held } = await attempt(three(), [host("mx1"), host("mx2")], {
      rules: { perTransaction: 2 },
      dials: { mx1: [{ says: [{ to: { a: delivered, b: refused(550) } }, { throws: broken }] }] },
    });
    expect(inShort(result)).toBe("delivered mx1, failed 5.1.1 rejected, waiting 4.3.0 connection-lost");
    expect(result.fault).toBe(broken);
    expect(held()).toBe(0);
  });
});

describe("published policy decides when a host's turn comes", () => {
  const failedTlsa: TlsaFinding = {
    kind: "failed",
    asked: "_25._tcp.mx1",
    failure: { kind: "failed", reason: "servfail", detail: "SERVFAIL from 192.0.2.53" },
  };
  const tlsa: TlsaFinding = {
    kind: "records",
    baseDomain: "alias.test" as Domain,
    records: [{ usage: 3, selector: 1, matchingType: 1, data: Buffer.alloc(32, 7) }],
    expires: 0,
  };
  const listing = (mode: "enforce" | "testing", ...mx: string[]): StsFinding => ({
    kind: "policy",
    policyDomain: "dest.test" as Domain,
    policy: { mode, maxAge: 86_400, mx, text: "" },
    id: "1",
    fetchedAt: 0,
    expires: 1,
  });
  const under = (name: string, sts: StsFinding): PlannedHost => {
    const { facts, local } = policyOf(name);
    return host(name, { policy: { facts: { ...facts, sts }, local } });
  };
  const dials = { "mx1.test": [{ says: [{ all: delivered }] }], "mx2.test": [{ says: [{ all: delivered }] }] };

  test("a host whose TLSA look-up failed is not dialled, the next one is", async () => {
    const { log, result } = await attempt(jo(), [host("mx1.test"), host("mx2.test")], { dials, tlsa: { "mx1.test": failedTlsa } });
    expect(log[0]).toBe("dial mx2.test");
    expect(result.hosts[0]).toMatchObject({ step: "skipped", problem: { type: "dnssec-invalid", host: "mx1.test" } });
  });
  test("a host that the policy does not list is not dialled, though it is the best", async () => {
    const sts = listing("enforce", "mx2.test");
    const { log, result } = await attempt(jo(), [under("mx1.test", sts), under("mx2.test", sts)], { dials });
    expect(log[0]).toBe("dial mx2.test");
    expect(result.hosts[0]).toMatchObject({ step: "skipped", problem: { type: "validation-failure" } });
    expect(result.demanded).toBe("authenticated (MTA-STS enforce of dest.test)");
  });
  test("alone it makes the message wait, and never fail", async () => {
    const { result } = await attempt(jo(), [under("mx1.test", listing("enforce", "mx2.test"))], { dials: {} });
    expect(inShort(result)).toBe("waiting 4.7.0 validation-failure");
  });
  test("in testing mode it is dialled, and what would have failed is kept", async () => {
    const { result } = await attempt(jo(), [under("mx1.test", listing("testing", "mx2.test"))], { dials });
    expect(result.recipients[0]?.report.kind).toBe("delivered");
    expect(result.hosts[0]?.policy?.wouldHaveFailed).toMatchObject([
      { failure: { type: "validation-failure" }, because: { text: "MTA-STS testing of dest.test" } },
    ]);
  });
  test("the TLSA base domain goes out as SNI, and the demand names the records", async () => {
    const { targets, result } = await attempt(jo(), [host("mx1.test")], { dials, tlsa: { "mx1.test": tlsa } });
    expect(targets[0]).toMatchObject({ serverName: "alias.test", requirement: { dane: { demanded: true, baseDomain: "alias.test" } } });
    expect(result).toMatchObject({ daneSeen: true, demanded: "authenticated (the TLSA records of alias.test (DANE))" });
  });
  test("REQUIRETLS: hosts that nothing proves are out for good, and the message fails now with 5.7.10", async () => {
    const message = { tag: "required", mayGoBelowFloor: false } as const;
    const entry = jo();
    const tagged = { ...entry, message: { ...entry.message, tlsTag: "required" as const } };
    const validating = { kind: "validating", detail: "", since: 0 } as const;
    const { facts, local } = policyOf("mx1.test");
    const planned = host("mx1.test", { policy: { facts: { ...facts, dnssec: validating }, local } });
    const { result } = await attempt(tagged, [planned], { dials: {}, message });
    expect(result.recipients[0]?.report).toMatchObject({ kind: "failed", problem: { type: "requiretls-unmet", status: "5.7.10" } });
    // While the resolver cannot tell, it waits.
    const { result: later } = await attempt(tagged, [host("mx1.test")], { dials: {}, message });
    expect(later.recipients[0]?.report.kind).toBe("waiting");
  });
});
