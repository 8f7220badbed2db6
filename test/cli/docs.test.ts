import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { advise } from "../../src/admin/advice.ts";
import type { ProblemType } from "../../src/queue/settlement.ts";

// mailq prints the machine's zone, as Postfix does.
process.env["TZ"] = "UTC";
const { dkimExamples, examples, logExamples, policyExamples, reportExamples, startExample } = await import("./examples.ts");

const read = (name: string): string => readFileSync(fileURLToPath(new URL(`../../${name}`, import.meta.url)), "utf8");

/** Every `$ postern …` of a file's console blocks, with what stands under it. */
function shownCommands(text: string): { command: string; output: string }[] {
  return [...text.matchAll(/^```console\n\$ (.+)\n([\s\S]*?)^```$/gm)].map(([, command = "", output = ""]) => ({ command, output }));
}

describe("what the handbooks show is what the program prints", () => {
  for (const file of ["docs/queue.md", "docs/policy.md", "docs/tls-reports.md", "docs/dkim.md", "README.md"])
    for (const { command, output } of shownCommands(read(file))) {
      const expected =
        command === "npm start"
          ? startExample
          : (examples[command] ?? policyExamples[command] ?? reportExamples[command] ?? dkimExamples[command]);
      if (expected !== undefined) test(`${file}: ${command}`, () => expect(output).toBe(expected));
    }

  test("every example has its place in the queue handbook", () => {
    expect(shownCommands(read("docs/queue.md")).map(({ command }) => command)).toEqual(expect.arrayContaining(Object.keys(examples)));
  });

  test("and every one about policy in docs/policy.md", () => {
    expect(shownCommands(read("docs/policy.md")).map(({ command }) => command)).toEqual(Object.keys(policyExamples));
  });

  test("and those about TLS reports and keys in docs/tls-reports.md and docs/dkim.md", () => {
    expect(shownCommands(read("docs/tls-reports.md")).map(({ command }) => command)).toEqual(Object.keys(reportExamples));
    expect(shownCommands(read("docs/dkim.md")).map(({ command }) => command)).toEqual(Object.keys(dkimExamples));
  });

  test("docs/logging.md shows real lines", () => {
    for (const line of logExamples) expect(read("docs/logging.md")).toContain(`${line}\n`);
  });
});

test("every reason that advice links to is explained in docs/reasons.md", () => {
  const reasons = read("docs/reasons.md");
  const source = read("src/queue/settlement.ts") + read("src/policy/outcome.ts");
  const types = [...source.matchAll(/^ {2}\| "([a-z0-9-]+)"/gm)].map(([, type]) => type as ProblemType);
  expect(types.length).toBeGreaterThan(25);
  for (const type of types) {
    const { docs } = advise({ type, detail: "", whoActs: "nobody", status: "4.0.0" }, { nextHop: "example.org", waits: true });
    expect(reasons).toContain(`\n## ${docs.split("#")[1]}\n`);
  }
});

test("links between the documents lead somewhere", () => {
  for (const file of [
    "README.md",
    "CONTRIBUTING.md",
    "docs/queue.md",
    "docs/policy.md",
    "docs/logging.md",
    "docs/getting-started.md",
    "docs/tls-reports.md",
    "docs/dkim.md",
  ]) {
    const folder = new URL(`../../${file}`, import.meta.url);
    for (const [, target = ""] of read(file).matchAll(/\]\(([^)#]+)[^)]*\)/g)) {
      if (target.startsWith("http")) continue;
      expect(() => readFileSync(new URL(target, folder)), `${file}: ${target}`).not.toThrow();
    }
  }
});
