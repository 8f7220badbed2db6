/** What our ClientHello says, and what it must not say (RFC 8446 §4.1.2, RFC 6066 §3, RFC 7301). */
import type { TLSSocket } from "node:tls";
import { afterEach, describe, expect, test } from "vitest";
import { createTestCa } from "../../support/certificates.ts";
import { ScriptedMx } from "../../support/scripted-mx.ts";
import { leafKeyRecord, MX_NAME, open, opened, type TargetWishes, transaction } from "../../support/smtp-session.ts";

const ca = await createTestCa();
const certificate = await ca.issue({ names: [MX_NAME] });
const hosts: ScriptedMx[] = [];
afterEach(() => Promise.all(hosts.splice(0).map((mx) => mx.close())));

interface Hello {
  readonly suites: readonly number[];
  readonly compression: readonly number[];
  readonly extensions: ReadonlyMap<number, Buffer>;
  readonly sessionId: number;
}

async function clientHello(wishes: TargetWishes = {}): Promise<Hello> {
  let octets = Buffer.alloc(0);
  const mx = await ScriptedMx.open({
    certificate,
    afterStartTls(socket) {
      socket.on("data", (chunk: Buffer) => {
        octets = Buffer.concat([octets, chunk]);
        if (octets.length >= 5 && octets.length >= 5 + octets.readUInt16BE(3)) socket.destroy();
      });
    },
  });
  hosts.push(mx);
  await open(mx.port, ca.pem, wishes);
  return parseHello(octets);
}

/** RFC 8446 §4.1.2, without its record and handshake headers. */
function parseHello(record: Buffer): Hello {
  // A handshake record with a ClientHello is the first thing that follows the 220 (RFC 3207 §4).
  expect([record[0], record[5]]).toEqual([22, 1]);
  let at = 5 + 4 + 2 + 32;
  const take = (width: 1 | 2): Buffer => {
    const length = record.readUIntBE(at, width);
    at += width + length;
    return record.subarray(at - length, at);
  };
  const sessionId = take(1).length;
  const suites = take(2);
  const compression = [...take(1)];
  const end = at + 2 + record.readUInt16BE(at);
  at += 2;
  const extensions = new Map<number, Buffer>();
  while (at < end) {
    const type = record.readUInt16BE(at);
    at += 2;
    extensions.set(type, take(2));
  }
  return { sessionId, suites: Array.from({ length: suites.length / 2 }, (_, n) => suites.readUInt16BE(n * 2)), compression, extensions };
}

const SERVER_NAME = 0;
const ALPN = 16;
const SESSION_TICKET = 35;
const EARLY_DATA = 42;
const PRE_SHARED_KEY = 41;
const SUPPORTED_VERSIONS = 43;
/** Raw public keys (RFC 7250): a key without a certificate, which our evidence has no place for. */
const CERTIFICATE_TYPES = [19, 20];
const FORBIDDEN = {
  "NULL-SHA": 0x0002,
  "RC4-MD5": 0x0004,
  "RC4-SHA": 0x0005,
  "3DES": 0x000a,
  "EDH-3DES": 0x0016,
  "ADH-AES": 0x0034,
  "EXP-RC4": 0x0003,
  "NULL-SHA256": 0x003b,
  "ADH-GCM": 0x00a6,
  "AECDH-AES": 0xc018,
};

const demands: Record<string, TargetWishes> = {
  "floor clear": { atLeast: "clear" },
  "floor encrypted": { atLeast: "encrypted" },
  "floor authenticated": { atLeast: "authenticated" },
  "MTA-STS": { sts: true },
  DANE: { atLeast: "authenticated", dane: { records: [leafKeyRecord(certificate)] } },
  "DANE demanded, whatever the floor": { atLeast: "clear", dane: { records: [leafKeyRecord(certificate)] } },
  "unusable TLSA records": { daneUnusable: true },
  REQUIRETLS: { requireTls: "mandatory" },
};
const UNPROVEN = ["floor clear", "floor encrypted", "unusable TLSA records"];

describe.each(Object.keys(demands))("under %s", (demand) => {
  const wishes = demands[demand] as TargetWishes;
  test("the MX name is asked for; no ALPN, no ticket, no early data, no raw key, no compression", async () => {
    const { extensions, compression } = await clientHello(wishes);
    expect(extensions.get(SERVER_NAME)?.toString("latin1")).toContain(MX_NAME);
    for (const absent of [ALPN, SESSION_TICKET, EARLY_DATA, PRE_SHARED_KEY, ...CERTIFICATE_TYPES])
      expect(extensions.has(absent)).toBe(false);
    expect(compression).toEqual([0]);
  });

  test("TLS 1.2 and 1.3, nothing older, and no suite without authentication or encryption", async () => {
    const { extensions, suites } = await clientHello(wishes);
    const versions = extensions.get(SUPPORTED_VERSIONS) ?? Buffer.alloc(1);
    expect(Array.from({ length: (versions[0] ?? 0) / 2 }, (_, n) => versions.readUInt16BE(1 + n * 2))).toEqual([0x0304, 0x0303]);
    for (const [name, suite] of Object.entries(FORBIDDEN)) expect(suites, name).not.toContain(suite);
    const staticRsa = [0x002f, 0x0035, 0x003c, 0x003d, 0x009c, 0x009d];
    // Where nothing must be proven, they are better than clear.
    expect(suites.some((suite) => staticRsa.includes(suite))).toBe(UNPROVEN.includes(demand));
  });
});

const names: [serverName: string | null, asked: string | undefined][] = [
  ["mx.example.test.", "mx.example.test"],
  ["xn--bcher-kva.test", "xn--bcher-kva.test"],
  ["192.0.2.1", undefined],
  ["2001:db8::1", undefined],
  [null, undefined],
];
test.each(names)("SNI for %j is %j", async (serverName, asked) => {
  const { extensions } = await clientHello({ serverName });
  expect(extensions.get(SERVER_NAME)?.subarray(5).toString("latin1")).toBe(asked);
});

test("a second connection to the same host does not resume the first one's session", async () => {
  const mx = await ScriptedMx.open({ certificate, tls: { maxVersion: "TLSv1.2" } });
  hosts.push(mx);
  for (let round = 0; round < 2; round += 1) {
    const session = await opened(mx.port, ca.pem, { atLeast: "authenticated" });
    expect(session.tls).toMatchObject({ kind: "authenticated", session: { chain: [{ names: [MX_NAME] }] } });
    await session.deliver(transaction());
    await session.quit();
  }
});

test("a host that asks to renegotiate is left", async () => {
  const mx = await ScriptedMx.open({ certificate, tls: { maxVersion: "TLSv1.2" } });
  hosts.push(mx);
  const session = await opened(mx.port, ca.pem, { atLeast: "authenticated" });
  const secured = mx.connections[0]!.socket as TLSSocket;
  let again = 0;
  secured.on("secure", () => (again += 1));
  secured.renegotiate({}, () => undefined);
  await mx.quiet();
  expect(again).toBe(0);
  expect(session.usable).toBe(false);
  expect((await session.deliver(transaction())).recipients[0]?.kind).toBe("elsewhere");
  session.destroy();
});
