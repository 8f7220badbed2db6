/**
 * Every way we know of to strip, weaken or fake the TLS of a receiving host, as a table: what the host does, what becomes
 * of a message under each floor, and the word for it; what published policy makes of it follows (run-row.ts). Each row has its honest twin, the same host without the one
 * fault, which must be delivered to: else a row would prove nothing.
 */
import { getDiffieHellman } from "node:crypto";
import type { Socket } from "node:net";
import type { TlsFailureType } from "../../src/policy/outcome.ts";
import { createTestCa, type IssuedCertificate, issueBelow, type TestCa } from "../support/certificates.ts";
import type { MxBehaviour, MxConnection } from "../support/scripted-mx.ts";
import { MX_NAME } from "../support/smtp-session.ts";

export interface Kit {
  /** Trusted by the relay. */
  readonly ca: TestCa;
  readonly good: IssuedCertificate;
  readonly goodRsa: IssuedCertificate;
}

/** What became of the message: `refused` means that the host never heard of it. */
export type Verdict = "refused" | "clear" | "encrypted" | "authenticated";

export interface Row {
  readonly name: string;
  readonly type: TlsFailureType;
  /** Found in the sentence that tells why. */
  readonly detail: RegExp;
  readonly authenticated: Verdict;
  readonly encrypted: Verdict;
  readonly opportunistic: Verdict;
  readonly faulty: (kit: Kit) => MxBehaviour | Promise<MxBehaviour>;
  /** Default: the good certificate, and nothing else. */
  readonly honest?: (kit: Kit) => MxBehaviour | Promise<MxBehaviour>;
}

export async function makeKit(): Promise<Kit> {
  const ca = await createTestCa();
  return { ca, good: await ca.issue({ names: [MX_NAME] }), goodRsa: await ca.issue({ names: [MX_NAME], key: "rsa-2048" }) };
}

const DAY = 86_400_000;
const around = (days: number) => new Date(Math.floor(Date.now() / DAY) * DAY + days * DAY);

/** No usable STARTTLS at all. */
const STRIPPED = { type: "starttls-not-supported", authenticated: "refused", encrypted: "refused", opportunistic: "clear" } as const;
/** A handshake that must not come to an end. */
const BROKEN = { type: "validation-failure", authenticated: "refused", encrypted: "refused", opportunistic: "clear" } as const;
/** TLS, but nobody knows with whom. */
const UNPROVEN = { authenticated: "refused", encrypted: "encrypted", opportunistic: "encrypted" } as const;

function answering(command: string, said: string): (kit: Kit) => MxBehaviour {
  return ({ good }) => ({ certificate: good, answer: (heard) => (heard === command ? said : undefined) });
}

function closing(command: string, how: (socket: Socket) => void): (kit: Kit) => MxBehaviour {
  return ({ good }) => ({
    certificate: good,
    answer(heard, { socket }) {
      if (heard !== command) return undefined;
      how(socket);
      return null;
    },
  });
}

/** After the 220 a script speaks in place of TLS, once the ClientHello has come. */
function scripted(speak: (socket: Socket) => void): (kit: Kit) => MxBehaviour {
  return ({ goodRsa }) => ({
    certificate: goodRsa,
    afterStartTls(socket: Socket, connection: MxConnection) {
      socket.once("data", () => speak(socket));
      socket.on("data", (chunk: Buffer) => connection.reads.push(chunk.toString("latin1")));
      // An honest server would go on here; this one only wants to see whether the client does.
      socket.on("end", () => socket.end());
    },
  });
}

/** A ServerHello that chooses what it was never offered, for what OpenSSL no longer knows how to speak (RFC 5246 §7.4.1.3). */
function choosing(version: number, suite: number): (kit: Kit) => MxBehaviour {
  return scripted((socket) => {
    const hello = Buffer.concat([
      Buffer.from([version >> 8, version & 255]),
      Buffer.alloc(32, 7),
      Buffer.from([0, suite >> 8, suite & 255, 0]),
    ]);
    const handshake = Buffer.concat([Buffer.from([2, 0, 0, hello.length]), hello]);
    socket.write(Buffer.concat([Buffer.from([22, version >> 8, version & 255, 0, handshake.length]), handshake]));
  });
}

function dhParameters(group: "modp2" | "modp14"): string {
  const prime = getDiffieHellman(group).getPrime();
  const integer = Buffer.concat([derHead(2, prime.length + 1), Buffer.from([0]), prime]);
  const content = Buffer.concat([integer, Buffer.from([2, 1, 2])]);
  const der = Buffer.concat([derHead(0x30, content.length), content]);
  return `-----BEGIN DH PARAMETERS-----\n${der.toString("base64").replace(/.{64}/g, "$&\n")}\n-----END DH PARAMETERS-----\n`;
}

function derHead(tag: number, length: number): Buffer {
  return length < 128
    ? Buffer.from([tag, length])
    : length < 256
      ? Buffer.from([tag, 0x81, length])
      : Buffer.from([tag, 0x82, length >> 8, length & 255]);
}

const tls12 = { minVersion: "TLSv1.2", maxVersion: "TLSv1.2" } as const;

export const ROWS: readonly Row[] = [
  // What EHLO says.
  {
    ...STRIPPED,
    name: "keyword removed",
    detail: /does not offer STARTTLS;|does not offer STARTTLS$/,
    faulty: ({ good }) => ({ certificate: good, startTlsKeyword: "" }),
  },
  {
    ...STRIPPED,
    name: "keyword XXXXXXXA",
    detail: /but XXXXXXXA/,
    faulty: ({ good }) => ({ certificate: good, startTlsKeyword: "XXXXXXXA" }),
  },
  { ...STRIPPED, name: "keyword XSTART", detail: /but XSTART/, faulty: ({ good }) => ({ certificate: good, startTlsKeyword: "XSTART" }) },
  {
    ...STRIPPED,
    name: "STARTTLS in the greeting only",
    detail: /does not offer/,
    faulty: ({ good }) => ({ certificate: good, startTlsKeyword: "", greeting: "220-mx.example.test\r\n220-STARTTLS\r\n220 STARTTLS\r\n" }),
    honest: ({ good }) => ({ certificate: good, greeting: "220-mx.example.test\r\n220-STARTTLS\r\n220 STARTTLS\r\n" }),
  },
  {
    ...STRIPPED,
    name: "STARTTLS in the first line only",
    detail: /does not offer/,
    faulty: answering("EHLO relay.test", "250-STARTTLS\r\n250 PIPELINING\r\n"),
  },
  {
    ...STRIPPED,
    name: "STARTTLS inside another keyword",
    detail: /does not offer/,
    faulty: answering("EHLO relay.test", "250-mx.example.test\r\n250-X-STARTTLS\r\n250 STARTTLS.example.test\r\n"),
  },
  {
    ...STRIPPED,
    name: "HELO only",
    detail: /does not know EHLO|does not offer/,
    faulty: answering("EHLO relay.test", "502 5.5.1 what?\r\n"),
  },
  // What STARTTLS is answered.
  { ...STRIPPED, name: "454 to STARTTLS", detail: /454 4.7.0/, faulty: answering("STARTTLS", "454 4.7.0 TLS not available\r\n") },
  { ...STRIPPED, name: "501 to STARTTLS", detail: /501 5.5.4/, faulty: answering("STARTTLS", "501 5.5.4 syntax\r\n") },
  { ...STRIPPED, name: "502 to STARTTLS", detail: /502 5.5.1/, faulty: answering("STARTTLS", "502 5.5.1 what?\r\n") },
  { ...STRIPPED, name: "250 to STARTTLS", detail: /250 fine/, faulty: answering("STARTTLS", "250 fine\r\n") },
  { ...STRIPPED, name: "421 to STARTTLS", detail: /421 4.3.2/, faulty: answering("STARTTLS", "421 4.3.2 going down\r\n") },
  { ...STRIPPED, name: "closed at STARTTLS", detail: /closed the connection/, faulty: closing("STARTTLS", (socket) => socket.end()) },
  {
    ...STRIPPED,
    name: "reset at STARTTLS",
    detail: /ECONNRESET|closed/,
    faulty: closing("STARTTLS", (socket) => socket.resetAndDestroy()),
  },
  // What comes after the 220.
  {
    ...BROKEN,
    name: "text injected behind the 220",
    detail: /starttls-injection/,
    faulty: ({ good }) => ({ certificate: good, injected: "250-mx.example.test\r\n250 PIPELINING\r\n" }),
  },
  {
    ...BROKEN,
    name: "part of a line injected behind the 220",
    detail: /starttls-injection/,
    faulty: ({ good }) => ({ certificate: good, injected: "2" }),
  },
  {
    ...BROKEN,
    name: "text in place of the ServerHello",
    detail: /something else/,
    faulty: scripted((socket) => socket.write("250 2.0.0 already secure, go on\r\n")),
  },
  { ...BROKEN, name: "closed in the handshake", detail: /handshake-reset/, faulty: scripted((socket) => socket.end()) },
  { ...BROKEN, name: "reset in the handshake", detail: /handshake-reset/, faulty: scripted((socket) => socket.resetAndDestroy()) },
  {
    ...BROKEN,
    name: "alert in the handshake",
    detail: /none of the cipher suites/,
    faulty: scripted((socket) => socket.write(Buffer.from([21, 3, 3, 0, 2, 2, 40]))),
  },
  {
    ...BROKEN,
    name: "TLS 1.3 refused after the handshake",
    detail: /certificate of this relay/,
    faulty: ({ good }) => ({ certificate: good, demandsClientCertificate: true, tls: { minVersion: "TLSv1.3", maxVersion: "TLSv1.3" } }),
    honest: ({ good }) => ({ certificate: good, tls: { minVersion: "TLSv1.3", maxVersion: "TLSv1.3" } }),
  },
  // Certificates.
  {
    ...UNPROVEN,
    name: "another name",
    type: "certificate-host-mismatch",
    detail: /is for other\.example\.test/,
    faulty: async ({ ca }) => ({ certificate: await ca.issue({ names: ["other.example.test"] }) }),
  },
  {
    ...UNPROVEN,
    name: "the name in the common name only",
    type: "certificate-host-mismatch",
    detail: /no DNS name/,
    faulty: async ({ ca }) => ({ certificate: await ca.issue({ names: [], commonName: MX_NAME }) }),
  },
  {
    ...UNPROVEN,
    name: "a wildcard one level up",
    type: "certificate-host-mismatch",
    detail: /\*\.test/,
    faulty: async ({ ca }) => ({ certificate: await ca.issue({ names: ["*.test"] }) }),
    honest: async ({ ca }) => ({ certificate: await ca.issue({ names: ["*.example.test"] }) }),
  },
  {
    ...UNPROVEN,
    name: "expired",
    type: "certificate-expired",
    detail: /ended \d{4}-\d\d-\d\d \d\d:\d\d UTC/,
    faulty: async ({ ca }) => ({ certificate: await ca.issue({ names: [MX_NAME], from: around(-60), to: around(-1) }) }),
  },
  {
    ...UNPROVEN,
    name: "not yet valid",
    type: "validation-failure",
    detail: /certificate-not-yet-valid/,
    faulty: async ({ ca }) => ({ certificate: await ca.issue({ names: [MX_NAME], from: around(2), to: around(60) }) }),
  },
  {
    ...UNPROVEN,
    name: "self-signed",
    type: "certificate-not-trusted",
    detail: /self-signed/,
    faulty: async ({ ca }) => ({ certificate: await ca.issue({ names: [MX_NAME], selfSigned: true }) }),
  },
  {
    ...UNPROVEN,
    name: "of a CA nobody trusts",
    type: "certificate-not-trusted",
    detail: /not trusted here/,
    faulty: async () => ({ certificate: await (await createTestCa({ name: "Nobody's Root" })).issue({ names: [MX_NAME] }) }),
  },
  {
    ...UNPROVEN,
    name: "intermediate not sent",
    type: "certificate-not-trusted",
    detail: /intermediate certificate was not sent/,
    faulty: async ({ ca }) => {
      const whole = await (await ca.subordinate({ name: "Sub" })).issue({ names: [MX_NAME] });
      return {
        certificate: { ...whole, certificate: `${whole.certificate.split("-----END CERTIFICATE-----")[0]}-----END CERTIFICATE-----\n` },
      };
    },
    honest: async ({ ca }) => ({ certificate: await (await ca.subordinate({ name: "Sub" })).issue({ names: [MX_NAME] }) }),
  },
  {
    ...UNPROVEN,
    name: "issued by a certificate that is no CA",
    type: "certificate-not-trusted",
    detail: /not valid|not trusted/,
    faulty: async ({ good }) => ({ certificate: await issueBelow(good, { names: [MX_NAME] }) }),
  },
  {
    ...UNPROVEN,
    name: "RSA 1024",
    type: "certificate-not-trusted",
    detail: /RSA key of 1024 bits/,
    faulty: async ({ ca }) => ({
      certificate: await ca.issue({ names: [MX_NAME], key: "rsa-1024" }),
      tls: { ciphers: "DEFAULT@SECLEVEL=0" },
    }),
    honest: ({ goodRsa }) => ({ certificate: goodRsa }),
  },
  {
    ...UNPROVEN,
    name: "signed with SHA-1",
    type: "certificate-not-trusted",
    detail: /signed with SHA-1/,
    faulty: async ({ ca }) => ({
      certificate: await ca.issue({ names: [MX_NAME], key: "rsa-2048", digest: "sha1" }),
      tls: { ciphers: "DEFAULT@SECLEVEL=0" },
    }),
    honest: ({ goodRsa }) => ({ certificate: goodRsa }),
  },
  {
    ...UNPROVEN,
    name: "SHA-1 further up the path",
    type: "certificate-not-trusted",
    detail: /above it is signed with SHA-1/,
    faulty: async ({ ca }) => ({
      certificate: await (await ca.subordinate({ name: "SHA-1 Sub", digest: "sha1" })).issue({ names: [MX_NAME] }),
      tls: { ciphers: "DEFAULT@SECLEVEL=0" },
    }),
    honest: async ({ ca }) => ({ certificate: await (await ca.subordinate({ name: "SHA-256 Sub" })).issue({ names: [MX_NAME] }) }),
  },
  // Versions.
  { ...BROKEN, name: "SSL 3.0 (scripted)", detail: /no TLS 1\.2|something else/, faulty: choosing(0x0300, 0x002f) },
  { ...BROKEN, name: "TLS 1.0 (scripted)", detail: /no TLS 1\.2/, faulty: choosing(0x0301, 0x002f) },
  {
    ...BROKEN,
    name: "TLS 1.0 only",
    detail: /no TLS 1\.2/,
    faulty: ({ goodRsa }) => ({ certificate: goodRsa, tls: { minVersion: "TLSv1", maxVersion: "TLSv1", ciphers: "ALL@SECLEVEL=0" } }),
  },
  {
    ...BROKEN,
    name: "TLS 1.1 only",
    detail: /no TLS 1\.2/,
    faulty: ({ goodRsa }) => ({ certificate: goodRsa, tls: { minVersion: "TLSv1.1", maxVersion: "TLSv1.1", ciphers: "ALL@SECLEVEL=0" } }),
  },
  // Suites. Real servers where OpenSSL still has the suite, a scripted hello where not.
  { ...BROKEN, name: "NULL (scripted)", detail: /not offered/, faulty: choosing(0x0303, 0x003b) },
  {
    ...BROKEN,
    name: "NULL only",
    detail: /none of the cipher suites/,
    faulty: ({ goodRsa }) => ({ certificate: goodRsa, tls: { ...tls12, ciphers: "eNULL@SECLEVEL=0" } }),
  },
  { ...BROKEN, name: "anonymous DH (scripted)", detail: /not offered/, faulty: choosing(0x0303, 0x006c) },
  {
    ...BROKEN,
    name: "anonymous only",
    detail: /none of the cipher suites/,
    faulty: ({ goodRsa }) => ({ certificate: goodRsa, tls: { ...tls12, ciphers: "aNULL@SECLEVEL=0", dhparam: dhParameters("modp14") } }),
  },
  { ...BROKEN, name: "RC4 (scripted)", detail: /not offered/, faulty: choosing(0x0303, 0x0005) },
  { ...BROKEN, name: "3DES (scripted)", detail: /not offered/, faulty: choosing(0x0303, 0x000a) },
  { ...BROKEN, name: "export RC4-40 (scripted)", detail: /not offered/, faulty: choosing(0x0303, 0x0003) },
  { ...BROKEN, name: "export DES-40 (scripted)", detail: /not offered/, faulty: choosing(0x0303, 0x0008) },
  {
    ...BROKEN,
    name: "DH 1024 only",
    detail: /fewer than 2048 bits/,
    faulty: ({ goodRsa }) => ({
      certificate: goodRsa,
      tls: { ...tls12, ciphers: "DHE-RSA-AES128-GCM-SHA256@SECLEVEL=0", dhparam: dhParameters("modp2") },
    }),
    honest: ({ goodRsa }) => ({
      certificate: goodRsa,
      tls: { ...tls12, ciphers: "DHE-RSA-AES128-GCM-SHA256", dhparam: dhParameters("modp14") },
    }),
  },
  {
    ...UNPROVEN,
    name: "static RSA only",
    type: "validation-failure",
    detail: /none of the cipher suites|forward secrecy/,
    faulty: ({ goodRsa }) => ({ certificate: goodRsa, tls: { ...tls12, ciphers: "AES128-GCM-SHA256" } }),
    honest: ({ goodRsa }) => ({ certificate: goodRsa, tls: { ...tls12, ciphers: "ECDHE-RSA-AES128-GCM-SHA256" } }),
  },
  {
    ...UNPROVEN,
    name: "CBC only",
    type: "validation-failure",
    detail: /none of the cipher suites|AEAD/,
    faulty: ({ goodRsa }) => ({ certificate: goodRsa, tls: { ...tls12, ciphers: "ECDHE-RSA-AES128-SHA" } }),
    honest: ({ goodRsa }) => ({ certificate: goodRsa, tls: { ...tls12, ciphers: "ECDHE-RSA-AES128-GCM-SHA256" } }),
  },
];
