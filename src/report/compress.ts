/**
 * The document as it travels, by mail and by HTTPS alike (RFC 8460 §5.2): its text in, gzip out. The same text gives the same
 * octets, since node:zlib writes no time into the header: a report that is tried again is the same report (§5.3).
 */
import { constants, gzipSync } from "node:zlib";

export const REPORT_MEDIA_TYPE = "application/tlsrpt+gzip";

export function compress(document: string): Buffer {
  return gzipSync(document, { level: constants.Z_BEST_COMPRESSION });
}
