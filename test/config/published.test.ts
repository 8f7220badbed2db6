/** What is published about the configuration is what the schema says today. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { configJsonSchema, configJsonSchemaText } from "../../src/config/json-schema.ts";
import { type Key, keyAt, rootKey } from "../../src/config/keys.ts";
import { updateReference } from "../../src/config/reference.ts";
import { formatDuration, formatSize, parseDuration, parseSize } from "../../src/config/units.ts";
import { faults, shown } from "./support.ts";

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
const example = read("config/postern.example.yaml");
const PEM = { "/etc/postern/fullchain.pem": "-----BEGIN CERTIFICATE-----", "/etc/postern/privkey.pem": "-----BEGIN PRIVATE KEY-----" };

describe("the example file", () => {
  test("names its schema in line 1", () => expect(example.split("\n")[0]).toBe("# yaml-language-server: $schema=./postern.schema.json"));
  test("loads as it is", () => expect(faults({ file: example })).toEqual([]));
  test("changes nothing as it is", () =>
    expect(shown({ file: example }).replaceAll(/ +# .*/g, "")).toBe(shown({}).replaceAll(/ +# .*/g, "")));
  test("loads with every commented key in force", () => {
    const all = example.replaceAll(/^( *)#(?=[A-Za-z.-])/gm, "$1");
    expect(all).not.toBe(example);
    expect(faults({ file: all, files: PEM })).toEqual([]);
    expect(parse(all)).toMatchObject({ mailname: "mail.example.com", delivery: { relayhost: { port: 587 } }, users: [{ name: "shop" }] });
  });
});

describe("the JSON Schema", () => {
  test("is written anew when settings change: node scripts/generate-docs.js", () =>
    expect(read("config/postern.schema.json")).toBe(configJsonSchemaText()));
  test("has its id, title and draft", () =>
    expect(configJsonSchema()).toMatchObject({
      $schema: "https://json-schema.org/draft/2020-12/schema",
      $id: "urn:postern:configuration",
      title: "Postern",
    }));
  test("refuses unknown keys, and marks secrets", () => {
    expect(configJsonSchema()).toMatchObject({
      additionalProperties: false,
      properties: { users: { items: { properties: { password: { writeOnly: true } } } } },
    });
  });
  test("holds nothing of our own in it", () => expect(configJsonSchemaText()).not.toMatch(/"(?:unit|secret)"/));
});

describe("the reference", () => {
  const document = read("docs/configuration.md");
  test("is written anew when settings change: node scripts/generate-docs.js", () => expect(document).toBe(updateReference(document)));
  test("every key has its meaning", () => {
    const silent: string[] = [];
    const walk = (key: Key, path: string): void => {
      if (key.description === undefined && path !== "" && !path.endsWith("[]") && !path.endsWith(".*")) silent.push(path);
      if (key.kind === "group") for (const [name, child] of key.keys) walk(child, path === "" ? name : `${path}.${name}`);
      if (key.kind === "list") walk(key.item, `${path}[]`);
      if (key.kind === "table") walk(key.value, `${path}.*`);
    };
    walk(rootKey, "");
    expect(silent).toEqual([]);
  });
  test("every key that the introduction names is there", () => {
    const intro = document.slice(0, document.indexOf("## All keys"));
    const named = [...intro.matchAll(/`((?:data|submission|delivery|tls|resolver|log)\.[A-Za-z.]+[a-z])(?:\[\]\.tls)?`/g)].map(
      (match) => match[1] ?? "",
    );
    expect(named.length).toBeGreaterThan(20);
    for (const path of named) expect(keyAt(path.split(".")), path).toBeDefined();
  });
  test("a key of the schema that is missing from it is noticed", () => expect(document).toContain("| `recipientsPerHourPerUser` |"));
});

describe("units", () => {
  for (const [text, value] of [
    ["90s", 90_000],
    ["1h30m", 5_400_000],
    ["5d", 432_000_000],
    ["250ms", 250],
    ["0s", 0],
  ] as const) {
    test(text, () => {
      expect(parseDuration(text)).toBe(value);
      expect(parseDuration(formatDuration(value))).toBe(value);
    });
  }
  for (const [text, value] of [
    ["25M", 26_214_400],
    ["256k", 262_144],
    ["1 GiB", 1024 ** 3],
    ["1000", 1000],
    ["0", 0],
  ] as const) {
    test(text, () => {
      expect(parseSize(text)).toBe(value);
      expect(parseSize(formatSize(value))).toBe(value);
    });
  }
  for (const text of ["", "5", "5 m", "m5", "-5m", "5w"]) test(`${text} is no duration`, () => expect(parseDuration(text)).toBeUndefined());
});
