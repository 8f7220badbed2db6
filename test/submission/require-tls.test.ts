/** REQUIRETLS and TLS-Required: No as they are handed in (RFC 8689 §2, §3, §4.1). */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { NewMessage } from "../../src/queue/entry.ts";
import { RawClient } from "../support/raw-client.ts";
import { World } from "./world.ts";

let world: World;
beforeAll(async () => {
  world = await World.open({ submission: { limits: { badCommands: 1000 } } });
});
afterAll(() => world[Symbol.asyncDispose]());
beforeEach(() => {
  world.store.kept.length = 0;
});

const HEAD = "From: a@b.test\r\nDate: Tue, 01 Sep 2026 08:00:00 +0000\r\nMessage-ID: <1@b.test>\r\n";
const NO = "TLS-Required: No\r\n";

/** What was stored behind our Received field. */
function stored(): string {
  return world.store.last.text.replace(/^Received: [^\r]*\r\n(?:\t[^\r]*\r\n)*/, "");
}

async function send(client: RawClient, message: string, parameters = ""): Promise<string> {
  const replies = await client.pipeline(`MAIL FROM:<a@b.test>${parameters}`, "RCPT TO:<c@d.test>", "RCPT TO:<e@f.test>", "DATA");
  if (!replies.at(-1)?.startsWith("354")) return replies[0] ?? "";
  client.send(`${message}\r\n.\r\n`);
  return (await client.reply()).text;
}

async function tagOf(message: string, parameters = ""): Promise<NewMessage["tlsTag"]> {
  await using client = parameters === "" ? await world.client() : await world.tlsClient();
  expect(await send(client, message, parameters)).toMatch(/^250/);
  return world.store.last.message.tlsTag;
}

describe("the offer", () => {
  test("is made inside TLS and nowhere else", async () => {
    await using client = await world.client();
    expect(await client.command("EHLO x")).not.toContain("REQUIRETLS");
    await client.startTls(await world.tlsOptions());
    expect(await client.command("EHLO x")).toMatch(/^250-REQUIRETLS\r?$/m);
    await using implicit = await RawClient.greeted({ port: world.port("submissions"), tls: await world.tlsOptions() });
    expect(implicit.received).toMatch(/^250-REQUIRETLS\r$/m);
  });
});

describe("the parameter", () => {
  test("tags the message, for all of its recipients", async () => {
    expect(await tagOf(`${HEAD}\r\nHello`, " REQUIRETLS")).toBe("required");
    expect(world.store.last.message.recipients).toHaveLength(2);
    expect(await tagOf(`${HEAD}\r\nHello`, " requiretls RET=FULL SIZE=200")).toBe("required");
  });

  test("is refused in clear, and leaves nothing behind", async () => {
    await using client = await world.client();
    expect(await send(client, `${HEAD}\r\nHello`, " REQUIRETLS")).toMatch(/^530 5\.7\.0 /);
    expect(await send(client, `${HEAD}\r\nHello`)).toMatch(/^250/);
    expect(world.store.kept).toHaveLength(1);
    expect(world.store.last.message).not.toHaveProperty("tlsTag");
  });

  test("takes no value", async () => {
    await using client = await world.tlsClient();
    for (const parameter of [" REQUIRETLS=1", " REQUIRETLS=", " REQUIRETLS=No"])
      expect(await send(client, `${HEAD}\r\nHello`, parameter)).toMatch(/^501 5\.5\.4/);
    expect(world.store.kept).toHaveLength(0);
  });

  test("of a refused, finished or reset transaction does not stick to the next", async () => {
    await using client = await world.tlsClient();
    expect(await client.command("MAIL FROM:<a@b.test> REQUIRETLS FOO=1")).toMatch(/^555/);
    expect(await client.command("MAIL FROM:<a@b.test> REQUIRETLS SIZE=99999999999")).toMatch(/^552/);
    await send(client, `${HEAD}\r\nHello`);
    expect(world.store.last.message).not.toHaveProperty("tlsTag");
    await client.pipeline("MAIL FROM:<a@b.test> REQUIRETLS", "RSET");
    await send(client, `${HEAD}\r\nHello`);
    expect(world.store.last.message).not.toHaveProperty("tlsTag");
    await client.pipeline("MAIL FROM:<a@b.test> REQUIRETLS", "EHLO again");
    await send(client, `${HEAD}\r\nHello`);
    expect(world.store.last.message).not.toHaveProperty("tlsTag");
    await send(client, `${HEAD}\r\nHello`, " REQUIRETLS");
    expect(world.store.last.message.tlsTag).toBe("required");
    await send(client, `${HEAD}\r\nHello`);
    expect(world.store.last.message).not.toHaveProperty("tlsTag");
  });

  test("makes a MAIL line longer by 11 octets", async () => {
    const start = `MAIL FROM:<${"l".repeat(64)}@${"d".repeat(63)}.${"d".repeat(63)}.test> ENVID=${"e".repeat(100)} AUTH=`;
    const line = `${start}${"x".repeat(510 - start.length)} REQUIRETLS`;
    expect(`${line}\r\n`).toHaveLength(512 + 11);
    await using client = await world.tlsClient();
    expect(await client.command(line)).toBe("250 2.1.0 Ok");
  });

  test("changes nothing in our Received field", async () => {
    await tagOf(`${HEAD}\r\nHello`, " REQUIRETLS");
    expect(world.store.last.text).toMatch(
      /^Received: from client\.test \(\[127\.0\.0\.1\]\)\r\n\tby relay\.test \(Postern\) with ESMTPS id /,
    );
  });
});

describe("the header field", () => {
  const cases: [name: string, message: string, tag: NewMessage["tlsTag"]][] = [
    ["No", `${HEAD}${NO}\r\nHello`, "optional"],
    ["any case", `${HEAD}tls-required: NO\r\n\r\nHello`, "optional"],
    ["folded", `${HEAD}TLS-Required:\r\n No\r\n\r\nHello`, "optional"],
    ["first of all fields", `${NO}${HEAD}\r\nHello`, "optional"],
    ["in a message that is all header", `${HEAD}TLS-Required: No`, "optional"],
    ["Yes", `${HEAD}TLS-Required: Yes\r\n\r\nHello`, undefined],
    ["No with a comment", `${HEAD}TLS-Required: No (x)\r\n\r\nHello`, undefined],
    ["none", `${HEAD}\r\nHello`, undefined],
    ["in the text", `${HEAD}\r\n${NO}Hello`, undefined],
    [
      "in an attached message",
      `${HEAD}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n${HEAD}${NO}\r\nHello\r\n--b--`,
      undefined,
    ],
    ["in the header of a body part", `${HEAD}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n${NO}\r\nHello\r\n--b--`, undefined],
    ["in a folded line of another field", `${HEAD}Subject: x\r\n TLS-Required: No\r\n\r\nHello`, undefined],
  ];
  for (const [name, message, tag] of cases)
    test(`${name}: ${tag ?? "no tag"}, and it goes on unchanged`, async () => {
      expect(await tagOf(message)).toBe(tag);
      expect(stored()).toBe(`${message}\r\n`);
      expect("tlsTag" in world.store.last.message).toBe(tag !== undefined);
    });

  test("is ignored with the parameter, and goes on unchanged", async () => {
    for (const fields of [NO, `${NO}${NO}`]) {
      const message = `${HEAD}${fields}\r\nHello`;
      expect(await tagOf(message, " REQUIRETLS")).toBe("required");
      expect(stored()).toBe(`${message}\r\n`);
    }
  });

  test.each([
    ["twice the same", `${NO}${NO}`],
    ["one of which says nothing", `${NO}TLS-Required: Yes\r\n`],
    ["in another spelling", `tls-required : yes\r\nSubject: x\r\n${NO}`],
  ])("more than one is refused: %s", async (_name, fields) => {
    await using client = await world.client();
    expect(await send(client, `${HEAD}${fields}\r\nHello`)).toMatch(/^554 5\.6\.0 .*TLS-Required/);
    expect(world.store.kept).toHaveLength(0);
    expect(await send(client, `${HEAD}\r\nHello`)).toMatch(/^250/);
    expect(world.store.last.message).not.toHaveProperty("tlsTag");
  });

  test("does not stick to the next message", async () => {
    await using client = await world.client();
    await send(client, `${HEAD}${NO}\r\nHello`);
    expect(world.store.last.message.tlsTag).toBe("optional");
    await send(client, `${HEAD}\r\nHello`);
    expect(world.store.last.message).not.toHaveProperty("tlsTag");
  });
});

describe("bare line ends hide no field and make none: what is tagged is what is sent on", () => {
  const cases: [name: string, message: string, tag: NewMessage["tlsTag"]][] = [
    ["a field behind a bare LF is one, once mended", `${HEAD}Subject: x\nTLS-Required: No\r\n\r\nHello`, "optional"],
    ["behind a bare CR it is none", `${HEAD}Subject: x\rTLS-Required: No\r\n\r\nHello`, undefined],
    ["nor behind an empty line of bare LF", `${HEAD}Subject: x\n\nTLS-Required: No\r\n\r\nHello`, undefined],
    ["a bare CR behind the word is a blank", `${HEAD}TLS-Required: No\r\r\n\r\nHello`, undefined],
  ];
  for (const [name, message, tag] of cases)
    test(name, async () => {
      expect(await tagOf(message)).toBe(tag);
      const [header = ""] = stored().split("\r\n\r\n");
      expect(/^TLS-Required: No$/m.test(header.replaceAll("\r\n", "\n"))).toBe(tag === "optional");
    });

  test("and a second one cannot be smuggled in behind a bare LF", async () => {
    await using client = await world.client();
    expect(await send(client, `${HEAD}${NO}Subject: x\nTLS-Required: No\r\n\r\nHello`)).toMatch(/^554 5\.6\.0/);
  });
});
