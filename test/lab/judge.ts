/** Judges one message: what was expected and what was seen in, everything that is wrong out. Pure. */
import type { LogEvent } from "../support/relay.ts";
import type { Expected } from "./scenario.ts";
import type { Seen, Site } from "./site.ts";

/** What the relay made of a message. */
export interface Outcome {
  /** The reply that refused it at submission. */
  readonly refused?: string;
  /** `recipient-settled`; absent if nothing came of it in time. */
  readonly settled?: LogEvent;
  /** In the mailbox of a real receiver. */
  readonly inMailbox?: boolean;
}

const text = (value: unknown): string => (typeof value === "string" ? value : "");

/** One line for people: `delivered authenticated mx`, `deferred certificate-expired: …`. */
export function describeOutcome(site: Site, outcome: Outcome): string {
  if (outcome.refused !== undefined) return `refused at submission: ${outcome.refused}`;
  const { settled } = outcome;
  if (settled === undefined) return "nothing came of it";
  const kind = text(settled["outcome"]);
  if (kind === "delivered") return `delivered ${channelOf(settled)} ${takers(site, outcome).join(", ") || "to nobody we know"}`;
  const why = `${text(settled["status"])} ${text(settled["text"])}`;
  return `${kind} ${text(settled["reason"])}: ${why}`;
}

export function describeExpected(expected: Expected): string {
  switch (expected.kind) {
    case "delivered":
      return `delivered ${expected.channel} ${expected.host}`;
    case "deferred":
      return `deferred ${expected.type} ${expected.words.source === "." ? "" : String(expected.words)}`.trimEnd();
    case "bounced":
      return `bounced ${expected.status} ${expected.words.source === "." ? "" : String(expected.words)}`.trimEnd();
  }
}

/** `authenticated` of `host authenticated, MX unsigned (DANE 3 1 1) TLSv1.3 …`. */
export const channelOf = (settled: LogEvent): string =>
  /\b(?:clear|encrypted|authenticated)\b/.exec(text(settled["tls"]))?.[0] ?? "without a channel";

/** Labels of the hosts that got the message. */
function takers(site: Site, outcome: Outcome): string[] {
  const found = [...site.hosts.values()].filter(({ receiver }) => (receiver?.messages.length ?? 0) > 0).map(({ label }) => label);
  return outcome.inMailbox === true ? [...found, site.real ?? "mx"] : found;
}

export function judge(site: Site, expected: Expected, outcome: Outcome, seen: Seen): string[] {
  const wrong = [...judgeOutcome(site, expected, outcome), ...judgeSecrecy(site, expected)];
  for (const { text: claim, holds } of site.claims) if (!holds(seen)) wrong.push(`not so: ${claim}`);
  return wrong;
}

function judgeOutcome(site: Site, expected: Expected, outcome: Outcome): string[] {
  const was = describeOutcome(site, outcome);
  const differs = [`expected ${describeExpected(expected)}, but ${was}`];
  const { settled } = outcome;
  if (settled === undefined || settled["outcome"] !== expected.kind) return differs;
  switch (expected.kind) {
    case "delivered": {
      const right = channelOf(settled) === expected.channel && takers(site, outcome).join() === expected.host;
      const underTls = site.receivers
        .flatMap(({ messages }) => messages)
        .every((message) => message.underTls === (expected.channel !== "clear"));
      return right && underTls ? [] : differs;
    }
    case "deferred":
      return settled["reason"] === expected.type && expected.words.test(text(settled["text"])) ? [] : differs;
    case "bounced":
      return settled["status"] === expected.status && expected.words.test(text(settled["text"])) ? [] : differs;
  }
}

const ENVELOPE = /^(?:clear|tls) (?:MAIL|RCPT|DATA)\b/i;

/** What no receiver may have heard, whatever became of the message. */
export function judgeSecrecy(site: Site, expected: Expected): string[] {
  const wrong: string[] = [];
  const taker = expected.kind === "delivered" ? site.hosts.get(expected.host)?.receiver : undefined;
  for (const receiver of site.receivers) {
    if (receiver !== taker && !site.mayHear.has(receiver) && receiver.heard.some((line) => ENVELOPE.test(line)))
      wrong.push(`${receiver.name} heard of the message: ${receiver.heard.filter((line) => ENVELOPE.test(line)).join(" | ")}`);
    if (expected.kind === "delivered" && expected.channel === "clear") continue;
    if (site.mayHear.has(receiver)) continue;
    if (receiver.heard.some((line) => /^clear (?:MAIL|RCPT|DATA)\b/i.test(line)))
      wrong.push(`${receiver.name} heard the envelope in clear`);
    if (receiver.clearText.includes(site.recipient)) wrong.push(`the recipient could be read on the way to ${receiver.name}`);
  }
  return wrong;
}
