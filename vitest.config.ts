/**
 * Three projects, one after the other: the rooms' tests, two files at a time; the mutations, which run tests of the rooms
 * themselves, in two copies; the system tests and the lab, one file at a time, since those start whole relays and
 * receivers and would only measure each other's noise.
 */
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    pool: "forks",
    projects: [
      {
        extends: true,
        test: {
          name: "rooms",
          include: ["test/**/*.test.ts"],
          exclude: ["test/system/**", "test/lab/**", "test/mutations/**"],
          maxWorkers: 2,
          testTimeout: 20_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: "mutations",
          include: ["test/mutations/**/*.test.ts"],
          maxWorkers: 1,
          // Twice the longest run: one may wait for the other's copy.
          testTimeout: 300_000,
          hookTimeout: 60_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: "system",
          include: ["test/system/**/*.test.ts", "test/lab/**/*.test.ts"],
          maxWorkers: 1,
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 60_000,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
