/** Who may connect from where: networks, listeners, and whether this would be an open relay. */
import { isIP, isIPv4, isIPv6 } from "node:net";
import ipaddr from "ipaddr.js";
import { type CheckFacts, error, type Finding, note } from "./finding.ts";
import type { Path } from "./keys.ts";
import { quote } from "./redact.ts";
import type { ListenerSettings, Settings } from "./settings.ts";

/** Undefined for a network; a network's own address is asked for, since host bits there are usually a slip. */
export function networkFault(text: string): string | undefined {
  const slash = text.lastIndexOf("/");
  const address = slash < 0 ? text : text.slice(0, slash);
  const kind = isIP(address);
  if (kind === 0 || address.includes("%")) return `not a network: ${quote(text)}, expected one like 10.0.0.0/8 or fd00::/8`;
  const bits = kind === 4 ? 32 : 128;
  if (slash < 0) return `write ${address}/${bits} for this one address`;
  const length = text.slice(slash + 1);
  if (!/^\d{1,3}$/.test(length) || Number(length) > bits) return `the part behind the slash must be a number from 0 to ${bits}`;
  const network = (kind === 4 ? ipaddr.IPv4 : ipaddr.IPv6).networkAddressFromCIDR(text).toString();
  return network === ipaddr.parse(address).toString()
    ? undefined
    : `${text} is an address inside a network; did you mean ${network}/${length}?`;
}

function isLoopbackNetwork(text: string): boolean {
  // Without host bits a network that begins at a loopback address holds nothing else.
  return networkFault(text) === undefined && ipaddr.parseCIDR(text)[0].range() === "loopback";
}

export function isLoopbackAddress(text: string): boolean {
  return isIP(text) !== 0 && ipaddr.process(text).range() === "loopback";
}

export function checkNetworks({ submission, delivery }: Settings, facts: CheckFacts): Finding[] {
  const findings: Finding[] = [];
  for (const [index, network] of submission.networks.entries()) {
    const path: Path = ["submission", "networks", index];
    if (network === "auto") continue;
    const fault = networkFault(network);
    if (fault !== undefined) findings.push(error(fault, path));
    else if (network.endsWith("/0")) findings.push(note("everybody who can connect may relay without login", path));
  }
  for (const [index, network] of delivery.allowedAddresses.entries()) {
    const fault = networkFault(network);
    if (fault !== undefined) findings.push(error(fault, ["delivery", "allowedAddresses", index]));
  }
  if (delivery.sourceAddress4 !== undefined && !isIPv4(delivery.sourceAddress4))
    findings.push(error("not an IPv4 address", ["delivery", "sourceAddress4"]));
  if (delivery.sourceAddress6 !== undefined && !isIPv6(delivery.sourceAddress6))
    findings.push(error("not an IPv6 address", ["delivery", "sourceAddress6"]));
  if (!delivery.ipv4 && delivery.ipv6 === "off")
    findings.push(error("with IPv4 and IPv6 both off no host can be reached", ["delivery", "ipv4"], ["delivery", "ipv6"]));
  const reachable = submission.listeners.filter(
    (listener) => !isLoopbackAddress(listener.address) && (listener.login === "optional" || submission.login.acceptAnyFromNetworks),
  );
  const trusted = submission.networks.flatMap((network) => (network === "auto" ? facts.autoNetworks : [network]));
  const wide = trusted.find((network) => !isLoopbackNetwork(network));
  // An open relay is one published port away from here, so somebody has to say which domains are meant.
  if (wide !== undefined && reachable.length > 0 && submission.senderDomains.length === 0 && !submission.allowAnySenderDomain) {
    findings.push(
      error(
        `${wide} may relay without login, so the sender domains must be named (ALLOWED_SENDER_DOMAINS), or submission.allowAnySenderDomain set, or the listeners set to login: required`,
        ["submission", "senderDomains"],
        ["submission", "networks"],
        ["submission", "listeners"],
        ["submission", "allowAnySenderDomain"],
        ["submission", "login"],
      ),
    );
  }
  return findings;
}

export function checkListeners({ submission: { listeners, certificateFile } }: Settings): Finding[] {
  const findings: Finding[] = [];
  const hasCertificate = certificateFile !== undefined;
  for (const [index, listener] of listeners.entries()) {
    const path: Path = ["submission", "listeners", index];
    if (isIP(listener.address) === 0) findings.push(error(`not an address: ${quote(listener.address)}`, [...path, "address"]));
    for (const [before, other] of listeners.slice(0, index).entries()) {
      const otherPath: Path = ["submission", "listeners", before];
      if (other.name === listener.name)
        findings.push(error(`submission.listeners[${before}] has the same name`, [...path, "name"], [...otherPath, "name"]));
      if (collide(other, listener)) {
        findings.push(
          error(
            `${listener.address} port ${listener.port} is taken by submission.listeners[${before}]`,
            [...path, "port"],
            [...path, "address"],
            [...otherPath, "port"],
            [...otherPath, "address"],
          ),
        );
      }
    }
    const about: [Path, ...Path[]] = [path, ["submission", "certificateFile"]];
    if (!hasCertificate && (listener.tls === "require" || listener.tls === "implicit")) {
      findings.push(note(`listener ${listener.name} is not opened: it needs a certificate (submission.certificateFile)`, ...about));
    } else if (listener.login === "required" && (!hasCertificate || listener.tls === "off")) {
      // RFC 4954 §4: no plain-text login without TLS.
      findings.push(note(`nobody can use listener ${listener.name}: it asks for a login, and login needs TLS`, ...about));
    }
  }
  return findings;
}

function collide(a: ListenerSettings, b: ListenerSettings): boolean {
  if (a.port !== b.port || a.port === 0) return false;
  if (a.address === b.address || a.address === "::" || b.address === "::") return true;
  return (a.address === "0.0.0.0" && isIPv4(b.address)) || (b.address === "0.0.0.0" && isIPv4(a.address));
}
