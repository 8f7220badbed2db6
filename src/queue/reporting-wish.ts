/**
 * What a domain's record at `_smtp._tls.` asks for (RFC 8460 §3), as it is shown: read by report/rua.ts, told by `postern check`
 * and `postern tlsrpt preview`. Every text of it is clean and bounded.
 */
import type { Domain } from "../mail/domain.ts";
import type { LookupFailure } from "../policy/facts.ts";

export type ReportingWish =
  | {
      readonly kind: "destinations";
      /** In the order published. `uri` is as published. */
      readonly destinations: readonly { readonly kind: "mailto" | "https"; readonly uri: string }[];
      /** What else stood there and why it is not used, in clean clauses. */
      readonly ignored: readonly string[];
    }
  /** `absent`: nothing there means to be such a record; else it is broken, and `detail` says how. */
  | { readonly kind: "none"; readonly reason: "absent" | "several" | "invalid" | "no-usable-uri"; readonly detail: string };

/** `failed`: the question had no answer, so there may be a record. */
export type ShownWish = ReportingWish | { readonly kind: "failed"; readonly detail: string };

/** Asks DNS now; nothing of it is kept. */
export type FindReportingWish = (reportDomain: Domain) => Promise<ReportingWish | LookupFailure>;

/** What may be shown is named, so that nothing else of a look-up or a record goes along. */
export function showWish(found: ReportingWish | LookupFailure): ShownWish {
  switch (found.kind) {
    case "failed":
      return { kind: "failed", detail: found.detail };
    case "none":
      return { kind: "none", reason: found.reason, detail: found.detail };
    case "destinations":
      return {
        kind: "destinations",
        destinations: found.destinations.map(({ kind, uri }) => ({ kind, uri })),
        ignored: found.ignored,
      };
  }
}
