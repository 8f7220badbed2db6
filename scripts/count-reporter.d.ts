interface Suite {
  errors(): readonly unknown[];
}
interface Module extends Suite {
  readonly children: {
    allTests(): Iterable<{ result(): { readonly state: string } }>;
    allSuites(): Iterable<Suite>;
  };
}
export function countResults(
  testModules: readonly Module[],
  unhandledErrors: readonly unknown[],
): { passed: number; failed: number; skipped: number };
