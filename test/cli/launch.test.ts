import { spawnSync } from "node:child_process";
import { mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { findOwnNode, isBuildFresh, isNewEnough, planLaunch } from "../../bin/launch.js";
import { makeTempFolder } from "../support/temp.ts";

describe("which Node.js is new enough", () => {
  const cases: [string, boolean][] = [
    ["v18.19.0", false],
    ["v20.20.2", false],
    ["v22.18.9", false],
    ["v22.19.0", true],
    ["v24.0.0", true],
    ["v24.21.0", true],
  ];
  for (const [version, enough] of cases) test(version, () => expect(isNewEnough(version)).toBe(enough));
});

test("an old one hands over to the project's own, once", () => {
  expect(planLaunch("v24.0.0", "/own/node", false)).toEqual({ kind: "run" });
  expect(planLaunch("v20.20.2", "/own/node", false)).toEqual({ kind: "restart", node: "/own/node" });
  // The project's own is old, too: starting it again and again would never end.
  expect(planLaunch("v20.20.2", "/own/node", true).kind).toBe("refuse");
});

test("without one it says what is needed and how to get it", () => {
  const plan = planLaunch("v20.20.2", undefined, false);
  expect(plan).toMatchObject({
    kind: "refuse",
    text: expect.stringMatching(/Node\.js 22\.19 or newer is needed, and this is v20\.20\.2.*npm ci/),
  });
});

test("the project's own is looked for beside the other packages", () => {
  const packaged = `/p/node_modules/node-${process.platform}-${process.arch}/bin/node`;
  const names = ["better-sqlite3", `node-${process.platform}-${process.arch}`];
  expect(
    findOwnNode(
      "/p",
      (path) => path === packaged,
      () => names,
    ),
  ).toBe(packaged);
  expect(
    findOwnNode(
      "/p",
      (path) => path === "/p/node_modules/.bin/node",
      () => [],
    ),
  ).toBe("/p/node_modules/.bin/node");
  expect(
    findOwnNode(
      "/p",
      () => false,
      () => names,
    ),
  ).toBeUndefined();
});

test("a build runs only while no source is newer, and where there are no sources", async () => {
  await using folder = await makeTempFolder("launch");
  const put = (file: string, age: number): void => {
    mkdirSync(join(folder.path, file, ".."), { recursive: true });
    writeFileSync(join(folder.path, file), "");
    utimesSync(join(folder.path, file), 1_000_000 - age, 1_000_000 - age);
  };
  expect(isBuildFresh(folder.path)).toBe(false);
  put("dist/cli/program.js", 10);
  expect(isBuildFresh(folder.path)).toBe(true);
  put("src/mail/reply.ts", 20);
  put("src/cli/program.ts", 20);
  for (const made of ["src", "src/mail", "src/cli"]) utimesSync(join(folder.path, made), 999_980, 999_980);
  expect(isBuildFresh(folder.path)).toBe(true);
  put("src/mail/reply.ts", 5);
  expect(isBuildFresh(folder.path)).toBe(false);
});

const bin = fileURLToPath(new URL("../../bin/postern.js", import.meta.url));

test("the command runs, prints its version, and leaves nothing else on standard output", () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, "version"], { encoding: "utf8" });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toMatch(/^postern \d+\.\d+\.\d+ \(Node [\d.]+, OpenSSL .*\)\n$/);
});
