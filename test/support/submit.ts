/** A plain SMTP client for tests that need thousands of messages, or one that stops half-way. Replies are text. */
import { connect, type Socket } from "node:net";

export class SmtpClient {
  readonly #socket: Socket;
  readonly #replies: string[] = [];
  #text = "";
  #waiting: { done: (reply: string) => void; failed: (error: Error) => void }[] = [];
  #closed: Error | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.setEncoding("utf8").on("data", (chunk: string) => this.#take(chunk));
    const close = (error?: Error) => {
      this.#closed ??= error ?? new Error("the connection was closed");
      for (const { failed } of this.#waiting.splice(0)) failed(this.#closed);
    };
    socket.on("error", close).on("close", () => close());
  }

  /** Connects, waits for the greeting and says EHLO. */
  static async open(port: number, address = "127.0.0.1"): Promise<SmtpClient> {
    const client = new SmtpClient(connect(port, address));
    await client.#expect("220");
    await client.command("EHLO client.test", "250");
    return client;
  }

  #take(chunk: string): void {
    this.#text += chunk;
    for (let end = this.#text.indexOf("\r\n"); end !== -1; end = this.#text.indexOf("\r\n")) {
      const line = this.#text.slice(0, end);
      this.#text = this.#text.slice(end + 2);
      if (line[3] === "-") continue;
      const next = this.#waiting.shift();
      if (next === undefined) this.#replies.push(line);
      else next.done(line);
    }
  }

  /** The last line of the next reply; rejects when the connection ends instead. */
  reply(): Promise<string> {
    const ready = this.#replies.shift();
    if (ready !== undefined) return Promise.resolve(ready);
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    return new Promise((done, failed) => this.#waiting.push({ done, failed }));
  }

  async #expect(code: string): Promise<string> {
    const line = await this.reply();
    if (!line.startsWith(code)) throw new Error(`expected ${code}, got ${line}`);
    return line;
  }

  send(octets: string | Buffer): void {
    this.#socket.write(octets);
  }

  async command(line: string, code: string): Promise<string> {
    this.send(`${line}\r\n`);
    return this.#expect(code);
  }

  /** Up to 354. */
  async begin(sender: string, recipients: readonly string[]): Promise<void> {
    this.send(`MAIL FROM:<${sender}>\r\n${recipients.map((one) => `RCPT TO:<${one}>\r\n`).join("")}DATA\r\n`);
    for (let replies = recipients.length + 1; replies > 0; replies--) await this.#expect("250");
    await this.#expect("354");
  }

  /** A whole message; the queue id out. The content has no line that begins with a dot, and ends with CRLF. */
  async submit(sender: string, recipients: readonly string[], content: string | Buffer): Promise<string> {
    await this.begin(sender, recipients);
    this.#socket.write(content);
    return queueId(await this.command(".", "250"));
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** `250 2.0.0 Ok: queued as 0KF3V7Q2M9` */
export function queueId(reply: string): string {
  const id = /queued as (\S+)/.exec(reply)?.[1];
  if (id === undefined) throw new Error(`no queue id in ${reply}`);
  return id;
}

export function simpleMessage(subject: string, size = 0): string {
  const head = `From: alice@sender.test\r\nTo: jo@rcv.test\r\nSubject: ${subject}\r\nDate: Tue, 01 Sep 2026 10:00:00 +0000\r\nMessage-ID: <${subject}@sender.test>\r\n\r\n`;
  return `${head}${"A line of sixty-four characters in all, its line end included.\r\n".repeat(Math.ceil(size / 64))}The end.\r\n`;
}
