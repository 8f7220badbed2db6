/**
 * Negative controls with a real receiver: one whose certificate nobody trusts gets not a word of the envelope, and the
 * queue says why; for a domain whose floor is lower the same host gets its mail. The whole relay runs, so what lowers TLS
 * in Node.js from outside is tried here, too.
 */
import { describe, expect, test } from "vitest";
import { createTestCa } from "../support/certificates.ts";
import { startPostfix } from "../support/postfix.ts";
import { startReceiver } from "../support/receiver.ts";
import { startRelay } from "../support/relay.ts";
import { simpleMessage, SmtpClient } from "../support/submit.ts";
import { startDnsServer } from "../support/dns-server.ts";

const strangers = () => createTestCa({ name: "A CA that nobody trusts" });

const environments: [name: string, environment: Record<string, string>][] = [
  ["a plain environment", {}],
  ["NODE_TLS_REJECT_UNAUTHORIZED=0", { NODE_TLS_REJECT_UNAUTHORIZED: "0" }],
  ["NODE_OPTIONS=--tls-min-v1.0", { NODE_OPTIONS: "--tls-min-v1.0" }],
];

describe.each(environments)("in %s", (_, environment) => {
  test("an untrusted certificate gets nothing under the floor authenticated, and its mail under opportunistic", async () => {
    await using stack = new AsyncDisposableStack();
    const [trusted, stranger] = await Promise.all([createTestCa(), strangers()]);
    const certificate = await stranger.issue({ names: ["mx.rcv.test"] });
    const postfix = stack.use(await startPostfix({ hostname: "mx.rcv.test", domains: ["strict.test", "lax.test"], ...certificate }));
    const dns = await startDnsServer({
      "strict.test": { MX: ["10 mx.rcv.test"] },
      "lax.test": { MX: ["10 mx.rcv.test"] },
      "mx.rcv.test": { A: [postfix.address] },
    });
    stack.defer(() => dns.close());
    const relay = stack.use(
      await startRelay({
        environment,
        configuration: {
          delivery: { port: postfix.port },
          resolver: { servers: [dns.setting] },
          tls: { roots: trusted.file, domains: { "lax.test": { floor: "opportunistic" } } },
        },
      }),
    );
    const client = await SmtpClient.open(relay.port());
    const id = await client.submit("alice@sender.test", ["jo@strict.test"], simpleMessage("strict"));
    await relay.waitForEvent("recipient-settled", (event) => event["id"] === id);
    await client.submit("alice@sender.test", ["jo@lax.test"], simpleMessage("lax"));
    client.close();

    await postfix.mailbox.waitFor("Subject: lax");
    const entries = await relay.listQueue();
    expect(entries).toEqual([
      expect.objectContaining({
        id,
        nextHop: "strict.test",
        problem: expect.objectContaining({ type: "certificate-not-trusted", whoActs: "receiver" }),
      }),
    ]);
    const why = await relay.run(["queue", "why", id]);
    expect(why.stdout).toContain("certificate-not-trusted");
    expect(why.stdout).toContain("mx.rcv.test");
    // Postfix writes `client=` when it has MAIL FROM and a recipient: once, for lax.test.
    const log = await postfix.log();
    expect(log.match(/smtpd\[\d+\]: [0-9A-F]+: client=/g)).toHaveLength(1);
    expect((await postfix.mailbox.read()).map((mail) => mail.recipient)).toEqual(["jo@lax.test"]);
    const lax = relay.events.find((event) => event.event === "recipient-settled" && event["recipient"] === "jo@lax.test");
    expect(lax?.["tls"]).toMatch(/^encrypted /);
  });
});

test("a host without STARTTLS hears EHLO and QUIT, no more", async () => {
  await using stack = new AsyncDisposableStack();
  const receiver = stack.use(await startReceiver());
  const dns = await startDnsServer({ "rcv.test": { MX: ["10 mx.rcv.test"] }, "mx.rcv.test": { A: [receiver.address] } });
  stack.defer(() => dns.close());
  const relay = stack.use(await startRelay({ configuration: { delivery: { port: receiver.port }, resolver: { servers: [dns.setting] } } }));
  const client = await SmtpClient.open(relay.port());
  const id = await client.submit("alice@sender.test", ["jo@rcv.test"], simpleMessage("no-tls"));
  client.close();
  const settled = await relay.waitForEvent("recipient-settled", (event) => event["id"] === id);
  expect(settled).toMatchObject({ outcome: "deferred", reason: "starttls-not-supported" });
  expect(receiver.commands.map((command) => command.slice(0, 4).toUpperCase())).not.toContain("MAIL");
  expect(receiver.commands[0]).toBe("EHLO relay.test");
  expect(receiver.messages).toEqual([]);
});

describe("NODE_EXTRA_CA_CERTS", () => {
  const cases: [roots: string, delivered: boolean][] = [
    ["bundled", true],
    ["a file of its own", false],
  ];
  test.each(cases)("with %s as roots it adds trust, and is shown at the start: %s", async (roots, delivered) => {
    await using stack = new AsyncDisposableStack();
    const [trusted, extra] = await Promise.all([createTestCa(), createTestCa({ name: "A CA from the environment" })]);
    const receiver = stack.use(await startReceiver(await extra.issue({ names: ["mx.rcv.test"] })));
    const dns = await startDnsServer({ "rcv.test": { MX: ["10 mx.rcv.test"] }, "mx.rcv.test": { A: [receiver.address] } });
    stack.defer(() => dns.close());
    const relay = stack.use(
      await startRelay({
        environment: { NODE_EXTRA_CA_CERTS: extra.file },
        configuration: {
          delivery: { port: receiver.port },
          resolver: { servers: [dns.setting] },
          tls: { roots: roots === "bundled" ? roots : trusted.file },
        },
      }),
    );
    const client = await SmtpClient.open(relay.port());
    await client.submit("alice@sender.test", ["jo@rcv.test"], simpleMessage("extra"));
    client.close();
    const settled = await relay.waitForEvent("recipient-settled");
    expect(settled["outcome"]).toBe(delivered ? "delivered" : "deferred");
    expect(receiver.messages).toHaveLength(delivered ? 1 : 0);
    const shown = relay.events.filter((event) => event.event === "notice" && String(event["text"]).includes("NODE_EXTRA_CA_CERTS"));
    expect(shown.map((event) => String(event["text"]).includes(extra.file))).toEqual(delivered ? [true] : []);
  });
});
