/** Facts of one host as decideHost takes them, and what comes of them in one line. */
import type { Domain, NextHop } from "../../src/mail/domain.ts";
import { decideHost, type PolicyVerdict } from "../../src/policy/decision.ts";
import type { Demands, HostFacts } from "../../src/policy/host-facts.ts";
import type { DnssecState, StsFinding, TlsaFinding, TlsaRecord } from "../../src/policy/facts.ts";
import type { HostFloor, LocalPolicy, PublishedMode, TlsFloor } from "../../src/policy/local-policy.ts";
import type { DaneVerdict, TlsFailure, TlsOutcome, WebPkiVerdict } from "../../src/policy/outcome.ts";
import { findUnmet } from "../../src/policy/requirement.ts";
import type { StsMode } from "../../src/policy/sts-policy.ts";

export const HOST = "mx.host.test";
export const dnssec = (kind: DnssecState["kind"]): DnssecState => ({ kind, detail: `the resolver is ${kind}`, since: 0 });

const usableRecord: TlsaRecord = { usage: 3, selector: 1, matchingType: 1, data: Buffer.alloc(32, 1) };
const unusableRecord: TlsaRecord = { usage: 1, selector: 1, matchingType: 1, data: Buffer.alloc(32, 1) };
const records = (record: TlsaRecord, baseDomain = HOST): TlsaFinding => ({
  kind: "records",
  baseDomain: baseDomain as Domain,
  records: [record],
  expires: 1,
});
export const tlsa = {
  usable: records(usableRecord),
  unusable: records(unusableRecord),
  none: { kind: "none", asked: [`_25._tcp.${HOST}`], security: "secure", expires: 1 },
  insecure: { kind: "none", asked: [`_25._tcp.${HOST}`], security: "insecure", expires: 1 },
  notAsked: { kind: "not-asked", why: "its addresses are not signed" },
  failed: { kind: "failed", asked: `_25._tcp.${HOST}`, failure: { kind: "failed", reason: "servfail", detail: "SERVFAIL from ::1" } },
  at: (baseDomain: string) => records(usableRecord, baseDomain),
} as const satisfies Record<string, TlsaFinding | ((baseDomain: string) => TlsaFinding)>;

const policyDomain = "example.test" as Domain;
const trouble: TlsFailure = { type: "sts-policy-fetch-error", detail: "the policy host did not answer", whoActs: "receiver" };
export const policy = (mode: StsMode, mx: readonly string[] = [HOST], more: { trouble?: TlsFailure } = {}): StsFinding => ({
  kind: "policy",
  policyDomain,
  policy: { mode, maxAge: 86_400, mx, text: "" },
  id: "1",
  fetchedAt: 0,
  expires: 1,
  ...more,
});
export const sts = {
  none: { kind: "none", policyDomain },
  modeNone: policy("none"),
  listed: policy("enforce"),
  unlisted: policy("enforce", ["other.test"]),
  stale: policy("enforce", ["other.test"], { trouble }),
  testing: policy("testing"),
  testingUnlisted: policy("testing", ["other.test"]),
  unavailable: { kind: "unavailable", policyDomain, failure: trouble },
  notAsked: { kind: "not-asked", why: "an address literal" },
} as const satisfies Record<string, StsFinding>;

export const hostFacts = (more: Partial<HostFacts> = {}): HostFacts => ({
  nextHop: "example.test" as NextHop,
  host: HOST,
  origin: "mx",
  mxSecurity: "secure",
  sts: sts.none,
  tlsa: tlsa.none,
  dnssec: dnssec("validating"),
  certificateName: HOST,
  ...more,
});

export interface Asked {
  readonly floor?: TlsFloor;
  readonly host?: HostFloor;
  readonly published?: PublishedMode;
  readonly tag?: Demands["tag"];
  readonly belowFloor?: boolean;
}

export function demandsOf({ floor = "opportunistic", host = "any", published = "enforce", tag, belowFloor = false }: Asked = {}): Demands {
  const local: LocalPolicy = {
    floor: { floor, because: { source: "floor", text: "tls.floor of this relay" } },
    host: { level: host, because: { source: "host-floor", text: "tls.host of this relay" } },
    published: { mode: published, setting: "tls.published of this relay" },
  };
  return { local, ...(tag !== undefined && { tag }), mayGoBelowFloor: belowFloor, daneDigests: ["sha512", "sha256"] };
}

/** `authenticated dane webpki`, `encrypted`, `skip dnssec-invalid by dane`, `skip validation-failure by mta-sts, lasting`. */
export function inWords(verdict: PolicyVerdict): string {
  if (verdict.kind === "skip") return `skip ${verdict.failure.type} by ${verdict.because.source}${verdict.lasting ? ", lasting" : ""}`;
  const { atLeast, dane, webpki, requireTlsKeyword } = verdict.requirement;
  return [
    atLeast,
    ...(dane?.demanded === true ? ["dane"] : []),
    ...(webpki.demanded ? ["webpki"] : []),
    ...(requireTlsKeyword === undefined ? [] : [requireTlsKeyword.mandatory ? "keyword" : "keyword-if-offered"]),
  ].join(" ");
}

export const decided = (facts: Partial<HostFacts>, asked?: Asked) => decideHost(hostFacts(facts), demandsOf(asked));
export const verdictFor = (facts: Partial<HostFacts>, asked?: Asked): string => inWords(decided(facts, asked).verdict);

/** What the host turned out to be: `clear`, or a session with these proofs. */
export function outcome(proofs: "clear" | { readonly webpki: boolean; readonly dane?: boolean }): TlsOutcome {
  const because: TlsFailure = { type: "validation-failure", detail: "not proven", whoActs: "receiver" };
  if (proofs === "clear") return { kind: "clear", because };
  const webpki: WebPkiVerdict = proofs.webpki ? { held: true, referenceIdentifier: HOST } : { held: false, failure: because };
  const dane: DaneVerdict | undefined =
    proofs.dane === undefined
      ? undefined
      : proofs.dane
        ? { held: true, baseDomain: HOST, record: "3 1 1 01" }
        : { held: false, failure: because };
  const session = { protocol: "TLSv1.3", cipher: "x", chain: [], webpki, ...(dane !== undefined && { dane }) };
  return proofs.webpki || proofs.dane === true ? { kind: "authenticated", session } : { kind: "encrypted", session, because };
}

/** `send`, or `skip`; and whether something that only watches would have been against it. */
export function delivered(facts: Partial<HostFacts>, asked: Asked, given: TlsOutcome): string {
  const { verdict, watched } = decided(facts, asked);
  const may = (judged: PolicyVerdict): boolean => judged.kind === "try" && findUnmet(given, judged.requirement) === undefined;
  if (!may(verdict)) return "skip";
  return watched.every(may) ? "send" : "send, reported";
}
