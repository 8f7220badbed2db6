/**
 * What the queue costs by itself: 2 KB messages enqueued and settled, 20 at a time, as a busy relay does. Prints one
 * line of JSON: messages a second, CPU of all threads a message, commits. `node bench/store.ts [messages] [at once] [octets]`
 */
import { mkdtempSync, rmSync } from "node:fs";
import path from "node:path";
import { systemClock } from "../src/clock.ts";
import type { EmailAddress } from "../src/mail/address.ts";
import type { Domain } from "../src/mail/domain.ts";
import type { Settlement } from "../src/queue/settlement.ts";
import { openSqliteStore } from "../src/store/sqlite/open.ts";

const [messages = 40_000, atOnce = 20, size = 2048] = process.argv.slice(2).map(Number);
const folder = mkdtempSync(path.join(process.env["BENCH_FOLDER"] ?? ".", ".bench-store-"));
const store = await openSqliteStore({ folder, clock: systemClock, emit: console.error, minimumFree: 0, settlementReserve: 0 });
const octets = Buffer.alloc(size, "x");
const nextHop = "example.org" as Domain;
const certificate = {
  subject: "mx1.example.org",
  issuer: "Test CA",
  names: ["mx1.example.org", "mx2.example.org"],
  validFrom: "2026-01-01T00:00:00Z",
  validTo: "2026-12-31T00:00:00Z",
  sha256: "0".repeat(64),
  key: "EC prime256v1",
};

async function relayOne(): Promise<void> {
  const now = Date.now();
  const body = store.newBody();
  await body.write(Buffer.from(octets));
  const [entry] = await store.enqueue(
    {
      id: store.newQueueId(),
      sender: "alice@example.com" as EmailAddress,
      recipients: [{ address: "bob@example.org" as EmailAddress, nextHop }],
      origin: {
        submitter: "net:192.0.2.7",
        listener: "submission",
        clientAddress: "192.0.2.7",
        ehloName: "client.example",
        tls: "TLSv1.3 TLS_AES_256_GCM_SHA384",
      },
      needs: { eightBit: false, utf8Headers: false },
      messageId: "<20260901.123456.abcdef@example.com>",
      receivedAt: now,
      expiresAt: now + 5 * 86_400_000,
      size,
    },
    body,
    { leaseNow: () => true, leaseUntil: now + 600_000 },
  );
  const recipient = entry?.recipients[0];
  if (entry === undefined || recipient === undefined) throw new Error("not leased");
  const settlement: Settlement = {
    attempt: {
      startedAt: now,
      endedAt: Date.now(),
      demanded: "authenticated (tls.floor of this relay)",
      hosts: [
        {
          host: "mx1.example.org",
          address: "192.0.2.1",
          port: 25,
          step: "done",
          tls: {
            kind: "authenticated",
            session: {
              protocol: "TLSv1.3",
              cipher: "TLS_AES_256_GCM_SHA384",
              serverName: "mx1.example.org",
              chain: [certificate, certificate],
              webpki: { held: true, referenceIdentifier: "mx1.example.org" },
            },
          },
        },
      ],
    },
    recipients: [
      {
        recipientId: recipient.recipientId,
        outcome: { kind: "delivered", host: "mx1.example.org", reply: { code: 250, lines: ["2.0.0 Ok: queued as 0KF3V7Q2M9"] } },
      },
    ],
    notices: [],
  };
  const saved = await store.saveSettlement(entry.lease, settlement, { leaseNow: () => false, leaseUntil: 0 });
  if (saved === "lease-lost") throw new Error("lease lost");
}

async function relayMany(count: number): Promise<void> {
  let left = count;
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (left-- > 0) await relayOne();
    }),
  );
}

await relayMany(Math.min(2000, messages));
const before = await store.statistics();
const cpu = process.cpuUsage();
const main = performance.eventLoopUtilization();
const started = performance.now();
await relayMany(messages);
const seconds = (performance.now() - started) / 1000;
const { user, system } = process.cpuUsage(cpu);
const loop = performance.eventLoopUtilization(main);
const after = await store.statistics();
await store.close();
rmSync(folder, { recursive: true });
console.log(
  JSON.stringify({
    messages,
    atOnce,
    octets: size,
    messagesPerSecond: Math.round(messages / seconds),
    cpuMicrosecondsPerMessage: Number(((user + system) / messages).toFixed(1)),
    userMicroseconds: Number((user / messages).toFixed(1)),
    systemMicroseconds: Number((system / messages).toFixed(1)),
    requestsPerCommit: Number(((after.requests - before.requests) / (after.commits - before.commits)).toFixed(1)),
    commitsPerSecond: Math.round((after.commits - before.commits) / seconds),
    eventLoopUtilization: Number(loop.utilization.toFixed(2)),
    rssMegabytes: Math.round(process.memoryUsage().rss / 1e6),
  }),
);
