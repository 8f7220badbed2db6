/**
 * smtp-server's connection with its dialogue taken out: the library keeps sockets, STARTTLS and closing; every command
 * goes to session.ts. Replies to commands that came in one piece leave in one write (RFC 2920 §3.2).
 * With guarded-stream.ts and guarded-server.ts this is all that touches the library's inner surface.
 */
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { SMTPConnection, type SMTPConnectionOptions } from "smtp-server/lib/smtp-connection.js";
import type { DataSink } from "./guarded-stream.ts";
import { GuardedStream } from "./guarded-stream.ts";
import type { GuardedServer } from "./guarded-server.ts";
import { Session, type Wire } from "./session.ts";
import type { Desk, Peer } from "./desk.ts";

/** How long a stranger has to give itself away by speaking first. Trusted clients are greeted at once. */
const EARLY_TALK = 100;

export class GuardedConnection extends SMTPConnection implements Wire {
  readonly #desk: Desk;
  readonly #peer: Peer;
  readonly #release: () => void;
  #session: Session | undefined;
  #out = "";
  #cancelTimer: (() => void) | undefined;
  /** On top of the raw socket while a handshake runs; ending the one below first would pull the ground from under it. */
  #handshakeSocket: Socket | undefined;

  constructor(
    server: GuardedServer,
    socket: Socket,
    options: SMTPConnectionOptions | null,
    context: { desk: Desk; peer: Peer; release: () => void },
  ) {
    super(server, socket, options);
    this.#desk = context.desk;
    this.#peer = context.peer;
    this.#release = context.release;
  }

  get dialogue(): Session | undefined {
    return this.#session;
  }

  /** In place of the library's limit check, its 100 ms for everybody and its reverse look-up. */
  override init(): void {
    const session = new Session(this.#desk, this.#peer, this, describeTls(this._socket));
    this.#session = session;
    this._setListeners(() => {
      if (session.trusted) this.#greet(session);
      else this.#cancelTimer = this.#desk.clock.after(EARLY_TALK, () => this.#greet(session));
    });
  }

  #greet(session: Session): void {
    this.#cancelTimer = undefined;
    if (this._closing || this._closed) return;
    if (this._parser instanceof GuardedStream && this._parser.octets > 0 && !session.trusted) {
      session.talkedTooSoon();
    } else {
      this._ready = true;
      session.greet();
    }
    this.#flush();
  }

  /** Called by the library's constructor, before our own fields exist. */
  override _createParser(): GuardedStream {
    const parser = new GuardedStream();
    parser.online = (line, done) => this._onCommand(line, done);
    parser.onflaw = (flaw, done) => this.#guard(done, (session) => session.flawedLine(flaw, done));
    parser.onrest = (next) => {
      this.#flush();
      if (next !== undefined) this._whenWritable(next);
    };
    // A client that closes its side behind the last command still hears the answers.
    parser.onend = () => this.close();
    parser.onfault = (error) => this.#session?.fault(error);
    parser.on("error", parser.onfault);
    return parser;
  }

  override _onCommand(line: Buffer, done: () => void = () => {}): void {
    this.#guard(done, (session) => session.line(line, done));
  }

  #guard(done: () => void, run: (session: Session) => void): void {
    const session = this.#session;
    if (this._upgrading || session === undefined) return done();
    if (!this._ready) {
      session.talkedTooSoon();
      return done();
    }
    try {
      run(session);
    } catch (error) {
      // Nothing that one client says may end the process, or the dialogues of others.
      session.fault(error);
      done();
    }
  }

  write(reply: string): void {
    this.#out += reply;
    this.#out += "\r\n";
    // Replies that nobody's command asked for do not wait for the next one.
    if (this.#out.length > 16_384) this.#flush();
  }

  #flush(): void {
    const out = this.#out;
    if (out === "") return;
    this.#out = "";
    // In the middle of a handshake anything written would be clear text between TLS records.
    if (!this._upgrading && !this._socket.destroyed && this._socket.writable) this._socket.write(out, "latin1");
  }

  receiveData(sink: DataSink): void {
    if (this._parser instanceof GuardedStream) this._parser.receiveData(sink);
  }

  startTls(): void {
    this.#flush();
    this.#cancelTimer = this.#desk.clock.after(this.#desk.rules.settings.limits.handshake, () => {
      this.#tellHandshakeFailed("it took too long");
      this.destroy();
    });
    this.upgrade(
      () => {},
      () => {
        this.#cancelTimer?.();
        this.#cancelTimer = undefined;
        this.#handshakeSocket = undefined;
        this.#session?.secured(describeTls(this._socket) ?? "TLS");
        this.#flush();
      },
    );
  }

  /** The library arms a timeout on the TLS socket as soon as there is one: the only place where it shows it. */
  override _armTimeout(socket: Socket = this._socket): void {
    if (this._upgrading && socket !== this._socket) {
      this.#handshakeSocket = socket;
      // Sockets may be half open here, so that the last answers are heard; half a handshake has none.
      socket.once("end", () => {
        if (this.#handshakeSocket === socket) this.destroy();
      });
    }
    super._armTimeout(socket);
  }

  /** Without another word. */
  destroy(): void {
    (this.#handshakeSocket ?? this._socket).destroy();
  }

  override close(): void {
    this.#flush();
    super.close();
  }

  /** All that the library would still say by itself. */
  override send(code: number, data?: string | string[] | null): void {
    if (code === 421) this.#session?.fault(new Error(`smtp-server: ${String(data)}`));
  }

  override _onClose(): void {
    this.#cancelTimer?.();
    super._onClose();
    this.#session?.gone();
    this.#release();
  }

  /** Sockets break; that is no fault of ours. A handshake that fails is worth a word. */
  override _onError(error: Error): void {
    if (this._upgrading && this.#cancelTimer !== undefined) this.#tellHandshakeFailed(error.message);
    this.destroy();
  }

  #tellHandshakeFailed(detail: string): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    const { listener, address } = this.#peer;
    this.#desk.emit({
      kind: "client-refused",
      listener: listener.name,
      client: address,
      reason: "tls-handshake",
      detail: detail.slice(0, 200),
    });
  }

  /** Our own deadlines are session.ts's; the library's would count time that we ourselves take. */
  override _onTimeout(): void {
    if (this._closing) this._socket.destroy();
    else this._armTimeout();
  }
}

function describeTls(socket: Socket): string | undefined {
  if (!(socket instanceof TLSSocket)) return undefined;
  return `${socket.getProtocol() ?? "TLS"} ${socket.getCipher()?.name ?? ""}`.trim();
}
