/**
 * What all resolvers together are worth for DANE: who may be asked and what is known of each in; the state, with the sentence
 * that names its remedy, out (RFC 7672 §2.1.1, RFC 4035 §4.9.3). Pure. Finding out is lookup/resolver.ts, with lookup/self-test.ts.
 */
import type { ServerAddress } from "../config/server-address.ts";
import type { DnssecState } from "../policy/facts.ts";
import type { Belief } from "./self-test.ts";

/** The word of the settings, and what the resolver that Postern starts is known by. */
export const MANAGED = "managed";

export interface ResolverServer {
  /** As the settings write it; the managed one with its address. */
  readonly name: string;
  /** Whether its AD bit is believed, until the self-test says otherwise. */
  readonly trusted: boolean;
  readonly belief?: Belief;
  /** A clean clause on the last test, or on why it is not believed. */
  readonly detail: string;
  /** ms since 1970. */
  readonly testedAt?: number;
}

/** What is known of one resolver. */
export interface Judged {
  readonly belief: Belief;
  /** A clean clause: `has not been tested yet`. */
  readonly detail: string;
  /** ms since 1970. */
  readonly testedAt?: number;
}

/** One resolver as it is now; the managed one has no server while it does not run. */
export interface Source {
  readonly key: string;
  readonly name: string;
  readonly server?: ServerAddress;
  readonly trusted: boolean;
}

/** `process`: a clause on the program behind it, where it is one of ours. */
export function describeBelief(
  source: Source,
  { belief, detail, testedAt }: Judged,
  process: string | undefined,
): Pick<ResolverServer, "belief" | "detail" | "testedAt"> {
  if (!source.trusted) return { detail: "its AD bit is not believed: it is not listed in resolver.validating" };
  const isSaid = process === undefined || detail.includes(process);
  return { belief, detail: isSaid ? detail : `${detail}; ${process}`, ...(testedAt === undefined ? {} : { testedAt }) };
}

/**
 * The state of all together: one that validates is enough, and all must be blind for DANE to be off.
 *
 * `listed`: the operator lists resolvers that validate. If none of those in use is among them any more (/etc/resolv.conf was
 * rewritten), that is no choice of his: blind, not untrusted.
 */
export function summarise(
  sources: readonly Source[],
  beliefIn: (source: Source) => Judged,
  listed = false,
): Pick<DnssecState, "kind" | "detail"> {
  const trusted = sources.filter((source) => source.trusted);
  const say = (source: Source): string =>
    (source.key === MANAGED && source.server === undefined ? "" : `${source.name} `) + beliefIn(source).detail;
  if (trusted.length === 0) {
    const asked = sources.map(({ name }) => name).join(", ");
    if (listed) return { kind: "blind", detail: `DANE is off: ${asked} is asked now, and none of resolver.validating` };
    return {
      kind: "untrusted",
      detail: `DANE is off: no answer of ${asked} may be believed as DNSSEC; set resolver.servers: [managed], or list a validating resolver in resolver.validating`,
    };
  }
  const validating = trusted.find((source) => beliefIn(source).belief === "validating");
  if (validating !== undefined) return { kind: "validating", detail: `DANE is on: ${say(validating)}` };
  const untested = trusted.filter((source) => beliefIn(source).belief === "untested");
  if (untested.length > 0) return { kind: "untested", detail: untested.map((source) => say(source)).join("; ") };
  const isManaged = trusted.every((source) => source.key === MANAGED);
  const remedy = isManaged ? "" : "; set resolver.servers: [managed], or make it validate";
  return { kind: "blind", detail: `DANE is off: ${trusted.map((source) => say(source)).join("; ")}${remedy}` };
}
