/**
 * DKIM keys as answers (RFC 6376): which there are, whether DNS shows their records, and what to publish; never a private key.
 * Making, checking and replacing them is dkim/keyring.ts.
 */
import { type Domain, parseDomain } from "../mail/domain.ts";
import type { DkimKey, DkimKeyState } from "../queue/dkim-keys.ts";
import { messageOf } from "../thrown.ts";
import { BadRequest } from "./bad-request.ts";

/** A key as it may be shown. */
export interface ShownKey extends Omit<DkimKey, "privateKey" | "publicKey"> {
  /** Where its record stands: `postern1r._domainkey.example.org`. */
  readonly recordName: string;
  /** Its domain is to have keys, by the settings of the relay that runs. */
  readonly listed: boolean;
}

/** What to publish for a key. */
export interface ShownRecord {
  readonly domain: Domain;
  readonly selector: string;
  readonly state: DkimKeyState;
  readonly name: string;
  /** The whole text, for forms that take it in one piece. */
  readonly value: string;
  /** One line of a zone file, in strings of at most 255 octets. */
  readonly zoneLine: string;
}

/** The running relay's keyring; or what can be told of the keys on file, where none runs. */
export interface KeyDesk {
  list(): Promise<ShownKey[]>;
  dnsRecords(domain?: Domain): Promise<ShownRecord[]>;
  /** Throws a sentence if the domain has no keys here. */
  rotate(domain: Domain): Promise<ShownRecord[]>;
  /** Looks at every record now. */
  checkNow(): Promise<ShownKey[]>;
}

export interface KeyIo {
  readonly keyring: KeyDesk;
  readonly clock: { now(): number };
}

export interface KeyList {
  readonly now: number;
  readonly keys: readonly ShownKey[];
}

/** `problem`, `checkedAt`: what DNS showed at the last look. */
export interface KeyRecords {
  readonly now: number;
  readonly records: readonly (ShownRecord & Pick<DkimKey, "problem" | "checkedAt">)[];
}

export async function listKeys({ keyring, clock }: KeyIo): Promise<KeyList> {
  return { now: clock.now(), keys: await keyring.list() };
}

export async function keyRecords(domain: string | undefined, io: KeyIo): Promise<KeyRecords> {
  return withLook(await io.keyring.dnsRecords(domain === undefined ? undefined : domainOf(domain)), io);
}

export async function rotateKeys(domain: string, io: KeyIo): Promise<KeyRecords> {
  const asked = domainOf(domain);
  let records: ShownRecord[];
  try {
    records = await io.keyring.rotate(asked);
  } catch (error) {
    throw new BadRequest(messageOf(error), { cause: error });
  }
  return withLook(records, io);
}

export async function checkKeys({ keyring, clock }: KeyIo): Promise<KeyList> {
  return { now: clock.now(), keys: await keyring.checkNow() };
}

async function withLook(records: readonly ShownRecord[], { keyring, clock }: KeyIo): Promise<KeyRecords> {
  const keys = new Map((await keyring.list()).map((key) => [key.recordName, key]));
  return {
    now: clock.now(),
    records: records.map((record) => {
      const { problem, checkedAt } = keys.get(record.name) ?? {};
      return { ...record, ...(problem !== undefined && { problem }), ...(checkedAt !== undefined && { checkedAt }) };
    }),
  };
}

function domainOf(text: string): Domain {
  const domain = parseDomain(text);
  if (!domain.ok) throw new BadRequest(domain.error);
  return domain.value;
}
