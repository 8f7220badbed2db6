/** Opening sessions to scripted hosts and handing them transactions, with as little to write as a test needs. */
import { systemClock } from "../../src/clock.ts";
import { type DeliverySettings, settingsSchema } from "../../src/config/settings.ts";
import { type ConnectorIo, createConnector } from "../../src/delivery/connect.ts";
import type { OpenResult, Session, SessionTarget, Transaction } from "../../src/delivery/session.ts";
import type { EmailAddress, ReversePath } from "../../src/mail/address.ts";
import type { ContentNeeds, RecipientEnvelope } from "../../src/mail/envelope.ts";
import type { ChannelLevel } from "../../src/policy/requirement.ts";
import type { BodySource } from "../../src/queue/entry.ts";

export const MX_NAME = "mx.example.test";

/** The defaults of the settings: so they are the ones that RFC 5321 §4.5.3.2 is held against. */
export const defaultTimeouts: DeliverySettings["timeouts"] = settingsSchema.parse({}).delivery.timeouts;

export type TargetWishes = Partial<Omit<SessionTarget, "requirement" | "serverName">> & {
  /** SNI; default the MX name, null for none. */
  readonly serverName?: string | null;
  readonly atLeast?: ChannelLevel;
  readonly names?: readonly string[];
};

export function targetFor(port: number, wishes: TargetWishes = {}): SessionTarget {
  const { atLeast = "clear", names = [MX_NAME], serverName = MX_NAME, ...rest } = wishes;
  const because = { source: "floor", text: "tls.floor of this relay" } as const;
  return {
    host: MX_NAME,
    address: "127.0.0.1",
    port,
    ehloName: "relay.test",
    tls: "starttls",
    ...(serverName === null ? {} : { serverName }),
    requirement: { atLeast, because, webpki: { referenceIdentifiers: names, because } },
    ...rest,
  };
}

export function open(port: number, roots: string, wishes: TargetWishes = {}, io: Partial<ConnectorIo> = {}): Promise<OpenResult> {
  const connector = createConnector({ timeouts: { ...defaultTimeouts, ...QUICK }, clock: systemClock, roots, ...io });
  return connector(targetFor(port, wishes));
}

/** Waits that end a test which would otherwise hang; far above what a loopback host needs. */
const QUICK = {
  greeting: 8000,
  ehlo: 8000,
  starttls: 8000,
  handshake: 8000,
  mail: 8000,
  rcpt: 8000,
  data: 8000,
  block: 8000,
  finalDot: 8000,
  quit: 2000,
};

/** The session, or an error that says why there is none. */
export async function opened(port: number, roots: string, wishes: TargetWishes = {}, io: Partial<ConnectorIo> = {}): Promise<Session> {
  const result = await open(port, roots, wishes, io);
  if (result.kind === "open") return result.session;
  throw new Error(`no session: ${result.step}: ${result.problem.type}: ${result.problem.detail}`);
}

export function bodyOf(content: string | Buffer, inMemory = true): BodySource {
  const octets = typeof content === "string" ? Buffer.from(content, "utf8") : content;
  return {
    size: octets.length,
    ...(inMemory ? { inMemory: octets } : {}),
    async *chunks() {
      for (let at = 0; at < octets.length; at += 65_536) yield octets.subarray(at, at + 65_536);
    },
  };
}

export interface TransactionWishes {
  readonly sender?: string;
  readonly recipients?: readonly (string | RecipientEnvelope)[];
  readonly body?: BodySource | string;
  readonly needs?: Partial<ContentNeeds>;
  readonly returnContent?: "full" | "headers";
  readonly envelopeId?: string;
}

export function transaction(wishes: TransactionWishes = {}): Transaction {
  const {
    sender = "app@sender.test",
    recipients = ["jo@example.test"],
    body = "Subject: hello\r\n\r\nHello.\r\n",
    needs,
    ...rest
  } = wishes;
  return {
    sender: sender as ReversePath,
    recipients: recipients.map((recipient) => (typeof recipient === "string" ? { address: recipient as EmailAddress } : recipient)),
    needs: { eightBit: false, utf8Headers: false, ...needs },
    body: typeof body === "string" ? bodyOf(body) : body,
    ...rest,
  };
}
