/**
 * Which resolvers are asked, which of them are believed about DNSSEC, and what the managed one is told. Settings in, findings
 * out. What each word means, and that it means something, is config/resolver-words.ts.
 */
import { fileFaults, rootsFaults } from "./check-files.ts";
import { isLoopbackAddress } from "./check-networks.ts";
import { type CheckFacts, error, type Finding, note } from "./finding.ts";
import type { Path } from "./keys.ts";
import { quote } from "./redact.ts";
import { isTlsServer, type ResolverWords, readResolverWords } from "./resolver-words.ts";
import { parseServerAddress, serverKey } from "./server-address.ts";
import type { Settings } from "./settings.ts";

type ResolverSettings = Settings["resolver"];

/** True if some answer may come out as secure: a server is authenticated, our own, or vouched for by the operator. */
export function mayBelieveDnssec({ servers, validating }: ResolverSettings): boolean {
  return servers.some((server) => server === "managed" || isTlsServer(server)) || validating.length > 0;
}

export function checkResolver({ resolver }: Settings, facts: CheckFacts): Finding[] {
  const { words, faults } = readResolverWords(resolver);
  const findings = faults.map(({ text, path }) => error(text, path));
  findings.push(...checkValidating(resolver, words), ...checkManaged(resolver, facts), ...checkSelfTest(resolver));
  if (resolver.roots !== undefined) findings.push(...rootsFaults(resolver.roots, ["resolver", "roots"], facts));
  return findings;
}

// Docker's and systemd's: they pass on what other resolvers say, AD bit and all.
const FORWARDERS: Readonly<Record<string, string>> = { "127.0.0.11": "Docker's", "127.0.0.53": "systemd's" };

/** The AD bit of these is believed (RFC 7672 §2.1.1), so each must be an address that is asked, and the way to it nobody else's. */
function checkValidating({ servers, validating }: ResolverSettings, words: ResolverWords): Finding[] {
  const findings: Finding[] = [];
  const serversPath: Path = ["resolver", "servers"];
  const asked = new Set(words.servers.flatMap((server) => (typeof server === "string" ? [] : [serverKey(server)])));
  for (const [index, text] of validating.entries()) {
    const path: Path = ["resolver", "validating", index];
    const parsed = parseServerAddress(text);
    // Those that are no plain addresses have been refused.
    if (!parsed.ok || parsed.value.tlsName !== undefined) continue;
    if (servers.includes("managed")) {
      findings.push(note("is not asked while resolver.servers is managed", path, serversPath));
    } else if (!servers.includes("system") && !asked.has(serverKey(parsed.value))) {
      findings.push(error(`${quote(text)} is not among resolver.servers, so it is never asked`, path, serversPath));
    } else {
      const remark = trustRemark(parsed.value.address);
      if (remark !== undefined) findings.push(note(remark, path));
    }
  }
  return findings;
}

function trustRemark(address: string): string | undefined {
  const whose = FORWARDERS[address];
  if (whose !== undefined)
    return `${address} is usually ${whose} forwarder, which validates nothing by itself: believed all the same, since it is listed. managed is safe`;
  return isLoopbackAddress(address)
    ? undefined
    : `${address} is another machine: whoever can write to the network in between can forge what it says of DNSSEC. tls:// or managed is safe`;
}

function checkManaged({ servers, managed }: ResolverSettings, facts: CheckFacts): Finding[] {
  const findings: Finding[] = [];
  const at = (...steps: Path): Path => ["resolver", "managed", ...steps];
  const { program, trustAnchorFile, rootHints, forwarders, stubZones, insecureZones, localNames } = managed;
  if (program.trim() === "") findings.push(error("must name a program", at("program")));
  if (trustAnchorFile !== undefined) {
    const lacks = (text: string) => (/\s(?:DS|DNSKEY)\s/.test(text) ? undefined : "no DS or DNSKEY record");
    findings.push(...fileFaults(trustAnchorFile, lacks, at("trustAnchorFile"), facts));
  }
  if (rootHints !== undefined) {
    const lacks = (text: string) => (/\s(?:A|AAAA)\s/.test(text) ? undefined : "no address of a root server");
    findings.push(...fileFaults(rootHints, lacks, at("rootHints"), facts));
  }
  const isSet =
    trustAnchorFile !== undefined ||
    rootHints !== undefined ||
    [forwarders, stubZones, insecureZones, localNames].some((list) => list.length > 0);
  if (isSet && !servers.includes("managed"))
    findings.push(note("is not used, for resolver.servers is not managed", at(), ["resolver", "servers"]));
  return findings;
}

function checkSelfTest({ selfTest: { broken } }: ResolverSettings): Finding[] {
  return broken.length > 0
    ? []
    : [note("without names that must fail, a resolver that claims to validate is not found out", ["resolver", "selfTest", "broken"])];
}
