/**
 * An SMTP client that does only what it is told, octet by octet: for tests of a server against well-behaved, clumsy and
 * hostile clients. Sends text as Latin-1, so that any octet can be written.
 */
import { connect, type Socket } from "node:net";
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from "node:tls";

export interface RawReply {
  readonly code: number;
  /** Without code and separator. */
  readonly lines: readonly string[];
  /** As received, without the last CRLF. */
  readonly text: string;
}

export interface RawClientOptions {
  readonly host?: string;
  readonly port: number;
  /** The loopback address to come from. */
  readonly from?: string;
  /** TLS from the first octet. */
  readonly tls?: ConnectionOptions;
}

export class RawClient implements AsyncDisposable {
  #socket: Socket | TLSSocket;
  /** Everything that was received in clear and in TLS. */
  received = "";
  #unread = "";
  #wakers: (() => void)[] = [];
  #over = false;

  private constructor(socket: Socket | TLSSocket) {
    this.#socket = socket;
    this.#listen(socket);
  }

  /** Connects and reads nothing yet. */
  static async open(options: RawClientOptions): Promise<RawClient> {
    const { port, host = "127.0.0.1", from } = options;
    const socket = connect({ port, host, noDelay: true, ...(from !== undefined && { localAddress: from }) });
    await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    socket.removeAllListeners("error");
    if (options.tls === undefined) return new RawClient(socket);
    return new RawClient(await secure(socket, options.tls));
  }

  /** Connects, reads the greeting and says EHLO. */
  static async greeted(options: RawClientOptions, ehlo = "EHLO client.test"): Promise<RawClient> {
    const client = await RawClient.open(options);
    await client.reply();
    if (ehlo !== "") await client.command(ehlo);
    return client;
  }

  get socket(): Socket | TLSSocket {
    return this.#socket;
  }

  send(octets: string | Buffer): void {
    this.#socket.write(typeof octets === "string" ? Buffer.from(octets, "latin1") : octets);
  }

  /** Sends and waits until the kernel has taken it all. */
  sent(octets: string | Buffer): Promise<void> {
    return new Promise((resolve) =>
      this.#socket.write(typeof octets === "string" ? Buffer.from(octets, "latin1") : octets, () => resolve()),
    );
  }

  /** The next complete reply; throws if the connection ends before. */
  async reply(): Promise<RawReply> {
    const lines: string[] = [];
    const raw: string[] = [];
    for (;;) {
      const line = await this.line();
      const match = /^(\d{3})([ -]?)(.*)$/.exec(line);
      if (match === null) throw new Error(`not a reply: ${JSON.stringify(line)}`);
      raw.push(line);
      lines.push(match[3] ?? "");
      if (match[2] !== "-") return { code: Number(match[1]), lines, text: raw.join("\r\n") };
    }
  }

  async line(): Promise<string> {
    for (;;) {
      const end = this.#unread.indexOf("\r\n");
      if (end >= 0) {
        const line = this.#unread.slice(0, end);
        this.#unread = this.#unread.slice(end + 2);
        return line;
      }
      if (this.#over) throw new Error(`the connection ended; received so far: ${JSON.stringify(this.received.slice(-500))}`);
      await new Promise<void>((resolve) => this.#wakers.push(resolve));
    }
  }

  /** Sends a line and reads its reply; gives the reply's text. */
  async command(line: string): Promise<string> {
    this.send(`${line}\r\n`);
    return (await this.reply()).text;
  }

  /** Sends all at once and reads one reply for each line. */
  async pipeline(...lines: string[]): Promise<string[]> {
    this.send(lines.map((line) => `${line}\r\n`).join(""));
    return this.replies(lines.length);
  }

  async replies(count: number): Promise<string[]> {
    const replies: string[] = [];
    while (replies.length < count) replies.push((await this.reply()).text);
    return replies;
  }

  /** A whole transaction in one go; gives the reply to the final dot. `message` is sent as it is. */
  async submit(
    message: string,
    { from = "alice@sender.test", to = ["bob@example.test"] }: { from?: string; to?: string[] } = {},
  ): Promise<string> {
    this.send([`MAIL FROM:<${from}>`, ...to.map((one) => `RCPT TO:<${one}>`), "DATA", ""].join("\r\n"));
    const replies = await this.replies(to.length + 2);
    const last = replies.at(-1) ?? "";
    if (!last.startsWith("354")) return last;
    this.send(`${message}\r\n.\r\n`);
    return (await this.reply()).text;
  }

  /** STARTTLS and the handshake; the caller says EHLO again. */
  async startTls(options: ConnectionOptions): Promise<void> {
    const reply = await this.command("STARTTLS");
    if (!reply.startsWith("220")) throw new Error(`no STARTTLS: ${reply}`);
    await this.handshake(options);
  }

  /** Only the handshake, on the connection as it is. */
  async handshake(options: ConnectionOptions): Promise<void> {
    this.#socket.removeAllListeners();
    const socket = await secure(this.#socket, options);
    this.#socket = socket;
    this.#unread = "";
    this.#listen(socket);
  }

  /** Resolves when the server has closed; gives everything that came. */
  async ended(): Promise<string> {
    while (!this.#over) await new Promise<void>((resolve) => this.#wakers.push(resolve));
    return this.received;
  }

  get isOver(): boolean {
    return this.#over;
  }

  /** Goes away without a word. */
  vanish(): void {
    this.#socket.destroy();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.vanish();
    return Promise.resolve();
  }

  #listen(socket: Socket | TLSSocket): void {
    const over = () => {
      this.#over = true;
      this.#wake();
    };
    socket.on("data", (octets: Buffer) => {
      const text = octets.toString("latin1");
      this.received += text;
      this.#unread += text;
      this.#wake();
    });
    socket.on("error", over);
    socket.on("close", over);
    socket.on("end", over);
  }

  #wake(): void {
    const wakers = this.#wakers;
    this.#wakers = [];
    for (const wake of wakers) wake();
  }
}

function secure(socket: Socket, options: ConnectionOptions): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const tls = connectTls({ socket, ...options });
    tls.once("secureConnect", () => {
      tls.removeAllListeners("error");
      resolve(tls);
    });
    tls.once("error", reject);
    tls.once("close", () => reject(new Error("closed during the handshake")));
  });
}
