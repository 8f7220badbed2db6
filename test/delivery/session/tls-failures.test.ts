/** What TLS-RPT is told of a connection (RFC 8460 §4.3): each event once, over a real one. */
import { X509Certificate } from "node:crypto";
import { afterEach, describe, expect, test } from "vitest";
import type { HostFailure, Session } from "../../../src/delivery/session.ts";
import type { TlsaRecord } from "../../../src/policy/facts.ts";
import type { TlsFailure } from "../../../src/policy/outcome.ts";
import { createTestCa, type IssuedCertificate } from "../../support/certificates.ts";
import { MovedClock, settled } from "../../support/moved-clock.ts";
import { type Answer, type MxBehaviour, ScriptedMx } from "../../support/scripted-mx.ts";
import { connectorFor, defaultTimeouts, leafKeyRecord, MX_NAME, open, targetFor, type TargetWishes } from "../../support/smtp-session.ts";

const DAY = 86_400_000;
const past = { from: new Date(Date.now() - 20 * DAY), to: new Date(Date.now() - DAY) };
const toCome = { from: new Date(Date.now() + DAY) };
const ca = await createTestCa();
const stranger = await createTestCa({ name: "Root of Nobody" });
const below = await ca.subordinate();
const narrow = await ca.subordinate({
  name: "Narrow",
  extensions:
    "basicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign\nnameConstraints = critical, permitted;DNS:elsewhere.test",
});
const good = await ca.issue({ names: [MX_NAME] });
const rsa = await ca.issue({ names: [MX_NAME], key: "rsa-2048" });
const hosts: ScriptedMx[] = [];
afterEach(() => Promise.all(hosts.splice(0).map((mx) => mx.close())));

async function host(behaviour: MxBehaviour): Promise<ScriptedMx> {
  const mx = await ScriptedMx.open(behaviour);
  hosts.push(mx);
  return mx;
}

/** `type`, or `type code`. */
const inShort = ({ type, code }: TlsFailure): string => (code === undefined ? type : `${type} ${code}`);
const saying =
  (command: string, said: string | null): Answer =>
  (heard) =>
    heard === command ? said : undefined;

async function failure(behaviour: MxBehaviour, wishes: TargetWishes): Promise<HostFailure> {
  const mx = await host(behaviour);
  const result = await open(mx.port, ca.pem, wishes);
  if (result.kind === "open") throw new Error("a session was opened");
  return result;
}

async function session(behaviour: MxBehaviour, wishes: TargetWishes = {}): Promise<Session> {
  const mx = await host(behaviour);
  const result = await open(mx.port, ca.pem, wishes);
  if (result.kind !== "open") throw new Error(result.problem.detail);
  result.session.destroy();
  return result.session;
}

/** Why it is in clear. */
function because({ tls }: Session): string {
  return tls.kind === "clear" ? inShort(tls.because) : tls.kind;
}

const OLD_TLS = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "ALL@SECLEVEL=0" } as const;
const NULL_SUITE = { maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0" } as const;

describe("TLS that does not come about", () => {
  const rows: [event: string, behaviour: MxBehaviour, told: string, wishes?: TargetWishes][] = [
    ["EHLO without STARTTLS", { certificate: good, startTlsKeyword: "" }, "starttls-not-supported"],
    ["454 to STARTTLS", { certificate: good, answer: saying("STARTTLS", "454 4.7.0 a@b.test\r\n") }, "starttls-not-supported 454"],
    ["502 to STARTTLS", { certificate: good, answer: saying("STARTTLS", "502 what?\r\n") }, "starttls-not-supported 502"],
    ["421 to STARTTLS", { certificate: good, answer: saying("STARTTLS", "421 bye\r\n") }, "starttls-not-supported 421"],
    [
      "a connection that ends at STARTTLS",
      { certificate: good, answer: (heard, { socket }) => (heard === "STARTTLS" ? (socket.destroy(), null) : undefined) },
      "starttls-not-supported starttls-reset",
    ],
    [
      "a reset in the handshake",
      { certificate: good, afterStartTls: (socket) => socket.resetAndDestroy() },
      "validation-failure handshake-reset",
    ],
    ["an end in the handshake", { certificate: good, afterStartTls: (socket) => socket.end() }, "validation-failure handshake-reset"],
    [
      "garbage in the handshake",
      { certificate: good, afterStartTls: (socket) => socket.once("data", () => socket.end("500 a@b.test is no TLS\r\n")) },
      "validation-failure wrong-version-number",
    ],
    ["text after the 220", { certificate: good, injected: "250 a@b.test\r\n" }, "validation-failure starttls-injection"],
    [
      "a reply that nobody asked for",
      {
        certificate: good,
        answer: (heard) => (heard.startsWith("EHLO") ? "250-mx.example.test\r\n250 STARTTLS\r\n220 go\r\n" : undefined),
      },
      "validation-failure starttls-injection",
    ],
    ["a reply that is none", { certificate: good, answer: saying("STARTTLS", "what?\r\n") }, "validation-failure protocol-error"],
    ["no version in common", { certificate: good, tls: OLD_TLS }, "validation-failure unsupported-protocol"],
    ["no suite in common", { certificate: good, tls: NULL_SUITE }, "validation-failure alert-handshake-failure"],
  ];
  test.each(rows)("%s, in clear all the same: the outcome says why", async (_event, behaviour, told) => {
    expect(because(await session(behaviour))).toBe(told);
  });
  test.each(rows)("%s, where TLS is demanded: the failure says why", async (_event, behaviour, told) => {
    const { tlsFailure } = await failure(behaviour, { atLeast: "encrypted" });
    expect(tlsFailure && inShort(tlsFailure)).toBe(told);
  });

  test("an alert after the handshake, as TLS 1.3 may send it, is a failed handshake", async () => {
    const behaviour = { certificate: good, demandsClientCertificate: true, tls: { minVersion: "TLSv1.3" } } as const;
    const { tls, tlsFailure } = await failure(behaviour, { atLeast: "authenticated" });
    expect([tls, tlsFailure && inShort(tlsFailure)]).toEqual([undefined, "validation-failure alert-certificate-required"]);
    expect(because(await session(behaviour))).toBe("validation-failure alert-certificate-required");
  });

  const silent: [event: string, behaviour: MxBehaviour, wait: keyof typeof defaultTimeouts, told: string][] = [
    ["silence after STARTTLS", { answer: saying("STARTTLS", null) }, "starttls", "starttls-not-supported starttls-timeout"],
    ["silence in the handshake", { afterStartTls: () => undefined }, "handshake", "validation-failure handshake-timeout"],
  ];
  test.each(silent)("%s", async (_event, behaviour, wait, told) => {
    const mx = await host({ certificate: good, ...behaviour });
    const clock = new MovedClock();
    const connect = connectorFor(ca.pem, { timeouts: defaultTimeouts, clock });
    const result = connect(targetFor(mx.port, { atLeast: "encrypted" }));
    // The hello of TLS is not seen, so the deadline is known by its timer.
    while (!mx.heard.includes("clear STARTTLS")) await settled();
    for (let turn = 0; turn < 20; turn += 1) await settled();
    await clock.pass(defaultTimeouts[wait] + 10);
    const { tlsFailure } = (await result) as HostFailure;
    expect(tlsFailure && inShort(tlsFailure)).toBe(told);
  });

  test("a failed handshake is told of with its own connection, also where the next one, in clear, comes to nothing", async () => {
    let connections = 0;
    const mx = await ScriptedMx.open(() => ((connections += 1) === 1 ? { certificate: good, tls: OLD_TLS } : { greeting: "554 no\r\n" }));
    hosts.push(mx);
    const result = await open(mx.port, ca.pem);
    expect(result).toMatchObject({
      kind: "failed",
      step: "greeting",
      problem: { type: "rejected" },
      tlsFailure: { type: "validation-failure", code: "unsupported-protocol" },
      peer: { localAddress: "127.0.0.1", helo: MX_NAME },
    });
  });
});

describe("what says nothing of TLS (RFC 8460 §4.3.4)", () => {
  const rows: [event: string, behaviour: MxBehaviour, step: string][] = [
    ["554 for a greeting", { certificate: good, greeting: "554 no\r\n" }, "greeting"],
    ["421 for a greeting", { certificate: good, greeting: "421 later\r\n" }, "greeting"],
    ["450 to EHLO", { certificate: good, answer: (heard) => (heard.startsWith("EHLO") ? "450 later\r\n" : undefined) }, "ehlo"],
    [
      "a connection that ends before EHLO is answered",
      { certificate: good, answer: (heard, { socket }) => (heard.startsWith("EHLO") ? (socket.destroy(), null) : undefined) },
      "ehlo",
    ],
  ];
  test.each(rows)("%s", async (_event, behaviour, step) => {
    const { tls, tlsFailure, ...rest } = await failure(behaviour, { atLeast: "authenticated" });
    expect([rest.step, tls, tlsFailure]).toEqual([step, undefined, undefined]);
  });

  test("a refused connection, which has no ends either", async () => {
    const mx = await ScriptedMx.open({});
    const { port } = mx;
    await mx.close();
    const result = (await open(port, ca.pem, { atLeast: "authenticated" })) as HostFailure;
    expect([result.step, result.tls, result.tlsFailure, result.peer]).toEqual(["connect", undefined, undefined, undefined]);
  });

  test("TLS that the operator switched off", async () => {
    const { tlsFailure } = await failure({ certificate: good }, { tls: "never", atLeast: "encrypted" });
    expect(tlsFailure).toBeUndefined();
  });

  test("a host that turns us away inside TLS: the session is a good one", async () => {
    const answer: Answer = (heard, { underTls }) => (underTls && heard.startsWith("EHLO") ? "554 no\r\n" : undefined);
    const { tls, tlsFailure } = await failure({ certificate: good, answer }, { atLeast: "authenticated" });
    expect([tls?.kind, tlsFailure]).toEqual(["authenticated", undefined]);
  });
});

describe("a certificate by the WebPKI", async () => {
  const issue = (wishes: Parameters<typeof ca.issue>[0]): Promise<IssuedCertificate> => ca.issue(wishes);
  const lenient = { ciphers: "DEFAULT@SECLEVEL=0" } as const;
  const withoutIssuer = (issued: IssuedCertificate): IssuedCertificate => ({
    ...issued,
    certificate: new X509Certificate(issued.certificate).toString(),
  });
  const rows: [event: string, certificate: IssuedCertificate, told: string[]][] = [
    ["another name", await issue({ names: ["other.test"] }), ["certificate-host-mismatch"]],
    ["expired", await issue({ names: [MX_NAME], ...past }), ["certificate-expired"]],
    ["not yet valid", await issue({ names: [MX_NAME], ...toCome }), ["validation-failure certificate-not-yet-valid"]],
    ["self-signed", await issue({ names: [MX_NAME], selfSigned: true }), ["certificate-not-trusted self-signed-certificate"]],
    ["unknown issuer", await stranger.issue({ names: [MX_NAME] }), ["certificate-not-trusted unable-to-verify-the-first-certificate"]],
    [
      "unknown root, sent along",
      {
        ...(await stranger.issue({ names: [MX_NAME] })),
        certificate: (await stranger.issue({ names: [MX_NAME] })).certificate + stranger.pem,
      },
      ["certificate-not-trusted self-signed-certificate-in-certificate-chain"],
    ],
    [
      "missing intermediate",
      withoutIssuer(await below.issue({ names: [MX_NAME] })),
      ["certificate-not-trusted unable-to-verify-the-first-certificate"],
    ],
    ["weak key", await issue({ names: [MX_NAME], key: "rsa-1024" }), ["certificate-not-trusted weak-key"]],
    ["weak signature", await issue({ names: [MX_NAME], digest: "sha1" }), ["certificate-not-trusted weak-signature"]],
    // Node has no code of OpenSSL's for these.
    ["name constraints", await narrow.issue({ names: [MX_NAME] }), ["certificate-not-trusted unspecified"]],
    // RFC 8460 §4: what one certificate has wrong with it is told of one by one.
    ["expired, another name", await issue({ names: ["other.test"], ...past }), ["certificate-expired", "certificate-host-mismatch"]],
    [
      "not yet valid, another name",
      await issue({ names: ["other.test"], ...toCome }),
      ["validation-failure certificate-not-yet-valid", "certificate-host-mismatch"],
    ],
    [
      "self-signed, another name",
      await issue({ names: ["other.test"], selfSigned: true }),
      ["certificate-not-trusted self-signed-certificate", "certificate-host-mismatch"],
    ],
    [
      "expired, self-signed, another name",
      await issue({ names: ["other.test"], selfSigned: true, ...past }),
      ["certificate-expired", "certificate-not-trusted self-signed-certificate", "certificate-host-mismatch"],
    ],
    [
      "expired, weak key",
      await issue({ names: [MX_NAME], key: "rsa-1024", ...past }),
      ["certificate-expired", "certificate-not-trusted weak-key"],
    ],
  ];
  test.each(rows)("%s", async (_event, certificate, told) => {
    const { tls } = await session({ certificate, tls: lenient });
    if (tls.kind === "clear" || tls.session.webpki.held) throw new Error("the certificate was good");
    const { failure: main, others = [] } = tls.session.webpki;
    expect([main, ...others].map(inShort)).toEqual(told);
  });

  test("the main failure tells of all, as a person reads it; each of the others of itself", async () => {
    const { tls } = await session({ certificate: await issue({ names: ["other.test"], ...past }) });
    expect(tls).toMatchObject({
      because: {
        type: "certificate-expired",
        detail: expect.stringMatching(/^the certificate ended .*; also, the certificate is for other\.test/),
      },
      session: {
        webpki: {
          others: [{ type: "certificate-host-mismatch", detail: expect.stringMatching(/^the certificate is for other\.test, not for/) }],
        },
      },
    });
  });

  test("a suite over which nothing counts as proven", async () => {
    const { tls } = await session({ certificate: rsa, tls: { maxVersion: "TLSv1.2", ciphers: "ECDHE-RSA-AES128-SHA" } });
    expect(tls.kind === "encrypted" && inShort(tls.because)).toBe("validation-failure weak-cipher");
  });
});

describe("a certificate by TLSA records", async () => {
  const anchor = (certificate: string): TlsaRecord => ({ ...leafKeyRecord({ ...good, certificate }), usage: 2 });
  const sentWith = (issued: IssuedCertificate, ...more: string[]): IssuedCertificate => ({
    ...issued,
    certificate: issued.certificate + more.join(""),
  });
  const rows: [event: string, certificate: IssuedCertificate, records: TlsaRecord[], told: string][] = [
    ["3 1 1 of another key", good, [leafKeyRecord(rsa)], "validation-failure dane-no-match"],
    ["2 1 1 of another CA", sentWith(good, ca.pem), [anchor(stranger.pem)], "certificate-not-trusted dane-ta-not-in-chain"],
    ["2 1 1 of a CA that was not sent", good, [anchor(ca.pem)], "certificate-not-trusted dane-ta-not-in-chain"],
    ["neither a 2 nor a 3", sentWith(good, ca.pem), [anchor(stranger.pem), leafKeyRecord(rsa)], "validation-failure dane-no-match"],
    ["2 1 1, another name", sentWith(await ca.issue({ names: ["other.test"] }), ca.pem), [anchor(ca.pem)], "certificate-host-mismatch"],
    ["2 1 1, expired", sentWith(await ca.issue({ names: [MX_NAME], ...past }), ca.pem), [anchor(ca.pem)], "certificate-expired"],
    [
      "2 1 1, not yet valid",
      sentWith(await ca.issue({ names: [MX_NAME], ...toCome }), ca.pem),
      [anchor(ca.pem)],
      "validation-failure certificate-not-yet-valid",
    ],
    [
      "2 1 1, name constraints",
      sentWith(await narrow.issue({ names: [MX_NAME] }), ca.pem),
      [anchor(ca.pem)],
      "certificate-not-trusted name-constraints",
    ],
  ];
  test.each(rows)("%s", async (_event, certificate, records, told) => {
    const { tls, tlsFailure } = await failure({ certificate }, { dane: { records } });
    if (tls === undefined || tls.kind === "clear" || tls.session.dane?.held !== false) throw new Error("it was not compared");
    expect([inShort(tls.session.dane.failure), tlsFailure]).toEqual([told, undefined]);
  });

  test("a reading of ours that breaks is ours to mend", async () => {
    const mx = await host({ certificate: good });
    const judgeDane = () => Promise.reject(new Error("odd certificate"));
    const result = (await open(mx.port, ca.pem, { dane: { records: [leafKeyRecord(good)] } }, { judgeDane })) as HostFailure;
    expect(result.tls).toMatchObject({ session: { dane: { failure: { whoActs: "you", code: "certificate-not-compared" } } } });
  });
});
