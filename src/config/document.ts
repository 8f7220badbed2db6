/**
 * A YAML file as plain values, with the place of every key (YAML 1.2 core schema). Syntax errors are told in our own
 * words, because the library quotes the text it stumbled over and that may be a password.
 */
import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, type YAMLError } from "yaml";
import { formatPath, type Path } from "./keys.ts";

export interface Place {
  readonly line: number;
  readonly column: number;
}

export interface DocumentError extends Place {
  readonly path: Path;
  readonly message: string;
}

export interface ConfigDocument {
  /** Maps, lists and scalars as written. A key without a value is left out: it sets nothing. */
  readonly tree: Readonly<Record<string, unknown>>;
  readonly errors: readonly DocumentError[];
  /** False if the text is no YAML: then nothing is known of what it says. */
  readonly readable: boolean;
  /** Where the key with this path is written, or the nearest thing around it. */
  placeOf(path: Path): Place;
  /** Where the value with this path begins. */
  placeOfValue(path: Path): Place;
}

// Deeper than any setting, and the end of an alias that contains itself.
const MAX_DEPTH = 12;
const MAX_NODES = 100_000;

const SYNTAX: Readonly<Partial<Record<YAMLError["code"], string>>> = {
  BAD_INDENT: "the indentation of this line does not fit the lines around it, or a bracket or quote before it is not closed",
  TAB_AS_INDENT: "a tab is used as indentation; use spaces",
  BLOCK_AS_IMPLICIT_KEY: "a second `: ` in one line; put a value that contains `: ` in quotes",
  MULTILINE_IMPLICIT_KEY: "a line without `key: value` here, or a line before it that is not finished",
  BAD_SCALAR_START: "a value that begins with @ or ` needs quotes",
  BAD_DQ_ESCAPE: "an unknown \\ escape in double quotes; use single quotes for text with backslashes",
  BAD_ALIAS: "an * or & here; put a value that begins with one in quotes",
  MULTIPLE_DOCS: "a second document begins here (---); one file holds one configuration",
  MISSING_CHAR: "something is missing here or before: a closing quote or bracket, a comma, a colon",
  UNEXPECTED_TOKEN: "something here does not belong: a bracket, a quote, or text after a finished value",
  TAG_RESOLVE_FAILED: "an unknown !tag; put a value that begins with ! in quotes",
  BLOCK_IN_FLOW: "indented lines cannot stand inside brackets",
};

export function readDocument(text: string): ConfigDocument {
  const lines = new LineCounter();
  const parsed = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: false, version: "1.2", logLevel: "error" });
  const errors: DocumentError[] = [];
  const keyOffsets = new Map<string, number>();
  const valueOffsets = new Map<string, number>();
  let nodes = 0;

  function placeAt(offset: number): Place {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  }
  function report(offset: number, path: Path, message: string): void {
    errors.push({ ...placeAt(offset), path, message });
  }

  function valueOf(node: unknown, path: Path): unknown {
    if (path.length > MAX_DEPTH || ++nodes > MAX_NODES) {
      if (nodes <= MAX_NODES + 1)
        report((node as Node | null)?.range?.[0] ?? 0, path.slice(0, 2), "nested too deeply, or an alias that contains itself");
      return undefined;
    }
    if (isAlias(node)) {
      const target = node.resolve(parsed);
      if (target === undefined) report(node.range?.[0] ?? 0, path, SYNTAX.BAD_ALIAS ?? "");
      return target === undefined ? undefined : valueOf(target, path);
    }
    const offset = (node as Node | null)?.range?.[0];
    if (offset !== undefined && !valueOffsets.has(JSON.stringify(path))) valueOffsets.set(JSON.stringify(path), offset);
    if (isScalar(node)) return node.value ?? undefined;
    if (isSeq(node)) return node.items.map((item, index) => valueOf(item, [...path, index]) ?? null);
    if (isMap(node)) {
      const names = new Map<string, unknown>();
      for (const { key, value } of node.items) {
        const name = isScalar(key) ? String(key.value) : "?";
        const keyOffset = (key as Node).range?.[0] ?? 0;
        const keyPath = [...path, name];
        const known = keyOffsets.get(JSON.stringify(keyPath));
        if (names.has(name) && known !== undefined) {
          report(keyOffset, keyPath, `${formatPath([name])} is here twice, first in line ${placeAt(known).line}; keep one`);
          continue;
        }
        keyOffsets.set(JSON.stringify(keyPath), keyOffset);
        names.set(name, valueOf(value, keyPath));
      }
      // fromEntries defines own properties, so that a key named __proto__ is a key like any other.
      return Object.fromEntries([...names].filter(([, value]) => value !== undefined));
    }
    return undefined;
  }

  let tree: Readonly<Record<string, unknown>> = {};
  // An unknown tag is a warning to the library, and `!secret x` would become the text x.
  for (const error of [...parsed.errors, ...parsed.warnings])
    report(error.pos[0], [], SYNTAX[error.code] ?? `this is not YAML (${error.code})`);
  const readable = errors.length === 0;
  if (readable && parsed.contents !== null) {
    const value = valueOf(parsed.contents, []);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) tree = value as Record<string, unknown>;
    else if (value !== undefined)
      report(parsed.contents.range?.[0] ?? 0, [], "the file must consist of sections, like `log:` with `level: info` below it");
  }

  function nearestOffset(offsets: readonly ReadonlyMap<string, number>[], path: Path): Place {
    for (let length = path.length; length > 0; length--) {
      const at = JSON.stringify(path.slice(0, length));
      for (const map of offsets) {
        const offset = map.get(at);
        if (offset !== undefined) return placeAt(offset);
      }
    }
    return placeAt(0);
  }
  return {
    tree,
    errors,
    readable,
    placeOf: (path) => nearestOffset([keyOffsets, valueOffsets], path),
    placeOfValue: (path) => nearestOffset([valueOffsets, keyOffsets], path),
  };
}
