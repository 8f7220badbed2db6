/**
 * How STARTTLS can fail before there is a handshake (RFC 3207 §4, §6), as failures in the words of RFC 8460 §4.3.1: what the
 * host offered, said or did in; type, sentence and code out. Pure. Handshakes are delivery/handshake.ts.
 */
import { describeReply, type Reply } from "../mail/reply.ts";
import type { TlsFailure } from "../policy/outcome.ts";
import { type Extensions, findMangledStartTls } from "./extensions.ts";
import type { Loss } from "./wire.ts";

const INJECTION = "starttls-injection";
const LOST = { "connection-lost": "starttls-reset", timeout: "starttls-timeout" } as const;

/** By the operator: nothing of it is the host's. */
export const SWITCHED_OFF: TlsFailure = {
  type: "starttls-not-supported",
  detail: "TLS is switched off for this host",
  whoActs: "you",
};

export function ehloUnknown(host: string, reply: Reply): TlsFailure {
  return notSupported(`${host} does not know EHLO, and so no STARTTLS: it answered ${describeReply(reply)}`);
}

export function startTlsNotOffered(host: string, extensions: Extensions): TlsFailure {
  const mangled = findMangledStartTls(extensions);
  const hint = mangled === undefined ? "" : ` (but ${mangled}: something on the way seems to overwrite it)`;
  return notSupported(`${host} does not offer STARTTLS${hint}`);
}

export function startTlsRefused(host: string, reply: Reply): TlsFailure {
  return notSupported(`${host} answered STARTTLS with ${describeReply(reply)}`, String(reply.code));
}

/** No reply to STARTTLS, and no connection any more. */
export function startTlsLost(host: string, { loss, detail, reply }: Loss): TlsFailure {
  const said = `${host} offers STARTTLS, but ${detail}`;
  if (loss !== "protocol-error") return notSupported(said, reply === undefined ? LOST[loss] : String(reply.code));
  // Words that nobody asked for, just there, are no weak host: they are somebody's attempt to be heard under TLS.
  return { type: "validation-failure", detail: said, whoActs: "receiver", code: reply === undefined ? "protocol-error" : INJECTION };
}

/** Someone on the way would have his words taken for the host's, spoken under TLS (RFC 3207 §6). */
export function startTlsInjected(octets: number): TlsFailure {
  const detail = `${octets} octets in clear followed the 220 to STARTTLS: something on the way injects text (${INJECTION})`;
  return { type: "validation-failure", detail, whoActs: "receiver", code: INJECTION };
}

function notSupported(detail: string, code?: string): TlsFailure {
  return { type: "starttls-not-supported", detail, whoActs: "receiver", ...(code !== undefined && { code }) };
}
