import { expect, test } from "vitest";
import { parseNetwork } from "../../src/mail/network.ts";

const cases: [text: string, address: string | undefined, prefix?: number][] = [
  ["10.0.0.0/8", "10.0.0.0", 8],
  ["0.0.0.0/0", "0.0.0.0", 0],
  ["192.0.2.5", "192.0.2.5", 32],
  ["2001:DB8::/32", "2001:DB8::", 32],
  ["::1", "::1", 128],
  ["10.0.0.0/33", undefined],
  ["fd00::/129", undefined],
  ["fe80::1%eth0", undefined], // a zone names an interface, not a network
  ["fe80::1%eth0/64", undefined],
  ["10.0.0/8", undefined],
  ["0177.0.0.1", undefined],
  ["10.0.0.0/", undefined],
  ["10.0.0.0/8/8", undefined],
  [" 10.0.0.0/8", undefined],
  ["example.test", undefined],
  ["", undefined],
];
for (const [text, address, prefix] of cases)
  test(`${JSON.stringify(text)} is ${address === undefined ? "no network" : `${address} with ${prefix} bits`}`, () => {
    const parsed = parseNetwork(text);
    if (address === undefined) expect(parsed).toMatchObject({ ok: false, error: expect.stringContaining("not a network") });
    else expect(parsed).toEqual({ ok: true, value: { address, prefix } });
  });
