/** What is made for one question when no relay runs, and what is left of it. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { tmpdir } from "node:os";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openProbe } from "../../src/cli/probe.ts";
import { systemClock } from "../../src/clock.ts";
import { settingsSchema } from "../../src/config/settings.ts";

const before = process.env["TMPDIR"];
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "postern-probe-"));
  process.env["TMPDIR"] = folder;
});
afterEach(() => {
  if (before === undefined) delete process.env["TMPDIR"];
  else process.env["TMPDIR"] = before;
  rmSync(folder, { recursive: true, force: true });
});

const settingsWith = (roots: string) =>
  settingsSchema.parse({
    data: { folder: join(folder, "data") },
    resolver: { servers: ["127.0.0.1:1"], roots, timeout: "10ms", attempts: 1 },
  });

test("its own folder is gone after it", async () => {
  const probe = await openProbe(settingsWith("bundled"), undefined, systemClock);
  expect(readdirSync(folder)).toEqual([expect.stringMatching(/^postern-check-/)]);
  await probe.close();
  expect(readdirSync(folder)).toEqual([]);
});

test("and also where it could not be opened", async () => {
  await expect(openProbe(settingsWith(join(folder, "none.pem")), undefined, systemClock)).rejects.toThrow(/none\.pem/);
  expect(readdirSync(folder)).toEqual([]);
});
