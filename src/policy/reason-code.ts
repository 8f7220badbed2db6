/**
 * `failure-reason-code` of RFC 8460 §4.4 as this relay spells it: a code of Node, of OpenSSL or of DNS in; a short word that
 * is the same wherever it is met, `[A-Za-z0-9._-]` and at most 64 characters, out. Pure. Codes come from libraries and from
 * ourselves alone: nothing that a remote host says is ever given to these functions (§8).
 */
import type { LookupFailure } from "./facts.ts";

const LONGEST = 64;

/** Of certificates, whichever way they are judged. */
export const NO_CERTIFICATE = "no-certificate";
export const WEAK_KEY = "weak-key";
export const WEAK_SIGNATURE = "weak-signature";

/** Lower case with hyphens: `HPE_INVALID_CONSTANT` becomes `hpe-invalid-constant`. */
export function reasonCode(code: string): string {
  const spelled = code
    .toLowerCase()
    .slice(0, LONGEST)
    .replace(/[^a-z0-9.]+/g, "-")
    .replace(/^-+|-+$/g, "");
  return spelled === "" ? "unspecified" : spelled;
}

const SYSTEM: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection-refused",
  ECONNRESET: "connection-reset",
  ECONNABORTED: "connection-reset",
  EPIPE: "connection-reset",
  ETIMEDOUT: "timeout",
  EHOSTUNREACH: "unreachable",
  ENETUNREACH: "unreachable",
};

/** Of a connection: `ECONNREFUSED` becomes `connection-refused`; what TLS says is spelled by `tlsCode`. */
export function connectionCode(code: string | undefined): string {
  if (code === undefined) return "connection-closed";
  return SYSTEM[code] ?? tlsCode(code);
}

/** The versions of TLS that the two ends take have none in common, whichever of them says so. */
const VERSIONS = /UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION|VERSION_TOO_LOW|NO_PROTOCOLS_AVAILABLE/;

/** Of a handshake: `ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE` becomes `alert-handshake-failure`. */
export function tlsCode(code: string): string {
  if (VERSIONS.test(code)) return "unsupported-protocol";
  // OpenSSL names an alert after the version that brought it, `SSLV3` and all: that says nothing of the host.
  return reasonCode(code.replace(/^ERR_(?:SSL_|TLS_)?/, "").replace(/^(?:SSLV3|TLSV1|TLSV13|SSL\/TLS)_(?=ALERT_)/, ""));
}

/** OpenSSL's words for the codes that Node shortens, and plainer ones where those would tell an admin little. */
const VERIFICATION: Readonly<Record<string, string>> = {
  UNABLE_TO_GET_ISSUER_CERT: "unable-to-get-issuer-certificate",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "unable-to-get-local-issuer-certificate",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "unable-to-verify-the-first-certificate",
  DEPTH_ZERO_SELF_SIGNED_CERT: "self-signed-certificate",
  SELF_SIGNED_CERT_IN_CHAIN: "self-signed-certificate-in-certificate-chain",
  CERT_HAS_EXPIRED: "certificate-has-expired",
  CERT_NOT_YET_VALID: "certificate-not-yet-valid",
  CERT_REVOKED: "certificate-revoked",
};

/** Of a certificate whose path does not hold: `DEPTH_ZERO_SELF_SIGNED_CERT` becomes `self-signed-certificate`. */
export function verificationCode(code: string): string {
  // Without a code Node has a sentence, in which names of the certificate may stand.
  return VERIFICATION[code] ?? (/^[A-Z0-9_]+$/.test(code) ? reasonCode(code) : "unspecified");
}

/** Of a question to DNS: `ede-6` where the resolver says so much (RFC 8914), else `servfail`, `timeout`. */
export function lookupCode({ extendedError, reason }: LookupFailure): string {
  return extendedError === undefined ? reason : `ede-${extendedError}`;
}
