/** The decision as it is kept for messages that meet the same facts, what only watches, and whose TLS-Required: No counts. */
import { describe, expect, test } from "vitest";
import { createDecider, findWatched } from "../../src/delivery/decide.ts";
import { isHonoured } from "../../src/delivery/honoured.ts";
import type { HostFindings } from "../../src/delivery/gather.ts";
import type { MessageDemands, PlannedHost } from "../../src/delivery/plan.ts";
import type { StsFinding, TlsaFinding } from "../../src/policy/facts.ts";
import { decided, demandsOf, dnssec, HOST, hostFacts, inWords, outcome, policy, sts, tlsa } from "../support/decisions.ts";

const digests = ["sha512", "sha256"] as const;

interface Wishes {
  readonly facts?: Parameters<typeof hostFacts>[0];
  readonly asked?: keyof typeof locals;
  readonly message?: MessageDemands;
  readonly security?: "secure" | "insecure";
}

/** The operator's settings as all messages share them, and with one of them changed: one object for each until a reload. */
const { local } = demandsOf();
const locals = {
  relay: local,
  authenticated: { ...local, floor: demandsOf({ floor: "authenticated" }).local.floor },
  report: { ...local, published: demandsOf({ published: "report" }).local.published },
  dnssec: { ...local, host: demandsOf({ host: "dnssec" }).local.host },
};

function question({ facts, asked = "relay", message, security = "secure" }: Wishes): [PlannedHost, HostFindings, MessageDemands] {
  const { tlsa: found, ...others } = hostFacts(facts);
  const host: PlannedHost = {
    host: others.host,
    preference: 10,
    port: 25,
    tls: "starttls",
    serverName: HOST,
    configured: false,
    policy: { facts: others, local: locals[asked] },
  };
  return [host, { addresses: { kind: "addresses", addresses: [] }, security, tlsa: found }, message ?? { mayGoBelowFloor: false }];
}

describe("one decision serves all messages that meet the same facts, and no other", () => {
  const validating = dnssec("validating");
  const same: Wishes = { facts: { tlsa: tlsa.usable, sts: sts.listed, dnssec: validating } };
  const facts = same.facts;

  test("the same facts are not decided anew", () => {
    const decide = createDecider(digests);
    expect(decide(...question(same))).toBe(decide(...question(same)));
  });

  test("nor are they where the findings are made anew from the same answers, as each message's are", () => {
    const anew = () => question({ facts: { ...facts, tlsa: { ...tlsa.usable }, sts: { ...sts.listed } } });
    for (const finding of [tlsa.none, tlsa.failed, tlsa.notAsked]) {
      const decide = createDecider(digests);
      const asked = () => question({ facts: { ...facts, tlsa: { ...finding }, sts: { ...sts.none } } });
      expect(decide(...asked())).toBe(decide(...asked()));
    }
    const decide = createDecider(digests);
    expect(decide(...anew())).toBe(decide(...anew()));
  });
  test("nor is a relayhost, whose demands are put together for each plan", () => {
    const decide = createDecider(digests);
    const [planned, found, message] = question(same);
    const again = { ...planned, policy: { ...planned.policy, local: structuredClone(planned.policy.local) } };
    expect(decide(again, found, message)).toBe(decide(planned, found, message));
  });

  test("a plan's host that is met again: what its address look-up, its records or its message say may be another", () => {
    const decide = createDecider(digests);
    const [host, found, message] = question(same);
    const first = decide(host, found, message);
    expect(decide(host, { ...found }, { ...message })).toBe(first);
    const anew: [HostFindings, MessageDemands][] = [
      [{ ...found, tlsa: tlsa.unusable }, message],
      [{ ...found, security: "insecure" }, message],
      [found, { ...message, tag: "required" }],
      [found, { ...message, mayGoBelowFloor: true }],
    ];
    for (const [others, demands] of anew) expect(decide(host, others, demands)).not.toBe(first);
  });

  const others: [what: string, wishes: Wishes, verdict: string][] = [
    [
      "records that hold for another time",
      { ...same, facts: { ...facts, tlsa: { ...(tlsa.usable as TlsaFinding & { kind: "records" }), expires: 7 } } },
      "authenticated dane webpki",
    ],
    [
      "a policy that was fetched again",
      { ...same, facts: { ...facts, sts: { ...(sts.listed as StsFinding & { kind: "policy" }), fetchedAt: 7 } } },
      "authenticated dane webpki",
    ],
    ["another finding of MTA-STS", { ...same, facts: { ...facts, sts: policy("testing") } }, "authenticated dane"],
    [
      "a newer finding of MTA-STS that says the same",
      { ...same, facts: { ...facts, sts: policy("enforce") } },
      "authenticated dane webpki",
    ],
    ["another finding of TLSA records", { ...same, facts: { ...facts, tlsa: tlsa.unusable } }, "authenticated webpki"],
    ["a failed TLSA look-up", { ...same, facts: { ...facts, tlsa: tlsa.failed } }, "skip dnssec-invalid by dane"],
    ["another state of the resolver", { ...same, facts: { ...facts, dnssec: dnssec("untrusted") } }, "authenticated dane webpki"],
    ["unsigned MX records", { ...same, facts: { ...facts, mxSecurity: "insecure" } }, "authenticated dane webpki"],
    ["another next hop", { ...same, facts: { ...facts, nextHop: "other.test" as never } }, "authenticated dane webpki"],
    ["another host", { ...same, facts: { ...facts, host: "other.test" } }, "skip validation-failure by mta-sts, lasting"],
    ["another name to find", { ...same, facts: { ...facts, certificateName: "other.test" } }, "authenticated dane webpki"],
    ["addresses without proof", { ...same, security: "insecure" }, "authenticated dane webpki"],
    ["REQUIRETLS", { ...same, message: { tag: "required", mayGoBelowFloor: false } }, "authenticated dane webpki keyword"],
    ["TLS-Required: No", { ...same, message: { tag: "optional", mayGoBelowFloor: false } }, "clear"],
    ["another floor", { ...same, asked: "authenticated" }, "authenticated dane webpki"],
    ["published policy set to report", { ...same, asked: "report" }, "clear"],
    ["a floor for the host", { ...same, asked: "dnssec" }, "authenticated dane webpki"],
  ];
  for (const [what, wishes, verdict] of others)
    test(`${what}: decided anew`, () => {
      const decide = createDecider(digests);
      const before = decide(...question(same));
      const after = decide(...question(wishes));
      expect(after).not.toBe(before);
      expect(inWords(after.decision.verdict)).toBe(verdict);
    });

  test("below the floor or not is another question", () => {
    const decide = createDecider(digests);
    const asked = "authenticated";
    const facts = { dnssec: dnssec("validating"), tlsa: tlsa.none, sts: sts.none };
    const verdictOf = (mayGoBelowFloor: boolean) =>
      inWords(decide(...question({ facts, asked, message: { tag: "optional", mayGoBelowFloor } })).decision.verdict);
    expect([verdictOf(false), verdictOf(true), verdictOf(false)]).toEqual(["authenticated", "clear", "authenticated"]);
  });

  test("digests in another order are another decider", () => {
    const records = [1, 2].map((matchingType) => ({ usage: 3, selector: 1, matchingType, data: Buffer.alloc(32 * matchingType, 7) }));
    const found = { ...tlsa.usable, records };
    const typesOf = (order: readonly ("sha256" | "sha512")[]) => {
      const { verdict } = createDecider(order)(...question({ facts: { tlsa: found } })).decision;
      return verdict.kind === "try" ? verdict.requirement.dane?.records.map(({ matchingType }) => matchingType) : undefined;
    };
    expect([typesOf(["sha512", "sha256"]), typesOf(["sha256", "sha512"])]).toEqual([[2], [1]]);
  });
});

describe("what published policy would have stopped where it does not bind", () => {
  const words = (decision: ReturnType<typeof decided>, given: ReturnType<typeof outcome>) =>
    findWatched(decision, given).map(({ failure, because }) => `${because.source}: ${failure.detail}`);
  const tested = decided({ sts: sts.testing });

  test("is nothing where the host is as good as it asks", () => {
    expect(words(tested, outcome({ webpki: true }))).toEqual([]);
    expect(words(decided({ sts: sts.listed }), outcome({ webpki: false }))).toEqual([]);
  });
  test("is what the channel lacks", () => {
    expect(words(tested, outcome("clear"))).toEqual(["mta-sts: not proven"]);
    expect(words(tested, outcome({ webpki: false }))).toEqual(["mta-sts: not proven"]);
  });
  test("is a host that should not have been asked, whatever its channel", () => {
    const [told] = findWatched(decided({ sts: sts.testingUnlisted }), outcome({ webpki: true }));
    expect(told?.failure.detail).toContain("mx-not-in-policy");
  });
  test("is told for each of two policies", () => {
    const report = decided({ tlsa: tlsa.usable, sts: sts.listed }, { published: "report" });
    expect(words(report, outcome({ webpki: false, dane: false }))).toEqual(["dane: not proven", "mta-sts: not proven"]);
    expect(words(report, outcome({ webpki: true, dane: false }))).toEqual(["dane: not proven"]);
    expect(words(report, outcome({ webpki: false, dane: true }))).toEqual(["mta-sts: not proven"]);
  });
});

describe("whose TLS-Required: No goes below the floor (RFC 8689 §4.3)", () => {
  const setting = ["alice", "10.0.0.0/8", "2001:db8::/32"];
  const cases: [what: string, origin: { user?: string; clientAddress?: string }, honoured: boolean][] = [
    ["a user who is named", { user: "alice", clientAddress: "192.0.2.1" }, true],
    ["a user who is not", { user: "bob", clientAddress: "192.0.2.1" }, false],
    ["a user who is not, from a network that is", { user: "bob", clientAddress: "10.1.2.3" }, false],
    ["a name in another case is another user", { user: "Alice" }, false],
    ["a client without login from a network that is named", { clientAddress: "10.1.2.3" }, true],
    ["the same in IPv6 clothes", { clientAddress: "::ffff:10.1.2.3" }, true],
    ["IPv6", { clientAddress: "2001:db8::1" }, true],
    ["a client from elsewhere", { clientAddress: "192.0.2.1" }, false],
    ["a client whose address is nonsense", { clientAddress: "alice" }, false],
    ["this relay's own notices", {}, false],
  ];
  for (const [what, origin, honoured] of cases)
    test(`${what}: ${honoured ? "yes" : "no"}`, () => {
      expect(isHonoured({ submitter: "x", listener: "smtp", ...origin }, setting)).toBe(honoured);
      expect(isHonoured({ submitter: "x", listener: "smtp", ...origin }, [])).toBe(false);
    });
});
