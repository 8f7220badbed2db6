/** `postern policy show|list|refresh` as text: admin/policies.ts's answers in, words out. Pure. */
import type { PolicyList, PolicyRefreshed, PolicyView, ShownPolicy } from "../admin/policies.ts";
import { stsEvidence } from "../policy/evidence.ts";
import type { StsDiscovery } from "../policy/sts-freshness.ts";
import { describeDnssec, describeSts } from "./evidence-text.ts";
import { type Column, describeMinute, describeSpan, renderFields, renderTable, shown } from "./words.ts";

export function renderPolicy(view: PolicyView): string {
  const { now, domain, floor, host, published, domains, dnssec, kept, daneSeen } = view;
  const fields: [string, string[]][] = [
    ["domain", domain === undefined ? [] : [shown(domain, 255)]],
    ["floor", [`${floor.level}   (${shown(floor.setting)})`]],
    ["host", [`${host.level}   (${shown(host.setting)})`]],
    ["published", [`${published.mode}   (${shown(published.setting)})`]],
    ["domains", domains === undefined ? [] : describeDomains(domains)],
    [
      "DNSSEC",
      dnssec === undefined ? [] : [`${dnssec.kind}: ${dnssec.detail === "" ? describeDnssec(dnssec.kind) : shown(dnssec.detail)}`],
    ],
  ];
  if (domain !== undefined) {
    fields.push([
      "MTA-STS",
      kept === undefined ? [`nothing is kept; postern policy refresh ${shown(domain, 255)} looks now`] : describeKept(kept, now),
    ]);
    fields.push([
      "DANE",
      [
        daneSeen === undefined
          ? "not met with mail yet"
          : `last met with mail ${describeMinute(daneSeen)} (${describeSpan(now - daneSeen)} ago)`,
      ],
    ]);
  }
  return renderFields(fields);
}

const LIST_COLUMNS: readonly Column[] = [
  { title: "DOMAIN", wrap: 40 },
  { title: "MODE" },
  { title: "MX", wrap: 40 },
  { title: "FETCHED" },
  { title: "VALID TO" },
  { title: "LAST USED" },
  { title: "TROUBLE", wrap: 50 },
];

export function renderPolicies({ now, policies, next }: PolicyList): string {
  if (policies.length === 0) return "No policy is kept.\n";
  const rows = policies.map(({ policyDomain, policy, failure, lastUsed }) => [
    shown(policyDomain, 255),
    policy?.mode ?? "-",
    policy === undefined ? "-" : shown(policy.mx.join(", "), 200),
    policy === undefined ? "-" : describeMinute(policy.fetchedAt),
    policy === undefined ? "-" : `${describeMinute(policy.expires)}${policy.expires <= now ? " (over)" : ""}`,
    `${describeSpan(now - lastUsed)} ago`,
    failure === undefined ? "-" : shown(`${failure.failure.type}: ${failure.failure.detail}`, 300),
  ]);
  return renderTable(LIST_COLUMNS, rows) + (next === undefined ? "" : `More: add --after ${shown(next, 300)}\n`);
}

/** What was asked, what came, and what applies from now on. */
export function renderRefresh({ now, policyDomain, record, fetch, before, finding }: PolicyRefreshed): string {
  const domain = shown(policyDomain, 255);
  const fields: [string, string[]][] = [["record", [`_mta-sts.${domain}: ${describeRecord(record)}`]]];
  if (fetch === undefined) fields.push(["fetch", ["nothing was fetched: no record announces a policy, and none is kept"]]);
  else {
    const from = `https://mta-sts.${domain}/.well-known/mta-sts.txt`;
    fields.push([
      "fetch",
      fetch.ok
        ? [
            `${from}: mode ${fetch.policy.mode}, max_age ${fetch.policy.maxAge} (${describeSpan(fetch.policy.maxAge * 1000)})`,
            ...lists(fetch.policy.mx),
          ]
        : [`${from} FAILED`, shown(`${fetch.failure.type}: ${fetch.failure.detail}`)],
    ]);
  }
  fields.push([
    "before",
    [before === undefined ? "nothing was kept" : `id ${shown(before.id, 40)}, fetched ${describeMinute(before.fetchedAt)}`],
  ]);
  fields.push(["now", describeSts(stsEvidence(finding), now)]);
  return renderFields(fields);
}

function describeDomains(domains: NonNullable<PolicyView["domains"]>): string[] {
  const entries = Object.entries(domains);
  const lines = entries.slice(0, 50).map(([pattern, settings]) => {
    const words = Object.entries(settings).flatMap(([key, value]) => (value === undefined ? [] : [`${key} ${String(value)}`]));
    return `${shown(pattern, 255)}: ${shown(words.join(", "))}`;
  });
  return entries.length > 50 ? [...lines, `and ${entries.length - 50} more in tls.domains`] : lines;
}

function describeKept({ policy, failure, lastUsed }: ShownPolicy, now: number): string[] {
  const lines: string[] = [];
  if (policy === undefined) lines.push("no policy is kept");
  else {
    const end = policy.expires <= now ? "was valid to" : "valid to";
    lines.push(`mode ${policy.mode}, id ${shown(policy.id, 40)}, max_age ${policy.maxAge} (${describeSpan(policy.maxAge * 1000)})`);
    lines.push(...lists(policy.mx));
    lines.push(
      `fetched ${describeMinute(policy.fetchedAt)} (${describeSpan(now - policy.fetchedAt)} ago), ${end} ${describeMinute(policy.expires)}`,
    );
  }
  if (failure !== undefined)
    lines.push(`the latest fetch, ${describeMinute(failure.at)}, failed: ${shown(`${failure.failure.type}: ${failure.failure.detail}`)}`);
  lines.push(`mail last asked for it ${describeMinute(lastUsed)} (${describeSpan(now - lastUsed)} ago)`);
  return lines;
}

function lists(mx: readonly string[]): string[] {
  return mx.length === 0 ? [] : [`lists ${shown(mx.join(", "), 300)}`];
}

function describeRecord(record: StsDiscovery): string {
  switch (record.kind) {
    case "failed":
      return `the look-up failed: ${shown(record.detail)}`;
    case "none":
      return record.reason === "absent" ? "announces no policy" : `counts as none: ${shown(record.detail)}`;
    case "record":
      return `id ${shown(record.id, 40)}`;
  }
}
