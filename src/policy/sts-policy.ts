/**
 * MTA-STS policy files (RFC 8461 §3.2): text in, an `StsPolicy` or the reason it is unusable out. Fetching is
 * lookup/sts-fetch.ts; how long a policy stays good is policy/sts-freshness.ts.
 */
import { coversName } from "./names.ts";

export type StsMode = "enforce" | "testing" | "none";

export interface StsPolicy {
  readonly mode: StsMode;
  /** Seconds, at most 31557600. */
  readonly maxAge: number;
  /** Patterns as written, lower case: a name, or `*.` and a name. Empty only with mode none. */
  readonly mx: readonly string[];
  /** The policy as it was served, for reports (RFC 8460 §4.4). */
  readonly text: string;
}

/** True if the MX name as written fits one of the policy's patterns (RFC 8461 §4.1). */
export function allowsHost({ mx }: Pick<StsPolicy, "mx">, host: string): boolean {
  return mx.some((pattern) => coversName(pattern, host));
}
