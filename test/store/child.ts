/**
 * A process of its own for tests that kill it, limit it or measure it: `node child.ts MODE FOLDER`. Says what happened
 * as lines of JSON on stdout.
 */
import { execFileSync } from "node:child_process";
import { statSync, writeSync } from "node:fs";
import path from "node:path";
import { systemClock } from "../../src/clock.ts";
import type { PosternEvent } from "../../src/events.ts";
import type { EmailAddress } from "../../src/mail/address.ts";
import type { Domain } from "../../src/mail/domain.ts";
import type { TlsObservation } from "../../src/policy/observation.ts";
import type { LeasedEntry } from "../../src/queue/entry.ts";
import { reportDayOf } from "../../src/queue/tls-reports.ts";
import { openSqliteStore } from "../../src/store/sqlite/open.ts";

const [mode = "", folder = ""] = process.argv.slice(2);
const events: PosternEvent[] = [];
const store = await openSqliteStore({
  folder,
  clock: systemClock,
  emit: (event) => events.push(event),
  minimumFree: 0,
  settlementReserve: mode === "disk-full" ? 1_000_000 : 0,
  // The small disk of that test is judged by what SQLite says, not by the measure that would refuse before it.
  freeOnDisk: () => Promise.resolve(1e12),
});

/** At once, whatever the event loop does: what was said must be true when the process is killed. */
function say(line: Record<string, unknown>): void {
  writeSync(1, `${JSON.stringify(line)}\n`);
}

async function enqueue(size: number, lease = false): Promise<LeasedEntry | string> {
  const now = Date.now();
  const id = store.newQueueId();
  const body = store.newBody();
  // The same piece again and again: this process's own garbage is not what is measured.
  const piece = Buffer.alloc(Math.min(65_536, size), id);
  for (let left = size; left > 0; left -= 65_536) await body.write(left < piece.length ? piece.subarray(0, left) : piece);
  const [entry] = await store.enqueue(
    {
      id,
      sender: "alice@sender.test" as EmailAddress,
      recipients: [{ address: "bob@dane.test" as EmailAddress, nextHop: "dane.test" as Domain }],
      origin: { submitter: "local", listener: "postern" },
      needs: { eightBit: false, utf8Headers: false },
      receivedAt: now,
      expiresAt: now + 86_400_000,
      size,
    },
    body,
    { leaseNow: () => lease, leaseUntil: now + 600_000 },
  );
  return entry ?? id;
}

function deliver(entry: LeasedEntry, observations?: readonly TlsObservation[]): Promise<LeasedEntry[] | "lease-lost"> {
  const now = Date.now();
  return store.saveSettlement(
    entry.lease,
    {
      attempt: { startedAt: now, endedAt: now, hosts: [], demanded: "nothing" },
      recipients: entry.recipients.map(({ recipientId }) => ({
        recipientId,
        outcome: { kind: "delivered", host: "mx.test", reply: { code: 250, lines: [] } },
      })),
      notices: [],
      ...(observations !== undefined && { observations }),
    },
    { leaseNow: () => false, leaseUntil: 0 },
  );
}

async function outcome(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "kept";
  } catch (error) {
    return error instanceof Error ? error.name : String(error);
  }
}

/** RLIMIT_FSIZE of this process: writes beyond it fail as on a full disk, and it can be raised again. */
function limitFiles(octets: number | "unlimited"): void {
  execFileSync("prlimit", ["--pid", String(process.pid), `--fsize=${octets}:unlimited`]);
}

const expired: TlsObservation = {
  reportDomain: "dane.test" as Domain,
  at: 0,
  policy: { type: "sts", domain: "dane.test", text: ["mode: testing"] },
  failures: [{ resultType: "certificate-expired", receivingIp: "192.0.2.1" }],
};

const wal = () => statSync(path.join(folder, "postern.db-wal")).size;

switch (mode) {
  case "hold":
    say({ ready: process.pid });
    setInterval(() => {}, 1000);
    break;

  case "flood":
    // Says each message once it is promised, and each outcome once it is kept, until it is killed.
    for (let client = 0; client < 10; client++)
      void (async () => {
        for (let n = 0; ; n++) {
          const entry = await enqueue(n % 9 === 8 ? 300_000 : 2000, true);
          if (typeof entry === "string") throw new Error("not leased");
          say({ enqueued: entry.message.id, size: entry.message.size });
          if (n % 3 === 0 && (await deliver(entry)) !== "lease-lost") say({ settled: entry.message.id });
        }
      })();
    break;

  case "policies":
    // Says each policy once it is promised, beside mail, until it is killed.
    void (async () => {
      for (;;) await enqueue(2000);
    })();
    void (async () => {
      for (let n = 0; ; n++) {
        const policyDomain = `d${n % 50}.test` as Domain;
        const policy = { id: String(n), text: `mode: enforce ${n}\n`.repeat(500), fetchedAt: n, expires: n + 1 };
        await store.policies.saveSts({ policyDomain, policy, lastUsed: n });
        await store.policies.noteDane(policyDomain, n);
        say({ saved: policyDomain, n });
      }
    })();
    break;

  case "counts":
    // Says each session once its settlement is kept, until it is killed.
    for (let client = 0; client < 10; client++)
      void (async () => {
        for (let n = 0; ; n++) {
          const entry = await enqueue(2000, true);
          if (typeof entry === "string") throw new Error("not leased");
          const failed = n % 3 === 0;
          await deliver(entry, [failed ? expired : { ...expired, failures: [] }]);
          say({ failed });
        }
      })();
    break;

  case "half-a-body": {
    const body = store.newBody();
    for (let n = 0; n < 64; n++) await body.write(Buffer.alloc(65_536));
    say({ ready: process.pid });
    setInterval(() => {}, 1000);
    break;
  }

  case "file-limit": {
    const kept = [await enqueue(2000), await enqueue(2000)];
    const leased = await enqueue(2000, true);
    limitFiles(wal() + 100_000);
    // In one group: what does not fit fails, the others do not.
    say({
      group: await Promise.all([2000, 250_000, 2000, 250_000, 2000].map((size) => outcome(enqueue(size)))),
      large: await outcome(enqueue(3_000_000)),
    });
    let refused = "kept";
    for (let n = 0; n < 200 && refused === "kept"; n++) refused = await outcome(enqueue(2000));
    say({ refused, trouble: store.trouble(), probe: await outcome(store.probe()), again: await outcome(enqueue(2000)) });
    const settled = typeof leased === "string" ? "not leased" : await outcome(deliver(leased));
    limitFiles("unlimited");
    say({
      settled,
      after: await outcome(enqueue(3_000_000)),
      large: await outcome(enqueue(250_000)),
      trouble: store.trouble(),
      kept: kept.length,
    });
    if (typeof leased !== "string") say({ later: await outcome(deliver(leased)) });
    say({ events: events.map(({ kind }) => kind) });
    await store.close();
    break;
  }

  case "not-writable": {
    const entry = await enqueue(2000, true);
    limitFiles(0);
    say({ refused: await outcome(enqueue(2000)), trouble: store.trouble(), due: await outcome(store.findNextDue()) });
    limitFiles("unlimited");
    say({
      after: await outcome(store.probe()),
      trouble: store.trouble(),
      settled: typeof entry === "string" ? "not leased" : await deliver(entry),
      events,
    });
    await store.close();
    break;
  }

  case "disk-full": {
    const leased: LeasedEntry[] = [];
    let refused = "kept";
    for (let n = 0; refused === "kept"; n++) {
      refused = await outcome(
        enqueue(20_000, true).then((entry) => {
          if (typeof entry !== "string") leased.push(entry);
        }),
      );
    }
    say({ refused, trouble: store.trouble(), taken: leased.length });
    say({ settled: [...new Set(await Promise.all(leased.map((entry) => outcome(deliver(entry, [expired])))))] });
    // What can be fetched again must not take the room of what a host has taken.
    const policyDomain = "dane.test" as Domain;
    const policies = [store.policies.saveSts({ policyDomain, lastUsed: 0 }), store.policies.noteDane(policyDomain, 0)];
    const [policy, dane] = await Promise.all(policies.map(outcome));
    const reports = await outcome(store.reports.claimDue(0, 1, 1));
    const rua = await outcome(store.reports.saveRua({ uri: "https://r.test/", refusals: 1, refusedAt: 0 }));
    const counted = (await store.reports.counts(reportDayOf(0), policyDomain))[0]?.failures;
    say({
      still: await outcome(enqueue(2000)),
      probe: await outcome(store.probe()),
      policy,
      dane,
      reports,
      rua,
      counted,
      trouble: store.trouble(),
    });
    execFileSync("mount", ["-o", "remount,size=40m", folder]);
    say({ after: await outcome(enqueue(20_000)), trouble: store.trouble(), events: events.map(({ kind }) => kind) });
    await store.close();
    break;
  }

  case "memory": {
    const LARGE = 120_000_000;
    await enqueue(2_000_000);
    const before = process.memoryUsage.rss();
    let peak = before;
    const timer = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), 5);
    await enqueue(LARGE);
    const written = peak - before;
    for (const entry of await store.leaseDue("dane.test" as Domain, 5, Date.now(), Date.now() + 600_000)) {
      let size = 0;
      for await (const piece of entry.body.chunks()) size += piece.length;
      if (size !== entry.body.size) throw new Error(`read ${size} octets of ${entry.body.size}`);
    }
    clearInterval(timer);
    say({ written, grown: peak - before });
    await store.close();
    break;
  }

  default:
    throw new Error(`no such mode: ${mode}`);
}
