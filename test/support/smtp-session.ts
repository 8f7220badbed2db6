/** Opening sessions to scripted hosts and handing them transactions, with as little to write as a test needs. */
import { createHash, X509Certificate } from "node:crypto";
import { systemClock } from "../../src/clock.ts";
import { type DeliverySettings, settingsSchema } from "../../src/config/settings.ts";
import { type ConnectorIo, createConnector } from "../../src/delivery/connect.ts";
import type { OpenResult, OpenSession, Session, SessionTarget, Transaction } from "../../src/delivery/session.ts";
import type { EmailAddress, ReversePath } from "../../src/mail/address.ts";
import type { ContentNeeds, RecipientEnvelope } from "../../src/mail/envelope.ts";
import { parseDomain } from "../../src/mail/domain.ts";
import { createDaneJudge } from "../../src/policy/dane-match.ts";
import type { TlsaRecord } from "../../src/policy/facts.ts";
import type { Because, ChannelLevel, DaneRequirement, TlsRequirement } from "../../src/policy/requirement.ts";
import { tlsaKey } from "../../src/policy/tlsa.ts";
import type { BodySource } from "../../src/queue/entry.ts";
import type { IssuedCertificate } from "./certificates.ts";

export const MX_NAME = "mx.example.test";

const judgeDane = createDaneJudge();

/** The defaults of the settings: so they are the ones that RFC 5321 §4.5.3.2 is held against. */
export const defaultTimeouts: DeliverySettings["timeouts"] = settingsSchema.parse({}).delivery.timeouts;

export interface DaneWishes {
  readonly records: readonly TlsaRecord[];
  /** Default true. */
  readonly demanded?: boolean;
  /** Default the MX name. */
  readonly baseDomain?: string;
  /** Reference identifiers; default the base domain. */
  readonly names?: readonly string[];
}

export interface RequirementWishes {
  readonly atLeast?: ChannelLevel;
  /** Names to look for in the certificate; default the MX name. */
  readonly names?: readonly string[];
  /** MTA-STS in mode enforce. */
  readonly sts?: boolean;
  readonly dane?: DaneWishes;
  /** A secure TLSA set, none of whose records is usable. */
  readonly daneUnusable?: boolean;
  readonly requireTls?: "mandatory" | "preferred";
}

export type TargetWishes = Partial<Omit<SessionTarget, "requirement" | "serverName">> &
  RequirementWishes & {
    /** SNI; default the MX name, null for none. */
    readonly serverName?: string | null;
  };

const FLOOR: Because = { source: "floor", text: "tls.floor of this relay" };
const STS: Because = { source: "mta-sts", text: "MTA-STS enforce of example.test" };
const REQUIRETLS: Because = { source: "requiretls", text: "REQUIRETLS of the message" };

/** The requirement that a decision would make of these. */
export function requirementOf(wishes: RequirementWishes = {}): TlsRequirement {
  const { names = [MX_NAME], sts = false, dane: daneWishes, daneUnusable = false, requireTls } = wishes;
  const dane = daneWishes === undefined ? undefined : daneRequirement(daneWishes);
  const unusable: Because = { source: "dane", text: `the TLSA records of ${MX_NAME} (DANE)` };
  const [least, because]: [ChannelLevel, Because] =
    requireTls === "mandatory"
      ? ["authenticated", REQUIRETLS]
      : dane?.demanded === true
        ? ["authenticated", dane.because]
        : sts
          ? ["authenticated", STS]
          : daneUnusable
            ? ["encrypted", unusable]
            : ["clear", FLOOR];
  const { atLeast = least } = wishes;
  const who = atLeast === least ? because : FLOOR;
  return {
    atLeast,
    because: who,
    webpki: { referenceIdentifiers: names, demanded: sts, because: sts ? STS : who },
    ...(dane !== undefined && { dane }),
    ...(requireTls !== undefined && { requireTlsKeyword: { mandatory: requireTls === "mandatory", because: REQUIRETLS } }),
  };
}

function daneRequirement({ records, demanded = true, baseDomain = MX_NAME, names = [baseDomain] }: DaneWishes): DaneRequirement {
  const domain = parseDomain(baseDomain);
  if (!domain.ok) throw new Error(domain.error);
  return {
    baseDomain: domain.value,
    records,
    referenceIdentifiers: names,
    demanded,
    because: { source: "dane", text: `the TLSA records of ${baseDomain} (DANE)` },
    key: tlsaKey(baseDomain, records),
  };
}

/** `3 1 1` of the leaf's key. */
export function leafKeyRecord({ certificate }: IssuedCertificate): TlsaRecord {
  const key = new X509Certificate(certificate).publicKey.export({ type: "spki", format: "der" });
  return { usage: 3, selector: 1, matchingType: 1, data: createHash("sha256").update(key).digest() };
}

export function targetFor(port: number, wishes: TargetWishes = {}): SessionTarget {
  const { atLeast: _, names: _names, sts: _sts, dane: _dane, daneUnusable: _unusable, requireTls: _requireTls, ...others } = wishes;
  const { serverName = MX_NAME, ...rest } = others;
  return {
    host: MX_NAME,
    address: "127.0.0.1",
    port,
    ehloName: "relay.test",
    tls: "starttls",
    ...(serverName === null ? {} : { serverName }),
    requirement: requirementOf(wishes),
    ...rest,
  };
}

export function open(port: number, roots: string, wishes: TargetWishes = {}, io: Partial<ConnectorIo> = {}): Promise<OpenResult> {
  return connectorFor(roots, io)(targetFor(port, wishes));
}

export function connectorFor(roots: string, io: Partial<ConnectorIo> = {}): OpenSession {
  return createConnector({ timeouts: { ...defaultTimeouts, ...QUICK }, clock: systemClock, roots, judgeDane, ...io });
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
  readonly requireTls?: "required" | "preferred";
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
