/**
 * One TLS handshake as client (RFC 3207 §4, RFC 8446): a connected socket in; the secured connection with the chain as it
 * was sent, or the reason in words, out. Nothing is judged here: that is delivery/certificate.ts. What is asked of TLS
 * itself is delivery/tls-options.ts.
 */
import type { X509Certificate } from "node:crypto";
import { type Socket, isIP } from "node:net";
import { connect, type SecureContext, type TLSSocket } from "node:tls";
import type { Clock } from "../clock.ts";
import { cleanText } from "../mail/reply.ts";
import type { TlsFailure } from "../policy/outcome.ts";
import { tlsCode } from "../policy/reason-code.ts";
import { LEAST_DH_BITS } from "./tls-options.ts";
import { Wire } from "./wire.ts";

const LONGEST_CHAIN = 10;

export interface HandshakeWishes {
  readonly context: SecureContext;
  /** SNI; absent for addresses. */
  readonly serverName?: string;
  readonly wait: number;
  readonly clock: Clock;
  /** The host speaks first inside TLS: it owes a greeting. */
  readonly greets: boolean;
}

export type Handshake =
  | {
      readonly kind: "secured";
      readonly wire: Wire;
      readonly protocol: string;
      /** The suite by IANA's name, and by OpenSSL's. */
      readonly cipher: string;
      readonly suite: string;
      readonly serverName?: string;
      /** As sent, leaf first. */
      readonly chain: readonly X509Certificate[];
      /** OpenSSL's verdict on the path, names aside. */
      readonly trusted: boolean;
      readonly trustError?: string;
    }
  | { readonly kind: "failed"; readonly failure: TlsFailure };

/** Takes the socket over. After a failure it is closed: it cannot be used in clear any more (RFC 3207 §4.1). */
export function shakeHands(socket: Socket, wishes: HandshakeWishes): Promise<Handshake> {
  const serverName = sniName(wishes.serverName);
  return new Promise((resolve) => {
    const secured = connect({
      socket,
      secureContext: wishes.context,
      ...(serverName === undefined ? {} : { servername: serverName }),
      // We judge ourselves, always and in full: Node's own check is skipped for untrusted chains, and ends in an error
      // that hides the certificate. No `session` is ever passed: a resumed session is "authorized" unseen.
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
      minDHSize: LEAST_DH_BITS,
    });
    const stopTimer = wishes.clock.after(wishes.wait, () => finish("timeout", "handshake-timeout"));
    const onError = (error: NodeJS.ErrnoException): void => finish(error.code ?? "error", error.message);
    const onClose = (): void => finish("ECONNRESET", "closed");

    function settle(result: Handshake): void {
      stopTimer();
      secured.off("error", onError);
      secured.off("close", onClose);
      resolve(result);
    }
    function finish(code: string, message: string): void {
      // A late error of a socket that is given up must not end the process.
      secured.on("error", () => undefined);
      settle({ kind: "failed", failure: handshakeFailure(code, message) });
      secured.destroy();
      socket.destroy();
    }
    secured.on("error", onError);
    secured.on("close", onClose);
    secured.once("secureConnect", () => {
      // The wire listens before this event returns: an alert may be the next thing that comes (RFC 8446 §4.4.4).
      const wire = new Wire(secured, wishes.clock);
      if (wishes.greets) wire.expect(1);
      const cipher = secured.getCipher();
      settle({
        kind: "secured",
        wire,
        protocol: secured.getProtocol() ?? "unknown",
        cipher: cipher.standardName ?? cipher.name,
        suite: cipher.name,
        ...(serverName === undefined ? {} : { serverName }),
        chain: readChain(secured),
        trusted: secured.authorized,
        ...(secured.authorized ? {} : { trustError: String(secured.authorizationError) }),
      });
    });
  });
}

/** A-labels without the final dot, and never an address (RFC 6066 §3). */
function sniName(name: string | undefined): string | undefined {
  const bare = name?.replace(/\.$/, "");
  return bare === undefined || bare === "" || isIP(bare) !== 0 ? undefined : bare;
}

/** The certificates in the order they were sent. To be called once: in Node before 26 the first call empties the socket. */
function readChain(socket: TLSSocket): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let certificate = socket.getPeerX509Certificate();
  while (certificate !== undefined && chain.length < LONGEST_CHAIN && !chain.includes(certificate)) {
    chain.push(certificate);
    certificate = certificate.issuerCertificate;
  }
  return chain;
}

/** Without a word of TLS: as though somebody on the way would not have it. */
const BROKEN_OFF: Readonly<Record<string, string>> = {
  timeout: "handshake-timeout",
  ECONNRESET: "handshake-reset",
  EPIPE: "handshake-reset",
  ECONNABORTED: "handshake-reset",
};

/** By the code as policy/reason-code.ts spells it. */
const WORDS: readonly (readonly [RegExp, string])[] = [
  [/^handshake-timeout$/, "the TLS handshake was not finished in time (handshake-timeout)"],
  [/^handshake-reset$/, "the connection was cut during the TLS handshake (handshake-reset)"],
  [/^unsupported-protocol$/, "the host speaks no TLS 1.2 or later (unsupported-protocol)"],
  [
    /wrong-version-number|packet-length|http-request|unexpected-message|bad-record-type|unknown-protocol/,
    "the host answered the TLS handshake with something else",
  ],
  [/dh-key-too-small|dh-param-size|bad-dh/, `the host offers a Diffie-Hellman group of fewer than ${LEAST_DH_BITS} bits`],
  [/wrong-cipher|unknown-cipher|ciphersuite/, "the host chose a cipher suite that was not offered to it"],
  [
    /handshake-failure|no-shared-cipher|insufficient-security/,
    "the host takes none of the cipher suites, groups and signatures that are safe",
  ],
  [/wrong-signature-type|signature-algorithm|sigalg|md-too-weak/, "the host signs the handshake with an algorithm that is not safe"],
  [
    /certificate-required|bad-certificate|unknown-ca|certificate-unknown/,
    "the host asks for a certificate of this relay, or does not like it",
  ],
  [/unrecognized-name/, "the host does not know the name it was asked for"],
];

/** RFC 8460 §4.3.2.2 has one word for a handshake that fails before there is a certificate to judge. */
export function handshakeFailure(code: string, message: string): TlsFailure {
  const reason = BROKEN_OFF[code] ?? tlsCode(code);
  const words = WORDS.find(([pattern]) => pattern.test(reason))?.[1] ?? `the TLS handshake failed: ${cleanText(message, 200)}`;
  const library = code.startsWith("ERR_") ? ` [${cleanText(code, 80)}]` : "";
  return { type: "validation-failure", detail: words + library, whoActs: "receiver", code: reason };
}
