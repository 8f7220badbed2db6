/**
 * MAIL and RCPT (RFC 5321 §4.1.1.2, §4.1.1.3, §4.1.2): what stands behind the verb in, a path and its parameters out, or
 * the reply that refuses it. Parameters: SIZE (RFC 1870), BODY (RFC 1652), SMTPUTF8 (RFC 6531 §3.4), RET, ENVID,
 * NOTIFY, ORCPT (RFC 3461 §4), AUTH (RFC 4954 §5), REQUIRETLS (RFC 8689 §2). Who may say it is accept.ts.
 */
import { type EmailAddress, parseAddress, type ReversePath } from "../mail/address.ts";
import type { NotifyWishes } from "../mail/envelope.ts";
import { decodeXtext, isXtext } from "../mail/xtext.ts";

export interface Refused {
  readonly ok: false;
  readonly reply: string;
}

export interface MailCommand {
  readonly ok: true;
  readonly sender: ReversePath;
  readonly size?: number;
  readonly smtpUtf8: boolean;
  /** Whether the session may say so is transaction.ts's to judge. */
  readonly requireTls: boolean;
  readonly returnContent?: "full" | "headers";
  readonly envelopeId?: string;
}

export interface RcptCommand {
  readonly ok: true;
  /** `postmaster` stands for the mailbox without a domain that every server has (RFC 5321 §4.5.1). */
  readonly recipient: EmailAddress | "postmaster";
  readonly notify?: NotifyWishes;
  readonly originalRecipient?: string;
}

export interface PathOptions {
  /** A blank after the colon is not the syntax (RFC 5321 §3.3), yet common: taken from those we trust. */
  readonly blankAfterColon: boolean;
  /** For RCPT: the transaction's MAIL said SMTPUTF8. */
  readonly smtpUtf8: boolean;
}

const refused = (reply: string): Refused => ({ ok: false, reply });

export function parseMail(text: string, options: PathOptions): MailCommand | Refused {
  const path = parsePath(text, "FROM:", options);
  if (!path.ok) return path;
  const parameters = parseParameters(path.rest, MAIL_PARAMETERS);
  if (!parameters.ok) return parameters;
  const { values } = parameters;
  const smtpUtf8 = values.has("SMTPUTF8");
  if (!smtpUtf8 && isForeign(text)) return refused("550 5.6.7 an address beyond ASCII needs SMTPUTF8");
  let sender: ReversePath = "";
  if (path.inside !== "") {
    if (!path.inside.includes("@")) return refused("501 5.1.7 the sender address needs a domain");
    const address = parseAddress(path.inside);
    if (!address.ok) return refused(`501 5.1.7 ${asciiOnly(address.error)}`);
    sender = address.value;
  }
  const size = values.get("SIZE");
  const ret = values.get("RET");
  const envelopeId = values.get("ENVID");
  return {
    ok: true,
    sender,
    smtpUtf8,
    requireTls: values.has("REQUIRETLS"),
    ...(size !== undefined && { size: Number(size) }),
    ...(ret !== undefined && { returnContent: ret.toUpperCase() === "FULL" ? "full" : "headers" }),
    ...(envelopeId !== undefined && { envelopeId }),
  };
}

export function parseRcpt(text: string, options: PathOptions): RcptCommand | Refused {
  const path = parsePath(text, "TO:", options);
  if (!path.ok) return path;
  const parameters = parseParameters(path.rest, RCPT_PARAMETERS);
  if (!parameters.ok) return parameters;
  if (!options.smtpUtf8 && isForeign(text)) return refused("553 5.6.7 an address beyond ASCII needs SMTPUTF8");
  const recipient = parseRecipient(path.inside);
  if (typeof recipient === "object") return recipient;
  const notify = parameters.values.get("NOTIFY");
  const originalRecipient = parameters.values.get("ORCPT");
  return {
    ok: true,
    recipient,
    ...(notify !== undefined && { notify: notifyWishes(notify) }),
    ...(originalRecipient !== undefined && { originalRecipient }),
  };
}

function parseRecipient(inside: string): EmailAddress | "postmaster" | Refused {
  if (inside === "") return refused("501 5.1.3 the null path receives no mail");
  if (!inside.includes("@")) {
    if (inside.toLowerCase() === "postmaster") return "postmaster";
    return refused("550 5.1.2 the recipient address needs a domain");
  }
  const address = parseAddress(inside);
  return address.ok ? address.value : refused(`501 5.1.3 ${asciiOnly(address.error)}`);
}

interface ScannedPath {
  readonly ok: true;
  /** Between the brackets, a source route taken off (RFC 5321 §4.1.1.3, appendix C). */
  readonly inside: string;
  readonly rest: string;
}

const SOURCE_ROUTE = /@[^\s,:@<>"]+(?:,@[^\s,:@<>"]+)*:/y;

function parsePath(text: string, keyword: "FROM:" | "TO:", options: PathOptions): ScannedPath | Refused {
  const bad = refused(`501 5.5.4 syntax: ${keyword === "FROM:" ? "MAIL FROM" : "RCPT TO"}:<address>`);
  if (text.charCodeAt(0) !== 0x20) return bad;
  const start = 1 + keyword.length;
  if (text.slice(1, start).toUpperCase() !== keyword) return bad;
  let at = start;
  if (options.blankAfterColon) while (text.charCodeAt(at) === 0x20) at += 1;
  if (text.charAt(at) !== "<") return bad;
  at += 1;
  SOURCE_ROUTE.lastIndex = at;
  if (SOURCE_ROUTE.test(text)) at = SOURCE_ROUTE.lastIndex;
  const close = text.indexOf(">", text.charAt(at) === '"' ? endOfQuotedString(text, at) : at);
  if (close < 0) return bad;
  const rest = text.slice(close + 1);
  if (rest !== "" && rest.charCodeAt(0) !== 0x20) return bad;
  const inside = text.slice(at, close);
  // RFC 5321 §4.5.3.1.3: a path is at most 256 octets, brackets included.
  if (inside.length > 254) return refused("501 5.5.4 the path is longer than 256 octets");
  return { ok: true, inside, rest };
}

/** Behind the closing quote; the start again where there is none, so that the address is judged as it stands. */
function endOfQuotedString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const char = text.charAt(at);
    if (char === "\\") at += 1;
    else if (char === '"') return at + 1;
  }
  return start;
}

type Check = (value: string | undefined) => boolean;

/** RFC 3461 §4: xtext, and printable once it is decoded. */
function isPrintableXtext(text: string): boolean {
  return isXtext(text) && /^[ -~]*$/.test(decodeXtext(text));
}

const MAIL_PARAMETERS: ReadonlyMap<string, Check> = new Map<string, Check>([
  ["SIZE", (value) => value !== undefined && /^\d{1,20}$/.test(value)],
  ["BODY", (value) => value !== undefined && /^(?:7BIT|8BITMIME)$/i.test(value)],
  ["SMTPUTF8", (value) => value === undefined],
  ["REQUIRETLS", (value) => value === undefined],
  ["RET", (value) => value !== undefined && /^(?:FULL|HDRS)$/i.test(value)],
  ["ENVID", (value) => value !== undefined && value !== "" && value.length <= 100 && isPrintableXtext(value)],
  // RFC 4954 §5: read, and then treated as <>, since it is not ours to vouch for.
  ["AUTH", (value) => value !== undefined && value !== "" && (value === "<>" || isXtext(value))],
]);

const RCPT_PARAMETERS: ReadonlyMap<string, Check> = new Map<string, Check>([
  ["NOTIFY", (value) => value !== undefined && /^(?:NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*)$/i.test(value)],
  ["ORCPT", isOriginalRecipient],
]);

/** `addr-type;xtext` of at most 500 characters (RFC 3461 §4.2, §5.4); `utf-8;` also takes UTF-8 itself (RFC 6533 §3). */
function isOriginalRecipient(value: string | undefined): boolean {
  const match = /^([A-Za-z0-9!#$%&'*+/?^_`{|}~-]+);(.+)$/.exec(value ?? "");
  if (match === null || (value ?? "").length > 500) return false;
  const address = match[2] ?? "";
  if (match[1]?.toLowerCase() === "utf-8") return /^[^\x00-\x20\x7f-\x9f=]+$/.test(address);
  return isPrintableXtext(address);
}

function parseParameters(text: string, known: ReadonlyMap<string, Check>): { ok: true; values: Map<string, string> } | Refused {
  const values = new Map<string, string>();
  if (text.trim() === "") return { ok: true, values };
  for (const part of text.trim().split(/ +/)) {
    const equals = part.indexOf("=");
    const key = (equals < 0 ? part : part.slice(0, equals)).toUpperCase();
    const value = equals < 0 ? undefined : part.slice(equals + 1);
    if (!/^[A-Z0-9][A-Z0-9-]*$/.test(key)) return refused("501 5.5.4 bad parameter syntax");
    const check = known.get(key);
    if (check === undefined) return refused(`555 5.5.4 parameter ${key.slice(0, 40)} is not served here`);
    if (values.has(key)) return refused(`501 5.5.4 parameter ${key} given twice`);
    if (key === "BODY" && value?.toUpperCase() === "BINARYMIME") return refused("555 5.5.4 BODY=BINARYMIME is not served here");
    if (!check(value)) return refused(`501 5.5.4 bad value of parameter ${key}`);
    values.set(key, value ?? "");
  }
  return { ok: true, values };
}

function notifyWishes(text: string): NotifyWishes {
  const words = text.toUpperCase().split(",");
  return {
    never: words.includes("NEVER"),
    success: words.includes("SUCCESS"),
    failure: words.includes("FAILURE"),
    delay: words.includes("DELAY"),
  };
}

function isForeign(text: string): boolean {
  return /[^\x00-\x7f]/.test(text);
}

function asciiOnly(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "?");
}
