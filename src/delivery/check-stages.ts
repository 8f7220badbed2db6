/**
 * What a check tells of its hosts, and its last word: reports of delivery's own walk in, stages of queue/check.ts out. Pure,
 * but for `Turns`, which remembers whose turn it is. The walk itself is delivery/check.ts.
 */
import type { CheckConnection, CheckHost, CheckStage, CheckVerdict } from "../queue/check.ts";
import type { DeliveryProblem, HostReport } from "../queue/settlement.ts";
import type { Decided } from "./decide.ts";
import type { HostFindings } from "./gather.ts";
import type { PlannedHost } from "./plan.ts";
import { isTlsTrouble, tellingness } from "./problems.ts";
import type { Session } from "./session.ts";
import { describeRequirement } from "./terms.ts";
import { lastWord, note, type RecipientJudgement, type Sightings } from "./undecided.ts";

/** Hosts are walked side by side and told in order. */
export class Turns {
  readonly #tell: (stage: CheckStage) => void;
  readonly #lanes: { readonly held: CheckStage[]; finished: boolean }[];
  #turn = 0;

  constructor(hosts: number, tell: (stage: CheckStage) => void) {
    this.#tell = tell;
    this.#lanes = Array.from({ length: hosts }, () => ({ held: [], finished: false }));
  }

  say(index: number, stage: CheckStage): void {
    if (index === this.#turn) this.#tell(stage);
    else this.#lanes[index]?.held.push(stage);
  }

  finish(index: number): void {
    const lane = this.#lanes[index];
    if (lane !== undefined) lane.finished = true;
    while (this.#lanes[this.#turn]?.finished === true) {
      this.#turn += 1;
      for (const stage of this.#lanes[this.#turn]?.held.splice(0) ?? []) this.#tell(stage);
    }
  }
}

/** What came of one host. */
export interface Walked {
  readonly report: RecipientJudgement;
  readonly through?: Through;
  /** It is this relay: neither it nor any worse host counts (RFC 5321 §5.1). */
  readonly ourselves: boolean;
}

export type Through = NonNullable<CheckVerdict["through"]>;

export type HostStage = Omit<CheckHost, "index"> | Omit<CheckConnection, "index">;

/** An MX record that names no host, or one that is no nearer to the goal than this relay. */
export function ruledOut({ host, problem: found }: HostReport): CheckStage {
  return { stage: "host", index: -1, host, addresses: [], verdict: "skip", ...(found !== undefined && { problem: found }) };
}

export function hostStage(
  { host, preference }: PlannedHost,
  found: HostFindings | undefined,
  decided: Decided | undefined,
  addressesPerHost: number,
): Omit<CheckHost, "index"> {
  const addresses = found?.addresses.kind === "addresses" ? found.addresses.addresses.slice(0, addressesPerHost) : [];
  const verdict = decided?.decision.verdict;
  return {
    stage: "host",
    host,
    preference,
    addresses: addresses.map(({ address }) => address),
    ...(decided !== undefined && { policy: decided.evidence }),
    verdict: verdict?.kind ?? "skip",
    ...(verdict?.kind === "try" && { demanded: describeRequirement(verdict.requirement) }),
  };
}

export function connectionStage(
  { host, address, port, step, tls, problem: found, policy }: HostReport,
  open: Session | undefined,
): HostStage {
  const good = open !== undefined && address === open.target.address;
  const wouldHaveFailed = policy?.wouldHaveFailed;
  return {
    stage: "connection",
    host,
    ...(address !== undefined && { address }),
    ...(port !== undefined && { port }),
    step: good ? "done" : step,
    ...(tls !== undefined && { tls }),
    ...(policy !== undefined && { proof: policy.host }),
    ...(!good && found !== undefined && { problem: found }),
    ...(wouldHaveFailed !== undefined && { wouldHaveFailed }),
    used: false,
  };
}

/** As delivery would put it: the first good host, or the most telling trouble of all (delivery/undecided.ts). */
export function lastWordOf(
  hosts: readonly PlannedHost[],
  walked: readonly Walked[],
  exhaustive: boolean,
): Pick<CheckVerdict, "failed" | "through" | "problem" | "final"> {
  const failed = walked.flatMap(({ through }, index) => (through === undefined ? [hosts[index]?.host ?? ""] : []));
  const through = walked.find((one) => one.through !== undefined)?.through;
  if (through !== undefined) return { failed, through };
  const seen: Sightings = {};
  walked.forEach(({ report }, index) => {
    if (report.kind === "delivered") return;
    const at = report.at ?? { host: hosts[index]?.host ?? "", step: "skipped" };
    note(seen, report.problem, at, tellingness(at.step), report.kind === "failed");
  });
  const word = lastWord(seen, exhaustive, undefined);
  return word.kind === "delivered" ? { failed } : { failed, problem: word.problem, final: word.kind === "failed" };
}

export function kindOf(found: DeliveryProblem | undefined): CheckVerdict["kind"] {
  if (found === undefined) return "undeliverable";
  switch (found.type) {
    case "dns-failure":
    case "dnssec-invalid":
    case "resolver-blind":
      return "lookup-failed";
    default:
      return isTlsTrouble(found.type) ? "refused" : "undeliverable";
  }
}
