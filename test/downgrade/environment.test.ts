/**
 * The environment lowers nothing: what NODE_OPTIONS and NODE_TLS_REJECT_UNAUTHORIZED would change of Node's defaults is
 * set by hand on every socket, and NODE_EXTRA_CA_CERTS adds to the bundled roots alone.
 */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { createTestCa } from "../support/certificates.ts";
import { ScriptedMx } from "../support/scripted-mx.ts";
import { MX_NAME } from "../support/smtp-session.ts";
import { ROWS } from "./rows.ts";
import { DEMANDS, expectedVerdict } from "./run-row.ts";

async function node(script: string, args: string[], env: Record<string, string>): Promise<string> {
  const path = new URL(script, import.meta.url).pathname;
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^NODE_|^VITEST/.test(name)));
  return (await promisify(execFile)(process.execPath, [path, ...args], { env: { ...inherited, ...env } })).stdout.trim();
}

const LOWERING: Record<string, string>[] = [
  { NODE_TLS_REJECT_UNAUTHORIZED: "0" },
  { NODE_OPTIONS: "--tls-min-v1.0" },
  { NODE_OPTIONS: "--tls-min-v1.0 --tls-max-v1.2" },
  { NODE_OPTIONS: "--tls-min-v1.0 --tls-cipher-list=ALL:eNULL:aNULL:@SECLEVEL=0", NODE_TLS_REJECT_UNAUTHORIZED: "0" },
];

describe.each(LOWERING)("with %o", (env) => {
  test("every verdict stays what it is", { timeout: 30_000 }, async () => {
    const lines = JSON.parse(await node("table.ts", ["--json"], env)) as Record<string, string>[];
    for (const demand of DEMANDS)
      expect(lines.map((line) => [line["name"], line[demand]])).toEqual(ROWS.map((row) => [row.name, expectedVerdict(row, demand)]));
    expect(lines.map((line) => line["without the fault"])).toEqual(ROWS.map(() => "authenticated"));
  });
});

describe("NODE_EXTRA_CA_CERTS", () => {
  const extra = createTestCa({ name: "Extra Root" });
  const own = createTestCa();
  const cases: [roots: "bundled" | "file", withExtra: boolean, printed: RegExp][] = [
    ["file", true, /^certificate-not-trusted$/],
    ["bundled", true, /^authenticated TLSv1\.3$/],
    ["bundled", false, /^certificate-not-trusted$/],
  ];
  test.each(cases)("roots: %s, set: %s", async (roots, withExtra, printed) => {
    const mx = await ScriptedMx.open({ certificate: await (await extra).issue({ names: [MX_NAME] }) });
    const env: Record<string, string> = withExtra ? { NODE_EXTRA_CA_CERTS: (await extra).file } : {};
    const output = await node("open-one.ts", [String(mx.port), roots === "bundled" ? "bundled" : (await own).file], env);
    await mx.close();
    expect(output).toMatch(printed);
    expect(mx.heard.some((line) => line.includes("MAIL"))).toBe(false);
  });
});
