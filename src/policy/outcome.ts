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
  /** `failure-reason-code` of RFC 8460 §4.4: `[A-Za-z0-9._-]`, at most 64 characters, in our words: `self-signed`, `http-404`. */
  readonly code?: string;
  /** `sts-policy-invalid` only: the beginning of what was served, clean, for the report to its owner. */
  readonly served?: string;
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

/** What the WebPKI says of a session (RFC 6125, RFC 8461 §4.2). */
export type WebPkiVerdict =
  | { readonly held: true; readonly referenceIdentifier: string }
  | {
      readonly held: false;
      readonly failure: TlsFailure;
      /** What else is wrong with the certificate: one may have expired and be for another name (RFC 8460 §4). */
      readonly others?: readonly TlsFailure[];
    };

/** What the host's usable TLSA records say of a session (RFC 7672 §3). */
export type DaneVerdict =
  | {
      readonly held: true;
      readonly baseDomain: string;
      /** The record that matched, `3 1 1 9f2c…` with at most 64 hexadecimal digits. */
      readonly record: string;
      /** Usage 2 only: the name that the certificate carries. */
      readonly referenceIdentifier?: string;
    }
  | { readonly held: false; readonly failure: TlsFailure };

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
  readonly webpki: WebPkiVerdict;
  /** Absent where the host has no usable TLSA records, or DANE was not asked for. */
  readonly dane?: DaneVerdict;
}

/**
 * What the connection turned out to be, before anything of the envelope was said. `authenticated`: the peer was proven by
 * WebPKI or by DANE; which of them, and whether that suffices, is for the requirement to say.
 */
export type TlsOutcome =
  | { readonly kind: "clear"; readonly because: TlsFailure }
  | { readonly kind: "encrypted"; readonly session: TlsSession; readonly because: TlsFailure }
  | { readonly kind: "authenticated"; readonly session: TlsSession };
