/** Who talked to whom (RFC 8460 §4.4: sending-mta-ip, receiving-mx-helo). */
import { afterEach, describe, expect, test } from "vitest";
import { findHelo } from "../../../src/delivery/peer-facts.ts";
import { createTestCa } from "../../support/certificates.ts";
import { type Answer, type MxBehaviour, ScriptedMx } from "../../support/scripted-mx.ts";
import { MX_NAME, opened, open, type TargetWishes, transaction } from "../../support/smtp-session.ts";

const ca = await createTestCa();
const certificate = await ca.issue({ names: [MX_NAME] });
const hosts: ScriptedMx[] = [];
afterEach(() => Promise.all(hosts.splice(0).map((mx) => mx.close())));

async function host(behaviour: MxBehaviour, address?: string): Promise<ScriptedMx> {
  const mx = await ScriptedMx.open(behaviour, address);
  hosts.push(mx);
  return mx;
}

describe("what a host calls itself (RFC 8460 §4.4)", () => {
  const cases: [line: string, told: string | undefined][] = [
    ["mx.example.test", "mx.example.test"],
    ["mx.example.test ESMTP Postfix", "mx.example.test"],
    ["MX.Example.TEST. hello", "mx.example.test"],
    ["mx.example.test\tready", "mx.example.test"],
    ["[192.0.2.1] hello", "[192.0.2.1]"],
    ["[IPV6:2001:DB8::1]", "[IPv6:2001:db8::1]"],
    ["[x]", undefined],
    ["", undefined],
    ["OK", undefined],
    ["Hello relay.test", undefined],
    [" mx.example.test", undefined],
    ["jo@example.test ready", undefined],
    ["mx_1.example.test", undefined],
    ["192.0.2.1", undefined],
    ["mx?.example.test", undefined],
    [`${"a.".repeat(126)}a`, `${"a.".repeat(126)}a`],
    [`${"a.".repeat(128)}a`, undefined],
  ];
  for (const [line, told] of cases)
    test(`${JSON.stringify(line.slice(0, 40))}: ${told?.slice(0, 40)}`, () =>
      expect(findHelo({ code: 250, lines: [line, "more.example.test"] })).toBe(told));
});

describe("over a connection", () => {
  const hello =
    (clear: string, underTls = clear): Answer =>
    (heard, connection) =>
      heard.startsWith("EHLO") ? `250-${connection.underTls ? underTls : clear}\r\n250 STARTTLS\r\n` : undefined;
  const cases: [what: string, behaviour: MxBehaviour, wishes: TargetWishes, helo: string | undefined][] = [
    ["the reply to EHLO goes before the greeting", { certificate, greeting: "220 a.test\r\n", answer: hello("b.test") }, {}, "b.test"],
    ["a greeting stands where EHLO gives no name", { certificate, greeting: "220 a.test\r\n", answer: hello("Hello") }, {}, "a.test"],
    ["what is said inside TLS goes before what was said in clear", { certificate, answer: hello("b.test", "c.test") }, {}, "c.test"],
    ["no name at all", { certificate, greeting: "220 hi\r\n", answer: hello("Hello") }, {}, undefined],
    [
      "the reply to HELO",
      { greeting: "220 hi\r\n", answer: (heard) => (heard.startsWith("EHLO") ? "502 a.test?\r\n" : undefined) },
      {},
      "mx.example.test",
    ],
    ["implicit TLS", { certificate, implicit: true, answer: hello("b.test") }, { tls: "implicit" }, "b.test"],
  ];
  test.each(cases)("%s", async (_what, behaviour, wishes, helo) => {
    const mx = await host(behaviour);
    const session = await opened(mx.port, ca.pem, wishes);
    expect(session.peer).toEqual({ localAddress: "127.0.0.1", ...(helo !== undefined && { helo }) });
    session.destroy();
  });

  test("the local address is that of the socket, whatever family it is of", async () => {
    const four = await host({ certificate });
    const other = await opened(four.port, ca.pem, { localAddress: "127.0.0.9" });
    expect(other.peer.localAddress).toBe("127.0.0.9");
    other.destroy();
    const six = await host({ certificate }, "::1");
    const session = await opened(six.port, ca.pem, { address: "::1" });
    expect(session.peer.localAddress).toBe("::1");
    session.destroy();
  });

  test("the facts are read once, and stay when the connection is gone", async () => {
    const mx = await host({ certificate });
    const session = await opened(mx.port, ca.pem);
    const { peer } = session;
    await session.deliver(transaction());
    await session.quit();
    expect(session.peer).toBe(peer);
    expect(peer).toEqual({ localAddress: "127.0.0.1", helo: "mx.example.test" });
  });

  test("a host that could not be used tells of itself as far as it came", async () => {
    const mx = await host({ certificate, greeting: "554 a.test says no\r\n" });
    expect(await open(mx.port, ca.pem)).toMatchObject({ kind: "failed", peer: { localAddress: "127.0.0.1", helo: "a.test" } });
    const mute = await host({ answer: (heard, { socket }) => (heard === "" ? (socket.end(), null) : undefined) });
    const result = await open(mute.port, ca.pem);
    expect(result.kind === "failed" && result.peer).toEqual({ localAddress: "127.0.0.1" });
  });
});
