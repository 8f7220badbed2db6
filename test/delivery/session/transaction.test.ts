/** One transaction over an open connection: what is said (RFC 5321 §3.3), and what replies decide (RFC 5321 §4.2.1, §3.8). */
import { afterEach, describe, expect, test } from "vitest";
import type { RecipientReport } from "../../../src/delivery/session.ts";
import type { EmailAddress } from "../../../src/mail/address.ts";
import type { RecipientEnvelope } from "../../../src/mail/envelope.ts";
import { type Answer, type MxBehaviour, ScriptedMx } from "../../support/scripted-mx.ts";
import { opened, type TransactionWishes, transaction } from "../../support/smtp-session.ts";

const PIPELINING = ["PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"];
const ALONE = PIPELINING.slice(1);
const hosts: ScriptedMx[] = [];
afterEach(() => Promise.all(hosts.splice(0).map((mx) => mx.close())));

async function host(behaviour: MxBehaviour): Promise<ScriptedMx> {
  const mx = await ScriptedMx.open(behaviour);
  hosts.push(mx);
  return mx;
}

/** What a host makes of one message: the reports as words, the step, and what it heard. */
async function deliver(behaviour: MxBehaviour, wishes: TransactionWishes = {}) {
  const mx = await host(behaviour);
  const session = await opened(mx.port, "bundled");
  const report = await session.deliver(transaction(wishes));
  const { usable } = session;
  const words = report.recipients.map(word);
  await session.quit();
  await mx.quiet();
  return { ...report, words, usable, mx, said: mx.heard.slice(1).map((line) => line.slice("clear ".length)) };
}

/** `delivered`, `failed 5.1.1`, `later 4.5.3 portion`, `elsewhere 4.0.0`, `elsewhere 5.6.7 permanent`. */
function word(report: RecipientReport): string {
  switch (report.kind) {
    case "delivered":
      return "delivered";
    case "failed":
      return `failed ${report.problem.status}`;
    case "later":
      return `later ${report.problem.status}${report.portion === true ? " portion" : ""}`;
    case "elsewhere":
      return `elsewhere ${report.problem.status}${report.permanent ? " permanent" : ""}`;
  }
}

/** Scripted replies by what the command starts with. */
const script =
  (replies: Record<string, string>): Answer =>
  (command) =>
    Object.entries(replies).find(([start]) => command !== "" && command.startsWith(start))?.[1];

const ABC = ["a@d.test", "b@d.test", "c@d.test"];

describe("commands on the wire", () => {
  test("exactly as the syntax has them, in one group, and one copy for all recipients", async () => {
    const { said, mx, words } = await deliver({ extensions: ["PIPELINING"] }, { recipients: ABC });
    expect(said).toEqual(["MAIL FROM:<app@sender.test>", "RCPT TO:<a@d.test>", "RCPT TO:<b@d.test>", "RCPT TO:<c@d.test>", "DATA", "QUIT"]);
    expect(mx.connections[0]?.reads.slice(1)).toEqual([
      "MAIL FROM:<app@sender.test>\r\nRCPT TO:<a@d.test>\r\nRCPT TO:<b@d.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n",
      "Subject: hello\r\n\r\nHello.\r\n.\r\n",
      "QUIT\r\n",
    ]);
    expect(words).toEqual(["delivered", "delivered", "delivered"]);
  });

  test("step by step where there is no PIPELINING", async () => {
    const { mx } = await deliver({ extensions: [] }, { recipients: ["a@d.test"] });
    expect(mx.connections[0]?.reads.slice(1, 4)).toEqual(["MAIL FROM:<app@sender.test>\r\n", "RCPT TO:<a@d.test>\r\n", "DATA\r\n"]);
  });

  test("paths as they came: case, quoting, the null path, A-labels", async () => {
    const recipients = ['"Bob X"@example.test', "BOB@example.test", "bob@xn--bcher-kva.test"];
    const { said } = await deliver({ extensions: [] }, { sender: "", recipients });
    expect(said.slice(0, 4)).toEqual(["MAIL FROM:<>", ...recipients.map((path) => `RCPT TO:<${path}>`)]);
  });

  const size = transaction().body.size;
  const wishes: TransactionWishes = {
    returnContent: "headers",
    envelopeId: "QQ314159+2B",
    needs: { eightBit: true },
    recipients: [
      { address: "a@d.test" as EmailAddress, notify: { never: true, success: false, failure: false, delay: false } },
      {
        address: "b@d.test" as EmailAddress,
        notify: { never: false, success: true, failure: true, delay: false },
        originalRecipient: "RFC822;Bob+40X@d.test",
      },
      { address: "c@d.test" as EmailAddress },
    ],
  };
  const parameters: [extensions: string[], mail: string, rcpts: string[]][] = [
    [["8BITMIME"], "MAIL FROM:<app@sender.test> BODY=8BITMIME", ["RCPT TO:<a@d.test>", "RCPT TO:<b@d.test>", "RCPT TO:<c@d.test>"]],
    [
      ["8BITMIME", "SIZE 99999"],
      `MAIL FROM:<app@sender.test> SIZE=${size} BODY=8BITMIME`,
      ["RCPT TO:<a@d.test>", "RCPT TO:<b@d.test>", "RCPT TO:<c@d.test>"],
    ],
    [
      ["8BITMIME", "DSN", "SMTPUTF8"],
      "MAIL FROM:<app@sender.test> BODY=8BITMIME RET=HDRS ENVID=QQ314159+2B",
      ["RCPT TO:<a@d.test> NOTIFY=NEVER", "RCPT TO:<b@d.test> NOTIFY=SUCCESS,FAILURE ORCPT=RFC822;Bob+40X@d.test", "RCPT TO:<c@d.test>"],
    ],
  ];
  test.each(parameters)("parameters of what is offered, and no others: %j", async (extensions, mail, rcpts) => {
    const { said } = await deliver({ extensions }, wishes);
    expect(said.slice(0, 4)).toEqual([mail, ...rcpts]);
  });

  test("BODY and SMTPUTF8 are not said for a message that needs neither", async () => {
    const { said } = await deliver({ extensions: ["8BITMIME", "SMTPUTF8"] });
    expect(said[0]).toBe("MAIL FROM:<app@sender.test>");
  });

  test("a parameter that would end the line is our own broken promise", async () => {
    const mx = await host({ extensions: ["DSN"] });
    const session = await opened(mx.port, "bundled");
    await expect(session.deliver(transaction({ envelopeId: "x\r\nRCPT TO:<evil@d.test>" }))).rejects.toThrow(/not a parameter/);
    expect(mx.heard).toHaveLength(1);
    session.destroy();
  });

  test("a 5yz to a parameter that was offered is not tried again without it", async () => {
    const { said, words } = await deliver(
      { extensions: ["8BITMIME"], answer: script({ MAIL: "555 5.5.4 no such parameter\r\n" }) },
      { needs: { eightBit: true } },
    );
    expect(said).toEqual(["MAIL FROM:<app@sender.test> BODY=8BITMIME", "QUIT"]);
    expect(words).toEqual(["failed 5.0.0"]);
  });
});

describe("what a host cannot take is not sent to it", () => {
  const cases: [name: string, extensions: string[], wishes: TransactionWishes, words: string[], mail: string | undefined][] = [
    ["8-bit text, no 8BITMIME", [], { needs: { eightBit: true } }, ["elsewhere 5.6.3 permanent"], undefined],
    ["8-bit text, 8BITMIME", ["8BITMIME"], { needs: { eightBit: true } }, ["delivered"], "MAIL FROM:<app@sender.test> BODY=8BITMIME"],
    ["UTF-8 header, no SMTPUTF8", ["8BITMIME"], { needs: { utf8Headers: true } }, ["elsewhere 5.6.9 permanent"], undefined],
    [
      "UTF-8 header, SMTPUTF8",
      ["8BITMIME", "SMTPUTF8"],
      { needs: { utf8Headers: true } },
      ["delivered"],
      "MAIL FROM:<app@sender.test> SMTPUTF8",
    ],
    [
      "UTF-8 sender, no SMTPUTF8",
      [],
      { sender: "jos\u00e9@sender.test", recipients: ABC },
      ABC.map(() => "elsewhere 5.6.7 permanent"),
      undefined,
    ],
    [
      "UTF-8 sender, SMTPUTF8",
      ["SMTPUTF8"],
      { sender: "jos\u00e9@sender.test" },
      ["delivered"],
      "MAIL FROM:<jos\u00e9@sender.test> SMTPUTF8",
    ],
    [
      "one UTF-8 recipient, no SMTPUTF8",
      [],
      { recipients: ["a@d.test", "jos\u00e9@d.test"] },
      ["delivered", "elsewhere 5.6.7 permanent"],
      "MAIL FROM:<app@sender.test>",
    ],
    [
      "one UTF-8 recipient, SMTPUTF8",
      ["SMTPUTF8"],
      { recipients: ["a@d.test", "jos\u00e9@d.test"] },
      ["delivered", "delivered"],
      "MAIL FROM:<app@sender.test> SMTPUTF8",
    ],
    ["larger than SIZE", ["SIZE 10"], { recipients: ABC }, ABC.map(() => "elsewhere 5.3.4 permanent"), undefined],
    ["SIZE without limit", ["SIZE"], {}, ["delivered"], "MAIL FROM:<app@sender.test> SIZE=26"],
    ["SIZE 0", ["SIZE 0"], {}, ["delivered"], "MAIL FROM:<app@sender.test> SIZE=26"],
  ];
  test.each(cases)("%s", async (_name, extensions, wishes, words, mail) => {
    const result = await deliver({ extensions }, wishes);
    expect(result.words).toEqual(words);
    expect(result.said[0]).toBe(mail ?? "QUIT");
    expect(result.usable).toBe(true);
  });
});

// RFC 5321 §4.2.1, §3.8, §4.5.3.1.10; RFC 2920 §3.1. The same with and without groups.
describe.each([
  ["in a group", PIPELINING],
  ["step by step", ALONE],
])("replies, %s", (_how, extensions) => {
  const cases: [name: string, replies: Record<string, string>, words: string[], step: string, usable: boolean][] = [
    [
      "251 and 252 accept",
      { "RCPT TO:<a": "251 2.1.5 will forward\r\n", "RCPT TO:<b": "252 2.1.5 will try\r\n" },
      ["delivered", "delivered", "delivered"],
      "done",
      true,
    ],
    ["4yz to MAIL", { MAIL: "451 4.7.1 greylisted\r\n" }, ABC.map(() => "elsewhere 4.7.1"), "mail", true],
    ["452 to MAIL", { MAIL: "452 full\r\n" }, ABC.map(() => "elsewhere 4.3.1"), "mail", true],
    ["5yz to MAIL", { MAIL: "550 5.7.1 not you\r\n" }, ABC.map(() => "failed 5.7.1"), "mail", true],
    ["552 to MAIL", { MAIL: "552 too big\r\n" }, ABC.map(() => "failed 5.3.4"), "mail", true],
    ["an enhanced code of another class", { MAIL: "550 4.2.1 x\r\n" }, ABC.map(() => "failed 5.0.0"), "mail", true],
    ["421 to MAIL", { MAIL: "421 4.3.2 going down\r\n" }, ABC.map(() => "elsewhere 4.3.2"), "mail", false],
    ["354 to MAIL", { MAIL: "354 what\r\n" }, ABC.map(() => "elsewhere 4.5.0"), "mail", true],
    [
      "250, 450, 550 to RCPT",
      { "RCPT TO:<b": "450 4.2.1 busy\r\n", "RCPT TO:<c": "550 5.1.1 nobody\r\n" },
      ["delivered", "elsewhere 4.2.1", "failed 5.1.1"],
      "done",
      true,
    ],
    ["452 behind accepted ones", { "RCPT TO:<c": "452 4.5.3 enough\r\n" }, ["delivered", "delivered", "later 4.5.3 portion"], "done", true],
    ["552 behind accepted ones", { "RCPT TO:<c": "552 5.5.3 enough\r\n" }, ["delivered", "delivered", "later 4.5.3 portion"], "done", true],
    ["452 to the first", { "RCPT TO:<a": "452 4.5.3 enough\r\n" }, ["elsewhere 4.5.3", "delivered", "delivered"], "done", true],
    ["552 to the first", { "RCPT TO:<a": "552 5.2.2 mailbox full\r\n" }, ["failed 5.2.2", "delivered", "delivered"], "done", true],
    [
      "421 to RCPT keeps what was decided",
      { "RCPT TO:<a": "550 5.1.1 nobody\r\n", "RCPT TO:<c": "421 4.3.2 bye\r\n" },
      ["failed 5.1.1", "elsewhere 4.3.2", "elsewhere 4.3.2"],
      "rcpt",
      false,
    ],
    ["all RCPT refused", { RCPT: "550 5.1.1 nobody\r\n" }, ABC.map(() => "failed 5.1.1"), "rcpt", true],
    [
      "4yz to DATA",
      { "RCPT TO:<c": "550 5.1.1 nobody\r\n", DATA: "451 4.3.0 no\r\n" },
      ["elsewhere 4.3.0", "elsewhere 4.3.0", "failed 5.1.1"],
      "data",
      true,
    ],
    ["5yz to DATA", { DATA: "554 5.7.1 no\r\n" }, ABC.map(() => "failed 5.7.1"), "data", true],
    ["421 to DATA", { DATA: "421 4.3.2 bye\r\n" }, ABC.map(() => "elsewhere 4.3.2"), "rcpt", false],
    ["250 to DATA", { DATA: "250 fine\r\n" }, ABC.map(() => "elsewhere 4.5.0"), "data", false],
    ["353 to DATA", { DATA: "353 odd\r\n" }, ABC.map(() => "elsewhere 4.5.0"), "data", false],
    ["250 after the dot", { ".": "250 2.0.0 mine\r\n" }, ABC.map(() => "delivered"), "done", true],
    ["259 after the dot", { ".": "259 mine\r\n" }, ABC.map(() => "delivered"), "done", true],
    ["4yz after the dot", { ".": "451 4.3.0 later\r\n" }, ABC.map(() => "elsewhere 4.3.0"), "final-dot", true],
    [
      "5yz after the dot",
      { "RCPT TO:<b": "450 4.2.1 busy\r\n", ".": "554 5.7.1 spam\r\n" },
      ["failed 5.7.1", "elsewhere 4.2.1", "failed 5.7.1"],
      "final-dot",
      true,
    ],
    ["552 after the dot", { ".": "552 too big\r\n" }, ABC.map(() => "failed 5.3.4"), "final-dot", true],
    ["421 after the dot", { ".": "421 4.3.2 bye\r\n" }, ABC.map(() => "elsewhere 4.3.2"), "final-dot", false],
    ["354 after the dot", { ".": "354 what\r\n" }, ABC.map(() => "later 4.4.2"), "final-dot", false],
    ["garbage after the dot", { ".": "\u0001\u0002\r\n" }, ABC.map(() => "later 4.4.2"), "final-dot", false],
  ];
  test.each(cases)("%s", async (_name, replies, words, step, usable) => {
    const result = await deliver({ extensions, answer: script(replies) }, { recipients: ABC });
    expect(result).toMatchObject({ words, step, usable });
    expect(result.mayHoldMessage).toBe(words.some((one) => one.startsWith("later 4.4.2")));
    // Text goes out only after 354, and only for those who were accepted.
    const texts = result.mx.connections[0]?.reads.join("").includes("Hello.") ?? false;
    expect(texts).toBe(step === "done" || step === "final-dot");
  });

  const losses: [at: string, words: string[], step: string, mayHold: boolean][] = [
    ["MAIL", ABC.map(() => "elsewhere 4.4.2"), "mail", false],
    ["RCPT TO:<b", ABC.map(() => "elsewhere 4.4.2"), "rcpt", false],
    ["DATA", ABC.map(() => "elsewhere 4.4.2"), "rcpt", false],
    [".", ABC.map(() => "later 4.4.2"), "final-dot", true],
  ];
  test.each(losses)("the connection lost at %s", async (at, words, step, mayHoldMessage) => {
    const answer: Answer = (command, { socket }) => (command !== "" && command.startsWith(at) ? (socket.end(), null) : undefined);
    const result = await deliver({ extensions, answer }, { recipients: ABC });
    expect(result).toMatchObject({ words, step, mayHoldMessage, usable: false });
  });

  test("after a refused transaction the next one begins with RSET", async () => {
    const refusing = script({ RCPT: "550 5.1.1 nobody\r\n", DATA: "503 5.5.1 no recipients\r\n" });
    const isFirst = (heard: readonly string[]) => heard.filter((line) => line.includes("MAIL")).length < 2;
    const mx = await host({
      extensions,
      answer: (command, connection) => (isFirst(connection.heard) ? refusing(command, connection) : undefined),
    });
    const session = await opened(mx.port, "bundled");
    expect((await session.deliver(transaction())).recipients.map(word)).toEqual(["failed 5.1.1"]);
    expect((await session.deliver(transaction())).recipients.map(word)).toEqual(["delivered"]);
    expect((await session.deliver(transaction())).recipients.map(word)).toEqual(["delivered"]);
    const verbs = mx.connections[0]?.verbs("clear").filter((verb) => /MAIL|RSET/.test(verb));
    expect(verbs).toEqual(["MAIL", "RSET", "MAIL", "MAIL"]);
    session.destroy();
  });

  test("a host that cannot reset is left, and the message is not blamed", async () => {
    const mx = await host({ extensions, answer: script({ RCPT: "550 5.1.1 nobody\r\n", RSET: "500 what?\r\n", DATA: "503 no\r\n" }) });
    const session = await opened(mx.port, "bundled");
    await session.deliver(transaction());
    expect((await session.deliver(transaction())).recipients.map(word)).toEqual(["elsewhere 4.5.0"]);
    expect(session.usable).toBe(false);
  });
});

describe("groups (RFC 2920 §3.1)", () => {
  test("354 with nobody accepted gets a lone dot, and nobody counts as delivered", async () => {
    const { words, mx, usable } = await deliver(
      { extensions: PIPELINING, answer: script({ RCPT: "550 5.1.1 nobody\r\n" }) },
      { recipients: ABC },
    );
    expect(words).toEqual(ABC.map(() => "failed 5.1.1"));
    expect(mx.connections[0]?.reads.slice(2)).toEqual([".\r\n", "QUIT\r\n"]);
    expect(mx.messages.map(({ text }) => text)).toEqual([""]);
    expect(usable).toBe(true);
  });

  test("a refused MAIL with everything else accepted still delivers to nobody", async () => {
    const { words, mx } = await deliver({ extensions: PIPELINING, answer: script({ MAIL: "550 5.7.1 no\r\n" }) }, { recipients: ABC });
    expect(words).toEqual(ABC.map(() => "failed 5.7.1"));
    expect(mx.connections[0]?.reads.join("")).not.toContain("Hello.");
  });

  test("a thousand recipients to a host that reads no further than it could answer", async () => {
    const recipients = Array.from({ length: 1000 }, (_, n) => `${"x".repeat(50)}${n}@d.test`);
    const answer: Answer = (command, { socket }) => {
      // A host that takes no more commands until its replies are read: who only wrote would wait for ever.
      if (socket.writableNeedDrain && !socket.isPaused()) {
        socket.pause();
        socket.once("drain", () => socket.resume());
      }
      return command.startsWith("RCPT") ? `250 2.1.5 ${"y".repeat(400)}\r\n` : undefined;
    };
    const { words, mx } = await deliver({ extensions: PIPELINING, answer }, { recipients });
    expect(words.filter((one) => one === "delivered")).toHaveLength(1000);
    expect(mx.messages[0]?.rcpts).toHaveLength(1000);
  });

  test("one reply too many ends the session, and is never taken for the next one's", async () => {
    const mx = await host({ extensions: PIPELINING, answer: script({ ".": "250 mine\r\n250 yours\r\n" }) });
    const session = await opened(mx.port, "bundled");
    await session.deliver(transaction());
    expect((await session.deliver(transaction({ recipients: ["next@d.test"] }))).recipients.map(word)).toEqual(["elsewhere 4.5.0"]);
    expect(mx.heard.join()).not.toContain("next@d.test");
  });
});

test("one transaction at a time", async () => {
  const mx = await host({});
  const session = await opened(mx.port, "bundled");
  const first = session.deliver(transaction());
  await expect(session.deliver(transaction())).rejects.toThrow(/has a transaction already/);
  expect((await first).recipients.map(word)).toEqual(["delivered"]);
  session.destroy();
});

test("an internationalised ORCPT is written in ASCII for a host without SMTPUTF8 (RFC 6533 §3)", async () => {
  const recipient: RecipientEnvelope = { address: "bob@d.test" as EmailAddress, originalRecipient: "utf-8;b\u00f6b@d.test" };
  expect((await deliver({ extensions: ["DSN"] }, { recipients: [recipient] })).said[1]).toBe(
    "RCPT TO:<bob@d.test> ORCPT=utf-8;b\\x{F6}b@d.test",
  );
});
