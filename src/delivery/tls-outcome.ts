/**
 * What a finished handshake amounts to: the connection and the names to look for in, encrypted or authenticated with its
 * evidence out. The certificate is judged by delivery/certificate.ts; whether the outcome suffices by policy/requirement.ts.
 */
import type { X509Certificate } from "node:crypto";
import type { CertificateEvidence, TlsFailure, TlsOutcome } from "../policy/outcome.ts";
import { judgeCertificate } from "./certificate.ts";
import type { Handshake } from "./handshake.ts";
import { isModernSuite } from "./tls-options.ts";

export interface OutcomeTools {
  readonly referenceIdentifiers: readonly string[];
  readonly now: number;
  readonly evidenceOf: (certificate: X509Certificate) => CertificateEvidence;
}

export type SecuredOutcome = TlsOutcome & { kind: "encrypted" | "authenticated" };

export function outcomeOf(handshake: Handshake & { kind: "secured" }, tools: OutcomeTools): SecuredOutcome {
  const { protocol, cipher, suite, serverName, chain, trusted, trustError } = handshake;
  const { referenceIdentifiers, now } = tools;
  const session = { protocol, cipher, ...(serverName === undefined ? {} : { serverName }), chain: chain.map(tools.evidenceOf) };
  const unproven = (failure: TlsFailure): SecuredOutcome => ({ kind: "encrypted", session: { ...session, failure }, because: failure });
  const verdict = judgeCertificate({ chain, trusted, ...(trustError === undefined ? {} : { trustError }), referenceIdentifiers, now });
  if (verdict.kind === "invalid") return unproven(verdict.failure);
  // The certificate is good, the cipher is not: such a session never counts as authenticated, however little was asked.
  if (!isModernSuite(protocol, suite)) {
    return unproven({
      type: "validation-failure",
      detail: `the host chose ${cipher}, which lacks forward secrecy or AEAD`,
      whoActs: "receiver",
    });
  }
  return { kind: "authenticated", session, referenceIdentifier: verdict.referenceIdentifier };
}
