/** The judge of what is counted for reports: what it lets pass, and what it does not. */
import { expect, test } from "vitest";
import type { AppliedPolicy, FailureDetail } from "../../src/policy/observation.ts";
import type { PolicyCount } from "../../src/queue/tls-reports.ts";
import { describeCounted, findStrangers, judgeCounted } from "./expected-reports.ts";
import { Site, type SiteIo } from "./site.ts";

const HEX = "ab".repeat(32);

/** `s001.sec.test` with two MX hosts, a TLSA record at the first, and a policy. */
function makeSite(): Site {
  const site = new Site("s001", {} as SiteIo);
  for (const label of ["mx1", "mx2"]) {
    const name = `${label}-s001.sec.test`;
    site.hosts.set(label, { label, name, address: "44.53.0.1" });
    site.published.push({ owner: site.domain, type: "MX", data: `10 ${name}.` });
  }
  site.published.push({ owner: "_25._tcp.mx1-s001.sec.test", type: "TLSA", data: `3 1 1 ${HEX}` });
  site.policies.push("version: STSv1\nmode: enforce\nmx: mx1-s001.sec.test\nmax_age: 86400\n");
  return site;
}

const STS: AppliedPolicy = {
  type: "sts",
  domain: "s001.sec.test",
  text: ["version: STSv1", "mode: enforce", "mx: mx1-s001.sec.test", "max_age: 86400"],
  mxHost: ["mx1-s001.sec.test"],
};
const TLSA: AppliedPolicy = { type: "tlsa", domain: "mx1-s001.sec.test", text: [`3 1 1 ${HEX}`] };
const NONE: AppliedPolicy = { type: "no-policy-found", domain: "s001.sec.test", text: [] };
const UNLISTED: FailureDetail = {
  resultType: "validation-failure",
  receivingMxHostname: "mx2-s001.sec.test",
  reasonCode: "mx-not-in-policy",
};
const FETCH: FailureDetail = { resultType: "sts-policy-fetch-error", reasonCode: "http-404" };

function count(policy: AppliedPolicy, successes: number, failures = 0, ...details: readonly FailureDetail[]): PolicyCount {
  return { policy, successes, failures, details: details.map((detail) => ({ detail, sessions: failures })) };
}

function judge(told: string, counted: readonly PolicyCount[]): number {
  return judgeCounted(makeSite(), told, new Map([["s001.sec.test", counted]])).length;
}

const passes: [told: string, counted: PolicyCount[]][] = [
  ["nothing", []],
  ["no-policy-found ok", [count(NONE, 1)]],
  ["no-policy-found ok 2", [count(NONE, 2)]],
  ["sts ok + tlsa of mx1 ok", [count(TLSA, 1), count(STS, 1)]],
  ["sts failed validation-failure/mx-not-in-policy", [count(STS, 0, 1, UNLISTED)]],
  ["sts ok, failed validation-failure/*", [count(STS, 1, 1, UNLISTED)]],
  ["no-policy-found failed sts-policy-fetch-error/http-*", [count(NONE, 0, 1, FETCH)]],
  ["no-policy-found ok | nothing", []],
  ["nothing | no-policy-found ok", [count(NONE, 1)]],
];
for (const [told, counted] of passes) test(`${told}: passes`, () => expect(judge(told, counted)).toBe(0));

const differs: [what: string, told: string, counted: PolicyCount[]][] = [
  ["nothing was counted", "sts ok", []],
  ["something was counted", "nothing", [count(NONE, 1)]],
  ["a policy is missing", "sts ok + tlsa of mx1 ok", [count(STS, 1)]],
  ["one is too many", "sts ok", [count(STS, 1), count(TLSA, 1)]],
  ["twice the same", "sts ok", [count(STS, 1), count(STS, 1)]],
  ["counted twice", "no-policy-found ok", [count(NONE, 2)]],
  ["neither of two", "sts ok | nothing", [count(NONE, 1)]],
  ["another type", "no-policy-found ok", [count(STS, 1)]],
  ["another result", "sts failed certificate-expired", [count(STS, 0, 1, UNLISTED)]],
  ["a star is a code", "no-policy-found failed sts-policy-fetch-error/*", [count(NONE, 0, 1, { resultType: "sts-policy-fetch-error" })]],
  ["without a star there is none", "no-policy-found failed sts-policy-fetch-error", [count(NONE, 0, 1, FETCH)]],
  ["another base domain", "tlsa of mx1 ok", [count({ ...TLSA, domain: "mx2-s001.sec.test" }, 1)]],
  ["records that nobody published", "tlsa of mx1 ok", [count({ ...TLSA, text: [`3 1 1 ${"cd".repeat(32)}`] }, 1)]],
  ["no records", "tlsa of mx1 ok", [count({ ...TLSA, text: [] }, 1)]],
  ["a line of the policy is missing", "sts ok", [count({ ...STS, text: STS.text.slice(1) }, 1)]],
  ["patterns of another policy", "sts ok", [count({ ...STS, mxHost: ["*.sec.test"] }, 1)]],
  ["a policy of another domain", "sts ok", [count({ ...STS, domain: "sec.test" }, 1)]],
  ["something is quoted", "no-policy-found ok", [count({ ...NONE, text: ["x"] }, 1)]],
  [
    "a host of somebody else",
    "sts failed validation-failure/*",
    [count(STS, 0, 1, { ...UNLISTED, receivingMxHostname: "mx.nowhere.test" })],
  ],
  ["an address nobody connected to", "sts failed validation-failure/*", [count(STS, 0, 1, { ...UNLISTED, receivingIp: "44.53.0.1" })]],
  ["no address, with a certificate", "sts failed certificate-expired", [count(STS, 0, 1, { resultType: "certificate-expired" })]],
];
for (const [what, told, counted] of differs) test(`${what}: differs`, () => expect(judge(told, counted)).toBeGreaterThan(0));

test("what is counted for the host of a route is told apart, and strangers are found", () => {
  const site = makeSite();
  site.route = { host: "mx1-s001.sec.test" };
  const counted = new Map([
    ["mx1-s001.sec.test", [count({ ...NONE, domain: "mx1-s001.sec.test" }, 1)]],
    ["sec.test", []],
  ]);
  expect(describeCounted(site, counted)).toBe("relay: no-policy-found ok");
  expect(judgeCounted(site, "relay: no-policy-found ok", counted)).toEqual([]);
  expect(judgeCounted(site, "no-policy-found ok", counted)).toHaveLength(1);
  expect(findStrangers([site], counted)).toEqual(["sec.test"]);
});
