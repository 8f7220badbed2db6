/**
 * Where a domain wants its reports (RFC 8460 §3): the TXT records at `_smtp._tls.` and the policy domain in, destinations or
 * the reason there are none out. Pure, and total over whatever octets DNS can carry. The look-up, and what a failed one
 * means, are report/reporter.ts's.
 */
import { domainOf, type EmailAddress, parseAddress } from "../mail/address.ts";
import { literalAddress } from "../mail/domain.ts";
import { bad, good, type Parsed } from "../mail/parsed.ts";
import { cleanText } from "../mail/reply.ts";
import { isPlainValue, joinStrings, noField, parseTxtFields, withoutBlanks } from "../policy/txt-fields.ts";

/** One destination. `uri` is as published: it has no characters but those of a URI, and a bounded number of them. */
export type Rua =
  | { readonly uri: string; readonly kind: "mailto"; readonly addresses: readonly EmailAddress[] }
  /** To be posted to as it stands; without the fragment, which no request carries (RFC 9110 §7.1). */
  | { readonly uri: string; readonly kind: "https"; readonly url: string };

export type ReportingPolicy =
  /** In the order published, each once. `ignored`: what else stood there and why it is not used, in clean clauses, for the log. */
  | { readonly kind: "destinations"; readonly destinations: readonly Rua[]; readonly ignored: readonly string[] }
  /** `detail` is a clean clause: `two records begin with v=TLSRPTv1`. */
  | { readonly kind: "none"; readonly reason: "absent" | "several" | "invalid" | "no-usable-uri"; readonly detail: string };

/** A record of many URIs would make us send as many reports as a stranger likes; the RFC names no number. */
const MOST_URIS = 8;
const MOST_ADDRESSES = 8;
const LONGEST_URI = 1000;
const MOST_IGNORED = 16;

/** The words say `v=TLSRPTv1;`, the grammar allows blanks before the delimiter: whatever begins like this satisfies both. */
const OURS = /^v=TLSRPTv1[ \t]*;/;
/** RFC 3986's characters without `,`, `!` and `;`, which must come percent-encoded (RFC 8460 §3). */
const URI = /^(?:[A-Za-z0-9._~:/?#[\]@$&'()*+=-]|%[0-9A-Fa-f]{2})+$/;

/** Each TXT record is the list of its character-strings. */
export function parseReportRecords(records: readonly (readonly Buffer[])[]): ReportingPolicy {
  const ours = records.map(joinStrings).filter((text) => OURS.test(text));
  const [text] = ours;
  if (text === undefined) return none("absent", records.length === 0 ? "there is no record" : "no record begins with v=TLSRPTv1;");
  if (ours.length > 1) return none("several", `${ours.length} records begin with v=TLSRPTv1, and one is allowed`);
  const fields = parseTxtFields(text);
  if (!fields.ok) return none("invalid", fields.error);
  const published: string[] = [];
  for (const { name, value } of fields.value) {
    // Several rua fields satisfy the grammar, and nothing says that only one counts.
    if (name === "rua") published.push(...value.split(",").map(withoutBlanks));
    else if (!isPlainValue(value)) return none("invalid", noField(`${name}=${value}`));
  }
  return published.length === 0 ? none("no-usable-uri", "it has no rua") : chooseDestinations(published);
}

function chooseDestinations(published: readonly string[]): ReportingPolicy {
  const destinations = new Map<string, Rua>();
  const ignored: string[] = [];
  for (const uri of published) {
    if (destinations.has(uri)) continue;
    const parsed: Parsed<Rua> = destinations.size < MOST_URIS ? parseUri(uri) : bad(`it is beyond the first ${MOST_URIS}`);
    if (parsed.ok) destinations.set(uri, parsed.value);
    else if (ignored.length < MOST_IGNORED) ignored.push(`${JSON.stringify(cleanText(uri, 100))}: ${parsed.error}`);
  }
  if (destinations.size > 0) return { kind: "destinations", destinations: [...destinations.values()], ignored };
  return none("no-usable-uri", ignored.slice(0, 3).join(", "));
}

function parseUri(uri: string): Parsed<Rua> {
  if (uri.length > LONGEST_URI) return bad(`it is longer than ${LONGEST_URI} characters`);
  // DMARC's `!10m` is no part of this record: a URI with it is none.
  if (!URI.test(uri)) return bad("it is no URI, or has an unencoded exclamation mark");
  const colon = uri.indexOf(":");
  switch (uri.slice(0, Math.max(0, colon)).toLowerCase()) {
    case "mailto":
      return parseMailto(uri, uri.slice(colon + 1));
    case "https":
      return parseHttps(uri);
    default:
      return bad("it is neither mailto nor https");
  }
}

function parseHttps(uri: string): Parsed<Rua> {
  const url = uri.split("#", 1)[0] ?? "";
  if (!/^https:\/\/[^/?]/i.test(url) || !URL.canParse(url)) return bad("it names no host");
  const { username, password } = new URL(url);
  // A login in public DNS protects nothing, and fetch refuses it.
  return username === "" && password === "" ? good({ uri, kind: "https", url }) : bad("it has a user name or password");
}

/** RFC 6068 §2. Header fields behind `?` would put a stranger's words into our mail: they are passed over. */
function parseMailto(uri: string, rest: string): Parsed<Rua> {
  const written = rest.split(/[?#]/, 1)[0] ?? "";
  const whole = parseMailbox(written);
  if (whole.ok) return good({ uri, kind: "mailto", addresses: [whole.value] });
  // Several addresses are separated by commas (§2), which are encoded here: so a %2C may also belong to a local part, as above.
  const addresses = new Set<EmailAddress>();
  for (const part of written.split(/%2c/i).slice(0, MOST_ADDRESSES)) {
    const parsed = parseMailbox(part);
    if (!parsed.ok) return bad(whole.error);
    addresses.add(parsed.value);
  }
  return good({ uri, kind: "mailto", addresses: [...addresses] });
}

function parseMailbox(encoded: string): Parsed<EmailAddress> {
  const text = decodePercent(encoded);
  if (text === undefined) return bad("its encoding is not UTF-8");
  const at = text.lastIndexOf("@");
  const local = text.slice(0, Math.max(0, at));
  // What SMTP can say only in quotes comes without them where it is merely encoded: a%2Cb (RFC 6068 §2).
  const bare = parseAddress(text);
  const needsQuotes = !bare.ok && local !== "" && !/["\\@]/.test(local);
  const parsed = needsQuotes ? parseAddress(`"${local}"${text.slice(at)}`) : bare;
  if (!parsed.ok) return parsed;
  // A stranger's record shall not point us at an address that no domain vouches for.
  return literalAddress(domainOf(parsed.value)) === undefined ? parsed : bad("its domain is an IP address");
}

function decodePercent(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function none(reason: "absent" | "several" | "invalid" | "no-usable-uri", detail: string): ReportingPolicy {
  return { kind: "none", reason, detail };
}
