/**
 * The body hash of a DKIM signature (RFC 6376 §3.7): SHA-256 over the body in simple canonicalization (§3.4.3), octet by
 * octet as it is stored, while it streams by. Octets in, base64 for `bh=` out.
 */
import { createHash } from "node:crypto";

const CR = 0x0d;
const LF = 0x0a;
const CRLF = Buffer.from("\r\n");
/** Empty lines are held back as a count; when text follows after all, so many go into the hash at once. */
const EMPTY_LINES = Buffer.from("\r\n".repeat(4096));

export interface BodyHash {
  /** Octets behind the empty line that ends the header, cut anywhere. */
  update(octets: Buffer): void;
  /** Once, at the end. */
  digest(): string;
}

export function createBodyHash(): BodyHash {
  const hash = createHash("sha256");
  /** Line ends at the end of what came: only text behind them shows that they are not the end of the body. */
  let heldLineEnds = 0;
  /** And a CR behind those. */
  let heldCr = false;

  const releaseLineEnds = (): void => {
    for (let left = heldLineEnds * CRLF.length; left > 0; left -= EMPTY_LINES.length) hash.update(EMPTY_LINES.subarray(0, left));
    heldLineEnds = 0;
  };
  const releaseCr = (): void => {
    releaseLineEnds();
    hash.update(CRLF.subarray(0, 1));
    heldCr = false;
  };

  return {
    update(octets) {
      if (octets.length === 0) return;
      let start = 0;
      if (heldCr) {
        if (octets[0] === LF) {
          heldLineEnds += 1;
          heldCr = false;
          start = 1;
        } else {
          releaseCr();
        }
      }
      let end = octets.length;
      const endsWithCr = end > start && octets[end - 1] === CR;
      if (endsWithCr) end -= 1;
      const afterLineEnds = end;
      while (end - start >= 2 && octets[end - 2] === CR && octets[end - 1] === LF) end -= 2;
      if (end > start) {
        releaseLineEnds();
        hash.update(octets.subarray(start, end));
      }
      heldLineEnds += (afterLineEnds - end) / 2;
      heldCr = endsWithCr;
    },
    digest() {
      if (heldCr) releaseCr();
      // One CRLF for all of them, and one where there is none, be it because there is no body (§3.4.3).
      return hash.update(CRLF).digest("base64");
    },
  };
}
