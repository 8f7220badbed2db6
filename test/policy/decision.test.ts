import { describe, expect, test } from "vitest";
import type { Domain, NextHop } from "../../src/mail/domain.ts";
import { decideHost } from "../../src/policy/decision.ts";
import { type HostFacts, hostProof } from "../../src/policy/host-facts.ts";
import type { StsFinding, TlsaFinding } from "../../src/policy/facts.ts";
import type { TlsFloor } from "../../src/policy/local-policy.ts";
import type { TlsOutcome } from "../../src/policy/outcome.ts";
import {
  type Asked,
  decided,
  delivered,
  demandsOf,
  dnssec,
  HOST,
  hostFacts,
  inWords,
  outcome,
  policy,
  sts,
  tlsa,
  verdictFor,
} from "../support/decisions.ts";

const FLOORS = ["opportunistic", "encrypted", "authenticated"] as const satisfies readonly TlsFloor[];

describe("DANE and MTA-STS side by side, at each floor (RFC 7672 §2.2, RFC 8461 §5)", () => {
  const failed = "skip dnssec-invalid by dane";
  const unlisted = "skip validation-failure by mta-sts, lasting";
  type Row = [what: string, tlsa: TlsaFinding, sts: StsFinding, opportunistic: string, encrypted?: string, authenticated?: string];
  const rows: Row[] = [
    ["failed, none", tlsa.failed, sts.none, failed],
    ["failed, testing", tlsa.failed, sts.testing, failed],
    ["failed, enforce and listed", tlsa.failed, sts.listed, failed],
    ["failed, enforce and not listed", tlsa.failed, sts.unlisted, failed],
    ["usable, none", tlsa.usable, sts.none, "authenticated dane"],
    ["usable, mode none", tlsa.usable, sts.modeNone, "authenticated dane"],
    ["usable, testing", tlsa.usable, sts.testing, "authenticated dane"],
    ["usable, testing and not listed", tlsa.usable, sts.testingUnlisted, "authenticated dane"],
    ["usable, enforce and listed", tlsa.usable, sts.listed, "authenticated dane webpki"],
    ["usable, enforce and not listed", tlsa.usable, sts.unlisted, unlisted],
    ["usable, not to be had", tlsa.usable, sts.unavailable, "authenticated dane"],
    ["unusable, none", tlsa.unusable, sts.none, "encrypted", "encrypted", "authenticated"],
    ["unusable, mode none", tlsa.unusable, sts.modeNone, "encrypted", "encrypted", "authenticated"],
    ["unusable, testing", tlsa.unusable, sts.testing, "encrypted", "encrypted", "authenticated"],
    ["unusable, enforce and listed", tlsa.unusable, sts.listed, "authenticated webpki"],
    ["unusable, enforce and not listed", tlsa.unusable, sts.unlisted, unlisted],
    ["none, none", tlsa.none, sts.none, "clear", "encrypted", "authenticated"],
    ["none, mode none", tlsa.none, sts.modeNone, "clear", "encrypted", "authenticated"],
    ["none, testing", tlsa.none, sts.testing, "clear", "encrypted", "authenticated"],
    ["none, testing and not listed", tlsa.none, sts.testingUnlisted, "clear", "encrypted", "authenticated"],
    ["none, not to be had", tlsa.none, sts.unavailable, "clear", "encrypted", "authenticated"],
    ["none, enforce and listed", tlsa.none, sts.listed, "authenticated webpki"],
    ["none, enforce and not listed", tlsa.none, sts.unlisted, unlisted],
    ["insecure, none", tlsa.insecure, sts.none, "clear", "encrypted", "authenticated"],
    ["insecure, enforce and listed", tlsa.insecure, sts.listed, "authenticated webpki"],
    ["not asked, none", tlsa.notAsked, sts.none, "clear", "encrypted", "authenticated"],
    ["not asked, enforce and listed", tlsa.notAsked, sts.listed, "authenticated webpki"],
    ["not asked, enforce and not listed", tlsa.notAsked, sts.unlisted, unlisted],
  ];
  for (const [what, ofDane, ofSts, ...verdicts] of rows)
    for (const [index, floor] of FLOORS.entries()) {
      const expected = verdicts[index] ?? verdicts[0];
      test(`${what}, floor ${floor}: ${expected}`, () => expect(verdictFor({ tlsa: ofDane, sts: ofSts }, { floor })).toBe(expected));
    }

  test("usable records are compared also where nothing demands it", () => {
    const { verdict } = decided({ tlsa: tlsa.usable }, { published: "report" });
    expect(verdict).toMatchObject({ kind: "try", requirement: { dane: { demanded: false, baseDomain: HOST } } });
  });

  test("whoever demands most is named; an operator who demands no more is not", () => {
    const source = (facts: Partial<HostFacts>, asked?: Asked) => {
      const { verdict } = decided(facts, asked);
      return verdict.kind === "try" ? verdict.requirement.because.source : verdict.because.source;
    };
    expect(source({ tlsa: tlsa.usable }, { floor: "authenticated" })).toBe("dane");
    expect(source({ sts: sts.listed }, { floor: "authenticated" })).toBe("mta-sts");
    expect(source({ tlsa: tlsa.unusable }, { floor: "encrypted" })).toBe("dane");
    expect(source({ tlsa: tlsa.unusable }, { floor: "authenticated" })).toBe("floor");
    expect(source({}, { floor: "encrypted" })).toBe("floor");
  });

  test("every part that must hold names its own", () => {
    const { verdict } = decided({ tlsa: tlsa.usable, sts: sts.listed });
    expect(verdict).toMatchObject({
      requirement: {
        dane: { because: { source: "dane", text: "the TLSA records of mx.host.test (DANE)" } },
        webpki: { because: { source: "mta-sts", text: "MTA-STS enforce of example.test" }, referenceIdentifiers: [HOST] },
      },
    });
  });
});

describe("one host by DANE alone (RFC 7672 §2.2)", () => {
  type Row = [what: string, facts: Partial<HostFacts>, opportunistic: string, mandatory: string];
  const required = "skip dane-required by host-floor, lasting";
  const rows: Row[] = [
    ["signed MX, usable", { tlsa: tlsa.usable }, "authenticated dane", "authenticated dane"],
    ["signed MX, all unusable", { tlsa: tlsa.unusable }, "encrypted", required],
    ["signed MX, denied", { tlsa: tlsa.none }, "clear", required],
    ["signed MX, insecure", { tlsa: tlsa.insecure }, "clear", required],
    ["signed MX, look-up failed", { tlsa: tlsa.failed }, "skip dnssec-invalid by dane", "skip dnssec-invalid by host-floor"],
    ["signed MX, addresses not signed", { tlsa: tlsa.notAsked }, "clear", required],
    ["unsigned MX, usable", { mxSecurity: "insecure", tlsa: tlsa.usable }, "authenticated dane", required],
    ["unsigned MX, all unusable", { mxSecurity: "insecure", tlsa: tlsa.unusable }, "encrypted", required],
    ["unsigned MX, none", { mxSecurity: "insecure", tlsa: tlsa.none }, "clear", required],
    ["unsigned MX, look-up failed", { mxSecurity: "insecure", tlsa: tlsa.failed }, "skip dnssec-invalid by dane", required],
    ["unsigned MX, not asked", { mxSecurity: "insecure", tlsa: tlsa.notAsked }, "clear", required],
    ["no MX, signed, usable", { origin: "implicit", tlsa: tlsa.usable }, "authenticated dane", "authenticated dane"],
    ["no MX, signed, none", { origin: "implicit", tlsa: tlsa.none }, "clear", required],
    ["no MX, not signed", { origin: "implicit", mxSecurity: "insecure", tlsa: tlsa.notAsked }, "clear", required],
  ];
  for (const [what, facts, opportunistic, mandatory] of rows) {
    test(`${what}: ${opportunistic}`, () => expect(verdictFor(facts)).toBe(opportunistic));
    test(`${what}, mandatory DANE (§6): ${mandatory}`, () =>
      expect(verdictFor(facts, { host: "dnssec", floor: "authenticated" })).toBe(mandatory));
  }

  for (const published of ["report", "off"] as const)
    test(`mandatory DANE binds although published policy is set to ${published}`, () => {
      const asked = { host: "dnssec", floor: "authenticated", published } as const;
      expect(verdictFor({ tlsa: tlsa.usable }, asked)).toBe("authenticated dane");
      expect(verdictFor({ tlsa: tlsa.none }, asked)).toBe(required);
    });
});

describe("tls.host: is it the right host?", () => {
  const no = "skip validation-failure by host-floor, lasting";
  const cases: [what: string, facts: Partial<HostFacts>, verdict: string][] = [
    ["signed MX", {}, "clear"],
    ["unsigned MX, no policy", { mxSecurity: "insecure" }, no],
    ["unsigned MX, listed", { mxSecurity: "insecure", sts: sts.listed }, "authenticated webpki"],
    ["unsigned MX, listed in testing", { mxSecurity: "insecure", sts: sts.testing }, "clear"],
    ["unsigned MX, not listed in testing", { mxSecurity: "insecure", sts: sts.testingUnlisted }, no],
    ["unsigned MX, mode none", { mxSecurity: "insecure", sts: sts.modeNone }, no],
    ["unsigned MX, TLSA records match nothing of the way there", { mxSecurity: "insecure", tlsa: tlsa.usable }, no],
    ["a domain that is its own host", { origin: "implicit", mxSecurity: "insecure" }, "clear"],
    ["a route", { origin: "configured", mxSecurity: "insecure" }, "clear"],
    ["an address", { origin: "literal", mxSecurity: "insecure" }, "clear"],
    [
      "unsigned MX, a policy that could not be had",
      { mxSecurity: "insecure", sts: sts.unavailable },
      "skip validation-failure by host-floor",
    ],
    ["unsigned MX, nobody validates", { mxSecurity: "insecure", dnssec: dnssec("blind") }, "skip validation-failure by host-floor"],
  ];
  for (const [what, facts, verdict] of cases)
    test(`proven; ${what}: ${verdict}`, () => expect(verdictFor(facts, { host: "proven" })).toBe(verdict));

  test("dnssec below the floor authenticated asks for signed MX records only", () => {
    expect(verdictFor({ tlsa: tlsa.none }, { host: "dnssec" })).toBe("clear");
    expect(verdictFor({ mxSecurity: "insecure", sts: sts.listed }, { host: "dnssec" })).toBe("skip dane-required by host-floor, lasting");
    for (const origin of ["configured", "literal"] as const)
      expect(verdictFor({ origin, mxSecurity: "insecure" }, { host: "dnssec", floor: "authenticated" })).toBe("authenticated");
  });

  test("what proves a host is told", () => {
    expect(hostProof(hostFacts())).toBe("dnssec");
    expect(hostProof(hostFacts({ mxSecurity: "insecure", sts: sts.testing }))).toBe("sts-listed");
    expect(hostProof(hostFacts({ mxSecurity: "insecure", sts: sts.unlisted }))).toBe("none");
    expect(hostProof(hostFacts({ mxSecurity: "insecure", sts: sts.modeNone }))).toBe("none");
    expect(hostProof(hostFacts({ origin: "configured", mxSecurity: "insecure" }))).toBe("named");
    expect(hostProof(hostFacts({ origin: "implicit", mxSecurity: "insecure" }))).toBe("named");
  });
});

describe("names for usage 2 (RFC 7672 §3.2.2)", () => {
  const hop = (nextHop: string) => ({ nextHop: nextHop as NextHop });
  const cases: [what: string, facts: Partial<HostFacts>, base: string, names: string[]][] = [
    ["signed MX", {}, HOST, [HOST, "example.test"]],
    [
      "signed MX behind a signed alias",
      { ...hop("alias.test"), expandedNextHop: "example.test" as Domain },
      HOST,
      [HOST, "alias.test", "example.test"],
    ],
    ["signed MX, host an alias, base at its end", { host: "mx.a.test" }, "h.b.test", ["h.b.test", "example.test"]],
    ["signed MX, host an alias, base as written", { host: "mx.a.test" }, "mx.a.test", ["mx.a.test", "example.test"]],
    ["unsigned MX", { mxSecurity: "insecure" }, HOST, [HOST]],
    [
      "unsigned MX behind an alias",
      { mxSecurity: "insecure", ...hop("alias.test"), expandedNextHop: "example.test" as Domain },
      HOST,
      [HOST],
    ],
    ["no MX", { origin: "implicit", host: "example.test" }, "example.test", ["example.test"]],
    ["no MX, a signed alias", { origin: "implicit", ...hop("alias.test"), host: "alias.test" }, "h.b.test", ["h.b.test", "alias.test"]],
    ["no MX, an alias, base as written", { origin: "implicit", ...hop("alias.test"), host: "alias.test" }, "alias.test", ["alias.test"]],
    ["a route", { origin: "configured", host: "relay.test", mxSecurity: "insecure" }, "relay.test", ["relay.test"]],
    ["a route to an alias", { origin: "configured", host: "relay.test", mxSecurity: "insecure" }, "h.b.test", ["h.b.test", "relay.test"]],
  ];
  for (const [what, facts, base, names] of cases)
    test(`${what}: ${names.join(", ")}`, () => {
      const { verdict } = decided({ ...facts, tlsa: tlsa.at(base) });
      expect(verdict).toMatchObject({ requirement: { dane: { baseDomain: base, referenceIdentifiers: names } } });
    });

  test("the name for MTA-STS and the floor is the host as written, whatever the base domain", () => {
    const { verdict } = decided({ host: "mx.a.test", certificateName: "mx.a.test", tlsa: tlsa.at("h.b.test") });
    expect(verdict).toMatchObject({ requirement: { webpki: { referenceIdentifiers: ["mx.a.test"] } } });
    const literal = decided({ origin: "literal", host: "[192.0.2.1]", certificateName: undefined as never });
    expect(literal.verdict).toMatchObject({ requirement: { webpki: { referenceIdentifiers: [] } } });
  });
});

const clear = outcome("clear");
const unproven = outcome({ webpki: false });
const good = outcome({ webpki: true });

describe("mode against check (RFC 8461 §5)", () => {
  const rows: [what: string, sts: StsFinding, outcome: TlsOutcome, result: string][] = [
    ["enforce, listed, good", sts.listed, good, "send"],
    ["enforce, not listed, good", sts.unlisted, good, "skip"],
    ["enforce, listed, no TLS", sts.listed, clear, "skip"],
    ["enforce, listed, bad certificate", sts.listed, unproven, "skip"],
    ["testing, listed, good", sts.testing, good, "send"],
    ["testing, not listed, good", sts.testingUnlisted, good, "send, reported"],
    ["testing, not listed, no TLS", sts.testingUnlisted, clear, "send, reported"],
    ["testing, listed, no TLS", sts.testing, clear, "send, reported"],
    ["testing, listed, bad certificate", sts.testing, unproven, "send, reported"],
    ["mode none, no TLS", sts.modeNone, clear, "send"],
  ];
  for (const [what, ofSts, given, result] of rows)
    test(`${what}: ${result}`, () => expect(delivered({ sts: ofSts }, {}, given)).toBe(result));

  test("a host that a stale policy does not list may be listed by the next", () =>
    expect(verdictFor({ sts: sts.stale })).toBe("skip validation-failure by mta-sts"));
  test("wildcards of the policy stand for one label", () => {
    expect(verdictFor({ sts: policy("enforce", ["*.host.test"]) })).toBe("authenticated webpki");
    expect(verdictFor({ sts: policy("enforce", ["*.test"]) })).toBe("skip validation-failure by mta-sts, lasting");
  });
});

describe("two policies on one host: both hold or nothing is sent (RFC 8461 §2, §5)", () => {
  const proof = (dane: boolean, webpki: boolean) => outcome({ dane, webpki });
  const rows: [what: string, tlsa: TlsaFinding, sts: StsFinding, outcome: TlsOutcome, result: string][] = [
    ["matches, passes", tlsa.usable, sts.listed, proof(true, true), "send"],
    ["matches, fails", tlsa.usable, sts.listed, proof(true, false), "skip"],
    ["matches, not listed", tlsa.usable, sts.unlisted, proof(true, true), "skip"],
    ["no match, passes", tlsa.usable, sts.listed, proof(false, true), "skip"],
    ["unusable, passes", tlsa.unusable, sts.listed, good, "send"],
    ["unusable, fails", tlsa.unusable, sts.listed, unproven, "skip"],
    ["none, passes", tlsa.none, sts.listed, good, "send"],
    ["none, fails", tlsa.none, sts.listed, unproven, "skip"],
    ["insecure, fails", tlsa.insecure, sts.listed, unproven, "skip"],
    ["look-up failed, passes", tlsa.failed, sts.listed, good, "skip"],
    ["matches, testing fails", tlsa.usable, sts.testing, proof(true, false), "send, reported"],
    ["no match, testing passes", tlsa.usable, sts.testing, proof(false, true), "skip"],
  ];
  for (const [what, ofDane, ofSts, given, result] of rows)
    test(`${what}: ${result}`, () => expect(delivered({ tlsa: ofDane, sts: ofSts }, {}, given)).toBe(result));
});

describe("each requirement against what the host gives (RFC 3207 §4, §6)", () => {
  const rows: [what: string, facts: Partial<HostFacts>, asked: Asked, clear: string, unverified: string, verified: string][] = [
    ["dane", { tlsa: tlsa.usable }, {}, "skip", "skip", "send"],
    ["dane-unauthenticated", { tlsa: tlsa.unusable }, {}, "skip", "send", "send"],
    ["MTA-STS enforce", { sts: sts.listed }, {}, "skip", "skip", "send"],
    ["MTA-STS testing", { sts: sts.testing }, {}, "send, reported", "send, reported", "send"],
    ["encrypted by the operator", {}, { floor: "encrypted" }, "skip", "send", "send"],
    ["authenticated by the operator", {}, { floor: "authenticated" }, "skip", "skip", "send"],
    ["REQUIRETLS", {}, { tag: "required" }, "skip", "skip", "send"],
    ["opportunistic", {}, {}, "send", "send", "send"],
    ["TLS-Required: No", {}, { tag: "optional" }, "send", "send", "send"],
    ["TLS-Required: No, DANE", { tlsa: tlsa.usable }, { tag: "optional" }, "send, reported", "send, reported", "send"],
  ];
  for (const [what, facts, asked, ...results] of rows)
    for (const [index, given] of [clear, outcome({ webpki: false, dane: false }), outcome({ webpki: true, dane: true })].entries())
      test(`${what}; ${["in clear", "TLS, unverified", "TLS, verified"][index]}: ${results[index]}`, () =>
        expect(delivered(facts, asked, given)).toBe(results[index]));
});

describe("REQUIRETLS (RFC 8689 §4.2.1)", () => {
  const unproved = "skip validation-failure by requiretls, lasting";
  const keyword = "authenticated keyword";
  const rows: [what: string, facts: Partial<HostFacts>, verdict: string][] = [
    ["signed MX", {}, keyword],
    ["signed MX, DANE", { tlsa: tlsa.usable }, "authenticated dane keyword"],
    ["signed MX, not listed in testing", { sts: sts.testingUnlisted }, keyword],
    ["unsigned MX, listed", { mxSecurity: "insecure", sts: sts.listed }, "authenticated webpki keyword"],
    ["unsigned MX, listed in testing", { mxSecurity: "insecure", sts: sts.testing }, keyword],
    ["unsigned MX, not listed in testing", { mxSecurity: "insecure", sts: sts.testingUnlisted }, unproved],
    ["unsigned MX, not listed", { mxSecurity: "insecure", sts: sts.unlisted }, unproved],
    ["unsigned MX, no policy", { mxSecurity: "insecure" }, unproved],
    ["unsigned MX, no policy, DANE", { mxSecurity: "insecure", tlsa: tlsa.usable }, unproved],
    ["unsigned MX, mode none", { mxSecurity: "insecure", sts: sts.modeNone }, unproved],
    ["no MX", { origin: "implicit", mxSecurity: "insecure" }, keyword],
    ["a route", { origin: "configured", mxSecurity: "insecure" }, keyword],
    ["an address", { origin: "literal", mxSecurity: "insecure", sts: sts.notAsked }, unproved],
    ["TLSA look-up failed", { tlsa: tlsa.failed }, "skip dnssec-invalid by dane"],
    [
      "unsigned MX, a policy that could not be had",
      { mxSecurity: "insecure", sts: sts.unavailable },
      "skip validation-failure by requiretls",
    ],
    ["unsigned MX, a stale policy", { mxSecurity: "insecure", sts: sts.stale }, "skip validation-failure by requiretls"],
    ...(["untested", "untrusted", "blind"] as const).map((kind): [string, Partial<HostFacts>, string] => [
      `unsigned MX, as far as an ${kind} resolver tells`,
      { mxSecurity: "insecure", dnssec: dnssec(kind) },
      "skip validation-failure by requiretls",
    ]),
  ];
  for (const [what, facts, verdict] of rows)
    test(`${what}: ${verdict}`, () => expect(verdictFor(facts, { tag: "required" })).toBe(verdict));

  for (const published of ["report", "off"] as const)
    test(`binds although published policy is set to ${published}; the policy still proves the host`, () => {
      const facts = { mxSecurity: "insecure", sts: sts.listed } as const;
      expect(verdictFor(facts, { tag: "required", published })).toBe(keyword);
      expect(delivered(facts, { tag: "required", published }, unproven)).toBe("skip");
    });

  test("a notice of such a message is sent where it cannot be asked for, but never in clear (§4.2.1, §5)", () => {
    expect(verdictFor({}, { tag: "preferred" })).toBe("encrypted keyword-if-offered");
    expect(verdictFor({ mxSecurity: "insecure" }, { tag: "preferred" })).toBe("encrypted");
    expect(verdictFor({ tlsa: tlsa.usable }, { tag: "preferred" })).toBe("authenticated dane keyword-if-offered");
    expect(verdictFor({}, { tag: "preferred", floor: "authenticated" })).toBe("authenticated keyword-if-offered");
    expect(verdictFor({ sts: sts.unlisted }, { tag: "preferred" })).toBe("skip validation-failure by mta-sts, lasting");
  });

  test("a host that is no name is the sender's to change", () => {
    const { verdict } = decided({ origin: "literal", host: "[192.0.2.1]", dnssec: dnssec("blind") }, { tag: "required" });
    expect(verdict).toMatchObject({
      failure: { whoActs: "sender", detail: "[192.0.2.1] is an address, and nothing proves who answers there" },
    });
  });
});

describe("TLS-Required: No (RFC 8689 §3, §4.2.2)", () => {
  const rows: [what: string, facts: Partial<HostFacts>, outcome: TlsOutcome, result: string][] = [
    ["enforce, all good", { sts: sts.listed }, good, "send"],
    ["enforce, bad certificate", { sts: sts.listed }, unproven, "send, reported"],
    ["enforce, not listed", { sts: sts.unlisted }, good, "send, reported"],
    ["enforce, no STARTTLS", { sts: sts.listed }, clear, "send, reported"],
    ["DANE, no match", { tlsa: tlsa.usable }, outcome({ webpki: false, dane: false }), "send, reported"],
    ["DANE, no TLS", { tlsa: tlsa.usable }, clear, "send, reported"],
    ["DANE, look-up failed", { tlsa: tlsa.failed }, clear, "send, reported"],
    ["nothing published", {}, clear, "send"],
  ];
  for (const [what, facts, given, result] of rows)
    test(`${what}: ${result}`, () => expect(delivered(facts, { tag: "optional" }, given)).toBe(result));

  test("does not go below the operator's floors, unless he honours it for this submitter", () => {
    const asked = { tag: "optional", floor: "authenticated", host: "proven" } as const;
    expect(verdictFor({ sts: sts.listed }, asked)).toBe("authenticated");
    expect(verdictFor({ mxSecurity: "insecure" }, asked)).toBe("skip validation-failure by host-floor, lasting");
    expect(verdictFor({ sts: sts.listed }, { ...asked, belowFloor: true })).toBe("clear");
    expect(verdictFor({ mxSecurity: "insecure" }, { ...asked, belowFloor: true })).toBe("clear");
    expect(verdictFor({ tlsa: tlsa.none }, { ...asked, host: "dnssec" })).toBe("skip dane-required by host-floor, lasting");
  });

  test("a submitter who might go below it, and does not ask, does not", () => {
    expect(verdictFor({}, { floor: "authenticated", belowFloor: true })).toBe("authenticated");
    expect(verdictFor({}, { floor: "authenticated", tag: "required", belowFloor: true })).toBe("authenticated keyword");
    expect(verdictFor({ mxSecurity: "insecure" }, { host: "proven", tag: "preferred", belowFloor: true })).toMatch(/^skip/);
  });
});

describe("rollout", () => {
  test("report: delivered at the floor, and what would have held is kept", () => {
    const { verdict, watched, rules } = decided({ tlsa: tlsa.usable, sts: sts.unlisted }, { published: "report", floor: "encrypted" });
    expect(inWords(verdict)).toBe("encrypted");
    expect(watched.map(inWords)).toEqual(["authenticated dane", "skip validation-failure by mta-sts, lasting"]);
    expect(rules.map(({ source, effect }) => `${source} ${effect}`)).toEqual([
      "published won",
      "floor won",
      "dane watched",
      "mta-sts watched",
    ]);
  });

  test("report: a failed TLSA look-up is watched, too", () => {
    const { verdict, watched } = decided({ tlsa: tlsa.failed }, { published: "report" });
    expect([inWords(verdict), ...watched.map(inWords)]).toEqual(["clear", "skip dnssec-invalid by dane"]);
  });

  test("off: nothing published is looked at", () => {
    const { verdict, watched, rules } = decided({ tlsa: tlsa.failed, sts: sts.unlisted }, { published: "off" });
    expect(inWords(verdict)).toBe("clear");
    expect(watched).toEqual([]);
    expect(rules.map(({ source, effect }) => `${source} ${effect}`)).toEqual(["published won", "floor won"]);
  });

  test("enforce: testing mode alone is watched", () => {
    const { watched } = decided({ tlsa: tlsa.usable, sts: sts.testing });
    expect(watched.map(inWords)).toEqual(["authenticated webpki"]);
  });
});

describe("what a person reads", () => {
  test("a resolver that does not validate is said to be why, and whose it is to mend", () => {
    for (const kind of ["blind", "untrusted"] as const) {
      const { verdict } = decided({ mxSecurity: "insecure", dnssec: dnssec(kind) }, { host: "proven" });
      expect(verdict).toMatchObject({
        failure: { whoActs: "you", detail: expect.stringContaining(`as far as this relay can see: the resolver is ${kind}`) },
      });
    }
    for (const kind of ["validating", "untested"] as const) {
      const { verdict } = decided({ mxSecurity: "insecure", dnssec: dnssec(kind) }, { host: "proven" });
      expect(verdict).toMatchObject({ failure: { whoActs: "receiver", detail: expect.not.stringContaining("as far as") } });
    }
  });

  test("a failed look-up is never called absence of DANE, and names its cause", () => {
    const { verdict } = decided({ tlsa: tlsa.failed });
    expect(verdict).toMatchObject({
      lasting: false,
      failure: {
        type: "dnssec-invalid",
        whoActs: "receiver",
        detail: "the TLSA look-up for mx.host.test failed, so DANE cannot be ruled out: SERVFAIL from ::1",
      },
    });
    const dead: TlsaFinding = { kind: "failed", asked: "x", failure: { kind: "failed", reason: "unreachable", detail: "no resolver" } };
    expect(decided({ tlsa: dead }).verdict).toMatchObject({ failure: { whoActs: "you" } });
  });

  test("a host that the policy does not list", () =>
    expect(decided({ sts: sts.unlisted }).verdict).toMatchObject({
      failure: { detail: "mx.host.test is not among the mail hosts that the MTA-STS policy of example.test lists (mx-not-in-policy)" },
    }));

  test("every rule is listed with its section and what came of it", () => {
    const rules = (facts: Partial<HostFacts>, asked?: Asked) =>
      decided(facts, asked).rules.map(({ source, section, effect }) => `${source} ${effect} ${section}`.trim());
    expect(rules({})).toEqual(["dane idle RFC 7672 §2.2", "mta-sts idle RFC 8461 §3.3", "floor won"]);
    expect(rules({ tlsa: tlsa.usable, sts: sts.listed })).toEqual(["dane won RFC 7672 §2.2", "mta-sts holds RFC 8461 §5", "floor idle"]);
    expect(rules({ tlsa: tlsa.unusable }, { floor: "authenticated" })).toEqual([
      "mta-sts idle RFC 8461 §3.3",
      "dane holds RFC 7672 §2.2",
      "floor won",
    ]);
    expect(rules({ tlsa: tlsa.failed })).toEqual(["mta-sts idle RFC 8461 §3.3", "dane won RFC 7672 §2.1.2", "floor idle"]);
    expect(rules({ sts: sts.testing })).toEqual(["dane idle RFC 7672 §2.2", "floor won", "mta-sts watched RFC 8461 §5"]);
  });

  test("a rule that asks nothing says why", () => {
    const says = (facts: Partial<HostFacts>) =>
      decided(facts)
        .rules.filter(({ effect }) => effect === "idle")
        .map((rule) => rule.says);
    expect(says({ tlsa: tlsa.notAsked, sts: sts.unavailable })).toEqual([
      "its addresses are not signed",
      "a policy is announced and could not be had: the policy host did not answer",
    ]);
    expect(says({ sts: sts.modeNone })).toEqual(["no TLSA records that DNSSEC proves (asked: _25._tcp.mx.host.test)", "mode none"]);
    expect(says({ sts: sts.notAsked })[1]).toBe("an address literal");
  });
});

describe("a host that is ruled out, as a report tells of it (RFC 8460 §4.3)", () => {
  const failed = (reason: "servfail" | "timeout", extendedError?: number): TlsaFinding => ({
    ...tlsa.failed,
    failure: { ...tlsa.failed.failure, reason, ...(extendedError !== undefined && { extendedError }) },
  });
  const cases: [what: string, facts: Partial<HostFacts>, asked: Asked, told: string][] = [
    ["not in the policy", { sts: sts.unlisted }, {}, "validation-failure mx-not-in-policy"],
    ["a bogus TLSA answer", { tlsa: failed("servfail", 6) }, {}, "dnssec-invalid ede-6"],
    ["SERVFAIL without a reason", { tlsa: failed("servfail") }, {}, "dnssec-invalid servfail"],
    ["no answer to the TLSA look-up", { tlsa: failed("timeout") }, {}, "dnssec-invalid timeout"],
    ["mandatory DANE, no record", { tlsa: tlsa.none }, { floor: "authenticated", host: "dnssec" }, "dane-required"],
    ["mandatory DANE, none usable", { tlsa: tlsa.unusable }, { floor: "authenticated", host: "dnssec" }, "dane-required"],
    ["not proven", { mxSecurity: "insecure" }, { host: "proven" }, "validation-failure mx-unproven"],
    ["REQUIRETLS, not proven", { mxSecurity: "insecure" }, { tag: "required" }, "validation-failure mx-unproven"],
    ["REQUIRETLS to an address", { origin: "literal", host: "[192.0.2.1]" }, { tag: "required" }, "validation-failure address-literal"],
  ];
  for (const [what, facts, asked, told] of cases)
    test(`${what}: ${told}`, () => {
      const { verdict } = decided(facts, asked);
      if (verdict.kind !== "skip") throw new Error("the host may be asked");
      const { type, code } = verdict.failure;
      expect(code === undefined ? type : `${type} ${code}`).toBe(told);
    });
});

test("the decision is total, pure, and never below the operator's floor or what is published", () => {
  const levels = ["clear", "encrypted", "authenticated"];
  let seen = 0;
  for (const ofDane of [tlsa.failed, tlsa.usable, tlsa.unusable, tlsa.none, tlsa.insecure, tlsa.notAsked])
    for (const ofSts of Object.values(sts))
      for (const origin of ["mx", "implicit", "configured", "literal"] as const)
        for (const mxSecurity of ["secure", "insecure"] as const)
          for (const floor of FLOORS)
            for (const host of ["any", "proven", "dnssec"] as const)
              for (const published of ["enforce", "report", "off"] as const)
                for (const tag of [undefined, "required", "preferred", "optional"] as const) {
                  const facts = hostFacts({ tlsa: ofDane, sts: ofSts, origin, mxSecurity });
                  const demands = demandsOf({ floor, host, published, tag });
                  const decision = decideHost(facts, demands);
                  seen += 1;
                  if (seen % 97 === 0) expect(decideHost(facts, demands)).toEqual(decision);
                  const { verdict } = decision;
                  const binds = published === "enforce" && tag !== "optional";
                  if (verdict.kind === "skip") {
                    if (verdict.failure.detail.length < 10) throw new Error(`no reason: ${verdict.failure.detail}`);
                    continue;
                  }
                  const least = levels.indexOf(verdict.requirement.atLeast);
                  const ok =
                    least >= FLOORS.indexOf(floor) &&
                    (tag !== "required" || (least === 2 && verdict.requirement.requireTlsKeyword?.mandatory === true)) &&
                    (tag !== "preferred" || least >= 1) &&
                    (!binds || ofDane !== tlsa.failed) &&
                    (!binds || ofDane !== tlsa.usable || verdict.requirement.dane?.demanded === true) &&
                    (!binds || ofDane !== tlsa.unusable || least >= 1) &&
                    (!binds || ofSts !== sts.unlisted) &&
                    (!binds || ofSts !== sts.listed || verdict.requirement.webpki.demanded);
                  if (!ok) throw new Error(`${inWords(verdict)} for ${JSON.stringify({ facts, floor, host, published, tag })}`);
                }
  expect(seen).toBe(6 * 9 * 4 * 2 * 3 * 3 * 3 * 4);
});
