/**
 * The root's keys, which everything that DNSSEC proves hangs from (RFC 4033 §5): the file that the operator or Debian's
 * package dns-root-data brings in, a copy that unbound may write (RFC 5011) out. Without any there is no resolver, since
 * unbound would then serve without validating and say nothing.
 *
 * A later version of that file adds the keys that are new in it; what unbound has learned or revoked meanwhile stays.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { codeOf, messageOf } from "../thrown.ts";
import { ANCHOR_FILE } from "./managed-config.ts";

/** Debian's, Fedora's and unbound-anchor's own. */
const DEFAULT_ANCHORS: readonly string[] = [
  "/usr/share/dns/root.key",
  "/usr/share/dns/root.ds",
  "/usr/share/dnssec-trust-anchors/root.key",
  "/etc/unbound/root.key",
];

/** The source as it was when it was last taken over, with its path on the first line. */
const SOURCE_COPY = "root.key.source";

/** The root's DS and DNSKEY records in a zone-style file, one text for each, comments and TTL left out. */
export function readAnchors(text: string): readonly string[] {
  const records: string[] = [];
  for (const line of text.slice(0, 65_536).split("\n")) {
    const fields = line.replace(/;.*$/, "").trim().split(/\s+/);
    if (fields[0] !== ".") continue;
    const [type = "", ...data] = fields.slice(fields.findIndex((field, at) => at > 0 && !/^(\d+|IN)$/i.test(field)));
    if (/^DS$/i.test(type) && data.length >= 4 && /^[0-9a-f]+$/i.test(data.slice(3).join("")))
      records.push(`. IN DS ${data.slice(0, 3).join(" ")} ${data.slice(3).join("").toUpperCase()}`);
    else if (/^DNSKEY$/i.test(type) && data.length >= 4 && /^[0-9a-z+/=]+$/i.test(data.slice(3).join("")))
      records.push(`. IN DNSKEY ${data.slice(0, 3).join(" ")} ${data.slice(3).join("")}`);
  }
  return records;
}

/** What is to be appended to the copy: records that the new source has, the former one had not, and the copy has not. */
function newAnchors(copy: string, before: string, now: string): readonly string[] {
  const known = new Set([...readAnchors(copy), ...readAnchors(before)]);
  return readAnchors(now).filter((record) => !known.has(record));
}

/** `missing`: nothing on this machine has any. `failed`: a file that was named, or the folder, is of no use. Sentences with the remedy. */
export type AnchorState = { readonly kind: "ready" } | { readonly kind: "missing" | "failed"; readonly detail: string };

/** Makes the copy in `folder` fit to start with. */
export function prepareAnchor(folder: string, setting: string | undefined, defaults: readonly string[] = DEFAULT_ANCHORS): AnchorState {
  const copyPath = join(folder, ANCHOR_FILE);
  const sourcePath = join(folder, SOURCE_COPY);
  const copy = readIfThere(copyPath);
  const usable = copy !== undefined && readAnchors(copy).length > 0;
  const [formerPath = "", ...formerLines] = (readIfThere(sourcePath) ?? "").split("\n");
  const former = formerLines.join("\n");
  const source = findSource(setting, defaults);
  if (source.kind !== "found") return usable && (setting === undefined || setting === formerPath) ? { kind: "ready" } : source;
  const { path, text } = source;
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    // Another file is another choice: what was learned from the former root counts no more.
    if (!usable || formerPath !== path) replace(copyPath, text);
    else if (former !== text) {
      const added = newAnchors(copy, former, text);
      if (added.length > 0) replace(copyPath, `${copy.replace(/\n*$/, "\n")}${added.join("\n")}\n`);
    }
    if (formerPath !== path || former !== text) replace(sourcePath, `${path}\n${text}`);
    return { kind: "ready" };
  } catch (error) {
    return { kind: "failed", detail: `the root's keys cannot be copied to ${folder}: ${messageOf(error)}` };
  }
}

type Source = { readonly kind: "found"; readonly path: string; readonly text: string } | Exclude<AnchorState, { kind: "ready" }>;

function findSource(setting: string | undefined, defaults: readonly string[]): Source {
  for (const path of setting === undefined ? defaults : [setting]) {
    try {
      const text = readFileSync(path, "utf8");
      if (readAnchors(text).length > 0) return { kind: "found", path, text };
      if (setting !== undefined)
        return { kind: "failed", detail: `resolver.managed.trustAnchorFile: ${path} holds no DS or DNSKEY record of the root` };
    } catch (error) {
      const why = codeOf(error) ?? messageOf(error);
      if (setting !== undefined) return { kind: "failed", detail: `resolver.managed.trustAnchorFile: ${path} cannot be read (${why})` };
      // A process short of descriptors is no machine without the package.
      if (!["ENOENT", "ENOTDIR", "EACCES"].includes(why)) return { kind: "failed", detail: `${path} cannot be read (${why})` };
    }
  }
  return {
    kind: "missing",
    detail: "the root's DNSSEC keys are missing: install the package dns-root-data, or name a file in resolver.managed.trustAnchorFile",
  };
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** Whole or not at all: half a key file would keep the resolver from starting. */
function replace(path: string, text: string): void {
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}
