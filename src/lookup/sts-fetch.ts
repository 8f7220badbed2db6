/**
 * Fetches an MTA-STS policy over HTTPS (RFC 8461 §3.3): a policy domain in; its policy, or a failure in RFC 8460's words,
 * out. One GET to `https://mta-sts.` and the domain. The request itself, and whether the host's certificate holds, is
 * lookup/https.ts; when to fetch, lookup/sts-lookup.ts; what counts as a policy among responses, lookup/sts-response.ts.
 */
import type { IncomingMessage } from "node:http";
import type { Domain } from "../mail/domain.ts";
import { cleanText } from "../mail/reply.ts";
import type { TlsFailure } from "../policy/outcome.ts";
import { connectionCode } from "../policy/reason-code.ts";
import type { StsFetchResult } from "../policy/sts-freshness.ts";
import { parseStsPolicy } from "../policy/sts-policy.ts";
import { messageOf } from "../thrown.ts";
import { askHttps, codeOfBreak, HTTPS_PORT, type HttpsIo } from "./https.ts";
import { findFault, type ResponseFault, servedText, tooLong } from "./sts-response.ts";
import { createContextKeeper, type PemRoots } from "./tls-context.ts";

export interface StsFetchSettings {
  /** Milliseconds for the whole exchange, the look-up of the host's addresses included. */
  readonly fetchTimeout: number;
  /** Octets; a longer policy is none. */
  readonly policySize: number;
  readonly roots: PemRoots;
}

export interface StsFetchIo extends HttpsIo {
  /** Asked for each fetch. */
  readonly settings: () => StsFetchSettings;
  /** Where test hosts listen; policies are served at 443 (RFC 8461 §3.2). */
  readonly port?: number;
}

/** Never rejects, and ends by its deadline. `stop` ends it at once; its reason may be a clause that says why. */
export type FetchStsPolicy = (policyDomain: Domain, stop?: AbortSignal) => Promise<StsFetchResult>;

export function createStsFetch(io: StsFetchIo): FetchStsPolicy {
  const contextFor = createContextKeeper();
  return (policyDomain, stop) => {
    const { fetchTimeout, policySize, roots } = io.settings();
    // RFC 8461 §3.3: the name of the policy host is made from the policy domain, whatever aliases lead to.
    const host = `mta-sts.${policyDomain}` as Domain;
    return askHttps<StsFetchResult>(
      {
        host,
        role: "policy host",
        port: io.port ?? HTTPS_PORT,
        method: "GET",
        path: "/.well-known/mta-sts.txt",
        headers: { Accept: "text/plain", "Accept-Encoding": "identity" },
        context: contextFor(roots),
        timeout: fetchTimeout,
        ...(stop !== undefined && { stop }),
        read: (response, done) => readPolicy(response, host, policySize, done),
        failed: ({ stage, detail, whoActs, code }) => {
          const type = stage === "certificate" ? "sts-webpki-invalid" : "sts-policy-fetch-error";
          return { ok: false, failure: { type, detail, whoActs, code } };
        },
      },
      io,
    );
  };
}

/** Reads the body up to its limit; a longer one is cut off with its connection and is no policy. */
function readPolicy(response: IncomingMessage, host: Domain, policySize: number, final: (result: StsFetchResult) => void): void {
  const fault = findFault({ status: response.statusCode ?? 0, headers: response.headers }, policySize);
  if (fault !== undefined) return final(faulty(host, fault));
  const chunks: Buffer[] = [];
  let size = 0;
  response.on("data", (chunk: Buffer) => {
    size += chunk.length;
    if (size > policySize) return final(faulty(host, tooLong(policySize)));
    chunks.push(chunk);
  });
  response.on("error", (error) => final(failed(`${host}: the policy broke off: ${cleanText(messageOf(error), 200)}`, codeOfBreak(error))));
  response.on("end", () => {
    if (!response.complete) return final(failed(`${host}: the policy broke off`, connectionCode(undefined)));
    const body = Buffer.concat(chunks);
    const policy = parseStsPolicy(body);
    if (policy.ok) return final({ ok: true, policy: policy.value });
    const detail = `the policy that ${host} serves is invalid: ${policy.error}`;
    const failure: TlsFailure = {
      type: "sts-policy-invalid",
      detail,
      whoActs: "receiver",
      code: policy.fault,
      served: servedText(body),
    };
    return final({ ok: false, failure });
  });
}

function faulty(host: Domain, { why, code }: ResponseFault): StsFetchResult & { ok: false } {
  return failed(`${host}: ${why}`, code);
}

function failed(detail: string, code: string): StsFetchResult & { ok: false } {
  const failure: TlsFailure = { type: "sts-policy-fetch-error", detail: cleanText(detail, 500), whoActs: "receiver", code };
  return { ok: false, failure };
}
