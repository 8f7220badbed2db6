/**
 * What counts as an MTA-STS policy among HTTP responses (RFC 8461 §3.2, §3.3): the head in, why its body is no policy
 * out; and what is kept of a body that is none. Pure; asking is lookup/sts-fetch.ts.
 */
import type { IncomingHttpHeaders } from "node:http";
import { cleanText } from "../mail/reply.ts";

export interface ResponseHead {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
}

export interface ResponseFault {
  /** A clean clause: `it answered 404`. */
  readonly why: string;
  /** As a reason code (RFC 8460 §4.4): `http-404`. */
  readonly code: string;
}

/** Undefined where the body is to be read, up to `sizeLimit` octets. */
export function findFault({ status, headers }: ResponseHead, sizeLimit: number): ResponseFault | undefined {
  // Nothing but 200: redirects lead to whoever controls some page of the host, and there is no cache to answer 304 from.
  if (status >= 300 && status < 400)
    return { why: `it answered ${status}, and a redirect must not be followed (RFC 8461 §3.3)`, code: "redirect" };
  if (status !== 200) return noPolicyWith(status);
  // A host on which people may put files, yet not of this type, cannot have its policy made by one of them.
  const type = headers["content-type"]?.split(";", 1)[0]?.trim();
  if (type?.toLowerCase() !== "text/plain")
    return {
      why: type === undefined ? "it says no media type" : `it serves ${quoted(type)}, and a policy is text/plain (RFC 8461 §3.2)`,
      code: "media-type",
    };
  // What was not asked for (RFC 9110 §12.5.3) would have to be unpacked, and the limit would count the wrong octets.
  const coding = headers["content-encoding"]?.trim().toLowerCase();
  if (coding !== undefined && coding !== "identity")
    return { why: `its content-encoding is ${quoted(coding)}, which was not asked for`, code: "content-encoding" };
  const length = headers["content-length"];
  // TLS as Node gives it hides whether the end of a connection was the host's: a policy cut short by an attacker would pass.
  if (length === undefined && !/(?:^|,)[ \t]*chunked[ \t]*$/i.test(headers["transfer-encoding"] ?? ""))
    return {
      why: "it says neither how long the policy is nor sends it in chunks, so that a part of it could pass for the whole",
      code: "no-length",
    };
  if (length !== undefined && Number(length) > sizeLimit) return tooLong(sizeLimit);
  return undefined;
}

function noPolicyWith(status: number): ResponseFault {
  return { why: `it answered ${status}, and only 200 gives a policy (RFC 8461 §3.3)`, code: `http-${status}` };
}

export function tooLong(sizeLimit: number): ResponseFault {
  return { why: `the policy is longer than ${sizeLimit} octets`, code: "too-large" };
}

/** RFC 8460 §4.4 asks for the policy as it was served, also where it is none; more than this helps nobody to mend it. */
const MOST_SERVED = 4_096;

/** The beginning of a body, its lines kept and each of them clean. */
export function servedText(body: Buffer): string {
  const lines = decodeBeginning(body).split("\n");
  const clean = lines.map((line) => cleanText(line.endsWith("\r") ? line.slice(0, -1) : line, MOST_SERVED)).join("\n");
  // What is no UTF-8 has become longer.
  return decodeBeginning(Buffer.from(clean));
}

/** A character that the limit cuts through is left out. */
function decodeBeginning(octets: Buffer): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(octets.subarray(0, MOST_SERVED), { stream: true });
}

function quoted(text: string): string {
  return JSON.stringify(cleanText(text, 80));
}
