/**
 * What DNS and policy hosts said, as values: every answer with its security status and age. Asking is lookup/; judging
 * is policy/decision.ts and delivery/plan.ts. A failed question is a finding too.
 */
import type { Domain } from "../mail/domain.ts";
import type { TlsFailure } from "./outcome.ts";
import type { StsPolicy } from "./sts-policy.ts";

/** RFC 4035 §4.3 as far as a stub resolver can know it; `failed` includes bogus (SERVFAIL), timeout, garbage. */
export type SecurityStatus = "secure" | "insecure";

/** Why a question has no answer. `detail` is clean text: `SERVFAIL from 127.0.0.1 (EDE 7 signature expired)`. */
export interface LookupFailure {
  readonly kind: "failed";
  readonly reason: "servfail" | "refused" | "timeout" | "malformed" | "unreachable" | "alias-loop" | "not-a-name";
  readonly detail: string;
  /** RFC 8914 info code, where the resolver gave one. */
  readonly extendedError?: number;
}

/** The answer of DNS to one question, aliases followed. Times are milliseconds since 1970. */
export interface Answer<T> {
  readonly kind: "answer";
  /** Empty means NODATA. */
  readonly records: readonly T[];
  readonly security: SecurityStatus;
  /** The name the records stand at after aliases were followed; the asked name when there was none. */
  readonly canonicalName: string;
  readonly expires: number;
}

/** The name does not exist (RFC 8020). */
export interface NoSuchName {
  readonly kind: "no-such-name";
  readonly security: SecurityStatus;
  readonly expires: number;
}

export type Finding<T> = Answer<T> | NoSuchName | LookupFailure;

/** The TXT records of a name, each as its character-strings. */
export type FindTxt = (name: string) => Promise<Finding<readonly Buffer[]>>;

export interface MxRecord {
  readonly preference: number;
  /** As written in the record, lower case, without final dot; may be no host name at all. `""` is the root (null MX). */
  readonly exchange: string;
}

export interface HostAddress {
  readonly address: string;
  readonly family: 4 | 6;
}

/** Every question delivery asks of DNS. Names are asked absolute, never completed (RFC 5321 §5.1). */
export interface DnsLookup {
  findMx(domain: Domain): Promise<Finding<MxRecord>>;
  /** A and AAAA together, in the order they are to be tried; a failure of one family with records of the other is an answer. */
  findAddresses(host: Domain): Promise<Finding<HostAddress>>;
}

/**
 * What this relay's resolver is worth for DANE (RFC 7672 §2.1.1):
 *
 * - `validating`: its AD bit is believed, and it has shown that it validates;
 * - `untested`: its AD bit is believed; the self-test had no answer yet that says otherwise;
 * - `untrusted`: the operator's choice of resolver gives no AD bit that may be believed, so every answer is insecure;
 * - `blind`: the resolver was to validate and positively does not (a signed name without AD, a broken name answered, no
 *   resolver program at all). Every answer is insecure, and domains known to have DANE wait. Never concluded from silence.
 */
export interface DnssecState {
  readonly kind: "validating" | "untested" | "untrusted" | "blind";
  /** A clean sentence for people, with the fix where there is one to name. */
  readonly detail: string;
  /** When it became so, ms since 1970. */
  readonly since: number;
}

/** One TLSA record (RFC 6698 §2.1). */
export interface TlsaRecord {
  readonly usage: number;
  readonly selector: number;
  readonly matchingType: number;
  readonly data: Buffer;
}

/** The TLSA records that speak for one host and port (RFC 7672 §2.2). */
export type TlsaFinding =
  /** No question was due: addresses insecure (§2.2.2), an address literal, no resolver to believe. `why` is a clean clause. */
  | { readonly kind: "not-asked"; readonly why: string }
  /** No secure record at any candidate: DANE does not apply. */
  | {
      readonly kind: "none";
      /** `_25._tcp.mx.example.org` in the order asked. */
      readonly asked: readonly string[];
      /** `insecure`: at least one candidate answered without proof. */
      readonly security: SecurityStatus;
      readonly expires: number;
    }
  /** A secure set, usable or not: it binds (§2.2.3). */
  | {
      readonly kind: "records";
      /** RFC 7672 §2.2.3: SNI, and a reference identifier. */
      readonly baseDomain: Domain;
      readonly records: readonly TlsaRecord[];
      readonly expires: number;
    }
  /** The host must not be contacted (§2.1.2). */
  | { readonly kind: "failed"; readonly asked: string; readonly failure: LookupFailure };

/**
 * Finds the TLSA records of a host, its addresses being known already (RFC 7672 §2.2.2: nothing is asked where they are
 * insecure). Never rejects.
 */
export type FindTlsa = (host: Domain, port: number, addresses: Finding<HostAddress>) => Promise<TlsaFinding>;

/** What is known of a domain's MTA-STS policy (RFC 8461). Times are milliseconds since 1970. */
export type StsFinding =
  /** No question was due: an address literal, an operator's switch. */
  | { readonly kind: "not-asked"; readonly why: string }
  /** No record was found, and no policy is kept. */
  | {
      readonly kind: "none";
      readonly policyDomain: Domain;
      /** Why the look-up has no answer, so that there may be a record after all; absent where DNS said that there is none. */
      readonly trouble?: TlsFailure;
    }
  | {
      readonly kind: "policy";
      readonly policyDomain: Domain;
      readonly policy: StsPolicy;
      /** `id` of the TXT record that led to the fetch (RFC 8461 §3.1). */
      readonly id: string;
      readonly fetchedAt: number;
      readonly expires: number;
      /** Why discovery or the latest fetch failed while this policy is kept (RFC 8461 §6). */
      readonly trouble?: TlsFailure;
    }
  /** A record is there, no policy could be had, and none is kept: as though there were none (RFC 8461 §3.3). */
  | { readonly kind: "unavailable"; readonly policyDomain: Domain; readonly failure: TlsFailure };

/**
 * Gives the policy to apply now, fetching it where that is due; never takes longer than its deadline. Rejects only where our
 * own store cannot say what is kept, or the process stops: "none" would be a downgrade then.
 */
export type FindStsPolicy = (policyDomain: Domain) => Promise<StsFinding>;

/** Addresses of hosts that the operator named (routes, relayhost), by the system's own resolver: never called secure. */
export type FindConfiguredHost = (host: string) => Promise<Finding<HostAddress>>;
