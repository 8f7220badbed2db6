/**
 * What the domains of workload `policy` publish: p1.test to pN.test, each with an MX host of its own. A third has an
 * MTA-STS policy (RFC 8461) and unsigned DNS, a third signed DNS and a TLSA record 3 1 1 (RFC 7672), a third both. Pure: the
 * records a resolver would give, by name and type, and the policies by host; policy-world.ts serves them.
 */
import { createHash, X509Certificate } from "node:crypto";
import type { Answer } from "dns-packet";

/** Where every policy host is; the sink has 127.0.1.1 to 127.0.1.N. */
export const POLICY_ADDRESS = "127.0.3.1";
/** Seconds: longer than a run, as most zones have it. */
const TTL = 900;

export interface PublishedDomain {
  readonly domain: string;
  readonly mx: string;
  readonly address: string;
  readonly sts: boolean;
  readonly dane: boolean;
}

export function publishedDomains(count: number): PublishedDomain[] {
  return Array.from({ length: count }, (_, index) => ({
    domain: `p${index + 1}.test`,
    mx: `mx${index + 1}.hosts.test`,
    address: `127.0.1.${index + 1}`,
    sts: index % 3 !== 1,
    dane: index % 3 !== 0,
  }));
}

/** The names that the certificates of MX hosts and of policy hosts need. */
export const MX_NAMES = ["*.hosts.test"];
export function policyHosts(domains: readonly PublishedDomain[]): string[] {
  return domains.filter(({ sts }) => sts).map(({ domain }) => `mta-sts.${domain}`);
}

export function policyOf({ mx }: PublishedDomain): string {
  return ["version: STSv1", "mode: enforce", `mx: ${mx}`, "max_age: 604800", ""].join("\r\n");
}

export interface ZoneName {
  /** Validated: answers and denials carry AD. */
  readonly secure: boolean;
  readonly records: readonly Answer[];
}

/** By lower-case name. `certificate` (PEM) is what the MX hosts show, `port` where they listen. */
export function zoneOf(domains: readonly PublishedDomain[], certificate: string, port: number): Map<string, ZoneName> {
  const spki = new X509Certificate(certificate).publicKey.export({ format: "der", type: "spki" });
  const digest = createHash("sha256").update(spki).digest();
  const zone = new Map<string, ZoneName>();
  const add = (name: string, secure: boolean, ...records: Answer[]): void => void zone.set(name, { secure, records });
  for (const { domain, mx, address, sts, dane } of domains) {
    add(domain, dane, { type: "MX", name: domain, ttl: TTL, data: { preference: 10, exchange: mx } });
    add(mx, dane, { type: "A", name: mx, ttl: TTL, data: address });
    if (sts) {
      const host = `mta-sts.${domain}`;
      const record = `_mta-sts.${domain}`;
      add(record, dane, { type: "TXT", name: record, ttl: TTL, data: "v=STSv1; id=20260101;" });
      add(host, dane, { type: "A", name: host, ttl: TTL, data: POLICY_ADDRESS });
    }
    if (dane) {
      const name = `_${port}._tcp.${mx}`;
      add(name, true, { type: "TLSA", name, ttl: TTL, data: { usage: 3, selector: 1, matchingType: 1, certificate: digest } });
    }
  }
  // What tells that the resolver validates: the root is signed.
  add("", true, { type: "SOA", name: "", ttl: TTL, data: authority });
  return zone;
}

const authority = { mname: "ns.test", rname: "hostmaster.test", serial: 1, refresh: 3600, retry: 600, expire: 86_400, minimum: TTL };

/** What a denial carries (RFC 2308 §3). */
export const denial: Answer = { type: "SOA", name: "test", ttl: TTL, data: authority };
