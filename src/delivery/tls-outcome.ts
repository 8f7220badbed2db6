/**
 * What a finished handshake amounts to: the connection and what is demanded of it in; encrypted or authenticated, with both
 * verdicts and their evidence, out. By the WebPKI judges delivery/certificate.ts, by TLSA records policy/dane-match.ts;
 * whether the outcome suffices is policy/requirement.ts.
 */
import type { X509Certificate } from "node:crypto";
import { cleanText } from "../mail/reply.ts";
import type { JudgeDane } from "../policy/dane-match.ts";
import type { CertificateEvidence, DaneVerdict, TlsFailure, TlsOutcome, TlsSession, WebPkiVerdict } from "../policy/outcome.ts";
import { NO_CERTIFICATE } from "../policy/reason-code.ts";
import type { DaneRequirement, TlsRequirement } from "../policy/requirement.ts";
import { messageOf } from "../thrown.ts";
import { judgeCertificate } from "./certificate.ts";
import type { Handshake } from "./handshake.ts";
import { isModernSuite } from "./tls-options.ts";

export interface OutcomeTools {
  readonly requirement: TlsRequirement;
  readonly now: number;
  readonly evidenceOf: (certificate: X509Certificate) => CertificateEvidence;
  readonly judgeDane: JudgeDane;
}

type Secured = Handshake & { kind: "secured" };
export type SecuredOutcome = TlsOutcome & { kind: "encrypted" | "authenticated" };

/** Both verdicts are reached whatever is demanded: the record shows what would have held, and another message may ask more. */
export async function outcomeOf(handshake: Secured, tools: OutcomeTools): Promise<SecuredOutcome> {
  const { protocol, cipher, suite, serverName, chain } = handshake;
  const { requirement, now } = tools;
  const webpki = webpkiVerdict(handshake, requirement.webpki.referenceIdentifiers, now);
  const dane = requirement.dane === undefined ? undefined : await daneVerdict(chain, requirement.dane, tools);
  const session: TlsSession = {
    protocol,
    cipher,
    ...(serverName !== undefined && { serverName }),
    chain: chain.map(tools.evidenceOf),
    webpki,
    ...(dane !== undefined && { dane }),
  };
  const proven = webpki.held || dane?.held === true;
  // Over such a suite nothing counts as proven, however good the certificate and however little was asked.
  const weak = isModernSuite(protocol, suite) ? undefined : weakSuite(cipher);
  if (proven && weak === undefined) return { kind: "authenticated", session };
  return { kind: "encrypted", session, because: whatMattersMost(session, requirement, weak) };
}

function webpkiVerdict({ chain, trusted, trustError }: Secured, referenceIdentifiers: readonly string[], now: number): WebPkiVerdict {
  const verdict = judgeCertificate({ chain, trusted, ...(trustError !== undefined && { trustError }), referenceIdentifiers, now });
  return verdict.kind === "valid"
    ? { held: true, referenceIdentifier: verdict.referenceIdentifier }
    : { held: false, failure: verdict.failure, ...(verdict.others.length > 0 && { others: verdict.others }) };
}

async function daneVerdict(chain: readonly X509Certificate[], dane: DaneRequirement, tools: OutcomeTools): Promise<DaneVerdict> {
  if (chain.length === 0) return failed("certificate-not-trusted", "the host presented no certificate", "receiver", NO_CERTIFICATE);
  try {
    return await tools.judgeDane(chain, dane, tools.now);
  } catch (error) {
    // A chain that our own reading of it breaks on has matched nothing.
    return failed(
      "validation-failure",
      `the certificate could not be compared with its TLSA records: ${cleanText(messageOf(error), 200)}`,
      "you",
      "certificate-not-compared",
    );
  }
}

function failed(type: TlsFailure["type"], detail: string, whoActs: TlsFailure["whoActs"], code: string): DaneVerdict {
  return { held: false, failure: { type, detail, whoActs, code } };
}

function weakSuite(cipher: string): TlsFailure {
  const detail = `the host chose ${cipher}, which lacks forward secrecy or AEAD`;
  return { type: "validation-failure", detail, whoActs: "receiver", code: "weak-cipher" };
}

/** Of all that is wrong: a demand that failed, then the suite where a proof only fails by it, then the certificate. */
function whatMattersMost({ webpki, dane }: TlsSession, requirement: TlsRequirement, weak: TlsFailure | undefined): TlsFailure {
  if (requirement.dane?.demanded === true && dane?.held === false) return dane.failure;
  if (requirement.webpki.demanded && !webpki.held) return webpki.failure;
  if (!webpki.held && dane?.held !== true) return webpki.failure;
  if (weak === undefined) throw new Error("a session that is proven over a good suite is authenticated");
  return weak;
}
