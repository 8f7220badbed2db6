/** Settings of signing as the keyring keeps to them: words in, domains and kinds of key out. Pure. */
import type { DkimSettings } from "../config/settings.ts";
import type { DkimService } from "../mail/dkim-record.ts";
import { type Domain, parseDomain } from "../mail/domain.ts";
import type { DkimAlgorithm } from "../mail/signing.ts";

export interface Wanted {
  /** Every domain that is to have keys, with what it signs. */
  readonly uses: ReadonlyMap<Domain, readonly DkimService[]>;
  /** Of these, the ones that sign for what is below them too: dkim.domains. */
  readonly parents: ReadonlySet<Domain>;
  readonly algorithms: readonly DkimAlgorithm[];
  /** What selectors begin with. */
  readonly selector: string;
  readonly checkEvery: number;
  readonly overlap: number;
}

const ALGORITHMS = { "rsa-2048": "rsa-sha256", ed25519: "ed25519-sha256" } as const;

/** Settings that were checked (config/check-reports.ts). `reportDomain` sends TLS reports (RFC 8460 §3). */
export function readWanted(settings: DkimSettings, reportDomain: Domain | undefined): Wanted {
  const uses = new Map<Domain, readonly DkimService[]>();
  for (const text of settings.domains) {
    const domain = parseDomain(text);
    if (!domain.ok) throw new Error(`dkim.domains: ${domain.error}`);
    uses.set(domain.value, ["email"]);
  }
  const parents = new Set(uses.keys());
  // Its reports are mail as well, and judged as such before anybody reads them.
  if (reportDomain !== undefined) uses.set(reportDomain, ["email", "tlsrpt"]);
  return {
    uses,
    parents,
    algorithms: [...new Set(settings.algorithms.map((name) => ALGORITHMS[name]))],
    selector: settings.selector,
    checkEvery: settings.checkEvery,
    overlap: settings.overlap,
  };
}

/** Where the key's record stands (RFC 6376 §3.6.2.1). */
export function recordName({ selector, domain }: { readonly selector: string; readonly domain: Domain }): string {
  return `${selector}._domainkey.${domain}`;
}
