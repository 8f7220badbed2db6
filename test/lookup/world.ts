/** A resolver client and the scripted servers it asks, closed after each test. */
import { afterEach, expect, vi } from "vitest";
import { createDnsLookup, type DnsClient, type DnsLookupOptions } from "../../src/lookup/dns.ts";
import type { Domain } from "../../src/mail/domain.ts";
import { type Behaviour, type DnsServer, startDnsServer, type Zone } from "../support/dns-server.ts";
import { MovedClock } from "../support/moved-clock.ts";

export const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).toReversed()) await thing.close();
});

export const clock = new MovedClock();

export async function world(
  zone: Zone,
  options: Partial<DnsLookupOptions> = {},
  servers = 1,
): Promise<{ dns: DnsClient; server: DnsServer; others: DnsServer[] }> {
  const started = await Promise.all(Array.from({ length: servers }, () => startDnsServer(zone)));
  const dns = createDnsLookup({
    servers: started,
    timeout: 5_000,
    attempts: 3,
    cacheEntries: 1_000,
    longestTtl: 86_400_000,
    clock,
    ...options,
  });
  open.push(...started, dns);
  const [server, ...others] = started;
  if (server === undefined) throw new Error("no server was asked for");
  return { dns, server, others };
}

export const domain = (name: string): Domain => name as Domain;
export const mx: Zone = { "example.test": { MX: ["10 mx1.example.test", "20 mx2.example.test"] } };
export const misbehaving = (behave: Behaviour, more: object = {}): Zone => ({
  "example.test": { MX: ["10 mx.example.test"], behave, ...more },
});

/** Waits for what has been sent to arrive, then lets the try run out. */
export async function letTimeOut(arrived: () => boolean, times = 1): Promise<void> {
  await vi.waitFor(() => expect(arrived()).toBe(true), { interval: 5 });
  await clock.pass(5_000 * times);
}
