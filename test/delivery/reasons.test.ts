/** docs/reasons.md keeps pace with the reasons there are: logs, `queue why` and notices point into it. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { PROBLEMS } from "../../src/delivery/problems.ts";
import { settingsSchema } from "../../src/config/settings.ts";

const text = readFileSync(new URL("../../docs/reasons.md", import.meta.url), "utf8");
const sections = new Map(
  text
    .split(/^## /m)
    .slice(1)
    .map((section) => [section.slice(0, section.indexOf("\n")), section]),
);

describe("each reason has its anchor, its status, its meaning, who acts and what to do meanwhile", () => {
  for (const [type, { status }] of Object.entries(PROBLEMS))
    test(type, () => {
      const section = sections.get(type) ?? "";
      for (const label of ["**Meaning.**", "**Who acts.**", "**Meanwhile.**", status]) expect(section).toContain(label);
      // Where the receiver is the first to act, there is something to send them.
      if (/\*\*Who acts\.\*\* The receiver/.test(section)) expect(section).toContain("**Text to send.**");
    });
  test("and nothing else has one", () => expect([...sections.keys()].sort()).toEqual(Object.keys(PROBLEMS).sort()));
});

test("settings that are named exist", () => {
  const settings = settingsSchema.parse({}) as Record<string, unknown>;
  for (const [, path] of text.matchAll(/`((?:delivery|tls|resolver|submission)\.[A-Za-z.0-9]+)/g)) {
    const [section = "", ...rest] = (path ?? "").replace(/\.$/, "").split(".");
    let value: unknown = settings[section];
    for (const key of rest) {
      // Optional settings have no default; the schema knows them.
      if (["relayhost", "routes"].includes(key)) break;
      expect(value, path).toHaveProperty(key);
      value = (value as Record<string, unknown>)[key];
    }
  }
});
