/** Each demand on the channel against what a host gives (RFC 7672 §2.2, RFC 8461 §5, RFC 8689 §4.2.1), over real connections. */
import { afterEach, describe, expect, test } from "vitest";
import { createTestCa, type IssuedCertificate } from "../../support/certificates.ts";
import { type Answer, type MxBehaviour, ScriptedMx } from "../../support/scripted-mx.ts";
import {
  leafKeyRecord,
  MX_NAME,
  open,
  opened,
  type RequirementWishes,
  type TargetWishes,
  transaction,
} from "../../support/smtp-session.ts";

const ca = await createTestCa();
const good = await ca.issue({ names: [MX_NAME] });
const selfSigned = await ca.issue({ names: [MX_NAME], selfSigned: true });
const otherName = await ca.issue({ names: ["other.test"] });
const expired = await ca.issue({ names: [MX_NAME], from: new Date(Date.now() - 20 * 86_400_000), to: new Date(Date.now() - 86_400_000) });
const notYet = await ca.issue({ names: [MX_NAME], from: new Date(Date.now() + 86_400_000) });
const weakKey = await ca.issue({ names: [MX_NAME], key: "rsa-1024" });
const hosts: ScriptedMx[] = [];
afterEach(() => Promise.all(hosts.splice(0).map((mx) => mx.close())));

async function host(behaviour: MxBehaviour): Promise<ScriptedMx> {
  const mx = await ScriptedMx.open(behaviour);
  hosts.push(mx);
  return mx;
}

const REQUIRETLS = ["PIPELINING", "ENHANCEDSTATUSCODES", "REQUIRETLS"];
const OLD_TLS = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "ALL@SECLEVEL=0" } as const;

const saying =
  (command: string, said: string): Answer =>
  (heard) =>
    heard.split(/[ :]/)[0] === command ? said : undefined;

const dane = (certificate: IssuedCertificate, more: Partial<RequirementWishes["dane"]> = {}) => ({
  dane: { records: [leafKeyRecord(certificate)], ...more },
});

async function failure(behaviour: MxBehaviour, wishes: TargetWishes) {
  const mx = await host(behaviour);
  const result = await open(mx.port, ca.pem, wishes);
  if (result.kind === "open") throw new Error("a session was opened");
  await mx.quiet();
  return { ...result, heard: mx.heard, connections: mx.connections.length };
}

type Fate = "skip" | "clear" | "clear, on a new connection" | "send";

describe("a demand and what the host gives", () => {
  const columns: [name: string, behaviour: MxBehaviour][] = [
    ["no STARTTLS", { certificate: good, startTlsKeyword: "" }],
    ["454 to STARTTLS", { certificate: good, answer: saying("STARTTLS", "454 4.7.0 not now\r\n") }],
    ["a handshake that fails", { certificate: good, tls: OLD_TLS }],
    ["an unverified certificate", { certificate: selfSigned }],
    ["a verified certificate", { certificate: good }],
  ];
  const NEVER_CLEAR: Fate[] = ["skip", "skip", "skip", "send", "send"];
  const PROVEN: Fate[] = ["skip", "skip", "skip", "skip", "send"];
  const ANY: Fate[] = ["clear", "clear", "clear, on a new connection", "send", "send"];
  const watched = { demanded: false };
  const rows: [name: string, wishes: RequirementWishes, fates: Fate[]][] = [
    ["dane", dane(good), PROVEN],
    ["dane-unauthenticated", { daneUnusable: true }, NEVER_CLEAR],
    ["MTA-STS enforce", { sts: true }, PROVEN],
    ["MTA-STS testing, DANE watched", dane(good, watched), ANY],
    ["dane and MTA-STS enforce", { ...dane(good), sts: true }, PROVEN],
    ["dane-unauthenticated and MTA-STS enforce", { daneUnusable: true, sts: true }, PROVEN],
    ["floor encrypted", { atLeast: "encrypted" }, NEVER_CLEAR],
    ["floor encrypted, DANE watched", { ...dane(good, watched), atLeast: "encrypted" }, NEVER_CLEAR],
    ["floor authenticated", { atLeast: "authenticated" }, PROVEN],
    ["REQUIRETLS", { requireTls: "mandatory" }, PROVEN],
    ["REQUIRETLS of a notice", { requireTls: "preferred", atLeast: "encrypted" }, NEVER_CLEAR],
    ["opportunistic, TLS-Required: No, report mail", {}, ANY],
  ];
  const cells = rows.flatMap(([row, wishes, fates]) =>
    columns.map(([column, behaviour], at) => [row, column, fates[at] as Fate, wishes, behaviour] as const),
  );
  test.each(cells)("%s, %s: %s", async (_row, _column, fate, wishes, behaviour) => {
    const mx = await host({ ...behaviour, extensions: ["PIPELINING"], tlsExtensions: REQUIRETLS });
    const result = await open(mx.port, ca.pem, wishes);
    if (result.kind === "open") {
      const requireTls = wishes.requireTls === "mandatory" ? "required" : wishes.requireTls;
      const report = await result.session.deliver(transaction(requireTls === undefined ? {} : { requireTls }));
      expect(report.recipients[0]?.kind).toBe("delivered");
      await result.session.quit();
    }
    await mx.quiet();
    const mail = mx.heard.find((line) => line.includes("MAIL FROM"));
    const met: Fate =
      mail === undefined ? "skip" : mail.startsWith("tls") ? "send" : mx.connections.length > 1 ? "clear, on a new connection" : "clear";
    expect(met).toBe(fate);
    if (fate === "skip") {
      expect(result.kind).toBe("failed");
      // Neither now nor on another connection, in clear or without proof.
      expect(mx.connections).toHaveLength(1);
      expect(mx.heard.join()).not.toMatch(/MAIL|RCPT|DATA/);
    }
    // Said exactly where it holds: asked for, proven, offered under TLS.
    const says =
      fate === "send" && wishes.requireTls !== undefined && result.kind === "open" && result.session.tls.kind === "authenticated";
    expect(mail?.includes("REQUIRETLS") ?? false).toBe(says);
  });

  test.each([
    ["dane", dane(good)],
    ["MTA-STS", { sts: true }],
    ["REQUIRETLS", { requireTls: "mandatory" } as const],
  ])("%s: a certificate that will not do hears QUIT under TLS, and nothing else", async (_name, wishes) => {
    const { heard } = await failure({ certificate: selfSigned }, wishes);
    expect(heard).toEqual(["clear EHLO relay.test", "clear STARTTLS", "tls QUIT"]);
  });

  test.each([
    ["dane", dane(good)],
    ["MTA-STS", { sts: true }],
    ["REQUIRETLS", { requireTls: "mandatory" } as const],
  ])("%s: no suite without forward secrecy and AEAD, so that a proof always counts", async (_name, wishes) => {
    const rsa = await ca.issue({ names: [MX_NAME], key: "rsa-2048" });
    const tls = { maxVersion: "TLSv1.2", ciphers: "ECDHE-RSA-AES128-SHA" } as const;
    const named = wishes === undefined || !("dane" in wishes) ? wishes : dane(rsa);
    const result = await failure({ certificate: rsa, tls }, named);
    expect(result).toMatchObject({ step: "handshake", problem: { type: "validation-failure" } });
    // Where nothing is demanded the same host gets its mail over it, and nothing counts as proven.
    const lenient = await host({ certificate: rsa, tls });
    const session = await opened(lenient.port, ca.pem, dane(rsa, { demanded: false }));
    expect(session.tls).toMatchObject({
      kind: "encrypted",
      because: { detail: expect.stringContaining("lacks forward secrecy") },
      session: { webpki: { held: true }, dane: { held: true } },
    });
    session.destroy();
  });
});

describe("both verdicts", () => {
  test("of DANE-EE the key alone counts: neither name, dates, issuer nor size (RFC 7672 §3.1.1)", async () => {
    for (const certificate of [good, selfSigned, otherName, expired, notYet, weakKey]) {
      const mx = await host({ certificate, tls: { ciphers: "DEFAULT@SECLEVEL=0" } });
      const session = await opened(mx.port, ca.pem, dane(certificate));
      expect(session.tls).toMatchObject({ kind: "authenticated", session: { dane: { held: true, baseDomain: MX_NAME } } });
      session.destroy();
    }
  });

  test("an RSA key of 1024 bits passes DANE-EE and fails the WebPKI, in one session", async () => {
    const behaviour = { certificate: weakKey, tls: { ciphers: "DEFAULT@SECLEVEL=0" } };
    const mx = await host(behaviour);
    const session = await opened(mx.port, ca.pem, dane(weakKey));
    expect(session.tls).toMatchObject({
      kind: "authenticated",
      session: { dane: { held: true }, webpki: { held: false, failure: { detail: expect.stringContaining("RSA key of 1024 bits") } } },
    });
    session.destroy();
    const refused = await failure(behaviour, { ...dane(weakKey), sts: true });
    expect(refused.problem).toMatchObject({ type: "certificate-not-trusted", status: "4.7.5" });
    expect(refused.problem.detail).toContain("authenticated TLS is demanded by MTA-STS enforce of example.test");
  });

  const pairs: [name: string, certificate: IssuedCertificate, wishes: RequirementWishes, refusedBy: RegExp | undefined][] = [
    ["both hold", good, { ...dane(good), sts: true }, undefined],
    ["DANE holds, MTA-STS does not", selfSigned, { ...dane(selfSigned), sts: true }, /demanded by MTA-STS enforce of example\.test$/],
    [
      "MTA-STS holds, DANE does not",
      good,
      { ...dane(selfSigned), sts: true },
      /demanded by the TLSA records of mx\.example\.test \(DANE\)$/,
    ],
    ["neither holds: DANE is named", otherName, { ...dane(good), sts: true }, /demanded by the TLSA records/],
    ["a public certificate rescues nobody from DANE", good, dane(selfSigned), /dane-no-match.*demanded by the TLSA records/],
    ["the floor is met by DANE alone", selfSigned, { ...dane(selfSigned, { demanded: false }), atLeast: "authenticated" }, undefined],
    ["the floor is met by the WebPKI alone", good, { ...dane(selfSigned, { demanded: false }), atLeast: "authenticated" }, undefined],
    [
      "the floor is met by neither",
      otherName,
      { ...dane(good, { demanded: false }), atLeast: "authenticated" },
      /is for other\.test.*tls\.floor/,
    ],
  ];
  test.each(pairs)("%s", async (_name, certificate, wishes, refusedBy) => {
    if (refusedBy === undefined) {
      const mx = await host({ certificate });
      const session = await opened(mx.port, ca.pem, wishes);
      expect(session.tls.kind).toBe("authenticated");
      return session.destroy();
    }
    const result = await failure({ certificate }, wishes);
    expect(result).toMatchObject({ step: "handshake", permanent: false, tls: { session: { webpki: {}, dane: {} } } });
    expect(result.problem.detail).toMatch(refusedBy);
  });

  const foremost: [name: string, wishes: RequirementWishes, because: string][] = [
    ["DANE is demanded", dane(good), "validation-failure"],
    ["both are demanded", { ...dane(good), sts: true }, "validation-failure"],
    ["MTA-STS is demanded and DANE watched", { ...dane(good, { demanded: false }), sts: true }, "certificate-host-mismatch"],
    ["DANE is watched", dane(good, { demanded: false }), "certificate-host-mismatch"],
  ];
  test.each(foremost)("of two that failed the one that matters is told: %s", async (_name, wishes, because) => {
    const mx = await host({ certificate: otherName });
    const result = await open(mx.port, ca.pem, wishes);
    const outcome = result.kind === "open" ? result.session.tls : result.tls;
    expect(outcome).toMatchObject({ kind: "encrypted", because: { type: because } });
    if (result.kind === "open") result.session.destroy();
  });

  test("what only watches stops nothing and is kept", async () => {
    const mx = await host({ certificate: selfSigned });
    const session = await opened(mx.port, ca.pem, dane(good, { demanded: false }));
    expect(session.tls).toMatchObject({
      kind: "encrypted",
      because: { type: "certificate-not-trusted" },
      session: { dane: { held: false, failure: { type: "validation-failure" } } },
    });
    session.destroy();
  });

  test("a failed handshake names the first demand: DANE before MTA-STS", async () => {
    const result = await failure({ certificate: good, tls: OLD_TLS }, { ...dane(good), sts: true });
    expect(result.problem.detail).toMatch(/unsupported-protocol.*demanded by the TLSA records of mx\.example\.test \(DANE\)$/);
  });

  test("unusable records ask for TLS and are named for it", async () => {
    const result = await failure({ certificate: good, startTlsKeyword: "" }, { daneUnusable: true });
    expect(result.problem).toMatchObject({ type: "starttls-not-supported", status: "4.7.4" });
    expect(result.problem.detail).toMatch(/; encrypted TLS is demanded by the TLSA records of mx\.example\.test \(DANE\)$/);
  });
});

describe("names (RFC 6066 §3, RFC 7672 §8.1, RFC 8461 §7.1)", () => {
  const BASE = "mail.host.test";
  test("the TLSA base domain goes out as SNI, and MTA-STS still looks for the MX name", async () => {
    const two = await ca.issue({ names: [BASE, MX_NAME] });
    const mx = await host({ certificate: two });
    const session = await opened(mx.port, ca.pem, { ...dane(two, { baseDomain: BASE }), sts: true, serverName: BASE });
    expect(mx.connections[0]?.serverName).toBe(BASE);
    expect(session.tls).toMatchObject({
      session: { serverName: BASE, dane: { held: true, baseDomain: BASE }, webpki: { held: true, referenceIdentifier: MX_NAME } },
    });
    session.destroy();
  });

  test("a certificate for the base domain alone passes DANE and fails MTA-STS", async () => {
    const one = await ca.issue({ names: [BASE] });
    const wishes = { ...dane(one, { baseDomain: BASE }), serverName: BASE };
    const mx = await host({ certificate: one });
    const session = await opened(mx.port, ca.pem, wishes);
    session.destroy();
    const result = await failure({ certificate: one }, { ...wishes, sts: true });
    expect(result.problem).toMatchObject({ type: "certificate-host-mismatch" });
  });

  // RFC 6125 §6.2.1, §6.4: who must be in the certificate, by what is demanded.
  const anchored = { dane: { records: [anchorRecord()], names: [MX_NAME, "example.test"] } };
  function anchorRecord() {
    // Usage 2: the CA, by its key.
    return { ...leafKeyRecord({ ...good, certificate: ca.pem }), usage: 2 };
  }
  const cases: [demand: string, wishes: TargetWishes, names: string[], commonName: string | undefined, fits: boolean][] = [
    ["MTA-STS", { sts: true }, [MX_NAME], undefined, true],
    ["MTA-STS", { sts: true }, ["*.example.test"], undefined, true],
    ["MTA-STS", { sts: true }, ["example.test"], undefined, false],
    ["MTA-STS", { sts: true }, [], MX_NAME, false],
    ["REQUIRETLS", { requireTls: "mandatory" }, [MX_NAME], undefined, true],
    ["REQUIRETLS", { requireTls: "mandatory" }, ["example.test"], undefined, false],
    ["REQUIRETLS", { requireTls: "mandatory" }, [], MX_NAME, false],
    ["DANE-TA", anchored, [MX_NAME], undefined, true],
    ["DANE-TA", anchored, ["*.example.test"], undefined, true],
    ["DANE-TA", anchored, ["example.test"], undefined, true],
    ["DANE-TA", anchored, [], MX_NAME, true],
    ["DANE-TA", anchored, ["other.test"], MX_NAME, false],
    ["a configured relay", { atLeast: "authenticated", names: ["relay.host.test"] }, ["relay.host.test"], undefined, true],
    ["a configured relay", { atLeast: "authenticated", names: ["relay.host.test"] }, [MX_NAME], undefined, false],
    ["nothing", {}, ["other.test"], undefined, true],
  ];
  test.each(cases)("%s, a certificate for %j %j", async (_demand, wishes, names, commonName, fits) => {
    const leaf = await ca.issue({ names, ...(commonName !== undefined && { commonName }) });
    const withAnchor = { ...leaf, certificate: leaf.certificate + ca.pem };
    const mx = await host({ certificate: withAnchor, extensions: REQUIRETLS });
    const result = await open(mx.port, ca.pem, wishes);
    expect(result.kind).toBe(fits ? "open" : "failed");
    if (result.kind === "open") result.session.destroy();
    else expect(mx.heard.join()).not.toContain("MAIL");
  });
});

describe("the verdict comes first (RFC 3207 §4.1)", () => {
  /** A judge that is slow, and a moment in which the world may go on before it speaks. */
  function slowly(meanwhile: () => void | Promise<void>, held: boolean) {
    return async () => {
      await meanwhile();
      for (let turn = 0; turn < 100; turn += 1) await new Promise(setImmediate);
      return held
        ? ({ held: true, baseDomain: MX_NAME, record: "3 1 1 00" } as const)
        : ({ held: false, failure: { type: "validation-failure", detail: "no match", whoActs: "receiver" } } as const);
    };
  }

  test("nothing is said until a slow judge has spoken", async () => {
    const mx = await host({ certificate: good });
    let heardMeanwhile: string[] = [];
    const judgeDane = slowly(async () => {
      for (let turn = 0; turn < 100; turn += 1) await new Promise(setImmediate);
      heardMeanwhile = [...mx.heard];
    }, true);
    const session = await opened(mx.port, ca.pem, dane(good), { judgeDane });
    expect(heardMeanwhile).toEqual(["clear EHLO relay.test", "clear STARTTLS"]);
    expect(mx.heard.at(-1)).toBe("tls EHLO relay.test");
    session.destroy();
    const refused = await host({ certificate: good });
    expect((await open(refused.port, ca.pem, dane(good), { judgeDane: slowly(() => undefined, false) })).kind).toBe("failed");
    await refused.quiet();
    expect(refused.heard.slice(2)).toEqual(["tls QUIT"]);
  });

  test("a greeting that comes while it is thinking is the greeting", async () => {
    const mx = await host({ certificate: good, implicit: true });
    const session = await opened(mx.port, ca.pem, { ...dane(good), tls: "implicit" }, { judgeDane: slowly(() => undefined, true) });
    expect((await session.deliver(transaction())).recipients[0]?.kind).toBe("delivered");
    session.destroy();
  });

  test("a reply that comes while it is thinking answers nothing that is said afterwards", async () => {
    const mx = await host({ certificate: good });
    const judgeDane = slowly(() => mx.connections[0]?.say("250-mx.example.test\r\n250 REQUIRETLS\r\n"), true);
    const result = await open(mx.port, ca.pem, dane(good), { judgeDane });
    expect(result).toMatchObject({ kind: "failed", step: "ehlo", permanent: false, problem: { type: "protocol-error" } });
    await mx.quiet();
    expect(mx.heard.join()).not.toMatch(/tls|MAIL/);
  });

  test("a host that is gone when it has spoken is a lost connection", async () => {
    const mx = await host({ certificate: good });
    const judgeDane = slowly(() => void mx.connections[0]?.socket.end(), true);
    expect(await open(mx.port, ca.pem, dane(good), { judgeDane })).toMatchObject({ kind: "failed", problem: { type: "connection-lost" } });
  });

  test("a host that refuses our handshake meanwhile has refused it (RFC 8446 §4.4.4)", async () => {
    const mx = await host({ certificate: good, demandsClientCertificate: true, tls: { minVersion: "TLSv1.3" } });
    const result = await open(mx.port, ca.pem, dane(good), { judgeDane: slowly(() => undefined, true) });
    expect(result).toMatchObject({ kind: "failed", step: "handshake", problem: { type: "validation-failure" } });
  });

  test("a judge that breaks has proven nothing", async () => {
    const judgeDane = () => Promise.reject(new Error("odd certificate"));
    const mx = await host({ certificate: good });
    expect(await open(mx.port, ca.pem, dane(good), { judgeDane })).toMatchObject({
      kind: "failed",
      problem: { type: "validation-failure", whoActs: "you", detail: expect.stringContaining("odd certificate") },
    });
    const watching = await opened(mx.port, ca.pem, dane(good, { demanded: false }), { judgeDane });
    expect(watching.tls.kind).toBe("authenticated");
    watching.destroy();
  });
});

describe("a login goes to a proven host only (RFC 4954 §14)", () => {
  test("with every demand met, and never before", async () => {
    const login = { username: "relay", password: "s3cret" };
    const behaviour = { certificate: selfSigned, extensions: ["AUTH PLAIN"] };
    const mx = await host(behaviour);
    const session = await opened(mx.port, ca.pem, { ...dane(selfSigned), login });
    expect(mx.heard.at(-1)).toMatch(/^tls AUTH PLAIN/);
    session.destroy();
    const refused = await failure(behaviour, { ...dane(selfSigned), sts: true, login });
    expect(refused.heard.join()).not.toContain("AUTH");
  });
});
