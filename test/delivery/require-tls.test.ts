/** What becomes of a message with REQUIRETLS, or with TLS-Required: No, after all hosts were asked (RFC 8689 §4.2.1, §4.2.2, §5). */
import { describe, expect, test } from "vitest";
import { problem } from "../../src/delivery/problems.ts";
import type { RecipientReport } from "../../src/delivery/session.ts";
import { policy, tlsa } from "../support/decisions.ts";
import { type Ran, run, type RunWishes, type ScriptedHost } from "./one-run.ts";

const good: ScriptedHost = { requireTls: true };
const lacking: ScriptedHost = {};
const noStartTls: ScriptedHost = { meets: "clear", requireTls: true };
const otherName: ScriptedHost = { meets: "unverified", requireTls: true };
const unreachable: ScriptedHost = { meets: "connect-failed" };
const later: ScriptedHost = {
  requireTls: true,
  says: { kind: "elsewhere", problem: problem("rejected", "receiver", "451", { status: "4.3.0" }), permanent: false },
};
const dnsFails: ScriptedHost = { addresses: { kind: "failed", reason: "servfail", detail: "SERVFAIL" } };
const tlsaFails: ScriptedHost = { requireTls: true, tlsa: tlsa.failed };
/** Its certificate matches none of its TLSA records. */
const wrongKey: ScriptedHost = { requireTls: true, tlsa: tlsa.usable };
const handshakeFails: ScriptedHost = { meets: "validation-failure" };

const named = (...hosts: ScriptedHost[]) => Object.fromEntries(hosts.map((host, index) => [`mx${index + 1}.test`, host]));
const required = (wishes: Omit<RunWishes, "tag">): Promise<Ran> => run({ ...wishes, tag: "required" });

describe("after all hosts (RFC 8689 §4.2.1)", () => {
  const notOffered = "failed 5.7.30 requiretls-not-offered";
  const unmet = "failed 5.7.10 requiretls-unmet";
  const cases: [what: string, hosts: ScriptedHost[], outcome: string][] = [
    ["the first is good", [good, lacking], "delivered mx1.test"],
    ["the first lacks it, the second has it", [lacking, good], "delivered mx2.test"],
    ["every bad one is passed over for the last", [noStartTls, otherName, unreachable, lacking, good], "delivered mx5.test"],
    ["all lack it", [lacking, lacking], notOffered],
    ["none speaks TLS", [noStartTls, noStartTls], unmet],
    ["none proves its name", [otherName, otherName], unmet],
    ["one without TLS, one without name", [noStartTls, otherName], unmet],
    ["one lacks it but was otherwise good, one without TLS", [lacking, noStartTls], notOffered],
    ["the same in the other order", [noStartTls, lacking], notOffered],
    ["one lacks it, one is unreachable", [lacking, unreachable], "waiting 4.4.1 connect-failed"],
    ["one lacks it, one says 451", [lacking, later], "waiting 4.3.0 rejected"],
    ["one lacks it, the addresses of the other fail", [lacking, dnsFails], "waiting 4.4.3 dns-failure"],
    ["one lacks it, the TLSA look-up of the other fails", [lacking, tlsaFails], "waiting 4.7.0 dnssec-invalid"],
    ["no key is in DNS", [wrongKey, wrongKey], unmet],
    ["one lacks it, the other's key is not in DNS", [lacking, wrongKey], notOffered],
    ["one lacks it, the handshake of the other fails", [lacking, handshakeFails], "waiting 4.7.5 validation-failure"],
    ["one without TLS, one unreachable", [noStartTls, unreachable], "waiting 4.4.1 connect-failed"],
  ];
  for (const [what, hosts, outcome] of cases) {
    test(`${what}: ${outcome}`, async () => {
      const ran = await required({ hosts: named(...hosts) });
      expect(ran.outcome).toBe(outcome);
      // Nobody but a proven host that offers it hears of the message, and then with the parameter.
      const taker = hosts.findIndex((host) => host === good || host === later);
      expect(ran.said).toEqual(taker < 0 ? [] : [`mx${taker + 1}.test name MAIL FROM:<app@sender.test> REQUIRETLS`]);
    });
    if (outcome.startsWith("waiting"))
      test(`${what}: when the time is over, the same status`, async () => {
        const { settlement, outcome: last } = await required({ hosts: named(...hosts), expired: true });
        expect(last).toBe(outcome.replace("waiting", "expired"));
        expect(settlement.notices).toHaveLength(1);
      });
  }

  test("the sender is told at once, by a notice that is protected likewise", async () => {
    const { settlement } = await required({ hosts: named(lacking) });
    expect(settlement.notices.map(({ message }) => [message.sender, message.recipients[0]?.address, message.tlsTag])).toEqual([
      ["", "app@sender.test", "required"],
    ]);
  });

  test("hosts that nothing proves are not even dialled, and the message fails now", async () => {
    const { outcome, dialled } = await required({ hosts: named(good, good), mxSecurity: "insecure" });
    expect([outcome, dialled]).toEqual([unmet, []]);
  });

  test("while the resolver cannot tell whether they are proven, it waits", async () => {
    for (const dnssec of ["blind", "untrusted", "untested"] as const)
      expect((await required({ hosts: named(good), mxSecurity: "insecure", dnssec })).outcome).toBe("waiting 4.7.0 validation-failure");
  });

  test("a failed MX look-up waits, too", async () => {
    const mx = { kind: "failed", reason: "servfail", detail: "SERVFAIL" } as const;
    expect((await required({ hosts: {}, mx })).outcome).toBe("waiting 4.4.3 dns-failure");
  });

  test("nothing is final while some host was left out", async () => {
    const settings = { delivery: { hostsPerAttempt: 1 } };
    expect((await required({ hosts: named(lacking, good), settings })).outcome).toBe("waiting 4.7.30 requiretls-not-offered");
  });
});

describe("a message without return path (RFC 8689 §5)", () => {
  const notice = (wishes: Omit<RunWishes, "tag" | "sender">) => required({ ...wishes, sender: "" });

  test("has the parameter over a proven session that offers it", async () => {
    const { said, outcome } = await notice({ hosts: named(good) });
    expect([outcome, said]).toEqual(["delivered mx1.test", ["mx1.test name MAIL FROM:<> REQUIRETLS"]]);
  });

  const without: [what: string, wishes: Omit<RunWishes, "tag" | "sender">, channel: string][] = [
    ["a host that does not offer it", { hosts: named(lacking) }, "name"],
    ["a host that does not prove its name", { hosts: named(otherName) }, "unverified"],
    ["a host of which nothing proves that it is the right one", { hosts: named(good), mxSecurity: "insecure" }, "name"],
  ];
  for (const [what, wishes, channel] of without)
    test(`is sent without it, and not thrown away: ${what}`, async () => {
      const { said, outcome } = await notice(wishes);
      expect([outcome, said]).toEqual(["delivered mx1.test", [`mx1.test ${channel} MAIL FROM:<>`]]);
    });

  test("is never said in clear, and waits until its time is over, with nobody to tell", async () => {
    const { said, outcome } = await notice({ hosts: named(noStartTls) });
    expect([outcome, said]).toEqual(["waiting 4.7.4 starttls-not-supported", []]);
    const last = await notice({ hosts: named(noStartTls), expired: true });
    expect([last.outcome, last.settlement.notices]).toEqual(["expired 4.7.4 starttls-not-supported", []]);
    expect(last.events.map(({ kind }) => kind)).toEqual(["recipient-settled", "notice-suppressed"]);
  });

  test("is under published policy and the floor like any other mail", async () => {
    const sts = policy("enforce", ["mx1.test"]);
    expect((await notice({ hosts: named(otherName), sts })).outcome).toBe("waiting 4.7.5 certificate-host-mismatch");
    const settings = { tls: { floor: "authenticated" } };
    expect((await notice({ hosts: named(otherName), settings })).outcome).toBe("waiting 4.7.5 certificate-host-mismatch");
  });
});

describe("TLS-Required: No (RFC 8689 §4.2.2)", () => {
  const optional = (wishes: Omit<RunWishes, "tag">): Promise<Ran> => run({ ...wishes, tag: "optional" });
  const enforce = policy("enforce", ["mx1.test"]);
  const cases: [what: string, wishes: Omit<RunWishes, "tag">, said: string][] = [
    ["enforce, all good", { hosts: named({ meets: "name" }), sts: enforce }, "mx1.test name"],
    ["enforce, another name", { hosts: named({ meets: "unverified" }), sts: enforce }, "mx1.test unverified"],
    ["enforce, not listed", { hosts: named({ meets: "name" }), sts: policy("enforce", ["other.test"]) }, "mx1.test name"],
    ["enforce, no STARTTLS", { hosts: named({ meets: "clear" }), sts: enforce }, "mx1.test clear"],
    ["DANE, no match", { hosts: named({ meets: "unverified", tlsa: tlsa.usable }) }, "mx1.test unverified"],
    ["DANE, no TLS", { hosts: named({ meets: "clear", tlsa: tlsa.usable }) }, "mx1.test clear"],
    ["DANE, look-up failed", { hosts: named({ meets: "name", tlsa: tlsa.failed }) }, "mx1.test name"],
  ];
  for (const [what, wishes, said] of cases) {
    test(`${what}: delivered`, async () => {
      const ran = await optional(wishes);
      expect([ran.outcome, ran.said]).toEqual(["delivered mx1.test", [`${said} MAIL FROM:<app@sender.test>`]]);
    });
    if (!what.endsWith("all good"))
      test(`${what}: the control, without the field, waits`, async () => expect((await run(wishes)).outcome).toMatch(/^waiting 4\.7/));
  }

  test("a host that refuses mail without TLS has spoken, and the sender is told", async () => {
    const says: RecipientReport = {
      kind: "failed",
      problem: { ...problem("rejected", "receiver", "530", { status: "5.7.0" }), reply: { code: 530, lines: ["5.7.0 STARTTLS first"] } },
    };
    const { outcome, settlement } = await optional({ hosts: named({ meets: "clear", says }), sts: enforce });
    expect([outcome, settlement.notices.length]).toEqual(["failed 5.7.0 rejected", 1]);
  });

  test("what is no policy still counts: failed look-ups wait, null MX is final", async () => {
    expect((await optional({ hosts: {}, mx: { kind: "failed", reason: "servfail", detail: "SERVFAIL" } })).outcome).toBe(
      "waiting 4.4.3 dns-failure",
    );
    const nullMx = {
      kind: "answer",
      security: "secure",
      records: [{ preference: 0, exchange: "" }],
      canonicalName: "",
      expires: 0,
    } as const;
    expect((await optional({ hosts: {}, mx: nullMx })).outcome).toBe("failed 5.1.10 null-mx");
  });

  test("goes below the operator's floor for those whom he named, and for nobody else", async () => {
    const settings = { tls: { floor: "authenticated", honourTlsOptional: ["alice"] } };
    const hosts = named({ meets: "clear" });
    expect((await optional({ hosts, settings, origin: { user: "alice" } })).outcome).toBe("delivered mx1.test");
    expect((await optional({ hosts, settings, origin: { user: "bob" } })).outcome).toBe("waiting 4.7.4 starttls-not-supported");
    expect((await run({ hosts, settings, origin: { user: "alice" } })).outcome).toBe("waiting 4.7.4 starttls-not-supported");
  });
});
