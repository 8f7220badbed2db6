/** Each rule of the list, broken in a copy, turns a test red; and the same tests are green on the copy as it is. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { mutations } from "./list.ts";
import { type Copy, copyProject, LANES, runTests, tryMutation } from "./run.ts";

const idle: Copy[] = [];
const waiting: ((copy: Copy) => void)[] = [];
beforeAll(() => {
  for (let lane = 0; lane < LANES; lane++) idle.push(copyProject());
});
afterAll(() => {
  for (const copy of idle) copy.remove();
});

async function inCopy<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const copy = idle.pop() ?? (await new Promise<Copy>((resolve) => waiting.push(resolve)));
  try {
    return await work(copy.folder);
  } finally {
    const next = waiting.shift();
    if (next === undefined) idle.push(copy);
    else next(copy);
  }
}

test("every mutation has a name of its own", () => {
  const names = mutations.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
});

test("the tests are green before anything is broken", async () => {
  // Files of which only some tests are wanted run apart: their other tests are not asked.
  const whole = new Set(mutations.filter(({ only }) => only === undefined).flatMap(({ tests }) => tests));
  expect(await inCopy((folder) => runTests({ tests: [...whole] }, folder))).toMatchObject({ kind: "survived" });
  const parts = new Map(
    mutations.flatMap((mutation) => (mutation.only === undefined ? [] : [[[mutation.only, ...mutation.tests].join(" "), mutation]])),
  );
  for (const part of parts.values()) expect(await inCopy((folder) => runTests(part, folder))).toMatchObject({ kind: "survived" });
});

describe.concurrent("a broken rule turns a test red", () => {
  for (const mutation of mutations)
    test(mutation.name, async ({ expect: expectHere }) => {
      const { kind, detail } = await inCopy((folder) => tryMutation(mutation, folder));
      expectHere(kind, `${mutation.because}, and ${mutation.tests.join(", ")} did not notice: ${detail}`).toBe("noticed");
    });
});
