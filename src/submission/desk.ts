/**
 * What all sessions of a relay share: the outside as it is handed in, and the rules in force, which a reload replaces as
 * a whole. A session looks the rules up at every command, so that new limits and networks hold for it too.
 */
import type { Clock } from "../clock.ts";
import type { ListenerSettings, SubmissionSettings } from "../config/settings.ts";
import type { EmitEvent } from "../events.ts";
import { type EmailAddress, parseAddress } from "../mail/address.ts";
import type { LeasedEntry, Submitter } from "../queue/entry.ts";
import type { NextHop } from "../mail/domain.ts";
import type { FindSigningDomain } from "../mail/signing.ts";
import type { QueueStore } from "../queue/store.ts";
import { type AcceptRules, parseDomainList } from "./accept.ts";
import type { ServerCertificate } from "./certificate.ts";
import type { Doors } from "./doors.ts";
import type { Logins } from "./login.ts";
import { type Networks, parseNetworks, type Surroundings } from "./networks.ts";
import { TokenBuckets } from "./rates.ts";

export interface Rules {
  readonly settings: SubmissionSettings;
  readonly accept: AcceptRules;
  readonly networks: Networks;
  readonly postmaster: EmailAddress | undefined;
  readonly messagesPerAddress: TokenBuckets;
  readonly messagesPerUser: TokenBuckets;
  readonly recipientsPerUser: TokenBuckets;
}

export interface Desk {
  mailname: string;
  giveUpAfter: number;
  giveUpAfterNullSender: number;
  readonly minimumFree: number | undefined;
  readonly store: Pick<QueueStore, "newBody" | "newQueueId" | "enqueue" | "trouble">;
  readonly clock: Clock;
  readonly random: () => number;
  readonly emit: EmitEvent;
  readonly logins: Logins;
  readonly doors: Doors;
  readonly findSigningDomain: FindSigningDomain | undefined;
  leaseNow(nextHop: NextHop, submitter: Submitter): boolean;
  leaseUntil(): number;
  accepted(entries: LeasedEntry[]): void;
  rules: Rules;
  certificate: ServerCertificate | undefined;
}

/** Settings as rules; throws a sentence for the operator. Rates that did not change keep their counts. */
export function makeRules(settings: SubmissionSettings, mailname: string, surroundings: Surroundings, clock: Clock, before?: Rules): Rules {
  const senderDomains = parseDomainList(settings.senderDomains);
  if (!senderDomains.ok) throw new Error(`submission.senderDomains: ${senderDomains.error}`);
  const recipientDomains = parseDomainList(settings.recipientDomains);
  if (!recipientDomains.ok) throw new Error(`submission.recipientDomains: ${recipientDomains.error}`);
  const networks = parseNetworks(settings.networks, surroundings);
  if (!networks.ok) throw new Error(`submission.networks: ${networks.error}`);
  const postmaster = parseAddress(settings.postmaster ?? `postmaster@${mailname}`);
  if (settings.postmaster !== undefined && !postmaster.ok) throw new Error(`submission.postmaster: ${postmaster.error}`);
  const { limits } = settings;
  const old = before?.settings.limits;
  const buckets = (capacity: number, period: number, capacityBefore: number | undefined, kept: TokenBuckets | undefined) =>
    kept !== undefined && capacity === capacityBefore ? kept : new TokenBuckets(capacity, period, clock);
  return {
    settings,
    accept: { senderDomains: senderDomains.value, recipientDomains: recipientDomains.value },
    networks: networks.value,
    postmaster: postmaster.ok ? postmaster.value : undefined,
    messagesPerAddress: buckets(limits.messagesPerMinutePerAddress, 60_000, old?.messagesPerMinutePerAddress, before?.messagesPerAddress),
    messagesPerUser: buckets(limits.messagesPerMinutePerUser, 60_000, old?.messagesPerMinutePerUser, before?.messagesPerUser),
    recipientsPerUser: buckets(limits.recipientsPerHourPerUser, 3_600_000, old?.recipientsPerHourPerUser, before?.recipientsPerUser),
  };
}

/** What a session knows of the connection it is on. */
export interface Peer {
  readonly listener: ListenerSettings;
  /** Without zone, IPv4-mapped unwrapped. */
  readonly address: string;
  /** The unit of limits and bans: a trusted client stands for itself, others for their subscriber. */
  readonly who: string;
}
