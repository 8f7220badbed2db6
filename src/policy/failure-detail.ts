/**
 * One fault as reports tell of it (RFC 8460 §4.4, `failure-details`): what failed and who talked to whom in, the members that
 * identify it out. What does not exist is left out: a policy that could not be fetched has no receiving address.
 */
import { canonicalIp } from "../mail/ip-address.ts";
import type { FailureDetail } from "./observation.ts";
import type { TlsFailure } from "./outcome.ts";

/** The two ends of a connection. */
export interface ObservedPeer {
  /** Of the host. */
  readonly address: string;
  /** Of our socket. */
  readonly localAddress?: string;
  /** Where a router translates: what the host sees in place of it. */
  readonly publicAddress?: string;
  /** What the host calls itself. */
  readonly helo?: string;
}

/** What failed, in RFC 8460's words. */
export type Fault = Pick<TlsFailure, "type" | "code">;

type Members = Omit<FailureDetail, "resultType" | "reasonCode">;

/** The host alone: there was no connection to it. As operators write it, it may be in capitals (RFC 8460 §4.4). */
export function hostMember(host: string): { readonly receivingMxHostname: string } {
  return { receivingMxHostname: host.toLowerCase() };
}

export function membersOf(host: string, { address, localAddress, publicAddress, helo }: ObservedPeer): Members {
  const from = canonicalIp(publicAddress ?? localAddress ?? "");
  const to = canonicalIp(address);
  return {
    ...(from !== undefined && { sendingMtaIp: from }),
    ...hostMember(host),
    ...(helo !== undefined && isReportedHelo(helo) && { receivingMxHelo: helo }),
    ...(to !== undefined && { receivingIp: to }),
  };
}

export function detailOf({ type, code }: Fault, members: Members = {}): FailureDetail {
  return { resultType: type, ...members, ...(code !== undefined && isReasonCode(code) && { reasonCode: code }) };
}

/** Each once: equal ones would count one session twice. */
export function eachOnce(details: readonly FailureDetail[]): readonly FailureDetail[] {
  if (details.length < 2) return details;
  const same = (one: FailureDetail, other: FailureDetail): boolean =>
    one.resultType === other.resultType && one.reasonCode === other.reasonCode && one.receivingIp === other.receivingIp;
  return details.filter((detail, index) => details.findIndex((other) => same(detail, other)) === index);
}

/**
 * What hosts call themselves is theirs to choose; but a name or an address literal it must be. Whoever made them, nothing else goes
 * into a report, nor any other code (RFC 8460 §8).
 */
export function isReportedHelo(text: string): boolean {
  return /^(?:[A-Za-z0-9._-]{1,255}|\[[A-Za-z0-9.:]{1,60}\])$/.test(text);
}

/** Ours or the TLS library's, never the remote's words. */
export function isReasonCode(text: string): boolean {
  return /^[A-Za-z0-9._-]{1,64}$/.test(text);
}
