/** From the first start to signed mail: a real store, DNS over real sockets, mail as a client hands it in. */
import { expect, onTestFinished, test } from "vitest";
import { settingsSchema } from "../../src/config/settings.ts";
import { createKeyring, type Keyring } from "../../src/dkim/keyring.ts";
import type { Domain } from "../../src/mail/domain.ts";
import { World } from "../submission/world.ts";
import { createDnsLookup } from "../../src/lookup/dns.ts";
import { openTestStore } from "../store/make.ts";
import { startDnsServer } from "../support/dns-server.ts";
import { verify } from "./verifier.ts";

test("keys are made, published, seen, and sign what comes in; a second start goes on with them", async () => {
  const { store, clock, events } = await openTestStore();
  const dns = await startDnsServer({});
  onTestFinished(() => dns.close());
  const lookup = createDnsLookup({
    servers: [{ address: dns.address, port: dns.port }],
    timeout: 5_000,
    attempts: 2,
    cacheEntries: 10,
    longestTtl: 3_600_000,
    clock,
  });
  onTestFinished(() => lookup.close());
  const open = async (): Promise<Keyring> => {
    const keyring = createKeyring({
      store: store.dkimKeys,
      findTxt: (name) => lookup.ask(name, "TXT"),
      settings: () => settingsSchema.parse({ dkim: { domains: ["example.org"] } }).dkim,
      clock,
      emit: (event) => events.push(event),
    });
    await keyring.start();
    onTestFinished(() => keyring.stop());
    return keyring;
  };
  const keyring = await open();
  expect(keyring.findSigningDomain("example.org" as Domain)).toBeUndefined();
  const records = await keyring.dnsRecords();
  // As a zone file's reader puts the strings together.
  for (const { name, zoneLine } of records) dns.set(name, { TXT: [[...zoneLine.matchAll(/"([^"]*)"/g)].map((match) => match[1] ?? "")] });
  expect((await keyring.checkNow()).map(({ selector, state }) => [selector, state])).toEqual([
    ["postern1e", "active"],
    ["postern1r", "active"],
  ]);

  await using world = await World.open({ io: { findSigningDomain: keyring.findSigningDomain } });
  await using client = await world.client();
  expect(await client.submit("From: Alice <alice@example.org>\nSubject: Hello\n\none\ntwo\rthree \n\n\n")).toMatch(/^250/);
  const { message, body } = world.store.last;
  if (message.signing === undefined) throw new Error("no wish to sign");
  const again = await open();
  const header = body.subarray(0, body.indexOf("\r\n\r\n") + 2);
  for (const ring of [keyring, again]) {
    const signed = await ring.sign(message.signing, header);
    if (signed.kind !== "signed") throw new Error(signed.detail);
    const published = new Map(records.map(({ name, value }) => [name, value]));
    const results = await verify(Buffer.concat([Buffer.from(signed.fields), body]), published, clock.now());
    expect(results.toSorted()).toEqual(["ed25519-sha256 pass", "rsa-sha256 pass"]);
  }
});
