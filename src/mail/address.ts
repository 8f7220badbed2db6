/**
 * Mail addresses (RFC 5321 §4.1.2, RFC 6531 §3.3): one path's inside in, a canonical address out. The local part
 * stays exactly as it came, quoting and case included (RFC 5321 §2.4); the domain becomes A-labels.
 */
import { type AddressLiteral, type Domain, type NextHop, parseNextHop } from "./domain.ts";
import { bad, good, type Parsed } from "./parsed.ts";

/** `local@domain` with the domain in A-labels or as a literal. Made only by `parseAddress`. */
export type EmailAddress = string & { readonly brand: "EmailAddress" };

/** A reverse path without its brackets; the null path is the empty string (RFC 5321 §4.5.5). */
export type ReversePath = EmailAddress | "";

const ATEXT = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~\\u0080-\\u{10ffff}-]";
const DOT_STRING = new RegExp(`^${ATEXT}+(?:\\.${ATEXT}+)*$`, "u");
const QUOTED_STRING = /^"(?:[\u0020-\u0021\u0023-\u005b\u005d-\u007e\u0080-\u{10ffff}]|\\[\u0020-\u007e])*"$/u;

/** C1 controls, line and paragraph separators, direction marks: no mailbox needs them, and logs and terminals obey them. */
const INVISIBLE = /[\u0080-\u009f\u2028-\u202e\u2066-\u2069\ufeff]/;

/** Parses `local@domain`. Replacement characters are refused: they are what is left of octets that were not UTF-8. */
export function parseAddress(text: string): Parsed<EmailAddress> {
  const at = text.lastIndexOf("@");
  if (at <= 0) return bad("an address needs a local part, an @ and a domain");
  const local = text.slice(0, at);
  if (Buffer.byteLength(local) > 64) return bad("the local part is longer than 64 octets");
  if (text.includes("\ufffd")) return bad("the address is not valid UTF-8");
  if (INVISIBLE.test(local)) return bad("the local part has control characters");
  if (!DOT_STRING.test(local) && !QUOTED_STRING.test(local)) return bad("the local part has characters that need quoting");
  const domain = parseNextHop(text.slice(at + 1));
  if (!domain.ok) return domain;
  const address = `${local}@${domain.value}`;
  if (address.length > 254) return bad("the address is longer than 254 characters");
  return good(address as EmailAddress);
}

/** The part that decides where mail to this address goes. */
export function domainOf(address: EmailAddress): NextHop {
  return address.slice(address.lastIndexOf("@") + 1) as Domain | AddressLiteral;
}

/** True if the address cannot travel without SMTPUTF8: its local part has non-ASCII characters (RFC 6531 §3.2). */
export function needsSmtpUtf8(address: ReversePath): boolean {
  return /[^\u0000-\u007f]/.test(address);
}
