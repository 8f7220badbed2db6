/**
 * What we ask of TLS where a look-up must be authenticated, by policy hosts (lookup/sts-fetch.ts) and by resolvers
 * (lookup/dot.ts): trust anchors in, a secure context out (RFC 8310 §7, RFC 9325 §4.2). Versions, suites and options are set
 * by hand, so that nothing of it is left to the environment. Mail itself is delivery/tls-options.ts.
 */
import { constants } from "node:crypto";
import { createSecureContext, type SecureContext } from "node:tls";

/** Trust anchors in PEM, each list of them read once: it is known again by its identity. */
export type PemRoots = string | readonly string[];

/** Forward secrecy throughout, AEAD first (RFC 9325 §4.2), at 112 bits. */
const CIPHERS = [
  ...["TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"],
  ...["ECDHE+AESGCM", "ECDHE+CHACHA20", "DHE+AESGCM", "DHE+CHACHA20", "ECDHE+AES"],
  ...["!aNULL", "!eNULL", "!PSK", "!SRP", "@SECLEVEL=2"],
].join(":");

/** Keeps the last context: reading a list of roots takes milliseconds, and it rarely changes. */
export function createContextKeeper(): (roots: PemRoots) => SecureContext {
  let made: { readonly roots: PemRoots; readonly context: SecureContext } | undefined;
  return (roots) => {
    if (made?.roots === roots) return made.context;
    const context = createSecureContext({
      ca: typeof roots === "string" ? roots : [...roots],
      minVersion: "TLSv1.2",
      maxVersion: "TLSv1.3",
      ciphers: CIPHERS,
      secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_NO_COMPRESSION,
    });
    made = { roots, context };
    return context;
  };
}
