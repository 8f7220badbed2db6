/**
 * Stopping, starting twice, and reloading the running relay: SIGTERM lets what is under way finish and loses nothing, a
 * second instance on the same folder is refused, SIGHUP takes a new certificate and floor and refuses a faulty file.
 */
import { copyFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { connect } from "node:tls";
import { expect, test } from "vitest";
import { createTestCa } from "../support/certificates.ts";
import { startDnsServer } from "../support/dns-server.ts";
import { canConnect } from "../support/postfix.ts";
import { startReceiver, type TestReceiver } from "../support/receiver.ts";
import { Relay, type RelayConfiguration, startRelay } from "../support/relay.ts";
import { queueId, simpleMessage, SmtpClient } from "../support/submit.ts";
import { makeTempFolder, waitUntil } from "../support/temp.ts";

const trusting = async (receiver: TestReceiver, more: RelayConfiguration = {}): Promise<RelayConfiguration> => ({
  delivery: {
    routes: [
      { domains: ["rcv.test"], host: receiver.address, port: receiver.port, tlsName: "mx.test", rootsFile: (await createTestCa()).file },
    ],
    ...more,
  },
});
const certificate = async () => (await createTestCa()).issue({ names: ["mx.test"] });

test("SIGTERM waits for the reply to the final dot; the message is not sent again", async () => {
  const held = Promise.withResolvers<undefined>();
  await using receiver = await startReceiver({ ...(await certificate()), beforeFinalReply: () => held.promise });
  await using relay = await startRelay({ configuration: await trusting(receiver) });
  const client = await SmtpClient.open(relay.port());
  await client.submit("alice@sender.test", ["jo@rcv.test"], simpleMessage("held"));
  client.close();
  await waitUntil("the message is at the final dot", () => receiver.commands.includes("DATA"));
  const port = relay.port();
  relay.signal("SIGTERM");
  await relay.waitForEvent("stopping");
  await waitUntil("no new clients are taken", async () => !(await canConnect("127.0.0.1", port)));
  expect(relay.running).toBe(true);
  held.resolve(undefined);
  expect(await relay.ended()).toBe(0);
  expect(receiver.messages).toHaveLength(1);
  // It was there to hear the reply, and kept what it heard.
  expect(relay.events.find((event) => event.event === "recipient-settled")).toMatchObject({ outcome: "delivered", attempt: 1 });
  expect(relay.events.find((event) => event.event === "stopped")).toMatchObject({ leftInFlight: 0 });

  await relay.start();
  const probe = await SmtpClient.open(relay.port());
  await probe.submit("alice@sender.test", ["jo@rcv.test"], simpleMessage("after"));
  probe.close();
  await waitUntil("the next message arrives", () => receiver.messages.length >= 2);
  expect(receiver.messages.map((message) => /Subject: (\w+)/.exec(message.content.toString())?.[1])).toEqual(["held", "after"]);
});

test("SIGTERM ends deliveries while a client still dawdles: nothing is begun that would be cut off with it", async () => {
  const held = Promise.withResolvers<undefined>();
  await using receiver = await startReceiver({ ...(await certificate()), beforeFinalReply: () => held.promise });
  await using relay = await startRelay({
    configuration: await trusting(receiver, { concurrency: { perDestination: 1, firstContact: 1 } }),
  });
  const [client, dawdler] = await Promise.all([SmtpClient.open(relay.port()), SmtpClient.open(relay.port())]);
  for (const subject of ["first", "second"]) await client.submit("alice@sender.test", ["jo@rcv.test"], simpleMessage(subject));
  client.close();
  await dawdler.begin("alice@sender.test", ["jo@rcv.test"]);
  dawdler.send("Subject: never finished\r\n");
  await waitUntil("the first message is at the final dot", () => receiver.commands.includes("DATA"));
  const port = relay.port();
  relay.signal("SIGTERM");
  await relay.waitForEvent("stopping");
  await waitUntil("no new clients are taken", async () => !(await canConnect("127.0.0.1", port)));
  const before = receiver.commands.length;
  held.resolve(undefined);
  await waitUntil("the receiver hears what comes next", () => receiver.commands.length > before);
  expect(receiver.commands[before]).toBe("QUIT");
  dawdler.close();
  expect(await relay.ended()).toBe(0);
  expect(relay.events.find((event) => event.event === "stopped")).toMatchObject({ leftInFlight: 0 });
});

test("SIGTERM in the middle of DATA: what is answered 250 is kept, what is not is the client's", async () => {
  await using receiver = await startReceiver(await certificate());
  await using relay = await startRelay({ configuration: await trusting(receiver) });
  const [finishing, leaving] = await Promise.all([SmtpClient.open(relay.port()), SmtpClient.open(relay.port())]);
  await finishing.begin("alice@sender.test", ["jo@rcv.test"]);
  await leaving.begin("alice@sender.test", ["jo@rcv.test"]);
  finishing.send("Subject: finishing\r\n\r\nhalf of ");
  leaving.send("Subject: leaving\r\n\r\nhalf of ");
  relay.signal("SIGTERM");
  await relay.waitForEvent("stopping");
  finishing.send("it\r\n.\r\n");
  const reply = await finishing.reply().catch(() => "the connection was closed");
  leaving.close();
  expect(await relay.ended()).toBe(0);
  await relay.start();
  if (reply.startsWith("250")) {
    queueId(reply);
    await waitUntil("what was answered 250 arrives", () => receiver.messages.length > 0);
  } else expect(reply).toMatch(/^4|closed/);
  const subjects = receiver.messages.map((message) => /Subject: (\w+)/.exec(message.content.toString())?.[1]);
  expect(await relay.listQueue()).toEqual([]);
  expect(subjects).toEqual(reply.startsWith("250") ? ["finishing"] : []);
});

test("a second relay on the same data folder is refused, and the first goes on", async () => {
  await using receiver = await startReceiver(await certificate());
  await using relay = await startRelay({ configuration: await trusting(receiver) });
  const temp = await makeTempFolder("second");
  await using second = new Relay(temp, { configuration: { data: { folder: relay.dataFolder } } });
  await expect(second.start()).rejects.toThrow("the relay ended at once");
  expect(await second.ended()).not.toBe(0);
  const said = [...second.output, ...second.events.map((event) => JSON.stringify(event))].join("\n");
  expect(said).toMatch(/another|already|second/i);
  expect(said).toContain(relay.dataFolder);
  const client = await SmtpClient.open(relay.port());
  await client.submit("alice@sender.test", ["jo@rcv.test"], simpleMessage("first"));
  client.close();
  await waitUntil("the first one still delivers", () => receiver.messages.length === 1);
});

test("SIGHUP takes a renewed certificate and a lower floor, and refuses a faulty file", async () => {
  const [ca, stranger] = await Promise.all([createTestCa(), createTestCa({ name: "A CA that nobody trusts" })]);
  await using receiver = await startReceiver(await stranger.issue({ names: ["mx.test"] }));
  await using folder = await makeTempFolder("certificate");
  const files = { certificateFile: join(folder.path, "certificate.pem"), keyFile: join(folder.path, "key.pem") };
  const install = async (names: string[]) => {
    const issued = await ca.issue({ names });
    await copyFile(issued.keyFile, files.keyFile);
    await copyFile(issued.certificateFile, files.certificateFile);
  };
  await install(["old.test"]);
  const literal = `[${receiver.address}]`;
  await using relay = await startRelay({
    configuration: { submission: files, delivery: { port: receiver.port }, tls: { roots: ca.file } },
  });
  const shownName = () =>
    new Promise<string | undefined>((done, failed) => {
      const socket = connect({ port: relay.port("submissions"), host: "127.0.0.1", ca: ca.pem, checkServerIdentity: () => undefined });
      socket.once("secureConnect", () => (done(socket.getPeerCertificate().subjectaltname), socket.destroy())).once("error", failed);
    });
  expect(await shownName()).toBe("DNS:old.test");
  const client = await SmtpClient.open(relay.port());
  const id = await client.submit("alice@sender.test", [`jo@${literal}`], simpleMessage("waiting"));
  client.close();
  await relay.waitForEvent("recipient-settled", (event) => event["id"] === id && event["outcome"] === "deferred");
  expect(receiver.messages).toEqual([]);

  await install(["new.test"]);
  await relay.configure({ tls: { floor: "encrypted" } });
  relay.signal("SIGHUP");
  await relay.waitForEvent("reloaded");
  expect(await shownName()).toBe("DNS:new.test");
  const retry = await relay.run(["queue", "retry", "--everything", "--yes"]);
  expect(retry.status, retry.stderr).toBe(0);
  await waitUntil("the waiting message arrives", () => receiver.messages.length === 1);

  await writeFile(relay.configurationFile, "tls: { flor: authenticated }\n");
  relay.signal("SIGHUP");
  const refused = await relay.waitForEvent("reload-refused");
  expect(JSON.stringify(refused["errors"])).toContain("flor");
  expect(await shownName()).toBe("DNS:new.test");
  const still = await SmtpClient.open(relay.port());
  await still.submit("alice@sender.test", [`jo@${literal}`], simpleMessage("still"));
  still.close();
  await waitUntil("it goes on as before", () => receiver.messages.length === 2);
});

test("SIGHUP with other trust anchors: a connection that the old ones opened takes no more mail", async () => {
  const [ca, stranger] = await Promise.all([createTestCa(), createTestCa({ name: "A CA that nobody trusts" })]);
  await using receiver = await startReceiver(await ca.issue({ names: ["mx.rcv.test"] }));
  await using stack = new AsyncDisposableStack();
  const dns = await startDnsServer({ "rcv.test": { MX: ["10 mx.rcv.test"] }, "mx.rcv.test": { A: [receiver.address] } });
  stack.defer(() => dns.close());
  await using relay = await startRelay({
    configuration: { delivery: { port: receiver.port }, resolver: { servers: [dns.setting] }, tls: { roots: ca.file } },
  });
  const client = await SmtpClient.open(relay.port());
  await client.submit("alice@sender.test", ["jo@rcv.test"], simpleMessage("trusted"));
  await waitUntil("the first message arrives", () => receiver.messages.length === 1);
  await relay.waitForEvent("recipient-settled");
  expect(receiver.connections.now).toBe(1);

  await relay.configure({ tls: { roots: stranger.file } });
  relay.signal("SIGHUP");
  await relay.waitForEvent("reloaded");
  const id = await client.submit("alice@sender.test", ["jo@rcv.test"], simpleMessage("distrusted"));
  client.close();
  const settled = await relay.waitForEvent("recipient-settled", (event) => event["id"] === id);
  expect(settled).toMatchObject({ outcome: "deferred", reason: "certificate-not-trusted" });
  expect(receiver.messages).toHaveLength(1);
});

test("other listeners wait for the next start: the command says so, and the relay stays healthy on those that are open", async () => {
  await using relay = await startRelay();
  await relay.configure({ submission: { listeners: [{ name: "elsewhere", address: "127.0.0.1", port: 0 }] } });
  const reload = await relay.run(["reload"]);
  expect(reload.stdout).toMatch(/\nAt the next start only: submission\.listeners\n$/);
  const health = await relay.run(["healthcheck"]);
  expect(health.stdout + health.stderr).toContain("ok: listening on smtp");
  expect(health.status).toBe(0);
});

test.each(["postern-writer", "postern-reader"])(
  "without its thread %s the relay ends with a fault, for a restart brings it back",
  async (thread) => {
    await using folder = await makeTempFolder("thread");
    const provoke = join(folder.path, "provoke.mjs");
    await writeFile(
      provoke,
      `import { isMainThread, workerData } from "node:worker_threads";
     if (!isMainThread && (workerData.file === undefined) === ${thread === "postern-writer"}) setTimeout(() => { throw new Error("provoked"); }, 1500);`,
    );
    await using relay = await startRelay({ configuration: {}, environment: { NODE_OPTIONS: `--import=${provoke}` } });
    expect(await relay.ended()).toBe(70);
    expect(relay.events.filter((event) => event.event === "fault").map((event) => event["error"])).toEqual(
      expect.arrayContaining([expect.stringContaining("provoked")]),
    );
  },
);
