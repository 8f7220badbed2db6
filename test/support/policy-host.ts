/**
 * A scripted MTA-STS policy host over real TLS on a loopback port. What it answers goes in by host name; every request,
 * every server name and every connection is kept. Names that it was told nothing of get 404.
 *
 *   const host = await startPolicyHost({ certificate: await ca.issue({ names: ["mta-sts.example.test"] }) });
 *   host.serve("example.test", policyText({ mode: "enforce", mx: ["mx.example.test"] }));
 */
import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { Socket } from "node:net";
import type { TlsOptions, TLSSocket } from "node:tls";

export interface PolicyAnswer {
  readonly status?: number;
  /** Beside `content-type: text/plain`, which `undefined` takes away. */
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string | Buffer;
}

/** Octets of your own, behind a finished handshake. */
export type RawAnswer = (socket: Socket, request: IncomingMessage, response: ServerResponse) => void;

export interface SeenRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly serverName: string | false;
  readonly resumed: boolean;
}

export interface PolicyHost {
  readonly address: string;
  readonly port: number;
  readonly requests: SeenRequest[];
  /** The names of ClientHellos, also of handshakes that failed. */
  readonly serverNames: string[];
  /** TCP connections so far. */
  readonly connections: number;
  /** Connections that are open now. */
  readonly open: number;
  /** By policy domain. */
  serve(policyDomain: string, answer: string | PolicyAnswer | RawAnswer): void;
  /** Requests for the policy of a domain. */
  count(policyDomain: string): number;
  close(): Promise<void>;
}

export interface PolicyHostOptions {
  readonly certificate: { readonly certificate: string; readonly key: string };
  /** Versions, suites, session tickets. */
  readonly tls?: TlsOptions;
  readonly address?: string;
  readonly port?: number;
}

export async function startPolicyHost({ certificate, tls = {}, address = "127.0.0.1", port = 0 }: PolicyHostOptions): Promise<PolicyHost> {
  const answers = new Map<string, string | PolicyAnswer | RawAnswer>();
  const requests: SeenRequest[] = [];
  const serverNames: string[] = [];
  const open = new Set<Socket>();
  let connections = 0;
  const options: TlsOptions = {
    cert: certificate.certificate,
    key: certificate.key,
    SNICallback(name, done) {
      serverNames.push(name);
      done(null);
    },
    ...tls,
  };
  const server = createServer(options, (request, response) => {
    const socket = request.socket as TLSSocket & { readonly servername: string | false };
    const { method = "", url = "", headers } = request;
    requests.push({ method, url, headers, serverName: socket.servername, resumed: socket.isSessionReused() });
    const answer = answers.get((headers.host ?? "").replace(/:\d+$/, "")) ?? { status: 404, body: "not found" };
    if (typeof answer === "function") return answer(socket, request, response);
    const { status = 200, headers: more = {}, body = "" } = typeof answer === "string" ? { body: answer } : answer;
    const sent: OutgoingHttpHeaders = { "content-type": "text/plain", "content-length": Buffer.byteLength(body), ...more };
    response.writeHead(status, Object.fromEntries(Object.entries(sent).filter(([, value]) => value !== undefined)));
    response.end(body);
  });
  server.on("connection", (socket: Socket) => {
    connections += 1;
    open.add(socket);
    socket.on("close", () => open.delete(socket)).on("error", () => {});
  });
  server.on("tlsClientError", () => {});
  await new Promise<void>((done, failed) => server.once("error", failed).listen(port, address, done));
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new Error("the policy host has no port");
  return {
    address,
    port: bound.port,
    requests,
    serverNames,
    get connections() {
      return connections;
    },
    get open() {
      return open.size;
    },
    serve: (policyDomain, answer) => void answers.set(`mta-sts.${policyDomain}`, answer),
    count: (policyDomain) => requests.filter(({ headers }) => headers.host === `mta-sts.${policyDomain}`).length,
    async close() {
      for (const socket of open) socket.destroy();
      await new Promise<void>((done) => server.close(() => done()));
    },
  };
}

export interface PolicyWishes {
  readonly mode?: string;
  readonly mx?: readonly string[];
  readonly maxAge?: number;
}

export function policyText({ mode = "enforce", mx = ["mx.example.test"], maxAge = 604_800 }: PolicyWishes = {}): string {
  return ["version: STSv1", `mode: ${mode}`, ...mx.map((pattern) => `mx: ${pattern}`), `max_age: ${maxAge}`, ""].join("\r\n");
}
