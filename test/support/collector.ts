/**
 * A collector of TLS reports over real TLS on a loopback port (RFC 8460 §5.4). Every request is kept with its body; what is
 * answered is a status, or done by hand.
 *
 *   const collector = await startCollector({ certificate: await ca.issue({ names: ["reports.example.test"] }) });
 *   collector.answer = 503;
 */
import type { IncomingHttpHeaders, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { Socket } from "node:net";
import type { TlsOptions } from "node:tls";

export interface CollectedRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface Collector {
  readonly port: number;
  readonly requests: CollectedRequest[];
  /** TCP connections so far, and those that are open now. */
  readonly connections: number;
  readonly open: number;
  answer: number | ((response: ServerResponse, request: CollectedRequest) => void);
  close(): Promise<void>;
}

export interface CollectorOptions {
  readonly certificate: { readonly certificate: string; readonly key: string };
  readonly tls?: TlsOptions;
  readonly address?: string;
  readonly port?: number;
}

export async function startCollector({ certificate, tls = {}, address = "127.0.0.1", port = 0 }: CollectorOptions): Promise<Collector> {
  const requests: CollectedRequest[] = [];
  const open = new Set<Socket>();
  let connections = 0;
  const server = createServer({ cert: certificate.certificate, key: certificate.key, ...tls }, (request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => void chunks.push(chunk));
    request.on("error", () => {});
    request.on("end", () => {
      const { method = "", url = "", headers } = request;
      const collected = { method, url, headers, body: Buffer.concat(chunks) };
      requests.push(collected);
      const { answer } = collector;
      if (typeof answer === "number") response.writeHead(answer).end();
      else answer(response, collected);
    });
  });
  server.on("connection", (socket: Socket) => {
    connections += 1;
    open.add(socket);
    socket.on("close", () => open.delete(socket)).on("error", () => {});
  });
  server.on("tlsClientError", () => {});
  await new Promise<void>((done, failed) => server.once("error", failed).listen(port, address, done));
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new Error("the collector has no port");
  const collector: Collector = {
    port: bound.port,
    requests,
    get connections() {
      return connections;
    },
    get open() {
      return open.size;
    },
    answer: 200,
    async close() {
      for (const socket of open) socket.destroy();
      await new Promise<void>((done) => server.close(() => done()));
    },
  };
  return collector;
}
