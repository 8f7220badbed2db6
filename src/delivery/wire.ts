/**
 * One connection's octets (RFC 5321 §4.2, §4.5.3.2): commands out; whole replies in, in order, each within its own
 * deadline; and, once, the reason why no more will come. It knows nothing of what commands mean: that is
 * delivery/connect.ts before a transaction and delivery/transaction.ts in one.
 */
import type { Socket } from "node:net";
import type { Clock } from "../clock.ts";
import { cleanText, describeReply, type Reply } from "../mail/reply.ts";
import { ReplyReader } from "./reply-reader.ts";

/** Why a connection is of no more use. */
export interface Loss {
  readonly loss: "connection-lost" | "timeout" | "protocol-error";
  readonly detail: string;
  /** The system's or OpenSSL's code, where there was one. */
  readonly code?: string;
  /** What the host said unasked, where that ended it: mostly 421 (RFC 5321 §3.8). */
  readonly reply?: Reply;
}

export type ReadResult = Reply | Loss;

export function isLoss(result: ReadResult): result is Loss {
  return "loss" in result;
}

/** For what was said last to go out, ms. */
const LAST_WORDS = 30_000;

export class Wire {
  readonly socket: Socket;
  readonly #clock: Clock;
  readonly #reader = new ReplyReader();
  /** Replies that have come and nobody has asked for yet; never more than are owed. */
  readonly #arrived: Reply[] = [];
  /** Replies the host owes us. */
  #owed = 0;
  #loss: Loss | undefined;
  #readWaiter: ((result: ReadResult) => void) | undefined;
  #flushWaiter: ((loss: Loss | undefined) => void) | undefined;
  #awaited = "";
  #unflushed = 0;
  #deadline = Number.POSITIVE_INFINITY;
  #timerDue = Number.POSITIVE_INFINITY;
  #cancelTimer: (() => void) | undefined;
  /** After the reply to STARTTLS nothing may follow in clear (RFC 3207 §4.2). */
  #lastInClear = false;

  constructor(socket: Socket, clock: Clock) {
    this.socket = socket;
    this.#clock = clock;
    socket.on("data", this.#onData);
    socket.on("end", this.#onEnd);
    socket.on("close", this.#onEnd);
    socket.on("error", this.#onError);
  }

  get loss(): Loss | undefined {
    return this.#loss;
  }

  set enhancedStatusCodes(offered: boolean) {
    this.#reader.enhancedStatusCodes = offered;
  }

  /** Says something that `replies` replies will answer. A greeting is owed for nothing said: `expect(1)`. */
  send(data: string | Buffer, replies: number): void {
    this.#owed += replies;
    if (this.#loss !== undefined) return;
    if (typeof data === "string") this.socket.write(data, "utf8");
    else this.socket.write(data);
  }

  expect(replies: number): void {
    this.#owed += replies;
  }

  /** The next reply, whole within `wait` ms: a host that drips lines gains no time by it. Never rejects. */
  read(wait: number, awaited: string): Promise<ReadResult> {
    const reply = this.#arrived.shift();
    if (reply !== undefined) return Promise.resolve(reply);
    if (this.#loss !== undefined) return Promise.resolve(this.#loss);
    this.#arm(wait, awaited);
    return new Promise((resolve) => {
      this.#readWaiter = resolve;
    });
  }

  /** Says STARTTLS, or whatever else the last words in clear are: after its reply the host must be silent. */
  async sendLastInClear(command: string, wait: number): Promise<{ result: ReadResult; injectedOctets: number }> {
    this.#lastInClear = true;
    this.send(command, 1);
    const result = await this.read(wait, `the reply to ${command.trim()}`);
    this.#lastInClear = false;
    return { result, injectedOctets: this.#reader.unread };
  }

  /** Octets of a message, which no reply answers. */
  write(data: Buffer): void {
    if (this.#loss !== undefined) return;
    this.#unflushed += 1;
    this.socket.write(data, this.#onFlushed);
  }

  /** Waits until the system has taken all octets written, `wait` ms at most. */
  flushed(wait: number): Promise<Loss | undefined> {
    if (this.#loss !== undefined || this.#unflushed === 0) return Promise.resolve(this.#loss);
    this.#arm(wait, "the host to take the next octets of the message");
    return new Promise((resolve) => {
      this.#flushWaiter = resolve;
    });
  }

  /** Lets go of the socket so that TLS can take it over. */
  release(): Socket {
    this.#stopTimer();
    this.socket.off("data", this.#onData);
    this.socket.off("end", this.#onEnd);
    this.socket.off("close", this.#onEnd);
    this.socket.off("error", this.#onError);
    // TLS reports what breaks below it; an error event without a listener would end the process.
    this.socket.on("error", () => undefined);
    return this.socket;
  }

  /** Ends the connection at once, for a reason of ours. */
  destroy(why = "closed by this relay"): void {
    this.#lose({ loss: "connection-lost", detail: why });
    this.socket.destroy();
  }

  /** Says what is still to be said, then closes; a host that does not take it must not keep the connection for it. */
  close(): void {
    this.#lose({ loss: "connection-lost", detail: "closed by this relay" });
    const { socket } = this;
    if (socket.destroyed) return;
    const cancel = this.#clock.after(LAST_WORDS, () => socket.destroy());
    socket.once("close", cancel);
    socket.destroySoon();
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#loss !== undefined) return;
    const wrong = this.#reader.push(chunk, this.#take);
    if (wrong !== undefined && this.#loss === undefined) this.#fail({ loss: "protocol-error", detail: wrong });
  };

  readonly #take = (reply: Reply): boolean => {
    if (this.#owed === 0) {
      this.#fail({
        loss: reply.code === 421 ? "connection-lost" : "protocol-error",
        detail: `the host said, unasked: ${describeReply(reply)}`,
        reply,
      });
      return false;
    }
    this.#owed -= 1;
    const waiter = this.#readWaiter;
    if (waiter === undefined) this.#arrived.push(reply);
    else {
      this.#rest();
      waiter(reply);
    }
    return !this.#lastInClear;
  };

  readonly #onEnd = (): void => {
    const where = this.#reader.midReply
      ? "in the middle of a reply"
      : this.#awaited === ""
        ? "between messages"
        : `while we waited for ${this.#awaited}`;
    this.#fail({ loss: "connection-lost", detail: `the host closed the connection ${where}` });
  };

  readonly #onError = (error: NodeJS.ErrnoException): void => {
    const code = error.code ?? "error";
    const where = this.#awaited === "" ? "" : ` while we waited for ${this.#awaited}`;
    this.#fail({ loss: "connection-lost", detail: `the connection broke${where}: ${cleanText(code, 60)}`, code });
  };

  readonly #onFlushed = (error?: Error | null): void => {
    if (error !== undefined && error !== null) return; // The socket's own error event says the rest.
    this.#unflushed -= 1;
    const waiter = this.#flushWaiter;
    if (this.#unflushed > 0 || waiter === undefined) return;
    this.#rest();
    waiter(undefined);
  };

  /** The connection is of no more use: replies that have come stay readable, then the loss is what is read. */
  #fail(loss: Loss): void {
    this.#lose(loss);
    this.socket.destroy();
  }

  #lose(loss: Loss): void {
    if (this.#loss !== undefined) return;
    this.#loss = loss;
    this.#stopTimer();
    const [reading, flushing] = [this.#readWaiter, this.#flushWaiter];
    this.#rest();
    reading?.(loss);
    flushing?.(loss);
  }

  /** The step under way is over: nothing is waited for, and no deadline runs. */
  #rest(): void {
    this.#readWaiter = undefined;
    this.#flushWaiter = undefined;
    this.#deadline = Number.POSITIVE_INFINITY;
    this.#awaited = "";
  }

  /**
   * Sets the deadline of the step under way. The timer itself is left alone if it fires early enough: it looks at the
   * deadline then, so that thousands of quick steps share one timer.
   */
  #arm(wait: number, awaited: string): void {
    this.#awaited = awaited;
    const now = this.#clock.monotonic();
    this.#deadline = now + wait;
    if (this.#timerDue <= this.#deadline) return;
    this.#stopTimer();
    this.#startTimer(now);
  }

  #startTimer(now: number): void {
    this.#timerDue = this.#deadline;
    this.#cancelTimer = this.#clock.after(this.#deadline - now, this.#onTimer);
  }

  #stopTimer(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#timerDue = Number.POSITIVE_INFINITY;
  }

  readonly #onTimer = (): void => {
    this.#cancelTimer = undefined;
    this.#timerDue = Number.POSITIVE_INFINITY;
    if (this.#deadline === Number.POSITIVE_INFINITY) return;
    const now = this.#clock.monotonic();
    // A timer may fire a fraction early.
    if (now + 1 < this.#deadline) this.#startTimer(now);
    else this.#fail({ loss: "timeout", detail: `no answer in time while we waited for ${this.#awaited}` });
  };
}
