/** How a DNS server is written in settings. */
import { describe, expect, test } from "vitest";
import { describeServer, parseServerAddress } from "../../src/config/server-address.ts";

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
      if (address === undefined)
        return expect(parsed).toMatchObject({ ok: false, error: expect.stringContaining("expected managed, system") });
      expect(parsed).toEqual({ ok: true, value: { address, port } });
      if (parsed.ok) expect(describeServer(parsed.value)).toBe(described);
    });
});
