/** What is counted of one host (RFC 8460 §4): from event to result type, counting, the policy object, and what must hold whatever happens. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Domain } from "../../src/mail/domain.ts";
import type { StsFinding, TlsaFinding, TlsaRecord } from "../../src/policy/facts.ts";
import type { HostFacts } from "../../src/policy/host-facts.ts";
import type { FailureDetail, TlsObservation } from "../../src/policy/observation.ts";
import { type Happening, observe, observeBogus, type ObservedHost } from "../../src/policy/observe.ts";
import type { DaneVerdict, TlsFailure, TlsFailureType, TlsOutcome, WebPkiVerdict } from "../../src/policy/outcome.ts";
import { parseStsPolicy } from "../../src/policy/sts-policy.ts";
import { type Asked, decided, demandsOf, dnssec, HOST, hostFacts, outcome, policy, sts, tlsa } from "../support/decisions.ts";

const AT = Date.UTC(2026, 2, 1, 23, 59, 59);
const reportDomain = "example.test" as Domain;
const peer = { address: "192.0.2.25", localAddress: "192.0.2.7", helo: "mail.host.test" };

function fault(type: TlsFailureType, code?: string): TlsFailure {
  return { type, detail: `${type} with somebody@example.test in it`, whoActs: "receiver", ...(code !== undefined && { code }) };
}

function hostOf(facts: Partial<HostFacts>, asked: Asked = {}): ObservedHost {
  return { reportDomain, facts: hostFacts(facts), local: demandsOf(asked).local, daneDigests: ["sha512", "sha256"] };
}

const clear = (because: TlsFailure): Happening => ({ kind: "session", tls: { kind: "clear", because }, peer });
const cut = (failure: TlsFailure): Happening => ({ kind: "tls-failed", failure, peer });
const met = (tls: TlsOutcome): Happening => ({ kind: "session", tls, peer });
const good = met(outcome({ webpki: true }));
const worthless = met(outcome({ webpki: false }));

/** TLS with a certificate of which this is wrong; `dane` as well, where it was compared. */
function shown(webpki: readonly TlsFailure[], dane?: TlsFailure | "holds"): Happening {
  const [failure, ...others] = webpki;
  const byName: WebPkiVerdict =
    failure === undefined ? { held: true, referenceIdentifier: HOST } : { held: false, failure, ...(others.length > 0 && { others }) };
  const byRecord: DaneVerdict | undefined =
    dane === undefined
      ? undefined
      : dane === "holds"
        ? { held: true, baseDomain: HOST, record: "3 1 1 01" }
        : { held: false, failure: dane };
  const session = { protocol: "TLSv1.3", cipher: "x", chain: [], webpki: byName, ...(byRecord !== undefined && { dane: byRecord }) };
  if (byName.held || byRecord?.held === true) return met({ kind: "authenticated", session });
  return met({ kind: "encrypted", session, because: failure ?? fault("validation-failure") });
}

/** By the decision itself: what the host is skipped for, if it is. */
function skipped(facts: Partial<HostFacts>, asked?: Asked): Happening {
  const { verdict } = decided(facts, asked);
  if (verdict.kind !== "skip") throw new Error("the host is not skipped");
  return { kind: "skipped", failure: verdict.failure };
}

const words = ({ resultType, reasonCode }: FailureDetail): string =>
  reasonCode === undefined ? resultType : `${resultType}/${reasonCode}`;

/** `sts ok`, `tlsa dnssec-invalid/ede-7`, in the order they are made. */
function inShort(observations: readonly TlsObservation[]): string {
  const short = { tlsa: "D", sts: "S", "no-policy-found": "N" } as const;
  return observations
    .map(({ policy: { type }, failures }) => `${short[type]} ${failures.length === 0 ? "ok" : failures.map(words).join(" + ")}`)
    .join(", ");
}

const counted = (facts: Partial<HostFacts>, happened: Happening, asked?: Asked): string =>
  inShort(observe(hostOf(facts, asked), happened, AT));

const none: Partial<HostFacts> = { sts: sts.none, tlsa: tlsa.none };
const S: Partial<HostFacts> = { sts: sts.listed, tlsa: tlsa.none };
const D: Partial<HostFacts> = { sts: sts.none, tlsa: tlsa.usable };
const both: Partial<HostFacts> = { sts: sts.listed, tlsa: tlsa.usable };
const failedTlsa = (reason: "servfail" | "refused" | "timeout" | "unreachable", extendedError?: number): TlsaFinding => ({
  kind: "failed",
  asked: `_25._tcp.${HOST}`,
  failure: { kind: "failed", reason, detail: "said so", ...(extendedError !== undefined && { extendedError }) },
});
const unavailable = (failure: TlsFailure): StsFinding => ({ kind: "unavailable", policyDomain: reportDomain, failure });
const withTrouble = (trouble: TlsFailure, mode: "enforce" | "none" = "enforce"): StsFinding => policy(mode, [HOST], { trouble });

describe("from what happened to a result type (RFC 8460 §4.2, §4.3.1, §4.3.3)", () => {
  const noStartTls = clear(fault("starttls-not-supported"));
  const refused = clear(fault("starttls-not-supported", "454"));
  const wrongName = fault("certificate-host-mismatch");
  const noMatch = fault("validation-failure", "dane-no-match");
  const rows: [event: string, facts: Partial<HostFacts>, happened: Happening, counts: string, asked?: Asked][] = [
    ["EHLO without STARTTLS", none, noStartTls, "N starttls-not-supported"],
    ["the same under both", both, noStartTls, "D starttls-not-supported, S starttls-not-supported"],
    ["STARTTLS answered 4yz", S, refused, "S starttls-not-supported/454"],
    ["handshake: alert", D, cut(fault("validation-failure", "alert-handshake-failure")), "D validation-failure/alert-handshake-failure"],
    ["handshake: reset", none, cut(fault("validation-failure", "handshake-reset")), "N validation-failure/handshake-reset"],
    ["handshake: timeout", S, cut(fault("validation-failure", "handshake-timeout")), "S validation-failure/handshake-timeout"],
    [
      "injection",
      both,
      cut(fault("validation-failure", "starttls-injection")),
      "D validation-failure/starttls-injection, S validation-failure/starttls-injection",
    ],
    ["TLS below our floor", none, cut(fault("validation-failure", "unsupported-protocol")), "N validation-failure/unsupported-protocol"],
    ["STS: SAN does not hold the MX host", S, shown([wrongName]), "S certificate-host-mismatch"],
    ["STS: certificate expired", S, shown([fault("certificate-expired")]), "S certificate-expired"],
    [
      "STS: not yet valid",
      S,
      shown([fault("validation-failure", "certificate-not-yet-valid")]),
      "S validation-failure/certificate-not-yet-valid",
    ],
    ["STS: unknown issuer", S, shown([fault("certificate-not-trusted", "self-signed")]), "S certificate-not-trusted/self-signed"],
    [
      "STS: MX host matches no pattern, skipped",
      { sts: sts.unlisted },
      skipped({ sts: sts.unlisted }),
      "S validation-failure/mx-not-in-policy",
    ],
    ["the same in testing mode, TLS good", { sts: sts.testingUnlisted }, good, "S validation-failure/mx-not-in-policy"],
    ["DANE-TA: no reference identifier", D, shown([], fault("certificate-host-mismatch")), "D certificate-host-mismatch"],
    ["DANE-TA: expired", D, shown([], fault("certificate-expired")), "D certificate-expired"],
    [
      "DANE-TA: no matching anchor",
      D,
      shown([], fault("certificate-not-trusted", "dane-ta-not-in-chain")),
      "D certificate-not-trusted/dane-ta-not-in-chain",
    ],
    ["DANE: no record matches", D, shown([], noMatch), "D validation-failure/dane-no-match"],
    ["TLSA set wholly unusable", { tlsa: tlsa.unusable }, good, "D tlsa-invalid/unsupported-usage"],
    ["the same, and no TLS", { tlsa: tlsa.unusable }, noStartTls, "D starttls-not-supported + tlsa-invalid/unsupported-usage"],
    ["TLSA look-up SERVFAIL", { tlsa: failedTlsa("servfail") }, skipped({ tlsa: failedTlsa("servfail") }), "D dnssec-invalid/servfail"],
    ["TLSA look-up bogus", { tlsa: failedTlsa("servfail", 7) }, skipped({ tlsa: failedTlsa("servfail", 7) }), "D dnssec-invalid/ede-7"],
    [
      "TLSA look-up refused by validation",
      { tlsa: failedTlsa("refused", 6) },
      skipped({ tlsa: failedTlsa("refused", 6) }),
      "D dnssec-invalid/ede-6",
    ],
    ["TLSA look-up refused", { tlsa: failedTlsa("refused") }, skipped({ tlsa: failedTlsa("refused") }), ""],
    ["TLSA look-up timed out", { tlsa: failedTlsa("timeout") }, skipped({ tlsa: failedTlsa("timeout") }), ""],
    ["TLSA look-up, resolver unreachable", { tlsa: failedTlsa("unreachable") }, skipped({ tlsa: failedTlsa("unreachable") }), ""],
    [
      "TLSA look-up SERVFAIL of a resolver that has shown nothing",
      { tlsa: tlsa.failed, dnssec: dnssec("untested") },
      skipped({ tlsa: tlsa.failed }),
      "",
    ],
    [
      "mandatory DANE, no TLSA",
      none,
      skipped(none, { host: "dnssec", floor: "authenticated" }),
      "D dane-required",
      { host: "dnssec", floor: "authenticated" },
    ],
    [
      "mandatory DANE, unusable",
      { tlsa: tlsa.unusable },
      skipped({ tlsa: tlsa.unusable }, { host: "dnssec", floor: "authenticated" }),
      "D dane-required",
      { host: "dnssec", floor: "authenticated" },
    ],
    [
      "mandatory DANE, look-up bogus",
      { tlsa: failedTlsa("servfail", 6) },
      skipped({ tlsa: failedTlsa("servfail", 6) }, { host: "dnssec", floor: "authenticated" }),
      "D dnssec-invalid/ede-6",
      { host: "dnssec", floor: "authenticated" },
    ],
    [
      "mandatory DANE, and this relay cannot see DNSSEC",
      { ...none, dnssec: dnssec("blind") },
      skipped({ ...none, dnssec: dnssec("blind") }, { host: "dnssec", floor: "authenticated" }),
      "",
      { host: "dnssec", floor: "authenticated" },
    ],
    [
      "policy host: 404, nothing cached",
      { sts: unavailable(fault("sts-policy-fetch-error", "http-404")) },
      good,
      "N sts-policy-fetch-error/http-404",
    ],
    [
      "policy host: 404, cached",
      { sts: withTrouble(fault("sts-policy-fetch-error", "http-404")) },
      good,
      "S sts-policy-fetch-error/http-404",
    ],
    [
      "policy host: bad certificate, nothing cached",
      { sts: unavailable(fault("sts-webpki-invalid", "certificate-has-expired")) },
      good,
      "N sts-webpki-invalid/certificate-has-expired",
    ],
    ["policy host: bad certificate, cached", { sts: withTrouble(fault("sts-webpki-invalid")) }, good, "S sts-webpki-invalid"],
    [
      "body not a policy, nothing cached",
      { sts: unavailable({ ...fault("sts-policy-invalid", "mode"), served: "version: STSv1\nmode: maybe" }) },
      good,
      "S sts-policy-invalid/mode",
    ],
    [
      "the same, and no STARTTLS",
      { sts: unavailable({ ...fault("sts-policy-invalid", "mode"), served: "x" }) },
      noStartTls,
      "S sts-policy-invalid/mode + starttls-not-supported",
    ],
    ["body not a policy, cached", { sts: withTrouble(fault("sts-policy-invalid", "mode")) }, good, "S sts-policy-invalid/mode"],
    [
      "TXT vanished while a policy is cached",
      { sts: withTrouble(fault("sts-policy-fetch-error", "no-txt-record")) },
      good,
      "S sts-policy-fetch-error/no-txt-record",
    ],
    [
      "the same, and the certificate is for another name",
      { sts: withTrouble(fault("sts-policy-fetch-error", "no-txt-record")) },
      shown([wrongName]),
      "S certificate-host-mismatch + sts-policy-fetch-error/no-txt-record",
    ],
    ["cached policy has mode none", { sts: withTrouble(fault("sts-policy-fetch-error", "no-txt-record"), "none") }, good, "N ok"],
    [
      "our own resolver cannot be reached",
      { sts: withTrouble({ ...fault("sts-policy-fetch-error", "dns"), whoActs: "you" }) },
      good,
      "S ok",
    ],
    ["we had no time to fetch", { sts: unavailable({ ...fault("sts-policy-fetch-error"), whoActs: "nobody" }) }, good, "N ok"],
    ["opportunistic TLS, certificate worthless", none, worthless, "N ok"],
    [
      "REQUIRETLS rules the host out",
      { ...none, mxSecurity: "insecure" },
      skipped({ ...none, mxSecurity: "insecure" }, { tag: "required" }),
      "",
    ],
    [
      "REQUIRETLS does, and so does the policy",
      { sts: sts.unlisted, mxSecurity: "insecure" },
      skipped({ sts: sts.unlisted, mxSecurity: "insecure" }, { tag: "required" }),
      "S validation-failure/mx-not-in-policy",
    ],
    [
      "the operator's floor for the host does",
      { ...none, mxSecurity: "insecure" },
      skipped({ ...none, mxSecurity: "insecure" }, { host: "proven" }),
      "",
      { host: "proven" },
    ],
    [
      "the operator wants signed MX records, not DANE",
      { ...none, mxSecurity: "insecure" },
      skipped({ ...none, mxSecurity: "insecure" }, { host: "dnssec" }),
      "",
      { host: "dnssec" },
    ],
    [
      "a suite that proves nothing, under both",
      both,
      met({
        ...(outcome({ webpki: true, dane: true }) as TlsOutcome & { kind: "authenticated" }),
        kind: "encrypted",
        because: fault("validation-failure", "weak-cipher"),
      }),
      "D validation-failure/weak-cipher, S validation-failure/weak-cipher",
    ],
  ];
  for (const [event, facts, happened, counts, asked] of rows) test(event, () => expect(counted(facts, happened, asked)).toBe(counts));
});

describe("counting (RFC 8460 §4, §4.2, §4.2.1)", () => {
  const wrongName = fault("certificate-host-mismatch");
  const noMatch = fault("validation-failure", "dane-no-match");
  const rows: [session: string, facts: Partial<HostFacts>, happened: Happening, counts: string][] = [
    ["no policy, TLS made", none, good, "N ok"],
    ["no policy, no STARTTLS, sent in clear", none, clear(fault("starttls-not-supported")), "N starttls-not-supported"],
    ["STS enforce, good", S, good, "S ok"],
    ["STS enforce, wrong name, not sent", S, shown([wrongName]), "S certificate-host-mismatch"],
    ["STS testing, wrong name, sent over TLS", { sts: sts.testing }, shown([wrongName]), "S certificate-host-mismatch"],
    [
      "STS testing, expired and wrong name",
      { sts: sts.testing },
      shown([fault("certificate-expired"), wrongName]),
      "S certificate-expired + certificate-host-mismatch",
    ],
    ["DANE good", D, shown([wrongName], "holds"), "D ok"],
    ["DANE good, STS good", both, shown([], "holds"), "D ok, S ok"],
    ["DANE no match, STS would pass", both, shown([], noMatch), "D validation-failure/dane-no-match, S ok"],
    ["DANE good, STS enforce fails", both, shown([wrongName], "holds"), "D ok, S certificate-host-mismatch"],
    ["TLSA unusable, TLS made", { tlsa: tlsa.unusable }, worthless, "D tlsa-invalid/unsupported-usage"],
    ["STS mode none, TLS made", { sts: sts.modeNone }, worthless, "N ok"],
    ["fetch error, nothing cached, TLS made", { sts: sts.unavailable }, good, "N sts-policy-fetch-error"],
    [
      "MX not in policy, skipped without connecting",
      { sts: sts.unlisted },
      skipped({ sts: sts.unlisted }),
      "S validation-failure/mx-not-in-policy",
    ],
  ];
  for (const [session, facts, happened, counts] of rows)
    test(session, () => {
      expect(counted(facts, happened)).toBe(counts);
      // `tls.published: report` changes what is sent, not what is told.
      expect(counted(facts, happened, { published: "report" })).toBe(counts);
    });
  test("published: off: what is published is not known, so nothing is told", () => {
    const notAsked: StsFinding = { kind: "not-asked", why: "tls.published of this relay: off" };
    expect(counted({ sts: notAsked, tlsa: tlsa.notAsked }, good, { published: "off" })).toBe("");
    expect(counted({ sts: sts.listed, tlsa: tlsa.notAsked }, good, { published: "off" })).toBe("");
    expect(counted({ sts: sts.notAsked, tlsa: tlsa.notAsked }, good)).toBe("");
    expect(counted({ sts: notAsked, tlsa: tlsa.usable }, shown([], "holds"), { published: "off", host: "dnssec" })).toBe("D ok");
  });
  test("a look-up that failed rules DANE in as little as out, where it binds nobody", () => {
    expect(counted({ tlsa: failedTlsa("timeout") }, good, { published: "report" })).toBe("");
    expect(counted({ tlsa: failedTlsa("servfail", 6) }, good, { published: "report" })).toBe("D dnssec-invalid/ede-6");
    expect(counted({ tlsa: failedTlsa("timeout"), sts: sts.listed }, good, { published: "report" })).toBe("S ok");
  });
  test("a kept connection that was not compared with these records says nothing of them", () => {
    expect(counted(both, good)).toBe("S ok");
    expect(counted(D, good)).toBe("");
  });
  test("the same fault twice is one detail", () => expect(counted(S, shown([wrongName, wrongName]))).toBe("S certificate-host-mismatch"));
});

describe("the policy (RFC 8460 §1.1, §4.4, §4.5)", () => {
  const policyOf = (facts: Partial<HostFacts>, happened: Happening, asked?: Asked) =>
    observe(hostOf(facts, asked), happened, AT)[0]?.policy;
  const served = "version: STSv1\r\nmode: enforce\r\nx-contact: admin@example.test\r\nmx: *.host.test\nmx: other.test\nmax_age: 86400\r\n";
  const parsed = parseStsPolicy(served);
  if (!parsed.ok) throw new Error(parsed.error);
  const finding: StsFinding = { ...(sts.listed as StsFinding & { kind: "policy" }), policy: parsed.value };

  test("MTA-STS: the lines as served, without line ends and addresses; the patterns", () =>
    expect(policyOf({ sts: finding }, good)).toEqual({
      type: "sts",
      domain: "example.test",
      text: ["version: STSv1", "mode: enforce", "x-contact: admin(at)example.test", "mx: *.host.test", "mx: other.test", "max_age: 86400"],
      mxHost: ["*.host.test", "other.test"],
    }));
  test("one of thousands of lines is told by its beginning", () => {
    const long = `version: STSv1\nmode: testing\nmax_age: 1\n${"mx: a.test\n".repeat(5000)}x: ${"y".repeat(5000)}\n`;
    const many = parseStsPolicy(long);
    if (!many.ok) throw new Error(many.error);
    const told = policyOf({ sts: { ...(sts.listed as StsFinding & { kind: "policy" }), policy: many.value } }, good);
    expect(told?.text).toHaveLength(100);
    expect(told?.mxHost).toHaveLength(100);
    expect(JSON.stringify(told).length).toBeLessThan(60_000);
  });
  test("what was served in place of a policy", () => {
    const failure = { ...fault("sts-policy-invalid"), served: "<html>\n\nmail us@example.test\n" };
    expect(policyOf({ sts: unavailable(failure) }, good)).toEqual({
      type: "sts",
      domain: "example.test",
      text: ["<html>", "", "mail us(at)example.test"],
      mxHost: [],
    });
  });
  const record = (usage: number, octet: number, size = 32): TlsaRecord => ({
    usage,
    selector: 1,
    matchingType: 1,
    data: Buffer.alloc(size, octet),
  });
  test("DANE: every record in full, usable or not, in an order of its own", () => {
    const records = [record(3, 0xab), record(1, 0x0c, 2)];
    const of = (set: readonly TlsaRecord[]) =>
      policyOf({ tlsa: { kind: "records", baseDomain: "alias.test" as Domain, records: set, expires: 1 } }, shown([], "holds"));
    expect(of(records)).toEqual({ type: "tlsa", domain: "alias.test", text: ["1 1 1 0c0c", `3 1 1 ${"ab".repeat(32)}`] });
    expect(of(records.toReversed())).toEqual(of(records));
  });
  test("DANE, look-up failed: the name looked up, nothing to quote", () => {
    const asked = { ...(failedTlsa("servfail") as TlsaFinding & { kind: "failed" }), asked: "_25._tcp.alias.test" };
    expect(policyOf({ tlsa: asked }, skipped({ tlsa: asked }))).toEqual({ type: "tlsa", domain: "alias.test", text: [] });
  });
  test("a host that the operator wrote in capitals is told in small letters (RFC 8460 §4.4)", () => {
    const facts = {
      host: "MX.Host.test",
      tlsa: { ...(failedTlsa("servfail") as TlsaFinding & { kind: "failed" }), asked: "MX.Host.test" },
    };
    expect(observe(hostOf(facts), skipped(facts), AT)).toMatchObject([
      { policy: { domain: HOST }, failures: [{ receivingMxHostname: HOST }] },
    ]);
    const asked: Asked = { host: "dnssec", floor: "authenticated" };
    const missing = { ...none, host: "MX.Host.test" };
    expect(observe(hostOf(missing, asked), skipped(missing, asked), AT)).toMatchObject([
      { policy: { domain: HOST }, failures: [{ receivingMxHostname: HOST }] },
    ]);
  });
  test("DANE required and missing", () => {
    const asked: Asked = { host: "dnssec", floor: "authenticated" };
    expect(policyOf(none, skipped(none, asked), asked)).toEqual({ type: "tlsa", domain: HOST, text: [] });
  });
  test("neither", () => expect(policyOf(none, good)).toEqual({ type: "no-policy-found", domain: "example.test", text: [] }));
  test("MX look-up bogus", () =>
    expect(observeBogus(reportDomain, "example.test", { kind: "failed", reason: "servfail", detail: "", extendedError: 6 }, AT)).toEqual({
      reportDomain: "example.test",
      at: AT,
      policy: { type: "tlsa", domain: "example.test", text: [] },
      failures: [{ resultType: "dnssec-invalid", reasonCode: "ede-6" }],
    }));
  test("the same policy is the same value for all its sessions, and testing is another than enforce (RFC 8460 §4.4)", () => {
    expect(policyOf({ sts: finding }, good)).toBe(policyOf({ sts: finding }, worthless));
    expect(policyOf(D, shown([], "holds"))).toBe(policyOf(D, clear(fault("starttls-not-supported"))));
    const testing = parseStsPolicy(served.replace("enforce", "testing"));
    if (!testing.ok) throw new Error(testing.error);
    expect(policyOf({ sts: { ...finding, policy: testing.value } }, good)).not.toEqual(policyOf({ sts: finding }, good));
  });
});

describe("the members of a failure (RFC 8460 §4.4)", () => {
  const failed = (happened: Happening, facts: Partial<HostFacts> = S) => observe(hostOf(facts), happened, AT)[0]?.failures;
  const noStartTls: TlsOutcome = { kind: "clear", because: fault("starttls-not-supported") };
  test("who talked to whom", () =>
    expect(failed({ kind: "session", tls: noStartTls, peer })).toEqual([
      {
        resultType: "starttls-not-supported",
        sendingMtaIp: "192.0.2.7",
        receivingMxHostname: HOST,
        receivingMxHelo: "mail.host.test",
        receivingIp: "192.0.2.25",
      },
    ]));
  test("the address behind a router goes before the socket's own", () =>
    expect(failed({ kind: "session", tls: noStartTls, peer: { ...peer, publicAddress: "198.51.100.1" } })).toMatchObject([
      { sendingMtaIp: "198.51.100.1" },
    ]));
  const addresses: [given: string, told: string][] = [
    ["2001:DB8:0:0:0:0:0:1", "2001:db8::1"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["fe80::1%eth0", "fe80::1"],
  ];
  for (const [given, told] of addresses)
    test(`${given} is told as ${told}`, () =>
      expect(failed({ kind: "session", tls: noStartTls, peer: { address: given, localAddress: given } })).toMatchObject([
        { receivingIp: told, sendingMtaIp: told },
      ]));
  test("where no connection had a part in it, none is told of", () => {
    expect(failed(good, { sts: unavailable(fault("sts-policy-fetch-error", "http-404")) })).toEqual([
      { resultType: "sts-policy-fetch-error", reasonCode: "http-404" },
    ]);
    expect(failed(skipped({ sts: sts.unlisted }), { sts: sts.unlisted })).toEqual([
      { resultType: "validation-failure", receivingMxHostname: HOST, reasonCode: "mx-not-in-policy" },
    ]);
    expect(failed(skipped({ tlsa: tlsa.failed }), { tlsa: tlsa.failed })).toEqual([
      { resultType: "dnssec-invalid", receivingMxHostname: HOST, reasonCode: "servfail" },
    ]);
  });
  test("a name or a code that is none is left out", () =>
    expect(failed(clear(fault("starttls-not-supported", "550 ask jo@example.test")))).not.toHaveProperty("0.reasonCode"));
  test("it belongs to the moment and the domain it is told with", () =>
    expect(observe(hostOf(S), good, AT)[0]).toMatchObject({ at: AT, reportDomain: "example.test" }));
});

describe("whatever happens", () => {
  const type = fc.constantFrom<TlsFailureType>(
    "starttls-not-supported",
    "certificate-expired",
    "validation-failure",
    "certificate-host-mismatch",
  );
  const hostile = fc.oneof(fc.constantFrom("self-signed", "jo@example.test", "x".repeat(65), "a b"), fc.string());
  const failure = fc.record({
    type,
    detail: fc.constant("for jo@example.test"),
    whoActs: fc.constantFrom("receiver" as const, "you" as const),
    code: hostile,
  });
  const anyPeer = fc.record({ address: fc.oneof(fc.ipV4(), fc.ipV6()), localAddress: fc.ipV6(), helo: hostile });
  const webpki: fc.Arbitrary<WebPkiVerdict> = fc.oneof(
    fc.constant({ held: true, referenceIdentifier: HOST } as const),
    fc.record({ held: fc.constant(false as const), failure, others: fc.array(failure, { maxLength: 3 }) }),
  );
  const dane: fc.Arbitrary<DaneVerdict> = fc.oneof(
    fc.constant({ held: true, baseDomain: HOST, record: "3 1 1 01" } as const),
    fc.record({ held: fc.constant(false as const), failure }),
  );
  const session = fc
    .record({ webpki, dane, weak: fc.boolean(), because: failure })
    .map(({ webpki: byName, dane: byRecord, weak, because }): TlsOutcome => {
      const made = { protocol: "TLSv1.2", cipher: "x", chain: [], webpki: byName, dane: byRecord };
      return (byName.held || byRecord.held) && !weak
        ? { kind: "authenticated", session: made }
        : { kind: "encrypted", session: made, because };
    });
  const happened: fc.Arbitrary<Happening> = fc.oneof(
    fc.record({ kind: fc.constant("session" as const), tls: session, peer: anyPeer }),
    fc.record({
      kind: fc.constant("session" as const),
      tls: failure.map((because): TlsOutcome => ({ kind: "clear", because })),
      peer: anyPeer,
    }),
    fc.record({ kind: fc.constant("tls-failed" as const), failure, peer: anyPeer }),
    fc.record({ kind: fc.constant("skipped" as const), failure }),
  );
  const served = fc.string({ unit: "grapheme", maxLength: 200 });
  const anySts: fc.Arbitrary<StsFinding> = fc.oneof(
    fc.constantFrom<StsFinding>(sts.none, sts.modeNone, sts.notAsked, sts.stale),
    fc.tuple(fc.constantFrom("enforce" as const, "testing" as const), fc.boolean(), served, fc.option(failure, { nil: undefined })).map(
      ([mode, listed, text, trouble]): StsFinding => ({
        ...(policy(mode) as StsFinding & { kind: "policy" }),
        policy: { mode, maxAge: 1, mx: [listed ? HOST : "other.test"], text },
        ...(trouble !== undefined && { trouble }),
      }),
    ),
    fc.record({ code: hostile, text: served }).map(({ code, text }) => unavailable({ ...fault("sts-policy-invalid", code), served: text })),
    failure.map((found) => unavailable({ ...found, type: "sts-policy-fetch-error" })),
  );
  const anyTlsa = fc.constantFrom<TlsaFinding>(
    tlsa.usable,
    tlsa.unusable,
    tlsa.none,
    tlsa.insecure,
    tlsa.notAsked,
    tlsa.failed,
    failedTlsa("timeout"),
  );
  const asked: fc.Arbitrary<Asked> = fc.record({
    published: fc.constantFrom("enforce" as const, "report" as const, "off" as const),
    floor: fc.constantFrom("opportunistic" as const, "authenticated" as const),
    host: fc.constantFrom("any" as const, "dnssec" as const),
  });

  /** One policy at most for each kind; what is failed, and what is not, said in another way than the code says it. */
  function isFailed(observation: TlsObservation, { facts }: ObservedHost, what: Happening): boolean {
    if (what.kind !== "session" || what.tls.kind === "clear") return true;
    const { session: made, kind } = what.tls;
    switch (observation.policy.type) {
      case "tlsa":
        return facts.tlsa !== tlsa.usable || made.dane?.held !== true || kind === "encrypted";
      case "sts":
        if (facts.sts.kind !== "policy") return true;
        return (
          !made.webpki.held || kind === "encrypted" || !facts.sts.policy.mx.includes(HOST) || facts.sts.trouble?.whoActs === "receiver"
        );
      case "no-policy-found":
        return facts.sts.kind === "unavailable" && facts.sts.failure.whoActs === "receiver";
    }
  }

  test("an observation has failures exactly if it failed; no address of anybody is in it; the same gives the same (RFC 8460 §4.2, §8)", () => {
    fc.assert(
      fc.property(happened, anySts, anyTlsa, asked, (what, published, records, wishes) => {
        const host = hostOf({ sts: published, tlsa: records }, wishes);
        const observations = observe(host, what, AT);
        const types = observations.map((observation) => observation.policy.type);
        expect(new Set(types).size).toBe(types.length);
        // N stands alone (RFC 8460 §4).
        if (types.includes("no-policy-found")) expect(types).toEqual(["no-policy-found"]);
        for (const observation of observations) {
          expect(observation.failures.length > 0).toBe(isFailed(observation, host, what));
          expect(new Set(observation.failures.map((detail) => JSON.stringify(detail))).size).toBe(observation.failures.length);
          for (const { reasonCode = "x", receivingMxHelo = "x" } of observation.failures) {
            expect(reasonCode).toMatch(/^[A-Za-z0-9._-]{1,64}$/);
            expect(receivingMxHelo.length).toBeLessThan(256);
          }
        }
        expect(JSON.stringify(observations)).not.toContain("@");
        expect(observe(host, what, AT)).toEqual(observations);
      }),
      { numRuns: 3000 },
    );
  });
});
