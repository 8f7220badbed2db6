import { expect, test } from "vitest";
import type { Domain } from "../../src/mail/domain.ts";
import { stsEvidence } from "../../src/policy/evidence.ts";
import type { StsFinding } from "../../src/policy/facts.ts";
import type { TlsFailure } from "../../src/policy/outcome.ts";
import { policy } from "../support/decisions.ts";

const policyDomain = "example.test" as Domain;

test("what a policy host served is not kept again with every attempt", () => {
  const kept: TlsFailure = { type: "sts-policy-invalid", detail: "version is missing", whoActs: "receiver", code: "version" };
  const failure: TlsFailure = { ...kept, served: "mode: none\n".repeat(300) };
  const findings: StsFinding[] = [
    { kind: "unavailable", policyDomain, failure },
    { kind: "none", policyDomain, trouble: failure },
    policy("enforce", ["mx.host.test"], { trouble: failure }),
  ];
  expect(findings.map(stsEvidence)).toMatchObject([{ failure: kept }, { trouble: kept }, { trouble: kept }]);
  expect(JSON.stringify(findings.map(stsEvidence))).not.toContain("served");
});
