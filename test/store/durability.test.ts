/** What the file promises across crashes, second processes and other versions (RFC 5321 §6.1). */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { chmodSync, copyFileSync, readFileSync, readdirSync, statSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Domain } from "../../src/mail/domain.ts";
import type { QueueId } from "../../src/queue/entry.ts";
import type { ReportDay } from "../../src/queue/tls-reports.ts";
import { demandFullSync, openForWriting } from "../../src/store/sqlite/database.ts";
import { findNetworkFileSystem } from "../../src/store/sqlite/folder.ts";
import {
  DELIVERED,
  hop,
  newFolder,
  NO_LEASE,
  observation,
  observe,
  openTestStore,
  readBody,
  report,
  settlementOf,
  STS,
  submit,
  T0,
  TODAY,
} from "./make.ts";

/** The newest migration. */
const SCHEMA = 3;
const MIGRATIONS = fileURLToPath(new URL("../../src/store/sqlite/migrations/", import.meta.url));
/** Those of the message that the first schema had. */
const FIRST_COLUMNS =
  "number, id, sender, submitter, listener, client_address, ehlo_name, user_name, submission_tls, return_content, envelope_id, eight_bit, " +
  "utf8_headers, message_id, received_at, expires_at, size, chunked_body, first_entry, entries, first_recipient, recipients";
const CHILD = fileURLToPath(new URL("./child.ts", import.meta.url));

type Child = ChildProcessByStdio<null, Readable, null>;

function start(mode: string, folder: string): { child: Child; lines: AsyncIterable<Record<string, unknown>>; ended: Promise<void> } {
  const child = spawn(process.execPath, [CHILD, mode, folder], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  const input = createInterface({ input: child.stdout });
  async function* parsed() {
    for await (const line of input) yield JSON.parse(line) as Record<string, unknown>;
  }
  return { child, lines: parsed(), ended };
}

describe("stable storage", () => {
  test("every open of the writer asks for synchronous=FULL and has it, also the second", () => {
    const file = path.join(newFolder(), "postern.db");
    for (let opened = 0; opened < 3; opened++) {
      const database = openForWriting(file);
      expect(database.pragma("synchronous", { simple: true })).toBe(2);
      expect(database.pragma("journal_mode", { simple: true })).toBe("wal");
      expect(database.pragma("auto_vacuum", { simple: true })).toBe(2);
      database.close();
    }
  });

  test("a SQLite that does not take synchronous=FULL is refused", () => {
    const deaf = { name: "x.db", pragma: () => 1 } as unknown as Database.Database;
    expect(() => demandFullSync(deaf)).toThrow(/synchronous=FULL/);
  });

  test("kill -9 under load loses nothing that was promised and brings nothing back that was settled", async () => {
    const folder = newFolder();
    const enqueued = new Map<string, number>();
    const settled = new Set<string>();
    for (let round = 1; round <= 3; round++) {
      const { child, lines, ended } = start("flood", folder);
      for await (const line of lines) {
        if (typeof line["enqueued"] === "string") enqueued.set(line["enqueued"], Number(line["size"]));
        if (typeof line["settled"] === "string") settled.add(line["settled"]);
        if (enqueued.size >= round * 150 && !child.killed) child.kill("SIGKILL");
      }
      await ended;
    }
    const { store } = await openTestStore({ folder });
    for (const [id, size] of enqueued) {
      const story = await store.admin.story(id as QueueId);
      expect(story?.message.size).toBe(size);
      // The one whose outcome was being kept at the kill may be either; everybody else is known.
      if (settled.has(id)) expect(story?.entries[0]?.state).toBe("finished");
    }
    const waiting = await store.leaseDue(hop("dane.test"), 2000, Date.now() + 1000, Date.now() + 600_000);
    expect(waiting.length).toBeGreaterThan(100);
    for (const entry of waiting) {
      expect(settled.has(entry.message.id)).toBe(false);
      expect(
        (await readBody(entry)).equals(
          Buffer.concat(
            Array.from({ length: Math.ceil(entry.message.size / 65_536) }, (_, n) =>
              Buffer.alloc(Math.min(65_536, entry.message.size - n * 65_536), entry.message.id),
            ),
          ),
        ),
      ).toBe(true);
    }
    const finishedOrWaiting = (await store.admin.list({ state: "finished" }, { limit: 5000 })).entries.length + waiting.length;
    expect(finishedOrWaiting).toBeGreaterThanOrEqual(enqueued.size);
  });

  test("kill -9 loses no policy that was saved (RFC 8461 §10.2)", async () => {
    const folder = newFolder();
    const saved = new Map<string, number>();
    const { child, lines, ended } = start("policies", folder);
    for await (const { saved: domain, n } of lines) {
      saved.set(String(domain), Number(n));
      if (Number(n) >= 120 && !child.killed) child.kill("SIGKILL");
    }
    await ended;
    const { store } = await openTestStore({ folder });
    expect(saved.size).toBe(50);
    for (const [name, n] of saved) {
      const kept = await store.policies.findSts(name as Domain);
      // The one that was being saved at the kill may be newer.
      const { lastUsed = -1, policy } = kept ?? {};
      expect(lastUsed).toBeGreaterThanOrEqual(n);
      expect(policy).toMatchObject({ id: String(lastUsed), text: `mode: enforce ${lastUsed}\n`.repeat(500) });
      expect(await store.policies.findDane(name as Domain)).toBeGreaterThanOrEqual(n);
    }
  });

  test("kill -9: the counts are those of the settlements that were kept, none lost and none doubled", async () => {
    const folder = newFolder();
    const day = "1970-01-01" as ReportDay;
    const said = { good: 0, failed: 0 };
    for (let round = 1; round <= 3; round++) {
      const { child, lines, ended } = start("counts", folder);
      for await (const { failed } of lines) {
        if (failed === true) said.failed++;
        else said.good++;
        if (said.good + said.failed >= round * 150 && !child.killed) child.kill("SIGKILL");
      }
      await ended;
      const { store } = await openTestStore({ folder });
      const [counted] = await store.reports.counts(day, "dane.test" as Domain);
      const database = new Database(path.join(folder, "postern.db"), { readonly: true });
      const settled = database.prepare<[], number>("SELECT count(*) FROM attempt").pluck().get();
      database.close();
      await store.close();
      expect(counted!.successes + counted!.failures).toBe(settled);
      expect(counted!.details.map(({ sessions }) => sessions)).toEqual([counted!.failures]);
      // Those whose outcome was being kept at a kill may be either, ten each time.
      expect(counted!.successes).toBeGreaterThanOrEqual(said.good);
      expect(counted!.failures).toBeGreaterThanOrEqual(said.failed);
      expect(settled).toBeLessThanOrEqual(said.good + said.failed + 10 * round);
    }
  });

  test("chunks whose message never came are swept at the next start, those of waiting messages stay", async () => {
    const folder = newFolder();
    const { child, lines, ended } = start("half-a-body", folder);
    for await (const line of lines) if (line["ready"] !== undefined) child.kill("SIGKILL");
    await ended;
    const octets = Buffer.alloc(600_000, "z");
    const count = () => {
      const database = new Database(path.join(folder, "postern.db"), { readonly: true });
      const chunks = database.prepare<[], number>("SELECT count(*) FROM body_chunk").pluck().get();
      database.close();
      return chunks;
    };
    expect(count()).toBeGreaterThan(8);
    const first = await openTestStore({ folder });
    await submit(first.store, { body: octets });
    await first.store.close();
    const { store } = await openTestStore({ folder });
    await expect.poll(count).toBe(5);
    const [entry] = await store.leaseDue(hop("dane.test"), 1, T0, T0 + 1000);
    expect((await readBody(entry!)).equals(octets)).toBe(true);
    await store.saveSettlement(entry!.lease, settlementOf(entry!, [DELIVERED]), NO_LEASE);
    await expect.poll(count).toBe(0);
  });

  test("a body of which a chunk is missing ends with an error, never early", async () => {
    const { store, folder } = await openTestStore();
    await submit(store, { body: Buffer.alloc(600_000, "z") });
    await store.close();
    const database = new Database(path.join(folder, "postern.db"));
    database.exec("DELETE FROM body_chunk WHERE seq = 2");
    database.close();
    const again = await openTestStore({ folder });
    const [entry] = await again.store.leaseDue(hop("dane.test"), 1, T0, T0 + 1000);
    await expect(readBody(entry!)).rejects.toThrow(/not whole/);
  });
});

describe("who may open the file", () => {
  test("a second process is refused and told which one has it; after kill -9 nothing is in the way", async () => {
    const folder = newFolder();
    const { child, lines, ended } = start("hold", folder);
    for await (const _ of lines) break;
    await expect(openTestStore({ folder })).rejects.toThrow(new RegExp(`in use by process ${child.pid} on `));
    child.kill("SIGKILL");
    await ended;
    await openTestStore({ folder });
  });

  test("a second store in the same process is refused too, and the first keeps its lock", async () => {
    const { folder, store } = await openTestStore();
    await expect(openTestStore({ folder })).rejects.toThrow(/in use by process/);
    await expect(openTestStore({ folder })).rejects.toThrow(/in use by process/);
    await submit(store);
  });

  test("the folder and its files are their owner's alone", async () => {
    const folder = path.join(newFolder(), "deep", "data");
    const { store } = await openTestStore({ folder, settlementReserve: 1000 });
    await submit(store);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(folder))
      expect([name, (statSync(path.join(folder, name)).mode & 0o777).toString(8)]).toEqual([name, "600"]);
    expect(readdirSync(folder)).toContain("postern.db-wal");
  });

  test("a file that came back readable by everybody is closed to them at the start; its group keeps what it may", async () => {
    const { store, folder } = await openTestStore();
    await store.close();
    const file = path.join(folder, "postern.db");
    chmodSync(file, 0o644);
    const { store: again } = await openTestStore({ folder });
    await submit(again);
    for (const name of [file, `${file}-wal`, `${file}-shm`]) expect((statSync(name).mode & 0o777).toString(8)).toBe("640");
  });

  test("a folder that cannot be made is named", async () => {
    const file = path.join(newFolder(), "file");
    writeFileSync(file, "");
    await expect(openTestStore({ folder: path.join(file, "data") })).rejects.toThrow(/data folder .* cannot be made/);
  });

  test.each<[name: string, type: number, mountinfo: string, found: string | undefined]>([
    ["ext4", 0xef53, "", undefined],
    ["NFS", 0x6969, "", "NFS"],
    ["CIFS, as a signed number", 0xff534d42 | 0, "", "CIFS"],
    ["sshfs", 0x65735546, "36 1 0:5 / / rw - ext4 /dev/vda rw\n40 36 0:44 / /data rw,nosuid shared:1 - fuse.sshfs a@b: rw", "fuse.sshfs"],
    [
      "a local folder shared with a container",
      0x65735546,
      "36 1 0:5 / / rw - ext4 /dev/vda rw\n40 36 0:44 / /data rw - fuse.grpcfuse x rw",
      undefined,
    ],
    ["sshfs beside it", 0x65735546, "36 1 0:5 / / rw - fuse.x x rw\n40 36 0:44 / /data2 rw - fuse.sshfs a@b: rw", undefined],
  ])("network file systems are told: %s", (_name, type, mountinfo, found) => {
    expect(findNetworkFileSystem(type, "/data/queue", mountinfo)).toBe(found);
  });
});

describe("what the file must be", () => {
  const opened = async () => {
    const { store, folder } = await openTestStore();
    await submit(store, { body: Buffer.alloc(50_000) });
    await store.close();
    return { folder, file: path.join(folder, "postern.db") };
  };

  test("a file of a newer version is refused and left as it is", async () => {
    const { folder, file } = await opened();
    const database = new Database(file);
    database.pragma("user_version = 9000");
    database.close();
    await expect(openTestStore({ folder })).rejects.toThrow(/newer Postern \(schema 9000; this one knows \d+\)/);
    const after = new Database(file);
    expect(after.pragma("user_version", { simple: true })).toBe(9000);
    after.close();
  });

  test("another program's database is refused", async () => {
    const folder = newFolder();
    const database = new Database(path.join(folder, "postern.db"));
    database.exec("CREATE TABLE theirs (x)");
    database.close();
    await expect(openTestStore({ folder })).rejects.toThrow(/another program/);
  });

  test("what is no database is refused, and the message says what to do", async () => {
    const folder = newFolder();
    writeFileSync(path.join(folder, "postern.db"), "Subject: not a database\n".repeat(500));
    await expect(openTestStore({ folder })).rejects.toThrow(/postern\.db is not a SQLite database.*backup/);
  });

  test("a damaged database is refused, and the message says what to do", async () => {
    const { folder, file } = await opened();
    copyFileSync(file, `${file}.copy`);
    truncateSync(file, 8192);
    await expect(openTestStore({ folder })).rejects.toThrow(/postern\.db is damaged.*\.recover/);
  });

  test("a refused file is let go: the right one opens afterwards", async () => {
    const { folder, file } = await opened();
    const database = new Database(file);
    database.pragma("user_version = 9000");
    database.close();
    await expect(openTestStore({ folder })).rejects.toThrow(/newer/);
    const repaired = new Database(file);
    repaired.pragma(`user_version = ${SCHEMA}`);
    repaired.close();
    const { store } = await openTestStore({ folder });
    expect(await store.leaseDue(hop("dane.test"), 5, T0, T0 + 1000)).toHaveLength(1);
  });

  test("plain sqlite3 reads it: the views say what waits, to whom, and why", async () => {
    const { store, folder } = await openTestStore();
    const { message } = await submit(store, { to: ["a@dane.test", "b@dane.test"] });
    const [entry] = await store.leaseDue(hop("dane.test"), 1, T0, T0 + 1000);
    const waiting = { kind: "waiting", problem: { type: "timeout", detail: "silent", whoActs: "receiver", status: "4.4.1" } } as const;
    await store.saveSettlement(entry!.lease, settlementOf(entry!, [DELIVERED, waiting], T0 + 300_000), NO_LEASE);
    const database = new Database(path.join(folder, "postern.db"), { readonly: true });
    onTestFinished(() => {
      database.close();
    });
    expect(database.prepare("SELECT * FROM queue_entries").all()).toEqual([
      expect.objectContaining({
        queue_id: message.id,
        state: "waiting",
        recipients: "b@dane.test",
        reason: "timeout",
        detail: "silent",
        attempts: 1,
        next_attempt_utc: "2026-09-01 08:05:00",
        tls_tag: null,
      }),
    ]);
    expect(database.prepare("SELECT recipient, state, detail FROM recipients_readable").all()).toEqual([
      { recipient: "a@dane.test", state: "delivered", detail: "250 2.0.0 taken as 4711" },
      { recipient: "b@dane.test", state: "waiting", detail: "silent" },
    ]);
    expect(database.prepare("SELECT * FROM attempts_readable").all()).toEqual([
      expect.objectContaining({
        queue_id: message.id,
        next_hop: "dane.test",
        attempt: 1,
        result: "timeout",
        hosts: "mx.dane.test (connect)",
      }),
    ]);
  });

  test("the views of policies show what strangers wrote on one line, bounded, without what a terminal obeys", async () => {
    const { store, folder } = await openTestStore();
    const failure = { type: "sts-policy-invalid", detail: "no mode", whoActs: "receiver" } as const;
    const policy = (text: string) => ({ id: "1", text, fetchedAt: T0, expires: T0 + 86_400_000 });
    const save = (name: string, rest: object) => store.policies.saveSts({ policyDomain: name as Domain, lastUsed: T0, ...rest });
    await save("a.test", { policy: policy("version: STSv1\r\nmode: \tenforce \r\nmx: mx.a.test\r\nmax_age: 86400\r\n") });
    await save("b.test", { failure: { id: "7", at: T0, failures: 2, failure } });
    await save("c.test", { policy: policy(`mode:\u001b]0;x\u0007\u009b2J${"y".repeat(60_000)}`) });
    await store.policies.noteDane(hop("dane.test"), T0);
    const database = new Database(path.join(folder, "postern.db"), { readonly: true });
    onTestFinished(() => {
      database.close();
    });
    expect(database.prepare("SELECT * FROM sts_policies_readable ORDER BY policy_domain").all()).toEqual([
      {
        policy_domain: "a.test",
        policy_id: "1",
        mode: "enforce",
        fetched_utc: "2026-09-01 08:00:00",
        expires_utc: "2026-09-02 08:00:00",
        last_used_utc: "2026-09-01 08:00:00",
        failures: null,
        failed_utc: null,
        failed_id: null,
        reason: null,
        detail: null,
        policy: "version: STSv1 | mode: \tenforce  | mx: mx.a.test | max_age: 86400 | ",
      },
      expect.objectContaining({
        policy_domain: "b.test",
        policy: null,
        mode: null,
        failures: 2,
        failed_utc: "2026-09-01 08:00:00",
        failed_id: "7",
        reason: "sts-policy-invalid",
        detail: "no mode",
      }),
      expect.objectContaining({
        policy_domain: "c.test",
        mode: `?]0;x??2J${"y".repeat(11)}`,
        policy: expect.stringMatching(/^mode:\?\]0;x\?\?2Jy{1986}$/),
      }),
    ]);
    expect(database.prepare("SELECT * FROM dane_next_hops_readable").all()).toEqual([
      { next_hop: "dane.test", seen_utc: "2026-09-01 08:00:00" },
    ]);
  });
});

describe("what plain sqlite3 shows of TLS reports and keys", () => {
  const look = (folder: string) => {
    const database = new Database(path.join(folder, "postern.db"), { readonly: true });
    onTestFinished(() => {
      database.close();
    });
    return (sql: string) => database.prepare<[], Record<string, unknown>>(sql).all();
  };

  test("days, kinds of failures, reports and keys, in words", async () => {
    const { store, folder } = await openTestStore();
    const mismatch = { resultType: "certificate-host-mismatch", receivingMxHostname: "mx.a.test", receivingIp: "192.0.2.1" } as const;
    const hostile = { ...STS, domain: "b.test", text: [`\u001b]0;x\u0007\u009b2J${"y".repeat(5000)}`] };
    await observe(store, observation(), observation({ failures: [mismatch, { resultType: "certificate-expired", reasonCode: "x" }] }));
    await observe(store, observation({ failures: [mismatch] }), observation({ policy: hostile }));
    const destinations = [
      { uri: "mailto:r@x.test", state: "accepted", at: T0 },
      { uri: "https://r.test/", state: "failed", detail: "503 from r.test", at: T0 },
    ] as const;
    await store.reports.add([
      report("a.test", { state: "sent", endedAt: T0, attempts: 2, destinations, document: '{"ü":1}' }),
      report("b.test", { dueAt: T0 + 3_600_000 }),
    ]);
    const rows = look(folder);
    expect(rows("SELECT * FROM tls_days ORDER BY policy_domain")).toEqual([
      {
        day: "2026-09-01",
        report_domain: "a.test",
        policy_type: "sts",
        policy_domain: "a.test",
        successes: 1,
        failures: 2,
        reasons: "certificate-host-mismatch 2, certificate-expired 1",
        policy: '["version: STSv1","mode: enforce","mx: *.a.test","max_age: 604800"]',
      },
      expect.objectContaining({ reasons: null, policy: expect.stringMatching(/^\["\\u001b\]0;x\\u0007\?2Jy{1979,1985}$/) }),
    ]);
    expect(rows("SELECT * FROM tls_failures_readable ORDER BY sessions DESC")).toEqual([
      {
        day: "2026-09-01",
        report_domain: "a.test",
        policy_type: "sts",
        policy_domain: "a.test",
        reason: "certificate-host-mismatch",
        reason_code: null,
        sessions: 2,
        receiving_mx: "mx.a.test",
        receiving_helo: null,
        receiving_ip: "192.0.2.1",
        sending_ip: null,
      },
      expect.objectContaining({ reason: "certificate-expired", reason_code: "x", sessions: 1 }),
    ]);
    expect(rows("SELECT * FROM tls_reports_readable ORDER BY report_domain")).toEqual([
      {
        day: "2026-09-01",
        report_domain: "a.test",
        report_id: "a.test.1@sender.test",
        state: "sent",
        attempts: 2,
        due_utc: null,
        give_up_utc: "2026-09-02 08:00:00",
        ended_utc: "2026-09-01 08:00:00",
        detail: null,
        destinations: "mailto:r@x.test (accepted), https://r.test/ (failed: 503 from r.test)",
        document_octets: 8,
      },
      expect.objectContaining({ state: "due", due_utc: "2026-09-01 09:00:00", destinations: null, document_octets: null }),
    ]);
  });

  test("no view shows a private key, and nobody but the owner reads the file", async () => {
    const { store, folder } = await openTestStore();
    const secret = "MIIEvQIBADANBgkqhkiG";
    await store.dkimKeys.add({
      domain: "a.test" as Domain,
      selector: "postern1r",
      algorithm: "rsa-sha256",
      privateKey: secret,
      publicKey: "MIIB",
      state: "active",
      createdAt: T0,
      changedAt: T0,
    });
    const rows = look(folder);
    const views = rows("SELECT name FROM sqlite_schema WHERE type = 'view'").map(({ name }) => String(name));
    expect(views).toContain("dkim_keys_readable");
    for (const view of views) expect(JSON.stringify(rows(`SELECT * FROM ${view}`))).not.toContain(secret);
    expect(rows("SELECT domain, selector, state, changed_utc, public_key FROM dkim_keys_readable")).toEqual([
      { domain: "a.test", selector: "postern1r", state: "active", changed_utc: "2026-09-01 08:00:00", public_key: "MIIB" },
    ]);
    for (const name of readdirSync(folder).filter((file) => file.startsWith("postern.db")))
      expect([name, (statSync(path.join(folder, name)).mode & 0o777).toString(8)]).toEqual([name, "600"]);
  });
});

describe.each([1, 2])("a database of an earlier version, schema %i", (version) => {
  /** As the version that knew only the first migrations left it: a message for two next hops, a delivery, a user. */
  const writeOld = (): string => {
    const folder = newFolder();
    const database = new Database(path.join(folder, "postern.db"));
    database.pragma("auto_vacuum = INCREMENTAL");
    database.pragma("journal_mode = WAL");
    for (const migration of readdirSync(MIGRATIONS).toSorted().slice(0, version))
      database.exec(readFileSync(path.join(MIGRATIONS, migration), "utf8"));
    database.pragma(`application_id = ${0x5053544e}`);
    database.pragma(`user_version = ${version}`);
    const problem = JSON.stringify({ type: "timeout", detail: "silent", whoActs: "receiver", status: "4.4.1" });
    database.exec(`
      INSERT INTO message (${FIRST_COLUMNS}) VALUES (32, '0000000010', 'alice@sender.test', 'user:app', 'tls', '192.0.2.7', 'app.test', 'app', 'TLSv1.3 X',
        'headers', 'QQ314159', 1, 0, '<1@app.test>', ${T0}, ${T0 + 86_400_000}, 5, NULL, 1, 2, 1, 2);
      INSERT INTO body VALUES (32, x'48656c6c6f');
      INSERT INTO recipient VALUES (1, 32, 1, 'a@one.test', 'one.test', 12, 'rfc822;a@one.test', 'waiting', NULL, NULL),
        (2, 32, 2, 'b@two.test', 'two.test', NULL, NULL, 'delivered', ${T0}, '{"host":"mx.two.test","reply":{"code":250,"lines":["taken"]}}');
      INSERT INTO entry VALUES (1, 32, 'one.test', 'user:app', 1, 1, 1, 1, 2, NULL, ${T0}, ${T0 + 86_400_000}, 1, 1, ${T0 + 1000}, NULL,
        'timeout', '${problem}');
      INSERT INTO attempt VALUES (1, 1, 1, ${T0}, ${T0 + 500}, 'timeout', '{"startedAt":${T0},"endedAt":${T0 + 500},"hosts":[],"demanded":"x"}'),
        (2, 2, 1, ${T0}, ${T0 + 500}, NULL, '{"startedAt":${T0},"endedAt":${T0 + 500},"hosts":[],"demanded":"x"}');
      INSERT INTO user VALUES ('app', 'scrypt$1$2$3$a$b', '["a@one.test"]', ${T0});
      INSERT INTO meta VALUES ('highest recipient', 7), ('highest entry', 7);
    `);
    database.close();
    return folder;
  };

  test("is brought up to date when it is opened, and nothing in it is lost", async () => {
    const folder = writeOld();
    const { store } = await openTestStore({ folder });
    const story = await store.admin.story("0000000010" as QueueId);
    const facts = {
      id: "0000000010",
      sender: "alice@sender.test",
      origin: { submitter: "user:app", listener: "tls", clientAddress: "192.0.2.7", ehloName: "app.test", user: "app", tls: "TLSv1.3 X" },
      returnContent: "headers",
      envelopeId: "QQ314159",
      needs: { eightBit: true, utf8Headers: false },
      messageId: "<1@app.test>",
      receivedAt: T0,
      expiresAt: T0 + 86_400_000,
      size: 5,
    };
    expect(story?.message).toEqual(facts);
    expect(story?.entries.map(({ nextHop, state, attemptRecords }) => [nextHop, state, attemptRecords.length])).toEqual([
      ["one.test", "waiting", 1],
      ["two.test", "finished", 1],
    ]);
    expect(story?.entries[1]?.recipients).toMatchObject([{ address: "b@two.test", state: "delivered", outcome: { host: "mx.two.test" } }]);
    const [entry] = await store.leaseDue(hop("one.test"), 5, T0 + 1000, T0 + 60_000);
    expect(entry?.message).toEqual(facts);
    expect(entry?.recipients).toMatchObject([{ recipientId: 1, address: "a@one.test", originalRecipient: "rfc822;a@one.test" }]);
    expect((await readBody(entry!)).toString()).toBe("Hello");
    expect(await store.saveSettlement(entry!.lease, settlementOf(entry!, [DELIVERED]), NO_LEASE)).toEqual([]);
    expect(await store.users.list()).toMatchObject([{ name: "app", maySendAs: ["a@one.test"] }]);
    await store.policies.noteDane(hop("one.test"), T0);
    await observe(store, observation());
    expect(await store.reports.counts(TODAY, "a.test" as Domain)).toMatchObject([{ successes: 1 }]);
    // Keys go on behind the highest that the former version gave.
    const { leased } = await submit(store, { lease: true });
    expect(leased[0]?.lease.entryId).toBe(9);
  });

  test("is left whole where the upgrade fails half-way, and the next start can try again", async () => {
    const folder = writeOld();
    const file = path.join(folder, "postern.db");
    const hostile = new Database(file);
    hostile.exec("CREATE TABLE tls_rua (x)");
    hostile.close();
    await expect(openTestStore({ folder })).rejects.toThrow(/tls_rua/);
    const after = new Database(file);
    // One transaction for each migration: the last one that went through whole.
    expect(after.pragma("user_version", { simple: true })).toBe(2);
    expect(after.prepare("SELECT count(*) FROM pragma_table_info('message') WHERE name IN ('tls_tag', 'body_hash')").pluck().get()).toBe(1);
    after.exec("DROP TABLE tls_rua");
    after.close();
    const { store } = await openTestStore({ folder });
    expect(await store.leaseDue(hop("one.test"), 5, T0 + 1000, T0 + 60_000)).toHaveLength(1);
    expect(new Database(file, { readonly: true }).pragma("user_version", { simple: true })).toBe(SCHEMA);
  });
});
