/** Human units in the configuration: `5m`, `25M`. Text in, milliseconds or octets out. */
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

export function duration(fallback: string) {
  return z
    .string()
    .regex(/^(?:\d+(?:ms|s|m|h|d))+$/, "a duration like 90s, 5m, 4h or 5d")
    .default(fallback)
    .transform((text) => parseDuration(text) ?? 0);
}

export function size(fallback: string) {
  return z
    .union([z.int().nonnegative(), z.string().regex(/^\d+\s*[kmgKMG]?(?:[iI]?[bB])?$/, "a size like 256K, 25M or a number of octets")])
    .default(fallback)
    .transform((value) => (typeof value === "number" ? value : (parseSize(value) ?? 0)));
}
