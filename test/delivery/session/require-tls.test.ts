/** REQUIRETLS towards a host (RFC 8689 §4.2.1): where it may be said, and which failures are the last word. */
import { afterEach, describe, expect, test } from "vitest";
import type { ProblemType } from "../../../src/queue/settlement.ts";
import { mayBeFinal } from "../../../src/delivery/problems.ts";
import { createTestCa } from "../../support/certificates.ts";
import { type Answer, type MxBehaviour, ScriptedMx } from "../../support/scripted-mx.ts";
import { leafKeyRecord, MX_NAME, open, opened, type TargetWishes, transaction } from "../../support/smtp-session.ts";

const ca = await createTestCa();
const certificate = await ca.issue({ names: [MX_NAME] });
const selfSigned = await ca.issue({ names: [MX_NAME], selfSigned: true });
const otherName = await ca.issue({ names: ["other.test"] });
const expired = await ca.issue({ names: [MX_NAME], from: new Date(Date.now() - 20 * 86_400_000), to: new Date(Date.now() - 86_400_000) });
const notYet = await ca.issue({ names: [MX_NAME], from: new Date(Date.now() + 86_400_000) });
const hosts: ScriptedMx[] = [];
afterEach(() => Promise.all(hosts.splice(0).map((mx) => mx.close())));

async function host(behaviour: MxBehaviour): Promise<ScriptedMx> {
  const mx = await ScriptedMx.open(behaviour);
  hosts.push(mx);
  return mx;
}

const WITH = ["PIPELINING", "ENHANCEDSTATUSCODES", "REQUIRETLS"];
const WITHOUT = ["PIPELINING", "ENHANCEDSTATUSCODES"];
const mandatory = { requireTls: "mandatory" } as const;

const saying =
  (command: string, said: string): Answer =>
  (heard) =>
    heard.split(/[ :]/)[0] === command ? said : undefined;

describe("the parameter", () => {
  const inClear = { extensions: WITH, certificate, startTlsKeyword: "" };
  const proven = { extensions: WITHOUT, tlsExtensions: WITH, certificate };
  const cases: [name: string, behaviour: MxBehaviour, target: TargetWishes, asked: "required" | "preferred" | undefined, said: boolean][] =
    [
      ["asked for, offered under proven TLS", proven, mandatory, "required", true],
      [
        "asked for, proven by DANE",
        { ...proven, certificate: selfSigned },
        { ...mandatory, dane: { records: [leafKeyRecord(selfSigned)] } },
        "required",
        true,
      ],
      ["any case of letters", { ...proven, tlsExtensions: ["requiretls"] }, mandatory, "required", true],
      ["not asked for", proven, { atLeast: "authenticated" }, undefined, false],
      ["wished for, offered under proven TLS", proven, { requireTls: "preferred" }, "preferred", true],
      ["wished for, not offered", { ...proven, tlsExtensions: WITHOUT }, { requireTls: "preferred" }, "preferred", false],
      ["wished for, offered by nobody knows whom", { ...proven, certificate: selfSigned }, { requireTls: "preferred" }, "preferred", false],
      ["wished for, offered in clear", inClear, { requireTls: "preferred" }, "preferred", false],
      [
        "wished for, offered in clear only",
        { ...proven, extensions: WITH, tlsExtensions: WITHOUT },
        { requireTls: "preferred" },
        "preferred",
        false,
      ],
    ];
  test.each(cases)("%s", async (_name, behaviour, target, asked, said) => {
    const mx = await host(behaviour);
    const session = await opened(mx.port, ca.pem, target);
    const report = await session.deliver(transaction(asked === undefined ? {} : { requireTls: asked }));
    expect(report.recipients[0]?.kind).toBe("delivered");
    expect(session.offersRequireTls).toBe(said || (asked === undefined && session.tls.kind === "authenticated"));
    const mail = mx.heard.find((line) => line.includes("MAIL"));
    expect(mail).toBe(`${session.tls.kind === "clear" ? "clear" : "tls"} MAIL FROM:<app@sender.test>${said ? " REQUIRETLS" : ""}`);
    session.destroy();
  });

  test.each([
    ["listed before TLS only", WITH, WITHOUT],
    ["listed nowhere", WITHOUT, WITHOUT],
    ["in another keyword", WITHOUT, ["REQUIRETLSX", "X-REQUIRETLS"]],
  ])("%s: the host is out for this message, and hears no MAIL", async (_name, extensions, tlsExtensions) => {
    const mx = await host({ extensions, tlsExtensions, certificate });
    const session = await opened(mx.port, ca.pem, mandatory);
    const report = await session.deliver(transaction({ requireTls: "required", recipients: ["a@d.test", "b@d.test"] }));
    for (const recipient of report.recipients) {
      expect(recipient).toMatchObject({
        kind: "elsewhere",
        permanent: true,
        problem: { type: "requiretls-not-offered", status: "5.7.30", host: MX_NAME, whoActs: "sender" },
      });
      if (recipient.kind === "elsewhere") expect(mayBeFinal(recipient.problem)).toBe(true);
    }
    expect(mx.heard.join()).not.toContain("MAIL");
    // Another message, which asks for nothing, may use the session all the same.
    expect((await session.deliver(transaction())).recipients[0]?.kind).toBe("delivered");
    await session.quit();
  });

  test("a 5yz to the parameter is not tried again without it", async () => {
    const mx = await host({ extensions: WITH, certificate, answer: saying("MAIL", "555 5.5.4 no such parameter\r\n") });
    const session = await opened(mx.port, ca.pem, mandatory);
    const report = await session.deliver(transaction({ requireTls: "required" }));
    expect(report.recipients[0]).toMatchObject({ kind: "failed" });
    expect(mx.heard.filter((line) => line.includes("MAIL"))).toHaveLength(1);
    session.destroy();
  });
});

describe("a host that cannot be used for it", () => {
  const OLD_TLS = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "ALL@SECLEVEL=0" } as const;
  const cases: [name: string, behaviour: MxBehaviour, type: ProblemType, permanent: boolean, detail: RegExp][] = [
    ["no STARTTLS", { certificate, startTlsKeyword: "" }, "requiretls-unmet", true, /does not offer STARTTLS/],
    ["no EHLO", { certificate, answer: saying("EHLO", "502 what?\r\n") }, "requiretls-unmet", true, /does not know EHLO/],
    ["5yz to STARTTLS", { certificate, answer: saying("STARTTLS", "502 no\r\n") }, "requiretls-unmet", true, /502 no/],
    ["another name", { certificate: otherName }, "requiretls-unmet", true, /is for other\.test/],
    ["self-signed", { certificate: selfSigned }, "requiretls-unmet", true, /self-signed/],
    ["expired", { certificate: expired }, "requiretls-unmet", true, /ended/],
    ["4yz to STARTTLS", { certificate, answer: saying("STARTTLS", "454 later\r\n") }, "starttls-not-supported", false, /454 later/],
    ["421 to STARTTLS", { certificate, answer: saying("STARTTLS", "421 busy\r\n") }, "starttls-not-supported", false, /421 busy/],
    ["250 to STARTTLS", { certificate, answer: saying("STARTTLS", "250 fine\r\n") }, "starttls-not-supported", false, /250 fine/],
    [
      "closed at STARTTLS",
      { certificate, answer: (command, { socket }) => (command === "STARTTLS" ? (socket.end(), null) : undefined) },
      "starttls-not-supported",
      false,
      /closed/,
    ],
    ["injected text", { certificate, injected: "250 x\r\n" }, "validation-failure", false, /injection/],
    ["a handshake that fails", { certificate, tls: OLD_TLS }, "validation-failure", false, /unsupported-protocol/],
    ["not yet valid", { certificate: notYet }, "validation-failure", false, /not valid before/],
    ["5yz in clear", { certificate, greeting: "554 no\r\n" }, "rejected", false, /anybody on the way/],
    ["4yz in clear", { certificate, greeting: "450 no\r\n" }, "rejected", false, /450 no/],
  ];
  test.each(cases)("%s: %s, final: %s", async (_name, behaviour, type, permanent, detail) => {
    const mx = await host({ extensions: WITH, ...behaviour });
    const result = await open(mx.port, ca.pem, mandatory);
    if (result.kind !== "failed") throw new Error("a session was opened");
    await mx.quiet();
    expect(result).toMatchObject({ permanent, problem: { type } });
    expect(result.problem.detail).toMatch(detail);
    if (type !== "rejected" || /anybody/.test(detail.source)) expect(result.problem.detail).toContain("REQUIRETLS of the message");
    if (permanent) {
      expect(result.problem.status).toBe("5.7.10");
      expect(mayBeFinal(result.problem)).toBe(true);
    }
    expect(mx.connections).toHaveLength(1);
    expect(mx.heard.join()).not.toMatch(/MAIL|RCPT/);
  });

  test("a TLS that the operator switched off may be switched on again, so it waits", async () => {
    const mx = await host({ certificate });
    expect(await open(mx.port, ca.pem, { ...mandatory, tls: "never" })).toMatchObject({
      kind: "failed",
      permanent: false,
      problem: { type: "starttls-not-supported", whoActs: "you" },
    });
  });

  test("where another demand fails, both are told", async () => {
    const mx = await host({ certificate: selfSigned, extensions: WITH });
    const result = await open(mx.port, ca.pem, { ...mandatory, sts: true, dane: { records: [leafKeyRecord(selfSigned)] } });
    if (result.kind !== "failed") throw new Error("a session was opened");
    expect(result.problem.type).toBe("requiretls-unmet");
    expect(result.problem.detail).toMatch(/demanded by MTA-STS enforce of example\.test; and .* REQUIRETLS of the message$/);
  });

  test("a certificate that matches none of the TLSA records is no better than one that nobody trusts", async () => {
    const mx = await host({ certificate, extensions: WITH });
    const result = await open(mx.port, ca.pem, { ...mandatory, dane: { records: [leafKeyRecord(selfSigned)] } });
    expect(result).toMatchObject({ kind: "failed", permanent: true, problem: { type: "requiretls-unmet", status: "5.7.10" } });
  });

  test.each(["preferred", undefined] as const)("the same host is nobody's last word with %s", async (requireTls) => {
    const mx = await host({ certificate: otherName, extensions: WITH });
    const result = await open(mx.port, ca.pem, { atLeast: "authenticated", ...(requireTls !== undefined && { requireTls }) });
    expect(result).toMatchObject({ kind: "failed", permanent: false, problem: { type: "certificate-host-mismatch" } });
  });
});
