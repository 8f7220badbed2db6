/**
 * TLS reports and DKIM keys, put together (RFC 8460, RFC 6376): what the running relay needs of both. Counting is delivery's;
 * here are the keys that sign, and the reporter that sends what was counted through our own queue.
 */
import type { Clock } from "./clock.ts";
import { reportContact } from "./config/report-contact.ts";
import type { Settings } from "./config/settings.ts";
import { createKeyring, type Keyring } from "./dkim/keyring.ts";
import { loadRoots, trustAnchors } from "./delivery/tls-options.ts";
import type { DeliveryWorker } from "./delivery/worker.ts";
import type { EmitEvent } from "./events.ts";
import type { DnsClient } from "./lookup/dns.ts";
import { createAddressGuard } from "./lookup/special-addresses.ts";
import type { PemRoots } from "./lookup/tls-context.ts";
import { domainOf, type EmailAddress, needsSmtpUtf8 } from "./mail/address.ts";
import { createBodyHash } from "./mail/dkim-body.ts";
import type { Domain } from "./mail/domain.ts";
import { HEADER_END } from "./mail/header.ts";
import { describeReply } from "./mail/reply.ts";
import type { FindSigningDomain } from "./mail/signing.ts";
import type { NewMessage, QueueId } from "./queue/entry.ts";
import { REPORT_LISTENER } from "./mail/own-origins.ts";
import type { QueueStore } from "./queue/store.ts";
import type { MailOutcome, ReportMail } from "./report/mail-out.ts";
import { createPostReport } from "./report/post.ts";
import { createReporter, type Reporter, type ReporterSettings } from "./report/reporter.ts";

export interface ReportingIo {
  readonly store: QueueStore;
  readonly client: DnsClient;
  readonly clock: Clock;
  readonly random: () => number;
  readonly emit: EmitEvent;
  /** The machine's own name, where it could stand for a mailname. */
  readonly machineName: string | undefined;
  readonly readText: (path: string) => string;
}

export interface Reporting {
  readonly keyring: Keyring;
  /** Opens for business, once there is a worker that takes reports. */
  openReporter(worker: Pick<DeliveryWorker, "offer" | "enqueueOptions">): Reporter;
  /** Reads what other settings name; throws where a file of trust anchors cannot be read. What it returns puts them in force. */
  prepare(settings: Settings): () => Promise<void>;
  /** What the operator had better know. */
  warnings(): string[];
}

/** Milliseconds for one report by HTTPS. */
const POST_TIMEOUT = 60_000;
/** Stands where nobody answers for reports, and none is sent. */
const NOBODY = "postmaster@localhost" as EmailAddress;

interface InForce {
  readonly settings: Settings;
  readonly roots: PemRoots;
  readonly guard: (address: string) => string | undefined;
}

export function openReporting(first: Settings, io: ReportingIo): Reporting {
  const { store, client, clock, random, emit, machineName } = io;
  const read = (settings: Settings): InForce => ({
    settings,
    roots: trustAnchors(loadRoots(settings.tlsReports.roots ?? settings.tls.roots, io.readText)),
    guard: createAddressGuard(settings.delivery.allowedAddresses),
  });
  let inForce = read(first);
  const findTxt = (name: string) => client.ask(name, "TXT");
  const contact = (): EmailAddress | undefined => reportContact(inForce.settings, machineName);

  const keyring = createKeyring({
    store: store.dkimKeys,
    findTxt,
    settings() {
      const from = contact();
      return {
        ...inForce.settings.dkim,
        ...(from !== undefined && isSending(inForce.settings) && { reportDomain: domainOf(from) as Domain }),
      };
    },
    clock,
    emit,
  });

  return {
    keyring,
    openReporter: (worker) =>
      createReporter({
        reports: store.reports,
        findTxt,
        post: createPostReport({
          findAddresses: (host) => client.findAddresses(host),
          guard: (address) => inForce.guard(address),
          roots: () => inForce.roots,
          clock,
          timeout: POST_TIMEOUT,
        }),
        enqueue: (mail) => enqueue(mail, worker, { store, clock, findSigningDomain: keyring.findSigningDomain }),
        outcomeOf: (id) => outcomeOf(id, store),
        findSigningDomain: keyring.findSigningDomain,
        settings: () => reporterSettings(inForce.settings, contact()),
        clock,
        random,
        emit,
      }),
    prepare(settings) {
      const next = read(settings);
      return async () => {
        inForce = next;
        await keyring.reload();
      };
    },
    warnings() {
      if (!isSending(inForce.settings) || contact() !== undefined) return [];
      return [
        "nobody answers for TLS reports, so none are sent: set tlsReports.from (TLSRPT_FROM), or mailname (MAILNAME); or tlsReports.send (TLSRPT) to off",
      ];
    },
  };
}

/** With a relayhost the other side of every session is that host, and the domains hear of it from whoever runs it. */
function isSending({ tlsReports, delivery }: Settings): boolean {
  return tlsReports.send === "on" || (tlsReports.send === "auto" && delivery.relayhost === undefined);
}

function whyOff(settings: Settings, contact: EmailAddress | undefined): string | undefined {
  if (settings.tlsReports.send === "off") return "reports are switched off here (tlsReports.send)";
  if (!isSending(settings)) return "all mail goes to a relayhost, and tlsReports.send is auto";
  return contact === undefined ? "nobody answers for reports here: set tlsReports.from (TLSRPT_FROM)" : undefined;
}

function reporterSettings(settings: Settings, contact: EmailAddress | undefined): ReporterSettings {
  const { organization, exclude, perHost, keep, spread, retryFor } = settings.tlsReports;
  const from = contact ?? NOBODY;
  const offBecause = whyOff(settings, contact);
  return {
    ...(offBecause !== undefined && { offBecause }),
    from,
    organization: organization ?? domainOf(from),
    exclude,
    perHost,
    keep,
    spread,
    retryFor,
  };
}

/** Into our own queue, as mail that goes out whatever TLS says, and of which no notice is made (RFC 8460 §5.3, RFC 8689 §3). */
async function enqueue(
  { sender, to, octets, expiresAt }: ReportMail,
  worker: Pick<DeliveryWorker, "offer" | "enqueueOptions">,
  { store, clock, findSigningDomain }: Pick<ReportingIo, "store" | "clock"> & { readonly findSigningDomain: FindSigningDomain },
): Promise<QueueId> {
  const id = store.newQueueId();
  const domain = findSigningDomain(domainOf(sender) as Domain);
  if (domain === undefined) throw new Error(`no DKIM key of ${domainOf(sender)} is in use`);
  const message: NewMessage = {
    id,
    sender,
    recipients: to.map((address) => ({
      address,
      nextHop: domainOf(address),
      notify: { never: true, success: false, failure: false, delay: false },
    })),
    origin: { submitter: "local", listener: REPORT_LISTENER },
    needs: { eightBit: false, utf8Headers: to.some(needsSmtpUtf8) },
    tlsTag: "optional",
    signing: { domain, bodyHash: hashOfBody(octets) },
    receivedAt: clock.now(),
    expiresAt,
    size: octets.length,
  };
  const body = store.newBody();
  await body.write(octets);
  worker.offer(await store.enqueue(message, body, worker.enqueueOptions));
  return id;
}

function hashOfBody(octets: Buffer): string {
  const hash = createBodyHash();
  const end = octets.indexOf(HEADER_END);
  if (end >= 0) hash.update(octets.subarray(end + HEADER_END.length));
  return hash.digest();
}

/** What became of a report's mail, over all of its recipients. */
async function outcomeOf(id: QueueId, store: QueueStore): Promise<MailOutcome> {
  const story = await store.admin.story(id);
  if (story === undefined) return "unknown";
  const recipients = story.entries.flatMap((entry) => entry.recipients);
  if (recipients.some(({ state }) => state === "waiting")) return "waiting";
  if (recipients.some(({ state }) => state === "delivered")) return "delivered";
  const problem = recipients
    .map(({ outcome }) => (outcome === undefined || outcome.kind === "delivered" ? undefined : outcome.problem))
    .find((found) => found !== undefined);
  const reply = problem?.reply;
  return {
    failed: reply === undefined ? (problem?.detail ?? "it was given up") : describeReply(reply),
    refused: reply !== undefined && reply.code >= 500,
  };
}
