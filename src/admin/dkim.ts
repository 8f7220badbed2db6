/**
 * DKIM keys as answers (RFC 6376): which there are, whether DNS shows their records, and what to publish; never a private key.
 * Making, checking and replacing them is dkim/keyring.ts.
 */
import type { Domain } from "../mail/domain.ts";
import type { DkimKey, KeyRecord, KeyStatus } from "../queue/dkim-keys.ts";
import { messageOf } from "../thrown.ts";
import { askedDomain } from "./asked.ts";
import { BadRequest } from "./bad-request.ts";

/** The running relay's keyring; or what can be told of the keys on file, where none runs. */
export interface KeyDesk {
  list(): Promise<KeyStatus[]>;
  dnsRecords(domain?: Domain): Promise<KeyRecord[]>;
  /** Throws a sentence if the domain has no keys here. */
  rotate(domain: Domain): Promise<KeyRecord[]>;
  /** Looks at every record now. */
  checkNow(): Promise<KeyStatus[]>;
}

export interface KeyIo {
  readonly keyring: KeyDesk;
  readonly clock: { now(): number };
}

export interface KeyList {
  readonly now: number;
  readonly keys: readonly KeyStatus[];
}

/** `problem`, `checkedAt`: what DNS showed at the last look. */
export interface KeyRecords {
  readonly now: number;
  readonly records: readonly (KeyRecord & Pick<DkimKey, "problem" | "checkedAt">)[];
}

export async function listKeys({ keyring, clock }: KeyIo): Promise<KeyList> {
  return { now: clock.now(), keys: await keyring.list() };
}

export async function keyRecords(domain: string | undefined, io: KeyIo): Promise<KeyRecords> {
  return withLook(await io.keyring.dnsRecords(domain === undefined ? undefined : askedDomain(domain)), io);
}

export async function rotateKeys(domain: string, io: KeyIo): Promise<KeyRecords> {
  const asked = askedDomain(domain);
  let records: KeyRecord[];
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

async function withLook(records: readonly KeyRecord[], { keyring, clock }: KeyIo): Promise<KeyRecords> {
  const keys = new Map((await keyring.list()).map((key) => [key.recordName, key]));
  return {
    now: clock.now(),
    records: records.map((record) => {
      const { problem, checkedAt } = keys.get(record.name) ?? {};
      return { ...record, ...(problem !== undefined && { problem }), ...(checkedAt !== undefined && { checkedAt }) };
    }),
  };
}
