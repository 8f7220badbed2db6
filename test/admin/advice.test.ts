import { describe, expect, test } from "vitest";
import { advise, whoActsShort } from "../../src/admin/advice.ts";
import type { WhoActs } from "../../src/policy/outcome.ts";
import type { DeliveryProblem, ProblemType } from "../../src/queue/settlement.ts";

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
