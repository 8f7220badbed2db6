import { mkdtempSync, renameSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { describeServer, parseServerAddress } from "../../src/config/server-address.ts";
import { createServerList, parseResolvConf, type ServerList } from "../../src/lookup/resolver-settings.ts";
import { MovedClock } from "../support/moved-clock.ts";

describe("a resolver's address for DNS over TLS (RFC 7858)", () => {
  const cases: [text: string, address: string | undefined, port?: number, tlsName?: string, described?: string][] = [
    ["tls://192.0.2.53#dns.example", "192.0.2.53", 853, "dns.example", "tls://192.0.2.53#dns.example"],
    ["tls://192.0.2.53:8853#DNS.Example.", "192.0.2.53", 8853, "dns.example", "tls://192.0.2.53:8853#dns.example"],
    ["tls://dns.example", "dns.example", 853, "dns.example", "tls://dns.example"],
    ["TLS://DNS.Example:8853", "dns.example", 8853, "dns.example", "tls://dns.example:8853"],
    // Without a name the certificate must name the address.
    ["tls://192.0.2.53", "192.0.2.53", 853, "192.0.2.53", "tls://192.0.2.53"],
    ["tls://[2001:DB8::53]:853#dns.example", "2001:db8::53", 853, "dns.example", "tls://2001:db8::53#dns.example"],
    ["tls://2001:db8:0::53", "2001:db8::53", 853, "2001:db8::53", "tls://2001:db8::53"],
    ["tls://fe80::1%eth0", "fe80::1%eth0", 853, "fe80::1", "tls://fe80::1%eth0"],
    ["tls://", undefined],
    ["tls://192.0.2.53#", undefined],
    ["tls://192.0.2.53#no name", undefined],
    ["tls://192.0.2.53:0", undefined],
    ["tls://dns_example", undefined],
    ["https://dns.example", undefined],
  ];
  for (const [text, address, port, tlsName, described] of cases)
    test(`${text} is ${address === undefined ? "none" : `${tlsName} at ${address} port ${port}`}`, () => {
      const parsed = parseServerAddress(text);
      if (address === undefined) return expect(parsed).toMatchObject({ ok: false, error: expect.stringContaining("tls://192.0.2.53") });
      expect(parsed).toEqual({ ok: true, value: { address, port, tlsName } });
      if (parsed.ok) expect(describeServer(parsed.value)).toBe(described);
    });
});

describe("a resolver's address", () => {
  const cases: [text: string, address: string | undefined, port?: number, described?: string][] = [
    ["127.0.0.1", "127.0.0.1", 53, "127.0.0.1"],
    ["127.0.0.1:5353", "127.0.0.1", 5353, "127.0.0.1:5353"],
    ["::1", "::1", 53, "::1"],
    ["[::1]", "::1", 53, "::1"],
    ["[::1]:5353", "::1", 5353, "[::1]:5353"],
    ["[FE80::1%eth0]:53", "fe80::1%eth0", 53, "fe80::1%eth0"],
    ["fe80::1%eth0", "fe80::1%eth0", 53, "fe80::1%eth0"],
    ["127.0.0.1:0", undefined],
    ["127.0.0.1:65536", undefined],
    ["127.0.0.1:", undefined],
    ["[127.0.0.1]:53", undefined],
    ["[::1", undefined],
    ["dns.example.test", undefined],
    ["", undefined],
    ["0:0:0:0:0:0:0:1", "::1", 53, "::1"],
    ["127.0.0.1#dns.example.test", undefined],
  ];
  for (const [text, address, port, described] of cases)
    test(`${JSON.stringify(text)} is ${address === undefined ? "none" : `${address} port ${port}`}`, () => {
      const parsed = parseServerAddress(text);
      if (address === undefined) return expect(parsed).toMatchObject({ ok: false, error: expect.stringContaining("expected managed, system") });
      expect(parsed).toEqual({ ok: true, value: { address, port } });
      if (parsed.ok) expect(describeServer(parsed.value)).toBe(described);
    });
});

test("resolv.conf: its nameservers in order, and nothing else", () => {
  const text = [
    "# nameserver 192.0.2.9",
    "; nameserver 192.0.2.9",
    "search example.test",
    "nameserver 192.0.2.1 # first",
    "options timeout:1",
    "nameserver\tfe80::1%eth0",
    "nameserver resolver.test",
    " nameserver 192.0.2.8",
    "nameserver 2001:DB8::53",
  ].join("\n");
  expect(parseResolvConf(text).map(({ address, port }) => `${address} ${port}`)).toEqual([
    "192.0.2.1 53",
    "fe80::1%eth0 53",
    "2001:db8::53 53",
  ]);
  expect(parseResolvConf("search example.test\n")).toEqual([{ address: "127.0.0.1", port: 53 }]);
});

describe("the list of servers", () => {
  const folder = mkdtempSync(join(tmpdir(), "postern-resolv-"));
  const file = join(folder, "resolv.conf");
  afterEach(() => rmSync(file, { force: true }));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const list = (setting: string[], clock: MovedClock): ServerList => {
    const made = createServerList(setting, clock, file);
    if (!made.ok) throw new Error(made.error);
    return made.value;
  };
  const addresses = (servers: ServerList): string[] => servers().map(describeServer);

  test("addresses are what they are, and read no file", () => {
    expect(addresses(list(["127.0.0.1:5353", "[::1]:53"], new MovedClock()))).toEqual(["127.0.0.1:5353", "::1"]);
  });

  test("system stands among addresses, and follows its file", async () => {
    const clock = new MovedClock();
    writeFileSync(file, "nameserver 192.0.2.1\n");
    const servers = list(["127.0.0.1:5353", "system"], clock);
    expect(addresses(servers)).toEqual(["127.0.0.1:5353", "192.0.2.1"]);
    writeFileSync(`${file}.new`, "nameserver 192.0.2.2\nnameserver 192.0.2.3\n");
    renameSync(`${file}.new`, file);
    await clock.pass(5_000);
    expect(addresses(servers)).toEqual(["127.0.0.1:5353", "192.0.2.2", "192.0.2.3"]);
    // The list is the same object while nothing changes.
    expect(servers()).toBe(servers());
    unlinkSync(file);
    await clock.pass(5_000);
    expect(addresses(servers)).toEqual(["127.0.0.1:5353", "192.0.2.2", "192.0.2.3"]);
  });

  test("without a file the local machine is asked", () => {
    expect(addresses(list(["system"], new MovedClock()))).toEqual(["127.0.0.1"]);
  });

  test("nonsense is refused with what was expected", () => {
    expect(createServerList(["system", "resolver.test"], new MovedClock(), file)).toMatchObject({
      ok: false,
      error: expect.stringContaining("resolver.test"),
    });
    expect(createServerList([], new MovedClock(), file)).toMatchObject({ ok: false });
  });
});
