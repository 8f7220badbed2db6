/**
 * Says at once what a domain's report tells tomorrow (RFC 8460 §4): the observations of a settlement in; an event for each domain
 * whose first failure of that UTC day is among them out.
 */
import { LRUCache } from "lru-cache";
import type { EmitEvent } from "../events.ts";
import type { Domain } from "../mail/domain.ts";
import type { TlsObservation } from "../policy/observation.ts";
import { type ReportDay, reportDayOf } from "../queue/tls-reports.ts";

/** Domains that are known to have failed. The one met longest ago may be told of twice. */
const MOST_DOMAINS = 10_000;

export class TlsAlarm {
  readonly #emit: EmitEvent;
  // By day too: what an attempt met before midnight is often told after it.
  readonly #failed: LRUCache<string, true>;

  constructor(emit: EmitEvent, most = MOST_DOMAINS) {
    this.#emit = emit;
    this.#failed = new LRUCache({ max: most });
  }

  /** These had failed on that day before this process began. */
  seed(day: ReportDay, domains: readonly Domain[]): void {
    for (const domain of domains) this.#failed.set(keyOf(day, domain), true);
  }

  note(observations: readonly TlsObservation[]): void {
    for (const { reportDomain, at, policy, failures } of observations) {
      const [first] = failures;
      if (first === undefined) continue;
      const key = keyOf(reportDayOf(at), reportDomain);
      const isKnown = this.#failed.get(key) === true;
      if (isKnown) continue;
      this.#failed.set(key, true);
      this.#emit({
        kind: "tls-failure-seen",
        reportDomain,
        policyType: policy.type,
        resultType: first.resultType,
        ...(first.reasonCode !== undefined && { reasonCode: first.reasonCode }),
        ...(first.receivingMxHostname !== undefined && { host: first.receivingMxHostname }),
      });
    }
  }
}

function keyOf(day: ReportDay, domain: Domain): string {
  return `${day} ${domain}`;
}
