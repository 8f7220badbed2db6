/** docs/standards.md promises a test for every rule: each file named there is there, and says the words that are quoted from it. */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const top = fileURLToPath(new URL("../..", import.meta.url));
const text = readFileSync(`${top}/docs/standards.md`, "utf8");

interface Quotation {
  readonly file: string;
  readonly words: readonly string[];
}

interface Row {
  readonly heading: string;
  readonly cells: readonly string[];
}

/** The rows of all tables, without their heads, with the heading they stand under. */
function rowsOf(document: string): Row[] {
  const rows: Row[] = [];
  let heading = "";
  let inBody = false;
  for (const line of document.split("\n")) {
    if (line.startsWith("## ")) heading = line.slice(3);
    if (!line.startsWith("|")) inBody = false;
    else if (/^\|[ |-]+\|$/.test(line)) inBody = true;
    else if (inBody)
      rows.push({
        heading,
        cells: line
          .slice(1, -1)
          .split("|")
          .map((cell) => cell.trim()),
      });
  }
  return rows;
}

/** `` `test/a.test.ts` "one", "two"; `test/b.ts` "three" `` */
function quotationsOf(cell: string): Quotation[] {
  return [...cell.matchAll(/`([^`]+)`((?:[ ,]+"[^"]+")*)(?:; |$)/g)].map(([, file = "", quoted = ""]) => ({
    file,
    words: [...quoted.matchAll(/"([^"]+)"/g)].map(([, words = ""]) => words),
  }));
}

/** Without its comments: what only a comment says is checked by nobody. */
function codeOf(source: string): string {
  return source
    .split("\n")
    .filter((line) => !/^\s*(\/\/|\/?\*)/.test(line))
    .join("\n");
}

const rows = rowsOf(text);
const rules = rows.filter(({ heading }) => heading !== "Not done on purpose");

describe("every rule names its tests", () => {
  for (const { heading, cells } of rules)
    test(`${heading}: ${cells[0]} ${cells[1]?.slice(0, 60)}`, () => {
      expect(cells).toHaveLength(4);
      const [, , , tests = ""] = cells;
      const quotations = quotationsOf(tests);
      // Nothing in the cell went unread.
      const read = quotations.map(({ file, words }) => `\`${file}\` ${words.map((one) => `"${one}"`).join(", ")}`).join("; ");
      expect(read).toBe(tests);
      for (const { file, words } of quotations) {
        expect(file).toMatch(/^test\/.+\.ts$/);
        const source = codeOf(readFileSync(`${top}/${file}`, "utf8"));
        expect(words.length, file).toBeGreaterThan(0);
        for (const one of words) expect(source.includes(one), `${file} says ${JSON.stringify(one)}`).toBe(true);
      }
    });

  test("and there are rules of every standard", () => {
    expect(rules.length).toBeGreaterThan(70);
    for (const rfc of ["8461", "7672", "7671", "6698", "8689", "3207", "6125", "9525", "8460", "6376", "8463", "5321", "7505"])
      expect(text).toContain(`RFC ${rfc}`);
  });
});

test("what is not done has its reason, and no file that is not there", () => {
  const leftOut = rows.filter(({ heading }) => heading === "Not done on purpose");
  expect(leftOut.length).toBeGreaterThan(5);
  for (const { cells } of leftOut) {
    expect(cells).toHaveLength(2);
    expect(cells[1]?.length).toBeGreaterThan(15);
  }
  for (const [, file = ""] of text.matchAll(/`(test\/[^`]+\.ts)`/g)) expect(existsSync(`${top}/${file}`), file).toBe(true);
});

test("links lead somewhere", () => {
  for (const [, target = ""] of text.matchAll(/\]\(([^)#]+)/g)) expect(existsSync(`${top}/docs/${target}`), target).toBe(true);
});
