/** Reports by HTTPS, to collectors that speak real TLS (RFC 8460 §3, §5.4, §7). */
import { createServer } from "node:net";
import { gunzipSync } from "node:zlib";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { createAddressGuard } from "../../src/lookup/special-addresses.ts";
import type { Finding, HostAddress } from "../../src/policy/facts.ts";
import { compress } from "../../src/report/compress.ts";
import { createPostReport, type PostReport, type PostResult } from "../../src/report/post.ts";
import { createTestCa, type IssuedCertificate } from "../support/certificates.ts";
import { type Collector, startCollector } from "../support/collector.ts";
import { MovedClock } from "../support/moved-clock.ts";

const NAME = "reports.example.test";
const DAY = 86_400_000;
const body = compress('{"report-id":"1@sender.test"}');
const never = new AbortController().signal;

interface PostWorld {
  readonly collector: Collector;
  readonly clock: MovedClock;
  readonly post: PostReport;
  readonly url: (path?: string) => string;
  readonly send: (path?: string) => Promise<PostResult>;
}

interface Wishes {
  readonly certificate?: IssuedCertificate;
  readonly addresses?: readonly string[] | Finding<HostAddress>;
  readonly allowed?: readonly string[];
}

async function postWorld({ certificate, addresses = ["127.0.0.1"], allowed = ["127.0.0.0/8"] }: Wishes = {}): Promise<PostWorld> {
  const ca = await createTestCa();
  const collector = await startCollector({ certificate: certificate ?? (await ca.issue({ names: [NAME] })) });
  onTestFinished(() => collector.close());
  const clock = new MovedClock();
  const found: Finding<HostAddress> =
    "kind" in addresses
      ? addresses
      : {
          kind: "answer",
          records: addresses.map((address) => ({ address, family: 4 })),
          security: "insecure",
          canonicalName: NAME,
          expires: 0,
        };
  const post = createPostReport({
    findAddresses: async () => found,
    guard: createAddressGuard(allowed),
    roots: () => ca.pem,
    clock,
    timeout: 60_000,
  });
  const url = (path = "/v1/in?key=a=b"): string => `https://${NAME}:${collector.port}${path}`;
  return { collector, clock, post, url, send: (path) => post(url(path), body, never) };
}

const brief = (result: PostResult): string => (result.ok ? "taken" : result.refused ? "refused" : "failed");

describe("the request, RFC 8460 §5.4", () => {
  test("is one POST of the compressed document to the URI as given, with its media type and no coding on top", async () => {
    const { collector, send } = await postWorld();
    expect(await send()).toEqual({ ok: true, detail: `200 from ${NAME}` });
    const [request, ...others] = collector.requests;
    expect(others).toEqual([]);
    expect([request?.method, request?.url]).toEqual(["POST", "/v1/in?key=a=b"]);
    const { host, ...headers } = request?.headers ?? {};
    expect(host).toBe(`${NAME}:${collector.port}`);
    expect(headers).toEqual({
      "content-type": "application/tlsrpt+gzip",
      "content-length": String(body.length),
      "user-agent": "Postern",
      connection: "close",
    });
    expect(request?.body.equals(body)).toBe(true);
    expect(gunzipSync(request?.body ?? Buffer.alloc(0)).toString()).toBe('{"report-id":"1@sender.test"}');
  });

  for (const [path, sent] of [
    ["", "/"],
    ["/a%2Cb%21", "/a%2Cb%21"],
    ["?x=1", "/?x=1"],
  ] as const)
    test(`asks for ${sent} where the URI ends in ${JSON.stringify(path)}`, async () => {
      const { collector, send } = await postWorld();
      await send(path);
      expect(collector.requests[0]?.url).toBe(sent);
    });

  test("a megabyte arrives whole", async () => {
    const { collector, post, url } = await postWorld();
    const large = Buffer.alloc(1_000_000, "x");
    expect(await post(url(), large, never)).toMatchObject({ ok: true });
    expect(collector.requests[0]?.body.equals(large)).toBe(true);
  });
});

describe("the status", () => {
  const cases: [status: number, result: string][] = [
    ...[200, 201, 202, 204].map((status): [number, string] => [status, "taken"]),
    ...[301, 302, 307, 308, 304].map((status): [number, string] => [status, "failed"]),
    ...[400, 401, 403, 404, 410, 413].map((status): [number, string] => [status, "refused"]),
    ...[408, 429, 500, 502, 503].map((status): [number, string] => [status, "failed"]),
  ];
  for (const [status, result] of cases)
    test(`${status}: ${result}`, async () => {
      const { collector, send } = await postWorld();
      collector.answer = status;
      const found = await send();
      expect([brief(found), found.detail]).toEqual([result, expect.stringContaining(`${status} from ${NAME}`)]);
    });

  test("a redirect is not followed, wherever it leads", async () => {
    const { collector, send, url } = await postWorld();
    collector.answer = (response) => response.writeHead(307, { location: url("/elsewhere") }).end();
    expect(brief(await send())).toBe("failed");
    expect([collector.requests.length, collector.connections]).toEqual([1, 1]);
  });
});

describe("the collector's certificate is verified, which RFC 8460 §3 leaves to us", () => {
  const now = Date.now();
  const cases: [what: string, wishes: Parameters<Awaited<ReturnType<typeof createTestCa>>["issue"]>[0], detail: RegExp | undefined][] = [
    ["good", { names: [NAME] }, undefined],
    [
      "expired",
      { names: [NAME], from: new Date(now - 9 * DAY), to: new Date(now - DAY) },
      /^the certificate of \S+ does not hold: (?!the certificate).*expired/,
    ],
    ["for another name", { names: ["other.test"] }, /^the certificate of \S+ does not hold: it is for other\.test/],
    ["self-signed", { names: [NAME], selfSigned: true }, /^the certificate of \S+ does not hold: it is self-signed/],
  ];
  for (const [what, wishes, detail] of cases)
    test(`${what}: ${detail === undefined ? "sent" : "nothing is sent"}`, async () => {
      const { collector, send } = await postWorld({ certificate: await (await createTestCa()).issue(wishes) });
      const found = await send();
      expect(brief(found)).toBe(detail === undefined ? "taken" : "failed");
      if (detail !== undefined) expect(found.detail).toMatch(detail);
      expect(collector.requests).toHaveLength(detail === undefined ? 1 : 0);
    });

  test("of a root that nobody here trusts: nothing is sent, whatever the environment says", async () => {
    const certificate = await (await createTestCa({ name: "Nobody's Root" })).issue({ names: [NAME] });
    vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0");
    try {
      const { collector, send } = await postWorld({ certificate });
      expect([brief(await send()), collector.requests.length]).toEqual(["failed", 0]);
    } finally {
      vi.unstubAllEnvs();
    }
  });
});

describe("where a stranger's record may not send us", () => {
  test("a name that leads to loopback: refused, and nobody is dialled", async () => {
    const { collector, send } = await postWorld({ allowed: [] });
    const found = await send();
    expect([brief(found), found.detail]).toEqual([
      "failed",
      `${NAME} is at 127.0.0.1, where no collector of reports can be: loopback (RFC 1122)`,
    ]);
    expect(collector.connections).toBe(0);
  });

  const cases: [url: string, detail: RegExp][] = [
    ["https://127.0.0.1/", /^the URI names 127\.0\.0\.1, where no collector of reports can be: loopback/],
    ["https://2130706433/", /loopback/],
    ["https://0x7f.1/", /loopback/],
    ["https://[::1]/", /loopback/],
    ["https://[::ffff:10.0.0.1]/", /private/],
    ["https://169.254.169.254/latest", /link-local/],
    ["https://8.8.8.8/", /a name is needed/],
    ["https://a_b.test/", /not a domain name/],
    ["http://reports.example.test/", /not an https URI/],
    ["no URI", /not an https URI/],
  ];
  for (const [url, detail] of cases)
    test(url, async () => {
      const { post, collector } = await postWorld({ allowed: [] });
      const found = await post(url, body, never);
      expect([brief(found), found.detail]).toEqual(["failed", expect.stringMatching(detail)]);
      expect(collector.connections).toBe(0);
    });

  test("addresses of special use are passed over, and so are those that refuse", async () => {
    const { send } = await postWorld({ addresses: ["10.0.0.1", "127.0.0.2", "127.0.0.1"] });
    expect(brief(await send())).toBe("taken");
  });

  test("a look-up that fails says so", async () => {
    const { send } = await postWorld({ addresses: { kind: "failed", reason: "servfail", detail: "SERVFAIL from 127.0.0.1" } });
    expect(await send()).toMatchObject({ ok: false, refused: false, detail: expect.stringContaining("SERVFAIL") });
  });
});

describe("what has its limit", () => {
  test("time: a collector that says nothing is left after a minute", async () => {
    const { collector, send, clock } = await postWorld();
    collector.answer = () => {};
    const sending = send();
    await vi.waitFor(() => expect(collector.requests).toHaveLength(1));
    await clock.pass(60_000);
    expect(await sending).toMatchObject({ ok: false, refused: false, stopped: false, detail: expect.stringContaining("within 60 s") });
    await vi.waitFor(() => expect(collector.open).toBe(0));
    expect(clock.armed).toBe(0);
  });

  test("an answer's body: however long, it is not read, and the connection is closed", async () => {
    const { collector, send } = await postWorld();
    let written = 0;
    collector.answer = (response) => {
      response.writeHead(200);
      const chunk = Buffer.alloc(65_536, "x");
      const more = (): void => {
        while (written < 100_000_000 && !response.destroyed && response.write(chunk)) written += chunk.length;
        if (written < 100_000_000 && !response.destroyed) response.once("drain", more);
      };
      more();
    };
    expect(brief(await send())).toBe("taken");
    await vi.waitFor(() => expect(collector.open).toBe(0));
    expect(written).toBeLessThan(20_000_000);
  });

  const bombs: [what: string, raw: string][] = [
    ["a head of 20 KB", `HTTP/1.1 200 OK\r\nx: ${"y".repeat(20_000)}\r\n\r\n`],
    ["interim responses without end", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(20)],
    ["no HTTP", "220 mail.example.test ESMTP\r\n"],
  ];
  for (const [what, raw] of bombs)
    test(`${what}: not taken`, async () => {
      const { collector, send } = await postWorld();
      collector.answer = (response) => response.socket?.write(raw);
      expect(brief(await send())).toBe("failed");
    });

  test("the end of the process ends it at once, and says nothing of the host", async () => {
    const { collector, post, url } = await postWorld();
    collector.answer = () => {};
    const stop = new AbortController();
    const sending = post(url(), body, stop.signal);
    await vi.waitFor(() => expect(collector.requests).toHaveLength(1));
    stop.abort();
    expect(await sending).toMatchObject({ ok: false, stopped: true });
    await vi.waitFor(() => expect(collector.open).toBe(0));
  });
});

test("a connection that ends behind the handshake is not tried again at another address: the collector may have the report", async () => {
  const { collector, send } = await postWorld({ addresses: ["127.0.0.1", "127.0.0.2"] });
  collector.answer = (response) => void response.socket?.destroy();
  const second = createServer();
  let dialled = 0;
  second.on("connection", () => (dialled += 1));
  await new Promise<void>((done) => second.listen(collector.port, "127.0.0.2", done));
  onTestFinished(() => void second.close());
  expect(brief(await send())).toBe("failed");
  expect([collector.requests.length, dialled]).toEqual([1, 0]);
});
