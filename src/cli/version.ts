/** The version, as package.json says it. */
import { readFileSync } from "node:fs";

export function readVersion(): string {
  // The same two steps up from src/cli and from dist/cli.
  const file = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version?: unknown };
  return typeof file.version === "string" ? file.version : "unknown";
}
