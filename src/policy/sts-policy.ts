/**
 * MTA-STS policy files (RFC 8461 §3.2): text in, an `StsPolicy` or the reason it is unusable out. Fetching is
 * lookup/sts-fetch.ts; how long a policy stays good is policy/sts-freshness.ts.
 *
 * A policy that breaks a rule is no policy: nothing of it is applied in part. Two things outside the grammar are let
 * pass, since they are common and lose nothing: empty lines, and a `max_age` above the maximum, which counts as the maximum.
 */
import { isIPv4 } from "node:net";
import { isHostname } from "../mail/domain.ts";
import type { Parsed } from "../mail/parsed.ts";
import { cleanText } from "../mail/reply.ts";

export type StsMode = "enforce" | "testing" | "none";

export interface StsPolicy {
  readonly mode: StsMode;
  /** Seconds, at most 31557600. */
  readonly maxAge: number;
  /** `max_age` as published, where that is more than the maximum. */
  readonly publishedMaxAge?: number;
  /** Patterns as written, lower case: a name, or `*.` and a name. Empty only with mode none. */
  readonly mx: readonly string[];
  /** The policy as it was served, for reports (RFC 8460 §4.4). */
  readonly text: string;
}

/** Which field is at fault, as a reason code (RFC 8460 §4.4); `syntax`: the text as a whole. */
export type StsFault = "version" | "mode" | "max_age" | "mx" | "syntax";

export type ParsedStsPolicy =
  | (Parsed<StsPolicy> & { readonly ok: true })
  | (Parsed<StsPolicy> & { readonly ok: false; readonly fault: StsFault });

function faulty(fault: StsFault, error: string): ParsedStsPolicy & { ok: false } {
  return { ok: false, error, fault };
}

/** "about one year": the most that is allowed. */
export const LONGEST_MAX_AGE = 31_557_600;

/** A letter or digit, then up to 31 of those and `_-.`. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$/;
const CONTROLS = /[\u0000-\u001f\u007f]/;
const MAX_AGE = /^[0-9]{1,10}$/;

/** Reads octets as served, or the text that was kept of them. Linear in their length; never throws. */
export function parseStsPolicy(served: Buffer | string): ParsedStsPolicy {
  const text = typeof served === "string" ? served : decode(served);
  if (text === undefined) return faulty("syntax", "it is not UTF-8");
  if (text.startsWith("\ufeff")) return faulty("syntax", "it begins with a byte-order mark");
  const first = new Map<string, string>();
  const mx: string[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    const written = withoutTrailingBlanks(line.endsWith("\r") ? line.slice(0, -1) : line);
    if (written === "") continue;
    const field = parseField(written);
    if (field === undefined) return faulty("syntax", `line ${index + 1} is no field: ${quoted(written)}`);
    if (field.name === "mx") {
      const pattern = parsePattern(field.value);
      if (pattern === undefined) return faulty("mx", `mx is no host name, nor *. and one: ${quoted(field.value)}`);
      mx.push(pattern);
    } else if (!first.has(field.name)) {
      // Any other field counts once, the first (last paragraph of the section).
      first.set(field.name, field.value);
    }
  }
  return assemble(first, mx, text);
}

function assemble(fields: ReadonlyMap<string, string>, mx: readonly string[], text: string): ParsedStsPolicy {
  const version = fields.get("version");
  if (version !== "STSv1")
    return faulty("version", version === undefined ? "version is missing" : `version is not STSv1: ${quoted(version)}`);
  const mode = fields.get("mode");
  if (mode !== "enforce" && mode !== "testing" && mode !== "none")
    return faulty("mode", mode === undefined ? "mode is missing" : `mode is none of enforce, testing and none: ${quoted(mode)}`);
  const maxAge = fields.get("max_age");
  if (maxAge === undefined) return faulty("max_age", "max_age is missing");
  if (!MAX_AGE.test(maxAge)) return faulty("max_age", `max_age is not 1 to 10 digits: ${quoted(maxAge)}`);
  if (mx.length === 0 && mode !== "none") return faulty("mx", `mode is ${mode}, and there is no mx`);
  // The RFC has no word on what a larger one means; to refuse the policy would leave the domain unprotected.
  const published = Number(maxAge);
  const age = published > LONGEST_MAX_AGE ? { maxAge: LONGEST_MAX_AGE, publishedMaxAge: published } : { maxAge: published };
  return { ok: true, value: { mode, ...age, mx, text } };
}

/** Name, colon, optional blanks, a value that is not empty. No blank stands before the colon, nor at the start of the line. */
function parseField(line: string): { readonly name: string; readonly value: string } | undefined {
  const colon = line.indexOf(":");
  if (colon < 0) return undefined;
  const name = line.slice(0, colon);
  let start = colon + 1;
  while (isBlank(line, start)) start += 1;
  const value = line.slice(start);
  return NAME.test(name) && value !== "" && !CONTROLS.test(value) ? { name, value } : undefined;
}

/** `["*."] Domain` in A-labels; upper case is the same name. An address fits the grammar of a domain and names no host. */
function parsePattern(value: string): string | undefined {
  const pattern = value.toLowerCase();
  const name = pattern.startsWith("*.") ? pattern.slice(2) : pattern;
  return /^[\x21-\x7e]+$/.test(value) && (isHostname(name) || isIPv4(name)) ? pattern : undefined;
}

/** The mark stays, and octets that are no UTF-8 make no text (RFC 3629 §3). */
function decode(octets: Buffer): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(octets);
  } catch {
    return undefined;
  }
}

function withoutTrailingBlanks(line: string): string {
  let end = line.length;
  while (end > 0 && isBlank(line, end - 1)) end -= 1;
  return line.slice(0, end);
}

function isBlank(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  return code === 0x20 || code === 0x09;
}

function quoted(text: string): string {
  return JSON.stringify(cleanText(text, 60));
}

/** A policy may hold thousands of patterns, and every message asks: they are looked up, not walked. */
const lookedUp = new WeakMap<readonly string[], ReadonlySet<string>>();

/** True if the MX name as written, case and final dot aside, fits one of the policy's patterns (RFC 8461 §4.1). */
export function allowsHost({ mx }: Pick<StsPolicy, "mx">, host: string): boolean {
  const lower = host.toLowerCase();
  const name = lower.endsWith(".") ? lower.slice(0, -1) : lower;
  if (!isHostname(name)) return false;
  let patterns = lookedUp.get(mx);
  if (patterns === undefined) {
    patterns = new Set(mx.map((pattern) => pattern.toLowerCase()));
    lookedUp.set(mx, patterns);
  }
  // A wildcard stands for exactly one label, the left-most (RFC 6125 §6.4.3).
  const dot = name.indexOf(".");
  return patterns.has(name) || (dot > 0 && patterns.has(`*${name.slice(dot)}`));
}
