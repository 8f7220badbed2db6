/** What TLS-RPT is told of a policy that could not be had (RFC 8460 §4.3): type, code, and what was served. */
import { createServer } from "node:net";
import { describe, expect, test, vi } from "vitest";
import type { StsFetchResult } from "../../src/policy/sts-freshness.ts";
import type { TlsFailure } from "../../src/policy/outcome.ts";
import { servedText } from "../../src/lookup/sts-response.ts";
import { createTestCa } from "../support/certificates.ts";
import { type PolicyAnswer, policyText, type RawAnswer } from "../support/policy-host.ts";
import { EXAMPLE, fetchWorld, type FetchWishes, stsWorld } from "./sts-world.ts";
import { open } from "./world.ts";

const DAY = 86_400_000;
const NAMES = ["mta-sts.example.test"];
const ca = await createTestCa();
const text = policyText();

const inShort = (found: StsFetchResult): string => (found.ok ? "ok" : `${found.failure.type} ${found.failure.code}`);

type Given = string | PolicyAnswer | RawAnswer;

async function fetchWith(answer: Given, wishes: FetchWishes = {}): Promise<StsFetchResult> {
  const { host, fetch } = await fetchWorld(wishes);
  host.serve(EXAMPLE, answer);
  return fetch(EXAMPLE);
}

describe("a policy host that gives none: sts-policy-fetch-error", () => {
  const sized = (octets: number): PolicyAnswer => ({ body: text.padEnd(octets, "\n") });
  const rows: [event: string, answer: Given, code: string, wishes?: FetchWishes][] = [
    ["404", { status: 404 }, "http-404"],
    ["503", { status: 503 }, "http-503"],
    ["201", { status: 201, body: text }, "http-201"],
    ["another protocol", (socket) => socket.write("HTTP/1.1 101 Go\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"), "http-101"],
    ["301", { status: 301, headers: { location: "https://b.test/" } }, "redirect"],
    ["another media type", { headers: { "content-type": "text/html; jo@example.test" }, body: text }, "media-type"],
    ["no media type", { headers: { "content-type": undefined }, body: text }, "media-type"],
    ["a content coding", { headers: { "content-encoding": "gzip" }, body: text }, "content-encoding"],
    ["one octet too long", sized(65_537), "too-large"],
    ["no length", (socket) => socket.end(`HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n${text}`), "no-length"],
    [
      "a body cut short",
      (socket) => socket.end(`HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 999\r\n\r\n`),
      "connection-closed",
    ],
    ["a connection cut off", (socket) => socket.destroy(), "connection-reset"],
    ["no HTTP", (socket) => socket.end("220 mail.example.test ESMTP\r\n"), "hpe-invalid-constant"],
    ["interim responses without end", (socket) => socket.write("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(20)), "interim-responses"],
    ["no address", text, "dns", { zone: { "mta-sts.example.test": { TXT: ["x"] } } }],
    ["no such name", text, "dns", { zone: { "mta-sts.example.test": { CNAME: "gone.test" } } }],
    ["SERVFAIL for its address", text, "dns", { zone: { "mta-sts.example.test": { behave: { kind: "rcode", rcode: "SERVFAIL" } } } }],
    ["an address of our own network", text, "special-use-address", { allowed: [] }],
    ["nobody listens there", text, "connection-refused", { zone: { "mta-sts.example.test": { A: ["127.0.0.2"] } } }],
    ["TLS 1.1 at most", text, "unsupported-protocol", { tls: { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "ALL@SECLEVEL=0" } }],
  ];
  test.each(rows)("%s", async (_event, answer, code, wishes) => {
    expect(inShort(await fetchWith(answer, wishes))).toBe(`sts-policy-fetch-error ${code}`);
  });

  test("no TLS at all", async () => {
    const { host, fetch } = await fetchWorld({ zone: { "mta-sts.example.test": { A: ["127.0.0.2"] } } });
    const plain = createServer((socket) => socket.once("data", () => socket.end("HTTP/1.1 400 jo@example.test\r\n\r\n")));
    await new Promise<void>((done) => plain.listen(host.port, "127.0.0.2", done));
    open.push(plain);
    expect(inShort(await fetch(EXAMPLE))).toBe("sts-policy-fetch-error wrong-version-number");
  });

  test("the time is over", async () => {
    const { host, fetch, clock } = await fetchWorld();
    host.serve(EXAMPLE, () => undefined);
    const fetching = fetch(EXAMPLE);
    await vi.waitFor(() => expect(host.requests).toHaveLength(1));
    await clock.pass(60_000);
    expect(inShort(await fetching)).toBe("sts-policy-fetch-error timeout");
  });
});

describe("a policy host that is not proven: sts-webpki-invalid", async () => {
  const stranger = await createTestCa({ name: "Nobody's Root" });
  const past = { from: new Date(Date.now() - 9 * DAY), to: new Date(Date.now() - DAY) };
  const rows: [event: string, certificate: FetchWishes["certificate"], code: string][] = [
    ["another name", await ca.issue({ names: ["other.test"] }), "certificate-host-mismatch"],
    ["expired", await ca.issue({ names: NAMES, ...past }), "certificate-has-expired"],
    ["not yet valid", await ca.issue({ names: NAMES, from: new Date(Date.now() + DAY) }), "certificate-not-yet-valid"],
    ["self-signed", await ca.issue({ names: NAMES, selfSigned: true }), "self-signed-certificate"],
    ["unknown issuer", await stranger.issue({ names: NAMES }), "unable-to-verify-the-first-certificate"],
  ];
  test.each(rows)("%s", async (_event, certificate, code) => {
    const found = await fetchWith(text, certificate === undefined ? {} : { certificate });
    expect(inShort(found)).toBe(`sts-webpki-invalid ${code}`);
  });
});

describe("a body that is no policy: sts-policy-invalid, with the field at fault and the lines as served", () => {
  const rows: [event: string, body: string, code: string][] = [
    ["no version", "mode: none\nmax_age: 1", "version"],
    ["another mode", "version: STSv1\r\nmode: maybe\r\nmax_age: 1\r\n", "mode"],
    ["another max_age", "version: STSv1\nmode: none\nmax_age: -1", "max_age"],
    ["no mx", "version: STSv1\nmode: enforce\nmax_age: 1", "mx"],
    ["an HTML page", "<html>\nNot found</html>", "syntax"],
  ];
  test.each(rows)("%s", async (_event, body, code) => {
    const found = await fetchWith(body);
    expect(inShort(found)).toBe(`sts-policy-invalid ${code}`);
    expect(!found.ok && found.failure.served).toBe(body.replaceAll("\r", ""));
  });

  const bodies: [what: string, body: string | Buffer, kept: string][] = [
    ["lines in CRLF and LF", "a: 1\r\nb: 2\n\nc: 3\n", "a: 1\nb: 2\n\nc: 3\n"],
    ["controls", "a\u001b[31m\u0000b\tc\rd\u202e", "a?[31m?b?c?d?"],
    ["no UTF-8", Buffer.from([0x61, 0xff, 0x62]), "a\ufffdb"],
    ["nothing", "", ""],
    ["4096 octets", "x".repeat(4_096), "x".repeat(4_096)],
    ["more", "x".repeat(9_000), "x".repeat(4_096)],
    ["a character across the limit", `${"x".repeat(4_095)}ü`, "x".repeat(4_095)],
    ["many lines", "a\n".repeat(9_000), "a\n".repeat(2_048)],
  ];
  for (const [what, body, kept] of bodies)
    test(`of ${what}`, () => expect(servedText(typeof body === "string" ? Buffer.from(body) : body)).toBe(kept));
  test("of octets that grow by being made text: no more than 4096", () =>
    expect(Buffer.byteLength(servedText(Buffer.alloc(4_096, 0xff)))).toBeLessThanOrEqual(4_096));
});

describe("what is kept of it, and found by mail", () => {
  const failureOf = async (world: Awaited<ReturnType<typeof stsWorld>>): Promise<TlsFailure | undefined> => {
    const finding = await world.sts.find(EXAMPLE);
    return finding.kind === "unavailable"
      ? finding.failure
      : finding.kind === "policy" || finding.kind === "none"
        ? finding.trouble
        : undefined;
  };
  const short = (failure: TlsFailure | undefined): string => `${failure?.type} ${failure?.code}`;

  test("the lines as served are there for the next message, and for the next process", async () => {
    const world = await stsWorld();
    world.record("v=STSv1; id=1");
    world.host.serve(EXAMPLE, "version: STSv2\r\nmode: none\r\n");
    const first = await failureOf(world);
    expect(first).toMatchObject({ type: "sts-policy-invalid", code: "version", served: "version: STSv2\nmode: none\n" });
    expect(await failureOf(world)).toEqual(first);
    await world.sts.stop();
    expect(await failureOf(world.restart())).toEqual(first);
    expect(world.host.requests).toHaveLength(1);
  });

  test.each([
    ["gone", []],
    ["double", ["v=STSv1; id=1", "v=STSv1; id=1"]],
    ["broken", ["v=STSv1; id="]],
  ])("a record that is %s while a policy is kept: no-txt-record", async (_what, records) => {
    const world = await stsWorld();
    world.publish("1");
    await world.find();
    world.record(...records);
    await world.ttl();
    expect(short(await failureOf(world))).toBe("sts-policy-fetch-error no-txt-record");
  });

  test("and nothing where that policy has mode none", async () => {
    const world = await stsWorld();
    world.publish("1", { mode: "none" });
    await world.find();
    world.record();
    await world.ttl();
    expect(await failureOf(world)).toBeUndefined();
  });

  test("a record that cannot be looked up: dns", async () => {
    const world = await stsWorld();
    world.publish("1");
    await world.find();
    world.server.set("_mta-sts.example.test", { behave: { kind: "rcode", rcode: "SERVFAIL" } });
    await world.ttl();
    expect(short(await failureOf(world))).toBe("sts-policy-fetch-error dns");
  });
});
