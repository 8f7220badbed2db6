/**
 * One client's dialogue (RFC 5321 §4.1.4, RFC 6409): command lines in, replies out, by our own state alone. What octets
 * make a line is guarded-stream.ts's; TLS and sockets are guarded-connection.ts's; the message itself is reception.ts's.
 */
import { isAscii, isUtf8 } from "node:buffer";
import type { ReversePath } from "../mail/address.ts";
import { transmissionType } from "../mail/received.ts";
import { cleanText } from "../mail/reply.ts";
import type { Origin } from "../queue/entry.ts";
import { type ClientFacts, judgeSender } from "./accept.ts";
import { AuthDialogue, type AuthVerdict } from "./auth.ts";
import type { Desk, Peer, Rules } from "./desk.ts";
import type { DataSink, LineFlaw } from "./guarded-stream.ts";
import type { KnownUser } from "./login.ts";
import { helloReply, parseClientName } from "./hello.ts";
import { type Outcome, Reception } from "./reception.ts";
import { troubleReply } from "./storage-replies.ts";
import { addRecipient, type CommandRefusal, openTransaction, type Transaction } from "./transaction.ts";

/** The connection as the dialogue sees it. */
export interface Wire {
  /** Complete lines without the last CRLF. */
  write(reply: string): void;
  receiveData(sink: DataSink): void;
  /** After everything written so far. */
  startTls(): void;
  /** After everything written so far; no command is read any more. */
  close(): void;
}

type CommandName = "MAIL" | "RCPT" | "DATA" | "AUTH";

/** RFC 5321 §4.5.3.1.4 and what SIZE, BODY, SMTPUTF8, DSN and AUTH add to it, with room to spare. */
const LONGEST_COMMAND = 2048;
/** Commands of a client that may not send, before it is told to go. */
const IDLE_TALK = 100;
const HTTP = /^[A-Z]{3,10} \S+ HTTP\/\d/;
const KNOWN_BUT_NOT_SERVED = new Set(["EXPN", "TURN", "ATRN", "ETRN", "SEND", "SOML", "SAML", "BDAT", "BURL", "LHLO"]);
const BEFORE_REQUIRED_TLS = new Set(["EHLO", "HELO", "NOOP", "RSET", "QUIT", "STARTTLS"]);

export class Session {
  readonly #desk: Desk;
  readonly #peer: Peer;
  readonly #wire: Wire;
  readonly #started: number;
  /** `TLSv1.3 TLS_AES_256_GCM_SHA384`. */
  #tls: string | undefined;
  #ehloName: string | undefined;
  #esmtp = false;
  #user: KnownUser | undefined;
  #loggedIn = false;
  #auth: AuthDialogue;
  #transaction: Transaction | undefined;
  #reception: Reception | undefined;
  #badCommands = 0;
  #idleTalk = 0;
  #lastHeard: number;
  /** A command is being worked on, so its slowness is not the client's. */
  #busy = false;
  #draining = false;
  #closed = false;
  #cancelTick: () => void;
  /** Where the client stands under the rules last looked at. */
  #standing: { readonly rules: Rules; readonly trusted: boolean; readonly gateway: boolean } | undefined;

  constructor(desk: Desk, peer: Peer, wire: Wire, tls: string | undefined) {
    this.#desk = desk;
    this.#peer = peer;
    this.#wire = wire;
    this.#tls = tls;
    this.#started = desk.clock.monotonic();
    this.#lastHeard = this.#started;
    this.#auth = this.#newAuth();
    this.#cancelTick = desk.clock.after(this.#tickLength(), () => this.#tick());
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

  greet(): void {
    this.#wire.write(`220 ${this.#desk.mailname} ESMTP Postern`);
  }

  /** It spoke before it was greeted, as programs do that wait for no answer (RFC 5321 §3.1, §4.3.1). */
  talkedTooSoon(): void {
    this.#refuseClient("early-talker", "spoke before the greeting");
    this.#farewell("421 4.7.0 you spoke before the greeting");
  }

  /** A whole line without its CRLF. `done` is called once it has been answered. */
  line(line: Buffer, done: () => void): void {
    if (this.#closed) return done();
    this.#lastHeard = this.#desk.clock.monotonic();
    if (this.#auth.waitsForResponse) {
      this.#work((finish) => this.#auth.respond(line.toString("latin1"), finish), done);
      return;
    }
    const ascii = isAscii(line);
    if (line.includes(0x0d) || line.includes(0)) return this.#malformed("500 5.5.2 a command has no CR or NUL inside", done);
    const text = ascii || !isUtf8(line) ? line.toString("latin1") : line.toString("utf8");
    const blank = text.indexOf(" ");
    const verb = (blank < 0 ? text : text.slice(0, blank)).toUpperCase();
    if (line.length > LONGEST_COMMAND && verb !== "AUTH") return this.#malformed("500 5.5.2 the command line is too long", done);
    // Octets that are no UTF-8 would become another address than the one meant.
    if (!ascii && (verb === "MAIL" || verb === "RCPT") && !isUtf8(line)) return this.#malformed("501 5.5.2 the command is not UTF-8", done);
    this.#work((finish) => this.#command(verb, blank < 0 ? "" : text.slice(blank), text, finish), done);
  }

  flawedLine(flaw: LineFlaw, done: () => void): void {
    if (this.#closed) return done();
    this.#lastHeard = this.#desk.clock.monotonic();
    if (this.#auth.waitsForResponse && flaw === "too-long") return this.#auth.tooLong(done);
    this.#malformed(
      flaw === "too-long" ? "500 5.5.2 the command line is too long" : "500 5.5.2 bare LF: command lines end with CRLF",
      done,
    );
  }

  /** The handshake is done: everything said in the clear is forgotten (RFC 3207 §4.2). */
  secured(tls: string): void {
    this.#tls = tls;
    this.#ehloName = undefined;
    this.#esmtp = false;
    this.#user = undefined;
    this.#loggedIn = false;
    this.#auth = this.#newAuth();
    this.#transaction = undefined;
    this.#lastHeard = this.#desk.clock.monotonic();
    this.#busy = false;
    if (this.#draining) this.#shutDown();
  }

  /** The relay stops: an idle client hears it now, one with a transaction when that is over. */
  drain(): void {
    this.#draining = true;
    if (this.#transaction === undefined && !this.#busy) this.#shutDown();
  }

  /** The relay's patience is over. What the store has been given is still answered. */
  cutShort(): void {
    this.#draining = true;
    if (this.#reception?.ended !== true) this.#shutDown();
  }

  /** The connection is closed. */
  gone(): void {
    this.#closed = true;
    this.#cancelTick();
    this.#auth.forget();
    this.#reception?.lose();
  }

  /** Our own mistake in the middle of a command: the client may come again (RFC 5321 §4.2.5). */
  fault(error: unknown): void {
    this.#desk.emit({ kind: "fault", where: "submission", error: error instanceof Error ? error : new Error(String(error)) });
    this.#farewell("421 4.3.0 something went wrong here, try again later");
  }

  #command(verb: string, argument: string, text: string, done: () => void): void {
    if (this.#tooMuchIdleTalk()) return done();
    if (this.#peer.listener.tls === "require" && this.#tls === undefined && !BEFORE_REQUIRED_TLS.has(verb)) {
      this.#reply("530 5.7.0 Must issue a STARTTLS command first");
      return done();
    }
    switch (verb) {
      case "MAIL":
        this.#mail(argument);
        return done();
      case "RCPT":
        this.#rcpt(argument);
        return done();
      case "DATA":
        this.#data(argument);
        return done();
      case "EHLO":
      case "HELO":
        this.#hello(verb, argument.trim());
        return done();
      case "AUTH":
        return this.#startAuth(argument, done);
      case "STARTTLS":
        return this.#startTls(argument, done);
      case "RSET":
        if (argument.trim() !== "") return this.#malformed("501 5.5.4 syntax: RSET", done);
        this.#reply("250 2.0.0 Ok");
        this.#endTransaction();
        return done();
      case "NOOP":
        this.#reply("250 2.0.0 Ok");
        return done();
      case "QUIT":
        this.#farewell("221 2.0.0 Bye");
        return done();
      case "HELP":
        this.#reply("214 2.0.0 This is Postern. RFC 5321 and RFC 6409 tell what it understands");
        return done();
      case "VRFY":
        if (argument.trim() === "") return this.#malformed("501 5.5.4 syntax: VRFY address", done);
        this.#reply("252 2.5.0 Send the message, and it will be tried");
        return done();
      default:
        // A web page can make a browser speak to us; its first line betrays it, and nothing after that is read.
        if (HTTP.test(text)) {
          this.#refuseClient("http", "sent an HTTP request");
          this.#farewell("421 4.7.0 this is no web server");
          return done();
        }
        return this.#malformed(
          KNOWN_BUT_NOT_SERVED.has(verb) ? "502 5.5.1 command not served here" : "500 5.5.2 command not recognized",
          done,
        );
    }
  }

  #hello(verb: "EHLO" | "HELO", text: string): void {
    const name = parseClientName(text, this.trusted);
    if (name === undefined) return this.#countBad(`501 syntax: ${verb} name`);
    this.#ehloName = name;
    this.#esmtp = verb === "EHLO";
    this.#transaction = undefined;
    const { messageSize } = this.#desk.rules.settings.limits;
    this.#reply(
      helloReply(verb, this.#desk.mailname, { messageSize, startTls: this.#canStartTls(), login: this.#canLogIn() && !this.#loggedIn }),
    );
  }

  #canStartTls(): boolean {
    return this.#tls === undefined && this.#desk.certificate !== undefined && this.#peer.listener.tls !== "off";
  }

  /** Any name and password will do from the operator's networks, for devices that must log in somewhere. */
  #anyWillDo(): boolean {
    return this.#desk.rules.settings.login.acceptAnyFromNetworks && this.trusted;
  }

  #canLogIn(): boolean {
    return (this.#tls !== undefined && this.#desk.logins.hasUsers()) || this.#anyWillDo();
  }

  #startTls(argument: string, done: () => void): void {
    if (argument.trim() !== "") return this.#malformed("501 5.5.4 syntax: STARTTLS", done);
    if (this.#tls !== undefined) return this.#malformed("503 5.5.1 TLS is active already", done);
    if (this.#peer.listener.tls === "off") return this.#malformed("502 5.5.1 STARTTLS is not served on this port", done);
    if (this.#desk.certificate === undefined) {
      this.#reply("454 4.7.0 TLS not available: this relay has no certificate");
      return done();
    }
    this.#reply("220 2.0.0 Ready to start TLS");
    this.#busy = true;
    this.#wire.startTls();
  }

  #newAuth(): AuthDialogue {
    return new AuthDialogue({
      desk: this.#desk,
      peer: this.#peer,
      tls: this.#tls !== undefined,
      anyWillDo: () => this.#anyWillDo(),
      challenge: (reply) => this.#wire.write(reply),
      verdict: (verdict, done) => this.#authVerdict(verdict, done),
    });
  }

  #startAuth(argument: string, done: () => void): void {
    const refusal = this.#whyNoAuth();
    if (refusal !== undefined) {
      this.#rejected("AUTH", argument.trim().split(" ")[0] ?? "", refusal);
      this.#countBad(refusal);
      return done();
    }
    if (this.#desk.logins.isBanned(this.#peer.who)) {
      this.#refuseClient("banned", "too many failed logins");
      this.#farewell("421 4.7.0 too many failed logins from your address, come back later");
      return done();
    }
    this.#auth.start(argument, done);
  }

  #whyNoAuth(): string | undefined {
    if (this.#loggedIn) return "503 5.5.1 you are logged in already";
    if (this.#transaction !== undefined) return "503 5.5.1 no login during a transaction";
    if (!this.#esmtp) return "503 5.5.1 say EHLO first";
    if (this.#canLogIn()) return undefined;
    if (this.#tls === undefined && this.#desk.certificate !== undefined) return "538 5.7.11 login needs TLS: say STARTTLS first";
    return this.#tls === undefined
      ? "502 5.5.1 no login without TLS, and this relay has no certificate"
      : "502 5.5.1 no login here: this relay has no users";
  }

  #authVerdict(verdict: AuthVerdict, done: () => void): void {
    if (this.#closed) return done();
    if (verdict.kind === "success") {
      this.#loggedIn = true;
      this.#user = verdict.user;
      this.#idleTalk = 0;
      this.#reply("235 2.7.0 Authentication successful");
      return done();
    }
    this.#rejected("AUTH", "", verdict.reply);
    this.#countBad(verdict.reply);
    if (verdict.close !== undefined) {
      this.#refuseClient("failed-logins", verdict.close.slice(10));
      this.#farewell(verdict.close);
    }
    done();
  }

  #facts(): ClientFacts {
    const { trusted, gateway } = this.#stands();
    return {
      address: this.#peer.address,
      trusted,
      gateway,
      loggedIn: this.#loggedIn,
      ...(this.#user !== undefined && { user: this.#user }),
    };
  }

  #mail(argument: string): void {
    if (this.#ehloName === undefined) return this.#countBad("503 5.5.1 say EHLO first");
    if (this.#transaction !== undefined) return this.#countBad("503 5.5.1 a transaction is open already; RSET ends it");
    const opened = openTransaction(argument, { desk: this.#desk, peer: this.#peer, client: this.#facts() });
    if ("reply" in opened) return this.#refuse("MAIL", argument, opened);
    this.#transaction = opened;
    this.#reply("250 2.1.0 Ok");
  }

  #rcpt(argument: string): void {
    if (this.#transaction === undefined) return this.#countBad("503 5.5.1 say MAIL first");
    const refusal = addRecipient(this.#transaction, argument, { desk: this.#desk, peer: this.#peer, client: this.#facts() });
    if (refusal !== undefined) return this.#refuse("RCPT", argument, refusal);
    this.#reply("250 2.1.5 Ok");
  }

  #data(argument: string): void {
    if (argument.trim() !== "") return this.#countBad("501 5.5.4 syntax: DATA");
    const transaction = this.#transaction;
    if (transaction === undefined) return this.#countBad("503 5.5.1 say MAIL first");
    if (transaction.recipients.size === 0)
      return this.#refuse("DATA", "", { reply: "503 5.5.1 no recipient has been accepted", malformed: false });
    const { store, minimumFree, rules } = this.#desk;
    const trouble = store.trouble();
    if (trouble !== undefined) return this.#refuse("DATA", "", { reply: troubleReply(trouble, minimumFree), malformed: false });
    const client = this.#facts();
    const { mail, recipients } = transaction;
    const reception = new Reception(
      this.#desk,
      {
        sender: mail.sender,
        recipients: [...recipients.values()],
        origin: this.#origin(),
        ehloName: this.#ehloName ?? "",
        clientAddress: this.#peer.address,
        protocol: transmissionType({
          esmtp: this.#esmtp,
          tls: this.#tls !== undefined,
          login: this.#user !== undefined,
          utf8: mail.smtpUtf8,
        }),
        trusted: client.trusted || client.loggedIn,
        judgeSender: (address: ReversePath) => judgeSender(client, address, rules.accept),
        ...(mail.returnContent !== undefined && { returnContent: mail.returnContent }),
        ...(mail.envelopeId !== undefined && { envelopeId: mail.envelopeId }),
      },
      (outcome, done) => this.#dataSettled(outcome, done),
    );
    this.#reception = reception;
    this.#wire.write("354 End data with <CR><LF>.<CR><LF>");
    this.#wire.receiveData(reception);
  }

  #origin(): Origin {
    const user = this.#user?.name;
    return {
      submitter: user === undefined ? `net:${this.#peer.address}` : `user:${user}`,
      listener: this.#peer.listener.name,
      clientAddress: this.#peer.address,
      ...(this.#ehloName !== undefined && { ehloName: this.#ehloName }),
      ...(user !== undefined && { user: cleanText(user, 100) }),
      ...(this.#tls !== undefined && { tls: this.#tls }),
    };
  }

  #dataSettled(outcome: Outcome, done: () => void): void {
    this.#reception = undefined;
    this.#lastHeard = this.#desk.clock.monotonic();
    if (this.#closed) return done();
    if (outcome.accepted) {
      this.#badCommands = 0;
      this.#idleTalk = 0;
    } else {
      this.#rejected("DATA", "", outcome.reply);
    }
    this.#reply(outcome.reply);
    this.#endTransaction();
    done();
  }

  #endTransaction(): void {
    this.#transaction = undefined;
    if (this.#draining) this.#shutDown();
  }

  #work(run: (finish: () => void) => void, done: () => void): void {
    this.#busy = true;
    run(() => {
      this.#busy = false;
      if (this.#draining && this.#transaction === undefined && !this.#closed) this.#shutDown();
      done();
    });
  }

  #reply(reply: string): void {
    this.#wire.write(reply);
  }

  #refuse(command: CommandName, argument: string, { reply, malformed }: CommandRefusal): void {
    this.#rejected(command, argument, reply);
    if (malformed) this.#countBad(reply);
    else this.#reply(reply);
  }

  #rejected(command: CommandName, argument: string, reply: string): void {
    this.#desk.emit({
      kind: "command-rejected",
      listener: this.#peer.listener.name,
      client: this.#peer.address,
      command,
      argument: cleanText(argument.trim(), 300),
      reply,
      ...(this.#user !== undefined && { user: cleanText(this.#user.name, 100) }),
    });
  }

  #malformed(reply: string, done: () => void): void {
    this.#countBad(reply);
    done();
  }

  #countBad(reply: string): void {
    this.#badCommands += 1;
    this.#reply(reply);
    if (this.#badCommands < this.#desk.rules.settings.limits.badCommands) return;
    this.#refuseClient("bad-commands", `${this.#badCommands} bad commands`);
    this.#farewell("421 4.7.0 too many errors");
  }

  /** NOOPs keep a connection alive for ever; whoever may not send has little to say. */
  #tooMuchIdleTalk(): boolean {
    if (this.#loggedIn || this.#transaction !== undefined || this.trusted) return false;
    this.#idleTalk += 1;
    if (this.#idleTalk <= IDLE_TALK) return false;
    this.#refuseClient("idle-talk", `${IDLE_TALK} commands without a login`);
    this.#farewell("421 4.7.0 too many commands without a login");
    return true;
  }

  #refuseClient(reason: string, detail: string): void {
    this.#desk.emit({ kind: "client-refused", listener: this.#peer.listener.name, client: this.#peer.address, reason, detail });
  }

  #shutDown(): void {
    this.#farewell("421 4.3.2 this relay is stopping, try again in a moment");
  }

  #farewell(reply: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelTick();
    this.#auth.forget();
    this.#reply(reply);
    this.#reception?.lose();
    this.#wire.close();
  }

  #tickLength(): number {
    const { idle, session } = this.#desk.rules.settings.limits;
    return Math.max(10, Math.min(15_000, idle, session));
  }

  /** One timer a connection, whatever it does: deadlines are looked at, not armed. */
  #tick(): void {
    this.#cancelTick = this.#desk.clock.after(this.#tickLength(), () => this.#tick());
    const now = this.#desk.clock.monotonic();
    const { idle, session } = this.#desk.rules.settings.limits;
    if (this.#reception !== undefined) {
      const reply = this.#reception.whyTooSlow();
      if (reply !== undefined) {
        this.#refuseClient("too-slow", reply.slice(10));
        this.#farewell(reply);
      }
      return;
    }
    if (this.#busy) return;
    if (now - this.#lastHeard >= idle) return this.#farewell("421 4.4.2 you said nothing for too long");
    // A transaction may end first, but not by lasting for ever.
    if (now - this.#started >= session + (this.#transaction === undefined ? 0 : idle))
      this.#farewell("421 4.4.2 this session has lasted too long");
  }
}
