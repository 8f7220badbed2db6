/**
 * What we ask of TLS itself (RFC 9325, RFC 8996): trust anchors and whether a proof is demanded in, a secure context out. Every
 * knob that has a default which the environment can turn (NODE_OPTIONS, NODE_EXTRA_CA_CERTS,
 * NODE_TLS_REJECT_UNAUTHORIZED) is set by hand, so that nothing outside the settings lowers anything.
 */
import { constants } from "node:crypto";
import { createSecureContext, getCACertificates, rootCertificates, type SecureContext } from "node:tls";
import type { TlsRequirement } from "../policy/requirement.ts";

const TLS_1_3 = ["TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"];

/** Forward secrecy and AEAD (RFC 9325 §4.2). */
const MODERN = [
  ...["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"],
  ...["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"],
  ...["DHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES256-GCM-SHA384", "DHE-RSA-CHACHA20-POLY1305"],
];

/** Weaker, yet better than clear: CBC, and AES without forward secrecy. Never NULL, anonymous, export, RC4 or 3DES. */
const TOLERABLE = [
  ...["ECDHE-ECDSA-AES128-SHA256", "ECDHE-RSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA384", "ECDHE-RSA-AES256-SHA384"],
  ...["ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA"],
  ...["DHE-RSA-AES128-SHA256", "DHE-RSA-AES256-SHA256", "DHE-RSA-AES128-SHA", "DHE-RSA-AES256-SHA"],
  ...["AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA256", "AES256-SHA256", "AES128-SHA", "AES256-SHA"],
];

// SECLEVEL 2 is 112 bits: in a path it refuses RSA under 2048 bits and SHA-1, and it ends a handshake over DH under 2048.
const NEVER = "!aNULL:!eNULL:!EXPORT:!RC4:!3DES:!MD5:!PSK:!SRP:@SECLEVEL=2";

const SIGNATURES = [
  ...["ecdsa_secp256r1_sha256", "ecdsa_secp384r1_sha384", "ecdsa_secp521r1_sha512", "ed25519", "ed448"],
  ...[
    "rsa_pss_rsae_sha256",
    "rsa_pss_rsae_sha384",
    "rsa_pss_rsae_sha512",
    "rsa_pss_pss_sha256",
    "rsa_pss_pss_sha384",
    "rsa_pss_pss_sha512",
  ],
  ...["rsa_pkcs1_sha256", "rsa_pkcs1_sha384", "rsa_pkcs1_sha512"],
].join(":");

/** DH groups below are refused (RFC 9325 §4.2); OpenSSL does so by itself at SECLEVEL 2, Node once more. */
export const LEAST_DH_BITS = 2048;

/** Trust anchors: the word `bundled`, or PEM. */
export type Roots = string;

/** What `tls.roots` means: `bundled`, `system`, or the path of a PEM file, which `readFile` reads. */
export function loadRoots(setting: string, readFile: (path: string) => string): Roots {
  if (setting === "bundled") return "bundled";
  if (setting === "system") return getCACertificates("system").join("\n");
  const pem = readFile(setting);
  // An empty file would trust nobody, and every message would wait for a reason that is hard to see.
  if (!pem.includes("-----BEGIN CERTIFICATE-----")) throw new Error(`${setting} holds no CA certificate in PEM`);
  return pem;
}

/** The anchors in PEM. Explicit, and NODE_EXTRA_CA_CERTS adds to the bundled list only, never to the operator's own file. */
export function trustAnchors(roots: Roots): string | string[] {
  return roots === "bundled" ? [...rootCertificates, ...getCACertificates("extra")] : roots;
}

/** Whether a suite may carry an authenticated session: all of TLS 1.3, and ECDHE or DHE with AEAD (RFC 9325 §4.2). */
export function isModernSuite(protocol: string, opensslName: string): boolean {
  return protocol === "TLSv1.3" || MODERN.includes(opensslName);
}

/** True if the host must be proven: then nothing is offered over which a proof would not count. */
export function demandsProof({ atLeast, webpki, dane }: TlsRequirement): boolean {
  return atLeast === "authenticated" || webpki.demanded || dane?.demanded === true;
}

/** Makes contexts once each: parsing a root list takes milliseconds, a connection should not. */
export function createContexts(): (roots: Roots, strict: boolean) => SecureContext {
  const strictly = new Map<Roots, SecureContext>();
  const leniently = new Map<Roots, SecureContext>();
  return (roots, strict) => {
    const made = strict ? strictly : leniently;
    const known = made.get(roots);
    if (known !== undefined) return known;
    const context = createSecureContext({
      ca: trustAnchors(roots),
      minVersion: "TLSv1.2",
      maxVersion: "TLSv1.3",
      ciphers: [...TLS_1_3, ...MODERN, ...(strict ? [] : TOLERABLE), NEVER].join(":"),
      sigalgs: SIGNATURES,
      ecdhCurve: "auto",
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_NO_COMPRESSION | constants.SSL_OP_NO_TICKET,
    });
    // Routes may bring roots of their own; they are few, but a reload may change them for ever.
    if (made.size >= 64) made.clear();
    made.set(roots, context);
    return context;
  };
}
