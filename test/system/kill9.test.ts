/**
 * kill -9 at random moments under load. Whatever was answered 250 is delivered, bounced or in the queue afterwards; only
 * what was on its way to the peer, its outcome not yet kept, may come twice; no process stays behind.
 *
 * 10 rounds; POSTERN_TEST_SCALE=5 makes it 50. The moments come from a seed, printed at the end and set by
 * POSTERN_TEST_SEED: the same seed picks the same moments, though no two machines are equally fast.
 */
import { randomInt } from "node:crypto";
import { expect, test } from "vitest";
import { createTestCa } from "../support/certificates.ts";
import { startReceiver, type TestReceiver } from "../support/receiver.ts";
import { type Relay, startRelay } from "../support/relay.ts";
import { simpleMessage, SmtpClient } from "../support/submit.ts";
import { waitUntil } from "../support/temp.ts";

const ROUNDS = Math.max(1, Math.round(10 * Number(process.env["POSTERN_TEST_SCALE"] ?? 1)));
const SEED = Number(process.env["POSTERN_TEST_SEED"] ?? randomInt(2 ** 31));
const CLIENTS = 8;

/** mulberry32: small, seeded, good enough to pick moments. */
function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Most go to a host that takes them, some to one that refuses for good, some to one that says later. */
function domainOf(sequence: number): "good.test" | "bad.test" | "later.test" {
  return sequence % 23 === 0 ? "bad.test" : sequence % 29 === 0 ? "later.test" : "good.test";
}

class Load {
  readonly accepted = new Set<number>();
  readonly #relay: Relay;
  #next = 1;
  #stopped = false;
  readonly #clients: Promise<void>[];

  constructor(relay: Relay) {
    this.#relay = relay;
    this.#clients = Array.from({ length: CLIENTS }, () => this.#client());
  }

  async #client(): Promise<void> {
    while (!this.#stopped) {
      let client: SmtpClient | undefined;
      try {
        client = await SmtpClient.open(this.#relay.port());
        while (!this.#stopped) {
          const sequence = this.#next++;
          // Now and then a body that goes to the database in chunks.
          const size = sequence % 40 === 0 ? 600_000 : 2000;
          await client.submit("alice@sender.test", [`${sequence}@${domainOf(sequence)}`], simpleMessage(`number-${sequence}-`, size));
          this.accepted.add(sequence);
        }
      } catch {
        // Killed, or not yet up again.
        await new Promise((done) => setTimeout(done, 20));
      }
      client?.close();
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#clients);
  }
}

const sequenceOf = (address: string): number => Number.parseInt(address, 10);

/** How often each message came to a receiver. */
function countDeliveries(receiver: TestReceiver): Map<number, number> {
  const counts = new Map<number, number>();
  for (const message of receiver.messages)
    for (const recipient of message.recipients) counts.set(sequenceOf(recipient), (counts.get(sequenceOf(recipient)) ?? 0) + 1);
  return counts;
}

test(`${ROUNDS} times kill -9 under load`, { timeout: 60_000 + ROUNDS * 20_000 }, async () => {
  await using stack = new AsyncDisposableStack();
  const random = seededRandom(SEED);
  const ca = await createTestCa();
  const certificate = await ca.issue({ names: ["mx.test"] });
  const good = stack.use(await startReceiver(certificate));
  const answer = (address: string) =>
    address.endsWith("@bad.test") ? "550 5.1.1 no such user" : address.endsWith("@later.test") ? "451 4.3.0 later" : undefined;
  const other = stack.use(await startReceiver({ ...certificate, answerRecipient: answer }));
  const route = (domains: string[], at: TestReceiver) => ({
    domains,
    host: at.address,
    port: at.port,
    tlsName: "mx.test",
    rootsFile: ca.file,
  });
  const relay = stack.use(
    await startRelay({
      // Of what goes to later.test, nothing becomes due again within the test.
      configuration: {
        delivery: {
          routes: [route(["good.test"], good), route(["bad.test", "later.test", "sender.test"], other)],
          retry: { waits: ["1h"] },
        },
      },
    }),
  );
  const load = new Load(relay);
  const explain = () => `seed ${SEED}`;
  /** Messages kept as delivered before some kill, and how often they had come by then. */
  const settledCounts = new Map<number, number>();

  for (let round = 1; round <= ROUNDS; round++) {
    const before = load.accepted.size;
    await waitUntil("the load goes on", () => load.accepted.size > before + 20);
    await new Promise((done) => setTimeout(done, 50 + random() * 900));
    expect(await relay.stop("SIGKILL")).toBe("SIGKILL");
    expect(relay.leftBehind(), explain()).toEqual([]);

    // What the log calls delivered had been kept as such: it must not come again.
    const deliveries = countDeliveries(good);
    const settled = relay.events.filter(
      (event) =>
        event.event === "recipient-settled" && event["outcome"] === "delivered" && String(event["recipient"]).endsWith("@good.test"),
    );
    for (const event of settled) {
      const sequence = sequenceOf(String(event["recipient"]));
      if (!settledCounts.has(sequence)) settledCounts.set(sequence, deliveries.get(sequence) ?? 0);
    }
    await relay.start();
  }
  await load.stop();
  expect(settledCounts.size).toBeGreaterThan(0);

  // Everything that can be settled is settled, then every accepted message has to be somewhere.
  const wanted = { "good.test": new Set<number>(), "bad.test": new Set<number>(), "later.test": new Set<number>() };
  for (const sequence of load.accepted) wanted[domainOf(sequence)].add(sequence);
  const missing = (have: ReadonlySet<number>, from: ReadonlySet<number>) => [...from].filter((sequence) => !have.has(sequence));
  const bounced = () =>
    new Set(
      other.messages
        .filter((message) => message.sender === "" && message.recipients[0] === "alice@sender.test")
        .map((message) => sequenceOf(/(\d+)@bad\.test/.exec(message.content.toString())?.[1] ?? "")),
    );
  const queued = async () => {
    const entries = await relay.listQueue();
    return new Set(
      entries.filter((entry) => entry.state !== "finished").flatMap((entry) => entry.recipients.map((one) => sequenceOf(one.address))),
    );
  };
  await waitUntil(
    `all of good.test delivered (${explain()})`,
    () => missing(new Set(countDeliveries(good).keys()), wanted["good.test"]).length === 0,
  ).catch(async (error: unknown) => {
    const lost = missing(new Set(countDeliveries(good).keys()), wanted["good.test"]);
    const inQueue = await queued();
    throw new Error(
      `${lost.length} not delivered, of which ${lost.filter((one) => inQueue.has(one)).length} are queued: ${lost.slice(0, 20).join(" ")}; ${explain()}`,
      { cause: error },
    );
  });
  await waitUntil(`all of bad.test bounced (${explain()})`, () => missing(bounced(), wanted["bad.test"]).length === 0);
  expect(missing(await queued(), wanted["later.test"]), explain()).toEqual([]);

  const final = countDeliveries(good);
  const cameAgain = [...settledCounts].filter(([sequence, count]) => final.get(sequence) !== count).map(([sequence]) => sequence);
  expect(cameAgain, `settled before a kill and delivered again; ${explain()}`).toEqual([]);

  const twice = [...countDeliveries(good).values()].filter((count) => count > 1).length;
  console.log(`${load.accepted.size} accepted over ${ROUNDS} kills, ${twice} came twice (were on their way), none lost; ${explain()}`);
  expect(wanted["good.test"].size).toBeGreaterThan(100);
});
