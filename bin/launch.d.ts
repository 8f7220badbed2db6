/** Types of launch.js, which is JavaScript so that old versions of Node.js can read it. */
export const OLDEST: number[];
export function isNewEnough(version: string): boolean;
export function findOwnNode(root: string, exists?: (path: string) => boolean, list?: (folder: string) => string[]): string | undefined;
export function planLaunch(
  version: string,
  ownNode: string | undefined,
  isChild: boolean,
): { kind: "run" } | { kind: "restart"; node: string } | { kind: "refuse"; text: string };
export function isStartedByOldNode(): boolean;
export function restart(node: string, script: string, args: string[]): void;
export function followParent(): void;
export function isBuildFresh(root: string): boolean;
