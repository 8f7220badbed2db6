/** One row of the table under one demand: a host is opened, one message is offered to it, and what it heard is told. */
import { type MxBehaviour, ScriptedMx } from "../support/scripted-mx.ts";
import { leafKeyRecord, open, type RequirementWishes, transaction } from "../support/smtp-session.ts";
import type { Kit, Row, Verdict } from "./rows.ts";

/** Who demands what: the operator, an MTA-STS policy, TLSA records of the honest host's key, TLSA records all unusable. */
export const DEMANDS = ["authenticated", "encrypted", "opportunistic", "mta-sts", "dane", "dane-unauthenticated"] as const;
export type Demand = (typeof DEMANDS)[number];

/** What becomes of the row under this demand: published policy asks no less than the floor of its level. */
export function expectedVerdict(row: Row, demand: Demand): Verdict {
  switch (demand) {
    case "authenticated":
    case "mta-sts":
      return row.authenticated;
    // No row presents the key in DNS over a channel that counts, so there is no proof by any other way either.
    case "dane":
      return "refused";
    case "encrypted":
    case "dane-unauthenticated":
      return row.encrypted;
    case "opportunistic":
      return row.opportunistic;
  }
}

export interface RowResult {
  readonly verdict: Verdict;
  /** Why it was no more than that; absent when authenticated. */
  readonly type?: string;
  readonly detail?: string;
  /** `clear MAIL`, `tls RCPT`, … as the host heard them. */
  readonly heard: readonly string[];
  /** Octets of the envelope or text that anybody on the way could read. */
  readonly readableEnvelope: boolean;
  readonly connections: number;
}

export async function runRow(row: Row, demand: Demand, kit: Kit, which: "faulty" | "honest" = "faulty"): Promise<RowResult> {
  const honest = await (row.honest?.(kit) ?? { certificate: kit.good });
  const wishes = wishesOf(demand, honest);
  return await offerMessage(which === "honest" ? honest : await row.faulty(kit), wishes, kit);
}

function wishesOf(demand: Demand, { certificate }: MxBehaviour): RequirementWishes {
  switch (demand) {
    case "authenticated":
    case "encrypted":
      return { atLeast: demand };
    case "opportunistic":
      return { atLeast: "clear" };
    case "mta-sts":
      return { sts: true };
    case "dane":
      if (certificate === undefined) throw new Error("an honest host without a certificate");
      return { dane: { records: [leafKeyRecord(certificate)] } };
    case "dane-unauthenticated":
      return { daneUnusable: true };
  }
}

async function offerMessage(behaviour: MxBehaviour, wishes: RequirementWishes, kit: Kit): Promise<RowResult> {
  const mx = await ScriptedMx.open(behaviour);
  try {
    const result = await open(mx.port, kit.ca.pem, wishes);
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
      connections: mx.connections.length,
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
