/**
 * What the delivery side may expect of one SMTP connection, and what it learns from it. Opening one is
 * delivery/connect.ts; nothing of an envelope is said before its requirement is met.
 */
import type { ReversePath } from "../mail/address.ts";
import type { ContentNeeds, RecipientEnvelope } from "../mail/envelope.ts";
import type { Reply } from "../mail/reply.ts";
import type { TlsFailure, TlsOutcome } from "../policy/outcome.ts";
import type { TlsRequirement } from "../policy/requirement.ts";
import type { BodySource } from "../queue/entry.ts";
import type { DeliveryProblem, HostReport } from "../queue/settlement.ts";

/** Everything that is decided before a connection is opened. */
export interface SessionTarget {
  /** The MX name as written, the configured host, or an address literal: for people, and for logs. */
  readonly host: string;
  readonly address: string;
  readonly port: number;
  readonly localAddress?: string;
  /** Milliseconds until the greeting must be there, when connections are scarce; absent means the setting. */
  readonly greetingWait?: number;
  /** What EHLO says (RFC 5321 §4.1.1.1): a fully qualified name or an address literal. */
  readonly ehloName: string;
  readonly requirement: TlsRequirement;
  /** `starttls`: used when offered, demanded as the requirement says. `never` is for routes that the operator set so. */
  readonly tls: "starttls" | "implicit" | "never";
  /** SNI (RFC 6066 §3): a host name in A-labels, under DANE the TLSA base domain (RFC 7672 §8.1); absent for addresses. */
  readonly serverName?: string;
  /** Extra or other trust anchors, PEM; absent means the relay's own choice. */
  readonly roots?: string;
  /** Used only inside authenticated TLS (RFC 4954 §14). */
  readonly login?: { readonly username: string; readonly password: string };
}

export type SessionStep = HostReport["step"];

/** What a connection shows of its two ends, beside TLS (RFC 8460 §4.4). */
export interface PeerFacts {
  /** Of the socket, as the system says: `192.0.2.1`, or IPv6 by RFC 5952. */
  readonly localAddress?: string;
  /** What the host called itself in its EHLO reply, else in its greeting: a host name in lower case, or an address literal. */
  readonly helo?: string;
}

/** A host that could not be used. `permanent` means: should every host of the domain say so, the mail cannot be delivered. */
export interface HostFailure {
  readonly kind: "failed";
  readonly step: SessionStep;
  readonly tls?: TlsOutcome;
  /** TLS itself failed, and the connection with it: why. What came before TLS was spoken of is none of its failures. */
  readonly tlsFailure?: TlsFailure;
  /** Absent if there was no connection. */
  readonly peer?: PeerFacts;
  readonly problem: DeliveryProblem;
  readonly permanent: boolean;
  /** True if the host answered at all (a greeting was read): it is alive, however unfriendly. */
  readonly answered: boolean;
}

export type OpenResult = { readonly kind: "open"; readonly session: Session } | HostFailure;

/** One transaction (RFC 5321 §3.3); at most as many recipients as the settings allow. */
export interface Transaction {
  readonly sender: ReversePath;
  readonly recipients: readonly RecipientEnvelope[];
  readonly returnContent?: "full" | "headers";
  readonly envelopeId?: string;
  /** RFC 8689 §4.2.1: `required` goes to no host that does not offer REQUIRETLS; `preferred` says it where it is offered. */
  readonly requireTls?: "required" | "preferred";
  readonly needs: ContentNeeds;
  readonly body: BodySource;
}

/** What one transaction decided for one recipient. */
export type RecipientReport =
  | { readonly kind: "delivered"; readonly reply: Reply }
  /** Final for this recipient (5yz): no other host is asked (RFC 5321 §4.2.1). */
  | { readonly kind: "failed"; readonly problem: DeliveryProblem }
  /** No other host in this attempt; later. `portion`: the host took others and wants this one in a next transaction (RFC 5321 §4.5.3.1.10). */
  | { readonly kind: "later"; readonly problem: DeliveryProblem; readonly portion?: true }
  /** Undecided: another host may be asked; if there is none it waits, or fails when `permanent` and all hosts agreed. */
  | { readonly kind: "elsewhere"; readonly problem: DeliveryProblem; readonly permanent: boolean };

export interface TransactionReport {
  /** In the order of the transaction's recipients. */
  readonly recipients: readonly RecipientReport[];
  /** How far it came. */
  readonly step: SessionStep;
  /** The text was sent in full and no reply was read: the host may have the message (RFC 5321 §4.5.3.2.6). */
  readonly mayHoldMessage: boolean;
}

/** An open connection between transactions. Serves one at a time. */
export interface Session {
  readonly target: SessionTarget;
  readonly tls: TlsOutcome;
  readonly peer: PeerFacts;
  /** Its EHLO inside authenticated TLS listed REQUIRETLS (RFC 8689 §2). */
  readonly offersRequireTls: boolean;
  /** Transactions finished. */
  readonly served: number;
  /** False once closed, or when the host ended it while idle. */
  readonly usable: boolean;
  /** Never rejects for anything the host does; rejects only if `body` cannot be read (then the connection is closed without a final dot). */
  deliver(transaction: Transaction): Promise<TransactionReport>;
  /** QUIT, bounded by its deadline; its outcome changes nothing. */
  quit(): Promise<void>;
  /** At once, without QUIT. */
  destroy(): void;
}

/** Opens a connection up to the point where MAIL may be said: greeting, EHLO, STARTTLS, handshake, EHLO, login. */
export type OpenSession = (target: SessionTarget) => Promise<OpenResult>;
