/**
 * What TLS-RPT must have counted of a domain (RFC 8460 §4), against what its relay counted: a line written by hand from tables A, B
 * and D of the requirements, and the relay's own numbers in; everything that differs out. Pure.
 *
 *     sts ok                                    one session, as the policy asks
 *     sts failed certificate-expired            one that was not, and why; codes stand behind a slash, and a star is any
 *     sts ok, failed x/y                        one of each
 *     no-policy-found ok 2                      two
 *     tlsa of mx failed x/y, z + sts ok         two policies, and two faults of one session
 *     relay: no-policy-found ok                 told to the domain of the relay host, instead of the recipient's
 *     nothing
 *     tlsa of mx failed x/y | nothing           either, where a clock of somebody else's decides
 */
import type { PolicyCount } from "../../src/queue/tls-reports.ts";
import type { FailureDetail } from "../../src/policy/observation.ts";
import { FIXED } from "./world/addresses.ts";
import type { Site } from "./site.ts";

/** What stands in the table: `told` of the message with the fault, and of the control's. */
export type Told = readonly [fault: string, control: string];

/** Everything that a relay counted, by the domain that reports go to. */
export type Counted = ReadonlyMap<string, readonly PolicyCount[]>;

/** What a relay as a whole is asked, beside its scenarios. */
export const REPORT_DOMAINS = "Report domains";
export const nobodyElse = (relay: string): string => `relay ${relay} counts for the domains that mail went to, and for nobody else`;

/** Nobody is told of mail that went elsewhere: not a parent domain, not a mail host, not whom an alias leads to. */
export function findStrangers(sites: readonly Site[], counted: Counted): string[] {
  const known = new Set(sites.map(reportDomainsOf).flatMap(({ own, relay }) => [own, relay]));
  return [...counted.keys()].filter((domain) => !known.has(domain));
}

/** Whose reports could tell of the message: the recipient's domain, or that of the host the operator names (RFC 8460 §3). */
function reportDomainsOf({ domain, route }: Site): { readonly own: string; readonly relay: string | undefined } {
  const host = route?.["host"];
  return { own: domain, relay: typeof host === "string" ? host : undefined };
}

export function describeCounted(site: Site, counted: Counted): string {
  const lines = linesOf(site, counted);
  return lines.length === 0 ? "nothing" : lines.join(" + ");
}

/** What differs: in the line itself, and in what a report would say of each policy and each fault (tables C and D). */
export function judgeCounted(site: Site, told: string, counted: Counted): string[] {
  const was = linesOf(site, counted);
  const agrees = told.split(" | ").some((one) => isTold(one, was));
  const differs = agrees ? [] : [`reports must tell: ${told}; but counted was: ${describeCounted(site, counted)}`];
  const { own, relay } = reportDomainsOf(site);
  return [
    ...differs,
    ...[own, relay].flatMap((domain) => (counted.get(domain ?? "") ?? []).flatMap((one) => judgePolicy(site, domain ?? "", one))),
  ];
}

function isTold(told: string, was: readonly string[]): boolean {
  const left = [...was];
  for (const line of told === "nothing" ? [] : told.split(" + ")) {
    const at = left.findIndex((one) => patternOf(line).test(one));
    if (at < 0) return false;
    left.splice(at, 1);
  }
  return left.length === 0;
}

function patternOf(line: string): RegExp {
  return new RegExp(`^${line.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", "[A-Za-z0-9._-]+")}$`);
}

function linesOf(site: Site, counted: Counted): string[] {
  const { own, relay } = reportDomainsOf(site);
  const of = (domain: string | undefined): readonly PolicyCount[] => counted.get(domain ?? "") ?? [];
  return [...of(own).map((one) => lineOf(site, one)), ...of(relay).map((one) => `relay: ${lineOf(site, one)}`)];
}

function lineOf(site: Site, { policy, successes, failures, details }: PolicyCount): string {
  const named = policy.type === "tlsa" ? `tlsa of ${labelOf(site, policy.domain)}` : policy.type;
  const often = (count: number): string => (count === 1 ? "" : ` ${count}`);
  const faults = details.map(({ detail, sessions }) => `${faultOf(detail)}${sessions === 1 ? "" : ` (${sessions})`}`).sort();
  const parts = [
    ...(successes > 0 ? [`ok${often(successes)}`] : []),
    ...(failures > 0 || faults.length > 0 ? [`failed${often(failures)} ${faults.join(", ")}`] : []),
  ];
  return `${named} ${parts.join(", ")}`;
}

function faultOf({ resultType, reasonCode }: FailureDetail): string {
  return reasonCode === undefined ? resultType : `${resultType}/${reasonCode}`;
}

/** A host as its scenario calls it; a name beside the domain by the label it was made from. */
function labelOf(site: Site, name: string): string {
  if (name === site.domain) return "domain";
  const host = [...site.hosts.values()].find((one) => one.name === name);
  return host?.label ?? name.replace(new RegExp(`-${site.id}\\..*$`), "");
}

/** Table D, and what is true of every entry whatever happened. */
function judgePolicy(site: Site, reportDomain: string, { policy, details }: PolicyCount): string[] {
  const { type, domain, text, mxHost } = policy;
  const wrong: string[] = [];
  const must = (what: string, holds: boolean): void => void (holds || wrong.push(`counted under ${type} of ${domain}: ${what}`));
  must("the domain is an A-label in small letters", /^[a-z0-9._-]+$/.test(domain));
  const types = new Set(details.map(({ detail }) => detail.resultType));
  if (type !== "tlsa") must("the domain is the policy domain", domain === reportDomain);
  if (type === "no-policy-found") must("nothing is quoted", text.length === 0 && mxHost === undefined);
  if (type === "sts") {
    const isInvalid = types.has("sts-policy-invalid");
    must(
      `a policy as served is quoted: ${text.join(" | ")}`,
      site.policies.some((served) => isQuoted(text, served)),
    );
    const listed = text.filter((line) => line.startsWith("mx:")).map((line) => line.slice(3).trim().toLowerCase());
    must(`mx-host has the patterns, not ${String(mxHost)}`, isInvalid || listed.join() === mxHost?.join());
  }
  if (type === "tlsa") {
    const isLost = types.has("dnssec-invalid") || types.has("dane-required");
    const published = tlsaAt(site, domain);
    must(`the records are quoted: ${text.join(" | ")}`, isLost ? text.length === 0 : published.length > 0 && isSame(text, published));
    must("mx-host is left out", mxHost === undefined);
  }
  for (const { detail } of details) wrong.push(...judgeDetail(site, detail).map((what) => `counted under ${type} of ${domain}: ${what}`));
  return wrong;
}

const isSame = (some: readonly string[], others: readonly string[]): boolean =>
  [...some].sort().join("\n") === [...others].sort().join("\n");

/** The lines in order, line ends removed, and what nobody can see made visible. */
function isQuoted(text: readonly string[], served: string): boolean {
  const lines = served.replace(/\p{Cf}/gu, "?").split(/\r?\n/);
  while (lines.at(-1) === "") lines.pop();
  return lines.join("\n") === text.join("\n");
}

/** As published at the host's own name, where its record stands: itself, behind an alias, or by wildcard. */
function tlsaAt({ published, route }: Site, host: string): string[] {
  const port = Number(route?.["port"] ?? 25);
  const at = (owner: string): string[] => published.filter((one) => one.owner === owner && one.type === "TLSA").map(({ data }) => data);
  const owner = `_${port}._tcp.${host}`;
  const alias = published.find((one) => one.owner === owner && one.type === "CNAME")?.data.replace(/\.$/, "");
  return [owner, ...(alias === undefined ? [] : [alias]), `*._tcp.${host}`].map(at).find((records) => records.length > 0) ?? [];
}

/** Of these no connection to a mail host has a part in it; the others cannot be without one, but for a host that no policy lists. */
const UNCONNECTED = /^(?:dnssec-invalid|dane-required|sts-)/;

/** Table C: who talked to whom, where anybody did (RPT-44 to RPT-48, RPT-82). */
function judgeDetail(site: Site, detail: FailureDetail): string[] {
  const { resultType, sendingMtaIp, receivingMxHostname, receivingMxHelo, receivingIp, reasonCode } = detail;
  const wrong: string[] = [];
  const must = (what: string, holds: boolean): void => void (holds || wrong.push(`${resultType}: ${what}: ${JSON.stringify(detail)}`));
  const isUnconnected = UNCONNECTED.test(resultType) || (reasonCode === "mx-not-in-policy" && receivingIp === undefined);
  must("both addresses are known, or neither", (sendingMtaIp === undefined) === (receivingIp === undefined));
  must("addresses stand where there was a connection", isUnconnected === (receivingIp === undefined));
  must("the code is short", reasonCode === undefined || /^[A-Za-z0-9._-]{1,64}$/.test(reasonCode));
  must("there is no mailbox in it", !JSON.stringify(detail).includes("@"));
  must("the host is one of the domain's", receivingMxHostname === undefined || exchangesOf(site).has(receivingMxHostname));
  if (receivingIp === undefined) return wrong;
  const receiver = site.receivers.find(({ address }) => address === receivingIp);
  const clients = receiver?.connections.map(({ from }) => from);
  must("somebody connected to it", site.real === undefined ? (receiver?.connections.length ?? 0) > 0 : receivingIp === FIXED[site.real]);
  must("and from there", clients === undefined || clients.includes(sendingMtaIp));
  must("it is what the host calls itself", receiver === undefined || receivingMxHelo === "mx.example.test");
  return wrong;
}

/** Names in MX records, as they are written there; the domain itself without any; the host of a route. */
function exchangesOf(site: Site): Set<string> {
  const { relay } = reportDomainsOf(site);
  const names = site.published.filter(({ type }) => type === "MX").map(({ data }) => data.replace(/^\d+ |\.$/g, ""));
  return new Set([site.domain, ...names, ...(relay === undefined ? [] : [relay])]);
}
