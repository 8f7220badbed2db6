/** One rule of published policy, broken in one line, and the tests that are to notice. Trying it is test/mutations/run.ts. */
export interface Mutation {
  /** What the relay does wrong now: `DANE off: a match is not demanded`. */
  readonly name: string;
  readonly file: string;
  /** Stands in the file exactly once. */
  readonly from: string;
  readonly to: string;
  /** The smallest files that notice. */
  readonly tests: readonly string[];
  /** Of slow files only the tests whose names match this (`--testNamePattern`). */
  readonly only?: string;
  /** What an attacker or a fault would gain. */
  readonly because: string;
}
