/** The life of keys: made, waiting, signing, followed by others, gone. */
import { describe, expect, test } from "vitest";
import type { Domain } from "../../src/mail/domain.ts";
import { settled } from "../support/moved-clock.ts";
import { verify } from "./verifier.ts";
import { DAY, HOUR, KeyringWorld, MemoryKeys, MINUTE, SERVFAIL } from "./world.ts";

const ORG = "example.org" as Domain;
const NAME = "postern1e._domainkey.example.org";
const BOTH = { algorithms: ["rsa-2048", "ed25519"] };
const signer = (world: KeyringWorld, author = "example.org"): string | undefined => world.keyring.findSigningDomain(author as Domain);

async function valueOf(world: KeyringWorld, name = NAME): Promise<string> {
  const record = (await world.keyring.dnsRecords()).find((other) => other.name === name);
  if (record === undefined) throw new Error(`no record ${name}`);
  return record.value;
}

describe("at the first start", () => {
  test("both kinds of key are made, and nothing is signed before their records are seen", async () => {
    const world = await KeyringWorld.started({ dkim: BOTH });
    expect(await world.states()).toEqual(["postern1e waiting-for-dns", "postern1r waiting-for-dns"]);
    expect(signer(world)).toBeUndefined();
    expect(world.told()).toEqual([
      "postern1r waiting-for-dns: it signs once its record is in DNS: postern dkim dns example.org",
      "postern1e waiting-for-dns: it signs once its record is in DNS: postern dkim dns example.org",
    ]);
    // A look so early would only teach caches that there is no record.
    expect(world.asked).toEqual([]);
    await world.clock.pass(5 * MINUTE);
    expect((await world.keyring.list()).map(({ problem }) => problem)).toEqual(Array(2).fill("the record is not in DNS"));
    expect(world.events).toHaveLength(2);
  });

  test("the domain of reports gets keys too, and none twice", async () => {
    const world = await KeyringWorld.started({
      dkim: { domains: ["example.org", "EXAMPLE.org", "bücher.example"] },
      reportDomain: "mail.example.org",
    });
    expect((await world.keyring.list()).map(({ recordName }) => recordName)).toEqual([
      "postern1e._domainkey.example.org",
      "postern1e._domainkey.mail.example.org",
      "postern1e._domainkey.xn--bcher-kva.example",
    ]);
  });

  test("without domains nothing happens", async () => {
    const world = await KeyringWorld.started({ dkim: { domains: [] } });
    await world.clock.pass(DAY);
    expect([world.store.keys, world.asked, world.events, signer(world)]).toEqual([[], [], [], undefined]);
  });

  test("a second start makes none, and says again what waits", async () => {
    const first = await KeyringWorld.started();
    const second = await KeyringWorld.started({ store: first.store });
    expect(second.store.keys).toHaveLength(1);
    expect(second.told()).toEqual(["postern1e waiting-for-dns: it signs once its record is in DNS: postern dkim dns example.org"]);
  });

  test("of two processes one makes the key, and both use it", async () => {
    const store = new MemoryKeys();
    const other = await KeyringWorld.started();
    const [theirs] = other.store.keys;
    if (theirs === undefined) throw new Error("no key");
    store.meanwhile = () => store.keys.push(theirs);
    const world = await KeyringWorld.started({ store });
    expect(store.keys).toEqual([expect.objectContaining({ publicKey: theirs.publicKey })]);
    await world.publishAll();
    await world.clock.pass(5 * MINUTE);
    expect(signer(world)).toBe("example.org");
    expect(await world.keyring.dnsRecords()).toHaveLength(1);
  });

  test("a store that takes no key is told, and asked again at the next look", async () => {
    const store = new MemoryKeys();
    store.failure = new Error("disk full");
    const world = new KeyringWorld({ store });
    await world.keyring.start();
    expect(world.told()).toEqual(["fault: disk full"]);
    await expect.poll(() => world.states()).toEqual(["postern1e waiting-for-dns"]);
  });

  const wrong: [name: string, dkim: Record<string, unknown>, sentence: RegExp][] = [
    ["a domain that is none", { domains: ["exa mple"] }, /^dkim\.domains: not a domain name/],
  ];
  for (const [name, dkim, sentence] of wrong)
    test(`${name} is refused in a sentence`, async () => {
      await expect(new KeyringWorld({ dkim }).keyring.start()).rejects.toThrow(sentence);
    });
});

describe("a key that waits", () => {
  test("signs once its record is seen, which is looked for every five minutes", async () => {
    const world = await KeyringWorld.started();
    await world.clock.pass(9 * MINUTE);
    expect(world.asked).toEqual([NAME]);
    await world.publishAll();
    await world.clock.pass(MINUTE);
    expect(world.asked).toEqual([NAME, NAME]);
    expect(await world.states()).toEqual(["postern1e active"]);
    expect(signer(world)).toBe("example.org");
    expect(world.told().at(-1)).toBe("postern1e active: its record is in DNS, and it signs");
    expect((await world.keyring.list())[0]).not.toHaveProperty("problem");
  });

  test("waits on where DNS gives no answer, and says so without an event", async () => {
    const world = await KeyringWorld.started();
    world.events.length = 0;
    world.dns.set(NAME, SERVFAIL);
    await world.clock.pass(10 * MINUTE);
    expect(await world.states()).toEqual(["postern1e waiting-for-dns"]);
    expect((await world.keyring.list())[0]?.problem).toBe("DNS gave no answer: SERVFAIL from 192.0.2.53");
    expect(world.events).toEqual([]);
  });

  test("does not sign with a wrong record, which is told once", async () => {
    const world = await KeyringWorld.started();
    world.events.length = 0;
    world.dns.set(NAME, ["v=DKIM1; k=ed25519; p=AAAA"]);
    await world.clock.pass(HOUR);
    expect(signer(world)).toBeUndefined();
    expect(world.told()).toEqual(["postern1e waiting-for-dns: the record has another key"]);
  });

  test("a record for TLS reports only does not do for mail, and does for the domain of reports, with a warning (RFC 8460 §3)", async () => {
    const world = await KeyringWorld.started({ reportDomain: "r.test" });
    for (const { name, value } of await world.keyring.dnsRecords()) world.dns.set(name, [value.replace("email:", "")]);
    await world.clock.pass(5 * MINUTE);
    expect([signer(world), signer(world, "r.test")]).toEqual([undefined, "r.test"]);
    expect(world.told().at(-1)).toMatch(/^postern1e active: .*but the record's s= shuts out email/);
    expect((await world.keyring.list()).map(({ problem }) => problem)).toEqual([
      expect.stringMatching(/shuts out email/),
      expect.stringMatching(/shuts out email/),
    ]);
  });

  test("a record for mail only is warned of where reports are sent (RFC 8460 §3)", async () => {
    const world = await KeyringWorld.started({ reportDomain: "r.test" });
    for (const { name, value } of await world.keyring.dnsRecords()) world.dns.set(name, [value.replace(":tlsrpt", "")]);
    await world.keyring.checkNow();
    expect((await world.keyring.list()).map(({ domain, state, problem }) => [domain, state, problem])).toEqual([
      ["example.org", "active", undefined],
      ["r.test", "active", expect.stringMatching(/shuts out tlsrpt/)],
    ]);
  });
});

describe("a key in use", () => {
  test("is looked at every checkEvery", async () => {
    const world = await KeyringWorld.active();
    await world.clock.pass(6 * HOUR);
    expect(world.asked.length).toBe(6);
  });

  test("is looked at in time when the clock is set back", async () => {
    const world = await KeyringWorld.active();
    world.clock.set(world.clock.now() - 30 * DAY);
    await world.clock.pass(HOUR);
    expect(world.asked.length).toBeGreaterThan(0);
  });

  const faults: [name: string, dns: string[] | typeof SERVFAIL | undefined, problem: RegExp, told: boolean][] = [
    ["no answer", SERVFAIL, /DNS gave no answer/, false],
    ["no record", undefined, /not in DNS/, true],
    ["a revoked key", ["v=DKIM1; k=ed25519; p="], /revokes/, true],
    ["another key", ["v=DKIM1; k=ed25519; p=AAAA"], /another key/, true],
  ];
  for (const [name, dns, problem, told] of faults)
    test(`goes on signing when DNS has ${name}`, async () => {
      const world = await KeyringWorld.active();
      const right = world.dns.get(NAME);
      if (dns === undefined) world.dns.delete(NAME);
      else world.dns.set(NAME, dns);
      await world.clock.pass(5 * HOUR);
      expect(await world.states()).toEqual(["postern1e active"]);
      expect(signer(world)).toBe("example.org");
      expect((await world.keyring.list())[0]?.problem).toMatch(problem);
      const [first, ...more] = world.told();
      if (told) expect(first).toMatch(/^warn: DKIM postern1e\._domainkey\.example\.org: .*; it goes on signing$/);
      else expect(first).toBeUndefined();
      expect(more).toEqual([]);
      world.dns.set(NAME, right ?? []);
      await world.clock.pass(2 * HOUR);
      expect((await world.keyring.list())[0]?.problem).toBeUndefined();
      expect(world.told().slice(1)).toEqual(told ? [`info: DKIM ${NAME}: the record is in order again`] : []);
    });

  test("what DNS answers after the stop changes nothing, and leads to no other look", async () => {
    const world = await KeyringWorld.started();
    await world.publishAll();
    world.gate = Promise.withResolvers();
    await world.clock.pass(5 * MINUTE);
    expect(world.asked).toEqual([NAME]);
    await world.keyring.stop();
    world.gate.resolve();
    await world.clock.pass(DAY);
    expect([await world.states(), world.asked, world.clock.armed]).toEqual([["postern1e waiting-for-dns"], [NAME], 0]);
  });

  test("no look is made after the stop, and signing goes on", async () => {
    const world = await KeyringWorld.active();
    await world.keyring.stop();
    await world.clock.pass(DAY);
    expect([world.asked, world.clock.armed]).toEqual([[], 0]);
    expect((await world.keyring.sign({ domain: ORG, bodyHash: "x" }, Buffer.from("From: a@example.org\r\n"))).kind).toBe("signed");
  });
});

describe("rotation", () => {
  test("the new key waits, then signs; the old one retires, and goes after the overlap", async () => {
    const world = await KeyringWorld.active();
    const fieldsOf = async (): Promise<string> => {
      const signed = await world.keyring.sign({ domain: ORG, bodyHash: "x" }, Buffer.from("From: a@example.org\r\n"));
      return signed.kind === "signed" ? signed.fields : signed.detail;
    };
    const published = await world.keyring.rotate(ORG);
    expect(published.map(({ name, state }) => [name, state])).toEqual([["postern2e._domainkey.example.org", "waiting-for-dns"]]);
    expect(await world.states()).toEqual(["postern1e active", "postern2e waiting-for-dns"]);
    await world.clock.pass(HOUR);
    expect(await world.states()).toEqual(["postern1e active", "postern2e waiting-for-dns"]);
    expect(await fieldsOf()).toMatch(/s=postern1e;/);
    world.events.length = 0;
    await world.publishAll();
    await world.clock.pass(5 * MINUTE);
    expect(await world.states()).toEqual(["postern1e retiring", "postern2e active"]);
    expect(world.told()).toEqual([
      "postern2e active: its record is in DNS, and it signs",
      "postern1e retiring: postern2e signs now; its record must stay in DNS until 2026-09-11T09:10:00.000Z",
    ]);
    expect(await fieldsOf()).toMatch(/^DKIM-Signature: [^]*s=postern2e;(?![^]*DKIM-Signature)/);
    await world.clock.pass(10 * DAY - 10 * MINUTE);
    expect(await world.states()).toEqual(["postern1e retiring", "postern2e active"]);
    world.events.length = 0;
    await world.clock.pass(10 * MINUTE);
    expect(await world.states()).toEqual(["postern2e active"]);
    expect(world.told()).toEqual(["postern1e removed: its record may be taken out of DNS"]);
  });

  test("a second one while the first waits gives the same keys again", async () => {
    const world = await KeyringWorld.active();
    expect(await world.keyring.rotate(ORG)).toEqual(await world.keyring.rotate(ORG));
    expect(await world.states()).toEqual(["postern1e active", "postern2e waiting-for-dns"]);
  });

  test("begun by two processes at once, it makes one key", async () => {
    const world = await KeyringWorld.active();
    const [first] = world.store.keys;
    if (first === undefined) throw new Error("no key");
    const theirs = {
      ...first,
      selector: "postern2e",
      state: "waiting-for-dns" as const,
      createdAt: world.clock.now(),
      publicKey: "dGhlaXJz",
    };
    world.store.meanwhile = () => world.store.keys.push(theirs);
    expect((await world.keyring.rotate(ORG)).map(({ value }) => value)).toEqual(["v=DKIM1; k=ed25519; s=email:tlsrpt; p=dGhlaXJz"]);
    expect(await world.states()).toEqual(["postern1e active", "postern2e waiting-for-dns"]);
  });

  test("a second one after the first: each retires in its own time", async () => {
    const world = await KeyringWorld.active();
    for (const day of [1, 2]) {
      await world.keyring.rotate(ORG);
      await world.publishAll();
      await world.clock.pass(day * DAY);
    }
    expect(await world.states()).toEqual(["postern1e retiring", "postern2e retiring", "postern3e active"]);
    await world.clock.pass(9 * DAY - 2 * DAY + 10 * MINUTE);
    expect(await world.states()).toEqual(["postern2e retiring", "postern3e active"]);
    await world.clock.pass(DAY);
    expect(await world.states()).toEqual(["postern3e active"]);
    // A number is not used again while a higher one stands.
    expect((await world.keyring.rotate(ORG)).map(({ selector }) => selector)).toEqual(["postern4e"]);
  });

  test("each kind of key goes its own way", async () => {
    const world = await KeyringWorld.active({ dkim: BOTH });
    await world.keyring.rotate(ORG);
    const value = await valueOf(world, "postern2r._domainkey.example.org");
    world.dns.set("postern2r._domainkey.example.org", [value]);
    await world.clock.pass(5 * MINUTE);
    expect(await world.states()).toEqual(["postern1e active", "postern1r retiring", "postern2e waiting-for-dns", "postern2r active"]);
  });

  test("a key that is overtaken while it waits is dropped", async () => {
    const world = await KeyringWorld.started();
    const [first] = world.store.keys;
    if (first === undefined) throw new Error("no key");
    // As it is left by a process that ended between two steps.
    world.store.keys.push({ ...first, selector: "postern9e", state: "active", createdAt: first.createdAt + 1 });
    world.dns.set("postern9e._domainkey.example.org", [await valueOf(world)]);
    await world.clock.pass(5 * MINUTE);
    expect(await world.states()).toEqual(["postern9e active"]);
  });

  test("a retiring key whose record goes too early is told", async () => {
    const world = await KeyringWorld.active();
    await world.keyring.rotate(ORG);
    await world.publishAll();
    await world.clock.pass(5 * MINUTE);
    world.events.length = 0;
    world.dns.delete(NAME);
    await world.clock.pass(2 * HOUR);
    expect(world.told()).toEqual([`warn: DKIM ${NAME}: the record is not in DNS; mail signed with it cannot be verified`]);
  });

  test("of a domain that is not signed for is refused", async () => {
    const world = await KeyringWorld.active();
    await expect(world.keyring.rotate("other.test" as Domain)).rejects.toThrow(/other\.test is not signed for/);
  });
});

describe("whose signature a message gets", () => {
  const cases: [author: string, signer: string | undefined][] = [
    ["example.org", "example.org"],
    ["sub.example.org", "example.org"],
    ["a.b.example.org", "example.org"],
    ["own.example.org", "own.example.org"],
    ["a.own.example.org", "own.example.org"],
    ["notexample.org", undefined],
    ["org", undefined],
    ["reports.test", "reports.test"],
    ["sub.reports.test", undefined],
  ];
  test("the author's domain, else the nearest listed above it; the domain of reports signs for itself alone", async () => {
    const world = await KeyringWorld.active({ dkim: { domains: ["example.org", "own.example.org"] }, reportDomain: "reports.test" });
    for (const [author, expected] of cases) expect([author, signer(world, author)]).toEqual([author, expected]);
  });

  test("a domain whose own key waits is signed for from above", async () => {
    const world = await KeyringWorld.started({ dkim: { domains: ["example.org", "own.example.org"] } });
    world.dns.set(NAME, [await valueOf(world)]);
    await world.clock.pass(5 * MINUTE);
    expect(signer(world, "own.example.org")).toBe("example.org");
  });
});

describe("a reload", () => {
  test("new domains get keys; those that left keep theirs, and what is queued for them is signed", async () => {
    const world = await KeyringWorld.active();
    world.wishes = { dkim: { domains: ["new.test"] } };
    await world.keyring.reload();
    await settled();
    expect((await world.keyring.list()).map(({ domain, state, listed }) => [domain, state, listed])).toEqual([
      ["example.org", "active", false],
      ["new.test", "waiting-for-dns", true],
    ]);
    expect(world.asked).toEqual([]);
    expect(signer(world)).toBeUndefined();
    expect((await world.keyring.sign({ domain: ORG, bodyHash: "x" }, Buffer.from("From: a@example.org\r\n"))).kind).toBe("signed");
  });

  test("a kind of key that is not wanted any more retires when another signs, and not before", async () => {
    const world = await KeyringWorld.active();
    world.wishes = { dkim: { algorithms: ["rsa-2048"] } };
    await world.keyring.reload();
    await settled();
    expect(await world.states()).toEqual(["postern1e active", "postern1r waiting-for-dns"]);
    expect(signer(world)).toBe("example.org");
    await world.publishAll();
    await world.clock.pass(5 * MINUTE);
    expect(await world.states()).toEqual(["postern1e retiring", "postern1r active"]);
  });

  test("wrong settings change nothing", async () => {
    const world = await KeyringWorld.active();
    world.wishes = { dkim: { domains: [".."] } };
    await expect(world.keyring.reload()).rejects.toThrow(/dkim\.domains/);
    expect(signer(world)).toBe("example.org");
  });
});

describe("signing", () => {
  const HEADER = Buffer.from("From: a@example.org\r\nSubject: x\r\n");
  const wish = { domain: ORG, bodyHash: "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=" };

  test("gives a signature by each kind of key, which a verifier accepts with the records we print (RFC 8460 §3)", async () => {
    const world = await KeyringWorld.active({ dkim: BOTH });
    const signed = await world.keyring.sign(wish, HEADER);
    if (signed.kind !== "signed") throw new Error(signed.detail);
    const records = new Map((await world.keyring.dnsRecords()).map(({ name, value }) => [name, value]));
    const message = Buffer.concat([Buffer.from(signed.fields), HEADER, Buffer.from("\r\n")]);
    expect((await verify(message, records, world.clock.now())).toSorted()).toEqual(["ed25519-sha256 pass", "rsa-sha256 pass"]);
  });

  test("fails where one of the keys cannot be read, is told once, and shows nothing of it", async () => {
    const world = await KeyringWorld.active({ dkim: BOTH });
    const broken = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
    const intact = world.store.keys;
    world.store.keys = intact.map((key) => (key.algorithm === "rsa-sha256" ? { ...key, privateKey: broken } : key));
    await world.keyring.checkNow();
    world.events.length = 0;
    const detail = "postern1r._domainkey.example.org: the private key cannot be read";
    expect(await world.keyring.sign(wish, HEADER)).toEqual({ kind: "failed", detail });
    expect((await world.keyring.sign(wish, HEADER)).kind).toBe("failed");
    expect(world.told()).toEqual([`failed: example.org: ${detail}`]);
    const problems = async (): Promise<(string | undefined)[]> => (await world.keyring.list()).map(({ problem }) => problem);
    expect(await problems()).toEqual([undefined, "the private key cannot be read: it does not sign, and mail of its domain waits"]);
    world.store.keys = intact;
    expect(await problems()).toEqual([undefined, undefined]);
    await world.keyring.checkNow();
    expect((await world.keyring.sign(wish, HEADER)).kind).toBe("signed");
  });

  test("is by the newest key where an older one has not yet been put to rest", async () => {
    const world = await KeyringWorld.active();
    const [first] = world.store.keys;
    if (first === undefined) throw new Error("no key");
    world.store.keys.push({ ...first, selector: "postern2e", createdAt: first.createdAt + 1 });
    world.wishes = { dkim: { domains: [] } };
    await world.keyring.reload();
    const signed = await world.keyring.sign(wish, HEADER);
    expect(signed).toEqual({ kind: "signed", fields: expect.stringMatching(/s=postern2e;(?![^]*DKIM-Signature)/) });
  });

  test("fails, and does not reject, where the domain has no key in use", async () => {
    const world = await KeyringWorld.started();
    expect(await world.keyring.sign(wish, HEADER)).toEqual({ kind: "failed", detail: "no DKIM key of example.org is in use" });
  });
});

test("nothing that is shown, told or published has a private key in it", async () => {
  const world = await KeyringWorld.active({ dkim: BOTH });
  await world.keyring.rotate(ORG);
  world.dns.delete(NAME);
  await world.clock.pass(2 * HOUR);
  const shown = JSON.stringify([
    await world.keyring.list(),
    await world.keyring.checkNow(),
    await world.keyring.dnsRecords(),
    world.events,
  ]);
  expect(shown).not.toMatch(/PRIVATE|privateKey/);
  for (const { privateKey } of world.store.keys) {
    const body = privateKey.split("\n")[1] ?? "";
    expect(body.length).toBeGreaterThan(20);
    expect(shown).not.toContain(body);
  }
});
