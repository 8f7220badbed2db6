/**
 * DKIM keys as they are kept (RFC 6376): what a key is, what may be shown of it, and the promises of the store. Making and judging
 * them is dkim/.
 */
import type { Domain } from "../mail/domain.ts";
import type { DkimAlgorithm } from "../mail/signing.ts";

/**
 * - `waiting-for-dns`: its record is not published, or says something else: nothing is signed with it;
 * - `active`: its record was seen; it signs;
 * - `retiring`: a newer one signs; its record must stay until mail signed with it has been delivered, and it is removed after that.
 */
export type DkimKeyState = "waiting-for-dns" | "active" | "retiring";

export interface DkimKey {
  readonly domain: Domain;
  /** `postern1r`: stands at `<selector>._domainkey.<domain>`. */
  readonly selector: string;
  readonly algorithm: DkimAlgorithm;
  /** PKCS#8, PEM. Never shown, never logged. */
  readonly privateKey: string;
  /** The value of `p=`: base64 of SubjectPublicKeyInfo (RSA), or of the 32 octets (Ed25519, RFC 8463 §4). */
  readonly publicKey: string;
  readonly state: DkimKeyState;
  readonly createdAt: number;
  /** When the state became what it is. */
  readonly changedAt: number;
  /** The last look at DNS, and what was wrong then: a clean sentence. */
  readonly checkedAt?: number;
  readonly problem?: string;
}

/** A key as it may be shown. */
export interface KeyStatus extends Omit<DkimKey, "privateKey" | "publicKey"> {
  /** Where its record stands: `postern1r._domainkey.example.org`. */
  readonly recordName: string;
  /** In dkim.domains or the domain of reports; the keys of others are kept, and sign what is queued for them. */
  readonly listed: boolean;
}

/** What is to be published for a key. */
export interface KeyRecord {
  readonly domain: Domain;
  readonly selector: string;
  readonly state: DkimKeyState;
  readonly name: string;
  /** The whole text, for forms that take it in one piece. */
  readonly value: string;
  /** One line of a zone file, in strings of at most 255 octets. */
  readonly zoneLine: string;
}

export interface DkimKeyStore {
  /** By domain, then selector. */
  list(): Promise<DkimKey[]>;
  /** False if that domain has that selector already. */
  add(key: DkimKey): Promise<boolean>;
  /** False if there is no such key. `problem: undefined` clears it. */
  update(
    domain: Domain,
    selector: string,
    change: {
      readonly state?: DkimKeyState;
      readonly changedAt?: number;
      readonly checkedAt?: number;
      readonly problem?: string | undefined;
    },
  ): Promise<boolean>;
  remove(domain: Domain, selector: string): Promise<boolean>;
}
