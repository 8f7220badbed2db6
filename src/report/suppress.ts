/**
 * Destinations that refuse for good, report after report, are left alone for a while that doubles: what is known of one in, what is
 * kept of it out. Pure.
 */
import type { Domain } from "../mail/domain.ts";
import type { RuaRecord } from "../queue/tls-reports.ts";

const REFUSALS_BEFORE = 3;
const DAY = 86_400_000;
const LONGEST = 30 * DAY;

/**
 * By what a destination is known: its URI as published. A collector may know some domains and refuse the others, and those must not
 * silence it for all, so that it is another one for each domain; no URI has a blank. A mailbox refuses everybody.
 */
export function knownAs(uri: string, reportDomain: Domain): string {
  return /^https:/i.test(uri) ? `${uri} ${reportDomain}` : uri;
}

/** One more report was refused. */
export function afterRefusal(uri: string, before: RuaRecord | undefined, now: number): RuaRecord {
  const refusals = (before?.refusals ?? 0) + 1;
  const kept = { uri, refusals, refusedAt: now };
  if (refusals < REFUSALS_BEFORE) return kept;
  return { ...kept, suppressedUntil: now + Math.min(DAY * 2 ** (refusals - REFUSALS_BEFORE), LONGEST) };
}

/** One was accepted: forgiven. Undefined if nothing was held against it. */
export function afterAcceptance(before: RuaRecord | undefined): RuaRecord | undefined {
  if (before === undefined || before.refusals === 0) return undefined;
  return { uri: before.uri, refusals: 0, refusedAt: before.refusedAt };
}

export function isSuppressed(record: RuaRecord | undefined, now: number): record is RuaRecord & { readonly suppressedUntil: number } {
  return record?.suppressedUntil !== undefined && record.suppressedUntil > now;
}
