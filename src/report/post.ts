/**
 * A report by HTTPS (RFC 8460 §5.4): a URI and the compressed document in, whether it was taken out. The request itself is
 * lookup/https.ts: certificate verified, no address of special use, no redirect followed. RFC 8460 §3 lets a reporter pass over a
 * certificate that does not hold; we do not, since anybody on the way could take the report then, and nobody would notice.
 *
 * The answer's head decides. Its body is not read, so there is nothing to bound.
 */
import { isIP } from "node:net";
import type { Clock } from "../clock.ts";
import { askHttps, forbidden, HTTPS_PORT, type HttpsIo } from "../lookup/https.ts";
import { createContextKeeper, type PemRoots } from "../lookup/tls-context.ts";
import { type Domain, parseDomain, withoutBrackets } from "../mail/domain.ts";
import { cleanText } from "../mail/reply.ts";
import { REPORT_MEDIA_TYPE } from "./compress.ts";

export type PostResult =
  | { readonly ok: true; readonly detail: string }
  | {
      readonly ok: false;
      /** A clean sentence. */
      readonly detail: string;
      /** No waiting mends it: an HTTP status from 400 to 499, save 408 and 429. */
      readonly refused: boolean;
      /** Ended by `stop`: nothing is known of the host. */
      readonly stopped: boolean;
    };

/** Never rejects. */
export type PostReport = (url: string, body: Buffer, stop: AbortSignal) => Promise<PostResult>;

export interface PostIo extends HttpsIo {
  /** Who is trusted to certify a host. Asked for each report. */
  readonly roots: () => PemRoots;
  readonly clock: Clock;
  /** Milliseconds for the whole exchange. */
  readonly timeout: number;
}

const ROLE = "collector of reports";

export function createPostReport(io: PostIo): PostReport {
  const contextFor = createContextKeeper();
  return async (url, body, stop) => {
    const target = readTarget(url, io);
    if (typeof target === "string") return failed(target);
    const { host, port, authority, path } = target;
    return askHttps<PostResult>(
      {
        ...{ host, port, path, body, stop, role: ROLE, method: "POST", timeout: io.timeout },
        headers: { Host: authority, "Content-Type": REPORT_MEDIA_TYPE, "Content-Length": body.length },
        context: contextFor(io.roots()),
        read: ({ statusCode = 0 }, done) => done(judge(statusCode, host)),
        failed: ({ stage, detail }) => failed(detail, { stopped: stage === "stopped" }),
      },
      io,
    );
  };
}

interface Target {
  readonly host: Domain;
  readonly port: number;
  /** For the Host field. */
  readonly authority: string;
  /** With the query. */
  readonly path: string;
}

/** Where the URI leads, or why nothing is sent there. */
function readTarget(text: string, { guard }: Pick<PostIo, "guard">): Target | string {
  const url = URL.parse(text);
  if (url?.protocol !== "https:") return `not an https URI: ${JSON.stringify(cleanText(text, 200))}`;
  const bare = withoutBrackets(url.hostname);
  if (isIP(bare) !== 0) {
    const block = guard(bare);
    if (block !== undefined) return `the URI names ${forbidden(bare, ROLE, block)}`;
    return `${bare} is an address; a name is needed, for which a certificate can hold`;
  }
  const host = parseDomain(url.hostname);
  if (!host.ok) return host.error;
  return {
    host: host.value,
    port: url.port === "" ? HTTPS_PORT : Number(url.port),
    authority: url.host,
    path: `${url.pathname}${url.search}`,
  };
}

function judge(status: number, host: Domain): PostResult {
  const answered = `${status} from ${host}`;
  if (status >= 200 && status < 300) return { ok: true, detail: answered };
  if (status >= 300 && status < 400) return failed(`${answered}: it sends us elsewhere, and no redirect is followed`);
  return failed(answered, { refused: status >= 400 && status < 500 && status !== 408 && status !== 429 });
}

function failed(detail: string, { refused = false, stopped = false } = {}): PostResult {
  return { ok: false, detail: cleanText(detail, 500), refused, stopped };
}
