/** One row of the table under one floor: a host is opened, one message is offered to it, and what it heard is told. */
import { systemClock } from "../../src/clock.ts";
import { type ChannelLevel, levelOfFloor, type TlsFloor } from "../../src/policy/requirement.ts";
import { type MxBehaviour, ScriptedMx } from "../support/scripted-mx.ts";
import { open, transaction } from "../support/smtp-session.ts";
import type { Kit, Row, Verdict } from "./rows.ts";

export const FLOORS: readonly TlsFloor[] = ["authenticated", "encrypted", "opportunistic"];

export interface RowResult {
  readonly verdict: Verdict;
  /** Why it was no more than that; absent when authenticated. */
  readonly type?: string;
  readonly detail?: string;
  /** `clear MAIL`, `tls RCPT`, … as the host heard them. */
  readonly heard: readonly string[];
  /** Octets of the envelope or text that anybody on the way could read. */
  readonly readableEnvelope: boolean;
}

export async function runRow(row: Row, floor: TlsFloor, kit: Kit, which: "faulty" | "honest" = "faulty"): Promise<RowResult> {
  const behaviour = which === "faulty" ? await row.faulty(kit) : await (row.honest?.(kit) ?? { certificate: kit.good });
  return await offerMessage(behaviour, levelOfFloor(floor), kit);
}

async function offerMessage(behaviour: MxBehaviour, atLeast: ChannelLevel, kit: Kit): Promise<RowResult> {
  const mx = await ScriptedMx.open(behaviour);
  try {
    const result = await open(mx.port, kit.ca.pem, { atLeast }, { clock: systemClock });
    const sent = result.kind === "open" ? await result.session.deliver(transaction()) : undefined;
    if (result.kind === "open") await result.session.quit();
    await mx.quiet();
    const delivered = sent?.recipients.every(({ kind }) => kind === "delivered") === true && mx.messages.length === 1;
    const outcome = result.kind === "open" ? result.session.tls : undefined;
    const because =
      outcome === undefined
        ? result.kind === "failed"
          ? result.problem
          : undefined
        : outcome.kind === "authenticated"
          ? undefined
          : outcome.because;
    const octets = mx.connections.flatMap(({ reads }) => reads).join("");
    return {
      verdict: delivered && outcome !== undefined ? outcome.kind : "refused",
      ...(because === undefined ? {} : { type: because.type, detail: because.detail }),
      heard: mx.heard.map((line) => line.split(/[ :]/).slice(0, 2).join(" ")),
      readableEnvelope: mx.heard.some((line) => /^clear (MAIL|RCPT|DATA)/.test(line)) || (outcome?.kind !== "clear" && wireHas(octets, mx)),
    };
  } finally {
    await mx.close();
  }
}

/** `reads` holds what came in before TLS, and what TLS gave; only the former is of interest, so text heard under TLS is left out. */
function wireHas(octets: string, mx: ScriptedMx): boolean {
  return octets.includes("MAIL FROM") && !mx.heard.some((line) => line.startsWith("tls MAIL"));
}
