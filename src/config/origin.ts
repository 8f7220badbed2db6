/** Where a setting's value comes from, and what is wrong with one: the words that `config check` and `show` share. */
import type { Path } from "./keys.ts";

export type Origin =
  | { readonly kind: "default" }
  | { readonly kind: "file"; readonly file: string; readonly line: number }
  | { readonly kind: "environment"; readonly name: string }
  /** A name that other relays use, such as RELAY_HOST. */
  | { readonly kind: "compat"; readonly name: string }
  | { readonly kind: "set" };

/** One source's value for one path. */
export interface Assignment {
  readonly path: Path;
  readonly value: unknown;
  readonly origin: Origin;
}

export interface ConfigError {
  /** `submission.listeners[0].port`; empty when the fault is not in one key. */
  readonly path: string;
  readonly message: string;
  readonly file?: string;
  readonly line?: number;
  readonly column?: number;
  /** The environment variable or option that holds the faulty value. */
  readonly source?: string;
}

export function formatOrigin(origin: Origin): string {
  switch (origin.kind) {
    case "default":
      return "default";
    case "file":
      return `${origin.file}:${origin.line}`;
    case "environment":
      return `env ${origin.name}`;
    case "compat":
      return `compat ${origin.name}`;
    case "set":
      return "--set";
  }
}

/** `postern.yaml:14:3: tls.polcy: unknown key, did you mean "floor"?` */
export function formatConfigError(error: ConfigError): string {
  const place = error.file === undefined ? [] : [[error.file, error.line, error.column].filter((part) => part !== undefined).join(":")];
  const source = error.source === undefined ? [] : [error.source];
  const path = error.path === "" ? [] : [error.path];
  return [...place, ...source, ...path, error.message].join(": ");
}

/** The origins of a set of settings. What no source has set is a default. */
export class Origins {
  readonly #origins = new Map<string, Origin>();

  /** Records an origin for every value in `value`; what was known below the path is forgotten with the old value. */
  record(path: Path, value: unknown, originOf: (path: Path) => Origin): void {
    const prefix = JSON.stringify(path).slice(0, -1);
    for (const known of this.#origins.keys()) {
      if (known === `${prefix}]` || known.startsWith(`${prefix},`)) this.#origins.delete(known);
    }
    this.#recordTree(path, value, originOf);
  }

  #recordTree(path: Path, value: unknown, originOf: (path: Path) => Origin): void {
    if (Array.isArray(value)) {
      this.#origins.set(JSON.stringify(path), originOf(path));
      for (const [index, item] of value.entries()) this.#recordTree([...path, index], item, originOf);
    } else if (typeof value === "object" && value !== null && Object.keys(value).length > 0) {
      for (const [name, item] of Object.entries(value)) this.#recordTree([...path, name], item, originOf);
    } else {
      this.#origins.set(JSON.stringify(path), originOf(path));
    }
  }

  of(path: Path): Origin {
    return this.#origins.get(JSON.stringify(path)) ?? { kind: "default" };
  }

  /** The origin of the value, or of the nearest list around it, for values that are faulty as a whole. */
  around(path: Path): Origin {
    for (let length = path.length; length > 0; length--) {
      const origin = this.#origins.get(JSON.stringify(path.slice(0, length)));
      if (origin !== undefined) return origin;
    }
    return { kind: "default" };
  }

  /** Who wrote something in this section; a section has no origin of its own. */
  within(path: Path): Origin {
    const prefix = path.length === 0 ? "[" : `${JSON.stringify(path).slice(0, -1)},`;
    for (const [known, origin] of this.#origins) if (known.startsWith(prefix)) return origin;
    return { kind: "default" };
  }
}

export function samePath(a: Path, b: Path): boolean {
  return a.length === b.length && a.every((step, index) => step === b[index]);
}

/** True if one of the paths leads to the other. */
export function relatedPaths(a: Path, b: Path): boolean {
  const length = Math.min(a.length, b.length);
  return samePath(a.slice(0, length), b.slice(0, length));
}

/** Outer paths before inner ones, list items in their order. */
export function comparePaths(a: Path, b: Path): number {
  for (const [index, step] of a.entries()) {
    const other = b[index];
    if (other === undefined) return 1;
    if (step === other) continue;
    if (typeof step === "number" && typeof other === "number") return step - other;
    return String(step) < String(other) ? -1 : 1;
  }
  return a.length - b.length;
}
