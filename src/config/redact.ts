/** What may be shown of a configuration: secrets become `***`, wherever they are and whatever they are wrapped in. */
import { holdsSecret, type Key } from "./keys.ts";

export const HIDDEN = "***";

/** Hides the password in `scheme://name:password@host` and `name:password@host`. */
export function redactText(text: string): string {
  return text.replace(/([^\s/:@,"'[\]{}]+):([^\s]+)@(?=[^\s@]*(?:\s|$|["'\]},]))/g, `$1:${HIDDEN}@`);
}

/** Somebody's text within a message: redacted before it is cut, since a cut could part a password from its `@`. */
export function quote(text: string): string {
  return JSON.stringify(redactText(text).slice(0, 80));
}

/**
 * The value as it may be shown, with the same shape. `secrets` are hidden wherever they turn up: some providers want
 * one token as name and as password.
 */
export function redactValue(value: unknown, key: Key | undefined, secrets: readonly string[] = []): unknown {
  if (value === undefined || value === null) return value;
  if (key?.secret === true) return HIDDEN;
  if (typeof value === "string") {
    // Text where a section belongs may be `name:password` in any order: nothing of it can be trusted to be harmless.
    return key !== undefined && key.kind !== "value" && holdsSecret(key) ? HIDDEN : scrub(value, secrets);
  }
  if (Array.isArray(value)) return value.map((item) => redactValue(item, key?.kind === "list" ? key.item : undefined, secrets));
  if (typeof value === "object") {
    return Object.fromEntries(
      Object.entries(value).map(([name, item]) => [
        name,
        redactValue(item, key?.kind === "group" ? key.keys.get(name) : key?.kind === "table" ? key.value : undefined, secrets),
      ]),
    );
  }
  return value;
}

/** Every secret in a tree as written, so that messages can be searched for them. */
export function secretsIn(value: unknown, key: Key): string[] {
  if (key.secret) return typeof value === "string" || typeof value === "number" ? [String(value)] : [];
  if (Array.isArray(value) && key.kind === "list") return value.flatMap((item) => secretsIn(item, key.item));
  if (typeof value === "object" && value !== null && (key.kind === "group" || key.kind === "table")) {
    return Object.entries(value).flatMap(([name, item]) => {
      const child = key.kind === "group" ? key.keys.get(name) : key.value;
      return child === undefined ? [] : secretsIn(item, child);
    });
  }
  return [];
}

/** Takes known secrets out of a message. The last guard: messages are written so that none gets there. */
export function scrub(message: string, secrets: Iterable<string>): string {
  let text = redactText(message);
  // Shorter ones would blot out ordinary words, and no message quotes a value that its key marks as secret.
  for (const secret of secrets) if (secret.length >= 5) text = text.replaceAll(secret, HIDDEN);
  return text;
}
