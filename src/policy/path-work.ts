/**
 * What one chain may cost (RFC 5280 §6.1 sets no limit): work counted in, leave to do it or not out. A host chooses its chain,
 * and everything here happens between two turns of the event loop that all sessions share. Whatever exceeds this only fails.
 */
export interface PathWork {
  /** Up to 5 ms each, with the oddest keys that OpenSSL takes. */
  signatures: number;
  /** Judged; a host that means well has one or two. */
  paths: number;
  /** DER elements that pkijs and asn1js read, about 5 µs each. */
  elements: number;
  /** A name with a subtree of name constraints. */
  comparisons: number;
}

export const MOST_WORK: Readonly<PathWork> = { signatures: 40, paths: 10, elements: 10_000, comparisons: 20_000 };

export function createPathWork(): PathWork {
  return { signatures: 0, paths: 0, elements: 0, comparisons: 0 };
}

/** False if that would be too much; then nothing is spent, and nothing may be done. */
export function spend(work: PathWork, what: keyof PathWork, amount = 1): boolean {
  if (work[what] + amount > MOST_WORK[what]) return false;
  work[what] += amount;
  return true;
}
