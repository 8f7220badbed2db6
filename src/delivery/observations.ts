/**
 * What one walk over the hosts of a message adds to the counts of TLS-RPT: what was met, host by host, in; observations out. Made
 * only when there is something new to tell. What a host's policies make of it is policy/observe.ts; which sessions were counted
 * before, delivery/counted-sessions.ts.
 */
import type { Domain } from "../mail/domain.ts";
import type { LookupFailure, TlsaFinding } from "../policy/facts.ts";
import type { ObservedPeer } from "../policy/failure-detail.ts";
import type { TlsObservation } from "../policy/observation.ts";
import { type Happening, observe, observeBogus } from "../policy/observe.ts";
import type { TlsFailure, TlsOutcome } from "../policy/outcome.ts";
import type { DigestName } from "../policy/tlsa.ts";
import type { PlannedHost } from "./plan.ts";
import type { HostFailure, PeerFacts, SessionTarget } from "./session.ts";

/** `tlsReports.publicAddress4` and `6`: what hosts see where a router translates. */
export interface PublicAddresses {
  readonly publicAddress4?: string | undefined;
  readonly publicAddress6?: string | undefined;
}

export interface ObservationRules {
  readonly tls: { readonly daneDigests: readonly DigestName[] };
  readonly tlsReports?: PublicAddresses;
}

/** A planned host whose sessions somebody may ask for. */
export type Reportable = PlannedHost & { readonly reportDomain: Domain };

export function isReportable(host: PlannedHost): host is Reportable {
  return host.reportDomain !== undefined;
}

/** A host that TLS was tried at, and that could not be used: what TLS had become by then; undefined if it says nothing of TLS. */
export function happeningOf(failure: HostFailure): { readonly tls: TlsOutcome } | { readonly failure: TlsFailure } | undefined {
  const { tls, tlsFailure, step } = failure;
  // RFC 8460 §4.3.4: a host that does not greet us, or turns us away, is no result; what went wrong on a connection before it is.
  if (tls !== undefined && (step !== "greeting" || tlsFailure !== undefined)) return { tls };
  return tlsFailure === undefined ? undefined : { failure: tlsFailure };
}

export class Observations {
  readonly #rules: ObservationRules;
  readonly #met: TlsObservation[] = [];
  /** Hosts that were ruled out on the way to a session. */
  #passedOver: (() => TlsObservation[])[] = [];

  constructor(rules: ObservationRules) {
    this.#rules = rules;
  }

  /** Policy ruled the host out, and nobody was dialled. */
  noteSkipped(host: Reportable, tlsa: TlsaFinding, failure: TlsFailure, at: number): void {
    this.#passedOver.push(() => this.#observe(host, tlsa, { kind: "skipped", failure }, at));
  }

  /** DNSSEC says that its addresses do not hold. */
  noteBogus({ reportDomain, host, policy }: Reportable, failure: LookupFailure, at: number): void {
    if (policy.local.published.mode === "off") return;
    this.#passedOver.push(() => [observeBogus(reportDomain, host, failure, at, host)]);
  }

  noteFailure(host: Reportable, tlsa: TlsaFinding, target: SessionTarget, failure: HostFailure, at: number): void {
    const what = happeningOf(failure);
    if (what === undefined) return;
    const peer = this.#peerOf(target, failure.peer);
    const happened: Happening = "tls" in what ? { kind: "session", ...what, peer } : { kind: "tls-failed", ...what, peer };
    this.#met.push(...this.#observe(host, tlsa, happened, at));
  }

  noteSession(host: Reportable, tlsa: TlsaFinding, target: SessionTarget, session: { tls: TlsOutcome; peer: PeerFacts }, at: number): void {
    const { tls, peer } = session;
    this.#met.push(...this.#observe(host, tlsa, { kind: "session", tls, peer: this.#peerOf(target, peer) }, at));
  }

  /**
   * The message goes with a session that was counted before, and so were the hosts that were passed over on the way to it: else a
   * thousand messages on one connection would be one success and a thousand failures.
   */
  rideAlong(): void {
    this.#passedOver = [];
  }

  result(): readonly TlsObservation[] {
    return [...this.#passedOver.flatMap((tell) => tell()), ...this.#met];
  }

  #observe({ reportDomain, policy: { facts, local } }: Reportable, tlsa: TlsaFinding, happened: Happening, at: number): TlsObservation[] {
    return observe({ reportDomain, facts: { ...facts, tlsa }, local, daneDigests: this.#rules.tls.daneDigests }, happened, at);
  }

  #peerOf({ address }: SessionTarget, facts: PeerFacts | undefined): ObservedPeer {
    const { tlsReports } = this.#rules;
    const isIpv6 = address.includes(":") && !address.startsWith("::ffff:");
    const publicAddress = isIpv6 ? tlsReports?.publicAddress6 : tlsReports?.publicAddress4;
    return { address, ...facts, ...(publicAddress !== undefined && { publicAddress }) };
  }
}
