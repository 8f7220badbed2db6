/** From the TCP connection to the point where MAIL may be said (RFC 5321 §3.1, §4.1.1.1, RFC 3207, RFC 4954). */
import { afterEach, describe, expect, test } from "vitest";
import { createTestCa } from "../../support/certificates.ts";
import { type Answer, type MxBehaviour, ScriptedMx } from "../../support/scripted-mx.ts";
import { MX_NAME, open, opened, type TargetWishes, transaction } from "../../support/smtp-session.ts";

const ca = await createTestCa();
const certificate = await ca.issue({ names: [MX_NAME] });
const selfSigned = await ca.issue({ names: [MX_NAME], selfSigned: true });
const otherName = await ca.issue({ names: ["other.test"] });
const hosts: ScriptedMx[] = [];

async function host(behaviour: MxBehaviour | ((connection: number) => MxBehaviour), address?: string): Promise<ScriptedMx> {
  const mx = await ScriptedMx.open(behaviour, address);
  hosts.push(mx);
  return mx;
}
afterEach(() => Promise.all(hosts.splice(0).map((mx) => mx.close())));

async function failure(behaviour: MxBehaviour, wishes: TargetWishes = {}) {
  const mx = await host(behaviour);
  const result = await open(mx.port, ca.pem, wishes);
  if (result.kind === "open") throw new Error("a session was opened");
  await mx.quiet();
  return { ...result, heard: mx.heard };
}

const answer =
  (command: string, said: string): Answer =>
  (heard) =>
    heard.split(/[ :]/)[0] === command ? said : undefined;

describe("the greeting", () => {
  test("nothing is said before it", async () => {
    const mx = await host({ greeting: "", certificate });
    const opening = open(mx.port, ca.pem);
    while (mx.connections.length === 0) await new Promise(setImmediate);
    // A client that talks first would have been heard by now.
    for (let turn = 0; turn < 50; turn += 1) await new Promise(setImmediate);
    expect(mx.connections[0]?.reads).toEqual([]);
    mx.connections[0]?.say("220-wait\r\n");
    for (let turn = 0; turn < 50; turn += 1) await new Promise(setImmediate);
    expect(mx.connections[0]?.reads).toEqual([]);
    mx.connections[0]?.say("220 go\r\n");
    const result = await opening;
    expect(result.kind).toBe("open");
  });

  const refusals: [said: string, type: string, permanent: boolean, status: string][] = [
    ["421 4.3.2 busy\r\n", "rejected", false, "4.0.0"],
    ["450 later\r\n", "rejected", false, "4.0.0"],
    ["554 5.7.1 go away\r\n", "rejected", true, "5.0.0"],
    ["521 no mail here\r\n", "rejected", true, "5.0.0"],
    ["354 odd\r\n", "protocol-error", false, "4.5.0"],
    ["220-a\r\n250 b\r\n", "protocol-error", false, "4.5.0"],
    ["HTTP/1.1 400 Bad Request\r\n", "protocol-error", false, "4.5.0"],
    ["SSH-2.0-OpenSSH_9.2\r\n", "protocol-error", false, "4.5.0"],
  ];
  test.each(refusals)("%j: %s, permanent: %s", async (greeting, type, permanent, status) => {
    const result = await failure({ greeting, certificate }, { atLeast: "clear" });
    expect(result).toMatchObject({
      step: "greeting",
      permanent,
      problem: { type, status, host: MX_NAME },
      answered: /^\d{3} /.test(greeting),
    });
    if (/^4|^5/.test(greeting)) expect(result.problem.reply?.code).toBe(Number(greeting.slice(0, 3)));
    expect(result.heard.some((line) => line.includes("EHLO"))).toBe(false);
  });

  test.each(["encrypted", "authenticated"] as const)("5yz in clear is nobody's last word where %s TLS is demanded", async (atLeast) => {
    const refused = await failure({ greeting: "554 5.7.1 go away\r\n", certificate }, { atLeast });
    expect(refused).toMatchObject({ step: "greeting", permanent: false, problem: { type: "rejected", reply: { code: 554 } } });
    expect(refused.problem.detail).toContain("in clear, so anybody on the way may have said it");
    const hello = await failure({ certificate, answer: answer("EHLO", "554 no\r\n") }, { atLeast });
    expect(hello).toMatchObject({ step: "ehlo", permanent: false, problem: { type: "rejected" } });
  });

  test("5yz inside the TLS that was demanded is final", async () => {
    let hellos = 0;
    const second: Answer = (heard) => (heard.startsWith("EHLO") && ++hellos === 2 ? "554 5.7.1 not you\r\n" : undefined);
    const result = await failure({ certificate, answer: second }, { atLeast: "authenticated" });
    expect(result).toMatchObject({ step: "ehlo", permanent: true, tls: { kind: "authenticated" }, problem: { type: "rejected" } });
  });

  test("a connection closed without a word was not answered", async () => {
    const result = await failure({ answer: (command, { socket }) => (command === "" ? (socket.end(), null) : undefined) });
    expect(result).toMatchObject({ step: "greeting", answered: false, problem: { type: "connection-lost", status: "4.4.2" } });
  });

  test("nobody listening is connect-failed", async () => {
    const mx = await ScriptedMx.open({});
    const { port } = mx;
    await mx.close();
    expect(await open(port, ca.pem)).toMatchObject({
      kind: "failed",
      step: "connect",
      answered: false,
      problem: { type: "connect-failed", status: "4.4.1", detail: `connect to 127.0.0.1 port ${port}: connection refused` },
    });
  });

  test("IPv6 is dialled as well", async () => {
    const mx = await host({ certificate }, "::1");
    const session = await opened(mx.port, ca.pem, { address: "::1", atLeast: "authenticated" });
    expect(session.tls.kind).toBe("authenticated");
    session.destroy();
  });

  test("the local address is the one that was asked for", async () => {
    const mx = await host({ certificate });
    const session = await opened(mx.port, ca.pem, { localAddress: "127.0.0.9" });
    expect(mx.connections[0]?.from).toBe("127.0.0.9");
    session.destroy();
    expect(await open(mx.port, ca.pem, { localAddress: "192.0.2.7" })).toMatchObject({
      step: "connect",
      problem: { type: "connect-failed", whoActs: "you" },
    });
  });
});

describe("EHLO and HELO (RFC 5321 §4.1.4)", () => {
  test.each([500, 501, 502, 504, 550])("%d to EHLO: HELO, where no policy needs more", async (code) => {
    const mx = await host({ answer: answer("EHLO", `${code} what?\r\n`) });
    const session = await opened(mx.port, ca.pem);
    await session.deliver(
      transaction({
        recipients: [{ ...transaction().recipients[0]!, notify: { never: false, success: true, failure: true, delay: false } }],
      }),
    );
    await session.quit();
    // No extension, so no parameter and no group.
    expect(mx.heard).toEqual(
      ["EHLO relay.test", "HELO relay.test", "MAIL FROM:<app@sender.test>", "RCPT TO:<jo@example.test>", "DATA", "QUIT"].map(
        (line) => `clear ${line}`,
      ),
    );
  });

  test.each(["encrypted", "authenticated"] as const)("under %s a host without EHLO has no STARTTLS and is skipped", async (atLeast) => {
    const result = await failure({ certificate, answer: answer("EHLO", "502 what?\r\n") }, { atLeast });
    expect(result).toMatchObject({ step: "starttls", permanent: false, problem: { type: "starttls-not-supported", status: "4.7.4" } });
    expect(result.heard).toEqual(["clear EHLO relay.test", "clear QUIT"]);
  });

  test.each([421, 450, 451, 554])("%d to EHLO: no HELO, the host is out", async (code) => {
    const result = await failure({ answer: answer("EHLO", `${code} no\r\n`) });
    expect(result).toMatchObject({ step: "ehlo", permanent: code >= 500, answered: true, problem: { type: "rejected" } });
    expect(result.heard.some((line) => line.includes("HELO") && !line.includes("EHLO"))).toBe(false);
  });

  test("a reply cut short by the end of the connection is no reply", async () => {
    const result = await failure({
      answer: (command, { socket }) => (command.startsWith("EHLO") ? (socket.end("250-mx\r\n25"), null) : undefined),
    });
    expect(result).toMatchObject({
      step: "ehlo",
      problem: { type: "connection-lost", detail: expect.stringContaining("in the middle of a reply") },
    });
  });

  test("a second reply that nobody asked for ends it", async () => {
    const result = await failure(
      { certificate, answer: answer("EHLO", "250-mx\r\n250 STARTTLS\r\n220 go ahead\r\n") },
      { atLeast: "encrypted" },
    );
    expect(result.heard).toEqual(["clear EHLO relay.test"]);
    expect(result).toMatchObject({ problem: { type: "validation-failure", detail: expect.stringContaining("unasked") } });
  });
});

describe("STARTTLS (RFC 3207)", () => {
  test("what was offered in clear counts for nothing under TLS", async () => {
    const mx = await host({ certificate, extensions: ["PIPELINING", "SIZE 1", "8BITMIME", "DSN"], tlsExtensions: ["ENHANCEDSTATUSCODES"] });
    const session = await opened(mx.port, ca.pem, { atLeast: "authenticated" });
    const report = await session.deliver(transaction({ returnContent: "full", envelopeId: "abc" }));
    expect(report.recipients[0]?.kind).toBe("delivered");
    expect(mx.heard).toContain("tls MAIL FROM:<app@sender.test>");
    expect(mx.heard.slice(0, 3)).toEqual(["clear EHLO relay.test", "clear STARTTLS", "tls EHLO relay.test"]);
    session.destroy();
  });

  test("TLS is not started twice", async () => {
    const mx = await host({ certificate, tlsExtensions: ["STARTTLS"] });
    const session = await opened(mx.port, ca.pem, { atLeast: "authenticated" });
    await session.quit();
    expect(mx.heard.filter((line) => line.includes("STARTTLS"))).toEqual(["clear STARTTLS"]);
  });

  test("nothing follows STARTTLS before its reply", async () => {
    const mx = await host({ certificate, answer: (command) => (command === "STARTTLS" ? null : undefined) });
    void open(mx.port, ca.pem);
    while (!mx.heard.includes("clear STARTTLS")) await new Promise(setImmediate);
    for (let turn = 0; turn < 50; turn += 1) await new Promise(setImmediate);
    expect(mx.connections[0]?.reads.join("")).toBe("EHLO relay.test\r\nSTARTTLS\r\n");
  });

  test("a certificate that will not do hears QUIT under TLS, and nothing else", async () => {
    const result = await failure({ certificate: otherName }, { atLeast: "authenticated" });
    expect(result.heard).toEqual(["clear EHLO relay.test", "clear STARTTLS", "tls QUIT"]);
    expect(result).toMatchObject({
      step: "handshake",
      permanent: false,
      problem: { type: "certificate-host-mismatch", status: "4.7.5", whoActs: "receiver" },
      tls: { kind: "encrypted" },
    });
    expect(result.problem.detail).toBe(
      "the certificate is for other.test, not for mx.example.test; authenticated TLS is demanded by tls.floor of this relay",
    );
  });

  test("after a refused STARTTLS opportunistic mail goes in clear in the same session", async () => {
    const mx = await host({ certificate, answer: answer("STARTTLS", "454 4.7.0 no\r\n") });
    const session = await opened(mx.port, ca.pem);
    expect(session.tls).toMatchObject({ kind: "clear", because: { type: "starttls-not-supported" } });
    await session.deliver(transaction());
    expect(mx.connections).toHaveLength(1);
    session.destroy();
  });

  test("after a failed handshake opportunistic mail goes in clear on a new connection, with the failure kept", async () => {
    const mx = await host({ certificate, tls: { maxVersion: "TLSv1.1", minVersion: "TLSv1", ciphers: "ALL@SECLEVEL=0" } });
    const session = await opened(mx.port, ca.pem);
    expect(session.tls).toMatchObject({
      kind: "clear",
      because: { type: "validation-failure", detail: expect.stringContaining("unsupported-protocol") },
    });
    await session.deliver(transaction());
    expect(mx.connections).toHaveLength(2);
    expect(mx.connections[0]?.verbs("clear")).toEqual(["EHLO", "STARTTLS"]);
    expect(mx.connections[1]?.verbs("clear")).toEqual(["EHLO", "MAIL", "RCPT", "DATA"]);
    session.destroy();
  });

  test("a route set to `never` hears no STARTTLS, and is refused where TLS is demanded", async () => {
    const mx = await host({ certificate });
    const session = await opened(mx.port, ca.pem, { tls: "never" });
    expect(session.tls).toMatchObject({ kind: "clear", because: { whoActs: "you" } });
    await session.quit();
    expect(mx.heard).toEqual(["clear EHLO relay.test", "clear QUIT"]);
    expect(await open(mx.port, ca.pem, { tls: "never", atLeast: "encrypted" })).toMatchObject({
      kind: "failed",
      problem: { type: "starttls-not-supported" },
    });
  });

  test.each(["TLSv1.2", "TLSv1.3"] as const)(
    "a host that asks for a certificate of ours and does not insist gets its mail, %s",
    async (version) => {
      const mx = await host({ certificate, asksForClientCertificate: true, tls: { minVersion: version, maxVersion: version } });
      const session = await opened(mx.port, ca.pem, { atLeast: "authenticated" });
      expect((await session.deliver(transaction())).recipients[0]?.kind).toBe("delivered");
      session.destroy();
    },
  );

  test.each(["MAIL", "."])("a reply to %j cut short under TLS, without a close_notify, delivers nothing (RFC 8446 §6.1)", async (at) => {
    const cut: Answer = (command, { socket, underTls }) => {
      if (!underTls || command === "" || !command.startsWith(at)) return undefined;
      socket.write("25", () => socket.destroy());
      return null;
    };
    const mx = await host({ certificate, extensions: [], answer: cut });
    const session = await opened(mx.port, ca.pem, { atLeast: "authenticated" });
    const report = await session.deliver(transaction());
    expect(report).toMatchObject({
      mayHoldMessage: at === ".",
      recipients: [at === "." ? { kind: "later", problem: { type: "outcome-unknown" } } : { kind: "elsewhere", permanent: false }],
    });
    expect(session.usable).toBe(false);
  });

  test("530 to MAIL in clear is a reply like any other", async () => {
    const mx = await host({ answer: answer("MAIL", "530 5.7.0 Must issue a STARTTLS command first\r\n") });
    const session = await opened(mx.port, ca.pem);
    const report = await session.deliver(transaction());
    expect(report.recipients[0]).toMatchObject({ kind: "failed", problem: { status: "5.7.0" } });
    session.destroy();
  });
});

describe("implicit TLS", () => {
  test("from the first octet, greeting inside", async () => {
    const mx = await host({ certificate, implicit: true });
    const session = await opened(mx.port, ca.pem, { tls: "implicit", atLeast: "authenticated" });
    expect(session.tls.kind).toBe("authenticated");
    expect(mx.heard).toEqual(["tls EHLO relay.test"]);
    session.destroy();
  });

  test.each(["clear", "encrypted", "authenticated"] as const)("a host that speaks no TLS there is out under %s", async (atLeast) => {
    const result = await failure({}, { tls: "implicit", atLeast });
    expect(result).toMatchObject({ step: "handshake", problem: { type: "validation-failure" } });
    expect(result.heard.join()).not.toMatch(/EHLO|MAIL/);
  });

  test("another name hears nothing at all but QUIT", async () => {
    const result = await failure({ certificate: otherName, implicit: true }, { tls: "implicit", atLeast: "authenticated" });
    expect(result.problem.type).toBe("certificate-host-mismatch");
    expect(result.heard).toEqual(["tls QUIT"]);
  });
});

describe("evidence", () => {
  test("the chain is kept as it was sent, with names, dates and key", async () => {
    const leaf = await (await ca.subordinate({ name: "Evidence Sub" })).issue({ names: [MX_NAME, "alias.test"] });
    const mx = await host({ certificate: { ...leaf, certificate: leaf.certificate + ca.pem } });
    const session = await opened(mx.port, ca.pem, { atLeast: "authenticated" });
    if (session.tls.kind !== "authenticated") throw new Error(session.tls.kind);
    expect(session.tls.session.webpki).toEqual({ held: true, referenceIdentifier: MX_NAME });
    expect(session.tls.session).toMatchObject({ protocol: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384", serverName: MX_NAME });
    expect(session.tls.session.chain.map(({ subject }) => subject)).toEqual([`CN=${MX_NAME}`, "CN=Evidence Sub", "CN=Postern Test Root"]);
    expect(session.tls.session.chain[0]).toMatchObject({
      names: [MX_NAME, "alias.test"],
      key: "EC prime256v1",
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
      issuer: "CN=Evidence Sub",
    });
    expect(Date.parse(session.tls.session.chain[0]?.validTo ?? "")).toBeGreaterThan(Date.now());
    session.destroy();
  });

  test("opportunistic sessions are judged in full, too", async () => {
    const mx = await host({ certificate: selfSigned });
    const session = await opened(mx.port, ca.pem);
    expect(session.tls).toMatchObject({
      kind: "encrypted",
      because: { type: "certificate-not-trusted" },
      session: { webpki: { held: false, failure: { type: "certificate-not-trusted" } } },
    });
    session.destroy();
  });

  test("roots of the target stand in place of the relay's", async () => {
    const private_ = await createTestCa({ name: "Private Root" });
    const mx = await host({ certificate: await private_.issue({ names: [MX_NAME] }) });
    expect((await open(mx.port, ca.pem, { atLeast: "authenticated" })).kind).toBe("failed");
    const session = await opened(mx.port, ca.pem, { atLeast: "authenticated", roots: private_.pem });
    expect(session.tls.kind).toBe("authenticated");
    session.destroy();
  });

  test("an address is proven by an iPAddress entry alone", async () => {
    const wishes = { atLeast: "authenticated", names: ["127.0.0.1"], serverName: "127.0.0.1" } as const;
    const proven = await host({ certificate: await ca.issue({ names: ["127.0.0.1"] }) });
    const session = await opened(proven.port, ca.pem, wishes);
    expect(proven.connections[0]?.serverName).toBe(false);
    session.destroy();
    const unproven = await host({ certificate });
    expect(await open(unproven.port, ca.pem, wishes)).toMatchObject({ problem: { type: "certificate-host-mismatch" } });
  });
});

describe("login (RFC 4954)", () => {
  const login = { username: "relay", password: "s3cret" };
  const offering = (...mechanisms: string[]): MxBehaviour => ({
    certificate,
    extensions: ["AUTH PLAIN LOGIN"],
    tlsExtensions: ["PIPELINING", `AUTH ${mechanisms.join(" ")}`],
  });

  test("PLAIN under authenticated TLS, and AUTH=<> on MAIL", async () => {
    const mx = await host(offering("LOGIN", "PLAIN"));
    const session = await opened(mx.port, ca.pem, { atLeast: "authenticated", login });
    await session.deliver(transaction());
    expect(mx.heard.filter((line) => line.includes("AUTH"))).toEqual([
      `tls AUTH PLAIN ${Buffer.from("\0relay\0s3cret").toString("base64")}`,
      "tls MAIL FROM:<app@sender.test> AUTH=<>",
    ]);
    session.destroy();
  });

  test("LOGIN where nothing else is offered", async () => {
    const said = ["334 VXNlcm5hbWU6\r\n", "334 UGFzc3dvcmQ6\r\n", "235 welcome\r\n"];
    const mx = await host({
      ...offering("LOGIN", "CRAM-MD5"),
      answer: (command) => (/^(AUTH|cmVsYXk=|czNjcmV0)/.test(command) ? said.shift() : undefined),
    });
    const session = await opened(mx.port, ca.pem, { atLeast: "authenticated", login });
    expect(mx.heard.slice(-3)).toEqual(["tls AUTH LOGIN", "tls cmVsYXk=", "tls czNjcmV0"]);
    session.destroy();
  });

  const unproven: [name: string, behaviour: MxBehaviour, wishes: TargetWishes][] = [
    ["in clear", { extensions: ["AUTH PLAIN"] }, {}],
    ["to a self-signed host", { certificate: selfSigned, extensions: ["AUTH PLAIN"] }, { atLeast: "encrypted" }],
    ["to another name", { certificate: otherName, extensions: ["AUTH PLAIN"] }, {}],
  ];
  test.each(unproven)("no password %s", async (_name, behaviour, wishes) => {
    const result = await failure(behaviour, { ...wishes, login });
    expect(result).toMatchObject({ step: "auth", permanent: false, problem: { type: "authentication-failed", whoActs: "you" } });
    expect(result.heard.join()).not.toMatch(/AUTH|cmVsYXk|MAIL/);
  });

  test("after a failed handshake there is no second try in clear", async () => {
    const result = await failure(
      { certificate, extensions: ["AUTH PLAIN"], tls: { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "ALL@SECLEVEL=0" } },
      { login },
    );
    expect(result).toMatchObject({ step: "handshake", problem: { type: "validation-failure" } });
    expect(result.heard).toEqual(["clear EHLO relay.test", "clear STARTTLS"]);
  });

  test("a refused login waits for the operator, whatever its digit", async () => {
    const result = await failure(
      { ...offering("PLAIN"), answer: answer("AUTH", "535 5.7.8 wrong\r\n") },
      { atLeast: "authenticated", login },
    );
    expect(result).toMatchObject({
      step: "auth",
      permanent: false,
      problem: { type: "authentication-failed", status: "4.7.8", reply: { code: 535 } },
    });
    expect(result.problem.detail).not.toContain("s3cret");
  });

  test("a host without a mechanism of ours is told apart", async () => {
    expect(await failure(offering("GSSAPI"), { atLeast: "authenticated", login })).toMatchObject({
      problem: { type: "authentication-failed", detail: expect.stringContaining("neither AUTH PLAIN") },
    });
  });
});

describe("an idle session", () => {
  test.each(["421 4.4.2 idle too long\r\n", "250 what?\r\n", ""])("is of no use after %j", async (said) => {
    const mx = await host({ certificate });
    const session = await opened(mx.port, ca.pem, { atLeast: "authenticated" });
    await session.deliver(transaction());
    expect(session).toMatchObject({ usable: true, served: 1 });
    const { socket } = mx.connections[0]!;
    if (said === "") socket.end();
    else socket.write(said);
    while (session.usable) await new Promise(setImmediate);
    const report = await session.deliver(transaction());
    expect(report.recipients[0]).toMatchObject({ kind: "elsewhere", permanent: false });
    expect(mx.messages).toHaveLength(1);
    await session.quit();
  });

  test("QUIT ends it, whatever the answer", async () => {
    const mx = await host({ certificate, answer: answer("QUIT", "500 what?\r\n") });
    const session = await opened(mx.port, ca.pem);
    await session.quit();
    expect(session.usable).toBe(false);
    expect(mx.heard.at(-1)).toBe("tls QUIT");
    await mx.quiet();
    expect(mx.connections[0]?.closed).toBe(true);
  });
});
