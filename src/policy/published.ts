/**
 * What a host's domain publishes, as demands on that host (RFC 7672 §2.2, RFC 8461 §5): its TLSA records and its MTA-STS
 * policy in, a demand of each or why there is none out. Pure. Whether they bind is policy/decision.ts.
 */
import type { Domain } from "../mail/domain.ts";
import type { Rule } from "./decision.ts";
import type { LookupFailure, StsFinding } from "./facts.ts";
import type { Demand, Demands, HostFacts } from "./host-facts.ts";
import type { TlsFailure } from "./outcome.ts";
import { lookupCode } from "./reason-code.ts";
import type { Because, DaneRequirement } from "./requirement.ts";
import { allowsHost } from "./sts-policy.ts";
import { judgeTlsa, tlsaKey } from "./tlsa.ts";

export type TlsaCase = "failed" | "usable" | "unusable" | "absent";
export type StsCase = "none" | "testing" | "enforce-listed" | "enforce-unlisted";

/** What published policy asks: of DANE, and of MTA-STS. */
export interface Cell {
  readonly dane: "skip" | "match" | "encrypt" | "nothing";
  readonly sts: "skip" | "webpki" | "watch" | "nothing";
}

/**
 * RFC 7672 §2.2 and RFC 8461 §5 side by side: both must hold, and neither overrules the other (RFC 8461 §2). So each row has
 * one `dane`, and each column one `sts`.
 */
export const PUBLISHED: Readonly<Record<TlsaCase, Readonly<Record<StsCase, Cell>>>> = {
  // §2.1.2: a failed look-up makes the host unreachable, whatever else it could show.
  failed: {
    none: { dane: "skip", sts: "nothing" },
    testing: { dane: "skip", sts: "watch" },
    "enforce-listed": { dane: "skip", sts: "webpki" },
    "enforce-unlisted": { dane: "skip", sts: "skip" },
  },
  usable: {
    none: { dane: "match", sts: "nothing" },
    testing: { dane: "match", sts: "watch" },
    "enforce-listed": { dane: "match", sts: "webpki" },
    "enforce-unlisted": { dane: "match", sts: "skip" },
  },
  // §2.2: a secure set binds even when none of its records can be used.
  unusable: {
    none: { dane: "encrypt", sts: "nothing" },
    testing: { dane: "encrypt", sts: "watch" },
    "enforce-listed": { dane: "encrypt", sts: "webpki" },
    "enforce-unlisted": { dane: "encrypt", sts: "skip" },
  },
  absent: {
    none: { dane: "nothing", sts: "nothing" },
    testing: { dane: "nothing", sts: "watch" },
    "enforce-listed": { dane: "nothing", sts: "webpki" },
    "enforce-unlisted": { dane: "nothing", sts: "skip" },
  },
};

/** What a host's TLSA records come to. */
export interface ReadTlsa {
  readonly kind: TlsaCase;
  readonly baseDomain?: Domain;
  /** For `usable` only. */
  readonly dane?: DaneRequirement;
  /** For `unusable` only: how many there are, and what is wrong with the first. */
  readonly unusable?: { readonly records: number; readonly why: string };
  /** For `failed` only. */
  readonly failure?: LookupFailure;
}

export function readTlsa(facts: HostFacts, { daneDigests }: Demands): ReadTlsa {
  const { tlsa } = facts;
  switch (tlsa.kind) {
    case "not-asked":
    case "none":
      return { kind: "absent" };
    case "failed":
      return { kind: "failed", failure: tlsa.failure };
    case "records": {
      const { baseDomain, records } = tlsa;
      const { usable, unusable } = judgeTlsa(records, daneDigests);
      if (usable.length === 0)
        return { kind: "unusable", baseDomain, unusable: { records: records.length, why: unusable[0]?.why ?? "none counts" } };
      const because = daneBecause(baseDomain);
      const referenceIdentifiers = daneIdentifiers(facts, baseDomain);
      const dane = { baseDomain, records: usable, referenceIdentifiers, demanded: false, because, key: tlsaKey(baseDomain, usable) };
      return { kind: "usable", baseDomain, dane };
    }
  }
}

/** Names for usage 2 (RFC 7672 §3.2.2): the base domain; the next hop, aliases resolved too, where nobody can have forged the way. */
function daneIdentifiers({ nextHop, host, origin, mxSecurity, expandedNextHop }: HostFacts, baseDomain: Domain): string[] {
  const names = new Set<string>([baseDomain]);
  // The operator's own word for where to go is the next hop here, whatever domain the message is for.
  if (origin === "configured") names.add(host);
  if (origin === "implicit" || (origin === "mx" && mxSecurity === "secure")) names.add(nextHop);
  if (origin === "mx" && mxSecurity === "secure" && expandedNextHop !== undefined) names.add(expandedNextHop);
  return [...names];
}

export function stsCaseOf({ sts, host }: HostFacts): StsCase {
  if (sts.kind !== "policy" || sts.policy.mode === "none") return "none";
  if (sts.policy.mode === "testing") return "testing";
  return allowsHost(sts.policy, host) ? "enforce-listed" : "enforce-unlisted";
}

export function daneDemand(facts: HostFacts, tlsa: ReadTlsa, { dane: says }: Cell): Demand | undefined {
  const because = daneBecause(tlsa.baseDomain ?? facts.host);
  switch (says) {
    case "nothing":
      return undefined;
    case "skip":
      return daneLookupFailed(facts, tlsa, { source: "dane", text: `DANE, which the failed look-up for ${facts.host} cannot rule out` });
    case "encrypt":
      return { because, atLeast: "encrypted", section: "RFC 7672 §2.2", says: describeUnusable(tlsa) };
    case "match":
      return {
        because,
        atLeast: "authenticated",
        section: "RFC 7672 §2.2",
        says: describeMatch(tlsa.dane?.records.length ?? 0),
        ...(tlsa.dane !== undefined && { dane: tlsa.dane }),
      };
  }
}

/** RFC 7672 §2.1.2: whoever can make a look-up fail must not be able to switch DANE off. */
export function daneLookupFailed({ host, dnssec }: HostFacts, { failure: lookup }: ReadTlsa, because: Because): Demand {
  const why = lookup === undefined ? "" : `: ${lookup.detail}`;
  const detail = `the TLSA look-up for ${host} failed, so DANE cannot be ruled out${why}`;
  // A resolver that cannot be reached, or answers nothing at all, is this relay's own trouble.
  const whoActs = lookup?.reason === "unreachable" || dnssec.kind === "untested" ? "you" : "receiver";
  const code = lookup === undefined ? {} : { code: lookupCode(lookup) };
  const failure: TlsFailure = { type: "dnssec-invalid", detail, whoActs, ...code };
  return { because, atLeast: "authenticated", section: "RFC 7672 §2.1.2", says: "no connection", skip: { failure, lasting: false } };
}

function daneBecause(name: string): Because {
  return { source: "dane", text: `the TLSA records of ${name} (DANE)` };
}

function describeMatch(records: number): string {
  return records === 1
    ? "a certificate that matches its usable TLSA record"
    : `a certificate that matches one of ${records} usable TLSA records`;
}

function describeUnusable({ unusable }: ReadTlsa): string {
  const { records, why } = unusable ?? { records: 0, why: "none counts" };
  return records === 1
    ? `TLS, since its TLSA record is not usable: ${why}`
    : `TLS, since none of its ${records} TLSA records is usable: ${why}`;
}

export function stsDemand({ sts, host }: HostFacts, { sts: says }: Cell): Demand | undefined {
  if (sts.kind !== "policy" || says === "nothing") return undefined;
  const { mode } = sts.policy;
  const because: Because = { source: "mta-sts", text: `MTA-STS ${mode} of ${sts.policyDomain}` };
  const watch = says === "watch" ? ({ watch: true } as const) : {};
  if (allowsHost(sts.policy, host)) {
    return {
      because,
      atLeast: "authenticated",
      webpki: true,
      section: "RFC 8461 §5",
      says: `a certificate of a trusted CA for ${host}`,
      ...watch,
    };
  }
  const failure: TlsFailure = {
    type: "validation-failure",
    detail: `${host} is not among the mail hosts that the MTA-STS policy of ${sts.policyDomain} lists (mx-not-in-policy)`,
    whoActs: "receiver",
    code: "mx-not-in-policy",
  };
  return {
    because,
    atLeast: "authenticated",
    section: "RFC 8461 §4.1",
    says: `no mail to ${host}`,
    // A policy that could not be refreshed may be an old one.
    skip: { failure, lasting: sts.trouble === undefined },
    ...watch,
  };
}

/** What published policy has to say where it asks nothing. */
export function idleRules({ host, sts, tlsa, nextHop }: HostFacts, cell: Cell): Rule[] {
  const rules: Rule[] = [];
  if (cell.dane === "nothing") {
    const asked = tlsa.kind === "none" ? ` (asked: ${tlsa.asked.join(", ")})` : "";
    const says = tlsa.kind === "not-asked" ? tlsa.why : `no TLSA records that DNSSEC proves${asked}`;
    rules.push({ source: "dane", text: `DANE of ${host}`, section: "RFC 7672 §2.2", effect: "idle", says });
  }
  if (cell.sts === "nothing")
    rules.push({
      source: "mta-sts",
      text: `MTA-STS of ${nextHop}`,
      section: sectionOfNoSts(sts),
      effect: "idle",
      says: describeNoSts(sts),
    });
  return rules;
}

/** §3.3 says what becomes of a policy that could not be had, and the failure itself may name it already. */
function sectionOfNoSts(sts: StsFinding): string {
  if (sts.kind === "unavailable" && sts.failure.detail.endsWith("(RFC 8461 §3.3)")) return "";
  return sts.kind === "none" && sts.trouble !== undefined ? "RFC 8461 §3.1" : "RFC 8461 §3.3";
}

function describeNoSts(sts: StsFinding): string {
  switch (sts.kind) {
    case "not-asked":
      return sts.why;
    case "none":
      return sts.trouble === undefined ? "publishes no policy" : `the look-up of the record failed: ${sts.trouble.detail}`;
    case "policy":
      return `mode ${sts.policy.mode}`;
    case "unavailable":
      return `a policy is announced and could not be had: ${sts.failure.detail}`;
  }
}
