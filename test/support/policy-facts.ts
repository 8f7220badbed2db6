/** Facts of a domain that publishes nothing, behind a resolver that proves nothing: what most tests of delivery start from. */
import { createDecider } from "../../src/delivery/decide.ts";
import type { HostFindings } from "../../src/delivery/gather.ts";
import type { PlannedHost } from "../../src/delivery/plan.ts";
import type { NextHop } from "../../src/mail/domain.ts";
import type { NextHopEvidence } from "../../src/policy/evidence.ts";
import type { DnssecState, StsFinding, TlsaFinding } from "../../src/policy/facts.ts";
import type { LocalPolicy, TlsFloor } from "../../src/policy/local-policy.ts";
import type { TlsOutcome } from "../../src/policy/outcome.ts";
import type { TlsRequirement } from "../../src/policy/requirement.ts";

export const UNTRUSTED: DnssecState = { kind: "untrusted", detail: "no resolver whose word counts", since: 0 };
export const NO_STS: StsFinding = { kind: "not-asked", why: "a test" };
export const NO_TLSA: TlsaFinding = { kind: "not-asked", why: "a test" };
export const NO_EVIDENCE: NextHopEvidence = { dnssec: "untrusted", sts: NO_STS };
/** What every attempt needs beside a scripted DNS. */
export const NOTHING_PUBLISHED = { sts: NO_STS, dnssec: UNTRUSTED };
export const asksNothing = {
  findStsPolicy: () => Promise.resolve(NO_STS),
  findTlsa: () => Promise.resolve(NO_TLSA),
  dnssec: () => UNTRUSTED,
  findDane: () => Promise.resolve(undefined),
};
export const NO_DEMANDS = { mayGoBelowFloor: false };
export const decide = createDecider(["sha512", "sha256"]);

export function floorOf(
  floor: TlsFloor,
  because: LocalPolicy["floor"]["because"] = { source: "floor", text: "tls.floor of this relay" },
): LocalPolicy {
  return {
    floor: { floor, because },
    host: { level: "any", because: { source: "host-floor", text: "tls.host of this relay" } },
    published: { mode: "enforce", setting: "tls.published of this relay" },
  };
}

/** What a planned host's verdict is made from, where nothing is published. */
export function policyOf(host: string, nextHop = "dest.test", floor: TlsFloor = "authenticated"): PlannedHost["policy"] {
  const facts = {
    nextHop: nextHop as NextHop,
    host,
    origin: "mx",
    mxSecurity: "insecure",
    certificateName: host,
    ...NOTHING_PUBLISHED,
  } as const;
  return { facts, local: floorOf(floor) };
}

/** The requirement that follows from a planned host without TLSA records. */
export function requirementOf(host: PlannedHost): TlsRequirement {
  const found: HostFindings = { addresses: { kind: "addresses", addresses: [] }, tlsa: NO_TLSA };
  const { verdict } = decide(host, found, NO_DEMANDS).decision;
  if (verdict.kind !== "try") throw new Error(`${host.host} is not to be asked: ${verdict.failure.detail}`);
  return verdict.requirement;
}

/** A session that WebPKI proved for this name. */
export function authenticatedAs(referenceIdentifier: string): TlsOutcome {
  const webpki = { held: true, referenceIdentifier } as const;
  return { kind: "authenticated", session: { protocol: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384", chain: [], webpki } };
}
