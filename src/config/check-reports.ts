/** TLS reports and DKIM, as far as settings alone can be wrong: names, addresses, and who answers for a report. Settings in, findings out. */
import { isIPv4, isIPv6 } from "node:net";
import ipaddr from "ipaddr.js";
import { domainOf, parseAddress } from "../mail/address.ts";
import { SIGNATURE_LIFETIME } from "../mail/dkim.ts";
import { isHostname, parseDomain } from "../mail/domain.ts";
import { NOTICE_LISTENER, REPORT_LISTENER } from "../mail/own-origins.ts";
import { rootsFaults } from "./check-files.ts";
import { domainFault } from "./check-names.ts";
import { type CheckFacts, error, type Finding, note } from "./finding.ts";
import type { Path } from "./keys.ts";
import { quote } from "./redact.ts";
import { isPublicName, reportContact } from "./report-contact.ts";
import type { Settings } from "./settings.ts";

export function checkReports(settings: Settings, facts: CheckFacts): Finding[] {
  const { tlsReports, submission } = settings;
  const at = (...steps: Path): Path => ["tlsReports", ...steps];
  const findings: Finding[] = [];
  const check = (path: Path, fault: string | undefined): void => {
    if (fault !== undefined) findings.push(error(fault, path));
  };
  if (tlsReports.from !== undefined) check(at("from"), contactFault(tlsReports.from));
  else if (tlsReports.send === "on" && reportContact(settings, undefined) === undefined) {
    findings.push(
      error(
        "reports need an address that people can answer: set tlsReports.from (TLSRPT_FROM), submission.postmaster with a public domain, or mailname",
        at("send"),
        at("from"),
        ["submission", "postmaster"],
        ["mailname"],
      ),
    );
  }
  if (tlsReports.organization?.trim() === "") check(at("organization"), "must say who reports");
  for (const [index, domain] of tlsReports.exclude.entries()) check(at("exclude", index), domainFault(domain, { subdomains: true }));
  const { publicAddress4, publicAddress6 } = tlsReports;
  if (publicAddress4 !== undefined) findings.push(...addressFindings(publicAddress4, isIPv4, "IPv4", at("publicAddress4")));
  if (publicAddress6 !== undefined) findings.push(...addressFindings(publicAddress6, isIPv6, "IPv6", at("publicAddress6")));
  if (tlsReports.roots !== undefined) findings.push(...rootsFaults(tlsReports.roots, at("roots"), facts));
  for (const [index, { name }] of submission.listeners.entries()) {
    if (name === NOTICE_LISTENER || name === REPORT_LISTENER)
      check(["submission", "listeners", index, "name"], `${name} is what Postern calls its own messages; take another name`);
  }
  return findings;
}

function contactFault(text: string): string | undefined {
  const address = parseAddress(text);
  if (!address.ok) return `not an address: ${quote(text)}`;
  return isPublicName(domainOf(address.value))
    ? undefined
    : `receivers of reports must be able to write there, so its domain must be a public name: ${quote(text)}`;
}

function addressFindings(text: string, isIt: (text: string) => boolean, kind: string, path: Path): Finding[] {
  if (!isIt(text) || text.includes("%")) return [error(`not an ${kind} address`, path)];
  const hidden = ["private", "loopback", "linkLocal", "uniqueLocal", "carrierGradeNat", "unspecified"].includes(ipaddr.parse(text).range());
  return hidden ? [note(`no host out there sees mail come from ${text}`, path)] : [];
}

/** As long as the number and the letter that follow in the selector may become. */
const ROOM = "999r";
/** Octets of a name in DNS (RFC 1035 §2.3.4). */
const LONGEST_NAME = 253;

export function checkDkim({ dkim }: Settings): Finding[] {
  const findings: Finding[] = [];
  const taken = new Set<string>();
  for (const [index, text] of dkim.domains.entries()) {
    const path: Path = ["dkim", "domains", index];
    const domain = parseDomain(text);
    if (text.startsWith(".")) findings.push(error(`keys are made for names: write the domains that ${text} stands for`, path));
    else if (!domain.ok) findings.push(error(domainFault(text) ?? domain.error, path));
    else if (taken.has(domain.value)) findings.push(error(`${quote(text)} is named already`, path));
    else {
      taken.add(domain.value);
      const room = LONGEST_NAME - `${dkim.selector}${ROOM}._domainkey.${domain.value}`.length;
      if (room < 0) findings.push(error(`with dkim.selector in front its name in DNS would be ${-room} octets too long`, path));
    }
  }
  for (const [index, algorithm] of dkim.algorithms.entries()) {
    if (dkim.algorithms.indexOf(algorithm) !== index) findings.push(error(`${algorithm} is named already`, ["dkim", "algorithms", index]));
  }
  // RFC 6376 §3.1.
  if (dkim.selector === "" || !isHostname(`${dkim.selector}${ROOM}`) || dkim.selector !== dkim.selector.toLowerCase())
    findings.push(
      error(`must be a label like postern or mail-2026, in lower case, for selectors are names in DNS: ${quote(dkim.selector)}`, [
        "dkim",
        "selector",
      ]),
    );
  if (dkim.overlap < SIGNATURE_LIFETIME * 1000)
    findings.push(note("signatures are good for a week: those of a key that goes sooner cannot be verified any more", ["dkim", "overlap"]));
  return findings;
}
