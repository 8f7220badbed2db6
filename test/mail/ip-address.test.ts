import { describe, expect, test } from "vitest";
import { canonicalIp } from "../../src/mail/ip-address.ts";

describe("one text for one address (RFC 8460 §4.4)", () => {
  const cases: [written: string, told: string | undefined][] = [
    ["192.0.2.1", "192.0.2.1"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["::FFFF:c000:0201", "192.0.2.1"],
    ["2001:DB8:0:0:0:0:0:1", "2001:db8::1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["fe80::1%lo", "fe80::1"],
    ["127.1", undefined],
    ["mx.example.test", undefined],
    ["", undefined],
  ];
  for (const [written, told] of cases) test(`${JSON.stringify(written)}: ${told}`, () => expect(canonicalIp(written)).toBe(told));
});
