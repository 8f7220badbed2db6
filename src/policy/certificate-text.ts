/** What stands in a certificate, in words for people: clean, bounded, on one line. */
import { cleanText } from "../mail/reply.ts";

/** A name of a certificate on one line, clean. */
export function oneLine(name: string | undefined): string {
  return cleanText((name ?? "").split("\n").join(", "), 200);
}

/** `2026-08-30 11:02 UTC`, for people. */
export function day(text: string): string {
  const time = Date.parse(text);
  if (Number.isNaN(time)) return cleanText(text, 40);
  return new Date(time).toISOString().replace(/^(\S{10})T(\d\d:\d\d):.*$/, "$1 $2 UTC");
}
