/**
 * The keys that sign (RFC 6376, RFC 8463), as the relay uses them: settings, store and DNS in; which domain signs for an
 * author, signatures, and what an operator has to publish out.
 */
import type { Clock } from "../clock.ts";
import type { DkimSettings } from "../config/settings.ts";
import type { EmitEvent } from "../events.ts";
import type { Domain } from "../mail/domain.ts";
import type { FindSigningDomain, SignMessage } from "../mail/signing.ts";
import type { Finding } from "../policy/facts.ts";
import type { DkimKey, DkimKeyStore } from "../queue/dkim-keys.ts";

export interface KeyringIo {
  readonly store: DkimKeyStore;
  /** `ask(name, "TXT")` of the DNS client. */
  findTxt(name: string): Promise<Finding<readonly Buffer[]>>;
  /** Asked at the start and at each `reload`. `reportDomain`: the domain of tlsReports.from, where reports are sent by mail. */
  settings(): DkimSettings & { readonly reportDomain?: Domain };
  readonly clock: Clock;
  readonly emit: EmitEvent;
}

/** A key as it may be shown. */
export interface KeyStatus extends Omit<DkimKey, "privateKey" | "publicKey"> {
  /** Where its record stands: `postern1r._domainkey.example.org`. */
  readonly recordName: string;
  /** In dkim.domains or the domain of reports; the keys of others are kept, and sign what is queued for them. */
  readonly listed: boolean;
}

export interface DnsRecord {
  readonly domain: Domain;
  readonly selector: string;
  readonly state: DkimKey["state"];
  readonly name: string;
  /** The whole text, for forms that take it in one piece. */
  readonly value: string;
  /** One line of a zone file, in strings of at most 255 octets. */
  readonly zoneLine: string;
}

export interface Keyring {
  /** Makes keys that are missing; then looks at DNS, without being waited for. Throws a sentence if settings are wrong. */
  start(): Promise<void>;
  /** No more looks at DNS; resolves when the one under way is over. `sign` goes on. */
  stop(): Promise<void>;
  /** Settings are others now. Throws a sentence, and changes nothing, if they are wrong. */
  reload(): Promise<void>;
  readonly findSigningDomain: FindSigningDomain;
  readonly sign: SignMessage;
  list(): Promise<KeyStatus[]>;
  /** What must stand in DNS, of all domains or one. */
  dnsRecords(domain?: Domain): Promise<DnsRecord[]>;
  /**
   * New keys, which sign once their records are seen; those before them stay published for dkim.overlap after that. Gives
   * what to publish. Keys that already wait are given again, not replaced: their records may be on their way.
   * Throws a sentence if the domain has no keys here.
   */
  rotate(domain: Domain): Promise<DnsRecord[]>;
  /** Looks at every record now. */
  checkNow(): Promise<KeyStatus[]>;
}

export declare function createKeyring(io: KeyringIo): Keyring;
