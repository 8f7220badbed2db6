/**
 * The commit is on stable storage before the client reads 250 (RFC 5321 §6.1), seen from outside by strace. That the
 * judge can say no is shown on traces made up, and on a copy of the relay whose database does not sync.
 */
import { cp, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { program, startRelay } from "../support/relay.ts";
import { simpleMessage, SmtpClient } from "../support/submit.ts";
import { findEarlyReply } from "../support/syscalls.ts";
import { makeTempFolder, waitUntil } from "../support/temp.ts";

const RECEIVED = '7 read(20<socket:[1]>, "Subject: here\\r\\n", 65536) = 15';
const WRITTEN = '8 pwrite64(31</d/postern.db-wal>, "here", 4096, 32) = 4096';
const SYNCED = "8 fsync(31</d/postern.db-wal>) = 0";
const REPLY = '7 write(20<socket:[1]>, "250 2.0.0 Ok: queued as ID1\\r\\n", 29) = 29';

const cases: [name: string, lines: string[], found: string | undefined][] = [
  ["written, synced, answered", [RECEIVED, WRITTEN, SYNCED, REPLY], undefined],
  ["answered before the sync", [RECEIVED, WRITTEN, REPLY, SYNCED], "before the database's log was synced"],
  ["never synced", [RECEIVED, WRITTEN, REPLY], "before the database's log was synced"],
  ["synced before it was written", [RECEIVED, SYNCED, WRITTEN, REPLY], "before the database's log was synced"],
  ["another file synced", [RECEIVED, WRITTEN, SYNCED.replace("-wal", ""), REPLY], "before the database's log was synced"],
  [
    "sync failed",
    [RECEIVED, WRITTEN, SYNCED.replace("= 0", "= -1 EIO (Input/output error)"), REPLY],
    "before the database's log was synced",
  ],
  ["sync only pretended", [RECEIVED, WRITTEN, `${SYNCED} (INJECTED)`, REPLY], "before the database's log was synced"],
  [
    "sync under way at the answer",
    [RECEIVED, WRITTEN, "8 fsync(31</d/postern.db-wal> <unfinished ...>", REPLY, "8 <... fsync resumed>) = 0"],
    "before the database's log was synced",
  ],
  [
    "sync ended in time",
    [RECEIVED, WRITTEN, "8 fsync(31</d/postern.db-wal> <unfinished ...>", "9 read(3, 1) = 1", "8 <... fsync resumed>) = 0", REPLY],
    undefined,
  ],
  ["kept in memory only", [RECEIVED, REPLY], "nothing was written"],
];
describe("the judge", () => {
  test.each(cases)("%s", (_, lines, found) => {
    const judged = findEarlyReply(lines.join("\n"), "Subject: here", "ID1");
    if (found === undefined) expect(judged).toBeUndefined();
    else expect(judged).toContain(found);
  });
});

/** Runs a relay under strace, hands in messages one by one and some at once, and judges each. */
async function watchReplies(from: string): Promise<(string | undefined)[]> {
  await using folder = await makeTempFolder("strace");
  const file = join(folder.path, "trace");
  const traced = "trace=read,recvfrom,recvmsg,write,writev,sendto,sendmsg,pwrite64,fsync,fdatasync";
  await using relay = await startRelay({
    program: from,
    wrapper: ["strace", "-f", "-y", "-qq", "-s", "4096", "-o", file, "-e", traced],
    configuration: { delivery: { routes: [{ domains: ["*"], host: "127.0.0.1", port: 1, tls: "none" }] } },
  });
  const client = await SmtpClient.open(relay.port());
  const ids = new Map<string, string>();
  const submit = async (by: SmtpClient, subject: string) =>
    ids.set(subject, await by.submit("alice@sender.test", ["jo@rcv.test"], simpleMessage(subject)));
  for (let k = 1; k <= 5; k++) await submit(client, `alone-${k}-end`);
  await Promise.all(
    [1, 2, 3, 4].map(async (k) => {
      const other = await SmtpClient.open(relay.port());
      await submit(other, `together-${k}-end`);
      other.close();
    }),
  );
  client.close();
  const trace = await waitUntil("the trace has every reply", async () => {
    const text = await readFile(file, "latin1");
    return [...ids.values()].every((id) => text.includes(`queued as ${id}`)) && text;
  });
  return [...ids].map(([subject, id]) => findEarlyReply(trace, `Subject: ${subject}`, id));
}

test("every 250 follows the sync of its commit", async () => {
  expect(await watchReplies(program)).toEqual(Array<undefined>(9).fill(undefined));
});

test("a copy whose database does not sync is caught", async () => {
  await using copy = await makeTempFolder("unsynced");
  const top = fileURLToPath(new URL("../..", import.meta.url));
  for (const name of ["bin", "src", "package.json"]) await cp(join(top, name), join(copy.path, name), { recursive: true });
  await symlink(join(top, "node_modules"), join(copy.path, "node_modules"));
  const file = join(copy.path, "src/store/sqlite/database.ts");
  const source = await readFile(file, "utf8");
  const careless = source
    .replace('pragma("synchronous = FULL")', 'pragma("synchronous = OFF")')
    .replace("(got !== FULL)", "(got === FULL)");
  expect(careless).toMatch(/synchronous = OFF[^]*got === FULL/);
  await writeFile(file, careless);
  const judged = await watchReplies(join(copy.path, "bin/postern.js"));
  expect(judged).toContain("the 250 went out before the database's log was synced");
  expect(judged.filter((one) => one === undefined)).toEqual([]);
});
