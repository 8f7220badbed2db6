/**
 * Who answers for our TLS reports: settings and the machine's name in, `contact-info` of RFC 8460 §4.4 out. Its domain is the
 * submitter, which signs the mail (§3), so it must be a name that the world knows.
 */
import { domainOf, type EmailAddress, parseAddress } from "../mail/address.ts";
import type { Settings } from "./settings.ts";

/** Names that mean something at home only (RFC 6761, RFC 6762, RFC 8375), or were never set. */
const AT_HOME = /(?:^|\.)(?:localhost|localdomain|local|invalid|internal|home\.arpa)$/;

/** True for a name that others can look up, as far as the name tells. */
export function isPublicName(domain: string): boolean {
  return !domain.startsWith("[") && domain.includes(".") && !AT_HOME.test(domain);
}

/**
 * `tlsReports.from`, else `submission.postmaster`, else postmaster at the mailname; the first that has a public domain. `machineName`
 * stands in for a mailname that is not set. Undefined: nobody could be asked about a report, so none is sent.
 */
export function reportContact(
  { tlsReports, submission, mailname }: Pick<Settings, "tlsReports" | "submission" | "mailname">,
  machineName: string | undefined,
): EmailAddress | undefined {
  const name = mailname ?? machineName;
  for (const text of [tlsReports.from, submission.postmaster, name === undefined ? undefined : `postmaster@${name}`]) {
    const address = text === undefined ? undefined : parseAddress(text);
    if (address?.ok === true && isPublicName(domainOf(address.value))) return address.value;
  }
  return undefined;
}
