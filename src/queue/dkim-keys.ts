/** DKIM keys as they are kept (RFC 6376): what a key is, and the promises of the store. Making and judging them is dkim/. */
import type { Domain } from "../mail/domain.ts";
import type { DkimAlgorithm } from "../mail/signing.ts";

export type { DkimAlgorithm };

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
