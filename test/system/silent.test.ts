/**
 * Hosts that accept connections and never speak keep their own mail waiting, and nobody else's. Here they could take every
 * socket the relay may open, were there no share that only destinations get which have answered.
 */
import { expect, test } from "vitest";
import { createTestCa } from "../support/certificates.ts";
import { startReceiver, type TestReceiver } from "../support/receiver.ts";
import { startRelay } from "../support/relay.ts";
import { simpleMessage, SmtpClient } from "../support/submit.ts";
import { waitUntil } from "../support/temp.ts";

const HOSTS = 20;
const SOCKETS = 20;

test("mail for a healthy destination is delivered while 20 silent ones hold on to 400 messages", async () => {
  await using stack = new AsyncDisposableStack();
  const ca = await createTestCa();
  const healthy = stack.use(await startReceiver(await ca.issue({ names: ["healthy.test"] })));
  const silent: TestReceiver[] = [];
  for (let k = 0; k < HOSTS; k++) silent.push(stack.use(await startReceiver({ silent: true })));
  const route = (domain: string, at: TestReceiver) => ({
    domains: [domain],
    host: at.address,
    port: at.port,
    tlsName: "healthy.test",
    rootsFile: ca.file,
  });
  const relay = stack.use(
    await startRelay({
      configuration: {
        delivery: {
          concurrency: { sockets: SOCKETS, reserveForAnswering: 0.5 },
          routes: [route("healthy.test", healthy), ...silent.map((at, k) => route(`silent${k}.test`, at))],
        },
      },
    }),
  );
  const client = await SmtpClient.open(relay.port());
  await client.submit("alice@sender.test", ["jo@healthy.test"], simpleMessage("healthy-first"));
  await waitUntil("the healthy destination has answered", () => healthy.messages.length === 1);
  for (let k = 0; k < HOSTS * 20; k++)
    await client.submit("alice@sender.test", [`jo@silent${k % HOSTS}.test`], simpleMessage(`silent-${k}`));
  const connected = () => silent.reduce((sum, one) => sum + one.connections.now, 0);
  await waitUntil("silent hosts hold connections", () => connected() > 0);

  for (let k = 0; k < 100; k++) await client.submit("alice@sender.test", ["jo@healthy.test"], simpleMessage(`healthy-${k}`));
  client.close();
  await waitUntil("all healthy mail has arrived", () => healthy.messages.length > 100);

  // All the while the silent hosts kept what they had, and no more than the share that strangers may take.
  expect(connected()).toBeGreaterThan(0);
  expect(connected()).toBeLessThanOrEqual(SOCKETS / 2);
  expect(new Set(healthy.messages.map((message) => message.content.toString().match(/healthy-\w+/)?.[0])).size).toBe(101);
  expect(healthy.messages.every((message) => message.tls)).toBe(true);
  expect(await relay.listQueue()).toHaveLength(HOSTS * 20);
});
