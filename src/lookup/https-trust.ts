/**
 * Whether the certificate holds of a host that is asked by HTTPS (RFC 8461 §3.3, RFC 6125): what Node found of it in, a clean
 * clause on what is wrong with it out. Asking is lookup/https.ts.
 */
import type { PeerCertificate, TLSSocket } from "node:tls";
import type { Domain } from "../mail/domain.ts";
import { cleanText } from "../mail/reply.ts";
import { parseDnsNames } from "../policy/alternative-names.ts";
import { findCoveredName } from "../policy/names.ts";
import { codeOf } from "../thrown.ts";

/** SAN alone, never the common name; a wildcard is the whole left-most label (RFC 8461 §3.3). */
export function findNameFault(certificate: PeerCertificate, host: Domain): string | undefined {
  const names = parseDnsNames(certificate.subjectaltname);
  if (findCoveredName(names, [host]) !== undefined) return undefined;
  const presented = names.slice(0, 5).map((name) => cleanText(name, 253));
  const more = names.length > 5 ? ` and ${names.length - 5} more` : "";
  return `it is for ${names.length === 0 ? "no DNS name at all" : presented.join(", ") + more}`;
}

/** Set by Node where the handshake was made and the chain, or its name, did not hold. */
export function trustErrorOf(socket: TLSSocket): string | undefined {
  const found: unknown = socket.authorizationError;
  if (typeof found === "string") return found;
  return found instanceof Error ? (codeOf(found) ?? found.message) : undefined;
}

const TRUST_ERRORS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "it, or a certificate above it, has expired",
  CERT_NOT_YET_VALID: "it, or a certificate above it, is not valid yet",
  DEPTH_ZERO_SELF_SIGNED_CERT: "it is self-signed",
  SELF_SIGNED_CERT_IN_CHAIN: "it leads to a root that is not trusted here",
  UNABLE_TO_GET_ISSUER_CERT: "its issuer is not trusted here, or an intermediate certificate was not sent",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "its issuer is not trusted here, or an intermediate certificate was not sent",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "its issuer is not trusted here, or an intermediate certificate was not sent",
};

export function describeTrustError(code: string): string {
  return `${TRUST_ERRORS[code] ?? "its path is not valid"} (${cleanText(code, 60)})`;
}
