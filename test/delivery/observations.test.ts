/** What attempts hand on to be counted for TLS reports (RFC 8460 §4.2): sessions, not messages, and each of them once. */
import { describe, expect, test } from "vitest";
import { attemptDelivery } from "../../src/delivery/attempt.ts";
import { CountedSessions } from "../../src/delivery/counted-sessions.ts";
import { createDecider } from "../../src/delivery/decide.ts";
import type { HostAddresses } from "../../src/delivery/gather.ts";
import type { MessageDemands, PlannedHost } from "../../src/delivery/plan.ts";
import type { Acquired } from "../../src/delivery/pool.ts";
import { problem } from "../../src/delivery/problems.ts";
import type { HostFailure, PeerFacts, RecipientReport, Session, SessionTarget } from "../../src/delivery/session.ts";
import type { Domain } from "../../src/mail/domain.ts";
import type { DnssecState, StsFinding, TlsaFinding } from "../../src/policy/facts.ts";
import type { TlsObservation } from "../../src/policy/observation.ts";
import type { TlsFailure, TlsOutcome } from "../../src/policy/outcome.ts";
import type { LeasedEntry } from "../../src/queue/entry.ts";
import { policy, tlsa } from "../support/decisions.ts";
import { leasedEntry } from "../support/entries.ts";
import { MovedClock } from "../support/moved-clock.ts";
import { authenticatedAs, floorOf, NO_DEMANDS, NO_EVIDENCE } from "../support/policy-facts.ts";

const START = Date.UTC(2026, 2, 1, 12);
const VALIDATING: DnssecState = { kind: "validating", detail: "", since: 0 };
const NONE: TlsaFinding = { kind: "none", asked: [], security: "secure", expires: 0 };
const taken: RecipientReport = { kind: "delivered", reply: { code: 250, lines: ["2.0.0 Ok"] } };
const rejected: RecipientReport = {
  kind: "failed",
  problem: { ...problem("rejected", "receiver", "550", { status: "5.1.1" }), reply: { code: 550, lines: ["no"] } },
};
const gone: RecipientReport = { kind: "elsewhere", problem: problem("connection-lost", "receiver", "closed"), permanent: false };
const failure = (type: TlsFailure["type"], code?: string): TlsFailure => ({
  type,
  detail: "in words",
  whoActs: "receiver",
  ...(code !== undefined && { code }),
});
const noStartTls = failure("starttls-not-supported");
const noSts = (domain: string): StsFinding => ({ kind: "none", policyDomain: domain as Domain });

interface HostWishes {
  readonly sts?: StsFinding;
  readonly configured?: boolean;
  readonly published?: "enforce" | "report" | "off";
}

function host(
  name: string,
  domain: string,
  { sts = noSts(domain), configured = false, published = "enforce" }: HostWishes = {},
): PlannedHost {
  const local = { ...floorOf("opportunistic"), published: { mode: published, setting: "tls.published of this relay" } };
  return {
    host: name,
    preference: 10,
    port: 25,
    tls: "starttls",
    serverName: name,
    policy: {
      facts: { nextHop: domain as Domain, host: name, origin: "mx", mxSecurity: "secure", certificateName: name, sts, dnssec: VALIDATING },
      local,
    },
    configured,
    reportDomain: domain as Domain,
  };
}

/** A session, as often as it is met: its outcome is what it is known by. */
interface Met {
  readonly tls: TlsOutcome;
  readonly peer?: PeerFacts;
  readonly says?: RecipientReport;
  /** It was open already. */
  readonly kept?: true;
  /** It is over afterwards. */
  readonly ends?: true;
  /** How long it takes to open, and how long the message takes. */
  readonly opening?: number;
  readonly talking?: number;
}
type Unusable = Omit<HostFailure, "kind" | "problem" | "permanent" | "answered">;
type Answer = Met | Unusable;
const isUnusable = (answer: Answer): answer is Unusable => "step" in answer;

/** Messages one after the other, which share what is remembered of sessions. */
class World {
  readonly clock = new MovedClock(START);
  readonly counted = new CountedSessions();
  readonly #decide = createDecider(["sha512", "sha256"]);

  async send(
    hosts: readonly PlannedHost[],
    answers: Readonly<Record<string, readonly Answer[]>>,
    more: {
      readonly tlsa?: Readonly<Record<string, TlsaFinding>>;
      readonly addresses?: Readonly<Record<string, HostAddresses>>;
      readonly entry?: LeasedEntry;
      readonly message?: MessageDemands;
      readonly tlsReports?: { readonly publicAddress4?: string; readonly publicAddress6?: string };
    } = {},
  ): Promise<readonly TlsObservation[] | undefined> {
    const left = new Map(Object.entries(answers).map(([name, list]) => [name, [...list]]));
    const plan = { kind: "attempt", hosts, demanded: "", policy: NO_EVIDENCE } as const;
    const { observations } = await attemptDelivery(more.entry ?? leasedEntry({ nextHop: hosts[0]?.policy.facts.nextHop ?? "" }), plan, {
      rules: {
        delivery: { addressesPerHost: 4, hostsPerAttempt: 8, concurrency: { recipientsPerTransaction: 100 } },
        mailname: "relay.test",
        ownAddresses: new Set(),
        tls: { daneDigests: ["sha512", "sha256"] },
        ...(more.tlsReports !== undefined && { tlsReports: more.tlsReports }),
      },
      clock: this.clock,
      counted: this.counted,
      findHost: async ({ host: name }) => ({
        addresses: more.addresses?.[name] ?? { kind: "addresses", addresses: [{ address: "192.0.2.25", family: 4 }] },
        security: "secure",
        tlsa: more.tlsa?.[name] ?? NONE,
      }),
      decide: (planned, found) => this.#decide(planned, found, more.message ?? NO_DEMANDS),
      acquire: async (target): Promise<Acquired> => {
        const answer = left.get(target.host)?.shift();
        if (answer === undefined) throw new Error(`nobody expected ${target.host} to be asked`);
        if (isUnusable(answer))
          return {
            kind: "failed",
            permanent: false,
            answered: true,
            problem: problem("timeout", "receiver", "x"),
            reused: false,
            ...answer,
          };
        await this.clock.pass(answer.opening ?? 1);
        return { kind: "open", reused: answer.kept === true, session: this.#session(target, answer) };
      },
      release: () => {},
    });
    return observations;
  }

  #session(target: SessionTarget, { tls, peer = {}, says = taken, ends, talking = 1 }: Met): Session {
    const { clock } = this;
    let usable = true;
    return {
      target,
      tls,
      peer,
      offersRequireTls: false,
      served: 0,
      get usable() {
        return usable;
      },
      async deliver(transaction) {
        await clock.pass(talking);
        if (ends === true) usable = false;
        return { recipients: transaction.recipients.map(() => says), step: says === gone ? "mail" : "done", mayHoldMessage: false };
      },
      quit: async () => {},
      destroy: () => {},
    };
  }
}

const made = (): Met => ({ tls: authenticatedAs("mx1.test") });
const kept = (session: Met): Met => ({ ...session, kept: true });
const clear = (because: TlsFailure): Met => ({ tls: { kind: "clear", because } });

/** `dest.test sts ok`, `dest.test tlsa validation-failure/dane-no-match`. */
function inShort(observations: readonly TlsObservation[] | undefined): readonly string[] {
  return (observations ?? []).map(({ reportDomain, policy: { type }, failures }) => {
    const faults = failures.map(({ resultType, reasonCode }) => (reasonCode === undefined ? resultType : `${resultType}/${reasonCode}`));
    return `${reportDomain} ${type} ${faults.length === 0 ? "ok" : faults.join(" + ")}`;
  });
}

describe("a session counts once for each domain (RFC 8460 §4.4)", () => {
  test("ten messages of one domain on one connection", async () => {
    const world = new World();
    const session = made();
    const hosts = [host("mx1.test", "dest.test")];
    expect(inShort(await world.send(hosts, { "mx1.test": [session] }))).toEqual(["dest.test no-policy-found ok"]);
    // Nothing at all is made for the others.
    for (let message = 2; message <= 10; message++) expect(await world.send(hosts, { "mx1.test": [kept(session)] })).toBeUndefined();
  });
  test("two domains on one connection, in turns", async () => {
    const world = new World();
    const session = made();
    const to = (domain: string) => world.send([host("mx1.test", domain)], { "mx1.test": [kept(session)] });
    expect(inShort(await world.send([host("mx1.test", "a.test")], { "mx1.test": [session] }))).toEqual(["a.test no-policy-found ok"]);
    expect(inShort(await to("b.test"))).toEqual(["b.test no-policy-found ok"]);
    expect(await to("a.test")).toBeUndefined();
    expect(inShort(await to("c.test"))).toEqual(["c.test no-policy-found ok"]);
    expect(await to("b.test")).toBeUndefined();
    expect(await to("c.test")).toBeUndefined();
  });
  test("another connection to the same host", async () => {
    const world = new World();
    const hosts = [host("mx1.test", "dest.test")];
    for (let connection = 0; connection < 3; connection++)
      expect(inShort(await world.send(hosts, { "mx1.test": [made()] }))).toEqual(["dest.test no-policy-found ok"]);
  });
  test("one message over two connections, since the host closes after each transaction", async () => {
    const entry = leasedEntry({ recipients: Array.from({ length: 150 }, (_, index) => `r${index}@dest.test`) });
    const hosts = [host("mx1.test", "dest.test")];
    const observed = await new World().send(hosts, { "mx1.test": [{ ...made(), ends: true }, made()] }, { entry });
    expect(inShort(observed)).toEqual(["dest.test no-policy-found ok", "dest.test no-policy-found ok"]);
  });
  test("a kept connection that had died carried nothing for this domain", async () => {
    const session = kept({ ...made(), says: gone, ends: true });
    const observed = await new World().send([host("mx1.test", "dest.test")], { "mx1.test": [session, clear(noStartTls)] });
    expect(inShort(observed)).toEqual(["dest.test no-policy-found starttls-not-supported"]);
  });
});

describe("what is said of the envelope changes nothing (RFC 8460 §4.2.1)", () => {
  test("RCPT 550 over good TLS", async () => {
    const observed = await new World().send([host("mx1.test", "dest.test")], { "mx1.test": [{ ...made(), says: rejected }] });
    expect(inShort(observed)).toEqual(["dest.test no-policy-found ok"]);
  });
});

describe("hosts that could not be used", () => {
  const dest = [host("mx1.test", "dest.test")];
  const reset = failure("validation-failure", "handshake-reset");
  const wrongName: TlsOutcome = {
    kind: "encrypted",
    because: failure("certificate-host-mismatch"),
    session: { protocol: "TLSv1.3", cipher: "x", chain: [], webpki: { held: false, failure: failure("certificate-host-mismatch") } },
  };
  const enforced = [host("mx1.test", "dest.test", { sts: policy("enforce", ["mx1.test"]) })];
  const rows: [what: string, hosts: readonly PlannedHost[], answer: Answer, counts: readonly string[]][] = [
    ["TCP refused (RFC 8460 §4.3.4)", dest, { step: "connect" }, []],
    ["greeting refused (RFC 8460 §4.3.4)", dest, { step: "greeting" }, []],
    ["EHLO refused in clear (RFC 8460 §4.3.4)", dest, { step: "ehlo" }, []],
    ["implicit TLS, greeting refused (RFC 8460 §4.3.4)", dest, { step: "greeting", tls: authenticatedAs("mx1.test") }, []],
    [
      "EHLO refused inside TLS (RFC 8460 §4.2.1)",
      dest,
      { step: "ehlo", tls: authenticatedAs("mx1.test") },
      ["dest.test no-policy-found ok"],
    ],
    [
      "a handshake that was cut (RFC 8460 §4.3.3, §4.3.4)",
      enforced,
      { step: "handshake", tlsFailure: reset },
      ["dest.test sts validation-failure/handshake-reset"],
    ],
    ["a certificate for another name", enforced, { step: "handshake", tls: wrongName }, ["dest.test sts certificate-host-mismatch"]],
    [
      "no STARTTLS where it is demanded",
      enforced,
      { step: "starttls", tls: { kind: "clear", because: noStartTls }, tlsFailure: noStartTls },
      ["dest.test sts starttls-not-supported"],
    ],
    [
      "in clear after a handshake that was cut (RFC 8460 §4.2)",
      dest,
      clear(reset),
      ["dest.test no-policy-found validation-failure/handshake-reset"],
    ],
    [
      "the same, and the second connection was refused",
      dest,
      { step: "connect", tlsFailure: reset },
      ["dest.test no-policy-found validation-failure/handshake-reset"],
    ],
    [
      "the same, and the second greeting was 554",
      dest,
      { step: "greeting", tlsFailure: reset },
      ["dest.test no-policy-found validation-failure/handshake-reset"],
    ],
  ];
  for (const [what, hosts, answer, counts] of rows)
    test(what, async () => expect(inShort(await new World().send(hosts, { "mx1.test": [answer] }))).toEqual(counts));

  test("who talked to whom, and the address that a router shows in place of ours (RFC 8460 §4.4)", async () => {
    const peer = { localAddress: "10.0.0.7", helo: "mail.host.test" };
    const at = {
      resultType: "starttls-not-supported",
      receivingMxHostname: "mx1.test",
      receivingMxHelo: "mail.host.test",
      receivingIp: "192.0.2.25",
    };
    const [plain] = (await new World().send(dest, { "mx1.test": [{ ...clear(noStartTls), peer }] })) ?? [];
    expect(plain?.failures).toEqual([{ ...at, sendingMtaIp: "10.0.0.7" }]);
    const tlsReports = { publicAddress4: "198.51.100.1", publicAddress6: "2001:db8::1" };
    const [behind] = (await new World().send(dest, { "mx1.test": [{ ...clear(noStartTls), peer }] }, { tlsReports })) ?? [];
    expect(behind?.failures).toEqual([{ ...at, sendingMtaIp: "198.51.100.1" }]);
    const addresses = { "mx1.test": { kind: "addresses", addresses: [{ address: "2001:DB8::25", family: 6 }] } } as const;
    const [six] = (await new World().send(dest, { "mx1.test": [{ ...clear(noStartTls), peer }] }, { tlsReports, addresses })) ?? [];
    expect(six?.failures).toMatchObject([{ sendingMtaIp: "2001:db8::1", receivingIp: "2001:db8::25" }]);
  });
});

describe("hosts that policy rules out", () => {
  const sts = policy("enforce", ["mx3.test"]);
  const three = ["mx1.test", "mx2.test", "mx3.test"].map((name) => host(name, "dest.test", { sts }));
  const unlisted = "dest.test sts validation-failure/mx-not-in-policy";
  const session = (): Met => ({ tls: authenticatedAs("mx3.test") });

  test("three MX, two skipped, the third good: two failures and a success (RFC 8460 §4.2)", async () =>
    expect(inShort(await new World().send(three, { "mx3.test": [session()] }))).toEqual([unlisted, unlisted, "dest.test sts ok"]));
  test("those that follow on the kept connection passed nobody over anew", async () => {
    const world = new World();
    const open = session();
    await world.send(three, { "mx3.test": [open] });
    expect(inShort(await world.send(three, { "mx3.test": [kept(open)] }))).toEqual([]);
    // It had died: the next one is a new session, on a new way.
    const dead = kept({ ...open, says: gone, ends: true });
    expect(inShort(await world.send(three, { "mx3.test": [dead, session()] }))).toEqual([unlisted, unlisted, "dest.test sts ok"]);
  });
  test("all of them: each attempt tells of it", async () => {
    const world = new World();
    const two = three.slice(0, 2);
    expect(inShort(await world.send(two, {}))).toEqual([unlisted, unlisted]);
    expect(inShort(await world.send(two, {}))).toEqual([unlisted, unlisted]);
  });
  test("a TLSA look-up that is bogus, and one that timed out", async () => {
    const failed = (reason: "servfail" | "timeout", extendedError?: number): TlsaFinding => ({
      kind: "failed",
      asked: "_25._tcp.mx.test",
      failure: { kind: "failed", reason, detail: "x", ...(extendedError !== undefined && { extendedError }) },
    });
    const [mx1, mx2, mx3] = three;
    if (mx1 === undefined || mx2 === undefined || mx3 === undefined) throw new Error("three are written down");
    const records = { "mx1.test": failed("servfail", 7), "mx2.test": failed("timeout"), "mx3.test": tlsa.usable };
    const dane: TlsOutcome = {
      kind: "authenticated",
      session: {
        protocol: "TLSv1.3",
        cipher: "x",
        chain: [],
        webpki: { held: true, referenceIdentifier: "mx3.test" },
        dane: { held: true, baseDomain: "mx.host.test", record: "3 1 1 01" },
      },
    };
    const observed = await new World().send([mx1, mx2, mx3], { "mx3.test": [{ tls: dane }] }, { tlsa: records });
    expect(inShort(observed)).toEqual(["dest.test tlsa dnssec-invalid/ede-7", "dest.test tlsa ok", "dest.test sts ok"]);
    expect(observed?.map(({ policy: { domain } }) => domain)).toEqual(["mx.test", "mx.host.test", "example.test"]);
  });
  const bogus = {
    kind: "unusable",
    permanent: false,
    problem: problem("dnssec-invalid", "receiver", "bogus"),
    bogus: { kind: "failed", reason: "servfail", detail: "x", extendedError: 6 },
  } as const;
  test("addresses that are bogus: under the name that failed", async () => {
    const observed = await new World().send([host("mx1.test", "dest.test")], {}, { addresses: { "mx1.test": bogus } });
    expect(observed).toEqual([
      {
        reportDomain: "dest.test",
        at: START,
        policy: { type: "tlsa", domain: "mx1.test", text: [] },
        failures: [{ resultType: "dnssec-invalid", receivingMxHostname: "mx1.test", reasonCode: "ede-6" }],
      },
    ]);
  });
  test("and not where published policy is off", async () => {
    const hosts = [host("mx1.test", "dest.test", { published: "off" })];
    expect(inShort(await new World().send(hosts, {}, { addresses: { "mx1.test": bogus } }))).toEqual([]);
  });
});

describe("what does not bind is told all the same", () => {
  const sts = policy("enforce", ["other.test"]);
  test("published: report", async () => {
    const hosts = [host("mx1.test", "dest.test", { sts, published: "report" })];
    expect(inShort(await new World().send(hosts, { "mx1.test": [made()] }))).toEqual(["dest.test sts validation-failure/mx-not-in-policy"]);
  });
  test("TLS-Required: No", async () => {
    const message = { tag: "optional", mayGoBelowFloor: true } as const;
    const observed = await new World().send([host("mx1.test", "dest.test", { sts })], { "mx1.test": [made()] }, { message });
    expect(inShort(observed)).toEqual(["dest.test sts validation-failure/mx-not-in-policy"]);
  });
});

describe("what is never counted", () => {
  test("mail that brings a report, and the session is there to be counted for other mail (RFC 8460 §3)", async () => {
    const world = new World();
    const plain = leasedEntry();
    const report = { ...plain, message: { ...plain.message, origin: { submitter: "local", listener: "tls-report" } } };
    const session = made();
    const hosts = [host("mx1.test", "dest.test")];
    expect(await world.send(hosts, { "mx1.test": [session] }, { entry: report })).toBeUndefined();
    expect(inShort(await world.send(hosts, { "mx1.test": [kept(session)] }))).toEqual(["dest.test no-policy-found ok"]);
    const failed: Answer = { step: "handshake", tlsFailure: failure("validation-failure", "handshake-reset") };
    expect(await world.send(hosts, { "mx1.test": [failed] }, { entry: report })).toBeUndefined();
  });
  test("a host of which nobody is told", async () => {
    const { reportDomain: _, ...planned } = host("mx1.test", "dest.test");
    expect(await new World().send([planned], { "mx1.test": [made()] })).toBeUndefined();
  });
});

test("a session belongs to the moment in which its TLS became known, however long the message takes (RFC 8460 §4.1)", async () => {
  const midnight = Date.UTC(2026, 2, 2);
  const world = new World();
  await world.clock.pass(midnight - START - 2000);
  const hosts = [host("mx1.test", "dest.test")];
  const [before] = (await world.send(hosts, { "mx1.test": [{ ...made(), opening: 1000, talking: 60_000 }] })) ?? [];
  expect(before?.at).toBe(midnight - 1000);
  const late = new World();
  await late.clock.pass(midnight - START - 2000);
  const [after] = (await late.send(hosts, { "mx1.test": [{ ...made(), opening: 4000 }] })) ?? [];
  expect(after?.at).toBe(midnight + 2000);
});
