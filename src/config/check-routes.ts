/** Certificates and the hosts that mail is sent to by configuration: what needs what, and what may not be together. */
import { isIP } from "node:net";
import { parseDomain, withoutBrackets } from "../mail/domain.ts";
import { pemFaults, rootsFaults } from "./check-files.ts";
import { domainFault } from "./check-names.ts";
import { type CheckFacts, error, type Finding, note } from "./finding.ts";
import type { Path } from "./keys.ts";
import { quote } from "./redact.ts";
import type { RouteSettings, Settings } from "./settings.ts";

export function checkCertificates({ submission, tls }: Settings, facts: CheckFacts): Finding[] {
  const findings: Finding[] = [];
  const certificatePath: Path = ["submission", "certificateFile"];
  const keyPath: Path = ["submission", "keyFile"];
  const { certificateFile, keyFile } = submission;
  if (certificateFile !== undefined && keyFile === undefined)
    findings.push(error("needs submission.keyFile too", certificatePath, keyPath));
  if (keyFile !== undefined && certificateFile === undefined)
    findings.push(error("needs submission.certificateFile too", keyPath, certificatePath));
  if (certificateFile !== undefined) findings.push(...pemFaults(certificateFile, "CERTIFICATE", certificatePath, facts));
  if (keyFile !== undefined) findings.push(...pemFaults(keyFile, "PRIVATE KEY", keyPath, facts));
  findings.push(...rootsFaults(tls.roots, ["tls", "roots"], facts));
  if (tls.mtaSts.roots !== undefined) findings.push(...rootsFaults(tls.mtaSts.roots, ["tls", "mtaSts", "roots"], facts));
  return findings;
}

export function checkRoutes({ delivery }: Settings, facts: CheckFacts): Finding[] {
  const findings: Finding[] = [];
  if (delivery.relayhost !== undefined) findings.push(...checkRoute(delivery.relayhost, ["delivery", "relayhost"], facts));
  const taken = new Map<string, number>();
  for (const [index, route] of delivery.routes.entries()) {
    const path: Path = ["delivery", "routes", index];
    findings.push(...checkRoute(route, path, facts));
    for (const [place, domain] of route.domains.entries()) {
      const fault = domainFault(domain, { subdomains: true, all: true });
      if (fault !== undefined) findings.push(error(fault, [...path, "domains", place]));
      const other = taken.get(domain.toLowerCase());
      if (other !== undefined)
        findings.push(
          error(
            `${quote(domain)} is in delivery.routes[${other}] already`,
            [...path, "domains", place],
            ["delivery", "routes", other, "domains"],
          ),
        );
      else taken.set(domain.toLowerCase(), index);
    }
  }
  return findings;
}

function checkRoute(route: RouteSettings, path: Path, facts: CheckFacts): Finding[] {
  const findings: Finding[] = [];
  const bare = withoutBrackets(route.host);
  if (isIP(bare) === 0 && !parseDomain(route.host).ok)
    findings.push(error(`not a host name or address: ${quote(route.host)}`, [...path, "host"]));
  if (route.port === 0) findings.push(error("0 is no port to connect to", [...path, "port"]));
  if (route.tlsName !== undefined && domainFault(route.tlsName) !== undefined)
    findings.push(error(domainFault(route.tlsName) ?? "", [...path, "tlsName"]));
  if (isIP(bare) !== 0 && route.tlsName === undefined && (route.tls === "authenticated" || route.tls === "implicit")) {
    findings.push(
      note(
        "mail for it will wait, for no certificate can be compared with an address: set tlsName to the name in its certificate, or lower tls",
        [...path, "host"],
        [...path, "tlsName"],
      ),
    );
  }
  if (route.rootsFile !== undefined) findings.push(...pemFaults(route.rootsFile, "CERTIFICATE", [...path, "rootsFile"], facts));
  const [username, password]: [Path, Path] = [
    [...path, "username"],
    [...path, "password"],
  ];
  if (route.username !== undefined && route.password === undefined) findings.push(error("needs a password too", username, password));
  if (route.password !== undefined && route.username === undefined) findings.push(error("needs a username too", password, username));
  if (route.username !== undefined && route.tls !== "authenticated" && route.tls !== "implicit") {
    // RFC 4954 §14: a name and password go only to a server that has proven who it is.
    findings.push(
      error(
        `with tls: ${route.tls} the password could be given to anybody; a login needs authenticated or implicit`,
        [...path, "tls"],
        username,
      ),
    );
  }
  return findings;
}
