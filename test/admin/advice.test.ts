import { describe, expect, test } from "vitest";
import { advise, whoActsShort } from "../../src/admin/advice.ts";
import type { Rule } from "../../src/policy/decision.ts";
import type { TlsOutcome, WhoActs } from "../../src/policy/outcome.ts";
import type { DeliveryProblem, HostReport, ProblemType } from "../../src/queue/settlement.ts";

const problem = (type: ProblemType, whoActs: WhoActs = "receiver", host?: string): DeliveryProblem => ({
  type,
  detail: "",
  whoActs,
  status: "4.0.0",
  ...(host !== undefined && { host }),
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

  const AUTHENTICATED = {
    source: "floor",
    text: "tls.floor of this relay",
    section: "",
    effect: "holds",
    says: "authenticated TLS",
  } as const;
  const ENCRYPTED = { ...AUTHENTICATED, says: "encrypted TLS" };
  const STS = { source: "mta-sts", text: "MTA-STS enforce of example.org", section: "RFC 8461 §5", effect: "won", says: "" } as const;
  const DANE = { source: "dane", text: "the TLSA records of mx (DANE)", section: "RFC 7672 §2.2", effect: "won", says: "" } as const;
  const MANDATORY = {
    source: "host-floor",
    text: "tls.host of this relay",
    section: "RFC 7672 §6",
    effect: "holds",
    says: "mandatory DANE",
  } as const;
  const REQUIRETLS = { source: "requiretls", text: "REQUIRETLS of the message", section: "", effect: "won", says: "" } as const;
  const ASIDE = { source: "requiretls", text: "TLS-Required: No of the message", section: "", effect: "won", says: "" } as const;
  const ROUTE = { ...AUTHENTICATED, source: "route", text: "delivery.routes[1]" } as const;
  const failure = { type: "validation-failure", detail: "x", whoActs: "receiver" } as const;
  const session = (webpki: boolean, dane?: boolean): TlsOutcome => {
    const base = {
      protocol: "TLSv1.3",
      cipher: "x",
      chain: [],
      webpki: webpki ? { held: true as const, referenceIdentifier: "mx" } : { held: false as const, failure },
      ...(dane !== undefined && {
        dane: dane ? { held: true as const, baseDomain: "mx", record: "3 1 1 00" } : { held: false as const, failure },
      }),
    };
    return webpki || dane === true ? { kind: "authenticated", session: base } : { kind: "encrypted", session: base, because: failure };
  };
  const clear: TlsOutcome = { kind: "clear", because: failure };
  const report = (step: HostReport["step"], rules: readonly Rule[], tls?: TlsOutcome) => ({
    step,
    ...(tls !== undefined && { tls }),
    policy: { host: "dnssec" as const, tlsa: { kind: "not-asked" as const, why: "" }, rules },
  });
  // What stood in the way decides what is named: a floor alone is no help against a policy, and none against REQUIRETLS.
  const lowered: [string, ReturnType<typeof report>, string | undefined][] = [
    ["a bad certificate under the floor", report("handshake", [AUTHENTICATED], session(false)), "floor: encrypted"],
    [
      "the same under MTA-STS and the floor",
      report("handshake", [STS, AUTHENTICATED], session(false)),
      "published: report, floor: encrypted",
    ],
    ["the same under MTA-STS and a lower floor", report("handshake", [STS, ENCRYPTED], session(false)), "published: report"],
    ["MTA-STS holds, DANE fails", report("handshake", [DANE, STS, AUTHENTICATED], session(true, false)), "published: report"],
    ["DANE holds, MTA-STS fails", report("handshake", [DANE, STS, AUTHENTICATED], session(false, true)), "published: report"],
    ["DANE alone holds nothing", report("handshake", [DANE, AUTHENTICATED], session(false, false)), "published: report, floor: encrypted"],
    ["mandatory DANE fails", report("handshake", [MANDATORY, DANE, AUTHENTICATED], session(true, false)), "published: report, host: any"],
    ["no STARTTLS under the floor", report("starttls", [ENCRYPTED], clear), "floor: opportunistic"],
    ["a handshake that fails", report("handshake", [AUTHENTICATED]), "floor: opportunistic"],
    ["a host that the policy leaves out", report("skipped", [STS, AUTHENTICATED]), "published: report"],
    ["a TLSA look-up that failed", report("skipped", [DANE, AUTHENTICATED]), "published: report"],
    ["an unsigned MX under tls.host", report("skipped", [{ ...MANDATORY, effect: "won", says: "" }, AUTHENTICATED]), "host: any"],
    [
      "a policy that was only watched",
      report("handshake", [{ ...STS, effect: "watched" }, AUTHENTICATED], session(false)),
      "floor: encrypted",
    ],
    ["REQUIRETLS", report("handshake", [REQUIRETLS, AUTHENTICATED], session(false)), undefined],
    ["TLS-Required: No", report("handshake", [ASIDE, { ...STS, effect: "watched" }, AUTHENTICATED], session(false)), "floor: encrypted"],
    ["a refusal of the host's own", report("greeting", [STS, AUTHENTICATED]), undefined],
  ];
  for (const [name, met, settings] of lowered)
    test(`${name}: ${settings ?? "nothing is named"}`, () => {
      const { meanwhile } = advise(problem("validation-failure"), { nextHop: "example.org", waits: false, checked: true, report: met });
      if (settings === undefined) expect(meanwhile).toEqual([]);
      else expect(meanwhile[0]).toContain(`tls: { domains: { example.org: { ${settings} } } }   (in the configuration; `);
    });

  test("a route is lowered where it stands, and what the domain publishes beside it", () => {
    const { meanwhile } = advise(problem("validation-failure"), {
      nextHop: "example.org",
      waits: true,
      report: report("handshake", [DANE, ROUTE], session(false, false)),
    });
    expect(meanwhile[0]).toMatch(
      /^set delivery\.routes\[1\]\.tls to encrypted, and tls: \{ domains: \{ example\.org: \{ published: report \} \} \}/,
    );
  });

  test("a weaker floor is never named without its price", () => {
    for (const type of ["certificate-expired", "starttls-not-supported"] as const)
      expect(advise(problem(type), { nextHop: "example.org", waits: true }).meanwhile[0]).toMatch(/weakens TLS there/);
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

test("a blind resolver is the admin's own to mend", () => {
  const { whoActs } = advise(problem("resolver-blind", "you"), { nextHop: "example.org", waits: true });
  expect(whoActs).toMatch(/^you: .*resolver\.servers: \[managed\].*postern check example\.org/);
});

test("an address literal under a floor that asks for proof is the sender's to replace", () => {
  const { whoActs } = advise(problem("not-configured", "sender"), { nextHop: "[192.0.2.1]", waits: true });
  expect(whoActs).toMatch(/^the sender: write to a domain instead/);
});
