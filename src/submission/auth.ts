/**
 * The AUTH dialogue (RFC 4954 §4; PLAIN of RFC 4616, and LOGIN): lines in, replies and a verdict out. Failures are
 * answered late, and few of them; an address that fails too often is banned. Passwords go to login.ts and nowhere else.
 */
import type { Desk, Peer } from "./desk.ts";
import type { KnownUser } from "./login.ts";
import { decodeBase64, decodeText, parsePlain } from "./sasl.ts";
import { cleanText } from "../mail/reply.ts";

export type AuthVerdict =
  /** Without `user` where any name and password will do. */
  { readonly kind: "success"; readonly user?: KnownUser } | { readonly kind: "failure"; readonly reply: string; readonly close?: string };

export interface AuthContext {
  readonly desk: Desk;
  readonly peer: Peer;
  /** acceptAnyFromNetworks holds for this client. */
  anyWillDo(): boolean;
  challenge(reply: string): void;
  verdict(verdict: AuthVerdict, done: () => void): void;
}

const PASSWORD_PROMPT = `334 ${Buffer.from("Password:").toString("base64")}`;
const USERNAME_PROMPT = `334 ${Buffer.from("Username:").toString("base64")}`;

export class AuthDialogue {
  readonly #context: AuthContext;
  #expects: "plain" | "username" | "password" | undefined;
  #username = "";
  #failures = 0;
  #cancelDelay: (() => void) | undefined;

  constructor(context: AuthContext) {
    this.#context = context;
  }

  /** The next line is a response, not a command. */
  get waitsForResponse(): boolean {
    return this.#expects !== undefined;
  }

  /** `PLAIN`, `PLAIN <initial response>`, `LOGIN`, `LOGIN <name>`. */
  start(argument: string, done: () => void): void {
    const [mechanism = "", initial, ...more] = argument.trim().split(/ +/);
    if (mechanism === "" || more.length > 0) return this.#fail("501 5.5.4 syntax: AUTH mechanism [initial-response]", done);
    switch (mechanism.toUpperCase()) {
      case "PLAIN":
        return this.#ask("plain", "334 ", initial, done);
      case "LOGIN":
        return this.#ask("username", USERNAME_PROMPT, initial, done);
      default:
        return this.#fail("504 5.5.4 mechanisms served here are PLAIN and LOGIN", done);
    }
  }

  respond(line: string, done: () => void): void {
    const expected = this.#expects;
    this.#expects = undefined;
    if (line === "*") return this.#fail("501 5.7.0 login cancelled", done);
    const octets = decodeBase64(line);
    if (octets === undefined || expected === undefined) return this.#fail("501 5.5.2 that is not base64", done);
    this.#take(expected, octets, done);
  }

  /** The response was longer than any may be (RFC 4954 §4). */
  tooLong(done: () => void): void {
    this.#expects = undefined;
    this.#fail("500 5.5.6 the response is too long", done);
  }

  /** The client went away. */
  forget(): void {
    this.#expects = undefined;
    this.#cancelDelay?.();
  }

  #ask(expected: "plain" | "username", prompt: string, initial: string | undefined, done: () => void): void {
    if (initial !== undefined) {
      // RFC 4954 §4: an initial response of no octets is written as one equals sign.
      const octets = initial === "=" ? Buffer.alloc(0) : decodeBase64(initial);
      if (octets === undefined) return this.#fail("501 5.5.2 that is not base64", done);
      return this.#take(expected, octets, done);
    }
    this.#expects = expected;
    this.#context.challenge(prompt);
    done();
  }

  #take(expected: "plain" | "username" | "password", octets: Buffer, done: () => void): void {
    if (expected === "plain") {
      const credentials = parsePlain(octets);
      if (credentials === "malformed") return this.#fail("501 5.5.2 that is no PLAIN response", done);
      if (credentials === "acts-for-another") return this.#wrong("", this.#context.desk.clock.monotonic(), done);
      return this.#verify(credentials.name, credentials.password, done);
    }
    const text = decodeText(octets);
    if (text === undefined) return this.#fail("501 5.5.2 that is no name or password", done);
    if (expected === "password") return this.#verify(this.#username, text, done);
    this.#username = text;
    this.#expects = "password";
    this.#context.challenge(PASSWORD_PROMPT);
    done();
  }

  #verify(name: string, password: string, done: () => void): void {
    const { desk, peer } = this.#context;
    const anyWillDo = this.#context.anyWillDo();
    const started = desk.clock.monotonic();
    if (anyWillDo && desk.logins.find(name) === undefined) return this.#context.verdict({ kind: "success" }, done);
    desk.logins.verify(name, password).then(
      (result) => {
        if (result.kind === "known") {
          desk.emit({ kind: "login-succeeded", listener: peer.listener.name, client: peer.address, user: cleanText(name, 100) });
          this.#context.verdict({ kind: "success", user: result.user }, done);
        } else if (anyWillDo) {
          this.#context.verdict({ kind: "success" }, done);
        } else if (result.kind === "wrong") {
          this.#wrong(name, started, done);
        } else {
          if (result.error !== undefined) desk.emit({ kind: "fault", where: "login", error: result.error });
          this.#fail("454 4.7.0 logins cannot be checked just now, try again later", done);
        }
      },
      (cause: unknown) => {
        desk.emit({ kind: "fault", where: "login", error: new Error("a login could not be checked", { cause }) });
        this.#fail("454 4.7.0 logins cannot be checked just now, try again later", done);
      },
    );
  }

  #wrong(name: string, started: number, done: () => void): void {
    const { desk, peer } = this.#context;
    const { failureDelay, failuresPerConnection } = desk.rules.settings.login;
    this.#failures += 1;
    const { bannedFor } = desk.logins.countFailure(peer.who);
    desk.emit({
      kind: "login-failed",
      listener: peer.listener.name,
      client: peer.address,
      user: cleanText(name, 100),
      failures: this.#failures,
      ...(bannedFor !== undefined && { bannedUntil: desk.clock.now() + bannedFor }),
    });
    const close =
      bannedFor !== undefined
        ? "421 4.7.0 too many failed logins from your address, come back later"
        : this.#failures >= failuresPerConnection
          ? "421 4.7.0 too many failed logins"
          : undefined;
    const tell = () => {
      this.#cancelDelay = undefined;
      this.#context.verdict(
        { kind: "failure", reply: "535 5.7.8 wrong user name or password", ...(close !== undefined && { close }) },
        done,
      );
    };
    const wait = failureDelay - (desk.clock.monotonic() - started);
    if (wait > 0) this.#cancelDelay = desk.clock.after(wait, tell);
    else tell();
  }

  #fail(reply: string, done: () => void): void {
    this.#context.verdict({ kind: "failure", reply }, done);
  }
}
