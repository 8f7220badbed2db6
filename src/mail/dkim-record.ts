/**
 * Key records of DKIM (RFC 6376 §3.6.1): the text that is to be published for a key, and what is published read back and
 * compared with it. Everything that DNS says is a stranger's text.
 */
import { bad, good, type Parsed } from "./parsed.ts";
import { cleanText } from "./reply.ts";
import type { DkimAlgorithm } from "./signing.ts";

/** Services that a key may be restricted to: §3.6.1, RFC 8460 §3. */
export type DkimService = "email" | "tlsrpt";

export interface DkimRecord {
  /** `k=`. */
  readonly keyType: string;
  /** `p=` without blanks; empty: the key is revoked. */
  readonly publicKey: string;
  /** `s=`; `*` is any. */
  readonly services: readonly string[];
  /** `t=`. */
  readonly flags: readonly string[];
  /** `h=`; absent: all. */
  readonly hashes?: readonly string[];
}

const KEY_TYPES: Record<DkimAlgorithm, string> = { "rsa-sha256": "rsa", "ed25519-sha256": "ed25519" };

/** Mail and TLS reports (RFC 8460 §3): with `tlsrpt` alone, as shown there, the key is void for mail (RFC 6376 §3.6.1). */
export function formatDkimRecord(key: { readonly algorithm: DkimAlgorithm; readonly publicKey: string }): string {
  return `v=DKIM1; k=${KEY_TYPES[key.algorithm]}; s=email:tlsrpt; p=${key.publicKey}`;
}

/** `"…" "…"`: the text as a zone file takes it, in strings of at most 255 octets (RFC 1035 §3.3.14). */
export function formatTxtStrings(value: string): string {
  return (value.match(/.{1,255}/g) ?? []).map((part) => `"${part}"`).join(" ");
}

export function parseDkimRecord(text: string): Parsed<DkimRecord> {
  const tags = parseTags(text);
  if (!tags.ok) return tags;
  const { value } = tags;
  const version = value.get("v");
  // §3.6.1: it may be left out; elsewhere than in front, or another, it makes the record none.
  if (version !== undefined && (version !== "DKIM1" || [...value.keys()][0] !== "v"))
    return bad(version === "DKIM1" ? "v=DKIM1 does not stand first" : `v=${shown(version)} is no version of DKIM`);
  const publicKey = value.get("p")?.replace(/[ \t\r\n]+/g, "");
  if (publicKey === undefined) return bad("it has no p= tag");
  const hashes = value.get("h");
  return good({
    keyType: value.get("k") ?? "rsa",
    publicKey,
    services: listOf(value.get("s") ?? "*"),
    flags: listOf(value.get("t") ?? ""),
    ...(hashes !== undefined && { hashes: listOf(hashes) }),
  });
}

/** §3.2. */
function parseTags(text: string): Parsed<Map<string, string>> {
  const tags = new Map<string, string>();
  const specs = text.split(";");
  if (specs.at(-1)?.trim() === "") specs.pop();
  for (const spec of specs) {
    const at = spec.indexOf("=");
    const name = spec.slice(0, Math.max(at, 0)).trim();
    if (!/^[A-Za-z]\w*$/.test(name)) return bad("it is no list of tags");
    if (tags.has(name)) return bad(`it has the tag ${shown(name)}= twice`);
    tags.set(name, spec.slice(at + 1).trim());
  }
  return good(tags);
}

function listOf(text: string): string[] {
  return text
    .split(":")
    .map((word) => word.trim())
    .filter((word) => word !== "");
}

export const NOT_IN_DNS = "the record is not in DNS";

/** `fits`: verifiers will accept the key. There may be a problem all the same, which some of them or some uses meet. */
export interface Comparison {
  readonly fits: boolean;
  /** A clean sentence. */
  readonly problem?: string;
}

/**
 * Does DNS publish our key? `texts` are the TXT records at its name, the strings of each put together (§3.6.2.2); `uses` is
 * what the domain signs.
 */
export function compareDkimRecord(
  texts: readonly string[],
  key: { readonly algorithm: DkimAlgorithm; readonly publicKey: string },
  uses: readonly DkimService[],
): Comparison {
  const misfit = (problem: string): Comparison => ({ fits: false, problem });
  const [text, second] = texts;
  if (text === undefined) return misfit(NOT_IN_DNS);
  // §3.6.2.2: with several the result is undefined.
  if (second !== undefined) return misfit(`${texts.length} TXT records stand at its name, and only one may; receivers take any of them`);
  const parsed = parseDkimRecord(text);
  if (!parsed.ok) return misfit(`the TXT record at its name is no key record: ${parsed.error}`);
  const { keyType, publicKey, services, flags, hashes } = parsed.value;
  if (publicKey === "") return misfit("the record revokes the key: its p= is empty");
  if (keyType !== KEY_TYPES[key.algorithm])
    return misfit(`the record says k=${shown(keyType)}, and the key is ${KEY_TYPES[key.algorithm]}`);
  if (publicKey !== key.publicKey) return misfit(describeOtherKey(publicKey, key.publicKey));
  if (hashes !== undefined && !hashes.includes("sha256")) return misfit("the record's h= shuts out sha256");
  const shutOut = services.includes("*") ? [] : uses.filter((use) => !services.includes(use));
  const first = shutOut[0];
  if (first !== undefined) {
    const whom = { email: "mail", tlsrpt: "TLS reports" };
    return {
      fits: shutOut.length < uses.length,
      problem: `the record's s= shuts out ${shutOut.map((use) => `${use}, so receivers may ignore the signatures of ${whom[use]}`).join(" and ")}; publish s=email:tlsrpt`,
    };
  }
  // §3.6.1: verifiers treat such mail no other than unsigned mail.
  if (flags.includes("y")) return { fits: true, problem: "the record says t=y, a test: receivers treat the mail as unsigned" };
  return { fits: true };
}

function describeOtherKey(published: string, ours: string): string {
  // What forms and zone files that stop at 255 octets make of a long record.
  if (ours.startsWith(published)) return `the record's p= is cut off after ${published.length} of ${ours.length} characters`;
  return "the record has another key";
}

function shown(text: string): string {
  return cleanText(text, 40);
}
