/**
 * What replies mean (RFC 5321 §4.2.1, §4.5.3.1.10): a reply and the command it answers in, what it decides out. The
 * first digit decides; second and third matter for 421, 452 and 552 alone. Pure.
 */
import { describeReply, type Reply } from "../mail/reply.ts";
import type { WhoActs } from "../policy/outcome.ts";
import type { DeliveryProblem } from "../queue/settlement.ts";
import { problem } from "./problems.ts";
import type { RecipientReport } from "./session.ts";
import type { Loss } from "./wire.ts";

/** Every report but "delivered". */
export type Refusal = Exclude<RecipientReport, { kind: "delivered" }>;

export type ReplyClass = "positive" | "intermediate" | "temporary" | "permanent";

export function classOf(reply: Reply): ReplyClass {
  switch (Math.floor(reply.code / 100)) {
    case 2:
      return "positive";
    case 3:
      return "intermediate";
    case 4:
      return "temporary";
    default:
      return "permanent";
  }
}

/** The session is over, whatever was asked (RFC 5321 §3.8). */
export function endsSession(reply: Reply): boolean {
  return reply.code === 421;
}

/** A refusal as a problem. `status` is used where the host offered no enhanced code, or one of another class. */
export function rejection(reply: Reply, to: string, host: string, status?: string, whoActs?: WhoActs): DeliveryProblem {
  const permanent = classOf(reply) === "permanent";
  return {
    type: "rejected",
    detail: `${host} answered ${to} with ${describeReply(reply)}`,
    // Time heals a 4yz; a 5yz is the sender's to understand.
    whoActs: whoActs ?? (permanent ? "sender" : "nobody"),
    status: reply.enhanced ?? status ?? (permanent ? "5.0.0" : "4.0.0"),
    reply,
    host,
  };
}

/** A reply that makes no sense where it came: 250 to DATA, 354 to MAIL. */
export function nonsense(reply: Reply, to: string, host: string): DeliveryProblem {
  return {
    ...problem("protocol-error", "receiver", `${host} answered ${to} with ${describeReply(reply)}, which is no answer to it`, { host }),
    reply,
  };
}

/** A connection that is no more, counted like 451 (RFC 5321 §3.8). */
export function lossProblem(loss: Loss, host: string): DeliveryProblem {
  const found = problem(loss.loss, loss.reply === undefined ? "receiver" : "nobody", `${host}: ${loss.detail}`, { host });
  return loss.reply === undefined ? found : { ...found, reply: loss.reply };
}

/** To MAIL: undefined means go on. A refusal is everybody's. */
export function judgeMail(reply: Reply, host: string): Refusal | undefined {
  switch (classOf(reply)) {
    case "positive":
      return undefined;
    case "intermediate":
      return { kind: "elsewhere", problem: nonsense(reply, "MAIL", host), permanent: false };
    case "temporary":
      return { kind: "elsewhere", problem: rejection(reply, "MAIL", host, reply.code === 452 ? "4.3.1" : undefined), permanent: false };
    case "permanent":
      return { kind: "failed", problem: rejection(reply, "MAIL", host, reply.code === 552 ? "5.3.4" : undefined) };
  }
}

/** To RCPT: undefined means accepted. `othersAccepted`: then 452 and 552 only ask for smaller portions. */
export function judgeRcpt(reply: Reply, othersAccepted: boolean, host: string): Refusal | undefined {
  if (othersAccepted && (reply.code === 452 || reply.code === 552)) {
    // 552 here is 452 by another name, and temporary like it (RFC 5321 §4.5.3.1.10).
    const found = rejection(reply, "RCPT", host, "4.5.3", "nobody");
    return { kind: "later", problem: { ...found, status: found.status.replace(/^5/, "4") }, portion: true };
  }
  switch (classOf(reply)) {
    case "positive":
      return undefined;
    case "intermediate":
      return { kind: "elsewhere", problem: nonsense(reply, "RCPT", host), permanent: false };
    case "temporary":
      return { kind: "elsewhere", problem: rejection(reply, "RCPT", host), permanent: false };
    case "permanent":
      return { kind: "failed", problem: rejection(reply, "RCPT", host) };
  }
}

/** To DATA: undefined means that the text may be sent. Only 354 means it (RFC 5321 §3.3). */
export function judgeData(reply: Reply, host: string): Refusal | undefined {
  if (reply.code === 354) return undefined;
  switch (classOf(reply)) {
    case "positive":
    case "intermediate":
      return { kind: "elsewhere", problem: nonsense(reply, "DATA", host), permanent: false };
    case "temporary":
      return { kind: "elsewhere", problem: rejection(reply, "DATA", host), permanent: false };
    case "permanent":
      return { kind: "failed", problem: rejection(reply, "DATA", host) };
  }
}

/** To the final dot. A 3yz there leaves open who has the message. */
export function judgeFinalDot(reply: Reply, host: string): RecipientReport {
  switch (classOf(reply)) {
    case "positive":
      return { kind: "delivered", reply };
    case "intermediate":
      return unknownOutcome(`it answered the message with ${describeReply(reply)}, which is no answer to it`, host);
    case "temporary":
      return { kind: "elsewhere", problem: rejection(reply, "the message", host), permanent: false };
    case "permanent":
      return { kind: "failed", problem: rejection(reply, "the message", host, reply.code === 552 ? "5.3.4" : undefined) };
  }
}

/** Nothing was heard after the dot: this host may have the message, so no other may get it now (RFC 5321 §4.5.3.2.6). */
export function unknownOutcome(detail: string, host: string): Refusal {
  return { kind: "later", problem: problem("outcome-unknown", "nobody", `${host} may have the message: ${detail}`, { host }) };
}
