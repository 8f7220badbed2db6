/** Every step has a deadline of its own (RFC 5321 §4.5.3.2), and a host gains no time by talking. */
import { afterEach, describe, expect, test, vi } from "vitest";
import type { Clock } from "../../../src/clock.ts";
import type { BodySource } from "../../../src/queue/entry.ts";
import { createTestCa } from "../../support/certificates.ts";
import { MovedClock, settled } from "../../support/moved-clock.ts";
import { type MxBehaviour, ScriptedMx } from "../../support/scripted-mx.ts";
import { connectorFor, defaultTimeouts, MX_NAME, targetFor, transaction } from "../../support/smtp-session.ts";

const ca = await createTestCa();
const certificate = await ca.issue({ names: [MX_NAME] });
const hosts: ScriptedMx[] = [];
afterEach(() => Promise.all(hosts.splice(0).map((mx) => mx.close())));

async function host(behaviour: MxBehaviour): Promise<ScriptedMx> {
  const mx = await ScriptedMx.open(behaviour);
  hosts.push(mx);
  return mx;
}

const MINUTE = 60_000;
const until = async (fact: () => boolean) => {
  while (!fact()) await settled();
};

test("the defaults are no shorter than RFC 5321 §4.5.3.2 has them", () => {
  const least = { greeting: 5, ehlo: 5, mail: 5, rcpt: 5, data: 2, block: 3, finalDot: 10 } as const;
  for (const [step, minutes] of Object.entries(least))
    expect(defaultTimeouts[step as keyof typeof least], step).toBeGreaterThanOrEqual(minutes * MINUTE);
});

/** A host that falls silent when it hears this: the step that fails, and after which wait. */
const opening: [silentAt: string, wait: keyof typeof defaultTimeouts, step: string, type: string, more?: Partial<MxBehaviour>][] = [
  ["", "greeting", "greeting", "timeout"],
  ["EHLO", "ehlo", "ehlo", "timeout"],
  ["HELO", "ehlo", "ehlo", "timeout", { greeting: "220 old\r\n" }],
  ["STARTTLS", "starttls", "starttls", "starttls-not-supported"],
  ["hello", "handshake", "handshake", "validation-failure"],
  ["tls EHLO", "ehlo", "ehlo", "timeout"],
  ["AUTH", "auth", "auth", "timeout"],
];
describe("before a transaction", () => {
  test.each(opening)("silent at %j: %s", async (silentAt, wait, step, type) => {
    let silent = false;
    const isSilent = (yes: boolean) => {
      silent ||= yes;
      return yes ? null : undefined;
    };
    const mx = await host({
      certificate,
      extensions: ["AUTH PLAIN"],
      ...(silentAt === "hello" ? { afterStartTls: (socket) => socket.once("data", () => isSilent(true)) } : {}),
      answer(command, { underTls }) {
        if (silentAt === "HELO" && command.startsWith("EHLO")) return "502 what?\r\n";
        const said = underTls && silentAt === "tls EHLO" ? `tls ${command}` : command;
        return isSilent(silentAt === "" ? command === "" : said.startsWith(silentAt) && command !== "");
      },
    });
    const clock = new MovedClock();
    const connect = connectorFor(ca.pem, { timeouts: defaultTimeouts, clock });
    const target = targetFor(mx.port, {
      atLeast: silentAt === "HELO" ? "clear" : "authenticated",
      ...(silentAt === "AUTH" ? { login: { username: "a", password: "b" } } : {}),
    });
    let done = false;
    const result = connect(target).finally(() => (done = true));
    await until(() => silent);
    await clock.pass(defaultTimeouts[wait] - 10);
    expect(done).toBe(false);
    await clock.pass(20);
    expect(await result).toMatchObject({ kind: "failed", step, problem: { type }, permanent: false });
    await mx.quiet();
    expect(clock.armed).toBe(0);
  });

  test("a TCP connection that does not come about", async () => {
    const mx = await host({});
    const timers: (() => void)[] = [];
    const clock: Clock = { now: Date.now, monotonic: () => 0, after: (_delay, action) => (timers.push(action), () => undefined) };
    const result = connectorFor(ca.pem, { timeouts: defaultTimeouts, clock })(targetFor(mx.port));
    timers[0]?.();
    expect(await result).toMatchObject({
      step: "connect",
      answered: false,
      problem: { type: "connect-failed", detail: expect.stringContaining("no answer") },
    });
  });

  test("a host that drips lines gains no time by it", async () => {
    const mx = await host({ answer: (command) => (command.startsWith("EHLO") ? "250-mx.example.test\r\n" : undefined) });
    const clock = new MovedClock();
    let done = false;
    const result = connectorFor(ca.pem, { timeouts: defaultTimeouts, clock })(targetFor(mx.port)).finally(() => (done = true));
    await until(() => mx.heard.length === 1);
    for (let minute = 0; minute < 4; minute += 1) {
      mx.connections[0]?.say("250-still here\r\n");
      await clock.pass(MINUTE);
    }
    expect(done).toBe(false);
    mx.connections[0]?.say("250-still here\r\n");
    await clock.pass(MINUTE + 10);
    expect(await result).toMatchObject({ step: "ehlo", problem: { type: "timeout" } });
  });
});

const within: [silentAt: string, wait: keyof typeof defaultTimeouts, step: string, kind: string, type: string, mayHold: boolean][] = [
  ["MAIL", "mail", "mail", "elsewhere", "timeout", false],
  ["RCPT", "rcpt", "rcpt", "elsewhere", "timeout", false],
  ["DATA", "data", "rcpt", "elsewhere", "timeout", false],
  [".", "finalDot", "final-dot", "later", "outcome-unknown", true],
];
describe.each([
  ["in a group", ["PIPELINING"]],
  ["step by step", []],
])("in a transaction, %s", (_how, extensions) => {
  test.each(within)("silent at %j: %s", async (silentAt, wait, step, kind, type, mayHoldMessage) => {
    let silent = false;
    const mx = await host({
      certificate,
      extensions,
      answer: (command) => (command !== "" && command.startsWith(silentAt) ? ((silent = true), null) : silent ? null : undefined),
    });
    const clock = new MovedClock();
    const opened = await connectorFor(ca.pem, { timeouts: defaultTimeouts, clock })(targetFor(mx.port, { atLeast: "authenticated" }));
    if (opened.kind !== "open") throw new Error(opened.problem.detail);
    let done = false;
    const report = opened.session.deliver(transaction()).finally(() => (done = true));
    await until(() => silent);
    await settled();
    await clock.pass(defaultTimeouts[wait] - 10);
    expect(done).toBe(false);
    await clock.pass(20);
    expect(await report).toMatchObject({ step, mayHoldMessage, recipients: [{ kind, problem: { type } }] });
    expect(opened.session.usable).toBe(false);
  });
});

test("each block of a large text has its own deadline", async () => {
  const chunk = Buffer.from(`${"x".repeat(254)}\r\n`.repeat(1024));
  let read = 0;
  const body: BodySource = {
    size: chunk.length * 100,
    async *chunks() {
      for (; read < 100; read += 1) yield chunk;
    },
  };
  const mx = await host({
    answer: (command, { socket }) => (command === "DATA" ? (setImmediate(() => socket.pause()), undefined) : undefined),
  });
  const clock = new MovedClock();
  const opened = await connectorFor(ca.pem, { timeouts: defaultTimeouts, clock })(targetFor(mx.port));
  if (opened.kind !== "open") throw new Error(opened.problem.detail);
  let done = false;
  const report = opened.session.deliver(transaction({ body })).finally(() => (done = true));
  let before = -1;
  while (before !== read || read === 0) {
    before = read;
    for (let turn = 0; turn < 10; turn += 1) await settled();
  }
  await clock.pass(defaultTimeouts.block - 10);
  expect(done).toBe(false);
  await clock.pass(20);
  expect(await report).toMatchObject({
    step: "data",
    mayHoldMessage: false,
    recipients: [{ kind: "elsewhere", problem: { type: "timeout" } }],
  });
});

test("QUIT is not waited for longer than its deadline", async () => {
  const mx = await host({ answer: (command) => (command === "QUIT" ? null : undefined) });
  const clock = new MovedClock();
  const opened = await connectorFor(ca.pem, { timeouts: defaultTimeouts, clock })(targetFor(mx.port));
  if (opened.kind !== "open") throw new Error(opened.problem.detail);
  const quit = opened.session.quit();
  await until(() => mx.heard.includes("clear QUIT"));
  await clock.pass(defaultTimeouts.quit + 1);
  await quit;
  await mx.quiet();
  expect(mx.connections[0]?.closed).toBe(true);
});

test("many quick steps share one timer, and an idle session is not cut by an old one", async () => {
  const mx = await host({ certificate });
  const clock = new MovedClock();
  const set = vi.spyOn(clock, "after");
  const opened = await connectorFor(ca.pem, { timeouts: defaultTimeouts, clock })(targetFor(mx.port, { atLeast: "authenticated" }));
  if (opened.kind !== "open") throw new Error(opened.problem.detail);
  set.mockClear();
  for (let message = 0; message < 50; message += 1) await opened.session.deliver(transaction());
  expect(set.mock.calls.length).toBeLessThanOrEqual(2);
  await clock.pass(60 * MINUTE);
  expect(opened.session.usable).toBe(true);
  expect((await opened.session.deliver(transaction())).recipients[0]?.kind).toBe("delivered");
  opened.session.destroy();
  expect(clock.armed).toBe(0);
});
