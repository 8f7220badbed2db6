/**
 * A and AAAA brought together (RFC 5321 §5.1, RFC 8305 §4): two findings in, the addresses in the order they are to be
 * tried out. Pure; asking is lookup/dns.ts.
 *
 * The order: with IPv6 in use the families alternate, IPv6 first, so that RFC 6724's preference holds and a broken path
 * of one family costs one try, not all. Within a family it is the order that the resolver gave.
 */
import type { Finding, HostAddress } from "../policy/facts.ts";

/** How the two halves combine. What is `answered` may be kept until its own time; a missing half only briefly. */
export function combineAddresses(
  four: Finding<string>,
  six: Finding<string>,
): { readonly finding: Finding<HostAddress>; readonly halfMissing: boolean } {
  const halfMissing = four.kind === "failed" || six.kind === "failed";
  if (four.kind === "answer" && four.records.length > 0 && six.kind !== "answer") return { finding: withFamily(four, 4), halfMissing };
  if (six.kind === "answer" && six.records.length > 0 && four.kind !== "answer") return { finding: withFamily(six, 6), halfMissing };
  // Nothing to connect to, and not known whether there would be: only both halves together can say "no address".
  if (four.kind === "failed") return { finding: four, halfMissing };
  if (six.kind === "failed") return { finding: six, halfMissing };
  const expires = Math.min(four.expires, six.expires);
  const security = four.security === "secure" && six.security === "secure" ? "secure" : "insecure";
  if (four.kind === "no-such-name" && six.kind === "no-such-name")
    return { finding: { kind: "no-such-name", security, expires }, halfMissing };
  // A name that exists for one type exists (RFC 8020 §2), whatever a careless server says of the other.
  const fours = four.kind === "answer" ? four : undefined;
  const sixes = six.kind === "answer" ? six : undefined;
  const records: HostAddress[] = [];
  for (let index = 0; index < Math.max(fours?.records.length ?? 0, sixes?.records.length ?? 0); index++) {
    const sixth = sixes?.records[index];
    if (sixth !== undefined) records.push({ address: sixth, family: 6 });
    const fourth = fours?.records[index];
    if (fourth !== undefined) records.push({ address: fourth, family: 4 });
  }
  const canonicalName = (sixes !== undefined && sixes.records.length > 0 ? sixes : (fours ?? sixes))?.canonicalName ?? "";
  return { finding: { kind: "answer", records, security, canonicalName, expires }, halfMissing };
}

/** The finding of one family alone. */
export function withFamily(finding: Finding<string>, family: 4 | 6): Finding<HostAddress> {
  if (finding.kind !== "answer") return finding;
  return { ...finding, records: finding.records.map((address) => ({ address, family })) };
}
