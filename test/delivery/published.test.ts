/** Published policy in a whole attempt: host by host, until none is left, when the time is over, and what the log says (RFC 7672, RFC 8461). */
import { describe, expect, test } from "vitest";
import type { TlsaFinding } from "../../src/policy/facts.ts";
import { problem } from "../../src/delivery/problems.ts";
import type { RecipientReport } from "../../src/delivery/session.ts";
import { policy, tlsa } from "../support/decisions.ts";
import { mx, type Ran, run, type RunWishes, type ScriptedHost, START } from "./one-run.ts";

const named = (...hosts: ScriptedHost[]) => Object.fromEntries(hosts.map((host, index) => [`mx${index + 1}.test`, host]));
const bound = (more: ScriptedHost = {}): ScriptedHost => ({ tlsa: tlsa.usable, ...more });

const reply = (code: number, status: string): RecipientReport => {
  const found = { ...problem("rejected", "receiver", `${code}`, { status }), reply: { code, lines: [`${status} no`] } };
  return code >= 500 ? { kind: "failed", problem: found } : { kind: "elsewhere", problem: found, permanent: false };
};

describe("hosts with and without TLSA records, in their order (RFC 7672 §2.1.2, §2.2.1)", () => {
  const wrong = bound({ meets: "name" });
  const dnsFails: ScriptedHost = { addresses: { kind: "failed", reason: "servfail", detail: "SERVFAIL" } };
  const cases: [what: string, hosts: ScriptedHost[], outcome: string, dialled: number[]][] = [
    ["a key that matches", [bound({ meets: "key" })], "delivered mx1.test", [1]],
    ["all are skipped", [wrong, bound({ meets: "clear" })], "waiting 4.7.5 validation-failure", [1, 2]],
    ["all TLSA look-ups fail", [bound({ tlsa: tlsa.failed }), bound({ tlsa: tlsa.failed })], "waiting 4.7.0 dnssec-invalid", []],
    ["a failed look-up, then a match", [bound({ tlsa: tlsa.failed }), bound({ meets: "key" })], "delivered mx2.test", [2]],
    ["failed addresses, then a match", [dnsFails, bound({ meets: "key" })], "delivered mx2.test", [2]],
    ["another key, then a host without records", [wrong, { meets: "clear" }], "delivered mx2.test", [1, 2]],
    ["another key, then 550 to RCPT", [wrong, { says: reply(550, "5.1.1") }], "failed 5.1.1 rejected", [1, 2]],
    ["a match, then 450 to RCPT, and nobody else", [bound({ meets: "key", says: reply(450, "4.2.0") })], "waiting 4.2.0 rejected", [1]],
    ["a host without records before one with: no favour", [{ meets: "clear" }, bound({ meets: "key" })], "delivered mx1.test", [1]],
    ["delivered at the first: no further look-up", [bound({ meets: "key" }), bound()], "delivered mx1.test", [1]],
    ["unusable records and no TLS", [{ tlsa: tlsa.unusable, meets: "clear" }], "waiting 4.7.4 starttls-not-supported", [1]],
    ["unusable records and any TLS", [{ tlsa: tlsa.unusable, meets: "unverified" }], "delivered mx1.test", [1]],
  ];
  for (const [what, hosts, outcome, dialled] of cases)
    test(`${what}: ${outcome}`, async () => {
      const ran = await run({ hosts: named(...hosts) });
      expect(ran.outcome).toBe(outcome);
      // Once each: a host that fell short is not tried again in clear.
      expect(ran.dialled).toEqual(dialled.map((index) => `mx${index}.test`));
      if (outcome === "delivered mx1.test") expect(ran.asked.filter((question) => question.includes("mx2"))).toEqual([]);
    });

  test("a single host with another key: waits each time, and the sender is told at the end", async () => {
    const last = await run({ hosts: named(wrong), expired: true });
    expect([last.outcome, last.settlement.notices.length]).toEqual(["expired 4.7.5 validation-failure", 1]);
  });

  test("each host has its own demand", async () => {
    const { targets } = await run({ hosts: named(bound({ meets: "clear" }), { meets: "clear" }) });
    expect(targets.map(({ requirement }) => [requirement.atLeast, requirement.dane?.demanded ?? false])).toEqual([
      ["authenticated", true],
      ["clear", false],
    ]);
  });

  test("an unsigned MX set does not free its hosts, unless the operator says so", async () => {
    const wishes: RunWishes = { hosts: named(wrong), mxSecurity: "insecure" };
    expect((await run(wishes)).outcome).toBe("waiting 4.7.5 validation-failure");
    const free = await run({ ...wishes, settings: { tls: { floor: "opportunistic", daneWithUnsignedMx: false } } });
    expect([free.outcome, free.asked.some((question) => question.startsWith("TLSA"))]).toEqual(["delivered mx1.test", false]);
  });

  test("that a next hop has DANE is noted, usable or not, delivered or not", async () => {
    for (const host of [bound({ meets: "key" }), wrong, bound({ tlsa: tlsa.unusable })])
      expect((await run({ hosts: named(host) })).notedDane).toBe(true);
    for (const host of [{}, bound({ tlsa: tlsa.failed })]) expect((await run({ hosts: named(host) })).notedDane).toBe(false);
  });
});

describe("MTA-STS over all hosts (RFC 8461 §5, §5.1)", () => {
  const enforce = policy("enforce", ["mx2.test"]);

  test("a host that is not listed is passed over unseen, the next one gets the mail", async () => {
    const ran = await run({ hosts: named({}, {}), sts: enforce });
    expect([ran.outcome, ran.dialled]).toEqual(["delivered mx2.test", ["mx2.test"]]);
  });

  test("this relay's own name still cuts the list off, also before a listed host", async () => {
    const ran = await run({ hosts: named({}, {}), sts: enforce, mx: mx("secure", "mx1.test", "relay.test", "mx2.test") });
    expect([ran.outcome, ran.dialled]).toEqual(["waiting 4.7.0 validation-failure", []]);
  });

  // RFC 3463: which protection is missing, with a sentence that names host, policy and reason.
  const statuses: [what: string, host: ScriptedHost, mx: string, status: string, says: RegExp][] = [
    ["no STARTTLS", { meets: "clear" }, "mx1.test", "4.7.4", /^mx1\.test does not offer STARTTLS; .*MTA-STS enforce of example\.test$/],
    ["another name", { meets: "unverified" }, "mx1.test", "4.7.5", /is for other\.test; .*MTA-STS enforce of example\.test$/],
    ["not listed", {}, "mx2.test", "4.7.0", /^mx1\.test is not among .*MTA-STS policy of example\.test.*; demanded by MTA-STS enforce/],
  ];
  for (const [what, host, listed, status, says] of statuses)
    test(`${what}: waits with ${status}, and the notice at the end carries it`, async () => {
      const wishes: RunWishes = { hosts: named(host), sts: policy("enforce", [listed]) };
      const { settlement } = await run(wishes);
      expect(settlement.recipients[0]?.outcome).toMatchObject({
        kind: "waiting",
        problem: { status, detail: expect.stringMatching(says) },
      });
      const last = await run({ ...wishes, expired: true });
      expect(last.settlement.recipients[0]?.outcome).toMatchObject({ kind: "expired", problem: { status } });
      const [notice] = last.settlement.notices;
      const text = (await bodyOf(notice)).replace(/\r\n /g, " ");
      expect(text).toContain(`Status: ${status}`);
      expect(text).toContain("MTA-STS");
    });

  test("testing: any of that is delivered, and kept as what would have failed", async () => {
    for (const [, host, listed] of statuses) {
      const { outcome, settlement } = await run({ hosts: named(host), sts: policy("testing", [listed]) });
      expect(outcome).toBe("delivered mx1.test");
      expect(settlement.attempt.hosts[0]?.policy?.wouldHaveFailed).toMatchObject([{ because: { source: "mta-sts" } }]);
    }
  });

  test("a host that cannot be reached has not failed the policy (Appendix B)", async () => {
    for (const mode of ["enforce", "testing"] as const) {
      const { outcome, settlement } = await run({ hosts: named({ meets: "connect-failed" }), sts: policy(mode, ["mx1.test"]) });
      expect(outcome).toBe("waiting 4.4.1 connect-failed");
      expect(settlement.attempt.hosts[0]?.policy).not.toHaveProperty("wouldHaveFailed");
    }
  });
});

describe("when the time is over (RFC 8461 §5.1)", () => {
  const hosts = named({ meets: "clear" });

  test("the last attempt looks for the policy again, and a newer one that asks for less lets the message go", async () => {
    const last = await run({ hosts, sts: policy("testing", ["mx1.test"]), expired: true });
    expect(last.asked).toContain("STS dest.test");
    expect([last.outcome, last.settlement.notices]).toEqual(["delivered mx1.test", []]);
  });

  test("the same one does not", async () => {
    const last = await run({ hosts, sts: policy("enforce", ["mx1.test"]), expired: true });
    expect([last.outcome, last.settlement.notices.length]).toEqual(["expired 4.7.4 starttls-not-supported", 1]);
  });
});

describe("a resolver that does not validate, and a domain known to have DANE (RFC 7672 §2.1.1)", () => {
  const hosts = named({ meets: "unverified" });
  const lately = START - 89 * 86_400_000;
  const blind = "waiting 4.7.0 resolver-blind";
  const cases: [what: string, wishes: Partial<RunWishes>, outcome: string][] = [
    ["met with it lately", { daneSeen: lately }, blind],
    ["met with it long ago", { daneSeen: START - 91 * 86_400_000 }, "delivered mx1.test"],
    ["never met with it", {}, "delivered mx1.test"],
    ["TLS-Required: No", { daneSeen: lately, tag: "optional" }, "delivered mx1.test"],
    ["REQUIRETLS", { daneSeen: lately, tag: "required" }, blind],
    ["published policy is only reported", { daneSeen: lately, settings: published("report") }, "delivered mx1.test"],
    ["published policy is off", { daneSeen: lately, settings: published("off") }, "delivered mx1.test"],
  ];
  function published(mode: string) {
    return { tls: { floor: "opportunistic", published: mode } };
  }
  for (const [what, wishes, outcome] of cases)
    test(`${what}: ${outcome}`, async () => {
      const ran = await run({ hosts, dnssec: "blind", ...wishes });
      expect([ran.outcome, ran.dialled.length]).toEqual([outcome, outcome === blind ? 0 : 1]);
      // No record is believed, so none is asked for.
      expect(ran.asked.filter((question) => question.startsWith("TLSA"))).toEqual([]);
    });

  for (const dnssec of ["validating", "untrusted"] as const)
    test(`is not asked of memory while the resolver is ${dnssec}`, async () => {
      const ran = await run({ hosts, dnssec, daneSeen: lately });
      expect(ran.asked).not.toContain("DANE dest.test");
      expect(ran.outcome).toBe("delivered mx1.test");
    });
});

describe("a resolver that has shown nothing yet, or loses its worth meanwhile (RFC 7672 §2.1.1)", () => {
  const waits = "waiting 4.7.0 dnssec-invalid";
  const meets = "unverified";
  const lately = START - 89 * 86_400_000;
  const unproven: [what: string, found: TlsaFinding][] = [
    ["addresses without proof", tlsa.notAsked],
    ["no records, without proof", tlsa.insecure],
  ];
  for (const [what, found] of unproven) {
    test(`untested, a domain known to have DANE, ${what}: waits`, async () => {
      const ran = await run({ hosts: named({ meets, tlsa: found }), dnssec: "untested", daneSeen: lately });
      expect([ran.outcome, ran.dialled]).toEqual([waits, []]);
    });
    test(`untested, a domain never met with DANE, ${what}: is delivered to`, async () =>
      expect((await run({ hosts: named({ meets, tlsa: found }), dnssec: "untested" })).outcome).toBe("delivered mx1.test"));
    test(`gone blind in the middle of the attempt, ${what}: waits`, async () => {
      const ran = await run({ hosts: named({ meets, tlsa: found }), dnssecLater: "blind" });
      expect([ran.outcome, ran.dialled]).toEqual([waits, []]);
    });
    test(`validating throughout, ${what}: is delivered to`, async () =>
      expect((await run({ hosts: named({ meets, tlsa: found }), daneSeen: lately })).outcome).toBe("delivered mx1.test"));
  }
  test("untested, and the records are proven all the same: they bind", async () => {
    const wishes = { dnssec: "untested", daneSeen: lately } as const;
    expect((await run({ ...wishes, hosts: named(bound({ meets: "key" })) })).outcome).toBe("delivered mx1.test");
    expect((await run({ ...wishes, hosts: named(bound({ meets })) })).outcome).toBe("waiting 4.7.5 validation-failure");
  });
  test("untested, and it is proven that there are none any more: is delivered to", async () =>
    expect((await run({ hosts: named({ meets, tlsa: tlsa.none }), dnssec: "untested", daneSeen: lately })).outcome).toBe(
      "delivered mx1.test",
    ));
});

describe("what one attempt says of the destination as a whole", () => {
  const cases: [what: string, wishes: RunWishes, contact: Ran["contact"]["kind"]][] = [
    ["delivered", { hosts: named({}) }, "usable"],
    ["unreachable", { hosts: named({ meets: "connect-failed" }) }, "unusable"],
    [
      "no STARTTLS under a policy that binds all mail",
      { hosts: named({ meets: "clear" }), sts: policy("enforce", ["mx1.test"]) },
      "unusable",
    ],
    ["no STARTTLS for one message with REQUIRETLS", { hosts: named({ meets: "clear" }), tag: "required" }, "nothing-learnt"],
    ["not proven for one message with REQUIRETLS", { hosts: named({}), mxSecurity: "insecure", tag: "required" }, "nothing-learnt"],
    ["connected, but without REQUIRETLS", { hosts: named({}), tag: "required" }, "usable"],
    ["unreachable for one message with REQUIRETLS", { hosts: named({ meets: "timeout" }), tag: "required" }, "unusable"],
    ["a failed TLSA look-up", { hosts: named(bound({ tlsa: tlsa.failed })) }, "nothing-learnt"],
    ["failed addresses", { hosts: named({ addresses: { kind: "failed", reason: "timeout", detail: "no answer" } }) }, "nothing-learnt"],
    ["a blind resolver", { hosts: named({}), dnssec: "blind", daneSeen: START }, "nothing-learnt"],
    ["null MX", { hosts: {}, mx: mx("secure", "") }, "nothing-learnt"],
  ];
  for (const [what, wishes, contact] of cases)
    test(`${what}: ${contact}`, async () => expect((await run(wishes)).contact.kind).toBe(contact));
});

describe("what the log says of a session (RFC 7672 §2.2.1)", () => {
  const tlsOf = ({ events }: Ran) => (events[0]?.kind === "recipient-settled" ? `${events[0].relay}: ${events[0].tls}` : undefined);
  const suite = "TLSv1.3 TLS_AES_256_GCM_SHA384";
  const cases: [what: string, wishes: RunWishes, said: string][] = [
    ["DANE, signed MX", { hosts: named(bound({ meets: "key" })) }, `authenticated (DANE 3 1 1) ${suite}`],
    [
      "DANE, unsigned MX",
      { hosts: named(bound({ meets: "key" })), mxSecurity: "insecure" },
      `host authenticated, MX unsigned (DANE 3 1 1) ${suite}`,
    ],
    ["both proofs", { hosts: named(bound({ meets: "both" })) }, `authenticated (DANE 3 1 1 and WebPKI) ${suite}`],
    ["unusable records", { hosts: named({ tlsa: tlsa.unusable, meets: "unverified" }) }, `encrypted ${suite}`],
    [
      "WebPKI, listed",
      { hosts: named({}), mxSecurity: "insecure", sts: policy("enforce", ["mx1.test"]) },
      `authenticated (WebPKI) ${suite}`,
    ],
    ["WebPKI, nothing proves the MX", { hosts: named({}), mxSecurity: "insecure" }, `authenticated, MX unproven (WebPKI) ${suite}`],
    ["in clear", { hosts: named({ meets: "clear" }) }, "clear"],
  ];
  // The MX name as it is written in the MX record, whatever it is an alias of.
  for (const [what, wishes, said] of cases)
    test(what, async () => expect(tlsOf(await run(wishes))).toBe(`mx1.test[192.0.2.1]:25: ${said}`));

  test("and the attempt keeps which demand held, by whose records, and why others were passed over", async () => {
    const { settlement } = await run({ hosts: named(bound({ tlsa: tlsa.failed }), bound({ tlsa: tlsa.at("base.test"), meets: "key" })) });
    expect(settlement.attempt.demanded).toBe("authenticated (the TLSA records of base.test (DANE))");
    expect(settlement.attempt.hosts).toMatchObject([
      { host: "mx1.test", step: "skipped", problem: { type: "dnssec-invalid" } },
      {
        host: "mx2.test",
        tls: { session: { dane: { held: true, baseDomain: "base.test", record: "3 1 1 0707" } } },
        policy: { tlsa: { kind: "records", baseDomain: "base.test" } },
      },
    ]);
  });
});

async function bodyOf(notice: Ran["settlement"]["notices"][number] | undefined): Promise<string> {
  return notice === undefined ? "" : Buffer.from(notice.body).toString();
}
