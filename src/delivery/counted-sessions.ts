/**
 * Which sessions TLS-RPT has counted, and for whom (RFC 8460 §4.2): one connection carries many messages, and perhaps those of
 * several domains. A session is known by its outcome, and forgotten with it.
 */
import type { Domain } from "../mail/domain.ts";
import type { TlsOutcome } from "../policy/outcome.ts";

export class CountedSessions {
  // Nearly always one domain: then no set is made for it.
  readonly #domains = new WeakMap<TlsOutcome, Domain | Set<Domain>>();

  has(tls: TlsOutcome, reportDomain: Domain): boolean {
    const counted = this.#domains.get(tls);
    return counted === reportDomain || (counted instanceof Set && counted.has(reportDomain));
  }

  add(tls: TlsOutcome, reportDomain: Domain): void {
    const counted = this.#domains.get(tls);
    if (counted === undefined) this.#domains.set(tls, reportDomain);
    else if (counted instanceof Set) counted.add(reportDomain);
    else this.#domains.set(tls, new Set([counted, reportDomain]));
  }
}
