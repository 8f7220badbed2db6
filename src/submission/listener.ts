/**
 * The submission stage as main.ts starts it: listeners opened, rules made from the settings, reloaded and closed again.
 * What a client says is session.ts's; sockets and the library are guarded-server.ts's.
 */
import type { Clock } from "../clock.ts";
import type { ListenerSettings, Settings, SubmissionSettings } from "../config/settings.ts";
import type { EmitEvent } from "../events.ts";
import type { NextHop } from "../mail/domain.ts";
import type { FindSigningDomain } from "../mail/signing.ts";
import type { LeasedEntry, Submitter } from "../queue/entry.ts";
import type { QueueStore, UserStore } from "../queue/store.ts";
import { messageOf } from "../thrown.ts";
import { type CertificateFiles, namesHost, readCertificate, type ServerCertificate } from "./certificate.ts";
import { type Desk, makeRules, type Rules } from "./desk.ts";
import { Doors } from "./doors.ts";
import { GuardedServer } from "./guarded-server.ts";
import { Logins } from "./login.ts";
import { type InterfaceTable, readSurroundings, type Surroundings } from "./networks.ts";

/** Settings of other sections that submission keeps to. */
export interface FromElsewhere {
  readonly mailname: string;
  readonly giveUpAfter: number;
  readonly giveUpAfterNullSender: number;
}

export interface SubmissionIo extends FromElsewhere {
  readonly settings: SubmissionSettings;
  readonly configuredUsers: Settings["users"];
  /** Only for the reply that says the disk is full. */
  readonly minimumFree?: number;
  readonly store: Pick<QueueStore, "newBody" | "newQueueId" | "enqueue" | "trouble">;
  readonly users: UserStore;
  readonly clock: Clock;
  readonly random: () => number;
  readonly emit: EmitEvent;
  /** Asked for each message; absent: nothing is signed. */
  readonly findSigningDomain?: FindSigningDomain;
  leaseNow(nextHop: NextHop, submitter: Submitter): boolean;
  leaseUntil(): number;
  /** Entries that were leased while they were enqueued: theirs is the next attempt. */
  accepted(entries: LeasedEntry[]): void;
  /** Certificates, and what /proc and /sys tell about this machine. */
  readFile(path: string): Promise<Buffer>;
  /** os.networkInterfaces. */
  interfaces(): InterfaceTable;
  /** Instead of what /proc and /sys tell: for tests, and for whoever knows better. */
  readonly surroundings?: Omit<Surroundings, "interfaces">;
}

export interface OpenListener {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly tls: string;
}

export interface Submission {
  readonly listeners: readonly OpenListener[];
  /**
   * New certificate, users, limits and networks, for open sessions too. Returns the names of what changed; throws, and
   * changes nothing, if something is wrong. Listeners stay as they are until the next start, and so do `fromElsewhere`'s
   * members where it is not given.
   */
  reload(settings: SubmissionSettings, configuredUsers: Settings["users"], fromElsewhere?: FromElsewhere): Promise<string[]>;
  /** The database's users are others now. */
  usersChanged(): Promise<void>;
  /** Open sessions go on. */
  stopAccepting(): void;
  /** Idle clients get 421 4.3.2 at once, transactions may end within `graceMs`; resolves when nobody is left. */
  close(graceMs: number): Promise<void>;
}

/** How often the certificate's files are looked at without being told. */
const CERTIFICATE_CHECK = 60_000;
/** For goodbyes, and for what the store has been given, when the grace is over. */
const LAST_WORDS = 2_000;

export async function startSubmission(io: SubmissionIo): Promise<Submission> {
  const { clock, settings } = io;
  const look = async (): Promise<Surroundings> => {
    const interfaces = io.interfaces();
    return io.surroundings === undefined ? readSurroundings((path) => io.readFile(path), interfaces) : { ...io.surroundings, interfaces };
  };
  const rules = makeRules(settings, io.mailname, await look(), clock);
  const certificate = await findCertificate(settings, io);
  const logins = new Logins(io.users, settings.login, clock);
  await logins.load(settings.login, io.configuredUsers);
  const desk: Desk = {
    mailname: io.mailname,
    giveUpAfter: io.giveUpAfter,
    giveUpAfterNullSender: io.giveUpAfterNullSender,
    minimumFree: io.minimumFree,
    store: io.store,
    clock,
    random: io.random,
    emit: io.emit,
    logins,
    doors: new Doors(settings.limits, clock),
    findSigningDomain: io.findSigningDomain,
    leaseNow: (nextHop, submitter) => io.leaseNow(nextHop, submitter),
    leaseUntil: () => io.leaseUntil(),
    accepted: (entries) => io.accepted(entries),
    rules,
    certificate,
  };
  const stage = new SubmissionStage(desk, io, look);
  stage.tellRules();
  await stage.open();
  return stage;
}

async function findCertificate(settings: SubmissionSettings, io: SubmissionIo): Promise<ServerCertificate | undefined> {
  const files = certificateFiles(settings);
  return files === undefined ? undefined : readCertificate(files, (path) => io.readFile(path), io.clock.now());
}

function certificateFiles({ certificateFile, keyFile }: SubmissionSettings): CertificateFiles | undefined {
  if (certificateFile !== undefined && keyFile !== undefined) return { certificateFile, keyFile };
  if (certificateFile === undefined && keyFile === undefined) return undefined;
  throw new Error(
    `submission.${certificateFile === undefined ? "certificateFile" : "keyFile"}: a certificate and its key come together; one is missing`,
  );
}

class SubmissionStage implements Submission {
  readonly #desk: Desk;
  readonly #io: SubmissionIo;
  readonly #look: () => Promise<Surroundings>;
  readonly #servers: GuardedServer[] = [];
  readonly #open: OpenListener[] = [];
  #settings: SubmissionSettings;
  #users: Settings["users"];
  #cancelCheck: () => void = () => {};
  #complaint = "";
  #closing: Promise<void> | undefined;

  constructor(desk: Desk, io: SubmissionIo, look: () => Promise<Surroundings>) {
    this.#desk = desk;
    this.#io = io;
    this.#look = look;
    this.#settings = io.settings;
    this.#users = io.configuredUsers;
  }

  get listeners(): readonly OpenListener[] {
    return this.#open;
  }

  async open(): Promise<void> {
    try {
      for (const listener of this.#settings.listeners) await this.#openOne(listener);
    } catch (error) {
      for (const server of this.#servers) server.stopAccepting();
      throw error;
    }
    this.#watchCertificate();
  }

  async #openOne(listener: ListenerSettings): Promise<void> {
    const needsCertificate = listener.tls === "implicit" || listener.tls === "require";
    // Said by config/check-networks.ts, which knows whether anybody asked for this listener.
    if (needsCertificate && this.#desk.certificate === undefined) return;
    const server = new GuardedServer(this.#desk, listener);
    const { address, port } = await server.open();
    this.#servers.push(server);
    this.#open.push({ name: listener.name, address, port, tls: listener.tls });
  }

  /** What an operator should know about the rules in force. */
  tellRules(): void {
    const { rules, certificate, mailname } = this.#desk;
    for (const network of rules.networks.described) this.#notice("info", `networks: ${network}`);
    if (!rules.networks.onlyLoopback && rules.accept.senderDomains.text.length === 0 && !rules.settings.allowAnySenderDomain) {
      this.#notice("warn", "submission.senderDomains is empty: other machines may send as anybody");
    }
    if (certificate !== undefined && !namesHost(certificate, mailname)) {
      this.#notice(
        "warn",
        `the submission certificate is for ${certificate.names.join(", ") || "no host name"}, not for ${mailname}: clients that verify it must be told one of its names`,
      );
    }
  }

  async reload(settings: SubmissionSettings, configuredUsers: Settings["users"], fromElsewhere?: FromElsewhere): Promise<string[]> {
    const desk = this.#desk;
    // Everything that may fail comes first: a reload is taken as a whole or not at all.
    const rules = makeRules(settings, fromElsewhere?.mailname ?? desk.mailname, await this.#look(), desk.clock, desk.rules);
    const certificate = await findCertificate(settings, this.#io);
    await desk.logins.load(settings.login, configuredUsers);
    const changed = changedNames(this.#settings, settings, desk.rules, rules);
    if (certificate?.digest !== desk.certificate?.digest) {
      changed.push("submission certificate");
      this.#useCertificate(certificate);
    }
    if (JSON.stringify(configuredUsers) !== JSON.stringify(this.#users)) changed.push("users");
    desk.doors.reload(settings.limits);
    desk.rules = rules;
    if (fromElsewhere !== undefined) {
      desk.mailname = fromElsewhere.mailname;
      desk.giveUpAfter = fromElsewhere.giveUpAfter;
      desk.giveUpAfterNullSender = fromElsewhere.giveUpAfterNullSender;
    }
    this.#settings = settings;
    this.#users = configuredUsers;
    return changed;
  }

  usersChanged(): Promise<void> {
    return this.#desk.logins.refresh();
  }

  /** New handshakes have the new certificate; sessions go on with theirs. */
  #useCertificate(certificate: ServerCertificate | undefined): void {
    this.#desk.certificate = certificate;
    for (const server of this.#servers) server.updateSecureContext();
    this.#complaint = "";
  }

  /** A renewed certificate is noticed without a signal; a broken one keeps the old in use. */
  #watchCertificate(): void {
    this.#cancelCheck = this.#desk.clock.after(CERTIFICATE_CHECK, () => {
      const before = this.#desk.certificate;
      findCertificate(this.#settings, this.#io).then(
        (now) => {
          // A reload in between knows better.
          if (now === undefined || this.#desk.certificate !== before || now.digest === before?.digest) return;
          this.#useCertificate(now);
          this.#notice("info", `the submission certificate was renewed; it is valid until ${new Date(now.validTo).toISOString()}`);
        },
        (error: unknown) => {
          const complaint = messageOf(error);
          if (complaint !== this.#complaint) this.#notice("warn", `${complaint}; the certificate loaded before stays in use`);
          this.#complaint = complaint;
        },
      );
      if (this.#closing === undefined) this.#watchCertificate();
    });
  }

  stopAccepting(): void {
    for (const server of this.#servers) server.stopAccepting();
  }

  close(graceMs: number): Promise<void> {
    this.#closing ??= this.#close(graceMs);
    return this.#closing;
  }

  async #close(graceMs: number): Promise<void> {
    this.#cancelCheck();
    this.stopAccepting();
    for (const server of this.#servers) server.endPending();
    for (const session of this.#sessions()) session.drain();
    if (await this.#emptyWithin(graceMs)) return;
    for (const session of this.#sessions()) session.cutShort();
    if (await this.#emptyWithin(LAST_WORDS)) return;
    for (const server of this.#servers) server.destroyAll();
    await this.#emptyWithin(LAST_WORDS);
  }

  #sessions() {
    return this.#servers.flatMap((server) => server.sessions);
  }

  /** True once every socket is closed, false when the time is up. */
  #emptyWithin(limit: number): Promise<boolean> {
    return new Promise((resolve) => {
      const cancel = this.#desk.clock.after(limit, () => resolve(false));
      void Promise.all(this.#servers.map((server) => server.closed)).then(() => {
        cancel();
        resolve(true);
      });
    });
  }

  #notice(level: "info" | "warn", text: string): void {
    this.#desk.emit({ kind: "notice", level, text });
  }
}

function changedNames(before: SubmissionSettings, after: SubmissionSettings, oldRules: Rules, newRules: Rules): string[] {
  const names: string[] = [];
  const keys = [
    "senderDomains",
    "allowAnySenderDomain",
    "recipientDomains",
    "bareLineEnds",
    "checkFromHeader",
    "postmaster",
    "hideClient",
    "limits",
    "login",
  ] as const;
  for (const key of keys) if (JSON.stringify(before[key]) !== JSON.stringify(after[key])) names.push(`submission.${key}`);
  const described = (rules: Rules) => rules.networks.described.join();
  if (JSON.stringify(before.networks) !== JSON.stringify(after.networks) || described(oldRules) !== described(newRules))
    names.push("submission.networks");
  return names;
}
