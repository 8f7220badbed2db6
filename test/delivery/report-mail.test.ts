/** Mail that brings our TLS reports (RFC 8460 §3, §5.3), and what attempts tell of mail that they send to nobody. */
import { describe, expect, test } from "vitest";
import { REPORT_LISTENER } from "../../src/mail/own-origins.ts";
import type { StsFinding } from "../../src/policy/facts.ts";
import { policy, tlsa } from "../support/decisions.ts";
import { mx, run, START } from "./one-run.ts";

const origin = { submitter: "local", listener: REPORT_LISTENER };
const enforced: StsFinding = policy("enforce", ["mx1.test"]);

describe("goes out whatever TLS says (RFC 8460 §3, §5.3)", () => {
  const hostile = {
    hosts: { "mx1.test": { tlsa: tlsa.usable, meets: "clear" as const } },
    sts: enforced,
    settings: { tls: { floor: "authenticated", host: "dnssec" } },
  };
  test("enforce policy, TLSA records, the operator's floors, no STARTTLS: in clear", async () => {
    expect((await run({ ...hostile, origin, tag: "optional" })).outcome).toBe("delivered mx1.test");
    // TLS-Required: No is for hosts further on; ours needs none (RFC 8689 §3).
    expect((await run({ ...hostile, origin })).outcome).toBe("delivered mx1.test");
  });
  test("other mail there does not, though it says TLS-Required: No, for nobody named its submitter", async () => {
    expect((await run({ ...hostile, tag: "optional" })).outcome).toMatch(/^waiting/);
    expect((await run(hostile)).outcome).toMatch(/^waiting/);
  });
  test("a failed TLSA look-up, and a host that the policy does not list", async () => {
    const hosts = { "mx1.test": { tlsa: tlsa.failed, meets: "unverified" as const } };
    expect((await run({ hosts, sts: policy("enforce", ["mx2.test"]), origin })).outcome).toBe("delivered mx1.test");
  });
});

describe("but not against what mail asks of everybody (RFC 5321)", () => {
  test("null MX: given up, and nobody is told but the log", async () => {
    const nullMx = {
      kind: "answer",
      records: [{ preference: 0, exchange: "" }],
      security: "secure",
      canonicalName: "",
      expires: START,
    } as const;
    const { outcome, settlement, events } = await run({ hosts: {}, mx: nullMx, origin });
    expect(outcome).toBe("failed 5.1.10 null-mx");
    expect(settlement.notices).toEqual([]);
    expect(events.filter(({ kind }) => kind === "notice-suppressed")).toEqual([
      { kind: "notice-suppressed", about: expect.anything(), why: "it is a TLS report of this relay" },
    ]);
  });
  test("its time is over: no notice either, while other mail gets one", async () => {
    const silent = { hosts: { "mx1.test": { meets: "connect-failed" as const } }, expired: true };
    expect((await run({ ...silent, origin })).settlement.notices).toEqual([]);
    expect((await run(silent)).settlement.notices).toHaveLength(1);
  });
});

describe("is told of nowhere (RFC 8460 §3)", () => {
  const bogus = { kind: "failed", reason: "servfail", detail: "bogus", extendedError: 6 } as const;
  test("neither its sessions nor its failures", async () => {
    for (const meets of ["name", "clear", "connect-failed"] as const)
      expect((await run({ hosts: { "mx1.test": { meets } }, origin })).settlement).not.toHaveProperty("observations");
    expect((await run({ hosts: {}, mx: bogus, origin })).settlement).not.toHaveProperty("observations");
  });
  test("while those of other mail are in its settlement", async () => {
    const { settlement } = await run({ hosts: { "mx1.test": { meets: "clear" } } });
    expect(settlement.observations).toEqual([
      {
        reportDomain: "dest.test",
        at: START,
        policy: { type: "no-policy-found", domain: "dest.test", text: [] },
        failures: [{ resultType: "starttls-not-supported", receivingMxHostname: "mx1.test", receivingIp: "192.0.2.1" }],
      },
    ]);
  });
  test("an MX look-up that is bogus is one failure of the next hop, and one that timed out is none", async () => {
    expect((await run({ hosts: {}, mx: bogus })).settlement.observations).toEqual([
      {
        reportDomain: "dest.test",
        at: START,
        policy: { type: "tlsa", domain: "dest.test", text: [] },
        failures: [{ resultType: "dnssec-invalid", reasonCode: "ede-6" }],
      },
    ]);
    for (const wishes of [
      { mx: { kind: "failed", reason: "timeout", detail: "silence" } as const },
      { mx: { kind: "failed", reason: "servfail", detail: "of no known reason" } as const },
      { mx: bogus, dnssec: "untested" as const },
      { mx: bogus, settings: { tls: { floor: "opportunistic", published: "off" } } },
    ])
      expect((await run({ hosts: {}, ...wishes })).settlement).not.toHaveProperty("observations");
  });
  test("an address look-up that is bogus is one of the host", async () => {
    const { settlement } = await run({ hosts: { "mx1.test": { addresses: bogus }, "mx2.test": {} } });
    expect(settlement.observations?.map(({ policy: { type, domain }, failures }) => [type, domain, failures.length])).toEqual([
      ["tlsa", "mx1.test", 1],
      ["no-policy-found", "dest.test", 0],
    ]);
  });
});

describe("whose report tells of it (RFC 8460 §1.1, §3)", () => {
  const told = async (nextHop: string, settings: object, sts?: StsFinding) => {
    const hosts = { "smtp.provider.test": {}, "mx1.test": {}, relay: {}, "192.0.2.9": {}, [nextHop]: {} };
    const { settlement } = await run({ nextHop, hosts, settings, mx: mx("secure", "mx1.test"), ...(sts !== undefined && { sts }) });
    return settlement.observations?.map(({ reportDomain, policy: { domain } }) => `${reportDomain} ${domain}`) ?? [];
  };
  const opportunistic = { tls: { floor: "opportunistic" } };
  const relayhost = (host: string, tls = "opportunistic") => ({ ...opportunistic, delivery: { relayhost: { host, port: 25, tls } } });
  test("the next hop's, where DNS says who its hosts are", async () =>
    expect(await told("dest.test", opportunistic)).toEqual(["dest.test dest.test"]));
  test("the relay host's, where the operator does", async () =>
    expect(await told("dest.test", relayhost("SMTP.provider.test".toLowerCase()))).toEqual(["smtp.provider.test smtp.provider.test"]));
  test("nobody's: a name of this network, an address, a route without TLS, an address literal", async () => {
    expect(await told("dest.test", relayhost("relay"))).toEqual([]);
    expect(await told("dest.test", relayhost("192.0.2.9"))).toEqual([]);
    expect(await told("dest.test", relayhost("smtp.provider.test", "none"))).toEqual([]);
    expect(await told("[192.0.2.9]", opportunistic)).toEqual([]);
  });
  test("nobody's, where published policy is off", async () =>
    expect(await told("dest.test", { tls: { floor: "opportunistic", published: "off" } })).toEqual([]));
});
