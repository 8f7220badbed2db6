/**
 * A report that somebody sent us (RFC 8460 §4.4, §5): a file's octets in — JSON, gzip, or the whole mail — and a plain value for
 * a table out, or the reason there is none. It forgives what reporters get wrong: a string for a list, a list's only member
 * without its list, digits for a number, members left out. Every text of it is clean and bounded, and no file can fill memory.
 */
import { gunzipSync } from "node:zlib";
import { bad, good, type Parsed } from "../mail/parsed.ts";
import { cleanText } from "../mail/reply.ts";
import { codeOf, messageOf } from "../thrown.ts";
import { findLeaves } from "./mime-parts.ts";

/** What the report does not say is absent. Lists are in its order. */
export interface ReceivedReport {
  readonly organization?: string;
  readonly contact?: string;
  readonly id?: string;
  /** RFC 3339 if the reporter keeps to it. */
  readonly begin?: string;
  readonly end?: string;
  readonly policies: readonly ReceivedPolicy[];
}

export interface ReceivedPolicy {
  readonly type?: string;
  readonly domain?: string;
  readonly strings: readonly string[];
  readonly mxHosts: readonly string[];
  readonly successes?: number;
  readonly failures?: number;
  readonly details: readonly ReceivedDetail[];
}

export interface ReceivedDetail {
  readonly resultType?: string;
  readonly sendingMtaIp?: string;
  readonly receivingMxHostname?: string;
  readonly receivingMxHelo?: string;
  readonly receivingIp?: string;
  readonly sessions?: number;
  readonly additionalInformation?: string;
  readonly reasonCode?: string;
}

const MEGABYTE = 1024 ** 2;
/** Of the file, and of what gzip makes of it. */
const LARGEST = 50 * MEGABYTE;
const LONGEST_TEXT = 1000;
const LONGEST_LIST = 100_000;

export function readReport(octets: Buffer): Parsed<ReceivedReport> {
  if (octets.length > LARGEST) return bad(`it is larger than ${LARGEST / MEGABYTE} MB`);
  if (octets.length === 0) return bad("it is empty");
  return looksPacked(octets) ? readPacked(octets) : readMail(octets);
}

/** gzip by its magic number (RFC 1952 §2.3.1), JSON by its brace: no header of a mail begins so. */
function looksPacked(octets: Buffer): boolean {
  return isGzip(octets) || /^(?:\xef\xbb\xbf)?\s*\{/.test(octets.toString("latin1", 0, 1024));
}

function isGzip(octets: Buffer): boolean {
  return octets[0] === 0x1f && octets[1] === 0x8b;
}

function readPacked(octets: Buffer): Parsed<ReceivedReport> {
  if (!isGzip(octets)) return readJson(octets);
  try {
    return readJson(gunzipSync(octets, { maxOutputLength: LARGEST }));
  } catch (error) {
    if (codeOf(error) === "ERR_BUFFER_TOO_LARGE") return bad(`it unpacks to more than ${LARGEST / MEGABYTE} MB`);
    return bad(`it is damaged gzip: ${cleanText(messageOf(error), 200)}`);
  }
}

/** The part whose media type says that it is a report; else whichever can be read as one. */
function readMail(octets: Buffer): Parsed<ReceivedReport> {
  const leaves = findLeaves(octets).filter((leaf) => looksPacked(leaf.octets));
  const named = leaves.filter(({ type }) => type.startsWith("application/tlsrpt"));
  let last: Parsed<ReceivedReport> | undefined;
  for (const leaf of [...named, ...leaves.filter((one) => !named.includes(one))]) {
    last = readPacked(leaf.octets);
    if (last.ok) return last;
  }
  return last ?? bad("it is neither JSON nor gzip, nor a mail with a part that is one of them");
}

function readJson(octets: Buffer): Parsed<ReceivedReport> {
  let value: unknown;
  try {
    // A byte-order mark is not allowed (RFC 7493 §2.1, RFC 8259 §8.1), and is taken away.
    value = JSON.parse(new TextDecoder().decode(octets));
  } catch (error) {
    return bad(`it is no JSON: ${cleanText(messageOf(error), 200)}`);
  }
  const report = membersOf(value);
  if (!("policies" in report)) return bad("it is JSON, but no TLS report: it has no policies");
  const range = membersOf(report["date-range"]);
  return good({
    ...texts(report, { organization: "organization-name", contact: "contact-info", id: "report-id" }),
    ...texts(range, { begin: "start-datetime", end: "end-datetime" }),
    policies: listOf(report.policies).map(readPolicy),
  });
}

function readPolicy(value: unknown): ReceivedPolicy {
  const { policy: found, summary: counted, ...rest } = membersOf(value);
  const policy = membersOf(found);
  const summary = membersOf(counted);
  return {
    ...texts(policy, { type: "policy-type", domain: "policy-domain" }),
    strings: policyLines(policy["policy-string"]).flatMap(textsIn),
    // The second name is the ABNF's.
    mxHosts: listOf(policy["mx-host"] ?? policy["mx-host-pattern"]).flatMap(textsIn),
    ...numbers(summary, { successes: "total-successful-session-count", failures: "total-failure-session-count" }),
    details: listOf(rest["failure-details"]).map(readDetail),
  };
}

/** §4's older wording has one string with semicolons, and some have one with line ends. */
function policyLines(value: unknown): unknown[] {
  return typeof value === "string" ? value.split(/[\n;]/, LONGEST_LIST) : listOf(value);
}

function readDetail(value: unknown): ReceivedDetail {
  const detail = membersOf(value);
  return {
    ...texts(detail, {
      resultType: "result-type",
      sendingMtaIp: "sending-mta-ip",
      receivingMxHostname: "receiving-mx-hostname",
      receivingMxHelo: "receiving-mx-helo",
      receivingIp: "receiving-ip",
      reasonCode: "failure-reason-code",
    }),
    ...numbers(detail, { sessions: "failed-session-count" }),
    ...texts({ info: detail["additional-information"] ?? detail["additional-info-uri"] }, { additionalInformation: "info" }),
  };
}

type Members = Readonly<Record<string, unknown>>;

function membersOf(value: unknown): Members {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : {};
}

function listOf(value: unknown): unknown[] {
  if (value === undefined || value === null) return [];
  return Array.isArray(value) ? value.slice(0, LONGEST_LIST) : [value];
}

function textsIn(value: unknown): string[] {
  const text = typeof value === "number" ? String(value) : value;
  return typeof text === "string" && text.trim() !== "" ? [cleanText(text.trim(), LONGEST_TEXT)] : [];
}

/** Those members that are texts, under our names. */
function texts<Name extends string>(members: Members, names: Readonly<Record<Name, string>>): { [name in Name]?: string } {
  const found: { [name in Name]?: string } = {};
  for (const name in names) {
    const [text] = textsIn(members[names[name]]);
    if (text !== undefined) found[name] = text;
  }
  return found;
}

/** Those members that count something, under our names. */
function numbers<Name extends string>(members: Members, names: Readonly<Record<Name, string>>): { [name in Name]?: number } {
  const found: { [name in Name]?: number } = {};
  for (const name in names) {
    const value = members[names[name]];
    const number = typeof value === "string" && /^[0-9]{1,15}$/.test(value) ? Number(value) : value;
    if (typeof number === "number" && Number.isSafeInteger(number) && number >= 0) found[name] = number;
  }
  return found;
}
