/**
 * What DNS said, as values: every answer with its security status and age. Asking is lookup/dns.ts; judging is
 * delivery/plan.ts. A failed question is a finding too.
 */
import type { Domain } from "../mail/domain.ts";

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

/** Addresses of hosts that the operator named (routes, relayhost), by the system's own resolver: never called secure. */
export type FindConfiguredHost = (host: string) => Promise<Finding<HostAddress>>;
