/**
 * The keys that sign (RFC 6376, RFC 8463), as the relay uses them: settings, store and DNS in; which domain signs for an
 * author, signatures, and what an operator has to publish out. Keys are made, DNS is looked at, and the store is told here;
 * what that means for a key is key-states.ts, and signing itself is signers.ts.
 */
import type { CancelTimer, Clock } from "../clock.ts";
import type { DkimSettings } from "../config/settings.ts";
import type { EmitEvent } from "../events.ts";
import { generateKey } from "../mail/dkim-key.ts";
import type { Domain } from "../mail/domain.ts";
import { cleanText } from "../mail/reply.ts";
import type { DkimAlgorithm, FindSigningDomain, SignMessage } from "../mail/signing.ts";
import type { Finding, FindTxt } from "../policy/facts.ts";
import type { DkimKey, DkimKeyStore, KeyRecord, KeyStatus } from "../queue/dkim-keys.ts";
import { errorOf, messageOf } from "../thrown.ts";
import { formatRecord, showKey } from "./shown.ts";
import {
  endOfOverlap,
  findMissing,
  findSucceeded,
  isDue,
  isFresh,
  isLookedAt,
  judgeRecord,
  nextSelector,
  WAITING_CHECK,
} from "./key-states.ts";
import { KeyNews } from "./key-news.ts";
import { Signers } from "./signers.ts";
import { readWanted, recordName, type Wanted } from "./wanted.ts";

export interface KeyringIo {
  readonly store: DkimKeyStore;
  readonly findTxt: FindTxt;
  /** Asked at the start and at each `reload`. `reportDomain`: the domain of tlsReports.from, where reports are sent by mail. */
  settings(): DkimSettings & { readonly reportDomain?: Domain };
  readonly clock: Clock;
  readonly emit: EmitEvent;
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
  dnsRecords(domain?: Domain): Promise<KeyRecord[]>;
  /**
   * New keys, which sign once their records are seen; those before them stay published for dkim.overlap after that. Gives
   * what to publish. Keys that already wait are given again, not replaced: their records may be on their way.
   * Throws a sentence if the domain has no keys here.
   */
  rotate(domain: Domain): Promise<KeyRecord[]>;
  /** Looks at every record now. */
  checkNow(): Promise<KeyStatus[]>;
}

/** Questions to DNS at once. */
const LOOKUPS = 8;

export function createKeyring(io: KeyringIo): Keyring {
  return new StoredKeyring(io);
}

class StoredKeyring implements Keyring {
  readonly findSigningDomain: FindSigningDomain;
  readonly sign: SignMessage;
  readonly #io: KeyringIo;
  readonly #signers: Signers;
  readonly #news: KeyNews;
  #wanted: Wanted | undefined;
  /** As the store has them; read and changed in turn only. */
  #keys: DkimKey[] = [];
  #turn: Promise<unknown> = Promise.resolve();
  #cancel: CancelTimer = () => {};
  #stopped = false;

  constructor(io: KeyringIo) {
    this.#io = io;
    this.#signers = new Signers(io.clock, io.emit);
    this.#news = new KeyNews(io.emit);
    this.findSigningDomain = this.#signers.findSigningDomain;
    this.sign = this.#signers.sign;
  }

  async start(): Promise<void> {
    const wanted = this.#readSettings();
    await this.#inTurn(async () => {
      await this.#adopt(wanted);
      for (const key of this.#keys) if (key.state === "waiting-for-dns" && isLookedAt(key, wanted)) this.#news.waits(key);
      await this.#makeMissing(wanted);
    });
    this.#lookSoon((key) => isLookedAt(key, wanted) && !isFresh(key, this.#io.clock.now()));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    await this.#inTurn(async () => {});
  }

  async reload(): Promise<void> {
    const wanted = this.#readSettings();
    await this.#inTurn(async () => {
      await this.#adopt(wanted);
      await this.#makeMissing(wanted);
      await this.#tidy(wanted);
    });
    this.#lookSoon((key) => isDue(key, wanted, this.#io.clock.now()));
  }

  async list(): Promise<KeyStatus[]> {
    const wanted = this.#wanted;
    return (await this.#io.store.list()).map((key) => showKey(key, wanted));
  }

  async dnsRecords(domain?: Domain): Promise<KeyRecord[]> {
    const keys = await this.#io.store.list();
    return keys.filter((key) => domain === undefined || key.domain === domain).map(formatRecord);
  }

  async rotate(domain: Domain): Promise<KeyRecord[]> {
    return this.#inTurn(async () => {
      const wanted = this.#wanted;
      if (wanted?.uses.has(domain) !== true) throw new Error(`${domain} is not signed for: it is not in dkim.domains`);
      await this.#adopt(wanted);
      const waits = (algorithm: DkimAlgorithm): boolean =>
        this.#keysOf(domain).some((key) => key.algorithm === algorithm && key.state === "waiting-for-dns");
      for (const algorithm of wanted.algorithms) if (!waits(algorithm)) await this.#makeKey(domain, algorithm, wanted);
      return this.#keysOf(domain)
        .filter((key) => key.state === "waiting-for-dns" && wanted.algorithms.includes(key.algorithm))
        .toSorted((a, b) => (a.selector < b.selector ? -1 : 1))
        .map(formatRecord);
    });
  }

  async checkNow(): Promise<KeyStatus[]> {
    const wanted = this.#wanted;
    if (wanted !== undefined) await this.#look((key) => isLookedAt(key, wanted));
    return this.list();
  }

  #readSettings(): Wanted {
    const settings = this.#io.settings();
    return readWanted(settings, settings.reportDomain);
  }

  /** One change of keys at a time: each begins with what the one before left. */
  #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(action);
    this.#turn = done.catch(() => {});
    return done;
  }

  /** Reads the store, which another process may have written to, and signs by it. */
  async #adopt(wanted: Wanted): Promise<void> {
    this.#keys = await this.#io.store.list();
    this.#wanted = wanted;
    this.#signers.use(this.#keys, wanted);
  }

  #keysOf(domain: Domain): DkimKey[] {
    return this.#keys.filter((key) => key.domain === domain);
  }

  /** A store that takes no key now is asked again at the next look; mail goes out as before until then. */
  async #makeMissing(wanted: Wanted): Promise<void> {
    try {
      for (const domain of wanted.uses.keys()) {
        for (const algorithm of findMissing(this.#keysOf(domain), wanted)) await this.#makeKey(domain, algorithm, wanted);
      }
    } catch (error) {
      this.#fault(error);
    }
  }

  async #makeKey(domain: Domain, algorithm: DkimAlgorithm, wanted: Wanted): Promise<void> {
    const pair = await generateKey(algorithm);
    const keys = this.#keysOf(domain);
    const before = keys.filter((key) => key.algorithm === algorithm).map((key) => key.createdAt);
    // Of two keys of a kind the later one signs, whatever was done to the clock in between.
    const createdAt = Math.max(this.#io.clock.now(), ...before.map((time) => time + 1));
    const selector = nextSelector(keys, algorithm, wanted);
    const key: DkimKey = { domain, selector, algorithm, ...pair, state: "waiting-for-dns", createdAt, changedAt: createdAt };
    if (await this.#io.store.add(key)) {
      this.#keys.push(key);
      this.#news.waits(key);
    } else {
      // Another process has this selector, and so has made the key that is wanted here: one is enough.
      await this.#adopt(wanted);
    }
  }

  #lookSoon(which: (key: DkimKey) => boolean): void {
    this.#cancel();
    void this.#look(which)
      .catch((error: unknown) => this.#fault(error))
      .finally(() => this.#lookLater());
  }

  #lookLater(): void {
    const wanted = this.#wanted;
    if (this.#stopped || wanted === undefined) return;
    this.#cancel();
    this.#cancel = this.#io.clock.after(Math.min(WAITING_CHECK, wanted.checkEvery), () =>
      this.#lookSoon((key) => isDue(key, this.#wanted ?? wanted, this.#io.clock.now())),
    );
  }

  /** Questions are asked out of turn, since answers may take long; what they mean is settled in turn. */
  async #look(which: (key: DkimKey) => boolean): Promise<void> {
    const due = await this.#inTurn(async () => {
      const wanted = this.#wanted;
      if (this.#stopped || wanted === undefined) return [];
      await this.#adopt(wanted);
      await this.#makeMissing(wanted);
      return this.#keys.filter(which);
    });
    const left = due.values();
    const ask = async (): Promise<void> => {
      for (const key of left) {
        const finding = await this.#findRecord(key);
        await this.#inTurn(() => this.#settle(key, finding));
      }
    };
    await Promise.all(Array.from({ length: LOOKUPS }, ask));
    await this.#inTurn(async () => {
      if (!this.#stopped && this.#wanted !== undefined) await this.#tidy(this.#wanted);
    });
  }

  async #findRecord(key: DkimKey): Promise<Finding<readonly Buffer[]>> {
    try {
      return await this.#io.findTxt(recordName(key));
    } catch (error) {
      return { kind: "failed", reason: "unreachable", detail: cleanText(messageOf(error), 200) };
    }
  }

  async #settle(asked: DkimKey, finding: Finding<readonly Buffer[]>): Promise<void> {
    const key = this.#keys.find(({ domain, selector }) => domain === asked.domain && selector === asked.selector);
    const uses = this.#wanted?.uses.get(asked.domain);
    if (this.#stopped || key === undefined || uses === undefined) return;
    const checkedAt = this.#io.clock.now();
    const found = judgeRecord(key, finding, uses);
    if ("noAnswer" in found) return this.#change(key, { checkedAt, problem: found.noAnswer });
    const { fits, problem } = found;
    if (key.state === "waiting-for-dns" && fits) {
      await this.#change(key, { checkedAt, problem, state: "active", changedAt: checkedAt });
      this.#news.signs(key, problem);
      return;
    }
    await this.#change(key, { checkedAt, problem });
    this.#news.looked(key, problem);
  }

  /** Keys that have been followed by others make way, and those whose time is over go. */
  async #tidy(wanted: Wanted): Promise<void> {
    const now = this.#io.clock.now();
    for (const domain of wanted.uses.keys()) {
      const { retire, drop } = findSucceeded(this.#keysOf(domain), wanted);
      for (const { key, by } of retire) {
        await this.#change(key, { state: "retiring", changedAt: now });
        this.#news.retires(key, by, endOfOverlap({ ...key, changedAt: now }, wanted));
      }
      for (const key of drop) await this.#remove(key, "a newer key signs already; it was never used");
    }
    for (const key of this.#keys) {
      if (key.state === "retiring" && endOfOverlap(key, wanted) <= now) await this.#remove(key, "its record may be taken out of DNS");
    }
  }

  async #change(key: DkimKey, change: Parameters<DkimKeyStore["update"]>[2]): Promise<void> {
    if (!(await this.#io.store.update(key.domain, key.selector, change))) return this.#forget(key);
    const { problem, ...rest } = { ...key, ...change };
    const changed: DkimKey = { ...rest, ...(problem !== undefined && { problem }) };
    this.#keys = this.#keys.map((other) => (other === key ? changed : other));
    if (change.state !== undefined && this.#wanted !== undefined) this.#signers.use(this.#keys, this.#wanted);
  }

  async #remove(key: DkimKey, why: string): Promise<void> {
    await this.#io.store.remove(key.domain, key.selector);
    this.#forget(key);
    this.#news.goes(key, why);
  }

  #forget(key: DkimKey): void {
    this.#keys = this.#keys.filter((other) => other !== key);
    if (this.#wanted !== undefined) this.#signers.use(this.#keys, this.#wanted);
  }

  #fault(error: unknown): void {
    this.#io.emit({ kind: "fault", where: "dkim", error: errorOf(error) });
  }
}
