/**
 * smtp-server's listener with our doors: clients are counted before anything else happens, TLS has our certificate or
 * none at all, and connections are guarded-connection.ts's. Everything of the library that would be offered by itself is off.
 * With guarded-connection.ts and guarded-stream.ts this is all that touches the library's inner surface.
 */
import type { AddressInfo, Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { SMTPServer } from "smtp-server";
import type { SMTPConnectionOptions, TLSError } from "smtp-server/lib/smtp-connection.js";
import type { ListenerSettings } from "../config/settings.ts";
import { codeOf } from "../thrown.ts";
import type { Desk, Peer } from "./desk.ts";
import { GuardedConnection } from "./guarded-connection.ts";
import { plainAddress, subscriberOf } from "./networks.ts";
import type { Session } from "./session.ts";

/** Longer than any wait of ours: see GuardedConnection._onTimeout. */
const LIBRARY_TIMEOUT = 600_000;
/** A client that is turned away gets so long to read why. */
const LINGER = 1000;

interface Entrant {
  readonly peer: Peer;
  readonly release: () => void;
}

export class GuardedServer extends SMTPServer {
  readonly #desk: Desk;
  readonly #listener: ListenerSettings;
  /** By the accepted socket. */
  readonly #entrants = new WeakMap<Socket, Entrant>();
  /** TLS sockets of implicit TLS, and the accepted socket below. */
  readonly #below = new WeakMap<Socket, Socket>();
  readonly #waiting = new Set<Socket>();

  constructor(desk: Desk, listener: ListenerSettings) {
    super({
      name: desk.mailname,
      secure: listener.tls === "implicit",
      logger: false,
      noDelay: true,
      allowHalfOpen: true,
      keepAlive: true,
      disableReverseLookup: true,
      authOptional: true,
      authMethods: ["PLAIN", "LOGIN"],
      disabledCommands: ["WIZ", "SHELL", "KILL", "XCLIENT", "XFORWARD", "LHLO"],
      useProxy: false,
      useXClient: false,
      useXForward: false,
      lmtp: false,
      socketTimeout: LIBRARY_TIMEOUT,
    });
    this.#desk = desk;
    this.#listener = listener;
    this.updateSecureContext();
    this.closed = new Promise((resolve) => this.server.once("close", resolve));
    this.on("error", (error) => desk.emit({ kind: "fault", where: `listener ${listener.name}`, error }));
  }

  /**
   * In place of the library's, which falls back on a key that it publishes. Called by its constructor too, before our own
   * fields exist: then there is no context, and no handshake can succeed.
   */
  override updateSecureContext(): void {
    this.secureContext = new Map();
    const certificate = #desk in this ? this.#desk.certificate : undefined;
    if (certificate !== undefined) this.secureContext.set("*", certificate.context);
  }

  async open(): Promise<AddressInfo> {
    const { name, address, port } = this.#listener;
    await new Promise<void>((resolve, reject) => {
      const failed = (cause: Error) => {
        const code = codeOf(cause) ?? cause.message;
        const why = code === "EADDRINUSE" ? "something else listens there" : code === "EACCES" ? "ports below 1024 need a privilege" : code;
        reject(new Error(`submission listener ${name}: cannot listen on ${address} port ${port}: ${why}`, { cause }));
      };
      this.server.removeAllListeners("error");
      this.server.once("error", failed);
      this.server.listen(port, address, () => {
        this.server.off("error", failed);
        this.server.on("error", (error: Error) => this._onError(error));
        resolve();
      });
    });
    return this.server.address() as AddressInfo;
  }

  stopAccepting(): void {
    this.server.close();
  }

  /** Resolves when it has stopped accepting and every socket it ever accepted is closed. */
  readonly closed: Promise<void>;

  /** Handshakes under way at an implicit listener have nothing to finish. */
  endPending(): void {
    for (const socket of this._pendingSockets.values()) socket.destroy();
  }

  get sessions(): Session[] {
    return [...this.connections].flatMap((connection) =>
      connection instanceof GuardedConnection && connection.dialogue !== undefined ? [connection.dialogue] : [],
    );
  }

  /** Ends what is left without another word. */
  destroyAll(): void {
    this.endPending();
    for (const connection of this.connections) if (connection instanceof GuardedConnection) connection.destroy();
    for (const socket of this.#waiting) socket.destroy();
  }

  /** The library asks here first about every socket; false means that it has been dealt with. */
  override _acceptSocket(socket: Socket, handshake: boolean): (() => void) | false {
    const address = plainAddress(socket.remoteAddress);
    const trusted = this.#desk.rules.networks.contains(address);
    const peer: Peer = { listener: this.#listener, address, who: trusted ? address : subscriberOf(address) };
    // Behind one trusted address there may be many; only their logins are refused, one by one.
    if (!trusted && this.#desk.logins.isBanned(peer.who)) {
      return this.#turnAway(
        socket,
        handshake,
        peer,
        "banned",
        "too many failed logins",
        "421 4.7.0 too many failed logins from your address, come back later",
      );
    }
    const admission = this.#desk.doors.admit(peer.who);
    if (!admission.admitted) {
      return this.#turnAway(
        socket,
        handshake,
        peer,
        admission.reason,
        admission.detail,
        `421 4.3.2 too many connections, try again in a moment`,
      );
    }
    const entrant: Entrant = { peer, release: () => admission.release() };
    this.#entrants.set(socket, entrant);
    socket.once("close", entrant.release);
    const release = super._acceptSocket(socket, handshake);
    if (release === false) entrant.release();
    return release;
  }

  #turnAway(socket: Socket, handshake: boolean, peer: Peer, reason: string, detail: string, reply: string): false {
    this.#desk.emit({ kind: "client-refused", listener: this.#listener.name, client: peer.address, reason, detail });
    socket.on("error", () => socket.destroy());
    if (handshake) {
      // Nothing can be said before the handshake, and the handshake is the dear part.
      socket.destroy();
      return false;
    }
    this.#waiting.add(socket);
    const cancel = this.#desk.clock.after(LINGER, () => socket.destroy());
    socket.once("close", () => {
      cancel();
      this.#waiting.delete(socket);
    });
    socket.resume();
    socket.end(`${reply}\r\n`);
    return false;
  }

  /** Implicit TLS: the library times silence; this times the whole handshake. */
  override _upgrade(socket: Socket, callback: (error: TLSError | null, tlsSocket?: TLSSocket) => void): void {
    const cancel = this.#desk.clock.after(this.#desk.rules.settings.limits.handshake, () => {
      const top = this._pendingSockets.get(socket) ?? socket;
      top.destroy(new Error("it took too long"));
    });
    super._upgrade(socket, (error, tlsSocket) => {
      cancel();
      if (tlsSocket !== undefined) this.#below.set(tlsSocket, socket);
      if (error !== null) {
        const peer = this.#entrants.get(socket)?.peer;
        this.#desk.emit({
          kind: "client-refused",
          listener: this.#listener.name,
          client: peer?.address ?? "",
          reason: "tls-handshake",
          detail: error.message.slice(0, 200),
        });
        socket.destroy();
        return;
      }
      callback(null, tlsSocket);
    });
    const pending = this._pendingSockets.get(socket);
    // Sockets may be half open here, so that the last answers are heard; half a handshake has none.
    pending?.once("end", () => {
      if (this._pendingSockets.has(socket)) pending.destroy();
    });
  }

  override connect(socket: Socket | TLSSocket, options?: SMTPConnectionOptions | null): void {
    const entrant = this.#entrants.get(this.#below.get(socket) ?? socket);
    if (entrant === undefined || socket.destroyed) {
      socket.destroy();
      return;
    }
    const connection = new GuardedConnection(this, socket, options ?? null, { desk: this.#desk, ...entrant });
    this.connections.add(connection);
    connection.on("error", () => {});
    connection.init();
  }
}
