/**
 * Key pairs for DKIM (RFC 6376 §3.3, RFC 8463): made as PEM for the store and base64 for DNS, and read back for signing.
 */
import { createPrivateKey, generateKeyPair, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import type { DkimAlgorithm } from "./signing.ts";

export interface KeyPair {
  /** PKCS#8, PEM. */
  readonly privateKey: string;
  /** `p=`. */
  readonly publicKey: string;
}

const generate = promisify(generateKeyPair);

/** RFC 8301 §3.2: signers use at least 2048 bits. More would not fit the 512-octet answers that some resolvers still stop at. */
const RSA_BITS = 2048;
/** SubjectPublicKeyInfo of Ed25519 (RFC 8410 §4) ends with the 32 octets that are the key. */
const ED25519_OCTETS = 32;

/** In the thread pool: an RSA key takes some 100 ms. */
export async function generateKey(algorithm: DkimAlgorithm): Promise<KeyPair> {
  const { publicKey, privateKey } =
    algorithm === "rsa-sha256" ? await generate("rsa", { modulusLength: RSA_BITS }) : await generate("ed25519", {});
  const info = publicKey.export({ type: "spki", format: "der" });
  return {
    privateKey: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    // RFC 8463 §4: the octets alone, without the ASN.1 around them.
    publicKey: (algorithm === "rsa-sha256" ? info : info.subarray(-ED25519_OCTETS)).toString("base64"),
  };
}

/** Throws a sentence without anything of the text in it. */
export function readPrivateKey(pem: string, algorithm: DkimAlgorithm): KeyObject {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    // The library's own words may quote what it read.
    throw new Error("the private key cannot be read");
  }
  const expected = algorithm === "rsa-sha256" ? "rsa" : "ed25519";
  if (key.asymmetricKeyType !== expected) throw new Error(`the private key is of another kind than ${algorithm}`);
  return key;
}
