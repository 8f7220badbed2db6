/**
 * An attempt's record as the JSON that is kept: the record in, its text out, the same as `JSON.stringify` gives but for the
 * order of members. What many messages share, a session's evidence and a decision's, is written once.
 */
import type { AttemptRecord, HostReport } from "../../queue/settlement.ts";

const texts = new WeakMap<object, string>();

export function attemptText(attempt: AttemptRecord): string {
  const { hosts, policy, ...rest } = attempt;
  const ofNextHop = policy === undefined ? "" : `"policy":${sharedText(policy)},`;
  return `{"hosts":[${hosts.map(hostText).join(",")}],${ofNextHop}${JSON.stringify(rest).slice(1)}`;
}

function hostText({ tls, policy, ...rest }: HostReport): string {
  let text = JSON.stringify(rest).slice(0, -1);
  if (tls !== undefined) text += `,"tls":${sharedText(tls)}`;
  if (policy !== undefined) text += `,"policy":${sharedText(policy)}`;
  return `${text}}`;
}

function sharedText(value: object): string {
  let text = texts.get(value);
  if (text === undefined) {
    text = JSON.stringify(value);
    texts.set(value, text);
  }
  return text;
}
