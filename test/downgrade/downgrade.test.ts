/**
 * No way of stripping TLS gets mail below its floor (RFC 3207 §6, RFC 8460 §4.3): under `authenticated` a host whose TLS
 * was tampered with never hears MAIL, under `encrypted` it never hears MAIL in clear, and the reason is told.
 */
import { describe, expect, test } from "vitest";
import { ROWS, makeKit } from "./rows.ts";
import { FLOORS, runRow } from "./run-row.ts";

const kit = await makeKit();

describe.each(ROWS)("$name", (row) => {
  test.each(FLOORS)("under %s", async (floor) => {
    const result = await runRow(row, floor, kit);
    expect(result).toMatchObject({ verdict: row[floor], type: row.type });
    expect(result.detail).toMatch(row.detail);
    // What the receiver saw, whatever we think of it.
    const mails = result.heard.filter((line) => /MAIL|RCPT|DATA/.test(line));
    if (floor === "authenticated") expect(mails).toEqual([]);
    if (floor === "encrypted") expect(mails.filter((line) => line.startsWith("clear"))).toEqual([]);
    if (floor !== "opportunistic") expect(result.readableEnvelope).toBe(false);
  });

  test("the same host without the fault is delivered to", async () => {
    const result = await runRow(row, "authenticated", kit, "honest");
    expect(result.verdict).toBe("authenticated");
    expect(result.readableEnvelope).toBe(false);
  });
});
