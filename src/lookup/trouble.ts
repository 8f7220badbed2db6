/** Why a resolver gave no answer, in one wording for every transport (lookup/exchange.ts, lookup/dot.ts). */
import { describeServer, type ServerAddress } from "../config/server-address.ts";
import { cleanText } from "../mail/reply.ts";
import type { LookupFailure } from "../policy/facts.ts";
import { codeOf } from "../thrown.ts";

/** The octets of a message, or why there are none. */
export type Raw = Buffer | LookupFailure;

export function failed(reason: LookupFailure["reason"], server: ServerAddress, what: string): LookupFailure {
  return { kind: "failed", reason, detail: `resolver ${describeServer(server)} ${what}` };
}

export function errorText(error: Error): string {
  return cleanText(codeOf(error) ?? error.message, 100);
}
