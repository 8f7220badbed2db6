/** Where a story plays: its relay, its domains, and ways to send, wait, retry, and change the world in between. */
import type { LogEvent, Relay } from "../support/relay.ts";
import type { RelayClock } from "../support/relay-clock.ts";
import { waitUntil } from "../support/temp.ts";
import { askRelay } from "./check.ts";
import { channelOf } from "./judge.ts";
import type { Channel } from "./scenario.ts";
import type { Site } from "./site.ts";
import { Submitter } from "./submit.ts";
import { FIXED } from "./world/addresses.ts";
import { askServer } from "./world/ask.ts";
import type { World } from "./world/world.ts";

export interface StageIo {
  readonly relay: Relay;
  readonly world: World;
  readonly sites: ReadonlyMap<string, Site>;
  readonly clock?: RelayClock;
}

export function siteOf(sites: ReadonlyMap<string, Site>, label: string): Site {
  const found = sites.get(label);
  if (found === undefined) throw new Error(`the story has no site ${label}`);
  return found;
}

export class Stage {
  readonly relay: Relay;
  readonly world: World;
  readonly wrong: string[] = [];
  /** What became of messages, in order, for the table. */
  readonly course: string[] = [];
  readonly #sites: ReadonlyMap<string, Site>;
  readonly #seen = new Map<string, number>();
  readonly #clock: RelayClock | undefined;

  constructor({ relay, world, sites, clock }: StageIo) {
    this.relay = relay;
    this.world = world;
    this.#sites = sites;
    this.#clock = clock;
  }

  site(label: string): Site {
    return siteOf(this.#sites, label);
  }

  /** The relay's clock, in a story that says when it begins. */
  get clock(): RelayClock {
    if (this.#clock === undefined) throw new Error("the story does not say when it begins");
    return this.#clock;
  }

  pass(milliseconds: number): Promise<void> {
    return this.clock.pass(milliseconds, this.relay);
  }

  expect(text: string, holds: boolean): void {
    if (!holds) this.wrong.push(`not so: ${text}`);
  }

  /** Hands in one message; its queue id. */
  async submit(label: string, message: Site["message"] = {}): Promise<string> {
    const submitter = await Submitter.open(this.relay);
    try {
      const { id, recipient } = this.site(label);
      const handed = await submitter.submit({ id, recipient, message });
      if ("refused" in handed) throw new Error(`refused at submission: ${handed.refused}`);
      return handed.id;
    } finally {
      submitter.close();
    }
  }

  /** What becomes of it next. */
  async next(id: string): Promise<LogEvent> {
    const before = this.#seen.get(id) ?? 0;
    const found = await waitUntil(`what becomes of ${id}`, () => this.#settled(id)[before], 30_000);
    this.#seen.set(id, before + 1);
    this.course.push(`${String(found["outcome"])} ${found["outcome"] === "delivered" ? channelOf(found) : String(found["reason"])}`);
    return found;
  }

  #settled(id: string): LogEvent[] {
    return this.relay.events.filter((event) => event.event === "recipient-settled" && event["id"] === id);
  }

  /** True if something became of it since it was last waited for. */
  isSettled(id: string): boolean {
    return this.#settled(id).length > (this.#seen.get(id) ?? 0);
  }

  async send(label: string, message: Site["message"] = {}): Promise<LogEvent & { readonly id: string }> {
    const id = await this.submit(label, message);
    return { ...(await this.next(id)), id };
  }

  async retry(id: string): Promise<LogEvent> {
    await askRelay(this.relay, "queue/retry", { filter: { ids: [id] } });
    return this.next(id);
  }

  /** Tries again until it is no longer for this reason that it waits: a relay may remember a failed question for some seconds. */
  async retryPast(id: string, reason: string): Promise<LogEvent> {
    let event = await this.retry(id);
    for (let tries = 0; tries < 20 && event["reason"] === reason; tries += 1) {
      await new Promise((done) => setTimeout(done, 1000));
      event = await this.retry(id);
    }
    return event;
  }

  delivered(event: LogEvent, channel: Channel, what: string): void {
    const was = `${String(event["outcome"])} ${String(event["tls"] ?? event["reason"])}: ${String(event["text"])}`;
    if (event["outcome"] !== "delivered" || channelOf(event) !== channel)
      this.wrong.push(`${what}: expected delivered ${channel}, but ${was}`);
  }

  deferred(event: LogEvent, type: string, what: string): void {
    const was = `${String(event["outcome"])} ${String(event["reason"] ?? event["tls"])}: ${String(event["text"])}`;
    if (event["outcome"] !== "deferred" || !type.split("|").includes(String(event["reason"])))
      this.wrong.push(`${what}: expected deferred ${type}, but ${was}`);
  }

  /** Changes records of a domain's zone, and waits until the resolver says so. The zone's TTL must be short. */
  async changeZone(label: string, owner: string, type: "TXT" | "TLSA", data: readonly string[]): Promise<void> {
    const { tree } = this.world.ground;
    const zone = tree.zoneOf(this.site(label).domain);
    const before = JSON.stringify((await askServer(FIXED.nsd, owner, type)).answers?.filter((record) => record.type === type));
    zone.remove(owner, type);
    for (const one of data) zone.add(owner, type, one);
    await tree.rewrite(zone);
    await this.world.nsd.reload(zone.name, zone.serial);
    await waitUntil(`${owner} ${type} is new at the resolver`, async () => {
      const answers = (await askServer(FIXED.unbound, owner, type, 5000)).answers?.filter((record) => record.type === type);
      return (
        JSON.stringify(answers?.map((record) => ("data" in record ? record.data : ""))) !==
        JSON.stringify(JSON.parse(before ?? "[]").map(({ data: old }: { data: unknown }) => old))
      );
    });
    // The relay may keep what it heard as long as the TTL, which is a second, and that second has begun before now.
    await new Promise((done) => setTimeout(done, 1100));
  }

  /** Waits until the resolver gives this kind of answer, as when a name server began to fail. */
  async resolverSays(owner: string, type: "TXT" | "A", rcode: string): Promise<void> {
    await waitUntil(`${owner} ${type} is ${rcode} at the resolver`, async () => {
      const answer = await askServer(FIXED.unbound, owner, type, 10_000).catch(() => undefined);
      return (answer as { rcode?: string } | undefined)?.rcode === rcode;
    });
  }
}
