/**
 * What a relay has counted for TLS-RPT so far, asked at its control socket, where `postern tlsrpt today` asks. The relay and the day
 * the lab began in; every domain with its policies out.
 */
import type { CountedDay } from "../../src/admin/tlsrpt.ts";
import { type PolicyCount, type ReportDay, reportDayOf } from "../../src/queue/tls-reports.ts";
import type { Relay } from "../support/relay.ts";
import { askRelay } from "./check.ts";
import type { Counted } from "./expected-reports.ts";

/** Of both days, where the lab runs over midnight. */
export async function readCounted(relay: Relay, began: ReportDay): Promise<Counted> {
  const counted = new Map<string, readonly PolicyCount[]>();
  for (const day of new Set([began, reportDayOf(Date.now())])) {
    for (const domain of await domainsOf(relay, day)) {
      const { domains } = await ask(relay, { day, domain });
      counted.set(domain, [...(counted.get(domain) ?? []), ...(domains[0]?.policies ?? [])]);
    }
  }
  return counted;
}

async function domainsOf(relay: Relay, day: ReportDay): Promise<string[]> {
  const found: string[] = [];
  let after: string | undefined;
  do {
    const page = await ask(relay, { day, limit: 500, ...(after !== undefined && { after }) });
    found.push(...page.domains.map(({ reportDomain }) => reportDomain));
    after = page.next;
  } while (after !== undefined);
  return found;
}

async function ask(relay: Relay, body: object): Promise<CountedDay> {
  const text = await askRelay(relay, "tlsrpt/today", body);
  const answer = JSON.parse(text) as CountedDay & { readonly error?: string };
  if (answer.error !== undefined) throw new Error(`tlsrpt/today: ${answer.error}`);
  return answer;
}
