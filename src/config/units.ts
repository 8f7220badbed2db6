/** Human units in the configuration: `5m`, `25M`. Text in, milliseconds or octets out, and back for people to read. */
import { z } from "zod";

const DURATION_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const SIZE_UNITS: Readonly<Record<string, number>> = { "": 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 };

/** `90s`, `5m`, `4h`, `5d`, also `1h30m`; milliseconds out. */
export function parseDuration(text: string): number | undefined {
  if (!/^(?:\d+(?:ms|s|m|h|d))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+)(ms|s|m|h|d)/g)) total += Number(amount) * (DURATION_UNITS[unit ?? ""] ?? 0);
  return total;
}

/** `26214400`, `256K`, `25M`, `1G` (powers of 1024); octets out. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+)\s*([kmg]?)(?:i?b)?$/i.exec(text);
  return match === null ? undefined : Number(match[1]) * (SIZE_UNITS[(match[2] ?? "").toLowerCase()] ?? 1);
}

/** The shortest text that `parseDuration` reads as these milliseconds: `90000` is `1m30s`. */
export function formatDuration(milliseconds: number): string {
  let rest = milliseconds;
  let text = "";
  for (const unit of ["d", "h", "m", "s", "ms"]) {
    const length = DURATION_UNITS[unit] ?? 1;
    const amount = Math.floor(rest / length);
    if (amount > 0) text += `${amount}${unit}`;
    rest -= amount * length;
  }
  return text === "" ? "0s" : text;
}

/** The shortest text that `parseSize` reads as these octets: `26214400` is `25M`. */
export function formatSize(octets: number): string {
  for (const unit of ["g", "m", "k"]) {
    const length = SIZE_UNITS[unit] ?? 1;
    if (octets >= length && octets % length === 0) return `${octets / length}${unit.toUpperCase()}`;
  }
  return String(octets);
}

/** A duration as it is written. `unit` tells the reader of the schema what the text stands for. */
export const durationText = z
  .string()
  .regex(/^(?:\d+(?:ms|s|m|h|d))+$/, "a duration like 90s, 5m, 4h or 5d")
  .meta({ unit: "duration" });

export function duration(fallback: string) {
  return durationText.default(fallback).transform((text) => parseDuration(text) ?? 0);
}

export function size(fallback: string) {
  return z
    .union([z.int().nonnegative(), z.string().regex(/^\d+\s*[kmgKMG]?(?:[iI]?[bB])?$/, "a size like 256K, 25M or a number of octets")])
    .meta({ unit: "size" })
    .default(fallback)
    .transform((value) => (typeof value === "number" ? value : (parseSize(value) ?? 0)));
}
