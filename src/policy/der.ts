/**
 * What of a certificate is compared octet by octet: octets in, a view of them out; undefined where they do not nest as they
 * should. Everything else in a certificate is read by node:crypto, and by pkijs for policy/path-certificate.ts.
 */

interface Element {
  readonly tag: number;
  /** Where its tag, its content and its successor begin. */
  readonly at: number;
  readonly start: number;
  readonly end: number;
}

const SEQUENCE = 0x30;
const CONSTRUCTED = 0x20;
/** `[0] EXPLICIT`, before the serial number: the version, absent in version 1. */
const VERSION = 0xa0;

/** The element at `at`, if it lies within `limit`; lengths of up to four octets. */
function element(der: Buffer, at: number, limit: number): Element | undefined {
  const tag = der[at];
  const first = der[at + 1];
  if (tag === undefined || first === undefined || at + 2 > limit) return undefined;
  const size = first < 0x80 ? 0 : first & 0x7f;
  const start = at + 2 + size;
  if (size > 4 || (first >= 0x80 && size === 0) || start > limit) return undefined;
  const end = start + (size === 0 ? first : der.readUIntBE(at + 2, size));
  return end > limit ? undefined : { tag, at, start, end };
}

/** How many elements there are, those inside others included: what reading them all would cost. Counting ends where they do not nest. */
export function countElements(octets: Uint8Array): number {
  const der = Buffer.from(octets.buffer, octets.byteOffset, octets.length);
  let count = 0;
  for (let at = 0; at < der.length; count++) {
    const found = element(der, at, der.length);
    if (found === undefined) break;
    at = (found.tag & CONSTRUCTED) === 0 ? found.end : found.start;
  }
  return count;
}

/** True if the octets are one SEQUENCE and nothing after it: neither PEM, nor DER with something appended. */
export function isOneSequence(der: Buffer): boolean {
  const whole = element(der, 0, der.length);
  return whole?.tag === SEQUENCE && whole.end === der.length;
}

/**
 * The subjectPublicKeyInfo of a certificate (RFC 5280 §4.1, RFC 6698 §2.1.2 selector 1). Never encoded anew: another encoder
 * may write the same key otherwise, and then its digest is another.
 */
export function readPublicKeyInfo(der: Buffer): Buffer | undefined {
  const certificate = element(der, 0, der.length);
  if (certificate?.tag !== SEQUENCE) return undefined;
  const toBeSigned = element(der, certificate.start, certificate.end);
  if (toBeSigned?.tag !== SEQUENCE) return undefined;
  let field = element(der, toBeSigned.start, toBeSigned.end);
  // Before it: serial number, signature, issuer, validity, subject.
  for (let passed = field?.tag === VERSION ? -1 : 0; field !== undefined && passed < 5; passed++)
    field = element(der, field.end, toBeSigned.end);
  return field?.tag === SEQUENCE ? der.subarray(field.at, field.end) : undefined;
}
