/** Keys as an operator sees them: a kept key in, what may be shown of it and what is to be published out. */
import { formatDkimRecord, formatTxtStrings } from "../mail/dkim-record.ts";
import type { Domain } from "../mail/domain.ts";
import type { DkimKey, DkimKeyState } from "../queue/dkim-keys.ts";
import { recordName, type Wanted } from "./wanted.ts";

export interface KeyStatus extends Omit<DkimKey, "privateKey" | "publicKey"> {
  /** Where its record stands: `postern1r._domainkey.example.org`. */
  readonly recordName: string;
  /** In dkim.domains or the domain of reports; the keys of others are kept, and sign what is queued for them. */
  readonly listed: boolean;
}

export interface DnsRecord {
  readonly domain: Domain;
  readonly selector: string;
  readonly state: DkimKeyState;
  readonly name: string;
  /** The whole text, for forms that take it in one piece. */
  readonly value: string;
  /** One line of a zone file, in strings of at most 255 octets. */
  readonly zoneLine: string;
}

export function showKey(key: DkimKey, wanted: Wanted | undefined): KeyStatus {
  // What may be shown is named, so that nothing else can ever be.
  const { domain, selector, algorithm, state, createdAt, changedAt, checkedAt, problem } = key;
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

export function formatRecord(key: DkimKey): DnsRecord {
  const { domain, selector, state } = key;
  const name = recordName(key);
  const value = formatDkimRecord(key);
  return { domain, selector, state, name, value, zoneLine: `${name}. IN TXT ${formatTxtStrings(value)}` };
}
