/**
 * The schema as a tree of keys: which names there are, what each takes, and which values are secret. Environment names,
 * error texts, `config show` and the reference are all made from this tree, so that none of them can know another key
 * than the schema does.
 */
import { z } from "zod";
import { settingsSchema } from "./settings.ts";

interface Common {
  readonly description?: string;
  /** As it would be written in the file. */
  readonly default?: unknown;
  readonly required: boolean;
  readonly secret: boolean;
}

export type ValueType = "text" | "boolean" | "whole" | "number" | "choice" | "duration" | "size";

export interface ValueKey extends Common {
  readonly kind: "value";
  readonly type: ValueType;
  readonly options: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly above?: number;
}
export interface ListKey extends Common {
  readonly kind: "list";
  readonly item: Key;
}
/** Names that the operator chooses, each with a value: `tls.domains`. */
export interface TableKey extends Common {
  readonly kind: "table";
  readonly value: Key;
}
export interface GroupKey extends Common {
  readonly kind: "group";
  readonly keys: ReadonlyMap<string, Key>;
}
export type Key = ValueKey | ListKey | TableKey | GroupKey;

export type Path = readonly (string | number)[];

type JsonSchema = z.core.JSONSchema.BaseSchema;

export const rootKey: GroupKey = groupOf(z.toJSONSchema(settingsSchema, { io: "input" }), { required: true, secret: false });

function keyOf(schema: JsonSchema, required: boolean): Key {
  const common: Common = {
    required,
    secret: schema["secret"] === true,
    ...(schema.description === undefined ? {} : { description: schema.description }),
    ...(schema.default === undefined ? {} : { default: schema.default }),
  };
  if (schema["unit"] === "duration" || schema["unit"] === "size") {
    return { ...common, kind: "value", type: schema["unit"], options: [] };
  }
  switch (schema.type) {
    case "object":
      return schema.properties === undefined
        ? { ...common, kind: "table", value: keyOf(schemaIn(schema.additionalProperties), true) }
        : groupOf(schema, common);
    case "array":
      return { ...common, kind: "list", item: keyOf(schemaIn(schema.items), true) };
    case "string":
      return schema.enum === undefined
        ? { ...common, kind: "value", type: "text", options: [] }
        : { ...common, kind: "value", type: "choice", options: schema.enum.map(String) };
    case "boolean":
      return { ...common, kind: "value", type: "boolean", options: ["true", "false"] };
    case "integer":
    case "number":
      return {
        ...common,
        kind: "value",
        type: schema.type === "integer" ? "whole" : "number",
        options: [],
        ...(schema.minimum === undefined ? {} : { minimum: schema.minimum }),
        ...(typeof schema.exclusiveMinimum === "number" ? { above: schema.exclusiveMinimum } : {}),
        ...(schema.maximum === undefined || schema.maximum === Number.MAX_SAFE_INTEGER ? {} : { maximum: schema.maximum }),
      };
    default:
      if (schema.anyOf !== undefined && anyUnit(schema.anyOf) === "size") return { ...common, kind: "value", type: "size", options: [] };
      throw new Error(`the settings schema holds a kind of value that this tree does not know: ${JSON.stringify(schema)}`);
  }
}

function anyUnit(schemas: readonly z.core.JSONSchema._JSONSchema[]): unknown {
  return schemas.map((schema) => (typeof schema === "object" ? schema["unit"] : undefined)).find((unit) => unit !== undefined);
}

function groupOf(schema: JsonSchema, common: Common): GroupKey {
  const required = new Set(schema.required ?? []);
  const keys = Object.entries(schema.properties ?? {}).map(([name, value]) => [name, keyOf(schemaIn(value), required.has(name))] as const);
  return { ...common, kind: "group", keys: new Map(keys) };
}

function schemaIn(value: unknown): JsonSchema {
  if (typeof value !== "object" || value === null) throw new Error("the settings schema leaves something open");
  return value as JsonSchema;
}

/** The key one step down, or undefined if there is no such key. */
export function childOf(key: Key, step: string | number): Key | undefined {
  switch (key.kind) {
    case "group":
      return typeof step === "string" ? key.keys.get(step) : undefined;
    case "table":
      return typeof step === "string" ? key.value : undefined;
    case "list":
      return typeof step === "number" ? key.item : undefined;
    case "value":
      return undefined;
  }
}

export function keyAt(path: Path): Key | undefined {
  let key: Key | undefined = rootKey;
  for (const step of path) key = key === undefined ? undefined : childOf(key, step);
  return key;
}

/** True if the value there, or anything in it, must never be shown. */
export function holdsSecret(key: Key): boolean {
  switch (key.kind) {
    case "value":
      return key.secret;
    case "list":
      return key.secret || holdsSecret(key.item);
    case "table":
      return key.secret || holdsSecret(key.value);
    case "group":
      return key.secret || [...key.keys.values()].some(holdsSecret);
  }
}

/** What belongs there, in words that complete "expected …". */
export function expectation(key: Key): string {
  switch (key.kind) {
    case "group":
      return `a section with keys like ${[...key.keys.keys()].slice(0, 3).join(", ")}`;
    case "table":
      return "names, each with its own keys";
    case "list":
      return `a list, each item ${expectation(key.item)}`;
    case "value":
      return valueExpectation(key);
  }
}

function valueExpectation(key: ValueKey): string {
  switch (key.type) {
    case "text":
      return "text";
    case "boolean":
      return "true or false";
    case "choice":
      return `one of ${key.options.join(", ")}`;
    case "duration":
      return "a duration like 90s, 5m, 4h or 5d";
    case "size":
      return "a size like 256K, 25M or a number of octets";
    case "whole":
    case "number": {
      const noun = key.type === "whole" ? "a whole number" : "a number";
      const least = key.above === undefined ? key.minimum : key.type === "whole" ? key.above + 1 : undefined;
      if (least !== undefined && key.maximum !== undefined) return `${noun} from ${least} to ${key.maximum}`;
      if (least !== undefined) return `${noun}, ${least} or more`;
      return noun;
    }
  }
}

/** `submission.listeners[0].port`, `tls.domains["example.org"].floor`. */
export function formatPath(path: Path): string {
  let text = "";
  for (const step of path) {
    if (typeof step === "number") text += `[${step}]`;
    else if (/^[A-Za-z_][A-Za-z0-9_-]*$/.test(step)) text += text === "" ? step : `.${step}`;
    else text += `[${JSON.stringify(step)}]`;
  }
  return text;
}

/** Names are the same if they differ in case, hyphens and underscores only: `MESSAGE_SIZE` is `messageSize`. */
function sameName(a: string, b: string): boolean {
  return plainName(a) === plainName(b);
}

export function plainName(name: string): string {
  return name.replace(/[_-]/g, "").toLowerCase();
}

/** Every path whose last step is this name, written in whatever way, for "did you mean" across sections. */
export function pathsEndingIn(name: string, key: Key = rootKey, at: Path = []): Path[] {
  if (key.kind === "list") return pathsEndingIn(name, key.item, [...at, 0]);
  if (key.kind !== "group") return [];
  return [...key.keys].flatMap(([child, childKey]) => {
    const path = [...at, child];
    return [...(sameName(child, name) ? [path] : []), ...pathsEndingIn(name, childKey, path)];
  });
}

/** The one of these names that was probably meant, or undefined when none is near. */
export function nearest(name: string, names: Iterable<string>): string | undefined {
  const wanted = plainName(name);
  let best: string | undefined;
  // One slip in three letters is still a slip; more is another word.
  let bestDistance = Math.max(1, Math.floor(wanted.length / 3)) + 1;
  for (const candidate of names) {
    const plain = plainName(candidate);
    const isBeginning = wanted.length > 2 && (plain.startsWith(wanted) || (plain.length > 2 && wanted.startsWith(plain)));
    const distance = isBeginning ? Math.min(1, editDistance(wanted, plain)) : editDistance(wanted, plain);
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** Insertions, deletions, replacements and swaps of neighbours that turn one word into the other. */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1];
      let cost = Math.min((above[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1, (above[column - 1] ?? 0) + (same ? 0 : 1));
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]) {
        cost = Math.min(cost, (before[column - 2] ?? 0) + 1);
      }
      current.push(cost);
    }
    [before, above] = [above, current];
  }
  return above[b.length] ?? 0;
}
