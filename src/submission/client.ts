/**
 * Who the client of one connection is to us: where it stands under the rules in force, what it called itself, its TLS, its
 * login. session.ts tells it what was said; out come the facts that accept.ts judges by and that the queue keeps.
 */
import { transmissionType, type TransmissionType } from "../mail/received.ts";
import { cleanText } from "../mail/reply.ts";
import type { Origin } from "../queue/entry.ts";
import type { ClientFacts } from "./accept.ts";
import type { Desk, Peer, Rules } from "./desk.ts";
import type { KnownUser } from "./login.ts";

export class Client {
  readonly #desk: Desk;
  readonly #peer: Peer;
  /** `TLSv1.3 TLS_AES_256_GCM_SHA384`. */
  #tls: string | undefined;
  #ehloName: string | undefined;
  #esmtp = false;
  #user: KnownUser | undefined;
  #loggedIn = false;
  /** Where it stands under the rules last looked at. */
  #standing: { readonly rules: Rules; readonly trusted: boolean; readonly gateway: boolean } | undefined;

  constructor(desk: Desk, peer: Peer, tls: string | undefined) {
    this.#desk = desk;
    this.#peer = peer;
    this.#tls = tls;
  }

  saidHello(name: string, esmtp: boolean): void {
    this.#ehloName = name;
    this.#esmtp = esmtp;
  }

  /** Without a user where any name and password will do. */
  loggedInAs(user: KnownUser | undefined): void {
    this.#loggedIn = true;
    this.#user = user;
  }

  /** The handshake is done: everything said in the clear is forgotten (RFC 3207 §4.2). */
  secured(tls: string): void {
    this.#tls = tls;
    this.#ehloName = undefined;
    this.#esmtp = false;
    this.#user = undefined;
    this.#loggedIn = false;
  }

  get hasTls(): boolean {
    return this.#tls !== undefined;
  }

  /** As it called itself; undefined before EHLO and HELO. */
  get ehloName(): string | undefined {
    return this.#ehloName;
  }

  get isLoggedIn(): boolean {
    return this.#loggedIn;
  }

  /** Clean, for the log. */
  get userName(): string | undefined {
    return this.#user === undefined ? undefined : cleanText(this.#user.name, 100);
  }

  get trusted(): boolean {
    return this.#stands().trusted;
  }

  #stands(): { readonly trusted: boolean; readonly gateway: boolean } {
    const { rules } = this.#desk;
    if (this.#standing?.rules !== rules) {
      const { address } = this.#peer;
      this.#standing = { rules, trusted: rules.networks.contains(address), gateway: rules.networks.isGateway(address) };
    }
    return this.#standing;
  }

  get canStartTls(): boolean {
    return !this.hasTls && this.#desk.certificate !== undefined && this.#peer.listener.tls !== "off";
  }

  /** Any name and password will do from the operator's networks, for devices that must log in somewhere. */
  get anyLoginWillDo(): boolean {
    return this.#desk.rules.settings.login.acceptAnyFromNetworks && this.trusted;
  }

  /** Passwords are asked for inside TLS only, also those that nobody checks (RFC 4954 §4). */
  get canLogIn(): boolean {
    return this.hasTls && (this.#desk.logins.hasUsers() || this.anyLoginWillDo);
  }

  /** The reply to AUTH where none is possible (RFC 4954 §4). */
  whyNoLogin(inTransaction: boolean): string | undefined {
    if (this.#loggedIn) return "503 5.5.1 you are logged in already";
    if (inTransaction) return "503 5.5.1 no login during a transaction";
    if (!this.#esmtp) return "503 5.5.1 say EHLO first";
    if (this.canLogIn) return undefined;
    if (this.hasTls) return "502 5.5.1 no login here: this relay has no users";
    return this.#desk.certificate === undefined
      ? "502 5.5.1 no login without TLS, and this relay has no certificate"
      : "538 5.7.11 login needs TLS: say STARTTLS first";
  }

  facts(): ClientFacts {
    const { trusted, gateway } = this.#stands();
    return {
      address: this.#peer.address,
      trusted,
      gateway,
      loggedIn: this.#loggedIn,
      ...(this.#user !== undefined && { user: this.#user }),
    };
  }

  protocol(utf8: boolean): TransmissionType {
    return transmissionType({ esmtp: this.#esmtp, tls: this.hasTls, login: this.#user !== undefined, utf8 });
  }

  origin(): Origin {
    const user = this.#user?.name;
    return {
      submitter: user === undefined ? `net:${this.#peer.address}` : `user:${user}`,
      listener: this.#peer.listener.name,
      clientAddress: this.#peer.address,
      ...(this.#ehloName !== undefined && { ehloName: this.#ehloName }),
      ...(this.userName !== undefined && { user: this.userName }),
      ...(this.#tls !== undefined && { tls: this.#tls }),
    };
  }
}
