/**
 * Logging in: a name and a password in, the user or a refusal out. Hashes are computed a few at a time; a verified login
 * is remembered for a short while under a keyed hash, so that a client which logs in for every message costs one scrypt
 * and not hundreds. Unknown names take as long as known ones (RFC 4954 §9). The dialogue is auth.ts.
 */
import { createHmac, randomBytes } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Clock } from "../clock.ts";
import type { Settings, SubmissionSettings } from "../config/settings.ts";
import type { UserStore } from "../queue/store.ts";
import { parseSendAs, type SendAs } from "./accept.ts";
import { hashPassword, isPasswordHash, NOBODYS_HASH, verifyPassword } from "./password.ts";

export interface KnownUser {
  readonly name: string;
  readonly passwordHash: string;
  readonly maySendAs: SendAs;
}

export type LoginResult =
  | { readonly kind: "known"; readonly user: KnownUser }
  | { readonly kind: "wrong" }
  /** The check itself could not be made just now. */
  | { readonly kind: "unavailable"; readonly error?: Error };

type LoginSettings = SubmissionSettings["login"];

/** Logins that wait for their hash; beyond, a client is told to come again. */
const WAITING = 100;
/** How often the users of the database are looked at again without being told. */
const FRESH = 10_000;

export class Logins {
  readonly #store: UserStore;
  readonly #clock: Clock;
  #settings: LoginSettings;
  readonly #secret = randomBytes(32);
  readonly #remembered = new LRUCache<string, number>({ max: 10_000 });
  readonly #failures = new LRUCache<string, { times: number[]; bannedUntil: number }>({ max: 10_000 });
  /** Hashes of the configured passwords, so that a reload computes only new ones. */
  #configuredHashes = new Map<string, string>();
  #configured = new Map<string, KnownUser>();
  #stored = new Map<string, KnownUser>();
  #listed = false;
  #listedAt = 0;
  #listing: Promise<void> | undefined;
  #hashing = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(store: UserStore, settings: LoginSettings, clock: Clock) {
    this.#store = store;
    this.#settings = settings;
    this.#clock = clock;
  }

  /** Takes over the users of the configuration, and looks at the database's. */
  async load(settings: LoginSettings, configured: Settings["users"]): Promise<void> {
    const hashes = new Map<string, string>();
    const users = new Map<string, KnownUser>();
    for (const { name, password, maySendAs } of configured) {
      const allowed = parseSendAs(maySendAs);
      if (!allowed.ok) throw new Error(`users: maySendAs of ${name}: ${allowed.error}`);
      if (users.has(name)) throw new Error(`users: ${name} is there twice`);
      let passwordHash = password;
      if (!isPasswordHash(password)) {
        if (password.startsWith("scrypt$"))
          throw new Error(`users: the password of ${name} looks like a hash and is none; use postern user hash`);
        const memo = this.#mac(`${name}\0${password}`);
        passwordHash = this.#configuredHashes.get(memo) ?? (await hashPassword(password));
        hashes.set(memo, passwordHash);
      }
      users.set(name, { name, passwordHash, maySendAs: allowed.value });
    }
    await this.refresh();
    this.#settings = settings;
    this.#configuredHashes = hashes;
    this.#configured = users;
  }

  /** Reads the database's users anew; at most one reading at a time. */
  refresh(): Promise<void> {
    this.#listing ??= this.#list().finally(() => (this.#listing = undefined));
    return this.#listing;
  }

  async #list(): Promise<void> {
    const users = new Map<string, KnownUser>();
    for (const { name, passwordHash, maySendAs } of await this.#store.list()) {
      const allowed = parseSendAs(maySendAs);
      // A rule that cannot be read allows nothing, rather than everything.
      users.set(name, { name, passwordHash, maySendAs: allowed.ok ? allowed.value : NOTHING });
    }
    this.#stored = users;
    this.#listed = true;
    this.#listedAt = this.#clock.monotonic();
  }

  /** Has anybody a login? Looks again in the background when what is known is getting old. */
  hasUsers(): boolean {
    if (this.#clock.monotonic() - this.#listedAt > FRESH) this.refresh().catch(() => {});
    return this.#configured.size > 0 || this.#stored.size > 0;
  }

  find(name: string): KnownUser | undefined {
    return this.#configured.get(name) ?? this.#stored.get(name);
  }

  async verify(name: string, password: string): Promise<LoginResult> {
    try {
      if (!this.#listed || this.#clock.monotonic() - this.#listedAt > FRESH) await this.refresh();
    } catch (cause) {
      // Users of the configuration need no database.
      if (!this.#configured.has(name)) return { kind: "unavailable", error: new Error("the users cannot be read", { cause }) };
    }
    const user = this.find(name);
    const memo = user === undefined ? undefined : this.#mac(`${name}\0${user.passwordHash}\0${password}`);
    if (user !== undefined && memo !== undefined && (this.#remembered.get(memo) ?? 0) > this.#clock.monotonic())
      return { kind: "known", user };
    if (this.#waiting.length >= WAITING) return { kind: "unavailable" };
    await this.#takeTurn();
    let right: boolean;
    try {
      right = await verifyPassword(password, user?.passwordHash ?? NOBODYS_HASH);
    } catch (cause) {
      return { kind: "unavailable", error: new Error("the password cannot be checked", { cause }) };
    } finally {
      this.#giveTurn();
    }
    if (user === undefined || memo === undefined || !right) return { kind: "wrong" };
    this.#remembered.set(memo, this.#clock.monotonic() + this.#settings.remember);
    return { kind: "known", user };
  }

  /** A failed login of this address; says how many there were lately, and whether it is banned now. */
  countFailure(who: string): { readonly failures: number; readonly bannedFor?: number } {
    const now = this.#clock.monotonic();
    const record = this.#failures.get(who) ?? { times: [], bannedUntil: 0 };
    record.times = [...record.times.filter((time) => now - time < this.#settings.banWindow), now].slice(-this.#settings.failuresPerAddress);
    if (record.times.length >= this.#settings.failuresPerAddress) record.bannedUntil = now + this.#settings.ban;
    this.#failures.set(who, record);
    return { failures: record.times.length, ...(record.bannedUntil > now && { bannedFor: record.bannedUntil - now }) };
  }

  isBanned(who: string): boolean {
    const record = this.#failures.get(who);
    return record !== undefined && record.bannedUntil > this.#clock.monotonic();
  }

  #mac(text: string): string {
    return createHmac("sha256", this.#secret).update(text).digest("base64");
  }

  async #takeTurn(): Promise<void> {
    if (this.#hashing < this.#settings.concurrentHashes) {
      this.#hashing += 1;
      return;
    }
    // The place is handed on by whoever leaves it, so that nobody slips in between.
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #giveTurn(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#hashing -= 1;
    else next();
  }
}

const NOTHING: SendAs = { text: ["(unreadable rule)"], addresses: new Set(), domains: new Set(), trees: [] };
