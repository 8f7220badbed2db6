/**
 * No way of stripping TLS gets mail below what is demanded, by the operator, by an MTA-STS policy or by TLSA records (RFC 3207 §6,
 * RFC 8461 §5, RFC 7672 §2.2, RFC 8460 §4.3): where a proof is demanded a host whose TLS was tampered with never hears
 * MAIL, where TLS is demanded it never hears MAIL in clear, and the reason is told.
 */
import { describe, expect, test } from "vitest";
import { ROWS, makeKit } from "./rows.ts";
import { DEMANDS, expectedVerdict, runRow } from "./run-row.ts";

const kit = await makeKit();
const PROVING = ["authenticated", "mta-sts", "dane"] as const;

describe.each(ROWS)("$name", (row) => {
  test.each(DEMANDS)("under %s", async (demand) => {
    const result = await runRow(row, demand, kit);
    const proving = PROVING.some((one) => one === demand);
    // A key that is not the one in DNS has one word, whatever else is wrong with its certificate.
    const mismatch = demand === "dane" && result.heard.includes("tls QUIT");
    expect(result).toMatchObject({ verdict: expectedVerdict(row, demand), type: mismatch ? "validation-failure" : row.type });
    expect(result.detail).toMatch(mismatch ? /dane-no-match/ : row.detail);
    // What the receiver saw, whatever we think of it.
    const mails = result.heard.filter((line) => /MAIL|RCPT|DATA/.test(line));
    if (proving) expect(mails).toEqual([]);
    if (demand !== "opportunistic") {
      expect(mails.filter((line) => line.startsWith("clear"))).toEqual([]);
      expect(result.readableEnvelope).toBe(false);
      expect(result.connections).toBe(1);
    }
  });

  test.each(PROVING)("the same host without the fault is delivered to under %s", async (demand) => {
    const result = await runRow(row, demand, kit, "honest");
    expect(result.verdict).toBe("authenticated");
    expect(result.readableEnvelope).toBe(false);
  });
});
