/**
 * A vitest reporter that says nothing and counts: passed, failed, skipped. scripts/test.js prints the counts as the
 * last line. A file that could not be loaded, and an error outside any test, count as failures: they hide tests.
 */
import { writeFileSync } from "node:fs";

export function countResults(testModules, unhandledErrors) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const module of testModules) {
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      // A test that never ended is no success.
      counts[state === "pending" ? "failed" : state] += 1;
    }
    const broken = [module, ...module.children.allSuites()].filter((suite) => suite.errors().length > 0);
    counts.failed += broken.length;
  }
  counts.failed += unhandledErrors.length;
  return counts;
}

export default class CountReporter {
  onTestRunEnd(testModules, unhandledErrors) {
    const file = process.env.POSTERN_TEST_COUNTS;
    if (file !== undefined) writeFileSync(file, JSON.stringify(countResults(testModules, unhandledErrors)));
  }
}
