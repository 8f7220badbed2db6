/**
 * Signing with the keys in use: an author's domain in, the domain that signs for it out; a wish and a header in, fields out.
 * All of it from memory; the keys come from keyring.ts.
 */
import type { Clock } from "../clock.ts";
import type { EmitEvent } from "../events.ts";
import { signFields, type SigningKey } from "../mail/dkim.ts";
import { readPrivateKey } from "../mail/dkim-key.ts";
import type { Domain } from "../mail/domain.ts";
import { cleanText } from "../mail/reply.ts";
import type { FindSigningDomain, SignMessage } from "../mail/signing.ts";
import { messageOf } from "../thrown.ts";
import type { DkimKey } from "../queue/dkim-keys.ts";
import type { Wanted } from "./wanted.ts";

export class Signers {
  readonly #clock: Clock;
  readonly #emit: EmitEvent;
  /** By domain, the newest key in use of each kind. */
  #inUse = new Map<Domain, readonly DkimKey[]>();
  /** Read when they are needed, and kept until keys change. */
  #read = new Map<Domain, readonly SigningKey[]>();
  #wanted: Wanted | undefined;
  /** Domains whose failure was told, until they sign again. */
  readonly #told = new Set<Domain>();

  constructor(clock: Clock, emit: EmitEvent) {
    this.#clock = clock;
    this.#emit = emit;
  }

  use(keys: readonly DkimKey[], wanted: Wanted): void {
    const newest = new Map<string, DkimKey>();
    for (const key of keys) {
      if (key.state !== "active") continue;
      const kind = `${key.domain} ${key.algorithm}`;
      const other = newest.get(kind);
      if (other === undefined || other.createdAt < key.createdAt) newest.set(kind, key);
    }
    const inUse = new Map<Domain, DkimKey[]>();
    for (const key of newest.values()) inUse.set(key.domain, [...(inUse.get(key.domain) ?? []), key]);
    this.#inUse = inUse;
    this.#read = new Map();
    this.#wanted = wanted;
  }

  /**
   * The author's own domain, else the nearest above it that is listed and has a key in use: its signature is aligned with
   * the author all the same, unless the author's domain asks for strict alignment (RFC 7489 §3.1.1).
   */
  readonly findSigningDomain: FindSigningDomain = (author) => {
    const wanted = this.#wanted;
    if (wanted === undefined || this.#inUse.size === 0) return undefined;
    if (wanted.uses.has(author) && this.#inUse.has(author)) return author;
    for (let dot = author.indexOf("."); dot !== -1; dot = author.indexOf(".", dot + 1)) {
      // What is left of a domain in front of a dot's right side is one too.
      const parent = author.slice(dot + 1) as Domain;
      if (wanted.parents.has(parent) && this.#inUse.has(parent)) return parent;
    }
    return undefined;
  };

  /** With every kind of key, or not at all: many receivers know RSA only, and would take half of it for unsigned mail. */
  readonly sign: SignMessage = async (wish, header) => {
    try {
      const fields = await signFields(header, wish, this.#keysOf(wish.domain), this.#clock.now());
      this.#told.delete(wish.domain);
      return { kind: "signed", fields };
    } catch (error) {
      const detail = cleanText(messageOf(error), 200);
      if (!this.#told.has(wish.domain)) {
        this.#told.add(wish.domain);
        this.#emit({ kind: "dkim-failed", domain: wish.domain, detail });
      }
      return { kind: "failed", detail };
    }
  };

  #keysOf(domain: Domain): readonly SigningKey[] {
    const known = this.#read.get(domain);
    if (known !== undefined) return known;
    const keys = this.#inUse.get(domain);
    if (keys === undefined) throw new Error(`no DKIM key of ${domain} is in use`);
    const read = keys.map(({ selector, algorithm, privateKey }) => {
      try {
        return { selector, algorithm, key: readPrivateKey(privateKey, algorithm) };
      } catch (cause) {
        throw new Error(`${selector}._domainkey.${domain}: ${messageOf(cause)}`, { cause });
      }
    });
    this.#read.set(domain, read);
    return read;
  }
}
