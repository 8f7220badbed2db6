/** Values by path in a tree of maps and lists: what the sources are merged into before the schema judges it. */
import { childOf, type Key, type Path, rootKey } from "./keys.ts";

export type Tree = Record<string, unknown>;

/** The value of an own key; never what every object inherits. */
export function stepInto(value: unknown, step: string | number): unknown {
  if (typeof value !== "object" || value === null) return undefined;
  return Object.hasOwn(value, step) ? (value as Record<string | number, unknown>)[step] : undefined;
}

export function valueAt(tree: unknown, path: Path): unknown {
  return path.reduce(stepInto, tree);
}

function put(container: object, step: string | number, value: unknown): void {
  Object.defineProperty(container, step, { value, writable: true, enumerable: true, configurable: true });
}

/**
 * Sets the value at a path. Where a list is reached into that no source has set, its default is what gets changed.
 * Returns the fault when the path leads beyond the end of a list, or through something that is neither map nor list.
 */
export function setAt(tree: Tree, path: Path, value: unknown): string | undefined {
  let container: object = tree;
  let key: Key | undefined = rootKey;
  for (const [index, step] of path.entries()) {
    key = key === undefined ? undefined : childOf(key, step);
    if (Array.isArray(container) && (typeof step !== "number" || step > container.length)) {
      return `the list has ${container.length} items so far, numbered from 0; the next one is ${container.length}`;
    }
    if (index === path.length - 1) {
      put(container, step, value);
      return undefined;
    }
    let next = stepInto(container, step);
    if (next === undefined) {
      next = key?.kind === "list" ? structuredClone(key.default ?? []) : {};
      put(container, step, next);
    }
    if (typeof next !== "object" || next === null) return "what is set around it is no section";
    container = next;
  }
  return undefined;
}

export function removeAt(tree: Tree, path: Path): void {
  const container = valueAt(tree, path.slice(0, -1));
  const last = path.at(-1);
  if (typeof container === "object" && container !== null && last !== undefined) Reflect.deleteProperty(container, last);
}

/** Some value that the schema takes, so that a faulty one does not hide the faults of its neighbours. */
export function placeholderFor(key: Key): unknown {
  switch (key.kind) {
    case "list":
      return [placeholderFor(key.item)];
    case "table":
      return {};
    case "group":
      return Object.fromEntries([...key.keys].filter(([, child]) => child.required).map(([name, child]) => [name, placeholderFor(child)]));
    case "value":
      switch (key.type) {
        case "text":
          return "placeholder.invalid";
        case "boolean":
          return false;
        case "choice":
          return key.options[0];
        case "duration":
          return "1m";
        case "size":
          return "1M";
        case "whole":
        case "number":
          return key.minimum ?? (key.above ?? 0) + 1;
      }
  }
}
