import { describe, expect, test } from "vitest";
import { advise, whoActsShort } from "../../src/admin/advice.ts";
import { decideHost, type Rule } from "../../src/policy/decision.ts";
import type { HostFacts } from "../../src/policy/host-facts.ts";
import type { TlsOutcome, WhoActs } from "../../src/policy/outcome.ts";
import { findUnmet } from "../../src/policy/requirement.ts";
import type { DeliveryProblem, HostReport, ProblemType } from "../../src/queue/settlement.ts";
import { type Asked, decided, demandsOf, hostFacts, outcome, sts, tlsa } from "../support/decisions.ts";

const problem = (type: ProblemType, whoActs: WhoActs = "receiver", host?: string): DeliveryProblem => ({
  type,
  detail: "",
  whoActs,
  status: "4.0.0",
  ...(host !== undefined && { host }),
});

const reportOf = (
  step: HostReport["step"],
  rules: readonly Rule[],
  tls: TlsOutcome | undefined,
): Pick<HostReport, "step" | "tls" | "policy"> => ({
  step,
  ...(tls !== undefined && { tls }),
  policy: { host: "dnssec", tlsa: { kind: "not-asked", why: "" }, rules },
});

describe("who acts", () => {
  const cases: [WhoActs, string, string][] = [
    ["you", "you: ", "you"],
    ["receiver", "example.org: ", "receiver"],
    ["sender", "the sender: ", "sender"],
    ["nobody", "nobody: ", "nobody, wait"],
  ];
  for (const [who, start, short] of cases)
    test(who, () => {
      const subject = problem("timeout", who);
      expect(advise(subject, { nextHop: "example.org", waits: true }).whoActs.startsWith(start)).toBe(true);
      expect(whoActsShort(subject)).toBe(short);
    });
});

describe("meanwhile", () => {
  const cases: [ProblemType, demanded: string | undefined, first: string][] = [
    ["certificate-expired", "authenticated (tls.floor of this relay)", "tls: { domains: { example.org: { floor: encrypted } } }"],
    // Encryption cannot be had where there is no STARTTLS: only clear text would pass.
    ["starttls-not-supported", "authenticated (tls.floor of this relay)", "tls: { domains: { example.org: { floor: opportunistic } } }"],
    ["certificate-host-mismatch", "authenticated (relayhost)", "set delivery.relayhost.tls to encrypted"],
    ["certificate-host-mismatch", "authenticated (delivery.routes[2])", "set delivery.routes[2].tls to encrypted"],
    ["connect-failed", undefined, "postern queue retry --domain example.org"],
    ["dane-required", undefined, "postern queue retry --domain example.org"],
  ];
  for (const [type, demanded, first] of cases)
    test(`${type} under ${demanded}`, () => {
      const { meanwhile } = advise(problem(type), { nextHop: "example.org", waits: true, ...(demanded !== undefined && { demanded }) });
      expect(meanwhile[0]?.startsWith(first)).toBe(true);
    });

  // The rules are those of the decision itself: what stood in the way decides what is named, and with it the mail would have passed.
  const weak = (dane: boolean): TlsOutcome => {
    const proven = outcome({ webpki: true, ...(dane && { dane }) });
    if (proven.kind !== "authenticated") throw new Error("it is proven");
    return { kind: "encrypted", session: proven.session, because: { type: "validation-failure", detail: "RSA", whoActs: "receiver" } };
  };
  const AUTHENTICATED = { floor: "authenticated" } as const;
  const MANDATORY = { floor: "authenticated", host: "dnssec" } as const;
  const lowered: [string, Partial<HostFacts>, Asked, TlsOutcome | undefined, string | undefined][] = [
    ["a bad certificate under the floor", {}, AUTHENTICATED, outcome({ webpki: false }), "floor: encrypted"],
    [
      "the same under MTA-STS and the floor",
      { sts: sts.listed },
      AUTHENTICATED,
      outcome({ webpki: false }),
      "published: report, floor: encrypted",
    ],
    [
      "the same under MTA-STS and a lower floor",
      { sts: sts.listed },
      { floor: "encrypted" },
      outcome({ webpki: false }),
      "published: report",
    ],
    [
      "MTA-STS holds, DANE fails",
      { sts: sts.listed, tlsa: tlsa.usable },
      AUTHENTICATED,
      outcome({ webpki: true, dane: false }),
      "published: report",
    ],
    [
      "DANE holds, MTA-STS fails",
      { sts: sts.listed, tlsa: tlsa.usable },
      AUTHENTICATED,
      outcome({ webpki: false, dane: true }),
      "published: report",
    ],
    [
      "DANE alone holds nothing",
      { tlsa: tlsa.usable },
      AUTHENTICATED,
      outcome({ webpki: false, dane: false }),
      "published: report, floor: encrypted",
    ],
    ["DANE over a weak suite", { tlsa: tlsa.usable }, AUTHENTICATED, weak(true), "published: report, floor: encrypted"],
    ["unusable TLSA records and no TLS", { tlsa: tlsa.unusable }, {}, outcome("clear"), "published: report"],
    ["unusable TLSA records are content with TLS", { tlsa: tlsa.unusable }, AUTHENTICATED, outcome({ webpki: false }), "floor: encrypted"],
    ["mandatory DANE fails", { tlsa: tlsa.usable }, MANDATORY, outcome({ webpki: true, dane: false }), "published: report, host: any"],
    [
      "mandatory DANE holds, MTA-STS fails",
      { sts: sts.listed, tlsa: tlsa.usable },
      MANDATORY,
      outcome({ webpki: false, dane: true }),
      "published: report",
    ],
    ["no STARTTLS under the floor", {}, { floor: "encrypted" }, outcome("clear"), "floor: opportunistic"],
    ["a handshake that fails", {}, AUTHENTICATED, undefined, "floor: opportunistic"],
    ["a host that the policy leaves out", { sts: sts.unlisted }, AUTHENTICATED, undefined, "published: report"],
    ["a TLSA look-up that failed", { tlsa: tlsa.failed }, AUTHENTICATED, undefined, "published: report"],
    ["the same under mandatory DANE", { tlsa: tlsa.failed }, MANDATORY, undefined, "published: report, host: any"],
    ["an unsigned MX under tls.host", { mxSecurity: "insecure" }, MANDATORY, undefined, "host: any"],
    ["the same where MTA-STS lists it", { mxSecurity: "insecure", sts: sts.listed }, MANDATORY, undefined, "host: any"],
    ["an unproven MX under tls.host", { mxSecurity: "insecure" }, { floor: "authenticated", host: "proven" }, undefined, "host: any"],
    ["no TLSA records under mandatory DANE", {}, MANDATORY, undefined, "host: any"],
    ["a policy that was only watched", { sts: sts.testing }, AUTHENTICATED, outcome({ webpki: false }), "floor: encrypted"],
    ["REQUIRETLS", {}, { ...AUTHENTICATED, tag: "required" }, outcome({ webpki: false }), undefined],
    ["REQUIRETLS for a host that nothing proves", { mxSecurity: "insecure" }, { ...AUTHENTICATED, tag: "required" }, undefined, undefined],
    ["TLS-Required: No", { sts: sts.listed }, { ...AUTHENTICATED, tag: "optional" }, outcome({ webpki: false }), "floor: encrypted"],
  ];
  const passes = (facts: Partial<HostFacts>, asked: Asked, met: TlsOutcome | undefined): boolean => {
    const { verdict } = decided(facts, asked);
    return verdict.kind === "try" && (met === undefined || findUnmet(met, verdict.requirement) === undefined);
  };
  for (const [name, facts, asked, met, settings] of lowered)
    test(`${name}: ${settings ?? "nothing is named"}`, () => {
      const { rules, verdict } = decided(facts, asked);
      const step = verdict.kind === "skip" ? "skipped" : met?.kind === "clear" ? "starttls" : "handshake";
      const { meanwhile } = advise(problem("validation-failure"), {
        nextHop: "example.test",
        waits: false,
        checked: true,
        report: reportOf(step, rules, met),
      });
      if (settings === undefined) expect(meanwhile).toEqual([]);
      else {
        expect(meanwhile[0]).toContain(`tls: { domains: { example.test: { ${settings} } } }   (in the configuration; `);
        const words = Object.fromEntries(settings.split(", ").map((setting) => setting.split(": "))) as Asked;
        expect(passes(facts, { ...asked, ...words }, met)).toBe(true);
        // And none of them is one too many.
        for (const word of Object.keys(words) as (keyof Asked)[]) {
          const { [word]: _kept, ...others } = words;
          expect(passes(facts, { ...asked, ...others }, met ?? outcome("clear"))).toBe(false);
        }
      }
    });

  test("a refusal of the host's own is not ours to lower", () => {
    const report = reportOf("greeting", decided({ sts: sts.listed }, AUTHENTICATED).rules, undefined);
    expect(advise(problem("validation-failure"), { nextHop: "example.test", waits: false, checked: true, report }).meanwhile).toEqual([]);
  });

  test("a route is lowered where it stands, and what the domain publishes beside it", () => {
    const { local, ...rest } = demandsOf(AUTHENTICATED);
    const floor = { floor: "authenticated", because: { source: "route", text: "delivery.routes[1]" } } as const;
    const { rules } = decideHost(hostFacts({ tlsa: tlsa.usable }), { ...rest, local: { ...local, floor } });
    const { meanwhile } = advise(problem("validation-failure"), {
      nextHop: "example.org",
      waits: true,
      report: reportOf("handshake", rules, outcome({ webpki: false, dane: false })),
    });
    expect(meanwhile[0]).toMatch(
      /^set delivery\.routes\[1\]\.tls to encrypted, and tls: \{ domains: \{ example\.org: \{ published: report \} \} \}/,
    );
  });

  test("a weaker floor is never named without its price", () => {
    for (const type of ["certificate-expired", "starttls-not-supported"] as const)
      expect(advise(problem(type), { nextHop: "example.org", waits: true }).meanwhile[0]).toMatch(/weakens TLS there/);
  });

  test("where this message met nobody, no setting is guessed: check says what would help", () => {
    const { meanwhile } = advise(problem("certificate-expired"), { nextHop: "example.org", id: "0KF3V7Q2M9", waits: true, untried: true });
    expect(meanwhile).toEqual([
      "postern check example.org   (shows what stands in the way there, and what would help)",
      "postern queue retry --domain example.org   |   postern queue retry 0KF3V7Q2M9",
    ]);
  });

  // RFC 8689 §5.
  test("a notice about a message with REQUIRETLS goes in clear under no floor, so none is named", () => {
    const { rules } = decided({ sts: sts.listed }, { floor: "encrypted" });
    const subject = {
      nextHop: "example.test",
      waits: false,
      checked: true,
      report: reportOf("starttls", rules, outcome("clear")),
    } as const;
    const stripped = problem("starttls-not-supported");
    expect(advise(stripped, subject).meanwhile[0]).toContain("{ published: report, floor: opportunistic }");
    expect(advise(stripped, { ...subject, neverClear: true }).meanwhile).toEqual([]);
    const { report: _report, ...unknown } = subject;
    expect(advise(stripped, { ...unknown, neverClear: true }).meanwhile).toEqual([]);
    expect(advise(problem("certificate-expired"), { ...unknown, neverClear: true }).meanwhile[0]).toContain("floor: encrypted");
  });

  test("what a host that was not dialled would show is not known, and a floor may be next", () => {
    const line = (asked: Asked): string | undefined => {
      const report = reportOf("skipped", decided({ sts: sts.unlisted }, asked).rules, undefined);
      return advise(problem("validation-failure"), { nextHop: "example.test", waits: true, report }).meanwhile[0];
    };
    expect(line(AUTHENTICATED)).toContain("; its TLS was not seen; a floor may stand in the way next)");
    expect(line({})).not.toContain("its TLS was not seen");
  });

  test("nothing is left to do for what waits no more", () => {
    expect(advise(problem("certificate-expired"), { nextHop: "example.org", waits: false }).meanwhile).toEqual([]);
  });

  test("a configured host that does not exist is corrected where it is configured", () => {
    const { whoActs, meaning } = advise(problem("domain-not-found", "you", "mx.typo.test"), {
      nextHop: "example.org",
      waits: true,
      demanded: "authenticated (delivery.routes[2])",
    });
    expect(whoActs).toBe("you: correct the name mx.typo.test in delivery.routes[2]");
    expect(meaning).toBe("a host that the configuration names does not exist");
    expect(advise(problem("domain-not-found", "sender"), { nextHop: "example.org", waits: false }).whoActs).toContain("spelled right");
  });

  test("an address literal is quoted for YAML and for a shell", () => {
    const { meanwhile } = advise(problem("certificate-expired"), { nextHop: "[192.0.2.1]", waits: true });
    expect(meanwhile[0]).toContain('{ "[192.0.2.1]": {');
    expect(meanwhile[1]).toContain("--domain '[192.0.2.1]'");
  });
});

describe("a validation failure has as many meanings as its detail names", () => {
  const cases: [detail: string, meaning: RegExp, todo: RegExp][] = [
    [
      "mx9 is not listed (mx-not-in-policy); demanded by MTA-STS enforce",
      /does not list this mail host/,
      /list mx1\.example\.org in https:\/\/mta-sts/,
    ],
    ["no record matches (dane-no-match)", /matches none of its TLSA records/, /key that mx1\.example\.org uses now/],
    ["nothing proves it (mx-unproven)", /tls\.host asks for a host/, /sign the MX records of example\.org, or publish/],
    ["12 octets in clear (starttls-injection)", /slips text in/, /between this relay and mx1\.example\.org/],
    ["handshake failure", /TLS with the host failed/, /speak TLS 1\.2/],
    ["something (never-heard-of)", /TLS with the host failed/, /speak TLS 1\.2/],
  ];
  for (const [detail, meaning, todo] of cases)
    test(detail, () => {
      const advice = advise(
        { ...problem("validation-failure", "receiver", "mx1.example.org"), detail },
        { nextHop: "example.org", waits: true },
      );
      expect(advice.meaning).toMatch(meaning);
      expect(advice.whoActs).toMatch(todo);
      expect(advice.docs).toBe("docs/reasons.md#validation-failure");
    });
});

describe("a question without an answer names who is to answer it", () => {
  const cases: [name: string, asked: Partial<DeliveryProblem>, demanded: string | undefined, todo: string | RegExp][] = [
    [
      "TLSA records",
      { type: "dnssec-invalid", detail: "the TLSA look-up for mx.other.test failed, so …", host: "mx.other.test" },
      undefined,
      "example.org: make the name servers of mx.other.test's zone answer for _25._tcp.mx.other.test; compare https://dnsviz.net",
    ],
    [
      "addresses of a host",
      { type: "dns-failure", detail: "the DNS question for the addresses of mx.other.test failed: SERVFAIL", host: "mx.other.test" },
      undefined,
      /^example\.org: make the name servers of mx\.other\.test's zone answer for its addresses/,
    ],
    [
      "addresses of a host, bogus",
      { type: "dnssec-invalid", detail: "the DNS question for the addresses of mx.other.test failed: SERVFAIL", host: "mx.other.test" },
      undefined,
      "example.org: repair the DNSSEC of mx.other.test; compare https://dnsviz.net",
    ],
    ["MX records", { type: "dns-failure" }, undefined, /^example\.org: look at the name servers of example\.org;/],
    ["MX records, bogus", { type: "dnssec-invalid" }, undefined, /^example\.org: repair the DNSSEC of example\.org;/],
    [
      "nobody answers this relay",
      { type: "dns-failure", whoActs: "you" },
      undefined,
      /^you: this relay's resolver gets no answers: open port 53/,
    ],
    [
      "nobody answers this relay, TLSA",
      { type: "dnssec-invalid", detail: "the TLSA look-up for mx.other.test failed", whoActs: "you", host: "mx.other.test" },
      undefined,
      /^you: .*resolver\.managed\.forwarders, or resolver\.servers: \[system\] \(without DANE\)$/,
    ],
    [
      "a host that the configuration names",
      { type: "dns-failure", whoActs: "you", host: "hub.corp.test" },
      "authenticated (relayhost)",
      "you: make the system's resolver answer for hub.corp.test, which delivery.relayhost names",
    ],
  ];
  for (const [name, asked, demanded, todo] of cases)
    test(name, () => {
      const { whoActs } = advise(
        { ...problem("dns-failure"), ...asked },
        { nextHop: "example.org", waits: true, ...(demanded !== undefined && { demanded }) },
      );
      expect(whoActs).toMatch(todo);
    });
});

test("a blind resolver lets mail pass under published: report, which has its price", () => {
  const { meanwhile } = advise(problem("resolver-blind", "you"), { nextHop: "example.org", waits: true });
  expect(meanwhile[0]).toMatch(
    /^tls: \{ domains: \{ example\.org: \{ published: report \} \} \} {3}\(in the configuration; sets aside what the domain publishes/,
  );
});

test("a blind resolver is the admin's own to mend", () => {
  const { whoActs } = advise(problem("resolver-blind", "you"), { nextHop: "example.org", waits: true });
  expect(whoActs).toMatch(/^you: .*resolver\.servers: \[managed\].*postern check example\.org/);
});

test("an address literal under a floor that asks for proof is the sender's to replace", () => {
  const { whoActs } = advise(problem("not-configured", "sender"), { nextHop: "[192.0.2.1]", waits: true });
  expect(whoActs).toMatch(/^the sender: write to a domain instead/);
});
