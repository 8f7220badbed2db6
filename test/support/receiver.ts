/**
 * A receiving server inside the test, for what a real one would not do on demand: thousands of messages a second, a
 * refusal for one address, a final dot that is not answered until the test says so, a host that never speaks.
 */
import { createServer, type AddressInfo, type Socket } from "node:net";
import { createSecureContext, TLSSocket, type SecureContext } from "node:tls";

export interface ReceivedMessage {
  readonly sender: string;
  readonly recipients: readonly string[];
  /** CRLF line ends, dots unstuffed, without the final one. */
  readonly content: Buffer;
  readonly tls: boolean;
  readonly at: number;
}

export interface ReceiverBehaviour {
  /** Accepts connections and never says a word. */
  readonly silent?: boolean;
  /** The reply to RCPT; undefined accepts. */
  readonly answerRecipient?: (address: string) => string | undefined;
  /** Before the reply to DATA (354). */
  readonly beforeData?: () => Promise<void> | undefined;
  /** Before the reply to the final dot; a text instead of 250. */
  readonly beforeFinalReply?: (message: ReceivedMessage) => Promise<string | void> | undefined;
}

export interface TestReceiver extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  readonly messages: ReceivedMessage[];
  /** Commands as they came, of all sessions; `STARTTLS` separates what was said in clear. */
  readonly commands: string[];
  readonly connections: { readonly now: number; readonly total: number };
  /** Cuts every connection. */
  drop(): void;
}

export interface ReceiverWishes extends ReceiverBehaviour {
  readonly address?: string;
  readonly port?: number;
  /** Without one there is no STARTTLS. */
  readonly certificate?: string;
  readonly key?: string;
}

export async function startReceiver(wishes: ReceiverWishes = {}): Promise<TestReceiver> {
  const messages: ReceivedMessage[] = [];
  const commands: string[] = [];
  const open = new Set<Socket>();
  let total = 0;
  const context = wishes.certificate === undefined ? undefined : createSecureContext({ cert: wishes.certificate, key: wishes.key });
  const server = createServer((socket) => {
    total += 1;
    open.add(socket);
    socket.setNoDelay(true);
    socket.on("close", () => open.delete(socket)).on("error", () => {});
    if (wishes.silent !== true) new Session(socket, wishes, context, messages, commands).greet();
  });
  await new Promise<void>((done, failed) => server.once("error", failed).listen(wishes.port ?? 0, wishes.address ?? "127.0.0.1", done));
  const { address, port } = server.address() as AddressInfo;
  const drop = () => {
    for (const socket of open) socket.destroy();
  };
  return {
    address,
    port,
    messages,
    commands,
    connections: {
      get now() {
        return open.size;
      },
      get total() {
        return total;
      },
    },
    drop,
    async [Symbol.asyncDispose]() {
      drop();
      await new Promise((done) => server.close(done));
    },
  };
}

const END_OF_DATA = Buffer.from("\r\n.\r\n");

class Session {
  #socket: Socket;
  readonly #wishes: ReceiverBehaviour;
  readonly #context: SecureContext | undefined;
  readonly #messages: ReceivedMessage[];
  readonly #commands: string[];
  #pending: Buffer = Buffer.alloc(0);
  /** Chunks of the message under way; undefined between messages. */
  #data: Buffer[] | undefined;
  #tail: Buffer = Buffer.alloc(0);
  #sender = "";
  #recipients: string[] = [];
  #tls = false;
  #busy = false;

  constructor(
    socket: Socket,
    wishes: ReceiverBehaviour,
    context: SecureContext | undefined,
    messages: ReceivedMessage[],
    commands: string[],
  ) {
    this.#socket = socket;
    this.#wishes = wishes;
    this.#context = context;
    this.#messages = messages;
    this.#commands = commands;
  }

  greet(): void {
    this.#listen();
    this.#say("220 receiver.test ESMTP");
  }

  #listen(): void {
    this.#socket.on("data", (chunk: Buffer) => {
      this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
      void this.#work();
    });
  }

  #say(line: string): void {
    if (!this.#socket.destroyed) this.#socket.write(`${line}\r\n`);
  }

  async #work(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    while (this.#pending.length > 0) {
      if (this.#data !== undefined) {
        if (!(await this.#takeData())) break;
        continue;
      }
      const end = this.#pending.indexOf("\r\n");
      if (end === -1) break;
      const line = this.#pending.toString("utf8", 0, end);
      this.#pending = this.#pending.subarray(end + 2);
      this.#commands.push(line);
      await this.#command(line);
    }
    this.#busy = false;
  }

  async #command(line: string): Promise<void> {
    const verb = /^[a-z]*/i.exec(line)?.[0].toUpperCase();
    const address = /<([^>]*)>/.exec(line)?.[1] ?? "";
    switch (verb) {
      case "EHLO":
        return this.#say(
          [
            "250-receiver.test",
            "250-PIPELINING",
            "250-8BITMIME",
            "250-SMTPUTF8",
            "250-SIZE 104857600",
            ...(this.#context !== undefined && !this.#tls ? ["250-STARTTLS"] : []),
            "250 ENHANCEDSTATUSCODES",
          ].join("\r\n"),
        );
      case "STARTTLS":
        return this.#startTls();
      case "MAIL":
        this.#sender = address;
        this.#recipients = [];
        return this.#say("250 2.1.0 Ok");
      case "RCPT": {
        const refusal = this.#wishes.answerRecipient?.(address);
        if (refusal === undefined) this.#recipients.push(address);
        return this.#say(refusal ?? "250 2.1.5 Ok");
      }
      case "DATA":
        if (this.#recipients.length === 0) return this.#say("554 5.5.1 no valid recipients");
        await this.#wishes.beforeData?.();
        this.#data = [];
        this.#tail = Buffer.from("\r\n");
        return this.#say("354 go on");
      case "RSET":
        return this.#say("250 2.0.0 Ok");
      case "QUIT":
        this.#say("221 2.0.0 bye");
        this.#socket.end();
        return;
      default:
        return this.#say("500 5.5.1 what?");
    }
  }

  #startTls(): void {
    if (this.#context === undefined) return this.#say("502 5.5.1 no");
    this.#say("220 2.0.0 go ahead");
    this.#socket.removeAllListeners("data");
    this.#pending = Buffer.alloc(0);
    const secure = new TLSSocket(this.#socket, { isServer: true, secureContext: this.#context });
    secure.on("error", () => secure.destroy());
    this.#socket = secure;
    this.#tls = true;
    this.#listen();
  }

  /** False when the end of the message has not come yet. */
  async #takeData(): Promise<boolean> {
    const chunks = this.#data ?? [];
    // The end may lie across two chunks, so the last four octets are looked at again.
    const window = Buffer.concat([this.#tail, this.#pending]);
    const end = window.indexOf(END_OF_DATA);
    if (end === -1) {
      chunks.push(this.#pending);
      this.#tail = window.subarray(-4);
      this.#pending = Buffer.alloc(0);
      return false;
    }
    const used = Math.max(0, end + END_OF_DATA.length - this.#tail.length);
    chunks.push(this.#pending.subarray(0, used));
    this.#pending = this.#pending.subarray(used);
    this.#data = undefined;
    const wire = Buffer.concat(chunks);
    const message = {
      sender: this.#sender,
      recipients: this.#recipients,
      content: unstuff(wire.subarray(0, wire.length - 3)),
      tls: this.#tls,
      at: Date.now(),
    };
    const answer = await this.#wishes.beforeFinalReply?.(message);
    // As with a real server, a client that has gone by now leaves the message delivered all the same.
    if (answer === undefined || answer.startsWith("2")) this.#messages.push(message);
    this.#say(answer ?? "250 2.0.0 Ok: queued");
    return true;
  }
}

/** RFC 5321 §4.5.2: a dot that begins a line is one too many. */
function unstuff(wire: Buffer): Buffer {
  const parts: Buffer[] = [];
  let at = 0;
  if (wire[0] === 0x2e) at = 1;
  for (let dot = wire.indexOf("\r\n.", at); dot !== -1; dot = wire.indexOf("\r\n.", at)) {
    parts.push(wire.subarray(at, dot + 2));
    at = dot + 3;
  }
  parts.push(wire.subarray(at));
  return Buffer.concat(parts);
}
