/**
 * The receiving end of a benchmark, a process of its own: 127.0.1.1 to 127.0.1.N on one port, STARTTLS, every recipient
 * `<17@d1.test>` noted with the time of its 250. With SILENT=N also 127.0.2.1 to 127.0.2.N on another port, which accept
 * and never speak. Times are CLOCK_MONOTONIC in ms, which all processes of a machine share.
 */
import { readFileSync } from "node:fs";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { createSecureContext, TLSSocket, type SecureContext } from "node:tls";
import { monotonic } from "./measure.ts";

const delivered: [sequence: number, time: number][] = [];
let duplicates = 0;
let clear = 0;
let connections = 0;
const seen = new Set<number>();

const EHLO = "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 104857600\r\n";
const END = Buffer.from("\r\n.\r\n");

class Session {
  #socket: Socket;
  readonly #context: SecureContext;
  #pending: Buffer = Buffer.alloc(0);
  #inData = false;
  #tail: Buffer = Buffer.alloc(0);
  #sequences: number[] = [];
  #tls = false;
  #replies = "";

  constructor(socket: Socket, context: SecureContext) {
    this.#socket = socket;
    this.#context = context;
    socket.setNoDelay(true);
    this.#listen();
    socket.write("220 sink.test ESMTP\r\n");
  }

  #listen(): void {
    this.#socket.on("error", () => this.#socket.destroy());
    this.#socket.on("data", (chunk: Buffer) => {
      this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
      this.#work();
      if (this.#replies !== "") this.#socket.write(this.#replies);
      this.#replies = "";
    });
  }

  #work(): void {
    while (this.#pending.length > 0) {
      if (this.#inData) {
        if (!this.#takeData()) return;
        continue;
      }
      const end = this.#pending.indexOf("\r\n");
      if (end === -1) return;
      const line = this.#pending.toString("latin1", 0, end);
      this.#pending = this.#pending.subarray(end + 2);
      if (this.#command(line)) return;
    }
  }

  /** True when the socket has changed hands. */
  #command(line: string): boolean {
    switch (line.slice(0, 4).toUpperCase()) {
      case "EHLO":
        this.#replies += this.#tls ? `${EHLO}250 HELP\r\n` : `${EHLO}250 STARTTLS\r\n`;
        return false;
      case "STAR": {
        this.#socket.write("220 go ahead\r\n");
        this.#socket.removeAllListeners("data");
        this.#pending = Buffer.alloc(0);
        this.#socket = new TLSSocket(this.#socket, { isServer: true, secureContext: this.#context });
        this.#tls = true;
        this.#listen();
        return true;
      }
      case "RCPT": {
        this.#sequences.push(Number.parseInt(line.slice(line.indexOf("<") + 1), 10));
        this.#replies += "250 2.1.5 ok\r\n";
        return false;
      }
      case "DATA":
        this.#inData = true;
        this.#tail = Buffer.from("\r\n");
        this.#replies += "354 go on\r\n";
        return false;
      case "QUIT":
        this.#socket.end("221 bye\r\n");
        return false;
      default:
        this.#replies += "250 ok\r\n";
        return false;
    }
  }

  #takeData(): boolean {
    // Only the seam between two chunks needs a copy.
    const seam = Buffer.concat([this.#tail, this.#pending.subarray(0, END.length - 1)]);
    let end = seam.indexOf(END);
    if (end !== -1) end -= this.#tail.length;
    else end = this.#pending.indexOf(END);
    if (end === -1 && seam.indexOf(END) === -1) {
      this.#tail =
        this.#pending.length >= 4 ? Buffer.from(this.#pending.subarray(-4)) : Buffer.concat([this.#tail, this.#pending]).subarray(-4);
      this.#pending = Buffer.alloc(0);
      return false;
    }
    this.#pending = this.#pending.subarray(end + END.length);
    this.#inData = false;
    const time = monotonic();
    for (const sequence of this.#sequences) {
      if (seen.has(sequence)) duplicates += 1;
      else delivered.push([sequence, time]);
      seen.add(sequence);
      if (!this.#tls) clear += 1;
    }
    this.#sequences = [];
    this.#replies += "250 2.0.0 ok\r\n";
    return true;
  }
}

async function listen(prefix: string, count: number, accept: (socket: Socket) => void): Promise<number> {
  let port = 0;
  for (let k = 1; k <= count; k++) {
    const server = createServer(accept);
    await new Promise<void>((done, failed) => server.once("error", failed).listen(port, `${prefix}.${k}`, 1024, done));
    port = (server.address() as AddressInfo).port;
  }
  return port;
}

const context = createSecureContext({
  cert: readFileSync(process.env["SINK_CERT"] ?? ""),
  key: readFileSync(process.env["SINK_KEY"] ?? ""),
});
const sinkPort = await listen("127.0.1", Number(process.env["SINK_DOMAINS"] ?? 1), (socket) => {
  connections += 1;
  new Session(socket, context);
});
const deadPort = await listen("127.0.2", Number(process.env["SINK_SILENT"] ?? 0), (socket) => socket.on("error", () => socket.destroy()));
process.send?.({ sinkPort, deadPort });
process.on("message", (question) => {
  if (question === "count") process.send?.({ count: delivered.length });
  else if (question === "report") process.send?.({ delivered, duplicates, clear, connections });
});
process.on("disconnect", () => process.exit());
