/**
 * One client's dialogue (RFC 5321 §4.1.4, RFC 6409): command lines in, replies out, by our own state alone. What octets
 * make a line is guarded-stream.ts's; TLS and sockets are guarded-connection.ts's; the message itself is reception.ts's. Who
 * the client is stands in client.ts, how long it is borne with in patience.ts.
 */
import { cleanText } from "../mail/reply.ts";
import { errorOf } from "../thrown.ts";
import { AuthDialogue, type AuthVerdict } from "./auth.ts";
import { Client } from "./client.ts";
import { type CommandLine, parseCommandLine, TOO_LONG } from "./command-line.ts";
import type { Desk, Peer } from "./desk.ts";
import type { DataSink, LineFlaw } from "./guarded-stream.ts";
import { helloReply, parseClientName } from "./hello.ts";
import { Patience } from "./patience.ts";
import { type Outcome, Reception } from "./reception.ts";
import { troubleReply } from "./storage-replies.ts";
import { addRecipient, type CommandRefusal, openTransaction, submittalOf, type Transaction } from "./transaction.ts";

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

const HTTP = /^[A-Z]{3,10} \S+ HTTP\/\d/;
const KNOWN_BUT_NOT_SERVED = new Set(["EXPN", "TURN", "ATRN", "ETRN", "SEND", "SOML", "SAML", "BDAT", "BURL", "LHLO"]);
const BEFORE_REQUIRED_TLS = new Set(["EHLO", "HELO", "NOOP", "RSET", "QUIT", "STARTTLS"]);

export class Session {
  readonly #desk: Desk;
  readonly #peer: Peer;
  readonly #wire: Wire;
  readonly #client: Client;
  readonly #patience: Patience;
  #auth: AuthDialogue;
  #transaction: Transaction | undefined;
  #reception: Reception | undefined;
  /** A command is being worked on, so its slowness is not the client's. */
  #busy = false;
  #draining = false;
  #closed = false;
  #cancelTick: () => void;

  constructor(desk: Desk, peer: Peer, wire: Wire, tls: string | undefined) {
    this.#desk = desk;
    this.#peer = peer;
    this.#wire = wire;
    this.#client = new Client(desk, peer, tls);
    this.#patience = new Patience(() => desk.rules.settings.limits, desk.clock);
    this.#auth = this.#newAuth();
    this.#cancelTick = desk.clock.after(this.#patience.tickLength, () => this.#tick());
  }

  get trusted(): boolean {
    return this.#client.trusted;
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
    this.#patience.heard();
    if (this.#auth.waitsForResponse) {
      this.#work((finish) => this.#auth.respond(line.toString("latin1"), finish), done);
      return;
    }
    const command = parseCommandLine(line);
    if (!command.ok) return this.#malformed(command.error, done);
    this.#work((finish) => this.#command(command.value, finish), done);
  }

  flawedLine(flaw: LineFlaw, done: () => void): void {
    if (this.#closed) return done();
    this.#patience.heard();
    if (this.#auth.waitsForResponse && flaw === "too-long") return this.#auth.tooLong(done);
    this.#malformed(flaw === "too-long" ? TOO_LONG : "500 5.5.2 bare LF: command lines end with CRLF", done);
  }

  /** The handshake is done: everything said in the clear is forgotten (RFC 3207 §4.2). */
  secured(tls: string): void {
    this.#client.secured(tls);
    this.#auth = this.#newAuth();
    this.#transaction = undefined;
    this.#patience.heard();
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
    this.#desk.emit({ kind: "fault", where: "submission", error: errorOf(error) });
    this.#farewell("421 4.3.0 something went wrong here, try again later");
  }

  #command({ verb, argument, text }: CommandLine, done: () => void): void {
    if (this.#tooMuchIdleTalk()) return done();
    if (this.#peer.listener.tls === "require" && !this.#client.hasTls && !BEFORE_REQUIRED_TLS.has(verb)) {
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
    const client = this.#client;
    client.saidHello(name, verb === "EHLO");
    this.#transaction = undefined;
    const { messageSize } = this.#desk.rules.settings.limits;
    const login = client.canLogIn && !client.isLoggedIn;
    const offers = { messageSize, startTls: client.canStartTls, login, requireTls: client.hasTls };
    this.#reply(helloReply(verb, this.#desk.mailname, offers));
  }

  #startTls(argument: string, done: () => void): void {
    if (argument.trim() !== "") return this.#malformed("501 5.5.4 syntax: STARTTLS", done);
    if (this.#client.hasTls) return this.#malformed("503 5.5.1 TLS is active already", done);
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
      anyWillDo: () => this.#client.anyLoginWillDo,
      challenge: (reply) => this.#wire.write(reply),
      verdict: (verdict, done) => this.#authVerdict(verdict, done),
    });
  }

  #startAuth(argument: string, done: () => void): void {
    const refusal = this.#client.whyNoLogin(this.#transaction !== undefined);
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

  #authVerdict(verdict: AuthVerdict, done: () => void): void {
    if (this.#closed) return done();
    if (verdict.kind === "success") {
      this.#client.loggedInAs(verdict.user);
      this.#patience.loggedIn();
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

  #mail(argument: string): void {
    if (this.#client.ehloName === undefined) return this.#countBad("503 5.5.1 say EHLO first");
    if (this.#transaction !== undefined) return this.#countBad("503 5.5.1 a transaction is open already; RSET ends it");
    const submitting = { desk: this.#desk, peer: this.#peer, client: this.#client.facts() };
    const opened = openTransaction(argument, submitting, this.#client.hasTls);
    if ("reply" in opened) return this.#refuse("MAIL", argument, opened);
    this.#transaction = opened;
    this.#reply("250 2.1.0 Ok");
  }

  #rcpt(argument: string): void {
    if (this.#transaction === undefined) return this.#countBad("503 5.5.1 say MAIL first");
    const refusal = addRecipient(this.#transaction, argument, { desk: this.#desk, peer: this.#peer, client: this.#client.facts() });
    if (refusal !== undefined) return this.#refuse("RCPT", argument, refusal);
    this.#reply("250 2.1.5 Ok");
  }

  #data(argument: string): void {
    if (argument.trim() !== "") return this.#countBad("501 5.5.4 syntax: DATA");
    const transaction = this.#transaction;
    if (transaction === undefined) return this.#countBad("503 5.5.1 say MAIL first");
    if (transaction.recipients.size === 0)
      return this.#refuse("DATA", "", { reply: "503 5.5.1 no recipient has been accepted", malformed: false });
    const { store, minimumFree } = this.#desk;
    const trouble = store.trouble();
    if (trouble !== undefined) return this.#refuse("DATA", "", { reply: troubleReply(trouble, minimumFree), malformed: false });
    const reception = new Reception(this.#desk, submittalOf(transaction, this.#client, this.#desk.rules), (outcome, done) =>
      this.#dataSettled(outcome, done),
    );
    this.#reception = reception;
    this.#wire.write("354 End data with <CR><LF>.<CR><LF>");
    this.#wire.receiveData(reception);
  }

  #dataSettled(outcome: Outcome, done: () => void): void {
    this.#reception = undefined;
    this.#patience.heard();
    if (this.#closed) return done();
    if (outcome.accepted) {
      this.#patience.delivered();
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
    const user = this.#client.userName;
    this.#desk.emit({
      kind: "command-rejected",
      listener: this.#peer.listener.name,
      client: this.#peer.address,
      command,
      argument: cleanText(argument.trim(), 300),
      reply,
      ...(user !== undefined && { user }),
    });
  }

  #malformed(reply: string, done: () => void): void {
    this.#countBad(reply);
    done();
  }

  #countBad(reply: string): void {
    this.#reply(reply);
    const tooMany = this.#patience.countBad();
    if (tooMany === undefined) return;
    this.#refuseClient("bad-commands", tooMany);
    this.#farewell("421 4.7.0 too many errors");
  }

  #tooMuchIdleTalk(): boolean {
    if (this.#client.isLoggedIn || this.#transaction !== undefined || this.trusted) return false;
    const tooMuch = this.#patience.countIdleTalk();
    if (tooMuch === undefined) return false;
    this.#refuseClient("idle-talk", tooMuch);
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

  /** One timer a connection, whatever it does: deadlines are looked at, not armed. */
  #tick(): void {
    this.#cancelTick = this.#desk.clock.after(this.#patience.tickLength, () => this.#tick());
    if (this.#reception !== undefined) {
      const reply = this.#reception.whyTooSlow();
      if (reply !== undefined) {
        this.#refuseClient("too-slow", reply.slice(10));
        this.#farewell(reply);
      }
      return;
    }
    if (this.#busy) return;
    const over = this.#patience.whyOver(this.#transaction !== undefined);
    if (over !== undefined) this.#farewell(over);
  }
}
