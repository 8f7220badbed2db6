/** DNS's numbers as the words that operators search for: response codes (RFC 6895 §2.3) and extended errors (RFC 8914 §4). */

const RCODES: Readonly<Record<number, string>> = {
  0: "NOERROR",
  1: "FORMERR",
  2: "SERVFAIL",
  3: "NXDOMAIN",
  4: "NOTIMP",
  5: "REFUSED",
  6: "YXDOMAIN",
  7: "YXRRSET",
  8: "NXRRSET",
  9: "NOTAUTH",
  10: "NOTZONE",
  16: "BADVERS",
  23: "BADCOOKIE",
};

const EXTENDED_ERRORS: readonly string[] = [
  "other error",
  "unsupported DNSKEY algorithm",
  "unsupported DS digest type",
  "stale answer",
  "forged answer",
  "DNSSEC indeterminate",
  "DNSSEC bogus",
  "signature expired",
  "signature not yet valid",
  "DNSKEY missing",
  "RRSIGs missing",
  "no zone key bit set",
  "NSEC missing",
  "cached error",
  "not ready",
  "blocked",
  "censored",
  "filtered",
  "prohibited",
  "stale NXDOMAIN answer",
  "not authoritative",
  "not supported",
  "no reachable authority",
  "network error",
  "invalid data",
];

export function rcodeName(rcode: number): string {
  return RCODES[rcode] ?? `RCODE ${rcode}`;
}

/** The registered meaning of an INFO-CODE, for resolvers that send no text with it. */
export function extendedErrorName(code: number): string {
  return EXTENDED_ERRORS[code] ?? "unregistered code";
}
