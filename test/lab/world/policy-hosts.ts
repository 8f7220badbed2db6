/**
 * HTTPS policy hosts (RFC 8461 §3.3): many names behind one address, told apart by SNI as in real life; those whose TLS is
 * special have addresses of their own. Every request and every handshake is written down.
 */
import { createServer as createHttp, type IncomingMessage, type Server as HttpServer, type ServerResponse } from "node:http";
import { createServer as createTcp, type Server, type Socket } from "node:net";
import { createSecureContext, createServer as createTls, type SecureContext, type SecureContextOptions, type TLSSocket } from "node:tls";
import type { IssuedCertificate, TestCa } from "../../support/certificates.ts";

export interface PolicyRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
}

export type Serve = (request: IncomingMessage, response: ServerResponse) => void;

export class PolicyHost {
  readonly name: string;
  readonly requests: PolicyRequest[] = [];
  /** Names in SNI, handshakes that came to nothing included. */
  readonly handshakes: string[] = [];
  serve: Serve;
  /** Undefined: the good one. */
  certificate: IssuedCertificate | undefined;

  constructor(name: string, serve: Serve, certificate?: IssuedCertificate) {
    this.name = name;
    this.serve = serve;
    this.certificate = certificate;
  }
}

/** The ordinary answer: 200, text/plain. */
export function servePolicy(text: string, how: { status?: number; headers?: Record<string, string>; type?: string } = {}): Serve {
  const { status = 200, headers = {}, type = "text/plain" } = how;
  return (_request, response) => {
    response.writeHead(status, { ...(type === "" ? {} : { "Content-Type": type }), ...headers });
    response.end(text);
  };
}

export interface PolicyServer extends AsyncDisposable {
  readonly hosts: Map<string, PolicyHost>;
}

/** One HTTPS server for all the hosts; the name asked for decides who answers. */
export async function startPolicyServer(
  address: string,
  hosts: ReadonlyMap<string, PolicyHost>,
  ca: TestCa,
  tls: SecureContextOptions = {},
): Promise<PolicyServer> {
  const known = new Map(hosts);
  const good = await certificatesByName(ca, [...known.keys()]);
  const contexts = new Map<IssuedCertificate, SecureContext>();
  const contextOf = (certificate: IssuedCertificate): SecureContext => {
    const made = contexts.get(certificate) ?? createSecureContext({ cert: certificate.certificate, key: certificate.key, ...tls });
    contexts.set(certificate, made);
    return made;
  };
  const fallback = [...good.values()][0];
  const http: HttpServer = createHttp((request, response) => {
    const name = (request.socket as TLSSocket & { servername?: string }).servername ?? "";
    const host = known.get(name) ?? known.get((request.headers.host ?? "").replace(/:\d+$/, ""));
    if (host === undefined) {
      response.writeHead(421).end();
      return;
    }
    host.requests.push({ method: request.method ?? "", url: request.url ?? "", headers: request.headers });
    host.serve(request, response);
  });
  const open = new Set<Socket>();
  const server = createTls({
    ...tls,
    ...(fallback === undefined ? {} : { cert: fallback.certificate, key: fallback.key }),
    SNICallback(name, done) {
      const host = known.get(name);
      host?.handshakes.push(name);
      const certificate = host?.certificate ?? good.get(name) ?? fallback;
      done(null, certificate === undefined ? undefined : contextOf(certificate));
    },
  });
  server.on("secureConnection", (socket) => http.emit("connection", socket));
  server.on("tlsClientError", () => undefined);
  await listen(server, address, open);
  return { hosts: known, [Symbol.asyncDispose]: () => closeServer(server, open) };
}

/** A certificate for each name, several names to a certificate. */
async function certificatesByName(ca: TestCa, names: readonly string[]): Promise<Map<string, IssuedCertificate>> {
  const found = new Map<string, IssuedCertificate>();
  for (let at = 0; at < names.length; at += 50) {
    const some = names.slice(at, at + 50);
    const certificate = await ca.issue({ names: some, commonName: "policy hosts" });
    for (const name of some) found.set(name, certificate);
  }
  return found;
}

/** Takes connections and never says a word. */
export async function startSilentServer(address: string): Promise<AsyncDisposable> {
  const open = new Set<Socket>();
  const server = createTcp();
  await listen(server, address, open);
  return { [Symbol.asyncDispose]: () => closeServer(server, open) };
}

function listen(server: Server, address: string, open: Set<Socket>): Promise<void> {
  server.on("connection", (socket) => {
    open.add(socket);
    socket.on("error", () => undefined).on("close", () => open.delete(socket));
  });
  return new Promise((done, failed) => server.once("error", failed).listen(443, address, done));
}

async function closeServer(server: Server, open: ReadonlySet<Socket>): Promise<void> {
  for (const socket of open) socket.destroy();
  await new Promise<void>((done) => server.close(() => done()));
}
