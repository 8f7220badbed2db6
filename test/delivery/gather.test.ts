/** Which names are asked for what: the policy domain (RFC 8461 §3.4), the hosts' addresses, and their TLSA records (RFC 7672 §2.2). */
import { describe, expect, test } from "vitest";
import { tlsa } from "../support/decisions.ts";
import { address, mx, run, type RunWishes } from "./one-run.ts";

const literal = { tls: { floor: "opportunistic" } };
const smartHost = (relayhost: object, more: object = {}) => ({ delivery: { relayhost }, tls: { floor: "opportunistic", ...more } });

describe("everything that is asked, in order", () => {
  const none = { kind: "no-such-name", security: "insecure", expires: 0 } as const;
  const cases: [what: string, wishes: RunWishes, asked: string[]][] = [
    [
      "a domain with MX records: its own policy, and its host's records, not its own",
      { hosts: { "mx.host.test": {} } },
      ["MX dest.test", "STS dest.test", "A mx.host.test", "TLSA _25._tcp.mx.host.test"],
    ],
    [
      "a subdomain: not its parent",
      { nextHop: "mail.dest.test", hosts: { "mx.host.test": {} } },
      ["MX mail.dest.test", "STS mail.dest.test", "A mx.host.test", "TLSA _25._tcp.mx.host.test"],
    ],
    [
      "an A-label",
      { nextHop: "xn--bcher-kva.test", hosts: { "mx.host.test": {} } },
      ["MX xn--bcher-kva.test", "STS xn--bcher-kva.test", "A mx.host.test", "TLSA _25._tcp.mx.host.test"],
    ],
    [
      "a domain without MX records: it is its own host",
      { hosts: { "dest.test": {} }, mx: mx("secure") },
      ["MX dest.test", "STS dest.test", "A dest.test", "TLSA _25._tcp.dest.test"],
    ],
    [
      "a host whose addresses are not signed is given to whoever knows that nothing is to be asked",
      { hosts: { "mx.test": { addresses: address("insecure") } } },
      ["MX dest.test", "STS dest.test", "A mx.test", "TLSA _25._tcp.mx.test"],
    ],
    ["a host that does not exist: no TLSA", { hosts: { "mx.test": { addresses: none } } }, ["MX dest.test", "STS dest.test", "A mx.test"]],
    [
      "failed MX: no way round by addresses",
      { hosts: {}, mx: { kind: "failed", reason: "servfail", detail: "x" } },
      ["MX dest.test", "STS dest.test"],
    ],
    ["an address literal: nothing", { nextHop: "[192.0.2.1]", hosts: { "[192.0.2.1]": {} }, settings: literal }, []],
    [
      "another port: its TLSA records",
      { hosts: { "mx.test": {} }, settings: { ...literal, delivery: { port: 2525 } } },
      ["MX dest.test", "STS dest.test", "A mx.test", "TLSA _2525._tcp.mx.test"],
    ],
    [
      "a smart host: its policy and records, of its port, and nothing of the recipient's domain",
      { hosts: { "Relay.Test": {}, "relay.test": {} }, settings: smartHost({ host: "Relay.Test", port: 587 }) },
      ["STS relay.test", "A relay.test", "system Relay.Test", "TLSA _587._tcp.relay.test"],
    ],
    ["a smart host that the public DNS cannot know", { hosts: { relay: {} }, settings: smartHost({ host: "relay" }) }, ["system relay"]],
    ["a smart host by address", { hosts: { "192.0.2.9": {} }, settings: smartHost({ host: "192.0.2.9", tls: "encrypted" }) }, []],
    [
      "a smart host without TLS",
      { hosts: { "relay.test": {} }, settings: smartHost({ host: "relay.test", tls: "none" }) },
      ["system relay.test"],
    ],
    [
      "published policy off: neither policy nor records",
      { hosts: { "mx.test": {} }, settings: { tls: { floor: "opportunistic", published: "off" } } },
      ["MX dest.test", "A mx.test"],
    ],
    [
      "off, but mandatory DANE: the records all the same",
      { hosts: { "mx.test": {} }, settings: { tls: { published: "off", host: "dnssec" } } },
      ["MX dest.test", "A mx.test", "TLSA _25._tcp.mx.test"],
    ],
    [
      "unsigned MX records, where only signed ones count",
      { hosts: { "mx.test": {} }, mxSecurity: "insecure", settings: { tls: { daneWithUnsignedMx: false } } },
      ["MX dest.test", "STS dest.test", "A mx.test"],
    ],
    ...(["untrusted", "blind"] as const).map((dnssec): [string, RunWishes, string[]] => [
      `a resolver that is ${dnssec}: no TLSA`,
      { hosts: { "mx.test": {} }, dnssec },
      ["MX dest.test", "STS dest.test", ...(dnssec === "blind" ? ["DANE dest.test"] : []), "A mx.test"],
    ]),
    [
      "hosts are looked up when their turn comes",
      { hosts: { "mx1.test": { meets: "connect-failed" }, "mx2.test": {}, "mx3.test": {} } },
      ["MX dest.test", "STS dest.test", "A mx1.test", "TLSA _25._tcp.mx1.test", "A mx2.test", "TLSA _25._tcp.mx2.test"],
    ],
  ];
  for (const [what, wishes, asked] of cases) test(what, async () => expect((await run(wishes)).asked).toEqual(asked));
});

describe("a smart host that the operator named (RFC 7672 §2.2.2)", () => {
  const relay = (host: RunWishes["hosts"][string], tls = "opportunistic") =>
    run({ hosts: { "relay.test": host }, settings: smartHost({ host: "relay.test", tls }) });

  test("its TLSA records bind, although its address comes from the system", async () => {
    expect((await relay({ tlsa: tlsa.usable, meets: "name" })).outcome).toBe("waiting 4.7.5 validation-failure");
    expect((await relay({ tlsa: tlsa.usable, meets: "key" })).outcome).toBe("delivered relay.test");
  });

  const fails = { kind: "failed", reason: "servfail", detail: "SERVFAIL" } as const;
  test("a look-up that fails stops it where only DANE asked for a proof", async () => {
    expect((await relay({ addresses: fails })).outcome).toBe("waiting 4.7.0 dnssec-invalid");
    expect((await relay({ addresses: fails }, "authenticated")).outcome).toBe("delivered relay.test");
  });
});

describe("what the next hop's name leads to (RFC 7672 §3.2.2)", () => {
  const names = async (security: "secure" | "insecure") => {
    const found = mx(security, "mx.test");
    const aliased = found.kind === "answer" ? { ...found, canonicalName: "real.test" } : found;
    const { targets } = await run({ hosts: { "mx.test": { tlsa: tlsa.at("mx.test"), meets: "key" } }, mx: aliased });
    return targets[0]?.requirement.dane?.referenceIdentifiers;
  };
  test("counts as a name where signed aliases lead there", async () => {
    expect(await names("secure")).toEqual(["mx.test", "dest.test", "real.test"]);
    expect(await names("insecure")).toEqual(["mx.test"]);
  });
});
