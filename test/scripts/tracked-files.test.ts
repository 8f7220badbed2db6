/** The checks of `npm run check` that are ours: each sample that breaks a rule must be found. */
import { describe, expect, test } from "vitest";
import { findUpwardImports, readSources } from "../../scripts/import-direction.ts";
import { findLongFiles, findMachineTraces } from "../../scripts/tracked-files.ts";

describe("import direction", () => {
  const cases: [file: string, text: string, found: string | undefined][] = [
    ["delivery/worker.ts", 'import type { Lease } from "../queue/entry.ts";', undefined],
    ["main.ts", 'import { serve } from "./cli/serve.ts";', undefined],
    ["mail/reply.ts", 'export { x } from "../clock.ts";', undefined],
    ["delivery/worker.ts", 'import { z } from "zod";\nimport { pool } from "./pool.ts";', undefined],
    ["queue/entry.ts", 'import { open } from "../store/sqlite/open.ts";', "up from queue to store"],
    ["queue/entry.ts", 'import type {\n  A,\n  B,\n} from "../delivery/plan.ts";', "up from queue to delivery"],
    ["mail/reply.ts", 'export * from "../policy/facts.ts";', "up from mail to policy"],
    ["store/sqlite/a.ts", 'import "../../lookup/dns.ts";', "on one floor"],
    ["submission/listener.ts", 'const x = await import("../delivery/pool.ts");', "on one floor"],
    ["policy/facts.ts", 'export type X = import("../config/settings.ts").Settings;', "on one floor"],
    ["store/a.ts", 'new Worker(new URL("../delivery/worker.ts", import.meta.url));', "up from store to delivery"],
    ["cli/a.ts", 'import { x } from "../../test/support/relay.ts";', "outside src/"],
    ["cli/a.ts", '// import { x } from "../../test/support/relay.ts";\n/* import "../../x.ts" */', undefined],
    ["helpers/a.ts", "", "has no floor"],
    ["cli/a.ts", 'import { x } from "../helpers/a.ts";', "has no floor"],
  ];
  for (const [file, text, found] of cases)
    test(`${file}: ${text.replaceAll("\n", " ")} is ${found ?? "allowed"}`, () => {
      const problems = findUpwardImports([[file, text]]);
      if (found === undefined) expect(problems).toEqual([]);
      else expect(problems).toEqual([expect.stringContaining(found)]);
    });

  test("the tree itself points down", () => expect(findUpwardImports(readSources("src"))).toEqual([]));
});

describe("nothing of one machine", () => {
  // Put together here, so that this file does not hold what it forbids.
  const at = (...parts: string[]) => `/${parts.join("/")}`;
  const host = (...parts: string[]) => parts.join(".");
  const cases: [text: string, found: boolean][] = [
    [`see ${at("home", "jo", "notes")}`, true],
    [`cd "${at("work", "postern")}"`, true],
    [`const folder = '${at("root", ".cache")}'`, true],
    [`"resolved": "https://${host("registry", "npmjs", "org")}/zod"`, true],
    [`http://${host("deb", "example", "org")}/debian`, true],
    ["https://example.org/work/a", false],
    ["src/home/page.ts", false],
    ["registry.ts", false],
  ];
  for (const [text, found] of cases)
    test(`${text} is ${found ? "found" : "fine"}`, () => expect(findMachineTraces([["docs/a.md", text]])).toHaveLength(found ? 1 : 0));

  test("a lock file is left out", () => expect(findMachineTraces([["package-lock.json", at("home", "jo")]])).toEqual([]));
});

test("a long source is named", () => {
  expect(
    findLongFiles([
      ["src/a.ts", "\n".repeat(351)],
      ["src/b.ts", "\n".repeat(350)],
      ["docs/c.md", "\n".repeat(999)],
    ]),
  ).toEqual([expect.stringContaining("src/a.ts has 351 lines")]);
});
