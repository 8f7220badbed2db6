/**
 * `postern check` as text: each stage as it comes in, its lines out. Pure. Columns are label, verdict, words; what belongs
 * to a host stands indented under it. Facts and sessions have their words in cli/evidence-text.ts.
 */
import type { CheckLine } from "../admin/stream.ts";
import { authenticatedWord } from "../policy/evidence.ts";
import type { CheckConnection, CheckHost, CheckMx, CheckReporting, CheckStart, CheckSts, CheckVerdict } from "../queue/check.ts";
import type { DeliveryProblem } from "../queue/settlement.ts";
import {
  BLIND_WATCHED,
  describeMx,
  describeProof,
  describeRules,
  describeSts,
  describeTls,
  describeTlsaEvidence,
  describeWatched,
  describeWish,
} from "./evidence-text.ts";
import { describeTime, shown, wrapText } from "./words.ts";

/** What the verdict is worth in a shell. */
export const CHECK_EXIT = { deliverable: 0, no: 1, usage: 2, lookupFailed: 3 } as const;

export const CHECK_EXIT_HELP = `
Exit codes:
  0  deliverable
  1  refused by policy, or no host takes mail
  2  the command line is wrong
  3  a look-up failed, so nothing can be said
  70 to 78 as for every command: postern --help`;

const WIDTH = 130;

/** `now`: when the check began; ages count from it. `start`: its first line, which says whether published policy binds. */
export function renderStage(line: CheckLine, now: number, start?: Pick<CheckStart, "published" | "tag">): string {
  return linesOf(line, now, start)
    .map((text) => `${text}\n`)
    .join("");
}

/** The last line of all: whose facts these are. */
export function renderSource(running: boolean): string {
  return running
    ? "relay does what this shows (asked the running server)\n"
    : "no relay runs: asked from here, with these settings; a running one may know more\n";
}

export function exitCodeOf(verdict: Extract<CheckLine, { stage: "verdict" }>): number {
  switch (verdict.kind) {
    case "deliverable":
      return CHECK_EXIT.deliverable;
    case "refused":
    case "undeliverable":
      return CHECK_EXIT.no;
    case "lookup-failed":
      return CHECK_EXIT.lookupFailed;
  }
}

function linesOf(line: CheckLine, now: number, start: Pick<CheckStart, "published" | "tag"> | undefined): string[] {
  const binds = (start?.published.mode ?? "enforce") === "enforce" && start?.tag !== "optional";
  switch (line.stage) {
    case "destination":
      return startLines(line);
    case "resolver": {
      const { kind, detail } = line.state;
      const words = kind === "blind" ? `DNSSEC-blind: ${detail}` : detail;
      const lines = row("resolver", kind === "validating" ? "ok" : "warn", shown(words === "" ? kind : words));
      if (kind === "blind" && start?.published.mode === "report" && start.tag !== "optional") lines.push(...row("", "", BLIND_WATCHED));
      return lines;
    }
    case "mx":
      return mxLines(line, now);
    case "mta-sts":
      return stsLines(line, now, binds);
    case "tls-rpt":
      return reportingLines(line);
    case "host":
      return hostLines(line, now);
    case "connection":
      return connectionLines(line);
    case "verdict":
      return verdictLines(line);
  }
}

function startLines({ nextHop, at, tag, route, published }: CheckStart): string[] {
  const as = tag === undefined ? "" : tag === "required" ? ", for a message with REQUIRETLS" : ", for a message with TLS-Required: No";
  const lines = [`${shown(nextHop, 255)}${as}, ${describeTime(at)} UTC`];
  if (route.kind === "configured") lines.push(...row("route", "used", `${shown(route.host, 255)} (${shown(route.setting)})`));
  if (route.kind === "literal") lines.push(...row("route", "used", "the address itself"));
  if (published.mode === "report")
    lines.push(...row("published", "watch", `what the domain publishes is shown, not enforced (${shown(published.setting)}: report)`));
  if (published.mode === "off")
    lines.push(...row("published", "off", `what the domain publishes is not looked at (${shown(published.setting)}: off)`));
  return lines;
}

function mxLines({ mx, hosts, more }: CheckMx, now: number): string[] {
  if (mx === undefined) return [];
  const names = hosts.map(({ host, preference }) => `${shown(host, 255)} (${preference})`).join(", ");
  const rest = more === 0 ? "" : ` and ${more} more, which one attempt does not try`;
  const good = mx.kind === "records" || mx.kind === "none";
  return row("MX", good ? "ok" : "FAIL", `${describeMx(mx, now)}${names === "" ? "" : `: ${names}`}${rest}`);
}

function stsLines({ sts }: CheckSts, now: number, binds: boolean): string[] {
  const [first = "", ...more] = describeSts(sts, now);
  const verdict =
    sts.kind === "policy"
      ? { enforce: binds ? "used" : "watch", testing: "watch", none: "none" }[sts.mode]
      : { "not-asked": "-", none: sts.kind === "none" && sts.trouble !== undefined ? "warn" : "none", unavailable: "warn" }[sts.kind];
  return [...row("MTA-STS", verdict, first), ...more.flatMap((line) => row("", "", line))];
}

/** A record that is there and cannot be used is worth a look; none at all is most domains' way. */
function reportingLines({ reportDomain, wish }: CheckReporting): string[] {
  const [first = "", ...more] = describeWish(reportDomain, wish);
  const verdict = wish.kind === "destinations" ? "ok" : wish.kind === "none" && wish.reason === "absent" ? "none" : "warn";
  return [...row("TLS-RPT", verdict, first), ...more.flatMap((line) => row("", "", line))];
}

function hostLines({ host, addresses, policy, problem }: CheckHost, now: number): string[] {
  const at = addresses.length === 0 || addresses[0] === host ? "" : `  ${addresses.map((address) => shown(address, 45)).join(", ")}`;
  const lines = [`${shown(host, 255)}${at}`];
  if (policy !== undefined) {
    lines.push(...indented(describeProof(policy)));
    lines.push(...describeTlsaEvidence(policy.tlsa, now).flatMap(indented));
    // What asks nothing here has been said by the facts above.
    const rules = policy.rules.filter(({ effect }) => effect !== "idle");
    lines.push(...describeRules(rules).flatMap(indented));
  }
  if (problem !== undefined) lines.push(...indented(`FAIL  not to be tried: ${describe(problem)}`));
  return lines;
}

function connectionLines({ address, port, step, tls, proof, problem, wouldHaveFailed, used }: CheckConnection): string[] {
  const at = address === undefined ? "" : ` [${shown(address, 45)}]${port === undefined || port === 25 ? "" : `:${port}`}`;
  const head =
    step === "done"
      ? `ok   ${at}  ready for MAIL${used ? ", delivery uses this one" : ""}`
      : `FAIL ${at}  at ${step}${problem === undefined ? "" : `: ${describe(problem)}`}`;
  const session = tls === undefined ? [] : describeTls(tls, proof, problem?.detail);
  return [...indented(head), ...[...session, ...describeWatched(wouldHaveFailed)].flatMap((line) => indented(`  ${line}`))];
}

function verdictLines({ kind, through, failed, problem, final, advice, cutShort }: Extract<CheckLine, { stage: "verdict" }>): string[] {
  const lines: string[] = [];
  if (through !== undefined) {
    const where = `${shown(through.host, 255)}${through.address === undefined ? "" : ` [${shown(through.address, 45)}]`}`;
    const how = describeChannel(through);
    const others = failed.length === 0 ? "" : `; ${failed.map((host) => shown(host, 255)).join(", ")} cannot be used`;
    lines.push(...row("verdict", "ok", `deliverable through ${where}: ${how}${others}`));
  } else {
    const words = { deliverable: "", refused: "refused by policy", undeliverable: "not deliverable", "lookup-failed": "look-up failed" }[
      kind
    ];
    const end = final === true ? "; mail fails at once" : "; mail waits";
    lines.push(...row("verdict", "FAIL", `${words}${end}${problem === undefined ? "" : `: ${describe(problem)}`}`));
  }
  if (advice !== undefined) {
    lines.push(...row("who acts", "", shown(advice.whoActs)));
    for (const line of advice.meanwhile) lines.push(...row("meanwhile", "", shown(line)));
    lines.push(...row("read", "", shown(advice.docs)));
  }
  if (cutShort === true) lines.push(...row("note", "warn", "the time for one check was over before every host had its turn"));
  return lines;
}

function describeChannel({ level, dane, proof }: NonNullable<CheckVerdict["through"]>): string {
  if (level === undefined) return "no host was dialled";
  if (level === "authenticated") return authenticatedWord(dane, proof);
  return level === "clear" ? "in clear" : level;
}

function describe(problem: DeliveryProblem): string {
  return shown(`${problem.type} (${problem.status}): ${problem.detail}`, 400);
}

/** Label, verdict, words; more lines stand under the words. */
function row(label: string, verdict: string, text: string): string[] {
  const margin = `${label.padEnd(10)} ${verdict.padEnd(5)} `;
  return wrapText(text, WIDTH - margin.length, 6).map((line, at) => `${at === 0 ? margin : " ".repeat(margin.length)}${line}`.trimEnd());
}

function indented(text: string): string[] {
  const inner = /^ */.exec(text)?.[0] ?? "";
  return wrapText(text.slice(inner.length), WIDTH - 4, 6).map((line, at) => `  ${inner}${at === 0 ? "" : "  "}${line}`);
}
