/** Times, sizes and tables as people read them. Pure: values in, text out. Every foreign text passes `shown` on its way. */
import { cleanText } from "../mail/reply.ts";

/** Text for a terminal: no control, no escape sequence, no direction mark gets through. */
export function shown(text: string, limit = 500): string {
  return cleanText(text, limit);
}

/** `41s`, `5m`, `2h 10m`, `2d 3h`: two units at most. */
export function describeSpan(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 === 0 ? `${hours}h` : `${hours}h ${minutes % 60}m`;
  return hours % 24 === 0 ? `${Math.floor(hours / 24)}d` : `${Math.floor(hours / 24)}d ${hours % 24}h`;
}

/** `410 B`, `14 KB`, `2.1 MB`. */
export function describeSize(octets: number): string {
  if (octets < 1024) return `${octets} B`;
  if (octets < 1024 ** 2) return `${Math.round(octets / 1024)} KB`;
  return octets < 1024 ** 3 ? `${(octets / 1024 ** 2).toFixed(1)} MB` : `${(octets / 1024 ** 3).toFixed(1)} GB`;
}

/** `2026-09-01 08:14:09`, in UTC like the log. */
export function describeTime(time: number): string {
  return new Date(time).toISOString().slice(0, 19).replace("T", " ");
}

/** `2026-09-08 22:10 UTC`. */
export function describeMinute(time: number): string {
  return `${describeTime(time).slice(0, 16)} UTC`;
}

/** The time alone on the same day, else with its date. */
export function describeTimeNear(time: number, now: number): string {
  const text = describeTime(time);
  return text.slice(0, 10) === describeTime(now).slice(0, 10) ? text.slice(11) : text;
}

/** A listener's TLS as it is offered. */
export function describeListenerTls({ tls, lacksCertificate }: { readonly tls: string; readonly lacksCertificate?: true }): string {
  return lacksCertificate === true ? "none, for want of a certificate" : shown(tls);
}

/** `in 7m`, `due now`. */
export function describeWait(time: number, now: number): string {
  return time <= now ? "due now" : `in ${describeSpan(time - now)}`;
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

export interface Column {
  readonly title: string;
  readonly align?: "right";
  /** Longer text wraps, at blanks where there are any. */
  readonly wrap?: number;
}

/** Columns two blanks apart; a cell may take several lines; no blanks at line ends. */
export function renderTable(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const cells = [
    columns.map((column) => [column.title]),
    ...rows.map((row) => columns.map((column, at) => wrapText(row[at] ?? "", column.wrap))),
  ];
  const widths = columns.map((_column, at) => Math.max(...cells.map((row) => Math.max(0, ...(row[at] ?? []).map((line) => line.length)))));
  const lines: string[] = [];
  for (const row of cells) {
    const height = Math.max(...row.map((cell) => cell.length));
    for (let line = 0; line < height; line++) {
      const parts = columns.map((column, at) => {
        const text = row[at]?.[line] ?? "";
        return column.align === "right" ? text.padStart(widths[at] ?? 0) : text.padEnd(widths[at] ?? 0);
      });
      lines.push(parts.join("  ").trimEnd());
    }
  }
  return `${lines.join("\n")}\n`;
}

/** At most `lines` lines of `width` characters; what does not fit ends in an ellipsis. */
export function wrapText(text: string, width = Number.POSITIVE_INFINITY, lines = 3): string[] {
  const result: string[] = [];
  let rest = text;
  while (rest.length > width && result.length < lines - 1) {
    const blank = rest.lastIndexOf(" ", width);
    const end = blank > width / 3 ? blank : width;
    result.push(rest.slice(0, end).trimEnd());
    rest = rest.slice(end).trimStart();
  }
  result.push(rest.length > width ? `${rest.slice(0, width - 1)}…` : rest);
  return result;
}

/** A card: a label, then its text; further lines stand under the first. */
export function renderFields(fields: readonly (readonly [label: string, lines: readonly string[]])[], labelWidth = 10): string {
  return fields
    .filter(([, lines]) => lines.length > 0)
    .map(([label, lines]) => lines.map((line, at) => `${(at === 0 ? label : "").padEnd(labelWidth)} ${line}`.trimEnd()).join("\n"))
    .map((text) => `${text}\n`)
    .join("");
}

/** JSON for programs, harmless on a terminal too: what JSON leaves bare beyond the C0 controls is escaped. */
export function renderJson(value: unknown): string {
  return harmless(JSON.stringify(value, undefined, 2));
}

/** The same on one line, for answers that come in pieces. */
export function renderJsonLine(value: unknown): string {
  return harmless(JSON.stringify(value));
}

function harmless(text: string): string {
  return `${text.replace(/[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`)}\n`;
}
