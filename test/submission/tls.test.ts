import { readFileSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createTestCa } from "../support/certificates.ts";
import { MovedClock, settled } from "../support/moved-clock.ts";
import { RawClient } from "../support/raw-client.ts";
import { makeTempFolder } from "../support/temp.ts";
import { MESSAGE, plain, relayCertificate, World } from "./world.ts";

const users = [{ name: "alice", password: "secret" }];
let world: World;
beforeAll(async () => {
  world = await World.open({ users });
});
afterAll(() => world[Symbol.asyncDispose]());

const builtIn = readFileSync(new URL("../../node_modules/smtp-server/dist/esm/tls-options.js", import.meta.url), "utf8");

describe("STARTTLS", () => {
  test("leads to TLS with our certificate, and is not offered again", async () => {
    await using client = await world.tlsClient();
    expect(client.received.split("220 2.0.0 Ready to start TLS\r\n")[1]).not.toContain("STARTTLS");
    expect(await client.command("STARTTLS")).toMatch(/^503 5\.5\.1/);
    expect(await client.submit(MESSAGE)).toMatch(/^250/);
  });

  test("what came in clear behind it is never executed", async () => {
    const before = world.store.kept.length;
    await using client = await world.client();
    client.send("STARTTLS\r\nEHLO evil.test\r\nMAIL FROM:<evil@x.test>\r\nRCPT TO:<y@x.test>\r\nDATA\r\nA: b\r\n\r\n.\r\n");
    expect((await client.reply()).text).toMatch(/^220 2\.0\.0/);
    await client.handshake(await world.tlsOptions());
    // Nothing is known of any EHLO or MAIL, and no reply to either is in the pipe.
    expect(await client.command("RCPT TO:<b@c.test>")).toMatch(/^503/);
    expect(await client.command("MAIL FROM:<a@b.test>")).toMatch(/^503 5\.5\.1 say EHLO first/);
    await client.command("EHLO x");
    expect(await client.command("MAIL FROM:<a@b.test>")).toMatch(/^250/);
    expect(world.store.kept.length).toBe(before);
  });

  test("the same in a segment of its own never gets into the session", async () => {
    await using client = await world.client();
    client.send("STARTTLS\r\n");
    await client.reply();
    client.send("MAIL FROM:<evil@x.test>\r\n");
    // Plain text where a ClientHello belongs: the handshake fails.
    await expect(client.handshake(await world.tlsOptions())).rejects.toThrow();
    expect(client.received).not.toMatch(/250 2\.1\.0/);
  });

  test("a transaction, an EHLO and their parameters are forgotten", async () => {
    await using client = await world.client();
    await client.pipeline("MAIL FROM:<\xc3\xbc@b.test> SMTPUTF8 ENVID=old", "RCPT TO:<old@x.test>");
    await client.startTls(await world.tlsOptions());
    expect(await client.command("DATA")).toMatch(/^503/);
    await client.command("EHLO x");
    await client.submit(MESSAGE);
    expect(world.store.last.message.recipients.map(({ address }) => address)).toEqual(["bob@example.test"]);
    expect(world.store.last.message).not.toHaveProperty("envelopeId");
  });

  test("a listener that requires it serves nothing else before", async () => {
    await using strict = await World.open({ submission: { listeners: [{ name: "smtp", address: "127.0.0.1", port: 0, tls: "require" }] } });
    await using client = await strict.client();
    for (const line of ["MAIL FROM:<a@b.test>", "VRFY x", "AUTH PLAIN", "HELP", "FOO", "DATA"])
      expect(await client.command(line)).toBe("530 5.7.0 Must issue a STARTTLS command first");
    for (const line of ["NOOP", "RSET", "HELO x"]) expect(await client.command(line)).toMatch(/^250/);
    await client.command("EHLO x");
    await client.startTls(await strict.tlsOptions());
    await client.command("EHLO x");
    expect(await client.submit(MESSAGE)).toMatch(/^250/);
  });

  test("is 502 where tls is off, although there is a certificate", async () => {
    await using off = await World.open({ submission: { listeners: [{ name: "smtp", address: "127.0.0.1", port: 0, tls: "off" }] } });
    await using client = await off.client();
    expect(client.received).not.toContain("STARTTLS");
    expect(await client.command("STARTTLS")).toMatch(/^502 5\.5\.1/);
  });
});

describe("without a certificate", () => {
  test("STARTTLS is neither offered nor reachable, and no key of the library's is shown", async () => {
    await using bare = await World.open({
      certificate: "none",
      submission: { listeners: [{ name: "smtp", address: "127.0.0.1", port: 0, tls: "starttls" }] },
    });
    await using client = await bare.client();
    expect(client.received).not.toContain("STARTTLS");
    expect(await client.command("STARTTLS")).toMatch(/^454 4\.7\.0/);
    await expect(client.handshake({ rejectUnauthorized: false })).rejects.toThrow();
    expect(builtIn).toContain("BEGIN RSA PRIVATE KEY"); // it is still in there
  });

  test("listeners that need one are not opened", async () => {
    const listeners = ["implicit", "require", "off"].map((tls) => ({ name: tls, address: "127.0.0.1", port: 0, tls }));
    await using bare = await World.open({ certificate: "none", submission: { listeners } });
    expect(bare.submission.listeners.map(({ name }) => name)).toEqual(["off"]);
  });

  test("one that goes away while we run ends TLS, not in the library's key", async () => {
    await using client_ = await World.open();
    await client_.reload({ certificateFile: undefined, keyFile: undefined });
    await expect(RawClient.open({ port: client_.port("submissions"), tls: { rejectUnauthorized: false } })).rejects.toThrow();
    await using client = await client_.client();
    expect(client.received).not.toContain("STARTTLS");
  });
});

describe("implicit TLS", () => {
  test("a handshake first, the greeting inside, no STARTTLS", async () => {
    await using client = await RawClient.open({ port: world.port("submissions"), tls: await world.tlsOptions() });
    expect((await client.reply()).text).toBe("220 relay.test ESMTP Postern");
    expect(await client.command("EHLO x")).not.toContain("STARTTLS");
    expect(await client.submit(MESSAGE)).toMatch(/^250/);
    expect(world.store.last.text).toContain("with ESMTPS id");
  });

  test("a client that speaks in the clear gets nothing", async () => {
    const client = await RawClient.open({ port: world.port("submissions") });
    client.send("EHLO x\r\n");
    expect(await client.ended()).not.toContain("220");
    await settled();
    expect(world.kinds("client-refused").at(-1)).toMatchObject({ reason: "tls-handshake", client: "127.0.0.1" });
  });
});

describe("versions and ciphers", () => {
  const attempts: [name: string, options: object, works: boolean][] = [
    ["TLS 1.3", { minVersion: "TLSv1.3" }, true],
    ["TLS 1.2", { maxVersion: "TLSv1.2" }, true],
    ["TLS 1.1", { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "ALL:@SECLEVEL=0" }, false],
    ["TLS 1.0", { minVersion: "TLSv1", maxVersion: "TLSv1", ciphers: "ALL:@SECLEVEL=0" }, false],
    ["static RSA", { maxVersion: "TLSv1.2", ciphers: "AES128-GCM-SHA256:AES256-SHA" }, false],
    ["CBC", { maxVersion: "TLSv1.2", ciphers: "ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA" }, false],
    ["anonymous", { maxVersion: "TLSv1.2", ciphers: "AECDH-AES128-SHA:ADH-AES128-SHA@SECLEVEL=0" }, false],
  ];
  for (const [name, options, works] of attempts)
    test(`${name}: ${works}`, async () => {
      for (const listener of ["submissions", "smtp"]) {
        const tls = { ...(await world.tlsOptions()), ...options };
        const connected = (async () => {
          if (listener === "submissions") return (await RawClient.open({ port: world.port(listener), tls })).vanish();
          const client = await world.client();
          await client.startTls(tls);
          return client.vanish();
        })();
        if (works) await connected;
        else await expect(connected).rejects.toThrow();
      }
    });

  test("NODE_OPTIONS=--tls-min-v1.0 lowers nothing", async () => {
    const { execFile } = await import("node:child_process");
    const { promisify } = await import("node:util");
    const certificate = await relayCertificate();
    const script = `
      import { readCertificate } from ${JSON.stringify(new URL("../../src/submission/certificate.ts", import.meta.url).href)};
      import { readFile } from "node:fs/promises";
      import * as tls from "node:tls";
      const { context } = await readCertificate(${JSON.stringify({ certificateFile: certificate.certificateFile, keyFile: certificate.keyFile })}, (path) => readFile(path), Date.now());
      const server = (await import("node:net")).createServer((raw) => { const socket = new tls.TLSSocket(raw, { isServer: true, secureContext: context }); socket.on("error", () => {}); raw.on("error", () => {}); });
      server.listen(0, "127.0.0.1", () => {
        const client = tls.connect({ port: server.address().port, host: "127.0.0.1", rejectUnauthorized: false, minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "ALL:@SECLEVEL=0" });
        client.on("secureConnect", () => { console.log("lowered", tls.DEFAULT_MIN_VERSION); process.exit(); });
        client.on("error", () => { console.log("held", tls.DEFAULT_MIN_VERSION); process.exit(); });
      });`;
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], {
      env: { ...process.env, NODE_OPTIONS: "--tls-min-v1.0" },
    });
    expect(stdout.trim()).toBe("held TLSv1");
  });

  test("a client cannot ask for handshakes without end", async () => {
    await using client = await world.client();
    await client.startTls({ ...(await world.tlsOptions()), maxVersion: "TLSv1.2" });
    const { socket } = client;
    if (!("renegotiate" in socket)) throw new Error("not TLS");
    const failed = await new Promise<boolean>((resolve) => {
      socket.once("error", () => resolve(true));
      socket.once("close", () => resolve(true));
      socket.renegotiate({}, (error) => resolve(error !== null));
    });
    expect(failed).toBe(true);
  });
});

describe("a certificate that will not do stops the start, and says why", () => {
  const files = async () => {
    const ca = await createTestCa();
    const day = 86_400_000;
    const [good, other, ended, early] = await Promise.all([
      ca.issue({ names: ["relay.test"] }),
      ca.issue({ names: ["other.test"] }),
      ca.issue({ names: ["ended.test"], from: new Date(Date.now() - 2 * day), to: new Date(Date.now() - day) }),
      ca.issue({ names: ["early.test"], from: new Date(Date.now() + day), to: new Date(Date.now() + 2 * day) }),
    ]);
    return { good, other, ended, early };
  };
  test.each([
    [
      "a missing file",
      async () => ({ certificateFile: "/nowhere/cert.pem", keyFile: (await files()).good.keyFile }),
      /submission\.certificateFile: \/nowhere\/cert\.pem cannot be read \(ENOENT\)/,
    ],
    [
      "the key of another",
      async () => ({ certificateFile: (await files()).good.certificateFile, keyFile: (await files()).other.keyFile }),
      /is not the key of the certificate/,
    ],
    [
      "no certificate in the file",
      async () => ({ certificateFile: (await files()).good.keyFile, keyFile: (await files()).good.keyFile }),
      /holds no PEM certificate/,
    ],
    [
      "no key in the file",
      async () => ({ certificateFile: (await files()).good.certificateFile, keyFile: (await files()).good.certificateFile }),
      /holds no PEM private key/,
    ],
    ["one that has ended", async () => (await files()).ended, /ended \d{4}-/],
    ["one not valid yet", async () => (await files()).early, /is not valid before/],
  ] as [string, () => Promise<{ certificateFile: string; keyFile: string }>, RegExp][])("%s", async (_name, make, message) => {
    const certificate = await make();
    await expect(World.open({ certificate })).rejects.toThrow(message);
  });

  test("a certificate without its key", async () => {
    const { good } = await files();
    await expect(World.open({ certificate: "none", submission: { certificateFile: good.certificateFile } })).rejects.toThrow(
      /submission\.keyFile: a certificate and its key come together/,
    );
  });

  test("one for another name starts, with a word", async () => {
    const { other } = await files();
    await using odd = await World.open({ certificate: other });
    expect(odd.kinds("notice")).toContainEqual(
      expect.objectContaining({ level: "warn", text: expect.stringContaining("is for other.test, not for relay.test") as string }),
    );
  });
});

describe("a new certificate", () => {
  test("holds for the next handshakes, and no session notices", async () => {
    const second = await (await createTestCa()).issue({ names: ["relay.test", "second.test"] });
    await using renewed = await World.open({ users });
    await using before = await renewed.tlsClient();
    await before.pipeline("MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>");
    expect(await renewed.reload({ certificateFile: second.certificateFile, keyFile: second.keyFile })).toEqual(["submission certificate"]);
    const options = { ca: (await createTestCa()).pem, servername: "second.test" };
    const implicit = await RawClient.open({ port: renewed.port("submissions"), tls: options });
    const starttls = await renewed.client();
    await starttls.startTls(options);
    expect(await before.command("DATA")).toMatch(/^354/);
    before.send(`${MESSAGE}\r\n.\r\n`);
    expect((await before.reply()).text).toMatch(/^250/);
    implicit.vanish();
    starttls.vanish();
  });

  test("that will not do leaves everything as it was", async () => {
    await using kept = await World.open({ users });
    const other = await (await createTestCa()).issue({ names: ["other.test"] });
    await expect(kept.reload({ keyFile: other.keyFile, senderDomains: ["only.test"] })).rejects.toThrow(/is not the key/);
    await using client = await kept.tlsClient();
    expect(await client.submit(MESSAGE)).toMatch(/^250/);
  });

  test("in the same files is noticed without a signal, a broken one is said once", async () => {
    await using folder = await makeTempFolder("certificate");
    const first = await relayCertificate();
    const second = await (await createTestCa()).issue({ names: ["relay.test", "renewed.test"] });
    const paths = { certificateFile: join(folder.path, "cert.pem"), keyFile: join(folder.path, "key.pem") };
    await Promise.all([writeFile(paths.certificateFile, first.certificate), writeFile(paths.keyFile, first.key)]);
    const clock = new MovedClock(Date.now());
    let reads = 0;
    await using watched = await World.open({ certificate: paths, clock, io: { readFile: (path) => ((reads += 1), readFile(path)) } });
    const next = async () => {
      const before = reads;
      await clock.pass(60_000);
      while (reads < before + 2) await settled();
      await new Promise((resolve) => setTimeout(resolve, 20));
    };
    await writeFile(paths.certificateFile, second.certificate);
    await next();
    await next();
    const complaints = watched
      .kinds("notice")
      .filter((event) => event.kind === "notice" && event.text.includes("the certificate loaded before stays in use"));
    expect(complaints).toHaveLength(1);
    await writeFile(paths.keyFile, second.key);
    await next();
    await using client = await RawClient.open({
      port: watched.port("submissions"),
      tls: { ca: (await createTestCa()).pem, servername: "renewed.test" },
    });
    expect((await client.reply()).code).toBe(220);
  });
});

test("a handshake takes no longer than its limit", async () => {
  const slow = { limits: { handshake: "50ms" } };
  await using impatient = await World.open({ submission: slow });
  const implicit = await RawClient.open({ port: impatient.port("submissions") });
  await implicit.ended();
  const starttls = await impatient.client();
  expect(await starttls.command("STARTTLS")).toMatch(/^220/);
  // Octets do not prolong it.
  const drip = setInterval(() => starttls.send("\x16"), 20);
  await starttls.ended();
  clearInterval(drip);
  expect(impatient.kinds("client-refused").map((event) => event.kind === "client-refused" && event.reason)).toEqual([
    "tls-handshake",
    "tls-handshake",
  ]);
});

test("login over implicit TLS", async () => {
  await using client = await RawClient.open({ port: world.port("submissions"), from: "127.0.0.2", tls: await world.tlsOptions() });
  await client.reply();
  expect(await client.command("EHLO x")).toContain("AUTH PLAIN LOGIN");
  expect(await client.command(`AUTH PLAIN ${plain("alice", "secret")}`)).toMatch(/^235/);
});
