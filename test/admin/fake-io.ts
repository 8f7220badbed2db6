/** A relay without rooms behind it: what the handlers see, in memory, with everything they ordered written down. */
import type { AdminIo, RelayStatus, ShownResolvers } from "../../src/admin/handlers.ts";
import type { QueueFilter, User } from "../../src/queue/store.ts";
import type { DnssecState } from "../../src/policy/facts.ts";
import { checkStages, keptPolicy, refreshed, refusedVerdict } from "../cli/check-story.ts";
import { list, NOW, story, summary } from "../cli/story.ts";
import { counted, keyList, keyRecords, preview, reports, today } from "../cli/tls-report-story.ts";

export interface FakeIo extends Omit<AdminIo, "policies" | "check" | "reporter"> {
  reporter?: NonNullable<AdminIo["reporter"]>;
  check: AdminIo["check"];
  readonly policies: { -readonly [K in keyof AdminIo["policies"]]: AdminIo["policies"][K] };
  readonly calls: { readonly name: string; readonly value: unknown }[];
  readonly people: Map<string, User>;
  relay: RelayStatus | undefined;
  /** Thrown by the next probes. */
  probeError: Error | undefined;
  trouble: "full" | "reserve" | "failed" | undefined;
  resolver: DnssecState | undefined;
  servers: ShownResolvers | undefined;
  lookups: string | undefined;
  /** Awaited before the last stage of a check. */
  holdCheck: ((stop: AbortSignal) => Promise<void>) | undefined;
  checkError: Error | undefined;
}

export const RUNNING: RelayStatus = {
  version: "0.1.0",
  pid: 4711,
  startedAt: NOW - 3_600_000,
  dataFolder: "/data",
  listeners: [{ name: "smtp", address: "127.0.0.1", port: 2525, tls: "starttls", login: "optional", open: true }],
  draining: false,
};

export function fakeIo(): FakeIo {
  const calls: FakeIo["calls"] = [];
  const people = new Map<string, User>();
  const matching = (filter: QueueFilter) =>
    list.entries.filter(
      (entry) =>
        (filter.state === undefined || entry.state === filter.state) &&
        (filter.ids === undefined || filter.ids.includes(entry.id)) &&
        (filter.nextHop === undefined || filter.nextHop === entry.nextHop),
    );
  const io: FakeIo = {
    calls,
    people,
    relay: RUNNING,
    probeError: undefined,
    trouble: undefined,
    resolver: { kind: "validating", detail: "127.0.0.1 validates", since: NOW - 60_000 },
    servers: {
      servers: [
        {
          name: "managed (unbound at 127.0.0.1:41953)",
          trusted: true,
          belief: "validating",
          detail: "validates (the root has AD); unbound asks the root servers",
          testedAt: NOW - 60_000,
        },
      ],
      pid: 4712,
    },
    lookups: undefined,
    holdCheck: undefined,
    checkError: undefined,
    admin: {
      list(filter, page) {
        calls.push({ name: "list", value: { filter, page } });
        // Pages of one, so that whoever pages wrongly sees too little.
        const entries = matching(filter);
        const from = page.after === undefined ? 0 : Number(page.after);
        const size = Math.min(page.limit, filter.state === "waiting" ? 1 : 1000);
        return Promise.resolve({
          entries: entries.slice(from, from + size),
          ...(from + size < entries.length && { next: String(from + size) }),
        });
      },
      totals: () => Promise.resolve(summary.totals),
      destinations: (_now, limit) => Promise.resolve(summary.destinations.slice(0, limit)),
      story: (id) =>
        Promise.resolve(
          id === story.message?.id && story.message !== undefined
            ? { message: story.message, entries: story.entries.map(({ advice: _advice, ...entry }) => entry) }
            : undefined,
        ),
      retryNow(filter, now) {
        calls.push({ name: "retryNow", value: { filter, now } });
        const entries = matching(filter);
        return Promise.resolve({ entries: entries.length, nextHops: [...new Set(entries.map((entry) => entry.nextHop))] });
      },
      countByReason: () => Promise.resolve([{ type: "certificate-expired" as const, entries: 1 }]),
      forgetFinished: () => Promise.resolve(0),
    },
    users: {
      list: () => Promise.resolve([...people.values()]),
      save(user) {
        people.set(user.name, user);
        return Promise.resolve();
      },
      remove: (name) => Promise.resolve(people.delete(name)),
    },
    store: {
      probe: () => (io.probeError === undefined ? Promise.resolve() : Promise.reject(io.probeError)),
      trouble: () => io.trouble,
    },
    wake: (nextHops) => void calls.push({ name: "wake", value: nextHops }),
    usersChanged: () => void calls.push({ name: "usersChanged", value: undefined }),
    reload: () => Promise.resolve({ ok: true, changed: ["tls.floor"] }),
    status: () => io.relay,
    policies: {
      floors: () => ({ floor: "authenticated", host: "any", published: "enforce", domains: { "example.org": { published: "report" } } }),
      list(page) {
        calls.push({ name: "policies.list", value: page });
        return Promise.resolve({ policies: [keptPolicy], next: "example.org" });
      },
      show: (domain) => Promise.resolve(domain === keptPolicy.policyDomain ? keptPolicy : undefined),
      refresh(domain) {
        calls.push({ name: "policies.refresh", value: domain });
        return Promise.resolve(refreshed);
      },
      daneSeen: (nextHop) => Promise.resolve(nextHop === "example.org" ? NOW - 3_600_000 : undefined),
    },
    async check(nextHop, options, emit, stop) {
      calls.push({ name: "check", value: { nextHop, options } });
      for (const stage of checkStages) emit(stage);
      await io.holdCheck?.(stop);
      if (io.checkError !== undefined) throw io.checkError;
      emit(refusedVerdict);
    },
    dnssec: () => io.resolver,
    resolvers: () => io.servers,
    lookupTrouble: () => io.lookups,
    reports: {
      listCounted(day, page) {
        calls.push({ name: "reports.listCounted", value: { day, page } });
        const domains = today.domains
          .map(({ policies: _policies, ...one }) => one)
          .filter(({ reportDomain }) => reportDomain > (page.after ?? ""));
        const some = day === today.day ? domains.slice(0, page.limit) : [];
        return Promise.resolve({ domains: some, ...(some.length < domains.length && { next: some.at(-1)?.reportDomain ?? "" }) });
      },
      counts: (day, name) => Promise.resolve(day === today.day ? [...(counted[name] ?? [])] : []),
      failedDomains: (day) =>
        Promise.resolve(day === today.day ? today.domains.filter(({ failures }) => failures > 0).map((one) => one.reportDomain) : []),
      list(filter, page) {
        calls.push({ name: "reports.list", value: { filter, page } });
        return Promise.resolve({
          reports: reports.filter(
            (one) =>
              (filter.day ?? one.day) === one.day &&
              (filter.reportDomain ?? one.reportDomain) === one.reportDomain &&
              (filter.state ?? one.state) === one.state,
          ),
        });
      },
      find: (day, name) => Promise.resolve(reports.find((one) => one.day === day && one.reportDomain === name)),
    },
    reporter: {
      sendNow(day, name) {
        calls.push({ name: "reporter.sendNow", value: { day, domain: name } });
        const found = reports.find((one) => one.day === day && one.reportDomain === name);
        return Promise.resolve(found && { ...found, state: "due" as const, attempts: found.attempts - 1 });
      },
      preview(name, day) {
        calls.push({ name: "reporter.preview", value: { day, domain: name } });
        return Promise.resolve({
          document: preview.document ?? "",
          policy: preview.to as Extract<typeof preview.to, { kind: "destinations" }>,
        });
      },
    },
    keyring: {
      list: () => Promise.resolve([...keyList.keys]),
      dnsRecords: (name) =>
        Promise.resolve(
          keyRecords.records
            .filter((one) => name === undefined || one.domain === name)
            .map(({ problem: _problem, checkedAt: _at, ...one }) => one),
        ),
      rotate(name) {
        calls.push({ name: "keyring.rotate", value: name });
        return name === "example.com"
          ? io.keyring.dnsRecords(name)
          : Promise.reject(new Error(`${name} is not signed for: it is not in dkim.domains`));
      },
      checkNow() {
        calls.push({ name: "keyring.checkNow", value: undefined });
        return io.keyring.list();
      },
    },
    clock: { now: () => NOW, monotonic: () => NOW, after: () => () => {} },
  };
  return io;
}
