/** A submission stage on loopback ports of its own, before a store that keeps everything in memory. */
import { readFile } from "node:fs/promises";
import { settingsSchema, type Settings } from "../../src/config/settings.ts";
import { systemClock, type Clock } from "../../src/clock.ts";
import type { PosternEvent } from "../../src/events.ts";
import type { LeasedEntry, NewMessage, QueueId } from "../../src/queue/entry.ts";
import type { BodyWriter, EnqueueOptions, StorageTrouble, User, UserStore } from "../../src/queue/store.ts";
import { type Submission, type SubmissionIo, startSubmission } from "../../src/submission/listener.ts";
import { createTestCa, type IssuedCertificate } from "../support/certificates.ts";
import { RawClient, type RawClientOptions } from "../support/raw-client.ts";

export class MemoryBody implements BodyWriter {
  chunks: Buffer[] = [];
  size = 0;
  abandoned = false;
  /** Thrown at the next write. */
  static failure: Error | undefined;
  readonly hold: () => Promise<void> | undefined;

  constructor(hold: () => Promise<void> | undefined) {
    this.hold = hold;
  }

  write(chunk: Buffer): void | Promise<void> {
    this.chunks.push(chunk);
    this.size += chunk.length;
    return this.hold();
  }

  abandon(): void {
    this.abandoned = true;
    this.chunks = [];
  }
}

export interface Kept {
  readonly message: NewMessage;
  readonly text: string;
  readonly body: Buffer;
}

export class MemoryStore {
  readonly kept: Kept[] = [];
  readonly bodies: MemoryBody[] = [];
  troubled: StorageTrouble | undefined;
  /** Rejects the next enqueue. */
  enqueueFailure: Error | undefined;
  writeFailure: Error | undefined;
  /** What a body's write waits for. */
  hold: () => Promise<void> | undefined = () => undefined;
  /** What enqueue waits for. */
  gate: Promise<void> | undefined;
  enqueued = 0;
  #nextId = 0;

  newBody(): BodyWriter {
    const body = new MemoryBody(() => {
      if (this.writeFailure !== undefined) throw this.writeFailure;
      return this.hold();
    });
    this.bodies.push(body);
    return body;
  }

  newQueueId(): QueueId {
    this.#nextId += 1;
    return `0TEST${String(this.#nextId).padStart(5, "0")}` as QueueId;
  }

  async enqueue(message: NewMessage, body: BodyWriter, _options: EnqueueOptions): Promise<LeasedEntry[]> {
    this.enqueued += 1;
    if (this.gate !== undefined) await this.gate;
    if (this.enqueueFailure !== undefined) throw this.enqueueFailure;
    if (!(body instanceof MemoryBody)) throw new Error("not our body");
    const octets = Buffer.concat(body.chunks);
    this.kept.push({ message, body: octets, text: octets.toString("latin1") });
    return [];
  }

  trouble(): StorageTrouble | undefined {
    return this.troubled;
  }

  get last(): Kept {
    const kept = this.kept.at(-1);
    if (kept === undefined) throw new Error("nothing was accepted");
    return kept;
  }
}

export class MemoryUsers implements UserStore {
  users: User[] = [];
  failure: Error | undefined;
  lists = 0;

  list(): Promise<User[]> {
    this.lists += 1;
    return this.failure === undefined ? Promise.resolve([...this.users]) : Promise.reject(this.failure);
  }

  save(user: User): Promise<void> {
    this.users = [...this.users.filter((other) => other.name !== user.name), user];
    return Promise.resolve();
  }

  remove(name: string): Promise<boolean> {
    const before = this.users.length;
    this.users = this.users.filter((user) => user.name !== name);
    return Promise.resolve(this.users.length < before);
  }
}

/** `submission` as in the configuration file. */
export type SubmissionWishes = Readonly<Record<string, unknown>>;

export interface WorldWishes {
  readonly submission?: SubmissionWishes;
  readonly users?: readonly { name: string; password: string; maySendAs?: readonly string[] }[];
  readonly clock?: Clock;
  /** Absent: a certificate for relay.test. */
  readonly certificate?: "none" | { readonly certificateFile: string; readonly keyFile: string };
  readonly io?: Partial<SubmissionIo>;
  readonly store?: MemoryStore;
}

export function makeSettings(submission: SubmissionWishes, users: WorldWishes["users"] = []): Settings {
  return settingsSchema.parse({
    users,
    submission: {
      listeners: [
        { name: "smtp", address: "127.0.0.1", port: 0, tls: "starttls" },
        { name: "submissions", address: "127.0.0.1", port: 0, tls: "implicit" },
      ],
      // 127.0.0.1 is trusted here, 127.0.0.2 and the rest of loopback are strangers.
      networks: ["127.0.0.1"],
      ...submission,
    },
  });
}

export async function relayCertificate(): Promise<IssuedCertificate> {
  return (await createTestCa()).issue({ names: ["relay.test"] });
}

export class World implements AsyncDisposable {
  readonly submission: Submission;
  readonly store: MemoryStore;
  readonly users: MemoryUsers;
  readonly events: PosternEvent[];
  readonly accepted: LeasedEntry[][];
  readonly wishes: WorldWishes;
  readonly base: SubmissionWishes;

  constructor(parts: Pick<World, "submission" | "store" | "users" | "events" | "accepted" | "wishes" | "base">) {
    this.submission = parts.submission;
    this.store = parts.store;
    this.users = parts.users;
    this.events = parts.events;
    this.accepted = parts.accepted;
    this.wishes = parts.wishes;
    this.base = parts.base;
  }

  static async open(wishes: WorldWishes = {}): Promise<World> {
    const store = wishes.store ?? new MemoryStore();
    const users = new MemoryUsers();
    const events: PosternEvent[] = [];
    const accepted: LeasedEntry[][] = [];
    const files = wishes.certificate ?? (await relayCertificate());
    const base: SubmissionWishes = {
      ...(files !== "none" && { certificateFile: files.certificateFile, keyFile: files.keyFile }),
      ...wishes.submission,
    };
    const settings = makeSettings(base, wishes.users);
    const submission = await startSubmission({
      settings: settings.submission,
      configuredUsers: settings.users,
      mailname: "relay.test",
      giveUpAfter: 5 * 86_400_000,
      giveUpAfterNullSender: 2 * 86_400_000,
      minimumFree: 200 * 2 ** 20,
      store,
      users,
      clock: wishes.clock ?? systemClock,
      random: () => 0.5,
      emit: (event) => events.push(event),
      leaseNow: () => true,
      leaseUntil: () => 0,
      accepted: (entries) => accepted.push(entries),
      readFile: (path) => readFile(path),
      interfaces: () => ({}),
      surroundings: { container: false, hostNetworking: false, gateways: [] },
      ...wishes.io,
    });
    return new World({ submission, store, users, events, accepted, wishes, base });
  }

  port(name = "smtp"): number {
    const found = this.submission.listeners.find((listener) => listener.name === name);
    if (found === undefined) throw new Error(`no listener ${name}`);
    return found.port;
  }

  reload(submission: SubmissionWishes, users = this.wishes.users): Promise<string[]> {
    const settings = makeSettings({ ...this.base, ...submission }, users);
    return this.submission.reload(settings.submission, settings.users);
  }

  /** Greeted, EHLO said, trusted unless `from` says otherwise. */
  client(options: Partial<RawClientOptions> & { listener?: string; ehlo?: string } = {}): Promise<RawClient> {
    const { listener = "smtp", ehlo, ...rest } = options;
    return RawClient.greeted({ port: this.port(listener), ...rest }, ehlo);
  }

  /** Behind STARTTLS, EHLO said again. */
  async tlsClient(options: Partial<RawClientOptions> & { listener?: string } = {}): Promise<RawClient> {
    const client = await this.client(options);
    await client.startTls(await this.tlsOptions());
    await client.command("EHLO client.test");
    return client;
  }

  async tlsOptions(): Promise<{ ca: string; servername: string }> {
    return { ca: (await createTestCa()).pem, servername: "relay.test" };
  }

  kinds(kind: PosternEvent["kind"]): PosternEvent[] {
    return this.events.filter((event) => event.kind === kind);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.submission.close(0);
  }
}

/** A message with the fields that we would add otherwise, each line ended by CRLF but the last. */
export const MESSAGE =
  "From: alice@sender.test\r\nDate: Tue, 01 Sep 2026 08:00:00 +0000\r\nMessage-ID: <1@sender.test>\r\nSubject: hello\r\n\r\nHello";

export const plain = (name: string, password: string, actsFor = ""): string =>
  Buffer.from(`${actsFor}\0${name}\0${password}`).toString("base64");
