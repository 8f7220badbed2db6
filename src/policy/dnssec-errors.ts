/** What a resolver's failure says of DNSSEC (RFC 8914): a failed look-up in; whether it says that the answers do not hold out. */
import type { LookupFailure } from "./facts.ts";

/** RFC 8914 codes by which a validating resolver says so: bogus, expired, missing keys and signatures. */
const DNSSEC_ERRORS = new Set([1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 27]);

export function isBogus({ extendedError }: Pick<LookupFailure, "extendedError">): boolean {
  return extendedError !== undefined && DNSSEC_ERRORS.has(extendedError);
}
