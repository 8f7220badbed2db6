/**
 * What became of TLS with one host, in the words of RFC 8460 §4.3. These words are used everywhere: in the plan, the
 * log, `queue why`, metrics and, later, reports.
 */

/** RFC 8460 §4.3.1 to §4.3.2.2. */
export type TlsFailureType =
  | "starttls-not-supported"
  | "certificate-host-mismatch"
  | "certificate-expired"
  | "certificate-not-trusted"
  | "validation-failure"
  | "tlsa-invalid"
  | "dnssec-invalid"
  | "dane-required"
  | "sts-policy-fetch-error"
  | "sts-policy-invalid"
  | "sts-webpki-invalid";

/** Whose move it is: the admin of this relay, the receiving side, the sender of the message, or nobody but time. */
export type WhoActs = "you" | "receiver" | "sender" | "nobody";

export interface TlsFailure {
  readonly type: TlsFailureType;
  /** A sentence a person can act on: `certificate ended 2026-08-30 11:02 UTC`. Remote text in it is clean. */
  readonly detail: string;
  readonly whoActs: WhoActs;
}

/** The certificate a host presented, as evidence; text fields are clean and bounded. */
export interface CertificateEvidence {
  readonly subject: string;
  readonly issuer: string;
  /** DNS names of subjectAltName, at most 20 of them. */
  readonly names: readonly string[];
  readonly validFrom: string;
  readonly validTo: string;
  /** SHA-256 of the certificate in hexadecimal. */
  readonly sha256: string;
  /** `RSA 2048`, `EC prime256v1`, `Ed25519`. */
  readonly key: string;
}

/** One TLS session as it was, verified in full even where nothing required it. */
export interface TlsSession {
  /** `TLSv1.3`. */
  readonly protocol: string;
  /** The IANA name of the suite. */
  readonly cipher: string;
  /** The name sent as SNI; absent when none was sent. */
  readonly serverName?: string;
  /** As the host sent it, leaf first, at most 10. Empty only if it sent none. */
  readonly chain: readonly CertificateEvidence[];
  /** Absent when the chain leads to a trusted root, is in date and is for a reference identifier. */
  readonly failure?: TlsFailure;
}

/** What the connection turned out to be, before anything of the envelope was said. */
export type TlsOutcome =
  | { readonly kind: "clear"; readonly because: TlsFailure }
  | { readonly kind: "encrypted"; readonly session: TlsSession; readonly because: TlsFailure }
  | { readonly kind: "authenticated"; readonly session: TlsSession; readonly referenceIdentifier: string };
