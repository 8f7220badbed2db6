/** Keys as an operator sees them: a kept key in, what may be shown of it and what is to be published out. */
import { readPrivateKey } from "../mail/dkim-key.ts";
import { formatDkimRecord, formatTxtStrings } from "../mail/dkim-record.ts";
import type { DkimKey, KeyRecord, KeyStatus } from "../queue/dkim-keys.ts";
import { messageOf } from "../thrown.ts";
import { recordName, type Wanted } from "./wanted.ts";

export function showKey(key: DkimKey, wanted: Wanted | undefined): KeyStatus {
  // What may be shown is named, so that nothing else can ever be.
  const { domain, selector, algorithm, state, createdAt, changedAt, checkedAt } = key;
  const problem = findDamage(key) ?? key.problem;
  return {
    domain,
    selector,
    algorithm,
    state,
    createdAt,
    changedAt,
    ...(checkedAt !== undefined && { checkedAt }),
    ...(problem !== undefined && { problem }),
    recordName: recordName(key),
    listed: wanted?.uses.has(domain) ?? false,
  };
}

/** What DNS says of it is of no account then. */
function findDamage({ state, privateKey, algorithm }: DkimKey): string | undefined {
  if (state !== "active") return undefined;
  try {
    readPrivateKey(privateKey, algorithm);
    return undefined;
  } catch (error) {
    return `${messageOf(error)}: it does not sign, and mail of its domain waits`;
  }
}

export function formatRecord(key: DkimKey): KeyRecord {
  const { domain, selector, state } = key;
  const name = recordName(key);
  const value = formatDkimRecord(key);
  return { domain, selector, state, name, value, zoneLine: `${name}. IN TXT ${formatTxtStrings(value)}` };
}
