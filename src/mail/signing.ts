/** What the rooms say to each other about DKIM (RFC 6376): whose signature a message is to have, and what signing gave. */
import type { Domain } from "./domain.ts";

/** `a=`: RFC 6376 §3.3, RFC 8463 §3. */
export type DkimAlgorithm = "rsa-sha256" | "ed25519-sha256";

/** Kept with the message from the moment it is taken in; the signature itself is made for each attempt (delivery/). */
export interface SigningWish {
  /** `d=`. */
  readonly domain: Domain;
  /** `bh=`: SHA-256 of the body in simple canonicalization (§3.4.3), base64. */
  readonly bodyHash: string;
}

/** `fields`: DKIM-Signature fields, CRLF at the end of each, to be put in front of the message. */
export type Signed = { readonly kind: "signed"; readonly fields: string } | { readonly kind: "failed"; readonly detail: string };

/** `header`: the message's header fields as stored, without the empty line. Never rejects. */
export type SignMessage = (wish: SigningWish, header: Buffer) => Promise<Signed>;

/** Which of our domains signs for this author domain (From field) now; undefined: none has a key in use. */
export type FindSigningDomain = (author: Domain) => Domain | undefined;
