/**
 * One fault as reports tell of it (RFC 8460 §4.4, `failure-details`): what failed and who talked to whom in, the members that
 * identify it out. What does not exist is left out: a policy that could not be fetched has no receiving address.
 */
import ipaddr from "ipaddr.js";
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
  const from = publicAddress ?? localAddress;
  return {
    ...(from !== undefined && { sendingMtaIp: plainAddress(from) }),
    ...hostMember(host),
    ...(helo !== undefined && HELO.test(helo) && { receivingMxHelo: helo }),
    receivingIp: plainAddress(address),
  };
}

export function detailOf({ type, code }: Fault, members: Members = {}): FailureDetail {
  return { resultType: type, ...members, ...(code !== undefined && CODE.test(code) && { reasonCode: code }) };
}

/** Each once: equal ones would count one session twice. */
export function eachOnce(details: readonly FailureDetail[]): readonly FailureDetail[] {
  if (details.length < 2) return details;
  const same = (one: FailureDetail, other: FailureDetail): boolean =>
    one.resultType === other.resultType && one.reasonCode === other.reasonCode && one.receivingIp === other.receivingIp;
  return details.filter((detail, index) => details.findIndex((other) => same(detail, other)) === index);
}

// Whoever made them, nothing else goes into a report (RFC 8460 §8).
const HELO = /^[A-Za-z0-9.:[\]_-]{1,255}$/;
const CODE = /^[A-Za-z0-9._-]{1,64}$/;

/** IPv4 with dots, also where a socket of both families maps it; IPv6 by RFC 5952, without the zone, which is ours alone. */
function plainAddress(text: string): string {
  const address = text.replace(/%.*$/, "");
  return ipaddr.isValid(address) ? ipaddr.process(address).toString() : address;
}
