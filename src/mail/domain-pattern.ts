/**
 * Domains as settings name them: `example.org`, `.example.org` for its subdomains, and where the place allows it an address
 * literal or `*`. Text in, a key that next hops are looked up by out; the most specific key counts.
 */
import { type NextHop, parseAddressLiteral, parseDomain } from "./domain.ts";
import { good, type Parsed } from "./parsed.ts";

/** `example.org` or `.example.org`, in A-labels and lower case. */
export function parseDomainPattern(text: string): Parsed<string> {
  const dot = text.startsWith(".") ? "." : "";
  const domain = parseDomain(text.slice(dot.length));
  return domain.ok ? good(dot + domain.value) : domain;
}

/** The key of a pattern that was checked before: also of an address literal and of `*`. */
export function canonicalPattern(pattern: string): string {
  const parsed = pattern.startsWith("[") ? parseAddressLiteral(pattern) : parseDomainPattern(pattern);
  return parsed.ok ? parsed.value : pattern.toLowerCase();
}

/** The most specific entry: the name itself, then `.parent` from the longest to the shortest. */
export function findByDomain<T>(nextHop: NextHop, entries: ReadonlyMap<string, T>): T | undefined {
  const exact = entries.get(nextHop);
  if (exact !== undefined || nextHop.startsWith("[")) return exact;
  for (let dot = nextHop.indexOf("."); dot !== -1; dot = nextHop.indexOf(".", dot + 1)) {
    const found = entries.get(nextHop.slice(dot));
    if (found !== undefined) return found;
  }
  return undefined;
}
