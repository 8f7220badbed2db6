/**
 * Answers that come in pieces: `check` tells each stage as it is known. A request in, its stages out, the last one with
 * advice. How they travel is admin/control.ts; what they are is queue/check.ts.
 */
import { z } from "zod";
import type { CheckDestination, CheckStage, CheckVerdict } from "../queue/check.ts";
import type { HostReport } from "../queue/settlement.ts";
import { type Advice, advise } from "./advice.ts";
import { askedNextHop } from "./asked.ts";
import { BadRequest } from "./bad-request.ts";

const checkRequest = z.strictObject({
  /** A domain, an address literal in brackets, or an e-mail address. */
  destination: z.string().min(1).max(320),
  tag: z.enum(["required", "optional"]).optional(),
  connect: z.boolean().default(true),
});

export type CheckRequest = z.input<typeof checkRequest>;

/** A stage as it is sent: the verdict comes with advice where there is a problem. */
export type CheckLine = Exclude<CheckStage, CheckVerdict> | (CheckVerdict & { readonly advice?: Advice });

/** Checks the request, then runs it. Throws BadRequest before anything is emitted. */
export async function runCheck(
  request: unknown,
  check: CheckDestination,
  emit: (line: CheckLine) => void,
  stop: AbortSignal,
): Promise<void> {
  const checked = checkRequest.safeParse(request);
  if (!checked.success)
    throw new BadRequest(checked.error.issues.map(({ path, message }) => `${path.join(".") || "check"}: ${message}`).join("; "));
  const { destination, tag, connect } = checked.data;
  const nextHop = askedNextHop(destination);
  const met = new Met();
  const tell = (stage: CheckStage): void => {
    met.take(stage);
    if (stage.stage !== "verdict" || stage.problem === undefined) return emit(stage);
    const report = met.reportOf(stage.problem.host);
    emit({ ...stage, advice: advise(stage.problem, { nextHop, waits: false, checked: true, ...(report !== undefined && { report }) }) });
  };
  await check(nextHop, { connect, ...(tag !== undefined && { tag }) }, tell, stop);
}

type Report = Pick<HostReport, "step" | "tls" | "policy">;

/** What was met of each host, as an attempt would have put it down: advice looks at it. */
class Met {
  readonly #reports = new Map<string, Report>();

  take(stage: CheckStage): void {
    if (stage.stage === "host")
      this.#reports.set(stage.host, { step: "skipped", ...(stage.policy !== undefined && { policy: stage.policy }) });
    if (stage.stage !== "connection") return;
    const policy = this.#reports.get(stage.host)?.policy;
    this.#reports.set(stage.host, {
      step: stage.step,
      ...(stage.tls !== undefined && { tls: stage.tls }),
      ...(policy !== undefined && { policy }),
    });
  }

  reportOf(host: string | undefined): Report | undefined {
    return host === undefined ? undefined : this.#reports.get(host);
  }
}
