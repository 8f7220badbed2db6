/** What AUTH carries (RFC 4954 §4, RFC 4616): a line's text in, octets or names out. Nothing is checked here. */

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** Strict base64: no foreign characters, padding only at the end (RFC 4954 §4). */
export function decodeBase64(text: string): Buffer | undefined {
  return BASE64.test(text) ? Buffer.from(text, "base64") : undefined;
}

export interface Credentials {
  readonly name: string;
  readonly password: string;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A name or password: UTF-8 without NUL, of a sensible length. */
export function decodeText(octets: Uint8Array): string | undefined {
  if (octets.length === 0 || octets.length > 1024 || octets.includes(0)) return undefined;
  try {
    return utf8.decode(octets);
  } catch {
    return undefined;
  }
}

/** `authzid NUL authcid NUL passwd` (RFC 4616 §2). Nobody may act for another, so authzid must be empty or the same. */
export function parsePlain(message: Buffer): Credentials | "malformed" | "acts-for-another" {
  const first = message.indexOf(0);
  const second = message.indexOf(0, first + 1);
  if (first < 0 || second < 0) return "malformed";
  const name = decodeText(message.subarray(first + 1, second));
  const password = decodeText(message.subarray(second + 1));
  if (name === undefined || password === undefined) return "malformed";
  const actsFor = message.subarray(0, first);
  return actsFor.length === 0 || actsFor.equals(message.subarray(first + 1, second)) ? { name, password } : "acts-for-another";
}
