/** What operators hear of fetched policies (RFC 8461 §3.3, §10.2): what was kept before and after in, events out. */
import type { EmitEvent } from "../events.ts";
import type { Domain } from "../mail/domain.ts";
import { type KnownSts, type StsFetchResult, validPolicy } from "../policy/sts-freshness.ts";
import { LONGEST_MAX_AGE } from "../policy/sts-policy.ts";

export interface FetchStory {
  readonly policyDomain: Domain;
  readonly id: string;
  readonly result: StsFetchResult;
  readonly before: KnownSts;
  readonly after: KnownSts;
  readonly now: number;
}

export function tellOfFetch({ policyDomain, id, result, before, after, now }: FetchStory, emit: EmitEvent): void {
  const old = validPolicy(before, now);
  if (result.ok) {
    const { policy } = result;
    if (old?.id === id && old.policy.text === policy.text) return;
    if (policy.publishedMaxAge !== undefined)
      emit({
        kind: "notice",
        level: "info",
        text: `the MTA-STS policy of ${policyDomain} asks to be kept for ${policy.publishedMaxAge} s; ${LONGEST_MAX_AGE} s is the most there is (RFC 8461 §3.2)`,
      });
    emit({
      kind: "policy-changed",
      policyDomain,
      ...(old !== undefined && { from: { mode: old.policy.mode, id: old.id } }),
      to: { mode: policy.mode, id },
    });
    return;
  }
  // Nothing is told of mode none: that is how a domain takes its policy away (RFC 8461 §8.3).
  if (old === undefined || old.policy.mode === "none") return;
  emit({
    kind: "policy-refresh-failed",
    policyDomain,
    mode: old.policy.mode,
    failures: after.failed?.failures ?? 1,
    expires: old.expires,
    reason: result.failure.type,
    detail: result.failure.detail,
  });
}
