/**
 * What counts as an MTA-STS policy among HTTP responses (RFC 8461 §3.2, §3.3): the head in, why its body is no policy
 * out. Pure; asking is lookup/sts-fetch.ts.
 */
import type { IncomingHttpHeaders } from "node:http";
import { cleanText } from "../mail/reply.ts";

export interface ResponseHead {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
}

/** A clean clause such as `it answered 404`; undefined where the body is to be read, up to `sizeLimit` octets. */
export function findFault({ status, headers }: ResponseHead, sizeLimit: number): string | undefined {
  // Nothing but 200: redirects lead to whoever controls some page of the host, and there is no cache to answer 304 from.
  if (status >= 300 && status < 400) return `it answered ${status}, and a redirect must not be followed (RFC 8461 §3.3)`;
  if (status !== 200) return `it answered ${status}, and only 200 gives a policy (RFC 8461 §3.3)`;
  // A host on which people may put files, yet not of this type, cannot have its policy made by one of them.
  const type = headers["content-type"]?.split(";", 1)[0]?.trim();
  if (type?.toLowerCase() !== "text/plain")
    return type === undefined ? "it says no media type" : `it serves ${quoted(type)}, and a policy is text/plain (RFC 8461 §3.2)`;
  // What was not asked for (RFC 9110 §12.5.3) would have to be unpacked, and the limit would count the wrong octets.
  const coding = headers["content-encoding"]?.trim().toLowerCase();
  if (coding !== undefined && coding !== "identity") return `its content-encoding is ${quoted(coding)}, which was not asked for`;
  const length = headers["content-length"];
  // TLS as Node gives it hides whether the end of a connection was the host's: a policy cut short by an attacker would pass.
  if (length === undefined && !/(?:^|,)[ \t]*chunked[ \t]*$/i.test(headers["transfer-encoding"] ?? ""))
    return "it says neither how long the policy is nor sends it in chunks, so that a part of it could pass for the whole";
  if (length !== undefined && Number(length) > sizeLimit) return tooLong(sizeLimit);
  return undefined;
}

export function tooLong(sizeLimit: number): string {
  return `the policy is longer than ${sizeLimit} octets`;
}

function quoted(text: string): string {
  return JSON.stringify(cleanText(text, 80));
}
