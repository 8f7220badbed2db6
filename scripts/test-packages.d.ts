export interface TestPackage {
  readonly name: string;
  /** A program it brings, or a file. */
  readonly command?: string;
  readonly file?: string;
  readonly why: string;
  readonly unpackedAs?: string;
  readonly user?: string;
  readonly also?: readonly string[];
}
export const testPackages: readonly TestPackage[];
export function findCommand(command: string): string | undefined;
export function unpackedFolder(name: string): string;
export function missingPackages(packages?: readonly TestPackage[]): TestPackage[];
export function explainMissing(missing: readonly TestPackage[]): string;
export function ensureTestPackages(): string[];
