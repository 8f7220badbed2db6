/** The command as a process of its own, on a real database, while no relay runs. */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";

const program = fileURLToPath(new URL("../../src/cli/program.ts", import.meta.url));
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "postern-file-"));
  // The sources themselves, also where an older build lies about.
  writeFileSync(join(folder, "run.mjs"), `import { main } from ${JSON.stringify(program)}; await main();`);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function postern(argv: readonly string[], input = "", onOutput?: (stdout: NodeJS.ReadableStream) => void): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const environment = { PATH: process.env["PATH"], HOME: folder };
    const child = spawn(process.execPath, [join(folder, "run.mjs"), ...argv, "--data", join(folder, "data")], {
      cwd: folder,
      env: environment,
    });
    let out = "";
    let err = "";
    onOutput?.(child.stdout);
    child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, out, err }));
    child.stdin.end(input);
  });
}

test("users and an empty queue without a relay", async () => {
  expect(await postern(["queue", "ls"])).toMatchObject({ code: 75, err: expect.stringMatching(/no relay runs and no queue is in/) });
  expect(existsSync(join(folder, "data"))).toBe(false);
  expect(await postern(["user", "add", "alice", "--send-as", "@example.com"], "correct horse\n")).toEqual({
    code: 0,
    out: "Added alice.\n",
    err: "",
  });
  expect(statSync(join(folder, "data", "postern.db")).mode & 0o077).toBe(0);
  expect((await postern(["user", "ls", "--json"])).out).toMatch(/"name": "alice",\s+"maySendAs": \[\s+"@example\.com"/);
  expect((await postern(["queue", "summary"])).out).toBe("The queue is empty.\n");
  expect((await postern(["mailq"])).out).toBe("Mail queue is empty\n");
  expect(await postern(["queue", "why", "0KF3V7Q2M9"])).toMatchObject({ code: 1, out: "" });
  expect(await postern(["queue", "retry", "--everything"])).toMatchObject({ code: 1, out: "Nothing that waits matches.\n" });
  expect((await postern(["healthcheck"])).code).toBe(1);
  expect(await postern(["user", "rm", "alice"])).toMatchObject({ code: 0 });
});

test("a wrong setting is 78, before anything is touched", async () => {
  const ended = await postern(["queue", "ls", "--set", "tls.flor=encrypted", "--set", "log.level=loud"]);
  expect(ended.code).toBe(78);
  expect(ended.err).toMatch(/2 errors[\s\S]*tls\.floor[\s\S]*log\.level/);
});

test("a reader that goes away is no error", async () => {
  const ended = await postern(["--help"], "", (stdout) => (stdout as NodeJS.ReadableStream & { destroy(): void }).destroy());
  expect(ended).toMatchObject({ code: 0, err: "" });
});
