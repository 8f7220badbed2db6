/**
 * At most so many reports to one receiving host within a UTC day (RFC 8460 §7): thousands of domains may point at a host that
 * never asked for it. Kept in memory: a restart allows as many again.
 */
import { domainOf } from "../mail/address.ts";
import { type ReportDay, reportDayOf } from "../queue/tls-reports.ts";
import type { Rua } from "./rua.ts";

export interface HostLimit {
  /** Counts the report, once for all its tries; or names the host that has had enough today, and counts nothing. */
  admit(rua: Rua, reportId: string, now: number, perHost: number): HostFull | undefined;
}

export interface HostFull {
  readonly host: string;
  /** For the first time today. */
  readonly isNews: boolean;
}

/** Who would be flooded: the host of a URI, the domains of mail addresses. */
function receivingHosts(rua: Rua): string[] {
  return rua.kind === "https" ? [new URL(rua.url).hostname] : [...new Set(rua.addresses.map(domainOf))];
}

export function createHostLimit(): HostLimit {
  let today: ReportDay | undefined;
  const admitted = new Map<string, Set<string>>();
  const told = new Set<string>();

  return {
    admit(rua, reportId, now, perHost) {
      const day = reportDayOf(now);
      if (day !== today) {
        today = day;
        admitted.clear();
        told.clear();
      }
      const hosts = receivingHosts(rua).map((host) => ({ host, reports: admitted.get(host) ?? new Set<string>() }));
      const full = hosts.find(({ reports }) => reports.size >= perHost && !reports.has(reportId));
      if (full !== undefined) {
        const isNews = !told.has(full.host);
        told.add(full.host);
        return { host: full.host, isNews };
      }
      for (const { host, reports } of hosts) admitted.set(host, reports.add(reportId));
      return undefined;
    },
  };
}
