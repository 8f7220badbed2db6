/**
 * What one response says about a name (RFC 1034 §3.6.2, RFC 2308 §2): pure. Aliases are followed inside the answer; a
 * chain that ends without the records, and without a denial, is left to the caller, who asks again at its end.
 */
import type { LookupFailure } from "../policy/facts.ts";
import { TYPE } from "./rdata.ts";
import type { DnsResponse } from "./wire.ts";

/** RFC 1034 §5.2.2 asks for some limit; Postfix and unbound stop at 10 and 11. */
const MOST_ALIASES = 10;

export type Reading =
  /** Records, or none where a denial says that the name lacks the type. `ttl` in seconds, least of the whole chain. */
  | { readonly kind: "records"; readonly records: readonly unknown[]; readonly canonicalName: string; readonly ttl: number | undefined }
  | { readonly kind: "no-such-name"; readonly ttl: number | undefined }
  | { readonly kind: "ask-again"; readonly name: string; readonly ttl: number }
  | LookupFailure;

/** Reads a response with RCODE 0 or 3. `visited` holds the names that led here and gains those of this chain. */
export function readAnswer(response: DnsResponse, asked: string, type: number, visited: Set<string>): Reading {
  let name = asked;
  let ttl: number | undefined;
  visited.add(name);
  for (;;) {
    const records: unknown[] = [];
    let alias: string | undefined;
    let least = ttl ?? Number.POSITIVE_INFINITY;
    for (const record of response.answers) {
      if (record.name !== name) continue;
      if (record.type === type) {
        records.push(record.data);
        // One set has one TTL; where it does not, the least counts (RFC 2181 §5.2).
        least = Math.min(least, record.ttl);
      } else if (alias === undefined) {
        alias = record.data as string;
      }
    }
    if (records.length > 0) {
      if (response.rcode !== 0) return { kind: "failed", reason: "malformed", detail: "records for a name that is said not to exist" };
      return { kind: "records", records, canonicalName: name, ttl: least };
    }
    if (alias === undefined) break;
    const link = response.answers.find((record) => record.name === name && record.type === TYPE.CNAME);
    ttl = Math.min(ttl ?? Number.POSITIVE_INFINITY, link?.ttl ?? 0);
    if (visited.has(alias)) return { kind: "failed", reason: "alias-loop", detail: `${asked} is an alias that leads back to ${alias}` };
    if (visited.size > MOST_ALIASES)
      return { kind: "failed", reason: "alias-loop", detail: `more than ${MOST_ALIASES} aliases follow each other at ${asked}` };
    visited.add(alias);
    name = alias;
  }
  const denialTtl = response.negativeTtl === undefined ? undefined : Math.min(response.negativeTtl, ttl ?? Number.POSITIVE_INFINITY);
  // With aliases in the answer NXDOMAIN speaks of the last name (RFC 6604 §2).
  if (response.rcode === 3) return { kind: "no-such-name", ttl: denialTtl };
  if (name !== asked && response.negativeTtl === undefined) return { kind: "ask-again", name, ttl: ttl ?? 0 };
  return { kind: "records", records: [], canonicalName: name, ttl: denialTtl };
}
