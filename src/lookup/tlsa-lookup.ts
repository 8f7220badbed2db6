/**
 * The TLSA records that speak for one host and port (RFC 7672 §2.2.2, §2.2.3): the host, and what was found of its addresses,
 * in; a secure set with its base domain, or why there is none, out. Addresses come first, since name servers of unsigned
 * zones that fail on TLSA must delay nobody. Which of the records are usable is policy/tlsa.ts.
 */
import type { TlsaData } from "dns-packet";
import type { Domain } from "../mail/domain.ts";
import { cleanText } from "../mail/reply.ts";
import type { DnssecState, Finding, FindTlsa, HostAddress, SecurityStatus, TlsaFinding, TlsaRecord } from "../policy/facts.ts";
import { messageOf } from "../thrown.ts";
import type { DnsClient } from "./dns.ts";

/** What an alias may lead to and still be a base domain: it goes out as SNI. */
const BASE_DOMAIN = /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/;

/** `dnssec`, where given: while nothing that the resolver says is believed, nothing is asked for. */
export function createFindTlsa(dns: Pick<DnsClient, "ask">, dnssec?: () => DnssecState): FindTlsa {
  // One array for one answer: what was judged of it is known by it (policy/tlsa.ts).
  const asRecords = new WeakMap<readonly TlsaData[], readonly TlsaRecord[]>();
  const recordsOf = (data: readonly TlsaData[]): readonly TlsaRecord[] => {
    const known = asRecords.get(data);
    if (known !== undefined) return known;
    const records = data.map(({ usage, selector, matchingType, certificate }) => ({ usage, selector, matchingType, data: certificate }));
    asRecords.set(data, records);
    return records;
  };

  const find = async (host: Domain, port: number, addresses: Finding<HostAddress>): Promise<TlsaFinding> => {
    const state = dnssec?.();
    if (state?.kind === "untrusted" || state?.kind === "blind") return notAsked(state.detail);
    if (addresses.kind === "failed") return notAsked(`the addresses of ${host} could not be looked up`);
    if (addresses.kind === "no-such-name" || addresses.records.length === 0) return notAsked(`${host} has no address`);
    const chosen = await chooseCandidates(dns, host, addresses);
    if ("kind" in chosen) return chosen;
    let { expires } = chosen;
    let security: SecurityStatus = "secure";
    const asked: string[] = [];
    for (const candidate of chosen.candidates) {
      const name = `_${port}._tcp.${candidate}`;
      asked.push(name);
      const finding = await dns.ask(name, "TLSA");
      if (finding.kind === "failed") {
        // Longer than a name can be, so nothing can stand there.
        if (finding.reason === "not-a-name") continue;
        // §2.1.2: not "absent", and no reason to try the next: whoever can make it fail would choose for us.
        return { kind: "failed", asked: name, failure: finding };
      }
      expires = Math.min(expires, finding.expires);
      if (finding.security === "insecure") security = "insecure";
      else if (finding.kind === "answer" && finding.records.length > 0)
        // The candidate as it is, also where the TLSA name is an alias (§2.2.3).
        return { kind: "records", baseDomain: candidate, records: recordsOf(finding.records), expires };
    }
    return { kind: "none", asked, security, expires };
  };

  return async (host, port, addresses) => {
    try {
      return await find(host, port, addresses);
    } catch (error) {
      const detail = `the look-up could not be made: ${cleanText(messageOf(error), 200)}`;
      return { kind: "failed", asked: host, failure: { kind: "failed", reason: "unreachable", detail } };
    }
  };
}

interface Candidates {
  /** In the order in which they are asked. */
  readonly candidates: readonly Domain[];
  /** The least of all that led to them. */
  readonly expires: number;
}

/** RFC 7672 §2.2.2. Names in the middle of a chain of aliases are never among them (§2.2.3). */
async function chooseCandidates(
  dns: Pick<DnsClient, "ask">,
  host: Domain,
  { security, canonicalName, expires }: Finding<HostAddress> & { kind: "answer" },
): Promise<Candidates | TlsaFinding> {
  if (canonicalName === host) {
    if (security === "secure") return { candidates: [host], expires };
    return notAsked(`the addresses of ${host} are not signed`);
  }
  if (security === "secure") {
    const candidates = BASE_DOMAIN.test(canonicalName) ? [canonicalName as Domain, host] : [host];
    return { candidates, expires };
  }
  // An insecure chain says nothing of its first link, which may lie in another zone (§2.1.3): that one is asked for by itself.
  const link = await dns.ask(host, "CNAME");
  if (link.kind === "failed") return { kind: "failed", asked: host, failure: link };
  if (link.kind === "answer" && link.records.length > 0 && link.security === "secure")
    return { candidates: [host], expires: Math.min(expires, link.expires) };
  return notAsked(`${host} is an alias that is not signed`);
}

function notAsked(why: string): TlsaFinding {
  return { kind: "not-asked", why };
}
