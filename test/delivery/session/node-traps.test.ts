/**
 * Traps of Node's TLS that a verdict must not fall into. Each is shown on a bare connection first, so that a release of
 * Node that closes one is noticed, and then stepped around by ours.
 */
import type { X509Certificate } from "node:crypto";
import { type ConnectionOptions, connect, createServer, TLSSocket } from "node:tls";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { Handshake } from "../../../src/delivery/handshake.ts";
import { outcomeOf } from "../../../src/delivery/tls-outcome.ts";
import { createEvidence } from "../../../src/delivery/certificate.ts";
import { createDaneJudge } from "../../../src/policy/dane-match.ts";
import { createTestCa, type IssuedCertificate } from "../../support/certificates.ts";
import { ScriptedMx } from "../../support/scripted-mx.ts";
import { leafKeyRecord, MX_NAME, open, opened, requirementOf, transaction } from "../../support/smtp-session.ts";

const ca = await createTestCa();
const stranger = await createTestCa({ name: "Root of Nobody" });
const good = await ca.issue({ names: [MX_NAME] });
const selfSigned = await ca.issue({ names: ["other.test"], selfSigned: true });
const closing: (() => unknown)[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  await Promise.all(closing.splice(0).map((close) => close()));
});

async function host(behaviour: Parameters<typeof ScriptedMx.open>[0]): Promise<ScriptedMx> {
  const mx = await ScriptedMx.open(behaviour);
  closing.push(() => mx.close());
  return mx;
}

/** A TLS server and a bare client of Node, without anything of ours. */
async function bare(certificate: IssuedCertificate, options: ConnectionOptions, ciphers?: string): Promise<TLSSocket> {
  const { certificate: cert, key } = certificate;
  const server = createServer({ cert, key, maxVersion: "TLSv1.2", ...(ciphers !== undefined && { ciphers }) });
  const sockets: TLSSocket[] = [];
  server.on("secureConnection", (socket) => sockets.push(socket.on("error", () => undefined)));
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  closing.push(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((closed) => server.close(closed));
  });
  return shake((server.address() as AddressInfo).port, options);
}

async function shake(port: number, options: ConnectionOptions): Promise<TLSSocket> {
  const socket = connect({ port, host: "127.0.0.1", servername: MX_NAME, rejectUnauthorized: false, ...options });
  await new Promise((done, failed) => socket.once("secureConnect", done).once("error", failed));
  closing.push(() => socket.destroy());
  return socket;
}

describe("the chain can be read once", () => {
  test("on a bare socket a second reading finds nothing, before Node 26", async () => {
    const socket = await bare(good, { ca: ca.pem });
    expect(socket.getPeerX509Certificate()?.subject).toBe(`CN=${MX_NAME}`);
    const again = socket.getPeerX509Certificate()?.subject;
    expect(again).toBe(Number.parseInt(process.versions.node, 10) < 26 ? undefined : `CN=${MX_NAME}`);
  });

  test("ours is read once, and both judges and the evidence have all of it as it was sent", async () => {
    const below = await (await ca.subordinate({ name: "Trap Sub" })).issue({ names: [MX_NAME] });
    const sent = `${below.certificate}${ca.pem}${stranger.pem}`;
    const mx = await host({ certificate: { ...below, certificate: sent } });
    const read = vi.spyOn(TLSSocket.prototype, "getPeerX509Certificate");
    let judged: readonly X509Certificate[] = [];
    const session = await opened(
      mx.port,
      ca.pem,
      { sts: true, dane: { records: [leafKeyRecord(below)] } },
      {
        judgeDane: async (chain, dane, now) => {
          judged = chain;
          return await createDaneJudge()(chain, dane, now);
        },
      },
    );
    const subjects = [`CN=${MX_NAME}`, "CN=Trap Sub", "CN=Postern Test Root", "CN=Root of Nobody"];
    expect(judged.map(({ subject }) => subject)).toEqual(subjects);
    expect(session.tls).toMatchObject({
      kind: "authenticated",
      session: { chain: subjects.map((subject) => ({ subject })), webpki: { held: true }, dane: { held: true } },
    });
    // One socket of ours; the one at the other end is never asked.
    expect(read).toHaveBeenCalledTimes(1);
    session.destroy();
  });
});

describe("a resumed session proves nothing", () => {
  test("on a bare socket it is authorized under anchors that never signed it, and shows no certificate", async () => {
    const first = await bare(good, { ca: ca.pem });
    const session = first.getSession();
    const port = first.remotePort as number;
    if (session === undefined) throw new Error("no session to resume");
    const checkServerIdentity = vi.fn(() => undefined);
    const second = await shake(port, { ca: stranger.pem, session, checkServerIdentity });
    expect(second.isSessionReused()).toBe(true);
    expect(second.authorized).toBe(true);
    expect(second.getPeerX509Certificate()).toBeUndefined();
    expect(checkServerIdentity).not.toHaveBeenCalled();
  });

  test("a handshake like that is no proof, neither by the WebPKI nor by DANE", async () => {
    const handshake = {
      kind: "secured",
      protocol: "TLSv1.3",
      cipher: "x",
      suite: "x",
      chain: [],
      trusted: true,
    } as unknown as Handshake & {
      kind: "secured";
    };
    const outcome = await outcomeOf(handshake, {
      requirement: requirementOf({ sts: true, dane: { records: [leafKeyRecord(good)] } }),
      now: Date.now(),
      evidenceOf: createEvidence(),
      judgeDane: () => Promise.resolve({ held: true, baseDomain: MX_NAME, record: "3 1 1 00" }),
    });
    expect(outcome).toMatchObject({
      kind: "encrypted",
      because: { detail: "the host presented no certificate" },
      session: { webpki: { held: false }, dane: { held: false } },
    });
  });

  test.each(["TLSv1.2", "TLSv1.3"] as const)("%s: what one connection began no other resumes, whatever each demands", async (version) => {
    const resumed: boolean[] = [];
    const mx = await host({
      certificate: good,
      tls: { minVersion: version, maxVersion: version },
      answer(command, { socket }) {
        if (command.startsWith("MAIL")) resumed.push((socket as TLSSocket).isSessionReused());
        return undefined;
      },
    });
    for (const wishes of [{}, { dane: { records: [leafKeyRecord(good)] } }, { sts: true }]) {
      const session = await opened(mx.port, ca.pem, wishes);
      await session.deliver(transaction());
      expect(session.tls).toMatchObject({ kind: "authenticated", session: { chain: [{ names: [MX_NAME] }] } });
      await session.quit();
    }
    expect(resumed).toEqual([false, false, false]);
    // A session of an opportunistic connection does not stand in for the proof that the next one lacks.
    const other = await open(mx.port, ca.pem, { dane: { records: [leafKeyRecord(selfSigned)] } });
    expect(other.kind).toBe("failed");
  });
});

describe("Node's own check of the name is skipped where the chain is not trusted", () => {
  test("on a bare socket checkServerIdentity is not even called", async () => {
    const checkServerIdentity = vi.fn(() => undefined);
    const socket = await bare(selfSigned, { ca: ca.pem, checkServerIdentity });
    expect(socket.authorized).toBe(false);
    expect(checkServerIdentity).not.toHaveBeenCalled();
  });

  test("ours is made all the same, and both troubles are told", async () => {
    const mx = await host({ certificate: selfSigned });
    const result = await open(mx.port, ca.pem, { sts: true });
    if (result.kind !== "failed") throw new Error("a session was opened");
    expect(result.problem.detail).toMatch(/self-signed.*also, the certificate is for other\.test, not for mx\.example\.test/);
  });

  test("a certificate that no root stands behind is compared with its TLSA records", async () => {
    const mx = await host({ certificate: selfSigned });
    const matching = await opened(mx.port, ca.pem, { dane: { records: [leafKeyRecord(selfSigned)] } });
    matching.destroy();
    expect((await open(mx.port, ca.pem, { dane: { records: [leafKeyRecord(good)] } })).kind).toBe("failed");
  });
});

describe("a weak key is reported without its name", () => {
  test("on a bare socket the reason is UNSPECIFIED", async () => {
    const weak = await ca.issue({ names: [MX_NAME], key: "rsa-1024" });
    const socket = await bare(weak, { ca: ca.pem, ciphers: "DEFAULT@SECLEVEL=2" }, "DEFAULT@SECLEVEL=0");
    expect(String(socket.authorizationError)).toBe("UNSPECIFIED");
  });

  test("ours measures it", async () => {
    const mx = await host({
      certificate: await ca.issue({ names: [MX_NAME], key: "rsa-1024" }),
      tls: { ciphers: "DEFAULT@SECLEVEL=0" },
    });
    const result = await open(mx.port, ca.pem, { sts: true });
    if (result.kind !== "failed") throw new Error("a session was opened");
    expect(result.problem.detail).toContain("RSA key of 1024 bits, and 2048 is the least");
    expect(result.problem.detail).not.toContain("UNSPECIFIED");
  });
});

describe("what a session keeps is bounded", () => {
  test("however many and long the names of a stranger's certificates are", async () => {
    const names = Array.from({ length: 200 }, (_, n) => `${String(n).padStart(60, "a")}.${"b".repeat(60)}.${"c".repeat(60)}.test`);
    const mx = await host({ certificate: await ca.issue({ names, commonName: "many" }) });
    const session = await opened(mx.port, ca.pem);
    if (session.tls.kind === "clear") throw new Error("in clear");
    const [leaf] = session.tls.session.chain;
    expect(leaf?.names.length).toBeGreaterThan(3);
    expect(leaf?.names.join("").length).toBeLessThanOrEqual(1000);
    expect(JSON.stringify(session.tls).length).toBeLessThan(6000);
    session.destroy();
  });

  test("of a long chain ten certificates", async () => {
    const extra = Array.from({ length: 12 }, () => stranger.pem).join("");
    const mx = await host({ certificate: { ...good, certificate: good.certificate + extra } });
    const session = await opened(mx.port, ca.pem);
    if (session.tls.kind === "clear") throw new Error("in clear");
    expect(session.tls.session.chain.length).toBeLessThanOrEqual(10);
    session.destroy();
  });
});
