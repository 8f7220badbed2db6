/**
 * The certificate shown to clients: two files in, a TLS context or a sentence that says what is wrong with them out.
 * Protocol and ciphers are set on the context itself, so that NODE_OPTIONS lowers nothing (RFC 8996, RFC 8997 §3).
 */
import { constants, createHash, createPrivateKey, X509Certificate } from "node:crypto";
import { createSecureContext, type SecureContext } from "node:tls";
import { findCoveredName } from "../policy/names.ts";
import { codeOf, messageOf } from "../thrown.ts";

export interface ServerCertificate {
  readonly context: SecureContext;
  /** DNS names it is for; for the start-up check (RFC 8314 §4). */
  readonly names: readonly string[];
  readonly validTo: number;
  /** Changes with the files' content. */
  readonly digest: string;
}

export interface CertificateFiles {
  readonly certificateFile: string;
  readonly keyFile: string;
}

/** Forward secrecy and AEAD only (RFC 9325 §4.2). */
const CIPHERS = "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM";
/** OpenSSL's SSL_OP_NO_RENEGOTIATION, which Node does not name: a client could ask for handshakes without end. */
const NO_RENEGOTIATION = 0x4000_0000;

/** Throws an Error fit for the operator; `now` in ms. */
export async function readCertificate(
  files: CertificateFiles,
  readFile: (path: string) => Promise<Buffer>,
  now: number,
): Promise<ServerCertificate> {
  const [certificate, key] = await Promise.all([
    readOne("submission.certificateFile", files.certificateFile, readFile),
    readOne("submission.keyFile", files.keyFile, readFile),
  ]);
  const leaf = attempt(
    `submission.certificateFile: ${files.certificateFile} holds no PEM certificate`,
    () => new X509Certificate(certificate),
  );
  const privateKey = attempt(`submission.keyFile: ${files.keyFile} holds no PEM private key that can be read without a passphrase`, () =>
    createPrivateKey(key),
  );
  if (!leaf.checkPrivateKey(privateKey)) {
    throw new Error(`submission.keyFile: ${files.keyFile} is not the key of the certificate in ${files.certificateFile}`);
  }
  if (now >= leaf.validToDate.getTime()) {
    throw new Error(`submission.certificateFile: the certificate in ${files.certificateFile} ended ${leaf.validToDate.toISOString()}`);
  }
  if (now < leaf.validFromDate.getTime()) {
    throw new Error(
      `submission.certificateFile: the certificate in ${files.certificateFile} is not valid before ${leaf.validFromDate.toISOString()}; is the clock right?`,
    );
  }
  const context = attempt(`submission.certificateFile: TLS cannot use ${files.certificateFile}`, () =>
    createSecureContext({
      cert: certificate,
      key,
      minVersion: "TLSv1.2",
      maxVersion: "TLSv1.3",
      ciphers: CIPHERS,
      honorCipherOrder: true,
      dhparam: "auto",
      secureOptions: constants.SSL_OP_CIPHER_SERVER_PREFERENCE | NO_RENEGOTIATION,
      sessionIdContext: "postern-submission",
    }),
  );
  return {
    context,
    names: namesOf(leaf),
    validTo: leaf.validToDate.getTime(),
    digest: createHash("sha256").update(certificate).update("\0").update(key).digest("hex"),
  };
}

async function readOne(key: string, path: string, readFile: (path: string) => Promise<Buffer>): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    const code = codeOf(cause);
    throw new Error(`${key}: ${path} cannot be read${code === undefined ? "" : ` (${code})`}`, { cause });
  }
}

function attempt<T>(complaint: string, make: () => T): T {
  try {
    return make();
  } catch (cause) {
    throw new Error(`${complaint}: ${messageOf(cause)}`, { cause });
  }
}

function namesOf(leaf: X509Certificate): string[] {
  return [...(leaf.subjectAltName ?? "").matchAll(/DNS:([^,]+)/g)].map((match) => (match[1] ?? "").trim());
}

/** A certificate without our name works for clients that are told another one; worth a word at start. */
export function namesHost(certificate: ServerCertificate, host: string): boolean {
  return findCoveredName(certificate.names, [host]) !== undefined;
}
