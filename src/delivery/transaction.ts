/**
 * One mail transaction (RFC 5321 §3.3): MAIL, RCPT…, DATA, the text, the dot, over an open connection. In: envelope and
 * body. Out: what was decided for each recipient. What replies mean is delivery/verdicts.ts, what is said is
 * delivery/commands.ts; trying another host is delivery/attempt.ts.
 */
import type { DeliverySettings } from "../config/settings.ts";
import type { Reply } from "../mail/reply.ts";
import { asksForSmtpUtf8, type MailOptions, mailCommand, rcptCommand } from "./commands.ts";
import { DotStuffer } from "./dot-stuffing.ts";
import type { Extensions } from "./extensions.ts";
import { findUnfit } from "./fitness.ts";
import type { RecipientReport, SessionStep, Transaction, TransactionReport } from "./session.ts";
import {
  classOf,
  endsSession,
  judgeData,
  judgeFinalDot,
  judgeMail,
  judgeRcpt,
  lossProblem,
  nonsense,
  rejection,
  unknownOutcome,
} from "./verdicts.ts";
import { isLoss, type Loss, type ReadResult, type Wire } from "./wire.ts";

/** What a session has become by the time MAIL may be said. */
export interface Peer {
  readonly wire: Wire;
  readonly extensions: Extensions;
  readonly host: string;
  readonly loggedIn: boolean;
  readonly timeouts: DeliverySettings["timeouts"];
  /** A transaction was begun and not ended: RSET comes before the next MAIL (RFC 5321 §4.1.4). */
  transactionOpen: boolean;
}

/** A body up to here goes out in one write together with its dot. */
const ONE_WRITE = 65_536;

const RSET = "RSET\r\n";
const DATA = "DATA\r\n";
const LONE_DOT = ".\r\n";

export async function runTransaction(transaction: Transaction, peer: Peer): Promise<TransactionReport> {
  const conversation = new Conversation(transaction, peer);
  await conversation.run();
  return conversation.report();
}

class Conversation {
  readonly #transaction: Transaction;
  readonly #peer: Peer;
  readonly #reports: (RecipientReport | undefined)[];
  /** Places of the recipients that the host accepted and nothing has decided since. */
  #accepted: number[] = [];
  #step: SessionStep = "mail";
  #mayHold = false;

  constructor(transaction: Transaction, peer: Peer) {
    this.#transaction = transaction;
    this.#peer = peer;
    this.#reports = findUnfit(transaction, peer.extensions, peer.host);
  }

  report(): TransactionReport {
    const recipients = this.#reports.map((report, place) => {
      if (report === undefined) throw new Error(`nothing was decided for <${this.#transaction.recipients[place]?.address}>`);
      return report;
    });
    return { recipients, step: this.#step, mayHoldMessage: this.#mayHold };
  }

  async run(): Promise<void> {
    const places = this.#reports.flatMap((report, place) => (report === undefined ? [place] : []));
    if (places.length === 0) return;
    const { wire, extensions, loggedIn, timeouts, transactionOpen } = this.#peer;
    const recipients = places.map((place) => this.#recipient(place));
    const options: MailOptions = { extensions, loggedIn, smtpUtf8: asksForSmtpUtf8(this.#transaction, recipients) };
    const mail = mailCommand(this.#transaction, options);
    const rcpts = recipients.map((recipient) => rcptCommand(recipient, options));
    const pipelined = extensions.pipelining;
    // RFC 2920 §3.1: one group, DATA last, and every reply is read, matched by order and count.
    if (pipelined) wire.send((transactionOpen ? RSET : "") + mail + rcpts.join("") + DATA, rcpts.length + (transactionOpen ? 3 : 2));
    const ask = (command: string, wait: number, name: string): Promise<ReadResult> => {
      if (!pipelined) wire.send(command, 1);
      return wire.read(wait, `the reply to ${name}`);
    };

    if (transactionOpen && !this.#isReset(await ask(RSET, timeouts.mail, "RSET"))) return;
    const mailReply = await ask(mail, timeouts.mail, "MAIL");
    if (!this.#goesOn(mailReply, "MAIL")) return;
    const refusal = judgeMail(mailReply, this.#peer.host);
    this.#peer.transactionOpen = refusal === undefined;
    if (refusal !== undefined) {
      for (const place of places) this.#reports[place] = refusal;
      if (!pipelined) return;
    } else this.#step = "rcpt";

    for (const [index, place] of places.entries()) {
      const reply = await ask(rcpts[index] ?? "", timeouts.rcpt, "RCPT");
      if (!this.#goesOn(reply, "RCPT")) return;
      if (refusal !== undefined) continue;
      const verdict = judgeRcpt(reply, this.#accepted.length > 0, this.#peer.host);
      if (verdict === undefined) this.#accepted.push(place);
      else this.#reports[place] = verdict;
    }
    if (this.#accepted.length === 0 && !pipelined) return;

    const dataReply = await ask(DATA, timeouts.data, "DATA");
    if (!this.#goesOn(dataReply, "DATA")) return;
    if (this.#accepted.length === 0) return this.#endEmpty(dataReply.code === 354);
    this.#step = "data";
    const noText = judgeData(dataReply, this.#peer.host);
    if (noText !== undefined) {
      this.#decideAccepted(noText);
      // 250 to DATA: no telling what it takes our next octets for.
      if (noText.problem.type === "protocol-error") wire.close();
      return;
    }
    if (await this.#sendText()) await this.#readVerdict();
  }

  /** The text and its dot; false if the connection was lost before the dot was said. */
  async #sendText(): Promise<boolean> {
    const { wire, timeouts } = this.#peer;
    const { body } = this.#transaction;
    const stuffer = new DotStuffer();
    try {
      if (body.inMemory !== undefined && body.inMemory.length <= ONE_WRITE) {
        const text = stuffer.whole(body.inMemory);
        this.#mustBeWhole(stuffer);
        wire.send(text, 1);
      } else {
        for await (const chunk of body.inMemory === undefined ? body.chunks() : [body.inMemory]) {
          const text = stuffer.push(chunk);
          // The next chunk was read while the last one was on its way; two at most are held.
          if ((await wire.flushed(timeouts.block)) !== undefined) break;
          wire.write(text);
        }
        // Everything is out of our hands before the dot, so that a loss until here is surely before it.
        const loss = await wire.flushed(timeouts.block);
        if (loss !== undefined) {
          this.#lost(loss);
          return false;
        }
        this.#mustBeWhole(stuffer);
        wire.send(stuffer.end(), 1);
      }
    } catch (cause) {
      // Without its dot the host throws the beginning away (RFC 5321 §4.1.1.4).
      wire.destroy();
      throw new Error(`the body of a message of ${body.size} octets could not be sent in full`, { cause });
    }
    return true;
  }

  #mustBeWhole(stuffer: DotStuffer): void {
    const { size } = this.#transaction.body;
    if (stuffer.taken !== size) throw new Error(`the body has ${stuffer.taken} octets, and ${size} were promised`);
  }

  async #readVerdict(): Promise<void> {
    const { wire, timeouts, host } = this.#peer;
    this.#step = "final-dot";
    const reply = await wire.read(timeouts.finalDot, "the reply to the message");
    if (isLoss(reply)) {
      this.#mayHold = true;
      return this.#decideAccepted(unknownOutcome(reply.detail, host));
    }
    const verdict = judgeFinalDot(reply, host);
    this.#peer.transactionOpen = false;
    if (verdict.kind === "delivered") this.#step = "done";
    if (verdict.kind === "later") {
      this.#mayHold = true;
      wire.close();
    }
    this.#decideAccepted(verdict);
    if (endsSession(reply)) wire.close();
  }

  /** Nobody was accepted. If the host wants text all the same it gets a dot alone, and nobody has the message (RFC 2920 §3.1). */
  async #endEmpty(wantsText: boolean): Promise<void> {
    if (!wantsText) return;
    const { wire, timeouts } = this.#peer;
    wire.send(LONE_DOT, 1);
    const reply = await wire.read(timeouts.finalDot, "the reply to an empty message");
    if (isLoss(reply)) return;
    this.#peer.transactionOpen = false;
    if (endsSession(reply)) wire.close();
  }

  #recipient(place: number): Transaction["recipients"][number] {
    const recipient = this.#transaction.recipients[place];
    if (recipient === undefined) throw new RangeError(`no recipient ${place}`);
    return recipient;
  }

  #decideAccepted(report: RecipientReport): void {
    for (const place of this.#accepted) this.#reports[place] = report;
    this.#accepted = [];
  }

  /** False when the reply ends the session: what was decided stays, the rest is undecided (RFC 5321 §3.8). */
  #goesOn(result: ReadResult, to: string): result is Reply {
    if (isLoss(result)) {
      this.#lost(result);
      return false;
    }
    if (!endsSession(result)) return true;
    this.#undecided({ kind: "elsewhere", problem: rejection(result, to, this.#peer.host), permanent: false });
    this.#peer.wire.close();
    return false;
  }

  /** A host that cannot reset would answer the next MAIL with 503, which must not count against the message. */
  #isReset(result: ReadResult): boolean {
    if (!this.#goesOn(result, "RSET")) return false;
    if (classOf(result) === "positive") return true;
    this.#undecided({ kind: "elsewhere", problem: nonsense(result, "RSET", this.#peer.host), permanent: false });
    this.#peer.wire.close();
    return false;
  }

  /** The rest is undecided because the connection is no more. */
  #lost(loss: Loss): void {
    this.#undecided({ kind: "elsewhere", problem: lossProblem(loss, this.#peer.host), permanent: false });
  }

  #undecided(report: RecipientReport): void {
    this.#accepted = [];
    for (const [place, decided] of this.#reports.entries()) if (decided === undefined) this.#reports[place] = report;
  }
}
