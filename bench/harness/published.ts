/**
 * What a relay is told so that it delivers to the domains of policy-domains.ts: by MX, from the resolver of policy-world.ts,
 * trusting the CA of the run. A build from before published policy was honoured gets only the settings that it knows, and
 * delivers the same mail to the same hosts by the floor alone.
 */
import { spawnSync } from "node:child_process";
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type CertificateFiles, makeCertificate } from "./certificates.ts";
import { MX_NAMES, policyHosts, publishedDomains } from "./policy-domains.ts";

export interface PublishedFiles {
  readonly roots: string;
  readonly mx: CertificateFiles;
  readonly policyHosts: CertificateFiles;
}

export function certifyPublished(folder: string, domains: number): PublishedFiles {
  const ca = makeCertificate(folder, "ca", []);
  const issue = (name: string, dnsNames: readonly string[]): CertificateFiles => {
    const made = makeCertificate(folder, name, dnsNames, ca);
    // As most hosts: the chain, as far as it helps.
    appendFileSync(made.certificate, readFileSync(ca.certificate));
    return made;
  };
  return { roots: ca.certificate, mx: issue("mx", MX_NAMES), policyHosts: issue("policy", policyHosts(publishedDomains(domains))) };
}

/** Lines for BENCH_EXTRA of bench/peer. */
export function publishedSettings(peer: string, ports: { readonly mx: number; readonly dns: number }, roots: string): string {
  const settings: Record<string, string> = {
    RESOLVER__SERVERS: `127.0.0.1:${ports.dns}`,
    DELIVERY__PORT: String(ports.mx),
    DELIVERY__ALLOWED_ADDRESSES: "127.0.0.0/8",
    TLS__ROOTS: roots,
  };
  if (honoursPolicy(peer)) settings["RESOLVER__VALIDATING"] = `127.0.0.1:${ports.dns}`;
  return Object.entries(settings)
    .map(([name, value]) => `POSTERN__${name}=${value}`)
    .join("\n");
}

/** Whether the build that a bench/peer starts has the settings of published policy. */
export function honoursPolicy(peer: string): boolean {
  const program = join(dirname(peer), "..", "bin", "postern.js");
  if (!existsSync(program))
    throw new Error(`${peer} is not the bench/peer of a Postern, and published policy is set up for no other relay`);
  const { status, stdout } = spawnSync(process.execPath, [program, "config", "schema"], { encoding: "utf8" });
  if (status !== 0) throw new Error(`${program} config schema fails: is it built?`);
  return stdout.includes('"validating"');
}
