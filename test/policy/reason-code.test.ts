/** `failure-reason-code` (RFC 8460 §4.4): one spelling for what Node, OpenSSL and DNS say, and never a remote's words (§8). */
import { describe, expect, test } from "vitest";
import type { LookupFailure } from "../../src/policy/facts.ts";
import { connectionCode, lookupCode, reasonCode, tlsCode, verificationCode } from "../../src/policy/reason-code.ts";

const lookup = (reason: LookupFailure["reason"], extendedError?: number): string =>
  lookupCode({ kind: "failed", reason, detail: "SERVFAIL from 127.0.0.1", ...(extendedError !== undefined && { extendedError }) });

const cases: [what: string, spelled: string, expected: string][] = [
  ["an alert of OpenSSL 3.5", tlsCode("ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE"), "alert-handshake-failure"],
  ["the same of an older one", tlsCode("ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE"), "alert-handshake-failure"],
  ["an alert of TLS 1.3", tlsCode("ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED"), "alert-certificate-required"],
  ["an alert that the version is too low", tlsCode("ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION"), "unsupported-protocol"],
  ["our own word for that", tlsCode("ERR_SSL_UNSUPPORTED_PROTOCOL"), "unsupported-protocol"],
  ["octets that are no TLS", tlsCode("ERR_SSL_WRONG_VERSION_NUMBER"), "wrong-version-number"],
  ["Node's own", tlsCode("ERR_TLS_DH_PARAM_SIZE"), "dh-param-size"],
  ["a refused connection", connectionCode("ECONNREFUSED"), "connection-refused"],
  ["a reset one", connectionCode("ECONNRESET"), "connection-reset"],
  ["one that nobody answers", connectionCode("ETIMEDOUT"), "timeout"],
  ["one to nowhere", connectionCode("EHOSTUNREACH"), "unreachable"],
  ["one without a code", connectionCode(undefined), "connection-closed"],
  ["one on which HTTP is broken", connectionCode("HPE_INVALID_CONSTANT"), "hpe-invalid-constant"],
  ["a self-signed leaf", verificationCode("DEPTH_ZERO_SELF_SIGNED_CERT"), "self-signed-certificate"],
  ["an unknown root", verificationCode("SELF_SIGNED_CERT_IN_CHAIN"), "self-signed-certificate-in-certificate-chain"],
  ["an unknown issuer", verificationCode("UNABLE_TO_GET_ISSUER_CERT"), "unable-to-get-issuer-certificate"],
  ["a missing intermediate", verificationCode("UNABLE_TO_VERIFY_LEAF_SIGNATURE"), "unable-to-verify-the-first-certificate"],
  ["a date to come", verificationCode("CERT_NOT_YET_VALID"), "certificate-not-yet-valid"],
  ["a revoked certificate", verificationCode("CERT_REVOKED"), "certificate-revoked"],
  ["another code of OpenSSL", verificationCode("INVALID_CA"), "invalid-ca"],
  ["a sentence in place of a code", verificationCode("Host: a@b.test is not in the cert's list"), "unspecified"],
  ["an extended DNS error", lookup("servfail", 6), "ede-6"],
  ["no extended DNS error", lookup("servfail"), "servfail"],
  ["silence", lookup("timeout"), "timeout"],
];
describe("spelling", () => {
  for (const [what, spelled, expected] of cases) test(`${what}: ${expected}`, () => expect(spelled).toBe(expected));
});

test.each(["", "_", "é", "A".repeat(200), `${"A".repeat(63)}__B`, "a b\r\nc@d.test", "ERR_SSL_"])(
  "whatever comes in, 1 to 64 characters of [A-Za-z0-9._-] come out: %j",
  (code) => {
    for (const spelled of [reasonCode(code), tlsCode(code), connectionCode(code), verificationCode(code)])
      expect(spelled).toMatch(/^[A-Za-z0-9._-]{1,64}$/);
  },
);
