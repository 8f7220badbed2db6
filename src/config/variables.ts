/** Environment variables as the sources of text: `X`, or the file that `X_FILE` names, and what their text stands for. */
import { parse } from "yaml";
import { expectation, type Key } from "./keys.ts";
import { bad, good, type Parsed } from "../mail/parsed.ts";
import { whyUnreadable } from "./unreadable.ts";

export type Environment = Readonly<Record<string, string | undefined>>;
export type ReadFile = (path: string) => string;

export interface Variable {
  /** The variable that was set: `RELAYHOST_PASSWORD_FILE` when the text came from a file. */
  readonly name: string;
  readonly text: string;
}

/** `X`, or the content of the file in `X_FILE`; both at once are refused. Empty means unset. */
export function readVariable(name: string, environment: Environment, readFile: ReadFile): Parsed<Variable | undefined> {
  const text = environment[name] ?? "";
  const fileName = `${name}_FILE`;
  const file = environment[fileName] ?? "";
  if (text !== "" && file !== "") return bad(`${name} and ${fileName} are both set; keep one`);
  if (file !== "") return readVariableFile(fileName, file, readFile);
  return good(text === "" ? undefined : { name, text });
}

export function readVariableFile(name: string, file: string, readFile: ReadFile): Parsed<Variable | undefined> {
  try {
    // Editors and `echo` end a file with one newline, which is no part of a password; a second one may be.
    const text = readFile(file).replace(/\r?\n$/, "");
    return good(text === "" ? undefined : { name, text });
  } catch (error) {
    return bad(`${name} names a file that cannot be read (${whyUnreadable(error)})`);
  }
}

const YES = /^(?:true|yes|on|y|1)$/i;
const NO = /^(?:false|no|off|n|0)$/i;

export function parseSwitch(text: string): boolean | undefined {
  return YES.test(text.trim()) ? true : NO.test(text.trim()) ? false : undefined;
}

/** Text of a variable or option as the value of a key. What cannot be read stays text, and fails as such later. */
export function valueFromText(text: string, key: Key): Parsed<unknown> {
  switch (key.kind) {
    case "value": {
      const trimmed = key.secret ? text : text.trim();
      if (key.type === "boolean") return good(parseSwitch(trimmed) ?? trimmed);
      if (key.type === "whole" || key.type === "number") return good(/^-?\d+(?:\.\d+)?$/.test(trimmed) ? Number(trimmed) : trimmed);
      if (key.type === "choice") return good(key.options.find((option) => option === trimmed.toLowerCase()) ?? trimmed);
      return good(trimmed);
    }
    case "list": {
      if (key.item.kind !== "value") return flowFromText(text, key);
      const { item } = key;
      if (text.trim() === "[]") return good([]);
      const flow = /^\[.*\]$/s.test(text.trim()) ? flowFromText(text, key) : undefined;
      // [::1]:53, [2001:db8::1]:53 has brackets at its ends only by chance.
      const items = flow?.ok === true && Array.isArray(flow.value) ? flow.value.map(String) : splitList(text);
      const values: unknown[] = [];
      for (const one of items) {
        const value = valueFromText(one, item);
        if (!value.ok) return value;
        values.push(value.value);
      }
      return good(values);
    }
    case "table":
    case "group":
      return flowFromText(text, key);
  }
}

/** Domains and networks, split at commas and white space. */
export function splitList(text: string): string[] {
  return text.split(/[\s,]+/).filter((item) => item !== "");
}

function flowFromText(text: string, key: Key): Parsed<unknown> {
  const expected = `expected ${expectation(key)}, as YAML or JSON text`;
  try {
    const value: unknown = parse(text, { prettyErrors: false, logLevel: "error" });
    return typeof value === "object" && value !== null ? good(value) : bad(expected);
  } catch {
    return bad(expected);
  }
}
