/** `postern dkim list|dns|rotate|check` as text: admin/dkim.ts's answers in, words and lines of a zone file out. Pure. */
import type { KeyList, KeyRecords } from "../admin/dkim.ts";
import type { DkimKeyState, KeyStatus } from "../queue/dkim-keys.ts";
import { type Column, describeMinute, describeSpan, plural, renderTable, shown } from "./words.ts";

const STATES: Readonly<Record<DkimKeyState, string>> = { "waiting-for-dns": "waiting for DNS", active: "active", retiring: "retiring" };

const COLUMNS: readonly Column[] = [
  { title: "DOMAIN", wrap: 40 },
  { title: "SELECTOR" },
  { title: "ALGORITHM" },
  { title: "STATE" },
  { title: "SINCE" },
  { title: "LOOKED AT" },
  { title: "TROUBLE", wrap: 60 },
];

/** `running`: the relay that runs knows which domains are to have keys. */
export function renderKeys({ now, keys }: KeyList, { running }: { readonly running: boolean }): string {
  if (keys.length === 0) return "No keys. Name the domains whose mail is to be signed: dkim.domains (DKIM_DOMAINS).\n";
  const rows = keys.map((key) => [
    shown(key.domain, 255),
    key.selector,
    key.algorithm,
    STATES[key.state],
    describeMinute(key.changedAt),
    key.checkedAt === undefined ? "-" : `${describeSpan(now - key.checkedAt)} ago`,
    troubleOf(key, running),
  ]);
  const waiting = countWaiting(keys, running);
  return (
    renderTable(COLUMNS, rows) +
    (waiting === 0 ? "" : `${plural(waiting, "key waits", "keys wait")} for DNS. What to publish: postern dkim dns\n`)
  );
}

function troubleOf({ problem, listed }: KeyStatus, running: boolean): string {
  const trouble = [
    ...(problem === undefined ? [] : [shown(problem, 300)]),
    ...(running && !listed ? ["its domain is no longer in dkim.domains"] : []),
  ];
  return trouble.length === 0 ? "-" : trouble.join("; ");
}

/** Keys of domains that are no longer signed for may wait for ever. */
export function countWaiting(keys: readonly Pick<KeyStatus, "state" | "listed">[], running = true): number {
  return keys.filter(({ state, listed }) => state === "waiting-for-dns" && (listed || !running)).length;
}

/** As a zone file takes it: what is said about a record stands before it, as a comment. */
export function renderRecords({ now, records }: KeyRecords): string {
  if (records.length === 0) return "; no keys here: name the domains in dkim.domains (DKIM_DOMAINS)\n";
  return records
    .map(({ state, zoneLine, problem, checkedAt }) => {
      const looked = checkedAt === undefined ? "" : ` (looked ${describeSpan(now - checkedAt)} ago)`;
      return `; ${describeRecord(state, problem)}${looked}\n${zoneLine}\n`;
    })
    .join("");
}

function describeRecord(state: DkimKeyState, problem: string | undefined): string {
  const trouble = problem === undefined ? undefined : shown(problem, 300);
  switch (state) {
    case "waiting-for-dns":
      return `publish this; nothing is signed with it until it is seen: ${trouble ?? "DNS was not asked yet"}`;
    case "active":
      return trouble === undefined ? "published, in use" : `in use, but now: ${trouble}`;
    case "retiring":
      return "no longer signs; leave it in DNS while it is listed here, for mail on its way";
  }
}

export function renderRotation(answer: KeyRecords): string {
  return `${renderRecords(answer)}; keys in use go on signing until these are seen: postern dkim check\n`;
}
