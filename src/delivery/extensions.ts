/**
 * What a host offers (RFC 5321 §4.1.1.1): the reply to EHLO in, its extensions out. Only the EHLO now in force counts:
 * nothing is taken from the greeting, from a reply's first line, or from before STARTTLS (RFC 3207 §4.2).
 */
import type { Reply } from "../mail/reply.ts";

export interface Extensions {
  readonly startTls: boolean;
  readonly pipelining: boolean;
  /** SIZE was offered (RFC 1870). */
  readonly size: boolean;
  /** Its limit; absent when none was named, or 0. */
  readonly sizeLimit?: number;
  readonly eightBitMime: boolean;
  readonly smtpUtf8: boolean;
  readonly dsn: boolean;
  readonly enhancedStatusCodes: boolean;
  /** REQUIRETLS (RFC 8689 §4.1). It counts inside authenticated TLS alone (§2): delivery/connect.ts forgets it elsewhere. */
  readonly requireTls: boolean;
  /** SASL mechanisms, upper case (RFC 4954 §3). */
  readonly auth: readonly string[];
  /** Every keyword, upper case, for people who look for what is missing. */
  readonly keywords: readonly string[];
}

const KEYWORD = /^[A-Za-z0-9][A-Za-z0-9-]*$/;

/** What a host that only knows HELO offers. */
export const NO_EXTENSIONS: Extensions = {
  startTls: false,
  pipelining: false,
  size: false,
  eightBitMime: false,
  smtpUtf8: false,
  dsn: false,
  enhancedStatusCodes: false,
  requireTls: false,
  auth: [],
  keywords: [],
};

export function parseExtensions(reply: Reply): Extensions {
  const offered = new Map<string, string[]>();
  // The first line greets and offers nothing, whatever stands in it.
  for (const line of reply.lines.slice(1)) {
    const [keyword = "", ...parameters] = line.trim().split(/ +/);
    if (KEYWORD.test(keyword)) offered.set(keyword.toUpperCase(), parameters);
  }
  const limit = /^\d{1,15}$/.exec(offered.get("SIZE")?.[0] ?? "")?.[0];
  const sizeLimit = limit === undefined ? 0 : Number(limit);
  return {
    startTls: offered.has("STARTTLS"),
    pipelining: offered.has("PIPELINING"),
    size: offered.has("SIZE"),
    // 0 means that no limit is in force (RFC 1870 §4).
    ...(sizeLimit > 0 ? { sizeLimit } : {}),
    eightBitMime: offered.has("8BITMIME"),
    smtpUtf8: offered.has("SMTPUTF8"),
    dsn: offered.has("DSN"),
    enhancedStatusCodes: offered.has("ENHANCEDSTATUSCODES"),
    requireTls: offered.has("REQUIRETLS"),
    auth: (offered.get("AUTH") ?? []).map((mechanism) => mechanism.toUpperCase()),
    keywords: [...offered.keys()],
  };
}

/** A keyword that looks like STARTTLS overwritten on the way, as some firewalls do: `XXXXXXXA`, `XSTART`. */
export function findMangledStartTls(extensions: Extensions): string | undefined {
  return extensions.keywords.find((keyword) => /^X{4,}[A-Z]?$|^X?START[A-Z]*$/.test(keyword));
}
