/** A keyring before a store in memory, DNS as the test has it, and a clock that is moved. */
import { createKeyring, type Keyring } from "../../src/dkim/keyring.ts";
import { settingsSchema } from "../../src/config/settings.ts";
import type { PosternEvent } from "../../src/events.ts";
import type { Domain } from "../../src/mail/domain.ts";
import type { Finding } from "../../src/policy/facts.ts";
import type { DkimKey, DkimKeyStore } from "../../src/queue/dkim-keys.ts";
import { MovedClock, settled } from "../support/moved-clock.ts";

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

export class MemoryKeys implements DkimKeyStore {
  keys: DkimKey[] = [];
  /** Thrown by the next `add`. */
  failure: Error | undefined;
  /** Runs before the next `add`: what another process does. */
  meanwhile: (() => void) | undefined;

  list(): Promise<DkimKey[]> {
    const order = (key: DkimKey): string => `${key.domain} ${key.selector}`;
    return Promise.resolve(this.keys.toSorted((a, b) => (order(a) < order(b) ? -1 : 1)));
  }

  add(key: DkimKey): Promise<boolean> {
    const { failure, meanwhile } = this;
    this.failure = undefined;
    this.meanwhile = undefined;
    if (failure !== undefined) return Promise.reject(failure);
    meanwhile?.();
    if (this.#find(key.domain, key.selector) !== undefined) return Promise.resolve(false);
    this.keys.push(key);
    return Promise.resolve(true);
  }

  update(domain: Domain, selector: string, change: Parameters<DkimKeyStore["update"]>[2]): Promise<boolean> {
    const key = this.#find(domain, selector);
    if (key === undefined) return Promise.resolve(false);
    const { problem, ...rest } = { ...key, ...change };
    this.keys = this.keys.map((other) => (other === key ? { ...rest, ...(problem !== undefined && { problem }) } : other));
    return Promise.resolve(true);
  }

  remove(domain: Domain, selector: string): Promise<boolean> {
    const before = this.keys.length;
    this.keys = this.keys.filter((key) => key.domain !== domain || key.selector !== selector);
    return Promise.resolve(this.keys.length < before);
  }

  #find(domain: Domain, selector: string): DkimKey | undefined {
    return this.keys.find((key) => key.domain === domain && key.selector === selector);
  }
}

export const SERVFAIL: Finding<readonly Buffer[]> = { kind: "failed", reason: "servfail", detail: "SERVFAIL from 192.0.2.53" };

export interface KeyringWishes {
  readonly dkim?: Readonly<Record<string, unknown>>;
  readonly reportDomain?: string;
  readonly store?: MemoryKeys;
}

export class KeyringWorld {
  readonly store: MemoryKeys;
  readonly clock = new MovedClock();
  readonly events: PosternEvent[] = [];
  readonly keyring: Keyring;
  /** What stands in DNS: texts by name, or a failure. */
  readonly dns = new Map<string, string[] | Finding<readonly Buffer[]>>();
  readonly asked: string[] = [];
  /** What DNS waits for before it answers. */
  gate: PromiseWithResolvers<void> | undefined;
  wishes: KeyringWishes;

  constructor(wishes: KeyringWishes = {}) {
    this.wishes = wishes;
    this.store = wishes.store ?? new MemoryKeys();
    this.keyring = createKeyring({
      store: this.store,
      clock: this.clock,
      emit: (event) => this.events.push(event),
      findTxt: async (name) => {
        const answer = this.#answer(name);
        await this.gate?.promise;
        return answer;
      },
      settings: () => ({
        // One kind only unless a test wants both: RSA keys take long to make.
        ...settingsSchema.parse({ dkim: { domains: ["example.org"], algorithms: ["ed25519"], ...this.wishes.dkim } }).dkim,
        ...(this.wishes.reportDomain !== undefined && { reportDomain: this.wishes.reportDomain as Domain }),
      }),
    });
  }

  #answer(name: string): Finding<readonly Buffer[]> {
    this.asked.push(name);
    const texts = this.dns.get(name);
    const expires = this.clock.now();
    if (texts === undefined) return { kind: "no-such-name", security: "insecure", expires };
    if (!Array.isArray(texts)) return texts;
    // Two strings a record: they are to be put together without a blank.
    const records = texts.map((text) => [Buffer.from(text.slice(0, 20)), Buffer.from(text.slice(20))]);
    return { kind: "answer", records, security: "insecure", canonicalName: name, expires };
  }

  static async started(wishes: KeyringWishes = {}): Promise<KeyringWorld> {
    const world = new KeyringWorld(wishes);
    await world.keyring.start();
    await settled();
    return world;
  }

  /** Every key's record is in DNS and has been seen. */
  static async active(wishes: KeyringWishes = {}): Promise<KeyringWorld> {
    const world = await KeyringWorld.started(wishes);
    await world.publishAll();
    await world.clock.pass(5 * MINUTE);
    world.events.length = 0;
    world.asked.length = 0;
    return world;
  }

  async publishAll(): Promise<void> {
    for (const { name, value } of await this.keyring.dnsRecords()) this.dns.set(name, [value]);
  }

  /** `postern1e active`, in order. */
  async states(): Promise<string[]> {
    return (await this.keyring.list()).map(({ selector, state }) => `${selector} ${state}`);
  }

  told(): string[] {
    return this.events.map((event) => {
      if (event.kind === "dkim-key") return `${event.selector} ${event.state}: ${event.detail}`;
      if (event.kind === "notice") return `${event.level}: ${event.text}`;
      if (event.kind === "dkim-failed") return `failed: ${event.domain}: ${event.detail}`;
      return event.kind === "fault" ? `fault: ${event.error.message}` : event.kind;
    });
  }
}
