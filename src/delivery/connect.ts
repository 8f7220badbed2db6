/**
 * Opens a connection up to the point where MAIL may be said (RFC 5321 §3.1, §3.2; RFC 3207): greeting, EHLO, STARTTLS,
 * handshake, verdict, EHLO again, login. In: a target with its requirement. Out: a session that meets it, or the failure
 * in the words of RFC 8460. Nothing of an envelope is said here, and what was heard in clear counts for nothing inside TLS.
 */
import type { Socket } from "node:net";
import type { Clock } from "../clock.ts";
import type { DeliverySettings } from "../config/settings.ts";
import { canonicalIp } from "../mail/ip-address.ts";
import { describeReply, type Reply } from "../mail/reply.ts";
import type { JudgeDane } from "../policy/dane-match.ts";
import type { TlsFailure, TlsOutcome } from "../policy/outcome.ts";
import { findUnmet, meetsRequirement } from "../policy/requirement.ts";
import type { DeliveryProblem } from "../queue/settlement.ts";
import { createEvidence } from "./certificate.ts";
import { dial } from "./dial.ts";
import { type Extensions, NO_EXTENSIONS, parseExtensions } from "./extensions.ts";
import { type Handshake, handshakeFailure, shakeHands } from "./handshake.ts";
import { logIn } from "./login.ts";
import { problem } from "./problems.ts";
import { findHelo } from "./peer-facts.ts";
import type { HostFailure, OpenResult, OpenSession, PeerFacts, SessionStep, SessionTarget } from "./session.ts";
import { SmtpSession } from "./smtp-session.ts";
import { ehloUnknown, SWITCHED_OFF, startTlsInjected, startTlsLost, startTlsNotOffered, startTlsRefused } from "./starttls-failure.ts";
import { createContexts, demandsProof, type Roots } from "./tls-options.ts";
import { outcomeOf } from "./tls-outcome.ts";
import { describeUnmet, isLastingFlaw } from "./unmet.ts";
import { classOf, endsSession, lossProblem, nonsense, rejection } from "./verdicts.ts";
import { isLoss, type Loss, Wire } from "./wire.ts";

export interface ConnectorIo {
  readonly timeouts: DeliverySettings["timeouts"];
  /** What `loadRoots` made of `tls.roots`. */
  readonly roots: Roots;
  readonly clock: Clock;
  readonly judgeDane: JudgeDane;
}

export function createConnector(io: ConnectorIo): OpenSession {
  const tools: Tools = { ...io, contextFor: createContexts(), evidenceOf: createEvidence() };
  return async (target) => {
    const first = await new Opening(target, tools, undefined).run();
    if (first.kind !== "try-in-clear") return first;
    // A socket on which a handshake failed cannot be used in clear any more (RFC 3207 §4.1), so this is a new one.
    const second = await new Opening(target, tools, first).run();
    if (second.kind === "try-in-clear") throw new Error(`${target.host} was tried in clear, and TLS failed there`);
    return second;
  };
}

interface Tools extends ConnectorIo {
  readonly contextFor: ReturnType<typeof createContexts>;
  readonly evidenceOf: ReturnType<typeof createEvidence>;
}

type Step<T> = { readonly kind: "done"; readonly value: T } | Ended;
type Ended = HostFailure | TryInClear;

interface TryInClear {
  readonly kind: "try-in-clear";
  readonly because: TlsFailure;
  readonly peer: PeerFacts | undefined;
}

const done = <T>(value: T): Step<T> => ({ kind: "done", value });

/** EHLO refused in these ways may mean a host that only knows HELO (RFC 5321 §4.1.4, §3.2). */
const HELO_MAY_DO = new Set([500, 501, 502, 504, 550]);

class Opening {
  readonly #target: SessionTarget;
  readonly #tools: Tools;
  /** TLS failed on an earlier connection, and clear will do. */
  readonly #before: TryInClear | undefined;
  #peer: PeerFacts | undefined;
  #answered = false;

  constructor(target: SessionTarget, tools: Tools, before: TryInClear | undefined) {
    this.#target = target;
    this.#tools = tools;
    this.#before = before;
  }

  async run(): Promise<OpenResult | Ended> {
    const target = this.#target;
    const opened = target.tls === "implicit" ? await this.#openImplicit() : await this.#openClear();
    if (opened.kind !== "done") return opened;
    let { wire, outcome } = opened.value;
    let extensions: Extensions | undefined;
    if (outcome === undefined) {
      const hello = await this.#sayHello(wire, this.#clearWillDo(SWITCHED_OFF));
      if (hello.kind !== "done") return hello;
      extensions = hello.value;
      const secured = await this.#secure(wire, extensions);
      if (secured.kind !== "done") return secured;
      ({ wire, outcome } = secured.value);
    }
    // Inside TLS everything heard before is forgotten, and EHLO is the first thing said (RFC 3207 §4.2).
    if (outcome.kind !== "clear") {
      const hello = await this.#sayHello(wire, target.login === undefined, outcome);
      if (hello.kind !== "done") return hello;
      extensions = hello.value;
    }
    if (extensions === undefined) throw new Error("a connection without EHLO");
    // Whoever listed it elsewhere may be anybody, and promises nothing (RFC 8689 §2).
    if (outcome.kind !== "authenticated") extensions = { ...extensions, requireTls: false };
    wire.enhancedStatusCodes = extensions.enhancedStatusCodes;
    if (target.login !== undefined) {
      const refused = await this.#logIn(wire, extensions, outcome, target.login);
      if (refused !== undefined) return refused;
    }
    const { timeouts } = this.#tools;
    const peer = { wire, extensions, host: target.host, loggedIn: target.login !== undefined, timeouts, transactionOpen: false };
    return { kind: "open", session: new SmtpSession(target, outcome, this.#peer ?? {}, peer) };
  }

  async #openClear(): Promise<Step<{ wire: Wire; outcome: TlsOutcome | undefined }>> {
    const { timeouts, clock } = this.#tools;
    const wire = await dial(this.#target, timeouts.connect, clock, (socket) => {
      this.#noteConnection(socket);
      const attached = new Wire(socket, clock);
      attached.expect(1);
      return attached;
    });
    if (!(wire instanceof Wire)) return this.#fail("connect", wire);
    const refused = await this.#readGreeting(wire);
    return refused ?? done({ wire, outcome: undefined });
  }

  async #openImplicit(): Promise<Step<{ wire: Wire; outcome: TlsOutcome | undefined }>> {
    const { timeouts, clock } = this.#tools;
    const handshake = await dial(this.#target, timeouts.connect, clock, (socket) => {
      this.#noteConnection(socket);
      return { shaken: this.#shakeHands(socket, true) };
    });
    if (!("shaken" in handshake)) return this.#fail("connect", handshake);
    const secured = await this.#judge(await handshake.shaken);
    if (secured.kind !== "done") return secured;
    const refused = await this.#readGreeting(secured.value.wire, secured.value.outcome);
    return refused ?? secured;
  }

  #noteConnection(socket: Socket): void {
    const localAddress = canonicalIp(socket.localAddress ?? "");
    this.#peer = localAddress === undefined ? {} : { localAddress };
  }

  /** The latest word counts: the reply to EHLO before the greeting, and what is said inside TLS before what was said in clear. */
  #noteName(reply: Reply): void {
    const helo = findHelo(reply);
    if (helo !== undefined) this.#peer = { ...this.#peer, helo };
  }

  /** Nothing is said before the greeting has come (RFC 5321 §4.3.1). Undefined: it is a welcome. */
  async #readGreeting(wire: Wire, outcome?: TlsOutcome): Promise<Ended | undefined> {
    const greeting = await wire.read(this.#target.greetingWait ?? this.#tools.timeouts.greeting, "the greeting");
    if (isLoss(greeting)) return this.#lost("greeting", greeting, outcome);
    this.#answered = true;
    this.#noteName(greeting);
    return classOf(greeting) === "positive" ? undefined : this.#refused("greeting", greeting, "the connection", wire, outcome);
  }

  async #sayHello(wire: Wire, heloWillDo: boolean, outcome?: TlsOutcome): Promise<Step<Extensions>> {
    const { host, ehloName } = this.#target;
    const { ehlo: wait } = this.#tools.timeouts;
    wire.send(`EHLO ${ehloName}\r\n`, 1);
    const reply = await wire.read(wait, "the reply to EHLO");
    if (isLoss(reply)) return this.#lost("ehlo", reply, outcome);
    if (classOf(reply) === "positive") {
      this.#noteName(reply);
      return done(parseExtensions(reply));
    }
    if (!HELO_MAY_DO.has(reply.code)) return this.#refused("ehlo", reply, "EHLO", wire, outcome);
    if (!heloWillDo) {
      if (outcome !== undefined) return this.#refused("ehlo", reply, "EHLO", wire, outcome);
      return this.#unmet("starttls", { kind: "clear", because: ehloUnknown(host, reply) }, wire, true);
    }
    wire.send(`HELO ${ehloName}\r\n`, 1);
    const second = await wire.read(wait, "the reply to HELO");
    if (isLoss(second)) return this.#lost("ehlo", second, outcome);
    if (classOf(second) !== "positive") return this.#refused("ehlo", second, "HELO", wire, outcome);
    this.#noteName(second);
    return done(NO_EXTENSIONS);
  }

  /** From the first EHLO to a channel that meets the requirement. */
  async #secure(wire: Wire, extensions: Extensions): Promise<Step<{ wire: Wire; outcome: TlsOutcome }>> {
    const { host, tls } = this.#target;
    if (tls === "never") return this.#stayClear(wire, SWITCHED_OFF, false);
    if (this.#before !== undefined) return this.#stayClear(wire, this.#before.because, false);
    if (!extensions.startTls) return this.#stayClear(wire, startTlsNotOffered(host, extensions), true);
    const { result, injectedOctets } = await wire.sendLastInClear("STARTTLS\r\n", this.#tools.timeouts.starttls);
    if (isLoss(result)) return this.#tlsFailed("starttls", startTlsLost(host, result));
    if (result.code !== 220 || endsSession(result)) {
      const failure = startTlsRefused(host, result);
      if (injectedOctets === 0 && !endsSession(result)) return this.#stayClear(wire, failure, classOf(result) === "permanent");
      wire.destroy();
      return this.#tlsFailed("starttls", failure);
    }
    if (injectedOctets > 0) {
      wire.destroy();
      return this.#tlsFailed("starttls", startTlsInjected(injectedOctets));
    }
    return await this.#judge(await this.#shakeHands(wire.release(), false));
  }

  /** Clear, in the same session, if that will do. `lasting`: so this host is set up. */
  #stayClear(wire: Wire, because: TlsFailure, lasting: boolean): Step<{ wire: Wire; outcome: TlsOutcome }> {
    const outcome: TlsOutcome = { kind: "clear", because };
    return this.#clearWillDo(because) ? done({ wire, outcome }) : this.#unmet("starttls", outcome, wire, lasting);
  }

  #clearWillDo(because: TlsFailure): boolean {
    return meetsRequirement({ kind: "clear", because }, this.#target.requirement);
  }

  #shakeHands(socket: Socket, greets: boolean): Promise<Handshake> {
    const { roots, requirement, serverName } = this.#target;
    const { contextFor, timeouts, clock } = this.#tools;
    return shakeHands(socket, {
      context: contextFor(roots ?? this.#tools.roots, demandsProof(requirement)),
      ...(serverName === undefined ? {} : { serverName }),
      wait: timeouts.handshake,
      clock,
      greets,
    });
  }

  /** The verdict on what the handshake gave, before anything else is said (RFC 3207 §4.1). It may take its time: the wire listens. */
  async #judge(handshake: Handshake): Promise<Step<{ wire: Wire; outcome: TlsOutcome }>> {
    if (handshake.kind === "failed") return this.#tlsFailed("handshake", handshake.failure);
    const { requirement } = this.#target;
    const { evidenceOf, judgeDane, clock } = this.#tools;
    const outcome = await outcomeOf(handshake, { requirement, now: clock.now(), evidenceOf, judgeDane });
    const unmet = findUnmet(outcome, requirement);
    if (unmet !== undefined) return this.#unmet("handshake", outcome, handshake.wire, isLastingFlaw(unmet, requirement));
    return done({ wire: handshake.wire, outcome });
  }

  async #logIn(
    wire: Wire,
    extensions: Extensions,
    outcome: TlsOutcome,
    login: NonNullable<SessionTarget["login"]>,
  ): Promise<HostFailure | undefined> {
    const { host } = this.#target;
    const failed = (detail: string, reply?: Reply): HostFailure => {
      sayQuit(wire, this.#tools.timeouts.quit);
      const found = problem("authentication-failed", "you", detail, { host });
      return this.#fail("auth", reply === undefined ? found : { ...found, reply }, outcome);
    };
    if (outcome.kind !== "authenticated")
      return failed(`the password is kept from ${host}, which is not authenticated: ${outcome.because.detail}`);
    const result = await logIn(wire, extensions, login, this.#tools.timeouts.auth);
    switch (result.kind) {
      case "accepted":
        return undefined;
      case "refused":
        return failed(`${host} answered the login of ${login.username} with ${describeReply(result.reply)}`, result.reply);
      case "not-offered":
        return failed(`${host} offers neither AUTH PLAIN nor AUTH LOGIN`);
      case "lost":
        return this.#fail("auth", lossProblem(result.loss, host), outcome);
    }
  }

  /** TLS went wrong and took the connection with it: clear on a new one if that will do, else this host is out. */
  #tlsFailed(step: SessionStep, because: TlsFailure): Ended {
    const { tls, login } = this.#target;
    if (this.#clearWillDo(because) && tls === "starttls" && login === undefined) return { kind: "try-in-clear", because, peer: this.#peer };
    const { problem: found } = describeUnmet({ outcome: { kind: "clear", because }, lasting: false }, this.#target);
    return { ...this.#fail(step, found), tlsFailure: because };
  }

  /** The requirement is not met: QUIT, and nothing else is said to this host (RFC 3207 §4.1). */
  #unmet(step: SessionStep, outcome: TlsOutcome, wire: Wire, lasting: boolean): HostFailure {
    sayQuit(wire, this.#tools.timeouts.quit);
    const { problem: found, permanent } = describeUnmet({ outcome, lasting }, this.#target);
    const failed = { ...this.#fail(step, found, outcome), permanent };
    return outcome.kind === "clear" && outcome.because !== SWITCHED_OFF ? { ...failed, tlsFailure: outcome.because } : failed;
  }

  #refused(step: SessionStep, reply: Reply, to: string, wire: Wire, outcome?: TlsOutcome): HostFailure {
    const { host } = this.#target;
    if (endsSession(reply)) wire.close();
    else sayQuit(wire, this.#tools.timeouts.quit);
    const kind = classOf(reply);
    if (kind === "intermediate") return this.#fail(step, nonsense(reply, to, host), outcome);
    // A host that turns us away before it knows the message does not like this relay, or its address.
    const found = rejection(reply, to, host, undefined, kind === "permanent" ? "you" : "nobody");
    if (kind !== "permanent" || this.#isProven(outcome)) return { ...this.#fail(step, found, outcome), permanent: kind === "permanent" };
    // RFC 5321 §4.2.1 calls a 5yz final, yet where TLS is demanded nobody has shown yet that the host said it. If it counted,
    // one forged line in clear would do what stripping STARTTLS must not: make mail bounce. So other hosts are asked, and then it waits.
    const { text } = this.#target.requirement.because;
    return this.#fail(
      step,
      { ...found, detail: `${found.detail}, in clear, so anybody on the way may have said it; proof is demanded by ${text}` },
      outcome,
    );
  }

  /** True if what the host says now comes over a channel as good as the one demanded. */
  #isProven(outcome: TlsOutcome | undefined): boolean {
    const { requirement, tls } = this.#target;
    if (outcome !== undefined) return meetsRequirement(outcome, requirement);
    return requirement.atLeast === "clear" && tls !== "implicit";
  }

  #lost(step: SessionStep, loss: Loss, outcome?: TlsOutcome): Ended {
    // With TLS 1.3 the host may refuse the handshake after we thought it done: its alert is the first thing we read then
    // (RFC 8446 §4.4.4). That is a failed handshake, not a lost session.
    if (outcome !== undefined && outcome.kind !== "clear" && loss.code?.startsWith("ERR_SSL") === true) {
      return this.#tlsFailed("handshake", handshakeFailure(loss.code, loss.detail));
    }
    return this.#fail(step, lossProblem(loss, this.#target.host), outcome);
  }

  #fail(step: SessionStep, found: DeliveryProblem, outcome?: TlsOutcome): HostFailure {
    // Where nothing comes of this connection, what there is to tell of TLS is told of the earlier one.
    const peer = this.#before?.peer ?? this.#peer;
    return {
      kind: "failed",
      step,
      problem: found,
      permanent: false,
      answered: this.#answered,
      ...(outcome === undefined ? {} : { tls: outcome }),
      ...(this.#before !== undefined && { tlsFailure: this.#before.because }),
      ...(peer !== undefined && { peer }),
    };
  }
}

/** Says goodbye without making anybody wait for it. */
function sayQuit(wire: Wire, wait: number): void {
  wire.send("QUIT\r\n", 1);
  void wire.read(wait, "the reply to QUIT").then(() => wire.close());
}
