/** What published policy and the floors ask for, as far as settings alone can contradict themselves. Settings in, findings out. */
import { isIP } from "node:net";
import { networkFault } from "./check-networks.ts";
import { mayBelieveDnssec } from "./check-resolver.ts";
import { error, type Finding, note } from "./finding.ts";
import type { Path } from "./keys.ts";
import { quote } from "./redact.ts";
import type { Settings } from "./settings.ts";
import { formatDuration, formatSize } from "./units.ts";

export function checkPolicy(settings: Settings): Finding[] {
  const { domains, daneDigests, honourTlsOptional } = settings.tls;
  const findings: Finding[] = [];
  for (const [domain, { floor, host, published }] of Object.entries(domains)) {
    if (floor === undefined && host === undefined && published === undefined)
      findings.push(error("says nothing about this domain: set floor, host or published", ["tls", "domains", domain]));
  }
  for (const [index, digest] of daneDigests.entries()) {
    if (daneDigests.indexOf(digest) !== index) findings.push(error(`${digest} is named already`, ["tls", "daneDigests", index]));
  }
  for (const [index, who] of honourTlsOptional.entries()) findings.push(...submitterFindings(who, ["tls", "honourTlsOptional", index]));
  return [...findings, ...checkHostFloor(settings), ...checkMtaSts(settings)];
}

/** A user's name or a network; a network with a slip in it must not pass for the name of a user who never logs in. */
function submitterFindings(who: string, path: Path): Finding[] {
  const text = who.trim();
  if (text === "") return [error("must be a user's name or a network", path)];
  if (/^(?:\*|all|any|everybody|auto)$/i.test(text))
    return [error(`${quote(text)} is nobody here: name users, or networks like 10.0.0.0/8 (0.0.0.0/0 and ::/0 are everybody)`, path)];
  if (isIP(text) === 0 && !text.includes("/") && !/^[\d.]+$/.test(text)) return [];
  const fault = networkFault(text);
  if (fault !== undefined) return [error(fault, path)];
  return text.endsWith("/0") ? [note("anybody's TLS-Required: No lets a message go in clear, whatever the floor", path)] : [];
}

/**
 * `tls.host` asks for proofs that come by DNSSEC. With resolvers that nobody said validate there are none, so `dnssec` would
 * keep all mail for MX hosts here for ever.
 */
function checkHostFloor({ tls, resolver, delivery }: Settings): Finding[] {
  const toRoutesOnly = delivery.relayhost !== undefined || delivery.routes.some(({ domains }) => domains.includes("*"));
  if (mayBelieveDnssec(resolver) || toRoutesOnly) return [];
  const servers: Path = ["resolver", "servers"];
  const validating: Path = ["resolver", "validating"];
  const because = "none of resolver.servers is believed about DNSSEC";
  const fix = "use managed or tls://, or list those that validate in resolver.validating";
  const places: [Path, Settings["tls"]["host"] | undefined, string][] = [
    [["tls", "host"], tls.host, "mail for MX hosts"],
    ...Object.entries(tls.domains).map(([domain, { host }]): [Path, Settings["tls"]["host"] | undefined, string] => [
      ["tls", "domains", domain, "host"],
      host,
      `mail for ${domain}`,
    ]),
  ];
  return places.flatMap(([path, level, mail]): Finding[] => {
    if (level === "dnssec") return [error(`${mail} would wait for ever, for ${because}: ${fix}`, path, servers, validating)];
    if (level === "proven")
      return [note(`only MTA-STS can prove a host, for ${because}; other mail waits: ${fix}`, path, servers, validating)];
    return [];
  });
}

function checkMtaSts({ tls: { mtaSts } }: Settings): Finding[] {
  const findings: Finding[] = [];
  const at = (name: string): Path => ["tls", "mtaSts", name];
  const { policySize, fetchTimeout, retryAfter, refreshEvery, refreshUnused } = mtaSts;
  if (policySize < 1024)
    findings.push(
      error(`no policy fits into ${policySize} octets${policySize > 0 ? `; did you mean ${policySize}K?` : ""}`, at("policySize")),
    );
  else if (policySize > 1024 ** 2) findings.push(error(`must not be more than ${formatSize(1024 ** 2)}`, at("policySize")));
  else if (policySize < 64 * 1024)
    findings.push(
      note("policies up to 64K are usual (RFC 8461 §3.3); domains with a larger one than this count as without", at("policySize")),
    );
  // Mail to the domain waits for the first fetch, so a policy host must not be able to hold it for long.
  if (fetchTimeout > 10 * 60_000)
    findings.push(error("must not be longer than 10m, since mail to the domain waits for it", at("fetchTimeout")));
  else if (fetchTimeout > 0 && fetchTimeout < 10_000)
    findings.push(note("RFC 8461 §3.3 suggests 1m; domains whose policy host is slower than this count as without", at("fetchTimeout")));
  if (retryAfter > 0 && retryAfter < 5 * 60_000)
    findings.push(note("RFC 8461 §3.3 asks for 5m or longer, to spare hosts in trouble", at("retryAfter")));
  if (refreshEvery < retryAfter)
    findings.push(error(`is shorter than tls.mtaSts.retryAfter (${formatDuration(retryAfter)})`, at("refreshEvery"), at("retryAfter")));
  if (refreshUnused < refreshEvery)
    findings.push(
      error(
        `is shorter than tls.mtaSts.refreshEvery (${formatDuration(refreshEvery)}), so no policy would ever be refreshed`,
        at("refreshUnused"),
        at("refreshEvery"),
      ),
    );
  return findings;
}
