/**
 * A receiving host that does what a test tells it: honest by default, and dishonest in one place at a time. It writes
 * down every line it hears, whether in clear or under TLS, which is what the downgrade tests are about.
 */
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { createSecureContext, type SecureContextOptions, TLSSocket } from "node:tls";
import type { IssuedCertificate } from "./certificates.ts";

export type Answer = (command: string, connection: MxConnection) => string | null | undefined;

export interface MxBehaviour {
  /** Octets said at once; default an honest greeting, "" says nothing. */
  readonly greeting?: string;
  /** Keywords of EHLO, STARTTLS aside. */
  readonly extensions?: readonly string[];
  /** Those under TLS, when they differ. */
  readonly tlsExtensions?: readonly string[];
  /** With it STARTTLS is offered and done. */
  readonly certificate?: IssuedCertificate;
  /** More or other options of its TLS: old versions, bad suites. */
  readonly tls?: SecureContextOptions;
  /** The STARTTLS keyword as it stands in EHLO; "" leaves it out though there is a certificate. */
  readonly startTlsKeyword?: string;
  /** TLS from the first octet. */
  readonly implicit?: boolean;
  /**
   * What to say to a command; `.` stands for a whole message, "" for the moment of connecting. Undefined: the honest
   * answer. Null: nothing. It may as well do something to the connection's socket.
   */
  readonly answer?: Answer;
  /** Refuses clients without a certificate of their own, as TLS 1.3 does it: after the client thinks all is well. */
  readonly demandsClientCertificate?: boolean;
  /** Asks for one, and does not insist. */
  readonly asksForClientCertificate?: boolean;
  /** Takes the socket over after the 220 to STARTTLS, instead of a handshake. */
  readonly afterStartTls?: (socket: Socket, connection: MxConnection) => void;
  /** Octets said in the same write as the 220 to STARTTLS. */
  readonly injected?: string;
}

export interface ReceivedMessage {
  readonly mail: string;
  readonly rcpts: readonly string[];
  /** As on the wire, dots still stuffed, without the final dot. */
  readonly text: string;
  readonly underTls: boolean;
}

export class MxConnection {
  /** Every command heard: `clear EHLO relay.test`, `tls MAIL FROM:<a@b.test>`. */
  readonly heard: string[] = [];
  /** Octets as they came in, a string for each read (latin1), before and under TLS. */
  readonly reads: string[] = [];
  readonly messages: ReceivedMessage[] = [];
  /** The name in SNI, once there was a handshake. */
  serverName: string | false | undefined;
  tlsError: Error | undefined;
  closed = false;
  /** The client's address. */
  readonly from: string | undefined;
  socket: Socket;
  underTls = false;
  readonly #behaviour: MxBehaviour;
  #line = "";
  #inText = false;
  #text: string[] = [];
  #tail = "";
  #mail = "";
  #rcpts: string[] = [];

  constructor(socket: Socket, behaviour: MxBehaviour) {
    this.socket = socket;
    this.#behaviour = behaviour;
    this.from = socket.remoteAddress;
    socket.on("error", () => undefined);
    socket.on("close", () => {
      this.closed = true;
    });
    if (behaviour.implicit === true) this.#startTls();
    else {
      this.#listen(socket);
      this.#greet();
    }
  }

  /** Commands heard in clear, and under TLS, by verb. */
  verbs(under: "clear" | "tls"): string[] {
    return this.heard.filter((line) => line.startsWith(`${under} `)).map((line) => line.slice(under.length + 1).split(/[ :]/)[0] ?? "");
  }

  say(octets: string): void {
    this.socket.write(octets, "latin1");
  }

  #greet(): void {
    if (this.#behaviour.answer?.("", this) === null) return;
    this.say(this.#behaviour.greeting ?? "220 mx.example.test ESMTP ready\r\n");
  }

  #listen(socket: Socket): void {
    socket.on("data", this.#onData);
  }

  readonly #onData = (chunk: Buffer): void => {
    let octets = chunk.toString("latin1");
    this.reads.push(octets);
    while (octets !== "") octets = this.#inText ? this.#takeText(octets) : this.#takeLine(octets);
  };

  /** Gives what is left behind the command. */
  #takeLine(octets: string): string {
    const joined = this.#line + octets;
    const end = joined.indexOf("\r\n");
    this.#line = end < 0 ? joined : "";
    if (end < 0) return "";
    const left = joined.slice(end + 2);
    this.#command(joined.slice(0, end));
    return left;
  }

  /** Collects text until its dot: each read is looked at once, with the four octets before it. */
  #takeText(octets: string): string {
    const joined = this.#tail + octets;
    const end = joined.indexOf("\r\n.\r\n");
    this.#text.push(octets);
    if (end < 0) {
      this.#tail = joined.slice(-4);
      return "";
    }
    const whole = this.#text.join("");
    const length = whole.length - octets.length + end + 2 - this.#tail.length;
    this.#text = [];
    this.#endText(whole.slice(0, length));
    return whole.slice(length + 3);
  }

  #command(line: string): void {
    const utf8 = Buffer.from(line, "latin1").toString("utf8");
    this.heard.push(`${this.underTls ? "tls" : "clear"} ${utf8}`);
    const verb = line.split(/[ :]/)[0]?.toUpperCase() ?? "";
    const scripted = this.#behaviour.answer?.(utf8, this);
    if (scripted === null) return;
    if (verb === "MAIL") {
      this.#mail = utf8;
      this.#rcpts = [];
    }
    const said = scripted ?? this.#honest(verb);
    if (verb === "RCPT" && said.startsWith("2")) this.#rcpts.push(utf8);
    if (verb === "DATA" && said.startsWith("354")) {
      this.#inText = true;
      // The end of DATA's own line is the first half of a dot that stands alone.
      this.#tail = "\r\n";
    }
    if (verb === "STARTTLS" && said.startsWith("220")) {
      this.say(said + (this.#behaviour.injected ?? ""));
      this.#startTls();
      return;
    }
    this.say(said);
    if (verb === "QUIT") this.socket.end();
  }

  #endText(text: string): void {
    this.#inText = false;
    const scripted = this.#behaviour.answer?.(".", this);
    this.messages.push({ mail: this.#mail, rcpts: this.#rcpts, text, underTls: this.underTls });
    if (scripted !== null) this.say(scripted ?? "250 2.0.0 Ok: queued\r\n");
  }

  #honest(verb: string): string {
    const { certificate, startTlsKeyword = "STARTTLS", extensions = DEFAULT_EXTENSIONS, tlsExtensions = extensions } = this.#behaviour;
    switch (verb) {
      case "EHLO": {
        const keywords = this.underTls ? [...tlsExtensions] : [...extensions];
        if (!this.underTls && certificate !== undefined && startTlsKeyword !== "") keywords.push(startTlsKeyword);
        return reply(250, ["mx.example.test greets you", ...keywords]);
      }
      case "STARTTLS":
        return this.#behaviour.certificate === undefined ? "502 5.5.1 not here\r\n" : "220 2.0.0 go ahead\r\n";
      case "HELO":
        return "250 mx.example.test\r\n";
      case "MAIL":
      case "RCPT":
      case "RSET":
        return "250 2.1.0 Ok\r\n";
      case "DATA":
        return "354 go on\r\n";
      case "AUTH":
        return "235 2.7.0 welcome\r\n";
      case "QUIT":
        return "221 2.0.0 bye\r\n";
      default:
        return "500 5.5.2 what?\r\n";
    }
  }

  #startTls(): void {
    const below = this.socket;
    below.off("data", this.#onData);
    if (this.#behaviour.afterStartTls !== undefined) return this.#behaviour.afterStartTls(below, this);
    const { certificate, tls, demandsClientCertificate = false, asksForClientCertificate = false } = this.#behaviour;
    const secured = new TLSSocket(below, {
      isServer: true,
      requestCert: demandsClientCertificate || asksForClientCertificate,
      rejectUnauthorized: demandsClientCertificate,
      secureContext: createSecureContext({
        ...(certificate === undefined ? {} : { cert: certificate.certificate, key: certificate.key }),
        ...tls,
      }),
      // The server half of Node asks for the name only when somebody wants to know.
      SNICallback: (name, done) => {
        this.serverName = name;
        done(null);
      },
    });
    this.serverName = false;
    this.socket = secured;
    this.underTls = true;
    secured.on("error", (error: Error) => {
      this.tlsError ??= error;
    });
    this.#listen(secured);
    if (this.#behaviour.implicit === true) this.#greet();
  }
}

const DEFAULT_EXTENSIONS = ["PIPELINING", "SIZE 50000000", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"];

/** A reply of several lines. */
export function reply(code: number, lines: readonly string[]): string {
  return lines.map((line, index) => `${code}${index === lines.length - 1 ? " " : "-"}${line}\r\n`).join("");
}

export class ScriptedMx {
  readonly connections: MxConnection[] = [];
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** `behaviour` may differ from one connection to the next. */
  static async open(behaviour: MxBehaviour | ((connection: number) => MxBehaviour), address = "127.0.0.1"): Promise<ScriptedMx> {
    const server = createServer({ noDelay: true });
    const mx = new ScriptedMx(server);
    server.on("connection", (socket) => {
      const chosen = typeof behaviour === "function" ? behaviour(mx.connections.length) : behaviour;
      mx.connections.push(new MxConnection(socket, chosen));
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, address, resolve);
    });
    return mx;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** All commands of all connections, in order. */
  get heard(): string[] {
    return this.connections.flatMap(({ heard }) => heard);
  }

  get messages(): ReceivedMessage[] {
    return this.connections.flatMap(({ messages }) => messages);
  }

  /** Resolves when no connection is open any more: then what was heard is all there is to hear. */
  async quiet(): Promise<void> {
    for (let turn = 0; turn < 2000 && this.connections.some(({ closed }) => !closed); turn += 1)
      await new Promise((resolve) => setTimeout(resolve, 1));
  }

  async close(): Promise<void> {
    for (const { socket } of this.connections) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
