/** Domains, addresses and users: text that must be a name. Settings in, findings out. */
import { parseAddress } from "../mail/address.ts";
import { parseAddressLiteral, parseDomain } from "../mail/domain.ts";
import { parseDomainPattern } from "../mail/domain-pattern.ts";
import { error, type Finding } from "./finding.ts";
import type { Path } from "./keys.ts";
import { quote } from "./redact.ts";
import type { Settings } from "./settings.ts";

interface AllowedNames {
  /** `.domain`. */
  readonly subdomains?: boolean;
  /** `*`. */
  readonly all?: boolean;
  /** `[192.0.2.1]`. */
  readonly literals?: boolean;
}

/** A domain, or what else the place allows. */
export function domainFault(text: string, allowed: AllowedNames = {}): string | undefined {
  if (allowed.all === true && text === "*") return undefined;
  if (allowed.literals === true && parseAddressLiteral(text).ok) return undefined;
  if (text.startsWith("*.")) return `write .${text.slice(2)} for the subdomains of a domain`;
  const parsed = allowed.subdomains === true ? parseDomainPattern(text) : parseDomain(text);
  return parsed.ok ? undefined : `not a domain name: ${quote(text)}`;
}

export function checkNames(settings: Settings): Finding[] {
  const findings: Finding[] = [];
  const check = (path: Path, fault: string | undefined): void => {
    if (fault !== undefined) findings.push(error(fault, path));
  };
  const { submission, delivery, users } = settings;
  if (settings.mailname !== undefined) {
    check(["mailname"], domainFault(settings.mailname));
    // RFC 5321 §2.3.5: a name that others can resolve; a bare label is known at home only.
    if (domainFault(settings.mailname) === undefined && !settings.mailname.includes("."))
      check(["mailname"], "must be a full name with a dot, as others look it up");
  }
  for (const [list, domains] of [
    ["senderDomains", submission.senderDomains],
    ["recipientDomains", submission.recipientDomains],
  ] as const) {
    for (const [index, domain] of domains.entries()) check(["submission", list, index], domainFault(domain, { subdomains: true }));
  }
  for (const domain of Object.keys(settings.tls.domains))
    check(["tls", "domains", domain], domainFault(domain, { subdomains: true, literals: true }));
  for (const [index, name] of delivery.ownNames.entries()) check(["delivery", "ownNames", index], domainFault(name));
  if (submission.postmaster !== undefined) {
    const parsed = parseAddress(submission.postmaster);
    check(["submission", "postmaster"], parsed.ok ? undefined : `not an address: ${quote(submission.postmaster)}`);
  }
  const names = new Map<string, number>();
  for (const [index, user] of users.entries()) {
    const other = names.get(user.name);
    if (other !== undefined) findings.push(error(`users[${other}] has the same name`, ["users", index, "name"], ["users", other, "name"]));
    names.set(user.name, index);
    for (const [place, address] of user.maySendAs.entries()) check(["users", index, "maySendAs", place], senderFault(address));
  }
  return findings;
}

function senderFault(text: string): string | undefined {
  if (text.startsWith("@")) return domainFault(text.slice(1), { subdomains: true });
  const parsed = parseAddress(text);
  return parsed.ok ? undefined : `expected an address, @domain or @.domain: ${quote(text)}`;
}
