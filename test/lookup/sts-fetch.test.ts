import { createServer, type Server } from "node:net";
import { connect } from "node:tls";
import { describe, expect, test, vi } from "vitest";
import type { Domain } from "../../src/mail/domain.ts";
import type { StsFetchResult } from "../../src/policy/sts-freshness.ts";
import { createTestCa } from "../support/certificates.ts";
import { type PolicyAnswer, policyText, type RawAnswer, startPolicyHost } from "../support/policy-host.ts";
import { EXAMPLE, fetchWorld, type FetchWishes } from "./sts-world.ts";
import { open } from "./world.ts";

const text = policyText();
const typeOf = (result: StsFetchResult): string => (result.ok ? "ok" : result.failure.type);
const detailOf = (result: StsFetchResult): string => (result.ok ? "" : result.failure.detail);

/** What comes of one fetch from a host that answers so. */
async function fetchWith(answer: string | PolicyAnswer | RawAnswer, wishes: FetchWishes = {}): Promise<StsFetchResult> {
  const { host, fetch } = await fetchWorld(wishes);
  host.serve(EXAMPLE, answer);
  return fetch(EXAMPLE);
}

describe("the request, RFC 8461 §3.2, §3.3", () => {
  test("is one GET of the well-known path, with the policy host in SNI and Host, and no word of caches or credentials", async () => {
    const { host, fetch } = await fetchWorld();
    host.serve(EXAMPLE, text);
    expect(await fetch(EXAMPLE)).toMatchObject({ ok: true, policy: { mode: "enforce", mx: ["mx.example.test"], maxAge: 604_800, text } });
    expect(host.serverNames).toEqual(["mta-sts.example.test"]);
    expect(host.requests).toMatchObject([{ method: "GET", url: "/.well-known/mta-sts.txt", serverName: "mta-sts.example.test" }]);
    const { host: name, "accept-encoding": encoding, ...others } = host.requests[0]?.headers ?? {};
    expect([name, encoding]).toEqual(["mta-sts.example.test", "identity"]);
    expect(Object.keys(others).toSorted()).toEqual(["accept", "connection", "user-agent"]);
  });

  test("stays with the policy host's own name where that is an alias", async () => {
    const zone = { "mta-sts.example.test": { CNAME: "mta-sts.provider.test" }, "mta-sts.provider.test": { A: ["127.0.0.1"] } };
    const { host, fetch } = await fetchWorld({ zone });
    host.serve(EXAMPLE, text);
    expect(typeOf(await fetch(EXAMPLE))).toBe("ok");
    expect(host.requests).toMatchObject([{ serverName: "mta-sts.example.test", headers: { host: "mta-sts.example.test" } }]);
  });

  test("sends the same words again however often, and resumes no session", async () => {
    for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
      const { host, fetch } = await fetchWorld({ tls: { maxVersion } });
      host.serve(EXAMPLE, { headers: { etag: '"1"', "cache-control": "max-age=60", "set-cookie": "a=b" }, body: text });
      expect([typeOf(await fetch(EXAMPLE)), typeOf(await fetch(EXAMPLE))]).toEqual(["ok", "ok"]);
      expect(host.requests.map(({ resumed }) => resumed)).toEqual([false, false]);
      expect(host.requests[1]?.headers).toEqual(host.requests[0]?.headers);
    }
  });
});

describe("the policy host's certificate, RFC 8461 §3.3", () => {
  const DAY = 86_400_000;
  const now = Date.now();
  const names = ["mta-sts.example.test"];
  const cases: [what: string, wishes: Parameters<Awaited<ReturnType<typeof createTestCa>>["issue"]>[0], result: string, detail?: RegExp][] =
    [
      ["its name", { names }, "ok"],
      ["its name in capitals", { names: ["MTA-STS.EXAMPLE.TEST"] }, "ok"],
      ["a wildcard for the left-most label", { names: ["*.example.test"] }, "ok"],
      ["a wildcard within the label", { names: ["mta-*.example.test"] }, "sts-webpki-invalid", /it is for mta-\*\.example\.test/],
      ["a wildcard for two labels", { names: ["*.test"] }, "sts-webpki-invalid"],
      ["the policy domain only", { names: ["example.test"] }, "sts-webpki-invalid", /it is for example\.test/],
      ["the common name only", { names: [], commonName: "mta-sts.example.test" }, "sts-webpki-invalid", /no DNS name at all/],
      ["the common name beside another", { names: ["other.test"], commonName: "mta-sts.example.test" }, "sts-webpki-invalid"],
      ["its address only", { names: ["127.0.0.1"] }, "sts-webpki-invalid"],
      ["the name of the alias's target", { names: ["mta-sts.provider.test"] }, "sts-webpki-invalid"],
      [
        "expired",
        { names, from: new Date(now - 9 * DAY), to: new Date(now - DAY) },
        "sts-webpki-invalid",
        /has expired \(CERT_HAS_EXPIRED\)/,
      ],
      ["not yet valid", { names, from: new Date(now + DAY) }, "sts-webpki-invalid", /not valid yet/],
      ["self-signed", { names, selfSigned: true }, "sts-webpki-invalid", /self-signed/],
    ];
  for (const [what, wishes, result, detail] of cases)
    test(`${what}: ${result}`, async () => {
      const certificate = await (await createTestCa()).issue(wishes);
      const zone = { "mta-sts.example.test": { CNAME: "mta-sts.provider.test" }, "mta-sts.provider.test": { A: ["127.0.0.1"] } };
      const { host, fetch } = await fetchWorld({ certificate, zone });
      host.serve(EXAMPLE, text);
      const found = await fetch(EXAMPLE);
      expect(typeOf(found)).toBe(result);
      if (detail !== undefined) expect(detailOf(found)).toMatch(detail);
      // A host that is not proven does not even hear what is asked.
      expect(host.requests).toHaveLength(result === "ok" ? 1 : 0);
    });

  test("of a root that is not trusted: sts-webpki-invalid, whatever the environment says", async () => {
    const certificate = await (await createTestCa({ name: "Nobody's Root" })).issue({ names });
    vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0");
    try {
      expect(typeOf(await fetchWith(text, { certificate }))).toBe("sts-webpki-invalid");
      expect(typeOf(await fetchWith(text))).toBe("ok");
    } finally {
      vi.unstubAllEnvs();
    }
  });
});

describe("TLS, RFC 8461 §7.2", () => {
  const old = { minVersion: "TLSv1", ciphers: "DEFAULT@SECLEVEL=0" } as const;
  const cases: [version: "TLSv1.1" | "TLSv1.2" | "TLSv1.3", result: string][] = [
    ["TLSv1.1", "sts-policy-fetch-error"],
    ["TLSv1.2", "ok"],
    ["TLSv1.3", "ok"],
  ];
  for (const [maxVersion, result] of cases)
    test(`a host that can do ${maxVersion} at most: ${result}`, async () => {
      const found = await fetchWith(text, { tls: { ...old, maxVersion } });
      expect(typeOf(found)).toBe(result);
    });
});

test("the host limited to TLS 1.1 serves who takes that", async () => {
  const { host } = await fetchWorld({ tls: { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" } });
  const socket = connect({
    ...{ port: host.port, host: host.address, servername: "mta-sts.example.test", ca: (await createTestCa()).pem },
    ...{ minVersion: "TLSv1", ciphers: "DEFAULT@SECLEVEL=0" },
  });
  await new Promise((done, failed) => socket.once("secureConnect", done).once("error", failed));
  expect(socket.getProtocol()).toBe("TLSv1.1");
  socket.destroy();
});

describe("only status 200 gives a policy, RFC 8461 §3.3", () => {
  for (const status of [200, 201, 203, 204, 206, 301, 302, 304, 307, 308, 401, 404, 429, 500, 503])
    test(`${status}`, async () => {
      const found = await fetchWith({ status, body: status === 204 || status === 304 ? "" : text });
      expect(typeOf(found)).toBe(status === 200 ? "ok" : "sts-policy-fetch-error");
      if (!found.ok) expect(found.failure.detail).toContain(`it answered ${status}`);
    });

  test("a redirect to a valid policy is not followed", async () => {
    const { host, fetch } = await fetchWorld();
    host.serve("b.test", text);
    host.serve(EXAMPLE, { status: 301, headers: { location: `https://mta-sts.b.test:${host.port}/.well-known/mta-sts.txt` }, body: text });
    expect(typeOf(await fetch(EXAMPLE))).toBe("sts-policy-fetch-error");
    expect([host.requests.length, host.connections]).toEqual([1, 1]);
  });
});

describe("media type and coding, RFC 8461 §3.2", () => {
  const cases: [header: string, value: string | undefined, ok: boolean][] = [
    ["content-type", "text/plain", true],
    ["content-type", "text/plain; charset=utf-8", true],
    ["content-type", "text/plain;charset=us-ascii", true],
    ["content-type", "Text/Plain", true],
    ["content-type", "text/plain ; foo=bar", true],
    ["content-type", "text/html", false],
    ["content-type", "text/plain2", false],
    ["content-type", "application/octet-stream", false],
    ["content-type", undefined, false],
    ["content-encoding", "identity", true],
    ["content-encoding", "gzip", false],
    ["content-encoding", "br", false],
    ["content-encoding", "identity, gzip", false],
  ];
  for (const [header, value, ok] of cases)
    test(`${header} ${value ?? "(absent)"}: ${ok ? "read" : "not read"}`, async () =>
      expect(typeOf(await fetchWith({ headers: { [header]: value }, body: text }))).toBe(ok ? "ok" : "sts-policy-fetch-error"));
});

describe("size, RFC 8461 §3.3", () => {
  const sized = (octets: number): Buffer => Buffer.from(`${text}x: `.padEnd(octets, "y"));
  const chunked: RawAnswer = (_socket, _request, response) => {
    response.writeHead(200, { "content-type": "text/plain" });
    for (let at = 0; at < 65_537; at += 8_192) response.write(sized(65_537).subarray(at, at + 8_192));
    // And no end: what has come is too much already.
  };
  test("65536 octets are read", async () => expect(await fetchWith({ body: sized(65_536) })).toMatchObject({ ok: true }));

  for (const [how, answer] of [
    ["announced", { body: sized(65_537) }],
    ["in chunks that do not end", chunked],
  ] as const)
    test(`one more, ${how}, is no policy, and the connection is closed`, async () => {
      const { host, fetch } = await fetchWorld();
      host.serve(EXAMPLE, answer);
      expect(await fetch(EXAMPLE)).toMatchObject({ ok: false, failure: { type: "sts-policy-fetch-error" } });
      await vi.waitFor(() => expect(host.open).toBe(0));
    });

  test("the limit is a setting", async () => {
    expect(typeOf(await fetchWith(text, { policySize: 20 }))).toBe("sts-policy-fetch-error");
  });

  const cut: [what: string, head: string, body: string][] = [
    ["shorter than announced", `content-length: ${text.length + 1}\r\n`, text],
    ["chunks without their end", "transfer-encoding: chunked\r\n", `${text.length.toString(16)}\r\n${text}\r\n`],
    ["neither length nor chunks, so that nobody knows where it ends", "", text],
  ];
  for (const [what, head, body] of cut)
    test(`a policy cut short is none: ${what}`, async () => {
      const raw: RawAnswer = (socket) =>
        socket.end(`HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n${head}connection: close\r\n\r\n${body}`);
      expect(typeOf(await fetchWith(raw))).toBe("sts-policy-fetch-error");
    });
  test("the same answers in whole are read", async () => {
    const raw: RawAnswer = (socket) =>
      socket.end(`HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: ${text.length}\r\nconnection: close\r\n\r\n${text}`);
    expect(typeOf(await fetchWith(raw))).toBe("ok");
  });

  const bombs: [what: string, raw: RawAnswer][] = [
    ["a head of 20 KB", (_socket, _request, response) => response.writeHead(200, { x: "y".repeat(20_000) }).end(text)],
    ["interim responses without end", (socket) => socket.write("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(20))],
    ["another protocol", (socket) => socket.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")],
    ["no HTTP", (socket) => socket.end("220 mail.example.test ESMTP\r\n")],
  ];
  for (const [what, raw] of bombs)
    test(`${what}: no policy`, async () => expect(typeOf(await fetchWith(raw))).toBe("sts-policy-fetch-error"));
});

describe("time, RFC 8461 §3.3", () => {
  test("one deadline holds for the whole exchange, however steadily octets come", async () => {
    const { host, fetch, clock } = await fetchWorld();
    let drip = (): void => {};
    host.serve(EXAMPLE, (_socket, _request, response) => {
      response.writeHead(200, { "content-type": "text/plain", "content-length": text.length });
      let at = 0;
      drip = () => response.write(text.charAt(at++));
      drip();
    });
    let found: StsFetchResult | undefined;
    const fetching = fetch(EXAMPLE).then((result) => (found = result));
    await vi.waitFor(() => expect(host.requests).toHaveLength(1));
    for (let seconds = 10; seconds < 60; seconds += 10) {
      await clock.pass(10_000);
      drip();
      expect(found).toBeUndefined();
    }
    await clock.pass(10_000);
    await fetching;
    expect(found).toMatchObject({ ok: false, failure: { type: "sts-policy-fetch-error", detail: expect.stringContaining("within 60 s") } });
    await vi.waitFor(() => expect(host.open).toBe(0));
    expect(clock.armed).toBe(0);
  });

  test("it holds while the resolver says nothing", async () => {
    const { fetch, clock, server } = await fetchWorld({
      fetchTimeout: 4_000,
      zone: { "mta-sts.example.test": { behave: { kind: "drop" } } },
    });
    const fetching = fetch(EXAMPLE);
    await vi.waitFor(() => expect(server.queries.length).toBeGreaterThan(0));
    await clock.pass(4_000);
    expect(detailOf(await fetching)).toContain("within 4 s");
  });

  test("the end of the process ends it at once", async () => {
    const { host, fetch } = await fetchWorld();
    host.serve(EXAMPLE, () => {});
    const stop = new AbortController();
    const fetching = fetch(EXAMPLE, stop.signal);
    await vi.waitFor(() => expect(host.requests).toHaveLength(1));
    stop.abort("the relay stops");
    expect(typeOf(await fetching)).toBe("sts-policy-fetch-error");
    await vi.waitFor(() => expect(host.open).toBe(0));
  });
});

describe("addresses", () => {
  const at = (...A: string[]) => ({ zone: { "mta-sts.example.test": { A } } });

  test("of special use are not dialled, since the zone is a stranger's", async () => {
    const { host, fetch } = await fetchWorld({ allowed: [] });
    host.serve(EXAMPLE, text);
    expect(detailOf(await fetch(EXAMPLE))).toContain("mta-sts.example.test is at 127.0.0.1, where no policy host can be: loopback");
    expect(host.connections).toBe(0);
  });
  test("of special use are passed over, and the next is dialled", async () => {
    expect(typeOf(await fetchWith(text, at("10.0.0.1", "169.254.169.254", "127.0.0.1")))).toBe("ok");
  });
  test("that refuse are passed over", async () => {
    expect(typeOf(await fetchWith(text, at("127.0.0.2", "127.0.0.1")))).toBe("ok");
  });
  test("that all refuse: the last one's reason", async () => {
    const found = await fetchWith(text, at("127.0.0.2", "127.0.0.3"));
    expect(detailOf(found)).toMatch(/^mta-sts\.example\.test: 127\.0\.0\.3 port \d+: connect ECONNREFUSED/);
  });
  test("that say nothing are passed over after ten seconds", async () => {
    const { host, fetch, clock } = await fetchWorld(at("127.0.0.2", "127.0.0.1"));
    host.serve(EXAMPLE, text);
    let silent = 0;
    const mute: Server = createServer(() => (silent += 1));
    await new Promise<void>((done) => mute.listen(host.port, "127.0.0.2", done));
    open.push(mute);
    const fetching = fetch(EXAMPLE);
    await vi.waitFor(() => expect(silent).toBe(1));
    await clock.pass(9_999);
    expect(host.connections).toBe(0);
    await clock.pass(1);
    expect(typeOf(await fetching)).toBe("ok");
  });
  test("after a certificate that does not hold no other is tried", async () => {
    const { host, fetch } = await fetchWorld(at("127.0.0.2", "127.0.0.1"));
    host.serve(EXAMPLE, text);
    const wrong = await startPolicyHost({
      certificate: await (await createTestCa()).issue({ names: ["other.test"] }),
      address: "127.0.0.2",
      port: host.port,
    });
    open.push(wrong);
    expect(typeOf(await fetch(EXAMPLE))).toBe("sts-webpki-invalid");
    expect(host.connections).toBe(0);
  });

  const cases: [what: string, entry: FetchWishes["zone"], detail: RegExp][] = [
    ["the policy host does not exist", { "mta-sts.example.test": { CNAME: "gone.test" } }, /does not exist/],
    ["it has no address", { "mta-sts.example.test": { TXT: ["x"] } }, /has no address/],
    ["DNS fails", { "mta-sts.example.test": { behave: { kind: "rcode", rcode: "SERVFAIL" } } }, /could not be found: SERVFAIL/],
  ];
  for (const [what, zone, detail] of cases)
    test(`${what}: sts-policy-fetch-error`, async () => {
      const found = await fetchWith(text, zone === undefined ? {} : { zone });
      expect([typeOf(found), detail.test(detailOf(found))]).toEqual(["sts-policy-fetch-error", true]);
    });
});

test("a body that is no policy is sts-policy-invalid, with its fault in clean words (RFC 8460 §4.3.2.2)", async () => {
  expect(await fetchWith("<html>\x1b[31m</html>")).toEqual({
    ok: false,
    failure: {
      type: "sts-policy-invalid",
      detail: 'the policy that mta-sts.example.test serves is invalid: line 1 is no field: "<html>?[31m</html>"',
      whoActs: "receiver",
      code: "syntax",
      served: "<html>?[31m</html>",
    },
  });
});

test("a domain whose policy host is too long a name has no policy host", async () => {
  const { fetch } = await fetchWorld();
  const long = `${"a".repeat(60)}.${"b".repeat(60)}.${"c".repeat(60)}.${"d".repeat(60)}.test` as Domain;
  expect(typeOf(await fetch(long))).toBe("sts-policy-fetch-error");
});
