/** The tables of docs/configuration.md: every key of the schema and every short name, as Markdown. */
import { environmentName } from "./environment.ts";
import { FRIENDLY_NAMES } from "./friendly-names.ts";
import { expectation, formatPath, type GroupKey, type Key, type Path, rootKey } from "./keys.ts";
import { LATER_NAMES, PEER_NAMES } from "./peers.ts";

/** Replaces what stands between `<!-- NAME: … -->` and `<!-- /NAME -->` by what the schema says today. */
export function updateReference(document: string): string {
  return replaceBetween(replaceBetween(document, "names", namesTable()), "keys", keysReference());
}

function replaceBetween(document: string, name: string, text: string): string {
  const pattern = new RegExp(`(<!-- ${name}:[^>]*-->\\n)[\\s\\S]*?(<!-- /${name} -->)`);
  if (!pattern.test(document)) throw new Error(`the document has no place for ${name}`);
  return document.replace(pattern, (_, start: string, end: string) => `${start}\n${text}\n${end}`);
}

function namesTable(): string {
  const rows = FRIENDLY_NAMES.map(({ name, meaning, keys }) => {
    const peers = PEER_NAMES.filter(
      ({ as }) => as === name || (as === "SECURITY_LEVEL" && (name === "TLS_FLOOR" || name === "RELAYHOST_TLS")),
    );
    const shown = [...new Set(peers.map(({ names }) => names.map((peer) => `\`${peer}\``).join("+")))].join(", ");
    return `| \`${name}\` | ${cell(meaning)} | \`${keys}\` | ${name === "MAILNAME" ? `${shown}, \`HOSTNAME\` if it has a dot` : shown} |`;
  });
  const later = LATER_NAMES.map(({ names, because }) => `| ${names.map((name) => `\`${name}\``).join(", ")} | ${cell(because)} |`);
  return [
    "| Name | Meaning | Key | Read as the same thing |",
    "|---|---|---|---|",
    ...rows,
    "",
    "Not available yet; where starting without would give less than was asked for, Postern refuses to start:",
    "",
    "| Name | Why |",
    "|---|---|",
    ...later,
    "",
  ].join("\n");
}

function keysReference(): string {
  return sections(rootKey, []).join("\n");
}

function sections(group: GroupKey, path: Path): string[] {
  const title = path.length === 0 ? "At the top" : `\`${formatPath(path).replaceAll("[0]", "[]").replace('["NAME"]', ".NAME")}\``;
  const values = [...group.keys].filter(([, key]) => inner(key) === undefined);
  const lines = [`### ${title}`, ""];
  if (group.description !== undefined) lines.push(`${group.description}.`, "");
  if (values.length > 0) {
    const first = values[0]?.[0] ?? "";
    lines.push(`Environment: \`${environmentName([...path, first])}\`${values.length > 1 ? " and so on" : ""}`, "");
    lines.push("| Key | Takes | Default | Meaning |", "|---|---|---|---|");
    for (const [name, key] of values)
      lines.push(`| \`${name}\` | ${cell(takes(key))} | ${defaultOf(key)} | ${cell(key.description ?? "")} |`);
    lines.push("");
  }
  for (const [name, key] of group.keys) {
    const child = inner(key);
    if (child === undefined) continue;
    const step = key.kind === "list" ? [name, 0] : key.kind === "table" ? [name, "NAME"] : [name];
    const own = sections({ ...child, ...(key.description === undefined ? {} : { description: described(key) }) }, [...path, ...step]);
    lines.push(...own);
  }
  return lines;
}

function described(key: Key): string {
  const text = key.description ?? "";
  if (key.kind !== "list" || !Array.isArray(key.default) || key.default.length === 0) return text;
  return `${text}. Default: ${key.default.map((item) => `\`${JSON.stringify(item)}\``).join(", ")}`;
}

/** The section inside a key, if it has one. */
function inner(key: Key): GroupKey | undefined {
  const child = key.kind === "list" ? key.item : key.kind === "table" ? key.value : key;
  return child.kind === "group" ? child : undefined;
}

function takes(key: Key): string {
  if (key.kind === "list") return `list of ${key.item.kind === "value" ? expectation(key.item).replace(/^a /, "") : "sections"}`;
  if (key.kind === "value" && key.type === "choice") return key.options.map((option) => `\`${option}\``).join(", ");
  if (key.kind === "value" && (key.type === "duration" || key.type === "size")) return key.type;
  return `${expectation(key)}${key.secret ? ", secret" : ""}`;
}

function defaultOf(key: Key): string {
  if (key.required) return "required";
  if (key.default === undefined) return "";
  return `\`${Array.isArray(key.default) ? `[${key.default.join(", ")}]` : typeof key.default === "string" ? key.default : JSON.stringify(key.default)}\``;
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("\n", " ");
}
