import { describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { type ConfiguredHostOptions, createConfiguredHostLookup } from "../../src/lookup/configured-host.ts";
import { MovedClock } from "../support/moved-clock.ts";

const failing = (code: string) => () => Promise.reject(Object.assign(new Error(code), { code }));
const both = [
  { address: "192.0.2.1", family: 4 },
  { address: "2001:db8::1", family: 6 },
];

function world(lookup: NonNullable<ConfiguredHostOptions["lookup"]>, more: Partial<ConfiguredHostOptions> = {}) {
  const clock = new MovedClock();
  const asked: string[] = [];
  const find = createConfiguredHostLookup({
    clock,
    timeout: 5_000,
    lookup: (host, options) => {
      asked.push(`${host} ${JSON.stringify(options)}`);
      return lookup(host, options);
    },
    ...more,
  });
  return { clock, asked, find };
}

describe("a host that the operator named", () => {
  test("is found by the system, in the system's order, and never secure", async () => {
    const { find, clock, asked } = world(() => Promise.resolve(both));
    expect(await find("mailhog")).toEqual({
      kind: "answer",
      records: [
        { address: "192.0.2.1", family: 4 },
        { address: "2001:db8::1", family: 6 },
      ],
      security: "insecure",
      canonicalName: "mailhog",
      expires: clock.now() + 10_000,
    });
    expect(asked).toEqual(['mailhog {"all":true,"order":"verbatim"}']);
  });

  const literals: [host: string, address: string, family: 4 | 6][] = [
    ["192.0.2.1", "192.0.2.1", 4],
    ["[192.0.2.1]", "192.0.2.1", 4],
    ["2001:db8::1", "2001:db8::1", 6],
    ["[2001:db8::1]", "2001:db8::1", 6],
    ["[IPv6:2001:db8::1]", "2001:db8::1", 6],
    ["fe80::1%eth0", "fe80::1%eth0", 6],
    ["127.0.0.1", "127.0.0.1", 4],
  ];
  for (const [host, address, family] of literals)
    test(`${host} is its own answer`, async () => {
      const { find, asked } = world(failing("ENOTFOUND"));
      expect(await find(host)).toMatchObject({ kind: "answer", records: [{ address, family }], security: "insecure" });
      expect(asked).toEqual([]);
    });

  const failures: [code: string, finding: object][] = [
    ["ENOTFOUND", { kind: "no-such-name", security: "insecure" }],
    ["EAI_AGAIN", { kind: "failed", reason: "servfail", detail: expect.stringContaining("EAI_AGAIN") }],
    ["EAI_FAIL", { kind: "failed", reason: "servfail" }],
  ];
  for (const [code, finding] of failures)
    test(`${code} is a finding`, async () => expect(await world(failing(code)).find("relay.test")).toMatchObject(finding));

  test("is asked for once by many, and again soon", async () => {
    const { find, asked, clock } = world(() => Promise.resolve(both));
    await Promise.all([find("relay.test"), find("relay.test"), find("relay.test")]);
    expect(asked).toHaveLength(1);
    await clock.pass(10_000);
    await find("relay.test");
    expect(asked).toHaveLength(2);
  });

  test("is not waited for beyond the deadline", async () => {
    const { find, clock } = world(() => new Promise(() => {}));
    const finding = find("relay.test");
    await clock.pass(5_000);
    expect(await finding).toMatchObject({ kind: "failed", reason: "timeout" });
  });

  test("with IPv6 only is out of reach where IPv6 is not used", async () => {
    const ipv6 = () => false;
    expect(await world(() => Promise.resolve(both), { ipv6 }).find("relay.test")).toMatchObject({ records: [{ family: 4 }] });
    expect(await world(() => Promise.resolve(both.slice(1)), { ipv6 }).find("relay.test")).toMatchObject({
      kind: "failed",
      reason: "unreachable",
    });
  });

  test("localhost, by the real getaddrinfo", async () => {
    const finding = await createConfiguredHostLookup({ clock: systemClock, timeout: 5_000 })("localhost");
    expect(finding.kind === "answer" && finding.records.every(({ address }) => address === "127.0.0.1" || address === "::1")).toBe(true);
  });
});
